//! One promise of the store a test; those to watchers stand in `watching`.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use journal::{JournalError, simulation::SimulatedDisk};
use stdx::{SystemClock, clock::ManualClock};
use store::{
    CommitError, Config, Durability, EventKind, Expect, HistoryLimits, OpenError, Operation, ReadError, Store,
    Template, Transaction, WatchError,
};

use crate::{commit, delete, drain, heartbeat, in_memory, put, small, transaction};

#[tokio::test]
async fn a_value_contains_its_own_revision() {
    let store = in_memory();
    for expected in ["<1>", "<2>"] {
        let value = Template::with_revision_at(&b"<>"[..], 1);
        let committed = commit(&store, vec![Operation::Put { key: "pods/a/b".into(), value }]).await.unwrap();
        assert_eq!(committed.entries[0].value, expected);
        assert_eq!(store.snapshot().get("pods/a/b").unwrap().value, expected);
    }
    let last = Template::with_revision_at(&b"gone at "[..], 99);
    let committed = commit(&store, vec![Operation::Delete { key: "pods/a/b".into(), last }]).await.unwrap();
    assert_eq!(committed.entries[0].value, "gone at 3");
    assert!(store.snapshot().get("pods/a/b").is_none());
}

#[tokio::test]
async fn a_transaction_happens_as_a_whole_or_not_at_all() {
    let store = in_memory();
    let first = commit(&store, vec![put("pods/a", "1"), put("nodes/n", "1")]).await.unwrap().revision;
    let cases = [
        (vec![("pods/a", Expect::Present), ("nodes/n", Expect::Modified(first))], None),
        (vec![("pods/a", Expect::Absent)], Some("pods/a")),
        (vec![("pods/a", Expect::Modified(first + 7))], Some("pods/a")),
        (vec![("pods/a", Expect::Present), ("pods/none", Expect::Present)], Some("pods/none")),
        (vec![("pods/none", Expect::Modified(first))], Some("pods/none")),
    ];
    for (expects, conflict) in cases {
        let before = store.revision();
        let result = store.commit(transaction(&expects, vec![put("services/s", "x")])).await;
        match (result, conflict) {
            (Ok(committed), None) => assert_eq!(committed.revision, before + 1),
            (Err(CommitError::Conflict { key, actual }), Some(expected)) => {
                assert_eq!(&*key, expected);
                assert_eq!(actual.as_ref(), store.snapshot().get(expected));
                assert_eq!(store.revision(), before);
            }
            other => panic!("{expects:?}: {other:?}"),
        }
    }
    let absent = commit(&store, vec![put("pods/b", "1"), delete("pods/none", "")]).await;
    assert!(matches!(absent, Err(CommitError::Conflict { .. })));
    assert!(store.snapshot().get("pods/b").is_none());
    for keys in [vec!["pods/a", "pods/b", "pods/a"], vec!["pods"], vec!["pods/"], vec!["/a"], vec![""]] {
        let operations = keys.iter().map(|key| put(key, "")).collect();
        assert!(matches!(commit(&store, operations).await, Err(CommitError::Malformed(_))), "{keys:?}");
    }
    let large = commit(&store, vec![put("pods/large", vec![0; 17 << 20])]).await;
    assert!(matches!(large, Err(CommitError::TooLarge { .. })));
}

#[tokio::test]
async fn ranges_and_counts_stay_within_their_prefix() {
    let store = in_memory();
    for key in ["pods/a/1", "pods/a/2", "pods/a/3", "pods/ab/1", "pods/b/1", "podsx/a/1", "pod/a/1"] {
        commit(&store, vec![put(key, key.to_owned())]).await.unwrap();
    }
    let snapshot = store.snapshot();
    let cases: &[(&str, Option<&str>, &[&str])] = &[
        ("pods/a/", None, &["pods/a/1", "pods/a/2", "pods/a/3"]),
        ("pods/a/", Some("pods/a/1"), &["pods/a/2", "pods/a/3"]),
        ("pods/a/", Some("pods/a/1x"), &["pods/a/2", "pods/a/3"]),
        ("pods/a/", Some("pods/A"), &["pods/a/1", "pods/a/2", "pods/a/3"]),
        ("pods/a/", Some("pods/b/1"), &[]),
        ("pods/", Some("pods/a/3"), &["pods/ab/1", "pods/b/1"]),
        ("pods/a/2", None, &["pods/a/2"]),
        ("nodes/", None, &[]),
    ];
    for (prefix, after, expected) in cases {
        let keys: Vec<&str> = snapshot.range(prefix, *after).map(|entry| &*entry.key).collect();
        assert_eq!(keys, *expected, "{prefix} after {after:?}");
        if after.is_none() {
            assert_eq!(snapshot.count(prefix), expected.len());
        }
    }
    assert_eq!((snapshot.count("pods/"), snapshot.topic_revision("pods"), store.topic_revision("podsx")), (5, 5, 6));
}

