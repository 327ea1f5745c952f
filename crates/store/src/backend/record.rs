//! What the journal holds: one record a commit, and a few that are not commits.

use bytes::{Buf, BufMut, Bytes};

use crate::{
    Entry, EventKind, Revision,
    backend::codec::{put_before, put_entry, take_before, take_entry},
    history::Before,
    view::Commit,
};

const COMMIT: u8 = 1;
const PERSIST: u8 = 2;
const CEILING: u8 = 3;
const CLOSED: u8 = 4;

/// How many revisions are reserved on disk at once, for volatile commits that leave no record of theirs. No record raises
/// the revision by more.
pub(crate) const RESERVED_REVISIONS: u64 = 1_000_000;

const PUT: u8 = 1;
const DELETE: u8 = 2;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Commit {
        at_ms: i64,
        revision: Revision,
        changes: Vec<RecordedChange>,
    },
    /// An entry whose latest version was volatile, at a clean close.
    Persist(Entry),
    /// No revision above this has been used.
    Ceiling(Revision),
    /// The last record of a clean close, with the last revision used.
    Closed(Revision),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecordedChange {
    pub kind: EventKind,
    pub entry: Entry,
    pub before: Option<Before>,
}

pub(crate) fn encode_commit(commit: &Commit) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u8(COMMIT);
    out.put_i64_le(commit.moment.at_ms);
    out.put_u64_le(commit.moment.revision);
    for (change, event) in &commit.changes {
        out.put_u8(match change.kind {
            EventKind::Put => PUT,
            EventKind::Delete => DELETE,
        });
        put_entry(&mut out, &event.entry);
        put_before(&mut out, change.before.as_ref());
    }
    out
}

pub(crate) fn encode_persist(entry: &Entry) -> Vec<u8> {
    let mut out = vec![PERSIST];
    put_entry(&mut out, entry);
    out
}

pub(crate) fn encode_ceiling(revision: Revision) -> Vec<u8> {
    [&[CEILING][..], &revision.to_le_bytes()].concat()
}

pub(crate) fn encode_closed(revision: Revision) -> Vec<u8> {
    [&[CLOSED][..], &revision.to_le_bytes()].concat()
}

/// `None` for bytes that no encoder made.
pub(crate) fn decode(mut input: Bytes) -> Option<Record> {
    let record = match input.try_get_u8().ok()? {
        COMMIT => {
            let (at_ms, revision) = (input.try_get_i64_le().ok()?, input.try_get_u64_le().ok()?);
            let mut changes = Vec::new();
            while let Ok(kind) = input.try_get_u8() {
                let kind = match kind {
                    PUT => EventKind::Put,
                    DELETE => EventKind::Delete,
                    _ => return None,
                };
                changes.push(RecordedChange { kind, entry: take_entry(&mut input)?, before: take_before(&mut input)? });
            }
            Record::Commit { at_ms, revision, changes }
        }
        PERSIST => Record::Persist(take_entry(&mut input)?),
        CEILING => Record::Ceiling(input.try_get_u64_le().ok()?),
        CLOSED => Record::Closed(input.try_get_u64_le().ok()?),
        _ => return None,
    };
    input.is_empty().then_some(record)
}
