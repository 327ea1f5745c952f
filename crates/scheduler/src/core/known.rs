//! What is known of a pod, and where it is.

use std::sync::Arc;

use client::objects::Pod;
use placement::Host;

use crate::class::Class;

pub struct Known {
    pub pod: Arc<Pod>,
    pub whereabouts: Whereabouts,
    /// Where room is made for it.
    pub nominated: Option<Host>,
    /// The class it rests as.
    pub resting: Option<Arc<Class>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// For its turn, for gates to open, or for another scheduler.
    Waiting,
    /// Decided and not yet seen.
    Assumed(Host),
    Bound(Host),
}

impl Whereabouts {
    pub fn host(self) -> Option<Host> {
        match self {
            Self::Waiting => None,
            Self::Assumed(host) | Self::Bound(host) => Some(host),
        }
    }
}

/// Whether this scheduler is to place the pod now.
pub fn is_waiting(pod: &Pod) -> bool {
    let shape = &pod.spec.shape;
    let ours = shape.scheduler_name.is_empty() || *shape.scheduler_name == *super::NAME;
    ours && shape.gates.is_empty() && pod.is_active()
}
