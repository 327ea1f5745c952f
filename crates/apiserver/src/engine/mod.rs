//! The resource engine: one generic path for every kind (wall W1).
//!
//! decode → default → admit → validate → commit → encode. What differs between kinds stands in their
//! [`api::resource::Resource`] rows; nothing here names a kind except the few subresources that are
//! verbs of their own (`special`).

pub mod addresses;
pub mod allocation;
pub mod cache;
mod claims;
pub mod commits;
mod connect;
mod custom;
pub mod decode;
pub mod delete;
mod eviction;
pub mod list;
pub mod metadata;
mod namespaces;
mod node_ports;
pub mod object;
pub mod options;
pub mod patch;
mod scale;
pub mod special;
#[cfg(test)]
pub(crate) mod testing;
pub mod type_meta;
pub mod versions;
pub mod watch;
pub mod write;

use std::sync::Arc;

use api::{
    registry::Registry,
    resource::Resource,
    status::{Status, Subject},
};
use arc_swap::ArcSwap;
use serde_json::Value;
use stdx::{Clock, Random};
use store::{Committed, Entry, Store};
use tokio::sync::watch as watch_channel;
use tokio_util::sync::CancellationToken;

use crate::{
    admission, audit::Annotations, authority::Authority, cluster::Cluster, crd::known::Definitions, identity::User,
    quota::Usage, warnings::Warnings,
};
use allocation::Allocation;
use object::Stored;

/// Everything the verbs share. One per server.
pub struct Engine {
    pub store: Store,
    pub registry: Arc<ArcSwap<Registry>>,
    /// Told after the registry has changed.
    pub registry_changes: watch_channel::Sender<()>,
    pub admission: admission::Chain,
    pub authority: Authority,
    pub allocation: Allocation,
    pub usage: Arc<Usage>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub decoded: cache::DecodedCache,
    pub definitions: Definitions,
    pub commits: commits::Commits,
    /// Ends watches, so that the server can end.
    pub stop: CancellationToken,
}

/// Which object or collection a request is about.
#[derive(Debug, Clone)]
pub struct Target {
    pub resource: Arc<Resource>,
    /// Empty for the resource itself.
    pub subresource: String,
    /// Empty for cluster-scoped resources and for collections over all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
}

impl Target {
    /// The store's key of the object.
    pub fn key(&self) -> String {
        self.key_of(&self.name)
    }

    pub fn key_of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    /// The store's prefix of the collection.
    pub fn prefix(&self) -> String {
        let topic = &self.resource.storage.topic;
        if self.namespace.is_empty() { format!("{topic}/") } else { format!("{topic}/{}/", self.namespace) }
    }

    /// What messages about this object name: `deployments.apps "web"`.
    pub fn subject(&self) -> Subject<'_> {
        Subject { group: &self.resource.group, resource: &self.resource.plural, name: &self.name }
    }

    /// What messages about invalid documents name: `Deployment.apps "web"`.
    pub fn kind_subject<'a>(&'a self, name: &'a str) -> Subject<'a> {
        Subject { group: &self.resource.group, resource: &self.resource.kind, name }
    }
}

/// Who writes, and how.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    pub user: User,
    /// `fieldManager`, or what the user agent says it is.
    pub manager: String,
    pub dry_run: bool,
    pub validation: FieldValidation,
    /// The options document for admission (`CreateOptions` …), Null where none was sent.
    pub options: Value,
    pub annotations: Annotations,
    pub warnings: Warnings,
}

impl Caller {
    /// The same, where an update or a patch turns out to create.
    fn creating(&self) -> Self {
        let mut caller = self.clone();
        if caller.options.is_object() {
            caller.options["kind"] = "CreateOptions".into();
        }
        caller
    }
}

/// What happens to unknown and duplicate fields (`fieldValidation`, KEP-2885).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// The result of a write: the object as it stands now.
#[derive(Debug)]
pub struct Written {
    pub document: Document,
    pub created: bool,
}

/// An object after a write.
#[derive(Debug)]
pub enum Document {
    Stored(Arc<Entry>),
    /// The outcome of a dry run, in the served version.
    Unsaved(Value),
}

impl Written {
    fn saved(committed: &Committed, created: bool) -> Self {
        Self { document: Document::Stored(Arc::clone(&committed.entries[0])), created }
    }

    fn unsaved(document: Value, created: bool) -> Self {
        Self { document: Document::Unsaved(document), created }
    }

    fn unchanged(entry: Arc<Entry>) -> Self {
        Self { document: Document::Stored(entry), created: false }
    }

    /// The decoded document in the version of `resource`.
    pub fn into_document(self, resource: &Resource) -> Result<Value, Status> {
        match self.document {
            Document::Stored(entry) => document_of(resource, &entry),
            Document::Unsaved(document) => Ok(document),
        }
    }
}

impl Engine {
    /// Changes what is served, and tells those who depend on it.
    pub fn serve(&self, change: impl Fn(&Registry) -> Registry) {
        self.registry.rcu(|registry| Arc::new(change(registry)));
        self.registry_changes.send_replace(());
    }

    /// The current object and its decoded document in the version of `target.resource`.
    pub fn current(&self, target: &Target) -> Result<(Arc<Entry>, Value), Status> {
        let entry = self.entry(target)?;
        let document = document_of(&target.resource, &entry)?;
        Ok((entry, document))
    }

    pub fn entry(&self, target: &Target) -> Result<Arc<Entry>, Status> {
        self.store.snapshot().get(&target.key()).cloned().ok_or_else(|| Status::not_found(target.subject()))
    }

    /// Seconds since the epoch.
    pub fn now_seconds(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// The time as documents say it: RFC 3339, whole seconds, UTC.
    pub fn now_text(&self) -> String {
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// Decodes a stored object into the version of `resource`.
pub fn document_of(resource: &Resource, entry: &Entry) -> Result<Value, Status> {
    let damaged = || Status::internal(format!("the stored object {:?} cannot be decoded", entry.key));
    let stored = Stored::of(entry).ok_or_else(damaged)?;
    let mut document = stored.decode().map_err(|_| damaged())?;
    if stored.schema_hash() != resource.schema_hash {
        decode::renew(resource, stored.schema_hash(), &mut document);
    }
    versions::to_served(resource, &mut document);
    Ok(document)
}

impl Cluster for Engine {
    fn get(&self, topic: &str, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        let key = match namespace {
            Some(namespace) => format!("{topic}/{namespace}/{name}"),
            None => format!("{topic}/{name}"),
        };
        let snapshot = self.store.snapshot();
        self.decoded.get(snapshot.get(&key)?)
    }

    fn list(&self, topic: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let prefix = match namespace {
            Some(namespace) => format!("{topic}/{namespace}/"),
            None => format!("{topic}/"),
        };
        self.store.snapshot().range(&prefix, None).filter_map(|entry| self.decoded.get(entry)).collect()
    }

    fn topic_revision(&self, topic: &str) -> u64 {
        self.store.topic_revision(topic)
    }
}