#[tokio::test]
async fn a_list_reads_on_at_its_revision_without_keeping_the_past_alive_for_ever() {
    let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
    let limits = HistoryLimits { raw_bytes: 0, ..HistoryLimits::default() };
    let store = Store::in_memory(Arc::new(clock.clone()), limits).unwrap();
    commit(&store, vec![put("pods/a", "1")]).await.unwrap();
    commit(&store, vec![put("pods/a", "2")]).await.unwrap();
    let page = |store: &Store| Arc::clone(store.snapshot_at(1).unwrap().get("pods/a").unwrap());
    let first = page(&store);
    commit(&store, vec![put("pods/a", "3")]).await.unwrap();
    assert!(Arc::ptr_eq(&first, &page(&store)), "the next page costs nothing");
    clock.advance(Duration::from_secs(60));
    commit(&store, vec![put("pods/a", "4")]).await.unwrap();
    assert_eq!(Arc::strong_count(&first), 1, "nothing else holds it");
    assert_eq!(first, page(&store));
}

#[tokio::test]
async fn what_is_unpacked_from_the_past_is_shared_by_its_readers() {
    let limits = HistoryLimits { raw_bytes: 0, ..HistoryLimits::default() };
    let store = Store::in_memory(Arc::new(SystemClock), limits).unwrap();
    for value in ["1", "2", "3"] {
        commit(&store, vec![put("pods/a", value), put("pods/b", value)]).await.unwrap();
    }
    commit(&store, vec![delete("pods/a", "last")]).await.unwrap();
    let read = || drain(&mut store.watch("pods/", 0).unwrap());
    let (first, second) = (read(), read());
    for (one, other) in first.iter().zip(&second) {
        assert!(Arc::ptr_eq(&one.entry, &other.entry), "{one:?}");
        let previous = [one, other].map(|event| event.previous.as_ref().map(Arc::as_ptr));
        assert_eq!(previous[0], previous[1]);
    }
    // An event's entry is what the next one replaces, and what a list of the time shows.
    let of_a: Vec<_> = first.iter().filter(|event| &*event.entry.key == "pods/a").collect();
    let values: Vec<_> = of_a.iter().map(|event| event.entry.value.clone()).collect();
    assert_eq!(values, ["1", "2", "3", "last"]);
    for pair in of_a.windows(2) {
        assert!(Arc::ptr_eq(&pair[0].entry, pair[1].previous.as_ref().unwrap()));
        let past = store.snapshot_at(pair[0].revision).unwrap();
        assert!(Arc::ptr_eq(&pair[0].entry, past.get("pods/a").unwrap()));
    }
}

/// Every value says at which revision it was written, so whoever reads beside the writers can tell a wrong one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_of_the_past_are_not_disturbed_by_writers() {
    let disk = SimulatedDisk::new(1);
    let mut config = small(&disk);
    config.history.raw_bytes = 0;
    let store = Store::open(config).unwrap();
    let writers: Vec<_> = (0..4_u64)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0..500_u64 {
                    let value = Template::with_revision_at(&b"written at  with some more text"[..], 11);
                    let key = format!("pods/{}", (i * 7 + writer) % 5);
                    commit(&store, vec![Operation::Put { key: key.into(), value }]).await.unwrap();
                }
            })
        })
        .collect();
    let is_right = |entry: &store::Entry| entry.value == format!("written at {} with some more text", entry.modified);
    let mut watch = store.watch("pods/", 0).unwrap();
    let (mut seen, mut turn) = (Vec::new(), 0);
    while seen.len() < 2000 {
        watch.next(&mut seen).await.unwrap();
        turn += 1;
        let at = store.revision() * (turn % 7) / 7;
        let past = store.snapshot_at(at).unwrap();
        assert!(past.range("pods/", None).all(|entry| is_right(entry) && entry.modified <= at));
        assert!(drain(&mut store.watch("pods/", at).unwrap()).iter().all(|event| is_right(&event.entry)));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(seen.windows(2).all(|pair| pair[0].revision < pair[1].revision));
    assert!(seen.iter().all(|event| is_right(&event.entry) && event.previous.as_deref().is_none_or(is_right)));
}

