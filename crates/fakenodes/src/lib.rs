//! Nodes that run nothing and say they do: for trying out workloads, for tests, and for measuring a control plane.
//!
//! A fake node registers, renews its lease and reports its pods as a kubelet would: running and ready at once, over after a
//! while where they are meant to end, gone when they are deleted. Annotations under [`PREFIX`] on a pod or node say
//! otherwise ([`pod::Behaviour`], [`node::State`]).
//!
//! Not here: anything that a real node does.

mod node;
mod pod;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use client::{
    ApiError, Cache, Key, Requests, WorkQueue,
    objects::Object,
    reflector,
    requests::{DeleteOptions, Patch},
};
use stdx::Clock;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use node::Node;
use pod::{Pod, Step};

/// Annotations that say how a fake node or one of its pods is to behave begin with it.
pub const PREFIX: &str = "fake-node.coracle.dev/";
/// Pods of which reports are under way at once.
const WORKERS: usize = 64;
/// How often a node renews its lease, as a kubelet does.
const BEAT: Duration = Duration::from_secs(10);
/// The pause before something that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a node tries to register.
const ATTEMPTS: u32 = 20;

/// Which nodes there are to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// Names are `<prefix><number from 0>`.
    pub prefix: String,
    pub count: usize,
    /// Quantities of each node's capacity.
    pub cpu: String,
    pub memory: String,
    pub pods: u32,
    /// Nodes lie in `zone-0`, `zone-1`, … by turns.
    pub zones: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { prefix: "fake-".into(), count: 3, cpu: "32".into(), memory: "256Gi".into(), pods: 110, zones: 3 }
    }
}

impl Config {
    pub fn name(&self, number: usize) -> String {
        format!("{}{number}", self.prefix)
    }
}

struct Nodes {
    config: Config,
    requests: Requests,
    clock: Arc<dyn Clock>,
    nodes: Arc<Cache<Node>>,
    pods: Arc<Cache<Pod>>,
    /// The numbers of the nodes that are this process's, by name.
    numbers: HashMap<Box<str>, usize>,
    /// Pods that got an address so far.
    addresses: AtomicU32,
}

/// Registers the nodes and plays them until the tasks are dropped. Fails where the nodes cannot be registered.
pub async fn start(client: Requests, config: Config, clock: Arc<dyn Clock>) -> Result<JoinSet<()>, ApiError> {
    let mut tasks = JoinSet::new();
    let nodes = reflector::follow::<Node>(&client, "", &mut tasks);
    let pods = reflector::follow::<Pod>(&client, "fieldSelector=spec.nodeName!=", &mut tasks);
    let numbers = (0..config.count).map(|number| (config.name(number).into(), number)).collect();
    let all =
        Arc::new(Nodes { config, requests: client, clock, nodes, pods, numbers, addresses: AtomicU32::default() });
    all.nodes.synced().await;
    all.register().await?;
    all.pods.synced().await;
    let highest = all.pods.all().iter().filter_map(|pod| pod::number_of(&pod.status.pod_ip)).max();
    all.addresses.store(highest.map_or(0, |highest| highest + 1), Ordering::Relaxed);
    tasks.spawn(Arc::clone(&all).beat());
    let queue = WorkQueue::default();
    for _ in 0..WORKERS {
        tasks.spawn(Arc::clone(&all).work(queue.clone()));
    }
    tasks.spawn(all.watch(queue));
    Ok(tasks)
}

