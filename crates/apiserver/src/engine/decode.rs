//! From a body to a document of its kind: decoded, typed, pruned, defaulted.

use std::sync::LazyLock;

use api::{resource::Resource, status::Status};
use document::{DecodeError, Encoding, Type};
use http::{HeaderMap, header};
use serde_json::Value;

use super::{
    FieldValidation, Target,
    type_meta::{excerpt, expect_custom_type, expect_registered, expect_type, named_type},
    versions,
};
use crate::http::upload::MAX_BODY_BYTES;

/// More unknown and duplicate fields than these are not told, as in Kubernetes.
const MAX_COMPLAINTS: usize = 100;

/// A type that is read as another version's, though it is not served.
const READ_AS: [(&str, &str, &str); 1] = [("policy/v1beta1", "Eviction", "policy/v1")];

/// A document ready for the engine, and what its sender should know.
#[derive(Debug)]
pub struct Decoded {
    pub document: Value,
    pub warnings: Vec<String>,
}

/// The type of `metadata` in every object.
fn object_meta() -> Type<'static> {
    static TYPES: LazyLock<std::sync::Arc<document::Types>> = LazyLock::new(api::builtin::types);
    TYPES.named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("the embedded schemas have ObjectMeta")
}

/// The object that a create or a replace brings.
pub fn body(
    target: &Target,
    headers: &HeaderMap,
    bytes: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let resource = &target.resource;
    let expected =
        Expected { api_version: &resource.api_version(), kind: &resource.kind, protobuf: resource.custom.is_none() };
    let (mut document, strict) = parse(headers, bytes, &expected)?;
    let text = (resource.custom.is_none() && encoding(headers) == Some(Encoding::Json)).then_some(bytes);
    match resource.custom {
        None => expect_type(&mut document, expected.api_version, expected.kind)?,
        Some(_) => expect_custom_type(resource, &document, bytes)?,
    }
    let warnings = finish(resource, &mut document, strict, validation, text)?;
    Ok(Decoded { document, warnings })
}

/// A body of another kind than the resource's own: a Scale, a Binding, an Eviction.
pub fn foreign(
    headers: &HeaderMap,
    bytes: &[u8],
    api_version: &str,
    kind: &str,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let (mut document, mut strict) = parse(headers, bytes, &Expected { api_version, kind, protobuf: true })?;
    let text =
        |value: &Value, otherwise: &str| value.as_str().filter(|text| !text.is_empty()).unwrap_or(otherwise).to_owned();
    let (sent_kind, sent_version) = (text(&document["kind"], kind), text(&document["apiVersion"], api_version));
    let read_version = read_as(&sent_version, &sent_kind);
    expect_registered(read_version, &sent_kind).map_err(|problem| {
        let version = sent_version.rsplit('/').next().unwrap_or_default();
        Status::bad_request(format!("{sent_kind} in version {version:?} cannot be handled as a {kind}: {problem}"))
    })?;
    document["apiVersion"] = read_version.into();
    expect_type(&mut document, api_version, kind)?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let types = api::builtin::types();
    let name = api::builtin::type_name(group, version, kind);
    if let Some(of) = name.as_deref().and_then(|name| types.named(name)) {
        strict.extend(document::check(&mut document, of).map_err(|error| unfit(kind, version, &error.0))?);
        document::default(&mut document, of);
    }
    let warnings = judge(strict, validation).map_err(|strict| unfit(kind, version, &strict))?;
    Ok(Decoded { document, warnings })
}

fn read_as<'a>(api_version: &'a str, kind: &str) -> &'a str {
    let row = READ_AS.iter().find(|row| (row.0, row.1) == (api_version, kind));
    row.map_or(api_version, |row| row.2)
}

/// A body that is no object: options. Every group has them, under its own versions.
pub fn untyped(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, Status> {
    let expected = Expected { api_version: "v1", kind: DELETE_OPTIONS, protobuf: true };
    parse(headers, bytes, &expected).map(|(document, _)| document)
}

/// A patch in JSON.
pub fn json(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    decoded(bytes, Encoding::Json, "patch")
}

/// An apply configuration.
pub fn yaml(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    document::decode(bytes, Encoding::Yaml, MAX_BODY_BYTES)
        .map(|decoded| (decoded.value, decoded.strict_errors))
        .map_err(|error| match error {
            DecodeError::Syntax(message) => Status::bad_request(format!("error decoding YAML: {message}")),
            other => decode_error(&other, "patch"),
        })
}

/// What a body should be.
struct Expected<'a> {
    api_version: &'a str,
    kind: &'a str,
    /// It may be in protobuf, which custom resources do not have.
    protobuf: bool,
}

