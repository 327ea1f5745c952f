//! Whom news wake, and what is known of whom.

use client::Caches;
use serde_json::{Value, json};
use stdx::SeededRandom;
use tokio::sync::Notify;

use super::*;

/// A core that is told what its caches hold.
struct Told {
    caches: Caches,
    core: Core,
    subscriptions: Vec<client::caches::AnySubscription>,
    now: Timestamp,
    revision: u64,
}

impl Told {
    fn new() -> Self {
        let (caches, news) = (Caches::default(), Arc::new(Notify::new()));
        let subscriptions = crate::run::TOPICS.iter().map(|topic| caches.subscribe(*topic, &news)).collect();
        let core = Core::new(Arc::new(SeededRandom::new(1)));
        Self { caches, core, subscriptions, now: Timestamp::UNIX_EPOCH, revision: 1 }
    }

    fn tell(&mut self, mut object: Value) -> &mut Self {
        self.revision += 1;
        let kind = object["kind"].as_str().unwrap().to_owned();
        object["apiVersion"] = json!("v1");
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        object["metadata"]["uid"] = json!(format!("{kind}-{}", object["metadata"]["name"]));
        if kind == "Pod" {
            object["metadata"]["namespace"] = json!("default");
        }
        assert!(self.caches.observe(&object).unwrap());
        self.catch_up()
    }

    fn gone(&mut self, name: &str) -> &mut Self {
        let key = Key::new("default", name);
        let uid = self.caches.pods.get(&key).unwrap().metadata.uid.clone();
        self.caches.pods.forget(&key, &uid);
        self.catch_up()
    }

    fn catch_up(&mut self) -> &mut Self {
        for subscription in &self.subscriptions {
            self.core.apply(&subscription.changes(), self.now);
        }
        self
    }

    /// What is decided now, as `pod>node` or `pod waits`.
    fn decided(&mut self) -> Vec<String> {
        let mut decided = Vec::new();
        while let Some(decision) = self.core.next(self.now) {
            decided.push(match decision {
                Decision::Bind(binding) => format!("{}>{}", binding.pod.metadata.name, binding.node),
                Decision::Wait(waiting) => format!("{} waits", waiting.pod.metadata.name),
            });
        }
        decided
    }

    fn after(&mut self, seconds: i64) -> &mut Self {
        self.now += jiff::SignedDuration::from_secs(seconds);
        self
    }
}

fn node(name: &str, cpu: &str) -> Value {
    json!({
        "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
    })
}

fn pod(name: &str, cpu: &str) -> Value {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
    json!({"kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [container]}})
}

fn bound(name: &str, cpu: &str, node: &str) -> Value {
    let mut pod = pod(name, cpu);
    pod["spec"]["nodeName"] = json!(node);
    pod
}

/// A node of the zone of that number, or of none.
fn zoned(index: u64, zone: u64) -> Value {
    let mut node = node(&format!("n{index}"), "8");
    if zone < 3 {
        node["metadata"]["labels"]["zone"] = json!(format!("z{zone}"));
    }
    node
}

const NOTHING: [String; 0] = [];

#[test]
fn a_pod_wakes_only_for_a_node_that_would_take_it() {
    let mut told = Told::new();
    assert_eq!(told.tell(node("a", "1")).tell(pod("web", "2")).decided(), ["web waits"]);
    assert_eq!(told.after(60).tell(node("b", "1")).decided(), NOTHING);
    assert_eq!(told.tell(node("c", "2")).decided(), ["web>c"]);
}

#[test]
fn nodes_that_lack_different_amounts_are_explained_together() {
    let mut told = Told::new();
    for (name, cpu, taken) in [("a", "4", "2500m"), ("b", "4", "2200m"), ("c", "8", "7")] {
        told.tell(node(name, cpu)).tell(bound(&format!("on-{name}"), taken, name));
    }
    told.tell(pod("web", "2")).decided();
    let web = told.caches.pods.get(&Key::new("default", "web")).unwrap();
    let text = crate::explain::render(&told.core.explain(&web));
    let expected = "pod default/web: it waits: none of 3 nodes takes it\n\
                    a, b, c:\n  Insufficient cpu: free 200m of cpu on one of these 3 nodes\n";
    assert_eq!(text, expected);
}

#[test]
fn who_waits_for_any_node_hears_what_the_first_one_says() {
    let mut told = Told::new();
    assert_eq!(told.tell(pod("web", "2")).decided(), ["web waits"]);
    assert_eq!(told.tell(node("a", "1")).decided(), ["web waits"]);
    assert_eq!(told.after(60).tell(node("b", "1")).decided(), NOTHING);
}

#[test]
fn a_node_that_only_says_it_is_there_wakes_nobody() {
    let mut told = Told::new();
    told.tell(node("a", "1")).tell(pod("web", "2")).decided();
    let mut beat = node("a", "1");
    beat["status"]["conditions"] =
        json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-23T12:00:00Z"}]);
    assert_eq!(told.after(60).tell(beat).decided(), NOTHING);
}

#[test]
fn where_there_is_no_news_nobody_wakes() {
    let mut told = Told::new();
    let mut waiting = pod("web", "1");
    waiting["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "nope"}}]);
    assert_eq!(told.tell(node("a", "1")).tell(waiting).decided(), ["web waits"]);
    assert_eq!(told.after(60).catch_up().decided(), NOTHING);
    // Nor where there is news of nodes, none of which could help.
    assert_eq!(told.after(60).tell(node("b", "1")).decided(), NOTHING);
}

#[test]
fn a_pod_that_is_made_smaller_wakes_who_fits_beside_it() {
    let mut told = Told::new();
    told.tell(node("a", "3")).tell(bound("old", "2", "a")).tell(pod("web", "2"));
    assert_eq!(told.decided(), ["web waits"]);
    let mut resized = bound("old", "1", "a");
    let given =
        |cpu: &str| json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}, "allocatedResources": {"cpu": cpu}}]);
    resized["status"] = json!({"containerStatuses": given("2")});
    assert_eq!(told.after(60).tell(resized.clone()).decided(), NOTHING);
    resized["status"] = json!({"containerStatuses": given("1")});
    assert_eq!(told.after(60).tell(resized).decided(), ["web>a"]);
}