#[tokio::test]
async fn history_ends_with_its_window() {
    let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
    let store = Store::in_memory(Arc::new(clock.clone()), HistoryLimits::default()).unwrap();
    let mut behind = store.watch("pods/", 0).unwrap();
    let mut quiet = store.watch("nodes/", 0).unwrap();
    for i in 0..10 {
        commit(&store, vec![put("pods/a", format!("{i}"))]).await.unwrap();
        clock.advance(Duration::from_secs(600));
    }
    // The last commit was at 90 minutes: what came before minute 30 is gone.
    let oldest = store.oldest_revision();
    assert_eq!(oldest, 3);
    assert_eq!(store.snapshot_at(2).unwrap_err(), ReadError::Compacted { oldest });
    assert_eq!(store.snapshot_at(11).unwrap_err(), ReadError::Future { current: 10 });
    assert_eq!(store.snapshot_at(3).unwrap().get("pods/a").unwrap().value, "2");
    assert_eq!(store.watch("pods/", 2).unwrap_err(), ReadError::Compacted { oldest });
    assert_eq!(store.watch("pods/", 11).unwrap_err(), ReadError::Future { current: 10 });
    assert_eq!(drain(&mut store.watch("pods/", 3).unwrap()).len(), 7);
    assert_eq!(behind.try_next(&mut Vec::new()), Err(WatchError::Lagged { oldest }));
    assert_eq!(quiet.try_next(&mut Vec::new()), Ok(10), "nothing it watches was dropped");
}

#[tokio::test]
async fn superseded_values_take_little_memory_and_come_back_whole() {
    let limits = HistoryLimits { raw_bytes: 0, max_bytes: 1 << 20, ..HistoryLimits::default() };
    let store = Store::in_memory(Arc::new(SystemClock), limits).unwrap();
    let value = |i: u64| {
        (0..400)
            .map(|line| format!("line {line} of {}\n", if line == i % 400 { i } else { line * 7 }))
            .collect::<String>()
    };
    for i in 1..=1000 {
        commit(&store, vec![put("pods/a", value(i))]).await.unwrap();
    }
    assert_eq!(store.oldest_revision(), 0, "seven megabytes fit into one");
    for revision in (1..1000).step_by(37) {
        assert_eq!(store.snapshot_at(revision).unwrap().get("pods/a").unwrap().value, value(revision));
    }
    let events = drain(&mut store.watch("pods/", 0).unwrap());
    assert!(events.iter().all(|event| event.entry.value == value(event.revision)));
    assert!(events.windows(2).all(|pair| pair[1].previous.as_ref() == Some(&pair[0].entry)));
    assert_eq!(events.len(), 1000);
}

#[tokio::test]
async fn heartbeats_and_idleness_do_not_touch_the_disk() {
    let disk = SimulatedDisk::new(1);
    let store = Store::open(small(&disk)).unwrap();
    commit(&store, vec![put("leases/a", "0"), put("pods/a", "0")]).await.unwrap();
    let mut watch = store.watch("leases/", store.revision()).unwrap();
    let before = disk.activity();
    for i in 1..=1000 {
        heartbeat(&store, "leases/a", format!("{i}")).await.unwrap();
    }
    assert_eq!(disk.activity(), before);
    assert_eq!(drain(&mut watch).len(), 1000);
    let at = store.revision();
    commit(&store, vec![put("pods/a", "1")]).await.unwrap();
    // A crash may lose them, but no revision is used again.
    disk.crash();
    let store = Store::open(small(&disk)).unwrap();
    assert_eq!(store.snapshot().get("leases/a").unwrap().value, "0");
    assert_eq!(store.snapshot().get("pods/a").unwrap().value, "1");
    assert!(store.watch("pods/", at).is_ok(), "a client may go on where it was");
    let next = heartbeat(&store, "leases/a", "again").await.unwrap().revision;
    assert!(next > at + 1);
    // A clean close keeps them, and uses no more revisions than there were.
    store.close().await;
    let store = Store::open(small(&disk)).unwrap();
    assert_eq!(store.snapshot().get("leases/a").unwrap().value, "again");
    assert_eq!(store.revision(), next);
}

