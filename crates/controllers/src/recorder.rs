//! Events as users read them in `kubectl describe`: core/v1, repeated ones counted, similar ones combined, floods held back.
//!
//! Events are told on a best effort: nothing waits for them, and what cannot be written is left out. How many wait to be
//! written is bounded ([`waiting`]).

mod memory;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::{Arc, Mutex, PoisonError};

use client::{ApiError, Key, Kind, Requests, objects::seconds, requests::Patch};
use serde::Deserialize;
use serde_json::{Value, json};
use stdx::Clock;
use tokio::sync::mpsc;

use crate::plan::{Event, Reference};
use memory::Memory;
use waiting::{Seen, Waiting};

const EVENTS: Kind = Kind::namespaced("", "v1", "Event", "events");

/// Where events are handed in. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    desk: Arc<Mutex<Desk>>,
    /// Rung when there is something to write; hung up when all recorders are gone.
    bell: mpsc::Sender<()>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Desk {
    memory: Memory,
    waiting: Waiting,
}

impl Recorder {
    /// A recorder, and the task that writes what it is given, as `component`, until all recorders are gone.
    pub fn new(
        requests: Requests,
        component: &'static str,
        clock: Arc<dyn Clock>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (bell, mut rung) = mpsc::channel::<()>(1);
        let desk: Arc<Mutex<Desk>> = Arc::default();
        let writer = Writer { requests, component, desk: Arc::clone(&desk) };
        let writing = async move {
            while rung.recv().await.is_some() {
                writer.write_all().await;
            }
            writer.write_all().await;
        };
        (Self { desk, bell, clock }, writing)
    }

    pub fn record(&self, event: Event) {
        let now = self.clock.now();
        let mut desk = lock(&self.desk);
        if let Some(event) = desk.memory.admit(event, now) {
            if let Some(lost) = desk.waiting.push(event, now) {
                tracing::warn!(about = %lost.event.about.key, reason = lost.event.reason, "too many events wait to be written");
            }
            drop(desk);
            // Where it rings already, it is heard.
            let _ = self.bell.try_send(());
        }
    }
}

fn lock(desk: &Mutex<Desk>) -> std::sync::MutexGuard<'_, Desk> {
    // A desk has nothing that a panic could leave half done.
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    requests: Requests,
    component: &'static str,
    desk: Arc<Mutex<Desk>>,
}

impl Writer {
    async fn write_all(&self) {
        loop {
            let next = lock(&self.desk).waiting.pop();
            match next {
                Some(seen) => self.write(&seen).await,
                None => return,
            }
        }
    }

    async fn write(&self, seen: &Seen) {
        let about = &seen.event.about;
        // Events of objects of the cluster lie in `default`.
        let namespace = if about.key.namespace().is_empty() { "default" } else { about.key.namespace() };
        let known = lock(&self.desk).memory.written_as(seen);
        if let Some((name, count)) = known {
            let patch = json!({"count": count, "lastTimestamp": seconds(seen.last), "message": seen.event.message});
            let result = self.requests.patch(&EVENTS, &Key::new(namespace, &name), "", (Patch::Merge, &patch)).await;
            if !result.is_err_and(|error| error.is_not_found()) {
                return;
            }
        }
        let name = format!("{}.{:x}", about.key.name(), seen.first.as_nanosecond());
        let object = object(self.component, seen, (namespace, &name));
        if self.requests.create(&EVENTS, namespace, &object).await.is_ok() {
            lock(&self.desk).memory.written(seen, name);
        }
    }
}

fn object(component: &str, seen: &Seen, (namespace, name): (&str, &str)) -> Value {
    let Seen { event, count, first, last, .. } = seen;
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
        "count": count, "firstTimestamp": seconds(*first), "lastTimestamp": seconds(*last),
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
