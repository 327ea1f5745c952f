//! Defaults that are constants of a type. Defaults that depend on other fields are a kind's strategy.

use serde_json::Value;

use crate::{Type, types::Shape};

/// Fills in absent fields, and nulls of fields that are not nullable, wherever their parents exist; what
/// is filled in gets its own defaults.
pub fn default(document: &mut Value, of: Type<'_>) {
    match (of.shape(), document) {
        (Shape::Object(object), Value::Object(fields)) => {
            for field in &object.fields {
                let Some(default) = &field.default else { continue };
                match fields.get_mut(&*field.name) {
                    None => {
                        fields.insert(field.name.as_ref().to_owned(), default.clone());
                    }
                    Some(value) if value.is_null() && !field.nullable => *value = default.clone(),
                    Some(_) => {}
                }
            }
            for (name, value) in fields {
                if is_container(value)
                    && let Some(id) = object.field(name).map(|field| field.id).or(object.additional)
                {
                    default(value, of.of(id));
                }
            }
        }
        (Shape::Map(map), Value::Object(fields)) => {
            fields.values_mut().filter(|value| is_container(value)).for_each(|value| default(value, of.of(map.value)));
        }
        (Shape::List(list), Value::Array(items)) => {
            items.iter_mut().filter(|value| is_container(value)).for_each(|value| default(value, of.of(list.item)));
        }
        _ => {}
    }
}

fn is_container(value: &Value) -> bool {
    value.is_object() || value.is_array()
}
