//! DefaultStorageClass and DefaultIngressClass: the class of what names none.

use std::sync::Arc;

use api::status::Status;
use serde_json::Value;

use super::{Plugin, Request, set, text};
use crate::cluster::Cluster;

pub struct DefaultStorageClass;

#[async_trait::async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let object = &request.object;
        if request.creates("", "persistentvolumeclaims")
            && object["spec"]["storageClassName"].is_null()
            && object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].is_null()
        {
            let marks =
                ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
            if let Some(class) = newest_marked(cluster, "storageclasses.storage.k8s.io", &marks) {
                set(&mut request.object["spec"], "storageClassName", class["metadata"]["name"].clone());
            }
        }
        Ok(())
    }
}

pub struct DefaultIngressClass;

#[async_trait::async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let object = &request.object;
        if request.creates("networking.k8s.io", "ingresses")
            && object["spec"]["ingressClassName"].is_null()
            && object["metadata"]["annotations"]["kubernetes.io/ingress.class"].is_null()
        {
            let marks = ["ingressclass.kubernetes.io/is-default-class"];
            if let Some(class) = newest_marked(cluster, "ingressclasses.networking.k8s.io", &marks) {
                set(&mut request.object["spec"], "ingressClassName", class["metadata"]["name"].clone());
            }
        }
        Ok(())
    }
}

/// Of the classes that say they are the default, the youngest; among twins the first by name.
fn newest_marked(cluster: &dyn Cluster, topic: &str, marks: &[&str]) -> Option<Arc<Value>> {
    let is_marked = |class: &Arc<Value>| marks.iter().any(|mark| class["metadata"]["annotations"][*mark] == "true");
    cluster.list(topic, None).into_iter().filter(is_marked).min_by(|a, b| {
        let (a, b) = (&a["metadata"], &b["metadata"]);
        let created = |metadata: &Value| text(&metadata["creationTimestamp"]).to_owned();
        created(b).cmp(&created(a)).then_with(|| text(&a["name"]).cmp(text(&b["name"])))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{admission::testing::Case, cluster::FixedCluster};

    fn class(name: &str, annotation: &str, created: &str) -> Value {
        json!({"metadata": {"name": name, "annotations": {annotation: "true"}, "creationTimestamp": created}})
    }

    #[tokio::test]
    async fn claims_get_the_youngest_default_class() {
        let topic = "storageclasses.storage.k8s.io";
        let mark = "storageclass.kubernetes.io/is-default-class";
        let none = FixedCluster::default().with(topic, json!({"metadata": {"name": "slow"}}));
        let some = FixedCluster::default()
            .with(topic, class("old", mark, "2026-01-01T00:00:00Z"))
            .with(topic, class("young-b", mark, "2026-02-01T00:00:00Z"))
            .with(topic, class("young-a", "storageclass.beta.kubernetes.io/is-default-class", "2026-02-01T00:00:00Z"))
            .with(topic, json!({"metadata": {"name": "unmarked", "creationTimestamp": "2026-03-01T00:00:00Z"}}));
        let check = async |cluster: &FixedCluster, claim: Value, expect: Value| {
            let (claim, _) =
                Case::create("persistentvolumeclaims", claim).admit(&DefaultStorageClass, cluster).await.unwrap();
            assert_eq!(claim["spec"]["storageClassName"], expect);
        };
        check(&none, json!({"spec": {}}), json!(null)).await;
        check(&some, json!({"spec": {}}), json!("young-a")).await;
        check(&some, json!({"spec": {"storageClassName": ""}}), json!("")).await;
        let beta = json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "x"}}, "spec": {}});
        check(&some, beta, json!(null)).await;
    }

    #[tokio::test]
    async fn ingresses_get_the_default_class() {
        let mark = "ingressclass.kubernetes.io/is-default-class";
        let cluster = FixedCluster::default().with("ingressclasses.networking.k8s.io", class("web", mark, ""));
        let check = async |ingress: Value, expect: Value| {
            let case = Case::create("ingresses.networking.k8s.io", ingress);
            let (ingress, _) = case.admit(&DefaultIngressClass, &cluster).await.unwrap();
            assert_eq!(ingress["spec"]["ingressClassName"], expect);
        };
        check(json!({"spec": {}}), json!("web")).await;
        check(json!({"spec": {"ingressClassName": "other"}}), json!("other")).await;
        check(json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {}}), json!(null))
            .await;
    }
}
