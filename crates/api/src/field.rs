//! Field errors: what is wrong with a document, and where. The words are those of Kubernetes
//! (apimachinery, `util/validation/field`), because users and tools match on them.

use std::fmt::{self, Display, Write};

use serde_json::Value;

/// What of one value, or of what is said of it, a message shows. Upstream shows all; nobody reads more.
const MAX_SHOWN_BYTES: usize = 10 * 1024;
/// Stands where something was left out.
pub const CUT: &str = "... (cut short)";

/// All errors of one validation; validation never stops at the first.
pub type FieldErrors = Vec<FieldError>;

/// One wrong field. Displays as Kubernetes prints it:
/// `spec.replicas: Invalid value: -1: must be greater than or equal to 0`.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    pub reason: Reason,
    /// `spec.containers[0].name`, `metadata.labels[app]`.
    pub path: String,
    /// The refused value, where the message shows it.
    pub value: Option<Value>,
    pub detail: String,
}

/// The `reason` of a `StatusCause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl Reason {
    /// The word in `status.details.causes[].reason`.
    pub fn cause(self) -> &'static str {
        match self {
            Reason::NotFound => "FieldValueNotFound",
            Reason::Required => "FieldValueRequired",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::Invalid => "FieldValueInvalid",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::TooLong => "FieldValueTooLong",
            Reason::TooMany => "FieldValueTooMany",
            Reason::Internal => "InternalError",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn phrase(self) -> &'static str {
        match self {
            Reason::NotFound => "Not found",
            Reason::Required => "Required value",
            Reason::Duplicate => "Duplicate value",
            Reason::Invalid | Reason::TypeInvalid => "Invalid value",
            Reason::NotSupported => "Unsupported value",
            Reason::Forbidden => "Forbidden",
            Reason::TooLong => "Too long",
            Reason::TooMany => "Too many",
            Reason::Internal => "Internal error",
        }
    }
}

impl FieldError {
    fn new(reason: Reason, path: &Path<'_>, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { reason, path: path.to_string(), value, detail: detail.into() }
    }

    pub fn required(path: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(Reason::Required, path, None, detail)
    }

    pub fn invalid(path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Reason::Invalid, path, Some(value.into()), detail)
    }

    pub fn type_invalid(path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Reason::TypeInvalid, path, Some(value.into()), detail)
    }

    pub fn duplicate(path: &Path<'_>, value: impl Into<Value>) -> Self {
        Self::new(Reason::Duplicate, path, Some(value.into()), "")
    }

    pub fn not_found(path: &Path<'_>, value: impl Into<Value>) -> Self {
        Self::new(Reason::NotFound, path, Some(value.into()), "")
    }

    pub fn forbidden(path: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(Reason::Forbidden, path, None, detail)
    }

    /// `supported values: "A", "B"`.
    pub fn not_supported(path: &Path<'_>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|word| format!("{word:?}")).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        Self::new(Reason::NotSupported, path, Some(value.into()), detail)
    }

    /// The value itself is never shown: it is long.
    pub fn too_long(path: &Path<'_>, max_bytes: usize) -> Self {
        let plural = if max_bytes == 1 { "byte" } else { "bytes" };
        Self::new(Reason::TooLong, path, None, format!("may not be more than {max_bytes} {plural}"))
    }

    pub fn too_many(path: &Path<'_>, actual: usize, max: usize) -> Self {
        let plural = if max == 1 { "item" } else { "items" };
        Self::new(Reason::TooMany, path, Some(actual.into()), format!("must have at most {max} {plural}"))
    }

    pub fn internal(path: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(Reason::Internal, path, None, detail)
    }

    /// The error without its path: the `message` of a `StatusCause`.
    pub fn body(&self) -> String {
        let mut text = self.reason.phrase().to_owned();
        match (&self.value, self.reason) {
            (None, _) | (_, Reason::Required | Reason::Forbidden | Reason::TooLong | Reason::Internal) => {}
            (Some(value), _) => {
                text.push_str(": ");
                write_within(&mut text, Shown(value));
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            write_within(&mut text, &self.detail);
        }
        text
    }
}

impl Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// Writes as much as is shown, and does not go on with what is not.
fn write_within(text: &mut String, shown: impl Display) {
    struct Within<'t>(&'t mut String, usize);
    impl Write for Within<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            let fits = part.floor_char_boundary(self.1);
            self.0.push_str(&part[..fits]);
            self.1 -= fits;
            if fits < part.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    if write!(Within(text, MAX_SHOWN_BYTES), "{shown}").is_err() {
        text.push_str(CUT);
    }
}

/// A value as Go's `%v`/`%q` show it in a field error: strings quoted, the rest as JSON.
struct Shown<'a>(&'a Value);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => write!(f, "{text:?}"),
            Value::Null => f.write_str("null"),
            other => write!(f, "{other}"),
        }
    }
}

/// Where in a document one is: a list on the stack, so that descending costs nothing and a string is
/// made only for an error.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Key(&'a str),
    Index(usize),
    Root,
}

impl<'a> Path<'a> {
    /// The document itself; prints as `<nil>` on its own, as in Kubernetes, and as nothing before a field.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub fn new(field: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Field(field) }
    }

    pub fn child(&'a self, field: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(field) }
    }

    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.filter(|parent| !matches!(parent.step, Step::Root));
        if let Some(parent) = parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => f.write_str("<nil>"),
            Step::Field(name) if parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Key(key) => write!(f, "[{key}]"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_in_kubernetes() {
        let spec = Path::new("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        let metadata = Path::new("metadata");
        let labels = metadata.child("labels");
        let check = |error: FieldError, expect: &str| assert_eq!(error.to_string(), expect);
        check(FieldError::required(&first.child("name"), ""), "spec.containers[0].name: Required value");
        check(
            FieldError::invalid(&spec.child("replicas"), -1, "must be greater than or equal to 0"),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        );
        check(
            FieldError::not_supported(&spec.child("type"), "Foo", &["ClusterIP", "NodePort"]),
            r#"spec.type: Unsupported value: "Foo": supported values: "ClusterIP", "NodePort""#,
        );
        check(
            FieldError::too_long(&labels.key("a/b"), 63),
            "metadata.labels[a/b]: Too long: may not be more than 63 bytes",
        );
        check(FieldError::duplicate(&first.child("name"), "a"), r#"spec.containers[0].name: Duplicate value: "a""#);
    }

    #[test]
    fn what_is_too_long_to_read_is_cut() {
        let spec = Path::new("spec");
        let long = "ö".repeat(MAX_SHOWN_BYTES);
        let shown = "ö".repeat(MAX_SHOWN_BYTES / 2 - 1);
        for (value, expect) in [
            (Value::from(long.as_str()), format!("\"{shown}")),
            (Value::from(vec![long.as_str(); 3]), format!("[\"{shown}")),
            (Value::from(vec![0; MAX_SHOWN_BYTES]), format!("[{}0", "0,".repeat(MAX_SHOWN_BYTES / 2 - 1))),
        ] {
            let error = FieldError::invalid(&spec, value, long.as_str());
            assert_eq!(error.body(), format!("Invalid value: {expect}{CUT}: ö{shown}{CUT}"));
        }
        let fits = "x".repeat(MAX_SHOWN_BYTES - 2);
        assert_eq!(FieldError::duplicate(&spec, fits.as_str()).body(), format!("Duplicate value: {fits:?}"));
    }
}
