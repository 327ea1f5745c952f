//! What is counted, whatever happens and in whatever order.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::json;
use stdx::{Random, clock::ManualClock, random::SeededRandom};
use store::{Durability, HistoryLimits, Operation, Transaction};

use super::*;
use crate::{
    admission::{
        resource_quota::ResourceQuota,
        testing::{Case, cluster, resource},
    },
    engine::object,
};

const START: i64 = 1_800_000_000;

struct World {
    store: Store,
    clock: ManualClock,
    usage: Arc<Usage>,
}

impl World {
    fn new() -> Self {
        Self::with(HistoryLimits::default())
    }

    fn with(history: HistoryLimits) -> Self {
        let clock = ManualClock::starting_at(Timestamp::from_second(START).unwrap());
        let store = Store::in_memory(Arc::new(clock.clone()), history).unwrap();
        let usage = Arc::new(Usage::new(store.clone(), Arc::new(clock.clone())));
        Self { store, clock, usage }
    }

    async fn limited(hard: Value) -> Self {
        let world = Self::new();
        world.put(QUOTAS, "default", "small", json!({"spec": {"hard": hard}})).await;
        world
    }

    async fn put(&self, topic: &str, namespace: &str, name: &str, mut object: Value) {
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = namespace.into();
        let value = object::encode(&resource(topic), &object);
        self.commit(Operation::Put { key: format!("{topic}/{namespace}/{name}").into(), value }).await;
    }

    async fn delete(&self, topic: &str, namespace: &str, name: &str) {
        let key: Arc<str> = format!("{topic}/{namespace}/{name}").into();
        if self.store.snapshot().get(&key).is_some() {
            let last = object::encode(&resource(topic), &json!({"metadata": {"name": name}}));
            self.commit(Operation::Delete { key, last }).await;
        }
    }

    async fn commit(&self, operation: Operation) {
        let transaction =
            Transaction { expects: Vec::new(), operations: vec![operation], durability: Durability::Durable };
        self.store.commit(transaction).await.unwrap();
    }

    /// Asks the plug-in, which finds room or refuses.
    async fn admit(&self, case: &Case) -> Result<Option<Reservation>, String> {
        use crate::admission::Plugin;
        let plugin = ResourceQuota(Arc::clone(&self.usage));
        let mut request = case.request();
        plugin.validate(&mut request, &cluster()).await.map_err(|status| status.message)?;
        Ok(request.reservation)
    }

    /// By quota: what is used, as its status would say.
    async fn used(&self, namespace: &str) -> BTreeMap<String, String> {
        used(&self.usage, namespace).await
    }
}

async fn used(usage: &Usage, namespace: &str) -> BTreeMap<String, String> {
    let (reports, _) = usage.report(namespace).await.unwrap();
    let shown = |report: &Report| {
        let used = report.status["used"].as_object().into_iter().flatten();
        used.map(|(name, sum)| format!("{name}={}", sum.as_str().unwrap())).collect::<Vec<_>>().join(",")
    };
    reports
        .iter()
        .map(|report| (report.quota["metadata"]["name"].as_str().unwrap().to_owned(), shown(report)))
        .collect()
}

fn small(used: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("small".to_owned(), used.to_owned())])
}

fn fresh(name: &str) -> Case {
    Case::create("secrets", json!({"metadata": {"name": name, "namespace": "default"}}))
}

fn pod(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]}})
}

const FULL: &str = "is forbidden: exceeded quota: small, requested: secrets=1, used: secrets=1, limited: secrets=1";

