//! What an expression costs at worst, by the sizes that its types declare, as Kubernetes counts it.
//! Definitions are accepted or refused by these figures, oddities included: they are part of the interface,
//! and `cases/cel/costs.json` has them of a stock server.

use super::{
    check::{Checked, Origin},
    syntax::{Expression, Kind, Literal, LoopKind},
    types::Type,
};

/// The size of what nothing bounds.
pub const UNKNOWN: u64 = u64::MAX;
/// A list that is made, whatever is in it.
pub const LIST: u64 = 10;
/// A map that is made.
pub const MAP: u64 = 30;
/// A check of authorization: two fit in an expression.
const CHECK: u64 = 350_000;
/// Addresses have so many bytes at most.
const ADDRESS_BYTES: u64 = 16;
/// A quarter of the pattern that is assumed of a named format.
const FORMAT_PATTERN: u64 = 32;

/// Tenths of a size, rounded up: the price of reading a string.
fn read(size: u64) -> u64 {
    size.div_ceil(10)
}

/// The size of a value of which only the type is known.
pub fn size_of(ty: &Type) -> u64 {
    match ty {
        Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Duration | Type::Timestamp => 1,
        Type::Optional(of) => size_of(of),
        _ => UNKNOWN,
    }
}

/// What a call costs beside its arguments, and the size of its result.
pub fn of_call(
    name: &str,
    has_receiver: bool,
    operands: &[Checked],
    arguments: &[Expression],
    result: &Type,
) -> (u64, u64) {
    let size = |index: usize| operands.get(index).map_or(1, |operand| operand.size);
    let ty = |index: usize| operands.get(index).map_or(&Type::Dyn, |operand| &operand.ty);
    let made = |factor: u64, count: u64| (count.saturating_mul(factor).saturating_add(LIST + 1), count);
    let plain = size_of(result);
    let squared = size(0).saturating_mul(size(0));
    match name {
        "_==_" | "_!=_" => (of_equality(name, operands), 1),
        "_<_" | "_<=_" | "_>_" | "_>=_" => (if is_text(ty(0)) { read(size(0).min(size(1))) } else { 1 }, 1),
        "_+_" => {
            let both = size(0).saturating_add(size(1));
            match ty(0) {
                Type::List(_) => (1, both),
                text if is_text(text) => (read(both), both),
                _ => (1, plain),
            }
        }
        "@in" => (if matches!(ty(1), Type::Map(_)) { 1 } else { size(1) }, 1),
        "startsWith" | "endsWith" => (read(size(1)), 1),
        "contains" => (read(size(0)).saturating_mul(read(size(1))), 1),
        // Upstream forgot the other form.
        "matches" if !has_receiver => (1, 1),
        "matches" | "find" | "findAll" => {
            let cost = read(size(0).saturating_add(1)).saturating_mul(size(1).div_ceil(4));
            (cost, if name == "matches" { 1 } else { size(0) })
        }
        "lowerAscii" | "upperAscii" | "substring" | "trim" | "url" => (read(size(0)), size(0)),
        "strings.quote" => (read(size(0)), size(0).saturating_mul(2).saturating_add(2)),
        "replace" => (size(0).div_ceil(5), replaced(size(0), arguments, size(2))),
        "split" => {
            let limit = arguments.get(1).and_then(|limit| match limit.kind {
                Kind::Literal(Literal::Int(limit)) => u64::try_from(limit).ok(),
                _ => None,
            });
            (size(0).div_ceil(5), limit.unwrap_or(size(0)))
        }
        "join" => {
            let joined = size(0).saturating_mul(size_of_elements(ty(0), UNKNOWN));
            let separators = if operands.len() > 1 { size(1).saturating_mul(size(0).saturating_sub(1)) } else { 0 };
            let size = joined.saturating_add(separators);
            (read(size), size)
        }
        "isSorted" | "sum" | "min" | "max" | "indexOf" | "lastIndexOf" => (of_scan(&operands[0]), plain),
        "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => (read(size(0)), plain),
        "ip" if !has_receiver => (read(size(0)), plain),
        "ip.isCanonical" => (size(0).div_ceil(5), plain),
        "containsIP" | "containsCIDR" => {
            let compared = if name == "containsIP" { 0 } else { read(ADDRESS_BYTES) + 1 };
            let parsed = if is_text(ty(1)) { read(size(1)) } else { 0 };
            (parsed.saturating_add(read(2 * ADDRESS_BYTES) + compared), plain)
        }
        "validate" => (read(size(1)).saturating_mul(FORMAT_PATTERN), plain),
        "bytes" if matches!(ty(0), Type::String) => (read(size(0)), size(0).saturating_mul(4)),
        "string" if matches!(ty(0), Type::Bytes) => (read(size(0)), size(0)),
        "format" if has_receiver => (read(size(0)), plain),
        "dyn" => (1, size(0)),
        "check" => (CHECK, plain),
        "slice" => made(1, sliced(arguments, size(0))),
        "reverse" => made(1, size(0)),
        "flatten" => made(arguments.first().map_or(1, |depth| whole(depth, UNKNOWN)), size(0)),
        "lists.range" => made(1, arguments.first().map_or(0, |count| whole(count, UNKNOWN))),
        "distinct" => made(2, squared),
        "sort" => of_sorting(ty(0), size(0)),
        "sets.contains" | "sets.intersects" => (size(0).saturating_mul(size(1)).saturating_add(1), 1),
        "sets.equivalent" => (size(0).saturating_mul(size(1)).saturating_mul(2).saturating_add(1), 1),
        _ => (1, plain),
    }
}

