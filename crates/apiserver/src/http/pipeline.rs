//! The way of a request, on one screen:
//!
//! authenticate → resolve → authorize → handle → encode. (Admission stands inside the writes, in `engine`.)

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use api::{status::Status, syntax};
use http::{HeaderMap, HeaderValue, Request, Response, header, request::Parts};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use super::{
    body::Body,
    listener::{Handler, Peer, RequestBody},
    negotiate::{self, Accepted, Format},
    outgoing::Reader,
    paths::page_not_found,
    query::Query,
    target::{self, ResourceTarget},
    upload::{MAX_BODY_BYTES, Upload},
    verbs::{self, Call},
};
use crate::{
    audit::Annotations,
    authz::{self, Authorizer},
    engine::Target,
    identity::{self, Attributes, User},
    metrics::requests::{Labels, SystemClient},
    server::Server,
    warnings::Warnings,
};

/// Depth of JSON, number of headers and so on are bounded where they are read; this bounds the URI.
const MAX_URI_BYTES: usize = 16 * 1024;

/// Who sent a request, and as whom.
struct Users {
    caller: User,
    impersonated: Option<User>,
}

impl Users {
    /// Whose rights count.
    fn into_effective(self) -> User {
        self.impersonated.unwrap_or(self.caller)
    }
}

