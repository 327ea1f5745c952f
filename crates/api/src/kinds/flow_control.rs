//! FlowSchemas and PriorityLevelConfigurations.

use serde_json::Value;

use super::{
    check::{Node, check, elements, text, texts},
    columns, edit, rules,
};
use crate::{resource::Column, strategy::Strategy, syntax};

const MAX_PRECEDENCE: i64 = 10_000;
const MAX_QUEUES: i64 = 10_000_000;

const BASE: Strategy = Strategy {
    prepare_create: rules::drop_status,
    prepare_update: rules::keep_status,
    validate_status: |new, _, errors| check(new, errors, conditions),
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn conditions(root: &Node<'_>) {
    let status = root.get("status");
    let conditions = status.get("conditions");
    for condition in conditions.items() {
        condition.get("type").require();
    }
    rules::unique(&conditions, "type");
}

pub const SCHEMA: Strategy = Strategy {
    default: |object| {
        if let Some(spec) = edit::at_mut(object, &["spec"])
            && spec["matchingPrecedence"].as_i64().unwrap_or_default() == 0
        {
            edit::set(spec, "matchingPrecedence", 1000);
        }
    },
    validate: |object, errors| check(object, errors, validate_schema),
    ..BASE
};

fn validate_schema(root: &Node<'_>) {
    let spec = root.get("spec");
    let precedence = spec.get("matchingPrecedence");
    let number = precedence.integer();
    if number <= 0 {
        precedence.invalid_value(number, "must be a positive value");
    }
    if number > MAX_PRECEDENCE {
        precedence.invalid(format!("must not be greater than {MAX_PRECEDENCE}"));
    }
    if number == 1 && root.value["metadata"]["name"] != "exempt" {
        precedence.invalid("only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = spec.get("distinguisherMethod");
    if method.is_set() && !matches!(method.get("type").text(), "ByNamespace" | "ByUser") {
        method.get("type").not_supported(&["ByNamespace", "ByUser"]);
    }
    let level = spec.get("priorityLevelConfiguration");
    if level.get("name").require_saying("must reference a priority level") {
        level.get("name").syntax(syntax::is_dns1123_subdomain);
    }
    for rule in spec.get("rules").items() {
        rule.get("subjects").require_saying("subjects must contain at least one value");
        rule.get("subjects").items().for_each(|subject| validate_subject(&subject));
        if rule.get("resourceRules").is_empty() && rule.get("nonResourceRules").is_empty() {
            rule.required("at least one of resourceRules and nonResourceRules has to be non-empty");
        }
        rule.get("resourceRules").items().for_each(|rule| resource_rule(&rule));
        rule.get("nonResourceRules").items().for_each(|rule| non_resource_rule(&rule));
    }
}

/// (kind, the field that describes it)
const SUBJECTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn validate_subject(subject: &Node<'_>) {
    let kind = subject.get("kind");
    if !SUBJECTS.iter().any(|(known, _)| *known == kind.text()) {
        return kind.not_supported(&["Group", "ServiceAccount", "User"]);
    }
    for (of_kind, field) in SUBJECTS {
        let described = subject.get(field);
        match (of_kind == kind.text(), described.is_set()) {
            (true, false) => described.required(format!("{field} is required when subject kind is '{of_kind}'")),
            (false, true) => described.forbidden(format!("{field} is forbidden when subject kind is not '{of_kind}'")),
            (true, true) => {
                let name = described.get("name");
                if name.require() && field == "serviceAccount" && name.text() != "*" {
                    name.syntax(syntax::is_dns1123_subdomain);
                }
                let namespace = described.get("namespace");
                if field == "serviceAccount" && namespace.require_saying("must specify namespace for service account") {
                    namespace.syntax(syntax::is_dns1123_label);
                }
            }
            (false, false) => {}
        }
    }
}

fn is_everything(list: &Node<'_>) -> bool {
    texts(list.value).any(|item| item == "*")
}

/// Not empty, and `*` on its own.
fn require_list(list: &Node<'_>, empty: &str, what: &str) -> bool {
    let is_there = list.require_saying(empty);
    if is_everything(list) && list.len() > 1 {
        list.invalid(format!("if '*' is present, must not specify other {what}"));
    }
    is_there
}

fn verbs(rule: &Node<'_>) {
    const VERBS: &[&str] =
        &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
    let verbs = rule.get("verbs");
    if require_list(&verbs, "verbs must contain at least one value", "verbs")
        && !is_everything(&verbs)
        && !texts(verbs.value).all(|verb| VERBS.contains(&verb))
    {
        let error = crate::field::FieldError::not_supported(verbs.path(), verbs.value.clone(), VERBS);
        verbs.push(error);
    }
}

fn resource_rule(rule: &Node<'_>) {
    verbs(rule);
    require_list(&rule.get("apiGroups"), "resource rules must supply at least one api group", "api groups");
    require_list(&rule.get("resources"), "resource rules must supply at least one resource", "resources");
    let namespaces = rule.get("namespaces");
    if namespaces.is_empty() && !rule.get("clusterScope").flag() {
        namespaces.required("resource rules that are not cluster scoped must supply at least one namespace");
    } else if is_everything(&namespaces) {
        if namespaces.len() > 1 {
            namespaces.invalid("if '*' is present, must not specify other namespaces");
        }
    } else {
        for namespace in namespaces.items() {
            for error in syntax::is_dns1123_label(namespace.text()) {
                namespace.invalid(format!("each member of this list must be '*' or a DNS-1123 label; {error}"));
            }
        }
    }
}

fn non_resource_rule(rule: &Node<'_>) {
    verbs(rule);
    let urls = rule.get("nonResourceURLs");
    require_list(&urls, "nonResourceURLs must contain at least one value", "non-resource URLs");
    for url in urls.items().filter(|_| !is_everything(&urls)) {
        let path = url.text();
        let error = match path {
            "" => "must not be empty",
            "/" => continue,
            _ if !path.starts_with('/') => "must start with slash",
            _ if path.contains(' ') => "must not contain white-space",
            _ if path.contains("//") => "must not contain double slash",
            _ if path.strip_suffix("/*").unwrap_or(path).contains('*') => "wildcard can only do suffix matching",
            _ => continue,
        };
        url.invalid(error);
    }
}

pub fn schema_columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::text("PriorityLevel", "The level its requests go to.", |object, _| {
            text(&object["spec"]["priorityLevelConfiguration"], "name").into()
        }),
        columns::text("MatchingPrecedence", "The lowest wins.", |object, _| {
            columns::number(&object["spec"]["matchingPrecedence"])
        }),
        columns::text("DistinguisherMethod", "What tells its flows apart.", |object, _| {
            columns::text_or_none(&object["spec"]["distinguisherMethod"]["type"])
        }),
        columns::age(),
        columns::text("MissingPL", "Whether the level does not exist.", |object, _| {
            let conditions = elements(&object["status"]["conditions"]);
            conditions
                .iter()
                .find(|condition| condition["type"] == "Dangling")
                .map_or("?", |it| text(it, "status"))
                .into()
        }),
    ]
}

pub const LEVEL: Strategy =
    Strategy { default: default_level, validate: |object, errors| check(object, errors, validate_level), ..BASE };

fn default_level(object: &mut Value) {
    for (part, shares) in [("limited", 30), ("exempt", 0)] {
        if let Some(part) = edit::at_mut(object, &["spec", part]) {
            edit::fill(part, "nominalConcurrencyShares", shares);
            edit::fill(part, "lendablePercent", 0);
        }
    }
    let Some(queuing) = edit::at_mut(object, &["spec", "limited", "limitResponse", "queuing"]) else { return };
    for (field, number) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
        if queuing[field].as_i64().unwrap_or_default() == 0 {
            edit::set(queuing, field, number);
        }
    }
}

