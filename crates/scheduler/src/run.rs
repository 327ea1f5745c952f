//! The shell around the scheduler: tells it the news, carries out what it decides, and says so in events.
//!
//! Not here: anything that decides.

use std::{sync::Arc, time::Duration};

use client::{
    ApiError, Caches, Kind, Requests,
    caches::{AnySubscription, Topic},
    objects::{Object, PersistentVolumeClaim, Pod, storage::SELECTED_NODE},
    requests::{DeleteOptions, Patch},
};
use controllers::{
    plan::{Event, Reference},
    recorder::Recorder,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use stdx::{Clock, Random};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    core::{Binding, Core, Decision, NAME, Waiting},
    volumes::{self, Step},
};

/// Requests under way at once.
const WIDTH: usize = 64;
/// Decisions between two looks at the news.
const BATCH: usize = 64;
/// How long a binding waits for its claims to be bound.
const PATIENCE: Duration = Duration::from_secs(600);
/// The most that an event may say.
const LONGEST_MESSAGE: usize = 1024;

/// The kinds the scheduler looks at, those first that others are judged by.
pub const TOPICS: &[Topic] = &[
    Topic::Namespace,
    Topic::Node,
    Topic::Service,
    Topic::ReplicationController,
    Topic::ReplicaSet,
    Topic::StatefulSet,
    Topic::PodDisruptionBudget,
    Topic::StorageClass,
    Topic::CSINode,
    Topic::CSIDriver,
    Topic::CSIStorageCapacity,
    Topic::PersistentVolume,
    Topic::PersistentVolumeClaim,
    Topic::Pod,
];

/// Runs the scheduler until the tasks are dropped.
pub fn start(
    client: kube::Client,
    caches: &Caches,
    (clock, random): (&Arc<dyn Clock>, &Arc<dyn Random>),
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let requests = Requests::new(client, "kube-scheduler");
    let (recorder, writing) = Recorder::new(requests.clone(), NAME, Arc::clone(clock));
    tasks.spawn(writing);
    let hands = Hands { requests, recorder, caches: caches.clone(), clock: Arc::clone(clock) };
    tasks.spawn(run(Core::new(Arc::clone(random)), hands));
    tasks
}

/// What carries decisions out.
#[derive(Clone)]
struct Hands {
    requests: Requests,
    recorder: Recorder,
    caches: Caches,
    clock: Arc<dyn Clock>,
}

/// A decision that could not be carried out.
enum Failed {
    Binding(Arc<Pod>),
    Preemption(Arc<Pod>, Vec<Arc<Pod>>),
}

