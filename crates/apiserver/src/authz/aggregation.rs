//! Cluster roles made of others: the rules of all roles that a selector finds.

use std::{borrow::Borrow, cmp::Ordering};

use serde_json::Value;

/// The rules that `role` should have by its `aggregationRule`; `None` where it has none or they are as they
/// should be. `roles` are all cluster roles.
pub fn aggregate<R: Borrow<Value>>(role: &Value, roles: &[R]) -> Option<Vec<Value>> {
    let selectors = role["aggregationRule"].as_object()?.get("clusterRoleSelectors").and_then(Value::as_array);
    let mut sorted: Vec<&Value> = roles.iter().map(Borrow::borrow).collect();
    sorted.sort_by(|a, b| by_name(a, b));
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors.into_iter().flatten() {
        for source in &sorted {
            if source["metadata"]["name"] == role["metadata"]["name"]
                || !selects(selector, &source["metadata"]["labels"])
            {
                continue;
            }
            for rule in source["rules"].as_array().into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    let current = role["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    (rules != current).then_some(rules)
}

fn by_name(a: &Value, b: &Value) -> Ordering {
    a["metadata"]["name"].as_str().cmp(&b["metadata"]["name"].as_str())
}

/// A `LabelSelector`; an operator that does not exist selects nothing.
fn selects(selector: &Value, labels: &Value) -> bool {
    let mut exact = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    exact.all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| {
            let label = expression["key"].as_str().and_then(|key| labels.get(key));
            let values = expression["values"].as_array();
            let listed = || label.is_some_and(|label| values.is_some_and(|values| values.contains(label)));
            match expression["operator"].as_str() {
                Some("In") => listed(),
                Some("NotIn") => !listed(),
                Some("Exists") => label.is_some(),
                Some("DoesNotExist") => label.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_select() {
        let labels = json!({"a": "1", "b": "2"});
        let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let cases = [
            (json!({}), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "1", "b": "1"}}), false),
            (json!({"matchLabels": {"c": "1"}}), false),
            (expression("a", "In", json!(["0", "1"])), true),
            (expression("c", "In", json!(["1"])), false),
            (expression("a", "NotIn", json!(["1"])), false),
            (expression("c", "NotIn", json!(["1"])), true),
            (expression("a", "Exists", Value::Null), true),
            (expression("a", "DoesNotExist", Value::Null), false),
            (expression("a", "Near", Value::Null), false),
        ];
        for (selector, expect) in cases {
            assert_eq!(selects(&selector, &labels), expect, "{selector}");
        }
        assert!(!selects(&json!({"matchLabels": {"a": "1"}}), &Value::Null));
    }

    #[test]
    fn rules_come_once_in_the_order_of_names_and_never_from_the_role_itself() {
        let role = |name: &str, rules: Value| json!({"metadata": {"name": name, "labels": {"x": "y"}}, "rules": rules});
        let mut sum = role("sum", json!([{"verbs": ["own"]}]));
        sum["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}, {}]});
        let (a, b) = (json!({"verbs": ["a"]}), json!({"verbs": ["b"]}));
        let roles = [role("z", json!([a, b])), sum.clone(), role("m", json!([b])), role("none", Value::Null)];
        assert_eq!(aggregate(&sum, &roles), Some(vec![b.clone(), a.clone()]));
        sum["rules"] = json!([b, a]);
        assert_eq!(aggregate(&sum, &roles), None);
    }
}
