//! A real process, killed at any moment, on a real disk. The test runs itself as the writer.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use store::{Config, Store};

use crate::{commit, put};

const DIR: &str = "STORE_KILL_TEST_DIR";
const CYCLES: u64 = 200;
const WRITERS: u64 = 8;

fn config(dir: &Path) -> Config {
    Config { checkpoint_bytes: 64 << 10, segment_bytes: 32 << 10, ..Config::new(dir) }
}

fn spawn_writer(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::writer", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Writes rising numbers under its keys until it is killed, and says which were acknowledged. Without a directory it does nothing.
#[tokio::test]
async fn writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = Store::open(config(Path::new(&dir))).unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let key = format!("pods/{writer}");
            let found = store.snapshot().get(&key).map_or(0, |entry| number(&entry.value));
            for value in found + 1.. {
                commit(&store, vec![put(&key, format!("{value}:{}", "x".repeat(1000)))]).await.unwrap();
                println!("{writer} {value}");
            }
        })
    });
    futures_util::future::join_all(writers).await;
}

fn number(value: &[u8]) -> u64 {
    let digits = value.split(|byte| *byte == b':').next().unwrap();
    std::str::from_utf8(digits).unwrap().parse().unwrap()
}

#[tokio::test]
async fn acknowledged_writes_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    for cycle in 0..CYCLES {
        let mut child = spawn_writer(dir.path());
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let parse = |line: String| {
                let (writer, value) = line.split_once(' ')?;
                Some((writer.parse().ok()?, value.parse().ok()?))
            };
            // The last line may be torn: a shorter number is a smaller one, which was acknowledged too.
            output.lines().map_while(Result::ok).filter_map(parse).collect::<Vec<(u64, u64)>>()
        });
        std::thread::sleep(Duration::from_millis(20 + cycle * 37 % 120));
        child.kill().unwrap();
        child.wait().unwrap();
        for (writer, value) in reader.join().unwrap() {
            let latest = acknowledged.entry(writer).or_default();
            *latest = value.max(*latest);
        }
        if cycle % 10 == 9 || cycle + 1 == CYCLES {
            let store = Store::open(config(dir.path())).unwrap();
            for (writer, value) in &acknowledged {
                let snapshot = store.snapshot();
                let entry = snapshot.get(&format!("pods/{writer}")).expect("acknowledged");
                assert!(number(&entry.value) >= *value, "cycle {cycle}: writer {writer} lost {value}");
            }
            store.close().await;
        }
    }
    assert_eq!(acknowledged.len() as u64, WRITERS);
    assert!(acknowledged.values().all(|value| *value > CYCLES), "{acknowledged:?}");
}
