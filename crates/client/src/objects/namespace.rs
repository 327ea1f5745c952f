//! Namespaces.

use serde::Deserialize;

use super::{Condition, Meta, Object};
use crate::Kind;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    pub metadata: Meta,
    pub spec: NamespaceSpec,
    pub status: NamespaceStatus,
}

impl Object for Namespace {
    const KIND: Kind = Kind::of_cluster("", "v1", "Namespace", "namespaces");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn is_held_up(&self) -> bool {
        self.metadata.is_being_deleted() && !(self.spec.finalizers.is_empty() && self.metadata.finalizers.is_empty())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    /// Beside those of its metadata; who clears the content away holds one of these.
    pub finalizers: Vec<Box<str>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    pub phase: Box<str>,
    pub conditions: Vec<Condition>,
}
