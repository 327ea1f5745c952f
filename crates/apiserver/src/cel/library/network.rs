//! IP addresses and ranges.

use std::net::{IpAddr, Ipv6Addr};

use api::syntax::{mask, parse_cidr};

use super::{Cost, Entry, Outcome, entry};
use crate::cel::{Failure, value::Value};

pub const TABLE: &[Entry] = &[
    entry(&["ip(string): IP", "CIDR.ip(): IP"], Cost::Passes(1), |values, _| match values {
        [Value::String(text)] => address(text).map(Value::Ip).map_err(Failure::Error),
        [Value::Cidr(address, _)] => Ok(Value::Ip(*address)),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["isIP(string): bool"], Cost::Passes(1), |values, _| match values {
        [Value::String(text)] => Ok(Value::Bool(address(text).is_ok())),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["ip.isCanonical(string): bool"], Cost::Passes(2), |values, _| match values {
        [Value::String(text)] => {
            let address = address(text).map_err(Failure::Error)?;
            Ok(Value::Bool(address.to_string() == **text))
        }
        _ => Err(Failure::NoOverload),
    }),
    entry(&["cidr(string): CIDR"], Cost::Passes(1), |values, _| match values {
        [Value::String(text)] => range(text).map(|(address, length)| Value::Cidr(address, length)).ok_or_else(|| {
            Failure::error(format!(
                "network address parse error during conversion from string: netip.ParsePrefix({:?}): no '/'",
                &**text
            ))
        }),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["isCIDR(string): bool"], Cost::Passes(1), |values, _| match values {
        [Value::String(text)] => Ok(Value::Bool(range(text).is_some())),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["IP.family(): int"], Cost::Fixed(1), |values, _| match values {
        [Value::Ip(address)] => Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 })),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["IP.isUnspecified(): bool"], Cost::Fixed(1), |values, _| is(values, |address| address.is_unspecified())),
    entry(&["IP.isLoopback(): bool"], Cost::Fixed(1), |values, _| is(values, |address| address.is_loopback())),
    entry(&["IP.isLinkLocalMulticast(): bool"], Cost::Fixed(1), |values, _| {
        is(values, |address| match address {
            IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
            IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
        })
    }),
    entry(&["IP.isLinkLocalUnicast(): bool"], Cost::Fixed(1), |values, _| is(values, link_local)),
    entry(&["IP.isGlobalUnicast(): bool"], Cost::Fixed(1), |values, _| {
        is(values, |address| {
            let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
            !(broadcast
                || address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || link_local(address))
        })
    }),
    entry(&["CIDR.prefixLength(): int"], Cost::Fixed(1), |values, _| match values {
        [Value::Cidr(_, length)] => Ok(Value::Int(i64::from(*length))),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["CIDR.masked(): CIDR"], Cost::Fixed(1), |values, _| match values {
        [Value::Cidr(address, length)] => Ok(Value::Cidr(mask(*address, *length), *length)),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["CIDR.containsIP(IP): bool", "CIDR.containsIP(string): bool"], Cost::Fixed(5), |values, _| match values {
        [Value::Cidr(base, length), Value::Ip(inner)] => Ok(Value::Bool(holds(*base, *length, *inner))),
        [Value::Cidr(base, length), Value::String(text)] => {
            Ok(Value::Bool(holds(*base, *length, address(text).map_err(Failure::Error)?)))
        }
        _ => Err(Failure::NoOverload),
    }),
    entry(&["CIDR.containsCIDR(CIDR): bool", "CIDR.containsCIDR(string): bool"], Cost::Fixed(8), |values, _| {
        let (base, length, inner) = match values {
            [Value::Cidr(base, length), Value::Cidr(inner, inner_length)] => (base, length, (*inner, *inner_length)),
            [Value::Cidr(base, length), Value::String(text)] => (
                base,
                length,
                range(text)
                    .ok_or_else(|| Failure::error("network address parse error during conversion from string"))?,
            ),
            _ => return Err(Failure::NoOverload),
        };
        Ok(Value::Bool(*length <= inner.1 && holds(*base, *length, inner.0)))
    }),
];

/// An address without a zone and not an IPv4 address in IPv6 clothes.
fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        )
    })?;
    match address {
        IpAddr::V6(v6) if mapped(v6) => Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed")),
        address => Ok(address),
    }
}

fn range(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = parse_cidr(text)?;
    matches!(address, IpAddr::V4(_)).then_some(()).or_else(|| match address {
        IpAddr::V6(v6) if !mapped(v6) => Some(()),
        _ => None,
    })?;
    Some((address, length))
}

fn mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is<'a>(values: &[Value<'a>], test: fn(IpAddr) -> bool) -> Outcome<'a> {
    match values {
        [Value::Ip(address)] => Ok(Value::Bool(test(*address))),
        _ => Err(Failure::NoOverload),
    }
}

fn holds(base: IpAddr, length: u8, inner: IpAddr) -> bool {
    base.is_ipv4() == inner.is_ipv4() && mask(base, length) == mask(inner, length)
}
