//! How far the journal was known to be durable: a small file beside the segments.
//!
//! It is written after the sync of each batch, but not synced with it, so it costs a write to the page cache. After a
//! kill it is exact; after a power failure as old as the kernel's last write-back; after [`crate::Journal::mark_end`]
//! exact and durable. What it names was on the disk, so a journal that ends before it has lost something. A later
//! end proves nothing: the mark may be old.
//!
//! ```text
//! file  slot · zeroes up to 512 · slot
//! slot  magic 8 · first sequence of the segment 8 · offset in it 8 · next sequence 8 · CRC-32 of these 4
//! ```
//! The slots are written in turn, each in a sector of its own: where one is torn the other still stands.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::{Buf, BufMut};

use crate::{Disk, File, FileId, JournalError, error::Context};

pub(crate) const NAME: &str = "end";

const MAGIC: &[u8; 8] = b"jrn-end\x01";
const SLOT: usize = 36;
const SLOTS: [u64; 2] = [0, 512];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The segment being written, by its first sequence.
    pub segment: u64,
    /// Where its durable batches end.
    pub offset: u64,
    /// The sequence after the last durable record.
    pub next: u64,
}

impl End {
    fn encode(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        let mut out = &mut bytes[..];
        out.put_slice(MAGIC);
        out.put_u64_le(self.segment);
        out.put_u64_le(self.offset);
        out.put_u64_le(self.next);
        let checksum = crc32fast::hash(&bytes[..SLOT - 4]);
        bytes[SLOT - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; SLOT]) -> Option<Self> {
        let mut input = bytes.strip_prefix(MAGIC)?;
        let end = Self { segment: input.get_u64_le(), offset: input.get_u64_le(), next: input.get_u64_le() };
        (end.encode() == *bytes).then_some(end)
    }
}

/// The end that is marked; `None` where there is no file, or none of its slots is whole.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<End>, JournalError> {
    let path = dir.join(NAME);
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("open", &path),
    };
    let mut latest: Option<End> = None;
    for offset in SLOTS {
        let mut bytes = [0; SLOT];
        match file.read_exact_at(&mut bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            read => read.context("read", &path)?,
        }
        let later = |end: &End| latest.is_none_or(|latest| latest.next <= end.next);
        latest = End::decode(&bytes).filter(later).or(latest);
    }
    Ok(latest)
}

#[derive(Debug)]
pub(crate) struct EndFile {
    path: PathBuf,
    file: Box<dyn File>,
    /// Which slot is written next.
    turn: usize,
}

impl EndFile {
    /// Starts the file anew with `end`.
    pub fn create(disk: &dyn Disk, dir: &Path, end: End) -> Result<Self, JournalError> {
        let path = dir.join(NAME);
        let file = disk.create(&path).context("create", &path)?;
        let mut created = Self { path, file, turn: 0 };
        for _ in SLOTS {
            created.write(end)?;
        }
        created.sync()?;
        disk.sync_dir(dir).context("sync", dir)?;
        Ok(created)
    }

    /// Both slots are as they were found; the one with the older end is written first.
    pub fn open(disk: &dyn Disk, dir: &Path, end: End) -> Result<Self, JournalError> {
        let path = dir.join(NAME);
        let file = disk.open(&path).context("open", &path)?;
        let mut first = [0; SLOT];
        file.read_exact_at(&mut first, SLOTS[0]).context("read", &path)?;
        let turn = usize::from(End::decode(&first) == Some(end));
        Ok(Self { path, file, turn })
    }

    pub fn id(&self) -> Result<FileId, JournalError> {
        self.file.id().context("find", &self.path)
    }

    pub fn write(&mut self, end: End) -> Result<(), JournalError> {
        let offset = SLOTS[self.turn];
        self.turn = (self.turn + 1) % SLOTS.len();
        self.file.write_all_at(&end.encode(), offset).context("write", &self.path)
    }

    pub fn sync(&self) -> Result<(), JournalError> {
        self.file.sync().context("sync", &self.path)
    }
}
