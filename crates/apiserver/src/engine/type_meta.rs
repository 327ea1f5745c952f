//! The type that a document names: what a body, or a patched document, must say it is.

use api::{
    field::{FieldError, Path},
    resource::Resource,
    status::{Status, Subject},
};
use serde_json::Value;

use super::decode::json_type;

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
    let path = Path::new(field);
    let error = FieldError::invalid(&path, document[field].clone(), format!("must be {expected}"));
    Status::invalid(subject, &vec![error])
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

/// What a patch that changes the type of a custom object is told.
pub fn renamed(document: &Value, field: &str, expected: &str) -> Status {
    if document[field].as_str().is_some_and(|text| !text.is_empty()) {
        return misnamed(document, field, expected);
    }
    let path = Path::new("patch");
    let (shown, name) = (document.to_string(), if field == "kind" { "Kind" } else { field });
    let detail = format!("Object '{name}' is missing in '{shown}'");
    let subject = Subject { group: "", resource: "", name: "" };
    Status::invalid(subject, &vec![FieldError::invalid(&path, shown, detail)])
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
