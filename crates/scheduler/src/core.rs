//! The scheduler as a value: news go in ([`Core::apply`]), decisions come out ([`Core::next`]). One thread, no clock, no
//! requests: what it decides depends on what it was told and on its seed alone.
//!
//! Not here: carrying decisions out ([`crate::run`]).

mod known;
mod news;
#[cfg(test)]
mod tests;
mod wake;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use client::{
    Key,
    objects::{Object, Pod},
};
use jiff::Timestamp;
use placement::Host;
use stdx::Random;

use crate::{
    class::{self, Class},
    cluster::Cluster,
    filters::{self, Asker},
    preemption::Budgets,
    ranking::{Best, Rankings},
    refusal::{self, Plugin, Refusal},
    verdict::{self, PodRefusal},
    volumes::{Needs, Step, Volumes},
};
use known::{Known, Whereabouts};
use wake::News;

use crate::queue::Queue;

/// The scheduler's name in `spec.schedulerName` and in events.
pub const NAME: &str = "default-scheduler";
/// What comes before preemption in a stock scheduler has found nothing to do: no pod here has resource claims.
const PREEMPTION: &str = "no new claims to deallocate, preemption: ";

/// Counts by domain that are kept up, at least.
const TALLIES: usize = 4096;

pub struct Core {
    pub cluster: Cluster,
    pub volumes: Volumes,
    pub budgets: Budgets,
    rankings: Rankings,
    queue: Queue,
    pods: HashMap<Key, Known>,
    /// Pods that rest, by class.
    resting: HashMap<Arc<Class>, BTreeMap<Key, BTreeSet<Plugin>>>,
    /// The last failure of a class, as long as nothing has changed since.
    failures: HashMap<Arc<Class>, (u64, Arc<str>, BTreeSet<Plugin>)>,
    /// UIDs of pods that were asked to make room.
    evicted: HashSet<Box<str>>,
    /// How many counts there may be before the old ones are forgotten.
    most_tallies: usize,
    random: Arc<dyn Random>,
}

#[derive(Debug)]
pub enum Decision {
    Bind(Binding),
    Wait(Waiting),
}

/// The pod is to run on the node, where it is taken to be from now on.
#[derive(Debug)]
pub struct Binding {
    pub pod: Arc<Pod>,
    pub node: Box<str>,
    /// What is to be done about its volumes first.
    pub steps: Vec<Step>,
    /// Claims that have to be bound before the pod.
    pub claims: Vec<Key>,
}

/// The pod can run nowhere.
#[derive(Debug)]
pub struct Waiting {
    pub pod: Arc<Pod>,
    pub message: String,
    /// Where room is made for it; none where that stays as it is, empty where nowhere.
    pub nominated: Option<Box<str>>,
    /// Who has to go for that.
    pub victims: Vec<Arc<Pod>>,
    /// Less important pods that were promised room there, and are no longer.
    pub displaced: Vec<Arc<Pod>>,
}

/// Where a pod goes, or why nowhere.
enum Outcome {
    Placed(Host, Option<Needs>),
    Refused { message: String, plugins: BTreeSet<Plugin>, nominated: Option<Box<str>>, victims: Vec<Arc<Pod>> },
}

impl Core {
    pub fn new(random: Arc<dyn Random>) -> Self {
        Self {
            cluster: Cluster::default(),
            volumes: Volumes::default(),
            budgets: Budgets::default(),
            rankings: Rankings::default(),
            queue: Queue::default(),
            pods: HashMap::new(),
            resting: HashMap::new(),
            failures: HashMap::new(),
            evicted: HashSet::new(),
            most_tallies: TALLIES,
            random,
        }
    }

