//! What happens at the limits: of history, of disk, of memory, of open files. In each case the one who asked for
//! too much is told so, and everyone else is served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{Server, clients::run, http::Http};

const BINARY: &str = env!("CARGO_BIN_EXE_coracle");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}})
}

/// Creates or replaces; the object as it is stored.
fn put(http: &Http, name: &str, value: &str) -> Value {
    let object = map(name, value);
    let (code, stored) = http.json("PUT", &format!("{MAPS}/{name}"), Some(&object)).unwrap();
    if code == 404 {
        let (code, stored) = http.json("POST", MAPS, Some(&object)).unwrap();
        assert_eq!(code, 201, "{stored}");
        return stored;
    }
    assert_eq!(code, 200, "{stored}");
    stored
}

fn revision(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().expect("a resourceVersion")
}

/// Until it holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within two minutes");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a watch from a revision says first.
fn first_event(http: &Http, from: &str) -> Value {
    let mut first = Value::Null;
    let path = format!("{MAPS}?watch=1&resourceVersion={from}&timeoutSeconds=1");
    let code = http.lines(&path, |line| {
        if first.is_null() {
            first = serde_json::from_str(line).unwrap();
        }
    });
    assert_eq!(code.unwrap(), 200);
    first
}

/// A revision that is gone is gone for watches, for lists at it and for lists that go on from it.
fn assert_expired(http: &Http, old: &str, token: &str) {
    let event = first_event(http, old);
    assert_eq!(event["type"], "ERROR", "{event}");
    let status = &event["object"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")), "{status}");
    assert!(status["message"].as_str().unwrap().starts_with("too old resource version: "), "{status}");
    let (code, status) =
        http.json("GET", &format!("{MAPS}?resourceVersion={old}&resourceVersionMatch=Exact"), None).unwrap();
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")), "{status}");
    let (code, status) = http.json("GET", &format!("{MAPS}?limit=2&continue={token}"), None).unwrap();
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")), "{status}");
    // The refusal says how to go on without a consistent view: from where the list had come to.
    let token = status["metadata"]["continue"].as_str().expect("a token to go on with");
    let (code, list) = http.json("GET", &format!("{MAPS}?limit=100&continue={token}"), None).unwrap();
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
    assert_eq!((code, &names[..]), (200, &["c", "d"][..]), "{list}");
}

/// Of a list of four, the first two, and where the rest starts.
fn begin_list(http: &Http) -> (String, String) {
    for name in ["a", "b", "c", "d"] {
        put(http, name, "1");
    }
    let (_, list) = http.json("GET", &format!("{MAPS}?limit=2"), None).unwrap();
    (revision(&list).to_owned(), list["metadata"]["continue"].as_str().expect("there is more").to_owned())
}

#[test]
fn history_ends_by_size() {
    let server = Server::start_with(BINARY, &["--history-bytes", "65536"]);
    let http = Http::of(&server);
    let (old, token) = begin_list(&http);
    assert_eq!(http.json("GET", &format!("{MAPS}?limit=2&continue={token}"), None).unwrap().0, 200);
    let value = "x".repeat(4096);
    let mut last = String::new();
    for number in 0..100 {
        last = revision(&put(&http, "a", &format!("{number}{value}"))).to_owned();
    }
    assert_expired(&http, &old, &token);
    // The recent past is still there.
    put(&http, "a", "after");
    assert_eq!(first_event(&http, &last)["object"]["data"]["value"], "after");
}

#[test]
fn history_ends_by_age() {
    let server = Server::start_with(BINARY, &["--history-seconds", "1"]);
    let http = Http::of(&server);
    let (old, token) = begin_list(&http);
    let mut number = 0;
    eventually("the past is forgotten", || {
        number += 1;
        put(&http, "a", &number.to_string());
        first_event(&http, &old)["type"] == "ERROR"
    });
    assert_expired(&http, &old, &token);
}

/// The built binary under a limit on the size of files that can be set from outside: where it is reached, writing
/// fails as it does on a full disk. The signal that would come with it is ignored.
fn limited(directory: &tempfile::TempDir) -> PathBuf {
    let path = directory.path().join("coracle");
    fs::write(&path, format!("#!/bin/sh\ntrap '' XFSZ\nulimit -Sn 256\nexec {BINARY} \"$@\"\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_full_disk_is_an_error_to_the_writer_only() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(limited(&directory));
    let http = Http::of(&server);
    let before = put(&http, "before", "1");
    let fill = |limit: &str| {
        let mut command = Command::new("prlimit");
        let output =
            run(command.args(["--pid", &server.process_id().to_string(), &format!("--fsize={limit}:unlimited")]), "");
        assert!(output.status.success(), "{output:?}");
    };
    for round in 0..3 {
        fill("0");
        for (method, path, body) in [
            ("POST", MAPS.to_owned(), Some(map("new", "1"))),
            ("PUT", format!("{MAPS}/before"), Some(map("before", "2"))),
            ("DELETE", format!("{MAPS}/before"), None),
        ] {
            let (code, status) = http.json(method, &path, body.as_ref()).unwrap();
            assert_eq!((code, &status["reason"]), (500, &json!("InternalError")), "{method}: {status}");
            assert!(status["message"].as_str().unwrap().contains("cannot be made durable"), "{status}");
        }
        // Reading, listing and watching go on.
        assert_eq!(http.json("GET", &format!("{MAPS}/before"), None).unwrap(), (200, before.clone()), "round {round}");
        assert_eq!(http.json("GET", &format!("{MAPS}/new"), None).unwrap().0, 404);
        let state = first_event(&http, "0");
        assert_eq!((&state["type"], &state["object"]["kind"]), (&json!("ADDED"), &json!("ConfigMap")));
        assert_eq!(http.request("GET", "/readyz", &[], b"").unwrap().code, 200);
        fill("unlimited");
        put(&http, &format!("after-{round}"), "1");
    }
    server.restart();
    assert_eq!(http.json("GET", &format!("{MAPS}/before"), None).unwrap(), (200, before));
    for round in 0..3 {
        assert_eq!(http.json("GET", &format!("{MAPS}/after-{round}"), None).unwrap().0, 200);
    }
}

/// More connections that say nothing than a process may usually have files open.
#[test]
fn silent_connections_keep_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(limited(&directory));
    let http = Http::of(&server);
    let silent: Vec<_> = (0..400).map(|_| std::net::TcpStream::connect(&server.address).unwrap()).collect();
    let began = Instant::now();
    put(&http, "served", "1");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // They are dropped for want of a handshake.
    for mut connection in silent {
        connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert!(matches!(connection.read(&mut [0; 16]), Ok(0) | Err(_)));
    }
}

fn resident_bytes(server: &Server) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{}/statm", server.process_id())).unwrap();
    4096 * statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
}

/// Watchers that stop reading cost no memory, and in the end they are dropped.
#[test]
fn slow_watchers_are_dropped_and_not_buffered() {
    const SLOW: usize = 20;
    const UPDATES: usize = 300;
    let server = Server::start_with(BINARY, &["--history-bytes", "8388608"]);
    let http = Http::of(&server);
    put(&http, "a", "1");
    let mut slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let mut connection = http.connect().unwrap();
            let head = format!("GET {MAPS}?watch=1 HTTP/1.1\r\nHost: {}\r\n\r\n", http.address);
            connection.write_all(head.as_bytes()).unwrap();
            connection.flush().unwrap();
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            connection
        })
        .collect();
    let before = resident_bytes(&server);
    let value = "x".repeat(200_000);
    for number in 0..UPDATES {
        put(&http, "a", &format!("{number}{value}"));
    }
    // Buffered for each, the updates would be 1.2 GB; the history may take 8 MiB.
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(grown < 120 << 20, "{} MiB for {SLOW} watchers that do not read", grown >> 20);
    assert_eq!(established(&server, &slow), SLOW);
    eventually("slow watchers are dropped", || established(&server, &slow) == 0);
    // The first of them finds the end of its stream, and no event that is not whole and in order.
    let mut rest = Vec::new();
    let _ = slow[0].read_to_end(&mut rest);
    assert!(rest.len() < UPDATES * value.len(), "{} bytes", rest.len());
}

