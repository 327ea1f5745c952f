//! Addresses and node ports of Services: given at admission of the write, so that a Service never exists
//! without them. Which ports it is given is decided in `node_ports`, what is not free is known to `claims`.

use std::{net::Ipv4Addr, ops::RangeInclusive, sync::Arc};

use api::{
    field::{FieldError, FieldErrors, Path},
    kinds::service,
    status::Status,
};
use serde_json::{Value, json};
use stdx::Random;

use super::{
    Engine, Target, addresses,
    claims::{Claim, Claims, Taken, items},
    node_ports,
    write::refuse,
};

/// Addresses at the low end that are left to those who ask for one (KEP-3070: at most 256).
const STATIC_BAND: u32 = 256;

/// The ranges of service addresses and node ports, and what of them is given to writes under way.
#[derive(Debug)]
pub struct Allocation {
    network: u32,
    prefix: u32,
    pub(super) node_ports: RangeInclusive<u16>,
    claims: Claims,
}

impl Allocation {
    /// `None` for what is not an IPv4 range with room for services.
    pub fn parse(cidr: &str, node_ports: RangeInclusive<u16>) -> Option<Self> {
        let (address, prefix) = cidr.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
        let network = u32::from(address);
        // A ServiceCIDR names a network, not an address in it.
        let is_network = (8..=30).contains(&prefix) && network & (u32::MAX << (32 - prefix)) == network;
        is_network.then(|| Self { network, prefix, node_ports, claims: Claims::default() })
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

    fn free_address(&self, is_free: impl Fn(Ipv4Addr) -> bool, random: &dyn Random) -> Option<Ipv4Addr> {
        let usable = self.size() - 2;
        let band = STATIC_BAND.min(usable / 16);
        let start = u32::try_from(random.below(u64::from(usable - band))).unwrap_or(0);
        // The upper part first, from anywhere in it; the band only when nothing else is left.
        let upper = (0..usable - band).map(|step| band + 1 + (start + step) % (usable - band));
        let address = |offset: u32| Ipv4Addr::from(self.network + offset);
        upper.chain(1..=band).map(address).find(|address| is_free(*address))
    }
}

/// Gives a Service what it lacks, and checks what it asks for; `old` is what an update replaces. Other kinds
/// pass. Each step is taken only where the one before found nothing wrong. What a write that is meant was given
/// is its own as long as the claim is kept; a dry run claims nothing.
pub(super) fn allocate(
    engine: &Engine,
    target: &Target,
    old: &Value,
    service: &mut Value,
    dry_run: bool,
) -> Result<Option<Arc<Claim>>, Status> {
    if &*target.resource.storage.topic != "services" || !target.subresource.is_empty() {
        return Ok(None);
    }
    let key = target.key();
    let claims = engine.allocation.claims.open(engine);
    let mut taken = claims.taken_by_others(&key);
    let mut errors = FieldErrors::new();
    if service["spec"]["type"] != "ExternalName" {
        fill_policy(&mut service["spec"], &old["spec"]);
        service::validate_addresses(service, &mut errors);
        if errors.is_empty() {
            families(&mut service["spec"], &mut errors);
        }
        if errors.is_empty() {
            address(engine, target, &mut service["spec"], &old["spec"], &taken, &mut errors);
        }
    }
    if errors.is_empty() {
        node_ports::allocate(engine, &mut service["spec"], &old["spec"], &mut taken, &mut errors);
    }
    refuse(target, service, &errors)?;
    node_ports::allocate_health_check(engine, &mut service["spec"], &old["spec"], &mut taken)
        .map_err(Status::internal)?;
    Ok((!dry_run).then(|| claims.claim(target.key(), service)))
}

/// Whether nothing but its own list of endpoints is behind a Service.
fn is_unmanaged(spec: &Value) -> bool {
    spec["clusterIP"] == "None" && spec["selector"].as_object().is_none_or(serde_json::Map::is_empty)
}

fn fill_policy(spec: &mut Value, old: &Value) {
    if spec["ipFamilyPolicy"].is_null() {
        spec["ipFamilyPolicy"] = match &old["ipFamilyPolicy"] {
            Value::Null if is_unmanaged(spec) => "RequireDualStack".into(),
            Value::Null => "SingleStack".into(),
            policy => policy.clone(),
        };
    }
}

/// The families of a Service's addresses. This cluster has IPv4; a Service whose endpoints are not ours to find
/// may say that it has both.
fn families(spec: &mut Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let policy = spec["ipFamilyPolicy"].clone();
    if policy == "SingleStack" {
        for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
            if items(&spec[field]).count() == 2 {
                let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), policy.clone(), why));
            }
        }
    }
    let known = items(&spec["ipFamilies"]).count();
    let is_v6 = |(_, address): &(usize, &Value)| address.as_str().is_some_and(|address| address.contains(':'));
    for (index, _) in items(&spec["clusterIPs"]).enumerate().skip(known).filter(is_v6) {
        let why = "IPv6 is not configured on this cluster";
        errors.push(FieldError::invalid(&path.child("clusterIPs").index(index), spec["clusterIPs"].clone(), why));
    }
    if !errors.is_empty() {
        return;
    }
    if known == 0 {
        spec["ipFamilies"] = json!(["IPv4"]);
    }
    if is_unmanaged(spec) {
        if items(&spec["ipFamilies"]).count() < 2 && policy != "SingleStack" {
            let both = if spec["ipFamilies"][0] == "IPv4" { ["IPv4", "IPv6"] } else { ["IPv6", "IPv4"] };
            spec["ipFamilies"] = json!(both);
        }
        return;
    }
    if policy == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), policy, why));
    }
    for (index, family) in items(&spec["ipFamilies"]).enumerate().filter(|(_, family)| *family != "IPv4") {
        let path = path.child("ipFamilies");
        errors.push(FieldError::invalid(&path.index(index), family.clone(), "not configured on this cluster"));
    }
}

