//! MutatingAdmissionPolicies and their bindings: stored and checked for their shape. Nothing runs them yet,
//! which their writers are told.

use super::{
    admission_policy::{
        BASE, default_resources, match_resources, parameter_column, parameter_kind, parameter_ref, variables,
    },
    check::{Node, check, elements, texts},
    columns, edit,
    webhook::match_conditions,
};
use crate::{resource::Column, strategy::Strategy, syntax};

const MUTATING_OPERATIONS: [&str; 2] = ["CREATE", "UPDATE"];

pub const POLICY: Strategy = Strategy {
    default: |object| {
        if let Some(spec) = edit::at_mut(object, &["spec"]) {
            edit::fill(spec, "failurePolicy", "Fail");
        }
        default_resources(object, "matchConstraints");
    },
    validate: |object, errors| check(object, errors, validate_policy),
    warnings: |_| vec!["this server keeps MutatingAdmissionPolicies, but does not run them yet".to_owned()],
    ..BASE
};

pub const BINDING: Strategy = Strategy {
    default: |object| default_resources(object, "matchResources"),
    validate: |object, errors| check(object, errors, validate_binding),
    ..BASE
};

fn validate_policy(root: &Node<'_>) {
    let spec = root.get("spec");
    spec.get("failurePolicy").word(&["Fail", "Ignore"]);
    if spec.get("paramKind").is_set() {
        parameter_kind(&spec.get("paramKind"));
    }
    let constraints = spec.get("matchConstraints");
    if constraints.is_set() {
        match_resources(&constraints);
        constraints.get("resourceRules").require();
        mutating_operations(&constraints);
    } else {
        constraints.required("");
    }
    match_conditions(&spec.get("matchConditions"));
    variables(&spec.get("variables"));
    let mutations = spec.get("mutations");
    if mutations.require_saying("mutations must contain at least one item") {
        mutations.items().for_each(|mutation| validate_mutation(&mutation));
    }
    spec.get("reinvocationPolicy").word(&["IfNeeded", "Never"]);
}

/// Only what is created or updated can be changed.
fn mutating_operations(resources: &Node<'_>) {
    let rules = resources.get("resourceRules");
    let operations = rules.get("operations");
    for rule in elements(rules.value) {
        for operation in texts(&rule["operations"]).filter(|operation| !MUTATING_OPERATIONS.contains(operation)) {
            operations.showing(&operation.into()).not_supported(&MUTATING_OPERATIONS);
        }
    }
}

fn validate_mutation(mutation: &Node<'_>) {
    let kind = mutation.get("patchType");
    let (own, other) = match kind.text() {
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        _ => return kind.word(&["ApplyConfiguration", "JSONPatch"]),
    };
    let patch = mutation.get(own);
    if !patch.is_set() {
        patch.required(format!("must be specified when patchType is {}", kind.text()));
    } else if patch.get("expression").text().trim().is_empty() {
        patch.get("expression").required("");
    }
    if mutation.get(other).is_set() {
        let shown = format!("{{{other}}}");
        mutation.get(other).invalid_value(shown, format!("must not be specified when patchType is {}", kind.text()));
    }
}

fn validate_binding(root: &Node<'_>) {
    let spec = root.get("spec");
    spec.get("policyName").required_syntax(syntax::is_dns1123_subdomain);
    if spec.get("paramRef").is_set() {
        parameter_ref(&spec.get("paramRef"));
    }
    let resources = spec.get("matchResources");
    if resources.is_set() {
        match_resources(&resources);
        mutating_operations(&resources);
    }
}

pub fn policy_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::integer("Mutations", "How many changes it makes.", |object, _| {
            elements(&object["spec"]["mutations"]).len().into()
        }),
        parameter_column(),
        columns::age(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problems(strategy: &Strategy, mut object: Value) -> Vec<String> {
        let mut errors = Vec::new();
        (strategy.default)(&mut object);
        (strategy.validate)(&object, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    fn policy(mutation: Value, operation: &str) -> Value {
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": ["pods"]});
        json!({"spec": {
            "matchConstraints": {"resourceRules": [rule]}, "mutations": [mutation], "reinvocationPolicy": "Never",
        }})
    }

    #[test]
    fn policies_have_patches_of_their_type() {
        let check = |mutation: Value, operation: &str, expect: &[&str]| {
            assert_eq!(problems(&POLICY, policy(mutation.clone(), operation)), expect, "{mutation}");
        };
        let patch = json!({"expression": "[]"});
        check(json!({"patchType": "JSONPatch", "jsonPatch": patch}), "CREATE", &[]);
        check(
            json!({"patchType": "ApplyConfiguration", "jsonPatch": patch}),
            "DELETE",
            &[
                "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"CREATE\", \"UPDATE\"",
                "spec.mutations[0].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration",
                "spec.mutations[0].jsonPatch: Invalid value: \"{jsonPatch}\": must not be specified when patchType is ApplyConfiguration",
            ],
        );
        check(
            json!({"patchType": "X"}),
            "UPDATE",
            &[
                "spec.mutations[0].patchType: Unsupported value: \"X\": supported values: \"ApplyConfiguration\", \"JSONPatch\"",
            ],
        );
        check(
            json!({"patchType": "JSONPatch", "jsonPatch": {"expression": " "}}),
            "UPDATE",
            &["spec.mutations[0].jsonPatch.expression: Required value"],
        );
        let empty = problems(&POLICY, json!({"spec": {}}));
        let expect = [
            "spec.matchConstraints: Required value",
            "spec.mutations: Required value: mutations must contain at least one item",
            "spec.reinvocationPolicy: Required value",
        ];
        assert_eq!(empty, expect);
    }

    #[test]
    fn bindings_name_a_policy() {
        assert_eq!(problems(&BINDING, json!({"spec": {"policyName": "p"}})), Vec::<String>::new());
        assert_eq!(problems(&BINDING, json!({"spec": {}})), ["spec.policyName: Required value"]);
    }
}
