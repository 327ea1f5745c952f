//! A row of the registry: one kind, in one group and version, as it is served.
//!
//! Built-in rows come from the tables in `builtin`; custom rows are made from definitions. After that
//! nobody asks which of the two a row is.

use std::sync::Arc;

use document::{Type, TypeId, Types, jsonpath::JsonPath};
use serde_json::Value;

use crate::strategy::Strategy;

#[derive(Debug, Clone)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
    pub list_kind: Box<str>,
    pub plural: Box<str>,
    pub singular: Box<str>,
    pub short_names: Vec<Box<str>>,
    pub categories: Vec<Box<str>>,
    pub scope: Scope,
    pub verbs: Verbs,
    pub subresources: Vec<Subresource>,
    pub types: Arc<Types>,
    pub root: TypeId,
    pub storage: Storage,
    pub strategy: Strategy,
    pub columns: Arc<[Column]>,
    /// Field selectors beyond `metadata.name` and `metadata.namespace`: label (`spec.nodeName`) and
    /// where its value is.
    pub selectable: Vec<SelectableField>,
    /// Changes with whatever decides how a document is pruned and defaulted: what was stored under another
    /// hash is brought up to date when it is read.
    pub schema_hash: u64,
    /// Set for custom resources.
    pub custom: Option<Arc<dyn Custom>>,
}

/// What a custom resource brings beyond its row: rules compiled from its definition.
pub trait Custom: std::fmt::Debug + Send + Sync {
    /// Schema constraints and CEL rules; `old` on update.
    fn validate(&self, new: &Value, old: Option<&Value>, errors: &mut crate::field::FieldErrors);

    /// What the row was made from.
    fn origin(&self) -> Option<&Origin> {
        None
    }

    /// What clients of a deprecated version are warned with.
    fn deprecation(&self) -> Option<&str> {
        None
    }
}

/// A definition as far as its rows depend on it: the same origin gives the same rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origin {
    pub uid: Box<str>,
    pub generation: i64,
    /// Those it has been granted.
    pub names: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// The verbs a resource or subresource answers, as discovery names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verbs(u16);

impl Verbs {
    pub const CREATE: Verbs = Verbs(1);
    pub const DELETE: Verbs = Verbs(1 << 1);
    pub const DELETE_COLLECTION: Verbs = Verbs(1 << 2);
    pub const GET: Verbs = Verbs(1 << 3);
    pub const LIST: Verbs = Verbs(1 << 4);
    pub const PATCH: Verbs = Verbs(1 << 5);
    pub const UPDATE: Verbs = Verbs(1 << 6);
    pub const WATCH: Verbs = Verbs(1 << 7);
    pub const ALL: Verbs = Verbs(0xff);
    /// `get`, `patch`, `update`: what most subresources have.
    pub const SUBRESOURCE: Verbs = Verbs::GET.or(Verbs::PATCH).or(Verbs::UPDATE);

    const NAMES: [(Verbs, &'static str); 8] = [
        (Verbs::CREATE, "create"),
        (Verbs::DELETE, "delete"),
        (Verbs::DELETE_COLLECTION, "deletecollection"),
        (Verbs::GET, "get"),
        (Verbs::LIST, "list"),
        (Verbs::PATCH, "patch"),
        (Verbs::UPDATE, "update"),
        (Verbs::WATCH, "watch"),
    ];

    pub const fn or(self, other: Verbs) -> Verbs {
        Verbs(self.0 | other.0)
    }

    pub const fn without(self, other: Verbs) -> Verbs {
        Verbs(self.0 & !other.0)
    }

    pub const fn contains(self, other: Verbs) -> bool {
        self.0 & other.0 == other.0
    }

    /// In the order discovery lists them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(verb, _)| self.contains(*verb)).map(|(_, name)| *name)
    }
}

/// `pods/status`, `deployments/scale`, `pods/binding`.
#[derive(Debug, Clone)]
pub struct Subresource {
    pub name: Box<str>,
    pub verbs: Verbs,
    /// The kind of its body where that is not the resource's own: (`autoscaling`, `v1`, `Scale`).
    pub body: Option<(Box<str>, Box<str>, Box<str>)>,
    /// Where a custom or built-in resource keeps what its scale shows.
    pub scale: Option<ScalePaths>,
}

/// JSON paths (`.spec.replicas`) by which a resource is scaled.
#[derive(Debug, Clone)]
pub struct ScalePaths {
    pub spec_replicas: Box<str>,
    pub status_replicas: Box<str>,
    /// A label selector object, or a string (custom resources, ReplicationController's map).
    pub selector: Option<Box<str>>,
}

/// Where a resource's objects are kept. Versions and groups that share objects (`events`) share this.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The first segment of the keys: `pods`, `deployments.apps`.
    pub topic: Arc<str>,
    /// The version in which objects are encoded.
    pub api_version: Arc<str>,
    pub kind: Arc<str>,
    /// From the stored form to this row's, and back; `None` where they differ in `apiVersion` at most.
    pub conversion: Option<Conversion>,
    /// What stored documents look like, where this row is another version of a custom resource: their
    /// defaults are those of the version that is stored.
    pub schema: Option<StoredSchema>,
}

#[derive(Debug, Clone)]
pub struct StoredSchema {
    pub types: Arc<Types>,
    pub root: TypeId,
    /// As in [`Resource::schema_hash`], of the row of that version.
    pub hash: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Conversion {
    pub from_storage: fn(&mut Value),
    pub to_storage: fn(&mut Value),
}

/// A printer column: what `kubectl get` shows.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: Box<str>,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: Box<str>,
    pub format: Box<str>,
    pub description: Box<str>,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: u8,
    pub cell: Cell,
}

#[derive(Debug, Clone)]
pub enum Cell {
    /// The object's name.
    Name,
    /// The age from `metadata.creationTimestamp`.
    Age,
    /// A kind's own rendering; `now` in seconds since the epoch, for ages.
    Render(fn(object: &Value, now_seconds: i64) -> Value),
    /// A JSONPath of a custom resource's printer column.
    Path(JsonPath),
    /// The column of a definition whose path cannot be read.
    Nothing,
}

#[derive(Debug, Clone)]
pub struct SelectableField {
    pub label: Box<str>,
    /// Field names from the root of the stored form; a missing field selects as the default.
    pub path: Vec<Box<str>>,
    /// Another field, which counts where the first is missing; most have none.
    pub second: Vec<Box<str>>,
    pub default: Box<str>,
}

impl Resource {
    pub fn root(&self) -> Type<'_> {
        self.types.get(self.root)
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| &*subresource.name == name)
    }

    /// Whether stored documents are of this very version.
    pub fn is_storage_version(&self) -> bool {
        self.storage.conversion.is_none() && *self.api_version() == *self.storage.api_version
    }

    /// The schema under which documents are stored.
    pub fn stored_hash(&self) -> u64 {
        self.storage.schema.as_ref().map_or(self.schema_hash, |stored| stored.hash)
    }

    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}
