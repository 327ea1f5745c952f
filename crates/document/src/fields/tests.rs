use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Element, FieldSet, FieldsError, v1_subtract};

fn element() -> impl Strategy<Value = Element> {
    let scalar = prop_oneof![
        "[a-c<\"é]{0,2}".prop_map(Value::from),
        (-2..2i64).prop_map(Value::from),
        Just(json!(true)),
        Just(json!(1.5))
    ];
    prop_oneof![
        4 => "[a-d.:]{1,2}".prop_map(|name| Element::field(&name)),
        1 => prop::collection::btree_map("[a-b]", scalar.clone(), 1..3)
            .prop_map(|values| Element::key(values.iter().map(|(name, value)| (&**name, value.clone())))),
        1 => scalar.prop_map(Element::Value),
        1 => (0..3i64).prop_map(Element::Index),
    ]
}

type Paths = BTreeSet<Vec<Element>>;

fn paths() -> impl Strategy<Value = Paths> {
    prop::collection::btree_set(prop::collection::vec(element(), 1..4), 0..12)
}

fn set(paths: &Paths) -> FieldSet {
    let mut set = FieldSet::default();
    paths.iter().for_each(|path| set.insert(path.iter().cloned()));
    set
}

fn members(set: &FieldSet) -> Paths {
    set.paths().iter().map(|path| path.elements().cloned().collect()).collect()
}

proptest! {
    #[test]
    fn fields_v1_round_trips(paths in paths()) {
        let set = set(&paths);
        prop_assert_eq!(FieldSet::from_v1(&set.to_v1()).unwrap(), set);
    }

    #[test]
    fn operations_are_those_of_sets(a in paths(), b in paths()) {
        let of = |paths: Paths| set(&paths);
        prop_assert_eq!(members(&set(&a)), a.clone());
        let mut union = set(&a);
        union.extend(set(&b));
        prop_assert_eq!(union, of(&a | &b));
        let mut difference = set(&a);
        difference.subtract(&set(&b));
        prop_assert_eq!(difference, of(&a - &b));
        let mut encoded = set(&a).to_v1();
        v1_subtract(encoded.as_object_mut().unwrap(), &set(&b));
        prop_assert_eq!(encoded, of(&a - &b).to_v1());
        let mut intersection = set(&a);
        intersection.intersect(&set(&b));
        prop_assert_eq!(intersection, of(&a & &b));
        let mut outside = set(&a);
        outside.subtract_trees(&set(&b));
        let within = |path: &Vec<Element>| (1..=path.len()).any(|length| b.contains(&path[..length]));
        prop_assert_eq!(outside, of(a.iter().filter(|path| !within(path)).cloned().collect()));
        prop_assert!(a.iter().all(|path| set(&a).contains(path)));
        prop_assert!(b.iter().all(|path| set(&a).contains(path) == a.contains(path)));
    }
}

#[test]
fn fields_v1_is_as_kubernetes_writes_it() {
    let fields = json!({
        "f:spec": {
            "f:replicas": {},
            "f:containers": { "k:{\"name\":\"app\"}": { ".": {}, "f:image": {} } },
            "f:ports": { "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {} },
            "f:finalizers": { "v:\"a\\u003cb\"": {}, "i:3": {} },
        }
    });
    let set = FieldSet::from_v1(&fields).unwrap();
    assert_eq!(set.to_v1(), fields);
    assert_eq!(
        set.to_string(),
        ".spec.replicas\n.spec.containers[name=\"app\"]\n.spec.containers[name=\"app\"].image\n\
         .spec.finalizers[=\"a<b\"]\n.spec.finalizers[3]\n.spec.ports[containerPort=80,protocol=\"TCP\"]\n"
    );
}

#[test]
fn what_is_not_known_is_left_out_and_what_is_wrong_refused() {
    let check = |fields: Value, expect: Result<&str, FieldsError>| {
        let set = FieldSet::from_v1(&fields).map(|set| set.to_string().trim_end().replace('\n', " "));
        assert_eq!(set, expect.map(str::to_owned), "{fields}");
    };
    let wrong = |key: &str| Err(FieldsError::Key(key.to_owned()));
    check(json!({}), Ok(""));
    check(Value::Null, Ok(""));
    check(json!({ "x:future": {} }), Ok(""));
    check(json!({ "f:a": { ".": {} } }), Ok(".a"));
    check(json!({ "f:a": { "x:future": {} } }), Ok(".a"));
    check(json!({ "f:a": { "f:b": {} } }), Ok(".a.b"));
    check(json!({ "f:": {} }), Ok("."));
    check(json!({ "i:9": {}, "i:10": {} }), Ok("[9] [10]"));
    check(json!({ "v:1": {}, "v:1.0": {} }), Ok("[=1]"));
    check(json!({ "f": {} }), wrong("f"));
    check(json!({ "field:a": {} }), wrong("field:a"));
    check(json!({ "i:x": {} }), wrong("i:x"));
    check(json!({ "k:[]": {} }), wrong("k:[]"));
    check(json!({ "v:": {} }), wrong("v:"));
    check(json!({ "f:a": 1 }), Err(FieldsError::NotAnObject));
    check(json!([]), Err(FieldsError::NotAnObject));
}
