//! Webhooks asked over TLS on the loopback.

use std::{convert::Infallible, sync::atomic::AtomicUsize, sync::atomic::Ordering, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::json;
use stdx::SeededRandom;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    admission::testing::{Case, cluster},
    authz::Decision as Opinion,
    cluster::FixedCluster,
    identity::Attributes,
    pki::{Names, Pki},
};

type Reply = dyn Fn(&Value) -> (u16, Value) + Send + Sync;
/// Reached by each request before it is answered.
type Gate = Option<Arc<tokio::sync::Barrier>>;

/// A webhook that answers as a closure says.
struct Hook {
    port: u16,
    authority: String,
    connections: Arc<AtomicUsize>,
    reviews: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    /// `reply` sees the request of the review and gives the HTTP status and the response.
    async fn start(reply: impl Fn(&Value) -> (u16, Value) + Send + Sync + 'static) -> Self {
        Self::gated(reply, None).await
    }

    /// Allows, once all have been asked.
    async fn held(barrier: Arc<tokio::sync::Barrier>) -> Self {
        Self::gated(|_| (200, json!({"allowed": true})), Some(barrier)).await
    }

    async fn gated(reply: impl Fn(&Value) -> (u16, Value) + Send + Sync + 'static, gate: Gate) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let extra = vec!["hook.default.svc".to_owned()];
        let names = Names { host: "box".into(), service_address: [10, 96, 0, 1].into(), extra };
        let now = stdx::Clock::now(&stdx::SystemClock);
        let pki = Pki::open(directory.path(), &names, now).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(pki.server_config().unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, reviews) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let hook = Self {
            port,
            authority: STANDARD.encode(pki.authority_pem().unwrap()),
            connections: Arc::clone(&connections),
            reviews: Arc::clone(&reviews),
        };
        let reply: Arc<Reply> = Arc::new(reply);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, reply, reviews) = (acceptor.clone(), Arc::clone(&reply), Arc::clone(&reviews));
                let gate = gate.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        answer(request, Arc::clone(&reply), Arc::clone(&reviews), gate.clone())
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        hook
    }

    async fn allowing() -> Self {
        Self::start(|_| (200, json!({"allowed": true}))).await
    }

    /// A webhook of a configuration, for config maps, with changes.
    fn webhook(&self, change: Value) -> Value {
        let mut webhook = json!({
            "name": "hook.example.com",
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "clientConfig": {"url": format!("https://localhost:{}/check", self.port), "caBundle": self.authority},
            "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 10,
        });
        webhook.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        webhook
    }
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    reply: Arc<Reply>,
    reviews: Arc<Mutex<Vec<Value>>>,
    gate: Gate,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    if let Some(gate) = gate {
        gate.wait().await;
    }
    let (status, mut response) = reply(&review["request"]);
    if response["allowed"].is_boolean() {
        response["uid"] = review["request"]["uid"].clone();
    }
    reviews.lock().push(review);
    let document = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Ok(Response::builder().status(status).body(Full::from(document.to_string())).unwrap())
}

#[derive(Debug)]
struct Anyone;

impl Authorizer for Anyone {
    fn authorize(&self, _: &Attributes<'_>, _: &dyn Cluster) -> Opinion {
        Opinion::Allow { reason: String::new() }
    }
}

#[derive(Debug)]
struct NoOthers;

impl Kinds for NoOthers {
    fn by_kind(&self, _: &str, _: &str) -> Option<Arc<Resource>> {
        None
    }

    fn equivalents(&self, _: &Resource) -> Vec<Arc<Resource>> {
        Vec::new()
    }
}

fn around() -> Surroundings {
    Surroundings {
        kinds: Arc::new(NoOthers),
        authorizer: Arc::new(Anyone),
        random: Arc::new(SeededRandom::new(1)),
        calls: Arc::default(),
    }
}

fn configured(topic: &str, webhooks: &[Value]) -> FixedCluster {
    cluster().with(topic, json!({"metadata": {"name": "hooks"}, "webhooks": webhooks}))
}

