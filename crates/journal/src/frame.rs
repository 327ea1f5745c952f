//! The bytes of a segment: a header, then batches, each with its own header. All integers are little-endian.
//!
//! ```text
//! segment  magic 8 · salt 8 · first sequence 8 · CRC-32 of these 4 · zero 4
//! batch    magic 4 · payload size 4 · records 4 · first sequence 8 · CRC-32 of the payload 4 · CRC-32 of salt and these 4
//! payload  for each record: size 4 · bytes
//! ```
//! After its batches the segment that is being written may have zeroes.
//!
//! The salt is the segment's own, so that no record's content can pass for a batch.

use bytes::{Buf, BufMut, Bytes};

/// The largest record.
pub const MAX_RECORD_BYTES: usize = 64 << 20;
/// The largest batch, headers of its records included.
pub const MAX_BATCH_BYTES: usize = 128 << 20;

pub(crate) const SEGMENT_HEADER: usize = 32;
pub(crate) const BATCH_HEADER: usize = 28;
pub(crate) const RECORD_HEADER: usize = 4;

const SEGMENT_MAGIC: &[u8; 8] = b"journal\x01";
pub(crate) const BATCH_MAGIC: &[u8; 4] = b"bat\xf1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub salt: u64,
    pub first: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        let mut out = &mut bytes[..];
        out.put_slice(SEGMENT_MAGIC);
        out.put_u64_le(self.salt);
        out.put_u64_le(self.first);
        let checksum = crc32fast::hash(&bytes[..24]);
        bytes[24..28].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; SEGMENT_HEADER]) -> Option<Self> {
        let mut input = bytes.strip_prefix(SEGMENT_MAGIC)?;
        let header = Self { salt: input.get_u64_le(), first: input.get_u64_le() };
        (header.encode() == *bytes).then_some(header)
    }

    /// Whether `bytes` may be what a crash left of a header: never written, or a part of it.
    pub fn may_be_torn(bytes: &[u8]) -> bool {
        let shown = bytes.len().min(SEGMENT_MAGIC.len());
        bytes.len() <= SEGMENT_HEADER
            && (bytes.iter().all(|byte| *byte == 0) || bytes[..shown] == SEGMENT_MAGIC[..shown])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub payload: u32,
    pub records: u32,
    pub first: u64,
    pub checksum: u32,
}

impl BatchHeader {
    pub fn of(first: u64, records: u32, payload: &[u8]) -> Self {
        Self { payload: payload.len() as u32, records, first, checksum: crc32fast::hash(payload) }
    }

    pub fn encode(&self, salt: u64) -> [u8; BATCH_HEADER] {
        let mut bytes = [0; BATCH_HEADER];
        let mut out = &mut bytes[..];
        out.put_slice(BATCH_MAGIC);
        out.put_u32_le(self.payload);
        out.put_u32_le(self.records);
        out.put_u64_le(self.first);
        out.put_u32_le(self.checksum);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&salt.to_le_bytes());
        hasher.update(&bytes[..BATCH_HEADER - 4]);
        bytes[BATCH_HEADER - 4..].copy_from_slice(&hasher.finalize().to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; BATCH_HEADER], salt: u64) -> Option<Self> {
        let mut input = bytes.strip_prefix(BATCH_MAGIC)?;
        let header = Self {
            payload: input.get_u32_le(),
            records: input.get_u32_le(),
            first: input.get_u64_le(),
            checksum: input.get_u32_le(),
        };
        (header.encode(salt) == *bytes && header.payload as usize <= MAX_BATCH_BYTES).then_some(header)
    }

    pub fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload as usize && crc32fast::hash(payload) == self.checksum
    }

    /// Whether a payload is as many records as are counted, and nothing else.
    pub fn counts(&self, payload: &Bytes) -> bool {
        let mut rest = payload.clone();
        (0..self.records).all(|_| split_record(&mut rest).is_some()) && rest.is_empty()
    }
}

/// Makes one batch of `out`, which is cleared first. The caller has checked the sizes.
pub(crate) fn encode_batch<R: AsRef<[u8]>>(out: &mut Vec<u8>, salt: u64, first: u64, records: &[R]) {
    out.clear();
    out.resize(BATCH_HEADER, 0);
    for record in records {
        let record = record.as_ref();
        out.put_u32_le(record.len() as u32);
        out.put_slice(record);
    }
    let header = BatchHeader::of(first, records.len() as u32, &out[BATCH_HEADER..]);
    out[..BATCH_HEADER].copy_from_slice(&header.encode(salt));
}

/// The next record of a payload; `None` where the payload contradicts its own sizes.
pub(crate) fn split_record(payload: &mut Bytes) -> Option<Bytes> {
    let size = payload.try_get_u32_le().ok()? as usize;
    (size <= payload.len()).then(|| payload.split_to(size))
}
