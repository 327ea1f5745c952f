//! What a node may do: its own objects, its pods, and what its pods refer to. The references are followed
//! on the live state, from the object asked for towards the node, so there is nothing to keep in step.
//!
//! Not here: what a node may write into those objects (the NodeRestriction admission plug-in).

use std::sync::LazyLock;

use serde_json::Value;

use super::{Authorizer, Decision, bootstrap, rule::Rule};
use crate::{
    cluster::Cluster,
    identity::{Attributes, Target, User},
};

pub const GROUP: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";
const LEASES_NAMESPACE: &str = "kube-node-lease";

const OWN_OBJECT_VERBS: [&str; 5] = ["get", "create", "update", "patch", "delete"];

/// What is not about particular objects: the role `system:node`.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| bootstrap::rules_of("system:node"));

#[derive(Debug, Default)]
pub struct Node;

impl Authorizer for Node {
    fn authorize(&self, attributes: &Attributes<'_>, cluster: &dyn Cluster) -> Decision {
        match name_of(attributes.user) {
            None => Decision::no_opinion(""),
            Some("") => Decision::no_opinion(format!("unknown node for user {:?}", attributes.user.name)),
            Some(node) => authorize(node, attributes, cluster),
        }
    }
}

/// The node that `user` is: `system:node:<name>` in the group `system:nodes`.
pub fn name_of(user: &User) -> Option<&str> {
    user.name.strip_prefix(USER_PREFIX).filter(|_| user.is_in(GROUP))
}

/// An object asked for, with the subresource and verb.
#[derive(Clone, Copy)]
struct Ask<'a> {
    node: &'a str,
    verb: &'a str,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
    field_selector: &'a str,
    cluster: &'a dyn Cluster,
}

fn authorize(node: &str, attributes: &Attributes<'_>, cluster: &dyn Cluster) -> Decision {
    let by_rules = || match RULES.iter().any(|rule| rule.allows(attributes)) {
        true => Decision::allowed(),
        false => Decision::no_opinion(""),
    };
    let Target::Resource { group, resource, subresource, namespace, name, .. } = attributes.target else {
        return by_rules();
    };
    let field_selector = attributes.field_selector;
    let ask = Ask { node, verb: attributes.verb, subresource, namespace, name, field_selector, cluster };
    match (group, resource) {
        ("", "secrets") => ask.read(Kind::Secret),
        ("", "configmaps") => ask.read(Kind::ConfigMap),
        ("", "persistentvolumeclaims") if subresource == "status" => match ask.verb {
            "update" | "patch" => ask.related(Kind::Claim),
            _ => Decision::no_opinion("can only get/update/patch this type"),
        },
        ("", "persistentvolumeclaims") => ask.get(Kind::Claim),
        ("", "persistentvolumes") => ask.get(Kind::Volume),
        ("resource.k8s.io", "resourceclaims") => ask.get(Kind::ResourceClaim),
        ("storage.k8s.io", "volumeattachments") => ask.get(Kind::Attachment),
        ("", "serviceaccounts") => ask.service_account(),
        ("coordination.k8s.io", "leases") => ask.lease(),
        ("storage.k8s.io", "csinodes") => ask.csi_node(),
        ("resource.k8s.io", "resourceslices") => ask.resource_slice(),
        ("", "nodes") => ask.node_object(),
        ("", "pods") => ask.pod(),
        ("certificates.k8s.io", "podcertificaterequests") => Decision::no_opinion(""),
        _ => by_rules(),
    }
}

/// What can be related to a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pod,
    Secret,
    ConfigMap,
    ServiceAccount,
    Claim,
    Volume,
    ResourceClaim,
    Attachment,
    Slice,
}

