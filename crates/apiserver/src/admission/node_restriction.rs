//! NodeRestriction: what a node may write is its own Node, the status of its pods, its lease, its CSINode,
//! tokens for its pods. Which objects it may reach at all is the node authorizer's part.

use std::{collections::BTreeSet, sync::Arc};

use api::status::{Status, Subject};
use serde_json::Value;

use super::{Operation, Plugin, Request, certificates, elements, service_account, text};
use crate::{
    authz::{Authorizer, node},
    cluster::Cluster,
    identity::{Attributes, Target},
    pki,
};

pub struct NodeRestriction {
    authorizer: Arc<dyn Authorizer>,
}

impl NodeRestriction {
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }
}

#[async_trait::async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(node) = node::name_of(request.user) else { return Ok(()) };
        if request.operation == Operation::Connect {
            return Ok(());
        }
        if node.is_empty() {
            let user = &request.user.name;
            return Err(request.forbidden(format!("could not determine node from user {user:?}")));
        }
        Writer { node, request, cluster, authorizer: &*self.authorizer }.decide()
    }
}

/// What a kubelet may say about itself. Others under `kubernetes.io` and `k8s.io` are the cluster's.
const KUBELET_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const KUBELET_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";
const LEASES: &str = "kube-node-lease";
const NODE_SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

/// A node at work on one request.
struct Writer<'a> {
    node: &'a str,
    request: &'a Request<'a>,
    cluster: &'a dyn Cluster,
    authorizer: &'a dyn Authorizer,
}

