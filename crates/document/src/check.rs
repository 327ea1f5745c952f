//! Documents against their types: what Go's decoders would refuse, drop and rewrite.
//!
//! A built-in object goes through Go structs in Kubernetes, which fixes its canonical form:
//! - fields no struct has are dropped, and reported for strict field validation;
//! - nulls are dropped, and zero values where the field says so ([`crate::types::Field::omit_empty`]);
//! - quantities, times, durations and bytes are rewritten in their canonical text;
//! - a value of the wrong JSON type is an error, in the words of Go's decoder.
//!
//! A custom object stays JSON: unknown fields and non-nullable nulls are pruned, its metadata is that of
//! built-in objects, and its values are left to the definition's own validation.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use crate::{
    Type,
    path::{Path, StrictErrors},
    quantity, time,
    types::{Field, List, Object, Scalar, Shape},
};

/// A value that Go could not have decoded, in its decoder's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TypeError(pub String);

/// Brings an object of a built-in kind into canonical form. Returns what strict field validation would
/// refuse: `unknown field "spec.foo"`.
pub fn check(document: &mut Value, of: Type<'_>) -> Result<Vec<String>, TypeError> {
    let mut check = Check { custom: None, strict: StrictErrors::default() };
    check.value(document, of, &Path::ROOT)?;
    Ok(check.strict.into_vec())
}

/// Prunes a custom object. Its metadata, and that of embedded resources, is checked as `object_meta`.
pub fn check_custom(document: &mut Value, of: Type<'_>, object_meta: Type<'_>) -> Result<Vec<String>, TypeError> {
    let mut check = Check { custom: Some(object_meta), strict: StrictErrors::default() };
    check.custom_object(document, of, &Path::ROOT, true)?;
    Ok(check.strict.into_vec())
}

struct Check<'t> {
    /// The type of metadata in a custom object; `None` in a built-in one.
    custom: Option<Type<'t>>,
    strict: StrictErrors,
}

impl<'t> Check<'t> {
    fn value(&mut self, value: &mut Value, of: Type<'_>, at: &Path<'_>) -> Result<(), TypeError> {
        match (of.shape(), value) {
            (Shape::Any, value) => normalise_numbers(value),
            (_, Value::Null) => {}
            (Shape::Object(object), Value::Object(fields)) => self.fields(fields, object, of, at)?,
            (Shape::Map(map), Value::Object(fields)) => {
                let of = of.of(map.value);
                for (key, child) in fields {
                    fill_null(child, of.shape());
                    // A list of resources.
                    if matches!(of.shape(), Shape::Scalar(Scalar::Quantity)) {
                        *child = canonical_quantity(child.take(), quantity::canonical_in_list)?;
                    } else {
                        self.value(child, of, &at.key(key))?;
                    }
                }
            }
            (Shape::List(List { item, .. }), Value::Array(items)) => {
                let of = of.of(*item);
                for (index, child) in items.iter_mut().enumerate() {
                    fill_null(child, of.shape());
                    self.value(child, of, &at.index(index))?;
                }
            }
            (Shape::Scalar(scalar), value) => canonicalise(value, *scalar, of, at)?,
            (_, value) => return Err(wrong_type(value, of, at)),
        }
        Ok(())
    }

    fn fields(
        &mut self,
        fields: &mut Map<String, Value>,
        object: &Object,
        of: Type<'_>,
        at: &Path<'_>,
    ) -> Result<(), TypeError> {
        let mut result = Ok(());
        fields.retain(|name, child| {
            if result.is_err() {
                return true;
            }
            let path = at.field(name, of);
            match object.field(name) {
                Some(_) if child.is_null() => false,
                Some(field) => {
                    let of = of.of(field.id);
                    result = self.value(child, of, &path);
                    !(child.is_null() || field.omit_empty && is_zero(child, of.shape()))
                }
                None if object.preserve_unknown => {
                    normalise_numbers(child);
                    true
                }
                None => match object.additional {
                    Some(additional) => {
                        result = self.value(child, of.of(additional), &path);
                        true
                    }
                    None => {
                        self.strict.unknown(&path);
                        false
                    }
                },
            }
        });
        result
    }

