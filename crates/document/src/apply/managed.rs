//! `metadata.managedFields` as a list of entries, read and written.

use serde_json::{Map, Value, json};

use super::Write;
use crate::fields::FieldSet;

/// How many managers may own fields by updates before the oldest of them become one.
const MAX_UPDATERS: usize = 10;
/// The manager that the oldest become.
const ANCIENT: &str = "ancient-changes";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// What one manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub subresource: String,
    /// The version of the paths in `fields`.
    pub api_version: String,
    pub time: Option<String>,
    pub fields: FieldSet,
}

/// What makes an entry the same manager's. An applier is the same in any version.
type Identity<'e> = (&'e str, Operation, &'e str, &'e str);

/// Whether a client may send these managed fields; what is wrong with them otherwise.
pub fn decode_managed_fields(entries: &Value) -> Result<(), String> {
    decode(Some(entries)).map(|_| ())
}

pub(super) fn decode(entries: Option<&Value>) -> Result<Vec<Entry>, String> {
    let mut decoded: Vec<Entry> = Vec::new();
    let list = match entries {
        None | Some(Value::Null) => return Ok(decoded),
        Some(Value::Array(list)) => list,
        Some(_) => return Err("managed fields must be a list".to_owned()),
    };
    for (index, entry) in list.iter().enumerate() {
        decoded.push(decode_entry(entry, index)?);
    }
    // Of several entries of one manager the last counts.
    decoded.reverse();
    decoded.sort_by(|a, b| a.identity().cmp(&b.identity()));
    decoded.dedup_by(|a, b| a.identity() == b.identity());
    Ok(decoded)
}

fn decode_entry(entry: &Value, index: usize) -> Result<Entry, String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".to_owned()),
    };
    if text("apiVersion").is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match text("fieldsType") {
        "FieldsV1" => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
        other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}")),
    }
    let fields = FieldSet::from_v1(entry.get("fieldsV1").unwrap_or(&Value::Null));
    Ok(Entry {
        manager: text("manager").to_owned(),
        operation,
        subresource: text("subresource").to_owned(),
        api_version: text("apiVersion").to_owned(),
        time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
        fields: fields.map_err(|error| format!("error decoding set: {error}"))?,
    })
}

/// Decodes only the entries that `write`, an update, needs to see; from the others `disown` takes what changed.
///
/// `entries` are as the server stored them. Those not decoded are of the version written in.
pub(super) fn split(
    entries: Value,
    write: &Write<'_>,
    disown: impl Fn(&mut Map<String, Value>),
) -> Result<(Vec<Value>, Vec<Entry>), String> {
    let Value::Array(mut entries) = entries else { return Ok((Vec::new(), decode(Some(&entries))?)) };
    let updaters = entries.iter().filter(|entry| entry["operation"] == "Update").count();
    let own = |entry: &Value| entry["manager"] == write.manager() && entry["operation"] == "Update";
    let concerned = entries.extract_if(.., |entry| {
        updaters >= MAX_UPDATERS
            || entry["apiVersion"] != write.api_version
            || own(entry)
            || !entry["fieldsV1"].is_object()
    });
    let concerned = Value::Array(concerned.collect());
    entries.retain_mut(|entry| {
        let Some(Value::Object(fields)) = entry.get_mut("fieldsV1") else { return false };
        disown(fields);
        !fields.is_empty()
    });
    Ok((entries, decode(Some(&concerned))?))
}

/// None where nobody owns anything. `apart` are entries that are encoded already.
pub(super) fn encode(entries: Vec<Entry>, apart: Vec<Value>) -> Option<Value> {
    let mut list = apart;
    list.extend(entries.into_iter().map(encode_entry));
    list.sort_by(|a, b| place(a).cmp(&place(b)));
    (!list.is_empty()).then_some(Value::Array(list))
}

/// Where an encoded entry is listed.
fn place(entry: &Value) -> [Option<&str>; 5] {
    ["operation", "time", "manager", "apiVersion", "subresource"].map(|name| entry[name].as_str())
}

fn encode_entry(entry: Entry) -> Value {
    let operation = match entry.operation {
        Operation::Apply => "Apply",
        Operation::Update => "Update",
    };
    let mut encoded = json!({
        "operation": operation,
        "apiVersion": entry.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields.to_v1(),
    });
    let named = [("manager", Some(entry.manager)), ("subresource", Some(entry.subresource)), ("time", entry.time)];
    for (name, value) in named {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            encoded[name] = value.into();
        }
    }
    encoded
}

impl Entry {
    /// The entry of `write`, owning nothing yet.
    pub fn new(write: &Write<'_>, operation: Operation) -> Self {
        Self {
            manager: write.manager().to_owned(),
            operation,
            subresource: write.subresource.to_owned(),
            api_version: write.api_version.to_owned(),
            time: Some(write.now.to_owned()),
            fields: FieldSet::default(),
        }
    }

    pub fn identity(&self) -> Identity<'_> {
        let api_version = match self.operation {
            Operation::Apply => "",
            Operation::Update => &*self.api_version,
        };
        (&self.manager, self.operation, api_version, &self.subresource)
    }

    /// As conflicts call it.
    pub fn describe(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

/// Takes out the entry of the same manager as `entry`.
pub(super) fn take(entries: &mut Vec<Entry>, entry: &Entry) -> Option<Entry> {
    let index = entries.iter().position(|other| other.identity() == entry.identity())?;
    Some(entries.swap_remove(index))
}

/// Bounds the number of updaters: the oldest of each version are merged into one.
pub(super) fn cap_updaters(entries: &mut Vec<Entry>) {
    let (mut updaters, mut kept): (Vec<_>, Vec<_>) =
        std::mem::take(entries).into_iter().partition(|entry| entry.operation == Operation::Update);
    updaters.sort_by(|a, b| (&a.time, a.identity()).cmp(&(&b.time, b.identity())));
    // The first of a version that came up, in which the next of that version is merged.
    let mut buckets: Vec<Entry> = Vec::new();
    let mut excess = updaters.len().saturating_sub(MAX_UPDATERS);
    for updater in updaters {
        match buckets.iter_mut().find(|bucket| bucket.api_version == updater.api_version) {
            Some(bucket) if excess > 0 => {
                excess -= 1;
                bucket.manager = ANCIENT.to_owned();
                bucket.subresource = String::new();
                bucket.time = updater.time;
                bucket.fields.extend(updater.fields);
            }
            None if excess > 0 => buckets.push(updater),
            _ => kept.push(updater),
        }
    }
    for mut bucket in buckets {
        if let Some(same) = take(&mut kept, &bucket) {
            bucket.fields.extend(same.fields);
        }
        kept.push(bucket);
    }
    *entries = kept;
}
