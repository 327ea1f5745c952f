//! Lists, and sets written as lists.

use std::cmp::Ordering;

use super::{Cost, Entry, Outcome, entry};
use crate::cel::{Budget, Failure, value::Value};

pub const TABLE: &[Entry] = &[
    entry(&["list<A>.isSorted(): bool"], Cost::Passes(10), |values, _| {
        let items = items(values)?;
        ordered(&items)?;
        Ok(Value::Bool(items.windows(2).all(|pair| pair[0].compare(&pair[1]).is_some_and(Ordering::is_le))))
    }),
    entry(
        &[
            "list<int>.sum(): int",
            "list<uint>.sum(): uint",
            "list<double>.sum(): double",
            "list<duration>.sum(): duration",
            "list<dyn>.sum(): dyn",
        ],
        Cost::Passes(10),
        sum,
    ),
    entry(&["list<A>.min(): A"], Cost::Passes(10), |values, _| extreme(values, "min", Ordering::is_lt)),
    entry(&["list<A>.max(): A"], Cost::Passes(10), |values, _| extreme(values, "max", Ordering::is_gt)),
    entry(
        &["list<A>.indexOf(A): int", "string.indexOf(string): int", "string.indexOf(string, int): int"],
        Cost::Passes(10),
        |values, budget| index_of(values, budget, false),
    ),
    entry(
        &["list<A>.lastIndexOf(A): int", "string.lastIndexOf(string): int", "string.lastIndexOf(string, int): int"],
        Cost::Passes(10),
        |values, budget| index_of(values, budget, true),
    ),
    entry(&["list<A>.slice(int, int): list<A>"], Cost::Passes(1), |values, _| match values {
        [list, Value::Int(start), Value::Int(end)] => {
            let items = list.items().ok_or(Failure::NoOverload)?;
            let range = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
            range
                .and_then(|(start, end)| items.get(start..end))
                .map(|part| Value::list(part.to_vec()))
                .ok_or_else(|| Failure::error(format!("cannot slice({start}, {end}), list is length {}", items.len())))
        }
        _ => Err(Failure::NoOverload),
    }),
    entry(
        &["list<dyn>.flatten(): list<dyn>", "list<dyn>.flatten(int): list<dyn>"],
        Cost::Passes(10),
        |values, budget| {
            let (list, depth) = match values {
                [list] => (list, 1),
                [list, Value::Int(depth @ 0..)] => (list, *depth),
                [_, Value::Int(_)] => return Err(Failure::error("level must be non-negative")),
                _ => return Err(Failure::NoOverload),
            };
            let mut flat = Vec::new();
            flatten(list, depth.min(100), &mut flat, budget)?;
            Ok(Value::list(flat))
        },
    ),
    entry(&["list<A>.reverse(): list<A>"], Cost::Passes(10), |values, _| {
        let mut items = items(values)?;
        items.reverse();
        Ok(Value::list(items))
    }),
    entry(&["list<A>.sort(): list<A>"], Cost::Passes(20), |values, _| {
        let mut items = items(values)?;
        ordered(&items)?;
        items.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
        Ok(Value::list(items))
    }),
    entry(&["list<A>.distinct(): list<A>"], Cost::Passes(10), |values, budget| {
        let mut distinct: Vec<Value<'_>> = Vec::new();
        for item in items(values)? {
            if !holds(&distinct, &item, budget)? {
                distinct.push(item);
            }
        }
        Ok(Value::list(distinct))
    }),
    entry(&["lists.range(int): list<int>"], Cost::Fixed(1), |values, budget| match values {
        [Value::Int(count)] => {
            budget.spend(u64::try_from(*count).unwrap_or(0))?;
            Ok(Value::list((0..*count).map(Value::Int).collect()))
        }
        _ => Err(Failure::NoOverload),
    }),
    entry(&["sets.contains(list<A>, list<A>): bool"], Cost::Product, |values, budget| {
        let (a, b) = pair(values)?;
        includes(&a, &b, budget).map(Value::Bool)
    }),
    entry(&["sets.equivalent(list<A>, list<A>): bool"], Cost::Product, |values, budget| {
        let (a, b) = pair(values)?;
        Ok(Value::Bool(includes(&a, &b, budget)? && includes(&b, &a, budget)?))
    }),
    entry(&["sets.intersects(list<A>, list<A>): bool"], Cost::Product, |values, budget| {
        let (a, b) = pair(values)?;
        for item in &b {
            if holds(&a, item, budget)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
];

fn items<'a>(values: &[Value<'a>]) -> Result<Vec<Value<'a>>, Failure> {
    values.first().and_then(Value::items).ok_or(Failure::NoOverload)
}