/// How many of these connections the server still has, as the kernel's table says.
fn established(server: &Server, connections: &[testkit::http::Connection]) -> usize {
    let port: u16 = server.address.rsplit(':').next().unwrap().parse().unwrap();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let held = |peer: u16| {
        table.lines().skip(1).any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ends = |word: &str, port: u16| word.ends_with(&format!(":{port:04X}"));
            ends(words[1], port) && ends(words[2], peer) && words[3] == "01"
        })
    };
    connections.iter().filter(|connection| held(connection.sock.local_addr().unwrap().port())).count()
}

/// Each of many watchers sees every change once and in order.
#[test]
fn many_watchers_see_everything() {
    const WATCHERS: usize = 200;
    const CHANGES: usize = 50;
    let server = Server::start(BINARY);
    let http = Http::of(&server);
    let from = revision(&put(&http, "a", "start")).to_owned();
    let path = format!("{MAPS}?watch=1&resourceVersion={from}&timeoutSeconds=30&fieldSelector=metadata.name%3Da");
    let watchers: Vec<_> = (0..WATCHERS)
        .map(|_| {
            let (http, path) = (http.clone(), path.clone());
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                http.lines(&path, |line| {
                    let event: Value = serde_json::from_str(line).unwrap();
                    seen.push(event["object"]["data"]["value"].as_str().unwrap_or_default().to_owned());
                })
                .map(|code| (code, seen))
            })
        })
        .collect();
    for number in 0..CHANGES {
        put(&http, "a", &number.to_string());
    }
    let (code, _) = http.json("DELETE", &format!("{MAPS}/a"), None).unwrap();
    assert_eq!(code, 200);
    let mut expected: Vec<String> = (0..CHANGES).map(|number| number.to_string()).collect();
    expected.push((CHANGES - 1).to_string());
    for watcher in watchers {
        assert_eq!(watcher.join().unwrap().unwrap(), (200, expected.clone()));
    }
}

