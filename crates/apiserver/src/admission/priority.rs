//! Priority: the priority that a pod's class stands for; one default class.

use std::sync::Arc;

use api::status::Status;
use serde_json::Value;

use super::{Operation, Plugin, Request, set, text};
use crate::cluster::Cluster;

const CLASSES: &str = "priorityclasses.scheduling.k8s.io";

pub struct Priority;

#[async_trait::async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !request.is_on("", "pods") || !request.object["spec"].is_object() {
            return Ok(());
        }
        match request.operation {
            Operation::Create => assign(request, cluster),
            Operation::Update => {
                keep(request);
                Ok(())
            }
            Operation::Delete | Operation::Connect => Ok(()),
        }
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        validate_class(request, cluster)
    }
}

fn assign(request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
    let spec = &request.object["spec"];
    let class = match text(&spec["priorityClassName"]) {
        "" => default_class(cluster),
        name => Some(
            built_in(name)
                .or_else(|| cluster.get(CLASSES, None, name))
                .ok_or_else(|| request.forbidden(format!("no PriorityClass with name {name} was found")))?,
        ),
    };
    let priority = class.as_ref().and_then(|class| class["value"].as_i64()).unwrap_or(0);
    let policy = match &class {
        None => "PreemptLowerPriority",
        Some(class) => text(&class["preemptionPolicy"]),
    };
    if let Some(asked) = spec["priority"].as_i64().filter(|asked| *asked != priority) {
        return Err(request.forbidden(format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        )));
    }
    if let Some(asked) = spec["preemptionPolicy"].as_str().filter(|asked| !policy.is_empty() && *asked != policy) {
        return Err(request.forbidden(format!(
            "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )));
    }
    let (name, policy) = (class.as_ref().map(|class| class["metadata"]["name"].clone()), policy.to_owned());
    let spec = &mut request.object["spec"];
    if let Some(name) = name {
        set(spec, "priorityClassName", name);
    }
    set(spec, "priority", priority);
    if !policy.is_empty() {
        set(spec, "preemptionPolicy", policy);
    }
    Ok(())
}

/// The system's classes are known even before their objects are made.
fn built_in(name: &str) -> Option<Arc<Value>> {
    let value = match name {
        "system-node-critical" => 2_000_001_000_i64,
        "system-cluster-critical" => 2_000_000_000,
        _ => return None,
    };
    let class = serde_json::json!({
        "metadata": {"name": name}, "value": value, "preemptionPolicy": "PreemptLowerPriority",
    });
    Some(Arc::new(class))
}

/// Should several have become the default, the lowest counts.
fn default_class(cluster: &dyn Cluster) -> Option<Arc<Value>> {
    let classes = cluster.list(CLASSES, None).into_iter().filter(|class| class["globalDefault"] == true);
    classes.min_by_key(|class| class["value"].as_i64())
}

/// An update that leaves out what admission has set does not mean to change it.
fn keep(request: &mut Request<'_>) {
    for field in ["priority", "preemptionPolicy"] {
        let old = &request.old["spec"][field];
        if request.object["spec"][field].is_null() && !old.is_null() {
            set(&mut request.object["spec"], field, old.clone());
        }
    }
}

fn validate_class(request: &Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
    let written = matches!(request.operation, Operation::Create | Operation::Update);
    if !written || !request.is_on("scheduling.k8s.io", "priorityclasses") || request.object["globalDefault"] != true {
        return Ok(());
    }
    let Some(default) = default_class(cluster) else { return Ok(()) };
    let name = text(&default["metadata"]["name"]);
    if request.operation == Operation::Update && name == request.name {
        return Ok(());
    }
    Err(request.forbidden(format!("PriorityClass {name} is already marked as default. Only one default can exist")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        admission::testing::{Case, cluster},
        cluster::FixedCluster,
    };

    fn classes() -> FixedCluster {
        cluster()
            .with(CLASSES, json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"}))
            .with(CLASSES, json!({"metadata": {"name": "usual"}, "value": 10, "globalDefault": true, "preemptionPolicy": "PreemptLowerPriority"}))
    }

    #[tokio::test]
    async fn pods_get_the_priority_of_their_class() {
        let check = async |cluster: &FixedCluster, spec: Value, expect: Result<Value, &str>| {
            let case = Case::create("pods", json!({"metadata": {"name": "web"}, "spec": spec}));
            let found = case.admit(&Priority, cluster).await.map(|(pod, _)| pod["spec"].clone());
            assert_eq!(found, expect.map_err(str::to_owned));
        };
        let spec = |class: &str, priority: i64, policy: &str| {
            Ok(json!({"priorityClassName": class, "priority": priority, "preemptionPolicy": policy}))
        };
        let lower = "PreemptLowerPriority";
        check(&cluster(), json!({}), Ok(json!({"priority": 0, "preemptionPolicy": lower}))).await;
        check(&classes(), json!({}), spec("usual", 10, lower)).await;
        check(&classes(), json!({"priorityClassName": "high"}), spec("high", 1000, "Never")).await;
        check(&classes(), json!({"priorityClassName": "high", "priority": 1000}), spec("high", 1000, "Never")).await;
        check(
            &cluster(),
            json!({"priorityClassName": "system-node-critical"}),
            spec("system-node-critical", 2_000_001_000, lower),
        )
        .await;
        let missing = r#"pods "web" is forbidden: no PriorityClass with name none was found"#;
        check(&classes(), json!({"priorityClassName": "none"}), Err(missing)).await;
        let differs = r#"pods "web" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name"#;
        check(&classes(), json!({"priorityClassName": "high", "priority": 7}), Err(differs)).await;
        let policy = r#"pods "web" is forbidden: the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name"#;
        check(&classes(), json!({"priorityClassName": "high", "preemptionPolicy": lower}), Err(policy)).await;
    }

    #[tokio::test]
    async fn an_update_keeps_the_priority() {
        let case = Case::create("pods", json!({"spec": {"nodeName": "a"}})).update(json!({"spec": {"priority": 7}}));
        let (pod, _) = case.admit(&Priority, &cluster()).await.unwrap();
        assert_eq!(pod["spec"], json!({"nodeName": "a", "priority": 7}));
    }

    #[tokio::test]
    async fn there_is_one_default_class() {
        let class = |name: &str| {
            Case::create(
                "priorityclasses.scheduling.k8s.io",
                json!({"metadata": {"name": name}, "globalDefault": true}),
            )
            .namespace("")
        };
        let second = r#"priorityclasses.scheduling.k8s.io "mine" is forbidden: PriorityClass usual is already marked as default. Only one default can exist"#;
        let refusal = async |case: Case, cluster: &FixedCluster| case.admit(&Priority, cluster).await.err();
        assert_eq!(refusal(class("mine"), &classes()).await.as_deref(), Some(second));
        assert_eq!(refusal(class("mine").update(json!({})), &classes()).await.as_deref(), Some(second));
        assert_eq!(refusal(class("usual").update(json!({})), &classes()).await, None);
        assert_eq!(refusal(class("mine"), &cluster()).await, None);
    }
}
