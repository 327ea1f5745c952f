//! The arithmetic of ResourceQuotas: what an object uses, which quotas count it, and what would exceed one.
//! Pure; the API server keeps the sums, enforces and reports them.

pub mod names;
mod pods;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use document::{Quantity, quantity::Format};
use serde_json::Value;

pub use pods::pod_amounts;

use crate::kinds::{check::is_empty, pod::quality_of_service, resources::quantity};
use pods::{amounts, effective_amounts};

/// Amounts by the name of the resource: `cpu`, `requests.memory`, `count/deployments.apps`.
pub type Amounts = BTreeMap<String, Quantity>;

const REQUESTS: &str = "requests.";
const HUGE_PAGES: &str = "hugepages-";
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
/// What a container must state where a quota limits it.
const STATED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// What a pod may state for all of its containers together.
const POD_LEVEL: [&str; 2] = ["cpu", "memory"];
/// What claims ask of a class of devices: `gpu.deviceclass.resource.k8s.io/devices`.
const OF_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
const CLAIMS_OF_DEVICES: Counted<'static> = Counted { group: "resource.k8s.io", plural: "resourceclaims" };
/// Devices that one claim is given at most (`AllocationResultsMaxSize`).
const MAX_DEVICES: i64 = 32;

/// The kind of object that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted<'a> {
    pub group: &'a str,
    pub plural: &'a str,
}

