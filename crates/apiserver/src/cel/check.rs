//! Type-checks a tree against an environment, resolves its calls, and estimates the cost of its worst
//! run from the sizes that the types declare.

use super::{
    SyntaxError,
    cost::{self, LIST, MAP},
    library::{Function, function},
    syntax::{Access, Bind, Expression, Item, Kind, Literal, Loop, LoopKind, OptionalMap},
    types::{Declared, ListType, MAX_REQUEST_BYTES, MapType, Type},
};
use document::types::ListTopology;
use std::sync::Arc;

/// What the checker knows of an expression.
#[derive(Debug, Clone)]
pub struct Checked {
    pub ty: Type,
    /// Bytes or elements that the value has at most.
    pub size: u64,
    /// The estimated cost of evaluating it at worst.
    pub cost: u64,
    pub origin: Origin,
}

/// Where a value comes from: it decides what is known of the sizes of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Found in a variable, where the types tell.
    Document,
    /// Made in the expression: its elements are those it was made of.
    Literal,
    /// Made by a function.
    Call,
}

impl Checked {
    fn new(ty: Type, size: u64, cost: u64) -> Self {
        Self { ty, size, cost, origin: Origin::Call }
    }

    fn of(declared: &Declared, cost: u64) -> Self {
        Self::new(declared.ty.clone(), declared.max_size, cost)
    }

    fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}

type Outcome = Result<Checked, SyntaxError>;

pub struct Checker<'e> {
    pub variables: &'e [(Box<str>, Declared)],
    /// Variables that the expression mentions.
    pub used: Vec<Box<str>>,
    /// The variables of the loops around.
    scope: Vec<(Box<str>, Declared, Origin)>,
}

impl<'e> Checker<'e> {
    pub fn new(variables: &'e [(Box<str>, Declared)]) -> Self {
        Self { variables, used: Vec::new(), scope: Vec::new() }
    }

    fn variable(&mut self, name: &str) -> Option<(Declared, Origin)> {
        if let Some((_, declared, origin)) = self.scope.iter().rev().find(|(known, ..)| **known == *name) {
            return Some((declared.clone(), *origin));
        }
        let (_, declared) = self.variables.iter().find(|(known, _)| **known == *name)?;
        if !self.used.iter().any(|known| **known == *name) {
            self.used.push(name.into());
        }
        Some((declared.clone(), Origin::Document))
    }

    /// The size of what is found at no place of the document: it counts as the document itself.
    fn size_of_root(&self) -> u64 {
        self.variables.iter().find(|(name, _)| &**name == "self").map_or(cost::UNKNOWN, |(_, root)| root.max_size)
    }

