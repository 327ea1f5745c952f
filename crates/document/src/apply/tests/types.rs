//! Types from a compact text: `types.yaml` maps the names of objects to their fields' types.
//!
//! A type is a scalar (`int`, `string`, `bool`, `any`, `int-or-string`), the name of an object, or
//! `list T`, `set T`, `by key+key T`, `map T`, `atomic T`; ` = JSON` after it is the default.

use std::collections::BTreeMap;
use std::path::Path;

use crate::types::{Field, List, ListPatch, ListTopology, Map, Object, Scalar, Shape, TypeId, Types};

type Declared = BTreeMap<String, BTreeMap<String, String>>;

pub(super) fn read(file: &Path) -> Types {
    parse(&std::fs::read_to_string(file).unwrap())
}

pub(super) fn parse(text: &str) -> Types {
    let declared: Declared = serde_yaml_ng::from_str(text).unwrap();
    let mut types = Types::default();
    for name in declared.keys() {
        let id = types.add(Shape::Any);
        types.name(name, id);
    }
    for (name, fields) in &declared {
        let object = object(fields, &mut types);
        let id = types.named(name).unwrap().id();
        types.set(id, Shape::Object(object));
    }
    types
}

fn object(fields: &BTreeMap<String, String>, types: &mut Types) -> Object {
    let mut object = Object::new(Vec::new());
    let mut named = Vec::new();
    for (name, text) in fields {
        if name == "*" {
            object.preserve_unknown = true;
            continue;
        }
        let (text, default) = match text.split_once(" = ") {
            Some((text, default)) => (text, Some(serde_json::from_str(default).unwrap())),
            None => (&**text, None),
        };
        let id = shape(text, types);
        let always_there = default == Some(serde_json::json!({}));
        named.push(Field { default, always_there, ..Field::new(name, id) });
    }
    Object { preserve_unknown: object.preserve_unknown, ..Object::new(named) }
}

fn shape(text: &str, types: &mut Types) -> TypeId {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let list = |item, topology| Shape::List(List { item, topology, patch: ListPatch::Replace });
    let shape = match word {
        "int" => Shape::Scalar(Scalar::Int64),
        "string" => Shape::Scalar(Scalar::String),
        "bool" => Shape::Scalar(Scalar::Boolean),
        "int-or-string" => Shape::Scalar(Scalar::IntOrString),
        "any" => Shape::Any,
        "list" => list(shape(rest, types), ListTopology::Atomic),
        "set" => list(shape(rest, types), ListTopology::Set),
        "map" => Shape::Map(Map { value: shape(rest, types), atomic: false, null: crate::types::Null::Kept }),
        "by" => {
            let (keys, item) = rest.split_once(' ').unwrap();
            list(shape(item, types), ListTopology::Map(keys.split('+').map(Into::into).collect()))
        }
        "atomic" => {
            let id = shape(rest, types);
            match types.get(id).shape().clone() {
                Shape::Map(map) => Shape::Map(Map { atomic: true, ..map }),
                Shape::Object(object) => Shape::Object(Object { atomic: true, ..object }),
                other => other,
            }
        }
        name => return types.named(name).unwrap_or_else(|| panic!("no type {name}")).id(),
    };
    types.add(shape)
}
