//! `pods/NAME/eviction`: a delete that disruption budgets may refuse (policy/v1).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use api::{selector::LabelSelector, status::Status};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    Caller, Document, Engine, Target, decode,
    delete::{Asks, DeleteOptions, Deleted},
    metadata,
    patch::Change,
    special,
};
use crate::{
    cluster::Cluster,
    http::{body::Body, render, verbs::Call},
};

const BUDGETS: &str = "poddisruptionbudgets.policy";
/// Whether a budget allows disruptions, as its controller and this server say.
const CONDITION: &str = "DisruptionAllowed";
/// More evictions than this that the controller has not yet seen would make the status too large.
const MAX_DISRUPTED_PODS: usize = 2000;
/// How often a pod that changes under an eviction is looked at anew.
const ATTEMPTS: usize = 20;

pub async fn evict(call: &mut Call) -> Result<Response<Body>, Status> {
    let caller = call.caller()?;
    let decoded = decode::foreign(&call.headers, &call.body.bytes, "policy/v1", "Eviction", caller.validation)?;
    caller.warnings.extend(decoded.warnings);
    let mut eviction = decoded.document;
    let name = eviction["metadata"]["name"].as_str().unwrap_or_default();
    if name != call.target.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    metadata::place(&call.target, &mut eviction)?;
    let eviction = special::admit(call, &caller, eviction).await?;
    let mut options = DeleteOptions::parse(&eviction["deleteOptions"])?;
    options.dry_run |= caller.dry_run;
    let mut target = call.target.clone();
    target.subresource.clear();
    let mut attempts = 0..ATTEMPTS;
    loop {
        match attempt(&call.engine, &target, &caller, options.clone()).await {
            // It is looked at anew, unless the client itself named the state that it means.
            Err(status) if status.code == 409 && options.resource_version.is_none() && attempts.next().is_some() => {}
            result => break result?,
        }
    }
    let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(render::value(StatusCode::CREATED, call.accepted.format, &success))
}

