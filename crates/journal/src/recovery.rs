//! Opening what a crash may have left: which bytes of the last segment were durable.
//!
//! A batch is written only after the one before it is durable, and a segment only after the one before
//! it is. So an invalid batch that nothing of ours follows, and that the end file does not reach past, was being
//! written when the machine stopped, and is cut off; any other was durable once, and is damage. Nothing is changed
//! before all of that has been looked at. Zeroes at the end of the last segment are room that was made for more.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    Disk, JournalError,
    end::{self, End},
    error::Context,
    frame::{BATCH_HEADER, BATCH_MAGIC, BatchHeader, SEGMENT_HEADER, SegmentHeader},
    read::{BatchError, Batches, Span, segment_path},
};

/// What there is: the segments, and the sequence of the next record.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub spans: Vec<Span>,
    pub next: u64,
    /// The last segment, cut to its durable batches; `None` where that one was not finished.
    pub active: Option<Batches>,
    pub marked: Option<End>,
    pub dropped: Option<Dropped>,
}

/// Bytes at the end of the journal that are not records of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub segment: PathBuf,
    pub offset: u64,
    pub bytes: u64,
    /// Records that had been durable; 0 unless their loss was accepted.
    pub lost: u64,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, offset, bytes, lost } = self;
        write!(f, "{bytes} bytes of {} from byte {offset} on were dropped", segment.display())?;
        if *lost > 0 {
            write!(f, ", and with them {lost} records that had been durable")
        } else {
            f.write_str(": they are no whole batch, and nothing shows that they were one")
        }
    }
}

/// Whether `dir` holds nothing, or what a crash left of starting a journal there: no record can be in it.
pub fn is_unused(disk: &dyn Disk, dir: &Path) -> Result<bool, JournalError> {
    match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        found => found.context("list", dir)?,
    };
    let untouched = |span: &Span| span.first == 1 && span.durable <= SEGMENT_HEADER as u64;
    Ok(list(disk, dir)?.iter().all(untouched) && end::read(disk, dir)?.is_none_or(|end| end.next == 1))
}

/// Where a journal's batches stop.
struct Tail {
    batches: Batches,
    /// Where the last whole batch starts, or the header where there is none.
    last_start: u64,
    next: u64,
    /// Where the room begins that was made for more: nothing but zeroes follow.
    room: u64,
    /// Why what follows is no batch; `None` where nothing follows but room.
    torn: Option<&'static str>,
}

pub(crate) fn recover(disk: &dyn Disk, dir: &Path, accept_loss: bool) -> Result<Recovered, JournalError> {
    let marked = end::read(disk, dir)?;
    let mut spans = list(disk, dir)?;
    if marked.is_none() && !spans.is_empty() && !accept_loss {
        return Err(JournalError::Unmarked(dir.join(end::NAME)));
    }
    let unfinished = take_unfinished(disk, dir, &mut spans, accept_loss)?;
    let tail = spans.last().map(|last| Tail::find(disk, dir, last)).transpose()?;
    let stop = Stop::find(dir, tail.as_ref(), unfinished.as_ref(), marked)?;
    let known = tail.as_ref().map_or(Ok(0), Tail::known_durable)?.max(marked.map_or(0, |end| end.next));
    let lost = known.saturating_sub(stop.next);
    if !accept_loss {
        stop.check(dir, lost, tail.as_ref(), unfinished.as_ref())?;
    }
    let mut bytes = 0;
    if let Some(unfinished) = &unfinished {
        let path = segment_path(dir, unfinished.first);
        if accept_loss {
            // Whatever it is, it may be all there is to learn from later.
            disk.rename(&path, &path.with_extension("lost")).context("set aside", &path)?;
        } else {
            disk.remove(&path).context("remove", &path)?;
        }
        bytes += unfinished.durable;
    }
    let mut cut = 0;
    if let (Some(tail), Some(last)) = (&tail, spans.last_mut()) {
        cut = tail.cut()?;
        last.durable = tail.batches.offset;
    }
    bytes += cut;
    disk.sync_dir(dir).context("sync", dir)?;
    let next = stop.next;
    let (segment, offset) = match &unfinished {
        Some(unfinished) if cut == 0 && lost == 0 => (segment_path(dir, unfinished.first), 0),
        _ => (stop.segment, stop.offset),
    };
    let dropped = (bytes > 0 || lost > 0).then_some(Dropped { segment, offset, bytes, lost });
    Ok(Recovered { spans, next, active: tail.map(|tail| tail.batches), marked, dropped })
}

