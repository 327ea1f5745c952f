//! The shell around every controller: waits for news, asks for a plan, carries it out.
//!
//! Not here: anything that decides. What a controller does is its plan; how a plan meets a server that refuses, answers
//! late or not at all is here, once.

mod step;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use api::syntax;
use bytes::Bytes;
use client::{
    ApiError, Backoff, Caches, Key, Kind, Requests, WorkQueue,
    caches::{AnySubscription, Changes, Topic},
    requests::DeleteOptions,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use stdx::{Clock, Random};
use tokio::{
    sync::Notify,
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    attempts::{Attempts, AttemptsByKey},
    lookup::{self, Findings},
    plan::{Action, Event, Plan},
    recorder::Recorder,
};

/// Keys of one controller that are worked on at once.
const WORKERS: usize = 8;
/// After so long a worker takes the next key beside the one it is on.
const PATIENCE: Duration = Duration::from_secs(1);
/// Keys that a worker has beside the one it is on, at most; with so many, it waits for one of them.
const MOST_ASIDE: usize = 1024;
const NAMESPACE_ENDS: &str = "NamespaceTerminating";
/// The pauses before a creation or deletion whose answer was lost is tried again; the last one again and again. Who gives up
/// knows neither whether it took place nor for how long the caches will not show it, and would make or end another object.
const PAUSES: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(100), Duration::from_millis(500)];
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What the reconcile step is told beside what the caches hold.
#[derive(Debug, Clone)]
pub struct Turn {
    pub now: Timestamp,
    /// Why the last plan for this key was not carried out, if it was not.
    pub failure: Option<Failure>,
    /// What earlier plans for this key tried that must not be tried again too soon.
    pub attempts: Attempts,
    /// What has been looked up at the wish of the plan before.
    pub found: Findings,
}

impl Turn {
    /// The first look at a key, or one after all went well.
    pub fn at(now: Timestamp) -> Self {
        Self { now, failure: None, attempts: Attempts::default(), found: Findings::default() }
    }
}

/// An action the server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was tried: `create`, `patch`, `delete`.
    pub verb: &'static str,
    /// The plural name of the kind it was tried on.
    pub resource: String,
    /// The server's word for why: `AlreadyExists`.
    pub reason: Box<str>,
    pub message: String,
    /// The server was away ([`ApiError::is_away`]), and has refused nothing.
    pub is_away: bool,
}

impl Failure {
    pub(crate) fn new(verb: &'static str, kind: &Kind, error: &ApiError) -> Self {
        let reason = if error.is_of_ending_namespace() { NAMESPACE_ENDS } else { error.reason() };
        let (resource, message) = (kind.plural.to_string(), error.to_string());
        Self { verb, resource, reason: reason.into(), message, is_away: error.is_away() }
    }

    /// What was to be made would only have been deleted with its namespace: no failure that anybody is told of, or that
    /// is tried again.
    fn is_moot(&self) -> bool {
        *self.reason == *NAMESPACE_ENDS
    }
}

/// One controller: a pure function of what is known, and the news that make it look again.
pub trait Controller: Send + Sync + 'static {
    /// The name of its events.
    fn name(&self) -> &'static str;

    /// The name under which its queue is measured: two controllers must not have the same.
    fn queue(&self) -> &'static str {
        self.name()
    }

    /// The service account in `kube-system` under which a stock cluster's writes.
    fn account(&self) -> &'static str {
        self.name()
    }

    /// The kinds whose changes it is told of.
    fn topics(&self) -> &'static [Topic];

    /// The keys that have to be looked at after these changes.
    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key));

    /// The keys that have to be looked at only some time after these changes.
    fn touched_later(&self, _: &Changes, _now: Timestamp, _add: &mut dyn FnMut(Key, Duration)) {}

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan;

    /// At which pace a key is tried again after this failure, or a row of them.
    fn backoff(&self, _: &Failure) -> Backoff {
        Backoff::default()
    }

    /// How long a key rests after something was done about it, so that what changes in quick succession is looked at
    /// together.
    fn rest(&self) -> Duration {
        Duration::ZERO
    }
}

