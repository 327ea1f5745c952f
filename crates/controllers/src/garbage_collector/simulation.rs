//! The collector's core against a server that is asked at random: objects come, own each other in any way, cycles too, and
//! are deleted in any way, while news comes late and in any order of kinds.
//!
//! What must hold, whatever happens: nothing is collected that has an owner; in the end nothing is left whose owners are
//! all gone, and nothing waits for anything; what an owner let go is not collected for its sake, however late it is seen.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use client::{
    Kind,
    objects::{Meta, OwnerReference},
    requests::Propagation,
};
use stdx::{Random, SeededRandom};

use super::{
    FOREGROUND, ORPHAN,
    decide::{Action, Target},
    graph::{Answer, Graph},
    reference::Identity,
};

const SEEDS: u64 = 2000;
const KINDS: [&str; 3] = ["A", "B", "C"];

#[derive(Clone)]
struct Object {
    kind: usize,
    meta: Meta,
}

enum News {
    Saw(Object),
    Ended(Box<str>),
}

/// What the server holds, and what it has not yet told of each kind.
struct World {
    random: SeededRandom,
    kinds: Vec<Arc<Kind>>,
    objects: BTreeMap<Box<str>, Object>,
    untold: Vec<VecDeque<News>>,
    revision: u64,
    graph: Graph,
    look: BTreeSet<Arc<str>>,
    ask: BTreeSet<Identity>,
    /// Owners that have let go of what they owned.
    let_go: BTreeSet<Box<str>>,
}

fn change(meta: &mut Meta, change: impl FnOnce(&mut Vec<OwnerReference>)) {
    let mut owners = meta.owner_references.to_vec();
    change(&mut owners);
    meta.owner_references = owners.into();
}

