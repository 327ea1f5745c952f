//! Objects in Kubernetes' protobuf, which typed clients send: decoded to documents as JSON would have them.
//!
//! A message says less than JSON: it has no type of its own but for the outermost one, which an
//! [`Envelope`] names, and its fields are numbers ([`numbers`]). It also says more: Go writes each zero that
//! is no nil pointer. So whatever stands in the message goes into the document, and `document::check` drops
//! what Go leaves out of JSON; a zero behind a pointer survives that as it does when it comes as JSON.
//!
//! Not here: encoding (answers are JSON), and whether a document is any good.

mod leaf;
mod numbers;
mod wire;

#[cfg(test)]
mod tests;

use document::{
    Type,
    decode::MAX_DEPTH,
    types::{List, Map as MapShape, Scalar, Shape},
};
use serde_json::{Map, Value};

use numbers::{Form, Message, Numbers, Slot};
use wire::{Fields, Payload};

/// What stands before every object in protobuf.
const MAGIC: [u8; 4] = *b"k8s\0";

/// The outermost message: the type of an object, and the object in bytes.
#[derive(Debug, Default, PartialEq)]
pub struct Envelope<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
}

/// Why bytes are no object, in the words of upstream's decoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    #[error("empty data")]
    Empty,
    #[error("empty body")]
    EmptyBody,
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    Magic,
    #[error("unexpected EOF")]
    UnexpectedEnd,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: negative length found during unmarshaling")]
    NegativeLength,
    #[error("proto: unexpected end of group")]
    EndOfGroup,
    #[error("proto: illegal tag {number} (wire type {wire_type})")]
    IllegalTag { number: i32, wire_type: u8 },
    #[error("proto: illegal wireType {0}")]
    IllegalWireType(u8),
    #[error("proto: wrong wireType = {wire_type} for field {field}")]
    WrongWireType { wire_type: u8, field: &'static str },
    #[error("time out of range: {0} seconds")]
    Time(i64),
    #[error("impossible IntOrString.Type")]
    IntOrString,
    #[error("exceeded max depth")]
    TooDeep,
    #[error("{0}")]
    Json(String),
    #[error("the type has no protobuf encoding")]
    NoMessage,
}

type Result<T> = std::result::Result<T, ProtobufError>;

