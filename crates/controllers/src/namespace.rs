//! The end of a namespace: what is in it is deleted, pods first (KEP-5080), then everything else; once nothing is left the
//! namespace is let go. The server refuses new content from the moment the namespace is marked.
//!
//! | file | |
//! |---|---|
//! | `content` | what there is to delete, and what is left of it |
//! | `conditions` | what the namespace says about that |
//!
//! This file works through the namespaces that end. What is left is looked for again and again, soon at first.

mod conditions;
mod content;

use std::{sync::Arc, time::Duration};

use client::{
    ApiError, Key, WorkQueue,
    caches::{AnySubscription, Changes, Topic},
    objects::{Namespace, Object},
    requests::Form,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    driver::{self, Shell},
    plan::{Action, status_patch},
};

pub const NAME: &str = "namespace-controller";

/// The finalizer that namespaces are made with.
const FINALIZER: &str = "kubernetes";
/// Namespaces that are worked on at once.
const WORKERS: usize = 8;
/// How long something that failed waits at most.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Runs until it is dropped.
pub async fn run(shell: Shell) {
    let topics = &[Topic::Namespace, Topic::Pod];
    shell.caches.synced(topics).await;
    let news = Arc::new(Notify::new());
    let subscriptions: Vec<AnySubscription> =
        topics.iter().map(|topic| shell.caches.subscribe(*topic, &news)).collect();
    let queue = shell.caches.queues.open("namespace");
    let mut tasks = JoinSet::new();
    for _ in 0..WORKERS {
        tasks.spawn(work(shell.clone(), queue.clone()));
    }
    let hearing = async {
        loop {
            for subscription in &subscriptions {
                touched(&shell, &subscription.changes(), &queue);
            }
            news.notified().await;
        }
    };
    tokio::select! {
        biased;
        () = driver::outlive(tasks) => {}
        () = hearing => {}
    }
}

fn touched(shell: &Shell, changes: &Changes, queue: &WorkQueue<Key>) {
    let is_ending = |namespace: &Namespace| namespace.metadata.is_being_deleted();
    match changes {
        Changes::Namespace(changes) => {
            let ending = |namespace: &&Arc<Namespace>| is_ending(namespace);
            changes.iter().filter_map(|change| change.new.as_ref()).filter(ending).for_each(|new| queue.add(new.key()));
        }
        // What comes next waits for the last pod.
        Changes::Pod(changes) => {
            for gone in changes.iter().filter(|change| change.new.is_none()) {
                let name = gone.key.namespace();
                if shell.caches.namespaces.find("", name).is_some_and(|namespace| is_ending(&namespace))
                    && shell.caches.pods.in_namespace(name).is_empty()
                {
                    queue.add(Key::new("", name));
                }
            }
        }
        _ => {}
    }
}

async fn work(shell: Shell, queue: WorkQueue<Key>) {
    loop {
        let key = queue.next().await;
        match end(&shell, &key).await {
            Ok(None) => queue.forget_failures(&key),
            Ok(Some(wait)) => {
                queue.retry(key.clone());
                queue.add_after(key.clone(), wait);
            }
            Err(error) => {
                tracing::debug!(namespace = %key, "not cleared: {error}");
                queue.retry_after(key.clone(), &error);
                queue.add_after(key.clone(), LONGEST_RETRY);
            }
        }
        queue.done(&key);
    }
}

/// One look at a namespace. Returns how long to wait for what is left at most.
async fn end(shell: &Shell, key: &Key) -> Result<Option<Duration>, ApiError> {
    let Some(namespace) = shell.caches.namespaces.get(key) else { return Ok(None) };
    let holds = |finalizers: &[Box<str>]| finalizers.iter().any(|finalizer| **finalizer == *FINALIZER);
    if !namespace.metadata.is_being_deleted() || !holds(&namespace.spec.finalizers) {
        return Ok(None);
    }
    // As `metav1.Time` is written.
    let now = shell.clock.now();
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let found = content::clear(&shell.requests, &namespace, now).await;
    let goes_at_once = namespace.metadata.finalizers.is_empty() && namespace.spec.finalizers.len() == 1;
    let conditions = conditions::conditions(&namespace.status.conditions, &found, now);
    if conditions != namespace.status.conditions && !(found.is_clear() && goes_at_once) {
        let (known, wanted) = (&namespace.status.conditions, &conditions);
        let action = status_patch(&*namespace, &json!({"conditions": known}), &json!({"conditions": wanted}));
        write(shell, &action).await?;
    }
    if found.is_clear() {
        return finalize(shell, &namespace).await.map(|()| None);
    }
    let failed = found.discovery.is_some() || !found.failures.is_empty();
    Ok(Some(if failed { LONGEST_RETRY } else { Duration::from_secs(found.estimate_seconds / 2 + 1) }))
}

async fn write(shell: &Shell, action: &Action) -> Result<(), ApiError> {
    let Action::Patch { kind, key, subresource, form, patch } = action else { return Ok(()) };
    let answer = shell.requests.patch(kind, key, subresource, (*form, patch)).await?;
    shell.caches.observe_answer(kind, &answer);
    Ok(())
}

/// Takes the finalizer from the namespace as it is now, if it still is this one.
async fn finalize(shell: &Shell, namespace: &Namespace) -> Result<(), ApiError> {
    let (kind, key) = (Namespace::KIND, namespace.key());
    let read: Result<Value, ApiError> = shell.requests.read_as(Form::Object, &kind.object("", key.name(), "")).await;
    let mut object = match read {
        Ok(object) if object["metadata"]["uid"] == *namespace.metadata.uid => object,
        Ok(_) => return Ok(()),
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    if let Some(finalizers) = object["spec"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    match shell.requests.replace(&kind, &key, "finalize", &object).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
