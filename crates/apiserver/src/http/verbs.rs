//! The verbs on resources: options and bodies in, engine calls, rendered answers out.

use std::{pin::Pin, sync::Arc};

use api::{
    field::{FieldError, Path},
    resource::Resource,
    status::Status,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    body::Body,
    load::Place,
    negotiate::{Accepted, Format, Shape},
    outgoing::Reader,
    pipeline::method_not_allowed,
    query::Query,
    render::{self, Include, View},
    upload::Upload,
    write_options::{self, MAX_MANAGER_LENGTH, WriteOptions, options_kind},
};
use crate::{
    audit::Annotations,
    engine::{
        Caller, Engine, Target, Written, decode,
        delete::{self, DeleteOptions, Deleted},
        metadata,
        options::{Freshness, ListOptions, WatchOptions},
        patch::{self, Change},
        special,
    },
    identity::User,
    metrics::requests::{Running, Series},
    warnings::Warnings,
};

/// From here on a body, or the stored object that a write changes, is worth the detour that keeps work on it out of the
/// way of others.
const LARGE_BYTES: usize = 64 * 1024;

/// A request that has been authenticated, authorized and resolved.
pub struct Call {
    pub engine: Arc<Engine>,
    pub user: User,
    pub verb: &'static str,
    pub target: Target,
    /// What follows the subresource.
    pub rest: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub accepted: Accepted,
    pub body: Upload,
    /// Who is answered.
    pub reader: Reader,
    /// Held until the answer is there; by a watch, until it ends.
    pub place: Place,
    /// Where the request is counted.
    pub series: Arc<Series>,
    /// What admission notes for the audit log.
    pub annotations: Annotations,
    /// What the client is told beside the answer.
    pub warnings: Warnings,
}

impl Call {
    /// Whether the answer may keep a processor for long. A list of objects as they are stored is only copied.
    pub fn is_heavy(&self) -> bool {
        let changes_large_object = || {
            let stored = matches!(self.verb, "update" | "patch" | "delete").then(|| self.engine.entry(&self.target));
            stored.is_some_and(|entry| entry.is_ok_and(|entry| entry.value.len() > LARGE_BYTES))
        };
        self.body.bytes.len() > LARGE_BYTES
            || (self.verb == "list" && !self.shows_stored_form())
            || changes_large_object()
    }

    /// Whether a large answer may be made for this reader alone: of more than one object, and not as they are stored.
    pub fn may_make_much(&self) -> bool {
        match self.verb {
            "list" => !self.shows_stored_form(),
            verb => verb == "deletecollection",
        }
    }

    fn shows_stored_form(&self) -> bool {
        self.accepted == FALLBACK && self.target.resource.is_storage_version()
    }

    /// Boxed: one erased future here keeps those above small and quick to compile.
    pub fn answer(self) -> Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>> {
        Box::pin(async move {
            let deprecation = deprecation(&self.target.resource);
            let warnings = self.warnings.clone();
            let answer = self.dispatch().await;
            warnings.extend(deprecation);
            match answer {
                Ok(mut response) => {
                    warn(&mut response, &warnings.noted());
                    Ok(response)
                }
                Err(refusal) => Err(refusal.with_warnings(warnings.noted())),
            }
        })
    }

    async fn dispatch(mut self) -> Result<Response<Body>, Status> {
        if let Some(answer) = special::answer(&mut self).await {
            return answer;
        }
        self.check_verb()?;
        if !special::is_view(&self.target.subresource) {
            return Err(Status::no_such_path());
        }
        match self.verb {
            "get" => self.get(),
            "list" => self.list(),
            "watch" => self.watch(),
            "create" => self.create().await,
            "update" => self.update().await,
            "patch" => self.patch().await,
            "delete" => self.delete().await,
            "deletecollection" => self.delete_collection().await,
            verb => Err(Status::method_not_supported(self.target.subject(), verb)),
        }
    }

    /// Refuses what the row does not offer.
    fn check_verb(&self) -> Result<(), Status> {
        let resource = &self.target.resource;
        let verbs = match self.target.subresource.as_str() {
            "" => resource.verbs,
            name => resource.subresource(name).ok_or_else(Status::no_such_path)?.verbs,
        };
        if verbs.names().any(|known| known == self.verb) {
            return Ok(());
        }
        Err(method_not_allowed())
    }

