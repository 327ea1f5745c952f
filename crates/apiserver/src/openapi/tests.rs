use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api::{
    field::FieldErrors,
    registry::{Registry, RuntimeConfig, registry},
    resource::{Custom, Resource},
};
use serde_json::{Value, json};

use super::{Definitions, Encoding, OpenApi, SpecVersion};

fn none() -> Definitions {
    Arc::new(|_| None)
}

fn stock() -> Registry {
    registry(&RuntimeConfig::default())
}

fn open_api() -> OpenApi {
    OpenApi::new(&registry(&RuntimeConfig::parse("api/all=true").unwrap()), &none())
}

fn v3(open_api: &OpenApi, path: &str) -> Value {
    serde_json::from_slice(&open_api.v3(path, Encoding::Json).expect(path).plain()).unwrap()
}

fn v2(open_api: &OpenApi) -> Value {
    serde_json::from_slice(&open_api.v2(Encoding::Json).plain()).unwrap()
}

#[derive(Debug)]
struct Unchecked;

impl Custom for Unchecked {
    fn validate(&self, _new: &Value, _old: Option<&Value>, _errors: &mut FieldErrors) {}
}

/// The stock registry with a custom resource, and its schema.
fn with_widgets(schema: Value) -> (Registry, Definitions) {
    let registry = stock();
    let mut row = Resource::clone(registry.find("apps", "v1", "deployments").unwrap());
    (row.group, row.kind, row.list_kind) = ("shop.example.com".into(), "Widget".into(), "WidgetList".into());
    (row.plural, row.singular) = ("widgets".into(), "widget".into());
    row.custom = Some(Arc::new(Unchecked));
    row.schema_hash = schema.to_string().len() as u64;
    let schema = Arc::new(schema);
    (registry.with([row]), Arc::new(move |row: &Resource| row.custom.is_some().then(|| Arc::clone(&schema))))
}