impl<'a> Counted<'a> {
    /// What a quota's resource counts; pods, services and claims where it is not a count of objects.
    pub fn of(name: &'a str) -> Counted<'a> {
        let plural = |plural| Counted { group: "", plural };
        if let Some(counted) = name.strip_prefix("count/") {
            return Counted::at(counted);
        }
        match names::find(name) {
            Some(known) => plural(known.of),
            None if name.contains(OF_CLASS) => plural("persistentvolumeclaims"),
            None if name.ends_with(OF_DEVICE_CLASS) => CLAIMS_OF_DEVICES,
            None => plural("pods"),
        }
    }

    /// The kind whose objects are stored in a topic (`pods`, `deployments.apps`).
    pub fn at(topic: &'a str) -> Counted<'a> {
        let (plural, group) = topic.split_once('.').unwrap_or((topic, ""));
        Counted { group, plural }
    }

    /// Where the objects are stored.
    pub fn topic(self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Whether what an object uses depends on what it says. Of other kinds each counts as one.
    pub fn reads_objects(self) -> bool {
        self == CLAIMS_OF_DEVICES || ["pods", "services", "persistentvolumeclaims"].iter().any(|kind| self.is(kind))
    }

    fn is(self, plural: &str) -> bool {
        self.group.is_empty() && self.plural == plural
    }

    fn count_name(self) -> String {
        format!("count/{}", self.topic())
    }

    /// Whether objects of this kind count under the name.
    pub fn covers(self, name: &str) -> bool {
        if let Some(counted) = name.strip_prefix("count/") {
            return Counted::at(counted) == self;
        }
        match self.plural {
            _ if self == CLAIMS_OF_DEVICES => name.ends_with(OF_DEVICE_CLASS),
            _ if !self.group.is_empty() => false,
            "pods" => {
                let of_requests = name.strip_prefix(REQUESTS);
                names::is_used_by(name, "pods")
                    || name.starts_with(HUGE_PAGES)
                    || of_requests.is_some_and(|rest| rest.starts_with(HUGE_PAGES) || is_extended(rest))
            }
            "persistentvolumeclaims" => {
                let of_class = name.split_once(OF_CLASS).map(|(_, name)| name);
                names::is_used_by(of_class.unwrap_or(name), "persistentvolumeclaims")
            }
            plural => names::is_used_by(name, plural),
        }
    }

    /// What one object uses. `now_seconds` decides whether a pod that is being deleted still counts.
    pub fn usage(self, object: &Value, now_seconds: i64) -> Amounts {
        let mut usage = Amounts::from([(self.count_name(), count(1))]);
        match self.plural {
            "pods" if self.is("pods") && is_alive(object, now_seconds) => add_pod(&mut usage, object),
            "services" if self.is("services") => add_service(&mut usage, object),
            "persistentvolumeclaims" if self.is("persistentvolumeclaims") => add_claim(&mut usage, object),
            _ if self == CLAIMS_OF_DEVICES => add_devices(&mut usage, object),
            "pods" | "services" | "persistentvolumeclaims" => {}
            plural if self.group.is_empty() && names::is_count(plural) => {
                usage.insert(plural.to_owned(), count(1));
            }
            _ => {}
        }
        usage
    }

    /// Whether the quota counts the object: it limits something the object could use, and all of its scopes hold.
    pub fn is_counted_by(self, quota: &Value, object: &Value) -> bool {
        let limits_it = hard(quota).any(|(name, _)| self.covers(name));
        let spec = &quota["spec"];
        let scopes = each(&spec["scopes"]).filter_map(Value::as_str).map(|scope| (scope, "Exists", &Value::Null));
        let expressions = each(&spec["scopeSelector"]["matchExpressions"])
            .map(|one| (text(&one["scopeName"]), text(&one["operator"]), &one["values"]));
        limits_it
            && scopes.chain(expressions).all(|(scope, operator, values)| self.is_in(object, scope, operator, values))
    }

    fn is_in(self, object: &Value, scope: &str, operator: &str, values: &Value) -> bool {
        let spec = &object["spec"];
        let terminates = || spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
        if self.is("pods") {
            return match scope {
                "Terminating" => terminates(),
                "NotTerminating" => !terminates(),
                "BestEffort" => quality_of_service(object) == "BestEffort",
                "NotBestEffort" => quality_of_service(object) != "BestEffort",
                "PriorityClass" => named(&[text(&spec["priorityClassName"])], operator, values),
                "CrossNamespacePodAffinity" => crosses_namespaces(&spec["affinity"]),
                _ => false,
            };
        }
        if self.is("persistentvolumeclaims") && scope == "VolumeAttributesClass" {
            let status = &object["status"];
            let names = [
                &spec["volumeAttributesClassName"],
                &status["currentVolumeAttributesClassName"],
                &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
            ];
            return named(&names.map(text), operator, values);
        }
        false
    }

    /// What the containers of a pod do not state although the quota limits it: `must specify …`.
    pub fn unstated(self, quota: &Value, object: &Value) -> Option<String> {
        if !self.is("pods") || !is_empty(&object["spec"]["resources"]) {
            return None;
        }
        let required = hard(quota).map(|(name, _)| name.as_str()).filter(|name| STATED.contains(name));
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for name in required {
            let (field, resource) = match name.split_once('.') {
                Some((field, resource)) => (field, resource),
                None => ("requests", name),
            };
            for container in containers(object).filter(|one| one["resources"][field][resource].is_null()) {
                missing.entry(name).or_default().insert(text(&container["name"]));
            }
        }
        let parts: Vec<String> = missing
            .into_iter()
            .map(|(name, containers)| format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(",")))
            .collect();
        if parts.is_empty() { None } else { Some(format!("must specify {}", parts.join("; "))) }
    }
}

/// The limits of a quota.
pub fn hard(quota: &Value) -> impl Iterator<Item = (&String, &Value)> {
    quota["spec"]["hard"].as_object().into_iter().flatten()
}

/// What a write adds to the usage of a quota: of the object, less what its old form was counted for. Empty
/// where it adds nothing that the quota limits.
pub fn increase(counted: Counted<'_>, quota: &Value, new: &Value, old: &Value, now_seconds: i64) -> Amounts {
    let mut added = counted.usage(new, now_seconds);
    if old.is_object() && counted.is_counted_by(quota, old) {
        for (name, amount) in counted.usage(old, now_seconds) {
            if let Some(added) = added.get_mut(&name) {
                *added = added.minus(amount);
            }
        }
    }
    added.retain(|name, amount| amount.signum() > 0 && !quota["spec"]["hard"][name.as_str()].is_null());
    added
}

/// `exceeded quota: …` where the increase does not fit.
pub fn exceeded(quota: &Value, used: &Amounts, increase: &Amounts) -> Option<String> {
    let of = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or_default();
    let limit = |name: &str| &quota["spec"]["hard"][name];
    let names: Vec<&String> = increase
        .iter()
        .filter(|(name, amount)| of(used, name).plus(**amount) > quantity(limit(name)))
        .map(|(name, _)| name)
        .collect();
    if names.is_empty() {
        return None;
    }
    let shown = |amount: &dyn Fn(&str) -> String| {
        names.iter().map(|name| format!("{name}={}", amount(name))).collect::<Vec<_>>().join(",")
    };
    Some(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        text(&quota["metadata"]["name"]),
        shown(&|name| of(increase, name).to_string()),
        shown(&|name| of(used, name).to_string()),
        shown(&|name| limit(name).as_str().map_or_else(|| limit(name).to_string(), str::to_owned)),
    ))
}

fn count(units: usize) -> Quantity {
    Quantity::from_units(i64::try_from(units).unwrap_or(i64::MAX), Format::DecimalSi)
}

fn each(list: &Value) -> std::slice::Iter<'_, Value> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The second after which a pod that is being deleted should be gone, and counts no longer.
pub fn last_second(object: &Value) -> Option<i64> {
    let metadata = &object["metadata"];
    let deleted: jiff::Timestamp = metadata["deletionTimestamp"].as_str()?.parse().ok()?;
    Some(deleted.as_second().saturating_add(metadata["deletionGracePeriodSeconds"].as_i64()?))
}

/// Of another domain than Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.contains('/') && (!name.contains("kubernetes.io/") || name.starts_with("deviceclass.resource.kubernetes.io/"))
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    each(&pod["spec"]["containers"]).chain(each(&pod["spec"]["initContainers"]))
}

