//! The writing end of a journal.

use std::{ops::Range, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use stdx::{Random, SystemRandom};

use crate::{
    Disk, File, JournalError, Segments, SystemDisk,
    error::Context,
    frame::{MAX_BATCH_BYTES, MAX_RECORD_BYTES, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader, encode_batch},
    read::{Shared, Span, segment_path},
    recovery::recover,
};

/// A buffer that grew past this for one large batch is given back after it.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug, Clone)]
pub struct Config {
    pub dir: PathBuf,
    /// A segment that has reached this size is followed by a new one.
    pub segment_bytes: u64,
    pub disk: Arc<dyn Disk>,
    pub random: Arc<dyn Random>,
}

impl Config {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 16 << 20,
            disk: Arc::new(SystemDisk),
            random: Arc::new(SystemRandom::default()),
        }
    }
}

#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    segment_bytes: u64,
    random: Arc<dyn Random>,
    active: Active,
    next: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Active {
    path: PathBuf,
    file: Box<dyn File>,
    salt: u64,
    /// Everything before this byte is durable.
    durable: u64,
    /// A write or a sync failed: what lies past `durable` is unknown, and the kernel may have
    /// forgotten that it is not on the disk. The segment takes no further batch.
    suspect: bool,
}

impl Journal {
    /// Opens the journal in `config.dir`, or starts one there. A torn tail is cut off.
    pub fn open(config: Config) -> Result<Self, JournalError> {
        let Config { dir, segment_bytes, disk, random } = config;
        disk.create_dir_all(&dir).context("create", &dir)?;
        let recovered = recover(&*disk, &dir)?;
        let (mut spans, next) = (recovered.spans, recovered.next);
        let active = match recovered.active {
            Some(batches) => Active {
                path: batches.path,
                file: batches.file,
                salt: batches.header.salt,
                durable: batches.offset,
                suspect: false,
            },
            None => {
                spans.push(Span { first: next, durable: SEGMENT_HEADER as u64 });
                Active::create(&*disk, &dir, next, random.next_u64())?
            }
        };
        let shared = Arc::new(Shared { disk, dir, spans: Mutex::new(spans) });
        Ok(Self { shared, segment_bytes, random, active, next, buffer: Vec::new() })
    }

    /// The sequence the next record will get.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    pub fn segments(&self) -> Segments {
        Segments(Arc::clone(&self.shared))
    }

    /// Whether records fit into one batch.
    pub fn check<R: AsRef<[u8]>>(&self, records: &[R]) -> Result<(), JournalError> {
        let mut batch = 0;
        for record in records {
            let size = record.as_ref().len();
            if size > MAX_RECORD_BYTES {
                return Err(JournalError::TooLarge { size, limit: MAX_RECORD_BYTES });
            }
            batch += RECORD_HEADER + size;
        }
        if batch > MAX_BATCH_BYTES {
            return Err(JournalError::TooLarge { size: batch, limit: MAX_BATCH_BYTES });
        }
        Ok(())
    }

    /// Appends records as one batch, durable when this returns. After a crash all of them are found, or,
    /// where this did not return, all or none. After an error none of them is in the journal and the next
    /// call tries again; only a crash right after the error may still bring the batch to light.
    pub fn append<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<Range<u64>, JournalError> {
        self.check(records)?;
        let sequences = self.next..self.next + records.len() as u64;
        if records.is_empty() {
            return Ok(sequences);
        }
        if self.active.suspect || self.active.durable >= self.segment_bytes {
            self.rotate()?;
        }
        encode_batch(&mut self.buffer, self.active.salt, self.next, records);
        let written = self.active.append(&self.buffer);
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        written?;
        if let Some(span) = self.shared.spans.lock().last_mut() {
            span.durable = self.active.durable;
        }
        self.next = sequences.end;
        Ok(sequences)
    }

    fn rotate(&mut self) -> Result<(), JournalError> {
        if self.active.suspect {
            // The failed batch must be gone before another one may take its sequence numbers.
            self.active.rewind()?;
        }
        let Shared { disk, dir, spans } = &*self.shared;
        self.active = Active::create(&**disk, dir, self.next, self.random.next_u64())?;
        let mut spans = spans.lock();
        if spans.last().is_some_and(|span| span.first == self.next) {
            // The segment given up held no batch: the new one has taken its name.
            spans.pop();
        }
        spans.push(Span { first: self.next, durable: SEGMENT_HEADER as u64 });
        Ok(())
    }
}

impl Active {
    fn create(disk: &dyn Disk, dir: &std::path::Path, first: u64, salt: u64) -> Result<Self, JournalError> {
        let path = segment_path(dir, first);
        let file = disk.create(&path).context("create", &path)?;
        file.write_all_at(&SegmentHeader { salt, first }.encode(), 0).context("write", &path)?;
        file.sync().context("sync", &path)?;
        disk.sync_dir(dir).context("sync", dir)?;
        Ok(Self { path, file, salt, durable: SEGMENT_HEADER as u64, suspect: false })
    }

    fn append(&mut self, batch: &[u8]) -> Result<(), JournalError> {
        let written = self.file.write_all_at(batch, self.durable).context("write", &self.path);
        match written.and_then(|()| self.file.sync().context("sync", &self.path)) {
            Ok(()) => {
                self.durable += batch.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.suspect = true;
                // Tried at once, so that a restart does not find the refused batch; required before the next append.
                let _ = self.rewind();
                Err(error)
            }
        }
    }

    fn rewind(&mut self) -> Result<(), JournalError> {
        self.file.truncate(self.durable).context("truncate", &self.path)?;
        self.file.sync().context("sync", &self.path)
    }
}