#[test]
fn a_lesser_promise_ends_where_room_is_made_for_a_more_important_pod() {
    let mut told = Told::new();
    let with = |mut pod: Value, priority: i32| {
        pod["spec"]["priority"] = json!(priority);
        pod
    };
    told.tell(node("a", "1")).tell(with(bound("old", "1", "a"), 0));
    assert_eq!(told.tell(with(pod("web", "1"), 50)).decided(), ["web waits"]);
    told.tell(with(pod("vip", "1"), 100));
    let Some(Decision::Wait(waiting)) = told.core.next(told.now) else { panic!("it waits") };
    assert_eq!((&*waiting.pod.metadata.name, waiting.nominated.as_deref()), ("vip", Some("a")));
    let displaced: Vec<&str> = waiting.displaced.iter().map(|pod| &*pod.metadata.name).collect();
    assert_eq!(displaced, ["web"]);
    // What the status still says is old.
    let mut late = with(pod("web", "1"), 50);
    late["status"] = json!({"conditions": [{"type": "PodScheduled", "status": "False"}]});
    told.tell(late).decided();
    assert_eq!(told.core.promise(&Key::new("default", "web")), None);
    assert_eq!(told.after(60).gone("old").decided(), ["vip>a"]);
}

#[test]
fn a_promise_that_ends_wakes_who_fits_there_then() {
    let mut told = Told::new();
    let mut vip = pod("vip", "1");
    (vip["spec"]["priority"], vip["status"]) = (json!(100), json!({"nominatedNodeName": "a"}));
    // It keeps its promise though no node takes it.
    (vip["spec"]["nodeSelector"], vip["spec"]["preemptionPolicy"]) = (json!({"no": "node"}), json!("Never"));
    told.tell(node("a", "1")).tell(vip).tell(pod("web", "1"));
    assert_eq!(told.decided(), ["vip waits", "web waits"]);
    assert_eq!(told.after(60).gone("vip").decided(), ["web>a"]);
}

#[test]
fn what_a_pod_leaves_behind_wakes_who_fits_there() {
    let mut told = Told::new();
    told.tell(node("a", "2")).tell(bound("old", "1", "a")).tell(bound("other", "1", "a"));
    assert_eq!(told.tell(pod("small", "1")).tell(pod("big", "2")).decided(), ["small waits", "big waits"]);
    assert_eq!(told.after(60).gone("old").decided(), ["small>a"]);
    assert_eq!(told.after(60).gone("other").decided(), NOTHING);
}