#[tokio::test]
async fn quotas_hold() {
    let check = async |world: &World, case: Case, expect: Option<&str>| {
        assert_eq!(world.admit(&case).await.err().as_deref(), expect, "{case:?}");
    };
    let world = World::limited(json!({"secrets": "1"})).await;
    check(&world, fresh("a"), None).await;
    world.put("secrets", "default", "a", json!({})).await;
    check(&world, fresh("b"), Some(&format!("secrets \"b\" {FULL}"))).await;
    check(&world, fresh("b").namespace("other"), None).await;
    let stored = json!({"metadata": {"name": "a", "namespace": "default"}});
    check(&world, Case::create("secrets", stored.clone()).update(stored.clone()), None).await;
    check(&world, Case::create("configmaps", stored.clone()), None).await;
    check(&world, Case::delete("secrets", stored), None).await;

    let of_requests = World::limited(json!({"requests.cpu": "1"})).await;
    let unstated = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}]}});
    let problem = r#"pods "web" is forbidden: failed quota: small: must specify requests.cpu for: a"#;
    check(&of_requests, Case::create("pods", unstated.clone()), Some(problem)).await;
    check(&of_requests, Case::create("pods", unstated).subresource("binding"), None).await;

    let none = World::limited(json!({"count/deployments.apps": "0"})).await;
    let problem = r#"deployments.apps "web" is forbidden: exceeded quota: small, requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0"#;
    check(&none, Case::create("deployments.apps", json!({"metadata": {"name": "web"}})), Some(problem)).await;
}

#[tokio::test]
async fn writers_at_the_same_time_do_not_overrun() {
    let world = World::limited(json!({"secrets": "1"})).await;
    let refused = |name: &str| format!("secrets {name:?} {FULL}");
    assert!(world.admit(&fresh("dry").dry_run()).await.unwrap().is_none());
    let first = world.admit(&fresh("a")).await.unwrap();
    assert!(first.is_some());
    assert_eq!(world.admit(&fresh("b")).await.unwrap_err(), refused("b"));
    // One of two writers of the same object succeeds.
    let again = world.admit(&fresh("a")).await.unwrap();
    assert_eq!(world.used("default").await, small("secrets=0"), "only what is stored is reported");
    drop(again);
    assert_eq!(world.admit(&fresh("b")).await.unwrap_err(), refused("b"));
    // The write has failed.
    drop(first);
    let second = world.admit(&fresh("b")).await.unwrap().unwrap();
    world.put("secrets", "default", "b", json!({})).await;
    assert_eq!(world.admit(&fresh("c")).await.unwrap_err(), refused("c"), "not counted twice, and not forgotten");
    drop(second);
    assert_eq!(world.admit(&fresh("c")).await.unwrap_err(), refused("c"));
    world.delete("secrets", "default", "b").await;
    assert!(world.admit(&fresh("c")).await.is_ok());
}

/// However far a decision about another has come by then.
#[tokio::test]
async fn a_write_that_ends_meanwhile_counts_once() {
    for step in [Step::Promised, Step::Followed] {
        for (limit, fits) in [("1", false), ("2", true)] {
            let world = World::limited(json!({"secrets": limit})).await;
            let reservation = std::cell::RefCell::new(world.admit(&fresh("a")).await.unwrap());
            let after = |done: Step| {
                let ended = (done == step).then(|| reservation.take()).flatten();
                let world = &world;
                async move {
                    if let Some(ended) = ended {
                        world.put("secrets", "default", "a", json!({})).await;
                        drop(ended);
                    }
                }
            };
            let (new, old) = (json!({"metadata": {"name": "b", "namespace": "default"}}), Value::Null);
            let (topic, namespace) = ("secrets", "default");
            let write = Write { topic, namespace, name: "b", new: &new, old: &old, dry_run: false };
            let decided = world.usage.admit_in_steps(write, after).await;
            assert_eq!(decided.is_ok(), fits, "{step:?}, {limit}: {decided:?}");
        }
    }
}