impl Nodes {
    /// Creates the nodes that are not there. One that is, with its pods, goes on as it is; its lease is renewed at once, as a
    /// kubelet does that starts, so that it is not missed for longer than this was gone.
    async fn register(self: &Arc<Self>) -> Result<(), ApiError> {
        let mut under_way = JoinSet::new();
        for number in 0..self.config.count {
            if under_way.len() >= WORKERS
                && let Some(Ok(result)) = under_way.join_next().await
            {
                result?;
            }
            let all = Arc::clone(self);
            under_way.spawn(async move { all.register_one(number).await });
        }
        while let Some(result) = under_way.join_next().await {
            result.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// As a kubelet does, it tries again where no answer came.
    async fn register_one(&self, number: usize) -> Result<(), ApiError> {
        let (object, lease) = (node::object(&self.config, number, self.clock.now()), self.lease(number));
        let mut attempts = 0;
        loop {
            let result = async {
                let is_new = created(self.requests.create(&Node::KIND, "", &object).await)?;
                created(self.requests.create(&node::LEASE, node::LEASES, &lease).await)?;
                if is_new { Ok(()) } else { self.report(number).await }
            };
            attempts += 1;
            match result.await {
                Err(error) if error.is_unknown() && attempts < ATTEMPTS => sleep(PAUSE).await,
                result => return result,
            }
        }
    }

    fn lease(&self, number: usize) -> serde_json::Value {
        node::lease(&self.config.name(number), self.clock.now())
    }

    /// Renews leases, each node's at its own moment, and says of nodes that are held to be unreachable that they are not.
    async fn beat(self: Arc<Self>) {
        let mut due = Instant::now();
        let share = BEAT / u32::try_from(self.config.count.max(1)).unwrap_or(u32::MAX);
        loop {
            for number in 0..self.config.count {
                due += share;
                sleep_until(due).await;
                if let Err(error) = self.report(number).await {
                    tracing::debug!(node = self.config.name(number), "{error}");
                }
            }
        }
    }

    async fn report(&self, number: usize) -> Result<(), ApiError> {
        let key = Key::new("", &self.config.name(number));
        let Some(node) = self.nodes.get(&key) else { return Ok(()) };
        let Some(ready) = node.state().ready() else { return Ok(()) };
        let now = self.clock.now();
        let lease = Key::new(node::LEASES, key.name());
        let renewed = node::renewal(now);
        match self.requests.patch(&node::LEASE, &lease, "", (Patch::Merge, &renewed)).await {
            Err(error) if error.is_not_found() => {
                self.requests.create(&node::LEASE, node::LEASES, &self.lease(number)).await?;
            }
            result => drop(result?),
        }
        if node.says(ready) {
            return Ok(());
        }
        let status = node::status(ready, now);
        let answer = self.requests.patch(&Node::KIND, &key, "status", (Patch::Strategic, &status)).await?;
        if let Ok(node) = client::requests::parse(&answer) {
            self.nodes.observe(node);
        }
        Ok(())
    }

    /// Hands on the pods of which there is news.
    async fn watch(self: Arc<Self>, queue: WorkQueue<Key>) {
        let news = Arc::new(Notify::new());
        let (pods, nodes) = (self.pods.subscribe(Arc::clone(&news)), self.nodes.subscribe(Arc::clone(&news)));
        loop {
            for change in pods.changes() {
                if change.new.is_some_and(|pod| self.numbers.contains_key(&*pod.spec.node_name)) {
                    queue.add(change.key);
                }
            }
            for change in nodes.changes() {
                let [old, new] = [&change.old, &change.new].map(|node| node.as_ref().map(|node| node.state()));
                let Some(number) = self.numbers.get(change.key.name()) else { continue };
                if old == new {
                    continue;
                }
                for pod in self.pods.by(pod::NODE, change.key.name()) {
                    queue.add(pod.key());
                }
                if old.is_some() && new.is_some_and(|state| state.ready().is_some()) {
                    let _ = self.report(*number).await;
                }
            }
            news.notified().await;
        }
    }

    async fn work(self: Arc<Self>, queue: WorkQueue<Key>) {
        loop {
            let key: Key = queue.next().await;
            match self.attend(&key).await {
                Ok(Some(wait)) => queue.add_after(key.clone(), wait),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(pod = %key, "{error}");
                    queue.add_after(key.clone(), PAUSE);
                }
            }
            queue.done(&key);
        }
    }

    /// Does the next thing about a pod. Returns when there is more to do, if nothing changes until then.
    async fn attend(&self, key: &Key) -> Result<Option<Duration>, ApiError> {
        let Some(pod) = self.pods.get(key) else { return Ok(None) };
        let Some(node) = self.nodes.find("", &pod.spec.node_name) else { return Ok(None) };
        let Some(number) = self.numbers.get(&*pod.spec.node_name) else { return Ok(None) };
        if node.state().ready().is_none() {
            return Ok(None);
        }
        let address = || pod::address(self.addresses.fetch_add(1, Ordering::Relaxed));
        match pod::step(&pod, &node::address(*number), address, self.clock.now()) {
            Step::Nothing => Ok(None),
            Step::Wait(wait) => Ok(Some(wait)),
            Step::Report(status) => {
                match self.requests.patch(&Pod::KIND, key, "status", (Patch::Strategic, &status)).await {
                    Ok(answer) => self.pods.observe(client::requests::parse(&answer)?),
                    Err(error) if error.is_not_found() => return Ok(None),
                    Err(error) => return Err(error),
                }
                Ok(Some(Duration::ZERO))
            }
            Step::Delete => {
                let uid = Some(pod.metadata.uid.clone());
                let options = DeleteOptions { uid, grace_period_seconds: Some(0), ..DeleteOptions::default() };
                match self.requests.delete(&Pod::KIND, key, &options).await {
                    Err(error) if !error.is_not_found() => Err(error),
                    _ => Ok(None),
                }
            }
        }
    }
}

/// Whether it was not there before.
fn created(result: Result<impl Sized, ApiError>) -> Result<bool, ApiError> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.reason() == "AlreadyExists" => Ok(false),
        Err(error) => Err(error),
    }
}