    pub fn check(&mut self, expression: &mut Expression) -> Outcome {
        let at = expression.at;
        if let Some(name) = dotted(&expression.kind).filter(|name| name.contains('.'))
            && let Some((declared, origin)) = self.variable(&name)
        {
            expression.kind = Kind::Name(name.into());
            return Ok(Checked::of(&declared, 1).with_origin(origin));
        }
        match &mut expression.kind {
            Kind::Literal(literal) => Ok(check_literal(literal)),
            Kind::Name(name) => {
                if let Some((declared, origin)) = self.variable(name) {
                    return Ok(Checked::of(&declared, 1).with_origin(origin));
                }
                if super::library::convert::is_type_name(name) {
                    return Ok(Checked::new(Type::Type, self.size_of_root(), 1));
                }
                Err(SyntaxError { at, message: format!("undeclared reference to '{name}' (in container '')") })
            }
            Kind::Select { of, field, access } => {
                let operand = self.check(of)?;
                select(&operand, field, *access).map_err(|message| SyntaxError { at, message })
            }
            Kind::Index { of, index, optional } => {
                let operand = self.check(of)?;
                let index = self.check(index)?;
                let size_of_root = self.size_of_root();
                indexed(&operand, &index, *optional, size_of_root).map_err(|message| SyntaxError { at, message })
            }
            Kind::Call { name, target, arguments, function } => self.check_call(at, name, target, arguments, function),
            Kind::List(items) => {
                let mut element = Declared { ty: Type::Parameter(0), max_size: 0 };
                let mut cost = LIST;
                for item in items.iter_mut() {
                    let mut checked = self.check(&mut item.value)?;
                    if item.optional {
                        checked.ty = unwrapped(&checked.ty, item.value.at)?;
                    }
                    cost = checked.cost.saturating_add(cost);
                    join(&mut element, &checked, item.value.at)?;
                }
                let count = items.len() as u64;
                Ok(Checked::new(list_of(settled(element)), count, cost).with_origin(Origin::Literal))
            }
            Kind::Map(entries) => {
                let mut key = Declared { ty: Type::Parameter(0), max_size: 0 };
                let mut value = key.clone();
                let mut cost = MAP;
                for entry in entries.iter_mut() {
                    let checked_key = self.check(&mut entry.key)?;
                    let mut checked_value = self.check(&mut entry.value)?;
                    if entry.optional {
                        checked_value.ty = unwrapped(&checked_value.ty, entry.value.at)?;
                    }
                    cost = checked_key.cost.saturating_add(checked_value.cost).saturating_add(cost);
                    join(&mut key, &checked_key, entry.key.at)?;
                    join(&mut value, &checked_value, entry.value.at)?;
                }
                let count = entries.len() as u64;
                Ok(Checked::new(map_of(settled(key), settled(value)), count, cost).with_origin(Origin::Literal))
            }
            Kind::And(terms) => self.check_logic("_&&_", terms, at),
            Kind::Or(terms) => self.check_logic("_||_", terms, at),
            Kind::Conditional(parts) => {
                let [condition, yes, no] = &mut **parts;
                let (condition, yes, no) = (self.check(condition)?, self.check(yes)?, self.check(no)?);
                let mut bound = [None, None];
                if !Type::Bool.accepts(&condition.ty, &mut bound) || !agree(&yes.ty, &no.ty) {
                    return Err(no_overload(at, "_?_:_", None, &[&condition.ty, &yes.ty, &no.ty]));
                }
                let ty = if matches!(yes.ty, Type::Null) || no.ty.is_dyn() { no.ty } else { yes.ty };
                let cost = condition.cost.saturating_add(yes.cost.max(no.cost));
                Ok(Checked::new(ty, yes.size.max(no.size), cost).with_origin(Origin::Literal))
            }
            Kind::Loop(inner) => self.check_loop(inner, at),
            Kind::Bind(bind) => self.check_bind(bind),
            Kind::OptionalMap(map) => self.check_optional_map(map),
        }
    }

    fn check_optional_map(&mut self, map: &mut OptionalMap) -> Outcome {
        let of = self.check(&mut map.of)?;
        let inner = unwrapped(&of.ty, map.of.at)?;
        let inner = Declared { max_size: cost::size_of(&inner), ty: inner };
        self.scope.push((map.name.clone(), inner, Origin::Call));
        let body = self.check(&mut map.body);
        self.scope.pop();
        let body = body?;
        // The optional is asked whether it has a value, the value gets a name, the result is made optional.
        let cost = of.cost.saturating_mul(2).saturating_add(body.cost).saturating_add(LIST + 2);
        let (ty, cost) = if map.flat {
            unwrapped(&body.ty, map.body.at)?;
            (body.ty, cost)
        } else {
            (Type::optional(body.ty), cost.saturating_add(1))
        };
        let size = cost::size_of(&ty);
        Ok(Checked::new(ty, size, cost))
    }

    fn check_bind(&mut self, bind: &mut Bind) -> Outcome {
        let value = self.check(&mut bind.value)?;
        let named = Declared { ty: value.ty.clone(), max_size: value.size };
        self.scope.push((bind.name.clone(), named, value.origin));
        let body = self.check(&mut bind.body);
        self.scope.pop();
        let body = body?;
        let cost = value.cost.saturating_add(body.cost).saturating_add(LIST);
        Ok(Checked::new(body.ty, body.size, cost))
    }

