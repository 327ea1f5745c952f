//! Golden cases: what a controller decides, as data. Adding one needs no Rust.
//!
//! Every file `cases/<controller>/<name>.yaml` has a `state` (the objects that are known), the `key` that is looked at,
//! `now`, where it matters a `failure` of the plan before and what was `attempted` at which times and `found` when it was looked
//! up, and what is expected: `steps`, each a list of actions, `again_ms`, the `attempts` that are not to be repeated too
//! soon, and the `lookups` without which nothing can be decided. `UPDATE_CASES=1` writes down what is decided now, to be read before it is committed.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use client::{Caches, Key, requests::Propagation};
use document::{Encoding, decode, yaml};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use stdx::{SystemRandom, clock::ManualClock};

use crate::{
    Setting, all,
    attempts::AttemptsByKey,
    authority::Authority,
    driver::{Controller, Failure, Turn},
    lookup::{Findings, Found, Lookup},
    plan::{Action, Errand, Plan},
    stories,
};

/// An authority that certifies everything but what nobody may be.
struct TestAuthority;

impl Authority for TestAuthority {
    fn certificate(&self) -> String {
        "the root certificate".to_owned()
    }

    fn sign(&self, _: &[u8], usages: &[&str], life: Duration, now: Timestamp) -> Result<String, String> {
        match usages.iter().find(|usage| **usage == "cert sign") {
            Some(usage) => Err(format!("unrecognized usage {usage:?}")),
            None => Ok(format!("certified at {now} for {} s: {}", life.as_secs(), usages.join(", "))),
        }
    }
}

fn setting() -> Setting {
    let clock = Arc::new(ManualClock::starting_at(Timestamp::UNIX_EPOCH));
    let setting = Setting::new(clock, Arc::new(SystemRandom::default()));
    Setting { authority: Some(Arc::new(TestAuthority)), ..setting }
}

#[test]
fn every_case_is_decided_as_it_says() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let rewriting = std::env::var_os("UPDATE_CASES").is_some();
    let (mut count, mut failures) = (0, String::new());
    for (topic, controller) in all(&setting()) {
        let Ok(entries) = fs::read_dir(folder.join(topic)) else {
            assert!(
                stories::CONTROLLERS.iter().any(|(told, _)| *told == topic),
                "{topic} has neither cases nor stories"
            );
            continue;
        };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            count += 1;
            let case = decode(&fs::read(&file).unwrap(), Encoding::Yaml, 1 << 20)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_eq!(case.strict_errors, Vec::<String>::new(), "{}", file.display());
            let case = case.value;
            let decided = decide(&*controller, &case);
            let expected = expected(&case);
            if rewriting {
                let mut written = case.as_object().unwrap().clone();
                written.extend(decided.as_object().unwrap().clone());
                fs::write(&file, yaml::encode(&written.into())).unwrap();
            } else if decided != expected {
                let (expected, decided) = (yaml::encode(&expected), yaml::encode(&decided));
                failures += &format!("\n== {}\n-- expected\n{expected}-- decided\n{decided}", file.display());
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count >= 30, "only {count} cases: were files lost?");
}

fn expected(case: &Value) -> Value {
    let mut expected = Map::new();
    for field in ["steps", "again_ms", "attempts", "lookups"] {
        if let Some(value) = case.get(field) {
            expected.insert(field.to_owned(), value.clone());
        }
    }
    expected.into()
}

fn decide(controller: &dyn Controller, case: &Value) -> Value {
    let caches = Caches::default();
    for object in case["state"].as_array().expect("a state") {
        assert!(caches.observe(object).unwrap(), "not a kind that is kept: {object}");
    }
    let key = case["key"].as_str().expect("a key");
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    let failure = case.get("failure").map(|failure| Failure {
        verb: "create",
        resource: failure["resource"].as_str().unwrap().to_owned(),
        reason: "Forbidden".into(),
        message: failure["message"].as_str().unwrap().to_owned(),
        is_away: false,
    });
    let key = Key::new(namespace, name);
    let mut attempts = AttemptsByKey::default();
    for (at, tried) in case["attempted"].as_object().into_iter().flatten() {
        attempts.note(&key, &[tried.as_str().unwrap().into()], at.parse().unwrap());
    }
    let turn = Turn {
        now: case["now"].as_str().expect("a time").parse().unwrap(),
        failure,
        attempts: attempts.of(&key),
        found: found(case),
    };
    shown(&controller.reconcile(&caches, &key, &turn))
}