fn pair<'a>(values: &[Value<'a>]) -> Result<(Vec<Value<'a>>, Vec<Value<'a>>), Failure> {
    match values {
        [a, b] => Ok((a.items().ok_or(Failure::NoOverload)?, b.items().ok_or(Failure::NoOverload)?)),
        _ => Err(Failure::NoOverload),
    }
}

fn ordered(items: &[Value<'_>]) -> Result<(), Failure> {
    let comparable = items.windows(2).all(|pair| pair[0].compare(&pair[1]).is_some());
    if comparable { Ok(()) } else { Err(Failure::NoOverload) }
}

fn holds(items: &[Value<'_>], wanted: &Value<'_>, budget: &Budget) -> Result<bool, Failure> {
    let mut work = 0;
    let found = items.iter().any(|item| item.equals(wanted, &mut work));
    budget.spend(work)?;
    Ok(found)
}

fn includes(a: &[Value<'_>], b: &[Value<'_>], budget: &Budget) -> Result<bool, Failure> {
    for item in b {
        if !holds(a, item, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn sum<'a>(values: &[Value<'a>], budget: &Budget) -> Outcome<'a> {
    let mut items = items(values)?.into_iter();
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    let plus = super::function("_+_").ok_or(Failure::NoOverload)?;
    items.try_fold(first, |sum, item| (plus.run)(&[sum, item], budget))
}

fn extreme<'a>(values: &[Value<'a>], name: &str, better: fn(Ordering) -> bool) -> Outcome<'a> {
    let mut items = items(values)?.into_iter();
    let mut best = items.next().ok_or_else(|| Failure::error(format!("{name} called on empty list")))?;
    for item in items {
        if better(item.compare(&best).ok_or(Failure::NoOverload)?) {
            best = item;
        }
    }
    Ok(best)
}

fn index_of<'a>(values: &[Value<'a>], budget: &Budget, last: bool) -> Outcome<'a> {
    let (text, wanted, offset) = match values {
        [Value::String(text), Value::String(wanted)] => (text, wanted, None),
        [Value::String(text), Value::String(wanted), Value::Int(offset)] => (text, wanted, Some(*offset)),
        [list, wanted] => {
            let items = list.items().ok_or(Failure::NoOverload)?;
            let mut work = 0;
            let mut matches = |item: &Value<'_>| item.equals(wanted, &mut work);
            let found = if last { items.iter().rposition(&mut matches) } else { items.iter().position(&mut matches) };
            budget.spend(work)?;
            return Ok(Value::Int(found.map_or(-1, |index| index as i64)));
        }
        _ => return Err(Failure::NoOverload),
    };
    let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).chain([text.len()]).collect();
    let bound = match offset {
        None => None,
        Some(offset) => {
            let start = usize::try_from(offset).ok().and_then(|offset| starts.get(offset));
            Some(*start.ok_or_else(|| Failure::error(format!("index out of range: {offset}")))?)
        }
    };
    let found = if last {
        // The match may begin at the offset at the latest.
        let end = bound.map_or(text.len(), |bound| bound.saturating_add(wanted.len()).min(text.len()));
        (0..=end).rev().find(|end| text.is_char_boundary(*end)).and_then(|end| text[..end].rfind(&**wanted))
    } else {
        let start = bound.unwrap_or(0);
        text[start..].find(&**wanted).map(|position| position + start)
    };
    let position = found.and_then(|byte| starts.binary_search(&byte).ok());
    Ok(Value::Int(position.map_or(-1, |index| index as i64)))
}

fn flatten<'a>(list: &Value<'a>, depth: i64, flat: &mut Vec<Value<'a>>, budget: &Budget) -> Result<(), Failure> {
    for item in list.items().ok_or(Failure::NoOverload)? {
        budget.spend(1)?;
        if depth > 0 && item.is_list() {
            flatten(&item, depth - 1, flat, budget)?;
        } else {
            flat.push(item);
        }
    }
    Ok(())
}
