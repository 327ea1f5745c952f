//! What a pod requests of a node's resources (the resource page, and KEPs 753 on sidecars, 2837 on pod-level resources and
//! 1287 on resizing in place).

use document::quantity::Quantity;
use serde::Deserialize;

use super::{
    Labels,
    service::Protocol,
    shape::{HostPort, NamedPort},
};

/// What a container that says nothing is taken to need where nodes are compared (never where they are refused).
const PRESUMED_CPU: i64 = 100;
const PRESUMED_MEMORY: i64 = 200 << 20;

/// Amounts by resource: processor time in thousandths, everything else in its unit, rounded up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Requests {
    /// Sorted by name, without zeros.
    pub amounts: Box<[(Box<str>, i64)]>,
    /// Processor time and memory, with what is presumed of containers that say nothing.
    pub presumed: [i64; 2],
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct WrittenResources {
    requests: Labels,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WrittenContainer {
    name: Box<str>,
    pub image: Box<str>,
    restart_policy: Box<str>,
    resources: WrittenResources,
    pub ports: Vec<WrittenPort>,
}

/// What a container, or a pod as a whole, has been given, by its status: its spec may ask for something else since.
#[derive(Default)]
pub(super) struct Given {
    pub resources: Option<WrittenResources>,
    pub allocated_resources: Labels,
}

/// What a pod and its containers have been given.
#[derive(Default)]
pub(super) struct GivenToPod {
    pub whole: Given,
    pub containers: Vec<(Box<str>, Given)>,
    /// The node can never do what the spec asks for.
    pub is_infeasible: bool,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WrittenPort {
    name: Box<str>,
    container_port: u16,
    host_port: u16,
    protocol: Box<str>,
    #[serde(rename = "hostIP")]
    host_ip: Box<str>,
}

impl WrittenContainer {
    /// An init container that goes on beside the others.
    pub fn is_sidecar(&self) -> bool {
        *self.restart_policy == *"Always"
    }
}

impl WrittenPort {
    pub fn named(&self) -> Option<NamedPort> {
        let protocol = Protocol::named(&self.protocol)?;
        let port = NamedPort { name: self.name.clone(), protocol, number: self.container_port };
        (!port.name.is_empty()).then_some(port)
    }

    /// The port of the node that it takes. On the node's network every port is one.
    pub fn on_host(&self, host_network: bool) -> Option<HostPort> {
        let port = if self.host_port == 0 && host_network { self.container_port } else { self.host_port };
        let or = |text: &str, other: &str| if text.is_empty() { Box::from(other) } else { Box::from(text) };
        let (protocol, address) = (or(&self.protocol, "TCP"), or(&self.host_ip, "0.0.0.0"));
        (port > 0).then_some(HostPort { port, protocol, address })
    }
}

/// A resource's quantity as a number.
pub fn amount(resource: &str, written: &str) -> i64 {
    // The server has refused what cannot be read.
    let quantity = Quantity::parse(written).unwrap_or(Quantity::ZERO);
    if resource == "cpu" { quantity.millis() } else { quantity.units() }
}

/// Amounts by resource while they are added up. Few: a list is enough.
#[derive(Default, Clone)]
struct Sum<'a>(Vec<(&'a str, i64)>);

impl<'a> Sum<'a> {
    fn of(written: &'a Labels) -> Self {
        Self(written.iter().map(|(name, quantity)| (name, amount(name, quantity))).collect())
    }

    fn presume(&mut self) {
        for (name, presumed) in [("cpu", PRESUMED_CPU), ("memory", PRESUMED_MEMORY)] {
            if self.0.iter().all(|(known, _)| *known != name) {
                self.0.push((name, presumed));
            }
        }
    }

    fn merge(&mut self, other: &Self, how: impl Fn(i64, i64) -> i64) {
        for (name, more) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, amount)) => *amount = how(*amount, *more),
                None => self.0.push((name, *more)),
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.merge(other, i64::saturating_add);
    }

    fn get(&self, name: &str) -> i64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |(_, amount)| *amount)
    }
}

impl Requests {
    /// Of containers and init containers, of the pod as a whole, and what running it costs on top.
    pub(super) fn of_pod(
        containers: (&[WrittenContainer], &[WrittenContainer]),
        pod: &WrittenResources,
        overhead: &Labels,
        given: &GivenToPod,
    ) -> Self {
        let sum = of_pod(containers, pod, overhead, given, false);
        let presumed = of_pod(containers, pod, overhead, given, true);
        let mut amounts: Vec<(Box<str>, i64)> =
            sum.0.into_iter().filter(|(_, amount)| *amount != 0).map(|(name, amount)| (name.into(), amount)).collect();
        amounts.sort();
        Self { amounts: amounts.into(), presumed: [presumed.get("cpu"), presumed.get("memory")] }
    }

    pub fn get(&self, resource: &str) -> i64 {
        self.amounts.iter().find(|(name, _)| **name == *resource).map_or(0, |(_, amount)| *amount)
    }
}

