use serde_json::json;

use super::*;

fn good() -> Value {
    json!({"name": "a", "namespace": "n", "resourceVersion": "1", "uid": "u", "generation": 2,
           "labels": {"app": "web"}, "finalizers": ["x.io/f"]})
}

fn with(patch: Value) -> Value {
    let mut metadata = good();
    for (field, value) in patch.as_object().into_iter().flatten() {
        metadata[field] = value.clone();
    }
    json!({"metadata": metadata})
}

fn texts(errors: &FieldErrors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_new_object() {
    let check = |patch: Value, scope: Scope, rule: NameRule, expect: &[&str]| {
        let mut errors = FieldErrors::new();
        validate(&with(patch.clone()), scope, rule, &mut errors);
        let texts = texts(&errors);
        assert_eq!(texts.len(), expect.len(), "{patch}: {texts:?}");
        for (text, expect) in texts.iter().zip(expect) {
            assert!(text.starts_with(expect), "{text} is not {expect}");
        }
    };
    let namespaced = |patch: Value, expect: &[&str]| check(patch, Scope::Namespaced, NameRule::DnsSubdomain, expect);
    namespaced(json!({}), &[]);
    namespaced(json!({"name": null}), &["metadata.name: Required value: name or generateName is required"]);
    namespaced(json!({"name": "A"}), &["metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must"]);
    namespaced(json!({"generateName": "a-"}), &[]);
    namespaced(json!({"generateName": "A-b-"}), &["metadata.generateName: Invalid value: \"A-b-\": a lowercase"]);
    namespaced(json!({"namespace": null}), &["metadata.namespace: Required value"]);
    namespaced(json!({"namespace": "a.b"}), &["metadata.namespace: Invalid value: \"a.b\": must not contain dots"]);
    namespaced(json!({"generation": -1}), &["metadata.generation: Invalid value: -1: must be greater than or equal"]);
    namespaced(json!({"labels": {"a/b/c": ""}}), &["metadata.labels: Invalid value: \"a/b/c\": a valid label key"]);
    namespaced(json!({"labels": {"a": "b c"}}), &["metadata.labels: Invalid value: \"b c\": a valid label must be"]);
    namespaced(json!({"annotations": {"A/B": "x y"}}), &[]);
    namespaced(
        json!({"annotations": {"a": "x".repeat(ANNOTATIONS_MAX_BYTES)}}),
        &["metadata.annotations: Too long: may not be more than 262144 bytes"],
    );
    namespaced(
        json!({"finalizers": ["a b"]}),
        &["metadata.finalizers: Invalid value: \"a b\": name part must consist"],
    );
    namespaced(
        json!({"finalizers": ["orphan", "foregroundDeletion"]}),
        &["metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and \
           foregroundDeletion cannot be both set"],
    );
    namespaced(
        json!({"ownerReferences": [{"apiVersion": "v1"}]}),
        &[
            "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
            "metadata.ownerReferences.name: Invalid value: \"\": must not be empty",
            "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
        ],
    );
    let owner =
        |name: &str| json!({"apiVersion": "apps/v1", "kind": "K", "name": name, "uid": "u", "controller": true});
    namespaced(json!({"ownerReferences": [owner("a")]}), &[]);
    namespaced(json!({"ownerReferences": [owner("a"), owner("b")]}), &["metadata.ownerReferences: Invalid value: ["]);
    namespaced(
        json!({"managedFields": [{"operation": "x", "fieldsType": "y", "manager": "a\n"}]}),
        &[
            "metadata.managedFields[0].operation: Invalid value: \"x\": must be `Apply` or `Update`",
            "metadata.managedFields[0].fieldsType: Invalid value: \"y\": must be `FieldsV1`",
            "metadata.managedFields[0].manager: Invalid value: \"a\\n\": invalid character U+000A (at position 1)",
        ],
    );
    let cluster = |patch: Value, expect: &[&str]| check(patch, Scope::Cluster, NameRule::PathSegment, expect);
    cluster(json!({}), &["metadata.namespace: Forbidden: not allowed on this type"]);
    cluster(json!({"namespace": "", "name": "system:x"}), &[]);
    cluster(json!({"namespace": "", "name": "a/b"}), &["metadata.name: Invalid value: \"a/b\": may not contain '/'"]);
}

#[test]
fn an_updated_object() {
    let check = |old: Value, new: Value, expect: &[&str]| {
        let (old, mut new) = (with(old), with(new));
        prepare_update(&mut new, &old);
        let mut errors = FieldErrors::new();
        validate_update(&new, &old, &mut errors);
        assert_eq!(texts(&errors), expect);
    };
    check(json!({}), json!({}), &[]);
    check(json!({}), json!({"uid": ""}), &[]);
    check(json!({}), json!({"uid": "v"}), &["metadata.uid: Invalid value: \"v\": field is immutable"]);
    check(json!({}), json!({"name": "b"}), &["metadata.name: Invalid value: \"b\": field is immutable"]);
    check(
        json!({}),
        json!({"resourceVersion": ""}),
        &["metadata.resourceVersion: Invalid value: \"\": must be specified for an update"],
    );
    check(json!({}), json!({"generation": 1}), &["metadata.generation: Invalid value: 1: must not be decremented"]);
    check(json!({"creationTimestamp": "2026-01-01T00:00:00Z"}), json!({}), &[]);
    check(
        json!({}),
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        &["metadata.deletionTimestamp: Invalid value: \"2026-01-01T00:00:00Z\": field is immutable"],
    );
    let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.io/b"]});
    check(deleted.clone(), json!({"finalizers": []}), &[]);
    check(
        deleted,
        json!({"finalizers": ["a.io/c", "a.io/b"]}),
        &["metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, \
           found new finalizers []string{\"a.io/c\"}"],
    );
}

#[test]
fn label_selectors() {
    let check = |selector: Value, expect: &[&str]| {
        let mut errors = FieldErrors::new();
        validate_label_selector(&selector, &Path::new("selector"), &mut errors);
        assert_eq!(texts(&errors), expect);
    };
    check(Value::Null, &[]);
    let one = |requirement: Value| json!({"matchExpressions": [requirement]});
    check(one(json!({"key": "a", "operator": "In", "values": ["b"]})), &[]);
    check(
        one(json!({"key": "a", "operator": "In"})),
        &["selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"],
    );
    check(
        one(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
        &["selector.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or \
           'DoesNotExist'"],
    );
    check(
        one(json!({"key": "a", "operator": "Has"})),
        &["selector.matchExpressions[0].operator: Invalid value: \"Has\": not a valid selector operator"],
    );
}
