//! Who owns whom: every object the server holds, by UID, and the references between them.
//!
//! What is seen is told to it ([`Graph::see`], [`Graph::end`]), and so is what the server answered about owners that are
//! not seen ([`Graph::answer`]). It says what is to be looked at again ([`Graph::take_news`]).
//!
//! Not here: what is done about an object that is looked at ([`super::decide`]).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use client::{
    Key, Kind,
    objects::{Meta, OwnerReference},
    requests::Propagation,
};

use super::reference::{Identity, LetGo, Reference, Standing, is_elsewhere};
use crate::plan::{Event, Reference as Subject};

pub type Uid = Arc<str>;

/// A place among the nodes.
pub(super) type Id = u32;

#[derive(Default)]
pub struct Graph {
    ids: HashMap<Uid, Id>,
    pub(super) nodes: Vec<Node>,
    /// Places that may be used again.
    free: Vec<Id>,
    let_go: LetGo,
    news: News,
}

/// What followed from what was told.
#[derive(Debug, Default)]
pub struct News {
    /// Objects to look at.
    pub look: Vec<Uid>,
    pub events: Vec<Event>,
}

/// An object, or the UID of one that is not seen and that others call their owner.
#[derive(Default)]
pub(super) struct Node {
    pub uid: Uid,
    pub seen: Option<Seen>,
    pub references: Box<[Reference]>,
    pub dependents: BTreeSet<Id>,
}

pub(super) struct Seen {
    pub kind: Arc<Kind>,
    pub key: Key,
    pub revision: u64,
    pub deleting: bool,
    /// Which of the collector's finalizers it has.
    pub finalizer: Option<Propagation>,
}

/// What the server says of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Exists,
    /// `everywhere`: its kind has no namespaces, so the answer is everybody's.
    Absent {
        everywhere: bool,
    },
    Impossible,
}

impl Seen {
    /// Deleted, and letting go of those it owns.
    fn lets_go(&self) -> bool {
        self.deleting && self.finalizer == Some(Propagation::Orphan)
    }

    /// Deleted, and waiting for those it owns to go first.
    pub fn waits(&self) -> bool {
        self.deleting && self.finalizer == Some(Propagation::Foreground)
    }
}

impl Node {
    pub fn waits(&self) -> bool {
        self.seen.as_ref().is_some_and(Seen::waits)
    }
}

fn finalizer(meta: &Meta) -> Option<Propagation> {
    let has = |name: &str| meta.finalizers.iter().any(|finalizer| **finalizer == *name);
    // Of both, letting go comes first: what is let go is not waited for.
    if has(super::ORPHAN) {
        Some(Propagation::Orphan)
    } else {
        has(super::FOREGROUND).then_some(Propagation::Foreground)
    }
}

impl Graph {
    /// The state of an object: kept if it is later than what is known.
    pub fn see(&mut self, kind: &Arc<Kind>, meta: &Meta) {
        self.see_at(kind, &Key::new(&meta.namespace, &meta.name), meta);
    }

    /// As [`Self::see`], where the key is at hand.
    pub fn see_at(&mut self, kind: &Arc<Kind>, key: &Key, meta: &Meta) {
        let id = self.id_of(&meta.uid);
        let node = &mut self.nodes[id as usize];
        let now = Seen {
            kind: Arc::clone(kind),
            key: key.clone(),
            revision: meta.resource_version,
            deleting: meta.is_being_deleted(),
            finalizer: finalizer(meta),
        };
        let is_late = |known: &Seen| meta.resource_version != 0 && known.revision >= meta.resource_version;
        if node.seen.as_ref().is_some_and(is_late) {
            return;
        }
        let changes_fate = now.deleting && now.finalizer.is_some();
        let before = node.seen.replace(now);
        let is_new = before.is_none();
        if before.as_ref().is_some_and(Seen::lets_go) && meta.is_being_deleted() && finalizer(meta).is_none() {
            self.let_go.add(&self.nodes[id as usize].uid);
        }
        if changes_fate && before.is_none_or(|before| !before.deleting || before.finalizer != finalizer(meta)) {
            self.look(id);
            self.look_at_dependents(id);
        }
        if is_new {
            self.introduce(id);
        }
        if is_new || self.differ(id, &meta.owner_references) {
            self.refer(id, meta);
        }
    }