/// What may be a string, or bytes, and is read as such.
fn is_text(ty: &Type) -> bool {
    matches!(ty, Type::String | Type::Bytes | Type::Dyn)
}

fn of_equality(name: &str, operands: &[Checked]) -> u64 {
    let [left, right] = operands else { return 1 };
    match (&left.ty, &right.ty) {
        (Type::Opaque("kubernetes.URL"), Type::Opaque("kubernetes.URL")) if name == "_==_" => read(right.size),
        (Type::Opaque("kubernetes.NamedFormat"), Type::Opaque(_)) if name == "_==_" => read(64),
        (Type::Opaque(_), Type::Opaque(_)) if name == "_==_" => 1,
        _ => read(left.size.min(right.size)),
    }
}

/// Every element is looked at, and read if it is a string; a string is read.
fn of_scan(operand: &Checked) -> u64 {
    match &operand.ty {
        Type::List(list) if matches!(list.item.ty, Type::String | Type::Bytes) => {
            let element = if operand.origin == Origin::Document { list.item.max_size } else { UNKNOWN };
            operand.size.saturating_mul(read(element).saturating_add(1))
        }
        Type::List(_) => operand.size,
        _ => read(operand.size),
    }
}

fn of_sorting(ty: &Type, size: u64) -> (u64, u64) {
    let of_text = matches!(ty, Type::List(list) if matches!(list.item.ty, Type::String | Type::Bytes));
    let squared = size.saturating_mul(size);
    let work = if of_text { squared.saturating_mul(21).div_ceil(10) } else { squared.saturating_mul(2) };
    (work.saturating_add(LIST + 1), squared)
}

fn size_of_elements(ty: &Type, otherwise: u64) -> u64 {
    match ty {
        Type::List(list) => list.item.max_size,
        _ => otherwise,
    }
}

/// The longest that a string of this size gets when each of `arguments[0]` becomes something of size `by`.
fn replaced(size: u64, arguments: &[Expression], by: u64) -> u64 {
    let shortest = arguments.first().and_then(|what| match &what.kind {
        Kind::Literal(Literal::String(text)) => Some(text.chars().count() as u64),
        _ => None,
    });
    match shortest.unwrap_or(0) {
        // Nothing is found between all characters, and at both ends.
        0 => size.saturating_add(1).saturating_mul(by).saturating_add(size),
        shortest if by <= shortest => size,
        shortest => size.div_ceil(shortest).saturating_mul(by),
    }
}

fn whole(expression: &Expression, otherwise: u64) -> u64 {
    match expression.kind {
        Kind::Literal(Literal::Int(value)) => u64::try_from(value).unwrap_or(otherwise),
        _ => otherwise,
    }
}

fn sliced(bounds: &[Expression], size: u64) -> u64 {
    match bounds {
        [start, end] => whole(end, size).saturating_sub(whole(start, 0)),
        _ => size,
    }
}

/// What a loop costs beside its range.
pub fn of_loop(kind: LoopKind, rounds: u64, filter: Option<u64>, body: &Checked) -> u64 {
    // The value that the rounds work on is made before them and looked at after them.
    let (once, appended) = match kind {
        LoopKind::All => (1, 3),
        LoopKind::Exists => (1, 4),
        LoopKind::ExistsOne => (2, 2),
        LoopKind::Filter => (LIST + 1, LIST + 3),
        LoopKind::List | LoopKind::SortBy => (LIST + 1, LIST + 2),
        LoopKind::Map => (MAP + 1, 3),
        LoopKind::MapEntry => (MAP + 1, 2),
    };
    let round = body.cost.saturating_add(appended).saturating_add(filter.unwrap_or(0));
    let all = rounds.saturating_mul(round).saturating_add(once);
    if kind != LoopKind::SortBy {
        return all;
    }
    // The list gets a name, its keys are made, and it is sorted by them.
    let keys = super::types::Type::list(body.ty.clone());
    all.saturating_add(of_sorting(&keys, rounds).0).saturating_add(LIST + 2)
}
