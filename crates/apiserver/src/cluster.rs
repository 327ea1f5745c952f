//! What the server's own parts read of the cluster: role bindings, webhook configurations, quotas,
//! definitions, service accounts. Reading never waits and never fails.

use std::{
    collections::HashMap,
    fmt::{self, Debug},
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::Value;

/// Decoded objects of the latest committed state. Topics are those of `api::resource::Storage`
/// (`pods`, `clusterroles.rbac.authorization.k8s.io`).
pub trait Cluster: Send + Sync {
    fn get(&self, topic: &str, namespace: Option<&str>, name: &str) -> Option<Arc<Value>>;

    /// In the order of namespace and name; `namespace: None` lists all.
    fn list(&self, topic: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;

    /// The revision of the topic's last change: what was derived from an unchanged topic still holds.
    fn topic_revision(&self, topic: &str) -> u64;
}

/// A value computed from the objects of some topics, computed again only after one of them changed,
/// so that it is never older than the state it is asked about.
pub struct Derived<T> {
    topics: &'static [&'static str],
    compute: fn(&dyn Cluster) -> T,
    latest: Mutex<Option<(Vec<u64>, Arc<T>)>>,
}

impl<T> Derived<T> {
    pub const fn new(topics: &'static [&'static str], compute: fn(&dyn Cluster) -> T) -> Self {
        Self { topics, compute, latest: Mutex::new(None) }
    }

    pub fn get(&self, cluster: &dyn Cluster) -> Arc<T> {
        let revisions: Vec<u64> = self.topics.iter().map(|topic| cluster.topic_revision(topic)).collect();
        let mut latest = self.latest.lock();
        match &*latest {
            Some((known, value)) if *known == revisions => Arc::clone(value),
            _ => {
                let value = Arc::new((self.compute)(cluster));
                *latest = Some((revisions, Arc::clone(&value)));
                value
            }
        }
    }
}

impl<T> Debug for Derived<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derived").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// A cluster made of given objects, for the tests of what reads one.
#[derive(Debug, Default)]
pub struct FixedCluster {
    objects: HashMap<String, Vec<Arc<Value>>>,
    revision: u64,
}

impl FixedCluster {
    pub fn with(mut self, topic: &str, object: Value) -> Self {
        self.objects.entry(topic.to_owned()).or_default().push(Arc::new(object));
        self.revision += 1;
        self
    }
}

impl Cluster for FixedCluster {
    fn get(&self, topic: &str, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.list(topic, namespace).into_iter().find(|object| object["metadata"]["name"] == name)
    }

    fn list(&self, topic: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let of_namespace =
            |object: &&Arc<Value>| namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace);
        self.objects.get(topic).into_iter().flatten().filter(of_namespace).cloned().collect()
    }

    fn topic_revision(&self, _topic: &str) -> u64 {
        self.revision
    }
}