/// Opens the envelope of an object.
pub fn envelope(bytes: &[u8]) -> Result<Envelope<'_>> {
    if bytes.is_empty() {
        return Err(ProtobufError::Empty);
    }
    let body = bytes.strip_prefix(&MAGIC).ok_or(ProtobufError::Magic)?;
    if body.is_empty() {
        return Err(ProtobufError::EmptyBody);
    }
    let mut envelope = Envelope::default();
    for field in Fields::new(body) {
        match field? {
            (1, payload) => {
                for field in Fields::new(payload.bytes("typeMeta")?) {
                    match field? {
                        (1, payload) => envelope.api_version = payload.text("apiVersion")?,
                        (2, payload) => envelope.kind = payload.text("kind")?,
                        _ => {}
                    }
                }
            }
            (2, payload) => envelope.raw = payload.bytes("raw")?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Decodes a message of a built-in type (one of [`crate::builtin::types`]). Numbers that the type does not
/// have are skipped.
pub fn decode(bytes: &[u8], of: Type<'_>) -> Result<Value> {
    Decoder { numbers: numbers::numbers(), of }.message(bytes, of, 0)
}

/// `of` lends its arena.
struct Decoder<'a> {
    numbers: &'static Numbers,
    of: Type<'a>,
}

impl Decoder<'_> {
    fn message(&self, bytes: &[u8], of: Type<'_>, depth: usize) -> Result<Value> {
        let mut fields = Map::new();
        self.merge(&mut fields, bytes, of, depth)?;
        Ok(Value::Object(fields))
    }

    /// Messages that come in parts add up.
    fn merge(&self, fields: &mut Map<String, Value>, bytes: &[u8], of: Type<'_>, depth: usize) -> Result<()> {
        if depth >= MAX_DEPTH {
            return Err(ProtobufError::TooDeep);
        }
        self.fill(fields, bytes, self.numbers.message(of.id()).ok_or(ProtobufError::NoMessage)?, depth)
    }

    fn fill(&self, fields: &mut Map<String, Value>, bytes: &[u8], message: &Message, depth: usize) -> Result<()> {
        for field in Fields::new(bytes) {
            let (number, payload) = field?;
            match message.slot(number) {
                None => {}
                Some(Slot::Inlined(inner)) => self.fill(fields, payload.bytes("inlined")?, inner, depth)?,
                Some(Slot::Field { name, of, form }) => {
                    let field = Field { name, form: *form, depth: depth + 1 };
                    let value = match fields.get_mut(*name) {
                        Some(value) => value,
                        None => fields.entry(*name).or_insert(Value::Null),
                    };
                    self.put(value, payload, self.of.of(*of), field)?;
                }
            }
        }
        Ok(())
    }

    /// Adds what one occurrence of a field says to what others said.
    fn put(&self, value: &mut Value, payload: Payload<'_>, of: Type<'_>, field: Field) -> Result<()> {
        match of.shape() {
            Shape::List(List { item, .. }) => {
                let items = array(value);
                let of = of.of(*item);
                match (payload, of.shape()) {
                    (Payload::Bytes(packed), Shape::Scalar(scalar)) if leaf::is_packable(*scalar) => {
                        for payload in wire::packed(packed, *scalar == Scalar::Number) {
                            items.push(self.one(payload?, of, field.within())?);
                        }
                    }
                    _ => items.push(self.one(payload, of, field.within())?),
                }
            }
            Shape::Map(MapShape { value: of_value, .. }) => {
                let (key, entry) = self.entry(payload, of.of(*of_value), field.within())?;
                object(value).insert(key, entry);
            }
            Shape::Object(_) if field.form == Form::Typed => {
                self.merge(object(value), payload.bytes(field.name)?, of, field.depth)?;
            }
            _ => *value = self.one(payload, of, field)?,
        }
        Ok(())
    }

    /// An entry of a map is a message of a key and a value, either of which may be left out for its zero.
    fn entry(&self, payload: Payload<'_>, of: Type<'_>, field: Field) -> Result<(String, Value)> {
        let mut key = String::new();
        let mut value = None;
        for part in Fields::new(payload.bytes(field.name)?) {
            match part? {
                (1, payload) => key = payload.text(field.name)?,
                (2, payload) => value = Some(self.one(payload, of, field)?),
                _ => {}
            }
        }
        // `document::check` makes the zero of the type out of a null in a map.
        Ok((key, value.unwrap_or_default()))
    }

    fn one(&self, payload: Payload<'_>, of: Type<'_>, field: Field) -> Result<Value> {
        let name = field.name;
        match (field.form, of.shape()) {
            (Form::Typed, Shape::Scalar(scalar)) => leaf::scalar(*scalar, payload, name),
            (Form::Typed, Shape::Any) if self.numbers.message(of.id()).is_none() => {
                leaf::raw(payload.bytes(name)?, field.depth)
            }
            (Form::Typed, Shape::Any | Shape::Object(_)) => self.message(payload.bytes(name)?, of, field.depth),
            // Where protobuf cannot repeat what repeats, a message stands between.
            (Form::Typed, Shape::List(List { item, .. })) => {
                let mut items = Vec::new();
                for part in Fields::new(payload.bytes(name)?) {
                    if let (1, payload) = part? {
                        items.push(self.one(payload, of.of(*item), field.within())?);
                    }
                }
                Ok(Value::Array(items))
            }
            (Form::Typed, Shape::Map(_)) => Err(ProtobufError::NoMessage),
            (Form::OrBoolean | Form::OrList | Form::OrStrings, _) => self.alternative(payload, field),
        }
    }

    /// A schema, or what may stand in its place.
    fn alternative(&self, payload: Payload<'_>, field: Field) -> Result<Value> {
        let mut schema = None;
        let mut allows = false;
        let mut items = Vec::new();
        for part in Fields::new(payload.bytes(field.name)?) {
            match (field.form, part?) {
                (Form::OrBoolean, (1, payload)) => allows = payload.varint(field.name)? != 0,
                (Form::OrStrings, (2, payload)) => items.push(payload.text(field.name)?.into()),
                (Form::OrBoolean, (2, payload)) | (Form::OrList | Form::OrStrings, (1, payload)) => {
                    schema = Some(self.schema(payload, field)?);
                }
                (Form::OrList, (2, payload)) => items.push(self.schema(payload, field.within())?),
                _ => {}
            }
        }
        Ok(match (field.form, schema) {
            (_, _) if !items.is_empty() => Value::Array(items),
            (_, Some(schema)) => schema,
            (Form::OrBoolean, None) => allows.into(),
            (_, None) => Value::Null,
        })
    }

    fn schema(&self, payload: Payload<'_>, field: Field) -> Result<Value> {
        let schema = self.of.of(self.numbers.schema());
        self.message(payload.bytes(field.name)?, schema, field.depth)
    }
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    form: Form,
    /// Of the value.
    depth: usize,
}

impl Field {
    /// An item or an entry of the value.
    fn within(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

fn array(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().expect("it was made one")
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made one")
}
