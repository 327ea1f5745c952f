//! The managed fields of scales, there and back.

use serde_json::{Value, json};

use super::super::{scale_to_parent, scale_to_subresource};
use crate::fields::Element;

fn entry(manager: &str, operation: &str, version: &str, subresource: &str, second: u8, fields: Value) -> Value {
    let mut entry = json!({
        "manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1",
        "time": format!("2024-01-01T00:00:{second:02}Z"), "fieldsV1": fields,
    });
    if !subresource.is_empty() {
        entry["subresource"] = subresource.into();
    }
    entry
}

fn replicas() -> Value {
    json!({ "f:spec": { "f:replicas": {} } })
}

fn check(parent: Value, change: impl Fn(Value) -> Value, expect_scale: Value, expect_parent: Value) {
    let path = [Element::field("spec"), Element::field("replicas")];
    let paths = [("apps/v1", Some(&path[..])), ("apps/v1beta1", None)];
    let scale = scale_to_subresource(Some(&parent), &paths).unwrap();
    assert_eq!(scale.clone().unwrap_or_default(), expect_scale);
    let scale = change(scale.unwrap_or_default());
    let parent = scale_to_parent(Some(&parent), Some(&scale), "apps/v1", &paths).unwrap();
    assert_eq!(parent.unwrap_or_default(), expect_parent);
}

#[test]
fn only_owners_of_the_replicas_are_seen() {
    let owner = entry("a", "Apply", "apps/v1", "", 1, json!({ "f:spec": { "f:replicas": {}, "f:paused": {} } }));
    let other = entry("b", "Apply", "apps/v1", "", 1, json!({ "f:spec": { "f:paused": {} } }));
    check(
        json!([owner, other]),
        |scale| scale,
        json!([entry("a", "Apply", "autoscaling/v1", "", 1, replicas())]),
        json!([owner, other]),
    );
}

#[test]
fn a_scale_takes_the_replicas_from_their_owner() {
    let owner = entry("a", "Apply", "apps/v1", "", 1, json!({ "f:spec": { "f:replicas": {}, "f:paused": {} } }));
    check(
        json!([owner]),
        |_| json!([entry("kubectl", "Update", "autoscaling/v1", "scale", 2, replicas())]),
        json!([entry("a", "Apply", "autoscaling/v1", "", 1, replicas())]),
        json!([
            entry("a", "Apply", "apps/v1", "", 1, json!({ "f:spec": { "f:paused": {} } })),
            entry("kubectl", "Update", "apps/v1", "scale", 2, replicas()),
        ]),
    );
}

#[test]
fn a_scaler_that_scales_again_has_one_entry() {
    check(
        json!([entry("kubectl", "Update", "apps/v1", "scale", 1, replicas())]),
        |_| json!([entry("kubectl", "Update", "autoscaling/v1", "scale", 2, replicas())]),
        json!([entry("kubectl", "Update", "autoscaling/v1", "scale", 1, replicas())]),
        json!([entry("kubectl", "Update", "apps/v1", "scale", 2, replicas())]),
    );
}

#[test]
fn entries_of_unknown_versions_are_dropped_and_those_without_scale_kept() {
    let unscaled = entry("b", "Update", "apps/v1beta1", "", 1, json!({ "f:spec": { "f:replicas": {} } }));
    let unknown = entry("c", "Update", "apps/v0", "", 1, replicas());
    check(json!([unscaled, unknown]), |scale| scale, Value::Null, json!([unscaled]));
}
