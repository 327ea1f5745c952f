//! Leases: who is still here.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Meta, Object};
use crate::Kind;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Lease {
    pub metadata: Meta,
    pub spec: LeaseSpec,
}

impl Object for Lease {
    const KIND: Kind = Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LeaseSpec {
    pub renew_time: Option<Timestamp>,
}
