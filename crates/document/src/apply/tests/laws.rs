//! What holds for any document: random configurations under the types of the cases.
//!
//! Lists that merge are never empty: nobody owns those, so a manager that empties its list removes it.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CASES, types};
use crate::apply::{Filter, SameShape, Write, apply, compare, merge, remove_items, set_of, update};
use crate::types::{Type, Types};

fn things() -> Types {
    types::read(&Path::new(CASES).join("types.yaml"))
}

fn write<'a>(manager: &'a str, of: Type<'a>, versions: &'a SameShape<'a>, now: &'a str) -> Write<'a> {
    Write { manager, subresource: "", api_version: "v1", kind: "Thing", now, of, versions, filter: &Filter::All }
}

prop_compose! {
    fn part()(name in "[a-c]", image in prop::option::of("[x-z]"), env in prop::option::of(prop::collection::btree_map("[A-C]", "[1-3]", 1..3))) -> (String, Value) {
        let mut part = json!({ "name": name });
        if let Some(image) = image {
            part["image"] = image.into();
        }
        if let Some(env) = env {
            part["env"] = env.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        }
        (name, part)
    }
}

prop_compose! {
    fn config()(
        size in prop::option::of(0..3),
        tags in prop::option::of(prop::collection::btree_set("[a-d]", 1..4)),
        words in prop::option::of(prop::collection::vec("[a-b]", 0..3)),
        settings in prop::option::of(prop::collection::btree_map("[k-m]", "[1-3]", 0..3)),
        parts in prop::option::of(prop::collection::vec(part(), 1..4)),
        inner in prop::option::of((prop::option::of(0..2i64), prop::option::of(0..2i64))),
        anything in prop::option::of(prop_oneof![Just(json!(1)), Just(json!({"x": 1})), Just(json!({"x": {"y": []}})), Just(json!([1]))]),
    ) -> Value {
        let mut spec = json!({});
        let mut set = |name: &str, value: Option<Value>| if let Some(value) = value { spec[name] = value };
        set("size", size.map(Value::from));
        set("tags", tags.map(|tags| tags.into_iter().rev().collect()));
        set("words", words.map(Value::from));
        set("settings", settings.map(|settings| json!(settings)));
        set("parts", parts.map(|parts| {
            let mut seen = std::collections::BTreeSet::new();
            parts.into_iter().filter(|(name, _)| seen.insert(name.clone())).map(|(_, part)| part).collect()
        }));
        set("inner", inner.map(|(a, b): (Option<i64>, Option<i64>)| {
            let mut inner = json!({});
            if let Some(a) = a { inner["a"] = a.into() }
            if let Some(b) = b { inner["deeper"] = json!({ "c": b }) }
            inner
        }));
        set("anything", anything);
        json!({ "apiVersion": "v1", "kind": "Thing", "spec": spec })
    }
}

proptest! {
    #[test]
    fn a_merge_is_idempotent(live in config(), applied in config()) {
        let types = things();
        let of = types.named("Thing").unwrap();
        let mut once = live;
        merge(&mut once, &applied, of).unwrap();
        let mut twice = once.clone();
        merge(&mut twice, &applied, of).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_repeated_apply_is_none(first in config(), second in config(), third in config()) {
        let types = things();
        let of = types.named("Thing").unwrap();
        let versions = SameShape { served: &["v1"], of };
        let object = apply(None, &first, &write("a", of, &versions, "1"), true).unwrap();
        let object = apply(Some(&object), &second, &write("b", of, &versions, "2"), true).unwrap();
        let object = apply(Some(&object), &third, &write("a", of, &versions, "3"), true).unwrap();
        let again = apply(Some(&object), &third, &write("a", of, &versions, "4"), true).unwrap();
        prop_assert_eq!(object, again);
    }

    #[test]
    fn a_sole_applier_gets_what_it_asks_for(first in config(), second in config()) {
        let types = things();
        let of = types.named("Thing").unwrap();
        let versions = SameShape { served: &["v1"], of };
        let object = apply(None, &first, &write("a", of, &versions, "1"), false).unwrap();
        let object = apply(Some(&object), &second, &write("a", of, &versions, "2"), false).unwrap();
        let mut owned = set_of(&second, of).unwrap();
        owned.subtract(&set_of(&object, of).unwrap());
        prop_assert!(owned.is_empty(), "{}", owned);
    }

    #[test]
    fn nothing_differs_from_itself(document in config(), other in config()) {
        let types = things();
        let of = types.named("Thing").unwrap();
        prop_assert!(compare(&document, &document, of).unwrap().is_empty());
        let there = compare(&document, &other, of).unwrap();
        let back = compare(&other, &document, of).unwrap();
        prop_assert_eq!(there.added, back.removed);
        prop_assert_eq!(there.modified, back.modified);
    }

    #[test]
    fn what_is_removed_is_gone(document in config()) {
        let types = things();
        let of = types.named("Thing").unwrap();
        let mut rest = document.clone();
        let set = set_of(&document, of).unwrap();
        remove_items(&mut rest, &set, of);
        let mut left = set_of(&rest, of).unwrap();
        left.intersect(&set);
        // Objects that were emptied are left as empty ones.
        prop_assert!(left.is_empty(), "{}", left);
    }

    #[test]
    fn every_field_has_one_updater(documents in prop::collection::vec(config(), 1..5)) {
        let types = things();
        let of = types.named("Thing").unwrap();
        let versions = SameShape { served: &["v1"], of };
        let mut live: Option<Value> = None;
        for (index, document) in documents.into_iter().enumerate() {
            let manager = ["u", "v"][index % 2];
            let mut new = document;
            new["metadata"] = json!({ "uid": "1" });
            update(live.as_ref(), &mut new, &write(manager, of, &versions, "1"));
            live = Some(new);
        }
        let entries = live.unwrap()["metadata"]["managedFields"].take();
        let sets: Vec<_> = entries.as_array().into_iter().flatten()
            .map(|entry| crate::fields::FieldSet::from_v1(&entry["fieldsV1"]).unwrap()).collect();
        if let [a, b] = &sets[..] {
            let mut both = a.clone();
            both.intersect(b);
            prop_assert!(both.is_empty(), "{}", both);
        }
    }
}
