//! Damage is never silent: a store opens with everything that was acknowledged, or says what is missing.

use std::path::{Path, PathBuf};

use journal::{
    Disk, JournalError,
    simulation::{Faults, SimulatedDisk},
};
use store::{CommitError, Config, OpenError, Store};

use crate::{commit, heartbeat, put, small};

fn last_segment(disk: &SimulatedDisk) -> PathBuf {
    disk.files().into_iter().rfind(|path| path.extension().is_some_and(|extension| extension == "log")).unwrap()
}

fn content(disk: &SimulatedDisk, path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    disk.edit(path, |bytes| content.clone_from(bytes));
    content
}

/// After an orderly end, and after a kill, which leaves the page cache.
#[tokio::test]
async fn a_cut_or_flipped_end_of_the_journal_is_refused_until_its_loss_is_accepted() {
    for orderly in [true, false] {
        let disk = SimulatedDisk::new(1);
        let store = Store::open(small(&disk)).unwrap();
        for i in 0..50 {
            commit(&store, vec![put(&format!("pods/{i}"), vec![b'x'; 100])]).await.unwrap();
        }
        let revision = store.revision();
        if orderly {
            store.close().await;
        } else {
            disk.kill();
        }
        let path = last_segment(&disk);
        let mut whole = content(&disk, &path);
        // A kill leaves the room that was made for more.
        whole.truncate(whole.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        for at in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            for damaged in [whole[..at].to_vec(), flipped] {
                disk.edit(&path, |bytes| bytes.clone_from(&damaged));
                let error = Store::open(small(&disk)).unwrap_err();
                assert!(error.is_damage(), "damage at {at}: {error}");
                assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
                assert_eq!(content(&disk, &path), damaged, "nothing is changed");
            }
        }
        let store = Store::open(Config { accept_loss: true, ..small(&disk) }).unwrap();
        assert!(store.revision() > revision, "what was lost may have used revisions, and none means something else");
        let (left, revision) = (store.snapshot().count("pods/"), store.revision());
        assert!((1..=50).contains(&left), "{left}");
        disk.crash();
        let store = Store::open(small(&disk)).unwrap();
        assert_eq!(store.snapshot().count("pods/"), left);
        assert!(store.revision() >= revision);
    }
}

/// Where the mark of the end is lost, so is what shows that records are, and how many.
#[tokio::test]
async fn no_revision_is_used_again_after_a_loss_that_nothing_shows() {
    let disk = SimulatedDisk::new(1);
    let store = Store::open(small(&disk)).unwrap();
    commit(&store, vec![put("pods/kept", "1")]).await.unwrap();
    let path = last_segment(&disk);
    let kept = content(&disk, &path);
    for _ in 0..10 {
        commit(&store, vec![put("pods/lost", "1")]).await.unwrap();
    }
    let revision = store.revision();
    store.close().await;
    disk.edit(&path, |content| content.clone_from(&kept));
    disk.remove(&path.with_file_name("end")).unwrap();
    let error = Store::open(small(&disk)).unwrap_err();
    assert!(error.is_lost_end(), "{error}");
    let store = Store::open(Config { accept_loss: true, ..small(&disk) }).unwrap();
    assert!(store.snapshot().get("pods/lost").is_none());
    let next = commit(&store, vec![put("pods/next", "1")]).await.unwrap().revision;
    assert!(next > revision + 1_000_000_000, "{next}");
    disk.kill();
    assert!(Store::open(small(&disk)).unwrap().revision() >= next);
}

#[tokio::test]
async fn files_that_are_missing_are_missed() {
    let disk = SimulatedDisk::new(1);
    let store = Store::open(small(&disk)).unwrap();
    for i in 0..10 {
        commit(&store, vec![put(&format!("pods/{i}"), vec![b'x'; 500])]).await.unwrap();
    }
    store.close().await;
    let whole: Vec<(PathBuf, Vec<u8>)> = disk
        .files()
        .into_iter()
        .filter(|path| !path.ends_with("lock"))
        .map(|path| (path.clone(), content(&disk, &path)))
        .collect();
    assert!(whole.len() > 3, "{whole:?}");
    let all = |name: &str| {
        whole.iter().map(|(path, _)| path.clone()).filter(|path| path.to_string_lossy().contains(name)).collect()
    };
    let mut missing: Vec<Vec<PathBuf>> = whole.iter().map(|(path, _)| vec![path.clone()]).collect();
    missing.extend::<[Vec<PathBuf>; 2]>([all("/journal/"), all(".log")]);
    for missing in missing {
        for path in &missing {
            disk.remove(path).unwrap();
        }
        let error = Store::open(small(&disk)).unwrap_err();
        assert!(error.is_damage() || matches!(error, OpenError::Version { .. }), "without {missing:?}: {error}");
        for (path, bytes) in whole.iter().filter(|(path, _)| missing.contains(path)) {
            disk.create(path).unwrap();
            disk.edit(path, |content| content.clone_from(bytes));
        }
    }
    assert_eq!(Store::open(small(&disk)).unwrap().snapshot().count("pods/"), 10);
}

/// Until a first opening has ended, nothing can be in the directory; whatever is left of it is no hindrance.
#[tokio::test]
async fn a_directory_is_usable_after_any_end_of_its_first_opening() {
    for seed in 0..300 {
        let disk = SimulatedDisk::new(seed);
        for _ in 0..4 {
            disk.set_faults(Faults { short_write: 100, failed_write: 100, failed_sync: 150, failed_create: 150 });
            let opened = Store::open(small(&disk));
            if seed % 3 == 0 {
                disk.kill()
            } else {
                disk.crash()
            }
            drop(opened);
            disk.set_faults(Faults::default());
            if seed % 2 == 0 {
                Store::open(small(&disk)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                disk.kill();
            }
        }
        let store = Store::open(small(&disk)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        commit(&store, vec![put("pods/a", "1")]).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_once_the_directory_is_gone_and_reading_goes_on() {
    let outer = tempfile::tempdir().unwrap();
    let (dir, moved) = (outer.path().join("state"), outer.path().join("moved"));
    let store = Store::open(Config::new(&dir)).unwrap();
    commit(&store, vec![put("pods/a", "1"), put("leases/a", "1")]).await.unwrap();
    store.check().unwrap();
    std::fs::rename(&dir, &moved).unwrap();
    let gone = |result: Result<_, CommitError>| matches!(result, Err(CommitError::Storage(error)) if matches!(*error, JournalError::Gone(_)));
    for _ in 0..3 {
        assert!(gone(commit(&store, vec![put("pods/a", "2")]).await));
        assert!(matches!(store.check(), Err(JournalError::Gone(_))));
        assert_eq!(store.snapshot().get("pods/a").unwrap().value, "1");
        std::fs::create_dir_all(dir.join("journal")).unwrap();
    }
    heartbeat(&store, "leases/a", "2").await.unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::rename(&moved, &dir).unwrap();
    store.check().unwrap();
    commit(&store, vec![put("pods/a", "3")]).await.unwrap();
    store.close().await;
    let store = Store::open(Config::new(&dir)).unwrap();
    assert_eq!(store.snapshot().get("pods/a").unwrap().value, "3");
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(gone(commit(&store, vec![put("pods/a", "4")]).await));
    store.close().await;
}
