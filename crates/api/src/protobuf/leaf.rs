//! Messages that are one value in JSON: scalars, quantities, times, JSON in bytes.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use document::{Encoding, decode::MAX_DEPTH, types::Scalar};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Number, Value};

use super::{
    ProtobufError, Result,
    wire::{Fields, Payload},
};

/// Whether many of it may stand in one field.
pub fn is_packable(scalar: Scalar) -> bool {
    matches!(scalar, Scalar::Boolean | Scalar::Int32 | Scalar::Int64 | Scalar::Number)
}

pub fn scalar(scalar: Scalar, payload: Payload<'_>, name: &'static str) -> Result<Value> {
    Ok(match scalar {
        Scalar::Boolean => (payload.varint(name)? != 0).into(),
        // Longer numbers are cut off, as in Go.
        Scalar::Int32 => (payload.varint(name)? as i32).into(),
        Scalar::Int64 => payload.varint(name)?.cast_signed().into(),
        Scalar::Number => Number::from_f64(f64::from_bits(payload.fixed64(name)?)).into(),
        Scalar::String => payload.text(name)?.into(),
        Scalar::Bytes => BASE64.encode(payload.bytes(name)?).into(),
        Scalar::IntOrString => int_or_string(payload.bytes(name)?)?,
        Scalar::Quantity => quantity(payload.bytes(name)?)?,
        Scalar::Time => time(payload.bytes(name)?, "%Y-%m-%dT%H:%M:%SZ")?,
        Scalar::MicroTime => time(payload.bytes(name)?, "%Y-%m-%dT%H:%M:%S.%6fZ")?,
        Scalar::Duration => {
            let nanos = number(payload.bytes(name)?, 1, "duration")?.cast_signed();
            document::time::format_duration(nanos).into()
        }
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value> {
    let (mut kind, mut number, mut text) = (0, 0, String::new());
    for field in Fields::new(bytes) {
        match field? {
            (1, payload) => kind = payload.varint("type")?,
            (2, payload) => number = payload.varint("intVal")? as i32,
            (3, payload) => text = payload.text("strVal")?,
            _ => {}
        }
    }
    match kind {
        0 => Ok(number.into()),
        1 => Ok(text.into()),
        _ => Err(ProtobufError::IntOrString),
    }
}

fn quantity(bytes: &[u8]) -> Result<Value> {
    let mut text = if bytes.is_empty() { "0".to_owned() } else { String::new() };
    for field in Fields::new(bytes) {
        if let (1, payload) = field? {
            text = payload.text("string")?;
        }
    }
    Ok(text.into())
}

/// An empty message is the zero time, which JSON has as null.
fn time(bytes: &[u8], format: &str) -> Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let seconds = number(bytes, 1, "seconds")?.cast_signed();
    let nanos = number(bytes, 2, "nanos")? as i32;
    let out_of_range = |_| ProtobufError::Time(seconds);
    let time = Timestamp::from_second(seconds).map_err(out_of_range)?;
    let time = time.checked_add(SignedDuration::from_nanos(nanos.into())).map_err(out_of_range)?;
    Ok(time.strftime(format).to_string().into())
}

/// The number in a field of a message, 0 where it is left out.
fn number(bytes: &[u8], wanted: u32, name: &'static str) -> Result<u64> {
    let mut found = 0;
    for field in Fields::new(bytes) {
        let (number, payload) = field?;
        if number == wanted {
            found = payload.varint(name)?;
        }
    }
    Ok(found)
}

/// JSON in bytes in a message, `depth` levels below the root.
pub fn raw(bytes: &[u8], depth: usize) -> Result<Value> {
    let mut json: &[u8] = &[];
    for field in Fields::new(bytes) {
        if let (1, payload) = field? {
            json = payload.bytes("raw")?;
        }
    }
    if json.is_empty() {
        return Ok(Value::Null);
    }
    let decoded = document::decode(json, Encoding::Json, json.len());
    let value = decoded.map_err(|error| ProtobufError::Json(error.to_string()))?.value;
    if depth + height(&value) > MAX_DEPTH { Err(ProtobufError::TooDeep) } else { Ok(value) }
}

/// Lists and objects within one another.
fn height(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(height).max().unwrap_or_default(),
        Value::Object(fields) => 1 + fields.values().map(height).max().unwrap_or_default(),
        _ => 0,
    }
}
