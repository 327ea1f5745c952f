//! Which fields differ between two documents.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::invalid::Invalid;
use super::schema::{Fields, Form, Items, Schema};
use super::set::element_at;
use crate::fields::{Element, FieldSet, order};
use crate::types::Type;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

/// What changed from `old` to `new`. Only what differs is built, and what is equal not even looked into.
pub fn compare(old: &Value, new: &Value, of: Type<'_>) -> Result<Comparison, Invalid> {
    let change = walk(Some(old), Some(new), Schema::Typed(of))?;
    Ok(Comparison { added: change.added.below, modified: change.modified.below, removed: change.removed.below })
}

impl Comparison {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    pub(super) fn sets(&self) -> [&FieldSet; 3] {
        [&self.added, &self.modified, &self.removed]
    }

    pub(super) fn each(&mut self, mut visit: impl FnMut(&mut FieldSet)) {
        visit(&mut self.added);
        visit(&mut self.modified);
        visit(&mut self.removed);
    }
}

/// What changed at and below one place.
#[derive(Default)]
struct Change {
    added: Branch,
    modified: Branch,
    removed: Branch,
}

#[derive(Default)]
struct Branch {
    member: bool,
    below: FieldSet,
}

impl Change {
    /// Takes in the change below `element`, which comes after all before it.
    fn push(&mut self, element: impl FnOnce() -> Element, below: Change) {
        if below.added.is_empty() && below.modified.is_empty() && below.removed.is_empty() {
            return;
        }
        let element = element();
        if !below.modified.is_empty() {
            self.modified.push(element.clone(), below.modified);
        }
        if !below.removed.is_empty() {
            self.removed.push(element.clone(), below.removed);
        }
        if !below.added.is_empty() {
            self.added.push(element, below.added);
        }
    }

    fn join(&mut self, other: Change) {
        self.added.join(other.added);
        self.modified.join(other.modified);
        self.removed.join(other.removed);
    }
}

impl Branch {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    fn push(&mut self, element: Element, below: Branch) {
        self.below.push(element, below.member, below.below);
    }

    fn join(&mut self, other: Branch) {
        self.member |= other.member;
        self.below.extend(other.below);
    }
}

fn walk(old: Option<&Value>, new: Option<&Value>, schema: Schema<'_>) -> Result<Change, Invalid> {
    let mut change = match (old, new) {
        (Some(before), Some(after)) if schema.is_free() && differ_in_kind(before, after) => {
            let mut change = walk_form(old, new, schema.form(before))?;
            change.join(walk_form(old, new, schema.form(after))?);
            change
        }
        (_, Some(value)) | (Some(value), None) => walk_form(old, new, schema.form(value))?,
        (None, None) => Change::default(),
    };
    change.added.member |= old.is_none();
    change.removed.member |= new.is_none();
    Ok(change)
}

fn differ_in_kind(a: &Value, b: &Value) -> bool {
    let kind = |value: &Value| match value {
        Value::Null => 0,
        Value::Array(_) => 1,
        Value::Object(_) => 2,
        _ => 3,
    };
    kind(a) != kind(b)
}

fn walk_form(old: Option<&Value>, new: Option<&Value>, form: Form<'_>) -> Result<Change, Invalid> {
    match form {
        Form::List(items) if !items.is_atomic() => {
            let list = |value: Option<&'_ Value>| value.and_then(Value::as_array).map_or(0, Vec::len);
            if list(old) + list(new) > 0 {
                return walk_items(items_of(old), items_of(new), items);
            }
        }
        Form::Map(fields) if !fields.atomic => {
            let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            if before.map_or(0, Map::len) + after.map_or(0, Map::len) > 0 {
                return walk_fields(before, after, fields);
            }
        }
        _ => {}
    }
    let mut change = Change::default();
    if let (Some(old), Some(new)) = (old, new) {
        change.modified.member = order(old, new).is_ne();
    }
    Ok(change)
}

fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Walks two maps side by side; both are sorted.
fn walk_fields(
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    fields: Fields<'_>,
) -> Result<Change, Invalid> {
    let mut change = Change::default();
    let mut before = old.into_iter().flatten().peekable();
    let mut after = new.into_iter().flatten().peekable();
    loop {
        let name = match (before.peek(), after.peek()) {
            (Some((a, _)), Some((b, _))) => (*a).min(*b),
            (Some((name, _)), None) | (None, Some((name, _))) => name,
            (None, None) => return Ok(change),
        };
        let old = before.next_if(|(other, _)| *other == name).map(|(_, value)| value);
        let new = after.next_if(|(other, _)| *other == name).map(|(_, value)| value);
        if old == new {
            continue;
        }
        let element = || Element::field(name);
        let below = walk(old, new, fields.any_child(name).schema).map_err(|invalid| invalid.below(&element()))?;
        change.push(element, below);
    }
}

fn walk_items(old: &[Value], new: &[Value], items: Items<'_>) -> Result<Change, Invalid> {
    let mut change = Change::default();
    let mut groups: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for (index, item) in old.iter().enumerate() {
        groups.entry(element_at(index, item, items)?).or_default().0.push(item);
    }
    for (index, item) in new.iter().enumerate() {
        groups.entry(element_at(index, item, items)?).or_default().1.push(item);
    }
    for (element, (before, after)) in groups {
        if before == after {
            continue;
        }
        let below = walk_same(&before, &after, items.schema).map_err(|invalid| invalid.below(&element))?;
        change.push(|| element, below);
    }
    Ok(change)
}

/// Compares the items of one element. Where there are several on a side, that side is one leaf.
fn walk_same(old: &[&Value], new: &[&Value], schema: Schema<'_>) -> Result<Change, Invalid> {
    let mut change = match (old, new) {
        ([] | [_], [] | [_]) => return walk(old.first().copied(), new.first().copied(), schema),
        ([_, _, ..], [_, _, ..]) => {
            let mut change = Change::default();
            change.modified.member = old != new;
            return Ok(change);
        }
        ([_, _, ..], _) => new.first().map_or(Ok(Change::default()), |new| walk(None, Some(new), schema))?,
        (_, _) => old.first().map_or(Ok(Change::default()), |old| walk(Some(old), None, schema))?,
    };
    change.removed.member |= old.len() > 1;
    change.added.member |= new.len() > 1;
    Ok(change)
}