/// What is promised counts for what a quota limits now, not for what it limited when the promise was made.
#[tokio::test]
async fn a_quota_can_change_what_it_limits_while_writes_are_under_way() {
    let limits = [
        json!({"configmaps": "9", "secrets": "1"}),
        json!({"secrets": "1"}),
        json!({"secrets": "1", "services": "1"}),
        json!({"count/secrets": "1"}),
        json!({"configmaps": "1", "pods": "0"}),
        json!({}),
    ];
    for (from, before) in limits[..4].iter().enumerate() {
        for (to, after) in limits.iter().enumerate() {
            let world = World::limited(before.clone()).await;
            let promise = world.admit(&fresh("a")).await.unwrap();
            assert!(promise.is_some());
            world.put(QUOTAS, "default", "small", json!({"spec": {"hard": after}})).await;
            assert_eq!(world.admit(&fresh("b")).await.is_err(), to < 4, "{from} to {to}");
            let map = Case::create("configmaps", json!({"metadata": {"name": "m", "namespace": "default"}}));
            assert!(world.admit(&map).await.is_ok(), "{from} to {to}");
            drop(promise);
            assert!(world.admit(&fresh("b")).await.is_ok(), "{from} to {to}");
        }
    }
}

#[tokio::test]
async fn two_writes_of_one_object_count_as_the_larger() {
    let world = World::limited(json!({"requests.cpu": "3"})).await;
    let asking = |name: &str, cpu: &str| {
        let mut pod = pod(cpu);
        pod["metadata"] = json!({"name": name, "namespace": "default"});
        Case::create("pods", pod)
    };
    let _smaller = world.admit(&asking("a", "1")).await.unwrap().unwrap();
    let _larger = world.admit(&asking("a", "2")).await.unwrap().unwrap();
    assert!(world.admit(&asking("b", "1500m").dry_run()).await.is_err());
    assert!(world.admit(&asking("b", "1")).await.is_ok());
}

/// However long the write takes.
#[tokio::test]
async fn a_promise_counts_as_long_as_it_is_held() {
    let world = World::limited(json!({"secrets": "1"})).await;
    let reservation = world.admit(&fresh("a")).await.unwrap().unwrap();
    world.clock.advance(Duration::from_secs(3600));
    assert!(world.admit(&fresh("b")).await.is_err());
    drop(reservation);
    assert!(world.admit(&fresh("b")).await.is_ok());
}

#[tokio::test]
async fn usage_follows_pods_to_their_end() {
    let world = World::limited(json!({"pods": "3", "requests.cpu": "2", "count/pods": "9", "cpu": "4"})).await;
    let check = async |expect: &str| assert_eq!(world.used("default").await, small(expect));
    check("count/pods=0,cpu=0,pods=0,requests.cpu=0").await;
    world.put("pods", "default", "a", pod("500m")).await;
    world.put("pods", "default", "b", pod("250m")).await;
    world.put("pods", "other", "c", pod("1")).await;
    check("count/pods=2,cpu=750m,pods=2,requests.cpu=750m").await;
    let mut over = pod("500m");
    over["status"]["phase"] = "Succeeded".into();
    world.put("pods", "default", "a", over).await;
    check("count/pods=2,cpu=250m,pods=1,requests.cpu=250m").await;
    let mut going = pod("250m");
    let deadline = Timestamp::from_second(START + 30).unwrap().to_string();
    going["metadata"] = json!({"deletionTimestamp": deadline, "deletionGracePeriodSeconds": 30});
    world.put("pods", "default", "b", going).await;
    let (_, next) = world.usage.report("default").await.unwrap();
    check("count/pods=2,cpu=250m,pods=1,requests.cpu=250m").await;
    assert_eq!(next, Some(START + 61), "it should have been gone by then");
    world.clock.advance(Duration::from_secs(61));
    check("count/pods=2,cpu=0,pods=0,requests.cpu=0").await;
    assert_eq!(world.usage.report("default").await.unwrap().1, None);
    world.delete("pods", "default", "b").await;
    check("count/pods=1,cpu=0,pods=0,requests.cpu=0").await;
}

