//! Golden stories: what a controller does over time, as data, for controllers that remember. Adding one needs no Rust.
//!
//! Every file `stories/<controller>/<name>.yaml` is a list of moments. Each has `at`, in seconds from noon; what is then
//! `seen`, objects that are merged over what is known of them, or `gone` (`nodes n1`); and `then`: what the controller does
//! until the next moment, each time with its second and key. What it does happens, as a server would have it.
//! `UPDATE_CASES=1` writes down what is done now, to be read before it is committed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use client::{
    Caches, Key, Kind,
    caches::{AnySubscription, Topic},
    requests::Patch,
};
use document::{Encoding, decode, yaml};
use jiff::Timestamp;
use serde_json::{Value, json};
use stdx::clock::until;
use stdx::{Clock, clock::ManualClock};
use tokio::sync::Notify;

use crate::{
    cases,
    driver::{Controller, Turn},
    node_lifecycle::NodeLifecycle,
    node_ranges::NodeRanges,
    plan::{Action, Errand},
    pod_garbage::PodGarbage,
    taint_eviction::TaintEviction,
};

const NOON: &str = "2026-11-23T12:00:00Z";

pub(crate) type Make = fn(Arc<dyn Clock>) -> Box<dyn Controller>;

pub(crate) const CONTROLLERS: &[(&str, Make)] = &[
    ("node_lifecycle", |clock| Box::new(NodeLifecycle::new(clock))),
    // Room for four nodes.
    ("node_ranges", |_| Box::new(NodeRanges::new(vec!["10.0.0.0/22".parse().unwrap()]))),
    ("taint_eviction", |clock| Box::new(TaintEviction::new(clock))),
    // Of pods that are over, two stay.
    ("pod_garbage", |clock| Box::new(PodGarbage::keeping(2, clock))),
];