/// All `$ref`s that are references, not properties of that name.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match (key.as_str(), inner) {
                    ("$ref", Value::String(reference)) => drop(found.insert(reference.clone())),
                    _ => references(inner, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn assert_references_resolve(document: &Value, schemas: &Value, prefix: &str) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    // The pages beside resources refer to little or nothing.
    let least = if document["paths"].as_object().is_some_and(|paths| paths.len() == 1) { 0 } else { 10 };
    assert!(found.len() >= least, "only {} references", found.len());
    for reference in found {
        let name = reference.strip_prefix(prefix).unwrap_or_else(|| panic!("{reference} does not begin {prefix}"));
        assert!(schemas.get(name).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_document_is_closed() {
    let open_api = open_api();
    let index = open_api.index();
    let paths: Vec<&String> = index["paths"].as_object().unwrap().keys().collect();
    assert!(paths.len() > 30 && paths.iter().any(|path| *path == "api/v1"), "{paths:?}");
    for path in paths {
        let document = v3(&open_api, path);
        assert_eq!(document["openapi"], "3.0.0");
        assert_references_resolve(&document, &document["components"]["schemas"], "#/components/schemas/");
    }
    let document = v2(&open_api);
    assert_eq!(document["swagger"], "2.0");
    assert_references_resolve(&document, &document["definitions"], "#/definitions/");
}

#[test]
fn groups_have_documents_of_their_own() {
    let open_api = open_api();
    let index = open_api.index();
    let operation = |path: &str| {
        assert!(index["paths"][path]["serverRelativeURL"].as_str().is_some_and(|url| url.contains(path)), "{path}");
        v3(&open_api, path)["paths"][format!("/{path}/")]["get"]["operationId"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(operation("apis/apps"), "getAppsAPIGroup");
    assert_eq!(operation("apis/rbac.authorization.k8s.io"), "getRbacAuthorizationAPIGroup");
    assert_eq!(operation("api"), "getCoreAPIVersions");
    assert_eq!(operation("version"), "getCodeVersion");
    let group = &v3(&open_api, "apis/apps")["components"]["schemas"];
    assert!(group.get("io.k8s.apimachinery.pkg.apis.meta.v1.GroupVersionForDiscovery").is_some());
    assert!(v2(&open_api)["paths"].get("/apis/apps/").is_some());
}

#[test]
fn operation_ids_are_unique() {
    let document = v2(&open_api());
    let mut seen = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values().filter(|operation| operation.is_object()) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(seen.insert(id.to_owned()), "{id} twice, at {path}");
        }
    }
    assert!(seen.len() > 800, "only {} operations", seen.len());
}

#[test]
fn paths_are_those_of_kubernetes() {
    let document = v3(&open_api(), "apis/apps/v1");
    let operation = |path: &str, method: &str| {
        let operation = &document["paths"][path][method];
        let names = operation["parameters"].as_array().into_iter().flatten();
        let names: Vec<&str> = names.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        let kind = operation["x-kubernetes-group-version-kind"]["kind"].as_str().unwrap_or_default();
        let text = |key: &str| operation[key].as_str().unwrap_or_default();
        format!("{} {} {kind} {}", text("operationId"), text("x-kubernetes-action"), names.join(","))
    };
    let one = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let check = |path: &str, method: &str, expected: &str| assert_eq!(operation(path, method), expected);
    check(one, "get", "readAppsV1NamespacedDeployment get Deployment ");
    check(one, "patch", "patchAppsV1NamespacedDeployment patch Deployment dryRun,fieldManager,fieldValidation,force");
    check(
        &format!("{one}/scale"),
        "put",
        "replaceAppsV1NamespacedDeploymentScale put Scale dryRun,fieldManager,fieldValidation",
    );
    check(
        "/apis/apps/v1/namespaces/{namespace}/deployments",
        "post",
        "createAppsV1NamespacedDeployment post Deployment dryRun,fieldManager,fieldValidation",
    );
    let list = &document["paths"]["/apis/apps/v1/deployments"]["get"];
    assert_eq!(list["operationId"], "listAppsV1DeploymentForAllNamespaces");
    let schema = &list["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(schema, &json!({"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentList"}));
    assert_eq!(document["paths"][one]["parameters"][1]["name"], "namespace");
    assert_eq!(document["paths"]["/apis/apps/v1/"]["get"]["operationId"], "getAppsV1APIResources");
    let patch = &document["paths"][one]["patch"]["requestBody"]["content"];
    assert!(patch.get("application/apply-patch+yaml").is_some());
}

#[test]
fn connections_and_groups_are_named_as_in_kubernetes() {
    let open_api = open_api();
    let core = v3(&open_api, "api/v1");
    let pod = "/api/v1/namespaces/{namespace}/pods/{name}";
    let id = |document: &Value, path: &str, method: &str| document["paths"][path][method]["operationId"].clone();
    assert_eq!(id(&core, &format!("{pod}/exec"), "get"), "connectCoreV1GetNamespacedPodExec");
    assert_eq!(id(&core, &format!("{pod}/proxy/{{path}}"), "put"), "connectCoreV1PutNamespacedPodProxyWithPath");
    assert_eq!(id(&core, &format!("{pod}/log"), "get"), "readCoreV1NamespacedPodLog");
    assert_eq!(id(&core, &format!("{pod}/eviction"), "post"), "createCoreV1NamespacedPodEviction");
    let rbac = v3(&open_api, "apis/rbac.authorization.k8s.io/v1");
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    assert_eq!(id(&rbac, roles, "delete"), "deleteRbacAuthorizationV1CollectionClusterRole");
    assert_eq!(rbac["paths"][roles]["get"]["tags"], json!(["rbacAuthorization_v1"]));
}

#[test]
fn schemas_carry_what_clients_merge_by() {
    let open_api = open_api();
    let document = v3(&open_api, "apis/apps/v1");
    let schemas = &document["components"]["schemas"];
    let kind = json!([{"group": "apps", "version": "v1", "kind": "Deployment"}]);
    assert_eq!(schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"], kind);
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    assert_eq!(ports["items"], json!({"$ref": "#/components/schemas/io.k8s.api.core.v1.ContainerPort"}));
    assert!(ports["description"].as_str().is_some_and(|text| text.len() > 20));
    assert!(schemas["io.k8s.api.core.v1.Container"].get("required").is_some());
    let strategy = &schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"];
    assert_eq!(strategy["x-kubernetes-patch-strategy"], "retainKeys");
    assert_eq!(strategy["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy");
    assert!(schemas["io.k8s.api.apps.v1.Deployment"].get("required").is_none());

    let definitions = &v2(&open_api)["definitions"];
    let strategy = &definitions["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"];
    assert_eq!(strategy["$ref"], "#/definitions/io.k8s.api.apps.v1.DeploymentStrategy");
    assert!(strategy.get("default").is_none() && strategy.get("allOf").is_none());
    let scalar = |name: &str| definitions[name]["type"].clone();
    assert_eq!(scalar("io.k8s.apimachinery.pkg.api.resource.Quantity"), "string");
    assert_eq!(scalar("io.k8s.apimachinery.pkg.util.intstr.IntOrString"), "string");
    // Properties whose names are keywords are properties all the same.
    let props = &definitions["io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"]["properties"];
    for name in ["$ref", "default", "oneOf", "not", "nullable"] {
        assert!(props.get(name).is_some(), "{name} is lost");
    }
}

#[test]
fn custom_resources_join_in() {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {"type": "integer", "minimum": 1, "default": 3},
            "note": {"type": "string", "nullable": true},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {}}},
        }},
    }});
    let (registry, schemas) = with_widgets(schema);
    let open_api = OpenApi::new(&registry, &schemas);
    let document = v3(&open_api, "apis/shop.example.com/v1");
    let widget = &document["components"]["schemas"]["com.example.shop.v1.Widget"];
    let kind = json!([{"group": "shop.example.com", "version": "v1", "kind": "Widget"}]);
    assert_eq!(widget["x-kubernetes-group-version-kind"], kind);
    assert_eq!(widget["properties"]["spec"]["properties"]["size"]["default"], 3);
    assert!(widget["properties"]["metadata"]["allOf"][0]["$ref"].as_str().unwrap().ends_with("v1.ObjectMeta"));
    assert_references_resolve(&document, &document["components"]["schemas"], "#/components/schemas/");
    let patch = &document["paths"]["/apis/shop.example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert_eq!(patch["operationId"], "patchShopExampleComV1NamespacedWidget");
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());

    let document = v2(&open_api);
    let spec = &document["definitions"]["com.example.shop.v1.Widget"]["properties"]["spec"]["properties"];
    assert_eq!(spec["size"], json!({"type": "integer", "minimum": 1}));
    assert_eq!((&spec["note"], &spec["port"]), (&json!({}), &json!({"x-kubernetes-int-or-string": true})));
    assert!(spec["any"].get("properties").is_none());
    assert_references_resolve(&document, &document["definitions"], "#/definitions/");
}

