//! Addresses and node ports of Services: given at admission of the write, so that a Service never exists
//! without them. What is taken is read from the Services themselves; writers of Services take turns.

use std::{collections::HashSet, net::Ipv4Addr};

use api::field::{FieldError, FieldErrors, Path};
use serde_json::{Value, json};
use stdx::Random;
use tokio::sync::{Mutex, MutexGuard};

use super::{Engine, Target};
use crate::cluster::Cluster;

const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;
/// Addresses at the low end that are left to those who ask for one (KEP-3070: at most 256).
const STATIC_BAND: u32 = 256;

/// The range of service addresses, and whose turn it is to take from it.
#[derive(Debug)]
pub struct Allocation {
    network: u32,
    prefix: u32,
    turn: Mutex<()>,
}

impl Allocation {
    /// `None` for what is not an IPv4 range with room for services.
    pub fn parse(cidr: &str) -> Option<Self> {
        let (address, prefix) = cidr.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
        if !(8..=30).contains(&prefix) {
            return None;
        }
        Some(Self { network: u32::from(address) & (u32::MAX << (32 - prefix)), prefix, turn: Mutex::new(()) })
    }

    /// The first address, which is the API server's own.
    pub fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network + 1)
    }

    fn size(&self) -> u32 {
        1 << (32 - self.prefix)
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.network);
        offset > 0 && offset < self.size() - 1
    }

    /// Waits for the turn to write a Service; other kinds need none.
    pub async fn turn(&self, target: &Target) -> Option<MutexGuard<'_, ()>> {
        let needed = &*target.resource.storage.topic == "services" && target.subresource.is_empty();
        if needed { Some(self.turn.lock().await) } else { None }
    }

    fn free_address(&self, used: &HashSet<Ipv4Addr>, random: &dyn Random) -> Option<Ipv4Addr> {
        let usable = self.size() - 2;
        let band = STATIC_BAND.min(usable / 16);
        let start = u32::try_from(random.below(u64::from(usable - band))).unwrap_or(0);
        // The upper part first, from anywhere in it; the band only when nothing else is left.
        let upper = (0..usable - band).map(|step| band + 1 + (start + step) % (usable - band));
        let address = |offset: u32| Ipv4Addr::from(self.network + offset);
        upper.chain(1..=band).map(address).find(|address| !used.contains(address))
    }
}

/// What other Services have.
#[derive(Debug, Default)]
struct Taken {
    addresses: HashSet<Ipv4Addr>,
    /// With the protocol: one number may serve TCP and UDP.
    ports: HashSet<(u16, String)>,
}

impl Taken {
    fn by_others(engine: &Engine, target: &Target) -> Self {
        let mut taken = Self::default();
        for service in Cluster::list(engine, "services", None) {
            let metadata = &service["metadata"];
            if metadata["namespace"] == *target.namespace && metadata["name"] == *target.name {
                continue;
            }
            taken
                .addresses
                .extend(items(&service["spec"]["clusterIPs"]).filter_map(|ip| ip.as_str()?.parse::<Ipv4Addr>().ok()));
            taken.ports.extend(
                items(&service["spec"]["ports"]).filter_map(|port| Some((number(&port["nodePort"])?, protocol(port)))),
            );
            if let Some(port) = number(&service["spec"]["healthCheckNodePort"]) {
                taken.ports.insert((port, "TCP".to_owned()));
            }
        }
        taken
    }
}

/// Gives a Service what it lacks, and checks what it asks for. Other kinds pass.
pub fn allocate(engine: &Engine, target: &Target, service: &mut Value, errors: &mut FieldErrors) {
    if &*target.resource.storage.topic != "services" || !target.subresource.is_empty() {
        return;
    }
    let mut taken = Taken::by_others(engine, target);
    address(engine, service, &taken, errors);
    node_ports(engine, service, &mut taken, errors);
}

