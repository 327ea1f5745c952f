//! The writing end of a journal.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use stdx::{Random, SystemRandom};

use crate::{
    Disk, Dropped, File, FileId, JournalError, Segments, SystemDisk,
    end::{End, EndFile},
    error::Context,
    frame::{MAX_BATCH_BYTES, MAX_RECORD_BYTES, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader, encode_batch},
    read::{SHORTENED, Shared, Span, check_in_place, segment_path},
    recovery::{Recovered, is_unused, recover},
};

/// A buffer that grew past this for one large batch is given back after it.
const KEPT_BUFFER_BYTES: usize = 1 << 20;
/// Room is made for as many bytes as a segment has already, within these bounds.
const ROOM_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=256 << 10;
static ZEROES: [u8; 16 << 10] = [0; 16 << 10];

#[derive(Debug, Clone)]
pub struct Config {
    pub dir: PathBuf,
    /// A segment that has reached this size is followed by a new one.
    pub segment_bytes: u64,
    /// Whether to go on with what is left where records are lost, instead of refusing to open.
    pub accept_loss: bool,
    pub disk: Arc<dyn Disk>,
    pub random: Arc<dyn Random>,
}

impl Config {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 16 << 20,
            accept_loss: false,
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
    end: EndFile,
    next: u64,
    dropped: Option<Dropped>,
    was_marked: bool,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Active {
    path: PathBuf,
    file: Box<dyn File>,
    id: FileId,
    salt: u64,
    /// Everything before this byte is durable.
    durable: u64,
    /// Between `durable` and this byte the file has zeroes: room that was made for the next batches.
    room: u64,
    /// A write or a sync failed: what lies past `durable` is unknown, and the kernel may have
    /// forgotten that it is not on the disk. The segment takes no further batch.
    suspect: bool,
}

impl Journal {
    /// Starts a journal in a directory where there is none.
    pub fn create(config: Config) -> Result<Self, JournalError> {
        let Config { dir, segment_bytes, disk, random, .. } = config;
        disk.create_dir_all(&dir).context("create", &dir)?;
        if !is_unused(&*disk, &dir)? {
            return Err(JournalError::Exists(dir));
        }
        let next = 1;
        // Before the first segment, so that no record is ever in a journal without it.
        let end = EndFile::create(&*disk, &dir, End { segment: next, offset: SEGMENT_HEADER as u64, next })?;
        let active = Active::create(&*disk, &dir, next, random.next_u64())?;
        let shared = Shared::new(disk, dir, vec![active.span(next)], end.id()?);
        let (dropped, was_marked, buffer) = (None, true, Vec::new());
        Ok(Self { shared, segment_bytes, random, active, end, next, dropped, was_marked, buffer })
    }

    /// Opens the journal in `config.dir`. A torn tail is cut off; where anything is missing that had been durable,
    /// the error says what, and nothing is changed.
    pub fn open(config: Config) -> Result<Self, JournalError> {
        let Config { dir, segment_bytes, accept_loss, disk, random } = config;
        let Recovered { mut spans, next, active, marked, dropped } = recover(&*disk, &dir, accept_loss)?;
        let active = match active {
            Some(batches) => Active {
                id: batches.file.id().context("open", &batches.path)?,
                path: batches.path,
                file: batches.file,
                salt: batches.header.salt,
                durable: batches.offset,
                room: batches.offset,
                suspect: false,
            },
            None => {
                let active = Active::create(&*disk, &dir, next, random.next_u64())?;
                spans.push(active.span(next));
                active
            }
        };
        let end = match marked {
            Some(marked) if marked.next <= next => EndFile::open(&*disk, &dir, marked)?,
            // The loss of what it names was accepted.
            _ => {
                let segment = spans.last().map_or(next, |span| span.first);
                EndFile::create(&*disk, &dir, End { segment, offset: active.durable, next })?
            }
        };
        let shared = Shared::new(disk, dir, spans, end.id()?);
        let (was_marked, buffer) = (marked.is_some(), Vec::new());
        Ok(Self { shared, segment_bytes, random, active, end, next, dropped, was_marked, buffer })
    }

    /// What opening cut off, if anything.
    pub fn dropped(&self) -> Option<&Dropped> {
        self.dropped.as_ref()
    }

    /// Whether it was known how far the journal had been durable; `false` only where a loss was accepted.
    pub fn was_marked(&self) -> bool {
        self.was_marked
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
        if self.shared.damaged.load(Ordering::Acquire) {
            self.shared.look_for_segments()?;
            self.write_end()?;
            // What was missing is back, under a name that may not be durable.
            self.shared.disk.sync_dir(&self.shared.dir).context("sync", &self.shared.dir)?;
            self.shared.damaged.store(false, Ordering::Release);
        }
        if self.active.suspect || self.active.durable >= self.segment_bytes {
            self.rotate()?;
        }
        encode_batch(&mut self.buffer, self.active.salt, self.next, records);
        let written = self.active.append(&*self.shared.disk, &self.buffer, self.segment_bytes);
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        written?;
        if let Some(span) = self.shared.spans.lock().last_mut() {
            span.durable = self.active.durable;
        }
        self.next = sequences.end;
        self.mark();
        Ok(sequences)
    }

