//! The cluster's root certificate in a ConfigMap of every namespace, where pods find it (`kube-root-ca.crt`).

use std::sync::Arc;

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Object, RootCertificate},
    requests::Patch,
};
use serde_json::{Value, json};

use crate::{
    authority::Authority,
    driver::{Controller, Turn},
    plan::{Action, Plan, precondition},
};

/// By the names of namespaces.
pub struct RootCertificates(pub Arc<dyn Authority>);

const DESCRIBED: &str = "kubernetes.io/description";
/// As kube-controller-manager describes it: tools show it.
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                           endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                           guaranteed across distributions of Kubernetes clusters.";

impl Controller for RootCertificates {
    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher-controller"
    }

    fn account(&self) -> &'static str {
        "root-ca-cert-publisher"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Namespace, Topic::RootCertificate]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::Namespace(changes) => changes.iter().for_each(|change| add(change.key.clone())),
            Changes::RootCertificate(changes) => {
                changes.iter().for_each(|change| add(Key::new("", change.key.namespace())));
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(namespace) = caches.namespaces.get(key) else { return plan };
        if namespace.metadata.is_being_deleted() {
            return plan;
        }
        let certificate = self.0.certificate();
        let data = json!({ "ca.crt": certificate });
        let metadata = json!({
            "name": RootCertificate::NAME, "namespace": key.name(), "annotations": {DESCRIBED: DESCRIPTION},
        });
        match caches.root_certificates.find(key.name(), RootCertificate::NAME) {
            None => plan.then(vec![Action::Create {
                kind: RootCertificate::KIND,
                namespace: key.name().into(),
                object: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}),
                tell: None,
            }]),
            Some(known) => {
                let described = known.metadata.annotations.get(DESCRIBED) == Some(DESCRIPTION);
                if *known.data.certificate == *certificate && known.data.others.is_empty() && described {
                    return plan;
                }
                let mut metadata = precondition(&known.metadata);
                metadata["annotations"] = json!({DESCRIBED: DESCRIPTION});
                // What else stands in it is not the cluster's word.
                let mut data = data;
                known.data.others.iter().for_each(|name| data[&**name] = Value::Null);
                plan.then(vec![Action::Patch {
                    kind: RootCertificate::KIND,
                    key: known.key(),
                    subresource: "",
                    form: Patch::Merge,
                    patch: json!({"metadata": metadata, "data": data}),
                }]);
            }
        }
        plan
    }
}
