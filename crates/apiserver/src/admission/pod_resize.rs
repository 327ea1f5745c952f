//! PodResizeValidator: a running pod may grow only to what its node has (KEP-1287).

use api::{quota::pod_amounts, status::Status};
use serde_json::{Value, json};

use super::{Operation, Plugin, Request, text};
use crate::cluster::Cluster;

pub struct PodResizeValidator;

#[async_trait::async_trait]
impl Plugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if request.operation == Operation::Update && request.subresource == "resize" && request.is_about("", "pods") {
            decide(request, cluster)?;
        }
        Ok(())
    }
}

fn decide(request: &Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
    let pod = &request.object;
    let name = text(&pod["spec"]["nodeName"]);
    if name.is_empty() || pod["spec"] == request.old["spec"] {
        return Ok(());
    }
    let node = cluster.get("nodes", None, name).ok_or_else(|| request.forbidden(format!("node {name:?} not found")))?;
    if let Some(system) = node["metadata"]["labels"]["kubernetes.io/os"].as_str().filter(|system| *system != "linux") {
        let problem = format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
        return Err(caused(request.forbidden(problem), "UnsupportedPlatform"));
    }
    let problems = beyond(pod, &node["status"]["allocatable"]);
    if problems.is_empty() {
        return Ok(());
    }
    let problem = format!("node didn't have enough allocatable resources: {}", problems.join("; "));
    Err(caused(request.forbidden(problem), "NodeCapacity"))
}

fn beyond(pod: &Value, allocatable: &Value) -> Vec<String> {
    let requests = pod_amounts(pod, "requests");
    let mut problems = Vec::new();
    for name in ["cpu", "memory"] {
        let requested = requests.get(name).copied().unwrap_or_default();
        let available = api::kinds::resources::quantity(&allocatable[name]);
        if requested > available {
            let shown = |amount: document::Quantity| if name == "cpu" { amount.millis() } else { amount.units() };
            problems.push(format!("{name}, requested: {}, allocatable: {}", shown(requested), shown(available)));
        }
    }
    problems
}

fn caused(mut status: Status, reason: &str) -> Status {
    if let Some(details) = &mut status.details {
        details["causes"] = json!([{"reason": reason}]);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::{Case, cluster};

    #[test]
    fn pods_grow_within_their_node() {
        let node = |name: &str, system: &str| {
            json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/os": system}},
                "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}},
            })
        };
        let cluster = cluster().with("nodes", node("one", "linux")).with("nodes", node("two", "windows"));
        let pod = |node: &str, cpu: &str, memory: &str| {
            let resources = json!({"requests": {"cpu": cpu, "memory": memory}});
            json!({"metadata": {"name": "web"}, "spec": {"nodeName": node, "containers": [{"name": "a", "resources": resources}]}})
        };
        let check = |new: Value, expect: Option<&str>| {
            let case = Case::create("pods", new).update(pod("one", "1", "1Mi")).subresource("resize");
            let found = case.run(|request| decide(request, &cluster)).err().map(|status| status.message);
            assert_eq!(found, expect.map(|detail| format!("pods \"web\" is forbidden: {detail}")));
        };
        check(pod("one", "2", "1Gi"), None);
        check(pod("", "20", "1Gi"), None);
        check(pod("gone", "2", "1Gi"), Some(r#"node "gone" not found"#));
        check(pod("two", "2", "1Gi"), Some(r#"pod resize is only supported on linux nodes, node "two" is "windows""#));
        let both = "node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824";
        check(pod("one", "3", "2Gi"), Some(both));
    }
}
