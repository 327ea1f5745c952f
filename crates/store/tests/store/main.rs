//! The store through its public face: its promises one by one, against a model, and against crashes.
#![allow(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod crash;
mod damage;
mod kill;
mod model;
mod promises;
mod watching;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use journal::simulation::SimulatedDisk;
use stdx::SystemClock;
use store::{
    CommitError, Committed, Config, Durability, Event, Expect, HistoryLimits, Operation, Store, Template, Transaction,
    Watch,
};

pub fn in_memory() -> Store {
    Store::in_memory(Arc::new(SystemClock), HistoryLimits::default()).unwrap()
}

/// Everything small, so that segments end, checkpoints are written and values are packed within a test.
pub fn small(disk: &SimulatedDisk) -> Config {
    Config {
        history: HistoryLimits {
            max_age: Duration::from_secs(3600),
            max_bytes: 1 << 20,
            raw_bytes: 4 << 10,
            max_journal_bytes: 4 << 20,
        },
        checkpoint_bytes: 16 << 10,
        segment_bytes: 4 << 10,
        disk: Arc::new(disk.process()),
        ..Config::new("/state")
    }
}

pub fn put(key: &str, value: impl Into<Bytes>) -> Operation {
    Operation::Put { key: key.into(), value: Template::whole(value) }
}

pub fn delete(key: &str, last: impl Into<Bytes>) -> Operation {
    Operation::Delete { key: key.into(), last: Template::whole(last) }
}

pub fn transaction(expects: &[(&str, Expect)], operations: Vec<Operation>) -> Transaction {
    let expects = expects.iter().map(|(key, expect)| ((*key).into(), *expect)).collect();
    Transaction { expects, operations, durability: Durability::Durable }
}

pub async fn commit(store: &Store, operations: Vec<Operation>) -> Result<Committed, CommitError> {
    store.commit(transaction(&[], operations)).await
}

pub async fn heartbeat(store: &Store, key: &str, value: impl Into<Bytes>) -> Result<Committed, CommitError> {
    let operations = vec![put(key, value)];
    store.commit(Transaction { expects: vec![], operations, durability: Durability::Volatile }).await
}

/// All events there are for a watch right now.
pub fn drain(watch: &mut Watch) -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    loop {
        let before = events.len();
        watch.try_next(&mut events).unwrap();
        if events.len() == before {
            return events;
        }
    }
}
