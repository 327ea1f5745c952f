//! The types that expressions are checked against, and how large their values can get: what the
//! estimate of an expression's cost is made of.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    sync::Arc,
};

use document::types::ListTopology;

/// The largest request: no value of a document has more bytes or elements.
pub const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;

#[derive(Debug, Clone)]
pub enum Type {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    /// The type of types.
    Type,
    List(Arc<ListType>),
    Map(Arc<MapType>),
    Object(Arc<ObjectType>),
    Optional(Arc<Type>),
    /// A type of a library: `net.IP`, `kubernetes.Quantity`.
    Opaque(&'static str),
    /// A type variable of a function's signature.
    Parameter(u8),
}

/// A type with the bytes of a string or the elements of a list or map that its values have at most.
#[derive(Debug, Clone)]
pub struct Declared {
    pub ty: Type,
    pub max_size: u64,
}

#[derive(Debug)]
pub struct ListType {
    pub item: Declared,
    pub topology: ListTopology,
}

#[derive(Debug)]
pub struct MapType {
    pub key: Declared,
    pub value: Declared,
}

#[derive(Debug, Default)]
pub struct ObjectType {
    pub name: String,
    /// By the name an expression uses, which is escaped.
    pub fields: BTreeMap<Box<str>, ObjectField>,
}

#[derive(Debug)]
pub struct ObjectField {
    /// The name in the document.
    pub name: Box<str>,
    pub declared: Declared,
}

impl Declared {
    pub fn unbounded(ty: Type) -> Self {
        Self { ty, max_size: MAX_REQUEST_BYTES }
    }
}

impl Type {
    pub fn list(item: Type) -> Type {
        Type::List(Arc::new(ListType { item: Declared::unbounded(item), topology: ListTopology::Atomic }))
    }

    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(MapType { key: Declared::unbounded(key), value: Declared::unbounded(value) }))
    }

    /// An object with these fields, none of which needs escaping.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Type)>) -> Type {
        Self::sized_object(name, fields.into_iter().map(|(name, ty)| (name, Declared::unbounded(ty))))
    }

    /// The same, with what is known of the fields' sizes.
    pub fn sized_object(name: &str, fields: impl IntoIterator<Item = (&'static str, Declared)>) -> Type {
        let fields =
            fields.into_iter().map(|(name, declared)| (Box::from(name), ObjectField { name: name.into(), declared }));
        Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields: fields.collect() }))
    }

    pub fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }

    pub fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn)
    }

    /// The name that `type(x)` shows and that messages print for simple types.
    pub fn name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Duration => "google.protobuf.Duration",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::Type => "type",
            Type::List(_) => "list",
            Type::Map(_) => "map",
            Type::Object(object) => &object.name,
            Type::Optional(_) => "optional_type",
            Type::Opaque(name) => name,
            Type::Parameter(_) => "parameter",
        }
    }

    /// The type as a declaration names it: what messages about a result say. Those about overloads say
    /// what `Display` does.
    pub fn declared_name(&self) -> String {
        match self {
            Type::List(list) => format!("list({})", list.item.ty.declared_name()),
            Type::Map(map) => format!("map({}, {})", map.key.ty.declared_name(), map.value.ty.declared_name()),
            Type::Optional(of) => format!("optional_type({})", of.declared_name()),
            other => other.name().to_owned(),
        }
    }

    /// Whether a value of type `argument` may stand where this type is expected. Binds parameters.
    pub fn accepts(&self, argument: &Type, bound: &mut [Option<Type>; 2]) -> bool {
        match (self, argument) {
            (Type::Parameter(index), _) => {
                let slot = &mut bound[usize::from(*index) % 2];
                match slot.clone() {
                    Some(known) => {
                        let agrees =
                            known.accepts(argument, &mut [None, None]) || argument.accepts(&known, &mut [None, None]);
                        if agrees && matches!(known, Type::Null) {
                            *slot = Some(argument.clone());
                        }
                        agrees
                    }
                    None => {
                        *slot = Some(argument.clone());
                        true
                    }
                }
            }
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::List(a), Type::List(b)) => a.item.ty.accepts(&b.item.ty, bound),
            (Type::Map(a), Type::Map(b)) => {
                a.key.ty.accepts(&b.key.ty, bound) && a.value.ty.accepts(&b.value.ty, bound)
            }
            (Type::Optional(a), Type::Optional(b)) => a.accepts(b, bound),
            (Type::Object(a), Type::Object(b)) => Arc::ptr_eq(a, b) || a.name == b.name,
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            (Type::Object(_) | Type::Duration | Type::Timestamp | Type::Opaque(_) | Type::Optional(_), Type::Null) => {
                true
            }
            _ => std::mem::discriminant(self) == std::mem::discriminant(argument),
        }
    }

    /// This type with its parameters replaced by what they were bound to.
    pub fn resolved(&self, bound: &[Option<Type>; 2]) -> Type {
        match self {
            Type::Parameter(index) => bound[usize::from(*index) % 2].clone().unwrap_or(Type::Dyn),
            Type::List(list) => Type::list(list.item.ty.resolved(bound)),
            Type::Map(map) => Type::map(map.key.ty.resolved(bound), map.value.ty.resolved(bound)),
            Type::Optional(of) => Type::optional(of.resolved(bound)),
            other => other.clone(),
        }
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::List(list) => write!(f, "list({})", list.item.ty),
            Type::Map(map) => write!(f, "map({}, {})", map.key.ty, map.value.ty),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Null => f.write_str("null"),
            Type::Duration => f.write_str("duration"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Parameter(index) => write!(f, "<{}>", char::from(b'A' + index)),
            other => f.write_str(other.name()),
        }
    }
}