    fn custom_value(&mut self, value: &mut Value, of: Type<'_>, at: &Path<'_>) -> Result<(), TypeError> {
        match (of.shape(), value) {
            (Shape::Object(object), value) => self.custom_object(value, of, at, object.embedded_resource)?,
            (Shape::Map(map), Value::Object(fields)) => {
                fields.retain(|_, child| map.null.keep(child));
                for (key, child) in fields {
                    self.custom_value(child, of.of(map.value), &at.key(key))?;
                }
            }
            (Shape::List(list), Value::Array(items)) => {
                for (index, child) in items.iter_mut().enumerate() {
                    self.custom_value(child, of.of(list.item), &at.index(index))?;
                }
            }
            (_, value) => normalise_numbers(value),
        }
        Ok(())
    }

    fn custom_object(
        &mut self,
        value: &mut Value,
        of: Type<'_>,
        at: &Path<'_>,
        is_resource: bool,
    ) -> Result<(), TypeError> {
        let (Value::Object(fields), Shape::Object(object)) = (&mut *value, of.shape()) else {
            normalise_numbers(value);
            return Ok(());
        };
        let mut result = Ok(());
        fields.retain(|name, child| {
            if result.is_err() {
                return true;
            }
            let path = at.field(name, of);
            match (object.field(name), self.custom) {
                (_, Some(object_meta)) if is_resource && name == "metadata" => {
                    result = self.value(child, object_meta, &path);
                    !child.is_null()
                }
                (Some(Field { nullable, .. }), _) if child.is_null() => *nullable,
                (Some(field), _) => {
                    result = self.custom_value(child, of.of(field.id), &path);
                    true
                }
                (None, _) if is_resource && matches!(&**name, "apiVersion" | "kind") => true,
                (None, _) => match object.additional {
                    Some(_) if !object.additional_null.keep(child) => false,
                    Some(additional) => {
                        result = self.custom_value(child, of.of(additional), &path);
                        true
                    }
                    None if object.preserve_unknown => {
                        normalise_numbers(child);
                        true
                    }
                    None => {
                        self.strict.unknown(&path);
                        false
                    }
                },
            }
        });
        result
    }
}

/// In a list or map, Go's null is the zero value of a type.
fn fill_null(value: &mut Value, shape: &Shape) {
    if value.is_null() {
        *value = match shape {
            Shape::Any => Value::Null,
            Shape::List(_) => Value::Array(Vec::new()),
            Shape::Map(_) | Shape::Object(_) => Value::Object(Map::new()),
            Shape::Scalar(Scalar::Boolean) => false.into(),
            Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Number | Scalar::IntOrString) => 0.into(),
            Shape::Scalar(Scalar::String | Scalar::Bytes) => "".into(),
            Shape::Scalar(Scalar::Quantity) => "0".into(),
            Shape::Scalar(Scalar::Duration) => "0s".into(),
            Shape::Scalar(Scalar::Time | Scalar::MicroTime) => Value::Null,
        };
    }
}

fn is_zero(value: &Value, shape: &Shape) -> bool {
    match (value, shape) {
        (Value::Array(items), Shape::List(_)) => items.is_empty(),
        (Value::Object(fields), Shape::Map(_)) => fields.is_empty(),
        (Value::String(text), Shape::Scalar(Scalar::String | Scalar::Bytes)) => text.is_empty(),
        (Value::Number(number), Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Number)) => {
            number.as_f64() == Some(0.0)
        }
        (Value::Bool(value), Shape::Scalar(Scalar::Boolean)) => !value,
        _ => false,
    }
}

fn canonicalise(value: &mut Value, scalar: Scalar, of: Type<'_>, at: &Path<'_>) -> Result<(), TypeError> {
    let canonical = match (scalar, &mut *value) {
        (Scalar::Boolean, Value::Bool(_)) | (Scalar::String, Value::String(_)) => return Ok(()),
        (Scalar::Int32, Value::Number(number)) if is_int32(number) => return Ok(()),
        (Scalar::Int64, Value::Number(number)) if number.is_i64() => return Ok(()),
        (Scalar::Number, value @ Value::Number(_)) => {
            normalise_numbers(value);
            return Ok(());
        }
        (Scalar::IntOrString, Value::String(_)) => return Ok(()),
        (Scalar::IntOrString, Value::Number(number)) if is_int32(number) => return Ok(()),
        (Scalar::IntOrString, other) => return Err(wrong_value(&go_value(other, true), "int32", at)),
        (Scalar::Bytes, Value::String(text)) => Some(time::canonical_base64(text).map_err(TypeError)?),
        (Scalar::Quantity, value) => {
            *value = canonical_quantity(value.take(), quantity::canonical)?;
            return Ok(());
        }
        (Scalar::Time, Value::String(text)) => time::canonical_time(text).map_err(TypeError)?,
        (Scalar::MicroTime, Value::String(text)) => time::canonical_micro_time(text).map_err(TypeError)?,
        (Scalar::Duration, Value::String(text)) => {
            Some(Cow::Owned(time::parse_duration(text).map(time::format_duration).map_err(TypeError)?))
        }
        (Scalar::Time | Scalar::MicroTime | Scalar::Duration, other) => {
            return Err(wrong_value(&go_value(other, false), "string", at));
        }
        (_, value) => return Err(wrong_type(value, of, at)),
    };
    match canonical {
        Some(Cow::Borrowed(_)) => {}
        Some(Cow::Owned(text)) => *value = text.into(),
        None => *value = Value::Null,
    }
    Ok(())
}