    /// The next decision; none as long as no pod has its turn.
    pub fn next(&mut self, now: Timestamp) -> Option<Decision> {
        let (key, pod) = loop {
            let key = self.queue.pop(now)?;
            self.stir(&key);
            if let Some(known) = self.pods.get(&key) {
                break (key, Arc::clone(&known.pod));
            }
            self.queue.remove(&key);
        };
        self.forget_old_counts(now);
        let kind = self.cluster.hold(&pod);
        let class = class::of(&mut self.cluster, kind);
        let decision = match self.decide(&key, &pod, &class) {
            Outcome::Placed(host, needs) => Decision::Bind(self.place(&key, &pod, (host, needs), now)),
            Outcome::Refused { message, plugins, nominated, mut victims } => {
                self.rest(&key, class, plugins, now);
                let mut displaced = Vec::new();
                if let Some(node) = &nominated {
                    self.promise_room(&key, node, now);
                    displaced = self.displace_lesser(&key, now);
                }
                // Who goes already need not be asked again.
                victims.retain(|victim| {
                    !victim.metadata.is_being_deleted() && self.evicted.insert(victim.metadata.uid.clone())
                });
                Decision::Wait(Waiting { pod, message, nominated, victims, displaced })
            }
        };
        self.cluster.release(kind);
        Some(decision)
    }

    /// When to ask again if nothing happens until then.
    pub fn due(&self) -> Option<Timestamp> {
        self.queue.due()
    }

    /// Pods waiting for their turn, backing off, and resting.
    pub fn waiting(&self) -> (usize, usize, usize) {
        self.queue.counts()
    }

    /// The pod could not be bound: it is where it was before, and tried again.
    pub fn binding_failed(&mut self, pod: &Pod) {
        let key = pod.key();
        let Some(known) = self.pods.get_mut(&key) else { return };
        let Whereabouts::Assumed(host) = known.whereabouts else { return };
        if known.pod.metadata.uid != pod.metadata.uid {
            return;
        }
        known.whereabouts = Whereabouts::Waiting;
        let pod = Arc::clone(&known.pod);
        self.cluster.detach(&pod, host);
        self.volumes.forget(&key);
        self.queue.back_off(&key);
    }

    /// The victims could not be made to go: the pod looks again later.
    pub fn preemption_failed(&mut self, pod: &Pod, victims: &[Arc<Pod>], now: Timestamp) {
        for victim in victims {
            self.evicted.remove(&victim.metadata.uid);
        }
        let key = pod.key();
        if self.queue.is_resting(&key) {
            self.withdraw(&key, now);
            self.stir(&key);
            self.queue.back_off(&key);
        }
    }

    fn decide(&mut self, key: &Key, pod: &Arc<Pod>, class: &Arc<Class>) -> Outcome {
        if self.cluster.nodes == 0 {
            return refused("no nodes available to schedule pods".to_owned(), BTreeSet::new());
        }
        let needs = match self.volumes.needs(pod) {
            Ok(needs) => needs,
            Err(refusal) => return self.refused_everywhere(key, &refusal),
        };
        if let Some(host) = self.promised(key, class, needs.as_ref()) {
            return Outcome::Placed(host, needs);
        }
        if let Some(names) = filters::named_nodes(&class.shape) {
            let hosts: Vec<Host> = names.into_iter().filter_map(|name| self.cluster.host(name)).collect();
            let verdicts = hosts.iter().filter(|host| self.admits(key, class, needs.as_ref(), **host));
            return match verdicts.copied().next() {
                Some(host) => Outcome::Placed(host, needs),
                None => self.fail(key, pod, class, needs.as_ref()),
            };
        }
        if needs.is_none()
            && let Some((position, message, plugins)) = self.failures.get(class)
            && *position == self.cluster.log.end()
            && !self.has_promise(key)
        {
            return refused(message.to_string(), plugins.clone());
        }
        let Best { hosts, .. } = self.best(key, class, needs.as_ref());
        let at = self.random.below(hosts.len() as u64) as usize;
        match hosts.get(at).copied() {
            Some(host) => Outcome::Placed(host, needs),
            None => self.fail(key, pod, class, needs.as_ref()),
        }
    }

