//! Machines that stop at any moment, on disks that fail: what was acknowledged is there.

use std::collections::BTreeMap;

use journal::simulation::{Faults, SimulatedDisk};
use stdx::{Random, SeededRandom};
use store::{CommitError, Revision, Store};

use crate::{put, small, transaction};

/// What is known of a key: its last acknowledged value, and the values written since that may or may not have been kept.
#[derive(Default, Clone)]
struct Known {
    acknowledged: Option<(u64, Revision)>,
    unknown: Vec<u64>,
}

async fn survive(seed: u64) {
    let disk = SimulatedDisk::new(seed);
    let random = SeededRandom::new(seed ^ 0x5eed);
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let (mut unique, mut highest) = (0, 0);
    for _ in 0..8 {
        disk.set_faults(Faults::default());
        let store = Store::open(small(&disk)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(store.revision() >= highest, "seed {seed}: revisions go back");
        check(&store, &mut known, seed);
        disk.set_faults(Faults { short_write: 50, failed_write: 10, failed_sync: 20, failed_create: 30 });
        for _ in 0..random.below(40) {
            let batch: Vec<(String, u64)> = (0..1 + random.below(6))
                .map(|slot| {
                    unique += 1;
                    (format!("pods/{}", slot * 10 + random.below(10)), unique)
                })
                .collect();
            let commits = batch.iter().map(|(key, value)| {
                let value = format!("{value}:{}", "x".repeat(random.below(400) as usize));
                store.commit(transaction(&[], vec![put(key, value)]))
            });
            let results = futures_util::future::join_all(commits).await;
            for ((key, value), result) in batch.into_iter().zip(results) {
                let known = known.entry(key).or_default();
                match result {
                    Ok(committed) => {
                        *known = Known { acknowledged: Some((value, committed.revision)), unknown: vec![] };
                        highest = highest.max(committed.revision);
                    }
                    Err(CommitError::Storage(_)) => known.unknown.push(value),
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            }
        }
        if random.below(3) == 0 { disk.kill() } else { disk.crash() }
    }
}

fn check(store: &Store, known: &mut BTreeMap<String, Known>, seed: u64) {
    let snapshot = store.snapshot();
    for (key, known) in known {
        let found = snapshot.get(key).map(|entry| {
            let text = std::str::from_utf8(&entry.value).unwrap();
            (text.split(':').next().unwrap().parse().unwrap(), entry.modified)
        });
        let kept_unknown = found.is_some_and(|(value, _)| known.unknown.contains(&value));
        assert!(
            found == known.acknowledged || kept_unknown,
            "seed {seed}: {key} is {found:?}, not {:?}",
            known.acknowledged
        );
        *known = Known { acknowledged: found, unknown: vec![] };
    }
}

#[tokio::test]
async fn acknowledged_commits_survive_failing_disks_and_crashes() {
    for seed in 0..60 {
        survive(seed).await;
    }
}
