//! No request within the limit of a body may cost much more than its size: whatever compares the items of a list
//! with one another shows here, since these lists are as long as bodies allow.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use serde_json::{Value, json};
use testkit::{Server, http::Http};

const BINARY: &str = env!("CARGO_BIN_EXE_coracle");
/// Processor time for one request. Work in proportion to the body is far below it, in an unoptimized build too; work
/// by its square is far above.
const MOST_SECONDS: f64 = 10.0;

/// The processor time that the server has used.
fn seconds_used(server: &Server) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.process_id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

fn many(count: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..count).map(item).collect()
}

fn pod(spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    if pod["spec"]["containers"].is_null() {
        pod["spec"]["containers"] = json!([{"name": "a", "image": "b"}]);
    }
    pod
}

fn configured(metadata: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
}

/// Path and document of creates, each with a list as long as a body allows.
fn creates() -> Vec<(&'static str, Value)> {
    const PODS: &str = "/api/v1/namespaces/default/pods";
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let container = |field: &str, items: Value| {
        let mut container = json!({"name": "a", "image": "b"});
        container[field] = items;
        pod(json!({"containers": [container]}))
    };
    let rule = |i| json!({"verbs": ["get"], "apiGroups": [""], "resources": [format!("r{i}")]});
    let webhook = |i| {
        json!({
            "name": format!("h{i}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://example.com"},
        })
    };
    let owner = |i| json!({"apiVersion": "v1", "kind": "Pod", "name": format!("p{i}"), "uid": format!("u{i}")});
    vec![
        (PODS, container("env", many(60_000, |i| json!({"name": format!("A{i}"), "value": "x"})))),
        (PODS, container("ports", many(15_000, |i| json!({"name": format!("p{i}"), "containerPort": 1 + i})))),
        (
            PODS,
            container("resizePolicy", many(30_000, |i| json!({"resourceName": format!("r{i}"), "restartPolicy": "x"}))),
        ),
        (PODS, container("resources", json!({"claims": many(30_000, |i| json!({"name": format!("c{i}")}))}))),
        (
            PODS,
            container("volumeMounts", many(20_000, |i| json!({"name": format!("v{i}"), "mountPath": format!("/{i}")}))),
        ),
        (PODS, pod(json!({"containers": many(20_000, |i| json!({"name": format!("c{i}"), "image": "b"}))}))),
        (PODS, pod(json!({"volumes": many(20_000, |i| json!({"name": format!("v{i}"), "emptyDir": {}}))}))),
        (PODS, pod(json!({"tolerations": many(30_000, |i| json!({"key": format!("k{i}"), "operator": "Exists"}))}))),
        (
            PODS,
            pod(
                json!({"resourceClaims": many(20_000, |i| json!({"name": format!("c{i}"), "resourceClaimName": "x"}))}),
            ),
        ),
        (
            "/api/v1/namespaces/default/services",
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
                "spec": {"ports": many(20_000, |i| json!({"name": format!("p{i}"), "port": 1 + i}))},
            }),
        ),
        (
            "/api/v1/nodes",
            json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
                "spec": {"taints": many(40_000, |i| json!({"key": format!("k{i}"), "effect": "NoSchedule"}))},
            }),
        ),
        (MAPS, configured(json!({"name": "m", "labels": many_named(100_000)}))),
        (MAPS, configured(json!({"name": "m", "ownerReferences": many(30_000, owner)}))),
        (MAPS, configured(json!({"name": "m", "finalizers": many(100_000, |i| json!(format!("a.b/f{i}")))}))),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
                "rules": many(30_000, rule),
            }),
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "e"},
                "addressType": "IPv4", "ports": many(30_000, |i| json!({"name": format!("p{i}"), "port": 80})),
                "endpoints": many(20_000, |_| json!({"addresses": ["10.0.0.1"]})),
            }),
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "n"},
                "spec": {"podSelector": {}, "ingress": [{"ports": many(50_000, |i| json!({"port": 1 + i}))}]},
            }),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "w"}, "webhooks": many(12_000, webhook),
            }),
        ),
    ]
}

