//! How a value merges at its place: as a leaf, as a list whose items can be told apart, or by field.
//!
//! A view over [`Type`] that also covers places without a type, whose values merge by what they are:
//! maps by key, everything else as a whole.

use serde_json::{Map, Value};

use crate::fields::Element;
use crate::types::{ListTopology, Scalar, Shape, Type};

/// What is known about the value at one place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Schema<'a> {
    Typed(Type<'a>),
    Free,
}

/// What the algorithms do with a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'a> {
    /// None: any scalar.
    Scalar(Option<Scalar>),
    List(Items<'a>),
    Map(Fields<'a>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Items<'a> {
    pub schema: Schema<'a>,
    topology: &'a ListTopology,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub atomic: bool,
    of: Schema<'a>,
}

/// A field or a map's value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child<'a> {
    pub schema: Schema<'a>,
    /// The type names the field. A map's keys are owned by whoever sets them; named fields only by what is in them.
    pub named: bool,
}

static ATOMIC: ListTopology = ListTopology::Atomic;

impl<'a> Schema<'a> {
    /// Whether values of different kinds may stand here, so that the value decides how it merges.
    pub fn is_free(self) -> bool {
        match self {
            Schema::Typed(of) => matches!(of.shape(), Shape::Any),
            Schema::Free => true,
        }
    }

    pub fn form(self, value: &Value) -> Form<'a> {
        let atomic = match self {
            Schema::Free => false,
            Schema::Typed(of) => match of.shape() {
                Shape::Any => false,
                Shape::Scalar(scalar) => return Form::Scalar(Some(*scalar)),
                Shape::List(list) => {
                    let schema = Schema::Typed(of.of(list.item));
                    return Form::List(Items { schema, topology: &list.topology });
                }
                Shape::Map(map) => map.atomic,
                Shape::Object(object) => object.atomic,
            },
        };
        match value {
            Value::Object(_) | Value::Null => Form::Map(Fields { atomic, of: self }),
            Value::Array(_) if self.is_free() => Form::List(Items { schema: Schema::Free, topology: &ATOMIC }),
            _ if self.is_free() => Form::Scalar(None),
            _ => Form::Map(Fields { atomic, of: self }),
        }
    }

    /// The schema of what `element` leads to.
    pub fn descend(self, element: &Element) -> Child<'a> {
        let unnamed = |schema| Child { schema, named: false };
        match (element, self) {
            (Element::Field(name), _) => {
                Fields { atomic: false, of: self }.child(name).unwrap_or(unnamed(Schema::Free))
            }
            (Element::Key(_) | Element::Value(_), Schema::Typed(of)) => match of.shape() {
                Shape::List(list) => unnamed(Schema::Typed(of.of(list.item))),
                _ => unnamed(Schema::Free),
            },
            _ => unnamed(Schema::Free),
        }
    }

    /// Whether the type says that values here are owned as a whole.
    pub fn is_atomic(self) -> bool {
        let Schema::Typed(of) = self else { return false };
        match of.shape() {
            Shape::Any | Shape::Scalar(_) => false,
            Shape::List(list) => list.topology == ListTopology::Atomic,
            Shape::Map(map) => map.atomic,
            Shape::Object(object) => object.atomic,
        }
    }
}

impl<'a> Form<'a> {
    /// Owned and replaced as a whole.
    pub fn is_leaf(self) -> bool {
        match self {
            Form::Scalar(_) => true,
            Form::List(items) => items.is_atomic(),
            Form::Map(fields) => fields.atomic,
        }
    }
}

impl<'a> Fields<'a> {
    /// None where the type has no such field.
    pub fn child(self, name: &str) -> Option<Child<'a>> {
        let Schema::Typed(of) = self.of else { return Some(Child { schema: Schema::Free, named: false }) };
        match of.shape() {
            Shape::Map(map) => Some(Child { schema: Schema::Typed(of.of(map.value)), named: false }),
            Shape::Object(object) => {
                if let Some(field) = object.field(name) {
                    return Some(Child { schema: Schema::Typed(of.of(field.id)), named: true });
                }
                if object.embedded_resource && matches!(name, "apiVersion" | "kind" | "metadata") {
                    return Some(Child { schema: Schema::Free, named: true });
                }
                let schema = match object.additional {
                    Some(id) => Schema::Typed(of.of(id)),
                    None if object.preserve_unknown => Schema::Free,
                    None => return None,
                };
                Some(Child { schema, named: false })
            }
            _ => Some(Child { schema: Schema::Free, named: false }),
        }
    }

    /// The child of a document that was decoded already: what the type does not know merges by what it is.
    pub fn any_child(self, name: &str) -> Child<'a> {
        self.child(name).unwrap_or(Child { schema: Schema::Free, named: false })
    }
}

impl<'a> Items<'a> {
    pub fn is_atomic(self) -> bool {
        *self.topology == ListTopology::Atomic
    }

    /// What tells `item` from the others of its list. Not for atomic lists.
    pub fn element(self, item: &Value) -> Result<Element, String> {
        match self.topology {
            ListTopology::Atomic => Err("invalid indexing of non-associative list".to_owned()),
            ListTopology::Set => set_element(item),
            ListTopology::Map(keys) => match item {
                Value::Object(item) => self.key_element(item, keys),
                Value::Null => Err("associative list with keys may not have a null element".to_owned()),
                _ => Err("associative list with keys may not have non-map elements".to_owned()),
            },
        }
    }

    /// A key that the item leaves out counts with its default; without one the item is one without that key.
    fn key_element(self, item: &Map<String, Value>, keys: &[Box<str>]) -> Result<Element, String> {
        let default = |key: &str| match self.schema {
            Schema::Typed(of) => of.field(key).and_then(|(field, _)| field.default.as_ref()),
            Schema::Free => None,
        };
        let value = |key: &str| item.get(key).or_else(|| default(key)).cloned();
        let values: Vec<_> = keys.iter().filter_map(|key| Some((&**key, value(key)?))).collect();
        if values.is_empty() {
            let names: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default \
                 values for any key fields)",
                names.join(" ")
            ));
        }
        Ok(Element::key(values))
    }
}

fn set_element(item: &Value) -> Result<Element, String> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        scalar => Ok(Element::Value(scalar.clone())),
    }
}