/// What the shells of all controllers share.
#[derive(Clone)]
pub struct Shell {
    pub caches: Caches,
    pub requests: Requests,
    pub recorder: Recorder,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// Runs a controller until it is dropped.
pub async fn run(controller: Arc<dyn Controller>, shell: Shell) {
    let topics = controller.topics();
    shell.caches.synced(topics).await;
    let news = Arc::new(Notify::new());
    let subscriptions: Vec<AnySubscription> =
        topics.iter().map(|topic| shell.caches.subscribe(*topic, &news)).collect();
    let queue = shell.caches.queues.open(&queue_name(controller.queue()));
    let mut tasks = JoinSet::new();
    let worker = Worker {
        controller: Arc::clone(&controller),
        shell: shell.clone(),
        queue: queue.clone(),
        attempts: Arc::default(),
    };
    for _ in 0..WORKERS {
        tasks.spawn(worker.clone().run());
    }
    let telling = async {
        loop {
            for subscription in &subscriptions {
                let changes = subscription.changes();
                controller.touched(&shell.caches, &changes, &mut |key| queue.add(key));
                controller.touched_later(&changes, shell.clock.now(), &mut |key, wait| queue.add_after(key, wait));
            }
            news.notified().await;
        }
    };
    tokio::select! {
        biased;
        () = outlive(tasks) => {}
        () = telling => {}
    }
}

/// As upstream calls the queue: without the word, with its own separator.
fn queue_name(controller: &str) -> String {
    controller.trim_end_matches("-controller").replace('-', "_")
}

/// One of a controller's workers.
#[derive(Clone)]
struct Worker {
    controller: Arc<dyn Controller>,
    shell: Shell,
    queue: WorkQueue<Key>,
    attempts: Arc<Mutex<AttemptsByKey>>,
}

impl Worker {
    async fn run(self) {
        let mut aside = JoinSet::new();
        loop {
            let key = self.queue.next().await;
            let mut work = Box::pin(self.clone().work(key.clone()));
            match timeout(PATIENCE, &mut work).await {
                Ok(rest) if rest.is_zero() => self.queue.done(&key),
                ended => {
                    // A key that rests, or whose requests get no answer, does not keep others waiting. It is still worked on.
                    while aside.len() >= MOST_ASIDE {
                        reap(aside.join_next().await);
                    }
                    let queue = self.queue.clone();
                    aside.spawn(async move {
                        let rest = match ended {
                            Ok(rest) => rest,
                            Err(_) => work.await,
                        };
                        sleep(rest).await;
                        queue.done(&key);
                    });
                }
            }
            while let Some(ended) = aside.try_join_next() {
                reap(Some(ended));
            }
        }
    }

    /// Does all that is to be done about a key now. Returns for how long it rests then.
    async fn work(self, key: Key) -> Duration {
        let plan = self.look_at(&key).await.unwrap_or_default();
        if let Some(wait) = plan.again_after {
            self.queue.add_after(key, wait);
        }
        if plan.steps.is_empty() { Duration::ZERO } else { self.controller.rest() }
    }

    /// Asks for a plan and carries it out, as far as it goes. What goes wrong leads here again after a back-off.
    async fn look_at(&self, key: &Key) -> Option<Plan> {
        let Self { shell, queue, attempts, .. } = self;
        let mut turn =
            Turn { now: shell.clock.now(), failure: None, attempts: attempts.lock().of(key), found: Findings::new() };
        let mut plan = self.decide(key, &turn)?;
        if !plan.lookups.is_empty() {
            turn.found = lookup::all(&shell.requests, &plan.lookups).await;
            turn.now = shell.clock.now();
            plan = self.decide(key, &turn)?;
        }
        attempts.lock().note(key, &plan.attempts, turn.now);
        match shell.carry_out(&plan).await {
            Ok(()) => queue.forget_failures(key),
            Err(failure) => {
                let wait = queue.retry_at(key.clone(), self.controller.backoff(&failure).after(failure.is_away));
                tracing::debug!(controller = self.controller.name(), %key, "{}; again in {wait:?}", failure.message);
                turn.failure = Some(failure);
                let told = self.decide(key, &turn)?.of_failure(&plan);
                // It shows what went wrong; should it, too, go wrong, the retry is near.
                let _ = shell.carry_out(&told).await;
            }
        }
        Some(plan)
    }

    /// A panic is a bug of one step, and costs its key a back-off, and nobody else anything.
    fn decide(&self, key: &Key, turn: &Turn) -> Option<Plan> {
        let step = AssertUnwindSafe(|| self.controller.reconcile(&self.shell.caches, key, turn));
        match catch_unwind(step) {
            Ok(plan) => Some(plan),
            Err(panic) => {
                let count = PANICS.fetch_add(1, Ordering::Relaxed) + 1;
                let wait = self.queue.retry(key.clone());
                let why = words_of(&*panic);
                tracing::error!(
                    controller = self.controller.name(), %key, panics = count,
                    "a controller's step panicked: {why}; again in {wait:?}",
                );
                None
            }
        }
    }
}

/// Steps of controllers that panicked in this process: none, or there is a bug.
static PANICS: AtomicU64 = AtomicU64::new(0);

pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why")
}

