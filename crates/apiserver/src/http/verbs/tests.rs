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

#[tokio::test]
async fn admission_warns_whatever_the_verb_and_whatever_the_answer() {
    const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let directory = tempfile::tempdir().unwrap();
    let config = Config::new(directory.path());
    let running = Server::start(config, Arc::new(SystemClock), Arc::new(SystemRandom::default())).await.unwrap();
    let admin = User { name: "admin".into(), groups: vec!["system:masters".into()], ..User::default() };
    let handle = running.in_process::<Full<Bytes>>(admin);
    let ask = async |method: &str, path: &str, body: Value| {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        let response = handle(request.body(Full::new(body)).unwrap()).await;
        let warnings = response.headers().get_all(header::WARNING).iter();
        (response.status().as_u16(), warnings.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let map = |name: &str| json!({"metadata": {"name": name, "labels": {"ours": "yes"}}});
    for name in ["a", "b", "kept"] {
        assert_eq!(ask("POST", MAPS, map(name)).await, (201, Vec::new()));
    }
    for (name, action, expression) in
        [("careful", "Warn", "false"), ("strict", "Deny", "!(request.name in ['kept', 'refused'])")]
    {
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
    running.stop().await;
}