const DELETE_OPTIONS: &str = "DeleteOptions";

fn parse(headers: &HeaderMap, bytes: &[u8], expected: &Expected<'_>) -> Result<(Value, Vec<String>), Status> {
    let encoding = match (encoding(headers), media_type(headers).as_str()) {
        (Some(encoding), _) => encoding,
        (None, "application/vnd.kubernetes.protobuf") if expected.protobuf => {
            return protobuf(bytes, expected).map(|document| (document, Vec::new()));
        }
        (None, other) => {
            let protobuf = if expected.protobuf { ", application/vnd.kubernetes.protobuf" } else { "" };
            return Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: application/json, \
                 application/yaml{protobuf}; got {other:?}"
            )));
        }
    };
    decoded(bytes, encoding, expected.kind)
}

fn media_type(headers: &HeaderMap) -> String {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// How a body of text is written.
fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    match media_type(headers).as_str() {
        "" | "application/json" | "*/*" => Some(Encoding::Json),
        "application/yaml" => Some(Encoding::Yaml),
        _ => None,
    }
}

/// An object of the type that its envelope names, or of the expected one where that says nothing.
fn protobuf(bytes: &[u8], expected: &Expected<'_>) -> Result<Value, Status> {
    let envelope = api::protobuf::envelope(bytes).map_err(|error| {
        let kind = expected.kind;
        Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {error}"))
    })?;
    let named = |name, otherwise: &str| if String::is_empty(&name) { otherwise.to_owned() } else { name };
    let api_version = named(envelope.api_version, expected.api_version);
    let kind = named(envelope.kind, expected.kind);
    let (group, version) = read_as(&api_version, &kind).split_once('/').unwrap_or(("", &api_version));
    let refused = |detail: String| {
        let expected = expected.kind;
        Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {expected}: {detail}"))
    };
    let types = api::builtin::types();
    let name = match &*kind {
        DELETE_OPTIONS => Some("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions".to_owned()),
        kind => api::builtin::type_name(group, version, kind),
    };
    let of = name.as_deref().and_then(|name| types.named(name));
    let of = of.ok_or_else(|| refused(format!("no kind {kind:?} is registered for version {api_version:?}")))?;
    let mut document = api::protobuf::decode(envelope.raw, of).map_err(|error| refused(error.to_string()))?;
    document["apiVersion"] = api_version.into();
    document["kind"] = kind.into();
    Ok(document)
}

fn decoded(bytes: &[u8], encoding: Encoding, kind: &str) -> Result<(Value, Vec<String>), Status> {
    let decoded = document::decode(bytes, encoding, MAX_BODY_BYTES).map_err(|error| decode_error(&error, kind))?;
    if !decoded.value.is_object() && kind != "patch" {
        let problem = named_type(&decoded.value).err().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {problem} ({})",
            excerpt(bytes)
        )));
    }
    Ok((decoded.value, decoded.strict_errors))
}

pub(super) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn decode_error(error: &DecodeError, kind: &str) -> Status {
    match error {
        DecodeError::TooLarge { limit_bytes } => {
            Status::too_large(format!("Request entity too large: limit is {limit_bytes}"))
        }
        DecodeError::TooDeep | DecodeError::Syntax(_) if kind == "patch" => {
            Status::bad_request(format!("error decoding patch: {error}"))
        }
        DecodeError::TooDeep | DecodeError::Syntax(_) => Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {error}"
        )),
    }
}

/// Types, prunes and defaults a document of the resource; returns warnings. Those about an object of a built-in kind
/// come in the order of its `text`.
fn finish(
    resource: &Resource,
    document: &mut Value,
    mut strict: Vec<String>,
    validation: FieldValidation,
    text: Option<&[u8]>,
) -> Result<Vec<String>, Status> {
    let refused = |detail: &str| unfit(&resource.kind, &resource.version, detail);
    strict.extend(typed(resource, document).map_err(|error| refused(&error))?);
    if let Some(text) = text.filter(|_| validation != FieldValidation::Ignore) {
        strict = document::in_order_of(text, strict);
    }
    default(resource, document);
    judge(strict, validation).map_err(|strict| refused(&strict))
}

