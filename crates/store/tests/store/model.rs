//! Random work against a model that keeps every version for ever.

use std::{collections::BTreeMap, time::Duration};

use journal::simulation::SimulatedDisk;
use stdx::{Random, SeededRandom};
use store::{CommitError, Config, EventKind, Expect, Operation, ReadError, Revision, Snapshot, Store, WatchError};

use crate::{delete, drain, heartbeat, put, small, transaction};

/// A key's version: value, created, modified.
type Version = (Vec<u8>, Revision, Revision);
type State = BTreeMap<String, Version>;

#[derive(Clone, PartialEq, Debug)]
struct Seen {
    revision: Revision,
    kind: EventKind,
    key: String,
    version: Version,
    previous: Option<Version>,
}

#[derive(Default)]
struct Model {
    states: BTreeMap<Revision, State>,
    events: Vec<Seen>,
    /// Volatile versions from before this are not in the history.
    restarted: Revision,
}

fn state_of(snapshot: &Snapshot) -> State {
    let topics: Vec<String> = snapshot.topics().map(|topic| format!("{topic}/")).collect();
    let entries = topics.iter().flat_map(|prefix| snapshot.range(prefix, None));
    entries.map(|entry| (entry.key.to_string(), (entry.value.to_vec(), entry.created, entry.modified))).collect()
}

fn without_leases(state: &State) -> State {
    state
        .iter()
        .filter(|(key, _)| !key.starts_with("leases/"))
        .map(|(key, version)| (key.clone(), version.clone()))
        .collect()
}

impl Model {
    fn latest(&self) -> State {
        self.states.last_key_value().map(|(_, state)| state.clone()).unwrap_or_default()
    }

    fn at(&self, revision: Revision) -> State {
        self.states.range(..=revision).next_back().map(|(_, state)| state.clone()).unwrap_or_default()
    }

    fn apply(&mut self, revision: Revision, operations: &[(String, Option<Vec<u8>>)]) {
        let mut state = self.latest();
        for (key, value) in operations {
            let previous = state.get(key).cloned();
            let created = previous.as_ref().map_or(revision, |previous| previous.1);
            let version = (value.clone().unwrap_or(b"last".to_vec()), created, revision);
            let kind = if value.is_some() { EventKind::Put } else { EventKind::Delete };
            match kind {
                EventKind::Put => drop(state.insert(key.clone(), version.clone())),
                EventKind::Delete => drop(state.remove(key)),
            }
            self.events.push(Seen { revision, kind, key: key.clone(), version, previous });
        }
        self.states.insert(revision, state);
    }

    fn check_past(&self, store: &Store, revision: Revision) {
        match store.snapshot_at(revision) {
            Ok(snapshot) if revision >= self.restarted => assert_eq!(state_of(&snapshot), self.at(revision)),
            Ok(snapshot) => assert_eq!(without_leases(&state_of(&snapshot)), without_leases(&self.at(revision))),
            // The error's own word: history from before a restart is still being read back.
            Err(ReadError::Compacted { oldest }) => assert!(revision < oldest, "{revision} of {oldest}"),
            Err(error) => panic!("{error} at {revision}"),
        }
    }

    fn check_watch(&self, store: &Store, prefix: &str, after: Revision) {
        let mut watch = match store.watch(prefix, after) {
            Ok(watch) => watch,
            Err(ReadError::Compacted { oldest }) => return assert!(after < oldest),
            Err(error) => panic!("{error}"),
        };
        let version = |entry: &store::Entry| (entry.value.to_vec(), entry.created, entry.modified);
        let seen: Vec<Seen> = drain(&mut watch)
            .iter()
            .map(|event| Seen {
                revision: event.revision,
                kind: event.kind,
                key: event.entry.key.to_string(),
                version: version(&event.entry),
                previous: event.previous.as_deref().map(version),
            })
            .collect();
        let expected = self.events.iter().filter(|event| event.revision > after && event.key.starts_with(prefix));
        assert_eq!(seen, expected.cloned().collect::<Vec<_>>(), "{prefix} after {after}");
        assert_eq!(watch.try_next(&mut Vec::new()), Ok::<_, WatchError>(store.revision()));
    }
}