    /// The object is gone.
    pub fn end(&mut self, uid: &str) {
        let Some(&id) = self.ids.get(uid) else { return };
        let node = &mut self.nodes[id as usize];
        let Some(last) = node.seen.take() else { return };
        if last.lets_go() {
            self.let_go.add(&node.uid);
        }
        let lets_go = self.let_go.has(&node.uid);
        for reference in std::mem::take(&mut node.references) {
            self.part(reference.owner, id);
        }
        for dependent in self.dependents(id) {
            for reference in self.references_to(dependent, id) {
                match std::mem::replace(&mut reference.standing, Standing::Gone) {
                    // Under this name it may still be there.
                    Standing::Exists(identity) | Standing::Open(identity) => {
                        reference.standing = Standing::Open(identity)
                    }
                    Standing::Impossible => reference.standing = Standing::Impossible,
                    Standing::Seen if lets_go => reference.standing = Standing::LetGo,
                    Standing::Seen | Standing::Gone => {}
                    Standing::LetGo => reference.standing = Standing::LetGo,
                }
            }
            self.look(dependent);
        }
        self.free_if_unused(id);
    }

    /// What the server says of an owner that is asked for.
    pub fn answer(&mut self, identity: &Identity, answer: Answer) {
        let Some(&id) = self.ids.get(&identity.uid) else { return };
        for dependent in self.dependents(id) {
            let mut is_news = false;
            for reference in self.references_to(dependent, id) {
                let (Standing::Open(named) | Standing::Exists(named)) = &reference.standing else { continue };
                let same = if answer == (Answer::Absent { everywhere: true }) {
                    (&named.api_version, &named.kind, &named.name)
                        == (&identity.api_version, &identity.kind, &identity.name)
                } else {
                    **named == *identity
                };
                if !same {
                    continue;
                }
                let was_open = matches!(reference.standing, Standing::Open(_));
                reference.standing = match answer {
                    Answer::Exists => Standing::Exists(Box::new(identity.clone())),
                    Answer::Absent { .. } => Standing::Gone,
                    Answer::Impossible => Standing::Impossible,
                };
                is_news |= was_open || answer != Answer::Exists;
            }
            if is_news {
                self.look(dependent);
            }
        }
    }

    /// Whether an object names this owner, and cannot tell from what is seen whether it has one.
    pub fn is_named(&self, identity: &Identity) -> bool {
        let Some(&id) = self.ids.get(&identity.uid) else { return false };
        self.nodes[id as usize].dependents.iter().any(|dependent| {
            self.nodes[*dependent as usize].references.iter().any(|reference| match &reference.standing {
                Standing::Open(named) | Standing::Exists(named) => **named == *identity,
                _ => false,
            })
        })
    }

    /// Whether no watch has told of this owner, and somebody names it.
    pub fn is_unseen(&self, identity: &Identity) -> bool {
        let is_seen = |id: &Id| self.nodes[*id as usize].seen.is_some();
        !self.ids.get(&identity.uid).is_some_and(is_seen) && self.is_named(identity)
    }

    /// The objects of a kind as of a revision: what is not among them, and not later, is gone.
    pub fn retain(&mut self, kind: &Arc<Kind>, uids: &HashSet<&str>, revision: u64) {
        let is_gone = |node: &&Node| {
            let seen = node.seen.as_ref().filter(|seen| seen.kind == *kind && seen.revision <= revision);
            seen.is_some() && !uids.contains(&*node.uid)
        };
        let gone: Vec<Uid> = self.nodes.iter().filter(is_gone).map(|node| Arc::clone(&node.uid)).collect();
        for uid in gone {
            self.end(&uid);
        }
    }

    /// A kind is no longer served. Its objects are not seen any more; whether there are any is an open question.
    pub fn lose(&mut self, kind: &Arc<Kind>) {
        for id in 0..Id::try_from(self.nodes.len()).unwrap_or(Id::MAX) {
            let node = &mut self.nodes[id as usize];
            let Some(lost) = node.seen.take_if(|seen| seen.kind == *kind) else { continue };
            let uid = Arc::clone(&node.uid);
            for reference in std::mem::take(&mut node.references) {
                self.part(reference.owner, id);
            }
            for dependent in self.dependents(id) {
                let namespace: Box<str> = self.namespace_of(dependent).into();
                for reference in self.references_to(dependent, id) {
                    if matches!(reference.standing, Standing::Seen) {
                        reference.standing = Standing::Open(Box::new(Identity {
                            api_version: lost.kind.api_version().into(),
                            kind: (*lost.kind.kind).into(),
                            namespace: namespace.clone(),
                            name: lost.key.name().into(),
                            uid: Arc::clone(&uid),
                        }));
                    }
                }
                self.look(dependent);
            }
            self.free_if_unused(id);
        }
    }