impl Writer<'_> {
    fn decide(&self) -> Result<(), Status> {
        let resource = self.request.resource;
        match (&*resource.group, &*resource.plural) {
            ("", "pods") => self.pod(),
            ("", "nodes") => self.own_node(),
            ("", "persistentvolumeclaims") => self.claim(),
            ("", "serviceaccounts") => self.token(),
            ("coordination.k8s.io", "leases") => self.lease(),
            ("storage.k8s.io", "csinodes") => self.require(self.request.subject().name == self.node, || {
                "can only access CSINode with the same name as the requesting node".into()
            }),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(),
            ("certificates.k8s.io", "certificatesigningrequests") => self.signing_request(),
            _ => Ok(()),
        }
    }

    fn require(&self, holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Status> {
        if holds { Ok(()) } else { Err(self.request.forbidden(otherwise())) }
    }

    fn operation(&self) -> &'static str {
        self.request.operation.name()
    }

    fn get_pod(&self, name: &str) -> Result<Arc<Value>, Status> {
        let missing = || Status::not_found(Subject { group: "", resource: "pods", name });
        self.cluster.get("pods", Some(self.request.namespace), name).ok_or_else(missing)
    }

    fn pod(&self) -> Result<(), Status> {
        let Self { node, request, .. } = self;
        match (request.subresource, request.operation) {
            ("", Operation::Create) => self.mirror_pod(),
            ("", Operation::Delete) => {
                let pod = self.get_pod(request.name)?;
                self.require(pod["spec"]["nodeName"] == **node, || {
                    format!("node {node:?} can only delete pods with spec.nodeName set to itself")
                })
            }
            ("", _) => self.require(false, || {
                let operation = self.operation();
                format!("unexpected operation {operation:?}, node {node:?} can only create and delete mirror pods")
            }),
            ("status", Operation::Update) => self.pod_status(),
            ("status", _) => self.require(false, || format!("unexpected operation {:?}", self.operation())),
            ("eviction", Operation::Create) => {
                let name = [request.name, text(&request.object["metadata"]["name"])];
                let name = name.into_iter().find(|name| !name.is_empty());
                let name = name.ok_or_else(|| request.forbidden("could not determine pod from request data"))?;
                let pod = self.get_pod(name)?;
                self.require(pod["spec"]["nodeName"] == **node, || {
                    format!("node {node} can only evict pods with spec.nodeName set to itself")
                })
            }
            ("eviction", _) => self.require(false, || format!("unexpected operation {}", self.operation())),
            (other, _) => self.require(false, || {
                format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")
            }),
        }
    }

    fn mirror_pod(&self) -> Result<(), Status> {
        let Self { node, request, cluster, .. } = self;
        let pod = &request.object;
        self.require(service_account::is_mirror(pod), || {
            let annotation = service_account::MIRROR;
            format!("pod does not have {annotation:?} annotation, node {node:?} can only create mirror pods")
        })?;
        let only = |what: &str| format!("node {node:?} can only create pods with {what} set to itself");
        self.require(pod["spec"]["nodeName"] == **node, || only("spec.nodeName"))?;
        let owner = match elements(&pod["metadata"]["ownerReferences"]) {
            [owner] => owner,
            [] => return self.require(false, || only("an owner reference")),
            _ => return self.require(false, || only("a single owner reference")),
        };
        let is_self = owner["apiVersion"] == "v1" && owner["kind"] == "Node" && owner["name"] == **node;
        self.require(is_self, || only("an owner reference"))?;
        self.require(owner["controller"] == true, || only("a controller owner reference"))?;
        self.require(owner["blockOwnerDeletion"] != true, || {
            format!("node {node:?} must not set blockOwnerDeletion on an owner reference")
        })?;
        let missing = || Status::not_found(Subject { group: "", resource: "nodes", name: node });
        let own = cluster.get("nodes", None, node).ok_or_else(missing)?;
        let (expected, found) = (text(&own["metadata"]["uid"]), text(&owner["uid"]));
        self.require(expected == found, || format!("node {node} UID mismatch: expected {expected} got {found}"))?;
        match reference(&pod["spec"]) {
            Some(what) => self.require(false, || format!("node {node:?} can not create pods that reference {what}")),
            None => Ok(()),
        }
    }

    fn pod_status(&self) -> Result<(), Status> {
        let (node, new, old) = (self.node, &*self.request.object, self.request.old);
        self.require(old["spec"]["nodeName"] == node, || {
            format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself")
        })?;
        self.require(same(&new["metadata"]["labels"], &old["metadata"]["labels"]), || {
            format!("node {node:?} cannot update labels through pod status")
        })?;
        let status = |field: &str| same(&new["status"][field], &old["status"][field]);
        self.require(status("resourceClaimStatuses"), || {
            format!("node {node:?} cannot update resource claim statues")
        })?;
        self.require(status("extendedResourceClaimStatus"), || {
            format!("node {node:?} cannot update extended resource claim status")
        })
    }

    fn own_node(&self) -> Result<(), Status> {
        let Self { node, request, .. } = self;
        let (new, old) = (&*request.object, request.old);
        let name = request.subject().name;
        self.require(name == *node, || format!("node {node:?} is not allowed to modify node {name:?}"))?;
        let forbidden = forbidden_labels(&new["metadata"]["labels"], &old["metadata"]["labels"]).join(", ");
        match request.operation {
            Operation::Create => {
                self.require(new["spec"]["configSource"].is_null(), || {
                    format!("node {node:?} is not allowed to create pods with a non-nil configSource")
                })?;
                self.require(forbidden.is_empty(), || {
                    format!("node {node:?} is not allowed to set the following labels: {forbidden}")
                })
            }
            Operation::Update => {
                let config = &new["spec"]["configSource"];
                self.require(config.is_null() || *config == old["spec"]["configSource"], || {
                    format!("node {node:?} is not allowed to update configSource to a new non-nil configSource")
                })?;
                self.require(same(&new["spec"]["taints"], &old["spec"]["taints"]), || {
                    format!("node {node:?} is not allowed to modify taints")
                })?;
                let owners = |object: &Value| object["metadata"]["ownerReferences"].clone();
                self.require(same(&owners(new), &owners(old)), || {
                    format!("node {node:?} is not allowed to modify ownerReferences")
                })?;
                self.require(forbidden.is_empty(), || format!("is not allowed to modify labels: {forbidden}"))
            }
            Operation::Delete | Operation::Connect => Ok(()),
        }
    }

    fn claim(&self) -> Result<(), Status> {
        let (node, request) = (self.node, self.request);
        self.require(request.subresource == "status", || "may only update PVC status".into())?;
        self.require(request.operation == Operation::Update, || {
            format!("unexpected operation {:?}", self.operation())
        })?;
        let rest = |claim: &Value| {
            let mut claim = claim.clone();
            let remove = |part: &mut Value, fields: &[&str]| {
                for field in fields {
                    part.as_object_mut().and_then(|part| part.remove(*field));
                }
            };
            remove(&mut claim["metadata"], &["resourceVersion", "managedFields"]);
            remove(
                &mut claim["status"],
                &["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"],
            );
            claim
        };
        self.require(rest(&request.object) == rest(request.old), || {
            format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions")
        })
    }

    fn token(&self) -> Result<(), Status> {
        let request = self.request;
        if request.operation != Operation::Create || request.subresource != "token" {
            return Ok(());
        }
        let reference = &request.object["spec"]["boundObjectRef"];
        let (name, uid) = (text(&reference["name"]), text(&reference["uid"]));
        let is_pod = reference["apiVersion"] == "v1" && reference["kind"] == "Pod" && !name.is_empty();
        self.require(is_pod, || "node requested token not bound to a pod".into())?;
        self.require(!uid.is_empty(), || "node requested token with a pod binding without a uid".into())?;
        let pod = self.get_pod(name)?;
        self.require(pod["metadata"]["uid"] == uid, || {
            format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might \
                 have been deleted and then recreated"
            )
        })?;
        self.require(pod["spec"]["nodeName"] == self.node, || {
            "node requested token bound to a pod scheduled on a different node".into()
        })?;
        self.audience(&pod)
    }

    /// A token for an audience that no volume of the pod asks for needs a right of its own (KEP-4940).
    fn audience(&self, pod: &Value) -> Result<(), Status> {
        let request = self.request;
        let audience = match elements(&request.object["spec"]["audiences"]) {
            [] => "",
            [one] => text(one),
            _ => return self.require(false, || "node may only request 0 or 1 audiences".into()),
        };
        let target = Target::Resource {
            group: "",
            version: "v1",
            resource: audience,
            subresource: "",
            namespace: request.namespace,
            name: request.name,
        };
        let attributes = Attributes::new(request.user, "request-serviceaccounts-token-audience", target);
        let allowed = mentions_audience(pod, audience, request.namespace, self.cluster)
            || self.authorizer.authorize(&attributes, self.cluster).is_allowed();
        self.require(allowed, || {
            let user = &request.user.name;
            format!(
                "audience {audience:?} not found in pod spec volume, {user} is not authorized to request tokens for this audience"
            )
        })
    }

    fn lease(&self) -> Result<(), Status> {
        self.require(self.request.namespace == LEASES, || {
            format!("can only access leases in the {LEASES:?} system namespace")
        })?;
        self.require(self.request.subject().name == self.node, || {
            "can only access node lease with the same name as the requesting node".into()
        })
    }

    fn resource_slice(&self) -> Result<(), Status> {
        let (object, verb) = match self.request.operation {
            Operation::Create => (&*self.request.object, "create"),
            Operation::Delete => (self.request.old, "delete"),
            Operation::Update | Operation::Connect => return Ok(()),
        };
        self.require(object["spec"]["nodeName"] == self.node, || {
            format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")
        })
    }

    fn signing_request(&self) -> Result<(), Status> {
        let (node, spec) = (self.node, &self.request.object["spec"]);
        if self.request.operation != Operation::Create || !NODE_SIGNERS.contains(&text(&spec["signerName"])) {
            return Ok(());
        }
        let parsed = certificates::parse(spec);
        let parsed = parsed.map_err(|error| self.request.forbidden(format!("unable to parse csr: {error}")))?;
        let name = format!("system:node:{node}");
        let is_own = pki::attributes(&parsed.subject, pki::COMMON_NAME).next().is_some_and(|found| found == name);
        self.require(is_own, || format!("can only create a node CSR with CN={name}"))
    }
}

