//! The type that a document names: what a body, or a patched document, must say it is.

use api::{
    field::{FieldError, Path},
    resource::Resource,
    status::{Status, Subject},
};
use serde_json::Value;

use super::{Target, decode::json_type};

/// The type that the document names, where it names one, must be that of the endpoint.
pub fn expect_type(document: &mut Value, api_version: &str, kind: &str) -> Result<(), Status> {
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
pub fn expect_custom_type(resource: &Resource, document: &Value, bytes: &[u8]) -> Result<(), Status> {
    let unrecognized = |problem: &str| {
        let (kind, excerpt) = (&resource.kind, excerpt(bytes));
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {problem} ({excerpt})"
        ))
    };
    let (actual_version, actual_kind) = named_type(document).map_err(|problem| unrecognized(&problem))?;
    let expected = resource.api_version();
    if actual_kind.is_empty() {
        return Err(unrecognized(&format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(bytes))));
    }
    if actual_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({actual_version}) does not match the expected API version ({expected})"
        )));
    }
    same_custom_type(resource, document)
}

/// The beginning of a body, as messages show it.
pub fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let (start, dots) = if bytes.len() > SHOWN { (&bytes[..SHOWN], " ...") } else { (bytes, "") };
    match start.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{dots}", String::from_utf8_lossy(start)),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).chain([dots.to_owned()]).collect(),
    }
}

/// What a document says that it is; the error is worded as Go words it. What is left out is empty.
pub fn named_type(document: &Value) -> Result<(&str, &str), String> {
    let unread = |found: &Value, place: &str| {
        let found = json_type(found);
        format!("couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go {place}")
    };
    if !document.is_object() {
        return Err(unread(
            document,
            "value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
             Kind string \"json:\\\"kind,omitempty\\\"\" }",
        ));
    }
    for field in ["apiVersion", "kind"] {
        let value = &document[field];
        if !value.is_null() && !value.is_string() {
            return Err(unread(value, &format!("struct field .{field} of type string")));
        }
    }
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let api_version = text("apiVersion");
    if api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    Ok((api_version, text("kind")))
}

/// Why an object of this type cannot be where another built-in one is meant; `Err` where there is no such type.
pub fn mistaken(api_version: &str, kind: &str, meant: &Resource) -> Result<String, String> {
    expect_registered(api_version, kind)?;
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let package = meant.group.split('.').next().filter(|package| !package.is_empty()).unwrap_or("core");
    let meant = &meant.kind;
    Ok(format!("converting ({version}.{kind}) to ({package}.{meant}): unknown conversion"))
}

pub fn expect_registered(api_version: &str, kind: &str) -> Result<(), String> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let name = api::builtin::type_name(group, version, kind);
    if name.is_some_and(|name| api::builtin::types().named(&name).is_some()) {
        return Ok(());
    }
    let scheme = "pkg/api/legacyscheme/scheme.go:30";
    Err(format!("no kind {kind:?} is registered for version {api_version:?} in scheme {scheme:?}"))
}

/// The type that is left by a patch must be what it was. Kubernetes' own are read as that where no kind is named, and a
/// strategic patch cannot touch their type at all (`keeps`).
pub fn expect_kept_type(target: &Target, document: &mut Value, keeps: bool) -> Result<(), Status> {
    let resource = &target.resource;
    let expected = resource.api_version();
    if keeps && document.is_object() {
        document["apiVersion"] = expected.into();
        document["kind"] = (*resource.kind).into();
        return Ok(());
    }
    let broken = |detail: String| {
        let subject = Subject { group: "", resource: "", name: "" };
        Status::invalid(subject, &vec![FieldError::invalid(&Path::new("patch"), document.to_string(), detail)])
    };
    let (api_version, kind) = named_type(document).map_err(broken)?;
    if resource.custom.is_some() {
        if kind.is_empty() {
            return Err(broken(format!("Object 'Kind' is missing in '{document}'")));
        }
        if api_version.is_empty() {
            let missing = "Object 'apiVersion' is missing in 'object has no apiVersion field'";
            return Err(Status::internal(missing));
        }
        return same_custom_type(resource, document);
    }
    if api_version.is_empty() {
        // Read as the internal version, which knows no field by its name.
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            target.name
        )));
    }
    if api_version == expected && kind.is_empty() {
        document["kind"] = (*resource.kind).into();
    } else if (api_version, kind) != (expected.as_str(), &*resource.kind) {
        return Err(broken(mistaken(api_version, kind, resource).unwrap_or_else(|detail| detail)));
    }
    Ok(())
}

/// That of a custom object which names one, in the words of the document.
pub fn same_custom_type(resource: &Resource, document: &Value) -> Result<(), Status> {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let expected = [("kind", resource.kind.to_string()), ("apiVersion", resource.api_version())];
    let errors: Vec<FieldError> = expected
        .into_iter()
        .filter(|(field, expected)| text(field) != expected)
        .map(|(field, expected)| {
            FieldError::invalid(&Path::new(field), document[field].clone(), format!("must be {expected}"))
        })
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    Err(Status::invalid(Subject { group, resource: text("kind"), name }, &errors))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
