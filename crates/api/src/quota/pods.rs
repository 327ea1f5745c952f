//! What the containers of a pod ask for together.

use serde_json::Value;

use super::{Amounts, HUGE_PAGES, POD_LEVEL, each, text};
use crate::kinds::resources::quantity;
use document::Quantity;

/// The `requests` or `limits` of a pod: of its containers together, or of the largest of its init containers
/// where that is more; what the pod states as a whole counts instead. Without overhead.
pub fn pod_amounts(pod: &Value, field: &str) -> Amounts {
    sum(pod, field, &|container| amounts(&container["resources"][field]))
}

/// The same while containers are resized: what one has counts until it has what it asks for, where that is less
/// (KEP-1287).
pub(super) fn effective_amounts(pod: &Value, field: &str) -> Amounts {
    let status = &pod["status"];
    let pending = each(&status["conditions"]).find(|condition| condition["type"] == "PodResizePending");
    let is_infeasible = pending.is_some_and(|condition| condition["reason"] == "Infeasible");
    sum(pod, field, &|container| {
        let asked = amounts(&container["resources"][field]);
        let mut all = each(&status["containerStatuses"]).chain(each(&status["initContainerStatuses"]));
        let known = all.find(|status| text(&status["name"]) == text(&container["name"]));
        let Some(known) = known.filter(|known| known["resources"].is_object()) else { return asked };
        let mut most = amounts(&known["resources"][field]);
        if field == "requests" {
            raise(&mut most, &amounts(&known["allocatedResources"]));
        }
        if !is_infeasible {
            raise(&mut most, &asked);
        }
        most
    })
}

/// `of` says what a container counts for that runs as long as the pod does.
fn sum(pod: &Value, field: &str, of: &dyn Fn(&Value) -> Amounts) -> Amounts {
    let spec = &pod["spec"];
    let mut sum = Amounts::new();
    for container in each(&spec["containers"]) {
        add(&mut sum, &of(container));
    }
    let (mut sidecars, mut largest) = (Amounts::new(), Amounts::new());
    for container in each(&spec["initContainers"]) {
        if container["restartPolicy"] == "Always" {
            let own = of(container);
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            raise(&mut largest, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            add(&mut beside, &amounts(&container["resources"][field]));
            raise(&mut largest, &beside);
        }
    }
    raise(&mut sum, &largest);
    for (name, amount) in amounts(&spec["resources"][field]) {
        if POD_LEVEL.contains(&&*name) || name.starts_with(HUGE_PAGES) {
            sum.insert(name, amount);
        }
    }
    sum
}

pub(super) fn amounts(resources: &Value) -> Amounts {
    let resources = resources.as_object().into_iter().flatten();
    resources.map(|(name, amount)| (name.clone(), quantity(amount))).collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let entry = sum.entry(name.clone()).or_insert(Quantity::ZERO);
        *entry = entry.plus(*amount);
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = most.entry(name.clone()).or_insert(*amount);
        *entry = (*entry).max(*amount);
    }
}
