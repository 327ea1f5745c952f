//! ResourceQuota: no namespace uses more than its quotas allow.
//!
//! Usage is what the stored objects use, not what a controller last reported. Between this decision and
//! the commit the object is in the ledger, and the ledger counts as stored: writers at the same time
//! cannot overrun a quota together.

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::{
    quota::{Counted, exceeded, increase, used},
    status::Status,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use stdx::Clock;

use super::{Operation, Plugin, Request, text};
use crate::cluster::Cluster;

/// By then a commit has come to an end. A write that failed is counted no longer than this.
const COMMIT_TIME: Duration = Duration::from_secs(10);
/// Entries at which those that have ended are dropped.
const LEDGER_LIMIT: usize = 1024;

pub struct ResourceQuota {
    clock: Arc<dyn Clock>,
    ledger: Mutex<Ledger>,
}

/// Writes that were allowed and may not yet be stored, by topic, namespace and name.
type Ledger = HashMap<(Arc<str>, String, String), Pending>;

struct Pending {
    object: Arc<Value>,
    /// The version that the write replaces; Null for a new object.
    replaces: Value,
    until: Timestamp,
}

impl ResourceQuota {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, ledger: Mutex::default() }
    }

    fn decide(&self, request: &Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let resource = request.resource;
        let counted = Counted { group: &resource.group, plural: &resource.plural };
        let key = (Arc::clone(&resource.storage.topic), request.namespace.to_owned(), request.name.to_owned());
        if request.operation == Operation::Delete {
            self.ledger.lock().remove(&key);
            return Ok(());
        }
        if !is_charged(request) {
            return Ok(());
        }
        let (new, old) = (&*request.object, request.old);
        let quotas = cluster.list("resourcequotas", Some(request.namespace));
        let quotas: Vec<_> = quotas.iter().filter(|quota| counted.is_counted_by(quota, new)).collect();
        if quotas.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let mut ledger = self.ledger.lock();
        let mut objects = None;
        for quota in quotas {
            if let Some(unstated) = counted.unstated(quota, new) {
                let name = text(&quota["metadata"]["name"]);
                return Err(request.forbidden(format!("failed quota: {name}: {unstated}")));
            }
            let increase = increase(counted, quota, new, old, now.as_second());
            if increase.is_empty() {
                continue;
            }
            let objects = objects.get_or_insert_with(|| as_if_stored(&mut ledger, &key, cluster, now));
            let used = used(counted, quota, objects.iter().map(|object| &**object), now.as_second());
            if let Some(problem) = exceeded(quota, &used, &increase) {
                return Err(request.forbidden(problem));
            }
        }
        if objects.is_some() && !request.dry_run {
            if ledger.len() >= LEDGER_LIMIT {
                ledger.retain(|_, pending| pending.until > now);
            }
            let replaces = old["metadata"]["resourceVersion"].clone();
            let until = now.checked_add(COMMIT_TIME).unwrap_or(Timestamp::MAX);
            ledger.insert(key, Pending { object: Arc::new(new.clone()), replaces, until });
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if request.namespace.is_empty()
            || request.is_about("", "namespaces")
            || &*request.resource.storage.topic == "events"
        {
            return Ok(());
        }
        self.decide(request, cluster)
    }
}

/// The writes that can change what an object uses.
fn is_charged(request: &Request<'_>) -> bool {
    match (request.operation, request.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "resize") => request.is_about("", "pods"),
        (Operation::Update, "") if request.is_on("", "pods") => {
            let deadline = |pod: &Value| pod["spec"]["activeDeadlineSeconds"].is_null();
            deadline(&request.object) != deadline(request.old)
        }
        (Operation::Update, "") => {
            request.is_on("", "services")
                || request.is_on("", "persistentvolumeclaims")
                || request.is_on("resource.k8s.io", "resourceclaims")
        }
        _ => false,
    }
}

