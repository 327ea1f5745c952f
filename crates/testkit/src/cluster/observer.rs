//! Sees every state of every object it follows, in the order in which they came about, and holds rules against each.
//!
//! A cache shows the present and leaves states out between two looks; a rule that must never be broken needs them all.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use apiserver::engine::object::Stored;
use futures_util::future::select_all;
use parking_lot::Mutex;
use serde_json::Value;
use store::{Event, EventKind, Store, Watch};
use tokio::task::JoinSet;

/// What is followed, as the store calls it.
const FOLLOWED: &[&str] = &[
    "pods",
    "jobs.batch",
    "cronjobs.batch",
    "deployments.apps",
    "replicasets.apps",
    "statefulsets.apps",
    "nodes",
    "persistentvolumeclaims",
    "persistentvolumes",
    "endpointslices.discovery.k8s.io",
];
/// More broken rules tell nothing more.
const TOLD: usize = 20;

/// All that is followed, as it is after a change.
#[derive(Default)]
pub struct World {
    objects: BTreeMap<(&'static str, String), Value>,
}

/// One change: the object before and after, Null where it is not there.
pub struct Change<'a> {
    pub plural: &'static str,
    pub old: &'a Value,
    pub new: &'a Value,
}

type Rule = Box<dyn Fn(&World, &Change<'_>) -> Result<(), String> + Send>;

#[derive(Default)]
pub struct Observer {
    world: Mutex<World>,
    rules: Mutex<Vec<Rule>>,
    violations: Mutex<Vec<String>>,
}

impl World {
    /// The objects of a kind, named by its plural.
    pub fn all(&self, plural: &str) -> impl Iterator<Item = &Value> {
        let objects = self.objects.iter();
        objects.filter_map(move |((found, _), object)| (*found == plural).then_some(object))
    }

    /// Pods that are neither over nor on their way out.
    pub fn active_pods(&self) -> impl Iterator<Item = &Value> {
        self.all("pods").filter(|pod| is_active(pod))
    }
}

/// Whether this is a pod, and neither over nor on its way out.
pub fn is_active(pod: &Value) -> bool {
    !pod.is_null()
        && pod["metadata"]["deletionTimestamp"].is_null()
        && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

pub fn is_ready(pod: &Value) -> bool {
    readiness(pod) == Some("True")
}

/// Whether nothing has been heard of a node for so long that it is taken for lost.
pub fn is_missed(node: &Value) -> bool {
    readiness(node) == Some("Unknown")
}

fn readiness(object: &Value) -> Option<&str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Ready")?["status"].as_str()
}

impl Observer {
    pub(super) fn start(store: &Store, tasks: &mut JoinSet<()>) -> Arc<Self> {
        let observer = Arc::new(Self::default());
        let snapshot = store.snapshot();
        let mut followed = Vec::new();
        for topic in FOLLOWED {
            let prefix = format!("{topic}/");
            for entry in snapshot.range(&prefix, None) {
                let object = Stored::of(entry).unwrap().decode().unwrap();
                observer.world.lock().objects.insert((plural(topic), key_of(&object)), object);
            }
            followed.push((plural(topic), store.watch(&prefix, snapshot.revision()).unwrap()));
        }
        tasks.spawn(Arc::clone(&observer).follow(followed));
        observer
    }

    /// Sees what happens, in its order over all kinds.
    async fn follow(self: Arc<Self>, mut followed: Vec<(&'static str, Watch)>) {
        let mut waiting: BTreeMap<u64, Vec<(&'static str, Arc<Event>)>> = BTreeMap::new();
        loop {
            let mut batches = vec![Vec::new(); followed.len()];
            let pairs = followed.iter_mut().zip(&mut batches);
            select_all(pairs.map(|((_, watch), batch)| Box::pin(watch.next(batch)))).await.0.unwrap();
            // Of a kind with too much news for one look the rest is still to come, and whatever came after it waits.
            let mut known = u64::MAX;
            for ((plural, watch), mut batch) in followed.iter_mut().zip(batches) {
                known = known.min(watch.try_next(&mut batch).unwrap());
                for event in batch {
                    waiting.entry(event.revision).or_default().push((plural, event));
                }
            }
            let later = waiting.split_off(&(known + 1));
            for (plural, event) in std::mem::replace(&mut waiting, later).into_values().flatten() {
                self.see(plural, &event);
            }
        }
    }

    /// A rule to be held against every change from now on.
    pub fn rule(&self, rule: impl Fn(&World, &Change<'_>) -> Result<(), String> + Send + 'static) {
        self.rules.lock().push(Box::new(rule));
    }

    pub fn forget_rules(&self) {
        self.rules.lock().clear();
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    /// Looks at all that is followed, as it is.
    pub fn look<T>(&self, at: impl FnOnce(&World) -> T) -> T {
        at(&self.world.lock())
    }

    fn see(&self, plural: &'static str, event: &Event) {
        let object = Stored::of(&event.entry).unwrap().decode().unwrap();
        let key = (plural, key_of(&object));
        let (mut world, nothing) = (self.world.lock(), Value::Null);
        let is_gone = event.kind == EventKind::Delete;
        let old = if is_gone { world.objects.remove(&key) } else { world.objects.insert(key.clone(), object) };
        let new = world.objects.get(&key).unwrap_or(&nothing);
        let change = Change { plural, old: old.as_ref().unwrap_or(&nothing), new };
        let mut violations = self.violations.lock();
        for rule in &*self.rules.lock() {
            if let Err(violation) = rule(&world, &change)
                && violations.len() < TOLD
            {
                violations.push(format!("{} {}: {violation}", key.0, key.1));
            }
        }
    }

    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        for ((plural, key), object) in &self.world.lock().objects {
            let status = &object["status"];
            let _ = write!(text, "\n{plural} {key}: {status}");
        }
        text
    }
}

/// The plural name of the kind that a topic of the store holds.
fn plural(topic: &'static str) -> &'static str {
    topic.split_once('.').map_or(topic, |(plural, _)| plural)
}

fn key_of(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}
