//! LimitRanger: default requests and limits of containers, and bounds on what pods and claims ask for.

use std::collections::BTreeMap;

use api::{
    kinds::resources::quantity,
    quota::{Amounts, pod_amounts},
    status::Status,
};
use serde_json::Value;

use super::{Operation, Plugin, Request, elements, joined, set, text};
use crate::cluster::Cluster;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub struct LimitRanger;

#[async_trait::async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !is_limited(request) || !request.is_about("", "pods") {
            return Ok(());
        }
        for range in cluster.list("limitranges", Some(request.namespace)) {
            set_defaults(&mut request.object, &range);
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !is_limited(request) {
            return Ok(());
        }
        for range in cluster.list("limitranges", Some(request.namespace)) {
            let mut problems = Vec::new();
            for limit in elements(&range["spec"]["limits"]) {
                match &*request.resource.plural {
                    "pods" => check_pod(&request.object, limit, &mut problems),
                    _ => check_claim(&request.object, limit, &mut problems),
                }
            }
            if !problems.is_empty() {
                return Err(request.forbidden(joined(problems)));
            }
        }
        Ok(())
    }
}

/// Pods as they are created and resized; claims as they are written. What is going is left alone.
fn is_limited(request: &Request<'_>) -> bool {
    if !request.old["metadata"]["deletionTimestamp"].is_null() {
        return false;
    }
    match (request.operation, request.subresource) {
        (Operation::Create, "") => request.is_on("", "pods") || request.is_on("", "persistentvolumeclaims"),
        (Operation::Update, "") => request.is_on("", "persistentvolumeclaims"),
        (Operation::Update, "resize") => request.is_about("", "pods"),
        _ => false,
    }
}

fn set_defaults(pod: &mut Value, range: &Value) {
    let mut defaults: BTreeMap<&str, BTreeMap<&str, &Value>> = BTreeMap::new();
    for limit in elements(&range["spec"]["limits"]).iter().filter(|limit| limit["type"] == "Container") {
        for (from, to) in [("defaultRequest", "requests"), ("default", "limits")] {
            let amounts = limit[from].as_object().into_iter().flatten();
            defaults.entry(to).or_default().extend(amounts.map(|(name, amount)| (name.as_str(), amount)));
        }
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for (field, word) in [("requests", "request"), ("limits", "limit")] {
                let names = fill(container, field, defaults.get(field));
                if !names.is_empty() {
                    notes.push(format!("{} {word} for {what} {}", names.join(", "), text(&container["name"])));
                }
            }
        }
    }
    if notes.is_empty() {
        return;
    }
    let note = format!("LimitRanger plugin set: {}", notes.join("; "));
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        set(metadata.entry("annotations").or_insert(Value::Null), ANNOTATION, note);
    }
}

/// Sets the amounts that a container does not; their names.
fn fill(container: &mut Value, field: &str, defaults: Option<&BTreeMap<&str, &Value>>) -> Vec<String> {
    let mut names = Vec::new();
    for (name, amount) in defaults.into_iter().flatten() {
        if container["resources"][field][*name].is_null()
            && let Some(fields) = container.as_object_mut()
        {
            let resources = fields.entry("resources").or_insert_with(|| Value::Object(serde_json::Map::new()));
            let mut amounts = resources[field].take();
            set(&mut amounts, name, (*amount).clone());
            set(resources, field, amounts);
            names.push((*name).to_owned());
        }
    }
    names
}

/// Amounts as text and as number. A pod's sums have no text of their own.
type Shown = BTreeMap<String, (String, document::Quantity)>;

fn shown(amounts: &Value) -> Shown {
    let amounts = amounts.as_object().into_iter().flatten();
    amounts.map(|(name, amount)| (name.clone(), (plain(amount), quantity(amount)))).collect()
}

fn plain(amount: &Value) -> String {
    amount.as_str().map_or_else(|| amount.to_string(), str::to_owned)
}

fn summed(amounts: Amounts) -> Shown {
    amounts.into_iter().map(|(name, amount)| (name, (amount.to_string(), amount))).collect()
}

fn check_pod(pod: &Value, limit: &Value, problems: &mut Vec<String>) {
    match text(&limit["type"]) {
        "Container" => {
            let spec = &pod["spec"];
            for container in elements(&spec["containers"]).iter().chain(elements(&spec["initContainers"])) {
                let resources = &container["resources"];
                check_bounds(limit, &shown(&resources["requests"]), &shown(&resources["limits"]), problems);
            }
        }
        "Pod" => {
            let (requests, limits) = (pod_amounts(pod, "requests"), pod_amounts(pod, "limits"));
            check_bounds(limit, &summed(requests), &summed(limits), problems);
        }
        _ => {}
    }
}

fn bounds(limit: &Value, field: &str) -> Shown {
    shown(&limit[field])
}

