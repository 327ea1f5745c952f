//! Writers over HTTPS while the server is killed with SIGKILL again and again: what was acknowledged is there
//! after, at the acknowledged revision or a later one; a watch that resumes misses nothing and repeats nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{Server, http::Http};

const CYCLES: u64 = 200;
const WRITERS: usize = 4;
const PATH: &str = "/api/v1/namespaces/default/configmaps";
/// The name of the object after which there is nothing to follow.
const END: &str = "zz-end";

/// What the writers know.
#[derive(Default)]
struct Known {
    /// By object: the last operation that was acknowledged.
    acknowledged: BTreeMap<String, Written>,
    /// By object: the number of the last deletion that was sent, whatever became of it.
    deletions: BTreeMap<String, u64>,
    /// Of every write that was acknowledged.
    revisions: Vec<u64>,
}

#[derive(Clone, Copy)]
enum Written {
    Stored { number: u64, revision: u64 },
    Deleted { number: u64 },
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn count(object: &Value) -> u64 {
    object["data"]["count"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Creates, replaces and deletes objects of its own for as long as it may, through every failure.
fn write(http: &Http, writer: usize, known: &Mutex<Known>, stop: &AtomicBool) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let name = format!("w{writer}-{}", number % 7);
        let path = format!("{PATH}/{name}");
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"count": number.to_string()},
        });
        let deletes = number % 5 == 0;
        if deletes {
            known.lock().unwrap().deletions.insert(name.clone(), number);
        }
        // What the death of the server left unanswered may or may not be stored: either way is tried.
        let answer = match deletes {
            true => http.json("DELETE", &path, None),
            false => match http.json("PUT", &path, Some(&object)) {
                Ok((404, _)) => http.json("POST", PATH, Some(&object)),
                answer => answer,
            },
        };
        let mut known = known.lock().unwrap();
        match answer {
            Ok((200 | 201, _)) if deletes => drop(known.acknowledged.insert(name, Written::Deleted { number })),
            Ok((404, _)) if deletes => drop(known.acknowledged.insert(name, Written::Deleted { number })),
            Ok((200 | 201, stored)) => {
                let revision = revision(&stored);
                known.acknowledged.insert(name, Written::Stored { number, revision });
                known.revisions.push(revision);
            }
            Ok((code, status)) => panic!("{number} of {path}: {code} {status}"),
            Err(_) => {
                drop(known);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Writers go on meanwhile: an object may be further than what was acknowledged, never behind.
fn check(http: &Http, known: &Mutex<Known>) -> u64 {
    let acknowledged = known.lock().unwrap().acknowledged.clone();
    let (code, list) = http.json("GET", PATH, None).unwrap();
    assert_eq!(code, 200, "{list}");
    let items: BTreeMap<&str, &Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["metadata"]["name"].as_str().unwrap(), item))
        .collect();
    let deletions = known.lock().unwrap().deletions.clone();
    for (name, written) in &acknowledged {
        let item = items.get(name.as_str());
        match (*written, item) {
            (Written::Deleted { .. }, None) => {}
            (Written::Deleted { number }, Some(item)) => assert!(count(item) > number, "{name} came back: {item}"),
            (Written::Stored { number, .. }, None) => {
                let deleted = deletions.get(name).is_some_and(|deletion| *deletion > number);
                assert!(deleted, "{name}: {number} was acknowledged and is lost");
            }
            (Written::Stored { number, revision: at }, Some(item)) => {
                assert!(count(item) >= number, "{name}: {number} was acknowledged, {} is there", count(item));
                assert!(revision(item) >= at, "{name}: {at} was acknowledged, {} is there", revision(item));
                assert!(count(item) != number || revision(item) == at, "{name}: the same state at another revision");
            }
        }
    }
    revision(&list)
}

