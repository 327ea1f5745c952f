//! Runs a checked tree. Every node charges the budget before it does its work.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    Budget, Failure, Variables,
    library::convert,
    syntax::{Access, Bind, Entry, Expression, Item, Kind, Literal, Loop, LoopKind, OptionalMap},
    value::{Key, Text, Value},
};

type Outcome<'a> = Result<Value<'a>, Failure>;

pub struct Evaluation<'e, 'a> {
    variables: &'e Variables<'e, 'a>,
    budget: &'e Budget,
    /// The variables of the loops around, innermost last.
    scope: Vec<(&'a str, Value<'a>)>,
}

impl<'e, 'a> Evaluation<'e, 'a> {
    pub fn new(variables: &'e Variables<'e, 'a>, budget: &'e Budget) -> Self {
        Self { variables, budget, scope: Vec::new() }
    }

    pub fn run(&mut self, expression: &'a Expression) -> Outcome<'a> {
        match &expression.kind {
            Kind::Literal(literal) => Ok(literal_value(literal)),
            Kind::Name(name) => {
                self.budget.spend(1)?;
                self.variable(name)
            }
            Kind::Select { of, field, access } => {
                let operand = self.run(of)?;
                self.budget.spend(u64::from(*access != Access::Test))?;
                select(&operand, field, *access)
            }
            Kind::Index { of, index, optional } => {
                let operand = self.run(of)?;
                let index = self.run(index)?;
                self.budget.spend(1)?;
                indexed(&operand, &index, *optional)
            }
            Kind::Call { name, target, arguments, function } => {
                let function = function.ok_or_else(|| Failure::error(format!("unresolved function {name}")))?;
                let mut values = Vec::with_capacity(arguments.len() + 1);
                for operand in target.iter().map(|target| &**target).chain(arguments) {
                    values.push(self.run(operand)?);
                }
                self.budget.spend(function.charge(&values))?;
                (function.run)(&values, self.budget)
            }
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::And(terms) => self.logic(terms, false),
            Kind::Or(terms) => self.logic(terms, true),
            Kind::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                match self.run(condition)? {
                    Value::Bool(true) => self.run(yes),
                    Value::Bool(false) => self.run(no),
                    _ => Err(Failure::NoOverload),
                }
            }
            Kind::Loop(inner) => self.run_loop(inner),
            Kind::OptionalMap(map) => self.optional_map(map),
            Kind::Bind(bind) => self.bind(bind),
        }
    }

    fn variable(&self, name: &str) -> Outcome<'a> {
        if let Some((_, value)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        if let Some((_, value)) = self.variables.iter().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        if convert::is_type_name(name) {
            return Ok(Value::Type(convert::type_name(name).into()));
        }
        Err(Failure::error(format!("no such attribute(s): {name}")))
    }

    fn list(&mut self, items: &'a [Item]) -> Outcome<'a> {
        self.budget.spend(10)?;
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let value = self.run(&item.value)?;
            if item.optional {
                list.extend(optional_value(&value)?);
            } else {
                list.push(value);
            }
        }
        Ok(Value::list(list))
    }

