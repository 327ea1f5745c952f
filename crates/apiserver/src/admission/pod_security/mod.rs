//! PodSecurity: the Pod Security Standards that a namespace's labels ask for. Pods are refused or warned
//! of; workloads are warned of for their template; a namespace for the pods it has.

mod checks;
mod policy;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc};

use api::{
    field::FieldErrors,
    status::{Status, Subject},
};
use serde_json::Value;

use super::{Operation, Plugin, Request, elements, joined, text};
use crate::cluster::Cluster;
use checks::violations;
use policy::{Level, Policy, Standard};

/// Pods of a namespace that are checked when it becomes stricter.
const MAX_PODS: usize = 3000;

/// Where a workload keeps its pod template.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
];

pub struct PodSecurity;

#[async_trait::async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        if request.is_on("", "namespaces") {
            return namespace(request, cluster);
        }
        if request.is_about("", "pods") {
            return pod(request, cluster);
        }
        if let Some((_, _, path)) = TEMPLATES.iter().find(|(group, plural, _)| request.is_on(group, plural))
            && let Some(template) = request.object.pointer(path).filter(|template| template.is_object())
        {
            let policy = policy_of(request, cluster)?;
            audit(&policy, template, request);
            let warning = would_violate(&policy.warn, template);
            request.warnings.extend(warning);
        }
        Ok(())
    }
}

/// The policy of the request's namespace; labels that say nothing sensible are told to the audit log.
fn policy_of(request: &Request<'_>, cluster: &dyn Cluster) -> Result<Policy, Status> {
    let namespace = request.namespace;
    let found = cluster.get("namespaces", None, namespace);
    let found = found.ok_or_else(|| Status::internal(format!("failed to lookup namespace {namespace:?}")))?;
    let (policy, errors) = Policy::of(&found["metadata"]["labels"]);
    if !errors.is_empty() {
        let problems = joined(errors.iter().map(ToString::to_string).collect());
        request.annotations.add(&noted("error"), format!("Failed to parse policy: {problems}"));
    }
    Ok(policy)
}

/// The key of an audit annotation.
fn noted(name: &str) -> String {
    format!("{}{name}", policy::PREFIX)
}

fn audit(policy: &Policy, pod: &Value, request: &Request<'_>) {
    if let Some(violation) = would_violate(&policy.audit, pod) {
        request.annotations.add(&noted("audit-violations"), violation);
    }
}

fn pod(request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
    let (new, old) = (&*request.object, request.old);
    let is_spec = matches!(request.subresource, "" | "ephemeralcontainers" | "resize");
    if !is_spec || request.operation == Operation::Update && !changes_images(&new["spec"], &old["spec"]) {
        return Ok(());
    }
    let policy = policy_of(request, cluster)?;
    request.annotations.add(&noted("enforce-policy"), policy.enforce.to_string());
    audit(&policy, new, request);
    let found = violations(&policy.enforce, new);
    if !found.is_empty() {
        let details = detail(&found);
        return Err(request.forbidden(format!("violates PodSecurity {:?}: {details}", policy.enforce.to_string())));
    }
    let warning = would_violate(&policy.warn, new);
    request.warnings.extend(warning);
    Ok(())
}

fn would_violate(standard: &Standard, pod: &Value) -> Option<String> {
    let found = violations(standard, pod);
    (!found.is_empty()).then(|| format!("would violate PodSecurity {:?}: {}", standard.to_string(), detail(&found)))
}

fn detail(found: &[checks::Violation]) -> String {
    let one = |violation: &checks::Violation| format!("{} ({})", violation.reason, violation.detail);
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A pod's containers keep all but their image; only the ephemeral ones come later.
fn changes_images(new: &Value, old: &Value) -> bool {
    ["containers", "initContainers"].iter().any(|name| {
        let (new, old) = (elements(&new[*name]), elements(&old[*name]));
        new.len() != old.len() || new.iter().zip(old).any(|(new, old)| new["image"] != old["image"])
    }) || elements(&new["ephemeralContainers"]).iter().any(|new| {
        let known = elements(&old["ephemeralContainers"]).iter().find(|old| old["name"] == new["name"]);
        known.is_none_or(|old| old["image"] != new["image"])
    })
}

fn namespace(request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
    let (new, errors) = Policy::of(&request.object["metadata"]["labels"]);
    if request.operation == Operation::Create {
        return refuse(request, &errors);
    }
    let (old, old_errors) = Policy::of(&request.old["metadata"]["labels"]);
    if errors != old_errors {
        refuse(request, &errors)?;
    }
    let (new, old) = (new.enforce, old.enforce);
    let is_stricter =
        new != old && new.level != Level::Privileged && (new.version != old.version || new.level > old.level);
    if is_stricter {
        request.warnings.extend(existing(request.name, new, cluster));
    }
    Ok(())
}

fn refuse(request: &Request<'_>, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(Subject { group: "", resource: "Namespace", name: request.subject().name }, errors))
}

/// Warnings for the pods that are there already: one for each way in which some of them would violate the standard.
fn existing(namespace: &str, standard: Standard, cluster: &dyn Cluster) -> Vec<String> {
    let pods = one_of_each_controller_first(cluster.list("pods", Some(namespace)));
    let mut ways: Vec<(String, Vec<&str>)> = Vec::new();
    for pod in pods.iter().take(MAX_PODS) {
        let found = violations(&standard, pod);
        if found.is_empty() {
            continue;
        }
        let reasons = found.iter().map(|violation| violation.reason.as_str()).collect::<Vec<_>>().join(", ");
        let name = text(&pod["metadata"]["name"]);
        match ways.iter_mut().find(|(known, _)| *known == reasons) {
            Some((_, names)) => names.push(name),
            None => ways.push((reasons, vec![name])),
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > MAX_PODS {
        let total = pods.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MAX_PODS} of {total} existing pods"
        ));
    }
    if !ways.is_empty() {
        let standard = standard.to_string();
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {standard:?}"
        ));
    }
    let mut lines: Vec<String> = ways
        .into_iter()
        .map(|(reasons, names)| {
            let first = names.iter().min().copied().unwrap_or_default();
            match names.len() - 1 {
                0 => format!("{first}: {reasons}"),
                1 => format!("{first} (and 1 other pod): {reasons}"),
                others => format!("{first} (and {others} other pods): {reasons}"),
            }
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

/// Pods of one controller are alike: should there be too many pods, each controller has been looked at.
fn one_of_each_controller_first(pods: Vec<Arc<Value>>) -> Vec<Arc<Value>> {
    let mut seen = HashSet::new();
    let (mut first, rest): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| {
        let owners = elements(&pod["metadata"]["ownerReferences"]);
        let controller = owners.iter().find(|owner| owner["controller"] == true);
        controller.is_none_or(|owner| seen.insert(text(&owner["uid"]).to_owned()))
    });
    first.extend(rest);
    first
}
