//! Stateful sets, and the revisions that they and daemon sets keep.

use serde_json::{Value, json};

use super::{
    check::{Node, check, elements, semantically_equal, text},
    columns::{self, age, name, text_or_none},
    edit::{self, at_mut, each_mut, fill, object_at},
    pod, rules, volume,
    workload::{
        always_running, at_most_all, integer_or_percent, integer_or_percent_value, labels_match, never_decremented,
        non_negative, replica_counts, replicas, selector_and_template, warnings, wide_columns,
    },
};
use crate::{
    field::FieldErrors,
    resource::Column,
    selector::LabelSelector,
    strategy::{NameRule, Strategy},
    syntax,
};

pub const STRATEGY: Strategy = Strategy {
    default,
    prepare_create: |object| {
        rules::drop_status(object);
        drop_max_unavailable(object, &Value::Null);
    },
    prepare_update: drop_max_unavailable,
    validate: |object, errors| check(object, errors, |object| rules(&object.get("spec"))),
    validate_create,
    validate_update,
    validate_status,
    warnings,
    name: NameRule::DnsLabel,
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn default(object: &mut Value) {
    let Some(spec) = at_mut(object, &["spec"]) else { return };
    at_mut(spec, &["template", "spec"]).into_iter().for_each(pod::default_pod_spec);
    object_at(spec, &["updateStrategy"]);
    if let Some(strategy) = at_mut(spec, &["updateStrategy"]) {
        if fill(strategy, "type", "RollingUpdate") {
            fill(strategy, "rollingUpdate", json!({}));
        }
        let update = at_mut(strategy, &["rollingUpdate"]);
        update.into_iter().for_each(|update| _ = fill(update, "partition", 0));
    }
    object_at(spec, &["persistentVolumeClaimRetentionPolicy"]);
    if let Some(policy) = at_mut(spec, &["persistentVolumeClaimRetentionPolicy"]) {
        fill(policy, "whenDeleted", "Retain");
        fill(policy, "whenScaled", "Retain");
    }
    for claim in each_mut(spec, "volumeClaimTemplates").filter(|claim| claim.is_object()) {
        edit::set(claim, "apiVersion", "v1");
        edit::set(claim, "kind", "PersistentVolumeClaim");
        fill(claim, "status", json!({"phase": "Pending"}));
        at_mut(claim, &["spec"]).into_iter().for_each(|spec| _ = fill(spec, "volumeMode", "Filesystem"));
    }
}

/// The field is behind a gate that is closed by default in 1.36.
fn drop_max_unavailable(new: &mut Value, old: &Value) {
    if old["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"].is_null()
        && let Some(update) = at_mut(new, &["spec", "updateStrategy", "rollingUpdate"])
    {
        edit::remove(update, "maxUnavailable");
    }
}

fn rules(spec: &Node<'_>) {
    let management = spec.get("podManagementPolicy");
    if management.require() && !matches!(management.text(), "OrderedReady" | "Parallel") {
        management.invalid("must be 'OrderedReady' or 'Parallel'");
    }
    update_strategy(&spec.get("updateStrategy"));
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    for policy in ["whenDeleted", "whenScaled"].iter().filter(|_| retention.is_set()) {
        let policy = retention.get(policy);
        if !matches!(policy.text(), "Retain" | "Delete") {
            policy.not_supported(&["Retain", "Delete"]);
        }
    }
    non_negative(spec, &["replicas", "minReadySeconds"]);
    let start = &spec.value["ordinals"]["start"];
    spec.get("ordinals.start").showing(start).non_negative();
    selector_and_template(spec, "statefulset");
    let with_claims = template_with_claims(spec.value);
    let template = spec.get("template");
    let template = template.showing(&with_claims);
    match LabelSelector::from_object(&spec.value["selector"]) {
        Err(_) => spec.get("selector").invalid(""),
        Ok(selector) => {
            labels_match(&template, &selector);
            pod::template(&template);
        }
    }
    always_running(&spec.get("template"), "StatefulSet");
}

fn update_strategy(strategy: &Node<'_>) {
    let update = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "" => strategy.required(""),
        "OnDelete" => {
            if update.is_set() {
                update.invalid("only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            update.get("partition").non_negative();
            let unavailable = update.get("maxUnavailable");
            if unavailable.is_set() {
                integer_or_percent(&unavailable);
                if integer_or_percent_value(unavailable.value) == 0 {
                    unavailable.invalid("cannot be 0");
                }
                at_most_all(&unavailable);
            }
        }
        _ => strategy.invalid("must be 'RollingUpdate' or 'OnDelete'"),
    }
}

/// The template as its pods will be: claims as volumes, and names of the set's choosing.
fn template_with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims = elements(&spec["volumeClaimTemplates"]).iter().map(|claim| text(&claim["metadata"], "name"));
    let mut volumes: Vec<Value> =
        claims.map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}})).collect();
    volumes.dedup();
    let is_claimed = |volume: &Value| volumes.iter().any(|claim| claim["name"] == volume["name"]);
    let own: Vec<Value> =
        elements(&template["spec"]["volumes"]).iter().filter(|volume| !is_claimed(volume)).cloned().collect();
    volumes.extend(own);
    if let Some(pod) = at_mut(&mut template, &["spec"]) {
        edit::set(pod, "volumes", volumes);
        edit::remove(pod, "hostname");
        edit::remove(pod, "subdomain");
    }
    template
}

