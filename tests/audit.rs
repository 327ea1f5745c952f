//! The audit log: a line for each request, who made it, as whom, whether they might and what came of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use testkit::{Server, http::Http};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn every_request_leaves_a_line_also_after_the_log_was_rotated() {
    let directory = tempfile::tempdir().unwrap();
    let (log, rotated) = (directory.path().join("audit.log"), directory.path().join("audit.log.1"));
    let mut server = Server::start_with(env!("CARGO_BIN_EXE_coracle"), &["--audit-log", log.to_str().unwrap()]);
    let http = Http::of(&server);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    assert_eq!(http.json("POST", MAPS, Some(&map)).unwrap().0, 201);
    let answer = http.request("GET", &format!("{MAPS}/a"), &["Impersonate-User: una"], b"").unwrap();
    assert_eq!(answer.code, 403);
    std::fs::rename(&log, &rotated).unwrap();
    assert_eq!(http.json("GET", &format!("{MAPS}/a"), None).unwrap().0, 200);
    server.stop();

    let read = |path| -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (before, after) = (read(&rotated), read(&log));
    let find = |events: &[Value], verb: &str, code: u16| -> Value {
        let of_map = |event: &&Value| {
            event["verb"] == verb
                && event["objectRef"]["resource"] == "configmaps"
                && event["responseStatus"]["code"] == code
        };
        events.iter().find(of_map).unwrap_or_else(|| panic!("no {verb} in {events:#?}")).clone()
    };
    let created = find(&before, "create", 201);
    assert_eq!((&created["apiVersion"], &created["kind"]), (&json!("audit.k8s.io/v1"), &json!("Event")));
    assert_eq!(created["annotations"]["authorization.k8s.io/decision"], "allow");
    let refused = find(&before, "get", 403);
    assert_eq!(refused["impersonatedUser"]["username"], "una");
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    assert!(after.iter().all(|event| event["auditID"] != created["auditID"]));
    find(&after, "get", 200);
}
