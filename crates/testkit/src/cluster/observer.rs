//! Sees every state of every object it follows, in the order in which they came about, and holds rules against each.
//!
//! A cache shows the present and leaves states out between two looks; a rule that must never be broken needs them all.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use client::{Kind, Requests};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;

/// What is followed.
const FOLLOWED: &[Kind] = &[Kind::namespaced("", "v1", "Pod", "pods"), Kind::namespaced("batch", "v1", "Job", "jobs")];
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

pub fn is_active(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
        && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

impl Observer {
    pub(super) async fn start(requests: &Requests, tasks: &mut JoinSet<()>) -> Arc<Self> {
        let observer = Arc::new(Self::default());
        for kind in FOLLOWED {
            let (observer, requests) = (Arc::clone(&observer), requests.clone());
            tasks.spawn(async move {
                // From the first revision on, so that nothing that happens while this starts is missed.
                let mut revision = "1".to_owned();
                loop {
                    observer.follow(kind, &requests, &mut revision).await;
                }
            });
        }
        observer
    }

    /// Sees what happens from a revision on, which it moves along, until the server ends.
    async fn follow(&self, kind: &'static Kind, requests: &Requests, revision: &mut String) {
        let path = kind.collection("");
        let path =
            format!("{path}?watch=true&allowWatchBookmarks=true&resourceVersion={revision}&timeoutSeconds=2000000000");
        let mut body = requests.stream_as(client::requests::Form::Object, &path).await.unwrap();
        let mut text = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                *revision = self::text(&event["object"]["metadata"]["resourceVersion"]).to_owned();
                if event["type"] != "BOOKMARK" {
                    self.see(&kind.plural, event);
                }
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

    fn see(&self, plural: &'static str, mut event: Value) {
        let kind = event["type"].take();
        let object = event["object"].take();
        assert_ne!(kind, "ERROR", "{object}");
        let meta = &object["metadata"];
        let key = (plural, format!("{}/{}", text(&meta["namespace"]), text(&meta["name"])));
        let (mut world, nothing) = (self.world.lock(), Value::Null);
        let old =
            if kind == "DELETED" { world.objects.remove(&key) } else { world.objects.insert(key.clone(), object) };
        let new = world.objects.get(&key).unwrap_or(&nothing);
        let change = Change { plural, old: old.as_ref().unwrap_or(&nothing), new };
        let mut violations = self.violations.lock();
        for rule in &*self.rules.lock() {
            if let Err(violation) = rule(&world, &change)
                && violations.len() < TOLD
            {
                violations.push(format!("{}: {violation}", key.1));
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

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
