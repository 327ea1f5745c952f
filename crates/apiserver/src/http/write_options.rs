//! The options of writes: `CreateOptions`, `UpdateOptions`, `PatchOptions`, `DeleteOptions`. Whatever is wrong
//! with them is told at once.

use api::{
    field::{FieldError, FieldErrors, Path},
    status::{Status, Subject},
};
use serde_json::{Value, json};

use super::query::Query;
use crate::engine::{FieldValidation, delete::DeleteOptions};

pub const MAX_MANAGER_LENGTH: usize = 128;
const DRY_RUN: &str = "All";

/// What the query of a create, an update or a patch says.
#[derive(Debug)]
pub struct WriteOptions<'q> {
    kind: &'static str,
    /// Empty where none is named.
    pub manager: &'q str,
    pub dry_run: bool,
    pub validation: FieldValidation,
    field_validation: &'q str,
}

/// The kind of the options that go with a verb.
pub fn options_kind(verb: &str) -> &'static str {
    match verb {
        "create" => "CreateOptions",
        "patch" => "PatchOptions",
        "delete" | "deletecollection" => DELETE_OPTIONS,
        _ => "UpdateOptions",
    }
}

const DELETE_OPTIONS: &str = "DeleteOptions";

impl<'q> WriteOptions<'q> {
    pub fn parse(query: &'q Query, kind: &'static str) -> Result<Self, Status> {
        let mut errors = FieldErrors::new();
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        let mut asked = Self {
            kind,
            manager: "",
            dry_run: !dry_run.is_empty(),
            validation: FieldValidation::Warn,
            field_validation: "",
        };
        // Options of a delete have neither manager nor validation.
        if kind != DELETE_OPTIONS {
            asked.manager = query.text("fieldManager").unwrap_or_default();
            asked.field_validation = query.text("fieldValidation").unwrap_or_default();
            check_manager(asked.manager, &mut errors);
        }
        check_dry_run(&dry_run, &mut errors);
        match asked.field_validation {
            "" | "Warn" => {}
            "Strict" => asked.validation = FieldValidation::Strict,
            "Ignore" => asked.validation = FieldValidation::Ignore,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                errors.push(FieldError::not_supported(&Path::new("fieldValidation"), other, &supported));
            }
        }
        refuse(kind, &errors)?;
        Ok(asked)
    }

    /// The options as admission is shown them: a patch is one way to update.
    pub fn to_value(&self) -> Value {
        let kind = if self.kind == "PatchOptions" { "UpdateOptions" } else { self.kind };
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        for (name, value) in [("fieldManager", self.manager), ("fieldValidation", self.field_validation)] {
            if !value.is_empty() {
                options[name] = value.into();
            }
        }
        if self.dry_run {
            options["dryRun"] = json!([DRY_RUN]);
        }
        options
    }
}

/// The options of a delete: its body, or where there is none (Null) the query. A dry run is one whichever says so,
/// so that nothing goes that was not to.
pub fn delete(query: &Query, mut body: Value) -> Result<DeleteOptions, Status> {
    if body["kind"].as_str().is_some_and(|kind| kind != DELETE_OPTIONS) {
        return Err(Status::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions: it is a {}",
            body["kind"]
        )));
    }
    check_types(&body)?;
    if body.is_null() {
        let asked = [
            ("gracePeriodSeconds", query.integer("gracePeriodSeconds")?.map(Value::from)),
            ("propagationPolicy", query.text("propagationPolicy").map(Value::from)),
            ("orphanDependents", query.boolean("orphanDependents").map(Value::from)),
        ];
        body = asked.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))).collect();
    }
    let words: Vec<&str> = body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut errors = FieldErrors::new();
    check_dry_run(&words, &mut errors);
    let asked: Vec<&str> = query.all("dryRun").collect();
    check_dry_run(&asked, &mut errors);
    refuse(DELETE_OPTIONS, &errors)?;
    let mut options = DeleteOptions::parse(&body)?;
    options.dry_run |= !asked.is_empty();
    Ok(options)
}

/// Name, the type that refusals name, and whether a value is of it.
type FieldType = (&'static str, &'static str, fn(&Value) -> bool);