#[test]
fn only_changed_documents_get_another_hash() {
    let (registry, schemas) = with_widgets(json!({"type": "object"}));
    let first = OpenApi::new(&registry, &schemas);
    let apps = first.v3("apis/apps/v1", Encoding::Json).unwrap();
    let (registry, schemas) = with_widgets(json!({"type": "object", "description": "x"}));
    let next = first.succeed(&registry, &schemas);
    let path = "apis/shop.example.com/v1";
    assert_ne!(first.hash(path), next.hash(path));
    assert_ne!(first.v2(Encoding::Json).etag, next.v2(Encoding::Json).etag);
    assert!(Arc::ptr_eq(&apps, &next.v3("apis/apps/v1", Encoding::Json).unwrap()));
    let url = next.index()["paths"]["apis/apps/v1"]["serverRelativeURL"].clone();
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={}", next.hash("apis/apps/v1").unwrap()));
    assert!(next.v3("apis/nope/v1", Encoding::Json).is_none());
}

#[test]
fn version_2_is_made_anew_where_it_has_changed() {
    let (registry, schemas) = with_widgets(json!({"type": "object"}));
    let first = OpenApi::new(&registry, &schemas);
    first.v2(Encoding::Json);
    let (registry, schemas) = with_widgets(json!({"type": "object", "description": "x"}));
    let next = first.succeed(&registry, &schemas);
    let document = v2(&next);
    assert_eq!(document["definitions"]["com.example.shop.v1.Widget"]["description"], "x");
    assert_eq!(document, v2(&OpenApi::new(&registry, &schemas)));
    let (before, after) = (first.parts(Encoding::Json), next.parts(Encoding::Json));
    let kept: Vec<bool> = before.iter().zip(&after).map(|(before, after)| Arc::ptr_eq(before, after)).collect();
    assert_eq!(kept, [true, false], "the built-in groups, and that of widgets");
    let without = next.succeed(&stock(), &none());
    assert!(v2(&without)["definitions"].get("com.example.shop.v1.Widget").is_none());
    assert_eq!(without.parts.lock().len(), 1, "what is gone is not kept");

    // The fields of all parts are one message to who reads them.
    let bytes = next.v2(Encoding::Protobuf).plain();
    let fields = decode(&bytes);
    assert_eq!((fields[&8].len(), fields[&9].len()), (2, 2));
    let widget = decode(&fields[&9][1])[&1].iter().map(|entry| at(entry, &[Field(1)])).next();
    assert_eq!(widget.as_deref(), Some(&b"com.example.shop.v1.Widget"[..]));
}

