//! Golden cases: `cases/apply/<topic>.yaml` holds sequences of writes, `<topic>.expected` what comes
//! of each. `UPDATE_CASES=1` writes the latter anew.

mod laws;
mod scale;
mod types;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{ApplyError, Filter, Versions, Write, apply, keep_times, update};
use crate::fields::FieldSet;
use crate::types::{Type, Types};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/apply");

/// The versions of the kind of the cases. `v3` keeps `spec.size` in `spec.extent.size`.
struct Served<'a> {
    types: &'a Types,
    versions: Vec<String>,
}

impl Versions for Served<'_> {
    fn convert<'s, 'd>(&'s self, document: &'d Value, from: &str, to: &str) -> Option<(Cow<'d, Value>, Type<'s>)> {
        if !self.versions.iter().any(|version| version == to) {
            return None;
        }
        let mut converted = Cow::Borrowed(document);
        if (from == "v3") != (to == "v3") {
            let spec = &mut converted.to_mut()["spec"];
            let Some(fields) = spec.as_object_mut() else { return Some((converted, type_of(self.types, to))) };
            if to == "v3" {
                if let Some(size) = fields.remove("size") {
                    spec["extent"] = json!({ "size": size });
                }
            } else if let Some(extent) = fields.remove("extent") {
                spec["size"] = extent["size"].clone();
            }
        }
        Some((converted, type_of(self.types, to)))
    }
}

fn type_of<'a>(types: &'a Types, version: &str) -> Type<'a> {
    let name = if version == "v3" { "Extended" } else { "Thing" };
    types.named(name).expect("types.yaml declares it")
}

#[test]
fn cases() {
    let types = types::read(&Path::new(CASES).join("types.yaml"));
    let mut topics: Vec<_> = std::fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path()).collect();
    topics.retain(|path| path.extension().is_some_and(|end| end == "yaml") && !path.ends_with("types.yaml"));
    topics.sort();
    assert!(!topics.is_empty());
    let mut wrong = Vec::new();
    for topic in topics {
        let cases: Map<String, Value> = serde_yaml_ng::from_str(&std::fs::read_to_string(&topic).unwrap()).unwrap();
        let got: String = cases.iter().map(|(name, steps)| format!("# {name}\n{}\n", run(steps, &types))).collect();
        let file = topic.with_extension("expected");
        if std::env::var_os("UPDATE_CASES").is_some() {
            std::fs::write(&file, &got).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        let expected: Vec<_> = expected.split_inclusive("\n\n").collect();
        let got: Vec<_> = got.split_inclusive("\n\n").collect();
        wrong.extend(
            got.iter().filter(|case| !expected.contains(case)).map(|case| format!("{}\n{case}", topic.display())),
        );
        wrong.extend(expected.iter().filter(|case| !got.contains(case)).map(|case| format!("expected:\n{case}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs the writes of one case, each on what the one before left, and says what comes of each.
fn run(steps: &Value, types: &Types) -> String {
    let mut live: Option<Value> = None;
    let mut report = String::new();
    for (index, step) in steps.as_array().unwrap().iter().enumerate() {
        let text = |name: &str, default: &'static str| step[name].as_str().unwrap_or(default).to_owned();
        let strings = |name: &str| -> Option<Vec<&str>> {
            Some(step.get(name)?.as_array()?.iter().map(|value| value.as_str().unwrap()).collect())
        };
        let served = strings("served").unwrap_or(vec!["v1", "v2", "v3"]).iter().map(ToString::to_string).collect();
        let versions = Served { types, versions: served };
        let filter = match (strings("except"), strings("only")) {
            (Some(paths), _) => Filter::except(paths),
            (_, Some(paths)) => Filter::only(paths),
            _ => Filter::All,
        };
        let version = text("version", "v1");
        let applies = step.get("apply").is_some();
        let write = Write {
            manager: &text(if applies { "apply" } else { "update" }, ""),
            subresource: &text("subresource", ""),
            api_version: &version,
            kind: "Thing",
            now: &format!("2024-01-01T00:00:{:02}Z", index + 1),
            of: type_of(types, &version),
            versions: &versions,
            filter: &filter,
        };
        let before = live.as_ref().map(|live| in_version(live, &version, &versions));
        let result = if applies {
            let config = full(&step["config"], &version);
            apply(before.as_ref(), &config, &write, step["force"] == json!(true))
        } else {
            Ok(written(before.as_ref(), step, &write))
        };
        let _ = writeln!(report, "{}", describe(result.as_ref(), before.as_ref()));
        if let Ok(mut object) = result {
            object["metadata"]["uid"] = "1".into();
            live = Some(object);
        }
    }
    report
}

fn in_version(live: &Value, version: &str, versions: &Served<'_>) -> Value {
    let from = live["apiVersion"].as_str().unwrap().to_owned();
    let all = Served { types: versions.types, versions: vec![version.to_owned()] };
    let mut live = all.convert(live, &from, version).unwrap().0.into_owned();
    live["apiVersion"] = version.into();
    live
}

fn full(config: &Value, version: &str) -> Value {
    let mut config = config.clone();
    for (name, value) in [("apiVersion", version), ("kind", "Thing")] {
        let fields = config.as_object_mut().unwrap();
        fields.entry(name).or_insert_with(|| value.into());
    }
    config
}

/// An update: a merge patch (`set`) of what is there, sent with the managed fields in `managed` or those it has.
fn written(before: Option<&Value>, step: &Value, write: &Write<'_>) -> Value {
    let mut object = before.cloned().unwrap_or_else(|| full(&json!({ "metadata": {} }), write.api_version));
    merge_patch(&mut object, &step["set"]);
    if let Some(managed) = step.get("managed") {
        object["metadata"]["managedFields"] = managed.clone();
    }
    update(before, &mut object, write);
    if step["keep_times"] == json!(true) {
        keep_times(before.unwrap(), &mut object);
    }
    object
}

fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        if !patch.is_null() {
            *target = patch.clone();
        }
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(name)),
            value => merge_patch(target.entry(name).or_insert(Value::Null), value),
        }
    }
}

fn describe(result: Result<&Value, &ApplyError>, before: Option<&Value>) -> String {
    let object = match result {
        Ok(object) if Some(object) == before => return "unchanged".to_owned(),
        Ok(object) => object,
        Err(error) => return format!("error: {error}"),
    };
    let mut shown = object.clone();
    for name in ["apiVersion", "kind"] {
        shown.as_object_mut().unwrap().remove(name);
    }
    let metadata = shown["metadata"].take();
    let labels: Map<_, _> = metadata
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !matches!(name.as_str(), "uid" | "managedFields"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    shown["metadata"] = Value::Object(labels);
    let mut lines = vec![shown.to_string()];
    for entry in metadata["managedFields"].as_array().into_iter().flatten() {
        let text = |name: &str| entry[name].as_str().unwrap_or("-");
        let second = text("time").trim_start_matches("2024-01-01T00:00:").trim_end_matches('Z');
        let door = entry["subresource"].as_str().map(|name| format!(" /{name}")).unwrap_or_default();
        let fields = FieldSet::from_v1(&entry["fieldsV1"]).unwrap();
        let paths: Vec<_> = fields.paths().iter().map(ToString::to_string).collect();
        let head = format!("{} {} {}{door} @{second}", text("operation"), text("manager"), text("apiVersion"));
        lines.push(format!("  {head}: {}", paths.join(" ")));
    }
    lines.join("\n")
}
