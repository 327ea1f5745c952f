//! Configurations of admission webhooks, and the rules and match conditions they share with policies.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    check::{Node, check, elements, text, texts},
    columns::{self},
    edit, rules,
};
use crate::{resource::Column, strategy::Strategy, syntax};

const BASE: Strategy = Strategy { counts_generation: true, unconditional_update: false, ..Strategy::DEFAULT };

pub const VALIDATING: Strategy = Strategy {
    default: |object| edit::each_mut(object, "webhooks").for_each(default_webhook),
    validate: |object, errors| check(object, errors, validate),
    ..BASE
};

pub const MUTATING: Strategy = Strategy {
    default: |object| {
        for webhook in edit::each_mut(object, "webhooks") {
            default_webhook(webhook);
            edit::fill(webhook, "reinvocationPolicy", "Never");
        }
    },
    ..VALIDATING
};

fn default_webhook(webhook: &mut Value) {
    edit::fill(webhook, "failurePolicy", "Fail");
    edit::fill(webhook, "timeoutSeconds", 10);
    default_match(webhook);
    for rule in edit::each_mut(webhook, "rules") {
        edit::fill(rule, "scope", "*");
    }
    if let Some(service) = edit::at_mut(webhook, &["clientConfig", "service"]) {
        edit::fill(service, "port", 443);
    }
}

/// What matches where nothing is said.
pub fn default_match(object: &mut Value) {
    edit::fill(object, "matchPolicy", "Equivalent");
    edit::fill(object, "namespaceSelector", json!({}));
    edit::fill(object, "objectSelector", json!({}));
}

fn validate(root: &Node<'_>) {
    let webhooks = root.get("webhooks");
    for webhook in webhooks.items() {
        validate_webhook(&webhook);
        review_versions(&webhook.get("admissionReviewVersions"));
    }
    rules::unique(&webhooks, "name");
}

fn validate_webhook(webhook: &Node<'_>) {
    fully_qualified_name(&webhook.get("name"));
    webhook.get("rules").items().for_each(|rule| rule_with_operations(&rule));
    webhook.get("failurePolicy").optional_word(&["Fail", "Ignore"]);
    webhook.get("matchPolicy").optional_word(&["Equivalent", "Exact"]);
    let side_effects = webhook.get("sideEffects");
    if side_effects.is_set() {
        if !matches!(side_effects.text(), "None" | "NoneOnDryRun") {
            side_effects.not_supported(&["None", "NoneOnDryRun"]);
        }
    } else {
        side_effects.required("must specify one of None, NoneOnDryRun");
    }
    let timeout = webhook.get("timeoutSeconds");
    if timeout.is_set() && !(1..=30).contains(&timeout.integer()) {
        timeout.invalid("the timeout value must be between 1 and 30 seconds");
    }
    rules::label_selector(&webhook.get("namespaceSelector"));
    rules::label_selector(&webhook.get("objectSelector"));
    webhook.get("reinvocationPolicy").optional_word(&["IfNeeded", "Never"]);
    let client = webhook.get("clientConfig");
    match (client.get("url").is_set(), client.get("service").is_set()) {
        (true, false) => webhook_url(&client.get("url")),
        (false, true) => webhook_service(&client.get("service")),
        _ => client.required("exactly one of url or service is required"),
    }
    match_conditions(&webhook.get("matchConditions"));
}

fn fully_qualified_name(name: &Node<'_>) {
    if !name.require() {
        return;
    }
    let errors = syntax::is_dns1123_subdomain(name.text());
    if !errors.is_empty() {
        name.invalid(errors.join(","));
    } else if name.text().split('.').count() < 3 {
        name.invalid("should be a domain with at least three segments separated by dots");
    }
}

fn review_versions(versions: &Node<'_>) {
    if !versions.require_saying("must specify one of v1, v1beta1") {
        return;
    }
    let mut seen = HashSet::new();
    for (index, version) in elements(versions.value).iter().enumerate() {
        let node = versions.index(index);
        if !seen.insert(version) {
            node.invalid("duplicate version");
        } else {
            node.syntax(syntax::is_dns1035_label);
        }
    }
    if !texts(versions.value).any(|version| matches!(version, "v1" | "v1beta1")) {
        versions.invalid("must include at least one of v1, v1beta1");
    }
}

