//! The expressions of policies and webhook configurations, which must compile where they stand. What
//! else such objects must look like is told by their strategies in `api`.

use api::field::{FieldError, FieldErrors, Path};
use serde_json::Value;

use super::compiled::{ANNOTATION_TYPES, Scope};
use crate::{
    admission::{
        elements,
        expressions::{Sight, boolean, typed, variables},
        text,
    },
    cel::{escape::is_reserved, types::Type},
};

/// A `ValidatingAdmissionPolicy`.
pub fn policy(policy: &Value, errors: &mut FieldErrors) {
    let (spec, path) = (&policy["spec"], Path::new("spec"));
    conditions(&spec["matchConditions"], !spec["paramKind"].is_null(), &path.child("matchConditions"), errors);
    let scope = Scope::compile(spec);
    let place = path.child("variables");
    for (index, (variable, (_, program))) in elements(&spec["variables"]).iter().zip(&scope.programs).enumerate() {
        let item = place.index(index);
        if is_reserved(text(&variable["name"])) {
            errors.push(FieldError::invalid(
                &item.child("name"),
                variable["name"].clone(),
                "must be a valid CEL identifier",
            ));
        }
        report(program, &variable["expression"], &item.child("expression"), errors);
    }
    let place = path.child("validations");
    for (index, validation) in elements(&spec["validations"]).iter().enumerate() {
        let item = place.index(index);
        let (expression, message) = (&validation["expression"], &validation["messageExpression"]);
        report(&boolean(text(expression), &scope.environment), expression, &item.child("expression"), errors);
        let program = typed(text(message), &scope.of_messages, &[Type::String]);
        report(&program, message, &item.child("messageExpression"), errors);
    }
    let place = path.child("auditAnnotations");
    for (index, annotation) in elements(&spec["auditAnnotations"]).iter().enumerate() {
        let value = &annotation["valueExpression"];
        let program = typed(text(value).trim(), &scope.environment, &ANNOTATION_TYPES);
        report(&program, value, &place.index(index).child("valueExpression"), errors);
    }
}

/// A `MutatingWebhookConfiguration` or a `ValidatingWebhookConfiguration`.
pub fn webhooks(configuration: &Value, errors: &mut FieldErrors) {
    let path = Path::new("webhooks");
    for (index, webhook) in elements(&configuration["webhooks"]).iter().enumerate() {
        conditions(&webhook["matchConditions"], false, &path.index(index).child("matchConditions"), errors);
    }
}

fn conditions(conditions: &Value, params: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    let environment = variables(Sight { params, authorizer: true });
    for (index, condition) in elements(conditions).iter().enumerate() {
        let expression = text(&condition["expression"]).trim();
        let place = path.index(index);
        report(&boolean(expression, &environment), &expression.into(), &place.child("expression"), errors);
    }
}

/// An expression that is missing is told of where its object's shape is.
fn report<T>(program: &Result<T, String>, source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Err(problem) = program
        && !text(source).trim().is_empty()
    {
        errors.push(FieldError::invalid(path, text(source), problem.as_str()));
    }
}
