//! What a node may not write, and the words in which it is told.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;
use crate::{
    admission::testing::{Case, cluster},
    authz::Decision,
    cluster::FixedCluster,
};

struct Nobody;

impl Authorizer for Nobody {
    fn authorize(&self, _attributes: &Attributes<'_>, _cluster: &dyn Cluster) -> Decision {
        Decision::NoOpinion { reason: String::new() }
    }
}

fn nodes() -> FixedCluster {
    let token = json!({"name": "t", "projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}});
    let csi = json!({"name": "c", "csi": {"driver": "secrets.io"}});
    cluster()
        .with("nodes", json!({"metadata": {"name": "one", "uid": "1"}}))
        .with("pods", json!({"metadata": {"name": "mine", "namespace": "default", "uid": "m"}, "spec": {"nodeName": "one", "volumes": [token, csi]}}))
        .with("pods", json!({"metadata": {"name": "other", "namespace": "default", "uid": "o"}, "spec": {"nodeName": "two"}}))
        .with("csidrivers.storage.k8s.io", json!({"metadata": {"name": "secrets.io"}, "spec": {"tokenRequests": [{"audience": "driver"}]}}))
}

async fn check(case: Case, expect: Option<&str>) {
    let case = case.user("system:node:one", &["system:nodes"]);
    let found = case.admit(&NodeRestriction::new(Arc::new(Nobody)), &nodes()).await.err();
    let found = found.as_deref().map(|text| text.split_once("is forbidden: ").map_or(text, |(_, detail)| detail));
    assert_eq!(found, expect, "{case:?}");
}

fn mirror(edit: impl FnOnce(&mut Value)) -> Case {
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "one", "uid": "1", "controller": true});
    let metadata = json!({"name": "static", "annotations": {service_account::MIRROR: "x"}, "ownerReferences": [owner]});
    let mut pod = json!({"metadata": metadata, "spec": {"nodeName": "one"}});
    edit(&mut pod);
    Case::create("pods", pod)
}

#[tokio::test]
async fn others_are_not_restricted() {
    let case = Case::create("nodes", json!({"metadata": {"name": "two"}})).namespace("");
    assert!(case.admit(&NodeRestriction::new(Arc::new(Nobody)), &nodes()).await.is_ok());
}