/// A field of the wrong type is refused, not passed over: the object would go in a way that was not meant.
fn check_types(body: &Value) -> Result<(), Status> {
    let fits: [FieldType; 5] = [
        ("gracePeriodSeconds", "int64", Value::is_i64),
        ("propagationPolicy", "v1.DeletionPropagation", Value::is_string),
        ("orphanDependents", "bool", Value::is_boolean),
        ("preconditions", "v1.Preconditions", Value::is_object),
        ("dryRun", "[]string", |value| value.as_array().is_some_and(|words| words.iter().all(Value::is_string))),
    ];
    for (field, of, fits) in fits {
        let value = &body[field];
        if !value.is_null() && !fits(value) {
            let found = match value {
                Value::String(_) => "string",
                Value::Number(_) => "number",
                Value::Bool(_) => "bool",
                Value::Array(_) => "array",
                _ => "object",
            };
            return Err(Status::bad_request(format!(
                "json: cannot unmarshal {found} into Go struct field DeleteOptions.{field} of type {of}"
            )));
        }
    }
    Ok(())
}

fn check_manager(manager: &str, errors: &mut FieldErrors) {
    let path = Path::new("fieldManager");
    if manager.len() > MAX_MANAGER_LENGTH {
        errors.push(FieldError::too_long(&path, MAX_MANAGER_LENGTH));
    }
    for (at, letter) in manager.char_indices() {
        let is_printable = !letter.is_control() && (letter == ' ' || !letter.is_whitespace());
        if !is_printable {
            let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(letter));
            errors.push(FieldError::invalid(&path, manager, detail));
        }
    }
}

fn check_dry_run(words: &[&str], errors: &mut FieldErrors) {
    if words.iter().any(|word| *word != DRY_RUN) {
        errors.push(FieldError::not_supported(&Path::new("dryRun"), json!(words), &[DRY_RUN]));
    }
}

fn refuse(kind: &str, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(Subject { group: "meta.k8s.io", resource: kind, name: "" }, errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let check = |kind, query: &str, expect: &str| {
            let query = Query::parse(query);
            let told = WriteOptions::parse(&query, kind).map_err(|status| status.message);
            let expect =
                if expect.is_empty() { Ok(()) } else { Err(format!("{kind}.meta.k8s.io \"\" is invalid: {expect}")) };
            assert_eq!(told.map(|_| ()), expect, "{query:?}");
        };
        check("CreateOptions", "dryRun=All&fieldManager=me&fieldValidation=Strict", "");
        check("DeleteOptions", "fieldManager=%01&fieldValidation=foo", "");
        check("CreateOptions", "dryRun=", "dryRun: Unsupported value: [\"\"]: supported values: \"All\"");
        check(
            "PatchOptions",
            "dryRun=All&dryRun=x&fieldValidation=strict",
            "[dryRun: Unsupported value: [\"All\",\"x\"]: supported values: \"All\", fieldValidation: Unsupported value: \
             \"strict\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"]",
        );
        check(
            "UpdateOptions",
            "fieldManager=a%E2%80%A8b",
            "fieldManager: Invalid value: \"a\\u{2028}b\": invalid character U+2028 (at position 1)",
        );
    }

    #[test]
    fn a_delete_takes_its_body_or_else_its_query() {
        let options = |query: &str, body: Value| delete(&Query::parse(query), body).map_err(|status| status.message);
        let both = options("gracePeriodSeconds=5&dryRun=All", json!({"gracePeriodSeconds": 7})).unwrap();
        assert_eq!((both.grace_period_seconds, both.dry_run), (Some(7), true));
        assert_eq!(options("gracePeriodSeconds=5", Value::Null).unwrap().grace_period_seconds, Some(5));
        assert_eq!(options("gracePeriodSeconds=x", json!({})).unwrap().grace_period_seconds, None);
        let wrong = options("", json!({"dryRun": "All"})).unwrap_err();
        assert_eq!(wrong, "json: cannot unmarshal string into Go struct field DeleteOptions.dryRun of type []string");
        assert!(options("gracePeriodSeconds=abc", Value::Null).is_err());
        assert!(options("", json!({"kind": "Pod"})).is_err());
    }
}