fn unfit(kind: &str, version: &str, detail: &str) -> Status {
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {detail}"))
}

fn typed(resource: &Resource, document: &mut Value) -> Result<Vec<String>, String> {
    let checked = match resource.custom {
        None => document::check(document, resource.root()),
        Some(_) => document::check_custom(document, resource.root(), object_meta()),
    };
    checked.map_err(|error| error.0)
}

fn default(resource: &Resource, document: &mut Value) {
    document::default(document, resource.root());
    versions::in_storage_form(resource, document, |document| (resource.strategy.default)(document));
}

/// What `fieldValidation` makes of unknown and duplicate fields: an error, warnings, or nothing.
pub fn judge(mut strict: Vec<String>, validation: FieldValidation) -> Result<Vec<String>, String> {
    strict.truncate(MAX_COMPLAINTS);
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(strict.into_iter().flat_map(each).collect()),
        FieldValidation::Strict if strict.is_empty() => Ok(strict),
        FieldValidation::Strict => Err(format!("strict decoding error: {}", strict.join(", "))),
    }
}

/// The decoder of YAML puts all that it finds into one text; as warnings they stand alone.
fn each(strict: String) -> Vec<String> {
    match strict.strip_prefix("yaml: unmarshal errors:\n") {
        Some(found) => found.lines().map(|line| line.trim().to_owned()).collect(),
        None => vec![strict],
    }
}

/// Brings a document that the server itself put together into canonical form.
pub fn complete(resource: &Resource, document: &mut Value) -> Result<(), Status> {
    finish(resource, document, Vec::new(), FieldValidation::Ignore, None).map(|_| ())
}

/// The same after a patch which has kept the type; returns what strict field validation complains of, or what is wrong.
pub fn complete_patched(resource: &Resource, document: &mut Value) -> Result<Vec<String>, String> {
    let strict = typed(resource, document)?;
    default(resource, document);
    Ok(strict)
}

/// Leaves of a document what the version that is stored knows, where this row is another version of a custom resource:
/// no version shows more than that, not even to who has just written it.
pub fn fit_stored(resource: &Resource, document: &mut Value) {
    let Some(stored) = &resource.storage.schema else { return };
    let of = stored.types.get(stored.root);
    if document::check_custom(document, of, object_meta()).is_ok() {
        document::default(document, of);
    }
}

