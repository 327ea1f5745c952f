//! The garbage collector: what is owned goes with its last owner, before it (foreground), after it (background), or is let
//! go (orphan). It knows every object of every kind that can be listed, watched and deleted, custom ones too.
//!
//! | file | |
//! |---|---|
//! | `graph` | who owns whom, as far as it is seen |
//! | `reference` | what a reference says, and what is known of the owner it names |
//! | `decide` | what follows for one object |
//! | `act` | the requests that carry it out, and that ask for owners that are not seen |
//!
//! This file feeds the graph and hands out what is to be looked at. Kinds that the caches hold are not watched a second
//! time; of the others only the metadata is. Nothing is decided before all kinds have been read once.

mod act;
mod decide;
mod graph;
mod reference;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use client::{
    Kind, Requests, WorkQueue,
    caches::{AnySubscription, Topic},
    reading::ObjectId,
    reflector::{Partial, Sink, follow_metadata},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    driver::{self, Shell},
    recorder::Recorder,
    resources::{self, Resources},
};
use graph::{Graph, News, Uid};
use reference::Identity;

pub const NAME: &str = "garbage-collector-controller";

/// Its service account in a stock cluster.
pub const ACCOUNT: &str = "generic-garbage-collector";

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Objects that are worked on at once.
const WORKERS: usize = 20;
/// Owners that are asked for at once.
const ASKING: usize = 8;
/// How long a kind that cannot be read holds up the start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a kind that is not served is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// What its tasks share.
struct Collector {
    graph: Mutex<Graph>,
    objects: WorkQueue<Uid>,
    owners: WorkQueue<Identity>,
    /// Owners of kinds that are not served: asked for again when that changes.
    unknown: Mutex<BTreeSet<Identity>>,
    resources: watch::Sender<Resources>,
    requests: Requests,
    shell: Shell,
    recorder: Recorder,
}