#[tokio::test]
async fn a_quota_can_change_what_it_limits() {
    let world = World::limited(json!({"secrets": "1"})).await;
    world.put("secrets", "default", "a", json!({})).await;
    world.put("configmaps", "default", "a", json!({})).await;
    assert_eq!(world.used("default").await, small("secrets=1"));
    world.put(QUOTAS, "default", "small", json!({"spec": {"hard": {"secrets": "2"}}})).await;
    assert!(world.admit(&fresh("b")).await.is_ok(), "the limit is the new one");
    world.put(QUOTAS, "default", "small", json!({"spec": {"hard": {"configmaps": "2", "secrets": "2"}}})).await;
    assert_eq!(world.used("default").await, small("configmaps=1,secrets=1"));
    let scoped = json!({"spec": {"hard": {"pods": "2"}, "scopes": ["BestEffort"]}});
    world.put("pods", "default", "a", pod("1")).await;
    world.put(QUOTAS, "default", "small", json!({"spec": {"hard": {"pods": "2"}}})).await;
    assert_eq!(world.used("default").await, small("pods=1"));
    world.put(QUOTAS, "default", "small", scoped).await;
    assert_eq!(world.used("default").await, small("pods=0"));
    world.delete(QUOTAS, "default", "small").await;
    assert_eq!(world.used("default").await, BTreeMap::new());
    assert!(world.usage.namespaces.lock().is_empty(), "nothing is kept for a namespace without quotas");
}

/// Random changes: what was followed is what a count from the beginning finds.
async fn follow(seed: u64, history: HistoryLimits) {
    let world = World::with(history);
    let random = SeededRandom::new(seed);
    let below = |bound: u64| random.below(bound);
    for step in 0..400 {
        let namespace = ["a", "b"][usize::try_from(below(2)).unwrap()];
        let name = format!("o{}", below(6));
        match below(12) {
            0 => {
                let hard = [
                    json!({"pods": "5", "requests.cpu": "9"}),
                    json!({"pods": "7", "requests.cpu": "9"}),
                    json!({"count/pods": "5", "count/secrets": "5", "secrets": "4", "services.nodeports": "3"}),
                ];
                let mut spec = json!({"hard": hard[usize::try_from(below(3)).unwrap()]});
                if below(3) == 0 {
                    spec = json!({"hard": {"pods": "5"}, "scopes": ["NotTerminating"]});
                }
                world.put(QUOTAS, namespace, &format!("q{}", below(2)), json!({"spec": spec})).await;
            }
            1 if below(3) == 0 => world.delete(QUOTAS, namespace, "q0").await,
            2 | 3 => world.delete("pods", namespace, &name).await,
            4 => world.delete("secrets", namespace, &name).await,
            5 => world.put("secrets", namespace, &name, json!({})).await,
            6 => {
                let ports: Vec<Value> = (0..below(3)).map(|port| json!({"port": port})).collect();
                world.put("services", namespace, &name, json!({"spec": {"type": "NodePort", "ports": ports}})).await;
            }
            7 => world.clock.advance(Duration::from_secs(below(40))),
            _ => {
                let mut pod = pod(&format!("{}m", 100 * below(9)));
                match below(5) {
                    0 => pod["status"]["phase"] = "Failed".into(),
                    1 => pod["spec"]["activeDeadlineSeconds"] = 5.into(),
                    2 => {
                        let deadline = world.clock.now().to_string();
                        let grace = below(30);
                        pod["metadata"] = json!({"deletionTimestamp": deadline, "deletionGracePeriodSeconds": grace});
                    }
                    _ => {}
                }
                world.put("pods", namespace, &name, pod).await;
            }
        }
        if below(3) == 0 {
            let anew = Usage::new(world.store.clone(), Arc::new(world.clock.clone()));
            for namespace in ["a", "b"] {
                let expect = used(&anew, namespace).await;
                assert_eq!(world.used(namespace).await, expect, "seed {seed} step {step} namespace {namespace}");
            }
        }
    }
}

#[tokio::test]
async fn what_was_followed_is_what_a_new_count_finds() {
    for seed in 0..20 {
        follow(seed, HistoryLimits::default()).await;
        // Short enough for cursors to fall out of it.
        follow(seed, HistoryLimits { max_bytes: 600, ..HistoryLimits::default() }).await;
    }
}
