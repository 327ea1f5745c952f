//! Jobs.

mod policy;
mod status;

use serde_json::{Value, json};

use super::{
    check::{IMMUTABLE, Node, check, elements, is_empty, semantically_equal, text},
    columns::{self, age, name, seconds},
    edit::{self, at_mut, each_mut, fill, object_at},
    pod, rules,
    workload::{labels_match, non_negative, warnings, wide_columns},
};
use crate::{
    field::{FieldError, FieldErrors},
    metadata,
    resource::Column,
    selector::LabelSelector,
    strategy::{Dependents, Strategy},
    syntax,
};

pub const STRATEGY: Strategy = Strategy {
    default: |job| {
        let labels = job["spec"]["template"]["metadata"]["labels"].clone();
        // What is generated for the pods is to be among the labels.
        if !generates_selector(job)
            && !is_empty(&labels)
            && is_empty(&job["metadata"]["labels"])
            && let Some(metadata) = object_at(job, &["metadata"])
        {
            metadata.insert("labels".to_owned(), labels);
        }
        at_mut(job, &["spec"]).into_iter().for_each(default_spec);
    },
    prepare_create: |job| {
        rules::drop_status(job);
        generate_selector(job);
    },
    validate,
    validate_update,
    validate_status: |new, old, errors| check(new, errors, |new| status::rules(new, old)),
    warnings,
    counts_generation: true,
    dependents: Dependents::Orphaned,
    ..Strategy::DEFAULT
};

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const OLD_CONTROLLER_UID: &str = "controller-uid";
const OLD_JOB_NAME: &str = "job-name";

fn default_spec(spec: &mut Value) {
    default_template(spec);
    if fill(spec, "parallelism", 1) {
        fill(spec, "completions", 1);
        if spec["completions"].is_null() {
            edit::remove(spec, "completions");
        }
    }
    let retries = if spec["backoffLimitPerIndex"].is_null() { 6 } else { i32::MAX };
    fill(spec, "backoffLimit", retries);
    fill(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "manualSelector", false);
    let replacement = if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
    fill(spec, "podReplacementPolicy", replacement);
}

/// What is defaulted in the template of a cron job too.
pub fn default_template(spec: &mut Value) {
    at_mut(spec, &["template", "spec"]).into_iter().for_each(pod::default_pod_spec);
    if let Some(policy) = at_mut(spec, &["podFailurePolicy"]) {
        for rule in each_mut(policy, "rules") {
            each_mut(rule, "onPodConditions").for_each(|pattern| rules::fill_empty(pattern, "status", "True"));
        }
    }
}

/// Whether this is a new job that selects its pods by its own uid, which it gets when it is stored.
fn generates_selector(job: &Value) -> bool {
    job["spec"]["manualSelector"] != true && is_empty(&job["spec"]["selector"])
}

/// A job selects its pods by its own uid, unless the user takes care of that.
fn generate_selector(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let own = |field: &str| Value::from(text(&job["metadata"], field));
    let (uid, name) = (own("uid"), own("name"));
    if let Some(labels) = object_at(job, &["spec", "template", "metadata", "labels"]) {
        for (key, value) in
            [(OLD_JOB_NAME, &name), (JOB_NAME, &name), (OLD_CONTROLLER_UID, &uid), (CONTROLLER_UID, &uid)]
        {
            labels.entry(key).or_insert_with(|| value.clone());
        }
    }
    if let Some(labels) = object_at(job, &["spec", "selector", "matchLabels"]) {
        labels.entry(CONTROLLER_UID).or_insert(uid);
    }
    // A job without labels has those of its pods.
    let labels = job["spec"]["template"]["metadata"]["labels"].clone();
    if let Some(metadata) = at_mut(job, &["metadata"]).filter(|metadata| is_empty(&metadata["labels"])) {
        edit::set(metadata, "labels", labels);
    }
}

fn validate(job: &Value, errors: &mut FieldErrors) {
    check(job, errors, |job| {
        generated_selector(job);
        let spec = job.get("spec");
        job_spec(&spec);
        let selector = spec.get("selector");
        if selector.require() {
            selector.with(metadata::validate_label_selector);
        }
        if let Ok(selector) = LabelSelector::from_object(selector.value) {
            labels_match(&spec.get("template"), &selector);
        }
        let completions = spec.get("completions").integer();
        if spec.get("completionMode").text() == "Indexed" && completions > 0 {
            let name = job.get("metadata");
            let name = name.get("name");
            let longest = format!("{}-{}", name.text(), completions - 1);
            if !syntax::is_dns1123_label(&longest).is_empty() {
                name.invalid(format!("will not able to create pod with invalid DNS label: {longest}"));
            }
        }
    });
}

