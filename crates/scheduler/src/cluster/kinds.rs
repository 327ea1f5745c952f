//! Kinds of pods: those that no rule tells apart. What has to be found out about a pod is found out once a kind.

use std::{collections::HashMap, sync::Arc};

use client::objects::{Labels, Pod, PodShape};
use placement::Amounts;

use super::{Cluster, TallyId, Who, maker};
use crate::class::Class;

pub type KindId = usize;
pub type TermId = usize;

/// Pods of one shape, one namespace and the same labels.
pub struct Kind {
    pub namespace: Box<str>,
    pub labels: Labels,
    pub shape: Arc<PodShape>,
    /// On their way out.
    pub ending: bool,
    pub maker: Option<Box<str>>,
    pub demand: Amounts,
    /// How many are placed or looked at.
    uses: usize,
    /// The tallies that count these pods, and by how much.
    pub tallies: Vec<(TallyId, i64)>,
    /// The wishes of these pods that others have to respect.
    pub carries: Vec<TermId>,
    /// Wishes of placed pods that are about these.
    pub concerned: Vec<TermId>,
    /// How many of all wishes have been looked at.
    concerned_until: usize,
    pub class: Option<(u64, Arc<Class>)>,
}

/// A wish of a placed pod about others.
pub struct Carried {
    pub who: Who,
    pub topology: usize,
    pub wish: Wish,
    pub tally: TallyId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    /// They must not be near.
    Apart,
    /// It is good, or bad, if they are.
    Near(i32),
}

#[derive(PartialEq, Eq, Hash)]
struct Identity {
    namespace: Box<str>,
    labels: Labels,
    shape: usize,
    ending: bool,
    maker: Option<Box<str>>,
}

#[derive(Default)]
pub struct Kinds {
    all: Vec<Option<Kind>>,
    free: Vec<KindId>,
    index: HashMap<Identity, KindId>,
}

impl Kinds {
    /// A kind that is in use.
    pub fn get(&self, id: KindId) -> &Kind {
        self.all[id].as_ref().expect("a kind in use is kept")
    }

    pub fn get_mut(&mut self, id: KindId) -> &mut Kind {
        self.all[id].as_mut().expect("a kind in use is kept")
    }

    pub fn iter(&self) -> impl Iterator<Item = (KindId, &Kind)> {
        self.all.iter().enumerate().filter_map(|(id, kind)| kind.as_ref().map(|kind| (id, kind)))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Kind> {
        self.all.iter_mut().flatten()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }
}

impl Kind {
    pub(super) fn forget_concerns(&mut self) {
        self.concerned.clear();
        self.concerned_until = 0;
    }

    fn identity(&self) -> Identity {
        Identity {
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            shape: Arc::as_ptr(&self.shape).addr(),
            ending: self.ending,
            maker: self.maker.clone(),
        }
    }
}

impl Cluster {
    /// The kind of a pod, in use until it is released.
    pub fn hold(&mut self, pod: &Pod) -> KindId {
        let identity = Identity {
            namespace: pod.metadata.namespace.clone(),
            labels: pod.metadata.labels.clone(),
            shape: Arc::as_ptr(&pod.spec.shape).addr(),
            ending: pod.metadata.is_being_deleted(),
            maker: maker(pod),
        };
        if let Some(id) = self.kinds.index.get(&identity) {
            let id = *id;
            self.kinds.get_mut(id).uses += 1;
            return id;
        }
        let id = self.kinds.free.pop().unwrap_or(self.kinds.all.len());
        let requests = pod.spec.shape.requests.amounts.iter().map(|(name, amount)| (&**name, *amount));
        let kind = Kind {
            namespace: identity.namespace.clone(),
            labels: identity.labels.clone(),
            shape: Arc::clone(&pod.spec.shape),
            ending: identity.ending,
            maker: identity.maker.clone(),
            demand: self.resources.amounts(requests),
            uses: 1,
            tallies: Vec::new(),
            carries: Vec::new(),
            concerned: Vec::new(),
            concerned_until: 0,
            class: None,
        };
        self.kinds.index.insert(identity, id);
        if id == self.kinds.all.len() {
            self.kinds.all.push(Some(kind));
        } else {
            self.kinds.all[id] = Some(kind);
        }
        self.find_tallies(id);
        id
    }

    pub fn release(&mut self, id: KindId) {
        let kind = self.kinds.get_mut(id);
        kind.uses -= 1;
        if kind.uses == 0 {
            let identity = kind.identity();
            self.kinds.index.remove(&identity);
            self.kinds.all[id] = None;
            self.kinds.free.push(id);
        }
    }

    /// Looks at the wishes that have come up since the kind was last asked about. True where some are about it.
    pub fn find_concerns(&mut self, id: KindId) -> bool {
        let kind = self.kinds.get(id);
        let new: Vec<TermId> = (kind.concerned_until..self.terms.len())
            .filter(|term| self.terms[*term].who.are(self, &kind.namespace, &kind.labels))
            .collect();
        let until = self.terms.len();
        let kind = self.kinds.get_mut(id);
        kind.concerned_until = until;
        let found = !new.is_empty();
        kind.concerned.extend(new);
        found
    }

    /// What pods of this kind carry is made known, when the first of them is placed.
    pub(super) fn make_wishes_known(&mut self, id: KindId) {
        let kind = self.kinds.get(id);
        let shape = Arc::clone(&kind.shape);
        let namespace = kind.namespace.clone();
        let required = shape.anti_affinity.required.iter().map(|term| (term, Wish::Apart));
        // Pods that must be near others are liked by them, a little.
        let must = shape.affinity.required.iter().map(|term| (term, Wish::Near(1)));
        let likes = shape.affinity.preferred.iter().map(|(weight, term)| (term, Wish::Near(*weight)));
        let dislikes = shape.anti_affinity.preferred.iter().map(|(weight, term)| (term, Wish::Near(-*weight)));
        let carries: Vec<TermId> = required
            .chain(must)
            .chain(likes)
            .chain(dislikes)
            .map(|(term, wish)| {
                let topology = self.topology(&term.topology_key);
                self.term(Who::of(term, &namespace), topology, wish)
            })
            .collect();
        let mut tallies: Vec<(TallyId, i64)> = Vec::new();
        for term in &carries {
            let tally = self.terms[*term].tally;
            match tallies.iter_mut().find(|(known, _)| *known == tally) {
                Some((_, weight)) => *weight += 1,
                None => tallies.push((tally, 1)),
            }
        }
        let kind = self.kinds.get_mut(id);
        kind.carries = carries;
        kind.tallies.retain(|(known, _)| tallies.iter().all(|(tally, _)| tally != known));
        kind.tallies.extend(tallies);
    }

    pub fn term_of(&self, id: TermId) -> &Carried {
        &self.terms[id]
    }
}