    fn check_logic(&mut self, name: &str, terms: &mut [Expression], at: usize) -> Outcome {
        let mut cost = 0_u64;
        for term in terms {
            let checked = self.check(term)?;
            if !Type::Bool.accepts(&checked.ty, &mut [None, None]) {
                return Err(no_overload(at, name, None, &[&Type::Bool, &checked.ty]));
            }
            cost = cost.saturating_add(checked.cost);
        }
        Ok(Checked::new(Type::Bool, 1, cost))
    }

    fn check_call(
        &mut self,
        at: usize,
        name: &mut Box<str>,
        target: &mut Option<Box<Expression>>,
        arguments: &mut [Expression],
        resolved: &mut Option<&'static Function>,
    ) -> Outcome {
        // `ip.isCanonical(x)` calls a function in a namespace, where no variable has the name.
        if let Some(full) = target.as_ref().and_then(|target| dotted(&target.kind)) {
            let root = full.split('.').next().unwrap_or_default();
            let full = format!("{full}.{name}");
            if self.variable(root).is_none() && function(&full).is_some() {
                *name = full.into();
                *target = None;
            }
        }
        let found = function(name).ok_or_else(|| SyntaxError {
            at,
            message: format!("undeclared reference to '{name}' (in container '')"),
        })?;
        *resolved = Some(found);
        let receiver = target.as_mut().map(|target| self.check(target)).transpose()?;
        let mut operands: Vec<Checked> = receiver.into_iter().collect();
        for argument in arguments.iter_mut() {
            operands.push(match &mut argument.kind {
                // What is formatted may be of different types.
                Kind::List(items) if &**name == "format" => self.check_mixed(items)?,
                _ => self.check(argument)?,
            });
        }
        let types: Vec<&Type> = operands.iter().map(|operand| &operand.ty).collect();
        let result = found
            .result(target.is_some(), &types)
            .ok_or_else(|| no_overload(at, name, target.is_some().then_some(()), &types))?;
        check_literal_arguments(name, arguments)?;
        let inner = operands.iter().fold(0_u64, |sum, operand| sum.saturating_add(operand.cost));
        let (own, size) = cost::of_call(name, target.is_some(), &operands, arguments, &result);
        let origin = if &**name == "_+_" { Origin::Literal } else { Origin::Call };
        Ok(Checked::new(result, size, inner.saturating_add(own)).with_origin(origin))
    }

    fn check_mixed(&mut self, items: &mut [Item]) -> Outcome {
        let count = items.len() as u64;
        let mut cost = LIST;
        for item in items {
            let checked = self.check(&mut item.value)?;
            cost = checked.cost.saturating_add(cost);
        }
        Ok(Checked::new(Type::list(Type::Dyn), count, cost))
    }