fn validate_level(root: &Node<'_>) {
    let spec = root.get("spec");
    let (kind, limited, exempt) = (spec.get("type"), spec.get("limited"), spec.get("exempt"));
    if (root.value["metadata"]["name"] == "exempt") != (kind.text() == "Exempt") {
        kind.invalid_value(kind.text(), "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    match kind.text() {
        "Exempt" => {
            if limited.is_set() {
                limited.forbidden("must be nil if the type is not Limited");
            }
            shares(&exempt);
        }
        "Limited" => {
            if exempt.is_set() {
                exempt.forbidden("must be nil if the type is Limited");
            }
            if limited.is_set() {
                validate_limited(&limited);
            } else {
                limited.required("must not be empty when type is Limited");
            }
        }
        _ => kind.not_supported(&["Exempt", "Limited"]),
    }
}

fn shares(part: &Node<'_>) {
    if part.get("nominalConcurrencyShares").integer() < 0 {
        part.get("nominalConcurrencyShares").invalid("must be a non-negative integer");
    }
    part.get("lendablePercent").in_range(0, 100);
}

fn validate_limited(limited: &Node<'_>) {
    shares(limited);
    let borrowing = limited.get("borrowingLimitPercent");
    if borrowing.integer() < 0 {
        borrowing.invalid("if specified, must be a non-negative integer");
    }
    let response = limited.get("limitResponse");
    let (kind, queuing) = (response.get("type"), response.get("queuing"));
    match (kind.text(), queuing.is_set()) {
        ("Reject", true) => queuing.forbidden("must be nil if limited.limitResponse.type is not Limited"),
        ("Queue", false) => queuing.required("must not be empty if limited.limitResponse.type is Limited"),
        ("Queue", true) => validate_queuing(&queuing),
        ("Reject", false) => {}
        _ => kind.not_supported(&["Queue", "Reject"]),
    }
}

fn validate_queuing(queuing: &Node<'_>) {
    let (length, queues, hand) = (queuing.get("queueLengthLimit"), queuing.get("queues"), queuing.get("handSize"));
    for number in [&length, &queues, &hand] {
        if number.integer() <= 0 {
            number.invalid_value(number.integer(), "must be positive");
        }
    }
    if queues.integer() > MAX_QUEUES {
        queues.invalid(format!("must not be greater than {MAX_QUEUES}"));
    }
    if hand.integer() > queues.integer() {
        hand.invalid(format!("should not be greater than queues ({})", queues.integer()));
    } else if hand.integer() > 0 && entropy_bits(queues.integer(), hand.integer()) > MAX_HASH_BITS {
        let (deck, hand_size) = (queues.integer(), hand.integer());
        hand.invalid(format!(
            "required entropy bits of deckSize {deck} and handSize {hand_size} should not be greater than {MAX_HASH_BITS}"
        ));
    }
}

const MAX_HASH_BITS: i64 = 60;

/// How many bits of a hash it takes to deal a hand from a deck.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}

pub fn level_columns() -> Vec<Column> {
    fn limited(object: &Value, field: &str) -> Value {
        or_none(&object["spec"]["limited"][field])
    }
    fn queuing(object: &Value, field: &str) -> Value {
        or_none(&object["spec"]["limited"]["limitResponse"]["queuing"][field])
    }
    fn or_none(value: &Value) -> Value {
        if value.is_null() { columns::NONE.into() } else { value.clone() }
    }
    vec![
        columns::name(),
        columns::text("Type", "Whether its requests wait for each other.", |object, _| {
            text(&object["spec"], "type").into()
        }),
        columns::text("NominalConcurrencyShares", "Its part of what the server does at once.", |object, _| {
            limited(object, "nominalConcurrencyShares")
        }),
        columns::text("Queues", "How many queues it has.", |object, _| queuing(object, "queues")),
        columns::text("HandSize", "How many queues a flow may use.", |object, _| queuing(object, "handSize")),
        columns::text("QueueLengthLimit", "How long a queue may be.", |object, _| queuing(object, "queueLengthLimit")),
        columns::age(),
    ]
}