fn map(data: Value) -> Case {
    Case::create(
        "configmaps",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map", "namespace": "default"}, "data": data}),
    )
}

async fn validate(cluster: &FixedCluster, case: Case) -> Result<Vec<String>, String> {
    case.admit(&ValidatingWebhooks::new(around()), cluster).await.map(|(_, warnings)| warnings)
}

async fn mutate(cluster: &FixedCluster, before: Chain, case: Case) -> Result<Value, String> {
    case.admit(&MutatingWebhooks::new(before, around()), cluster).await.map(|(object, _)| object)
}

fn patch(operations: Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}

#[tokio::test]
async fn a_webhook_sees_the_request_and_its_words_reach_the_client() {
    let hook = Hook::start(|request| {
        let allowed = request["object"]["data"]["ok"] == "yes";
        (200, json!({"allowed": allowed, "warnings": ["careful"], "status": {"message": "not ok", "code": 403, "reason": "Forbidden"}}))
    })
    .await;
    let cluster = configured(VALIDATING, &[hook.webhook(json!({}))]);
    assert_eq!(validate(&cluster, map(json!({"ok": "yes"}))).await, Ok(vec!["careful".to_owned()]));
    let denied = r#"admission webhook "hook.example.com" denied the request: not ok"#;
    assert_eq!(validate(&cluster, map(json!({}))).await, Err(denied.to_owned()));
    assert_eq!(hook.connections.load(Ordering::SeqCst), 2, "each plug-in keeps its own connection");
    let review = hook.reviews.lock()[0].clone();
    let request = &review["request"];
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!(
        (&request["operation"], &request["name"], &request["namespace"]),
        (&json!("CREATE"), &json!("map"), &json!("default"))
    );
    assert_eq!(request["userInfo"]["username"], "jane");
    assert_eq!((&request["dryRun"], &request["oldObject"]), (&json!(false), &json!(null)));
}

#[tokio::test]
async fn a_call_is_measured_by_what_came_of_it() {
    let hook = Hook::start(|request| match request["object"]["data"]["do"].as_str() {
        Some("allow") => (200, json!({"allowed": true})),
        Some("deny") => (200, json!({"allowed": false, "status": {"code": 418}})),
        _ => (500, json!({})),
    })
    .await;
    let around = around();
    let mutating = || MutatingWebhooks::new(Chain::default(), around.clone());
    for (act, policy) in [("allow", "Fail"), ("deny", "Fail"), ("fail", "Fail"), ("fail", "Ignore")] {
        let webhooks = [hook.webhook(json!({"failurePolicy": policy}))];
        // What they answer is looked at elsewhere.
        let _ = map(json!({"do": act})).admit(&mutating(), &configured(MUTATING, &webhooks)).await;
        let validating = ValidatingWebhooks::new(around.clone());
        let _ = map(json!({"do": act})).admit(&validating, &configured(VALIDATING, &webhooks)).await;
    }
    let mut told = String::new();
    mutating().write_metrics(&mut told);
    let name = "name=\"hook.example.com\"";
    for step in ["admit", "validating"] {
        for expect in [
            format!("request_total{{code=\"200\",{name},operation=\"CREATE\",rejected=\"false\",type=\"{step}\"}} 1"),
            format!("request_total{{code=\"418\",{name},operation=\"CREATE\",rejected=\"true\",type=\"{step}\"}} 1"),
            format!("request_total{{code=\"503\",{name},operation=\"CREATE\",rejected=\"true\",type=\"{step}\"}} 1"),
            format!(
                "rejection_count{{error_type=\"no_error\",{name},operation=\"CREATE\",rejection_code=\"418\",type=\"{step}\"}} 1"
            ),
            format!(
                "rejection_count{{error_type=\"calling_webhook_error\",{name},operation=\"CREATE\",rejection_code=\"503\",type=\"{step}\"}} 1"
            ),
            format!("fail_open_count{{{name},type=\"{step}\"}} 1"),
            format!(
                "admission_duration_seconds_count{{{name},operation=\"CREATE\",rejected=\"true\",type=\"{step}\"}} 2"
            ),
        ] {
            assert!(told.contains(&format!("apiserver_admission_webhook_{expect}\n")), "{expect}\n{told}");
        }
    }
}

