//! `metav1.Status`: the form in which every refusal reaches a client. This is the one place where a
//! decision becomes an HTTP code (apimachinery, `pkg/api/errors`).

use std::{borrow::Cow, collections::HashSet};

use serde_json::{Value, json};

use crate::field::{CUT, FieldError, FieldErrors};

/// What a refusal says in its message, and in its causes once more. Upstream says all.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// What a cause takes beside its texts.
const CAUSE_BYTES: usize = 64;

/// A refusal: HTTP code, machine-readable reason, human-readable message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    pub code: u16,
    /// A word of Kubernetes', or of a webhook.
    pub reason: Cow<'static, str>,
    pub message: String,
    /// `status.details`, without the parts that are absent.
    pub details: Option<Box<Value>>,
    pub retry_after_seconds: Option<u32>,
    /// `metadata` of the status: a continue token that may be used instead.
    pub metadata: Option<Box<Value>>,
    /// What the client is told beside the refusal, as `Warning` headers.
    pub warnings: Vec<String>,
}

/// What a message names: `pods "nginx"`, `deployments.apps "web"`.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub group: &'a str,
    /// The plural resource, or the kind for `invalid`.
    pub resource: &'a str,
    pub name: &'a str,
}

impl Subject<'_> {
    fn qualified(&self) -> String {
        if self.group.is_empty() { self.resource.to_owned() } else { format!("{}.{}", self.resource, self.group) }
    }

    fn details(&self) -> Value {
        let mut details = serde_json::Map::new();
        for (key, value) in [("name", self.name), ("group", self.group), ("kind", self.resource)] {
            if !value.is_empty() {
                details.insert(key.to_owned(), value.into());
            }
        }
        Value::Object(details)
    }
}

impl Status {
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            retry_after_seconds: None,
            metadata: None,
            warnings: Vec::new(),
        }
    }

    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    fn about(mut self, subject: Subject<'_>) -> Self {
        self.details = Some(Box::new(subject.details()));
        self
    }

    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    pub fn with_metadata(mut self, metadata: Value) -> Self {
        self.metadata = Some(Box::new(metadata));
        self
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn forbidden(subject: Subject<'_>, detail: impl AsRef<str>) -> Self {
        let named = match (subject.resource, subject.name) {
            ("", _) => "forbidden".to_owned(),
            (_, "") => format!("{} is forbidden", subject.qualified()),
            _ => format!("{} {:?} is forbidden", subject.qualified(), subject.name),
        };
        Self::new(403, "Forbidden", format!("{named}: {}", detail.as_ref())).about(subject)
    }

    pub fn not_found(subject: Subject<'_>) -> Self {
        Self::new(404, "NotFound", format!("{} {:?} not found", subject.qualified(), subject.name)).about(subject)
    }

    /// A path that names nothing that is served.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with_details(json!({}))
    }

    pub fn method_not_supported(subject: Subject<'_>, verb: &str) -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            format!("{verb} is not supported on resources of kind {:?}", subject.qualified()),
        )
        .about(subject)
    }

    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    pub fn already_exists(subject: Subject<'_>) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {:?} already exists", subject.qualified(), subject.name))
            .about(subject)
    }

    pub fn conflict(subject: Subject<'_>, detail: impl AsRef<str>) -> Self {
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {} {:?}: {}", subject.qualified(), subject.name, detail.as_ref()),
        )
        .about(subject)
    }

    /// A write with a stale resourceVersion.
    pub fn modified(subject: Subject<'_>) -> Self {
        Self::conflict(
            subject,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// A revision that history no longer holds.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// `subject.resource` is the kind here, as in Kubernetes: `Pod "x" is invalid`.
    pub fn invalid(subject: Subject<'_>, errors: &FieldErrors) -> Self {
        let (told, left) = within(errors);
        let causes: Vec<Value> = told
            .iter()
            .map(|(error, body)| json!({"reason": error.reason.cause(), "message": body, "field": error.path}))
            .collect();
        let (mut texts, mut known) = (Vec::new(), HashSet::new());
        for (error, body) in &told {
            if known.insert((&error.path, body)) {
                texts.push(format!("{}: {body}", error.path));
            }
        }
        if left > 0 {
            texts.push(format!("and {left} more errors"));
        }
        let all = if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) };
        let mut details = subject.details();
        details["causes"] = causes.into();
        let kind = subject.qualified();
        let message = if errors.is_empty() {
            format!("{kind} {:?} is invalid", subject.name)
        } else {
            format!("{kind} {:?} is invalid: {all}", subject.name)
        };
        Self::new(422, "Invalid", message).with_details(details)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut status =
            Self::new(429, "TooManyRequests", message).with_details(json!({"retryAfterSeconds": retry_after_seconds}));
        status.retry_after_seconds = Some(retry_after_seconds);
        status
    }

    pub fn internal(message: impl AsRef<str>) -> Self {
        let message = message.as_ref();
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
            .with_details(json!({"causes": [{"message": message}]}))
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// The document that is sent. However long what it names, that is bounded.
    pub fn to_value(&self) -> Value {
        let shown = &self.message[..self.message.floor_char_boundary(2 * MAX_TEXT_BYTES)];
        let message = if shown.len() < self.message.len() { format!("{shown}{CUT}").into() } else { Cow::from(shown) };
        let mut document = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            document["reason"] = (&*self.reason).into();
        }
        if let Some(details) = &self.details {
            document["details"] = (**details).clone();
            if let Some(Value::Array(causes)) = document.pointer_mut("/details/causes") {
                causes.truncate(causes_within(causes));
            }
        }
        if let Some(metadata) = &self.metadata {
            document["metadata"] = (**metadata).clone();
        }
        document
    }
}