#[tokio::test]
async fn a_lost_heartbeat_leaves_no_wrong_past() {
    let disk = SimulatedDisk::new(1);
    let store = Store::open(small(&disk)).unwrap();
    commit(&store, vec![put("leases/a", "1")]).await.unwrap();
    heartbeat(&store, "leases/a", "2").await.unwrap();
    commit(&store, vec![put("leases/a", "3")]).await.unwrap();
    heartbeat(&store, "leases/a", "4").await.unwrap();
    disk.crash();
    let values = |store: &Store| -> Vec<_> {
        let events = drain(&mut store.watch("leases/", 0).unwrap());
        let text = |entry: &store::Entry| String::from_utf8(entry.value.to_vec()).unwrap();
        events.iter().map(|event| (text(&event.entry), event.previous.as_deref().map(text))).collect()
    };
    let expected = vec![("1".into(), None), ("3".into(), Some("2".into()))];
    let store = Store::open(small(&disk)).unwrap();
    assert_eq!(values(&store), expected);
    heartbeat(&store, "leases/a", "5").await.unwrap();
    store.close().await;
    let store = Store::open(small(&disk)).unwrap();
    assert_eq!(values(&store), expected);
    assert_eq!(store.snapshot().get("leases/a").unwrap().value, "5");
}

#[tokio::test]
async fn nobody_goes_on_from_a_heartbeat_that_was_lost() {
    let disk = SimulatedDisk::new(1);
    let store = Store::open(small(&disk)).unwrap();
    let known = commit(&store, vec![put("leases/a", "1")]).await.unwrap().revision;
    let lost = heartbeat(&store, "leases/a", "2").await.unwrap().revision;
    disk.crash();
    let store = Store::open(small(&disk)).unwrap();
    let now = store.revision();
    for (revision, is_known) in [(known, true), (lost, false), (now - 1, false), (now, true)] {
        let refused = Err(ReadError::Compacted { oldest: now });
        let watched = store.watch("leases/", revision).map(drop);
        let read = store.snapshot_at(revision).map(drop);
        assert!(
            if is_known { watched.is_ok() && read.is_ok() } else { watched == refused && read == refused },
            "{revision}"
        );
    }
    // Who closes the state loses nothing.
    let kept = heartbeat(&store, "leases/a", "3").await.unwrap().revision;
    store.close().await;
    let store = Store::open(small(&disk)).unwrap();
    assert!(store.watch("leases/", kept).is_ok());
}

#[tokio::test]
async fn what_comes_or_goes_is_durable_even_where_it_says_volatile() {
    let disk = SimulatedDisk::new(1);
    let store = Store::open(small(&disk)).unwrap();
    heartbeat(&store, "leases/new", "created").await.unwrap();
    commit(&store, vec![put("leases/old", "")]).await.unwrap();
    let operations = vec![delete("leases/old", "")];
    store.commit(Transaction { operations, durability: Durability::Volatile, ..Transaction::default() }).await.unwrap();
    disk.crash();
    let store = Store::open(small(&disk)).unwrap();
    assert_eq!(store.snapshot().get("leases/new").unwrap().value, "created");
    assert!(store.snapshot().get("leases/old").is_none());
}

#[tokio::test]
async fn a_full_disk_refuses_writers_and_nobody_else() {
    let disk = SimulatedDisk::new(1);
    let store = Store::open(small(&disk)).unwrap();
    commit(&store, vec![put("pods/a", "1"), put("leases/a", "1")]).await.unwrap();
    let mut watch = store.watch("leases/", store.revision()).unwrap();
    disk.set_capacity(disk.used());
    // More than the room that was made before.
    let too_much = vec![b'2'; 2 << 20];
    let (durable, volatile) =
        tokio::join!(commit(&store, vec![put("pods/a", too_much)]), heartbeat(&store, "leases/a", "2"));
    assert!(matches!(durable, Err(CommitError::Storage(_))), "{durable:?}");
    volatile.unwrap();
    assert_eq!(store.snapshot().get("pods/a").unwrap().value, "1");
    assert_eq!(drain(&mut watch).len(), 1);
    disk.set_capacity(usize::MAX);
    commit(&store, vec![put("pods/a", "3")]).await.unwrap();
    disk.crash();
    assert_eq!(Store::open(small(&disk)).unwrap().snapshot().get("pods/a").unwrap().value, "3");
}