impl Shell {
    /// Carries out step by step; stops at the first step of which an action failed. Of a step that is moot the rest comes
    /// to nothing either, and the next one follows.
    pub async fn carry_out(&self, plan: &Plan) -> Result<(), Failure> {
        for step in &plan.steps {
            match step::all(step, |action| self.act(action), Failure::is_moot).await {
                Err(failure) if !failure.is_moot() => return Err(failure),
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) async fn act(&self, action: &Action) -> Result<(), Failure> {
        let (verb, kind, result) = match action {
            Action::Errand(errand) => return Box::pin(self.run_errand(errand)).await,
            Action::Event(event) => {
                self.recorder.record(event.clone());
                return Ok(());
            }
            Action::Told { action, done, failed } => {
                let result = Box::pin(self.act(action)).await;
                match &result {
                    Ok(()) => self.recorder.record(done.clone()),
                    Err(failure) if *failure.reason == *"AlreadyExists" || failure.is_moot() => {}
                    Err(failure) => {
                        let message = format!("{} {}", failed.message, failure.message);
                        self.recorder.record(Event { message, ..failed.clone() });
                    }
                }
                return result;
            }
            Action::Create { kind, namespace, object, tell } => {
                let result = self.create(kind, namespace, object).await;
                let is_news = !result.as_ref().is_err_and(ApiError::is_of_ending_namespace);
                if let Some(about) = tell.as_ref().filter(|_| is_news) {
                    self.recorder.record(Event::of_creation(about, kind, &result));
                }
                ("create", kind, result)
            }
            Action::Patch { kind, key, subresource, form, patch } => {
                let result = self.requests.patch(kind, key, subresource, (*form, patch)).await;
                ("patch", kind, result)
            }
            Action::Delete { kind, key, options, tell } => {
                let result = self.delete(kind, key, options).await;
                if let Some(about) = tell {
                    self.recorder.record(Event::of_deletion(about, kind, key, &result));
                }
                let answer = match &result {
                    Ok(answer) => &answer[..],
                    Err(error) if error.is_not_found() => &[],
                    Err(error) => return Err(Failure::new("delete", kind, error)),
                };
                self.caches.observe_deletion(kind, key, answer);
                return Ok(());
            }
        };
        match result {
            Ok(answer) => self.caches.observe_answer(kind, &answer),
            // What is gone needs nothing more, and the watch will say so too.
            Err(error) if verb == "patch" && error.is_not_found() => {}
            Err(error) => return Err(Failure::new(verb, kind, &error)),
        }
        Ok(())
    }
}

impl Shell {
    /// Creates an object once, even where the answer is lost: the name is chosen here, so that it can be asked for again.
    async fn create(&self, kind: &Kind, namespace: &str, object: &Value) -> Result<Bytes, ApiError> {
        let meta = &object["metadata"];
        let (given, base) = (meta["name"].as_str(), meta["generateName"].as_str().unwrap_or_default());
        let mut object = object.clone();
        let (mut lost, mut pauses) = (false, PAUSES.iter());
        loop {
            let name = match given {
                Some(name) => name.to_owned(),
                None if lost => object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                None => syntax::generated_name(base, |bound| self.random.below(bound)),
            };
            object["metadata"]["name"] = name.as_str().into();
            match self.requests.create(kind, namespace, &object).await {
                Err(error) if error.is_unknown() => {
                    lost = true;
                    sleep(*pauses.next().unwrap_or(&LONGEST_PAUSE)).await;
                }
                Err(error) if error.is_taken() && lost => {
                    match self.requests.get(kind, &Key::new(namespace, &name)).await {
                        Err(error) if error.is_unknown() => sleep(*pauses.next().unwrap_or(&LONGEST_PAUSE)).await,
                        result => return result,
                    }
                }
                Err(error) if error.is_taken() && given.is_none() && pauses.next().is_some() => {}
                result => return result,
            }
        }
    }

    /// Deletes an object; one that is gone after an answer was lost went by this.
    async fn delete(&self, kind: &Kind, key: &Key, options: &DeleteOptions) -> Result<Bytes, ApiError> {
        let (mut lost, mut pauses) = (false, PAUSES.iter());
        loop {
            match self.requests.delete(kind, key, options).await {
                Err(error) if error.is_unknown() => {
                    lost = true;
                    sleep(*pauses.next().unwrap_or(&LONGEST_PAUSE)).await;
                }
                Err(error) if error.is_not_found() && lost => return Ok(Bytes::new()),
                result => return result,
            }
        }
    }
}

/// Waits for tasks that do not end by themselves; a panic in one is this one's too.
pub async fn outlive(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        reap(Some(ended));
    }
}

fn reap(ended: Option<Result<(), JoinError>>) {
    if let Some(panic) = ended.and_then(Result::err).and_then(|error| error.try_into_panic().ok()) {
        std::panic::resume_unwind(panic);
    }
}
