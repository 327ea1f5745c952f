//! What a document may look like: the structural types that every algorithm in this crate walks.
//!
//! The types of all built-in kinds share one arena; each custom resource version has its own. Types
//! are recursive (JSONSchemaProps contains itself), so a type is an index, not a box.

use std::collections::HashMap;

use serde_json::Value;

/// An arena of types. Immutable once built.
#[derive(Debug, Default)]
pub struct Types {
    shapes: Vec<Shape>,
    names: HashMap<Box<str>, TypeId>,
}

/// A type in one arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

/// A type with the arena it lives in: what the algorithms pass around.
#[derive(Debug, Clone, Copy)]
pub struct Type<'a> {
    types: &'a Types,
    id: TypeId,
}

#[derive(Debug, Clone, Default)]
pub enum Shape {
    /// Anything, kept as it is: RawExtension, FieldsV1, JSON, `x-kubernetes-preserve-unknown-fields`
    /// without a type.
    #[default]
    Any,
    Scalar(Scalar),
    List(List),
    Map(Map),
    Object(Object),
}

/// What a scalar must be. Go's JSON decoder decides what is accepted for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    Boolean,
    Int32,
    Int64,
    Number,
    String,
    /// Base64 in a string.
    Bytes,
    /// A 32-bit integer or a string.
    IntOrString,
    /// A string or a number: `500m`, `1Gi`, `2`. Kept as a canonical string.
    Quantity,
    /// RFC 3339, whole seconds, UTC, when written. `null` when unset.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// A Go duration in a string: `1h30m`.
    Duration,
}

#[derive(Debug, Clone)]
pub struct List {
    pub item: TypeId,
    pub topology: ListTopology,
    /// How a strategic merge patch treats the list; independent of `topology`.
    pub patch: ListPatch,
}

/// `x-kubernetes-list-type`: how server-side apply merges a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListTopology {
    Atomic,
    Set,
    /// Items are found by the values of these fields (`x-kubernetes-list-map-keys`).
    Map(Vec<Box<str>>),
}

/// `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key` of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListPatch {
    Replace,
    /// Items are found by this field.
    MergeByKey(Box<str>),
    /// A list of scalars, merged as a set.
    MergeValues,
}

#[derive(Debug, Clone)]
pub struct Map {
    pub value: TypeId,
    /// `x-kubernetes-map-type: atomic`: owned and replaced as a whole.
    pub atomic: bool,
    /// What a null is among the values (custom resources).
    pub null: Null,
}

/// What becomes of a null among the values of a map.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Null {
    /// It is a value like others.
    #[default]
    Kept,
    /// It is no value, and says that there is none.
    Dropped,
    /// It stands for this default.
    Replaced(Value),
}

#[derive(Debug, Clone, Default)]
pub struct Object {
    /// Sorted by name.
    pub fields: Vec<Field>,
    /// Fields that are not named above are kept (custom resources only).
    pub preserve_unknown: bool,
    /// The type of the values of fields not named above (`additionalProperties` beside `properties`).
    pub additional: Option<TypeId>,
    /// What a null is among those values.
    pub additional_null: Null,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
    /// `x-kubernetes-embedded-resource`: apiVersion, kind and metadata are always allowed.
    pub embedded_resource: bool,
}

#[derive(Debug, Clone)]
pub struct Field {
    pub name: Box<str>,
    pub id: TypeId,
    /// Must be present after decoding (custom resources; built-in kinds say it by validation).
    pub required: bool,
    /// An explicit null is a value of its own (custom resources).
    pub nullable: bool,
    /// Filled in where the field is absent.
    pub default: Option<Value>,
    /// An object that is part of the one it lies in (built-in kinds: a Go struct without a pointer). It is there even
    /// where nobody gave it, so nobody owns that it is.
    pub always_there: bool,
    /// `x-kubernetes-patch-strategy` of an object or map field.
    pub patch: ObjectPatch,
    /// An empty string, list or map, a zero or a false is the same as an absent field (built-in kinds:
    /// Go's `omitempty` without a pointer). Objects are never left out: `emptyDir: {}` says something.
    pub omit_empty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ObjectPatch {
    #[default]
    Merge,
    Replace,
    /// `retainKeys`: fields absent from `$retainKeys` are dropped (Deployment strategy, volumes).
    RetainKeys,
}

impl Types {
    pub fn add(&mut self, shape: Shape) -> TypeId {
        let id = TypeId(u32::try_from(self.shapes.len()).expect("an arena holds fewer than 2^32 types"));
        self.shapes.push(shape);
        id
    }

