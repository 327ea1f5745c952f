//! What clients are told beside the answers.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use stdx::{SystemClock, SystemRandom};

use super::*;
use crate::{
    identity::User,
    server::{Config, Server},
};

/// A server of its own, asked as its administrator.
struct Asked {
    running: crate::server::Running,
    _directory: tempfile::TempDir,
}

impl Asked {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::new(directory.path());
        let running = Server::start(config, Arc::new(SystemClock), Arc::new(SystemRandom::default())).await.unwrap();
        Self { running, _directory: directory }
    }

    /// Code, body and warnings.
    async fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, Value, Vec<String>) {
        let admin = User { name: "admin".into(), groups: vec!["system:masters".into()], ..User::default() };
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        let handle = self.running.in_process::<Full<Bytes>>(admin);
        let response = handle(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await;
        let warnings = response.headers().get_all(header::WARNING).iter();
        let warnings = warnings.map(|value| value.to_str().unwrap().to_owned()).collect();
        let code = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        (code, serde_json::from_slice(&body).unwrap_or_default(), warnings)
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

#[tokio::test]
async fn a_patch_is_validated_as_it_was_written() {
    let asked = Asked::new().await;
    let map = r#"{"metadata": {"name": "a"}, "data": {"a": "b"}}"#;
    assert_eq!(asked.ask("POST", MAPS, JSON, map).await.0, 201);
    let cases: [(&str, &str, &[&str]); 5] = [
        (
            "merge-patch",
            r#"{"metadata": {"x": 1, "x": 2}, "foo": {"a": 1}}"#,
            &[r#"duplicate field "metadata.x""#, r#"unknown field "foo""#, r#"unknown field "metadata.x""#],
        ),
        (
            "merge-patch",
            r#"{"metadata": {"labels": {"x": "1", "x": "2"}}, "data": {"q": "1"}, "data": {"r": "2"}}"#,
            &[r#"duplicate field "metadata.labels.x""#, r#"duplicate field "data""#],
        ),
        (
            "strategic-merge-patch",
            r#"{"metadata": {"x": 1, "x": 2}, "zoo": [1, "a"]}"#,
            &[r#"duplicate field "metadata.x""#, r#"unknown field "metadata.x""#, r#"unknown field "zoo""#],
        ),
        (
            "json-patch",
            r#"[{"op": "add", "path": "/metadata/labels", "value": {"z": "1"}},
                {"op": "add", "path": "/foo", "value": "x", "extra": 1, "extra": 2, "more": {"a": 1}, "op": "add"}]"#,
            &[
                r#"json patch unknown field "[1].extra""#,
                r#"json patch unknown field "[1].more""#,
                r#"json patch duplicate field "[1].op""#,
                r#"unknown field "foo""#,
            ],
        ),
        ("merge-patch", r#"{"data": {"q": "1"}}"#, &[]),
    ];
    for (kind, patch, complaints) in cases {
        let ask = async |validation: &str| {
            let path = format!("{MAPS}/a?dryRun=All&fieldValidation={validation}");
            asked.ask("PATCH", &path, &format!("application/{kind}+json"), patch).await
        };
        let quoted = |text: &&str| format!("299 - \"{}\"", text.replace('"', "\\\""));
        let (code, _, warnings) = ask("Warn").await;
        assert_eq!((code, warnings), (200, complaints.iter().map(quoted).collect()), "{patch}");
        let (code, status, _) = ask("Strict").await;
        if complaints.is_empty() {
            assert_eq!(code, 200, "{status}");
            continue;
        }
        let message = status["message"].as_str().unwrap();
        let end = format!("\": strict decoding error: {}", complaints.join(", "));
        assert!(code == 422 && message.ends_with(&end), "{code} {message}");
        let shown = match kind {
            "strategic-merge-patch" => "map[metadata:map[x:2] zoo:[1 a]]\":",
            _ => "{\\\"apiVersion\\\":\\\"v1\\\",\\\"data\\\":",
        };
        let start = format!(" \"\" is invalid: patch: Invalid value: \"{shown}");
        assert!(message.starts_with(&start), "{message}");
    }
    for (kind, start) in [("merge-patch", "error decoding patch: "), ("strategic-merge-patch", "")] {
        let (code, status, _) =
            asked.ask("PATCH", &format!("{MAPS}/a"), &format!("application/{kind}+json"), "[1]").await;
        let message = format!("{start}json: cannot unmarshal array into Go value of type map[string]interface {{}}");
        assert_eq!((code, &status["message"]), (400, &message.into()), "{kind}");
    }
    asked.running.stop().await;
}

/// Those that are told are the first of the text, however fields are sorted.
#[tokio::test]
async fn of_many_unknown_fields_the_first_are_told() {
    let asked = Asked::new().await;
    let fields: Vec<String> = (0..130).map(|number| format!("\"u{number}\": 1")).collect();
    let map = format!(r#"{{"metadata": {{"name": "a"}}, {}}}"#, fields.join(", "));
    let unknown = |count: usize| (0..count).map(|number| format!("unknown field \"u{number}\"")).collect::<Vec<_>>();
    let (_, status, _) = asked.ask("POST", &format!("{MAPS}?fieldValidation=Strict"), JSON, &map).await;
    let end = format!(" cannot be handled as a ConfigMap: strict decoding error: {}", unknown(100).join(", "));
    assert!(status["message"].as_str().unwrap().ends_with(&end), "{status}");
    let (_, _, warnings) = asked.ask("POST", &format!("{MAPS}?fieldValidation=Warn"), JSON, &map).await;
    let quoted = |text: &String| format!("299 - \"{}\"", text.replace('"', "\\\""));
    assert_eq!(warnings, unknown(80).iter().map(quoted).collect::<Vec<_>>());
    asked.running.stop().await;
}

#[test]
fn warnings_that_are_too_long_together_are_cut_short() {
    let check = |given: &[(usize, usize)], expect: &[usize]| {
        let mut response = Response::new(Body::empty());
        let text = |&(count, length): &(usize, usize)| vec!["x".repeat(length); count];
        warn(&mut response, &given.iter().flat_map(text).collect::<Vec<_>>());
        let sent = response.headers().get_all(header::WARNING).iter().map(|value| value.len() - "299 - \"\"".len());
        assert_eq!(sent.collect::<Vec<_>>(), expect);
    };
    check(&[(1, 4096)], &[4096]);
    check(&[(1, 4000), (1, 97)], &[256, 97]);
    check(&[(20, 300)], &[256; 16]);
    check(&[(60, 70)], &[70; 59]);
    check(&[(130, 10)], &[10; 80]);
}

#[tokio::test]
async fn admission_warns_whatever_the_verb_and_whatever_the_answer() {
    const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
    // The request to delete a collection names none of its objects.
    const NAMED: &str = "!((object == null ? oldObject : object).metadata.name in ['kept', 'refused'])";
    let asked = Asked::new().await;
    let ask = async |method: &str, path: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (code, _, warnings) = asked.ask(method, path, JSON, &body).await;
        (code, warnings)
    };
    let map = |name: &str| json!({"metadata": {"name": name, "labels": {"ours": "yes"}}});
    for name in ["a", "b", "kept"] {
        assert_eq!(ask("POST", MAPS, map(name)).await, (201, Vec::new()));
    }
    for (name, action, expression) in [("careful", "Warn", "false"), ("strict", "Deny", NAMED)] {
        let rule = json!({
            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE", "DELETE"],
        });
        let spec = json!({
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": expression, "message": "see the manual"}],
        });
        let binding = json!({"policyName": name, "validationActions": [action]});
        for (plural, spec) in [("validatingadmissionpolicies", spec), ("validatingadmissionpolicybindings", binding)] {
            let path = format!("{GROUP}/{plural}");
            let (code, _) = ask("POST", &path, json!({"metadata": {"name": name}, "spec": spec})).await;
            assert_eq!(code, 201, "{plural}");
        }
    }
    let warning =
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'careful' with binding 'careful': see the manual\"";
    for (method, path, body, code) in [
        ("POST", "", map("c"), 201),
        ("POST", "?dryRun=All", map("d"), 201),
        ("POST", "", map("refused"), 422),
        ("PUT", "/a", map("a"), 200),
        ("PUT", "/kept", map("kept"), 422),
        ("DELETE", "/a?dryRun=All", Value::Null, 200),
        ("DELETE", "/a", Value::Null, 200),
        ("DELETE", "/kept", Value::Null, 422),
        ("DELETE", "?labelSelector=ours&dryRun=All", Value::Null, 422),
        ("DELETE", "?labelSelector=ours&fieldSelector=metadata.name!=kept", Value::Null, 200),
    ] {
        let answer = ask(method, &format!("{MAPS}{path}"), body).await;
        assert_eq!(answer, (code, vec![warning.to_owned()]), "{method} {path}");
    }
    asked.running.stop().await;
}

/// What has a body of another kind is shown as that: a scale as a scale, before and after; a connection as its options.
#[tokio::test]
async fn policies_see_the_bodies_of_subresources() {
    const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
    let asked = Asked::new().await;
    let post = async |path: &str, body: Value| {
        let (code, answer, _) = asked.ask("POST", path, JSON, &body.to_string()).await;
        assert_eq!(code, 201, "{path}: {answer}");
    };
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    post(DEPLOYMENTS, json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    post("/api/v1/namespaces/default/pods", pod).await;
    let kinds = "request.kind.kind + ' ' + object.kind";
    for (name, group, resources, operation, message) in [
        (
            "scale",
            "apps",
            "deployments/scale",
            "UPDATE",
            format!("{kinds} + ' ' + string(oldObject.spec.replicas) + ' to ' + string(object.spec.replicas)"),
        ),
        ("connect", "", "pods/*", "CONNECT", format!("{kinds} + ' ' + request.subResource")),
    ] {
        let rule =
            json!({"apiGroups": [group], "apiVersions": ["v1"], "resources": [resources], "operations": [operation]});
        let spec = json!({
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "messageExpression": message}],
        });
        let binding = json!({"policyName": name, "validationActions": ["Deny"]});
        for (plural, spec) in [("validatingadmissionpolicies", spec), ("validatingadmissionpolicybindings", binding)] {
            post(&format!("{GROUP}/{plural}"), json!({"metadata": {"name": name}, "spec": spec})).await;
        }
    }
    let scale = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 5}}).to_string();
    let pods = "/api/v1/namespaces/default/pods/web";
    for (method, path, kind, body, expect) in [
        ("PUT", format!("{DEPLOYMENTS}/web/scale"), JSON, &*scale, "Scale Scale 2 to 5"),
        (
            "PATCH",
            format!("{DEPLOYMENTS}/web/scale"),
            "application/merge-patch+json",
            r#"{"spec": {"replicas": 3}}"#,
            "Scale Scale 2 to 3",
        ),
        ("POST", format!("{pods}/exec?command=sh"), JSON, "", "PodExecOptions PodExecOptions exec"),
        ("GET", format!("{pods}/attach"), JSON, "", "PodAttachOptions PodAttachOptions attach"),
        ("POST", format!("{pods}/portforward"), JSON, "", "PodPortForwardOptions PodPortForwardOptions portforward"),
        ("GET", format!("{pods}/proxy/x"), JSON, "", "PodProxyOptions PodProxyOptions proxy"),
    ] {
        let (code, status, _) = asked.ask(method, &path, kind, body).await;
        let message = status["message"].as_str().unwrap_or_default();
        assert!(
            code == 422 && message.ends_with(&format!(" denied request: {expect}")),
            "{method} {path}: {code} {message}"
        );
    }
    let (code, status, _) = asked.ask("GET", &format!("{pods}/log"), JSON, "").await;
    assert_eq!(code, 400, "{status}");
    asked.running.stop().await;
}