impl GivenToPod {
    /// What is taken for somebody who asks for that: while a resize is under way, the most of what is asked for and given.
    fn taken<'a>(&'a self, asked: &'a WrittenResources, given: Option<&'a Given>) -> Sum<'a> {
        let Some((actual, given)) = given.and_then(|given| Some((given.resources.as_ref()?, given))) else {
            return Sum::of(&asked.requests);
        };
        let mut taken = Sum::of(&actual.requests);
        taken.merge(&Sum::of(&given.allocated_resources), i64::max);
        if !self.is_infeasible {
            taken.merge(&Sum::of(&asked.requests), i64::max);
        }
        taken
    }

    fn taken_by<'a>(&'a self, container: &'a WrittenContainer) -> Sum<'a> {
        let given = self.containers.iter().find(|(name, _)| *name == container.name);
        self.taken(&container.resources, given.map(|(_, given)| given))
    }
}

fn of_pod<'a>(
    (containers, init): (&'a [WrittenContainer], &'a [WrittenContainer]),
    pod: &'a WrittenResources,
    overhead: &'a Labels,
    given: &'a GivenToPod,
    presume: bool,
) -> Sum<'a> {
    let with_presumed = |mut sum: Sum<'a>| {
        if presume {
            sum.presume();
        }
        sum
    };
    let mut sum = Sum::default();
    for container in containers {
        sum.add(&with_presumed(given.taken_by(container)));
    }
    // While an init container runs, the sidecars before it run too.
    let (mut sidecars, mut peak) = (Sum::default(), Sum::default());
    for container in init {
        let mut now;
        if container.is_sidecar() {
            let sidecar = with_presumed(given.taken_by(container));
            sum.add(&sidecar);
            sidecars.add(&sidecar);
            now = sidecars.clone();
        } else {
            now = with_presumed(Sum::of(&container.resources.requests));
            now.add(&sidecars);
        }
        peak.merge(&now, i64::max);
    }
    sum.merge(&peak, i64::max);
    let whole = |name: &str| name == "cpu" || name == "memory" || name.starts_with("hugepages-");
    let mut asked = given.taken(pod, Some(&given.whole));
    asked.0.retain(|(name, _)| whole(name) && pod.requests.get(name).is_some());
    sum.merge(&asked, |_, of_pod| of_pod);
    sum.add(&Sum::of(overhead));
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::objects::Pod;

    #[test]
    fn sidecars_overhead_and_the_pods_own_word_count() {
        let requests =
            |spec| serde_json::from_value::<Pod>(json!({ "spec": spec })).unwrap().spec.shape.requests.clone();
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("100m");
        sidecar["restartPolicy"] = json!("Always");
        // 1 + 0.1 while it runs; 3 + 0.1 while the second init container does.
        let spec = json!({"containers": [container("1")], "initContainers": [sidecar, container("3")]});
        assert_eq!(requests(spec.clone()).get("cpu"), 3100);
        let mut whole = spec.clone();
        whole["resources"] = json!({"requests": {"cpu": "2", "pods": "1"}});
        whole["overhead"] = json!({"cpu": "50m", "memory": "1Mi"});
        assert_eq!(*requests(whole).amounts, [("cpu".into(), 2050), ("memory".into(), 1 << 20)]);
        let silent = requests(json!({"containers": [{}, container("1")]}));
        assert_eq!((silent.get("cpu"), silent.presumed), (1000, [1100, 400 << 20]));
    }

    #[test]
    fn while_a_resize_is_under_way_the_most_counts() {
        let requests = |asked: &str, actual: &str, allocated: &str, reason: &str| {
            let given = json!({"requests": {"cpu": actual}});
            let pod: Pod = serde_json::from_value(json!({
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": asked}}}]},
                "status": {
                    "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                    "containerStatuses": [{"name": "c", "resources": given, "allocatedResources": {"cpu": allocated}}],
                },
            }))
            .unwrap();
            pod.spec.shape.requests.get("cpu")
        };
        assert_eq!(requests("3", "1", "2", "Deferred"), 3000);
        assert_eq!(requests("1", "3", "2", "Deferred"), 3000);
        assert_eq!(requests("3", "1", "2", "Infeasible"), 2000);
        assert_eq!(requests("1", "1", "1", "Infeasible"), 1000);
    }

    #[test]
    fn equal_pods_share_a_shape() {
        let pod = |node: &str, label: &str| -> Pod {
            let spec = json!({
                "nodeName": node, "containers": [{"image": "a/b", "ports": [{"containerPort": 80, "hostPort": 80}]}],
                "volumes": [{"name": format!("kube-api-access-{label}")}, {"name": "v", "persistentVolumeClaim": {"claimName": label}}],
            });
            serde_json::from_value(json!({"metadata": {"labels": {"l": label}}, "spec": spec})).unwrap()
        };
        let (one, other) = (pod("a", "1"), pod("", "2"));
        assert!(std::sync::Arc::ptr_eq(&one.spec.shape, &other.spec.shape));
        assert_eq!((&*one.spec.shape.images[0], one.spec.shape.host_ports[0].port), ("a/b:latest", 80));
        assert_ne!(one.spec.claims, other.spec.claims);
    }
}