#[tokio::test]
async fn a_closed_store_refuses_commits_and_watches_end() {
    let disk = SimulatedDisk::new(1);
    let store = Store::open(small(&disk)).unwrap();
    commit(&store, vec![put("pods/a", "1")]).await.unwrap();
    let mut watch = store.watch("pods/", 0).unwrap();
    let reader = tokio::spawn(async move {
        let mut events = Vec::new();
        while watch.next(&mut events).await.is_ok() {}
        events.len()
    });
    store.clone().close().await;
    assert_eq!(reader.await.unwrap(), 1);
    assert!(matches!(commit(&store, vec![put("pods/a", "2")]).await, Err(CommitError::Closed)));
    assert_eq!(store.snapshot().count("pods/"), 1);
    assert!(Store::open(small(&disk)).is_ok());
}

#[tokio::test]
async fn directories_in_use_foreign_or_damaged_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Config::new(dir.path())).unwrap();
    assert!(matches!(Store::open(Config::new(dir.path())), Err(OpenError::Locked(_))));
    store.close().await;
    Store::open(Config::new(dir.path())).unwrap().close().await;
    std::fs::write(dir.path().join("version"), "coracle state 999\n").unwrap();
    assert!(matches!(Store::open(Config::new(dir.path())), Err(OpenError::Version { .. })));
    std::fs::remove_file(dir.path().join("version")).unwrap();
    assert!(matches!(Store::open(Config::new(dir.path())), Err(OpenError::Damaged { .. })));

    let disk = SimulatedDisk::new(1);
    let store = Store::open(small(&disk)).unwrap();
    for i in 0..200 {
        commit(&store, vec![put(&format!("pods/{i}"), vec![b'x'; 500])]).await.unwrap();
    }
    store.close().await;
    let is_checkpoint = |path: &&std::path::PathBuf| path.to_string_lossy().contains("checkpoint-");
    let checkpoint = disk.files().iter().find(is_checkpoint).expect("one was due").clone();
    disk.edit(&checkpoint, |bytes| bytes[5000] ^= 1);
    let error = Store::open(small(&disk)).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { path, .. } if *path == checkpoint), "{error}");
    disk.edit(&checkpoint, |bytes| bytes[5000] ^= 1);
    Store::open(small(&disk)).unwrap().close().await;
    let journal = Path::new("/state/journal");
    for path in disk.files().iter().filter(|path| path.starts_with(journal)) {
        journal::Disk::remove(&disk, path).unwrap();
    }
    let error = Store::open(small(&disk)).unwrap_err();
    assert!(matches!(error, OpenError::Journal(JournalError::Gone(_))), "{error}");
}

#[tokio::test]
async fn opening_reads_no_more_than_a_checkpoint_and_a_tail_and_the_past_comes_back() {
    let disk = SimulatedDisk::new(1);
    let store = Store::open(small(&disk)).unwrap();
    for i in 0..2000 {
        commit(&store, vec![put(&format!("pods/{}", i % 10), format!("{i:0300}"))]).await.unwrap();
    }
    commit(&store, vec![put("nodes/n", "")]).await.unwrap();
    let deleted = commit(&store, vec![delete("nodes/n", "")]).await.unwrap().revision;
    for i in 2002..2200 {
        commit(&store, vec![put(&format!("pods/{}", i % 10), format!("{i:0300}"))]).await.unwrap();
    }
    let revision = store.revision();
    let oldest = store.oldest_revision();
    store.close().await;
    let store = Store::open(small(&disk)).unwrap();
    assert_eq!(store.topic_revision("nodes"), deleted);
    assert!(store.snapshot().range("nodes/", None).next().is_none());
    while store.oldest_revision() > oldest {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for at in (oldest.max(1)..=revision).step_by(91) {
        let snapshot = store.snapshot_at(at).unwrap();
        let pod = snapshot.get(&format!("pods/{}", (at - 1) % 10)).unwrap();
        assert!((deleted - 1..=deleted).contains(&at) || pod.value == format!("{:0300}", at - 1), "at {at}");
    }
    let events = drain(&mut store.watch("pods/", oldest).unwrap());
    assert_eq!(events.len() as u64, revision - oldest - 2);
    assert!(events.iter().all(|event| event.kind == EventKind::Put));
    assert!(events.iter().all(|event| event.entry.value == format!("{:0300}", event.revision - 1)));
}
