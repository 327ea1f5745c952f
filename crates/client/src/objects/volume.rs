//! Volumes and claims to them.

use serde::Deserialize;

use super::{Meta, workload::object};

object! {
    PersistentVolumeClaim: namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeClaim {
    pub metadata: Meta,
}