    pub fn view(&self) -> Result<View, Status> {
        let include = match self.query.text("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(_) if !matches!(self.accepted.shape, Shape::Table(_)) => Include::Metadata,
            Some(other) => {
                let detail = "must be 'Metadata', 'Object', 'None', or empty";
                let error = FieldError::invalid(&Path::new("includeObject"), other, detail);
                return Err(Status::bad_request(format!("Unable to convert to Table as requested: {error}")));
            }
        };
        let resource = Arc::clone(&self.target.resource);
        Ok(View::new(resource, self.accepted, include, self.engine.now_seconds(), self.reader.clone()))
    }

    fn get(&self) -> Result<Response<Body>, Status> {
        if self.query.text("resourceVersion").is_some() {
            self.engine.snapshot_for(Freshness::of_get(&self.query)?)?;
        }
        Ok(self.view()?.entry(StatusCode::OK, &*self.engine.entry(&self.target)?))
    }

    fn list(&self) -> Result<Response<Body>, Status> {
        let mut options = ListOptions::parse(&self.query)?;
        options.selection.narrow_to(&self.target.name)?;
        let page = self.engine.page(&self.target, &options)?;
        let view = self.view()?;
        // What is made is counted as it is once it is there (`make`).
        let _making = self.reader.making(view.making_bytes(&page.entries))?;
        Ok(view.list(page))
    }

