//! How a layer's bytes are read: without their compression, and not more than is allowed at the moment.

use std::{
    cell::Cell,
    io::{self, BufReader, Cursor, Read},
    rc::Rc,
};

use flate2::read::MultiGzDecoder;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A frame of zstd that holds no content (RFC 8878, section 3.1.2), with which some archives begin.
const SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// The compression is known by the first bytes: media types are often missing and sometimes wrong.
pub fn decoded<'a>(mut archive: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::with_capacity(4);
    archive.by_ref().take(4).read_to_end(&mut start)?;
    let (is_gzip, is_zstd) = (is_gzip(&start), is_zstd(&start));
    let whole = Cursor::new(start).chain(archive);
    Ok(match (is_gzip, is_zstd) {
        (true, _) => Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, whole))),
        (_, true) => Box::new(zstd::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

/// By the first four bytes.
pub fn is_compressed(start: &[u8]) -> bool {
    is_gzip(start) || is_zstd(start)
}

fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(GZIP)
}

fn is_zstd(start: &[u8]) -> bool {
    start.starts_with(ZSTD) || start.get(1..4) == Some(SKIPPABLE) && (0x50..=0x5f).contains(&start[0])
}

/// How many bytes may be read until somebody says so again. The reader of archives keeps names and attributes in memory
/// however long they are.
#[derive(Clone, Default)]
pub struct Allowance(Rc<Cell<u64>>);

impl Allowance {
    pub fn set(&self, bytes: u64) {
        self.0.set(bytes);
    }

    pub fn reader<R: Read>(&self, inner: R) -> Allowed<R> {
        Allowed { inner, allowance: self.clone() }
    }
}

pub struct Allowed<R> {
    inner: R,
    allowance: Allowance,
}

impl<R> Allowed<R> {
    pub fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Allowed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.0.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other("an entry's headers are too long"));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..most])?;
        self.allowance.0.set(left.saturating_sub(count as u64));
        Ok(count)
    }
}