async fn run(mut core: Core, hands: Hands) {
    hands.caches.synced(TOPICS).await;
    let news = Arc::new(Notify::new());
    let subscriptions: Vec<AnySubscription> =
        TOPICS.iter().map(|topic| hands.caches.subscribe(*topic, &news)).collect();
    let (report, mut reports) = mpsc::unbounded_channel::<Failed>();
    let mut work: JoinSet<()> = JoinSet::new();
    // Bindings that wait for volumes take no place from others.
    let mut slow: JoinSet<()> = JoinSet::new();
    loop {
        let now = hands.clock.now();
        for subscription in &subscriptions {
            core.apply(&subscription.changes(), now);
        }
        while let Ok(failed) = reports.try_recv() {
            match failed {
                Failed::Binding(pod) => core.binding_failed(&pod),
                Failed::Preemption(pod, victims) => core.preemption_failed(&pod, &victims, now),
            }
        }
        while work.try_join_next().is_some() || slow.try_join_next().is_some() {}
        let mut decided = 0;
        while work.len() < WIDTH
            && decided < BATCH
            && let Some(decision) = core.next(now)
        {
            decided += 1;
            let (hands, report) = (hands.clone(), report.clone());
            let waits = matches!(&decision, Decision::Bind(binding) if !binding.claims.is_empty());
            let tasks = if waits { &mut slow } else { &mut work };
            tasks.spawn(async move {
                if let Some(failed) = hands.carry_out(decision).await {
                    // The scheduler outlives its work.
                    let _ = report.send(failed);
                }
            });
        }
        if decided == BATCH {
            tokio::task::yield_now().await;
            continue;
        }
        let wait = core.due().map(|due| Duration::try_from(due.duration_since(hands.clock.now())).unwrap_or_default());
        tokio::select! {
            () = news.notified() => {}
            Some(_) = work.join_next(), if !work.is_empty() => {}
            Some(_) = slow.join_next(), if !slow.is_empty() => {}
            () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
}

impl Hands {
    async fn carry_out(&self, decision: Decision) -> Option<Failed> {
        match decision {
            Decision::Bind(binding) => match self.bind(&binding).await {
                Ok(()) => None,
                Err(error) => {
                    tracing::debug!(pod = %binding.pod.key(), node = %binding.node, "cannot bind: {error}");
                    Some(Failed::Binding(binding.pod))
                }
            },
            Decision::Wait(waiting) => match self.make_wait(&waiting).await {
                Ok(()) => None,
                Err(error) => {
                    tracing::debug!(pod = %waiting.pod.key(), "cannot make room: {error}");
                    (!waiting.victims.is_empty()).then_some(Failed::Preemption(waiting.pod, waiting.victims))
                }
            },
        }
    }

    async fn bind(&self, binding: &Binding) -> Result<(), ApiError> {
        let (pod, node) = (&binding.pod, &binding.node);
        let key = pod.key();
        for step in &binding.steps {
            self.take(step).await?;
        }
        if !binding.claims.is_empty() {
            self.claims_bound(binding).await?;
        }
        let object = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": key.name(), "namespace": key.namespace(), "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        self.requests.create_part(&Pod::KIND, &key, "binding", &object).await?;
        let message = format!("Successfully assigned {key} to {node}");
        self.recorder.record(Event::normal(&Reference::to(&**pod), "Scheduled", message));
        Ok(())
    }

    /// Returns once the pod's claims have their volumes. A claim that is asked to go elsewhere will not get one here.
    async fn claims_bound(&self, binding: &Binding) -> Result<(), ApiError> {
        let news = Arc::new(Notify::new());
        let claims = &self.caches.persistent_volume_claims;
        let subscription = claims.subscribe(Arc::clone(&news));
        let wait = async {
            loop {
                news.notified().await;
                subscription.changes();
                let known = binding.claims.iter().map(|key| claims.get(key));
                let known: Vec<_> = known.collect();
                if known.iter().all(|claim| claim.as_ref().is_some_and(|claim| volumes::is_bound(claim))) {
                    return true;
                }
                let given_up = |claim: &Option<Arc<PersistentVolumeClaim>>| {
                    claim.as_ref().is_none_or(|claim| {
                        !volumes::is_bound(claim)
                            && claim.spec.volume_name.is_empty()
                            && claim.annotation(SELECTED_NODE).is_some_and(|node| *node != *binding.node)
                    })
                };
                if known.iter().any(given_up) {
                    return false;
                }
            }
        };
        match timeout(PATIENCE, wait).await {
            Ok(true) => Ok(()),
            _ => Err(ApiError::Unanswered("its claims were not bound".to_owned())),
        }
    }

    /// A write that precedes the binding.
    async fn take(&self, step: &Step) -> Result<(), ApiError> {
        let namespaced = !step.key.namespace().is_empty();
        let kind = if namespaced {
            Kind::namespaced("", "v1", "", step.resource)
        } else {
            Kind::of_cluster("", "v1", "", step.resource)
        };
        self.requests.patch(&kind, &step.key, "", (Patch::Merge, &step.patch)).await.map(drop)
    }

    /// Tells why the pod waits, and makes room for it.
    async fn make_wait(&self, waiting: &Waiting) -> Result<(), ApiError> {
        let pod = &waiting.pod;
        let mut message = waiting.message.clone();
        if message.len() > LONGEST_MESSAGE {
            const REST: &str = " ...";
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE - REST.len()));
            message += REST;
        }
        self.recorder.record(Event::warning(&Reference::to(&**pod), "FailedScheduling", message));
        for victim in &waiting.victims {
            self.evict(victim, waiting).await?;
        }
        for other in &waiting.displaced {
            let patch = json!({"metadata": {"uid": other.metadata.uid}, "status": {"nominatedNodeName": null}});
            self.patch_status(other, &patch).await?;
        }
        match status_patch(waiting, self.clock.now()) {
            Some(patch) => self.patch_status(pod, &patch).await,
            None => Ok(()),
        }
    }

    /// Writes to the status of a pod, if it still is.
    async fn patch_status(&self, pod: &Pod, patch: &Value) -> Result<(), ApiError> {
        match self.requests.patch(&Pod::KIND, &pod.key(), "status", (Patch::Strategic, patch)).await {
            Ok(answer) => self.caches.observe_answer(&Pod::KIND, &answer),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn evict(&self, victim: &Pod, waiting: &Waiting) -> Result<(), ApiError> {
        let key = victim.key();
        let condition = condition(
            victim,
            ("DisruptionTarget", "True", "PreemptionByScheduler"),
            &format!("{NAME}: preempting to accommodate a higher priority pod"),
            self.clock.now(),
        );
        let patch = json!({"metadata": {"uid": victim.metadata.uid}, "status": {"conditions": [condition]}});
        let patched = self.requests.patch(&Pod::KIND, &key, "status", (Patch::Strategic, &patch)).await;
        let options = DeleteOptions { uid: Some(victim.metadata.uid.clone()), ..DeleteOptions::default() };
        let result = match patched {
            Ok(_) => self.requests.delete(&Pod::KIND, &key, &options).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(answer) => self.caches.observe_deletion(&Pod::KIND, &key, &answer),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
        let node = waiting.nominated.as_deref().unwrap_or_default();
        let message = format!("Preempted by pod {} on node {node}", waiting.pod.metadata.uid);
        self.recorder.record(Event::normal(&Reference::to(victim), "Preempted", message));
        Ok(())
    }
}

/// What the pod's status is to say; none where it says so already.
fn status_patch(waiting: &Waiting, now: Timestamp) -> Option<Value> {
    let pod = &waiting.pod;
    let known = pod.condition("PodScheduled");
    let told = known.is_some_and(|known| {
        *known.status == *"False" && *known.reason == *"Unschedulable" && *known.message == *waiting.message
    });
    let nominated = waiting.nominated.as_deref().filter(|node| **node != *pod.status.nominated_node_name);
    if told && nominated.is_none() {
        return None;
    }
    let condition = condition(pod, ("PodScheduled", "False", "Unschedulable"), &waiting.message, now);
    let mut status = json!({ "conditions": [condition] });
    if let Some(node) = nominated {
        status["nominatedNodeName"] = if node.is_empty() { Value::Null } else { json!(node) };
    }
    Some(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))
}

/// A condition of a pod. The time is that of the last change of its status.
fn condition(pod: &Pod, (kind, status, reason): (&str, &str, &str), message: &str, now: Timestamp) -> Value {
    let known = pod.condition(kind).filter(|known| *known.status == *status);
    let since = known.and_then(|known| known.last_transition_time).unwrap_or(now);
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": client::objects::seconds(since),
        "observedGeneration": pod.metadata.generation,
    })
}