    fn watch(self) -> Result<Response<Body>, Status> {
        let mut options = WatchOptions::parse(&self.query)?;
        options.selection.narrow_to(&self.target.name)?;
        if self.accepted.format == Format::Yaml {
            return Err(Status::not_acceptable("a watch is served as application/json only"));
        }
        let view = self.view()?;
        let watcher = self.engine.watch(self.target, options, view, Running::of(self.series))?;
        let chunks = futures_util::stream::unfold((watcher, self.place), |(mut watcher, place)| async move {
            let chunk = watcher.next().await?;
            Some((chunk, (watcher, place)))
        });
        let mut response = Response::new(Body::Stream(Box::pin(chunks)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    async fn create(self) -> Result<Response<Body>, Status> {
        let caller = self.caller()?;
        let decoded = decode::body(&self.target, &self.headers, &self.body.bytes, caller.validation)?;
        self.warnings.extend(decoded.warnings);
        self.written(&self.engine.create(&self.target, &caller, decoded.document).await?)
    }

    async fn update(self) -> Result<Response<Body>, Status> {
        let caller = self.caller()?;
        let mut decoded = decode::body(&self.target, &self.headers, &self.body.bytes, caller.validation)?;
        self.warnings.extend(decoded.warnings);
        metadata::place(&self.target, &mut decoded.document)?;
        self.written(&self.engine.update(&self.target, &caller, &Change::Replace(decoded.document)).await?)
    }

    async fn patch(self) -> Result<Response<Body>, Status> {
        let caller = self.caller()?;
        let patch = patch::Patch::parse(&self.headers, &self.query, &self.body.bytes)?;
        self.warnings.extend(patch.check(&self.target, caller.validation)?);
        self.written(&self.engine.update(&self.target, &caller, &Change::Patch(&patch)).await?)
    }

    async fn delete(self) -> Result<Response<Body>, Status> {
        let caller = self.caller()?;
        let options = self.delete_options()?;
        let view = self.view()?;
        let (written, gone) = match self.engine.delete(&self.target, &caller, &options).await? {
            Deleted::Gone(written) => (written, true),
            Deleted::Pending(written) => (written, false),
        };
        if !gone || self.target.resource.strategy.returns_deleted_object {
            return Ok(respond(&view, StatusCode::OK, &written));
        }
        let uid = match &written.document {
            crate::engine::Document::Stored(entry) => {
                crate::engine::document_of(&self.target.resource, entry)?["metadata"]["uid"].clone()
            }
            crate::engine::Document::Unsaved(document) => document["metadata"]["uid"].clone(),
        };
        Ok(render::value(StatusCode::OK, self.accepted.format, &delete::success(&self.target, &uid)))
    }

    async fn delete_collection(self) -> Result<Response<Body>, Status> {
        let caller = self.caller()?;
        let selection = ListOptions::parse(&self.query)?;
        let options = self.delete_options()?;
        let deleted = self.engine.delete_collection(&self.target, &caller, &selection, &options).await?;
        let resource = &self.target.resource;
        let mut items = Vec::with_capacity(deleted.len());
        for written in deleted {
            let mut item = written.into_document(resource)?;
            // As in a list: only items of a custom resource say what they are.
            if let (None, Some(fields)) = (&resource.custom, item.as_object_mut()) {
                fields.retain(|name, _| !matches!(name.as_str(), "kind" | "apiVersion"));
            }
            items.push(item);
        }
        let list = json!({
            "kind": *resource.list_kind,
            "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": self.engine.store.revision().to_string()},
            "items": items,
        });
        Ok(render::value(StatusCode::OK, self.accepted.format, &list))
    }

    fn delete_options(&self) -> Result<DeleteOptions, Status> {
        let body = match &*self.body.bytes {
            [] => Value::Null,
            bytes => decode::untyped(&self.headers, bytes)?,
        };
        write_options::delete(&self.query, body)
    }

    /// Who writes, from the query and the headers.
    pub fn caller(&self) -> Result<Caller, Status> {
        let asked = WriteOptions::parse(&self.query, options_kind(self.verb))?;
        let manager = match asked.manager {
            "" => {
                let agent = self.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
                let name = agent.and_then(|agent| agent.split('/').next()).unwrap_or("unknown");
                name.chars().take(MAX_MANAGER_LENGTH).filter(|letter| !letter.is_control()).collect()
            }
            manager => manager.to_owned(),
        };
        Ok(Caller {
            user: self.user.clone(),
            manager,
            dry_run: asked.dry_run,
            validation: asked.validation,
            options: asked.to_value(),
            annotations: self.annotations.clone(),
            warnings: self.warnings.clone(),
        })
    }

    fn written(&self, written: &Written) -> Result<Response<Body>, Status> {
        let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
        Ok(respond(&self.view()?, status, written))
    }
}

/// The warning to everyone who uses a deprecated version or kind.
pub fn deprecation(resource: &Resource) -> Option<String> {
    const BUILT_IN: [(&str, &str); 2] = [
        ("endpoints", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
    ];
    match &resource.custom {
        Some(custom) => custom.deprecation().map(str::to_owned),
        None if resource.group.is_empty() => {
            BUILT_IN.iter().find(|(plural, _)| *plural == &*resource.plural).map(|(_, warning)| (*warning).to_owned())
        }
        None => None,
    }
}

fn respond(view: &View, status: StatusCode, written: &Written) -> Response<Body> {
    match &written.document {
        crate::engine::Document::Stored(entry) => view.entry(status, entry),
        crate::engine::Document::Unsaved(document) => view.document(status, document),
    }
}

/// `Warning` headers (RFC 7234, 5.5; KEP-1693). Where all of them together are too long for clients, each is
/// cut short, and those that are too many even so are left out.
fn warn(response: &mut Response<Body>, warnings: &[String]) {
    // In characters.
    const MAX_TOTAL: usize = 4 * 1024;
    const MAX_EACH: usize = 256;
    // Many clients (hyper's, Python's) take no answer with more than 100 headers.
    const MAX_HEADERS: usize = 80;
    let length = |warning: &String| warning.chars().count();
    let each = if warnings.iter().map(length).sum::<usize>() > MAX_TOTAL { MAX_EACH } else { MAX_TOTAL };
    let mut told = 0;
    for warning in warnings.iter().take(MAX_HEADERS) {
        if told >= MAX_TOTAL {
            break;
        }
        let mut quoted = String::with_capacity(warning.len());
        for letter in warning.chars().take(each) {
            if matches!(letter, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(letter);
            told += 1;
        }
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// A refusal, in the client's format.
pub fn refusal(status: &Status, format: Format) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = render::value(code, format, &status.to_value());
    warn(&mut response, &status.warnings);
    if let Some(seconds) = status.retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// JSON objects, where nothing was asked or nothing that is asked can be had.
pub const FALLBACK: Accepted = Accepted { format: Format::Json, shape: Shape::Object };

#[cfg(test)]
mod tests;
