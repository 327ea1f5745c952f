//! Reading: the segments as readers share them with the writer, and the records in them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    Disk, File, FileId, JournalError,
    error::Context,
    frame::{BATCH_HEADER, BatchHeader, SEGMENT_HEADER, SegmentHeader, split_record},
};

/// One segment file: its records start at sequence `first`, and its first `durable` bytes are safe.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub first: u64,
    pub durable: u64,
    pub id: FileId,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    /// Oldest first; never empty; the last one is being written.
    pub spans: Mutex<Vec<Span>>,
}

pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// Whether a segment's name still leads to the file that is open: it may have been removed, or its directory replaced,
/// after which writing to it goes well and helps nobody.
pub(crate) fn check_in_place(disk: &dyn Disk, path: &Path, id: FileId) -> Result<(), JournalError> {
    match disk.identify(path) {
        Ok(found) if found == id => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("find", path),
        _ => Err(JournalError::Gone(path.to_owned())),
    }
}

/// The segments of a journal, for those who read and drop them while another thread appends.
#[derive(Debug, Clone)]
pub struct Segments(pub(crate) Arc<Shared>);

impl Segments {
    /// The sequence the oldest kept segment starts at.
    pub fn first(&self) -> u64 {
        self.0.spans.lock()[0].first
    }

    /// The first sequence and the size in bytes of each segment, oldest first.
    pub fn sizes(&self) -> Vec<(u64, u64)> {
        self.0.spans.lock().iter().map(|span| (span.first, span.durable)).collect()
    }

    /// Whether the segment being written is where it was opened. Reads its directory, not the segment.
    pub fn check(&self) -> Result<(), JournalError> {
        let Shared { disk, dir, spans } = &*self.0;
        let active = spans.lock().last().map(|span| (segment_path(dir, span.first), span.id));
        active.map_or(Ok(()), |(path, id)| check_in_place(&**disk, &path, id))
    }

    /// Drops the segments all of whose records come before `sequence`. The one being written stays.
    pub fn drop_before(&self, sequence: u64) -> Result<(), JournalError> {
        let Shared { disk, dir, spans } = &*self.0;
        let mut dropped = false;
        loop {
            let first = match &spans.lock()[..] {
                [oldest, next, ..] if next.first <= sequence => oldest.first,
                _ => break,
            };
            let path = segment_path(dir, first);
            disk.remove(&path).context("remove", &path)?;
            spans.lock().remove(0);
            dropped = true;
        }
        if dropped { disk.sync_dir(dir).context("sync", dir) } else { Ok(()) }
    }

    /// The durable records from `sequence` on, up to those durable now.
    pub fn read(&self, sequence: u64) -> Result<Records, JournalError> {
        let spans = self.0.spans.lock().clone();
        match spans.iter().rposition(|span| span.first <= sequence) {
            None => Err(JournalError::Missing { sequence, next: spans[0].first }),
            Some(index) => Ok(Records {
                shared: Arc::clone(&self.0),
                from: sequence,
                next: spans[index].first,
                spans: spans.into_iter().skip(index).collect(),
                batches: None,
                payload: Bytes::new(),
                left: 0,
            }),
        }
    }
}

/// An iterator over records and their sequence numbers.
#[derive(Debug)]
pub struct Records {
    shared: Arc<Shared>,
    /// The first sequence asked for.
    from: u64,
    /// The sequence of the next record on disk.
    next: u64,
    spans: std::collections::VecDeque<Span>,
    batches: Option<Batches>,
    payload: Bytes,
    left: u32,
}

impl Records {
    fn advance(&mut self) -> Result<Option<(u64, Bytes)>, JournalError> {
        loop {
            if self.left == 0 {
                if !self.load_batch()? {
                    return Ok(None);
                }
                continue;
            }
            let record = split_record(&mut self.payload).ok_or_else(|| self.damage("a record is cut off"))?;
            let sequence = self.next;
            self.next += 1;
            self.left -= 1;
            if sequence >= self.from {
                return Ok(Some((sequence, record)));
            }
        }
    }

