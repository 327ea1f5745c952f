//! What a policy and a binding must look like: their expressions compile where they stand.

use api::field::{FieldError, FieldErrors, Path};
use api::syntax;
use serde_json::Value;

use super::compiled::scope;
use crate::{
    admission::expressions::{VARIABLES, boolean, typed},
    cel::types::Type,
};

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn supported(value: &Value, words: &[&str], path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(word) = value.as_str().filter(|word| !words.contains(word)) {
        errors.push(FieldError::not_supported(path, word, words));
    }
}

/// A `ValidatingAdmissionPolicy`.
pub fn policy(policy: &Value, errors: &mut FieldErrors) {
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    supported(&spec["failurePolicy"], &FAILURE_POLICIES, &path.child("failurePolicy"), errors);
    let constraints = path.child("matchConstraints");
    if spec["matchConstraints"].is_null() {
        errors.push(FieldError::required(&constraints, ""));
    } else if list(&spec["matchConstraints"], "resourceRules").is_empty() {
        errors.push(FieldError::required(&constraints.child("resourceRules"), ""));
    }
    if let Some(kind) = spec["paramKind"].as_object() {
        let kind_path = path.child("paramKind");
        for name in ["apiVersion", "kind"] {
            if kind.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                errors.push(FieldError::required(&kind_path.child(name), ""));
            }
        }
    }
    conditions(&spec["matchConditions"], &path.child("matchConditions"), errors);
    let (programs, environment) = scope(spec);
    let variables_path = path.child("variables");
    for (index, (name, program)) in programs.iter().enumerate() {
        let item = variables_path.index(index);
        if name.is_empty() || !syntax::is_c_identifier(name).is_empty() {
            errors.push(FieldError::invalid(&item.child("name"), &**name, "name is not a valid CEL identifier"));
        }
        if programs[..index].iter().any(|(known, _)| known == name) {
            errors.push(FieldError::duplicate(&item.child("name"), &**name));
        }
        report(program, text(&list(spec, "variables")[index], "expression"), &item.child("expression"), errors);
    }
    if list(spec, "validations").is_empty() && list(spec, "auditAnnotations").is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        for name in ["validations", "auditAnnotations"] {
            errors.push(FieldError::required(&path.child(name), detail));
        }
    }
    let validations_path = path.child("validations");
    for (index, validation) in list(spec, "validations").iter().enumerate() {
        let item = validations_path.index(index);
        let (expression, message) = (text(validation, "expression"), text(validation, "message"));
        let place = item.child("expression");
        if expression.trim().is_empty() {
            errors.push(FieldError::required(&place, "expression is not specified"));
        } else {
            report(&boolean(expression, &environment), expression, &place, errors);
        }
        if message.trim().contains(['\n', '\r']) {
            errors.push(FieldError::invalid(&item.child("message"), message, "must not contain line breaks"));
        }
        if expression.trim().contains(['\n', '\r']) && message.trim().is_empty() {
            let detail = "message must be specified if expression contains line breaks";
            errors.push(FieldError::required(&item.child("message"), detail));
        }
        let source = text(validation, "messageExpression");
        if !source.is_empty() {
            let program = typed(source, &environment, &[Type::String], "must evaluate to string");
            report(&program, source, &item.child("messageExpression"), errors);
        }
        supported(&validation["reason"], &REASONS, &item.child("reason"), errors);
    }
    let annotations_path = path.child("auditAnnotations");
    for (index, annotation) in list(spec, "auditAnnotations").iter().enumerate() {
        let item = annotations_path.index(index);
        let key = text(annotation, "key");
        let qualified = format!("{}/{key}", text(&policy["metadata"], "name"));
        if key.is_empty() {
            errors.push(FieldError::required(&item.child("key"), ""));
        } else {
            for problem in syntax::is_qualified_name(&qualified) {
                errors.push(FieldError::invalid(&item.child("key"), key, problem));
            }
        }
        let source = text(annotation, "valueExpression");
        let wanted = [Type::String, Type::Null];
        let program = typed(source, &environment, &wanted, "must evaluate to one of [string null_type]");
        report(&program, source, &item.child("valueExpression"), errors);
    }
}

/// `matchConditions`, of policies and of webhooks.
pub fn conditions(conditions: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let list = conditions.as_array().map_or(&[][..], Vec::as_slice);
    if list.len() > 64 {
        errors.push(FieldError::too_many(path, list.len(), 64));
    }
    for (index, condition) in list.iter().enumerate() {
        let item = path.index(index);
        let (name, expression) = (text(condition, "name"), text(condition, "expression"));
        if name.is_empty() {
            errors.push(FieldError::required(&item.child("name"), ""));
        } else {
            for problem in syntax::is_qualified_name(name) {
                errors.push(FieldError::invalid(&item.child("name"), name, problem));
            }
        }
        if list[..index].iter().any(|known| text(known, "name") == name) {
            errors.push(FieldError::duplicate(&item.child("name"), name));
        }
        let place = item.child("expression");
        if expression.trim().is_empty() {
            errors.push(FieldError::required(&place, ""));
        } else {
            report(&boolean(expression, &VARIABLES), expression, &place, errors);
        }
    }
}

fn report<T>(program: &Result<T, String>, source: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Err(problem) = program {
        errors.push(FieldError::invalid(path, source, problem.as_str()));
    }
}

/// A `ValidatingAdmissionPolicyBinding`.
pub fn binding(binding: &Value, errors: &mut FieldErrors) {
    let (spec, path) = (&binding["spec"], Path::new("spec"));
    if text(spec, "policyName").is_empty() {
        errors.push(FieldError::required(&path.child("policyName"), ""));
    }
    let reference = &spec["paramRef"];
    if reference.is_object() {
        let place = path.child("paramRef");
        match (text(reference, "name").is_empty(), reference["selector"].is_null()) {
            (true, true) => errors.push(FieldError::required(&place, "one of name or selector must be specified")),
            (false, false) => {
                errors.push(FieldError::forbidden(&place.child("name"), "name and selector are mutually exclusive"));
            }
            _ => {}
        }
        let action_path = place.child("parameterNotFoundAction");
        if reference["parameterNotFoundAction"].is_null() {
            errors.push(FieldError::required(&action_path, ""));
        }
        supported(&reference["parameterNotFoundAction"], &["Allow", "Deny"], &action_path, errors);
    }
    let actions_path = path.child("validationActions");
    let actions = list(spec, "validationActions");
    if actions.is_empty() {
        errors.push(FieldError::required(&actions_path, ""));
    }
    for (index, action) in actions.iter().enumerate() {
        supported(action, &ACTIONS, &actions_path.index(index), errors);
        if actions[..index].contains(action) {
            errors.push(FieldError::duplicate(&actions_path.index(index), action.clone()));
        }
    }
    let both = ["Deny", "Warn"].iter().all(|name| actions.iter().any(|action| action == name));
    if both {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(&actions_path, spec["validationActions"].clone(), detail));
    }
}
