//! The rules in a definition's schema: their form, whether they compile, and what they cost at worst
//! (apiextensions `validation.go`).

use api::field::{FieldError, FieldErrors, Path, Reason};
use serde_json::Value;

use super::{
    declare,
    properties::find_path,
    rules::{Compiled, Rules},
    schema::Schema,
};

/// What one expression may cost at worst, and all of one schema together.
const EXPRESSION_LIMIT: u64 = 10_000_000;
const SCHEMA_LIMIT: u64 = 100_000_000;

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Checks the rules of a whole schema that is right otherwise.
pub fn all(schema: &Value, read: &Schema, path: &Path<'_>, errors: &mut FieldErrors) {
    let compiled = Rules::compile(read, &declare::root(read));
    let mut costs = Costs::default();
    level_rules(&compiled, schema, path, Some(1), None, &mut costs, errors);
    if costs.total > SCHEMA_LIMIT {
        costs.most.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, place) in costs.most.iter().take(4) {
            let detail =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema".to_owned();
            errors.push(FieldError { reason: Reason::Forbidden, path: place.clone(), value: None, detail });
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, over_budget(name, costs.total, SCHEMA_LIMIT)));
    }
}

#[derive(Debug, Default)]
struct Costs {
    total: u64,
    most: Vec<(u64, String)>,
}

/// `occurrences` is how often this level occurs in an object, where that is bounded. `uncorrelatable`
/// is the list around whose items have no earlier state.
fn level_rules(
    rules: &Rules,
    schema: &Value,
    path: &Path<'_>,
    occurrences: Option<u64>,
    uncorrelatable: Option<&str>,
    costs: &mut Costs,
    errors: &mut FieldErrors,
) {
    let list_path = path.child("x-kubernetes-validations");
    let times = occurrences.unwrap_or_else(|| rules.most());
    for (index, compiled) in rules.here.iter().enumerate() {
        let raw = &schema["x-kubernetes-validations"][index];
        one_rule(compiled, raw, &list_path.index(index), times, uncorrelatable, costs, errors);
    }
    let properties_path = path.child("properties");
    for (name, inner) in &rules.properties {
        let property = &schema["properties"][&**name];
        level_rules(inner, property, &properties_path.key(name), occurrences, uncorrelatable, costs, errors);
    }
    let below = occurrences.zip(rules.declared_count()).map(|(times, count)| times.saturating_mul(count));
    if let Some(inner) = &rules.additional {
        let schema = &schema["additionalProperties"];
        level_rules(inner, schema, &path.child("additionalProperties"), below, uncorrelatable, costs, errors);
    }
    if let Some(inner) = &rules.items {
        let here = path.to_string();
        let keyed = schema["x-kubernetes-list-type"] == "map";
        let uncorrelatable = uncorrelatable.or((!keyed).then_some(here.as_str()));
        level_rules(inner, &schema["items"], &path.child("items"), below, uncorrelatable, costs, errors);
    }
}

fn one_rule(
    compiled: &Compiled,
    raw: &Value,
    path: &Path<'_>,
    times: u64,
    uncorrelatable: Option<&str>,
    costs: &mut Costs,
    errors: &mut FieldErrors,
) {
    let rule_path = path.child("rule");
    match &compiled.program {
        Ok(program) => {
            let cost = program.max_cost.saturating_mul(times);
            charge(cost, "estimated rule cost", &rule_path, costs, errors);
        }
        Err(problem) => errors.push(wrong_rule(&rule_path, raw, problem)),
    }
    let message_path = path.child("messageExpression");
    match &compiled.message {
        Some(Ok(program)) => charge(program.max_cost, "estimated messageExpression cost", &message_path, costs, errors),
        Some(Err(problem)) => errors.push(wrong_rule(&message_path, raw, problem)),
        None => {}
    }
    if compiled.uses_old_self {
        if let Some(place) = uncorrelatable {
            let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}");
            errors.push(FieldError::invalid(&rule_path, &*compiled.rule.rule, detail));
        }
    } else if let Some(optional) = compiled.rule.optional_old_self {
        let detail = "may not be set if oldSelf is not used in rule";
        errors.push(FieldError::invalid(&path.child("optionalOldSelf"), optional, detail));
    }
}

/// The whole rule is shown, with the names and in the order that its fields have inside Kubernetes.
fn wrong_rule(path: &Path<'_>, rule: &Value, problem: &str) -> FieldError {
    let empty = Value::from("");
    let fields = [
        ("Rule", rule.get("rule").unwrap_or(&empty)),
        ("Message", rule.get("message").unwrap_or(&empty)),
        ("MessageExpression", rule.get("messageExpression").unwrap_or(&empty)),
        ("Reason", &rule["reason"]),
        ("FieldPath", rule.get("fieldPath").unwrap_or(&empty)),
        ("OptionalOldSelf", &rule["optionalOldSelf"]),
    ];
    let shown: Vec<String> = fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    // As Go writes JSON.
    let shown = shown.join(",").replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let detail = format!("{{{shown}}}: {problem}");
    FieldError { reason: Reason::Invalid, path: path.to_string(), value: None, detail }
}

fn charge(cost: u64, name: &str, path: &Path<'_>, costs: &mut Costs, errors: &mut FieldErrors) {
    if cost > EXPRESSION_LIMIT {
        errors.push(FieldError::forbidden(path, over_budget(name, cost, EXPRESSION_LIMIT)));
    }
    costs.total = costs.total.saturating_add(cost);
    costs.most.push((cost, path.to_string()));
}

fn over_budget(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let shown = match factor {
        factor if factor > 100.0 => "more than 100x".to_owned(),
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// Checks what can be seen of one rule without compiling it.
pub fn form(schema: &Value, rule: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let text = |name: &str| rule[name].as_str().unwrap_or_default();
    let breaks = |text: &str| text.trim().contains(['\n', '\r']);
    let (source, message) = (text("rule"), text("message"));
    let message_path = path.child("message");
    if source.trim().is_empty() {
        errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid(&message_path, message, "must be non-empty if specified"));
    } else if breaks(message) {
        errors.push(FieldError::invalid(&message_path, message, "must not contain line breaks"));
    } else if breaks(source) && message.is_empty() {
        errors.push(FieldError::required(&message_path, "message must be specified if rule contains line breaks"));
    }
    if !text("messageExpression").is_empty() && text("messageExpression").trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&path.child("messageExpression"), detail));
    }
    if let Some(reason) = rule["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
        errors.push(FieldError::not_supported(&path.child("reason"), reason, &REASONS));
    }
    let field_path = text("fieldPath");
    if field_path.is_empty() {
        return;
    }
    let place = path.child("fieldPath");
    if field_path.trim().is_empty() {
        errors.push(FieldError::invalid(&place, field_path, "must be non-empty if specified"));
    }
    if field_path.contains(['\n', '\r']) {
        errors.push(FieldError::invalid(&place, field_path, "must not contain line breaks"));
    }
    if find_path(schema, field_path, true).is_err() {
        errors.push(FieldError::invalid(&place, field_path, "must be a valid path"));
    }
}