fn check_bounds(limit: &Value, requests: &Shown, limits: &Shown, problems: &mut Vec<String>) {
    let kind = text(&limit["type"]);
    for (name, (bound, least)) in &bounds(limit, "min") {
        let head = format!("minimum {name} usage per {kind} is {bound}");
        match (requests.get(name), limits.get(name)) {
            (None, _) => problems.push(format!("{head}.  No request is specified")),
            (Some((request, amount)), _) if amount < least => {
                problems.push(format!("{head}, but request is {request}"))
            }
            (_, Some((limit, amount))) if amount < least => problems.push(format!("{head}, but limit is {limit}")),
            _ => {}
        }
    }
    for (name, (bound, most)) in &bounds(limit, "max") {
        let head = format!("maximum {name} usage per {kind} is {bound}");
        match (limits.get(name), requests.get(name)) {
            (None, _) => problems.push(format!("{head}.  No limit is specified")),
            (Some((limit, amount)), _) if amount > most => problems.push(format!("{head}, but limit is {limit}")),
            (_, Some((request, amount))) if amount > most => problems.push(format!("{head}, but request is {request}")),
            _ => {}
        }
    }
    for (name, (bound, most)) in &bounds(limit, "maxLimitRequestRatio") {
        let head = format!("{name} max limit to request ratio per {kind} is {bound}");
        let amount = |of: &Shown| of.get(name).map(|(_, amount)| *amount).filter(|amount| !amount.is_zero());
        match (amount(requests), amount(limits)) {
            (None, _) => problems.push(format!("{head}, but no request is specified or request is 0")),
            (_, None) => problems.push(format!("{head}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let ratio = limit.as_f64() / request.as_f64();
                if ratio > most.as_f64() {
                    problems.push(format!("{head}, but provided ratio is {ratio:.6}"));
                }
            }
        }
    }
}

fn check_claim(claim: &Value, limit: &Value, problems: &mut Vec<String>) {
    let kind = "PersistentVolumeClaim";
    if limit["type"] != kind {
        return;
    }
    let requests = shown(&claim["spec"]["resources"]["requests"]);
    for (field, word) in [("min", "minimum"), ("max", "maximum")] {
        for (name, (bound, edge)) in &bounds(limit, field) {
            let head = format!("{word} {name} usage per {kind} is {bound}");
            match requests.get(name) {
                None => problems.push(format!("{head}.  No request is specified")),
                Some((request, amount)) if field == "min" && amount < edge || field == "max" && amount > edge => {
                    problems.push(format!("{head}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        admission::testing::{Case, cluster},
        cluster::FixedCluster,
    };

    fn limited(limits: Value) -> FixedCluster {
        cluster().with(
            "limitranges",
            json!({"metadata": {"name": "limits", "namespace": "default"}, "spec": {"limits": limits}}),
        )
    }

    fn pod(resources: Value) -> Case {
        let containers = json!([{"name": "web", "resources": resources}]);
        Case::create("pods", json!({"metadata": {"name": "web"}, "spec": {"containers": containers}}))
    }

    #[tokio::test]
    async fn containers_get_defaults_with_a_note() {
        let cluster = limited(json!([
            {"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}},
        ]));
        let (found, _) = pod(json!({"limits": {"cpu": "1"}})).admit(&LimitRanger, &cluster).await.unwrap();
        assert_eq!(
            found["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}})
        );
        assert_eq!(
            found["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container web; memory limit for container web"
        );
        let full = json!({"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "1"}});
        let (found, _) = pod(full.clone()).admit(&LimitRanger, &cluster).await.unwrap();
        assert_eq!(found["spec"]["containers"][0]["resources"], full);
        assert!(found["metadata"]["annotations"].is_null());
    }

    #[tokio::test]
    async fn amounts_stay_within_bounds() {
        let check = async |limits: Value, resources: Value, expect: Option<&str>| {
            let found = pod(resources).admit(&LimitRanger, &limited(limits)).await.err();
            let expect = expect.map(|detail| format!("pods \"web\" is forbidden: {detail}"));
            assert_eq!(found, expect);
        };
        let of = |kind: &str, field: &str, amount: &str| json!([{"type": kind, field: {"cpu": amount}}]);
        let cpu = |request: &str, limit: &str| json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
        check(of("Container", "min", "100m"), cpu("100m", "1"), None).await;
        check(
            of("Container", "min", "100m"),
            json!({}),
            Some("minimum cpu usage per Container is 100m.  No request is specified"),
        )
        .await;
        check(
            of("Container", "min", "100m"),
            cpu("50m", "1"),
            Some("minimum cpu usage per Container is 100m, but request is 50m"),
        )
        .await;
        check(
            of("Container", "max", "1"),
            json!({}),
            Some("maximum cpu usage per Container is 1.  No limit is specified"),
        )
        .await;
        check(of("Container", "max", "1"), cpu("1", "2"), Some("maximum cpu usage per Container is 1, but limit is 2"))
            .await;
        check(of("Pod", "max", "1"), cpu("1", "2"), Some("maximum cpu usage per Pod is 1, but limit is 2")).await;
        check(of("Container", "maxLimitRequestRatio", "2"), cpu("500m", "1"), None).await;
        check(
            of("Container", "maxLimitRequestRatio", "2"),
            cpu("1", "3"),
            Some("cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
        )
        .await;
        check(
            of("Container", "maxLimitRequestRatio", "2"),
            json!({"limits": {"cpu": "1"}}),
            Some("cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"),
        )
        .await;
        check(
            json!([{"type": "Container", "min": {"cpu": "1", "memory": "1Gi"}}]),
            json!({"requests": {"cpu": "500m", "memory": "1Mi"}}),
            Some("[minimum cpu usage per Container is 1, but request is 500m, minimum memory usage per Container is 1Gi, but request is 1Mi]"),
        )
        .await;
    }

    #[tokio::test]
    async fn claims_stay_within_bounds() {
        let cluster =
            limited(json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}}]));
        let check = async |size: &str, expect: Option<&str>| {
            let claim = json!({"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": size}}}});
            let found = Case::create("persistentvolumeclaims", claim).admit(&LimitRanger, &cluster).await.err();
            assert_eq!(found, expect.map(|detail| format!("persistentvolumeclaims \"data\" is forbidden: {detail}")));
        };
        check("1Gi", None).await;
        check("512Mi", Some("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi")).await;
        check("6Gi", Some("maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi")).await;
    }
}
