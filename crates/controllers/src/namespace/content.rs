//! What there is in a namespace: found by discovery, deleted, and counted as far as it is left.

use std::{collections::BTreeMap, fmt::Write};

use client::{
    ApiError, Key, Kind, Requests,
    objects::Namespace,
    requests::{DeleteOptions, Form, Propagation},
};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Deserialize;

use crate::resources::{self, Resource};

/// Resources that are cleared at once.
const AT_ONCE: usize = 8;
/// How long what has finalizers is thought to take.
const FINALIZERS_SECONDS: u64 = 15;

/// What a look at the namespace has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Why not everything that is served is known.
    pub discovery: Option<String>,
    /// Why something could not be deleted.
    pub failures: Vec<String>,
    /// Objects that are left, by resource (`pods.`, `deployments.apps`).
    pub remaining: BTreeMap<String, usize>,
    /// Objects that are left, by finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// How long it may take until they are gone.
    pub estimate_seconds: u64,
}

impl Found {
    /// Nothing is left, and nothing can have been overlooked.
    pub fn is_clear(&self) -> bool {
        self.discovery.is_none() && self.failures.is_empty() && self.remaining.is_empty()
    }

    fn add(&mut self, kind: &Kind, namespace: &str, left: Result<Left, ApiError>) {
        let left = match left {
            Ok(left) => left,
            Err(error) => return self.failures.push(error.to_string()),
        };
        if left.count == 0 {
            return;
        }
        self.remaining.insert(format!("{}.{}", kind.plural, kind.group), left.count);
        let mut seconds = left.grace_seconds;
        if seconds == 0 && !left.finalizers.is_empty() {
            seconds = FINALIZERS_SECONDS;
        }
        if seconds == 0 {
            // Neither grace nor finalizers: it should be gone.
            let Kind { group, version, plural, .. } = kind;
            self.failures.push(format!(
                "unexpected items still remain in namespace: {namespace} for gvr: {group}/{version}, Resource={plural}"
            ));
        }
        self.estimate_seconds = self.estimate_seconds.max(seconds);
        for (finalizer, count) in left.finalizers {
            *self.finalizers.entry(finalizer).or_default() += count;
        }
    }
}

/// What is left of one resource.
#[derive(Default)]
struct Left {
    count: usize,
    finalizers: BTreeMap<String, usize>,
    grace_seconds: u64,
}

#[derive(Deserialize)]
struct List<T> {
    // A list without items may come as null.
    #[serde(default = "Option::default")]
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ItemMeta {
    name: Box<str>,
    finalizers: Vec<String>,
}

/// Of a pod how long its end may take.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Pod {
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    termination_grace_period_seconds: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PodStatus {
    phase: Box<str>,
}

/// Deletes what is in the namespace and counts what is left. While there are pods, nothing else is touched: they may need
/// it until they have ended.
pub async fn clear(requests: &Requests, namespace: &Namespace, now: Timestamp) -> Found {
    let mut found = Found::default();
    let name = &*namespace.metadata.name;
    let resources = match resources::discover(requests).await {
        Ok(discovered) => {
            found.discovery = stale(&discovered.stale);
            discovered.resources
        }
        Err(error) => {
            found.discovery = Some(error.to_string());
            return found;
        }
    };
    let deletable = |resource: &&Resource| {
        resource.preferred && resource.kind.namespaced && resource.has("delete") && resource.has("list")
    };
    let (pods, others): (Vec<&Resource>, Vec<&Resource>) =
        resources.iter().filter(deletable).partition(|resource| is_pods(&resource.kind));
    for resource in pods {
        let mut left = clear_resource(requests, resource, name).await;
        if let Ok(left) = &mut left
            && left.count > 0
        {
            left.grace_seconds = match longest_grace(requests, &resource.kind, name).await {
                Ok(seconds) if waited_seconds(namespace, now) < seconds => seconds,
                _ => 0,
            };
        }
        found.add(&resource.kind, name, left.map_err(of_pods(name)));
    }
    if !found.remaining.is_empty() || !found.failures.is_empty() {
        return found;
    }
    for some in others.chunks(AT_ONCE) {
        let results = join_all(some.iter().map(|resource| clear_resource(requests, resource, name))).await;
        for (resource, left) in some.iter().zip(results) {
            found.add(&resource.kind, name, left);
        }
    }
    found.failures.sort();
    found
}

fn is_pods(kind: &Kind) -> bool {
    kind.group.is_empty() && *kind.plural == *"pods"
}

/// How long ago the namespace was deleted.
fn waited_seconds(namespace: &Namespace, now: Timestamp) -> u64 {
    let since = namespace.metadata.deletion_timestamp.unwrap_or(now);
    u64::try_from(now.duration_since(since).as_secs()).unwrap_or_default()
}

fn of_pods(namespace: &str) -> impl Fn(ApiError) -> ApiError {
    move |error| ApiError::Unanswered(format!("failed to delete pods for namespace: {namespace}, err: {error}"))
}

/// What discovery says of groups it does not know well.
fn stale(versions: &[String]) -> Option<String> {
    let first = versions.first()?;
    let mut message = format!(
        "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: \
         {first}: stale GroupVersion discovery: {first}",
        versions.len()
    );
    for version in &versions[1..] {
        let _ = write!(message, ", {version}: stale GroupVersion discovery: {version}");
    }
    Some(message)
}

/// What is not there needs no deletion; what is there is deleted together where the resource allows that.
async fn clear_resource(requests: &Requests, resource: &Resource, namespace: &str) -> Result<Left, ApiError> {
    let kind = &resource.kind;
    let items = list(requests, kind, namespace).await?;
    if items.is_empty() {
        return Ok(Left::default());
    }
    // Background, so that nothing waits for a dependent, or lets one go, which all end here anyway.
    let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    if resource.has("deletecollection") {
        requests.delete_collection(kind, namespace, &options).await?;
    } else {
        for item in &items {
            match requests.delete(kind, &Key::new(namespace, &item.metadata.name), &options).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
    }
    let mut left = Left::default();
    for item in list(requests, kind, namespace).await? {
        left.count += 1;
        for finalizer in item.metadata.finalizers {
            *left.finalizers.entry(finalizer).or_default() += 1;
        }
    }
    Ok(left)
}

async fn list(requests: &Requests, kind: &Kind, namespace: &str) -> Result<Vec<Item>, ApiError> {
    match requests.read_as::<List<Item>>(Form::MetadataList, &kind.collection(namespace)).await {
        Ok(list) => Ok(list.items.unwrap_or_default()),
        // The resource went since discovery, and its objects with it.
        Err(error) if error.is_not_found() || error.is_unserved() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The longest time of grace among pods that are not over.
async fn longest_grace(requests: &Requests, kind: &Kind, namespace: &str) -> Result<u64, ApiError> {
    let pods: List<Pod> = requests.read(&kind.collection(namespace)).await?;
    let running = |pod: &Pod| !matches!(&*pod.status.phase, "Succeeded" | "Failed");
    let pods = pods.items.unwrap_or_default();
    Ok(pods.iter().filter(|pod| running(pod)).map(|pod| pod.spec.termination_grace_period_seconds).max().unwrap_or(0))
}