/// Brings a document that was stored under another schema up to this one. What no longer fits stays as it
/// is: reading never fails for it.
pub fn renew(resource: &Resource, written_under: u64, document: &mut Value) {
    let Some(stored) = &resource.storage.schema else {
        if typed(resource, document).is_ok() {
            default(resource, document);
        }
        return;
    };
    // The defaults are those of the version that is stored; what this one does not know is left out.
    if written_under != stored.hash {
        fit_stored(resource, document);
    }
    // What does not fit has stayed.
    let _ = typed(resource, document);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

    /// An object in its envelope.
    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let part = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8][..], content].concat();
        let type_meta = [part(1, api_version.as_bytes()), part(2, kind.as_bytes())].concat();
        [b"k8s\0", &*part(1, &type_meta), &*part(2, raw)].concat()
    }

    fn headers() -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, http::HeaderValue::from_static(PROTOBUF))])
    }

    fn read(bytes: &[u8], protobuf: bool) -> Result<Value, (u16, String)> {
        let expected = Expected { api_version: "v1", kind: "ConfigMap", protobuf };
        let (mut document, _) = parse(&headers(), bytes, &expected).map_err(|status| (status.code, status.message))?;
        expect_type(&mut document, "v1", "ConfigMap").map_err(|status| (status.code, status.message))?;
        Ok(document)
    }

    #[test]
    fn protobuf_is_decoded_as_its_envelope_says() {
        let expect = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": false});
        assert_eq!(read(&body("v1", "ConfigMap", &[4 << 3, 0]), true), Ok(expect.clone()));
        assert_eq!(read(&body("", "", &[4 << 3, 0]), true), Ok(expect));
    }

    #[test]
    fn protobuf_that_is_not_wanted_is_refused() {
        let check = |bytes: &[u8], expect: &str| {
            assert_eq!(read(bytes, true), Err((400, expect.to_owned())));
        };
        check(
            &body("v1", "Nothing", &[]),
            "Nothing in version \"v1\" cannot be handled as a ConfigMap: no kind \"Nothing\" is registered for version \"v1\"",
        );
        check(
            &body("v1", "Secret", &[]),
            "Secret in version \"v1\" cannot be handled as a ConfigMap: no kind \"Secret\" is registered for this endpoint",
        );
        check(
            &body("v1", "ConfigMap", &[0x0a, 1]),
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: unexpected EOF",
        );
        check(
            b"{}",
            "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a \
             protobuf message, expected prefix [107, 56, 115, 0]",
        );
        assert_eq!(read(&body("v1", "ConfigMap", &[]), false).map_err(|(code, _)| code), Err(415));
    }

    #[test]
    fn other_versions_show_the_defaults_of_the_stored_one() {
        let version = |name: &str, storage: bool, properties: Value| {
            serde_json::json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": properties,
            }}})
        };
        let text = |default: &str| serde_json::json!({"type": "string", "default": default});
        let stored = serde_json::json!({"a": text("of v1"), "b": text("of v1"), "c": {"type": "string"}});
        let other = serde_json::json!({"a": {"type": "string"}, "c": text("of v2")});
        let definition = serde_json::json!({
            "spec": {"group": "ex.io", "versions": [version("v1", true, stored), version("v2", false, other)]},
            "status": {"acceptedNames": {"plural": "foos", "kind": "Foo", "listKind": "FooList"}},
        });
        let rows = crate::crd::row::rows(&definition, &|types| types.add(document::types::Shape::Any));
        let [stored, other] = &rows[..] else { panic!("two versions are served") };
        let check = |row: &Resource, written_under: u64, expect: Value| {
            let mut document = serde_json::json!({"x": 1});
            renew(row, written_under, &mut document);
            assert_eq!(document, expect, "{}", row.version);
        };
        check(stored, other.schema_hash, serde_json::json!({"a": "of v1", "b": "of v1"}));
        check(other, 0, serde_json::json!({"a": "of v1"}));
        check(other, stored.schema_hash, serde_json::json!({}));
    }

    #[test]
    fn evictions_are_read_in_the_version_before_too() {
        // apiVersion, kind, and what is read, or why not
        for (api_version, kind, expect) in [
            ("policy/v1", "Eviction", Ok("policy/v1")),
            ("policy/v1beta1", "Eviction", Ok("policy/v1")),
            ("policy/v1beta1", "", Ok("policy/v1")),
            ("", "", Ok("policy/v1")),
            (
                "policy/v2",
                "Eviction",
                Err(
                    "Eviction in version \"v2\" cannot be handled as a Eviction: no kind \"Eviction\" is registered for \
                     version \"policy/v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
                ),
            ),
        ] {
            let text = serde_json::json!({"apiVersion": api_version, "kind": kind}).to_string();
            let proto = body(api_version, kind, &[]);
            for (headers, bytes) in [(HeaderMap::new(), text.as_bytes()), (headers(), &proto)] {
                let read = foreign(&headers, bytes, "policy/v1", "Eviction", FieldValidation::Strict);
                let is_text = headers.is_empty();
                match (read.map_err(|status| status.message), expect) {
                    (Ok(read), Ok(version)) => assert_eq!(read.document["apiVersion"], version),
                    (Err(found), Err(message)) if is_text => assert_eq!(found, message),
                    (Err(_), Err(_)) => {}
                    (read, _) => panic!("{api_version} {kind}: {read:?}"),
                }
            }
        }
    }

    #[test]
    fn delete_options_are_read_in_any_version() {
        for api_version in ["v1", "apps/v1", "example.com/v1"] {
            let options = untyped(&headers(), &body(api_version, "DeleteOptions", &[1 << 3, 0])).expect(api_version);
            assert_eq!(options["gracePeriodSeconds"], 0);
            assert_eq!(options["kind"], "DeleteOptions");
        }
    }
}
