//! The objects as parts see them: of each kind only what somebody decides on.
//!
//! A process is to hold fifty thousand pods, of each of which most is nobody's business here. Views are read, never
//! written: a write names what it changes. What a template holds is kept as the JSON it is ([`Json`]).

pub mod accounts;
pub mod apps;
pub mod batch;
pub mod certificates;
pub mod container;
pub mod lease;
pub mod meta;
pub mod namespace;
pub mod node;
pub mod node_selector;
pub mod parts;
pub mod pod;
pub mod policy;
pub mod requests;
pub mod service;
pub mod shape;
pub mod storage;
pub mod workload;

pub use accounts::{ClusterInfo, RootCertificate, Secret, ServiceAccount};
pub use apps::{ControllerRevision, DaemonSet, DaemonSetStatus, ReplicationController, StatefulSet, StatefulSetStatus};
pub use batch::{CronJob, Job};
pub use certificates::CertificateSigningRequest;
pub use lease::Lease;
pub use meta::{Condition, Labels, Meta, OwnerReference, seconds};
pub use namespace::Namespace;
pub use node::Node;
pub use pod::Pod;
pub use policy::{PodDisruptionBudget, PodDisruptionBudgetStatus};
pub use service::{EndpointSlice, Endpoints, Service};
pub use shape::PodShape;
pub use storage::{
    CSIDriver, CSINode, CSIStorageCapacity, PersistentVolume, PersistentVolumeClaim, StorageClass,
    VolumeAttributesClass,
};
pub use workload::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetStatus};

use std::{ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::{Key, Kind};

/// A view of a kind.
pub trait Object: DeserializeOwned + Send + Sync + 'static {
    const KIND: Kind;

    /// What of the kind is kept, as a query (`fieldSelector=…`); mostly all.
    const SELECTORS: &str = "";

    fn meta(&self) -> &Meta;

    /// Whether an object of the kind is among what [`Self::SELECTORS`] choose.
    fn is_kept(_namespace: &str, _name: &str) -> bool {
        true
    }

    /// Under which names the cache also finds the object: `(index, value)`. The owner's UID is always one
    /// ([`crate::cache::OWNER`]).
    fn index(&self, _add: &mut dyn FnMut(&'static str, &str)) {}

    /// Being deleted, and not at once.
    fn is_held_up(&self) -> bool {
        self.meta().is_held_up()
    }

    fn key(&self) -> Key {
        Key::new(&self.meta().namespace, &self.meta().name)
    }
}

/// A part of an object that is handed on as it is: a pod template, a spec.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Json(pub Arc<Value>);

impl Deref for Json {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(Arc::new(value)))
    }
}
