//! The selectors of an access review: which there may be, and what of them the authorizer is asked.

use api::{
    field::{FieldError, FieldErrors, Path},
    selector::{FieldSelector, LabelSelector},
    syntax,
};
use serde_json::Value;

use super::text;

/// The field selector as a request would send it, and what is to be said about both selectors. What cannot be
/// said in a request is dropped, which asks for more than was meant, never for less.
pub fn asked(resource: &Value) -> (String, Option<String>) {
    let (fields, field_error) = field_selector(&resource["fieldSelector"]);
    let label_error = label_error(&resource["labelSelector"]);
    let told: Vec<String> = [("fieldSelector", field_error), ("labelSelector", label_error)]
        .into_iter()
        .filter_map(|(field, problem)| Some(format!("spec.resourceAttributes.{field} {}", problem?.told())))
        .collect();
    (fields, (!told.is_empty()).then(|| told.join("; ")))
}

/// How much of a selector could not be read.
#[derive(Debug, Clone, Copy)]
enum Unread {
    All,
    Part,
}

impl Unread {
    fn of(read: usize, all: usize) -> Option<Self> {
        match read {
            read if read == all => None,
            0 => Some(Unread::All),
            _ => Some(Unread::Part),
        }
    }

    fn told(self) -> &'static str {
        match self {
            Unread::All => "ignored due to parse error",
            Unread::Part => "partially ignored due to parse error",
        }
    }
}

fn field_selector(selector: &Value) -> (String, Option<Unread>) {
    let raw = text(&selector["rawSelector"]);
    if !raw.is_empty() {
        return match FieldSelector::parse(raw) {
            Ok(_) => (raw.to_owned(), None),
            Err(_) => (String::new(), Some(Unread::All)),
        };
    }
    let mut parts = Vec::new();
    for requirement in requirements(selector) {
        let sign = match text(&requirement["operator"]) {
            "In" => "=",
            "NotIn" => "!=",
            _ => continue,
        };
        if let [value] = values(requirement) {
            let escaped = text(value).replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            parts.push(format!("{}{sign}{escaped}", text(&requirement["key"])));
        }
    }
    let unread = Unread::of(parts.len(), requirements(selector).len());
    (parts.join(","), unread)
}

/// No authorizer here looks at labels; still, who asks is told what they could not have been asked.
fn label_error(selector: &Value) -> Option<Unread> {
    let raw = text(&selector["rawSelector"]);
    if !raw.is_empty() {
        return LabelSelector::parse(raw).is_err().then_some(Unread::All);
    }
    let known =
        |requirement: &&Value| matches!(text(&requirement["operator"]), "In" | "NotIn" | "Exists" | "DoesNotExist");
    let all = requirements(selector);
    Unread::of(all.iter().filter(known).count(), all.len())
}

fn requirements(selector: &Value) -> &[Value] {
    selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn values(requirement: &Value) -> &[Value] {
    requirement["values"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What is wrong with the selectors of `resource`. An operator that nobody here knows is none of it: clients may be
/// newer than the server.
pub fn validate(resource: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["fieldSelector", "labelSelector"] {
        let selector = &resource[name];
        if selector.is_null() {
            continue;
        }
        let at = at.child(name);
        let raw = text(&selector["rawSelector"]);
        match (raw.is_empty(), requirements(selector).is_empty()) {
            (false, false) => {
                let text = "may not specified at the same time as requirements";
                errors.push(FieldError::invalid(&at.child("rawSelector"), raw, text));
            }
            (true, true) => {
                let text = format!("when {at} is specified, requirements or rawSelector is required");
                errors.push(FieldError::required(&at.child("requirements"), text));
            }
            _ => {}
        }
        for (index, requirement) in requirements(selector).iter().enumerate() {
            let at = at.child("requirements");
            validate_requirement(requirement, name == "labelSelector", &at.index(index), errors);
        }
    }
}

fn validate_requirement(requirement: &Value, is_label: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let key = text(&requirement["key"]);
    if !is_label && key.is_empty() {
        errors.push(FieldError::required(&at.child("key"), "must be specified"));
    }
    match (text(&requirement["operator"]), values(requirement)) {
        ("In" | "NotIn", []) => {
            let text = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&at.child("values"), text));
        }
        ("Exists" | "DoesNotExist", [_, ..]) => {
            let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&at.child("values"), text));
        }
        _ => {}
    }
    if !is_label {
        return;
    }
    for problem in syntax::is_qualified_name(key) {
        errors.push(FieldError::invalid(&at.child("key"), key, problem));
    }
    for (index, value) in values(requirement).iter().enumerate() {
        for problem in syntax::is_label_value(text(value)) {
            errors.push(FieldError::invalid(&at.child("values").index(index), text(value), problem));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_asked_is_told() {
        let check = |resource: Value, fields: &str, told: &str| {
            let (asked, error) = asked(&resource);
            let expect = (!told.is_empty()).then(|| format!("spec.resourceAttributes.{told} due to parse error"));
            assert_eq!((asked.as_str(), error), (fields, expect), "{resource}");
        };
        let equals = json!({"key": "spec.nodeName", "operator": "In", "values": ["n=1"]});
        let unknown = json!({"key": "a", "operator": "Gt", "values": ["1"]});
        check(json!({}), "", "");
        check(json!({"fieldSelector": {"requirements": [equals]}}), "spec.nodeName=n\\=1", "");
        check(
            json!({"fieldSelector": {"requirements": [equals, unknown]}}),
            "spec.nodeName=n\\=1",
            "fieldSelector partially ignored",
        );
        check(json!({"fieldSelector": {"rawSelector": "a"}}), "", "fieldSelector ignored");
        check(json!({"labelSelector": {"rawSelector": "!!"}}), "", "labelSelector ignored");
        check(json!({"labelSelector": {"requirements": [unknown]}}), "", "labelSelector ignored");
    }

    #[test]
    fn each_requirement_is_checked() {
        let check = |resource: Value, expect: &[&str]| {
            let mut errors = FieldErrors::new();
            validate(&resource, &Path::new("r"), &mut errors);
            let told: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.path, error.detail)).collect();
            assert_eq!(told, expect, "{resource}");
        };
        let one = |selector: &str, requirement: Value| json!({selector: {"requirements": [requirement]}});
        check(one("fieldSelector", json!({"key": "a", "operator": "New", "values": ["b"]})), &[]);
        check(
            one("fieldSelector", json!({"key": "", "operator": "In"})),
            &[
                "r.fieldSelector.requirements[0].key: must be specified",
                "r.fieldSelector.requirements[0].values: must be specified when `operator` is 'In' or 'NotIn'",
            ],
        );
        check(
            one("labelSelector", json!({"key": "a", "operator": "Exists", "values": ["b"]})),
            &[
                "r.labelSelector.requirements[0].values: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ],
        );
        check(
            json!({"labelSelector": {}}),
            &[
                "r.labelSelector.requirements: when r.labelSelector is specified, requirements or rawSelector is required",
            ],
        );
    }
}