#[tokio::test]
async fn nodes_make_only_mirror_pods_of_their_own() {
    check(mirror(|_| {}), None).await;
    check(
        mirror(|pod| pod["metadata"]["annotations"] = json!({})),
        Some(r#"pod does not have "kubernetes.io/config.mirror" annotation, node "one" can only create mirror pods"#),
    )
    .await;
    let only = |what: &str| format!("node \"one\" can only create pods with {what} set to itself");
    check(mirror(|pod| pod["spec"]["nodeName"] = "two".into()), Some(&only("spec.nodeName"))).await;
    check(mirror(|pod| pod["metadata"]["ownerReferences"] = json!([])), Some(&only("an owner reference"))).await;
    check(mirror(|pod| pod["metadata"]["ownerReferences"] = json!([1, 2])), Some(&only("a single owner reference")))
        .await;
    let owner =
        |field: &'static str, value: Value| mirror(move |pod| pod["metadata"]["ownerReferences"][0][field] = value);
    check(owner("name", json!("two")), Some(&only("an owner reference"))).await;
    check(owner("controller", json!(false)), Some(&only("a controller owner reference"))).await;
    check(
        owner("blockOwnerDeletion", json!(true)),
        Some(r#"node "one" must not set blockOwnerDeletion on an owner reference"#),
    )
    .await;
    check(owner("uid", json!("9")), Some("node one UID mismatch: expected 1 got 9")).await;
    let spec = |field: &'static str, value: Value| mirror(move |pod| pod["spec"][field] = value);
    let refers = |what: &str| format!("node \"one\" can not create pods that reference {what}");
    check(spec("serviceAccountName", json!("a")), Some(&refers("serviceaccounts"))).await;
    check(spec("imagePullSecrets", json!([{"name": "a"}])), Some(&refers("secrets"))).await;
    check(spec("containers", json!([{"envFrom": [{"configMapRef": {"name": "a"}}]}])), Some(&refers("configmaps")))
        .await;
    check(
        spec("volumes", json!([{"persistentVolumeClaim": {"claimName": "a"}}])),
        Some(&refers("persistentvolumeclaims")),
    )
    .await;
    check(
        spec("volumes", json!([{"projected": {"sources": [{"serviceAccountToken": {}}]}}])),
        Some(&refers("serviceaccounts (via projected volumes)")),
    )
    .await;
}

#[tokio::test]
async fn nodes_keep_to_their_pods() {
    let pod = |name: &str, node: &str| json!({"metadata": {"name": name}, "spec": {"nodeName": node}});
    check(Case::delete("pods", pod("mine", "one")), None).await;
    check(
        Case::delete("pods", pod("other", "two")),
        Some(r#"node "one" can only delete pods with spec.nodeName set to itself"#),
    )
    .await;
    check(Case::delete("pods", pod("gone", "one")), Some(r#"pods "gone" not found"#)).await;
    check(
        Case::create("pods", pod("mine", "one")).update(pod("mine", "one")),
        Some(r#"unexpected operation "UPDATE", node "one" can only create and delete mirror pods"#),
    )
    .await;
    let status = |new: Value, old: Value| Case::create("pods", new).update(old).subresource("status");
    check(status(pod("mine", "one"), pod("mine", "one")), None).await;
    check(
        status(pod("other", "two"), pod("other", "two")),
        Some(r#"node "one" can only update pod status for pods with spec.nodeName set to itself"#),
    )
    .await;
    let mut labelled = pod("mine", "one");
    labelled["metadata"]["labels"] = json!({"a": "b"});
    check(status(labelled, pod("mine", "one")), Some(r#"node "one" cannot update labels through pod status"#)).await;
    let eviction = |name: &str| Case::create("pods", json!({"metadata": {"name": name}})).subresource("eviction");
    check(eviction("mine"), None).await;
    check(eviction("other"), Some("node one can only evict pods with spec.nodeName set to itself")).await;
    check(
        Case::create("pods", pod("mine", "one")).subresource("binding"),
        Some(r#"unexpected pod subresource "binding", only 'status' and 'eviction' are allowed"#),
    )
    .await;
}

#[tokio::test]
async fn nodes_keep_to_their_node() {
    let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}, "spec": {}});
    let create = |name: &str, labels: Value| Case::create("nodes", node(name, labels)).namespace("");
    check(create("one", json!({"kubernetes.io/hostname": "one", "mine": "a", "x.node.kubernetes.io/y": "z"})), None)
        .await;
    check(create("two", json!({})), Some(r#"node "one" is not allowed to modify node "two""#)).await;
    check(
        create("one", json!({"node-restriction.kubernetes.io/a": "b", "node-role.kubernetes.io/master": "", "foo.k8s.io/c": "d"})),
        Some(r#"node "one" is not allowed to set the following labels: foo.k8s.io/c, node-restriction.kubernetes.io/a, node-role.kubernetes.io/master"#),
    )
    .await;
    let update = |new: Value, old: Value| Case::create("nodes", new).namespace("").update(old);
    let plain = || node("one", json!({}));
    check(update(plain(), plain()), None).await;
    check(
        update(plain(), node("one", json!({"node-role.kubernetes.io/master": ""}))),
        Some("is not allowed to modify labels: node-role.kubernetes.io/master"),
    )
    .await;
    let mut tainted = plain();
    tainted["spec"]["taints"] = json!([{"key": "a"}]);
    check(update(plain(), tainted), Some(r#"node "one" is not allowed to modify taints"#)).await;
    let mut owned = plain();
    owned["metadata"]["ownerReferences"] = json!([{"name": "a"}]);
    check(update(owned, plain()), Some(r#"node "one" is not allowed to modify ownerReferences"#)).await;
}

#[tokio::test]
async fn nodes_keep_to_their_leases_claims_and_requests() {
    let named = |resource: &str, namespace: &str, name: &str| {
        Case::create(resource, json!({"metadata": {"name": name}})).namespace(namespace)
    };
    let leases = "leases.coordination.k8s.io";
    check(named(leases, "kube-node-lease", "one"), None).await;
    check(
        named(leases, "kube-node-lease", "two"),
        Some("can only access node lease with the same name as the requesting node"),
    )
    .await;
    check(named(leases, "default", "one"), Some(r#"can only access leases in the "kube-node-lease" system namespace"#))
        .await;
    check(named("csinodes.storage.k8s.io", "", "one"), None).await;
    check(
        named("csinodes.storage.k8s.io", "", "two"),
        Some("can only access CSINode with the same name as the requesting node"),
    )
    .await;
    check(
        named("resourceslices.resource.k8s.io", "", "a"),
        Some("can only create ResourceSlice with the same NodeName as the requesting node"),
    )
    .await;
    let claim = |phase: &str, capacity: &str| json!({"metadata": {"name": "a"}, "status": {"phase": phase, "capacity": {"storage": capacity}}});
    let status =
        |new: Value| Case::create("persistentvolumeclaims", new).update(claim("Bound", "1Gi")).subresource("status");
    check(status(claim("Bound", "2Gi")), None).await;
    check(
        status(claim("Lost", "1Gi")),
        Some(r#"node "one" is not allowed to update fields other than status.quantity and status.conditions"#),
    )
    .await;
    check(named("persistentvolumeclaims", "default", "a"), Some("may only update PVC status")).await;
    let request = |name: &str| {
        let request = STANDARD.encode(pki::tests::request_pem(name, &["system:nodes"]));
        let spec = json!({"signerName": "kubernetes.io/kubelet-serving", "request": request});
        Case::create("certificatesigningrequests.certificates.k8s.io", json!({"metadata": {"name": "a"}, "spec": spec}))
    };
    check(request("system:node:one"), None).await;
    check(request("system:node:two"), Some("can only create a node CSR with CN=system:node:one")).await;
}

#[tokio::test]
async fn nodes_get_tokens_for_their_pods() {
    let token = |reference: Value, audiences: Value| {
        Case::create("serviceaccounts", json!({"spec": {"boundObjectRef": reference, "audiences": audiences}}))
            .name("default")
            .subresource("token")
    };
    let pod = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
    check(token(pod("mine", "m"), json!(["vault"])), None).await;
    check(token(pod("mine", "m"), json!(["driver"])), None).await;
    check(token(json!(null), json!([])), Some("node requested token not bound to a pod")).await;
    check(token(pod("mine", ""), json!([])), Some("node requested token with a pod binding without a uid")).await;
    check(
        token(pod("mine", "x"), json!([])),
        Some("the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated"),
    )
    .await;
    check(
        token(pod("other", "o"), json!([])),
        Some("node requested token bound to a pod scheduled on a different node"),
    )
    .await;
    check(token(pod("mine", "m"), json!(["a", "b"])), Some("node may only request 0 or 1 audiences")).await;
    check(
        token(pod("mine", "m"), json!(["other"])),
        Some(r#"audience "other" not found in pod spec volume, system:node:one is not authorized to request tokens for this audience"#),
    )
    .await;
}
