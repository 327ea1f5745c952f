//! What a request line says: its target and its selectors.

use api::selector::{FieldSelector, LabelSelector};
use apiserver::http::{
    query::Query,
    target::{Target, resolve},
};
use http::{Method, Uri};

/// Canonical text parses to the same selector.
pub fn label_selector(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector.clone()));
        selector.matches([("a", "b"), ("c", "1"), ("example.com/x", "")]);
    }
}

/// Canonical text parses to the same selector.
pub fn field_selector(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(selector) = FieldSelector::parse(text) {
        assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
    }
}

/// The input is a method and a URI. A request for a resource says what it wants and of which.
pub fn request_target(bytes: &[u8]) {
    let Some((method, uri)) = str::from_utf8(bytes).ok().and_then(|text| text.split_once(' ')) else { return };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), uri.parse::<Uri>()) else { return };
    let query = Query::parse(uri.query().unwrap_or_default());
    for name in ["watch", "pretty"] {
        assert_eq!(query.boolean(name).unwrap_or_default(), query.is_true(name));
    }
    let _ = query.integer("limit");
    if let Target::Resource(target) = resolve(&method, uri.path(), &query) {
        assert!(!target.resource.is_empty(), "{uri}");
        assert!(!target.subresource.is_empty() || target.rest.is_empty(), "{uri}");
    }
}
