//! Whether an applied configuration fits its type: nothing undeclared, nothing twice, nothing of
//! another kind.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::invalid::Invalid;
use super::schema::{Fields, Form, Items, Schema};
use crate::GoValue;
use crate::fields::Element;
use crate::types::{Scalar, Type};

pub fn validate(value: &Value, of: Type<'_>) -> Result<(), Invalid> {
    value_fits(value, Schema::Typed(of))
}

fn value_fits(value: &Value, schema: Schema<'_>) -> Result<(), Invalid> {
    match (schema.form(value), value) {
        (_, Value::Null) => Ok(()),
        (Form::Scalar(scalar), _) => scalar_fits(value, scalar),
        (Form::List(items), Value::Array(list)) => list_fits(list, items),
        (Form::Map(fields), Value::Object(map)) => map_fits(map, fields),
        (Form::List(_), _) => Err(Invalid::new(format!("expected list, got &{{{}}}", GoValue(value)))),
        (Form::Map(_), _) => Err(Invalid::new(format!("expected map, got &{{{}}}", GoValue(value)))),
    }
}

fn map_fits(map: &Map<String, Value>, fields: Fields<'_>) -> Result<(), Invalid> {
    let mut problems = Vec::new();
    for (name, value) in map {
        let element = Element::field(name);
        let Some(child) = fields.child(name) else {
            problems.push(Invalid::new("field not declared in schema").below(&element));
            break;
        };
        problems.extend(value_fits(value, child.schema).err().map(|invalid| invalid.below(&element)));
    }
    Invalid::join(problems)
}

fn list_fits(list: &[Value], items: Items<'_>) -> Result<(), Invalid> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, item) in list.iter().enumerate() {
        let element = if items.is_atomic() {
            Element::Index(i64::try_from(index).unwrap_or(i64::MAX))
        } else {
            match items.element(item) {
                Ok(element) => element,
                Err(message) => {
                    problems.push(Invalid::new(format!("element {index}: {message}")));
                    break;
                }
            }
        };
        if seen.contains(&element) {
            problems.push(Invalid::new(format!("duplicate entries for key {element}")));
        }
        problems.extend(value_fits(item, items.schema).err().map(|invalid| invalid.below(&element)));
        seen.insert(element);
    }
    Invalid::join(problems)
}

fn scalar_fits(value: &Value, scalar: Option<Scalar>) -> Result<(), Invalid> {
    let got = GoValue(value);
    let message = match (scalar, value) {
        (_, Value::Null) => return Ok(()),
        (Some(Scalar::Int32 | Scalar::Int64 | Scalar::Number), Value::Number(_)) => return Ok(()),
        (Some(Scalar::String | Scalar::Bytes), Value::String(_)) => return Ok(()),
        (Some(Scalar::Boolean), Value::Bool(_)) => return Ok(()),
        (Some(Scalar::Int32 | Scalar::Int64 | Scalar::Number), _) => {
            format!("expected numeric (int or float), got {}", got.type_name())
        }
        (Some(Scalar::String | Scalar::Bytes), _) => {
            format!("expected string, got &value.valueUnstructured{{Value:{got:#}}}")
        }
        (Some(Scalar::Boolean), _) => format!("expected boolean, got &{{{got}}}"),
        (_, Value::Array(_) | Value::Object(_)) => format!("expected any scalar, got &{{{got}}}"),
        _ => return Ok(()),
    };
    Err(Invalid::new(message))
}