    fn map(&mut self, entries: &'a [Entry]) -> Outcome<'a> {
        self.budget.spend(30)?;
        let mut map = BTreeMap::new();
        for entry in entries {
            let key = self.run(&entry.key)?;
            let key = key.to_key().ok_or_else(|| Failure::error("unsupported key type"))?;
            let mut value = self.run(&entry.value)?;
            if entry.optional {
                let Some(present) = optional_value(&value)? else { continue };
                value = present;
            }
            if map.insert(key, value).is_some() {
                return Err(Failure::error("Failed with repeated key"));
            }
        }
        Ok(Value::Map(Rc::new(map)))
    }

    /// `||` stops at the first true, `&&` at the first false; an error counts only if nothing decides.
    fn logic(&mut self, terms: &'a [Expression], decisive: bool) -> Outcome<'a> {
        let mut failure = None;
        for term in terms {
            match self.run(term) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(value)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failure = failure.or(Some(Failure::NoOverload)),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn optional_map(&mut self, map: &'a OptionalMap) -> Outcome<'a> {
        let of = self.run(&map.of)?;
        let Some(value) = optional_value(&of)? else { return Ok(Value::Optional(None)) };
        self.scope.push((&map.name, value));
        let body = self.run(&map.body);
        self.scope.pop();
        if map.flat { body } else { body.map(Value::some) }
    }

    fn bind(&mut self, bind: &'a Bind) -> Outcome<'a> {
        let value = self.run(&bind.value)?;
        self.scope.push((&bind.name, value));
        let body = self.run(&bind.body);
        self.scope.pop();
        body
    }

    fn run_loop(&mut self, inner: &'a Loop) -> Outcome<'a> {
        let range = self.run(&inner.range)?;
        self.budget.spend(range.weight() / 10 + 1)?;
        let is_map = range.is_map();
        let pairs: Vec<(Key, Value<'a>)> = match range.items() {
            Some(items) => items.into_iter().enumerate().map(|(index, item)| (Key::Int(index as i64), item)).collect(),
            None => range.entries().ok_or(Failure::NoOverload)?,
        };
        let mut result = Gathered::new(inner.kind);
        let depth = self.scope.len();
        for (key, value) in pairs {
            self.budget.spend(1)?;
            let element = if is_map { Value::from(key.clone()) } else { value.clone() };
            match &inner.names[..] {
                [only] => self.scope.push((only, element.clone())),
                names => self.scope.extend(names.iter().map(|name| &**name).zip([Value::from(key.clone()), value])),
            }
            let step = self.step(inner);
            self.scope.truncate(depth);
            if result.add(step, key, element) {
                break;
            }
        }
        result.finish()
    }

    /// The body for one element; `None` where the filter leaves it out.
    fn step(&mut self, inner: &'a Loop) -> Result<Option<Value<'a>>, Failure> {
        if let Some(filter) = &inner.filter {
            match self.run(filter)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(None),
                _ => return Err(Failure::NoOverload),
            }
        }
        self.run(&inner.body).map(Some)
    }
}

/// What a loop has gathered so far.
struct Gathered<'a> {
    kind: LoopKind,
    list: Vec<Value<'a>>,
    keys: Vec<Value<'a>>,
    map: BTreeMap<Key, Value<'a>>,
    matches: usize,
    decided: Option<bool>,
    failure: Option<Failure>,
}

impl<'a> Gathered<'a> {
    fn new(kind: LoopKind) -> Self {
        let (list, keys) = (Vec::new(), Vec::new());
        Self { kind, list, keys, map: BTreeMap::new(), matches: 0, decided: None, failure: None }
    }

    /// Takes the outcome of one round in; true ends the loop.
    fn add(&mut self, step: Result<Option<Value<'a>>, Failure>, key: Key, element: Value<'a>) -> bool {
        // Only `all` and `exists` go on after an error: a later element may decide.
        let keeps_errors = matches!(self.kind, LoopKind::All | LoopKind::Exists);
        let value = match step {
            Ok(Some(value)) => value,
            Ok(None) => return false,
            Err(error) => {
                let ends = error.is_final() || !keeps_errors;
                self.failure = if ends { Some(error) } else { self.failure.take().or(Some(error)) };
                return ends;
            }
        };
        match (self.kind, &value) {
            (LoopKind::All, Value::Bool(false)) => self.decided = Some(false),
            (LoopKind::Exists, Value::Bool(true)) => self.decided = Some(true),
            (LoopKind::ExistsOne, Value::Bool(yes)) => self.matches += usize::from(*yes),
            (LoopKind::Filter, Value::Bool(true)) => self.list.push(element),
            (LoopKind::All | LoopKind::Exists | LoopKind::Filter, Value::Bool(_)) => {}
            (LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne | LoopKind::Filter, _) => {
                self.failure = Some(Failure::NoOverload);
                return true;
            }
            (LoopKind::List, _) => self.list.push(value),
            (LoopKind::SortBy, _) => {
                self.keys.push(value);
                self.list.push(element);
            }
            (LoopKind::Map, _) => {
                self.map.insert(key, value);
            }
            (LoopKind::MapEntry, _) => {
                for (key, value) in value.entries().unwrap_or_default() {
                    if self.map.insert(key, value).is_some() {
                        self.failure = Some(Failure::error("insert failed: key already exists"));
                        return true;
                    }
                }
            }
        }
        self.decided.is_some()
    }

    fn finish(self) -> Outcome<'a> {
        if let Some(decided) = self.decided {
            return Ok(Value::Bool(decided));
        }
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        Ok(match self.kind {
            LoopKind::All => Value::Bool(true),
            LoopKind::Exists => Value::Bool(false),
            LoopKind::ExistsOne => Value::Bool(self.matches == 1),
            LoopKind::Filter | LoopKind::List => Value::list(self.list),
            LoopKind::Map | LoopKind::MapEntry => Value::Map(Rc::new(self.map)),
            LoopKind::SortBy => {
                let mut paired: Vec<_> = self.keys.into_iter().zip(self.list).collect();
                if paired.windows(2).any(|pair| pair[0].0.compare(&pair[1].0).is_none()) {
                    return Err(Failure::NoOverload);
                }
                paired.sort_by(|(a, _), (b, _)| a.compare(b).unwrap_or(std::cmp::Ordering::Equal));
                Value::list(paired.into_iter().map(|(_, item)| item).collect())
            }
        })
    }
}

fn literal_value(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Borrowed(text)),
        Literal::Bytes(bytes) => Value::Bytes((&**bytes).into()),
    }
}

fn optional_value<'a>(value: &Value<'a>) -> Result<Option<Value<'a>>, Failure> {
    match value {
        Value::Optional(inner) => Ok(inner.as_deref().cloned()),
        _ => Err(Failure::NoOverload),
    }
}

fn select<'a>(operand: &Value<'a>, field: &str, access: Access) -> Outcome<'a> {
    let (found, is_optional) = match operand {
        Value::Optional(None) => (None, true),
        Value::Optional(Some(inner)) => (inner.field(field), true),
        Value::Record(record) => (Some(record.field(field)?), false),
        other if other.is_map() => (other.field(field), false),
        _ => return Err(Failure::error(format!("no such key: {field}"))),
    };
    match access {
        Access::Test => Ok(Value::Bool(found.is_some())),
        Access::Value if !is_optional => found.ok_or_else(|| Failure::error(format!("no such key: {field}"))),
        Access::Value | Access::Optional => Ok(Value::Optional(found.map(Rc::new))),
    }
}

fn indexed<'a>(operand: &Value<'a>, index: &Value<'a>, optional: bool) -> Outcome<'a> {
    let (container, is_optional) = match operand {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => (&**inner, true),
        other => (other, false),
    };
    let key = index.to_key().ok_or(Failure::NoOverload)?;
    let found = if container.is_list() {
        let Key::Int(position) = key else { return Err(Failure::NoOverload) };
        usize::try_from(position)
            .ok()
            .and_then(|position| container.at(position))
            .ok_or_else(|| Failure::error(format!("index out of bounds: {position}")))
    } else if container.is_map() {
        container.get(&key).ok_or_else(|| {
            let shown = convert::to_text(index).unwrap_or_default();
            Failure::error(format!("no such key: {shown}"))
        })
    } else {
        return Err(Failure::NoOverload);
    };
    if optional || is_optional { Ok(Value::Optional(found.ok().map(Rc::new))) } else { found }
}
