//! What becomes of a definition after it is committed: its names are accepted or not, it is
//! established, and when it goes its instances go first.

use serde_json::{Value, json};

pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The names in use in one group, by other definitions and by built-in kinds.
#[derive(Debug, Default, Clone)]
pub struct UsedNames {
    /// Plurals, singulars and short names.
    pub resources: Vec<String>,
    /// Kinds and list kinds.
    pub kinds: Vec<String>,
}

impl UsedNames {
    /// Takes in what another definition of the group has been granted.
    pub fn add(&mut self, definition: &Value) {
        let accepted = &definition["status"]["acceptedNames"];
        let text = |name: &str| accepted[name].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        self.resources.extend([text("plural"), text("singular")].into_iter().flatten());
        self.resources.extend(
            accepted["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned),
        );
        self.kinds.extend([text("kind"), text("listKind")].into_iter().flatten());
    }
}

/// The status that a definition gets, where names in use by others are `used`; `now` is RFC 3339.
/// `None` where it has that status already.
pub fn reconcile(definition: &Value, used: &UsedNames, now: &str) -> Option<Value> {
    let mut status = definition["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    let requested = &definition["spec"]["names"];
    let mut accepted = definition["status"]["acceptedNames"].clone();
    if !accepted.is_object() {
        accepted = json!({"plural": "", "kind": ""});
    }
    let mut conflict: Option<(&str, String)> = None;
    let checks = [
        ("plural", "PluralConflict", &used.resources),
        ("singular", "SingularConflict", &used.resources),
        ("shortNames", "ShortNamesConflict", &used.resources),
        ("kind", "KindConflict", &used.kinds),
        ("listKind", "ListKindConflict", &used.kinds),
    ];
    for (field, reason, used) in checks {
        if requested[field] == accepted[field] {
            continue;
        }
        match taken(&requested[field], &accepted[field], used) {
            Some(message) => conflict = Some((reason, message)),
            None => assign(&mut accepted, field, &requested[field]),
        }
    }
    assign(&mut accepted, "categories", &requested["categories"]);
    status["acceptedNames"] = accepted;
    let names_accepted = conflict.is_none();
    let (reason, message) = conflict.unwrap_or(("NoConflicts", "no conflicts found".to_owned()));
    let generation = &definition["metadata"]["generation"];
    condition(&mut status, "NamesAccepted", names_accepted, reason, &message, now, generation);
    if names_accepted {
        let message = "the initial names have been accepted";
        if !is_true(definition, "Established") {
            condition(&mut status, "Established", true, "InitialNamesAccepted", message, now, generation);
        }
    } else if !is_true(definition, "Established") {
        condition(&mut status, "Established", false, "NotAccepted", "not all names are accepted", now, generation);
    }
    (status != definition["status"]).then_some(status)
}

fn assign(names: &mut Value, field: &str, value: &Value) {
    if let Some(names) = names.as_object_mut() {
        match value {
            Value::Null => names.remove(field),
            value => names.insert(field.to_owned(), value.clone()),
        };
    }
}

fn taken(requested: &Value, accepted: &Value, used: &[String]) -> Option<String> {
    let of = |value: &Value| -> Vec<String> {
        match value {
            Value::String(name) => vec![name.clone()],
            Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    };
    let ours = of(accepted);
    let clashes = of(requested).into_iter().filter(|name| !ours.contains(name) && used.contains(name));
    let messages: Vec<String> = clashes.map(|name| format!("{name:?} is already in use")).collect();
    match messages.len() {
        0 => None,
        1 => messages.into_iter().next(),
        _ => Some(format!("[{}]", messages.join(", "))),
    }
}

fn condition(status: &mut Value, kind: &str, is: bool, reason: &str, message: &str, now: &str, generation: &Value) {
    let word = if is { "True" } else { "False" };
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let known = conditions.iter_mut().find(|condition| condition["type"] == kind);
    let since = match &known {
        Some(known) if known["status"] == word => known["lastTransitionTime"].clone(),
        _ => now.into(),
    };
    let mut new = json!({
        "type": kind, "status": word, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    match known {
        Some(known) => {
            if known["status"] == new["status"]
                && known["reason"] == new["reason"]
                && known["message"] == new["message"]
            {
                return;
            }
            if !generation.is_null() {
                new["observedGeneration"] = generation.clone();
            }
            *known = new;
        }
        None => {
            if !generation.is_null() {
                new["observedGeneration"] = generation.clone();
            }
            conditions.push(new);
        }
    }
}

pub fn is_true(definition: &Value, condition: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|known| known["type"] == condition && known["status"] == "True")
}

/// What a definition needs done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// It is to be served, and gets the finalizer.
    AddFinalizer,
    /// Deletion has begun: its instances are deleted, new ones refused, and when none is left the
    /// finalizer goes.
    DeleteInstances,
    RemoveFinalizer,
}

pub fn need(definition: &Value, has_instances: bool) -> Need {
    let metadata = &definition["metadata"];
    let has = metadata["finalizers"].as_array().is_some_and(|names| names.iter().any(|name| name == FINALIZER));
    match (!metadata["deletionTimestamp"].is_null(), has) {
        (false, false) if is_true(definition, "Established") => Need::AddFinalizer,
        (true, true) if has_instances => Need::DeleteInstances,
        (true, true) => Need::RemoveFinalizer,
        _ => Need::Nothing,
    }
}

/// The status while and after the instances of a definition are deleted.
pub fn terminating(definition: &Value, has_instances: bool, now: &str) -> Value {
    let mut status = definition["status"].clone();
    let (reason, message) = if has_instances {
        ("InstanceDeletionInProgress", "CustomResource deletion is in progress")
    } else {
        ("InstanceDeletionCompleted", "removed all instances")
    };
    condition(&mut status, "Terminating", has_instances, reason, message, now, &definition["metadata"]["generation"]);
    status
}
