//! Hosts: what a node has, what its pods take, and who has been promised room on it.

use std::sync::Arc;

use client::{
    Key,
    objects::{Node, Object, Pod, requests::amount, shape::HostPort},
};
use placement::{Amounts, Capacity, Host};

use super::{Cluster, KindId, PODS};

/// A node, or the name of one that pods are bound to and that is not known.
#[derive(Default)]
pub struct HostState {
    pub name: Box<str>,
    pub node: Option<Arc<Node>>,
    pub capacity: Capacity,
    /// What the pods are taken to need where nodes are compared: processor time and memory.
    pub presumed: [i64; 2],
    pub pods: Vec<Placed>,
    pub nominated: Vec<Nominated>,
}

pub struct Placed {
    pub pod: Arc<Pod>,
    pub kind: KindId,
}

/// A pod for which room is being made on the host.
pub struct Nominated {
    pub pod: Arc<Pod>,
    pub key: Key,
    pub kind: KindId,
    /// The place that it takes among the node's pods included.
    pub demand: Amounts,
}

impl Nominated {
    pub fn priority(&self) -> i32 {
        self.pod.spec.shape.priority
    }
}

impl HostState {
    pub fn ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.iter().flat_map(|placed| &placed.pod.spec.shape.host_ports)
    }

    pub fn is_labelled(&self, key: &str) -> Option<&str> {
        self.node.as_ref()?.metadata.labels.get(key)
    }
}

/// Whether two states of a node are the same to everything that is decided here.
fn is_same(old: &Node, new: &Node) -> bool {
    let images = |node: &Node| node.status.images.len();
    is_labelled_same(old, new)
        && old.status.allocatable == new.status.allocatable
        && images(old) == images(new)
        && old.status.images == new.status.images
}

/// Whether counts by domain need not be touched.
fn is_labelled_same(old: &Node, new: &Node) -> bool {
    old.metadata.labels == new.metadata.labels && old.spec == new.spec
}

impl Cluster {
    /// The host of that name, which need not have a node.
    pub fn host_named(&mut self, name: &str) -> Host {
        if let Some(host) = self.host(name) {
            return host;
        }
        let state = HostState { name: name.into(), ..HostState::default() };
        let host = match self.free.pop() {
            Some(host) => {
                self.hosts[host as usize] = state;
                host
            }
            None => {
                self.hosts.push(state);
                (self.hosts.len() - 1) as Host
            }
        };
        self.by_name.insert(name.into(), host);
        host
    }

    /// Gives up a host that has neither node nor pods.
    fn give_up(&mut self, host: Host) {
        let state = &self.hosts[host as usize];
        if state.node.is_none() && state.pods.is_empty() && state.nominated.is_empty() {
            self.by_name.remove(&state.name);
            self.free.push(host);
        }
    }

    /// A node as it is now, or none of that name any more. False where nothing changed that matters here.
    pub fn set_node(&mut self, name: &str, node: Option<Arc<Node>>) -> bool {
        if node.is_none() && self.host(name).is_none() {
            return false;
        }
        let host = self.host_named(name);
        let index = host as usize;
        match (&self.hosts[index].node, &node) {
            (None, None) => return false,
            (Some(old), Some(new)) if is_same(old, new) => {
                self.hosts[index].node = node;
                return false;
            }
            _ => {}
        }
        let relabelled = match (&self.hosts[index].node, &node) {
            (Some(old), Some(new)) => !is_labelled_same(old, new),
            _ => true,
        };
        if relabelled {
            self.leave_counts(host);
        }
        let old = std::mem::replace(&mut self.hosts[index].node, node.clone());
        self.nodes += usize::from(node.is_some());
        self.nodes -= usize::from(old.is_some());
        self.count_images(old.as_deref(), node.as_deref());
        let total = match &node {
            None => Amounts::default(),
            Some(node) => {
                let allocatable = node.status.allocatable.iter();
                self.resources.amounts(allocatable.map(|(name, written)| (name, amount(name, written))))
            }
        };
        self.hosts[index].capacity.total = total;
        if relabelled {
            for at in 0..self.topologies.len() {
                let was_fine = self.is_fine(at);
                let value = node.as_ref().and_then(|node| node.metadata.labels.get(&self.keys[at]));
                self.topologies[at].place(host, value);
                self.granularity += u64::from(was_fine != self.is_fine(at));
            }
            self.enter_counts(host);
        }
        self.touch(host);
        self.give_up(host);
        true
    }

