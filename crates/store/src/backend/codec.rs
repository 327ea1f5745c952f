//! Integers, strings and entries as they are on disk: little-endian, sizes first.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::{Entry, history::Before, pack::Packed};

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}

pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_bytes(out, entry.key.as_bytes());
    out.put_u64_le(entry.created);
    out.put_u64_le(entry.modified);
    put_bytes(out, &entry.value);
}

pub(crate) fn put_before(out: &mut Vec<u8>, before: Option<&Before>) {
    let Some(before) = before else { return out.put_u8(0) };
    out.put_u8(if before.value.needs_successor { 2 } else { 1 });
    out.put_u64_le(before.created);
    out.put_u64_le(before.modified);
    out.put_u32_le(before.value.size);
    put_bytes(out, &before.value.bytes);
}

/// A part of `input`, without a copy.
pub(crate) fn take_bytes(input: &mut Bytes) -> Option<Bytes> {
    let size = input.try_get_u32_le().ok()? as usize;
    (size <= input.len()).then(|| input.split_to(size))
}

pub(crate) fn take_key(input: &mut Bytes) -> Option<Arc<str>> {
    let bytes = take_bytes(input)?;
    std::str::from_utf8(&bytes).ok().map(Arc::from)
}

/// The entry's value gets memory of its own: what it was read with can go.
pub(crate) fn take_entry(input: &mut Bytes) -> Option<Entry> {
    Some(Entry {
        key: take_key(input)?,
        created: input.try_get_u64_le().ok()?,
        modified: input.try_get_u64_le().ok()?,
        value: Bytes::copy_from_slice(&take_bytes(input)?),
    })
}

/// `None` inside where there is none.
pub(crate) fn take_before(input: &mut Bytes) -> Option<Option<Before>> {
    let needs_successor = match input.try_get_u8().ok()? {
        0 => return Some(None),
        1 => false,
        2 => true,
        _ => return None,
    };
    let (created, modified) = (input.try_get_u64_le().ok()?, input.try_get_u64_le().ok()?);
    let size = input.try_get_u32_le().ok()?;
    let bytes = take_bytes(input)?[..].into();
    Some(Some(Before { created, modified, value: Packed { bytes, size, needs_successor } }))
}