fn address(engine: &Engine, service: &mut Value, taken: &Taken, errors: &mut FieldErrors) {
    let spec = &mut service["spec"];
    if spec["type"] == "ExternalName" {
        return;
    }
    let (allocation, path) = (&engine.allocation, Path::new("spec"));
    let asked = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    let given = match asked.as_str() {
        "None" => asked,
        "" => match allocation.free_address(&taken.addresses, &*engine.random) {
            Some(address) => address.to_string(),
            None => {
                return errors.push(FieldError::internal(
                    &path.child("clusterIPs"),
                    "failed to allocate a serviceIP: range is full",
                ));
            }
        },
        _ => {
            let refuse = |why: String| {
                let detail = format!("failed to allocate IP {asked}: {why}");
                FieldError::invalid(&path.child("clusterIPs"), json!([asked]), detail)
            };
            match asked.parse::<Ipv4Addr>() {
                Ok(address) if taken.addresses.contains(&address) => {
                    return errors.push(refuse("provided IP is already allocated".to_owned()));
                }
                Ok(address) if allocation.contains(address) => asked,
                _ => {
                    let range = format!("{}/{}", Ipv4Addr::from(allocation.network), allocation.prefix);
                    let why = format!("the provided network does not match the current range {range}");
                    return errors.push(refuse(why));
                }
            }
        }
    };
    spec["clusterIP"] = given.as_str().into();
    spec["clusterIPs"] = json!([given]);
    if items(&spec["ipFamilies"]).next().is_none() {
        spec["ipFamilies"] = json!(["IPv4"]);
    }
    if spec["ipFamilyPolicy"].is_null() {
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
}

fn node_ports(engine: &Engine, service: &mut Value, taken: &mut Taken, errors: &mut FieldErrors) {
    let spec = &mut service["spec"];
    let balanced = spec["type"] == "LoadBalancer";
    let needs_ports = spec["type"] == "NodePort" || (balanced && spec["allocateLoadBalancerNodePorts"] != false);
    let path = Path::new("spec");
    let list = path.child("ports");
    // What is asked for is taken before anything is given.
    for (index, port) in items(&spec["ports"]).enumerate() {
        let Some(asked) = number(&port["nodePort"]) else { continue };
        let path = list.index(index);
        let path = path.child("nodePort");
        if !NODE_PORTS.contains(&asked) {
            let range = format!("{}-{}", NODE_PORTS.start(), NODE_PORTS.end());
            let detail = format!("provided port is not in the valid range. The range of valid ports is {range}");
            errors.push(FieldError::invalid(&path, asked, detail));
        } else if !taken.ports.insert((asked, protocol(port))) {
            errors.push(FieldError::invalid(&path, asked, "provided port is already allocated"));
        }
    }
    let mut free = |protocol: &str| {
        let count = u64::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
        let start = engine.random.below(count);
        let port = |step: u64| NODE_PORTS.start() + u16::try_from((start + step) % count).unwrap_or(0);
        let port = (0..count).map(port).find(|port| !taken.ports.contains(&(*port, protocol.to_owned())))?;
        taken.ports.insert((port, protocol.to_owned()));
        Some(port)
    };
    if needs_ports {
        for port in
            spec["ports"].as_array_mut().into_iter().flatten().filter(|port| number(&port["nodePort"]).is_none())
        {
            match free(&protocol(port)) {
                Some(given) => port["nodePort"] = given.into(),
                None => errors.push(FieldError::internal(&list, "failed to allocate a nodePort: range is full")),
            }
        }
    }
    let wants_health = balanced && spec["externalTrafficPolicy"] == "Local";
    if wants_health && number(&spec["healthCheckNodePort"]).is_none() {
        spec["healthCheckNodePort"] = free("TCP").map_or(Value::Null, Value::from);
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn number(port: &Value) -> Option<u16> {
    port.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

fn protocol(port: &Value) -> String {
    port["protocol"].as_str().unwrap_or("TCP").to_owned()
}

#[cfg(test)]
mod tests {
    use stdx::SeededRandom;

    use super::*;

    #[test]
    fn addresses_come_from_above_the_static_band_until_it_is_full() {
        let allocation = Allocation::parse("10.96.0.5/24").unwrap();
        assert_eq!(allocation.first(), Ipv4Addr::new(10, 96, 0, 1));
        let random = SeededRandom::new(1);
        let mut used = HashSet::from([allocation.first()]);
        let mut given = Vec::new();
        while let Some(address) = allocation.free_address(&used, &random) {
            assert!(allocation.contains(address) && used.insert(address), "{address}");
            given.push(address.octets()[3]);
        }
        assert_eq!(given.len(), 253);
        assert!(given[..239].iter().all(|last| *last > 15), "the band of 15 is used last");
    }

    #[test]
    fn what_is_no_range_for_services_is_refused() {
        for cidr in ["", "10.0.0.0", "10.0.0.0/31", "10.0.0.0/4", "fd00::/112", "x/8"] {
            assert!(Allocation::parse(cidr).is_none(), "{cidr}");
        }
        let smallest = Allocation::parse("10.0.0.0/30").unwrap();
        assert!(smallest.contains(Ipv4Addr::new(10, 0, 0, 2)) && !smallest.contains(Ipv4Addr::new(10, 0, 0, 3)));
    }
}
