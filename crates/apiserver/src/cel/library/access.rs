//! The authorizer that policies may ask: a check is built up call by call, then made.

use std::{fmt::Debug, rc::Rc};

use super::{Cost, Entry, Outcome, entry};
use crate::{
    cel::{Failure, value::Value},
    identity::{Attributes, Target, User},
};

/// Answers whether a request would be allowed, and why or why not.
pub trait Authorizer: Debug + Send + Sync {
    fn authorize(&self, attributes: &Attributes<'_>) -> (bool, String);
}

#[derive(Debug, Clone)]
pub enum Access<'a> {
    Authorizer(Asker<'a>),
    Path { asker: Asker<'a>, path: String },
    Group { asker: Asker<'a>, group: String },
    Resource { asker: Asker<'a>, request: ResourceRequest },
    Decision { allowed: bool, reason: String },
}

/// Who asks whom.
#[derive(Debug, Clone)]
pub struct Asker<'a> {
    pub authorizer: &'a dyn Authorizer,
    pub user: User,
}

#[derive(Debug, Clone, Default)]
pub struct ResourceRequest {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

/// An authorization check may be made about twice in one expression.
const CHECK: Cost = Cost::Fixed(350_000);

pub const TABLE: &[Entry] = &[
    entry(&["Authorizer.path(string): PathCheck"], Cost::Fixed(1), |values, _| match access(values)? {
        (Access::Authorizer(asker), Some(path)) if !path.is_empty() => {
            Ok(made(Access::Path { asker: asker.clone(), path: path.to_owned() }))
        }
        (Access::Authorizer(_), Some(_)) => Err(Failure::error("path must not be empty")),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["Authorizer.group(string): GroupCheck"], Cost::Fixed(1), |values, _| match access(values)? {
        (Access::Authorizer(asker), Some(group)) => {
            Ok(made(Access::Group { asker: asker.clone(), group: group.to_owned() }))
        }
        _ => Err(Failure::NoOverload),
    }),
    entry(&["Authorizer.serviceAccount(string, string): Authorizer"], Cost::Fixed(1), |values, _| {
        let (Access::Authorizer(asker), Some(namespace)) = access(values)? else { return Err(Failure::NoOverload) };
        let name = values.get(2).and_then(Value::as_text).ok_or(Failure::NoOverload)?;
        let user = User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
            ..User::default()
        };
        Ok(made(Access::Authorizer(Asker { user, ..asker.clone() })))
    }),
    entry(&["GroupCheck.resource(string): ResourceCheck"], Cost::Fixed(1), |values, _| match access(values)? {
        (Access::Group { asker, group }, Some(resource)) => {
            let request =
                ResourceRequest { group: group.clone(), resource: resource.to_owned(), ..ResourceRequest::default() };
            Ok(made(Access::Resource { asker: asker.clone(), request }))
        }
        _ => Err(Failure::NoOverload),
    }),
    entry(&["ResourceCheck.subresource(string): ResourceCheck"], Cost::Fixed(1), |values, _| {
        narrowed(values, |request, text| request.subresource = text)
    }),
    entry(&["ResourceCheck.namespace(string): ResourceCheck"], Cost::Fixed(1), |values, _| {
        narrowed(values, |request, text| request.namespace = text)
    }),
    entry(&["ResourceCheck.name(string): ResourceCheck"], Cost::Fixed(1), |values, _| {
        narrowed(values, |request, text| request.name = text)
    }),
    entry(&["PathCheck.check(string): Decision", "ResourceCheck.check(string): Decision"], CHECK, check),
    entry(&["Decision.allowed(): bool"], Cost::Fixed(1), |values, _| match access(values)? {
        (Access::Decision { allowed, .. }, None) => Ok(Value::Bool(*allowed)),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["Decision.reason(): string"], Cost::Fixed(1), |values, _| match access(values)? {
        (Access::Decision { reason, .. }, None) => Ok(Value::from(reason.clone())),
        _ => Err(Failure::NoOverload),
    }),
    entry(&["Decision.errored(): bool"], Cost::Fixed(1), |_, _| Ok(Value::Bool(false))),
    entry(&["Decision.error(): string"], Cost::Fixed(1), |_, _| Ok(Value::from(""))),
];

impl Access<'_> {
    pub fn type_name(&self) -> &'static str {
        match self {
            Access::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Access::Path { .. } => "kubernetes.authorization.PathCheck",
            Access::Group { .. } => "kubernetes.authorization.GroupCheck",
            Access::Resource { .. } => "kubernetes.authorization.ResourceCheck",
            Access::Decision { .. } => "kubernetes.authorization.Decision",
        }
    }
}

fn made(access: Access<'_>) -> Value<'_> {
    Value::Access(Rc::new(access))
}

/// The receiver, and the first argument where there is one.
fn access<'v, 'a>(values: &'v [Value<'a>]) -> Result<(&'v Access<'a>, Option<&'v str>), Failure> {
    match values {
        [Value::Access(access), rest @ ..] => Ok((access, rest.first().and_then(Value::as_text))),
        _ => Err(Failure::NoOverload),
    }
}

fn narrowed<'a>(values: &[Value<'a>], set: fn(&mut ResourceRequest, String)) -> Outcome<'a> {
    match access(values)? {
        (Access::Resource { asker, request }, Some(text)) => {
            let mut request = request.clone();
            set(&mut request, text.to_owned());
            Ok(made(Access::Resource { asker: asker.clone(), request }))
        }
        _ => Err(Failure::NoOverload),
    }
}

fn check<'a>(values: &[Value<'a>], _: &crate::cel::Budget) -> Outcome<'a> {
    let (asker, target, verb) = match access(values)? {
        (Access::Path { asker, path }, Some(verb)) => (asker, Target::Path(path), verb),
        (Access::Resource { asker, request }, Some(verb)) => {
            let target = Target::Resource {
                group: &request.group,
                version: "*",
                resource: &request.resource,
                subresource: &request.subresource,
                namespace: &request.namespace,
                name: &request.name,
            };
            (asker, target, verb)
        }
        _ => return Err(Failure::NoOverload),
    };
    let (allowed, reason) = asker.authorizer.authorize(&Attributes::new(&asker.user, verb, target));
    Ok(made(Access::Decision { allowed, reason }))
}
