//! Writers over HTTPS while the server is killed with SIGKILL again and again: what was acknowledged is there
//! after, at the acknowledged revision or a later one; a watch that resumes misses nothing and repeats nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{Server, http::Http};

const CYCLES: u64 = 200;
const WRITERS: usize = 4;
const PATH: &str = "/api/v1/namespaces/default/configmaps";

/// Name of an object: the last count that a writer knows to be stored, and its revision.
type Acknowledged = Arc<Mutex<BTreeMap<String, (u64, u64)>>>;

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn count(object: &Value) -> u64 {
    object["data"]["count"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Creates and replaces objects of its own for as long as it may, through every failure.
fn write(http: &Http, writer: usize, acknowledged: &Acknowledged, written: &AtomicU64, stop: &AtomicBool) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let name = format!("w{writer}-{}", number % 16);
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"count": number.to_string()},
        });
        let (method, path) = match acknowledged.lock().unwrap().contains_key(&name) {
            true => ("PUT", format!("{PATH}/{name}")),
            false => ("POST", PATH.to_owned()),
        };
        let answer = http.json(method, &path, Some(&object));
        // What the death of the server left unanswered may or may not be stored: a creation is tried as a replacement.
        let answer = match answer {
            Ok((409, _)) if method == "POST" => http.json("PUT", &format!("{PATH}/{name}"), Some(&object)),
            answer => answer,
        };
        match answer {
            Ok((200 | 201, stored)) => {
                acknowledged.lock().unwrap().insert(name, (number, revision(&stored)));
                written.fetch_add(1, Ordering::Relaxed);
            }
            Ok((code, status)) => panic!("{method} {path}: {code} {status}"),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn check(http: &Http, acknowledged: &BTreeMap<String, (u64, u64)>) -> u64 {
    let (code, list) = http.json("GET", PATH, None).unwrap();
    assert_eq!(code, 200, "{list}");
    let items: BTreeMap<&str, &Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["metadata"]["name"].as_str().unwrap(), item))
        .collect();
    for (name, (number, at)) in acknowledged {
        let item = items.get(name.as_str()).unwrap_or_else(|| panic!("{name} was acknowledged and is lost"));
        assert!(count(item) >= *number, "{name}: {number} was acknowledged, {} is there", count(item));
        assert!(revision(item) >= *at, "{name}: {at} was acknowledged, {} is there", revision(item));
        assert!(count(item) != *number || revision(item) == *at, "{name}: the same state at another revision");
    }
    revision(&list)
}

#[test]
fn nothing_acknowledged_is_lost() {
    let mut server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let (acknowledged, written) = (Acknowledged::default(), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let http = Http::of(&server);
            let (acknowledged, written, stop) = (Arc::clone(&acknowledged), Arc::clone(&written), Arc::clone(&stop));
            std::thread::spawn(move || write(&http, writer, &acknowledged, &written, &stop))
        })
        .collect();
    let http = Http::of(&server);
    let mut last = 0;
    for cycle in 0..CYCLES {
        // Until something was written, and then for a moment that is another one each time.
        let (before, deadline) = (written.load(Ordering::Relaxed), Instant::now() + Duration::from_secs(30));
        while written.load(Ordering::Relaxed) < before + 1 + cycle % 7 {
            assert!(Instant::now() < deadline, "no write came through in cycle {cycle}");
            std::thread::sleep(Duration::from_micros(500));
        }
        std::thread::sleep(Duration::from_micros(cycle * 131 % 5_000));
        server.restart();
        let known = acknowledged.lock().unwrap().clone();
        let now = check(&http, &known);
        assert!(now >= last, "revisions went back from {last} to {now}");
        last = now;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().expect("a writer saw only what it may see");
    }
    check(&http, &acknowledged.lock().unwrap());
    println!("{CYCLES} cycles, {} writes acknowledged", written.load(Ordering::Relaxed));
}

/// Follows every change through restarts; returns the revisions of each object in the order they came.
fn follow(http: &Http, from: u64, stop: &AtomicBool) -> BTreeMap<String, Vec<u64>> {
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut at = from;
    while !stop.load(Ordering::Relaxed) {
        let path = format!("{PATH}?watch=1&resourceVersion={at}&timeoutSeconds=2");
        let _ = http.lines(&path, |line| {
            // The end of a line that a death cut off.
            let Ok(event) = serde_json::from_str::<Value>(line) else { return };
            assert!(event["type"] == "ADDED" || event["type"] == "MODIFIED", "{event}");
            at = revision(&event["object"]);
            let name = event["object"]["metadata"]["name"].as_str().unwrap().to_owned();
            seen.entry(name).or_default().push(at);
        });
        std::thread::sleep(Duration::from_millis(2));
    }
    seen
}

#[test]
fn watches_resume_without_gaps() {
    let mut server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let http = Http::of(&server);
    let (_, list) = http.json("GET", PATH, None).unwrap();
    let (from, stop) = (revision(&list), Arc::new(AtomicBool::new(false)));
    let (watcher, stopped) = (Http::of(&server), Arc::clone(&stop));
    let watching = std::thread::spawn(move || follow(&watcher, from, &stopped));
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
    std::thread::sleep(Duration::from_secs(3));
    stop.store(true, Ordering::Relaxed);
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