fn address(
    engine: &Engine,
    target: &Target,
    spec: &mut Value,
    old: &Value,
    taken: &Taken<'_>,
    errors: &mut FieldErrors,
) {
    let (allocation, path) = (&engine.allocation, Path::new("spec"));
    let path = path.child("clusterIPs");
    let asked = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    // What it had is its own, even where the range has been another since.
    if asked == "None" || old["clusterIP"] == *asked && !asked.is_empty() {
        return;
    }
    if asked.is_empty() {
        let is_free = |address| !taken.has_address(address) && !addresses::is_held_by_another(engine, target, address);
        match allocation.free_address(is_free, &*engine.random) {
            Some(address) => {
                spec["clusterIP"] = address.to_string().into();
                spec["clusterIPs"] = json!([address.to_string()]);
            }
            None => errors.push(FieldError::internal(&path, "failed to allocate a serviceIP: range is full")),
        }
        return;
    }
    let is_held = |address| addresses::is_held_by_another(engine, target, address);
    let why = match asked.parse::<Ipv4Addr>() {
        Ok(address) if taken.has_address(address) || is_held(address) => "provided IP is already allocated".to_owned(),
        Ok(address) if allocation.contains(address) => return,
        _ => {
            let range = format!("{}/{}", Ipv4Addr::from(allocation.network), allocation.prefix);
            format!("the provided network does not match the current range {range}")
        }
    };
    let why = format!("failed to allocate IP {asked}: {why}");
    errors.push(FieldError::invalid(&path, spec["clusterIPs"].clone(), why));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use stdx::SeededRandom;

    use super::*;

    const PORTS: RangeInclusive<u16> = 30_000..=32_767;

    #[test]
    fn addresses_come_from_above_the_static_band_until_it_is_full() {
        let allocation = Allocation::parse("10.96.0.0/24", PORTS).unwrap();
        assert_eq!(allocation.first(), Ipv4Addr::new(10, 96, 0, 1));
        let random = SeededRandom::new(1);
        let mut used = HashSet::from([allocation.first()]);
        let mut given = Vec::new();
        while let Some(address) = allocation.free_address(|address| !used.contains(&address), &random) {
            assert!(allocation.contains(address) && used.insert(address), "{address}");
            given.push(address.octets()[3]);
        }
        assert_eq!(given.len(), 253);
        assert!(given[..239].iter().all(|last| *last > 15), "the band of 15 is used last");
    }

    #[test]
    fn families_follow_policy_and_selector() {
        let cases = [
            (json!({}), json!("SingleStack"), json!(["IPv4"]), 0),
            (json!({"ipFamilyPolicy": "PreferDualStack"}), json!("PreferDualStack"), json!(["IPv4"]), 0),
            (json!({"ipFamilyPolicy": "RequireDualStack"}), json!("RequireDualStack"), json!(["IPv4"]), 1),
            (json!({"clusterIP": "None"}), json!("RequireDualStack"), json!(["IPv4", "IPv6"]), 0),
            (
                json!({"clusterIP": "None", "ipFamilies": ["IPv6"]}),
                json!("RequireDualStack"),
                json!(["IPv6", "IPv4"]),
                0,
            ),
            (json!({"clusterIP": "None", "selector": {"a": "b"}}), json!("SingleStack"), json!(["IPv4"]), 0),
            (json!({"ipFamilies": ["IPv6"]}), json!("SingleStack"), json!(["IPv6"]), 1),
            (json!({"ipFamilies": ["IPv4", "IPv6"]}), json!("SingleStack"), json!(["IPv4", "IPv6"]), 1),
            (json!({"clusterIPs": ["fd00::1"]}), json!("SingleStack"), Value::Null, 1),
        ];
        for (mut spec, policy, expected, refused) in cases {
            let (asked, mut errors) = (spec.clone(), FieldErrors::new());
            fill_policy(&mut spec, &Value::Null);
            families(&mut spec, &mut errors);
            assert_eq!((&spec["ipFamilyPolicy"], &spec["ipFamilies"]), (&policy, &expected), "{asked}");
            assert_eq!(errors.len(), refused, "{asked}: {errors:?}");
        }
    }

    #[test]
    fn what_is_no_range_for_services_is_refused() {
        for cidr in ["", "10.0.0.0", "10.0.0.0/31", "10.0.0.1/24", "10.0.0.0/4", "fd00::/112", "x/8"] {
            assert!(Allocation::parse(cidr, PORTS).is_none(), "{cidr}");
        }
        let smallest = Allocation::parse("10.0.0.0/30", PORTS).unwrap();
        assert!(smallest.contains(Ipv4Addr::new(10, 0, 0, 2)) && !smallest.contains(Ipv4Addr::new(10, 0, 0, 3)));
    }
}
