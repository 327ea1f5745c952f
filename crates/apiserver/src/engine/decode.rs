//! From a body to a document of its kind: decoded, typed, pruned, defaulted.

use std::sync::LazyLock;

use api::{
    resource::Resource,
    status::{Status, Subject},
};
use document::{DecodeError, Encoding, Type};
use http::{HeaderMap, header};
use serde_json::Value;

use super::{FieldValidation, Target, versions};
use crate::http::verbs::MAX_BODY_BYTES;

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
    match resource.custom {
        None => expect_type(&mut document, expected.api_version, expected.kind)?,
        Some(_) => expect_custom_type(resource, &document, bytes)?,
    }
    let warnings = finish(resource, &mut document, strict, validation)?;
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
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoding = match content_type.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" | "*/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        "application/vnd.kubernetes.protobuf" if expected.protobuf => {
            return protobuf(bytes, expected).map(|document| (document, Vec::new()));
        }
        other => {
            let protobuf = if expected.protobuf { ", application/vnd.kubernetes.protobuf" } else { "" };
            return Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: application/json, \
                 application/yaml{protobuf}; got {other:?}"
            )));
        }
    };
    decoded(bytes, encoding, expected.kind)
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
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
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
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: \
             json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
             Kind string \"json:\\\"kind,omitempty\\\"\" }} ({})",
            json_type(&decoded.value),
            excerpt(bytes)
        )));
    }
    Ok((decoded.value, decoded.strict_errors))
}

fn json_type(value: &Value) -> &'static str {
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

/// The type that the document names, where it names one, must be that of the endpoint.
fn expect_type(document: &mut Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (actual_version, actual_kind) = (text(&document["apiVersion"]), text(&document["kind"]));
    if !actual_version.is_empty() && actual_version != api_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({actual_version}) does not match the expected API version ({api_version})"
        )));
    }
    if !actual_kind.is_empty() && actual_kind != kind {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let detail = format!("no kind {actual_kind:?} is registered for this endpoint");
        return Err(Status::bad_request(format!(
            "{actual_kind} in version {version:?} cannot be handled as a {kind}: {detail}"
        )));
    }
    document["apiVersion"] = api_version.into();
    document["kind"] = kind.into();
    Ok(())
}

/// A custom object names its type itself: nothing is put in for it.
fn expect_custom_type(resource: &Resource, document: &Value, bytes: &[u8]) -> Result<(), Status> {
    let unrecognized = |problem: &str| {
        let (kind, excerpt) = (&resource.kind, excerpt(bytes));
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {problem} ({excerpt})"
        ))
    };
    for field in ["apiVersion", "kind"] {
        let value = &document[field];
        if !value.is_null() && !value.is_string() {
            return Err(unrecognized(&format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct field .{field} of \
                 type string",
                json_type(value)
            )));
        }
    }
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let (actual_version, actual_kind, expected) = (text("apiVersion"), text("kind"), resource.api_version());
    if actual_version.matches('/').count() > 1 {
        return Err(unrecognized(&format!("unexpected GroupVersion string: {actual_version}")));
    }
    if actual_kind.is_empty() {
        return Err(unrecognized(&format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(bytes))));
    }
    if actual_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({actual_version}) does not match the expected API version ({expected})"
        )));
    }
    if actual_kind != &*resource.kind {
        return Err(misnamed(document, "kind", &resource.kind));
    }
    Ok(())
}

/// `Bar.example.com "x" is invalid: kind: Invalid value: "Bar": must be Foo`, in the words of the document.
fn misnamed(document: &Value, field: &str, expected: &str) -> Status {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let api_version = text(&document["apiVersion"]);
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let (kind, name) = (text(&document["kind"]), text(&document["metadata"]["name"]));
    let subject = Subject { group, resource: &kind, name: &name };
    let path = api::field::Path::new(field);
    let error = api::field::FieldError::invalid(&path, document[field].clone(), format!("must be {expected}"));
    Status::invalid(subject, &vec![error])
}

/// The beginning of a body, as messages show it.
fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let (start, dots) = if bytes.len() > SHOWN { (&bytes[..SHOWN], " ...") } else { (bytes, "") };
    match start.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{dots}", String::from_utf8_lossy(start)),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).chain([dots.to_owned()]).collect(),
    }
}

/// Types, prunes and defaults a document of the resource; returns warnings.
fn finish(
    resource: &Resource,
    document: &mut Value,
    mut strict: Vec<String>,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    let refused = |detail: &str| unfit(&resource.kind, &resource.version, detail);
    strict.extend(typed(resource, document).map_err(|error| refused(&error))?);
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
fn judge(strict: Vec<String>, validation: FieldValidation) -> Result<Vec<String>, String> {
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(strict),
        FieldValidation::Strict if strict.is_empty() => Ok(strict),
        FieldValidation::Strict => Err(format!("strict decoding error: {}", strict.join(", "))),
    }
}