#[test]
fn a_pod_that_is_over_leaves_its_node() {
    let mut told = Told::new();
    told.tell(node("a", "1")).tell(bound("job", "1", "a")).tell(pod("web", "1"));
    assert_eq!(told.decided(), ["web waits"]);
    let mut over = bound("job", "1", "a");
    over["status"] = json!({"phase": "Succeeded"});
    assert_eq!(told.after(60).tell(over).decided(), ["web>a"]);
}

#[test]
fn a_pod_that_others_want_to_be_near_wakes_them() {
    let mut told = Told::new();
    let mut near = pod("near", "1");
    near["spec"]["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}},
    ]}});
    told.tell(node("a", "4")).tell(node("b", "4"));
    assert_eq!(told.tell(near).decided(), ["near waits"]);
    assert_eq!(told.after(60).tell(bound("web", "1", "b")).decided(), NOTHING);
    assert_eq!(told.tell(bound("db", "1", "b")).decided(), ["near>b"]);
}

#[test]
fn a_namespaces_new_labels_are_looked_at_anew() {
    let mut told = Told::new();
    let mut near = pod("near", "1");
    near["spec"]["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}},
        "namespaceSelector": {"matchLabels": {"team": "x"}},
    }]}});
    told.tell(node("a", "4")).tell(bound("db", "1", "a"));
    assert_eq!(told.tell(near).decided(), ["near waits"]);
    let namespace = json!({"kind": "Namespace", "metadata": {"name": "default", "labels": {"team": "x"}}});
    assert_eq!(told.after(60).tell(namespace).decided(), ["near>a"]);
}

#[test]
fn a_binding_that_failed_is_tried_again_after_its_back_off() {
    let mut told = Told::new();
    told.tell(node("a", "1")).tell(pod("web", "1"));
    assert_eq!(told.decided(), ["web>a"]);
    let pod = told.caches.pods.find("default", "web").unwrap();
    told.core.binding_failed(&pod);
    assert_eq!(told.decided(), NOTHING);
    assert_eq!(told.after(1).decided(), ["web>a"]);
}

#[test]
fn old_news_of_a_pod_that_is_being_bound_change_nothing() {
    let mut told = Told::new();
    told.tell(node("a", "1")).tell(pod("web", "1"));
    assert_eq!(told.decided(), ["web>a"]);
    assert_eq!(told.tell(pod("web", "1")).tell(pod("next", "1")).decided(), ["next waits"]);
    assert_eq!(told.after(60).tell(bound("web", "1", "a")).decided(), NOTHING);
}

#[test]
fn a_pod_that_comes_again_under_its_name_is_another() {
    let mut told = Told::new();
    told.tell(node("a", "1")).tell(bound("web", "1", "a")).tell(pod("next", "1"));
    assert_eq!(told.decided(), ["next waits"]);
    let mut again = pod("web", "1");
    again["metadata"]["resourceVersion"] = json!("99");
    (again["metadata"]["uid"], again["metadata"]["namespace"], again["apiVersion"]) =
        (json!("another"), json!("default"), json!("v1"));
    told.after(60);
    told.caches.observe(&again).unwrap();
    // One place, two pods: who came first has it.
    assert_eq!(told.catch_up().decided(), ["next>a", "web waits"]);
}

#[test]
fn nodes_that_come_and_go_leave_nothing_behind() {
    let mut told = Told::new();
    for index in 0..3 {
        let (name, web) = (format!("n{index}"), format!("web{index}"));
        told.tell(node(&name, "1")).tell(bound(&web, "1", &name));
        let key = Key::new("", &name);
        let uid = told.caches.nodes.get(&key).unwrap().metadata.uid.clone();
        told.caches.nodes.forget(&key, &uid);
        told.catch_up().gone(&web);
        assert_eq!(told.core.cluster.nodes, 0);
        assert_eq!(told.core.cluster.hosts.len(), 1);
    }
    assert_eq!(told.tell(node("a", "1")).tell(pod("next", "1")).decided(), ["next>a"]);
}

/// Many pods of many sorts come and go; what is kept up step by step is what a fresh look finds.
#[test]
fn what_is_kept_up_is_what_a_fresh_look_finds() {
    for seed in 0..8 {
        keep_up(seed);
    }
}