    /// What is to be looked at since this was last asked.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    pub(super) fn find(&self, uid: &str) -> Option<(Id, &Node, &Seen)> {
        let id = *self.ids.get(uid)?;
        let node = &self.nodes[id as usize];
        Some((id, node, node.seen.as_ref()?))
    }

    /// Nodes in use.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    fn id_of(&mut self, uid: &str) -> Id {
        if let Some(id) = self.ids.get(uid) {
            return *id;
        }
        let uid: Uid = uid.into();
        let node = Node { uid: Arc::clone(&uid), ..Node::default() };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                // Four thousand million objects do not fit in memory.
                Id::try_from(self.nodes.len() - 1).unwrap_or(Id::MAX)
            }
        };
        self.ids.insert(uid, id);
        id
    }

    fn free_if_unused(&mut self, id: Id) {
        let node = &mut self.nodes[id as usize];
        if node.seen.is_none() && node.dependents.is_empty() && self.ids.remove(&node.uid).is_some() {
            *node = Node::default();
            self.free.push(id);
        }
    }

    fn look(&mut self, id: Id) {
        self.news.look.push(Arc::clone(&self.nodes[id as usize].uid));
    }

    fn look_at_dependents(&mut self, id: Id) {
        for dependent in self.dependents(id) {
            self.look(dependent);
        }
    }

    fn dependents(&self, id: Id) -> Vec<Id> {
        self.nodes[id as usize].dependents.iter().copied().collect()
    }

    fn references_to(&mut self, dependent: Id, owner: Id) -> impl Iterator<Item = &mut Reference> {
        self.nodes[dependent as usize].references.iter_mut().filter(move |reference| reference.owner == owner)
    }

    fn namespace_of(&self, id: Id) -> &str {
        self.nodes[id as usize].seen.as_ref().map_or("", |seen| seen.key.namespace())
    }

    /// An object is seen for the first time by those who have named it already.
    fn introduce(&mut self, id: Id) {
        for dependent in self.dependents(id) {
            let mut strays = Vec::new();
            let nodes = &mut self.nodes;
            let Some(owner) = nodes[id as usize].seen.take() else { return };
            for reference in nodes[dependent as usize].references.iter_mut().filter(|reference| reference.owner == id) {
                let (Standing::Open(named) | Standing::Exists(named)) = &reference.standing else { continue };
                if named.names(&owner) {
                    reference.standing = Standing::Seen;
                } else if is_elsewhere(&owner, &named.namespace) {
                    strays.push(named.clone());
                }
            }
            nodes[id as usize].seen = Some(owner);
            for named in strays {
                self.tell_of_stray(dependent, &named);
            }
            self.look(dependent);
        }
    }

    fn differ(&self, id: Id, wanted: &[OwnerReference]) -> bool {
        let known = &self.nodes[id as usize].references;
        known.len() != wanted.len()
            || known.iter().zip(wanted).any(|(known, wanted)| {
                *self.nodes[known.owner as usize].uid != *wanted.uid || known.blocks != wanted.block_owner_deletion
            })
    }

    /// Gives an object the references it has now.
    fn refer(&mut self, id: Id, meta: &Meta) {
        let before = std::mem::take(&mut self.nodes[id as usize].references);
        let mut references = Vec::with_capacity(meta.owner_references.len());
        let mut needs_look = false;
        for reference in &meta.owner_references {
            let owner = self.id_of(&reference.uid);
            let identity = Identity::new(reference, &meta.namespace);
            self.nodes[owner as usize].dependents.insert(id);
            let standing = match &self.nodes[owner as usize].seen {
                Some(seen) if identity.names(seen) => Standing::Seen,
                Some(seen) if is_elsewhere(seen, &meta.namespace) => {
                    self.tell_of_stray(id, &identity);
                    Standing::Open(Box::new(identity))
                }
                None if self.let_go.has(&reference.uid) => Standing::LetGo,
                _ => Standing::Open(Box::new(identity)),
            };
            needs_look |= !matches!(standing, Standing::Seen) || self.nodes[owner as usize].waits();
            references.push(Reference { owner, blocks: reference.block_owner_deletion, standing });
        }
        self.nodes[id as usize].references = references.into();
        for old in before {
            let stays = self.references_to(id, old.owner).next().is_some();
            let blocks = self.references_to(id, old.owner).any(|reference| reference.blocks);
            if !stays {
                self.part(old.owner, id);
            } else if old.blocks && !blocks && self.nodes[old.owner as usize].waits() {
                self.look(old.owner);
            }
        }
        if needs_look {
            self.look(id);
        }
    }

    /// `dependent` no longer names `owner`, who may have waited for that.
    fn part(&mut self, owner: Id, dependent: Id) {
        let node = &mut self.nodes[owner as usize];
        node.dependents.remove(&dependent);
        if node.waits() {
            self.look(owner);
        }
        self.free_if_unused(owner);
    }

    fn tell_of_stray(&mut self, dependent: Id, named: &Identity) {
        let node = &self.nodes[dependent as usize];
        let Some(seen) = &node.seen else { return };
        let about = Subject {
            kind: (*seen.kind).clone(),
            key: seen.key.clone(),
            uid: (*node.uid).into(),
            revision: seen.revision,
        };
        let Identity { api_version, kind, namespace, name, uid } = named;
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in \
             namespace {namespace:?}"
        );
        self.news.events.push(Event::warning(&about, "OwnerRefInvalidNamespace", message));
    }
}