    fn load_batch(&mut self) -> Result<bool, JournalError> {
        loop {
            if self.batches.is_none() {
                let Some(span) = self.spans.pop_front() else { return Ok(false) };
                if span.first != self.next {
                    return Err(JournalError::Missing { sequence: self.next, next: span.first });
                }
                self.batches = Some(Batches::open(&*self.shared.disk, &self.shared.dir, &span)?);
            }
            let Some(batches) = &mut self.batches else { continue };
            match batches.next_batch(self.next) {
                Ok(Some((header, payload))) => {
                    (self.left, self.payload) = (header.records, payload);
                    return Ok(true);
                }
                Ok(None) => self.batches = None,
                Err(BatchError::Invalid(what)) => return Err(self.damage(what)),
                Err(BatchError::Io(error)) => return Err(error),
            }
        }
    }

    fn damage(&self, what: &'static str) -> JournalError {
        let (segment, offset) =
            self.batches.as_ref().map_or_else(Default::default, |batches| (batches.path.clone(), batches.offset));
        JournalError::Corrupt { segment, offset, what }
    }
}

impl Iterator for Records {
    type Item = Result<(u64, Bytes), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.advance();
        if result.is_err() {
            // Nothing after damage can be trusted to be next.
            self.spans.clear();
            (self.batches, self.left) = (None, 0);
        }
        result.transpose()
    }
}

#[derive(Debug)]
pub(crate) enum BatchError {
    /// No whole batch starts here.
    Invalid(&'static str),
    Io(JournalError),
}

/// The batches of one segment, in order.
#[derive(Debug)]
pub(crate) struct Batches {
    pub path: PathBuf,
    pub file: Box<dyn File>,
    pub header: SegmentHeader,
    /// Where the next batch starts.
    pub offset: u64,
    pub end: u64,
}

impl Batches {
    pub fn open(disk: &dyn Disk, dir: &Path, span: &Span) -> Result<Self, JournalError> {
        let path = segment_path(dir, span.first);
        let file = disk.open(&path).context("open", &path)?;
        let mut header = [0; SEGMENT_HEADER];
        let header = match span.durable >= SEGMENT_HEADER as u64 {
            true => {
                file.read_exact_at(&mut header, 0).context("read", &path)?;
                SegmentHeader::decode(&header).filter(|header| header.first == span.first)
            }
            false => None,
        };
        match header {
            Some(header) => Ok(Self { path, file, header, offset: SEGMENT_HEADER as u64, end: span.durable }),
            None => Err(JournalError::Corrupt { segment: path, offset: 0, what: "the segment's header is invalid" }),
        }
    }

    /// The batch at `offset`, which is to start with sequence `expected`; `None` at the end.
    pub fn next_batch(&mut self, expected: u64) -> Result<Option<(BatchHeader, Bytes)>, BatchError> {
        let left = self.end - self.offset;
        if left == 0 {
            return Ok(None);
        }
        if left < BATCH_HEADER as u64 {
            return Err(BatchError::Invalid("a batch's header is cut off"));
        }
        let mut header = [0; BATCH_HEADER];
        self.fill(&mut header, self.offset)?;
        let header =
            BatchHeader::decode(&header, self.header.salt).ok_or(BatchError::Invalid("a batch's header is invalid"))?;
        if header.first != expected || header.records == 0 {
            return Err(BatchError::Invalid("a batch is out of sequence"));
        }
        let size = BATCH_HEADER as u64 + u64::from(header.payload);
        if left < size {
            return Err(BatchError::Invalid("a batch is cut off"));
        }
        let mut payload = vec![0; header.payload as usize];
        self.fill(&mut payload, self.offset + BATCH_HEADER as u64)?;
        if !header.matches(&payload) {
            return Err(BatchError::Invalid("a batch's checksum does not match"));
        }
        self.offset += size;
        Ok(Some((header, payload.into())))
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), BatchError> {
        self.file.read_exact_at(buffer, offset).context("read", &self.path).map_err(BatchError::Io)
    }
}