type CanonicalText = fn(&str) -> Result<Cow<'_, str>, quantity::QuantityError>;

fn canonical_quantity(value: Value, canonical: CanonicalText) -> Result<Value, TypeError> {
    let refused = |error: quantity::QuantityError| TypeError(error.to_string());
    match value {
        Value::String(text) => {
            let canonical = canonical(text.trim()).map_err(refused)?;
            let unchanged = matches!(canonical, Cow::Borrowed(kept) if kept.len() == text.len());
            if unchanged { Ok(Value::String(text)) } else { Ok(canonical.into_owned().into()) }
        }
        Value::Number(number) => {
            let text = integral_number(&number).unwrap_or(number).to_string();
            canonical(&text).map(|text| text.into_owned().into()).map_err(refused)
        }
        _ => Err(refused(quantity::QuantityError::Format)),
    }
}

fn is_int32(number: &Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

/// Go writes a float without a fraction as an integer.
fn normalise_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(normal) = integral_number(number) {
                *number = normal;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise_numbers),
        Value::Object(fields) => fields.values_mut().for_each(normalise_numbers),
        _ => {}
    }
}

fn integral_number(number: &Number) -> Option<Number> {
    if number.is_f64() { integral(number.as_f64()?) } else { None }
}

/// The integer that a float is, where it fits an `i64`.
pub(crate) fn integral(float: f64) -> Option<Number> {
    let fits = float.fract() == 0.0 && float.abs() < 9_223_372_036_854_775_808.0;
    fits.then(|| Number::from(float as i64))
}

fn wrong_type(value: &Value, of: Type<'_>, at: &Path<'_>) -> TypeError {
    let numeric = matches!(of.shape(), Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Number));
    wrong_value(&go_value(value, numeric), &go_type(of), at)
}

fn wrong_value(found: &str, target: &str, at: &Path<'_>) -> TypeError {
    TypeError(match at.fields() {
        None => format!("json: cannot unmarshal {found} into Go value of type {target}"),
        Some((owner, fields)) => {
            let owner = go_type(owner);
            let owner = owner.rsplit('.').next().unwrap_or_default();
            format!("json: cannot unmarshal {found} into Go struct field {owner}.{fields} of type {target}")
        }
    })
}

/// What Go calls a JSON value; a number is shown where a number was wanted.
fn go_value(value: &Value, numeric: bool) -> Cow<'static, str> {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(number) if numeric => format!("number {number}").into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
    }
}

/// The Go type of a schema: `io.k8s.api.core.v1.PodSpec` is `v1.PodSpec`.
fn go_type(of: Type<'_>) -> Cow<'_, str> {
    match of.shape() {
        Shape::Any => "interface {}".into(),
        Shape::List(list) => format!("[]{}", go_type(of.of(list.item))).into(),
        Shape::Map(map) => format!("map[string]{}", go_type(of.of(map.value))).into(),
        Shape::Object(_) => {
            let name = of.name().unwrap_or("struct");
            let last_dot = name.rfind('.').unwrap_or(0);
            name[..last_dot].rfind('.').map_or(name, |dot| &name[dot + 1..]).into()
        }
        Shape::Scalar(scalar) => match scalar {
            Scalar::Boolean => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Number => "float64",
            Scalar::String => "string",
            Scalar::Bytes => "[]uint8",
            Scalar::IntOrString => "intstr.IntOrString",
            Scalar::Quantity => "resource.Quantity",
            Scalar::Time => "v1.Time",
            Scalar::MicroTime => "v1.MicroTime",
            Scalar::Duration => "v1.Duration",
        }
        .into(),
    }
}
