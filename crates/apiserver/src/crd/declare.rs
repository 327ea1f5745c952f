//! The CEL type of a schema, with the sizes that its limits promise.

use std::{collections::BTreeMap, sync::Arc};

use document::types::ListTopology;

use super::schema::{Additional, Kind, Schema};
use crate::cel::{
    escape::escape,
    types::{Declared, ListType, MAX_REQUEST_BYTES, MapType, ObjectField, ObjectType, Type},
};

/// Objects, numbers and the keys of maps count as nothing where they are compared.
const UNSIZED: u64 = 0;

/// The type of a whole resource.
pub fn root(schema: &Schema) -> Declared {
    Declared { ty: object(schema, "object", true), max_size: UNSIZED }
}

pub fn declared(schema: &Schema, name: &str) -> Declared {
    if schema.int_or_string {
        return Declared::unbounded(Type::Dyn);
    }
    let Some(kind) = schema.kind else { return Declared::unbounded(Type::Dyn) };
    match kind {
        Kind::Boolean => Declared { ty: Type::Bool, max_size: UNSIZED },
        Kind::Integer => Declared { ty: Type::Int, max_size: UNSIZED },
        Kind::Number => Declared { ty: Type::Double, max_size: UNSIZED },
        Kind::String => text(schema),
        Kind::Array => {
            let Some(items) = &schema.items else { return Declared::unbounded(Type::list(Type::Dyn)) };
            let item = declared(items, &format!("{name}.@items"));
            let most = (MAX_REQUEST_BYTES - 2) / (min_bytes(items) + 1);
            let topology = schema.topology.clone().unwrap_or(ListTopology::Atomic);
            let max_size = schema.items_count.max.unwrap_or(most).min(most);
            Declared { ty: Type::List(Arc::new(ListType { item, topology })), max_size }
        }
        Kind::Object => match &schema.additional {
            Additional::Of(values) if schema.properties.is_empty() => {
                let value = declared(values, &format!("{name}.@values"));
                let most = (MAX_REQUEST_BYTES - 2) / (min_bytes(values) + 6);
                let max_size = schema.properties_count.max.unwrap_or(most).min(most);
                let key = Declared { ty: Type::String, max_size: UNSIZED };
                Declared { ty: Type::Map(Arc::new(MapType { key, value })), max_size }
            }
            Additional::Allowed if schema.properties.is_empty() => {
                Declared::unbounded(Type::map(Type::String, Type::Dyn))
            }
            _ => Declared { ty: object(schema, name, schema.embedded_resource), max_size: UNSIZED },
        },
    }
}

fn text(schema: &Schema) -> Declared {
    let (ty, fixed) = match &*schema.format {
        "byte" => (Type::Bytes, None),
        "duration" => (Type::Duration, None),
        "date" => (Type::Timestamp, Some(10)),
        "date-time" => (Type::Timestamp, Some(20)),
        _ => (Type::String, None),
    };
    let longest = schema
        .enumeration
        .as_ref()
        .and_then(|values| values.iter().filter_map(|value| value.as_str()).map(|text| text.len() as u64).max());
    // A limit counts characters, of which each can take four bytes, but for those that spell bytes.
    let width = if matches!(ty, Type::Bytes) { 1 } else { 4 };
    let declared = schema.length.max.map(|max| max.saturating_mul(width)).or(longest);
    Declared { ty, max_size: fixed.or(declared).unwrap_or(MAX_REQUEST_BYTES - 2).min(MAX_REQUEST_BYTES - 2) }
}

fn object(schema: &Schema, name: &str, is_resource: bool) -> Type {
    let mut fields = BTreeMap::new();
    if is_resource {
        let metadata =
            Type::object(&format!("{name}.metadata"), [("name", Type::String), ("generateName", Type::String)]);
        for (field, ty) in [("apiVersion", Type::String), ("kind", Type::String), ("metadata", metadata)] {
            fields.insert(field.into(), ObjectField { name: field.into(), declared: Declared::unbounded(ty) });
        }
    }
    for (property, schema) in &schema.properties {
        if is_resource && fields.contains_key(&**property) {
            continue;
        }
        if let Some(escaped) = escape(property) {
            let declared = declared(schema, &format!("{name}.{property}"));
            fields.insert((*escaped).into(), ObjectField { name: property.clone(), declared });
        }
    }
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
}

/// Bytes that a value takes in a request at least.
pub fn min_bytes(schema: &Schema) -> u64 {
    if schema.int_or_string {
        return 1;
    }
    match schema.kind {
        None | Some(Kind::Integer | Kind::Number) => 1,
        Some(Kind::Boolean) => 4,
        Some(Kind::String | Kind::Array) => 2,
        Some(Kind::Object) => {
            let required = schema.required.iter().filter_map(|name| Some((name, schema.properties.get(name)?)));
            let counted = required.filter(|(_, property)| property.default.is_none());
            2 + counted.map(|(name, property)| name.len() as u64 + min_bytes(property) + 4).sum::<u64>()
        }
    }
}