/// `found`: of each owner that was looked up its UID and number of replicas, null if it is gone, or an error.
fn found(case: &Value) -> Findings {
    let found = case["found"].as_array().into_iter().flatten();
    found
        .map(|found| {
            let (namespace, name) = found["key"].as_str().unwrap().split_once('/').unwrap();
            let field = |name: &str| found[name].as_str().unwrap().into();
            let lookup =
                Lookup { api_version: field("apiVersion"), kind: field("kind"), key: Key::new(namespace, name) };
            let answer = match &found["answer"] {
                Value::Null => Found::Nothing,
                Value::String(error) => Found::Failed(error.clone()),
                scale => Found::Scale {
                    uid: scale["uid"].as_str().unwrap().into(),
                    replicas: i32::try_from(scale["replicas"].as_i64().unwrap()).unwrap(),
                },
            };
            (lookup, answer)
        })
        .collect()
}

pub(crate) fn shown(plan: &Plan) -> Value {
    let steps: Vec<Value> = plan.steps.iter().map(|step| step.iter().map(action).collect()).collect();
    let mut shown = json!({ "steps": steps });
    if let Some(wait) = plan.again_after {
        shown["again_ms"] = u64::try_from(wait.as_millis()).unwrap().into();
    }
    if !plan.attempts.is_empty() {
        shown["attempts"] = plan.attempts.iter().map(|name| &**name).collect();
    }
    if !plan.lookups.is_empty() {
        let lookup = |lookup: &Lookup| format!("{} {} {}", lookup.api_version, lookup.kind, lookup.key);
        shown["lookups"] = plan.lookups.iter().map(lookup).collect();
    }
    shown
}

/// An action; where it is told in words of its own, with them.
fn action(action: &Action) -> Value {
    let Action::Told { action: told, done, failed } = action else { return plain(action) };
    let mut shown = plain(told);
    shown["told"] = format!("{}: {}", done.reason, done.message).into();
    shown["or_told"] = format!("{}: {}", failed.reason, failed.message).into();
    shown
}

fn plain(action: &Action) -> Value {
    let at = |kind: &client::Kind, key: &Key| format!("{} {key}", kind.plural);
    match action {
        Action::Create { kind, object, .. } => json!({"create": kind.plural, "object": object}),
        Action::Patch { kind, key, subresource, patch, .. } => {
            let verb = if subresource.is_empty() { "patch".to_owned() } else { format!("patch {subresource}") };
            json!({verb: at(kind, key), "with": patch})
        }
        Action::Delete { kind, key, options, .. } => match options.propagation {
            None => json!({"delete": at(kind, key)}),
            Some(how) => json!({"delete": at(kind, key), "propagation": propagation(how)}),
        },
        Action::Told { action, .. } => plain(action),
        Action::Errand(one) => errand(one),
        Action::Event(event) => json!({
            "event": event.reason, "about": at(&event.about.kind, &event.about.key), "message": event.message,
        }),
    }
}

fn errand(errand: &Errand) -> Value {
    match errand {
        Errand::IfGone { kind, key, uid, then } => {
            let then: Vec<Value> = then.iter().map(action).collect();
            json!({"if gone": format!("{} {key}", kind.plural), "uid": uid, "then": then})
        }
        Errand::IfUnused { claim, then } => json!({"if unused": claim.as_str(), "then": action(then)}),
        Errand::FirstAllowed { choices } => {
            let choices = choices.iter().map(|(review, then)| json!({"if": review["spec"], "then": action(then)}));
            json!({"first allowed": choices.collect::<Vec<_>>()})
        }
        Errand::FillToken { account, secret, patch } => {
            json!({"fill token of": account.as_str(), "into": secret.key.as_str(), "with": patch})
        }
    }
}

fn propagation(how: Propagation) -> String {
    format!("{how:?}")
}