    /// Makes durable where the journal ends, so that the next opening knows exactly what has to be there, and gives back
    /// the room that was made for more.
    pub fn mark_end(&mut self) -> Result<(), JournalError> {
        self.write_end()?;
        self.end.sync()?;
        let Active { path, file, durable, .. } = &self.active;
        if file.size().context("find", path)? > *durable { self.active.rewind() } else { Ok(()) }
    }

    /// The records are durable without it, so a failure takes nothing but evidence; the next batch tries again.
    fn mark(&mut self) {
        let _ = self.write_end();
    }

    /// A mark that was removed while the journal is open is made anew: all that it proves is still known here.
    fn write_end(&mut self) -> Result<(), JournalError> {
        let end = self.reached();
        if !matches!(self.shared.look_for_end(), Err(JournalError::Gone(_))) {
            return self.end.write(end);
        }
        self.end = EndFile::create(&*self.shared.disk, &self.shared.dir, end)?;
        *self.shared.end.lock() = self.end.id()?;
        Ok(())
    }

    fn reached(&self) -> End {
        let segment = self.shared.spans.lock().last().map_or(self.next, |span| span.first);
        End { segment, offset: self.active.durable, next: self.next }
    }

    fn rotate(&mut self) -> Result<(), JournalError> {
        if self.active.suspect {
            // The failed batch must be gone before another one may take its sequence numbers.
            self.active.rewind()?;
        }
        let Shared { disk, dir, spans, .. } = &*self.shared;
        // A new segment in a directory that has lost the old ones would be the beginning of nothing.
        self.shared.look_for_segments()?;
        self.active = Active::create(&**disk, dir, self.next, self.random.next_u64())?;
        let mut spans = spans.lock();
        if spans.last().is_some_and(|span| span.first == self.next) {
            // The segment given up held no batch: the new one has taken its name.
            spans.pop();
        }
        spans.push(self.active.span(self.next));
        Ok(())
    }
}

impl Active {
    fn create(disk: &dyn Disk, dir: &std::path::Path, first: u64, salt: u64) -> Result<Self, JournalError> {
        let path = segment_path(dir, first);
        let file = disk.create(&path).context("create", &path)?;
        let id = file.id().context("create", &path)?;
        file.write_all_at(&SegmentHeader { salt, first }.encode(), 0).context("write", &path)?;
        file.sync().context("sync", &path)?;
        disk.sync_dir(dir).context("sync", dir)?;
        let durable = SEGMENT_HEADER as u64;
        Ok(Self { path, file, id, salt, durable, room: durable, suspect: false })
    }

    fn span(&self, first: u64) -> Span {
        Span { first, durable: self.durable, id: self.id }
    }

    fn append(&mut self, disk: &dyn Disk, batch: &[u8], segment_bytes: u64) -> Result<(), JournalError> {
        // Writing past the end of what was cut would fill the gap with zeroes, and hide it.
        let size = self.file.size().context("find", &self.path)?;
        if size < self.durable {
            return Err(JournalError::Corrupt { segment: self.path.clone(), offset: size, what: SHORTENED });
        }
        let written = self.file.write_all_at(batch, self.durable).context("write", &self.path);
        let end = self.durable + batch.len() as u64;
        if written.is_ok() && end > self.room {
            self.make_room(end, segment_bytes);
        }
        let synced = written.and_then(|()| self.file.sync().context("sync", &self.path));
        match synced.and_then(|()| check_in_place(disk, &self.path, self.id, self.durable)) {
            Ok(()) => {
                self.durable = end;
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

    /// Writes zeroes after `end`, up to the size at which the segment is left for a new one. The sync of a batch that is written
    /// over them has no new size and no new blocks to make durable: of small ones a third less processor time, and half
    /// the time. A failure costs no more than that.
    fn make_room(&mut self, end: u64, segment_bytes: u64) {
        let until = (end + end.clamp(*ROOM_BYTES.start(), *ROOM_BYTES.end())).min(segment_bytes);
        self.room = end;
        while self.room < until {
            let piece = ZEROES.len().min((until - self.room) as usize);
            if self.file.write_all_at(&ZEROES[..piece], self.room).is_err() {
                break;
            }
            self.room += piece as u64;
        }
    }

    /// Ends the file, durably, where what is durable ends.
    fn rewind(&mut self) -> Result<(), JournalError> {
        self.file.truncate(self.durable).context("truncate", &self.path)?;
        self.room = self.durable;
        self.file.sync().context("sync", &self.path)
    }
}
