//! What is to be done about an object, by its place in the graph: a pure function.

use std::{collections::BTreeSet, sync::Arc};

use client::{Key, Kind, requests::Propagation};

use super::{
    graph::{Graph, Id, Node, Seen, Uid},
    reference::{Identity, Standing},
};

/// An object as it was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub kind: Arc<Kind>,
    pub key: Key,
    pub uid: Uid,
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing can be decided before the server has told whether there is such an owner.
    Ask(Identity),
    Delete(Target, Propagation),
    /// Takes away its references to these owners.
    Release(Target, Vec<Uid>),
    /// Has these owners not wait for it.
    Unblock(Target, Vec<Uid>),
    /// Takes away the collector's finalizer.
    Finalize(Target, &'static str),
}

impl Graph {
    /// Steps that follow each other; the actions of one stand side by side.
    pub fn decide(&self, uid: &str) -> Vec<Vec<Action>> {
        let Some((id, node, seen)) = self.find(uid) else { return Vec::new() };
        match (seen.deleting, seen.finalizer) {
            (false, _) => self.keep_or_collect(id, node, seen),
            (true, Some(Propagation::Orphan)) => {
                let release = |dependent: &Id| {
                    let (node, seen) = self.seen(*dependent)?;
                    Some(Action::Release(target(node, seen), vec![Arc::clone(uid_of(self, id))]))
                };
                let releases = node.dependents.iter().filter(|other| **other != id).filter_map(release).collect();
                vec![releases, vec![Action::Finalize(target(node, seen), super::ORPHAN)]]
            }
            (true, Some(Propagation::Foreground)) if !self.is_blocked(id) || self.wait_for_each_other(id) => {
                vec![vec![Action::Finalize(target(node, seen), super::FOREGROUND)]]
            }
            (true, _) => Vec::new(),
        }
    }

    fn keep_or_collect(&self, id: Id, node: &Node, seen: &Seen) -> Vec<Vec<Action>> {
        let (mut solid, mut waiting, mut gone) = (false, Vec::new(), Vec::new());
        let (mut let_go, mut open) = (Vec::new(), Vec::new());
        for reference in &node.references {
            let owner = &self.nodes[reference.owner as usize];
            match &reference.standing {
                Standing::Seen if owner.waits() => waiting.push(Arc::clone(&owner.uid)),
                Standing::Seen | Standing::Exists(_) => solid = true,
                Standing::Gone => gone.push(Arc::clone(&owner.uid)),
                Standing::LetGo => let_go.push(Arc::clone(&owner.uid)),
                Standing::Open(identity) => open.push(Action::Ask((**identity).clone())),
                // Nobody can tell whose it is meant to be.
                Standing::Impossible => return Vec::new(),
            }
        }
        let target = target(node, seen);
        if !let_go.is_empty() {
            return vec![vec![Action::Release(target, let_go)]];
        }
        if !open.is_empty() || node.references.is_empty() {
            return vec![open];
        }
        if solid {
            gone.append(&mut waiting);
            return if gone.is_empty() { Vec::new() } else { vec![vec![Action::Release(target, gone)]] };
        }
        let dependents = || node.dependents.iter().filter(|other| **other != id);
        if waiting.is_empty() || dependents().next().is_none() {
            let how = seen.finalizer.unwrap_or(Propagation::Background);
            return vec![vec![Action::Delete(target, how)]];
        }
        // Its own dependents go first. One that waits already may wait for this very object: then nobody may wait for this.
        let mut steps = Vec::new();
        if dependents().any(|other| self.nodes[*other as usize].waits()) {
            let blocked = node.references.iter().filter(|reference| reference.blocks);
            let owners: Vec<Uid> = blocked.map(|reference| Arc::clone(uid_of(self, reference.owner))).collect();
            if !owners.is_empty() {
                steps.push(vec![Action::Unblock(target.clone(), owners)]);
            }
        }
        steps.push(vec![Action::Delete(target, Propagation::Foreground)]);
        steps
    }

    /// Those for whom an object, deleted in the foreground, waits.
    fn blocking(&self, id: Id) -> impl Iterator<Item = Id> {
        self.nodes[id as usize].dependents.iter().copied().filter(move |other| {
            let blocks =
                |node: &Node| node.references.iter().any(|reference| reference.owner == id && reference.blocks);
            *other != id && blocks(&self.nodes[*other as usize])
        })
    }

    fn is_blocked(&self, id: Id) -> bool {
        self.blocking(id).next().is_some()
    }

    /// Whether it waits for itself in the end, and nobody on the way can go before it does.
    fn wait_for_each_other(&self, id: Id) -> bool {
        let (mut found, mut rest) = (BTreeSet::new(), vec![id]);
        while let Some(next) = rest.pop() {
            if !self.nodes[next as usize].waits() || !self.is_blocked(next) {
                return false;
            }
            rest.extend(self.blocking(next).filter(|other| found.insert(*other)));
        }
        found.contains(&id)
    }

    fn seen(&self, id: Id) -> Option<(&Node, &Seen)> {
        let node = &self.nodes[id as usize];
        Some((node, node.seen.as_ref()?))
    }
}

fn uid_of(graph: &Graph, id: Id) -> &Uid {
    &graph.nodes[id as usize].uid
}

fn target(node: &Node, seen: &Seen) -> Target {
    Target { kind: Arc::clone(&seen.kind), key: seen.key.clone(), uid: Arc::clone(&node.uid), revision: seen.revision }
}