/// Equal, where nothing and an empty list or map are the same.
fn same(a: &Value, b: &Value) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    a == b || is_empty(a) && is_empty(b)
}

fn forbidden_labels(new: &Value, old: &Value) -> Vec<String> {
    let keys = |labels: &Value| labels.as_object().map(|labels| labels.keys().cloned().collect::<Vec<_>>());
    let all: BTreeSet<String> = [new, old].into_iter().filter_map(keys).flatten().collect();
    let changed = all.into_iter().filter(|key| new[key.as_str()] != old[key.as_str()]);
    changed.filter(|key| is_forbidden(key)).collect()
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let is_in = |parent: &str| domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let is_kubelet = || KUBELET_LABELS.contains(&label) || KUBELET_LABEL_DOMAINS.iter().any(|known| is_in(known));
    is_in(RESTRICTED_DOMAIN) || (is_in("kubernetes.io") || is_in("k8s.io")) && !is_kubelet()
}

/// The kind of object that a pod could not have without the cluster.
fn reference(spec: &Value) -> Option<&'static str> {
    const VOLUMES: [(&str, &str); 7] = [
        ("configMap", "configmaps (via configmap volumes)"),
        ("secret", "secrets (via secret volumes)"),
        ("csi", "csidrivers (via CSI volumes)"),
        ("glusterfs", "endpoints (via glusterFS volumes)"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
        ("azureFile", "secrets (via azureFile volumes)"),
    ];
    const SOURCES: [(&str, &str); 5] = [
        ("configMap", "configmaps (via projected volumes)"),
        ("secret", "secrets (via projected volumes)"),
        ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
        ("clusterTrustBundle", "clustertrustbundles"),
        ("podCertificate", "podcertificates"),
    ];
    if !text(&spec["serviceAccountName"]).is_empty() {
        return Some("serviceaccounts");
    }
    if service_account::references_secrets(spec) {
        return Some("secrets");
    }
    if references_config_maps(spec) {
        return Some("configmaps");
    }
    if !elements(&spec["resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    let found = |table: &[(&str, &'static str)], volume: &Value| {
        table.iter().find(|(field, _)| !volume[*field].is_null()).map(|(_, what)| *what)
    };
    elements(&spec["volumes"]).iter().find_map(|volume| {
        let sources = elements(&volume["projected"]["sources"]);
        found(&VOLUMES, volume).or_else(|| sources.iter().find_map(|source| found(&SOURCES, source)))
    })
}

fn references_config_maps(spec: &Value) -> bool {
    match spec {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            ["configMapRef", "configMapKeyRef", "configMap"].contains(&name.as_str()) && value.is_object()
                || references_config_maps(value)
        }),
        Value::Array(items) => items.iter().any(references_config_maps),
        _ => false,
    }
}