/// `https://host[:port][/path]`
pub fn webhook_url(url: &Node<'_>) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.text().split_once("://").unwrap_or(("", ""));
    if scheme != "https" {
        url.invalid_value(scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if host.is_empty() {
        url.invalid_value("", format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        url.invalid_value(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        url.invalid_value(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        url.invalid_value(query, "query parameters are not permitted in the URL");
    }
}

/// A reference to the service behind a webhook.
pub fn webhook_service(service: &Node<'_>) {
    service.get("name").require();
    service.get("namespace").require();
    let (port, path) = (service.get("port"), service.get("path"));
    let number = port.value.as_i64().unwrap_or(443);
    if !(1..=65535).contains(&number) {
        port.invalid("port is not valid: must be between 1 and 65535, inclusive");
    }
    match path.text() {
        "" | "/" => return,
        "//" => return path.invalid("segment[0] may not be empty"),
        text if !text.starts_with('/') => path.invalid("must start with a '/'"),
        _ => {}
    }
    let inner: String = path.text().chars().skip(1).collect();
    for (index, segment) in inner.strip_suffix('/').unwrap_or(&inner).split('/').enumerate() {
        if segment.is_empty() {
            path.invalid(format!("segment[{index}] may not be empty"));
            continue;
        }
        for error in syntax::is_dns1123_subdomain(segment) {
            path.invalid(format!("segment[{index}]: {error}"));
        }
    }
}

/// The names of CEL match conditions; the expressions are compiled where they are run.
pub fn match_conditions(conditions: &Node<'_>) {
    if conditions.len() > 64 {
        conditions.too_many(64);
    }
    for condition in conditions.items() {
        if condition.get("expression").text().trim().is_empty() {
            condition.get("expression").required("");
        }
        condition.get("name").required_syntax(syntax::is_qualified_name);
    }
    rules::unique(conditions, "name");
}

/// Operations, groups, versions and resources that a webhook or policy is about.
pub fn rule_with_operations(rule: &Node<'_>) {
    let operations = rule.get("operations");
    operations.require();
    wildcard_alone(&operations, "operations");
    for operation in operations.items() {
        if !matches!(operation.text(), "*" | "CONNECT" | "CREATE" | "DELETE" | "UPDATE") {
            operation.not_supported(&["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]);
        }
    }
    rule.get("apiGroups").require();
    wildcard_alone(&rule.get("apiGroups"), "API groups");
    rule.get("apiVersions").require();
    wildcard_alone(&rule.get("apiVersions"), "API versions");
    for version in rule.get("apiVersions").items() {
        version.require();
    }
    rule_resources(&rule.get("resources"));
    let scope = rule.get("scope");
    if scope.is_set() && !matches!(scope.text(), "*" | "Cluster" | "Namespaced") {
        scope.not_supported(&["*", "Cluster", "Namespaced"]);
    }
}

fn wildcard_alone(list: &Node<'_>, what: &str) {
    if list.len() > 1 && texts(list.value).any(|item| item == "*") {
        list.invalid(format!("if '*' is present, must not specify other {what}"));
    }
}

fn rule_resources(resources: &Node<'_>) {
    resources.require();
    let (mut whole, mut everywhere): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut has_plain = false;
    for (index, resource) in texts(resources.value).enumerate() {
        let node = resources.index(index);
        if resource.is_empty() {
            node.required("");
        }
        let Some((name, subresource)) = resource.split_once('/') else {
            has_plain = resource != "*";
            continue;
        };
        if whole.contains(&name) {
            node.invalid(format!("if '{name}/*' is present, must not specify {resource}"));
        }
        if everywhere.contains(&subresource) {
            node.invalid(format!("if '*/{subresource}' is present, must not specify {resource}"));
        }
        if subresource == "*" {
            whole.push(name);
        }
        if name == "*" {
            everywhere.push(subresource);
        }
    }
    let has = |word: &str| texts(resources.value).any(|resource| resource == word);
    if resources.len() > 1 && has("*/*") {
        resources.invalid("if '*/*' is present, must not specify other resources");
    }
    if has("*") && has_plain {
        resources.invalid("if '*' is present, must not specify other resources without subresources");
    }
}

pub fn columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::integer("Webhooks", "How many webhooks there are.", |object, _| {
            elements(&object["webhooks"]).len().into()
        }),
        columns::age(),
    ]
}

/// `ns/name`, `*/name`.
pub fn parameter_reference(reference: &Value) -> Value {
    match (text(reference, "namespace"), text(reference, "name")) {
        (_, "") => "<unset>".into(),
        ("", name) => format!("*/{name}").into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    }
}
