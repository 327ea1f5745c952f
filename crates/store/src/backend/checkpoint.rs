//! A whole state in one file, so that opening does not read the journal from its beginning.
//!
//! ```text
//! file    magic 8 · blocks · an empty block
//! block   size 4 · CRC-32 of the content 4 · content
//! ```
//! The first block says what the checkpoint stands for; the others hold topics and their entries. The file gets
//! its name only when it is whole and durable.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Buf, BufMut, Bytes};
use journal::{Disk, File};

use crate::{
    OpenError, Revision, Snapshot,
    backend::codec::{put_bytes, put_entry, take_entry, take_key},
};

const MAGIC: &[u8; 8] = b"state\x00\x00\x01";
const BLOCK_BYTES: usize = 256 << 10;
const UNFINISHED: &str = "checkpoint.unfinished";
const TOPIC: u8 = 1;
const ENTRY: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stands {
    /// The last record of the journal that is part of the state.
    pub sequence: u64,
    pub revision: Revision,
    /// No revision above this had been used.
    pub ceiling: Revision,
}

#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub stands: Stands,
    pub state: Snapshot,
    pub size: u64,
}

fn path_of(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("checkpoint-{sequence:020}"))
}

fn sequences(disk: &dyn Disk, dir: &Path) -> std::io::Result<Vec<u64>> {
    let names = disk.list(dir)?;
    let mut found: Vec<u64> = names.iter().filter_map(|name| name.strip_prefix("checkpoint-")?.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

/// Writes a checkpoint and removes older ones. Returns its size.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, stands: Stands, state: &Snapshot) -> std::io::Result<u64> {
    let unfinished = dir.join(UNFINISHED);
    let written = write_file(&*disk.create(&unfinished)?, stands, state);
    if written.is_err() {
        // On a full disk an unfinished file would be in the way of what could still be written.
        let _ = disk.remove(&unfinished);
    }
    let size = written?;
    disk.rename(&unfinished, &path_of(dir, stands.sequence))?;
    disk.sync_dir(dir)?;
    for older in sequences(disk, dir)?.into_iter().filter(|sequence| *sequence < stands.sequence) {
        disk.remove(&path_of(dir, older))?;
    }
    Ok(size)
}

fn write_file(file: &dyn File, stands: Stands, state: &Snapshot) -> std::io::Result<u64> {
    let mut offset = MAGIC.len() as u64;
    file.write_all_at(MAGIC, 0)?;
    let mut block = Vec::new();
    let mut flush = |block: &mut Vec<u8>| -> std::io::Result<()> {
        let mut header = (block.len() as u32).to_le_bytes().to_vec();
        header.put_u32_le(crc32fast::hash(block));
        file.write_all_at(&header, offset)?;
        file.write_all_at(block, offset + header.len() as u64)?;
        offset += (header.len() + block.len()) as u64;
        block.clear();
        Ok(())
    };
    [stands.sequence, stands.revision, stands.ceiling].into_iter().for_each(|number| block.put_u64_le(number));
    flush(&mut block)?;
    for (name, topic) in &state.topics {
        block.put_u8(TOPIC);
        put_bytes(&mut block, name.as_bytes());
        block.put_u64_le(topic.revision);
        for entry in topic.entries.values() {
            block.put_u8(ENTRY);
            put_entry(&mut block, entry);
            if block.len() >= BLOCK_BYTES {
                flush(&mut block)?;
            }
        }
    }
    if !block.is_empty() {
        flush(&mut block)?;
    }
    flush(&mut block)?;
    file.sync()?;
    Ok(offset)
}

/// The latest checkpoint; `None` where none was ever finished.
pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Checkpoint>, OpenError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |cause| OpenError::Io { action, path, cause }
    };
    let _ = disk.remove(&dir.join(UNFINISHED));
    let Some(sequence) = sequences(disk, dir).map_err(io("list", dir))?.pop() else { return Ok(None) };
    let path = path_of(dir, sequence);
    let file = disk.open(&path).map_err(io("open", &path))?;
    let size = file.size().map_err(io("read", &path))?;
    let mut blocks = Blocks { file, size, offset: 0, path };
    let checkpoint = blocks.checkpoint()?;
    if checkpoint.stands.sequence == sequence { Ok(Some(checkpoint)) } else { Err(blocks.damaged("it is misnamed")) }
}

struct Blocks {
    file: Box<dyn File>,
    size: u64,
    offset: u64,
    path: PathBuf,
}

impl Blocks {
    fn checkpoint(&mut self) -> Result<Checkpoint, OpenError> {
        if self.read(MAGIC.len())?[..] != MAGIC[..] {
            return Err(self.damaged("it is not a checkpoint"));
        }
        let mut first = self.next()?;
        let mut number = || first.try_get_u64_le().map_err(|_| ());
        let (Ok(sequence), Ok(revision), Ok(ceiling)) = (number(), number(), number()) else {
            return Err(self.damaged("its first block is too short"));
        };
        let mut state = Snapshot { revision, ..Snapshot::default() };
        loop {
            let block = self.next()?;
            if block.is_empty() {
                let stands = Stands { sequence, revision, ceiling };
                return Ok(Checkpoint { stands, state, size: self.size });
            }
            read_block(block, &mut state).ok_or_else(|| self.damaged("a block is not what its checksum says"))?;
        }
    }

    fn next(&mut self) -> Result<Bytes, OpenError> {
        let mut header = self.read(8)?;
        let (size, checksum) = (header.get_u32_le(), header.get_u32_le());
        let block = self.read(size as usize)?;
        if crc32fast::hash(&block) != checksum {
            return Err(self.damaged("a checksum does not match"));
        }
        Ok(block)
    }

    fn read(&mut self, size: usize) -> Result<Bytes, OpenError> {
        if size as u64 > self.size - self.offset {
            return Err(self.damaged("it is cut off"));
        }
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, self.offset).map_err(|cause| OpenError::Io {
            action: "read",
            path: self.path.clone(),
            cause,
        })?;
        self.offset += size as u64;
        Ok(bytes.into())
    }

    fn damaged(&self, what: &'static str) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), what }
    }
}

fn read_block(mut block: Bytes, state: &mut Snapshot) -> Option<()> {
    while let Ok(tag) = block.try_get_u8() {
        match tag {
            TOPIC => {
                let name = take_key(&mut block)?;
                state.topic_mut(&name).revision = block.try_get_u64_le().ok()?;
            }
            ENTRY => state.put(Arc::new(take_entry(&mut block)?)),
            _ => return None,
        }
    }
    Some(())
}
