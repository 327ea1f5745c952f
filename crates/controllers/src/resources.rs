//! Which resources the server serves, built in and custom, as its discovery tells.
//!
//! Read again only when a definition or an API service has changed: an idle cluster is not asked.

use std::{collections::HashSet, sync::Arc, time::Duration};

use client::{
    ApiError, Kind, Requests,
    reading::ObjectId,
    reflector::{Partial, Sink, follow_metadata},
    requests::Form,
};
use futures_util::future::join;
use serde::Deserialize;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// A resource in one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub kind: Kind,
    pub verbs: Box<[Box<str>]>,
    /// Whether this is the version its group prefers it in.
    pub preferred: bool,
}

impl Resource {
    pub fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| **known == *verb)
    }
}

/// The resources that are served, in the order of discovery.
pub type Resources = Arc<[Resource]>;

/// After a definition has changed, discovery is read at these times, as it follows a moment later. What changes in
/// between begins anew.
const SETTLING: [Duration; 3] = [Duration::from_millis(50), Duration::from_secs(1), Duration::from_secs(10)];
const RETRY: Duration = Duration::from_secs(5);

/// Where changes of what is served become known.
static SIGNS: [Kind; 2] = [
    Kind::of_cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"),
    Kind::of_cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices"),
];

#[derive(Deserialize)]
struct Groups {
    items: Vec<Group>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Group {
    metadata: GroupName,
    versions: Vec<Version>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct GroupName {
    name: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Version {
    version: Box<str>,
    resources: Vec<Served>,
    freshness: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Served {
    resource: Box<str>,
    response_kind: ResponseKind,
    scope: Box<str>,
    verbs: Box<[Box<str>]>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseKind {
    kind: Box<str>,
}

/// What discovery tells now.
#[derive(Debug)]
pub struct Discovered {
    pub resources: Resources,
    /// The groups' versions of which the server itself does not know what they hold now.
    pub stale: Vec<String>,
}

/// Reads what is served now.
pub async fn discover(requests: &Requests) -> Result<Discovered, ApiError> {
    let (core, groups) =
        join(requests.read_as::<Groups>(Form::Discovery, "/api"), requests.read_as::<Groups>(Form::Discovery, "/apis"))
            .await;
    let mut all = core?.items;
    all.append(&mut groups?.items);
    let (mut resources, mut stale) = (Vec::new(), Vec::new());
    for group in all {
        let mut known: HashSet<Box<str>> = HashSet::new();
        for version in group.versions {
            if *version.freshness == *"Stale" {
                stale.push(format!("{}/{}", group.metadata.name, version.version));
            }
            for served in version.resources {
                let preferred = known.insert(served.resource.clone());
                resources.push(served.into_resource(&group.metadata.name, &version.version, preferred));
            }
        }
    }
    Ok(Discovered { resources: resources.into(), stale })
}

impl Served {
    fn into_resource(self, group: &str, version: &str, preferred: bool) -> Resource {
        let kind = Kind {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            kind: self.response_kind.kind.into_string().into(),
            plural: self.resource.into_string().into(),
            namespaced: *self.scope == *"Namespaced",
        };
        Resource { kind, verbs: self.verbs, preferred }
    }
}

/// Tells of changes without saying which.
struct Sign(Arc<Notify>);

impl Sink<Partial> for Sign {
    fn replace(&self, _: Vec<Partial>, _: &[ObjectId], _: u64) {
        self.0.notify_one();
    }

    fn observe(&self, _: Partial) {
        self.0.notify_one();
    }

    fn ended(&self, _: &ObjectId) {
        self.0.notify_one();
    }
}

/// Keeps `resources` in step with what is served, until it is dropped.
pub async fn follow(requests: Requests, resources: watch::Sender<Resources>) {
    let news = Arc::new(Notify::new());
    let sign = Sign(Arc::clone(&news));
    let signs = join(follow_metadata(&requests, &SIGNS[0], &sign), follow_metadata(&requests, &SIGNS[1], &sign));
    let reading = async {
        loop {
            news.notified().await;
            for wait in SETTLING {
                if timeout(wait, news.notified()).await.is_ok() {
                    // Another change: what it makes of discovery comes later still.
                    news.notify_one();
                    sleep(SETTLING[0]).await;
                    read(&requests, &resources).await;
                    break;
                }
                read(&requests, &resources).await;
            }
        }
    };
    join(signs, reading).await;
}

async fn read(requests: &Requests, resources: &watch::Sender<Resources>) {
    let found = loop {
        match discover(requests).await {
            Ok(found) => break found.resources,
            Err(error) => tracing::warn!("cannot discover what is served: {error}; trying again in {RETRY:?}"),
        }
        sleep(RETRY).await;
    };
    resources.send_if_modified(|known| {
        let differs = **known != *found;
        if differs {
            *known = found;
        }
        differs
    });
}
