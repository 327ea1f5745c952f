//! Roles and their bindings.

use serde_json::Value;

use super::{
    check::{Node, check, elements, text},
    columns, edit, rules,
};
use crate::{
    field::{FieldError, FieldErrors, Path},
    resource::Column,
    strategy::{NameRule, Strategy},
    syntax,
};

const GROUP: &str = "rbac.authorization.k8s.io";

const BASE: Strategy = Strategy { name: NameRule::PathSegment, create_on_update: true, ..Strategy::DEFAULT };

pub const ROLE: Strategy =
    Strategy { validate: |object, errors| check(object, errors, |root| validate_rules(root, true)), ..BASE };

pub const CLUSTER_ROLE: Strategy = Strategy { validate: validate_cluster_role, ..BASE };

pub const ROLE_BINDING: Strategy = Strategy {
    default: default_binding,
    validate: |object, errors| check(object, errors, |root| validate_binding(root, true)),
    validate_update: validate_role_reference,
    ..BASE
};

pub const CLUSTER_ROLE_BINDING: Strategy =
    Strategy { validate: |object, errors| check(object, errors, |root| validate_binding(root, false)), ..ROLE_BINDING };

fn default_binding(object: &mut Value) {
    if let Some(reference) = edit::at_mut(object, &["roleRef"]) {
        rules::fill_empty(reference, "apiGroup", GROUP);
    }
    for subject in edit::each_mut(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            rules::fill_empty(subject, "apiGroup", GROUP);
        }
    }
}

fn validate_rules(root: &Node<'_>, namespaced: bool) {
    for rule in root.get("rules").items() {
        rule.get("verbs").require_saying("verbs must contain at least one value");
        let urls = rule.get("nonResourceURLs");
        if urls.is_empty() {
            rule.get("apiGroups").require_saying("resource rules must supply at least one api group");
            rule.get("resources").require_saying("resource rules must supply at least one resource");
            continue;
        }
        if namespaced {
            urls.invalid("namespaced rules cannot apply to non-resource URLs");
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|field| !rule.get(field).is_empty()) {
            urls.invalid("rules cannot apply to both regular resources and non-resource URLs");
        }
    }
}

fn validate_cluster_role(object: &Value, errors: &mut FieldErrors) {
    check(object, errors, |root| {
        validate_rules(root, false);
        let aggregation = root.get("aggregationRule");
        if aggregation.is_set() {
            let selectors = aggregation.get("clusterRoleSelectors");
            selectors.require_saying("at least one clusterRoleSelector required if aggregationRule is non-nil");
            for selector in selectors.items() {
                let before = selector.error_count();
                rules::label_selector(&selector);
                if selector.error_count() > before {
                    selector.invalid_value(Value::Null, "invalid label selector.");
                }
            }
        }
    });
}

fn validate_binding(root: &Node<'_>, namespaced: bool) {
    let reference = root.get("roleRef");
    let (group, kind) = (reference.get("apiGroup"), reference.get("kind"));
    if group.text() != GROUP {
        group.not_supported(&[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&kind.text()) {
        kind.not_supported(kinds);
    }
    reference.get("name").required_syntax(rules::path_segment);
    for subject in root.get("subjects").items() {
        validate_subject(&subject, namespaced);
    }
}

fn validate_subject(subject: &Node<'_>, namespaced: bool) {
    let (kind, name, group) = (subject.get("kind"), subject.get("name"), subject.get("apiGroup"));
    name.require();
    match kind.text() {
        "ServiceAccount" => {
            name.optional_syntax(syntax::is_dns1123_subdomain);
            if !group.is_empty() {
                group.not_supported(&[""]);
            }
            if !namespaced {
                subject.get("namespace").require();
            }
        }
        "User" | "Group" if group.text() != GROUP => group.not_supported(&[GROUP]),
        "User" | "Group" => {}
        _ => kind.not_supported(&["ServiceAccount", "User", "Group"]),
    }
}

fn validate_role_reference(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if new["roleRef"] != old["roleRef"] {
        errors.push(FieldError::invalid(&Path::new("roleRef"), new["roleRef"].clone(), "cannot change roleRef"));
    }
}

pub fn binding_columns() -> Vec<Column> {
    fn subjects(object: &Value, kind: &str) -> Value {
        let of_kind = elements(&object["subjects"]).iter().filter(|subject| subject["kind"] == kind);
        let shown = of_kind.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", text(subject, "namespace"), text(subject, "name")),
            _ => text(subject, "name").to_owned(),
        });
        shown.collect::<Vec<_>>().join(", ").into()
    }
    vec![
        columns::name(),
        columns::text("Role", "The role that is given.", |object, _| {
            format!("{}/{}", text(&object["roleRef"], "kind"), text(&object["roleRef"], "name")).into()
        }),
        columns::age(),
        columns::wide(columns::text("Users", "The users it is given to.", |object, _| subjects(object, "User"))),
        columns::wide(columns::text("Groups", "The groups it is given to.", |object, _| subjects(object, "Group"))),
        columns::wide(columns::text("ServiceAccounts", "The service accounts it is given to.", |object, _| {
            subjects(object, "ServiceAccount")
        })),
    ]
}