impl Handler for Server {
    fn handle(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: Arc<Peer>,
    ) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(async move {
            let (parts, mut body) = request.into_parts();
            let started = Instant::now();
            let query = Query::parse(parts.uri.query().unwrap_or_default());
            let target = target::resolve(&parts.method, parts.uri.path(), &query);
            let labels = Labels::of(&parts.method, &target, parts.uri.path(), &query, is_apply(&parts));
            let mut audit = self.audit.begin(&parts, &peer, &target, self.engine.clock.now());
            let users = check_form(&parts, &query, &peer).and_then(|()| self.authenticate(&parts, &peer, &mut audit));
            let payer = users.as_ref().map_or(identity::ANONYMOUS, |users| users.caller.payer());
            let reader = self.outgoing.reader(payer);
            let answer = match users.map(Users::into_effective) {
                Ok(user) => self.answer(&parts, &mut body, query, &target, user, &reader, &mut audit).await,
                Err(status) => Err(status),
            };
            let mut response = match answer {
                Ok(response) => response,
                Err(status) => {
                    audit.refused(&status);
                    drain(&parts, body).await;
                    let format = negotiate::negotiate(&parts.headers).map_or(Format::Json, |form| form.format);
                    let refusal = verbs::refusal(&status, format);
                    let held = reader.hold(refusal.body().own_bytes());
                    refusal.map(|body| body.holding(held))
                }
            };
            let headers = response.headers_mut();
            headers
                .insert("audit-id", HeaderValue::from_str(audit.id()).unwrap_or(HeaderValue::from_static("unknown")));
            headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
            self.audit.end(audit, response.status(), self.engine.clock.now());
            let bytes = http_body::Body::size_hint(response.body()).exact();
            let series = self.metrics.requests.series(labels, || self.is_served(&target));
            series.answered(SystemClient::of(&parts.headers), response.status(), started.elapsed(), bytes);
            super::compress::response(&parts.headers, &peer, &reader, response)
        })
    }

    fn handshake_failed(&self) {
        self.metrics.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Server {
    #[expect(clippy::too_many_arguments, reason = "all that is known of one request")]
    async fn answer(
        &self,
        parts: &Parts,
        body: &mut RequestBody,
        query: Query,
        target: &target::Target,
        user: User,
        reader: &Reader,
        audit: &mut crate::audit::Record,
    ) -> Result<Response<Body>, Status> {
        self.admit_user(parts, &query, target, &user, &audit.annotations)?;
        match target {
            target::Target::Path => self.path(parts, &query, reader).await,
            resource @ target::Target::Resource(asked) => {
                if self.engine.registry.load().group(&asked.group).is_none() {
                    return Ok(page_not_found());
                }
                let target = self.resolve(asked)?;
                let accepted = accepted(&parts.headers)?;
                let labels = Labels::of(&parts.method, resource, parts.uri.path(), &query, is_apply(parts));
                let series = self.metrics.requests.series(labels, || true);
                // The body first: who sends slowly keeps no place.
                let body = match asked.verb {
                    "get" | "list" | "watch" => Upload::default(),
                    _ => {
                        let read = self.uploads.read(std::mem::take(body), reader.payer()).await;
                        read.inspect_err(|status| series.refused(status.code))?
                    }
                };
                let place = self.load.place(asked.verb, reader.payer()).await;
                let place = place.inspect_err(|status| series.refused(status.code))?;
                let engine = Arc::clone(&self.engine);
                let headers = parts.headers.clone();
                let call = Call {
                    engine,
                    user,
                    verb: asked.verb,
                    place,
                    target,
                    rest: asked.rest.clone(),
                    query,
                    headers,
                    accepted,
                    body,
                    reader: reader.clone(),
                    series,
                    annotations: audit.annotations.clone(),
                    warnings: Warnings::kept(),
                };
                if call.is_heavy() {
                    self.heavy.run(reader.payer(), make(call, reader)).await
                } else {
                    self.heavy.beside(reader.payer(), make(call, reader)).await
                }
            }
        }
    }

    /// What is served beside resources. Health checks are never kept waiting; documents are reads, and OpenAPI's
    /// are long in the making.
    async fn path(&self, parts: &Parts, query: &Query, reader: &Reader) -> Result<Response<Body>, Status> {
        let path = parts.uri.path();
        let is_document = path.starts_with("/api") || path.starts_with("/openapi");
        let _place = match is_document {
            true => Some(self.load.place("get", reader.payer()).await?),
            false => None,
        };
        let is_read = is_document || path == "/metrics";
        let answer = async { reader.answer(self.paths(parts, path, query)?, is_read) };
        if path.starts_with("/openapi") { self.heavy.run(reader.payer(), answer).await } else { answer.await }
    }

    /// Whether there is such a path or resource at all; only that is counted by itself.
    fn is_served(&self, target: &target::Target) -> bool {
        match target {
            target::Target::Path => true,
            target::Target::Resource(asked) => self
                .engine
                .registry
                .load()
                .find(&asked.group, &asked.version, &asked.resource)
                .is_some_and(|row| asked.subresource.is_empty() || row.subresource(&asked.subresource).is_some()),
        }
    }

    /// Authorizes.
    fn admit_user(
        &self,
        parts: &Parts,
        query: &Query,
        target: &target::Target,
        user: &User,
        notes: &Annotations,
    ) -> Result<(), Status> {
        let started = Instant::now();
        let allowed = match target {
            target::Target::Path => {
                let verb = parts.method.as_str().to_ascii_lowercase();
                self.authorize(user, &verb, identity::Target::Path(parts.uri.path()), query, notes)
            }
            target::Target::Resource(asked) => self.authorize(user, asked.verb, attributes(asked), query, notes),
        };
        self.metrics.authorization.observe(allowed.is_ok(), started.elapsed());
        allowed
    }

    fn authenticate(&self, parts: &Parts, peer: &Peer, audit: &mut crate::audit::Record) -> Result<Users, Status> {
        let started = Instant::now();
        let users = self.users(parts, peer, audit);
        self.metrics.authentication.observe(users.is_ok(), started.elapsed());
        users
    }

    fn users(&self, parts: &Parts, peer: &Peer, audit: &mut crate::audit::Record) -> Result<Users, Status> {
        if let Some(user) = &peer.user {
            audit.user(user);
            return Ok(Users { caller: user.clone(), impersonated: None });
        }
        let (engine, now) = (&*self.engine, self.engine.clock.now());
        let (caller, impersonated) = engine.authority.users(&parts.headers, &peer.certificates, engine, now)?;
        audit.user(&caller);
        if let Some(user) = &impersonated {
            audit.acting_as(user);
        }
        Ok(Users { caller, impersonated })
    }

    fn authorize(
        &self,
        user: &User,
        verb: &str,
        target: identity::Target<'_>,
        query: &Query,
        notes: &Annotations,
    ) -> Result<(), Status> {
        let field_selector = query.text("fieldSelector").unwrap_or_default();
        let attributes = Attributes { user, verb, target, field_selector };
        let decision = self.engine.authority.chain.authorize(&attributes, &*self.engine);
        let allowed = decision.is_allowed();
        notes.add("authorization.k8s.io/decision", if allowed { "allow" } else { "forbid" });
        notes.add("authorization.k8s.io/reason", decision.reason());
        if allowed { Ok(()) } else { Err(authz::forbidden(&attributes, decision.reason())) }
    }

    /// The row, or 404; the scope of the path must be that of the row.
    fn resolve(&self, asked: &ResourceTarget) -> Result<Target, Status> {
        let registry = self.engine.registry.load();
        let resource = registry.find(&asked.group, &asked.version, &asked.resource).ok_or_else(Status::no_such_path)?;
        let of_namespace = &*resource.plural == "namespaces" && resource.group.is_empty();
        let namespace = if of_namespace { "" } else { asked.namespace.as_str() };
        if resource.is_namespaced() {
            // Only lists and watches can span namespaces.
            if namespace.is_empty() && !matches!(asked.verb, "list" | "watch") {
                return Err(if asked.name.is_empty() { method_not_allowed() } else { Status::no_such_path() });
            }
        } else if !namespace.is_empty() {
            return Err(Status::no_such_path());
        }
        if !asked.rest.is_empty() && asked.subresource != "proxy" {
            return Err(Status::no_such_path());
        }
        if asked.verb.is_empty() {
            return Err(method_not_allowed());
        }
        // Objects are created in a collection, and changed by name.
        let misplaced = match asked.verb {
            "create" => asked.subresource.is_empty() && !asked.name.is_empty(),
            "update" | "patch" => asked.name.is_empty(),
            _ => false,
        };
        if misplaced {
            return Err(method_not_allowed());
        }
        if !matches!(asked.verb, "list" | "watch") {
            check_name(&asked.name)?;
        }
        Ok(Target {
            resource: Arc::clone(resource),
            subresource: asked.subresource.clone(),
            namespace: namespace.to_owned(),
            // Of a list or watch: the one name that was authorized, and nothing else is shown.
            name: asked.name.clone(),
        })
    }
}

/// Makes the answer, within what all answers under way may hold.
async fn make(call: Call, reader: &Reader) -> Result<Response<Body>, Status> {
    let series = Arc::clone(&call.series);
    let is_read = matches!(call.verb, "get" | "list");
    if call.may_make_much() {
        reader.check().inspect_err(|status| series.refused(status.code))?;
    }
    let answer = call.answer().await?;
    reader.answer(answer, is_read).inspect_err(|status| series.refused(status.code))
}

/// Refuses what no handler could make sense of.
fn check_form(parts: &Parts, query: &Query, peer: &Peer) -> Result<(), Status> {
    let uri = &parts.uri;
    if uri.path().len() + uri.query().map_or(0, str::len) > MAX_URI_BYTES {
        return Err(Status::new(414, "BadRequest", "the request URI is too long"));
    }
    // Callers in this process name no host: there is but one.
    let is_remote = peer.user.is_none();
    if is_remote
        && parts.version == http::Version::HTTP_11
        && uri.host().is_none()
        && !parts.headers.contains_key(header::HOST)
    {
        return Err(Status::bad_request("missing required Host header"));
    }
    if !target::is_well_escaped(uri.path()) {
        return Err(Status::bad_request(format!("invalid URL escape in {:?}", uri.path())));
    }
    if let Some(timeout) = query.text("timeout")
        && let Err(error) = document::time::parse_duration(timeout)
    {
        return Err(Status::bad_request(format!("invalid timeout specified in the request URL - {error}")));
    }
    Ok(())
}

/// A name that could be mistaken for a step in a path is none.
fn check_name(name: &str) -> Result<(), Status> {
    match syntax::is_path_segment(name, false).first() {
        Some(problem) if !name.is_empty() => {
            Err(Status::bad_request(format!("Name parameter invalid: {name:?}: {problem}")))
        }
        _ => Ok(()),
    }
}

fn is_apply(parts: &Parts) -> bool {
    parts.method == http::Method::PATCH
        && parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|of| of.as_bytes().starts_with(b"application/apply-patch"))
}

/// Takes what is left of a refused request's body, within bounds. An HTTP/1.1 client that is still sending
/// would otherwise find its connection reset before it has read the refusal.
async fn drain(parts: &Parts, mut body: RequestBody) {
    const PATIENCE: Duration = Duration::from_secs(2);
    if parts.version >= http::Version::HTTP_2 {
        return;
    }
    let rest = async {
        let mut left = 2 * MAX_BODY_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(PATIENCE, rest).await;
}

fn attributes(asked: &ResourceTarget) -> identity::Target<'_> {
    identity::Target::Resource {
        group: &asked.group,
        version: &asked.version,
        resource: &asked.resource,
        subresource: &asked.subresource,
        namespace: &asked.namespace,
        name: &asked.name,
    }
}

/// The negotiated form, or 406.
fn accepted(headers: &HeaderMap) -> Result<Accepted, Status> {
    negotiate::negotiate(headers).ok_or_else(not_acceptable)
}

pub fn not_acceptable() -> Status {
    Status::not_acceptable("only the following media types are accepted: application/json, application/yaml")
}

/// The status of a path that is served but does not answer this method.
pub fn method_not_allowed() -> Status {
    Status::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        .with_details(serde_json::json!({}))
}