async fn attempt(
    engine: &Arc<Engine>,
    target: &Target,
    caller: &Caller,
    mut options: DeleteOptions,
) -> Result<(), Status> {
    let (_, pod) = engine.current(target)?;
    let spared = if needs_budget(&pod) {
        disrupt(engine, target, caller, &pod, options.dry_run).await?
    } else {
        pod["status"]["phase"] == "Pending" && pod["metadata"]["deletionTimestamp"].is_null()
    };
    // What no disruption is taken for must not have become healthy meanwhile.
    if spared && options.resource_version.is_none() {
        options.resource_version = pod["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    }
    if !options.dry_run && !caller.dry_run {
        say_why(engine, target, caller, &mut options).await?;
    }
    match engine.delete_asking(target, caller, &options, Asks::Nobody).await? {
        Deleted::Gone(_) | Deleted::Pending(_) => Ok(()),
    }
}

/// Marks the pod as disrupted before it goes: a Job tells by that who is to blame for the pod's end.
async fn say_why(
    engine: &Arc<Engine>,
    target: &Target,
    caller: &Caller,
    options: &mut DeleteOptions,
) -> Result<(), Status> {
    let now = engine.now_text();
    let pods = target.clone();
    let wanted = options.clone();
    let edit = move |pod: &Value| {
        wanted.check(&pods, pod)?;
        let mut pod = pod.clone();
        special::set_condition(
            &mut pod,
            json!({
                "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": now,
            }),
        );
        Ok(pod)
    };
    let target = Target { subresource: "status".to_owned(), ..target.clone() };
    let written = engine.update(&target, caller, &Change::Effect(&edit)).await?;
    if let (Some(version), Document::Stored(entry)) = (&mut options.resource_version, &written.document) {
        *version = entry.modified.to_string();
    }
    Ok(())
}

/// A pod that is over, not yet running, or already going does not count against a budget.
fn needs_budget(pod: &Value) -> bool {
    !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"))
        && pod["metadata"]["deletionTimestamp"].is_null()
}

/// Takes a disruption from the pod's budget, if it has one. True where the pod is spared that, as it is not healthy.
async fn disrupt(
    engine: &Arc<Engine>,
    target: &Target,
    caller: &Caller,
    pod: &Value,
    dry_run: bool,
) -> Result<bool, Status> {
    let budgets: Vec<Arc<Value>> = Cluster::list(&**engine, BUDGETS, Some(&target.namespace))
        .into_iter()
        .filter(|budget| {
            let selector = &budget["spec"]["selector"];
            selector.is_object()
                && LabelSelector::from_object(selector)
                    .is_ok_and(|selector| selector.matches_labels(&pod["metadata"]["labels"]))
        })
        .collect();
    let budget = match budgets.as_slice() {
        [] => return Ok(false),
        [budget] => budget,
        _ => {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    if budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" && !is_ready(pod) {
        return Ok(true);
    }
    let registry = engine.registry.load_full();
    let resource = registry.find("policy", "v1", "poddisruptionbudgets").cloned().ok_or_else(Status::no_such_path)?;
    let budget_target = Target {
        resource,
        subresource: "status".to_owned(),
        namespace: target.namespace.clone(),
        name: budget["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
    };
    let (pod_name, pod_ready, now) = (target.name.clone(), is_ready(pod), engine.now_text());
    let spared = AtomicBool::new(false);
    let edit = |budget: &Value| {
        let charged = charge(budget, &pod_name, pod_ready, &now)?;
        spared.store(charged == *budget, Ordering::Relaxed);
        Ok(charged)
    };
    let caller = Caller { dry_run: dry_run || caller.dry_run, ..caller.clone() };
    engine.update(&budget_target, &caller, &Change::Edit(&edit)).await?;
    Ok(spared.into_inner())
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The budget with one disruption taken, or why there is none.
fn charge(budget: &Value, pod_name: &str, pod_ready: bool, now: &str) -> Result<Value, Status> {
    let (metadata, status) = (&budget["metadata"], &budget["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let name = metadata["name"].as_str().unwrap_or_default();
    if number(&status["observedGeneration"]) < number(&metadata["generation"]) {
        return Err(refused(
            name,
            10,
            &format!("The disruption budget {name} is still being processed by the server."),
        ));
    }
    let allowed = number(&status["disruptionsAllowed"]);
    let (healthy, desired) = (number(&status["currentHealthy"]), number(&status["desiredHealthy"]));
    // An unhealthy pod may go as long as the healthy ones meet the budget (KEP-3017).
    if !pod_ready && healthy >= desired && desired > 0 {
        return Ok(budget.clone());
    }
    let subject = api::status::Subject { group: "policy", resource: "poddisruptionbudget", name };
    if allowed < 0 {
        return Err(Status::forbidden(subject, "pdb disruptions allowed is negative"));
    }
    let disrupted = status["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
    if disrupted > MAX_DISRUPTED_PODS {
        let detail = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(subject, detail));
    }
    if allowed == 0 {
        return Err(refused(name, 0, &no_disruptions(name, status)));
    }
    let mut budget = budget.clone();
    let status = &mut budget["status"];
    status["disruptionsAllowed"] = (allowed - 1).into();
    if !status["disruptedPods"].is_object() {
        status["disruptedPods"] = json!({});
    }
    status["disruptedPods"][pod_name] = now.into();
    if allowed == 1 {
        set_not_allowed(status, now);
    }
    Ok(budget)
}

/// Why a budget allows no disruption now.
fn no_disruptions(name: &str, status: &Value) -> String {
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let refusing = conditions.into_iter().find(|condition| {
        condition["type"] == CONDITION
            && condition["status"] == "False"
            && condition["message"].as_str().is_some_and(|message| !message.is_empty())
    });
    let (reason, message) = refusing.map_or(("", ""), |condition| {
        (condition["reason"].as_str().unwrap_or_default(), condition["message"].as_str().unwrap_or_default())
    });
    let budget = format!("The disruption budget {name}");
    // After a failed synchronization its counts say nothing.
    match refusing {
        Some(_) if reason == "SyncFailed" => {
            format!("{budget} does not allow evicting pods currently because it failed sync: {message}")
        }
        _ if healthy <= desired => format!("{budget} needs {desired} healthy pods and has {healthy} currently"),
        Some(_) => format!("{budget} does not allow evicting pods currently ({reason}): {message}"),
        None => format!("{budget} does not allow evicting pods currently"),
    }
}

/// The condition of a budget that the last allowed disruption was taken from.
fn set_not_allowed(status: &mut Value, now: &str) {
    let mut condition = json!({
        "type": CONDITION,
        "status": "False",
        "observedGeneration": status["observedGeneration"],
        "lastTransitionTime": now,
        "reason": "InsufficientPods",
        "message": "",
    });
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|known| known["type"] == CONDITION) {
        Some(known) => {
            if known["status"] == "False" {
                condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

fn refused(name: &str, retry_after_seconds: u32, detail: &str) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::too_many_requests(message, retry_after_seconds);
    status.details = Some(Box::new(json!({
        "name": name,
        "causes": [{"reason": "DisruptionBudget", "message": detail}],
    })));
    status.retry_after_seconds = (retry_after_seconds > 0).then_some(retry_after_seconds);
    status
}
