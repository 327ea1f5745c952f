//! A whole cluster on one thread, under a paused clock: API server, controllers, scheduler and fake nodes, which can be made
//! to suffer ([`faults`]).
//!
//! Time passes only when nothing else is left to do, so that five minutes take no longer than what happens in them. All
//! chance comes from the seed: the same seed gives the same run.

pub mod api;
pub mod faults;
pub mod live;
pub mod observer;

use std::{sync::Arc, time::Duration};

use apiserver::identity::User;
use client::{
    Caches, Key, Kind, Requests,
    caches::Topic,
    requests::{DeleteOptions, Patch},
};
use controllers::{Setting, driver::outlive};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use stdx::{Clock, Random, SeededRandom};
use store::Store;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

pub use observer::Observer;

use api::Api;
use faults::{Faults, Network};

/// When every simulation begins.
pub const START: &str = "2026-01-01T00:00:00Z";
/// Within so much virtual time what is waited for comes about, or never.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The calendar of a simulation: it follows tokio's clock, which a test pauses.
#[derive(Debug, Clone, Copy)]
pub struct SimulatedClock {
    start: Timestamp,
    since: Instant,
}

impl SimulatedClock {
    /// A calendar that begins here and now.
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, since: Instant::now() }
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        self.start.checked_add(self.since.elapsed()).unwrap_or(Timestamp::MAX)
    }
}

/// A cluster, as a test sees it: without faults, and in order.
pub struct Cluster {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<SeededRandom>,
    /// Requests of an administrator, whom no fault hits.
    pub requests: Requests,
    pub caches: Caches,
    pub observer: Arc<Observer>,
    api: Arc<Api>,
    control: Arc<Control>,
    nodes: Arc<Network>,
    tasks: Mutex<JoinSet<()>>,
}

/// The control plane, which a fault may end at any moment, and which is started again.
struct Control {
    network: Arc<Network>,
    clock: Arc<dyn Clock>,
    random: Arc<SeededRandom>,
    crash: Notify,
}

/// What a simulation starts with.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    pub seed: u64,
    pub faults: Faults,
    pub nodes: usize,
}

/// Runs a test in a cluster of its own. A failure names the seed.
pub fn simulate<F: Future<Output = ()>>(setup: Setup, test: impl FnOnce(Arc<Cluster>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let seed = setup.seed;
    let told = TellSeed(seed);
    runtime.block_on(async {
        let cluster = Cluster::start(setup).await;
        test(Arc::clone(&cluster)).await;
        let violations = cluster.observer.violations();
        assert!(violations.is_empty(), "{}", violations.join("\n"));
        assert_eq!(controllers::driver::panics(), 0, "a step of a controller panicked");
        cluster.tasks.lock().abort_all();
    });
    std::mem::forget(told);
}

/// The seeds of a run: `CORACLE_SEEDS=100..2000` goes elsewhere or deeper than `usual`.
pub fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("CORACLE_SEEDS") else { return usual };
    let ends = text.split_once("..").and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    ends.expect("CORACLE_SEEDS is FIRST..END")
}

/// Says which seed it was when a test panics.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        eprintln!("this was seed {}", self.0);
    }
}

impl Cluster {
    async fn start(setup: Setup) -> Arc<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::starting_at(START.parse().unwrap()));
        let random = Arc::new(SeededRandom::new(setup.seed));
        let api = Api::start(Arc::clone(&clock), Arc::clone(&random) as Arc<dyn Random>).await;
        let requests = Requests::new(api.patient(User::controller("test")), "test");
        let mut tasks = JoinSet::new();
        let (caches, followers) = Caches::start(&requests, Topic::ALL);
        tasks.spawn(outlive(followers));
        caches.synced(Topic::ALL).await;
        let observer = Observer::start(&api.store, &mut tasks);
        let network = |faults| Arc::new(Network::new(faults, Arc::clone(&random), Arc::clone(&api)));
        let nodes = network(setup.faults.of_nodes());
        let control = Arc::new(Control {
            network: network(setup.faults),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            crash: Notify::new(),
        });
        tasks.spawn(Arc::clone(&control).run());
        tasks.spawn(end_again_and_again(Arc::clone(&control), Arc::clone(&api)));
        let tasks = Mutex::new(tasks);
        let cluster = Self { clock, random, requests, caches, observer, api, control, nodes, tasks };
        if setup.nodes > 0 {
            cluster.join(fakenodes::Config { count: setup.nodes, ..fakenodes::Config::default() }).await;
        }
        Arc::new(cluster)
    }

    /// Lets more nodes join, or plays again those that were deleted.
    pub async fn join(&self, config: fakenodes::Config) {
        let nodes = Nodes {
            config,
            network: Arc::clone(&self.nodes),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
        };
        // Whoever registers a node looks that it works.
        self.nodes.set_calm(true);
        let first = nodes.start().await;
        self.nodes.set_calm(false);
        self.tasks.lock().spawn(nodes.play(first));
    }

    /// Ends the control plane where it stands; it starts again in a moment.
    pub fn crash(&self) {
        self.control.crash.notify_one();
    }

    /// Ends the API server where it stands, and cuts all connections to it; returns when it is back.
    pub async fn restart_server(&self, down: Duration) {
        self.api.restart(down).await;
    }

    /// From here on nothing more goes wrong.
    pub fn calm(&self) {
        self.control.network.set_calm(true);
        self.nodes.set_calm(true);
    }

    /// The store under all this.
    pub fn store(&self) -> &Store {
        &self.api.store
    }

    pub async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    pub async fn create(&self, kind: &Kind, namespace: &str, object: Value) {
        let answer = self.requests.create(kind, namespace, &object).await.unwrap();
        self.caches.observe_answer(kind, &answer);
    }

    pub async fn patch(&self, kind: &Kind, key: &str, subresource: &str, patch: Value) {
        let key = parse_key(key);
        let answer = self.requests.patch(kind, &key, subresource, (Patch::Merge, &patch)).await.unwrap();
        // Or what is waited for next might be found in the past.
        self.caches.observe_answer(kind, &answer);
    }

    pub async fn delete(&self, kind: &Kind, key: &str) {
        let key = parse_key(key);
        let answer = self.requests.delete(kind, &key, &DeleteOptions::default()).await.unwrap();
        self.caches.observe_deletion(kind, &key, &answer);
    }

    /// Returns once `holds`, which is asked again after every change.
    pub async fn until(&self, what: &str, holds: impl Fn(&Caches) -> bool) {
        if !come_about(&self.caches, PATIENCE, holds).await {
            panic!("{what} did not come about;{}", self.observer.summary());
        }
    }
}

