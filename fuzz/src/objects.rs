//! Documents of the built-in kinds: decoded, completed, validated, patched and applied as the server does.

use std::sync::{Arc, LazyLock};

use api::{
    field::FieldErrors,
    metadata,
    registry::{Registry, RuntimeConfig, registry},
    resource::{Resource, Scope},
};
use document::{
    Encoding, Types,
    apply::{self, Filter, SameShape, Write},
    decode, patch,
};
use serde_json::Value;

use crate::{LIMIT_BYTES, assert_decodable, lines};

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let everything = RuntimeConfig::parse("api/all=true").expect("a list of versions");
    registry(&everything)
});

static TYPES: LazyLock<Arc<Types>> = LazyLock::new(api::builtin::types);

/// The row that an object says it belongs to.
fn row(document: &Value) -> Option<&'static Arc<Resource>> {
    let (api_version, kind) = (document["apiVersion"].as_str()?, document["kind"].as_str()?);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    REGISTRY.find_kind(group, version, kind)
}

/// As a body becomes an object: the fields it has, its defaults. None where its types are wrong.
fn complete(row: &Resource, mut document: Value) -> Option<Value> {
    document::check(&mut document, row.root()).ok()?;
    document::default(&mut document, row.root());
    (row.strategy.default)(&mut document);
    let once = document.clone();
    (row.strategy.default)(&mut document);
    document::default(&mut document, row.root());
    assert_eq!(document, once, "defaults are complete after the first time");
    Some(document)
}

/// The input is YAML: an object, and after a line `---` what it becomes. Every step of a create, an update
/// and a write to the status is taken, whatever the one before says.
pub fn object(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut documents = text.splitn(2, "\n---\n").filter_map(|text| {
        let document = decode(text.as_bytes(), Encoding::Yaml, LIMIT_BYTES).ok()?.value;
        let row = row(&document)?;
        Some((row, complete(row, document)?))
    });
    let Some((row, mut old)) = documents.next() else { return };
    let strategy = &row.strategy;
    (strategy.prepare_create)(&mut old);
    let mut errors = FieldErrors::new();
    let scope = if row.is_namespaced() { Scope::Namespaced } else { Scope::Cluster };
    metadata::validate(&old, scope, strategy.name, &mut errors);
    (strategy.validate)(&old, &mut errors);
    (strategy.validate_create)(&old, &mut errors);
    (strategy.warnings)(&old);
    (strategy.grace_period_seconds)(&old, None);
    let Some((next, mut new)) = documents.next() else { return };
    if !Arc::ptr_eq(row, next) {
        return;
    }
    let mut status = new.clone();
    metadata::prepare_update(&mut new, &old);
    (strategy.prepare_update)(&mut new, &old);
    metadata::validate_update(&new, &old, &mut errors);
    (strategy.validate)(&new, &mut errors);
    (strategy.validate_update)(&new, &old, &mut errors);
    (strategy.prepare_status)(&mut status, &old);
    (strategy.validate_status)(&status, &old, &mut errors);
    errors.iter().for_each(|error| drop(error.to_string()));
}

/// The input is an object and a patch, each a line of JSON.
pub fn strategic_patch(bytes: &[u8]) {
    let Some([document, change]) = lines(bytes) else { return };
    let Some(row) = row(&document) else { return };
    let Some(mut document) = complete(row, document) else { return };
    if patch::strategic::apply(&mut document, change, row.root()).is_ok() {
        assert_decodable(&document);
    }
}

/// The input is two configurations and an update, each a line of JSON. What the second manager applies
/// after the first and the update is there, and applying it again changes nothing.
pub fn apply(bytes: &[u8]) {
    let Some([first, updated, second]) = lines(bytes) else { return };
    let Some(row) = row(&first) else { return };
    let (of, filter) = (row.root(), Filter::except([]));
    let api_version = row.api_version();
    let versions = SameShape { served: &[&api_version], of };
    let write = |manager: &'static str, now: &'static str| Write {
        manager,
        subresource: "",
        api_version: &api_version,
        kind: &row.kind,
        now,
        of,
        versions: &versions,
        filter: &filter,
    };
    let Ok(live) = apply::apply(None, &first, &write("one", "2026-01-01T00:00:01Z"), false) else { return };
    let mut new = updated;
    if document::check(&mut new, of).is_err() {
        return;
    }
    apply::update(Some(&live), &mut new, &write("two", "2026-01-01T00:00:02Z"));
    if let Some(managed) = new["metadata"].get("managedFields") {
        assert_eq!(apply::decode_managed_fields(managed), Ok(()), "{managed}");
    }
    let _ = apply::apply(Some(&new), &second, &write("three", "2026-01-01T00:00:03Z"), false);
    let Ok(applied) = apply::apply(Some(&new), &second, &write("three", "2026-01-01T00:00:03Z"), true) else { return };
    assert_decodable(&applied);
    let again = apply::apply(Some(&applied), &second, &write("three", "2026-01-01T00:00:04Z"), true);
    assert_eq!(again.ok().as_ref(), Some(&applied), "applied again");
}

/// The input is an object in its envelope, as kubectl sends it.
pub fn protobuf(bytes: &[u8]) {
    let Ok(envelope) = api::protobuf::envelope(bytes) else { return };
    let (group, version) = envelope.api_version.split_once('/').unwrap_or(("", &envelope.api_version));
    let name = api::builtin::type_name(group, version, &envelope.kind);
    let Some(of) = name.and_then(|name| TYPES.named(&name)) else { return };
    if let Ok(mut document) = api::protobuf::decode(envelope.raw, of)
        && document::check(&mut document, of).is_ok()
    {
        assert_decodable(&document);
        document::default(&mut document, of);
    }
}