#[tokio::test]
async fn connections_are_kept() {
    let hook = Hook::allowing().await;
    let cluster = configured(VALIDATING, &[hook.webhook(json!({}))]);
    let plugin = ValidatingWebhooks::new(around());
    for _ in 0..5 {
        map(json!({})).admit(&plugin, &cluster).await.unwrap();
    }
    assert_eq!(hook.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn only_what_is_selected_is_asked_about() {
    let hook = Hook::start(|_| (200, json!({"allowed": false}))).await;
    let asked = async |change: Value, case: Case| {
        let refusal = validate(&configured(VALIDATING, &[hook.webhook(change)]), case).await.err();
        assert!(refusal.is_none_or(|text| text.ends_with("denied the request without explanation")));
        !std::mem::take(&mut *hook.reviews.lock()).is_empty()
    };
    let data = || map(json!({"a": "b"}));
    assert!(asked(json!({}), data()).await);
    assert!(!asked(json!({}), Case::create("secrets", json!({"metadata": {"name": "s"}}))).await);
    assert!(!asked(json!({}), data().update(json!({}))).await);
    assert!(!asked(json!({"rules": []}), data()).await);
    assert!(!asked(json!({"objectSelector": {"matchLabels": {"a": "b"}}}), data()).await);
    assert!(!asked(json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}), data()).await);
    let condition = |expression: &str| json!({"matchConditions": [{"name": "c", "expression": expression}]});
    assert!(asked(condition("object.data.a == 'b'"), data()).await);
    assert!(!asked(condition("object.data.a == 'c'"), data()).await);
    let everything =
        json!({"rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]});
    for resource in EXEMPT {
        let case =
            Case::create(&format!("{resource}.admissionregistration.k8s.io"), json!({"metadata": {"name": "x"}}));
        assert!(!asked(everything.clone(), case).await, "{resource}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_told_or_passed_over() {
    let hook = Hook::start(|request| match request["object"]["data"]["do"].as_str() {
        Some("fail") => (500, json!({})),
        Some("vanish") => (404, json!({})),
        _ => (200, json!({})),
    })
    .await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let check = async |change: Value, act: &str, expect: &str| {
        let failure = "Internal error occurred: failed calling webhook \"hook.example.com\": ";
        let found = validate(&configured(VALIDATING, &[hook.webhook(change.clone())]), map(json!({"do": act}))).await;
        let expect = expect.replace("PORT", &hook.port.to_string()).replace("DEAD", &dead.to_string());
        assert_eq!(found.as_ref().map_err(|text| text.strip_prefix(failure)), Err(Some(&*expect)), "{found:?}");
        let mut ignoring = change;
        ignoring["failurePolicy"] = "Ignore".into();
        let found = validate(&configured(VALIDATING, &[hook.webhook(ignoring)]), map(json!({"do": act}))).await;
        assert_eq!(found, Ok(vec![]));
    };
    check(
        json!({}),
        "nothing",
        "received invalid webhook response: expected response.uid=\"UID\", got \"\""
            .replace("UID", &SeededRandom::new(1).uuid())
            .as_str(),
    )
    .await;
    check(json!({}), "vanish", "failed to call webhook: the server could not find the requested resource").await;
    let url =
        |port: u16| json!({"clientConfig": {"url": format!("https://localhost:{port}/"), "caBundle": hook.authority}});
    check(url(dead), "", r#"failed to call webhook: Post "https://localhost:DEAD/?timeout=10s": dial tcp localhost:DEAD: connect: connection refused"#).await;
    let stranger = Hook::allowing().await;
    let untrusted =
        json!({"clientConfig": {"url": format!("https://localhost:{}/x", hook.port), "caBundle": stranger.authority}});
    check(untrusted, "", r#"failed to call webhook: Post "https://localhost:PORT/x?timeout=10s": tls: failed to verify certificate: x509: certificate signed by unknown authority"#).await;
    let service =
        json!({"clientConfig": {"service": {"namespace": "default", "name": "none"}, "caBundle": hook.authority}});
    check(
        service,
        "",
        r#"failed to call webhook: Post "https://none.default.svc:443/?timeout=10s": service "none" not found"#,
    )
    .await;
    check(
        json!({"admissionReviewVersions": ["v9"]}),
        "",
        "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)",
    )
    .await;
    let five =
        validate(&configured(VALIDATING, &[hook.webhook(json!({}))]), map(json!({"do": "fail"}))).await.unwrap_err();
    assert!(
        five.contains("failed to call webhook: an error on the server (\"{")
            && five.ends_with("has prevented the request from succeeding"),
        "{five}"
    );
}

#[tokio::test]
async fn a_silent_webhook_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hook = Hook { port, authority: String::new(), connections: Arc::default(), reviews: Arc::default() };
    let cluster = configured(VALIDATING, &[hook.webhook(json!({"timeoutSeconds": 1}))]);
    let (found, _stream) = tokio::join!(validate(&cluster, map(json!({}))), listener.accept());
    let expect = format!(
        "Internal error occurred: failed calling webhook \"hook.example.com\": failed to call webhook: Post \"https://localhost:{port}/check?timeout=1s\": context deadline exceeded"
    );
    assert_eq!(found, Err(expect));
}

#[tokio::test]
async fn a_service_is_reached_by_its_endpoint() {
    let hook = Hook::allowing().await;
    let service = json!({"namespace": "default", "name": "hook", "path": "/check"});
    let webhook = hook.webhook(json!({"clientConfig": {"service": service, "caBundle": hook.authority}}));
    let slice = json!({
        "metadata": {"name": "hook-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "hook"}},
        "ports": [{"port": hook.port}], "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
    });
    let cluster = configured(VALIDATING, &[webhook])
        .with("services", json!({"metadata": {"name": "hook", "namespace": "default"}, "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 443}]}}))
        .with("endpointslices.discovery.k8s.io", slice);
    assert_eq!(validate(&cluster, map(json!({}))).await, Ok(vec![]));
    assert_eq!(hook.reviews.lock().len(), 1);
}

#[tokio::test]
async fn dry_runs_reach_only_pure_webhooks() {
    let hook = Hook::allowing().await;
    let of = |effects: &str| {
        configured(VALIDATING, &[hook.webhook(json!({"sideEffects": effects, "failurePolicy": "Ignore"}))])
    };
    assert_eq!(validate(&of("NoneOnDryRun"), map(json!({})).dry_run()).await, Ok(vec![]));
    assert_eq!(hook.reviews.lock()[0]["request"]["dryRun"], true);
    let refused = r#"admission webhook "hook.example.com" does not support dry run"#;
    assert_eq!(validate(&of("Some"), map(json!({})).dry_run()).await, Err(refused.to_owned()));
}

#[tokio::test]
async fn patches_change_the_object_in_order() {
    let first = Hook::start(|_| (200, patch(json!([{"op": "add", "path": "/data/first", "value": "1"}])))).await;
    let second = Hook::start(|request| {
        let seen = request["object"]["data"]["first"].clone();
        (200, patch(json!([{"op": "add", "path": "/data/second", "value": seen}])))
    })
    .await;
    let cluster = configured(MUTATING, &[first.webhook(json!({})), second.webhook(json!({"name": "two.example.com"}))]);
    let found = mutate(&cluster, Chain::default(), map(json!({}))).await.unwrap();
    assert_eq!(found["data"], json!({"first": "1", "second": "1"}));
    assert_eq!((first.reviews.lock().len(), second.reviews.lock().len()), (1, 1));
}

#[tokio::test]
async fn patches_without_operations_change_nothing() {
    for none in [json!([]), Value::Null] {
        let hook = Hook::start(move |_| (200, patch(none.clone()))).await;
        let map = map(json!({}));
        let before = (*map.request().object).clone();
        let found = mutate(&configured(MUTATING, &[hook.webhook(json!({}))]), Chain::default(), map).await;
        assert_eq!(found, Ok(before));
    }
}

#[tokio::test]
async fn patches_that_make_no_object_are_refused() {
    let check = async |response: Value, expect: &str| {
        let hook = Hook::start(move |_| (200, response.clone())).await;
        let found = mutate(&configured(MUTATING, &[hook.webhook(json!({}))]), Chain::default(), map(json!({}))).await;
        assert_eq!(found, Err(expect.to_owned()));
    };
    let failed = "Internal error occurred: failed calling webhook \"hook.example.com\": ";
    let mut merge = patch(json!([{"op": "remove", "path": "/data"}]));
    merge["patchType"] = "MergePatch".into();
    check(merge, &format!("{failed}unsupported patch type \"MergePatch\"")).await;
    let unread = "Internal error occurred: couldn't get version/kind; json parse error: json: cannot unmarshal";
    for (path, value, expect) in [
        (
            "/kind",
            json!("Nope"),
            "Internal error occurred: no kind \"Nope\" is registered for version \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        ("/kind", json!("Pod"), "converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
        ("/kind", json!(3), &format!("{unread} number into Go struct field .kind of type string")),
        ("/apiVersion", json!("a/b/c"), "Internal error occurred: unexpected GroupVersion string: a/b/c"),
        (
            "",
            json!([]),
            &format!(
                "{unread} array into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
            ),
        ),
    ] {
        check(patch(json!([{"op": "replace", "path": path, "value": value}])), expect).await;
    }
    let hook = Hook::start(|_| (200, patch(json!([{"op": "replace", "path": "/data", "value": "text"}])))).await;
    let found = mutate(&configured(MUTATING, &[hook.webhook(json!({}))]), Chain::default(), map(json!({}))).await;
    assert!(found.unwrap_err().starts_with("Internal error occurred: "));
}

/// Counts how often the plug-ins before the webhooks run, and marks the object.
struct Counter(Arc<AtomicUsize>);

#[async_trait::async_trait]
impl Plugin for Counter {
    fn name(&self) -> &'static str {
        "Counter"
    }

    async fn mutate(&self, _: &mut Request<'_>, _: &dyn Cluster) -> Result<(), Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn who_wants_to_is_asked_again_after_a_change() {
    let watching = Hook::allowing().await;
    let changing = Hook::start(|_| (200, patch(json!([{"op": "add", "path": "/data/late", "value": "1"}])))).await;
    let quiet = Hook::allowing().await;
    let cluster = configured(
        MUTATING,
        &[
            watching.webhook(json!({"name": "a.example.com", "reinvocationPolicy": "IfNeeded"})),
            quiet.webhook(json!({"name": "b.example.com", "reinvocationPolicy": "Never"})),
            changing.webhook(json!({"name": "c.example.com", "reinvocationPolicy": "IfNeeded"})),
        ],
    );
    let runs = Arc::new(AtomicUsize::new(0));
    let before = || Chain::new(vec![Box::new(Counter(Arc::clone(&runs)))]);
    mutate(&cluster, before(), map(json!({}))).await.unwrap();
    let asked = |hook: &Hook| hook.reviews.lock().len();
    assert_eq!((asked(&watching), asked(&quiet), asked(&changing)), (2, 1, 1));
    assert_eq!(watching.reviews.lock()[1]["request"]["object"]["data"]["late"], "1");
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    let silent = configured(MUTATING, &[quiet.webhook(json!({}))]);
    mutate(&silent, before(), map(json!({}))).await.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 3, "nothing changed, so nothing is run again");
}

#[tokio::test]
async fn validating_webhooks_are_asked_at_the_same_time() {
    let barrier = Arc::new(tokio::sync::Barrier::new(2));
    let (one, two) = (Hook::held(Arc::clone(&barrier)).await, Hook::held(barrier).await);
    let cluster = configured(VALIDATING, &[one.webhook(json!({})), two.webhook(json!({"name": "two.example.com"}))]);
    let found = tokio::time::timeout(Duration::from_secs(5), validate(&cluster, map(json!({})))).await;
    assert_eq!(found.unwrap(), Ok(vec![]));
}
