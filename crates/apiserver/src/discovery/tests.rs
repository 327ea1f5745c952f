use std::sync::Arc;

use api::registry::{RuntimeConfig, registry};
use serde_json::{Value, json};

use super::{Discovery, Form, Version};

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2_BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

fn discovery() -> Discovery {
    Discovery::new(Arc::new(registry(&RuntimeConfig::default())), "10.0.0.1:6443")
}

fn get(path: &str) -> Value {
    let document = discovery().document(path, "application/json").expect(path);
    serde_json::from_slice(&document.body).unwrap()
}

/// One line a resource: name, kind, scope, singular, short names, categories, verbs by their first
/// letters (`X` for deletecollection), group and version where they differ, and the storage hash.
fn lines(list: &Value) -> Vec<String> {
    let words = |value: &Value| {
        let words: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        words.join(",")
    };
    let letter = |verb: &Value| match verb.as_str() {
        Some("deletecollection") => "X".to_owned(),
        verb => verb.unwrap_or("?")[..1].to_owned(),
    };
    let line = |r: &Value| {
        let text = |key: &str| r[key].as_str().unwrap_or_default().to_owned();
        let scope = if r["namespaced"] == true { "N" } else { "C" };
        let verbs: String = r["verbs"].as_array().into_iter().flatten().map(letter).collect();
        let group_version = format!("{}/{}", text("group"), text("version"));
        let parts = [
            text("name"),
            text("kind"),
            scope.to_owned(),
            text("singularName"),
            words(&r["shortNames"]),
            words(&r["categories"]),
            verbs,
            if group_version == "/" { String::new() } else { group_version },
            text("storageVersionHash"),
        ];
        parts.join("|")
    };
    list["resources"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn resources_are_those_of_kubernetes() {
    let mut checked = 0;
    let mut path = "";
    let mut expected: Vec<&str> = Vec::new();
    let mut check = |path: &str, expected: &mut Vec<&str>| {
        if !path.is_empty() {
            assert_eq!(lines(&get(path)), *expected, "{path}");
            checked += expected.len();
            expected.clear();
        }
    };
    for line in include_str!("../../cases/discovery/resources.txt").lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('/') {
            check(path, &mut expected);
            path = line;
        } else {
            expected.push(line);
        }
    }
    check(path, &mut expected);
    assert!(checked > 100, "checked {checked}");
}

#[test]
fn groups_come_in_order_of_preference() {
    let list = get("/apis");
    assert_eq!((list["kind"].as_str(), list["apiVersion"].as_str()), (Some("APIGroupList"), Some("v1")));
    assert_eq!(list["groups"][0]["name"], "apiregistration.k8s.io");
    let autoscaling = list["groups"].as_array().unwrap().iter().find(|group| group["name"] == "autoscaling").unwrap();
    let entry = |version: &str| json!({"groupVersion": format!("autoscaling/{version}"), "version": version});
    assert_eq!(autoscaling["versions"], json!([entry("v2"), entry("v1")]));
    assert_eq!(autoscaling["preferredVersion"], entry("v2"));
    let group = get("/apis/autoscaling");
    assert_eq!((&group["kind"], &group["versions"]), (&json!("APIGroup"), &autoscaling["versions"]));
    assert_eq!(get("/api")["versions"], json!(["v1"]));
    assert_eq!(get("/api/")["serverAddressByClientCIDRs"][0]["serverAddress"], "10.0.0.1:6443");
}

#[test]
fn what_is_not_served_has_no_document() {
    for path in ["/", "/api/v2", "/apis/nope", "/apis/apps/v2", "/apis/apps/v1/deployments", "/apis//v1", "/version"] {
        assert!(discovery().document(path, "").is_none(), "{path}");
    }
}

#[test]
fn clients_choose_the_form() {
    let check = |accept: &str, form: Form| assert_eq!(Form::accepted(accept), form, "{accept}");
    check("", Form::Plain);
    check("*/*", Form::Plain);
    check("application/json", Form::Plain);
    check(&format!("{V2},{V2_BETA1},application/json"), Form::Aggregated(Version::V2));
    check(&format!("{V2_BETA1},application/json"), Form::Aggregated(Version::V2Beta1));
    check(&format!("application/json,{V2}"), Form::Plain);
    check("application/json; g=apidiscovery.k8s.io; v=v2; as=APIGroupDiscoveryList", Form::Aggregated(Version::V2));
    check("application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList,application/json", Form::Plain);
    check("application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", Form::Plain);
}

#[test]
fn aggregated_documents_say_the_same() {
    let discovery = discovery();
    let core = discovery.document("/api", V2).unwrap();
    assert_eq!(core.content_type, V2);
    let document: Value = serde_json::from_slice(&core.body).unwrap();
    assert_eq!(document["apiVersion"], "apidiscovery.k8s.io/v2");
    assert_eq!(document["items"].as_array().unwrap().len(), 1);
    let version = &document["items"][0]["versions"][0];
    assert_eq!((&version["version"], &version["freshness"]), (&json!("v1"), &json!("Current")));
    let pods = version["resources"].as_array().unwrap().iter().find(|r| r["resource"] == "pods").unwrap();
    assert_eq!(pods["responseKind"], json!({"group": "", "version": "", "kind": "Pod"}));
    assert_eq!((&pods["shortNames"], &pods["scope"]), (&json!(["po"]), &json!("Namespaced")));
    let eviction = pods["subresources"].as_array().unwrap().iter().find(|r| r["subresource"] == "eviction").unwrap();
    let body = json!({"group": "policy", "version": "v1", "kind": "Eviction"});
    assert_eq!(eviction, &json!({"subresource": "eviction", "responseKind": body, "verbs": ["create"]}));

    let groups = discovery.document("/apis/", V2_BETA1).unwrap();
    let document: Value = serde_json::from_slice(&groups.body).unwrap();
    assert_eq!(document["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    let plain = get("/apis");
    let names = |list: &Value, path: &str| -> Vec<Value> {
        list.as_array().unwrap().iter().map(|group| group.pointer(path).unwrap().clone()).collect()
    };
    assert_eq!(names(&document["items"], "/metadata/name"), names(&plain["groups"], "/name"));
}

#[test]
fn the_etag_follows_the_content() {
    let etag = |path: &str, accept: &str| discovery().document(path, accept).unwrap().etag.clone();
    assert_eq!(etag("/apis", V2), etag("/apis", V2));
    assert_ne!(etag("/apis", V2), etag("/api", V2));
    assert_ne!(etag("/apis", V2), etag("/apis", V2_BETA1));
    assert_eq!(etag("/apis", V2).unwrap().len(), 130);
    assert_eq!(etag("/apis", "application/json"), None);
}