/// What cannot be changed later, and so is not complained of later.
fn validate_create(object: &Value, errors: &mut FieldErrors) {
    check(object, errors, |object| {
        let spec = object.get("spec");
        spec.get("serviceName").optional_syntax(syntax::is_dns1123_label);
        for claim in spec.get("volumeClaimTemplates").items() {
            volume::claim_spec(&claim.get("spec"));
        }
    });
}

const MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |new| {
        let spec = new.get("spec");
        let mut masked = spec.value.clone();
        MUTABLE.iter().for_each(|field| edit::copy(&mut masked, &old["spec"], field));
        if !semantically_equal(&masked, &old["spec"]) {
            spec.forbidden(
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                 'minReadySeconds' are forbidden",
            );
        }
    });
}

fn validate_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |new| {
        let status = new.get("status");
        let counters = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        non_negative(&status, &counters);
        non_negative(&status, &["observedGeneration", "collisionCount"]);
        replica_counts(&status, &counters[1..], "status.readyReplicas");
        never_decremented(&status.get("collisionCount"), &old["status"]["collisionCount"]);
    });
}

pub fn columns() -> Vec<Column> {
    let mut columns = vec![
        name(),
        columns::text("Ready", "Pods that are ready, of those wanted.", |object, _| {
            let (ready, wanted) = (&object["status"]["readyReplicas"], &object["spec"]["replicas"]);
            format!("{}/{}", replicas(ready), replicas(wanted)).into()
        }),
        age(),
    ];
    columns.extend(wide_columns().into_iter().take(2));
    columns
}

pub const CONTROLLER_REVISION: Strategy = Strategy {
    validate: |object, errors| check(object, errors, |object| object.get("revision").non_negative()),
    validate_create: |object, errors| {
        check(object, errors, |object| {
            let data = object.get("data");
            if !data.is_set() {
                data.required("data is mandatory");
            } else if !data.value.is_object() {
                data.required("data must be a valid JSON object");
            }
        });
    },
    validate_update: |new, old, errors| check(new, errors, |new| new.get("data").immutable(&old["data"])),
    ..Strategy::DEFAULT
};

pub fn controller_revision_columns() -> Vec<Column> {
    vec![
        name(),
        columns::text("Controller", "The object whose revision it is.", |object, _| controller_of(object)),
        columns::text("Revision", "Its number.", |object, _| columns::number(&object["revision"])),
        age(),
    ]
}

/// `daemonset.apps/web`.
fn controller_of(object: &Value) -> Value {
    let owners = elements(&object["metadata"]["ownerReferences"]);
    let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) else {
        return text_or_none(&Value::Null);
    };
    let kind = text(owner, "kind").to_lowercase();
    let kind = match text(owner, "apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}"),
        None => kind,
    };
    format!("{kind}/{}", text(owner, "name")).into()
}
