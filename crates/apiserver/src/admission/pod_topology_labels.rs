//! PodTopologyLabels: a pod carries the region and zone of its node (KEP-4742).

use api::status::Status;
use serde_json::Value;

use super::{Operation, Plugin, Request, set, text};
use crate::cluster::Cluster;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub struct PodTopologyLabels;

#[async_trait::async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is_about("", "pods") {
            return Ok(());
        }
        let object = &request.object;
        let node = match request.subresource {
            "" => text(&object["spec"]["nodeName"]),
            // The binding's labels become the pod's.
            "binding" if object["target"]["kind"] == "Node" => text(&object["target"]["name"]),
            _ => "",
        };
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = cluster.get("nodes", None, node) else { return Ok(()) };
        let known = &node["metadata"]["labels"];
        for label in LABELS {
            if let (Value::String(value), Some(metadata)) = (&known[label], request.object.get_mut("metadata"))
                && let Some(fields) = metadata.as_object_mut()
            {
                set(fields.entry("labels").or_insert(Value::Null), label, value.as_str());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::testing::{Case, cluster};

    #[tokio::test]
    async fn pods_know_where_their_node_is() {
        let labels = json!({"topology.kubernetes.io/zone": "a", "topology.kubernetes.io/region": "b", "x": "y"});
        let cluster = cluster().with("nodes", json!({"metadata": {"name": "one", "labels": labels}}));
        let expect = json!({"topology.kubernetes.io/zone": "a", "topology.kubernetes.io/region": "b"});
        let bound = json!({"metadata": {"name": "web"}, "spec": {"nodeName": "one"}});
        let (pod, _) = Case::create("pods", bound).admit(&PodTopologyLabels, &cluster).await.unwrap();
        assert_eq!(pod["metadata"]["labels"], expect);
        let binding = json!({"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "one"}});
        let case = Case::create("pods", binding).subresource("binding");
        let (binding, _) = case.admit(&PodTopologyLabels, &cluster).await.unwrap();
        assert_eq!(binding["metadata"]["labels"], expect);
        let free = json!({"metadata": {"name": "web"}, "spec": {}});
        let (pod, _) = Case::create("pods", free.clone()).admit(&PodTopologyLabels, &cluster).await.unwrap();
        assert_eq!(pod, free);
    }
}