/// A pod that is over, or should have been gone by now, uses nothing.
fn is_alive(pod: &Value, now_seconds: i64) -> bool {
    if matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed") {
        return false;
    }
    last_second(pod).is_none_or(|last| now_seconds <= last)
}

fn add_pod(usage: &mut Amounts, pod: &Value) {
    let overhead = amounts(&pod["spec"]["overhead"]);
    usage.insert("pods".to_owned(), count(1));
    for (field, mut sum) in ["requests", "limits"].map(|field| (field, effective_amounts(pod, field))) {
        for (name, amount) in &overhead {
            // Overhead is a request; it raises only limits that there are.
            match sum.get_mut(name) {
                Some(sum) => *sum = sum.plus(*amount),
                None if field == "requests" => {
                    sum.insert(name.clone(), *amount);
                }
                None => {}
            }
        }
        for (name, amount) in sum {
            let is_basic = matches!(&*name, "cpu" | "memory" | "ephemeral-storage");
            let is_huge = name.starts_with(HUGE_PAGES);
            if field == "requests" && (is_basic || is_huge || is_extended(&name)) {
                usage.insert(format!("{REQUESTS}{name}"), amount);
                if !is_extended(&name) {
                    usage.insert(name, amount);
                }
            } else if is_basic {
                usage.insert(format!("limits.{name}"), amount);
            }
        }
    }
}

fn add_service(usage: &mut Amounts, service: &Value) {
    let spec = &service["spec"];
    let ports = each(&spec["ports"]);
    let is_balanced = spec["type"] == "LoadBalancer";
    let node_ports = match text(&spec["type"]) {
        "NodePort" => ports.count(),
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"] == false => {
            ports.filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count()
        }
        "LoadBalancer" => ports.count(),
        _ => 0,
    };
    usage.insert("services".to_owned(), count(1));
    usage.insert("services.nodeports".to_owned(), count(node_ports));
    usage.insert("services.loadbalancers".to_owned(), count(usize::from(is_balanced)));
}

fn add_claim(usage: &mut Amounts, claim: &Value) {
    let annotation = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = annotation.unwrap_or_else(|| text(&claim["spec"]["storageClassName"]));
    let of = |field: &Value| (!field["storage"].is_null()).then(|| quantity(&field["storage"]));
    let (asked, allocated) = (of(&claim["spec"]["resources"]["requests"]), of(&claim["status"]["allocatedResources"]));
    let storage = asked.map(|asked| {
        let most = allocated.map_or(asked, |allocated| allocated.max(asked));
        // A volume has whole bytes.
        Quantity::from_units(most.units(), most.format())
    });
    for (name, amount) in [("persistentvolumeclaims", Some(count(1))), ("requests.storage", storage)] {
        let Some(amount) = amount else { continue };
        usage.insert(name.to_owned(), amount);
        if !class.is_empty() {
            usage.insert(format!("{class}{OF_CLASS}{name}"), amount);
        }
    }
}

/// The devices that a claim may be given at most, by their class: of the alternatives of a request the
/// one that asks for most.
fn add_devices(usage: &mut Amounts, claim: &Value) {
    let most = |request: &Value| match text(&request["allocationMode"]) {
        "ExactCount" => request["count"].as_i64().unwrap_or(0).max(0),
        "All" => MAX_DEVICES,
        _ => 0,
    };
    for request in each(&claim["spec"]["devices"]["requests"]) {
        let mut by_class: BTreeMap<&str, i64> = BTreeMap::new();
        let exactly = Some(&request["exactly"]).filter(|exactly| exactly.is_object());
        for alternative in each(&request["firstAvailable"]).chain(exactly) {
            let devices = by_class.entry(text(&alternative["deviceClassName"])).or_default();
            *devices = most(alternative).max(*devices);
        }
        for (class, devices) in by_class {
            let sum = usage.entry(format!("{class}{OF_DEVICE_CLASS}")).or_insert(Quantity::ZERO);
            *sum = sum.plus(Quantity::from_units(devices, Format::DecimalSi));
        }
    }
}

/// Whether one of the names that are set is selected.
fn named(names: &[&str], operator: &str, values: &Value) -> bool {
    let set: Vec<&str> = names.iter().copied().filter(|name| !name.is_empty()).collect();
    let listed = || set.iter().any(|name| each(values).any(|value| value == name));
    match operator {
        "Exists" => !set.is_empty(),
        "DoesNotExist" => set.is_empty(),
        "In" => listed(),
        "NotIn" => !listed(),
        _ => false,
    }
}

fn crosses_namespaces(affinity: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let affinity = &affinity[kind];
        let required = each(&affinity["requiredDuringSchedulingIgnoredDuringExecution"]);
        let preferred =
            each(&affinity["preferredDuringSchedulingIgnoredDuringExecution"]).map(|term| &term["podAffinityTerm"]);
        let crosses = |term: &Value| !is_empty(&term["namespaces"]) || !term["namespaceSelector"].is_null();
        required.chain(preferred).any(crosses)
    })
}