/// A kubeconfig file that is there already keeps what is in it.
#[test]
fn the_users_kubeconfig_is_merged_into() {
    let mut server = Server::start(BINARY);
    server.stop();
    let theirs = "# mine\napiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster: {server: https://work.example.com, proxy-url: http://proxy}\n\
                  contexts:\n- name: work\n  context: {cluster: work, user: me, namespace: team}\nusers:\n- name: me\n  user: {token: secret}\npreferences: {colors: true}\n";
    fs::write(server.kubeconfig(), theirs).unwrap();
    server.restart();
    let clients = server.clients();
    let view = |path: &str| clients.kubectl(&["config", "view", "--raw", "-o", &format!("jsonpath={path}")]);
    assert_eq!(view("{.contexts[*].name}"), "coracle work");
    let theirs = |list: &str, field: &str, name: &str| view(&format!("{{.{list}[?(@.name=='{name}')].{field}}}"));
    assert_eq!(
        theirs("clusters", "cluster", "work"),
        r#"{"proxy-url":"http://proxy","server":"https://work.example.com"}"#
    );
    assert_eq!(theirs("contexts", "context", "work"), r#"{"cluster":"work","namespace":"team","user":"me"}"#);
    assert_eq!(theirs("users", "user", "me"), r#"{"token":"secret"}"#);
    assert_eq!(clients.kubectl(&["--context", "coracle", "get", "ns", "default", "-o", "name"]), "namespace/default\n");
    // Another start finds its own entries and changes nothing.
    let merged = fs::read_to_string(server.kubeconfig()).unwrap();
    server.restart();
    assert_eq!(fs::read_to_string(server.kubeconfig()).unwrap(), merged);
}