#[test]
fn every_story_goes_as_it_says() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("stories");
    let mut failures = String::new();
    for (topic, make) in CONTROLLERS {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder.join(topic)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let story = decode(&fs::read(&file).unwrap(), Encoding::Yaml, 1 << 20)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
                .value;
            let mut told = story.clone();
            World::new(*make).play(&mut told);
            if std::env::var_os("UPDATE_CASES").is_some() {
                fs::write(&file, yaml::encode(&told)).unwrap();
            } else if told != story {
                let (expected, happened) = (yaml::encode(&story), yaml::encode(&told));
                failures += &format!("\n== {}\n-- expected\n{expected}-- happened\n{happened}", file.display());
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// A server of nothing but objects, and one controller.
struct World {
    clock: ManualClock,
    noon: Timestamp,
    controller: Box<dyn Controller>,
    caches: Caches,
    subscriptions: Vec<AnySubscription>,
    objects: BTreeMap<(String, Key), Value>,
    revision: u64,
    due: BTreeMap<Key, Timestamp>,
    gone: BTreeSet<(String, Key)>,
}

impl World {
    fn new(make: Make) -> Self {
        let noon: Timestamp = NOON.parse().unwrap();
        let clock = ManualClock::starting_at(noon);
        let controller = make(Arc::new(clock.clone()));
        let caches = Caches::default();
        let news = Arc::new(Notify::new());
        let subscriptions = controller.topics().iter().map(|topic| caches.subscribe(*topic, &news)).collect();
        let (objects, due, gone) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { clock, noon, controller, caches, subscriptions, objects, revision: 0, due, gone }
    }

    fn play(&mut self, story: &mut Value) {
        let moments = story.as_array_mut().expect("a list of moments");
        let starts: Vec<u64> = moments.iter().map(|moment| moment["at"].as_u64().expect("seconds")).collect();
        for (index, moment) in moments.iter_mut().enumerate() {
            self.advance_to(self.noon + Duration::from_secs(starts[index]));
            for object in moment["seen"].as_array().into_iter().flatten() {
                self.see(object);
            }
            for gone in moment["gone"].as_array().into_iter().flatten() {
                let (plural, key) = gone.as_str().unwrap().split_once(' ').expect("a resource and a key");
                let (namespace, name) = key.split_once('/').unwrap_or(("", key));
                self.remove(plural, &Key::new(namespace, name));
            }
            // A moment before the next begins: what is due just then is its own.
            let end = starts.get(index + 1).map_or(self.clock.now(), |next| self.noon + Duration::from_secs(*next));
            let done = self.run_until(end);
            moment.as_object_mut().unwrap().remove("then");
            if !done.is_empty() {
                moment["then"] = done.into();
            }
        }
    }

    /// What is done up to a time, with its second.
    fn run_until(&mut self, end: Timestamp) -> Vec<Value> {
        let mut done = Vec::new();
        for _ in 0..1000 {
            let mut keys = BTreeSet::new();
            for subscription in &self.subscriptions {
                self.controller.touched(&self.caches, &subscription.changes(), &mut |key| {
                    keys.insert(key);
                });
            }
            let now = self.clock.now();
            self.due.retain(|key, due| {
                let is_due = *due <= now;
                if is_due {
                    keys.insert(key.clone());
                }
                !is_due
            });
            if keys.is_empty() {
                match self.due.values().min().copied().filter(|next| *next < end) {
                    Some(next) => self.advance_to(next),
                    None => return done,
                }
            }
            for key in keys {
                let plan = self.controller.reconcile(&self.caches, &key, &Turn::at(now));
                if let Some(wait) = plan.again_after {
                    let due = now + wait;
                    let known = self.due.entry(key.clone()).or_insert(due);
                    *known = due.min(*known);
                }
                if !plan.steps.is_empty() {
                    let second = until(now, self.noon).as_secs_f64();
                    let at = format!("{second:.3}").trim_end_matches('0').trim_end_matches('.').to_owned();
                    let steps = cases::shown(&plan)["steps"].clone();
                    done.push(json!({"at": at, "key": key.as_str(), "steps": steps}));
                }
                plan.steps.iter().flatten().for_each(|action| self.apply(action));
            }
        }
        panic!("no end: {}", yaml::encode(&done.into()));
    }

    fn advance_to(&mut self, time: Timestamp) {
        self.clock.advance(until(time, self.clock.now()));
    }

    fn see(&mut self, object: &Value) {
        let kind = kind_of(object);
        let metadata = &object["metadata"];
        let key = Key::new(metadata["namespace"].as_str().unwrap_or(""), metadata["name"].as_str().expect("a name"));
        let place = (kind.plural.to_string(), key);
        let mut merged = self.objects.get(&place).cloned().unwrap_or_default();
        merge(&mut merged, object);
        if merged["metadata"]["uid"].is_null() {
            let again = if self.gone.contains(&place) { "-again" } else { "" };
            merged["metadata"]["uid"] = format!("{}-uid{again}", place.1.name()).into();
        }
        self.store(place, merged);
    }

    fn store(&mut self, place: (String, Key), mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        assert!(self.caches.observe(&object).unwrap(), "not a kind that is kept: {object}");
        self.objects.insert(place, object);
    }

    fn remove(&mut self, plural: &str, key: &Key) {
        let object = self.objects.remove(&(plural.to_owned(), key.clone())).unwrap_or_else(|| panic!("no {key}"));
        self.caches.observe_deletion(&kind_of(&object), key, &[]);
        self.gone.insert((plural.to_owned(), key.clone()));
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Told { action, .. } => self.apply(action),
            Action::Patch { kind, key, form, patch, .. } => {
                let place = (kind.plural.to_string(), key.clone());
                let Some(mut object) = self.objects.get(&place).cloned() else { return };
                let mut patch = patch.clone();
                if let (Patch::Strategic, Some(conditions)) = (form, patch["status"]["conditions"].as_array()) {
                    let mut merged: Vec<Value> = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
                    for condition in conditions {
                        match merged.iter_mut().find(|known| known["type"] == condition["type"]) {
                            Some(known) => merge(known, condition),
                            None => merged.push(condition.clone()),
                        }
                    }
                    patch["status"]["conditions"] = merged.into();
                }
                merge(&mut object, &patch);
                self.store(place, object);
            }
            Action::Delete { kind, key, .. } => self.remove(&kind.plural, key),
            Action::Create { .. } | Action::Event(_) => {}
            Action::Errand(Errand::IfGone { kind, key, then, .. }) => {
                if !self.objects.contains_key(&(kind.plural.to_string(), key.clone())) {
                    then.iter().for_each(|action| self.apply(action));
                }
            }
            Action::Errand(_) => panic!("stories know of no other errands"),
        }
    }
}

fn kind_of(object: &Value) -> Kind {
    let is_of = |kind: &Kind| object["kind"] == *kind.kind && object["apiVersion"] == kind.api_version();
    Topic::ALL
        .iter()
        .map(|topic| topic.kind())
        .find(is_of)
        .unwrap_or_else(|| panic!("not a kind that is kept: {object}"))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(members) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in members {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}