/// The errors that are told, with their words, and how many are left.
fn within(errors: &[FieldError]) -> (Vec<(&FieldError, String)>, usize) {
    let mut told = Vec::new();
    let mut bytes = 0;
    for error in errors {
        let body = error.body();
        bytes += CAUSE_BYTES + error.path.len() + body.len();
        if bytes > MAX_TEXT_BYTES && !told.is_empty() {
            break;
        }
        told.push((error, body));
    }
    let left = errors.len() - told.len();
    (told, left)
}

/// How many causes are told. Those of field errors are few already; an apply may be at odds over thousands of fields.
fn causes_within(causes: &[Value]) -> usize {
    let mut bytes = 0;
    let sizes = causes.iter().map(|cause| {
        let texts = cause.as_object().into_iter().flatten().filter_map(|(_, text)| text.as_str());
        CAUSE_BYTES + texts.map(str::len).sum::<usize>()
    });
    let fits = |size: &usize| {
        bytes += size;
        bytes <= 2 * MAX_TEXT_BYTES
    };
    sizes.take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn a_refusal_is_bounded_however_much_is_wrong() {
        let spec = Path::new("spec");
        let subject = Subject { group: "", resource: "Pod", name: "web" };
        let errors: FieldErrors =
            (0..50_000).map(|number| FieldError::invalid(&spec.index(number), number, "must be else")).collect();
        let status = Status::invalid(subject, &errors);
        let causes = status.to_value()["details"]["causes"].as_array().unwrap().len();
        assert!((300..1000).contains(&causes), "{causes}");
        let end = format!("and {} more errors]", 50_000 - causes);
        assert!(status.message.len() < 2 * MAX_TEXT_BYTES && status.message.ends_with(&end));

        let large: FieldErrors =
            (0..9).map(|_| FieldError::invalid(&spec, "x".repeat(1_000_000), "field is immutable")).collect();
        for status in [
            Status::invalid(subject, &large),
            Status::bad_request("x".repeat(1_000_000)),
            Status::conflict(subject, "").with_details(json!({"causes": vec![json!({"message": "x"}); 1_000_000]})),
        ] {
            let length = status.to_value().to_string().len();
            assert!(length < 400_000, "{} {length}", status.code);
        }
        let message = Status::invalid(subject, &large[..1].to_vec()).message;
        assert!(message.ends_with("(cut short): field is immutable"));
    }
}
