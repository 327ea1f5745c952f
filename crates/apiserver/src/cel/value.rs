//! Values while an expression runs. Documents are read in place: a list or an object of a document is
//! a reference to it beside its type, and becomes CEL values only where an expression looks.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap, fmt::Debug, net::IpAddr, ops::Deref, rc::Rc};

use base64::{Engine, engine::general_purpose::STANDARD};
use document::types::ListTopology;
use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::{
    Failure,
    library::{access::Access, duration, quantity::Quantity, url::Url},
    types::{ObjectType, Type},
};

#[derive(Debug, Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Rc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Timestamp),
    List(Rc<Vec<Value<'a>>>),
    Map(Rc<BTreeMap<Key, Value<'a>>>),
    /// A list, map or object in a document.
    Document(&'a Json, &'a Type),
    /// Fields that are computed when they are looked at: the variables of a policy.
    Record(&'a dyn Record<'a>),
    Optional(Option<Rc<Value<'a>>>),
    Type(Rc<str>),
    Url(Rc<Url>),
    Quantity(Quantity),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    Semver(Rc<semver::Version>),
    /// A named format, by its name.
    Format(&'static str),
    Access(Rc<Access<'a>>),
}

pub trait Record<'a>: Debug {
    fn field(&'a self, name: &str) -> Result<Value<'a>, Failure>;
}

/// A string of a document or one made while evaluating.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Rc<str>),
}

impl<'a> From<Key> for Value<'a> {
    fn from(key: Key) -> Self {
        match key {
            Key::Bool(value) => Value::Bool(value),
            Key::Int(value) => Value::Int(value),
            Key::Uint(value) => Value::Uint(value),
            Key::String(text) => Value::String(Text::Shared(text)),
        }
    }
}

static DYN: Type = Type::Dyn;

impl<'a> Value<'a> {
    pub fn text(text: impl Into<Rc<str>>) -> Self {
        Value::String(Text::Shared(text.into()))
    }

    pub fn list(items: Vec<Value<'a>>) -> Self {
        Value::List(Rc::new(items))
    }

    pub fn some(value: Value<'a>) -> Self {
        Value::Optional(Some(Rc::new(value)))
    }

    /// A document without a type: numbers are what they look like.
    pub fn untyped(json: &'a Json) -> Self {
        Self::read(json, &DYN)
    }

    /// A value of a document, seen as its type. What does not have the form its type promises (a
    /// date-time that is none) is left as what it is; schema validation reports it.
    pub fn read(json: &'a Json, ty: &'a Type) -> Self {
        match (json, ty) {
            (Json::Null, _) => Value::Null,
            (Json::Bool(value), _) => Value::Bool(*value),
            (Json::Number(number), Type::Double) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            (Json::Number(number), _) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Value::Int(whole),
                (None, Some(float)) if matches!(ty, Type::Int) && float.fract() == 0.0 => Value::Int(float as i64),
                (None, float) => Value::Double(float.unwrap_or(f64::NAN)),
            },
            (Json::String(text), Type::Timestamp) => {
                timestamp(text).map_or(Value::from(text.as_str()), Value::Timestamp)
            }
            (Json::String(text), Type::Duration) => {
                duration::informal(text).map_or(Value::from(text.as_str()), Value::Duration)
            }
            (Json::String(text), Type::Bytes) => {
                STANDARD.decode(text).map_or(Value::from(text.as_str()), |bytes| Value::Bytes(bytes.into()))
            }
            (Json::String(text), _) => Value::from(text.as_str()),
            (Json::Array(_) | Json::Object(_), _) => Value::Document(json, ty),
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The name that `type()` gives and that messages print.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => Type::Null.name(),
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Duration(_) => Type::Duration.name(),
            Value::Timestamp(_) => Type::Timestamp.name(),
            Value::List(_) | Value::Document(Json::Array(_), _) => "list",
            Value::Document(_, Type::Object(object)) => &object.name,
            Value::Map(_) | Value::Document(..) => "map",
            Value::Record(_) => "object",
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
            Value::Url(_) => "kubernetes.URL",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Ip(_) => "net.IP",
            Value::Cidr(..) => "net.CIDR",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
            Value::Access(access) => access.type_name(),
        }
    }

    /// Characters, bytes, items or entries.
    pub fn size(&self) -> Option<usize> {
        Some(match self {
            Value::String(text) => text.chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) => items.len(),
            Value::Map(entries) => entries.len(),
            Value::Document(Json::Array(items), _) => items.len(),
            Value::Document(Json::Object(fields), _) => fields.len(),
            _ => return None,
        })
    }

    /// What an operation on the whole value is charged for.
    pub fn weight(&self) -> u64 {
        match self {
            Value::String(text) => text.len() as u64,
            other => other.size().unwrap_or(1) as u64,
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self, Value::List(_) | Value::Document(Json::Array(_), _))
    }

    pub fn is_map(&self) -> bool {
        matches!(self, Value::Map(_) | Value::Document(Json::Object(_), _))
    }

    pub fn at(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Value::List(items) => items.get(index).cloned(),
            Value::Document(Json::Array(items), ty) => items.get(index).map(|item| Value::read(item, item_type(ty))),
            _ => None,
        }
    }

    pub fn items(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::List(items) => Some(items.to_vec()),
            Value::Document(Json::Array(items), ty) => {
                Some(items.iter().map(|item| Value::read(item, item_type(ty))).collect())
            }
            _ => None,
        }
    }

    /// Keys and values of a map, in the order of the keys.
    pub fn entries(&self) -> Option<Vec<(Key, Value<'a>)>> {
        match self {
            Value::Map(entries) => Some(entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect()),
            Value::Document(Json::Object(fields), ty) => Some(
                fields
                    .iter()
                    .filter(|(name, value)| !matches!((ty, value), (Type::Object(object), Json::Null) if !object.fields.contains_key(name.as_str())))
                    .map(|(name, value)| (Key::String(name.as_str().into()), Value::read(value, member_type(ty, name))))
                    .collect(),
            ),
            _ => None,
        }
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &Key) -> Option<Value<'a>> {
        match (self, key) {
            (Value::Map(entries), key) => entries.get(key).cloned(),
            (Value::Document(Json::Object(fields), ty), Key::String(name)) => {
                fields.get(&**name).map(|value| Value::read(value, member_type(ty, name)))
            }
            _ => None,
        }
    }

    /// The value of a field, by its name in an expression; `None` where it is absent.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Value::Document(Json::Object(fields), Type::Object(object)) => {
                let (name, ty) = declared_field(object, name);
                fields.get(name).map(|value| Value::read(value, ty))
            }
            Value::Document(Json::Object(fields), ty) => {
                fields.get(name).map(|value| Value::read(value, member_type(ty, name)))
            }
            Value::Map(entries) => entries.get(&Key::String(name.into())).cloned(),
            _ => None,
        }
    }

    /// The key that this value is, where it can be one. A whole number is the integer it equals.
    pub fn to_key(&self) -> Option<Key> {
        Some(match self {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(*value),
            Value::Uint(value) => i64::try_from(*value).map_or(Key::Uint(*value), Key::Int),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9e18 => Key::Int(*value as i64),
            Value::String(text) => Key::String((**text).into()),
            _ => return None,
        })
    }

    /// Numbers compare across their types; other kinds only with their own.
    pub fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
            (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Int(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
            (Value::Double(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Value::Uint(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
            (Value::Double(a), Value::Uint(b)) => a.partial_cmp(&(*b as f64)),
            (Value::String(a), Value::String(b)) => Some((**a).cmp(&**b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Semver(a), Value::Semver(b)) => Some(a.cmp_precedence(b)),
            _ => None,
        }
    }

    /// Deep equality. `work` counts the values looked at; the caller charges for it.
    pub fn equals(&self, other: &Value<'_>, work: &mut u64) -> bool {
        *work += 1;
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Optional(a), Value::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b, work),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Value::Type(a), Value::Type(b)) => a == b,
            (Value::Url(a), Value::Url(b)) => a.text == b.text,
            (Value::Quantity(a), Value::Quantity(b)) => a == b,
            (Value::Ip(a), Value::Ip(b)) => a == b,
            (Value::Cidr(a, n), Value::Cidr(b, m)) => (a, n) == (b, m),
            (Value::Format(a), Value::Format(b)) => a == b,
            _ if self.is_list() && other.is_list() => self.list_equals(other, work),
            _ if self.is_map() && other.is_map() => {
                let (Some(entries), Some(others)) = (self.entries(), other.entries()) else { return false };
                entries.len() == others.len()
                    && entries.iter().zip(&others).all(|((a, x), (b, y))| a == b && x.equals(y, work))
            }
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// A set or a keyed list equals a list with the same items in any order.
    fn list_equals(&self, other: &Value<'_>, work: &mut u64) -> bool {
        let (Some(items), Some(others)) = (self.items(), other.items()) else { return false };
        if items.len() != others.len() {
            return false;
        }
        *work += items.len() as u64 / 10;
        match self.topology() {
            ListTopology::Atomic => items.iter().zip(&others).all(|(a, b)| a.equals(b, work)),
            ListTopology::Set | ListTopology::Map(_) => {
                items.iter().all(|item| others.iter().any(|candidate| item.equals(candidate, work)))
            }
        }
    }

    pub fn topology(&self) -> &ListTopology {
        match self {
            Value::Document(_, Type::List(list)) => &list.topology,
            _ => &ListTopology::Atomic,
        }
    }

    /// The document that this value is, for messages and audit.
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Value::Null => Json::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Uint(value) => (*value).into(),
            Value::Double(value) => (*value).into(),
            Value::String(text) => (&**text).into(),
            Value::Document(json, _) => (*json).clone(),
            Value::List(items) => Json::Array(items.iter().map(Value::to_json).collect::<Option<_>>()?),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|(key, value)| {
                    let key = Value::from(key.clone());
                    Some((super::library::convert::to_text(&key)?.into_owned(), value.to_json()?))
                });
                Json::Object(pairs.collect::<Option<Map<_, _>>>()?)
            }
            _ => return None,
        })
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::String(Text::Borrowed(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<usize> for Value<'_> {
    fn from(value: usize) -> Self {
        Value::Int(value as i64)
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::text(text)
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Value::from(text),
            Cow::Owned(text) => Value::text(text),
        }
    }
}

fn item_type(ty: &Type) -> &Type {
    match ty {
        Type::List(list) => &list.item.ty,
        _ => &DYN,
    }
}

/// The type of a member, by its name in the document.
fn member_type<'a>(ty: &'a Type, name: &str) -> &'a Type {
    match ty {
        Type::Map(map) => &map.value.ty,
        Type::Object(object) => {
            let escaped = super::escape::escape(name);
            let field = escaped.and_then(|escaped| object.fields.get(&*escaped));
            field.map_or(&DYN, |field| &field.declared.ty)
        }
        _ => &DYN,
    }
}

fn declared_field<'a, 'n>(object: &'a ObjectType, name: &'n str) -> (&'n str, &'a Type)
where
    'a: 'n,
{
    match object.fields.get(name) {
        Some(field) => (&field.name, &field.declared.ty),
        None => (name, &DYN),
    }
}

/// RFC 3339, or a day alone.
pub fn timestamp(text: &str) -> Option<Timestamp> {
    if text.len() == 10 {
        let day: jiff::civil::Date = text.parse().ok()?;
        return day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    }
    text.parse().ok()
}