    fn count_images(&mut self, old: Option<&Node>, new: Option<&Node>) {
        for image in old.into_iter().flat_map(|node| &node.status.images).flat_map(|image| &image.names) {
            if let Some(nodes) = self.images.get_mut(image) {
                *nodes -= 1;
                if *nodes == 0 {
                    self.images.remove(image);
                }
            }
        }
        for image in new.into_iter().flat_map(|node| &node.status.images).flat_map(|image| &image.names) {
            *self.images.entry(image.clone()).or_default() += 1;
        }
    }

    /// Puts a pod on a host.
    pub fn attach(&mut self, pod: &Arc<Pod>, host: Host) {
        let kind = self.hold_with_wishes(pod);
        self.load(kind, host, 1);
        for claim in pod.claims() {
            *self.claims.entry(claim).or_default() += 1;
        }
        self.hosts[host as usize].pods.push(Placed { pod: Arc::clone(pod), kind });
        self.count(kind, host, 1);
        self.touch(host);
    }

    /// The kind of a pod whose wishes others are to respect.
    fn hold_with_wishes(&mut self, pod: &Pod) -> KindId {
        let kind = self.hold(pod);
        let shape = &pod.spec.shape;
        let wishes = [&shape.affinity, &shape.anti_affinity];
        let has_wishes = wishes.iter().any(|wish| !wish.required.is_empty() || !wish.preferred.is_empty());
        if has_wishes && self.kinds.get(kind).carries.is_empty() {
            self.make_wishes_known(kind);
        }
        kind
    }

    /// Takes a pod off a host.
    pub fn detach(&mut self, pod: &Pod, host: Host) {
        let pods = &mut self.hosts[host as usize].pods;
        let Some(at) = pods.iter().position(|placed| placed.pod.metadata.uid == pod.metadata.uid) else { return };
        let Placed { kind, pod } = pods.swap_remove(at);
        self.load(kind, host, -1);
        for claim in pod.claims() {
            if let Some(users) = self.claims.get_mut(&claim) {
                *users -= 1;
                if *users == 0 {
                    self.claims.remove(&claim);
                }
            }
        }
        self.count(kind, host, -1);
        self.release(kind);
        self.touch(host);
        self.give_up(host);
    }

    /// Another state of a pod that stays where it is.
    pub fn replace(&mut self, pod: &Arc<Pod>, host: Host) {
        let state = &mut self.hosts[host as usize];
        let Some(placed) = state.pods.iter_mut().find(|placed| placed.pod.metadata.uid == pod.metadata.uid) else {
            return;
        };
        let (old, new) = (&placed.pod, pod);
        let same = old.metadata.labels == new.metadata.labels
            && Arc::ptr_eq(&old.spec.shape, &new.spec.shape)
            && old.metadata.is_being_deleted() == new.metadata.is_being_deleted()
            && old.metadata.owner_references == new.metadata.owner_references;
        if same {
            placed.pod = Arc::clone(pod);
        } else {
            let (old, name) = (Arc::clone(old), state.name.clone());
            self.detach(&old, host);
            // A host that nothing else is on was given up with the pod.
            let host = self.host_named(&name);
            self.attach(pod, host);
        }
    }

    fn load(&mut self, kind: KindId, host: Host, sign: i64) {
        let kind = self.kinds.get(kind);
        let state = &mut self.hosts[host as usize];
        let used = &mut state.capacity.used;
        if sign > 0 {
            used.add(&kind.demand)
        } else {
            used.subtract(&kind.demand)
        }
        used.set(PODS, used.get(PODS) + sign);
        for (presumed, more) in state.presumed.iter_mut().zip(kind.shape.requests.presumed) {
            *presumed += sign * more;
        }
    }

    /// Promises the pod room on the host.
    pub fn nominate(&mut self, pod: &Arc<Pod>, host: Host) {
        let kind = self.hold_with_wishes(pod);
        let mut demand = self.kinds.get(kind).demand.clone();
        demand.set(PODS, 1);
        let nominated = Nominated { pod: Arc::clone(pod), key: pod.key(), kind, demand };
        self.hosts[host as usize].nominated.push(nominated);
        self.touch(host);
    }

    pub fn withdraw(&mut self, key: &Key, host: Host) {
        let promises = &mut self.hosts[host as usize].nominated;
        let Some(at) = promises.iter().position(|nominated| nominated.key == *key) else { return };
        let Nominated { kind, .. } = promises.swap_remove(at);
        self.release(kind);
        self.touch(host);
        self.give_up(host);
    }
}
