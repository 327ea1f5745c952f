//! Reading: the segments as readers share them with the writer, and the records in them.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    Disk, File, FileId, JournalError, end,
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
    /// Of the file that marks the end. The writer makes it anew where it is gone.
    pub end: Mutex<FileId>,
    /// Whether a look at all of this found something missing; the writer looks again before it appends.
    pub damaged: AtomicBool,
}

impl Shared {
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, spans: Vec<Span>, end: FileId) -> Arc<Self> {
        Arc::new(Self { disk, dir, spans: Mutex::new(spans), end: Mutex::new(end), damaged: AtomicBool::new(false) })
    }

    /// Looks for every file of the journal, without opening any.
    pub fn check(&self) -> Result<(), JournalError> {
        let looked = self.look_for_segments().and_then(|()| self.look_for_end());
        looked.inspect_err(|_| self.damaged.store(true, Ordering::Release))
    }

    pub fn look_for_end(&self) -> Result<(), JournalError> {
        let id = *self.end.lock();
        check_in_place(&*self.disk, &self.dir.join(end::NAME), id, 0)
    }

    pub fn look_for_segments(&self) -> Result<(), JournalError> {
        let Self { disk, dir, spans, .. } = self;
        let known = spans.lock().clone();
        for Span { first, durable, id } in known {
            let in_place = check_in_place(&**disk, &segment_path(dir, first), id, durable);
            // One that has been dropped, or replaced by the writer, in the meantime is not looked for.
            if in_place.is_err() && spans.lock().iter().any(|span| span.id == id) {
                return in_place;
            }
        }
        Ok(())
    }
}

/// What is wrong with a segment that was cut while the journal was open.
pub(crate) const SHORTENED: &str = "the rest of it was cut off";

pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// Whether a file's name still leads to it, and at least `durable` bytes are there: it may have been removed, or its
/// directory replaced, after which writing to it goes well and helps nobody.
pub(crate) fn check_in_place(disk: &dyn Disk, path: &Path, id: FileId, durable: u64) -> Result<(), JournalError> {
    match disk.find(path) {
        Ok(found) if found.id == id && found.size < durable => {
            Err(JournalError::Corrupt { segment: path.to_owned(), offset: found.size, what: SHORTENED })
        }
        Ok(found) if found.id == id => Ok(()),
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

    /// Whether all segments, and the mark of the end, are where they were and as long as they were. Asks for their names,
    /// and reads none of them. Nothing is appended after this found a segment missing, until it is back; the mark is made anew.
    pub fn check(&self) -> Result<(), JournalError> {
        self.0.check()
    }

    /// Drops the segments all of whose records come before `sequence`. The one being written stays.
    pub fn drop_before(&self, sequence: u64) -> Result<(), JournalError> {
        let Shared { disk, dir, spans, .. } = &*self.0;
        let mut dropped = false;
        let take_oldest = || {
            let mut spans = spans.lock();
            let superfluous = matches!(&spans[..], [_, next, ..] if next.first <= sequence);
            superfluous.then(|| spans.remove(0))
        };
        while let Some(oldest) = take_oldest() {
            let path = segment_path(dir, oldest.first);
            match disk.remove(&path) {
                // Somebody else was quicker.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    spans.lock().insert(0, oldest);
                    return Err(error).context("remove", &path);
                }
                Ok(()) => dropped = true,
            }
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
        let payload = Bytes::from(payload);
        if !header.counts(&payload) {
            return Err(BatchError::Invalid("a batch is not made of its records"));
        }
        self.offset += size;
        Ok(Some((header, payload)))
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), BatchError> {
        self.file.read_exact_at(buffer, offset).context("read", &self.path).map_err(BatchError::Io)
    }
}
