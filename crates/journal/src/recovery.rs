//! Opening what a crash may have left: which bytes of the last segment were durable.
//!
//! A batch is written only after the one before it is durable, and a segment only after the one before
//! it is. So an invalid batch that nothing valid follows was being written when the machine stopped,
//! and is cut off; any other was durable once, and is damage.

use std::path::Path;

use crate::{
    Disk, JournalError,
    error::Context,
    frame::{BATCH_HEADER, BATCH_MAGIC, BatchHeader, SEGMENT_HEADER, SegmentHeader},
    read::{BatchError, Batches, Span, segment_path},
};

/// What there is: the segments, and the sequence of the next record.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub spans: Vec<Span>,
    pub next: u64,
    /// The last segment, cut to its durable batches; `None` where there is no segment.
    pub active: Option<Batches>,
}

pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Recovered, JournalError> {
    let mut spans = list(disk, dir)?;
    // A segment whose creation was not finished holds nothing, but its name says which record comes next.
    let mut promised = 1;
    if let Some(last) = spans.last()
        && last.durable <= SEGMENT_HEADER as u64
        && !header_is_valid(disk, dir, last)?
    {
        let path = segment_path(dir, last.first);
        promised = last.first;
        disk.remove(&path).context("remove", &path)?;
        disk.sync_dir(dir).context("sync", dir)?;
        spans.pop();
    }
    let Some(last) = spans.last_mut() else {
        return Ok(Recovered { spans, next: promised, active: None });
    };
    let mut batches = Batches::open(disk, dir, last)?;
    let mut next = last.first;
    let mut last_start = 0;
    loop {
        let start = batches.offset;
        match batches.next_batch(next) {
            Ok(Some((header, _))) => {
                next += u64::from(header.records);
                last_start = start;
            }
            Ok(None) => break,
            Err(BatchError::Io(error)) => return Err(error),
            Err(BatchError::Invalid(what)) => {
                if promised > next || a_batch_follows(&batches, next)? {
                    return Err(JournalError::Corrupt { segment: batches.path, offset: batches.offset, what });
                }
                batches.end = batches.offset;
                batches.file.truncate(batches.offset).context("truncate", &batches.path)?;
                break;
            }
        }
    }
    rewrite_last(&batches, last_start)?;
    disk.sync_dir(dir).context("sync", dir)?;
    last.durable = batches.offset;
    Ok(Recovered { spans, next, active: Some(batches) })
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
    let mut spans = Vec::new();
    for name in disk.list(dir).context("list", dir)? {
        let first = name.strip_suffix(".log").and_then(|digits| digits.parse().ok());
        if let Some(first) = first.filter(|first| segment_path(dir, *first) == dir.join(&name)) {
            let path = dir.join(&name);
            let durable = disk.open(&path).and_then(|file| file.size()).context("open", &path)?;
            spans.push(Span { first, durable });
        }
    }
    spans.sort_by_key(|span| span.first);
    Ok(spans)
}

fn header_is_valid(disk: &dyn Disk, dir: &Path, span: &Span) -> Result<bool, JournalError> {
    let path = segment_path(dir, span.first);
    let mut header = [0; SEGMENT_HEADER];
    if span.durable < SEGMENT_HEADER as u64 {
        return Ok(false);
    }
    disk.open(&path).and_then(|file| file.read_exact_at(&mut header, 0)).context("read", &path)?;
    Ok(SegmentHeader::decode(&header).is_some())
}

/// Whether a whole batch starts anywhere after the current offset.
fn a_batch_follows(batches: &Batches, expected: u64) -> Result<bool, JournalError> {
    let mut rest = vec![0; (batches.end - batches.offset) as usize];
    batches.file.read_exact_at(&mut rest, batches.offset).context("read", &batches.path)?;
    let starts = rest.windows(BATCH_MAGIC.len()).enumerate().skip(1).filter(|(_, bytes)| bytes == BATCH_MAGIC);
    for (start, _) in starts {
        let Some((header, payload)) = rest[start..].split_first_chunk::<BATCH_HEADER>() else { break };
        let found = BatchHeader::decode(header, batches.header.salt)
            .filter(|header| header.first >= expected)
            .and_then(|header| payload.get(..header.payload as usize).map(|payload| header.matches(payload)));
        if found == Some(true) {
            return Ok(true);
        }
    }
    Ok(false)
}
