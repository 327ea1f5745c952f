//! RuntimeClass: what a pod's runtime costs beside its containers, and where it can run.

use std::sync::Arc;

use api::status::Status;
use serde_json::Value;

use super::{Plugin, Request, set, text, tolerations};
use crate::cluster::Cluster;

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

pub struct RuntimeClass;

#[async_trait::async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if request.creates("", "pods")
            && request.object["spec"].is_object()
            && let Some(class) = class_of(request, cluster)?
        {
            set_overhead(request, &class)?;
            set_scheduling(request, &class["scheduling"])?;
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !request.creates("", "pods") {
            return Ok(());
        }
        let class = class_of(request, cluster)?;
        let wanted = class.as_ref().map(|class| &class["overhead"]).filter(|overhead| overhead.is_object());
        let overhead = &request.object["spec"]["overhead"];
        match wanted {
            Some(wanted) if !same_amounts(&wanted["podFixed"], overhead) => Err(request.forbidden(MISMATCH)),
            None if !overhead.is_null() => {
                Err(request
                    .forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
            }
            _ => Ok(()),
        }
    }
}

fn class_of(request: &Request<'_>, cluster: &dyn Cluster) -> Result<Option<Arc<Value>>, Status> {
    let Some(name) = request.object["spec"]["runtimeClassName"].as_str() else { return Ok(None) };
    let missing = || request.forbidden(format!("pod rejected: RuntimeClass {name:?} not found"));
    cluster.get("runtimeclasses.node.k8s.io", None, name).ok_or_else(missing).map(Some)
}

fn set_overhead(request: &mut Request<'_>, class: &Value) -> Result<(), Status> {
    if !class["overhead"].is_object() {
        return Ok(());
    }
    let wanted = &class["overhead"]["podFixed"];
    let own = &request.object["spec"]["overhead"];
    if own.as_object().is_some_and(|own| !own.is_empty()) && !same_amounts(wanted, own) {
        return Err(request.forbidden(MISMATCH));
    }
    if !wanted.is_null() {
        set(&mut request.object["spec"], "overhead", wanted.clone());
    }
    Ok(())
}

fn same_amounts(a: &Value, b: &Value) -> bool {
    let amounts = |value: &Value| {
        let amounts = value.as_object().into_iter().flatten();
        amounts.map(|(name, amount)| (name.clone(), api::kinds::resources::quantity(amount))).collect::<Vec<_>>()
    };
    amounts(a) == amounts(b)
}

fn set_scheduling(request: &mut Request<'_>, scheduling: &Value) -> Result<(), Status> {
    if !scheduling.is_object() {
        return Ok(());
    }
    let mut selector = request.object["spec"]["nodeSelector"].clone();
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let (wanted, own) = (text(value), &selector[key.as_str()]);
        if own.as_str().is_some_and(|own| own != wanted) {
            return Err(request.forbidden(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {}",
                text(own)
            )));
        }
        set(&mut selector, key, wanted);
    }
    let merged = tolerations::merge(&request.object["spec"]["tolerations"], &scheduling["tolerations"]);
    let spec = &mut request.object["spec"];
    if !selector.is_null() {
        set(spec, "nodeSelector", selector);
    }
    if !merged.is_empty() {
        set(spec, "tolerations", merged);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::testing::{Case, cluster};

    #[tokio::test]
    async fn the_class_brings_overhead_and_placement() {
        let toleration = json!({"key": "kata", "operator": "Exists", "effect": "NoSchedule"});
        let cluster = cluster()
            .with("runtimeclasses.node.k8s.io", json!({"metadata": {"name": "plain"}, "handler": "runc"}))
            .with(
                "runtimeclasses.node.k8s.io",
                json!({
                    "metadata": {"name": "kata"}, "handler": "kata",
                    "overhead": {"podFixed": {"cpu": "100m"}},
                    "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [toleration]},
                }),
            );
        let check = async |spec: Value, expect: Result<Value, &str>| {
            let case = Case::create("pods", json!({"metadata": {"name": "web"}, "spec": spec}));
            let found = case.admit(&RuntimeClass, &cluster).await.map(|(pod, _)| pod["spec"].clone());
            assert_eq!(found, expect.map_err(str::to_owned));
        };
        let kata = |overhead: &str, selector: Value| json!({"runtimeClassName": "kata", "overhead": {"cpu": overhead}, "nodeSelector": selector, "tolerations": [toleration]});
        check(json!({}), Ok(json!({}))).await;
        check(json!({"runtimeClassName": "plain"}), Ok(json!({"runtimeClassName": "plain"}))).await;
        check(json!({"runtimeClassName": "kata"}), Ok(kata("100m", json!({"vm": "yes"})))).await;
        check(
            json!({"runtimeClassName": "kata", "overhead": {"cpu": "0.1"}, "nodeSelector": {"a": "b"}}),
            Ok(kata("100m", json!({"a": "b", "vm": "yes"}))),
        )
        .await;
        let refuse = async |spec: Value, detail: &str| {
            check(spec, Err(&format!("pods \"web\" is forbidden: {detail}"))).await;
        };
        refuse(json!({"runtimeClassName": "none"}), r#"pod rejected: RuntimeClass "none" not found"#).await;
        refuse(json!({"runtimeClassName": "kata", "overhead": {"cpu": "1"}}), MISMATCH).await;
        let unasked = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        refuse(json!({"overhead": {"cpu": "1"}}), unasked).await;
        let conflict = "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no";
        refuse(json!({"runtimeClassName": "kata", "nodeSelector": {"vm": "no"}}), conflict).await;
    }
}
