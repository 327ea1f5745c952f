//! CertificateSigningRequests. Who asks (`spec.username` and so on) is filled in by the server, and the
//! `approval` subresource is where conditions are set.

use std::collections::HashSet;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use super::{
    check::{Node, check, elements, semantically_equal, text},
    columns::{self},
    edit, rules,
};
use crate::{
    field::FieldErrors,
    resource::Column,
    strategy::{NameRule, Strategy},
    syntax,
};

pub const STRATEGY: Strategy = Strategy {
    prepare_create: |object| {
        rules::drop_status(object);
        if let Some(spec) = object.get_mut("spec") {
            ["username", "uid", "groups", "extra"].iter().for_each(|field| edit::remove(spec, field));
        }
    },
    prepare_update: |new, old| {
        rules::keep_status(new, old);
        rules::keep(new, old, "spec");
    },
    prepare_status: keep_approval,
    validate: |object, errors| check(object, errors, validate),
    validate_status: |new, old, errors| {
        check(new, errors, |root| {
            conditions(&root.get("status").get("conditions"));
            kept_conditions(root, old);
            issued_once(root, old);
        });
    },
    name: NameRule::PathSegment,
    ..Strategy::DEFAULT
};

/// What a write to the `approval` subresource must satisfy: conditions are added, never taken away.
pub fn validate_approval(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |root| {
        conditions(&root.get("status").get("conditions"));
        kept_conditions(root, old);
    });
}

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

const APPROVAL: [&str; 2] = ["Approved", "Denied"];

fn validate(root: &Node<'_>) {
    let spec = root.get("spec");
    if !is_certificate_request(spec.get("request").text()) {
        spec.get("request").invalid("PEM block type must be CERTIFICATE REQUEST");
    }
    let usages = spec.get("usages");
    usages.require();
    let mut seen = HashSet::new();
    for (index, usage) in elements(usages.value).iter().enumerate() {
        let node = usages.index(index);
        if !USAGES.contains(&node.text()) {
            node.not_supported(USAGES);
        }
        if !seen.insert(usage) {
            node.duplicate();
        }
    }
    let signer = spec.get("signerName");
    if signer.text() == "kubernetes.io/legacy-unknown" {
        signer.invalid("the legacy signerName is not allowed via this API version");
    } else if signer.require() {
        signer_name(&signer);
    }
    let expiration = spec.get("expirationSeconds");
    if expiration.is_set() && expiration.integer() < 600 {
        expiration.invalid("may not specify a duration less than 600 seconds (10 minutes)");
    }
}

/// The outside of a request: its signature is checked by who signs.
fn is_certificate_request(base64: &str) -> bool {
    let pem = BASE64.decode(base64).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let body = pem
        .split_once("-----BEGIN CERTIFICATE REQUEST-----")
        .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE REQUEST-----"));
    body.is_some_and(|(body, _)| {
        let body: String = body.split_whitespace().collect();
        BASE64.decode(body).is_ok_and(|der| der.first() == Some(&0x30))
    })
}

fn signer_name(signer: &Node<'_>) {
    let (domain, path) = match signer.text().split_once('/') {
        Some((domain, path)) if !path.contains('/') => (domain, path),
        _ => return signer.invalid("must be a fully qualified domain and path of the form 'example.com/signer-name'"),
    };
    let first_bad = |part: &str, syntax: fn(&str) -> Vec<String>| {
        let bad = part.split('.').map(|label| (label, syntax(label))).find(|(_, errors)| !errors.is_empty());
        if let Some((label, errors)) = bad {
            for error in errors {
                signer.invalid_value(part, format!("validating label {label:?}: {error}"));
            }
        }
    };
    if domain.len() > syntax::DNS1123_SUBDOMAIN_MAX_LENGTH {
        signer.too_long(syntax::DNS1123_SUBDOMAIN_MAX_LENGTH);
    }
    first_bad(domain, syntax::is_dns1123_label);
    if !domain.contains('.') {
        signer.invalid_value(domain, "should be a domain with at least two segments separated by dots");
    }
    first_bad(path, syntax::is_dns1123_subdomain);
}

