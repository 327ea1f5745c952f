//! `/metrics` beside `metrics.txt`: what is served under upstream's names has upstream's types, labels and buckets, and
//! after some ordinary work every family there has a series.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};
use testkit::{Server, http::Http};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Ours alone, or only seen where something refuses or fails.
const NOT_THERE: [&str; 1] = ["apiserver_request_terminations_total"];

/// What is told of a family.
#[derive(Debug, Default, PartialEq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    bounds: Vec<String>,
}

fn known() -> BTreeMap<String, Family> {
    let read = |line: &str| {
        let mut fields = line.split('|').map(|field| field.trim().to_owned());
        let mut next = || fields.next().unwrap_or_default();
        let (name, kind, labels, bounds) = (next(), next(), next(), next());
        let labels = labels.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (name, Family { kind, labels, bounds: bounds.split_whitespace().map(str::to_owned).collect() })
    };
    include_str!("metrics.txt").lines().filter(|line| !line.starts_with('#')).map(read).collect()
}

/// Families with at least one series; every series of one has the same labels, and none is there twice.
fn served(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = (String::new(), String::new());
    let mut all = BTreeSet::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').unwrap();
            assert!(!families.contains_key(name), "{name} is told in two pieces");
            current = (name.to_owned(), kind.to_owned());
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(all.insert(series), "{series} is told twice");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        assert!(name.starts_with(&current.0), "{line} stands under {}", current.0);
        let pairs = labels.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\""));
        let mut labels = BTreeSet::new();
        let is_new = !families.contains_key(&current.0);
        let family = families.entry(current.0.clone()).or_default();
        for (label, value) in pairs {
            if label == "le" {
                let bound = value.trim_end_matches('"').to_owned();
                if bound != "+Inf" && !family.bounds.contains(&bound) {
                    family.bounds.push(bound);
                }
            } else {
                labels.insert(label.to_owned());
            }
        }
        if is_new {
            (family.kind, family.labels) = (current.1.clone(), labels);
        } else {
            assert_eq!(family.labels, labels, "{line}");
        }
    }
    families
}

fn ordinary_work(server: &Server, http: &Http) {
    let send = |method: &str, path: &str, body: Option<&Value>, expect: u16| {
        let (code, answer) = http.json(method, path, body).unwrap();
        assert_eq!(code, expect, "{method} {path}: {answer}");
    };
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "small"},
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]},
            ]},
            "validations": [{"expression": "!has(object.data) || size(object.data) < 2"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "small"},
        "spec": {"policyName": "small", "validationActions": ["Deny"]},
    });
    send("POST", policies, Some(&policy), 201);
    send("POST", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", Some(&binding), 201);
    let map = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    send("POST", MAPS, Some(&map("a", json!({"a": "b"}))), 201);
    send("POST", MAPS, Some(&map("b", json!({"a": "b", "c": "d"}))), 422);
    send("DELETE", &format!("{MAPS}/a?dryRun=All"), None, 200);
    send("DELETE", &format!("{MAPS}/a"), None, 200);
    send("GET", MAPS, None, 200);
    send("GET", &format!("{MAPS}?dryRun=All"), None, 200);
    send("GET", "/api/v1/namespaces/default/endpoints", None, 200);
    let watch =
        "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1";
    assert_eq!(http.lines(&format!("/api/v1/namespaces{watch}"), |_| {}).unwrap(), 200);
    assert_eq!(http.request("GET", "/readyz", &[], b"").unwrap().code, 200);
    assert_eq!(Http::anonymous(server).request("GET", MAPS, &[], b"").unwrap().code, 403);
    // No client hello.
    let mut plain = TcpStream::connect(&http.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = plain.read(&mut [0; 100]);
}

#[test]
fn families_are_those_of_upstream() {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let http = Http::of(&server);
    ordinary_work(&server, &http);
    let text = http.request("GET", "/metrics", &[], b"").unwrap().body;
    let (known, served) = (known(), served(&text));
    for (name, family) in &known {
        match served.get(name) {
            Some(found) => assert_eq!(found, family, "{name}"),
            None => {
                let is_of_parts = name.starts_with("workqueue_") || name.starts_with("rest_client_");
                assert!(is_of_parts || NOT_THERE.contains(&&**name), "{name} has no series\n{text}");
            }
        }
    }
    let ours = |name: &&String| name.starts_with("coracle_") || *name == "process_threads";
    let unknown: Vec<&String> = served.keys().filter(|name| !known.contains_key(*name) && !ours(name)).collect();
    assert_eq!(unknown, Vec::<&String>::new(), "served, but not in metrics.txt");
    let value = |series: &str| {
        let line =
            text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("no {series}\n{text}"));
        line.trim().parse::<f64>().unwrap()
    };
    for (series, expect) in [
        ("apiserver_tls_handshake_errors_total", 1.0),
        ("etcd_requests_total{group=\"\",operation=\"delete\",resource=\"configmaps\"}", 1.0),
        ("kubernetes_healthchecks_total{name=\"data-directory\",status=\"success\",type=\"readyz\"}", 1.0),
        ("aggregator_unavailable_apiservice{name=\"v1.apps\"}", 0.0),
        (
            "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",version=\"v1\"}",
            1.0,
        ),
        (
            "apiserver_validating_admission_policy_check_total{enforcement_action=\"deny\",error_type=\"no_error\",policy=\"small\",policy_binding=\"small\"}",
            1.0,
        ),
    ] {
        assert_eq!(value(series), expect, "{series}");
    }
    // The administrator's certificate is good for a year, and no longer.
    assert!(value("apiserver_client_certificate_expiration_seconds_bucket{le=\"2.592e+06\"}") < 1.0);
    assert!(value("apiserver_client_certificate_expiration_seconds_count") >= 5.0);
    assert!(value("apiserver_storage_size_bytes{storage_cluster_id=\"store-0\"}") > 1000.0);
    assert!(value("authorization_attempts_total{result=\"no-opinion\"}") >= 1.0);
}