impl World {
    fn new(seed: u64) -> Self {
        let kind = |name: &'static str| Arc::new(Kind::namespaced("", "v1", name, name));
        Self {
            random: SeededRandom::new(seed),
            kinds: KINDS.iter().map(|name| kind(name)).collect(),
            objects: BTreeMap::new(),
            untold: KINDS.iter().map(|_| VecDeque::new()).collect(),
            revision: 0,
            graph: Graph::default(),
            look: BTreeSet::new(),
            ask: BTreeSet::new(),
            let_go: BTreeSet::new(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    fn write(&mut self, mut object: Object) {
        self.revision += 1;
        object.meta.resource_version = self.revision;
        let kind = object.kind;
        if object.meta.is_being_deleted() && object.meta.finalizers.is_empty() {
            self.objects.remove(&object.meta.uid);
            return self.untold[kind].push_back(News::Ended(object.meta.uid));
        }
        self.objects.insert(object.meta.uid.clone(), object.clone());
        self.untold[kind].push_back(News::Saw(object));
    }

    fn delete(&mut self, uid: &str, how: Propagation) {
        let Some(mut object) = self.objects.get(uid).cloned() else { return };
        object.meta.finalizers.retain(|finalizer| **finalizer != *ORPHAN && **finalizer != *FOREGROUND);
        match how {
            Propagation::Background => {}
            Propagation::Foreground => object.meta.finalizers.push(FOREGROUND.into()),
            Propagation::Orphan => object.meta.finalizers.push(ORPHAN.into()),
        }
        object.meta.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH);
        self.write(object);
    }

    /// A user does something.
    fn change(&mut self, number: usize) {
        let any = |world: &mut Self| {
            let at = world.below(world.objects.len().max(1));
            world.objects.keys().nth(at).cloned()
        };
        match self.below(10) {
            0..5 => {
                let meta = Meta {
                    name: format!("o{number}").into(),
                    namespace: "n".into(),
                    uid: format!("u{number:03}").into(),
                    ..Meta::default()
                };
                let kind = self.below(KINDS.len());
                self.write(Object { kind, meta });
                let made: Box<str> = format!("u{number:03}").into();
                for _ in 0..self.below(3) {
                    let owner = any(self).unwrap_or_else(|| made.clone());
                    self.own(&made, &owner);
                }
            }
            5..7 => {
                if let (Some(dependent), Some(owner)) = (any(self), any(self)) {
                    self.own(&dependent, &owner);
                }
            }
            _ => {
                if let Some(uid) = any(self) {
                    let how = [Propagation::Background, Propagation::Foreground, Propagation::Orphan][self.below(3)];
                    self.delete(&uid, how);
                }
            }
        }
    }

    fn own(&mut self, dependent: &str, owner: &str) {
        let (Some(mut object), Some(owner)) = (self.objects.get(dependent).cloned(), self.objects.get(owner).cloned())
        else {
            return;
        };
        if object.meta.owner_references.iter().any(|reference| reference.uid == owner.meta.uid) {
            return;
        }
        let reference = OwnerReference {
            api_version: "v1".into(),
            kind: KINDS[owner.kind].into(),
            name: owner.meta.name.clone(),
            uid: owner.meta.uid,
            block_owner_deletion: self.below(2) == 0,
            ..OwnerReference::default()
        };
        change(&mut object.meta, |owners| owners.push(reference));
        self.write(object);
    }

    /// The collector does something: hears, asks, or acts.
    fn collect(&mut self) {
        match self.below(4) {
            0 => self.answer(),
            1 => self.act(),
            _ => self.hear(),
        }
        let news = self.graph.take_news();
        self.look.extend(news.look);
    }

    fn hear(&mut self) {
        let kind = self.below(KINDS.len());
        match self.untold[kind].pop_front() {
            Some(News::Saw(object)) => self.graph.see(&self.kinds[kind], &object.meta),
            Some(News::Ended(uid)) => self.graph.end(&uid),
            None => {}
        }
    }

    fn answer(&mut self) {
        let Some(identity) = self.ask.pop_first() else { return };
        let answer = match self.objects.get(&*identity.uid) {
            Some(_) => Answer::Exists,
            None => Answer::Absent { everywhere: false },
        };
        self.graph.answer(&identity, answer);
        if self.graph.is_unseen(&identity) {
            self.ask.insert(identity);
        }
    }

    fn act(&mut self) {
        let at = self.below(self.look.len().max(1));
        let Some(uid) = self.look.iter().nth(at).cloned() else { return };
        self.look.remove(&uid);
        for action in self.graph.decide(&uid).into_iter().flatten() {
            // Some requests fail; the object is looked at again.
            if self.below(8) == 0 || !self.carry_out(action) {
                self.look.insert(uid);
                return;
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> bool {
        if let Action::Ask(identity) = action {
            self.ask.insert(identity);
            return true;
        }
        let (Action::Delete(Target { uid, revision, .. }, _)
        | Action::Release(Target { uid, revision, .. }, _)
        | Action::Unblock(Target { uid, revision, .. }, _)
        | Action::Finalize(Target { uid, revision, .. }, _)) = &action
        else {
            return true;
        };
        let Some(mut object) = self.objects.get(&**uid).cloned() else { return true };
        match &action {
            Action::Delete(_, how) => {
                if object.meta.resource_version != *revision {
                    return false;
                }
                self.check_unowned(&object);
                self.delete(uid, *how);
                return true;
            }
            Action::Release(_, owners) => {
                let released = |reference: &OwnerReference| owners.iter().any(|owner| **owner == *reference.uid);
                change(&mut object.meta, |owners| owners.retain(|reference| !released(reference)));
            }
            Action::Unblock(..) => {
                change(&mut object.meta, |owners| {
                    owners.iter_mut().for_each(|owner| owner.block_owner_deletion = false)
                });
            }
            Action::Finalize(_, finalizer) => {
                if *finalizer == ORPHAN && object.meta.finalizers.iter().any(|known| **known == *ORPHAN) {
                    self.let_go.insert(object.meta.uid.clone());
                }
                object.meta.finalizers.retain(|known| **known != **finalizer);
            }
            Action::Ask(_) => {}
        }
        self.write(object);
        true
    }

    /// What is collected has no owner that stays.
    fn check_unowned(&self, object: &Object) {
        assert!(!object.meta.owner_references.is_empty(), "{} has no owner", object.meta.uid);
        for reference in &object.meta.owner_references {
            assert!(!self.let_go.contains(&reference.uid), "{} was let go by {}", object.meta.uid, reference.uid);
            let Some(owner) = self.objects.get(&reference.uid) else { continue };
            assert!(owner.meta.is_being_deleted(), "{} is owned by {}", object.meta.uid, owner.meta.uid);
        }
    }

    fn is_quiet(&self) -> bool {
        self.untold.iter().all(VecDeque::is_empty) && self.look.is_empty() && self.ask.is_empty()
    }

    fn check_end(&self) {
        for (uid, object) in &self.objects {
            let owners = &object.meta.owner_references;
            let has = |reference: &OwnerReference| self.objects.contains_key(&reference.uid);
            assert!(owners.is_empty() || owners.iter().any(has), "{uid} is left without its owners");
            assert!(!object.meta.is_being_deleted(), "{uid} waits: {:?}", object.meta.finalizers);
        }
    }
}

#[test]
fn nothing_owned_goes_and_nothing_unowned_stays() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for number in 0..40 {
            world.change(number);
            for _ in 0..world.below(12) {
                world.collect();
            }
        }
        let mut steps = 0;
        while !world.is_quiet() {
            world.collect();
            steps += 1;
            assert!(steps < 100_000, "seed {seed}: no end");
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.check_end()));
        assert!(result.is_ok(), "seed {seed}");
        assert_eq!(
            world.graph.len(),
            world.objects.len() + world.absent_owners(),
            "seed {seed}: the graph keeps too much"
        );
    }
}

impl World {
    /// Owners that are gone and still named by objects that have another.
    fn absent_owners(&self) -> usize {
        let named = self.objects.values().flat_map(|object| &object.meta.owner_references);
        named
            .map(|reference| &reference.uid)
            .filter(|uid| !self.objects.contains_key(*uid))
            .collect::<BTreeSet<_>>()
            .len()
    }
}

#[test]
fn fifty_thousand_pods_take_little_room() {
    let mut graph = Graph::default();
    let (pods, sets) = (Arc::new(Kind::namespaced("", "v1", "Pod", "pods")), "ReplicaSet");
    for number in 0..50_000_u64 {
        let owner = OwnerReference {
            kind: sets.into(),
            uid: format!("set-{}", number / 100).into(),
            ..OwnerReference::default()
        };
        let uid = format!("pod-{number}");
        let meta = Meta {
            name: uid.as_str().into(),
            uid: uid.into(),
            owner_references: vec![owner].into(),
            ..Meta::default()
        };
        graph.see(&pods, &meta);
    }
    assert!(size_of::<super::graph::Node>() <= 144, "{} bytes a node", size_of::<super::graph::Node>());
    assert_eq!(graph.len(), 50_500);
}
