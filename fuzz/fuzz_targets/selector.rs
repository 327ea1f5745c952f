//! Selectors and paths never panic; a selector's canonical text parses to the same selector.
#![no_main]

use api::selector::{FieldSelector, LabelSelector};
use document::{Quantity, jsonpath};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(selector) = LabelSelector::parse(text) {
        assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector.clone()));
        selector.matches([("a", "b"), ("c", "1")]);
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
    }
    if let Ok(path) = jsonpath::compile(text) {
        path.find(&serde_json::json!({"a": [{"b": 1}, {"b": "x"}], "c": {"d.e": null}}));
    }
    if let Ok(quantity) = Quantity::parse(text) {
        assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
    }
});