/// The place past which there is no record.
struct Stop {
    next: u64,
    segment: PathBuf,
    offset: u64,
    /// Why nothing more can be read there.
    what: &'static str,
}

impl Stop {
    fn find(
        dir: &Path,
        tail: Option<&Tail>,
        unfinished: Option<&Span>,
        marked: Option<End>,
    ) -> Result<Self, JournalError> {
        let marked_segment = marked.map_or(1, |end| end.segment);
        let at_header = |first| Self {
            next: first,
            segment: segment_path(dir, first),
            offset: 0,
            what: "the segment's header is not whole",
        };
        Ok(match (tail, unfinished) {
            (None, None) => return Err(JournalError::Gone(segment_path(dir, marked_segment))),
            (None, Some(unfinished)) => at_header(unfinished.first),
            (Some(tail), Some(unfinished)) if tail.torn.is_none() && unfinished.first == tail.next => {
                at_header(tail.next)
            }
            (Some(tail), _) => {
                let is_marked = marked_segment <= tail.batches.header.first;
                let missing = if is_marked { "it ends there" } else { "the segment after it is not there" };
                let what = tail.torn.unwrap_or(missing);
                Self { next: tail.next, segment: tail.batches.path.clone(), offset: tail.batches.offset, what }
            }
        })
    }

    /// Refuses what no crash leaves behind.
    fn check(&self, dir: &Path, lost: u64, tail: Option<&Tail>, unfinished: Option<&Span>) -> Result<(), JournalError> {
        let Self { segment, offset, what, .. } = self;
        if lost > 0 {
            return Err(JournalError::Lost { segment: segment.clone(), offset: *offset, what, records: lost });
        }
        let Some(unfinished) = unfinished else { return Ok(()) };
        if unfinished.first != self.next {
            let what = "does not follow the segment before it";
            return Err(JournalError::Astray { segment: segment_path(dir, unfinished.first), what });
        }
        // It was begun after the segment before it was complete.
        match tail.and_then(|tail| tail.torn) {
            Some(what) => Err(JournalError::Corrupt { segment: segment.clone(), offset: *offset, what }),
            None => Ok(()),
        }
    }
}

/// The last segment where its creation was not finished: it holds nothing, but its name says which record comes next.
fn take_unfinished(
    disk: &dyn Disk,
    dir: &Path,
    spans: &mut Vec<Span>,
    accept_loss: bool,
) -> Result<Option<Span>, JournalError> {
    let Some(last) = spans.last() else { return Ok(None) };
    let path = segment_path(dir, last.first);
    let mut header = vec![0; last.durable.min(SEGMENT_HEADER as u64) as usize];
    disk.open(&path).and_then(|file| file.read_exact_at(&mut header, 0)).context("read", &path)?;
    let whole = <&[u8; SEGMENT_HEADER]>::try_from(&header[..]).ok().and_then(SegmentHeader::decode);
    if whole.is_some_and(|header| header.first == last.first) {
        return Ok(None);
    }
    let torn = last.durable <= SEGMENT_HEADER as u64 && SegmentHeader::may_be_torn(&header);
    if torn || accept_loss {
        return Ok(spans.pop());
    }
    // Where there is none before it, nothing would be left to go on with.
    if spans.len() > 1 {
        return Err(JournalError::Astray { segment: path, what: "does not begin as a segment does" });
    }
    Err(JournalError::Corrupt { segment: path, offset: 0, what: "the segment's header is invalid" })
}

