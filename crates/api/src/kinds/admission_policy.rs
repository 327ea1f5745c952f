//! ValidatingAdmissionPolicies and their bindings. Their CEL expressions are compiled where they are run.

use std::collections::HashSet;

use super::{
    check::{Node, check, elements, text},
    columns, edit, rules,
    webhook::{default_match, match_conditions, parameter_reference, rule_with_operations},
};
use crate::{resource::Column, strategy::Strategy, syntax};

const MAX_AUDIT_ANNOTATIONS: usize = 20;
const MAX_VALUE_EXPRESSION_BYTES: usize = 5 * 1024;

pub(super) const BASE: Strategy =
    Strategy { counts_generation: true, unconditional_update: false, ..Strategy::DEFAULT };

pub const POLICY: Strategy = Strategy {
    default: |object| {
        if let Some(spec) = edit::at_mut(object, &["spec"]) {
            edit::fill(spec, "failurePolicy", "Fail");
        }
        default_resources(object, "matchConstraints");
    },
    prepare_create: rules::drop_status,
    prepare_update: rules::keep_status,
    validate: |object, errors| check(object, errors, validate_policy),
    ..BASE
};

pub const BINDING: Strategy = Strategy {
    default: |object| default_resources(object, "matchResources"),
    validate: |object, errors| check(object, errors, validate_binding),
    ..BASE
};

pub(super) fn default_resources(object: &mut serde_json::Value, field: &str) {
    let Some(resources) = edit::at_mut(object, &["spec", field]) else { return };
    default_match(resources);
    for list in ["resourceRules", "excludeResourceRules"] {
        edit::each_mut(resources, list).for_each(|rule| {
            edit::fill(rule, "scope", "*");
        });
    }
}

