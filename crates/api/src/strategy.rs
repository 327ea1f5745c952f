//! What is special about a kind: the few decisions that no schema or table can express.
//!
//! A strategy is a row of pure functions over documents. Most kinds leave most of it at
//! [`Strategy::DEFAULT`]. The generic path of the API server calls them in this order:
//!
//! - create: `default` → `prepare_create` → (admission) → `validate` + `expressions` + `validate_create`
//! - update: `default` → `prepare_update` → (admission) → `validate` + `expressions` + `validate_update`
//! - status: `default` → `prepare_status` → (admission) → `validate_status`
//!
//! The generic path itself takes care of what all kinds share: metadata, generation, `status` being
//! untouched by the main endpoint and `spec` by the status endpoint, resourceVersion, finalizers.

use serde_json::Value;

use crate::{field::FieldErrors, kinds::edit};

#[derive(Debug, Clone, Copy)]
pub struct Strategy {
    /// Defaults that depend on other fields (constants stand in the schema's table).
    /// Must be idempotent; runs on everything that is decoded from a client.
    pub default: fn(&mut Value),
    /// Clears what a client may not set at creation, and sets what creation implies. By default there is no status
    /// yet: it is written by those who may write it.
    pub prepare_create: fn(&mut Value),
    /// `(new, old)`: clears what an update may not change silently.
    pub prepare_update: fn(&mut Value, &Value),
    /// The first delete of the object, and its time (RFC 3339): what it says while it is emptied.
    pub prepare_delete: fn(&mut Value, &str),
    /// `(new, old)` for a write to the status subresource; `new` has old's spec already.
    pub prepare_status: fn(&mut Value, &Value),
    /// The whole object, at creation and after each update. Object metadata is validated elsewhere.
    pub validate: fn(&Value, &mut FieldErrors),
    /// The CEL expressions in the object, asked with `validate`. Set by the crate that can compile them.
    pub expressions: fn(&Value, &mut FieldErrors),
    /// What is asked of the object at creation only.
    pub validate_create: fn(&Value, &mut FieldErrors),
    /// `(new, old)`: what may not change.
    pub validate_update: fn(&Value, &Value, &mut FieldErrors),
    /// `(new, old)` for a write to the status subresource.
    pub validate_status: fn(&Value, &Value, &mut FieldErrors),
    /// Client-visible warnings on create and update (deprecated fields and the like).
    pub warnings: fn(&Value) -> Vec<String>,
    /// The syntax that `metadata.name` must have.
    pub name: NameRule,
    /// `metadata.generation` counts changes outside of metadata and status.
    pub counts_generation: bool,
    /// A PUT or apply to a name that does not exist creates it.
    pub create_on_update: bool,
    /// An update without a resourceVersion is allowed.
    pub unconditional_update: bool,
    /// The grace period of a graceful delete, in seconds, from the object (pods) and what the delete asks for;
    /// `None`: nothing ever waits for the kind.
    pub grace_period_seconds: fn(object: &Value, asked: Option<i64>) -> Option<i64>,
    /// What becomes of the objects that one owns when it is deleted without a word about them.
    pub dependents: Dependents,
    /// A delete answers with the object instead of a `Status`.
    pub returns_deleted_object: bool,
}

/// The default for what a deleted object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependents {
    /// They go after it.
    Collected,
    /// They are let go, as it was before there was a garbage collector: jobs, replication controllers.
    Orphaned,
    /// It has none, or sees to them itself, and what a delete says of them is not heard: events, definitions.
    None,
}

/// The syntaxes of names (apimachinery, `pkg/api/validation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 characters: most kinds.
    DnsSubdomain,
    /// RFC 1123 label, at most 63 characters: namespaces.
    DnsLabel,
    /// RFC 1035 label, at most 63 characters: services.
    Dns1035Label,
    /// Anything that fits in a path segment: RBAC.
    PathSegment,
}

impl Strategy {
    pub const DEFAULT: Strategy = Strategy {
        default: |_| {},
        prepare_create: |object| edit::remove(object, "status"),
        prepare_update: |_, _| {},
        prepare_delete: |_, _| {},
        prepare_status: |_, _| {},
        validate: |_, _| {},
        expressions: |_, _| {},
        validate_create: |_, _| {},
        validate_update: |_, _, _| {},
        validate_status: |_, _, _| {},
        warnings: |_| Vec::new(),
        name: NameRule::DnsSubdomain,
        counts_generation: false,
        create_on_update: false,
        unconditional_update: true,
        grace_period_seconds: |_, _| None,
        dependents: Dependents::Collected,
        returns_deleted_object: false,
    };
}