impl Tail {
    fn find(disk: &dyn Disk, dir: &Path, last: &Span) -> Result<Self, JournalError> {
        let batches = Batches::open(disk, dir, last)?;
        let room = batches.end;
        let mut tail = Self { batches, last_start: 0, next: last.first, room, torn: None };
        loop {
            let start = tail.batches.offset;
            match tail.batches.next_batch(tail.next) {
                Ok(Some((header, _))) => {
                    tail.next += u64::from(header.records);
                    tail.last_start = start;
                }
                Ok(None) => return Ok(tail),
                Err(BatchError::Io(error)) => return Err(error),
                Err(BatchError::Invalid(what)) => {
                    let rest = tail.rest()?;
                    let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    tail.room = start + written as u64;
                    tail.torn = (written > 0).then_some(what);
                    return Ok(tail);
                }
            }
        }
    }

    /// The bytes after the last whole batch.
    fn rest(&self) -> Result<Vec<u8>, JournalError> {
        let Batches { path, file, offset, end, .. } = &self.batches;
        let mut rest = vec![0; (end - offset) as usize];
        file.read_exact_at(&mut rest, *offset).context("read", path)?;
        Ok(rest)
    }

    /// The sequence before which everything was durable, as far as what follows the last whole batch proves it: the
    /// header of a later batch, since that was written after the sync of the one before.
    fn known_durable(&self) -> Result<u64, JournalError> {
        let Self { batches, next, .. } = self;
        let rest = self.rest()?;
        let mut durable = 0;
        for (start, _) in rest.windows(BATCH_MAGIC.len()).enumerate().filter(|(_, bytes)| bytes == BATCH_MAGIC) {
            let Some((header, payload)) = rest[start..].split_first_chunk::<BATCH_HEADER>() else { break };
            let Some(header) = BatchHeader::decode(header, batches.header.salt) else { continue };
            let torn = start == 0 && header.first == *next;
            if !torn && header.first < *next {
                let (segment, offset) = (batches.path.clone(), batches.offset);
                return Err(JournalError::Corrupt { segment, offset, what: "an earlier batch is there once more" });
            }
            let whole = payload.get(..header.payload as usize).is_some_and(|payload| header.matches(payload));
            if !torn {
                durable = durable.max(if whole { header.first + u64::from(header.records) } else { header.first });
            }
        }
        Ok(durable)
    }

    /// Ends the segment after its last whole batch, durably. Returns how many bytes that took away, without the room after them.
    fn cut(&self) -> Result<u64, JournalError> {
        let Self { batches, last_start, room, .. } = self;
        if batches.end > batches.offset {
            batches.file.truncate(batches.offset).context("truncate", &batches.path)?;
        }
        rewrite_last(batches, *last_start)?;
        Ok(room - batches.offset)
    }
}

/// Makes durable what was read from `start` on: the last batch, or the header where there is none.
///
/// It may be in the page cache only: a sync may have failed, after which the kernel takes its pages for
/// clean, and the process may have been killed before it could cut the batch off. Only written again is
/// it sure to reach the disk. Everything before it had been synced when it was written.
fn rewrite_last(batches: &Batches, start: u64) -> Result<(), JournalError> {
    let mut bytes = vec![0; (batches.offset - start) as usize];
    batches.file.read_exact_at(&mut bytes, start).context("read", &batches.path)?;
    batches.file.write_all_at(&bytes, start).context("write", &batches.path)?;
    batches.file.sync().context("sync", &batches.path)
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Span>, JournalError> {
    let names = match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(JournalError::Gone(dir.to_owned())),
        names => names.context("list", dir)?,
    };
    let mut spans = Vec::new();
    for name in names {
        let first = name.strip_suffix(".log").and_then(|digits| digits.parse().ok());
        if let Some(first) = first.filter(|first| segment_path(dir, *first) == dir.join(&name)) {
            let path = dir.join(&name);
            let found = disk.open(&path).and_then(|file| Ok(Span { first, durable: file.size()?, id: file.id()? }));
            spans.push(found.context("open", &path)?);
        }
    }
    spans.sort_by_key(|span| span.first);
    Ok(spans)
}