fn validate_policy(root: &Node<'_>) {
    let spec = root.get("spec");
    spec.get("failurePolicy").word(&["Fail", "Ignore"]);
    let parameters = spec.get("paramKind");
    if parameters.is_set() {
        parameter_kind(&parameters);
    }
    let constraints = spec.get("matchConstraints");
    if constraints.is_set() {
        match_resources(&constraints);
        constraints.get("resourceRules").require();
    } else {
        constraints.required("");
    }
    match_conditions(&spec.get("matchConditions"));
    variables(&spec.get("variables"));
    let (validations, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for list in [&validations, &annotations] {
            list.required("validations or auditAnnotations must contain at least one item");
        }
    }
    validations.items().for_each(|validation| validate_validation(&validation));
    if annotations.len() > MAX_AUDIT_ANNOTATIONS {
        annotations.invalid(format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations"));
    }
    let name = text(&root.value["metadata"], "name");
    for annotation in annotations.items() {
        let key = format!("{name}/{}", annotation.get("key").text());
        for error in syntax::is_qualified_name(&key) {
            annotation.get("key").invalid_value(&*key, error);
        }
        let value = annotation.get("valueExpression");
        match value.text().trim().len() {
            0 => value.required("valueExpression is not specified"),
            length if length > MAX_VALUE_EXPRESSION_BYTES => {
                value.required(format!("must not exceed {MAX_VALUE_EXPRESSION_BYTES} bytes in length"));
            }
            _ => {}
        }
    }
    rules::unique(&annotations, "key");
}

/// The names of variables, and that each has an expression.
pub(super) fn variables(list: &Node<'_>) {
    for variable in list.items() {
        if variable.get("name").require_saying("name is not specified")
            && !syntax::is_c_identifier(variable.get("name").text()).is_empty()
        {
            variable.get("name").invalid("must be a valid CEL identifier");
        }
        if variable.get("expression").text().trim().is_empty() {
            variable.get("expression").required("expression is not specified");
        }
    }
}

pub(super) fn parameter_kind(parameters: &Node<'_>) {
    let (api_version, kind) = (parameters.get("apiVersion"), parameters.get("kind"));
    if api_version.require() {
        let (group, version) = match api_version.text().split_once('/') {
            Some((group, version)) => (Some(group), version),
            None => (None, api_version.text()),
        };
        for (part, syntax) in [
            (group, syntax::is_dns1123_subdomain as fn(&str) -> Vec<String>),
            (Some(version), syntax::is_dns1035_label),
        ] {
            let errors = part.map(syntax).unwrap_or_default();
            if !errors.is_empty() {
                api_version.invalid_value(part.unwrap_or_default(), errors.join(","));
            }
        }
    }
    if kind.require() {
        let errors = syntax::is_dns1035_label(&kind.text().to_lowercase());
        if !errors.is_empty() {
            kind.invalid(format!("may have mixed case, but should otherwise match: {}", errors.join(",")));
        }
    }
}

pub(super) fn match_resources(resources: &Node<'_>) {
    resources.get("matchPolicy").word(&["Equivalent", "Exact"]);
    for selector in ["namespaceSelector", "objectSelector"] {
        rules::label_selector(&resources.get(selector));
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in resources.get(list).items() {
            let names = rule.get("resourceNames");
            for index in 0..elements(names.value).len() {
                names.index(index).syntax(rules::path_segment);
            }
            rules::distinct(&names);
            rule_with_operations(&rule);
        }
    }
}

fn validate_validation(validation: &Node<'_>) {
    if validation.get("expression").text().trim().is_empty() {
        validation.get("expression").required("expression is not specified");
    }
    for field in ["messageExpression", "message"] {
        let message = validation.get(field);
        if !message.is_empty() && message.text().trim().is_empty() {
            message.invalid("must be non-empty if specified");
        }
    }
    if validation.get("message").text().trim().contains('\n') {
        validation.get("message").invalid("must not contain line breaks");
    }
    validation.get("reason").optional_word(&["Forbidden", "Invalid", "RequestEntityTooLarge"]);
}

fn validate_binding(root: &Node<'_>) {
    let spec = root.get("spec");
    spec.get("policyName").required_syntax(syntax::is_dns1123_subdomain);
    let reference = spec.get("paramRef");
    if reference.is_set() {
        parameter_ref(&reference);
    }
    if spec.get("matchResources").is_set() {
        match_resources(&spec.get("matchResources"));
    }
    let actions = spec.get("validationActions");
    let mut seen = HashSet::new();
    for (index, action) in elements(actions.value).iter().enumerate() {
        actions.index(index).word(&["Audit", "Deny", "Warn"]);
        if !seen.insert(action) {
            actions.index(index).duplicate();
        }
    }
    if ["Deny", "Warn"].iter().all(|action| elements(actions.value).iter().any(|known| known == action)) {
        actions.invalid(
            "must not contain both Deny and Warn (repeating the same validation failure information in the API \
             response and headers serves no purpose)",
        );
    }
    actions.require_saying("at least one validation action is required");
}

pub(super) fn parameter_ref(reference: &Node<'_>) {
    let (name, selector) = (reference.get("name"), reference.get("selector"));
    name.optional_syntax(rules::path_segment);
    rules::label_selector(&selector);
    match (name.is_empty(), selector.is_set()) {
        (false, true) => {
            for field in [&name, &selector] {
                field.forbidden("name and selector are mutually exclusive");
            }
        }
        (true, false) => reference.required("one of name or selector must be specified"),
        _ => {}
    }
    reference.get("parameterNotFoundAction").word(&["Deny", "Allow"]);
}

pub fn policy_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::integer("Validations", "How many rules it has.", |object, _| {
            elements(&object["spec"]["validations"]).len().into()
        }),
        parameter_column(),
        columns::age(),
    ]
}

pub(super) fn parameter_column() -> Column {
    columns::text("ParamKind", "The kind of its parameters.", |object, _| match &object["spec"]["paramKind"] {
        serde_json::Value::Null => "<unset>".into(),
        kind => format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")).into(),
    })
}

pub fn binding_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("PolicyName", "The policy that it puts to use.", |object, _| {
            text(&object["spec"], "policyName").into()
        }),
        columns::text("ParamRef", "The parameters it is used with.", |object, _| {
            parameter_reference(&object["spec"]["paramRef"])
        }),
        columns::age(),
    ]
}
