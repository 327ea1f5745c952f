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
    /// Takes in the names that another definition of the group has been granted.
    pub fn add(&mut self, accepted: &Value) {
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

pub fn has_finalizer(definition: &Value) -> bool {
    let names = definition["metadata"]["finalizers"].as_array();
    names.into_iter().flatten().any(|name| name == FINALIZER)
}

/// The first step of deletion, in one write: the time, the finalizer that makes instances go first, and the
/// condition from which on no new ones are taken. `now` is RFC 3339.
pub fn begin_deletion(definition: &mut Value, now: &str) {
    definition["metadata"]["deletionTimestamp"] = now.into();
    if !has_finalizer(definition) {
        match definition["metadata"]["finalizers"].as_array_mut() {
            Some(names) => names.push(FINALIZER.into()),
            None => definition["metadata"]["finalizers"] = json!([FINALIZER]),
        }
    }
    definition["status"] = terminating(definition, Termination::Pending, now);
}

pub fn without_finalizer(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Some(names) = definition["metadata"]["finalizers"].as_array_mut() {
        names.retain(|name| name != FINALIZER);
    }
    definition
}

/// How far the deletion of a definition's instances has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Termination {
    Pending,
    InProgress,
    Completed,
    /// It never had any.
    NeverEstablished,
}

/// The status of a definition that is being deleted.
pub fn terminating(definition: &Value, termination: Termination, now: &str) -> Value {
    let (is, reason, message) = match termination {
        Termination::Pending => (
            true,
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        ),
        Termination::InProgress => (true, "InstanceDeletionInProgress", "CustomResource deletion is in progress"),
        Termination::Completed => (false, "InstanceDeletionCompleted", "removed all instances"),
        Termination::NeverEstablished => (false, "NeverEstablished", "resource was never established"),
    };
    let mut status = definition["status"].clone();
    condition(&mut status, "Terminating", is, reason, message, now, &Value::Null);
    status
}