    /// The best hosts.
    pub(crate) fn best(&mut self, key: &Key, class: &Arc<Class>, needs: Option<&Needs>) -> Best {
        let ranking = self.rankings.get(&self.cluster, class);
        let (cluster, volumes) = (&self.cluster, &self.volumes);
        let asker = Asker::of(class, Some(key));
        let admits = |host: Host| match needs {
            None => true,
            Some(needs) => volumes.admits(cluster, needs, asker, cluster.host_state(host)),
        };
        ranking.best(cluster, needs.is_some().then_some(&admits))
    }

    /// The host where room was made for the pod, if it can take it now.
    pub(crate) fn promised(&self, key: &Key, class: &Class, needs: Option<&Needs>) -> Option<Host> {
        let host = self.pods.get(key)?.nominated?;
        self.admits(key, class, needs, host).then_some(host)
    }

    /// Where room is made for the pod.
    pub(crate) fn promise(&self, key: &Key) -> Option<Host> {
        self.pods.get(key)?.nominated
    }

    /// Whether the pod goes so that another can come.
    pub(crate) fn makes_room(&self, pod: &Pod) -> bool {
        let asked = |condition: &client::objects::Condition| {
            *condition.status == *"True" && *condition.reason == *"PreemptionByScheduler"
        };
        self.evicted.contains(&pod.metadata.uid)
            || (pod.metadata.is_being_deleted() && pod.condition("DisruptionTarget").is_some_and(asked))
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn has_promise(&self, key: &Key) -> bool {
        self.pods.get(key).is_some_and(|known| known.nominated.is_some())
    }

    fn admits(&self, key: &Key, class: &Class, needs: Option<&Needs>, host: Host) -> bool {
        verdict::admits(&self.cluster, &self.volumes, (key, class, needs), host)
    }

    /// Nothing about nodes matters: the pod itself, or what it names, is not ready.
    fn refused_everywhere(&self, key: &Key, refusal: &PodRefusal) -> Outcome {
        // The end is what a stock scheduler says of resource claims that it has not come to yet.
        let message = format!("0/{} nodes are available: {}. not found", self.cluster.nodes, refusal.text);
        let nominated = self.has_promise(key).then(Box::default);
        Outcome::Refused { message, plugins: [refusal.plugin].into(), nominated, victims: Vec::new() }
    }

    /// Says why no host takes the pod, and looks for room that can be made.
    fn fail(&mut self, key: &Key, pod: &Arc<Pod>, class: &Arc<Class>, needs: Option<&Needs>) -> Outcome {
        let verdicts = verdict::first(&self.cluster, &self.volumes, (key, class, needs));
        let nodes = self.cluster.nodes;
        let texts = verdicts.iter().flat_map(|(_, refusals)| refusals.iter().map(Refusal::text));
        let mut message = refusal::summary(nodes, texts);
        let plugins: BTreeSet<Plugin> =
            verdicts.iter().flat_map(|(_, refusals)| refusals).map(Refusal::plugin).collect();
        if let Some(why) = self.cannot_preempt(key, pod, class, &verdicts) {
            message += &format!(" {PREEMPTION}{why}");
            return refused(message, plugins);
        }
        match self.find_room(key, pod, class, needs, &verdicts) {
            Ok(room) => {
                let node = self.cluster.host_state(room.host).name.clone();
                Outcome::Refused { message, plugins, nominated: Some(node), victims: room.victims }
            }
            Err(texts) => {
                message += &format!(" {PREEMPTION}{}", refusal::summary(nodes, texts.into_iter()));
                let had_promise = self.has_promise(key);
                if needs.is_none() && !had_promise {
                    self.remember_failure(class, &message, &plugins);
                }
                let nominated = had_promise.then(Box::default);
                Outcome::Refused { message, plugins, nominated, victims: Vec::new() }
            }
        }
    }

    fn remember_failure(&mut self, class: &Arc<Class>, message: &str, plugins: &BTreeSet<Plugin>) {
        const REMEMBERED: usize = 256;
        if self.failures.len() >= REMEMBERED {
            self.failures.clear();
        }
        self.failures.insert(Arc::clone(class), (self.cluster.log.end(), message.into(), plugins.clone()));
    }

    /// Counts that nobody asks for any more go, all at once, when there are many.
    fn forget_old_counts(&mut self, now: Timestamp) {
        if self.cluster.tallies() > self.most_tallies {
            self.cluster.count_anew();
            self.most_tallies = TALLIES.max(2 * self.cluster.tallies());
            self.wake_all(now);
        }
    }

    /// Takes the pod to be on the host from now on.
    fn place(&mut self, key: &Key, pod: &Arc<Pod>, (host, needs): (Host, Option<Needs>), now: Timestamp) -> Binding {
        let promised = self.take_promise(key);
        self.cluster.attach(pod, host);
        if let Some(known) = self.pods.get_mut(key) {
            known.whereabouts = Whereabouts::Assumed(host);
        }
        let state = self.cluster.host_state(host);
        let node = state.name.clone();
        let (steps, claims) = match (needs, &state.node) {
            (Some(needs), Some(node)) => self.volumes.assume(&needs, key, node),
            _ => Default::default(),
        };
        self.pod_came(pod, host, promised, now);
        Binding { pod: Arc::clone(pod), node, steps, claims }
    }

    /// Promises the pod room on that node; nowhere, if there is no such node.
    fn promise_room(&mut self, key: &Key, node: &str, now: Timestamp) {
        let host = self.cluster.host(node);
        if self.promise(key) == host {
            return;
        }
        self.withdraw(key, now);
        if let (Some(known), Some(host)) = (self.pods.get_mut(key), host) {
            known.nominated = Some(host);
            self.cluster.nominate(&known.pod, host);
        }
    }

    /// Ends the promises to pods that are less important than one for which room is made there: they look elsewhere.
    fn displace_lesser(&mut self, key: &Key, now: Timestamp) -> Vec<Arc<Pod>> {
        let Some((pod, host)) = self.pods.get(key).and_then(|known| Some((&known.pod, known.nominated?))) else {
            return Vec::new();
        };
        let promises = self.cluster.host_state(host).nominated.iter();
        let lesser = promises.filter(|other| other.priority() < pod.spec.shape.priority);
        let displaced: Vec<Arc<Pod>> = lesser.map(|other| Arc::clone(&other.pod)).collect();
        for other in &displaced {
            let key = other.key();
            self.take_promise(&key);
            self.stir(&key);
            self.queue.wake(&key, now);
        }
        displaced
    }

    /// The pod is promised no room any more, which others may take.
    fn withdraw(&mut self, key: &Key, now: Timestamp) {
        if let Some(host) = self.take_promise(key) {
            self.wake(&News::Host(host), now);
        }
    }

    fn take_promise(&mut self, key: &Key) -> Option<Host> {
        let host = self.pods.get_mut(key)?.nominated.take()?;
        self.cluster.withdraw(key, host);
        Some(host)
    }

    /// The pod rests no more.
    fn stir(&mut self, key: &Key) {
        let Some(class) = self.pods.get_mut(key).and_then(|known| known.resting.take()) else { return };
        if let Some(pods) = self.resting.get_mut(&class) {
            pods.remove(key);
            if pods.is_empty() {
                self.resting.remove(&class);
            }
        }
    }

    fn rest(&mut self, key: &Key, class: Arc<Class>, plugins: BTreeSet<Plugin>, now: Timestamp) {
        self.queue.rest(key, now);
        if let Some(known) = self.pods.get_mut(key) {
            known.resting = Some(Arc::clone(&class));
        }
        self.resting.entry(class).or_default().insert(key.clone(), plugins);
    }
}

fn refused(message: String, plugins: BTreeSet<Plugin>) -> Outcome {
    Outcome::Refused { message, plugins, nominated: None, victims: Vec::new() }
}
