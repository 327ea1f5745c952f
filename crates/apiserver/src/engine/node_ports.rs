//! The node ports of Services. They are given by number: one serves a Service over all its protocols, and no two
//! Services have the same. What is not free is known to `claims`.

use std::collections::{HashMap, HashSet};

use api::field::{FieldError, FieldErrors, Path};
use serde_json::Value;
use stdx::Random;

use super::{
    Engine,
    allocation::Allocation,
    claims::{Taken, items},
};

/// The node ports of a Service, without that of its health check.
pub(super) fn of(spec: &Value) -> impl Iterator<Item = u16> {
    items(&spec["ports"]).filter_map(|port| number(&port["nodePort"]))
}

pub(super) fn number(port: &Value) -> Option<u16> {
    port.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// Gives the ports of a Service what they lack, and checks what they ask for; `old` is what an update replaces.
pub(super) fn allocate(
    engine: &Engine,
    spec: &mut Value,
    old: &Value,
    taken: &mut Taken<'_>,
    errors: &mut FieldErrors,
) {
    let balanced = spec["type"] == "LoadBalancer";
    if !balanced && spec["type"] != "NodePort" {
        return;
    }
    let mut held = Held::of(old, taken);
    let spec_path = Path::new("spec");
    let list = spec_path.child("ports");
    // What is asked for is taken before anything is given.
    for (index, port) in items(&spec["ports"]).enumerate() {
        let Some(asked) = asked(&port["nodePort"]) else { continue };
        if held.has(port, asked) {
            continue;
        }
        match engine.allocation.take_port(asked, taken) {
            Ok(taken) => held.add(port, taken),
            Err(why) => errors.push(FieldError::invalid(&list.index(index).child("nodePort"), asked, why)),
        }
    }
    if balanced && spec["allocateLoadBalancerNodePorts"] == false {
        return;
    }
    let lacking = |port: &&mut Value| asked(&port["nodePort"]).is_none();
    for port in spec["ports"].as_array_mut().into_iter().flatten().filter(lacking) {
        let given = held.shared(port).or_else(|| engine.allocation.free_port(taken, &*engine.random));
        let Some(given) = given else {
            errors.push(FieldError::internal(&list, "failed to allocate a nodePort: range is full"));
            return;
        };
        held.add(port, given);
        port["nodePort"] = given.into();
    }
}

/// What a Service has by now.
enum Held {
    /// A new one: its ports of one number share a node port, the first that any of them asks for or is given.
    New(HashMap<i64, u16>),
    /// A changed one: what it had and what it asks for, whichever of its ports have that. What it lacks is given anew.
    Changed(HashSet<u16>),
}

impl Held {
    fn of(old: &Value, taken: &mut Taken<'_>) -> Self {
        if old.is_null() {
            return Self::New(HashMap::new());
        }
        // It may keep what it has; what is given to it is another all the same.
        of(old).chain(number(&old["healthCheckNodePort"])).for_each(|port| _ = taken.take_port(port));
        Self::Changed(of(old).collect())
    }

    /// Whether the port need not take again what it asks for.
    fn has(&self, port: &Value, asked: i64) -> bool {
        match self {
            Self::New(_) => self.shared(port).is_some_and(|shared| i64::from(shared) == asked),
            Self::Changed(held) => u16::try_from(asked).is_ok_and(|asked| held.contains(&asked)),
        }
    }

    fn shared(&self, port: &Value) -> Option<u16> {
        match self {
            Self::New(shared) => shared.get(&port["port"].as_i64()?).copied(),
            Self::Changed(_) => None,
        }
    }

    fn add(&mut self, port: &Value, given: u16) {
        match self {
            Self::New(shared) => {
                shared.entry(port["port"].as_i64().unwrap_or_default()).or_insert(given);
            }
            Self::Changed(held) => {
                held.insert(given);
            }
        }
    }
}

/// Only where a Service begins to need one: afterwards it may not change.
pub(super) fn allocate_health_check(
    engine: &Engine,
    spec: &mut Value,
    old: &Value,
    taken: &mut Taken<'_>,
) -> Result<(), String> {
    if !needs_health_check(spec) || needs_health_check(old) {
        return Ok(());
    }
    let (allocation, port) = (&engine.allocation, &mut spec["healthCheckNodePort"]);
    if let Some(asked) = asked(port) {
        let refused = |why| format!("failed to allocate requested HealthCheck NodePort {asked}: {why}");
        return allocation.take_port(asked, taken).map(drop).map_err(refused);
    }
    let full = || "failed to allocate a HealthCheck NodePort 0: range is full".to_owned();
    *port = allocation.free_port(taken, &*engine.random).ok_or_else(full)?.into();
    Ok(())
}

fn needs_health_check(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

/// The number a client asks for, whether it is a port or not.
fn asked(port: &Value) -> Option<i64> {
    port.as_i64().filter(|port| *port != 0)
}

impl Allocation {
    /// Takes the port that is asked for, or says why it cannot be had.
    fn take_port(&self, asked: i64, taken: &mut Taken<'_>) -> Result<u16, String> {
        let port = u16::try_from(asked).ok().filter(|port| self.node_ports.contains(port)).ok_or_else(|| {
            let (first, last) = (self.node_ports.start(), self.node_ports.end());
            format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
        })?;
        if taken.take_port(port) { Ok(port) } else { Err("provided port is already allocated".to_owned()) }
    }

    /// Takes a port that is free, from anywhere in the range.
    fn free_port(&self, taken: &mut Taken<'_>, random: &dyn Random) -> Option<u16> {
        let first = *self.node_ports.start();
        let count = u64::from(self.node_ports.end().saturating_sub(first)) + 1;
        let start = random.below(count);
        let port = |step: u64| first + u16::try_from((start + step) % count).unwrap_or(0);
        (0..count).map(port).find(|port| taken.take_port(*port))
    }
}