fn many_named(count: usize) -> Value {
    Value::Object((0..count).map(|i| (format!("l{i}"), "v".into())).collect())
}

fn send(http: &Http, method: &str, path: &str, kind: &str, body: &Value) -> u16 {
    let body = serde_json::to_vec(body).unwrap();
    assert!(body.len() <= 3 * 1024 * 1024, "{path}: {} bytes", body.len());
    http.request(method, path, &[&format!("Content-Type: application/{kind}")], &body).unwrap().code
}

#[test]
fn the_longest_lists_cost_no_more_than_their_length() {
    let server = Server::start(BINARY);
    let http = Http::of(&server);
    let mut slow = Vec::new();
    let mut check = |method: &str, path: &str, kind: &str, body: &Value| {
        let before = seconds_used(&server);
        let code = send(&http, method, path, kind, body);
        let took = seconds_used(&server) - before;
        println!("{took:6.2} s  {code}  {method} {path}");
        if took > MOST_SECONDS {
            slow.push(format!("{method} {path}: {took} s"));
        }
        code
    };
    for (path, document) in creates() {
        check("POST", &format!("{path}?dryRun=All"), "json", &document);
    }

    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
    let port = |i: usize| json!({"containerPort": 1 + i, "protocol": "TCP"});
    let template = |container: Value| json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let mut deployment = template(json!({"name": "a", "image": "b", "ports": many(15_000, port)}));
    deployment["metadata"] = json!({"name": "d"});
    deployment["spec"]["selector"] = json!({"matchLabels": {"a": "b"}});
    deployment["spec"]["template"]["metadata"] = json!({"labels": {"a": "b"}});
    assert_eq!(check("POST", DEPLOYMENTS, "json", &deployment), 201);
    let path = format!("{DEPLOYMENTS}/d");
    let reversed = |i| port(14_999 - i);
    let order = template(json!({
        "name": "a", "ports": many(15_000, reversed), "$setElementOrder/ports": many(15_000, reversed),
    }));
    assert_eq!(check("PATCH", &path, "strategic-merge-patch+json", &order), 200);
    let removal = |i| json!({"containerPort": 1 + i, "$patch": "delete"});
    let removal = template(json!({"name": "a", "ports": many(15_000, removal)}));
    assert_eq!(check("PATCH", &path, "strategic-merge-patch+json", &removal), 200);

    define_lists(&server, &http);
    const THINGS: &str = "/apis/example.com/v1/namespaces/default/things";
    let thing =
        |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec});
    let entry = |i: usize| json!({"k": format!("k{i}"), "v": i});
    let apply = |manager: &str| format!("{THINGS}/t?force=true&fieldManager={manager}");
    let (forward, backward) = (many(50_000, entry), many(50_000, |i| entry(49_999 - i)));
    assert_eq!(check("PATCH", &apply("one"), "apply-patch+yaml", &thing(json!({"map": forward}))), 201);
    assert_eq!(check("PATCH", &apply("two"), "apply-patch+yaml", &thing(json!({"map": backward}))), 200);
    let set = thing(json!({"set": many(100_000, |i| json!(format!("s{i}")))}));
    check("POST", &format!("{THINGS}?dryRun=All"), "json", &set);
    assert!(slow.is_empty(), "{slow:#?}");
}

/// A custom resource with a list by key and a set.
fn define_lists(server: &Server, http: &Http) {
    let map = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}},
    });
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
    let schema = json!({
        "type": "object", "properties": {"spec": {"type": "object", "properties": {"map": map, "set": set}}},
    });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(send(http, "POST", path, "json", &definition), 201);
    server.clients().kubectl(&["wait", "crd/things.example.com", "--for=condition=Established", "--timeout=60s"]);
}