/// Runs the garbage collector until it is dropped.
pub async fn run(shell: Shell) {
    let collector = Arc::new(Collector {
        graph: Mutex::default(),
        objects: shell.caches.queues.open("garbage_collector_attempt_to_delete"),
        owners: shell.caches.queues.open("garbage_collector_owners"),
        unknown: Mutex::default(),
        resources: watch::Sender::new(Resources::default()),
        requests: shell.requests.clone(),
        recorder: shell.recorder.clone(),
        shell,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(resources::follow(collector.requests.clone(), collector.resources.clone()));
    let started = Arc::new(Notify::new());
    tasks.spawn(Arc::clone(&collector).follow_caches());
    tasks.spawn(Arc::clone(&collector).follow_kinds(Arc::clone(&started)));
    started.notified().await;
    for _ in 0..WORKERS {
        tasks.spawn(Arc::clone(&collector).work());
    }
    for _ in 0..ASKING {
        tasks.spawn(Arc::clone(&collector).ask());
    }
    driver::outlive(tasks).await;
}

/// Whether the objects of a resource are followed. Events own nothing, are owned by nobody, and are many.
fn is_followed(resource: &resources::Resource) -> bool {
    resource.preferred
        && ["list", "watch", "delete"].iter().all(|verb| resource.has(verb))
        && !(*resource.kind.plural == *"events" && matches!(&*resource.kind.group, "" | "events.k8s.io"))
        && !resource.kind.plural.contains('/')
}

impl Collector {
    /// Changes the graph, and sees to it that what follows is looked at.
    fn tell<R>(&self, change: impl FnOnce(&mut Graph) -> R) -> R {
        let mut graph = self.graph.lock();
        let result = change(&mut graph);
        let News { look, events } = graph.take_news();
        drop(graph);
        look.into_iter().for_each(|uid| self.objects.add(uid));
        events.into_iter().for_each(|event| self.recorder.record(event));
        result
    }

    /// Takes in what the caches tell.
    async fn follow_caches(self: Arc<Self>) {
        let news = Arc::new(Notify::new());
        let caches = &self.shell.caches;
        let subscriptions: Vec<(Arc<Kind>, AnySubscription)> =
            Topic::whole().map(|topic| (Arc::new(topic.kind()), caches.subscribe(topic, &news))).collect();
        loop {
            for (kind, subscription) in &subscriptions {
                let changes = subscription.changes();
                self.tell(|graph| {
                    changes.each_metadata(|key, old, new| {
                        if let Some(old) = old.filter(|old| new.is_none_or(|new| new.uid != old.uid)) {
                            graph.end(&old.uid);
                        }
                        if let Some(new) = new {
                            graph.see_at(kind, key, new);
                        }
                    });
                });
            }
            news.notified().await;
        }
    }

    /// Follows the kinds that no cache holds, as they come and go. Tells `started` once all have been read.
    async fn follow_kinds(self: Arc<Self>, started: Arc<Notify>) {
        let cached: HashSet<(String, String)> = Topic::whole().map(|topic| resource_of(&topic.kind())).collect();
        let mut followed: BTreeMap<(String, String), AbortHandle> = BTreeMap::new();
        let mut tasks: JoinSet<(String, String)> = JoinSet::new();
        let mut served = self.resources.subscribe();
        let mut started = Some(started);
        loop {
            tokio::select! {
                // The same run for the same seed.
                biased;
                changed = served.changed() => if changed.is_err() { return },
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    // Its kind was no longer served when it looked; what is served now is seen below.
                    followed.retain(|resource, _| ended.as_ref().ok() != Some(resource));
                }
            }
            let resources = served.borrow_and_update().clone();
            let mut waiting = Vec::new();
            for kind in resources.iter().filter(|resource| is_followed(resource)).map(|resource| &resource.kind) {
                let resource = resource_of(kind);
                if cached.contains(&resource) || followed.get(&resource).is_some_and(|task| !task.is_finished()) {
                    continue;
                }
                let follower = Arc::new(Follower {
                    kind: Arc::new(kind.clone()),
                    collector: Arc::clone(&self),
                    is_read: watch::Sender::new(false),
                });
                waiting.push(follower.is_read.subscribe());
                let task = tasks.spawn(Arc::clone(&follower).run());
                followed.insert(resource, task);
            }
            if let Some(started) = started.take() {
                let all = async {
                    self.shell.caches.synced(Topic::ALL).await;
                    for mut read in waiting {
                        let _ = read.wait_for(|read| *read).await;
                    }
                };
                if timeout(PATIENCE, all).await.is_err() {
                    tracing::warn!("not every kind can be read; garbage is collected as far as it is seen");
                }
                started.notify_one();
            }
            let unknown = std::mem::take(&mut *self.unknown.lock());
            unknown.into_iter().for_each(|identity| self.owners.add(identity));
        }
    }
}

/// A resource whatever its version.
fn resource_of(kind: &Kind) -> (String, String) {
    (kind.group.to_string(), kind.plural.to_string())
}

/// Hands the metadata of one kind to the graph.
struct Follower {
    kind: Arc<Kind>,
    collector: Arc<Collector>,
    is_read: watch::Sender<bool>,
}

impl Follower {
    /// Ends when the kind is no longer served.
    async fn run(self: Arc<Self>) -> (String, String) {
        follow_metadata(&self.collector.requests, &self.kind, &*self).await;
        self.is_read.send_replace(true);
        self.collector.tell(|graph| graph.lose(&self.kind));
        // Discovery follows a moment later; until then it would be followed again.
        sleep(PAUSE).await;
        resource_of(&self.kind)
    }
}

impl Sink<Partial> for Follower {
    fn replace(&self, objects: Vec<Partial>, unread: &[ObjectId], revision: u64) {
        self.collector.tell(|graph| {
            let unread = unread.iter().map(|object| &*object.uid);
            let uids = objects.iter().map(|object| &*object.metadata.uid).chain(unread).collect();
            graph.retain(&self.kind, &uids, revision);
            objects.iter().for_each(|object| graph.see(&self.kind, &object.metadata));
        });
        self.is_read.send_replace(true);
    }

    fn observe(&self, object: Partial) {
        self.collector.tell(|graph| graph.see(&self.kind, &object.metadata));
    }

    fn ended(&self, object: &ObjectId) {
        self.collector.tell(|graph| graph.end(&object.uid));
    }
}