fn generated_selector(job: &Node<'_>) {
    let spec = job.get("spec");
    if spec.get("manualSelector").flag() || !spec.get("selector").is_set() {
        return;
    }
    let metadata = job.get("metadata");
    metadata.get("uid").require();
    let (uid, name) = (metadata.get("uid").text(), metadata.get("name").text());
    let template = spec.get("template");
    let template = template.get("metadata");
    let labels = template.get("labels");
    let expected = [(OLD_CONTROLLER_UID, uid), (OLD_JOB_NAME, name), (CONTROLLER_UID, uid), (JOB_NAME, name)];
    for (key, value) in expected {
        let label = labels.key(key);
        let message = format!("must be '{value}'");
        match label.value.as_str() {
            None => label.required(message),
            Some(actual) if actual != value => label.showing(labels.value).invalid(message),
            Some(_) => {}
        }
    }
    let expected: Value = expected.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    let selector = LabelSelector::from_object(&spec.value["selector"]);
    if selector.is_ok_and(|selector| !selector.matches_labels(&expected)) {
        spec.get("selector").invalid("`selector` not auto-generated");
    }
}

/// The spec of a job, or of the template of one.
pub fn job_spec(spec: &Node<'_>) {
    let counters = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    non_negative(spec, &counters);
    if spec.get("maxFailedIndexes").is_set() && !spec.get("backoffLimitPerIndex").is_set() {
        spec.get("backoffLimitPerIndex").required("when maxFailedIndexes is specified");
    }
    managed_by(&spec.get("managedBy"));
    completion_mode(spec);
    if spec.get("podFailurePolicy").is_set() {
        policy::failure(spec);
    }
    policy::success(spec);
    let replacement = spec.get("podReplacementPolicy");
    if spec.get("podFailurePolicy").is_set() {
        replacement.optional_word(&["Failed"]);
    } else {
        replacement.optional_word(&["Failed", "TerminatingOrFailed"]);
    }
    let template = spec.get("template");
    pod::template(&template);
    let pod = template.get("spec");
    let restart = pod.get("restartPolicy");
    match restart.text() {
        "Always" | "" => restart.required("valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.get("podFailurePolicy").is_set() => {
            restart.invalid("only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        _ => restart.not_supported(&["OnFailure", "Never"]),
    }
}

/// `example.com/controller`.
fn managed_by(node: &Node<'_>) {
    if !node.is_set() || !node.require() {
        return;
    }
    match node.text().split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            syntax::is_dns1123_subdomain(host).into_iter().for_each(|error| node.invalid_value(host, error));
            syntax::is_http_path(path).into_iter().for_each(|error| node.invalid_value(path, error));
        }
        _ => node.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    if node.text().len() > 63 {
        node.too_long(63);
    }
}

const MANY: i64 = 100_000;
const FEW: i64 = 10_000;

fn completion_mode(spec: &Node<'_>) {
    let mode = spec.get("completionMode");
    mode.optional_word(&["NonIndexed", "Indexed"]);
    let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
    let (per_index, failed) = (spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes"));
    if !mode.is_set() || mode.text() == "NonIndexed" {
        for field in [per_index, failed].iter().filter(|field| field.is_set()) {
            field.invalid("requires indexed completion mode");
        }
    }
    if mode.text() != "Indexed" {
        return;
    }
    if !completions.is_set() {
        completions.required("when completion mode is Indexed");
    }
    if parallelism.integer() > MANY {
        parallelism.invalid(format!("must be less than or equal to {MANY} when completion mode is Indexed"));
    }
    if completions.is_set() && failed.integer() > completions.integer() {
        failed.invalid("must be less than or equal to completions");
    }
    if failed.integer() > MANY {
        failed.invalid(format!("must be less than or equal to {MANY}"));
    }
    if completions.integer() > MANY && per_index.is_set() {
        let rule = format!("when completions are above {MANY} and used with backoff limit per index");
        if !failed.is_set() {
            failed.required(format!("must be specified when completions is above {MANY}"));
        }
        for field in [parallelism, failed].iter().filter(|field| field.integer() > FEW) {
            field.invalid(format!("must be less than or equal to {FEW} {rule}"));
        }
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |new| {
        let (spec, old_spec) = (new.get("spec"), &old["spec"]);
        let completions = spec.get("completions");
        if spec.get("completionMode").text() != "Indexed" {
            completions.immutable(&old_spec["completions"]);
        } else if completions.is_set()
            && *completions.value != old_spec["completions"]
            && *completions.value != spec.value["parallelism"]
        {
            completions.invalid("can only be modified in tandem with spec.parallelism");
        }
        spec.get("selector").immutable(&old_spec["selector"]);
        template_update(&spec.get("template"), old);
        for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
            spec.get(field).immutable(&old_spec[field]);
        }
    });
}

/// While a job is suspended and has no pods, where they run and what they ask for can be changed.
fn template_update(template: &Node<'_>, old: &Value) {
    let mut masked = template.value.clone();
    let old_template = &old["spec"]["template"];
    let is_suspended = old["spec"]["suspend"] == true;
    let is_idle = old["status"]["active"].as_i64().unwrap_or_default() == 0;
    let is_condition = |condition: &Value| condition["type"] == "Suspended" && condition["status"] == "True";
    let never_started = old["status"]["startTime"].is_null();
    let may_change =
        is_suspended && is_idle && (never_started || elements(&old["status"]["conditions"]).iter().any(is_condition));
    if may_change {
        // The metadata may change with it, and is not compared.
        if let Some(spec) = at_mut(&mut masked, &["spec"]) {
            mask_scheduling(spec, &old_template["spec"]);
        }
        if !semantically_equal(&masked["spec"], &old_template["spec"]) {
            template.get("spec").invalid(IMMUTABLE);
        }
    } else if !semantically_equal(&masked, old_template) {
        template.invalid(IMMUTABLE);
    }
}

fn mask_scheduling(spec: &mut Value, old: &Value) {
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        edit::copy(spec, old, field);
    }
    edit::copy_node_affinity(spec, old);
    for list in ["containers", "initContainers"] {
        for (container, old) in each_mut(spec, list).zip(elements(&old[list])) {
            if container["name"] == old["name"] {
                edit::copy(container, old, "resources");
            }
        }
    }
}

