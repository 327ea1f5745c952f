//! Protobuf's wire format: numbered fields, one after the other. What they mean is not known here.

use super::{ProtobufError, Result};

/// What a field carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
    /// An ancient way to nest, never used here; its content is skipped.
    Group,
}

/// The fields of a message. Ends after the first error.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;

impl<'a> Payload<'a> {
    pub fn varint(self, field: &'static str) -> Result<u64> {
        match self {
            Payload::Varint(value) => Ok(value),
            other => Err(other.wrong(field)),
        }
    }

    pub fn fixed64(self, field: &'static str) -> Result<u64> {
        match self {
            Payload::Fixed64(value) => Ok(value),
            other => Err(other.wrong(field)),
        }
    }

    pub fn bytes(self, field: &'static str) -> Result<&'a [u8]> {
        match self {
            Payload::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong(field)),
        }
    }

    /// Like Go, replaces what is not UTF-8 when it becomes JSON.
    pub fn text(self, field: &'static str) -> Result<String> {
        self.bytes(field).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn wrong(self, field: &'static str) -> ProtobufError {
        let wire_type = match self {
            Payload::Varint(_) => 0,
            Payload::Fixed64(_) => 1,
            Payload::Bytes(_) => 2,
            Payload::Group => START_GROUP,
            Payload::Fixed32 => 5,
        };
        ProtobufError::WrongWireType { wire_type, field }
    }
}

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn field(&mut self) -> Result<(u32, Payload<'a>)> {
        let (number, wire_type) = self.tag()?;
        let payload = match wire_type {
            START_GROUP => self.skip_group()?,
            END_GROUP => return Err(ProtobufError::EndOfGroup),
            wire_type => self.payload(wire_type)?,
        };
        Ok((number, payload))
    }

    fn tag(&mut self) -> Result<(u32, u8)> {
        let tag = varint(&mut self.rest)?;
        let wire_type = (tag & 7) as u8;
        let number = (tag >> 3) as i32;
        match u32::try_from(number) {
            Ok(number) if number > 0 => Ok((number, wire_type)),
            _ => Err(ProtobufError::IllegalTag { number, wire_type }),
        }
    }

    fn payload(&mut self, wire_type: u8) -> Result<Payload<'a>> {
        Ok(match wire_type {
            0 => Payload::Varint(varint(&mut self.rest)?),
            1 => Payload::Fixed64(fixed64(&mut self.rest)?),
            2 => {
                let length = varint(&mut self.rest)?.cast_signed();
                let length = usize::try_from(length).map_err(|_| ProtobufError::NegativeLength)?;
                Payload::Bytes(take(&mut self.rest, length)?)
            }
            5 => take(&mut self.rest, 4).map(|_| Payload::Fixed32)?,
            other => return Err(ProtobufError::IllegalWireType(other)),
        })
    }

    fn skip_group(&mut self) -> Result<Payload<'a>> {
        let mut open = 1_usize;
        while open > 0 {
            match self.tag()? {
                (_, START_GROUP) => open += 1,
                (_, END_GROUP) => open -= 1,
                (_, wire_type) => self.payload(wire_type).map(|_| ())?,
            }
        }
        Ok(Payload::Group)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Payload<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Numbers one after the other, without tags between them.
pub fn packed(bytes: &[u8], fixed: bool) -> impl Iterator<Item = Result<Payload<'_>>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let payload =
            if fixed { fixed64(&mut rest).map(Payload::Fixed64) } else { varint(&mut rest).map(Payload::Varint) };
        if payload.is_err() {
            rest = &[];
        }
        Some(payload)
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length).ok_or(ProtobufError::UnexpectedEnd)?;
    *rest = after;
    Ok(taken)
}

fn fixed64(rest: &mut &[u8]) -> Result<u64> {
    let (bytes, after) = rest.split_first_chunk().ok_or(ProtobufError::UnexpectedEnd)?;
    *rest = after;
    Ok(u64::from_le_bytes(*bytes))
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(ProtobufError::UnexpectedEnd)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ProtobufError::Overflow)
}