    /// Gives `id` a name by which [`Types::named`] finds it (`io.k8s.api.core.v1.Pod`).
    pub fn name(&mut self, name: &str, id: TypeId) {
        self.names.insert(name.into(), id);
    }

    /// Replaces the shape of a type that was added as a placeholder, to close a cycle.
    pub fn set(&mut self, id: TypeId, shape: Shape) {
        self.shapes[id.0 as usize] = shape;
    }

    /// Copies a type of another arena, with all it refers to, into this one.
    pub fn import(&mut self, of: Type<'_>) -> TypeId {
        self.import_known(of, &mut HashMap::new())
    }

    fn import_known(&mut self, of: Type<'_>, known: &mut HashMap<TypeId, TypeId>) -> TypeId {
        if let Some(id) = known.get(&of.id) {
            return *id;
        }
        let id = self.add(Shape::Any);
        known.insert(of.id, id);
        let mut shape = of.shape().clone();
        match &mut shape {
            Shape::Any | Shape::Scalar(_) => {}
            Shape::List(list) => list.item = self.import_known(of.of(list.item), known),
            Shape::Map(map) => map.value = self.import_known(of.of(map.value), known),
            Shape::Object(object) => {
                for field in &mut object.fields {
                    field.id = self.import_known(of.of(field.id), known);
                }
                object.additional = object.additional.map(|value| self.import_known(of.of(value), known));
            }
        }
        self.set(id, shape);
        id
    }

    pub fn get(&self, id: TypeId) -> Type<'_> {
        Type { types: self, id }
    }

    /// A name of `id`, where it has one. Looks through all names: for messages, not for lookups.
    pub fn name_of(&self, id: TypeId) -> Option<&str> {
        self.names.iter().filter(|(_, named)| **named == id).map(|(name, _)| &**name).min()
    }

    pub fn named(&self, name: &str) -> Option<Type<'_>> {
        self.names.get(name).map(|id| self.get(*id))
    }
}

impl<'a> Type<'a> {
    pub fn id(self) -> TypeId {
        self.id
    }

    pub fn shape(self) -> &'a Shape {
        &self.types.shapes[self.id.0 as usize]
    }

    /// The name by which [`Types::named`] finds this type, where it has one.
    pub fn name(self) -> Option<&'a str> {
        self.types.name_of(self.id)
    }

    /// Another type of the same arena.
    pub fn of(self, id: TypeId) -> Type<'a> {
        Type { types: self.types, id }
    }

    /// The field of that name, where this is an object that has one.
    pub fn field(self, name: &str) -> Option<(&'a Field, Type<'a>)> {
        let Shape::Object(object) = self.shape() else { return None };
        let field = object.field(name)?;
        Some((field, self.of(field.id)))
    }
}

impl Null {
    /// Whether `value` is there after it was looked at for being null.
    pub fn keep(&self, value: &mut Value) -> bool {
        match self {
            _ if !value.is_null() => true,
            Null::Kept => true,
            Null::Dropped => false,
            Null::Replaced(default) => {
                *value = default.clone();
                true
            }
        }
    }
}

impl Object {
    /// Sorts `fields` as the other methods expect them.
    pub fn new(mut fields: Vec<Field>) -> Self {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        Self { fields, ..Self::default() }
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok().map(|index| &self.fields[index])
    }
}

impl Field {
    pub fn new(name: &str, id: TypeId) -> Self {
        Self {
            name: name.into(),
            id,
            required: false,
            nullable: false,
            default: None,
            always_there: false,
            patch: ObjectPatch::default(),
            omit_empty: true,
        }
    }
}
