//! References to owners: what one says, and what is known of the owner it names.
//!
//! Not here: who refers to whom ([`super::graph`]).

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use client::objects::OwnerReference;

use super::graph::{Id, Seen, Uid};

pub(super) struct Reference {
    pub owner: Id,
    /// Whether the owner, deleted in the foreground, waits for this object.
    pub blocks: bool,
    pub standing: Standing,
}

/// What is known of the owner that a reference names. A reference says more than a UID, and only one that says what is
/// so has an owner.
#[derive(Debug)]
pub(super) enum Standing {
    /// The owner is seen, and is what the reference says.
    Seen,
    /// Only the server can tell.
    Open(Box<Identity>),
    /// The server has it, although it is not seen as the reference calls it.
    Exists(Box<Identity>),
    /// There is no such owner, nor will there be: a UID does not come again.
    Gone,
    /// The owner is gone, and has let go of what it owned.
    LetGo,
    /// An object of the cluster cannot have an owner in a namespace.
    Impossible,
}

/// An owner as a reference names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub api_version: Box<str>,
    pub kind: Box<str>,
    /// That of the dependent: where the owner is if its kind has namespaces.
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Uid,
}

impl Identity {
    pub fn new(reference: &OwnerReference, namespace: &str) -> Self {
        Self {
            api_version: reference.api_version.clone(),
            kind: reference.kind.clone(),
            namespace: namespace.into(),
            name: reference.name.clone(),
            uid: (*reference.uid).into(),
        }
    }

    /// Whether what is seen is what is named. The version does not matter: it is one object in all of them.
    pub(super) fn names(&self, seen: &Seen) -> bool {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        let namespace = seen.key.namespace();
        *self.kind == *seen.kind.kind
            && *group == *seen.kind.group
            && *self.name == *seen.key.name()
            && (namespace.is_empty() || *self.namespace == *namespace)
    }
}

/// Whether an owner lies in another namespace than what it is to own.
pub(super) fn is_elsewhere(owner: &Seen, namespace: &str) -> bool {
    !owner.key.namespace().is_empty() && *owner.key.namespace() != *namespace
}

/// Owners that let go what they owned. Who is seen to name one only later is let go too, and not collected.
#[derive(Default)]
pub(super) struct LetGo {
    uids: HashSet<Uid>,
    /// In the order in which they came; of more than [`REMEMBERED`] the first are forgotten.
    order: VecDeque<Uid>,
}

const REMEMBERED: usize = 4096;

impl LetGo {
    pub fn add(&mut self, uid: &Uid) {
        if self.uids.insert(Arc::clone(uid)) {
            self.order.push_back(Arc::clone(uid));
        }
        if self.order.len() > REMEMBERED
            && let Some(first) = self.order.pop_front()
        {
            self.uids.remove(&first);
        }
    }

    pub fn has(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }
}
