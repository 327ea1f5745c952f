//! TaintNodesByCondition: a new node takes no pods until the node controller has seen it ready.

use api::status::Status;
use serde_json::json;

use super::{Plugin, Request, list_at};
use crate::cluster::Cluster;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub struct TaintNodesByCondition;

#[async_trait::async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    async fn mutate(&self, request: &mut Request<'_>, _cluster: &dyn Cluster) -> Result<(), Status> {
        if request.creates("", "nodes")
            && let Some(object) = request.object.as_object_mut()
            && let Some(taints) = list_at(object.entry("spec").or_insert_with(|| json!({})), "taints")
            && !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule")
        {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::{Case, cluster};

    #[tokio::test]
    async fn a_new_node_is_not_ready() {
        let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
        let other = json!({"key": "gpu", "effect": "NoSchedule"});
        let cases = [
            (json!({}), json!([taint])),
            (json!({"spec": {"taints": [other]}}), json!([other, taint])),
            (json!({"spec": {"taints": [taint]}}), json!([taint])),
        ];
        for (node, expect) in cases {
            let (node, _) = Case::create("nodes", node).admit(&TaintNodesByCondition, &cluster()).await.unwrap();
            assert_eq!(node["spec"]["taints"], expect);
        }
        let update = Case::create("nodes", json!({"spec": {}})).update(json!({}));
        let (node, _) = update.admit(&TaintNodesByCondition, &cluster()).await.unwrap();
        assert!(node["spec"]["taints"].is_null());
    }
}