fn conditions(list: &Node<'_>) {
    let mut decided: Option<&str> = None;
    for (index, value) in elements(list.value).iter().enumerate() {
        let condition = list.index(index);
        let kind = text(value, "type");
        condition.get("type").require();
        let statuses: &[&str] =
            if matches!(kind, "Approved" | "Denied" | "Failed") { &["True"] } else { &["False", "True", "Unknown"] };
        condition.get("status").word(statuses);
        if APPROVAL.contains(&kind) {
            if decided.is_some_and(|decided| decided != kind) {
                list.invalid_value(kind, "Approved and Denied conditions are mutually exclusive");
            }
            decided = Some(kind);
        }
    }
    rules::unique(list, "type");
}

fn of_kind<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    elements(&object["status"]["conditions"]).iter().filter(|condition| condition["type"] == kind).collect()
}

fn kept_conditions(root: &Node<'_>, old: &Value) {
    for kind in ["Approved", "Denied", "Failed"] {
        if of_kind(root.value, kind).len() < of_kind(old, kind).len() {
            let message = format!("updates may not remove a condition of type {kind:?}");
            root.get("status").get("conditions").forbidden(message);
        }
    }
}

/// The status subresource neither approves nor replaces a certificate.
fn issued_once(root: &Node<'_>, old: &Value) {
    let status = root.get("status");
    for kind in APPROVAL {
        let (new, old) = (of_kind(root.value, kind), of_kind(old, kind));
        let conditions = status.get("conditions");
        if new.len() > old.len() {
            conditions.forbidden(format!("updates may not add a condition of type {kind:?}"));
        } else if new.len() == old.len() && !new.iter().zip(&old).all(|(new, old)| semantically_equal(new, old)) {
            conditions.forbidden(format!("updates may not modify a condition of type {kind:?}"));
        }
    }
    let certificate = status.get("certificate");
    let old = text(&old["status"], "certificate");
    if !old.is_empty() && certificate.text() != old {
        certificate.forbidden("updates may not modify existing certificate content");
    }
    let pem = BASE64.decode(certificate.text()).unwrap_or_default();
    if certificate.text() != old && !pem.starts_with(b"-----BEGIN CERTIFICATE-----") {
        certificate.invalid_value("<certificate data>", "must contain at least one CERTIFICATE PEM block");
    }
}

/// A signer that leaves the approval out has not meant to withdraw it.
fn keep_approval(new: &mut Value, old: &Value) {
    let missing: Vec<Value> = APPROVAL
        .iter()
        .filter(|kind| of_kind(new, kind).is_empty())
        .flat_map(|kind| of_kind(old, kind))
        .cloned()
        .collect();
    if missing.is_empty() {
        return;
    }
    let Some(status) = edit::object_at(new, &["status"]) else { return };
    let conditions = status.entry("conditions").or_insert(Value::Null);
    match conditions {
        Value::Array(list) => list.extend(missing),
        other => *other = missing.into(),
    }
}

pub fn columns() -> Vec<Column> {
    vec![
        columns::name(),
        columns::age(),
        columns::text("SignerName", "Who is asked to sign.", |object, _| {
            columns::text_or_none(&object["spec"]["signerName"])
        }),
        columns::text("Requestor", "Who asks.", |object, _| text(&object["spec"], "username").into()),
        columns::text("RequestedDuration", "How long the certificate should hold.", |object, _| {
            match object["spec"]["expirationSeconds"].as_i64() {
                Some(seconds) => columns::human_duration(seconds).into(),
                None => columns::NONE.into(),
            }
        }),
        columns::text("Condition", "What became of it.", |object, _| condition(object).into()),
    ]
}

fn condition(object: &Value) -> String {
    let has = |kind: &str| !of_kind(object, kind).is_empty();
    let decision = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (_, true) => "Approved",
        _ => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if text(&object["status"], "certificate").is_empty() { "" } else { ",Issued" };
    format!("{decision}{failed}{issued}")
}