    fn check_loop(&mut self, inner: &mut Loop, at: usize) -> Outcome {
        let range = self.check(&mut inner.range)?;
        let (first, second) = elements(&range.ty).ok_or_else(|| SyntaxError {
            at,
            message: format!(
                "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                range.ty
            ),
        })?;
        let is_map = matches!(range.ty, Type::Map(_));
        let names = inner.names.clone();
        let depth = self.scope.len();
        let elements_of = |declared: Declared| match range.origin {
            Origin::Document => declared,
            Origin::Literal | Origin::Call => Declared { max_size: self.size_of_root(), ..declared },
        };
        let (first, second) = (elements_of(first), elements_of(second));
        let origin = range.origin;
        match &names[..] {
            [only] => self.scope.push((only.clone(), if is_map { first } else { second }, origin)),
            [a, b] => self.scope.extend([(a.clone(), first, origin), (b.clone(), second, origin)]),
            _ => {}
        }
        let element = self.scope.last().map(|(_, declared, _)| declared.clone());
        let checked = inner.filter.as_mut().map(|filter| self.check(filter)).transpose();
        let body = checked.and_then(|filter| Ok((filter, self.check(&mut inner.body)?)));
        self.scope.truncate(depth);
        let (filter, body) = body?;
        let must_be_bool =
            matches!(inner.kind, LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne | LoopKind::Filter);
        for condition in filter.iter().chain(must_be_bool.then_some(&body)) {
            if !Type::Bool.accepts(&condition.ty, &mut [None, None]) {
                let message = format!("expected type 'bool' but found '{}'", condition.ty);
                return Err(SyntaxError { at: inner.body.at, message });
            }
        }
        let own = cost::of_loop(inner.kind, range.size, filter.map(|filter| filter.cost), &body);
        let cost = range.cost.saturating_add(own);
        let body_element = Declared { ty: body.ty.clone(), max_size: body.size };
        let ty = match inner.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => return Ok(Checked::new(Type::Bool, 1, cost)),
            LoopKind::Filter if is_map => list_of(element.unwrap_or(body_element)),
            LoopKind::Filter | LoopKind::SortBy => range.ty,
            LoopKind::List => list_of(body_element),
            LoopKind::Map => {
                let (key, _) = elements(&range.ty).unwrap_or((body_element.clone(), body_element.clone()));
                map_of(key, body_element)
            }
            LoopKind::MapEntry => body.ty,
        };
        let size = if inner.kind == LoopKind::SortBy { range.size.saturating_mul(range.size) } else { range.size };
        Ok(Checked::new(ty, size, cost).with_origin(Origin::Literal))
    }
}

/// What a loop over the type runs through: indexes or keys, and values.
fn elements(ty: &Type) -> Option<(Declared, Declared)> {
    let index = Declared { ty: Type::Int, max_size: 1 };
    match ty {
        Type::List(list) => Some((index, list.item.clone())),
        Type::Map(map) => Some((map.key.clone(), map.value.clone())),
        Type::Dyn => Some((Declared::unbounded(Type::Dyn), Declared::unbounded(Type::Dyn))),
        _ => None,
    }
}

/// The dotted name that a chain of selections spells.
fn dotted(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Name(name) => Some(name.to_string()),
        Kind::Select { of, field, access: Access::Value } => Some(format!("{}.{field}", dotted(&of.kind)?)),
        _ => None,
    }
}

fn check_literal(literal: &Literal) -> Checked {
    let (ty, size) = match literal {
        Literal::Null => (Type::Null, 1),
        Literal::Bool(_) => (Type::Bool, 1),
        Literal::Int(_) => (Type::Int, 1),
        Literal::Uint(_) => (Type::Uint, 1),
        Literal::Double(_) => (Type::Double, 1),
        Literal::String(text) => (Type::String, text.chars().count() as u64),
        Literal::Bytes(bytes) => (Type::Bytes, bytes.len() as u64),
    };
    Checked::new(ty, size, 0)
}

/// Literals that can be judged before anything runs: patterns, durations, timestamps.
fn check_literal_arguments(name: &str, arguments: &[Expression]) -> Result<(), SyntaxError> {
    let Some(Expression { kind: Kind::Literal(Literal::String(text)), at, .. }) = arguments.last() else {
        return Ok(());
    };
    let problem = match name {
        "matches" | "find" => crate::pattern::compile(text).err(),
        "duration" => super::library::duration::parse(text).is_none().then(|| "invalid duration argument".to_owned()),
        "timestamp" => super::value::timestamp(text).is_none().then(|| "invalid timestamp argument".to_owned()),
        _ => None,
    };
    problem
        .map_or(Ok(()), |problem| Err(SyntaxError { at: *at, message: format!("invalid {name} argument: {problem}") }))
}

