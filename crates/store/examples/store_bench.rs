//! Prints what the store does on this machine: durable writes a second, fan-out to watchers, memory per object.
//!
//! `cargo run --release -p store --example store_bench [DIRECTORY]`; the directory's disk is the one measured.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints a table or stops")]

use std::{fs, path::PathBuf, time::Duration};

use store::{Config, Durability, Operation, Store, Template, Transaction};
use tokio::time::Instant;

const REOPEN: &str = "STORE_BENCH_REOPEN";
const OBJECTS: usize = 10_000;
const OBJECT_BYTES: usize = 6_700;

#[tokio::main]
async fn main() {
    if let Some(dir) = std::env::var_os(REOPEN) {
        return reopen(dir.as_ref()).await;
    }
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = base.join(format!("store-bench-{}", std::process::id()));
    // Memory first: what earlier work leaves behind in the allocator would be counted too.
    memory(&dir.join("memory")).await;
    println!("\n| writers | writes/s | mean ms | p99 ms |\n|---|---|---|---|");
    for writers in [1, 16, 64, 256] {
        throughput(&dir.join(format!("writers-{writers}")), writers).await;
    }
    fan_out(&dir.join("fan-out"), 200, 1000).await;
    fs::remove_dir_all(&dir).unwrap();
}

async fn put(store: &Store, key: &str, value: Vec<u8>) {
    let operations = vec![Operation::Put { key: key.into(), value: Template::whole(value) }];
    store.commit(Transaction { expects: vec![], operations, durability: Durability::Durable }).await.unwrap();
}

/// Text like a pod's JSON: names and numbers that differ, among words that do not.
fn object(size: usize, object: usize, version: usize) -> Vec<u8> {
    let mut text = format!("{{\"kind\":\"Pod\",\"name\":\"web-{object}\",\"resourceVersion\":\"{version}\"");
    let mut number = object as u64;
    while text.len() < size {
        number = number.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        text += &format!(",\"field-{}\":{{\"value\":\"{:x}\",\"type\":\"string\"}}", number % 97, number >> 24);
    }
    text.truncate(size);
    text.into_bytes()
}

async fn throughput(dir: &std::path::Path, writers: usize) {
    let store = Store::open(Config::new(dir)).unwrap();
    let (start, duration) = (Instant::now(), Duration::from_secs(4));
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while start.elapsed() < duration {
                    let begin = Instant::now();
                    let number = latencies.len();
                    put(&store, &format!("pods/default/{writer}-{number}"), object(2048, number, 1)).await;
                    latencies.push(begin.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let elapsed = start.elapsed();
    latencies.sort_unstable();
    let mean = latencies.iter().sum::<Duration>() / latencies.len() as u32;
    let p99 = latencies[latencies.len() * 99 / 100];
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    println!("| {writers} | {rate:.0} | {:.2} | {:.2} |", ms(mean), ms(p99));
    store.close().await;
}

async fn fan_out(dir: &std::path::Path, watchers: usize, updates: usize) {
    let store = Store::open(Config::new(dir)).unwrap();
    let before = cpu_seconds();
    let start = Instant::now();
    let tasks: Vec<_> = (0..watchers)
        .map(|_| {
            let mut watch = store.watch("pods/", store.revision()).unwrap();
            tokio::spawn(async move {
                let mut events = Vec::new();
                let mut seen = 0;
                let mut wakes = 0_usize;
                while seen < updates {
                    watch.next(&mut events).await.unwrap();
                    seen += events.len();
                    wakes += 1;
                    events.clear();
                }
                wakes
            })
        })
        .collect();
    for update in 0..updates {
        put(&store, "pods/default/web", object(2048, update, 1)).await;
    }
    let mut wakes = 0;
    for task in tasks {
        wakes += task.await.unwrap();
    }
    let (cpu, events) = (cpu_seconds() - before, watchers * updates);
    println!(
        "\nfan-out: {updates} updates to {watchers} watchers in {:.2} s: {events} events, {wakes} wake-ups, {cpu:.2} CPU s",
        start.elapsed().as_secs_f64()
    );
    store.close().await;
}

async fn memory(dir: &std::path::Path) {
    let empty = resident_bytes();
    let store = Store::open(Config::new(dir)).unwrap();
    let opened = resident_bytes();
    for version in 0..2 {
        let tasks: Vec<_> = (0..16)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in (writer..OBJECTS).step_by(16) {
                        let key = format!("pods/namespace-{}/web-{number}", number % 10);
                        put(&store, &key, object(OBJECT_BYTES, number, version)).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        report(&format!("{OBJECTS} objects of {OBJECT_BYTES} bytes written {} ×", version + 1), empty);
    }
    println!("opened and empty: {} KiB more than the program", (opened - empty) >> 10);
    store.close().await;
    // In a process of its own, as a restart is.
    let program = std::env::current_exe().unwrap();
    assert!(std::process::Command::new(program).env(REOPEN, dir).status().unwrap().success());
}

async fn reopen(dir: &std::path::Path) {
    let empty = resident_bytes();
    let start = Instant::now();
    let store = Store::open(Config::new(dir)).unwrap();
    println!("opened again in {:.0} ms at revision {}", start.elapsed().as_secs_f64() * 1e3, store.revision());
    report("opened again", empty);
    let at = store.revision() - 12_000;
    while store.oldest_revision() > at {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("history back 12000 revisions after {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    report("with that history", empty);
    let start = Instant::now();
    let past = store.snapshot_at(store.revision() - 2000).unwrap();
    println!(
        "{} objects as of 2000 revisions ago in {:.1} ms",
        past.count("pods/"),
        start.elapsed().as_secs_f64() * 1e3
    );
    store.close().await;
}

fn report(what: &str, empty: usize) {
    let resident = resident_bytes();
    let per_object = (resident - empty) / OBJECTS;
    println!("{what}: {:.1} MB resident, {per_object} bytes an object", resident as f64 / 1e6);
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}
