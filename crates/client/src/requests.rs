//! The requests parts make: JSON in, views out, and errors by what a caller does about them.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Key, Kind};

/// Why a request came to nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// The server refused, with its `Status`.
    #[error("{message}")]
    Refused {
        code: u16,
        reason: Box<str>,
        /// The first of the causes it gives, mostly none: `NamespaceTerminating`.
        cause: Box<str>,
        message: Box<str>,
        /// When the server asks to be asked again.
        retry_after: Option<Duration>,
    },
    /// No answer, or none that can be read: whether a write took place is not known.
    #[error("no answer from the server: {0}")]
    Unanswered(String),
}

impl ApiError {
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused { reason, .. } => reason,
            Self::Unanswered(_) => "",
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.reason() == "NotFound"
    }

    /// The path is not served: the kind is not there, or not any more. That says nothing of an object.
    pub fn is_unserved(&self) -> bool {
        matches!(self, Self::Refused { code: 404, reason, .. } if reason.is_empty())
    }

    /// There is an object of that name already.
    pub fn is_taken(&self) -> bool {
        self.reason() == "AlreadyExists"
    }

    /// Whether it took place is not known: there was no answer, or only one of somebody on the way (502, 504).
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unanswered(_) | Self::Refused { code: 502 | 504, .. })
    }

    /// The server is away, or says that it is too early (too much to do, a disruption budget that is spent): what is asked
    /// may be quite in order, and an answer to it may come soon.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unanswered(_) | Self::Refused { code: 429 | 502..=504, .. })
    }

    /// The object is another, or in another state, than the request says.
    pub fn is_conflict(&self) -> bool {
        self.reason() == "Conflict"
    }

    /// The namespace is being deleted: whatever was to be made in it is not, then or later.
    pub fn is_of_ending_namespace(&self) -> bool {
        matches!(self, Self::Refused { cause, .. } if **cause == *"NamespaceTerminating")
    }

    /// The kind does not take patches of this form.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Refused { code: 415, .. })
    }

    /// The history asked for is no longer kept: list again.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Refused { code: 410, .. })
    }
}

/// What happens to the objects owned by one that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// Which object is meant by a deletion, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeleteOptions {
    pub uid: Option<Box<str>>,
    pub resource_version: Option<u64>,
    pub propagation: Option<Propagation>,
    pub grace_period_seconds: Option<i64>,
}

impl DeleteOptions {
    fn body(&self) -> Value {
        let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(uid) = &self.uid {
            body["preconditions"]["uid"] = json!(uid);
        }
        if let Some(revision) = self.resource_version {
            body["preconditions"]["resourceVersion"] = json!(revision.to_string());
        }
        if let Some(propagation) = self.propagation {
            body["propagationPolicy"] = json!(format!("{propagation:?}"));
        }
        if let Some(seconds) = self.grace_period_seconds {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        body
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    Merge,
    Strategic,
}

/// How an object is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Object,
    /// Its metadata alone.
    Metadata,
    MetadataList,
    /// All groups, versions and resources in one document (`APIGroupDiscoveryList`).
    Discovery,
}

impl Form {
    /// The form of a list of what has this form.
    pub fn of_list(self) -> Self {
        if self == Self::Metadata { Self::MetadataList } else { self }
    }

    fn accepted(self) -> &'static str {
        match self {
            Self::Object => "application/json",
            Self::Metadata => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Self::MetadataList => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Self::Discovery => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        }
    }
}

/// Makes requests under one name (`fieldManager`, user agent).
#[derive(Clone)]
pub struct Requests {
    client: kube::Client,
    manager: Cow<'static, str>,
}

impl Requests {
    pub fn new(client: kube::Client, manager: impl Into<Cow<'static, str>>) -> Self {
        Self { client, manager: manager.into() }
    }

    /// The answer to a GET of any path.
    pub async fn read<T: DeserializeOwned>(&self, path_and_query: &str) -> Result<T, ApiError> {
        self.read_as(Form::Object, path_and_query).await
    }

    pub async fn read_as<T: DeserializeOwned>(&self, form: Form, path_and_query: &str) -> Result<T, ApiError> {
        parse(&self.get_as(form, path_and_query).await?)
    }

    /// The answer as it comes.
    pub async fn get_as(&self, form: Form, path_and_query: &str) -> Result<Bytes, ApiError> {
        self.send(self.request(Method::GET, path_and_query, form, "", None)?).await
    }

    pub async fn get(&self, kind: &Kind, key: &Key) -> Result<Bytes, ApiError> {
        let path = kind.object(key.namespace(), key.name(), "");
        self.answer(Method::GET, &path, "", None).await
    }

    pub async fn create(&self, kind: &Kind, namespace: &str, object: &Value) -> Result<Bytes, ApiError> {
        let path = self.written(&kind.collection(namespace));
        self.answer(Method::POST, &path, "application/json", Some(object)).await
    }