#[test]
fn clients_choose_the_encoding() {
    let check = |accept: &str, version, expected| assert_eq!(Encoding::accepted(accept, version), expected, "{accept}");
    let proto = |version: &str| format!("application/com.github.proto-openapi.spec.{version}+protobuf");
    check("", SpecVersion::V3, Some(Encoding::Json));
    check("*/*", SpecVersion::V2, Some(Encoding::Json));
    check("application/json;q=0.9", SpecVersion::V3, Some(Encoding::Json));
    check(&proto("v2@v1.0"), SpecVersion::V2, Some(Encoding::Protobuf));
    check(&proto("v3@v1.0"), SpecVersion::V3, Some(Encoding::Protobuf));
    check(&proto("v3.v1.0"), SpecVersion::V3, Some(Encoding::Protobuf));
    check(&proto("v2@v1.0"), SpecVersion::V3, None);
    check("text/html", SpecVersion::V3, None);
}

/// The fields of a message: number to values, nested messages and strings as bytes.
fn decode(mut bytes: &[u8]) -> BTreeMap<u64, Vec<Vec<u8>>> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = bytes.split_first().expect("a varint ends");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            wire_type => {
                let length = if wire_type == 1 { 8 } else { varint(&mut bytes) as usize };
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                value.to_vec()
            }
        };
        fields.entry(tag >> 3).or_default().push(value);
    }
    fields
}

/// The message at a path of field numbers; a number after a name picks the pair of that name.
fn at(bytes: &[u8], path: &[Step]) -> Vec<u8> {
    path.iter().fold(bytes.to_vec(), |bytes, step| match step {
        Step::Field(number) => decode(&bytes)[number][0].clone(),
        Step::Named(number, name) => {
            let named = |pair: &&Vec<u8>| decode(pair)[&1][0] == name.as_bytes();
            let pairs = decode(&bytes);
            let pair = pairs[number].iter().find(named).unwrap_or_else(|| panic!("no {name}"));
            decode(pair)[&2][0].clone()
        }
    })
}

enum Step {
    Field(u64),
    Named(u64, &'static str),
}
use Step::{Field, Named};

#[test]
fn version_3_is_also_protobuf() {
    let document = open_api().v3("apis/apps/v1", Encoding::Protobuf).unwrap();
    assert_eq!(document.content_type, "application/com.github.proto-openapi.spec.v3.v1.0+protobuf");
    let bytes = document.plain();
    assert_eq!(at(&bytes, &[Field(1)]), b"3.0.0");
    let schema = [Field(5), Field(1), Named(1, "io.k8s.api.core.v1.Container"), Field(1)];
    let container = at(&bytes, &schema);
    assert_eq!(at(&container, &[Field(25)]), b"object");
    let ports = at(&container, &[Field(31), Named(1, "ports"), Field(1)]);
    assert_eq!(at(&ports, &[Named(36, "x-kubernetes-patch-merge-key"), Field(2)]), br#""containerPort""#);
    let item = at(&ports, &[Field(30), Field(1), Field(2), Field(1)]);
    assert_eq!(item, b"#/components/schemas/io.k8s.api.core.v1.ContainerPort");
    let patch = [Field(4), Named(1, "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"), Field(10)];
    assert_eq!(at(&at(&bytes, &patch), &[Field(5)]), b"patchAppsV1NamespacedDeployment");
    let first_parameter = at(&at(&bytes, &patch), &[Field(6), Field(1), Field(1)]);
    assert_eq!(first_parameter, b"dryRun");
}

#[test]
fn version_2_is_also_protobuf() {
    let bytes = open_api().v2(Encoding::Protobuf).plain();
    assert_eq!(at(&bytes, &[Field(1)]), b"2.0");
    let container = at(&bytes, &[Field(9), Named(1, "io.k8s.api.core.v1.Container")]);
    assert_eq!(at(&container, &[Field(22), Field(1)]), b"object");
    let port = at(&container, &[Field(25), Named(1, "ports"), Field(23), Field(1), Field(1)]);
    assert_eq!(port, b"#/definitions/io.k8s.api.core.v1.ContainerPort");
    let pod = at(&bytes, &[Field(9), Named(1, "io.k8s.api.core.v1.Pod")]);
    let kind = at(&pod, &[Named(31, "x-kubernetes-group-version-kind"), Field(2)]);
    assert_eq!(kind, br#"[{"group":"","kind":"Pod","version":"v1"}]"#);
    let patch = at(&bytes, &[Field(8), Named(2, "/api/v1/namespaces/{namespace}/pods/{name}"), Field(8)]);
    let parameters = &decode(&patch)[&8];
    let body = at(&parameters[0], &[Field(1), Field(1)]);
    assert_eq!(at(&body, &[Field(3)]), b"body");
    let query = at(&parameters[1], &[Field(1), Field(2), Field(3)]);
    assert_eq!((at(&query, &[Field(4)]), at(&query, &[Field(6)])), (b"dryRun".to_vec(), b"string".to_vec()));
}