fn select(operand: &Checked, field: &str, access: Access) -> Result<Checked, String> {
    let (container, was_optional) = match &operand.ty {
        Type::Optional(inner) => (&**inner, true),
        other => (other, false),
    };
    let found = match container {
        Type::Object(object) => {
            let field = object.fields.get(field).ok_or_else(|| format!("undefined field '{field}'"))?;
            field.declared.clone()
        }
        Type::Map(map) => map.value.clone(),
        Type::Dyn => Declared::unbounded(Type::Dyn),
        other => return Err(format!("type '{other}' does not support field selection")),
    };
    let is_looked_up = access == Access::Optional || matches!(&operand.ty, Type::Object(_) | Type::Map(_));
    let cost = operand.cost.saturating_add(u64::from(access != Access::Test && is_looked_up));
    Ok(match access {
        Access::Test => Checked::new(Type::Bool, 1, operand.cost),
        Access::Value if !was_optional => Checked::of(&found, cost).with_origin(operand.origin),
        Access::Value | Access::Optional => {
            let size = cost::size_of(&found.ty);
            Checked::new(Type::optional(found.ty), size, cost)
        }
    })
}

fn indexed(operand: &Checked, index: &Checked, optional: bool, size_of_root: u64) -> Result<Checked, String> {
    let (container, was_optional) = match &operand.ty {
        Type::Optional(inner) => (&**inner, true),
        other => (other, false),
    };
    let numeric = matches!(index.ty, Type::Int | Type::Uint | Type::Double | Type::Dyn);
    let found = match container {
        Type::List(list) if numeric => list.item.clone(),
        Type::Map(map) if agree(&map.key.ty, &index.ty) => map.value.clone(),
        Type::Dyn => Declared::unbounded(Type::Dyn),
        _ => return Err(format!("found no matching overload for '_[_]' applied to '({}, {})'", operand.ty, index.ty)),
    };
    let cost = operand.cost.saturating_add(index.cost).saturating_add(1);
    if optional || was_optional {
        let size = cost::size_of(&found.ty);
        return Ok(Checked::new(Type::optional(found.ty), size, cost));
    }
    let size = if operand.origin == Origin::Call { size_of_root } else { found.max_size };
    Ok(Checked::new(found.ty, size, cost).with_origin(operand.origin))
}

fn unwrapped(ty: &Type, at: usize) -> Result<Type, SyntaxError> {
    match ty {
        Type::Optional(inner) => Ok((**inner).clone()),
        Type::Dyn => Ok(Type::Dyn),
        other => Err(SyntaxError { at, message: format!("expected type 'optional_type' but found '{other}'") }),
    }
}

/// Literals are of one type throughout.
fn join(element: &mut Declared, next: &Checked, at: usize) -> Result<(), SyntaxError> {
    element.max_size = element.max_size.max(next.size);
    if matches!(element.ty, Type::Parameter(_) | Type::Null)
        && (matches!(element.ty, Type::Parameter(_)) || agree(&element.ty, &next.ty))
    {
        element.ty = next.ty.clone();
        return Ok(());
    }
    if agree(&element.ty, &next.ty) {
        return Ok(());
    }
    Err(SyntaxError { at, message: format!("expected type '{}' but found '{}'", element.ty, next.ty) })
}

/// The element of a literal without elements is anything.
fn settled(element: Declared) -> Declared {
    match element.ty {
        Type::Parameter(_) => Declared { ty: Type::Dyn, max_size: MAX_REQUEST_BYTES },
        _ => element,
    }
}

fn agree(a: &Type, b: &Type) -> bool {
    a.accepts(b, &mut [None, None]) || b.accepts(a, &mut [None, None])
}

fn list_of(item: Declared) -> Type {
    Type::List(Arc::new(ListType { item, topology: ListTopology::Atomic }))
}

fn map_of(key: Declared, value: Declared) -> Type {
    Type::Map(Arc::new(MapType { key, value }))
}

fn no_overload(at: usize, name: &str, receiver: Option<()>, types: &[&Type]) -> SyntaxError {
    let list = |types: &[&Type]| types.iter().map(|ty| ty.to_string()).collect::<Vec<_>>().join(", ");
    let applied = match (receiver, types.split_first()) {
        (Some(()), Some((target, rest))) => format!("{target}.({})", list(rest)),
        _ => format!("({})", list(types)),
    };
    SyntaxError { at, message: format!("found no matching overload for '{name}' applied to '{applied}'") }
}