/// The names of a job's conditions that hold, in the order in which they decide its status.
const STATES: &[&str] = &["Complete", "Failed", "Terminating", "Suspended", "FailureTarget", "SuccessCriteriaMet"];

fn state(job: &Value) -> &'static str {
    let holds = |state: &&&str| match **state {
        "Terminating" => !job["metadata"]["deletionTimestamp"].is_null(),
        state => {
            let conditions = elements(&job["status"]["conditions"]);
            let condition = conditions.iter().find(|condition| condition["type"] == state);
            condition.is_some_and(|condition| condition["status"] == "True")
        }
    };
    STATES.iter().find(holds).copied().unwrap_or("Running")
}

fn completions(job: &Value) -> String {
    let succeeded = job["status"]["succeeded"].as_i64().unwrap_or_default();
    match (job["spec"]["completions"].as_i64(), job["spec"]["parallelism"].as_i64().unwrap_or_default()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

pub fn columns() -> Vec<Column> {
    let mut columns = vec![
        name(),
        columns::text("Status", "Whether it is done, and how.", |job, _| state(job).into()),
        columns::text("Completions", "Pods that succeeded, of those needed.", |job, _| completions(job).into()),
        columns::text("Duration", "How long it took, or has been running.", |job, now| {
            let end = seconds(&job["status"]["completionTime"]).unwrap_or(now);
            let start = seconds(&job["status"]["startTime"]);
            start.map(|start| columns::human_duration(end - start)).unwrap_or_default().into()
        }),
        age(),
    ];
    columns.extend(wide_columns());
    columns
}

/// The template of a cron job's jobs.
pub fn job_template(template: &Node<'_>) {
    let spec = template.get("spec");
    job_spec(&spec);
    if spec.get("selector").is_set() {
        spec.get("selector").invalid("`selector` will be auto-generated");
    }
    let manual = spec.get("manualSelector");
    if manual.flag() {
        manual.push(FieldError::not_supported(manual.path(), true, &["nil", "false"]));
    }
}