/// Whether `holds`, which is asked again after every change, before patience is lost.
pub async fn come_about(caches: &Caches, patience: Duration, holds: impl Fn(&Caches) -> bool) -> bool {
    let news = Arc::new(Notify::new());
    let subscriptions: Vec<_> = Topic::ALL.iter().map(|topic| caches.subscribe(*topic, &news)).collect();
    let wait = async {
        while !holds(caches) {
            for subscription in &subscriptions {
                subscription.changes();
            }
            news.notified().await;
        }
    };
    timeout(patience, wait).await.is_ok()
}

fn parse_key(key: &str) -> Key {
    let (namespace, name) = key.split_once('/').expect("namespace/name");
    Key::new(namespace, name)
}

impl Control {
    async fn run(self: Arc<Self>) {
        let random = Arc::clone(&self.random) as Arc<dyn Random>;
        let setting = Setting::new(Arc::clone(&self.clock), Arc::clone(&random));
        loop {
            let connect = |account: &str| self.network.connect(User::controller(account));
            let mut parts = JoinSet::new();
            let (caches, followers) = Caches::start(&Requests::new(connect("caches"), "caches"), Topic::ALL);
            parts.spawn(outlive(followers));
            parts.spawn(outlive(controllers::start(&caches, &connect, &setting)));
            parts.spawn(outlive(scheduler::start(connect("scheduler"), &caches, (&self.clock, &random))));
            tokio::select! {
                biased;
                () = self.crash.notified() => {}
                () = self.network.crashed() => {}
                Some(ended) = parts.join_next() => {
                    ended.expect("no part of the control plane fails");
                    panic!("a part of the control plane has ended");
                }
            }
            parts.shutdown().await;
            sleep(Duration::from_millis(self.random.below(5_000))).await;
        }
    }
}

/// The process that plays nodes, which a fault may end at any moment, and which is started again.
struct Nodes {
    config: fakenodes::Config,
    network: Arc<Network>,
    clock: Arc<dyn Clock>,
    random: Arc<SeededRandom>,
}

impl Nodes {
    async fn start(&self) -> JoinSet<()> {
        let client = self.network.connect(User::controller("fake-nodes"));
        loop {
            let requests = Requests::new(client.clone(), "fake-nodes");
            match fakenodes::start(requests, self.config.clone(), Arc::clone(&self.clock)).await {
                Ok(nodes) => return nodes,
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    }

    async fn play(self, first: JoinSet<()>) {
        let mut first = Some(first);
        loop {
            let begun = first.take();
            let life = async {
                let mut nodes = match begun {
                    Some(nodes) => nodes,
                    None => self.start().await,
                };
                if let Some(ended) = nodes.join_next().await {
                    ended.expect("no part of the nodes fails");
                }
                panic!("a part of the nodes has ended");
            };
            tokio::select! {
                biased;
                () = self.network.crashed() => {}
                () = life => {}
            }
            sleep(Duration::from_millis(self.random.below(5_000))).await;
        }
    }
}

/// Ends the server whenever that is due.
async fn end_again_and_again(control: Arc<Control>, api: Arc<Api>) {
    loop {
        control.network.server_crashed().await;
        api.restart(Duration::from_millis(control.random.below(3_000))).await;
    }
}