/// Whether a token volume of the pod, or a driver of one of its volumes, asks for the audience.
fn mentions_audience(pod: &Value, audience: &str, namespace: &str, cluster: &dyn Cluster) -> bool {
    elements(&pod["spec"]["volumes"]).iter().any(|volume| {
        let mut sources = elements(&volume["projected"]["sources"]).iter().map(|source| &source["serviceAccountToken"]);
        sources.any(|token| token.is_object() && text(&token["audience"]) == audience)
            || driver_of(pod, volume, namespace, cluster).is_some_and(|driver| {
                cluster.get("csidrivers.storage.k8s.io", None, &driver).is_some_and(|driver| {
                    let requests = elements(&driver["spec"]["tokenRequests"]);
                    requests.iter().any(|request| text(&request["audience"]) == audience)
                })
            })
    })
}

fn driver_of(pod: &Value, volume: &Value, namespace: &str, cluster: &dyn Cluster) -> Option<String> {
    if let Some(driver) = volume["csi"]["driver"].as_str() {
        return Some(driver.to_owned());
    }
    let claim = match volume["persistentVolumeClaim"]["claimName"].as_str() {
        Some(claim) => claim.to_owned(),
        None if volume["ephemeral"].is_object() => {
            format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"]))
        }
        None => return None,
    };
    let claim = cluster.get("persistentvolumeclaims", Some(namespace), &claim)?;
    let volume = cluster.get("persistentvolumes", None, text(&claim["spec"]["volumeName"]))?;
    volume["spec"]["csi"]["driver"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