impl Ask<'_> {
    fn read(self, kind: Kind) -> Decision {
        match self {
            Ask { verb: "get" | "list" | "watch", subresource: "", namespace, .. } if !namespace.is_empty() => {
                self.related(kind)
            }
            Ask { verb: "get" | "list" | "watch", subresource: "", .. } => {
                Decision::no_opinion("can only read namespaced object of this type")
            }
            Ask { verb: "get" | "list" | "watch", .. } => Decision::no_opinion("cannot read subresource"),
            _ => Decision::no_opinion("can only read resources of this type"),
        }
    }

    fn get(self, kind: Kind) -> Decision {
        match self {
            Ask { verb: "get", subresource: "", .. } => self.related(kind),
            Ask { verb: "get", .. } => Decision::no_opinion("cannot get subresource"),
            _ => Decision::no_opinion("can only get individual resources of this type"),
        }
    }

    fn related(self, kind: Kind) -> Decision {
        if self.name.is_empty() {
            return Decision::no_opinion("No Object name found");
        }
        if is_related(kind, self.namespace, self.name, self.node, self.cluster) {
            return Decision::allowed();
        }
        Decision::no_opinion(format!("no relationship found between node '{}' and this object", self.node))
    }

    fn service_account(self) -> Decision {
        match self {
            Ask { verb: "get", subresource: "", .. } => self.read(Kind::ServiceAccount),
            Ask { verb: "create", subresource: "token", name, .. } if !name.is_empty() => {
                self.related(Kind::ServiceAccount)
            }
            Ask { verb: "create", name, .. } if !name.is_empty() => {
                Decision::no_opinion("can only create token subresource of serviceaccount")
            }
            _ => Decision::no_opinion("can only create tokens for individual service accounts"),
        }
    }

    fn lease(self) -> Decision {
        if !OWN_OBJECT_VERBS.contains(&self.verb) {
            return Decision::no_opinion("can only get, create, update, patch, or delete a node lease");
        }
        if self.namespace != LEASES_NAMESPACE {
            let text = format!("can only access leases in the {LEASES_NAMESPACE:?} system namespace");
            return Decision::no_opinion(text);
        }
        self.own("can only access node lease with the same name as the requesting node")
    }

    fn csi_node(self) -> Decision {
        if !OWN_OBJECT_VERBS.contains(&self.verb) {
            return Decision::no_opinion("can only get, create, update, patch, or delete a CSINode");
        }
        if !self.subresource.is_empty() {
            return Decision::no_opinion("cannot authorize CSINode subresources");
        }
        self.own("can only access CSINode with the same name as the requesting node")
    }

    /// The object must have the node's name; at creation admission sees to that.
    fn own(self, otherwise: &str) -> Decision {
        if self.verb == "create" || self.name == self.node {
            return Decision::allowed();
        }
        Decision::no_opinion(otherwise)
    }

    fn resource_slice(self) -> Decision {
        let selected = || self.selects("spec.nodeName");
        match (self.subresource, self.verb) {
            ("", "create") => Decision::allowed(),
            ("", "get" | "update" | "patch" | "delete") => self.related(Kind::Slice),
            ("", "watch" | "list" | "deletecollection") if selected() => Decision::allowed(),
            ("", "watch" | "list" | "deletecollection") => {
                Decision::no_opinion("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            ("", _) => Decision::no_opinion(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                 delete, deletecollection",
            ),
            _ => Decision::no_opinion("cannot authorize ResourceSlice subresources"),
        }
    }

    fn node_object(self) -> Decision {
        let node = self.node;
        match (self.subresource, self.verb, self.name) {
            ("", "create" | "update" | "patch", _) | ("status", "update" | "patch", _) => Decision::allowed(),
            ("", "get" | "list" | "watch", name) if name == node => Decision::allowed(),
            ("", "get" | "list" | "watch", "") => {
                Decision::no_opinion(format!("node '{node}' cannot read all nodes, only its own Node object"))
            }
            ("", "get" | "list" | "watch", name) => {
                Decision::no_opinion(format!("node '{node}' cannot read '{name}', only its own Node object"))
            }
            _ => Decision::no_opinion(""),
        }
    }

    fn pod(self) -> Decision {
        match (self.subresource, self.verb) {
            ("", "get") => self.related(Kind::Pod),
            ("", "list" | "watch") if self.selects("spec.nodeName") => Decision::allowed(),
            ("", "list" | "watch") if !self.name.is_empty() => self.related(Kind::Pod),
            ("", "list" | "watch") => {
                Decision::no_opinion("can only list/watch pods with spec.nodeName field selector")
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Decision::allowed(),
            _ => Decision::no_opinion(""),
        }
    }

    /// Whether the field selector keeps to this node. One with escapes is not looked into: a node's name
    /// needs none.
    fn selects(self, field: &str) -> bool {
        let is_own = |requirement: &str| {
            let value = requirement.strip_prefix(field).and_then(|rest| rest.strip_prefix('='));
            value.is_some_and(|value| value.strip_prefix('=').unwrap_or(value) == self.node)
        };
        !self.field_selector.contains('\\') && self.field_selector.split(',').any(is_own)
    }
}

fn is_related(kind: Kind, namespace: &str, name: &str, node: &str, cluster: &dyn Cluster) -> bool {
    let object = |topic: &str, namespace: Option<&str>| cluster.get(topic, namespace, name);
    match kind {
        Kind::Pod => object("pods", Some(namespace)).is_some_and(|pod| pod["spec"]["nodeName"] == node),
        Kind::Attachment => {
            object("volumeattachments.storage.k8s.io", None).is_some_and(|it| it["spec"]["nodeName"] == node)
        }
        Kind::Slice => object("resourceslices.resource.k8s.io", None).is_some_and(|it| it["spec"]["nodeName"] == node),
        Kind::Volume => object("persistentvolumes", None).is_some_and(|volume| is_claimed(&volume, node, cluster)),
        Kind::Secret => {
            by_pods(kind, namespace, name, node, cluster)
                || cluster
                    .list("persistentvolumes", None)
                    .iter()
                    .any(|volume| volume_uses_secret(volume, namespace, name) && is_claimed(volume, node, cluster))
        }
        Kind::ConfigMap | Kind::ServiceAccount | Kind::Claim | Kind::ResourceClaim => {
            by_pods(kind, namespace, name, node, cluster)
        }
    }
}

fn by_pods(kind: Kind, namespace: &str, name: &str, node: &str, cluster: &dyn Cluster) -> bool {
    cluster.list("pods", Some(namespace)).iter().any(|pod| pod["spec"]["nodeName"] == node && refers(pod, kind, name))
}

fn is_claimed(volume: &Value, node: &str, cluster: &dyn Cluster) -> bool {
    let claim = &volume["spec"]["claimRef"];
    match (claim["namespace"].as_str(), claim["name"].as_str()) {
        (Some(namespace), Some(name)) => by_pods(Kind::Claim, namespace, name, node, cluster),
        _ => false,
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether a pod refers to the object. A mirror pod, which the node itself writes, may not: it could
/// name anything.
fn refers(pod: &Value, kind: Kind, name: &str) -> bool {
    if !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
        return false;
    }
    let spec = &pod["spec"];
    let containers =
        || ["containers", "initContainers", "ephemeralContainers"].into_iter().flat_map(|field| items(&spec[field]));
    let environment = |key_reference: &str, reference: &str| {
        containers().any(|container| {
            items(&container["env"]).any(|variable| variable["valueFrom"][key_reference]["name"] == name)
                || items(&container["envFrom"]).any(|source| source[reference]["name"] == name)
        })
    };
    let projected = |source: &str| {
        items(&spec["volumes"])
            .flat_map(|volume| items(&volume["projected"]["sources"]))
            .any(|projection| projection[source]["name"] == name)
    };
    match kind {
        Kind::Secret => {
            items(&spec["imagePullSecrets"]).any(|reference| reference["name"] == name)
                || environment("secretKeyRef", "secretRef")
                || projected("secret")
                || items(&spec["volumes"]).any(|volume| volume_source_uses_secret(volume, name))
        }
        Kind::ConfigMap => {
            environment("configMapKeyRef", "configMapRef")
                || projected("configMap")
                || items(&spec["volumes"]).any(|volume| volume["configMap"]["name"] == name)
        }
        Kind::ServiceAccount => spec["serviceAccountName"] == name,
        Kind::Claim => items(&spec["volumes"]).any(|volume| {
            volume["persistentVolumeClaim"]["claimName"] == name
                || !volume["ephemeral"].is_null() && is_generated_claim(pod, volume, name)
        }),
        Kind::ResourceClaim => {
            let status = &pod["status"];
            items(&spec["resourceClaims"]).any(|claim| claim["resourceClaimName"] == name)
                || items(&status["resourceClaimStatuses"]).any(|claim| claim["resourceClaimName"] == name)
                || status["extendedResourceClaimStatus"]["resourceClaimName"] == name
        }
        Kind::Pod | Kind::Volume | Kind::Attachment | Kind::Slice => false,
    }
}

/// The claim of a generic ephemeral volume is named after pod and volume.
fn is_generated_claim(pod: &Value, volume: &Value, name: &str) -> bool {
    let (pod, volume) = (pod["metadata"]["name"].as_str(), volume["name"].as_str());
    let rest = pod.and_then(|pod| name.strip_prefix(pod)).and_then(|rest| rest.strip_prefix('-'));
    rest.is_some() && rest == volume
}

/// Whatever the kind of volume, it names its secret in one of these ways.
fn volume_source_uses_secret(volume: &Value, name: &str) -> bool {
    volume.as_object().into_iter().flatten().any(|(_, source)| {
        source["secretName"] == name
            || source["secretRef"]["name"] == name
            || source["nodePublishSecretRef"]["name"] == name
    })
}

fn volume_uses_secret(volume: &Value, namespace: &str, name: &str) -> bool {
    let claim_namespace = &volume["spec"]["claimRef"]["namespace"];
    let names = |reference: &Value| {
        let home = if reference["namespace"].is_string() { &reference["namespace"] } else { claim_namespace };
        reference["name"] == name && home == namespace
    };
    volume["spec"].as_object().into_iter().flatten().any(|(_, source)| {
        let in_file = source["secretName"] == name && {
            let home = &source["secretNamespace"];
            (if home.is_string() { home } else { claim_namespace }) == namespace
        };
        in_file
            || ["secretRef", "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"]
                .iter()
                .any(|field| names(&source[field]))
    })
}