fn keep_up(seed: u64) {
    let random = SeededRandom::new(seed);
    let mut told = Told::new();
    for index in 0..12 {
        told.tell(zoned(index, index % 3));
    }
    let sorts: Vec<Value> = [("db", "zone"), ("web", "kubernetes.io/hostname")]
        .iter()
        .flat_map(|(app, key)| {
            let selector = json!({"matchLabels": {"app": app}});
            let term = json!([{"topologyKey": key, "labelSelector": selector}]);
            let spread = |when: &str| {
                json!({"topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector},
                ]})
            };
            let required =
                |kind: &str| json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
            [
                spread("DoNotSchedule"),
                spread("ScheduleAnyway"),
                required("podAffinity"),
                required("podAntiAffinity"),
                json!({}),
            ]
        })
        .collect();
    let mut alive: Vec<String> = Vec::new();
    for step in 0..300 {
        if random.below(3) == 0 && !alive.is_empty() {
            let at = random.below(alive.len() as u64) as usize;
            told.gone(&alive.swap_remove(at));
        } else {
            let name = format!("p{step}");
            let mut pod = pod(&name, "100m");
            pod["metadata"]["labels"]["app"] = json!(if random.below(2) == 0 { "db" } else { "web" });
            let sort = sorts[random.below(sorts.len() as u64) as usize].clone();
            pod["spec"].as_object_mut().unwrap().extend(sort.as_object().unwrap().clone());
            told.tell(pod);
            alive.push(name);
        }
        match random.below(30) {
            // A node moves to another zone, or is cordoned, or goes with its pods on it.
            0..4 => drop(told.tell(zoned(random.below(9), random.below(4)))),
            4..6 => {
                let mut node = zoned(random.below(9), random.below(3));
                node["spec"] = json!({"unschedulable": true, "taints": [{"key": "x", "effect": "NoSchedule"}]});
                told.tell(node);
            }
            6 if step > 100 => {
                let key = Key::new("", &format!("n{}", 9 + random.below(3)));
                if let Some(node) = told.caches.nodes.get(&key) {
                    told.caches.nodes.forget(&key, &node.metadata.uid);
                    told.catch_up();
                }
            }
            _ => {}
        }
        told.after(1).decided();
        if step % 10 == 0 {
            let kept: Vec<_> = alive.iter().map(|name| told.explained(name)).collect();
            let mut fresh = told.fresh();
            let found: Vec<_> = alive.iter().map(|name| fresh.explained(name)).collect();
            assert_eq!(kept, found, "seed {seed}, after {step} steps");
        }
    }
}

impl Told {
    /// What would be said of a pod like that one if it came now.
    fn explained(&mut self, name: &str) -> (Vec<Box<str>>, Vec<String>) {
        let key = Key::new("default", name);
        let pod = Arc::clone(&self.core.pods[&key].pod);
        let kind = self.core.cluster.hold(&pod);
        let class = class::of(&mut self.core.cluster, kind);
        let mut best: Vec<Box<str>> = Vec::new();
        for host in self.core.best(&key, &class, None).hosts {
            best.push(self.core.cluster.host_state(host).name.clone());
        }
        best.sort();
        let verdicts = verdict::first(&self.core.cluster, &self.core.volumes, (&key, &class, None));
        let willing: Vec<&Box<str>> = verdicts
            .iter()
            .filter(|(_, refusals)| refusals.is_empty())
            .map(|(host, _)| &self.core.cluster.host_state(*host).name)
            .collect();
        assert!(best.iter().all(|node| willing.contains(&node)) && best.is_empty() == willing.is_empty(), "{name}");
        let mut verdicts: Vec<String> = verdicts
            .iter()
            .map(|(host, refusals)| format!("{} {refusals:?}", self.core.cluster.host_state(*host).name))
            .collect();
        verdicts.sort();
        self.core.cluster.release(kind);
        (best, verdicts)
    }

    /// A core that is told of everything at once, where this one takes pods to be.
    fn fresh(&self) -> Told {
        let mut fresh = Told::new();
        fresh.now = self.now;
        for node in self.caches.nodes.all() {
            fresh.caches.nodes.observe((*node).clone());
        }
        fresh.catch_up();
        for known in self.core.pods.values() {
            let mut pod = (*known.pod).clone();
            if let Some(host) = known.whereabouts.host() {
                pod.spec.node_name = self.core.cluster.host_state(host).name.clone();
            }
            fresh.caches.pods.observe(pod);
        }
        fresh.catch_up();
        fresh
    }
}
