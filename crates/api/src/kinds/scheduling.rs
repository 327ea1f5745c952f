//! Priority classes and runtime classes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    check::{Node, check, text},
    columns::{self, age, boolean, integer, name, number},
    edit, pod, resources,
};
use crate::{
    field::{FieldError, FieldErrors},
    metadata,
    resource::Column,
    strategy::Strategy,
    syntax,
};

pub const PRIORITY_CLASS: Strategy = Strategy {
    validate: |object, errors| check(object, errors, priority_class),
    validate_update: |new, old, errors| {
        check(new, errors, |new| {
            if new.get("value").integer() != old["value"].as_i64().unwrap_or_default() {
                new.get("value").forbidden("may not be changed in an update.");
            }
            new.get("preemptionPolicy").immutable(&old["preemptionPolicy"]);
        });
    },
    prepare_create: |class| {
        if let Some(metadata) = edit::at_mut(class, &["metadata"]) {
            edit::set(metadata, "generation", 1);
        }
    },
    ..Strategy::DEFAULT
};

const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;

/// The classes of the system itself.
const SYSTEM: &[(&str, i64)] = &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

fn priority_class(class: &Node<'_>) {
    let metadata = class.get("metadata");
    let (name, value) = (metadata.get("name"), class.get("value"));
    if name.text().starts_with("system-") {
        let error = match SYSTEM.iter().find(|(known, _)| *known == name.text()) {
            None => Some(format!("{} is not a known system priority class", name.text())),
            Some((known, priority)) if *priority != value.integer() => {
                Some(format!("value of {known} PriorityClass must be {priority}"))
            }
            Some((known, _)) if class.get("globalDefault").flag() => {
                Some(format!("globalDefault of {known} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        if let Some(error) = error {
            let rule = "priority class names with 'system-' prefix are reserved for system use only";
            name.forbidden(format!("{rule}. error: {error}"));
        }
    } else if value.integer() > HIGHEST_USER_PRIORITY {
        value.forbidden(format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"));
    }
    pod::preemption_policy(&class.get("preemptionPolicy"));
}

pub fn priority_class_columns() -> Vec<Column> {
    vec![
        name(),
        integer("Value", "The priority of its pods.", |object, _| number(&object["value"])),
        boolean("Global-Default", "Pods without a class get it.", |object, _| {
            object["globalDefault"].as_bool().unwrap_or_default().into()
        }),
        age(),
        columns::text("PreemptionPolicy", "Whether its pods may displace others.", |object, _| {
            text(object, "preemptionPolicy").into()
        }),
    ]
}

pub const RUNTIME_CLASS: Strategy = Strategy {
    validate: |object, errors| check(object, errors, runtime_class),
    validate_update: |new: &Value, old: &Value, errors: &mut FieldErrors| {
        check(new, errors, |new| new.get("handler").immutable(&old["handler"]));
    },
    create_on_update: true,
    unconditional_update: false,
    ..Strategy::DEFAULT
};

fn runtime_class(class: &Node<'_>) {
    class.get("handler").required_syntax(syntax::is_dns1123_label);
    // Kubernetes leaves `podFixed` out of the path.
    let overhead = class.get("overhead");
    let limits = overhead.get("limits");
    resources::overhead(&limits.showing(&overhead.value["podFixed"]));
    let scheduling = class.get("scheduling");
    scheduling.get("nodeSelector").with(metadata::validate_labels);
    let tolerations = scheduling.get("tolerations");
    pod::tolerations(&tolerations);
    let mut seen: BTreeSet<[String; 4]> = BTreeSet::new();
    for toleration in tolerations.items() {
        let key = ["key", "operator", "value", "effect"].map(|field| text(toleration.value, field).to_owned());
        if !seen.insert(key) {
            toleration.push(FieldError::duplicate(toleration.path(), toleration.value.clone()));
        }
    }
}

pub fn runtime_class_columns() -> Vec<Column> {
    vec![
        name(),
        columns::text("Handler", "The runtime configuration it names.", |object, _| text(object, "handler").into()),
        age(),
    ]
}
