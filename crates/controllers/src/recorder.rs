//! Events as users read them in `kubectl describe`: core/v1, repeated ones counted, floods held back.
//!
//! Events are told on a best effort: nothing waits for them, and what cannot be written is left out.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use client::{ApiError, Key, Kind, Requests, objects::seconds, requests::Patch};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use stdx::Clock;
use tokio::sync::mpsc;

use crate::plan::{Event, Reference};

const EVENTS: Kind = Kind::namespaced("", "v1", "Event", "events");
/// Events that wait to be written; one more is left out.
const WAITING: usize = 1024;
/// An object may have this many events at once, and one more every five minutes (as kube-controller-manager).
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// How long an event that comes again is counted rather than written anew.
const REPEATS: Duration = Duration::from_secs(600);
/// Objects and events that are remembered; past that the memory starts afresh.
const REMEMBERED: usize = 4096;

/// Where events are handed in. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    waiting: mpsc::Sender<(Event, Timestamp)>,
    clock: Arc<dyn Clock>,
}

impl Recorder {
    /// A recorder, and the task that writes what it is given, as `component`, until all recorders are gone.
    pub fn new(
        requests: Requests,
        component: &'static str,
        clock: Arc<dyn Clock>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (waiting, mut handed_in) = mpsc::channel::<(Event, Timestamp)>(WAITING);
        let writing = async move {
            let mut memory = Memory::default();
            while let Some((event, now)) = handed_in.recv().await {
                write(&requests, component, &mut memory, &event, now).await;
            }
        };
        (Self { waiting, clock }, writing)
    }

    pub fn record(&self, event: Event) {
        // A full queue means a flood: these events are not the ones that explain it.
        let _ = self.waiting.try_send((event, self.clock.now()));
    }
}

/// What is to be written for an event.
#[derive(Debug, PartialEq)]
enum Writing {
    New,
    /// The name it was first written under, and how often it has been seen now.
    Again(String, u32),
    Nothing,
}

#[derive(Default)]
struct Memory {
    budgets: BTreeMap<Box<str>, Budget>,
    seen: BTreeMap<(Box<str>, &'static str, String), Seen>,
}

struct Budget {
    left: f64,
    as_of: Timestamp,
}

struct Seen {
    name: String,
    count: u32,
    last: Timestamp,
}

impl Memory {
    fn consider(&mut self, event: &Event, now: Timestamp) -> Writing {
        if self.budgets.len() + self.seen.len() > REMEMBERED {
            *self = Self::default();
        }
        let uid = &event.about.uid;
        let budget = self.budgets.entry(uid.clone()).or_insert(Budget { left: BURST, as_of: now });
        let passed = stdx::clock::until(now, budget.as_of).as_secs_f64();
        budget.left = (budget.left + passed / REFILL.as_secs_f64()).min(BURST);
        budget.as_of = now;
        if budget.left < 1.0 {
            return Writing::Nothing;
        }
        budget.left -= 1.0;
        let same = (uid.clone(), event.reason, event.message.clone());
        match self.seen.get_mut(&same) {
            Some(seen) if stdx::clock::until(now, seen.last) < REPEATS => {
                (seen.count, seen.last) = (seen.count + 1, now);
                Writing::Again(seen.name.clone(), seen.count)
            }
            _ => Writing::New,
        }
    }

    fn written(&mut self, event: &Event, name: String, now: Timestamp) {
        let same = (event.about.uid.clone(), event.reason, event.message.clone());
        self.seen.insert(same, Seen { name, count: 1, last: now });
    }
}

async fn write(requests: &Requests, component: &'static str, memory: &mut Memory, event: &Event, now: Timestamp) {
    // Events of objects of the cluster lie in `default`.
    let namespace = if event.about.key.namespace().is_empty() { "default" } else { event.about.key.namespace() };
    match memory.consider(event, now) {
        Writing::Nothing => {}
        Writing::Again(name, count) => {
            let patch = json!({"count": count, "lastTimestamp": seconds(now)});
            let result = requests.patch(&EVENTS, &Key::new(namespace, &name), "", (Patch::Merge, &patch)).await;
            if result.is_err_and(|error| error.is_not_found()) {
                let _ = create(requests, component, memory, event, (namespace, now)).await;
            }
        }
        Writing::New => {
            let _ = create(requests, component, memory, event, (namespace, now)).await;
        }
    }
}

async fn create(
    requests: &Requests,
    component: &'static str,
    memory: &mut Memory,
    event: &Event,
    (namespace, now): (&str, Timestamp),
) -> Result<(), ApiError> {
    let name = format!("{}.{:x}", event.about.key.name(), now.as_nanosecond());
    let object = object(component, event, (namespace, &name), now);
    requests.create(&EVENTS, namespace, &object).await?;
    memory.written(event, name, now);
    Ok(())
}

fn object(component: &str, event: &Event, (namespace, name): (&str, &str), now: Timestamp) -> Value {
    let about = &event.about;
    let mut involved = json!({
        "apiVersion": about.kind.api_version(), "kind": about.kind.kind, "name": about.key.name(), "uid": about.uid,
        "resourceVersion": about.revision.to_string(),
    });
    if !about.key.namespace().is_empty() {
        involved["namespace"] = json!(about.key.namespace());
    }
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "type": if event.warning { "Warning" } else { "Normal" },
        "reason": event.reason, "message": event.message,
        "source": {"component": component}, "reportingComponent": component, "reportingInstance": "",
        "count": 1, "firstTimestamp": seconds(now), "lastTimestamp": seconds(now),
    })
}

/// Of an answer what an event says about it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    metadata: client::objects::Meta,
}

impl Event {
    /// What the maker of an object is told of its making.
    pub fn of_creation(about: &Reference, kind: &Kind, result: &Result<bytes::Bytes, ApiError>) -> Self {
        let words = words(about, kind);
        match result {
            Ok(answer) => {
                let made: Named = serde_json::from_slice(answer).unwrap_or_default();
                Self::normal(about, "SuccessfulCreate", format!("Created {} {}", words.thing, made.metadata.name))
            }
            Err(error) => Self::warning(about, "FailedCreate", format!("{}: {error}", words.creation_failed)),
        }
    }

    pub fn of_deletion(about: &Reference, kind: &Kind, key: &Key, result: &Result<bytes::Bytes, ApiError>) -> Self {
        let words = words(about, kind);
        match result {
            Err(error) if !error.is_not_found() => {
                Self::warning(about, "FailedDelete", format!("{}: {error}", words.deletion_failed))
            }
            _ => Self::normal(about, "SuccessfulDelete", format!("Deleted {} {}", words.thing, key.name())),
        }
    }

    pub fn normal(about: &Reference, reason: &'static str, message: String) -> Self {
        Self { about: about.clone(), warning: false, reason, message }
    }

    pub fn warning(about: &Reference, reason: &'static str, message: String) -> Self {
        Self { about: about.clone(), warning: true, reason, message }
    }
}

/// How an owner is told about what it owns.
struct Words {
    /// `pod:`, and to cron jobs `job`.
    thing: String,
    creation_failed: &'static str,
    deletion_failed: &'static str,
}

fn words(about: &Reference, kind: &Kind) -> Words {
    let thing = kind.kind.to_lowercase();
    if about.kind.kind == "CronJob" {
        Words { thing, creation_failed: "Error creating job", deletion_failed: "Deleted job" }
    } else {
        Words { thing: thing + ":", creation_failed: "Error creating", deletion_failed: "Error deleting" }
    }
}