/// [`judge`] for duplicates found in a patch, before there is a document to speak of.
pub fn judge_patch(strict: Vec<String>, validation: FieldValidation) -> Result<Vec<String>, Status> {
    judge(strict, validation).map_err(Status::bad_request)
}

/// Brings a document that the server itself put together into canonical form.
pub fn complete(resource: &Resource, document: &mut Value) -> Result<(), Status> {
    finish(resource, document, Vec::new(), FieldValidation::Ignore).map(|_| ())
}

/// The same after a patch, whose mistakes are its sender's; returns warnings.
pub fn complete_patched(
    target: &Target,
    document: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    let resource = &target.resource;
    if !document.is_object() {
        return Err(Status::bad_request("the patch does not leave an object"));
    }
    let kept = [("kind", resource.kind.to_string()), ("apiVersion", resource.api_version())];
    for (field, expected) in kept {
        if document[field] != *expected {
            if resource.custom.is_some() {
                return Err(renamed(document, field, &expected));
            }
            return Err(Status::bad_request(format!("{field} cannot be changed by a patch: it is {expected:?}")));
        }
    }
    let as_error = |detail: String| {
        let name = target.name.as_str();
        let path = api::field::Path::new("patch");
        let error = api::field::FieldError::invalid(&path, "", detail);
        Status::invalid(Subject { group: &resource.group, resource: &resource.kind, name }, &vec![error])
    };
    let strict = typed(resource, document).map_err(&as_error)?;
    default(resource, document);
    judge(strict, validation).map_err(|strict| match validation {
        FieldValidation::Strict => Status::bad_request(strict),
        _ => as_error(strict),
    })
}

/// What a patch that changes the type of a custom object is told.
fn renamed(document: &Value, field: &str, expected: &str) -> Status {
    if document[field].as_str().is_some_and(|text| !text.is_empty()) {
        return misnamed(document, field, expected);
    }
    let path = api::field::Path::new("patch");
    let (shown, name) = (document.to_string(), if field == "kind" { "Kind" } else { field });
    let detail = format!("Object '{name}' is missing in '{shown}'");
    let subject = Subject { group: "", resource: "", name: "" };
    Status::invalid(subject, &vec![api::field::FieldError::invalid(&path, shown, detail)])
}

/// Brings a document that was stored under another schema up to this one. What no longer fits stays as it
/// is: reading never fails for it.
pub fn renew(resource: &Resource, document: &mut Value) {
    if typed(resource, document).is_ok() {
        default(resource, document);
    }
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
    fn bodies_are_shown_by_their_beginning() {
        let check = |bytes: &[u8], expect: &str| assert_eq!(excerpt(bytes), expect);
        check(b"", "<empty>");
        check(b"{\"a\": 1}", "{\"a\": 1}");
        check(br#"{"apiVersion": "ex.io/v1", "metadata": {}}"#, r#"{"apiVersion": "ex.io/v1", "me ..."#);
        check(b"[1]", "5b315d");
    }

    #[test]
    fn custom_objects_name_their_type() {
        let definition = serde_json::json!({
            "spec": {"group": "ex.io", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"}, "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}},
            ]},
            "status": {"acceptedNames": {"plural": "foos", "kind": "Foo", "listKind": "FooList"}},
        });
        let row = crate::crd::row::rows(&definition, &|types| types.add(document::types::Shape::Any)).remove(0);
        let check = |body: &str, expect: Option<(u16, &str)>| {
            let document = serde_json::from_str(body).expect(body);
            let found =
                expect_custom_type(&row, &document, body.as_bytes()).map_err(|status| (status.code, status.message));
            assert_eq!(found.err().as_ref().map(|(code, message)| (*code, message.as_str())), expect, "{body}");
        };
        check(r#"{"apiVersion":"ex.io/v1","kind":"Foo"}"#, None);
        let start = "the object provided is unrecognized (must be of type Foo): ";
        let missing = format!("{start}Object 'Kind' is missing in '{{\"a\":1}}' ({{\"a\":1}})");
        check(r#"{"a":1}"#, Some((400, &missing)));
        let typed = format!(
            "{start}couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string ({{\"kind\":3}})"
        );
        check(r#"{"kind":3}"#, Some((400, &typed)));
        let version = "the API version in the data () does not match the expected API version (ex.io/v1)";
        check(r#"{"kind":"Foo"}"#, Some((400, version)));
        let other = "the API version in the data (ex.io/v2) does not match the expected API version (ex.io/v1)";
        check(r#"{"kind":"Foo","apiVersion":"ex.io/v2"}"#, Some((400, other)));
        check(
            r#"{"kind":"Bar","apiVersion":"ex.io/v1","metadata":{"name":"x"}}"#,
            Some((422, "Bar.ex.io \"x\" is invalid: kind: Invalid value: \"Bar\": must be Foo")),
        );
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
