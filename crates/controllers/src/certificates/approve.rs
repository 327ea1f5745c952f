//! The requests of kubelets for client certificates, which are approved without anybody's doing where the one who asks
//! may have them: a node that joins (`nodeclient`), or one that renews its own (`selfnodeclient`).

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{CertificateSigningRequest, Condition},
};
use serde_json::{Value, json};

use super::{APPROVED, DENIED, request, request::Asked, with_condition, write};
use crate::{
    driver::{Controller, Turn},
    plan::{Action, Errand, Plan},
};

pub struct Approval;

impl Controller for Approval {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-approving-controller"
    }

    fn account(&self) -> &'static str {
        "certificate-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::CertificateSigningRequest]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        super::touched(changes, add);
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(request) = caches.certificate_signing_requests.get(key) else { return plan };
        let decided = request.condition(APPROVED).or(request.condition(DENIED)).is_some();
        if decided || request.is_issued() || *request.spec.signer_name != *request::KUBELET_CLIENT {
            return plan;
        }
        let asked = request::decoded(&request.spec.request).and_then(|bytes| Asked::read(&bytes));
        let Some(asked) = asked.filter(|asked| asked.is_kubelets_client(&request.spec.usages).is_ok()) else {
            return plan;
        };
        let own = (*request.spec.username == *asked.common_name)
            .then_some(("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."));
        let any = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
        let choices = own.into_iter().chain([any]).map(|(part, message)| {
            let condition = Condition {
                kind: APPROVED.into(),
                reason: "AutoApproved".into(),
                message: message.into(),
                last_update_time: Some(turn.now),
                ..Condition::default()
            };
            let approval = write(&request, "approval", json!({"conditions": with_condition(&request, condition)}));
            (review(&request, part), approval)
        });
        plan.then(vec![Action::Errand(Errand::FirstAllowed { choices: choices.collect() })]);
        plan
    }
}

/// Whether the one who asks may create that part of requests.
fn review(request: &CertificateSigningRequest, part: &str) -> Value {
    let mut spec = json!({
        "user": request.spec.username, "uid": request.spec.uid, "groups": request.spec.groups,
        "resourceAttributes": {
            "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "subresource": part,
            "verb": "create", "version": "*",
        },
    });
    if !request.spec.extra.is_null() {
        spec["extra"] = (*request.spec.extra).clone();
    }
    json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
}