/// The objects of the kind in the namespace, with pending writes done. Those that are stored leave the ledger.
fn as_if_stored(
    ledger: &mut Ledger,
    key: &(Arc<str>, String, String),
    cluster: &dyn Cluster,
    now: Timestamp,
) -> Vec<Arc<Value>> {
    let (topic, namespace, own_name) = key;
    let mut objects = cluster.list(topic, Some(namespace));
    let positions: HashMap<String, usize> = objects
        .iter()
        .enumerate()
        .map(|(index, object)| (text(&object["metadata"]["name"]).to_owned(), index))
        .collect();
    let mut added = Vec::new();
    ledger.retain(|(of_topic, of_namespace, name), pending| {
        if of_topic != topic || of_namespace != namespace {
            return true;
        }
        let position = positions.get(name);
        let stored = position.map_or(&Value::Null, |index| &objects[*index]["metadata"]["resourceVersion"]);
        // This request is a new try of the write, or the write has ended.
        if name == own_name || pending.until <= now || *stored != pending.replaces {
            return false;
        }
        match position {
            Some(index) => objects[*index] = Arc::clone(&pending.object),
            None => added.push(Arc::clone(&pending.object)),
        }
        true
    });
    objects.extend(added);
    objects
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stdx::clock::ManualClock;

    use super::*;
    use crate::{
        admission::testing::{Case, cluster},
        cluster::FixedCluster,
    };

    fn clock() -> ManualClock {
        ManualClock::starting_at(Timestamp::from_second(1_800_000_000).unwrap())
    }

    fn limited(hard: Value) -> FixedCluster {
        cluster().with(
            "resourcequotas",
            json!({"metadata": {"name": "small", "namespace": "default"}, "spec": {"hard": hard}}),
        )
    }

    fn secret(name: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "default", "resourceVersion": "5"}})
    }

    fn fresh(name: &str) -> Case {
        Case::create("secrets", json!({"metadata": {"name": name, "namespace": "default"}}))
    }

    const FULL: &str = "is forbidden: exceeded quota: small, requested: secrets=1, used: secrets=1, limited: secrets=1";

    #[tokio::test]
    async fn quotas_hold() {
        let check = async |cluster: &FixedCluster, case: Case, expect: Option<&str>| {
            let found = case.admit(&ResourceQuota::new(Arc::new(clock())), cluster).await.err();
            assert_eq!(found.as_deref(), expect, "{case:?}");
        };
        let one = || limited(json!({"secrets": "1"}));
        check(&one(), fresh("a"), None).await;
        let full = one().with("secrets", secret("a"));
        check(&full, fresh("b"), Some(&format!("secrets \"b\" {FULL}"))).await;
        check(&full, fresh("b").namespace("other"), None).await;
        check(&full, Case::create("secrets", secret("a")).update(secret("a")), None).await;
        check(&full, Case::create("configmaps", secret("b")), None).await;
        check(&full, Case::delete("secrets", secret("a")), None).await;
        let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}]}});
        let unstated = r#"pods "web" is forbidden: failed quota: small: must specify requests.cpu for: a"#;
        check(&limited(json!({"requests.cpu": "1"})), Case::create("pods", pod.clone()), Some(unstated)).await;
        check(&limited(json!({"requests.cpu": "1"})), Case::create("pods", pod).subresource("binding"), None).await;
        let deployment = json!({"metadata": {"name": "web"}});
        let counted = r#"deployments.apps "web" is forbidden: exceeded quota: small, requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0"#;
        check(
            &limited(json!({"count/deployments.apps": "0"})),
            Case::create("deployments.apps", deployment),
            Some(counted),
        )
        .await;
    }

    #[tokio::test]
    async fn writers_at_the_same_time_do_not_overrun() {
        let clock = clock();
        let plugin = ResourceQuota::new(Arc::new(clock.clone()));
        let empty = limited(json!({"secrets": "1"}));
        let refused = |name: &str| Err(format!("secrets {name:?} {FULL}"));
        let admit = async |case: Case| case.admit(&plugin, &empty).await.map(|_| ());
        assert_eq!(admit(fresh("dry").dry_run()).await, Ok(()));
        assert_eq!(admit(fresh("a")).await, Ok(()));
        assert_eq!(admit(fresh("b")).await, refused("b"));
        assert_eq!(admit(fresh("a")).await, Ok(()), "a new try of the same write");
        // The secret was stored and is deleted again: there is room.
        assert_eq!(admit(Case::delete("secrets", secret("a"))).await, Ok(()));
        assert_eq!(admit(fresh("b")).await, Ok(()));
        assert_eq!(admit(fresh("c")).await, refused("c"));
        // The commit of b has failed.
        clock.advance(COMMIT_TIME);
        assert_eq!(admit(fresh("c")).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_stored_leaves_the_ledger() {
        let plugin = ResourceQuota::new(Arc::new(clock()));
        let two = || limited(json!({"secrets": "2"}));
        assert!(fresh("a").admit(&plugin, &two()).await.is_ok());
        let stored = two().with("secrets", secret("a"));
        assert!(fresh("b").admit(&plugin, &stored).await.is_ok());
        assert_eq!(plugin.ledger.lock().len(), 1);
    }
}