    /// Asks for something at a part of an object: a token, an eviction.
    pub async fn create_part(&self, kind: &Kind, key: &Key, part: &str, body: &Value) -> Result<Bytes, ApiError> {
        let path = self.written(&kind.object(key.namespace(), key.name(), part));
        self.answer(Method::POST, &path, "application/json", Some(body)).await
    }

    pub async fn patch(
        &self,
        kind: &Kind,
        key: &Key,
        subresource: &str,
        (form, patch): (Patch, &Value),
    ) -> Result<Bytes, ApiError> {
        let path = self.written(&kind.object(key.namespace(), key.name(), subresource));
        let content_type = match form {
            Patch::Merge => "application/merge-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
        };
        self.answer(Method::PATCH, &path, content_type, Some(patch)).await
    }

    pub async fn delete(&self, kind: &Kind, key: &Key, options: &DeleteOptions) -> Result<Bytes, ApiError> {
        let path = kind.object(key.namespace(), key.name(), "");
        self.answer(Method::DELETE, &path, "application/json", Some(&options.body())).await
    }

    /// Deletes what a collection holds.
    pub async fn delete_collection(
        &self,
        kind: &Kind,
        namespace: &str,
        options: &DeleteOptions,
    ) -> Result<(), ApiError> {
        let path = kind.collection(namespace);
        // The answer lists what was there: of that its metadata is more than enough.
        let (form, body) = (Form::MetadataList, options.body());
        let request = self.request(Method::DELETE, &path, form, "application/json", Some(&body))?;
        self.send(request).await.map(drop)
    }

    /// Replaces an object or, where `subresource` is not empty, that part of it.
    pub async fn replace(&self, kind: &Kind, key: &Key, subresource: &str, object: &Value) -> Result<Bytes, ApiError> {
        let path = self.written(&kind.object(key.namespace(), key.name(), subresource));
        self.answer(Method::PUT, &path, "application/json", Some(object)).await
    }

    /// The bytes of an answer as they come.
    pub async fn stream(&self, path_and_query: &str) -> Result<Body, ApiError> {
        self.stream_as(Form::Object, path_and_query).await
    }

    pub async fn stream_as(&self, form: Form, path_and_query: &str) -> Result<Body, ApiError> {
        let request = self.request(Method::GET, path_and_query, form, "", None)?;
        let response = self.client.send(request).await.map_err(unanswered)?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let code = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let body = response.into_body().collect().await.map_err(unanswered)?.to_bytes();
        Err(refused(code, retry_after, &body))
    }

    fn written(&self, path: &str) -> String {
        format!("{path}?fieldManager={}", self.manager)
    }

    fn request(
        &self,
        method: Method,
        path_and_query: &str,
        form: Form,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Request<Body>, ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .header(header::ACCEPT, form.accepted())
            .header(header::USER_AGENT, &*self.manager);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        request.body(Body::from(body)).map_err(unanswered)
    }

    async fn answer(
        &self,
        method: Method,
        path_and_query: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, ApiError> {
        self.send(self.request(method, path_and_query, Form::Object, content_type, body)?).await
    }

    async fn send(&self, request: Request<Body>) -> Result<Bytes, ApiError> {
        let response = self.client.send(request).await.map_err(unanswered)?;
        let (code, retry_after) = (response.status(), retry_after(response.headers()));
        let body = response.into_body().collect().await.map_err(unanswered)?.to_bytes();
        if code.is_success() { Ok(body) } else { Err(refused(code.as_u16(), retry_after, &body)) }
    }
}

/// Reads an answer as a view.
pub fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(unanswered)
}

fn unanswered(error: impl std::fmt::Display) -> ApiError {
    ApiError::Unanswered(error.to_string())
}

fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

fn refused(code: u16, retry_after: Option<Duration>, body: &[u8]) -> ApiError {
    let status: Refusal = serde_json::from_slice(body).unwrap_or_default();
    status.into_error(code, retry_after)
}

/// The error that a watch carries as an event.
pub(crate) fn refusal(status: &[u8]) -> ApiError {
    let status: Refusal = serde_json::from_slice(status).unwrap_or_default();
    let code = status.code;
    status.into_error(code, None)
}

/// Of a `Status` what callers look at.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    code: u16,
    reason: Box<str>,
    message: Box<str>,
    details: Details,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cause {
    reason: Box<str>,
}

impl Refusal {
    fn into_error(self, code: u16, retry_after: Option<Duration>) -> ApiError {
        let message = if self.message.is_empty() { format!("the server answered {code}").into() } else { self.message };
        let cause = self.details.causes.into_iter().next().unwrap_or_default().reason;
        ApiError::Refused { code, reason: self.reason, cause, message, retry_after }
    }
}
