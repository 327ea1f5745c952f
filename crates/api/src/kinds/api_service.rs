//! APIServices: which server answers for a group and version.

use serde_json::{Value, json};

use super::{
    check::{Node, check, elements, text},
    columns::{self},
    edit, rules,
};
use crate::{
    field::{FieldError, FieldErrors, Path},
    resource::Column,
    strategy::{NameRule, Strategy},
    syntax,
};

pub const STRATEGY: Strategy = Strategy {
    default: |object| {
        if let Some(service) = edit::at_mut(object, &["spec", "service"]) {
            edit::fill(service, "port", 443);
        }
    },
    prepare_create: prepare,
    prepare_update: rules::keep_status,
    validate,
    validate_status: |new, _, errors| {
        check(new, errors, |root| {
            for condition in root.get("status").get("conditions").items() {
                condition.get("status").word(&["True", "False", "Unknown"]);
            }
        });
    },
    name: NameRule::PathSegment,
    unconditional_update: false,
    ..Strategy::DEFAULT
};

/// What this server serves itself is available from the beginning.
fn prepare(object: &mut Value) {
    rules::drop_status(object);
    if object["spec"]["service"].is_null() {
        let created = object["metadata"]["creationTimestamp"].clone();
        let condition = json!({
            "type": "Available",
            "status": "True",
            "reason": "Local",
            "message": "Local APIServices are always available",
            "lastTransitionTime": created,
        });
        edit::set(object, "status", json!({"conditions": [condition]}));
    }
}

fn validate(object: &Value, errors: &mut FieldErrors) {
    let spec = &object["spec"];
    let (name, group, version) = (text(&object["metadata"], "name"), text(spec, "group"), text(spec, "version"));
    let required_name = format!("{version}.{group}");
    if syntax::is_path_segment(name, false).is_empty() && name != required_name {
        let message = format!("must be `spec.version+\".\"+spec.group`: {required_name:?}");
        errors.push(FieldError::invalid(&Path::new("metadata.name"), name, message));
    }
    check(object, errors, |root| validate_spec(&root.get("spec")));
}

fn validate_spec(spec: &Node<'_>) {
    let (group, version, service) = (spec.get("group"), spec.get("version"), spec.get("service"));
    if group.is_empty() && version.text() != "v1" {
        group.required("only v1 may have an empty group and it better be legacy kube");
    }
    group.optional_syntax(syntax::is_dns1123_subdomain);
    version.syntax(syntax::is_dns1035_label);
    for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.get(field);
        if !(1..=max).contains(&priority.integer()) {
            priority.invalid_value(priority.integer(), format!("must be positive and less than {max}"));
        }
    }
    let (bundle, skip) = (spec.get("caBundle"), spec.get("insecureSkipTLSVerify"));
    if !service.is_set() {
        if !bundle.is_empty() {
            let bytes = bundle.text().trim_end_matches('=').len() * 3 / 4;
            bundle.invalid_value(format!("{bytes} bytes"), "local APIServices may not have a caBundle");
        }
        if skip.flag() {
            skip.invalid("local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    service.get("namespace").require();
    service.get("name").require();
    let errors = syntax::is_port_num(service.get("port").integer());
    if !errors.is_empty() {
        service.get("port").invalid(format!("port is not valid: {}", errors.join(", ")));
    }
    if skip.flag() && !bundle.is_empty() {
        skip.invalid("may not be true if caBundle is present");
    }
}

pub fn columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("Service", "Where its requests go.", |object, _| match &object["spec"]["service"] {
            Value::Null => "Local".into(),
            service => format!("{}/{}", text(service, "namespace"), text(service, "name")).into(),
        }),
        columns::text("Available", "Whether it answers.", |object, _| available(object).into()),
        columns::age(),
    ]
}

fn available(object: &Value) -> String {
    let conditions = elements(&object["status"]["conditions"]);
    match conditions.iter().find(|condition| condition["type"] == "Available") {
        None => "Unknown".to_owned(),
        Some(condition) if condition["status"] == "True" => "True".to_owned(),
        Some(condition) if text(condition, "reason").is_empty() => text(condition, "status").to_owned(),
        Some(condition) => format!("{} ({})", text(condition, "status"), text(condition, "reason")),
    }
}