#[test]
fn nothing_acknowledged_is_lost() {
    let mut server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let (known, stop) = (Arc::new(Mutex::new(Known::default())), Arc::new(AtomicBool::new(false)));
    let http = Http::of(&server);
    let watcher = http.clone();
    let start = revision(&http.json("GET", PATH, None).unwrap().1);
    let watching = std::thread::spawn(move || follow(&watcher, start));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (http, known, stop) = (http.clone(), Arc::clone(&known), Arc::clone(&stop));
            std::thread::spawn(move || write(&http, writer, &known, &stop))
        })
        .collect();
    let written = || known.lock().unwrap().revisions.len() as u64;
    let mut last = 0;
    for cycle in 0..CYCLES {
        // Until something was written, and then for a moment that is another one each time.
        let (before, deadline) = (written(), Instant::now() + Duration::from_secs(30));
        while written() < before + 1 + cycle % 7 {
            assert!(Instant::now() < deadline, "no write came through in cycle {cycle}");
            std::thread::sleep(Duration::from_micros(500));
        }
        std::thread::sleep(Duration::from_micros(cycle * 131 % 5_000));
        server.restart();
        let now = check(&http, &known);
        assert!(now >= last, "revisions went back from {last} to {now}");
        last = now;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().expect("a writer saw only what it may see");
    }
    check(&http, &known);
    let end = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": END}});
    assert_eq!(http.json("POST", PATH, Some(&end)).unwrap().0, 201);
    let seen: BTreeSet<u64> = watching.join().unwrap().into_values().flatten().collect();
    let missed: Vec<u64> = known.lock().unwrap().revisions.iter().filter(|at| !seen.contains(at)).copied().collect();
    assert_eq!(missed, Vec::<u64>::new(), "acknowledged, and told to no watcher");
    println!("{CYCLES} cycles, {} writes acknowledged", written());
}

/// Follows every change through restarts until the object comes that ends it; returns the revisions of each object in
/// the order they came. No revision comes twice.
fn follow(http: &Http, from: u64) -> BTreeMap<String, Vec<u64>> {
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut at = from;
    loop {
        let path = format!("{PATH}?watch=1&resourceVersion={at}&timeoutSeconds=2");
        let _ = http.lines(&path, |line| {
            // The end of a line that a death cut off.
            let Ok(event) = serde_json::from_str::<Value>(line) else { return };
            let kind = event["type"].as_str().unwrap_or_default();
            assert!(["ADDED", "MODIFIED", "DELETED"].contains(&kind), "{event}");
            let now = revision(&event["object"]);
            assert!(now > at, "{now} after {at}");
            at = now;
            let name = event["object"]["metadata"]["name"].as_str().unwrap().to_owned();
            seen.entry(name).or_default().push(at);
        });
        if seen.remove(END).is_some() {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn watches_resume_without_gaps() {
    let mut server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let http = Http::of(&server);
    let (_, list) = http.json("GET", PATH, None).unwrap();
    let (from, watcher) = (revision(&list), http.clone());
    let watching = std::thread::spawn(move || follow(&watcher, from));
    let mut expected: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for cycle in 0..10 {
        for number in 0..20 {
            let name = format!("c{}", number % 5);
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                "data": {"count": format!("{cycle}.{number}")},
            });
            let first = !expected.contains_key(&name);
            let (method, path) = if first { ("POST", PATH.to_owned()) } else { ("PUT", format!("{PATH}/{name}")) };
            let (code, stored) = http.json(method, &path, Some(&object)).unwrap();
            assert!(code < 300, "{stored}");
            expected.entry(name).or_default().push(revision(&stored));
        }
        server.restart();
    }
    let end = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": END}});
    assert_eq!(http.json("POST", PATH, Some(&end)).unwrap().0, 201);
    assert_eq!(watching.join().unwrap(), expected);
}

#[test]
fn a_restart_keeps_kubeconfig_and_identity() {
    let mut server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let kubeconfig = fs::read_to_string(server.kubeconfig()).unwrap();
    let clients = server.clients();
    let request =
        r#"{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{"expirationSeconds":3600}}"#;
    clients.kubectl_with(&["create", "-f", "-"], "{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}");
    let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    let issued = clients.kubectl_with(&["create", "--raw", path, "-f", "-"], request);
    let issued: Value = serde_json::from_str(&issued).unwrap();
    let uid = clients.kubectl(&["get", "ns", "kube-system", "-o", "jsonpath={.metadata.uid}"]);
    server.stop();
    server.restart();
    assert_eq!(fs::read_to_string(server.kubeconfig()).unwrap(), kubeconfig);
    assert_eq!(clients.kubectl(&["get", "ns", "kube-system", "-o", "jsonpath={.metadata.uid}"]), uid);
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": issued["status"]["token"]},
    });
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (_, review) = Http::of(&server).json("POST", path, Some(&review)).unwrap();
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:default:robot", "{review}");
}