struct Run {
    config: Config,
    random: SeededRandom,
    model: Model,
}

impl Run {
    fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn key(&self) -> String {
        let topic = ["pods", "nodes", "deployments.apps"][self.below(3) as usize];
        format!("{topic}/{}/{}", ["a", "ab", "b"][self.below(3) as usize], self.below(6))
    }

    fn value(&self) -> Vec<u8> {
        let line = self.below(1000).to_string();
        let mut value = "some text that repeats ".repeat(self.below(20) as usize).into_bytes();
        value.extend(line.repeat(self.below(30) as usize).bytes());
        value
    }

    async fn write(&mut self, store: &Store) {
        let latest = self.model.latest();
        let mut changes: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
        for _ in 0..1 + self.below(3) {
            let key = self.key();
            let change = if latest.contains_key(&key) && self.below(4) == 0 { None } else { Some(self.value()) };
            changes.insert(key, change);
        }
        let expected_key = self.key();
        let actual = latest.get(&expected_key).map(|version| version.2);
        let (expect, holds) = match self.below(6) {
            0 => (Expect::Absent, actual.is_none()),
            1 => (Expect::Present, actual.is_some()),
            2 => (Expect::Modified(7), actual == Some(7)),
            _ => actual.map_or((Expect::Absent, true), |revision| (Expect::Modified(revision), true)),
        };
        let changes: Vec<_> = changes.into_iter().collect();
        let operation = |(key, value): &(String, Option<Vec<u8>>)| -> Operation {
            value.clone().map_or_else(|| delete(key, "last"), |value| put(key, value))
        };
        let operations = changes.iter().map(operation).collect();
        match store.commit(transaction(&[(&expected_key, expect)], operations)).await {
            Ok(committed) => {
                assert!(holds);
                self.model.apply(committed.revision, &changes);
            }
            Err(CommitError::Conflict { key, actual: found }) => {
                assert!(!holds && *key == *expected_key);
                assert_eq!(found.map(|entry| entry.modified), actual);
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn beat(&mut self, store: &Store) {
        let (key, value) = (format!("leases/{}", self.below(3)), self.value());
        let committed = heartbeat(store, &key, value.clone()).await.unwrap();
        self.model.apply(committed.revision, &[(key, Some(value))]);
    }

    async fn restart(&mut self, store: Store) -> Store {
        let before = store.revision();
        store.close().await;
        let store = Store::open(self.config.clone()).unwrap();
        assert_eq!(store.revision(), before, "a clean close uses no revisions");
        self.model.restarted = before;
        if self.below(2) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        store
    }
}

async fn run(seed: u64) {
    let disk = SimulatedDisk::new(seed);
    let mut config = small(&disk);
    if seed.is_multiple_of(3) {
        // So little history that much of it is dropped.
        config.history.max_bytes = 12 << 10;
    }
    let mut store = Store::open(config.clone()).unwrap();
    let mut run = Run { config, random: SeededRandom::new(seed), model: Model::default() };
    for _ in 0..700 {
        match run.below(20) {
            0 => run.model.check_past(&store, run.below(store.revision() + 1)),
            1 => {
                let prefix = ["pods/", "pods/a/", "nodes/b/3", "deployments.apps/"][run.below(4) as usize];
                run.model.check_watch(&store, prefix, run.below(store.revision() + 1));
            }
            2 => {
                let since = run.model.restarted;
                run.model.check_watch(&store, "leases/", since + run.below(store.revision() - since + 1));
            }
            3 if run.below(5) == 0 => store = run.restart(store).await,
            3..6 => run.beat(&store).await,
            _ => run.write(&store).await,
        }
        assert_eq!(state_of(&store.snapshot()), run.model.latest());
    }
    store.close().await;
}

#[tokio::test]
async fn the_store_does_what_its_model_does() {
    for seed in 0..25 {
        println!("seed {seed}");
        run(seed).await;
    }
}
