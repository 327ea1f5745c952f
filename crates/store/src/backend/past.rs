//! The history from before the checkpoint, read back from older segments after a restart, newest first,
//! by a thread of its own: opening does not wait for it.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use journal::{JournalError, Segments};

use crate::{
    Revision,
    backend::record::{Record, decode},
    history::{Change, Moment, duration_ms},
    view::{Loaded, View},
};

/// Reads the segments before `end` until the history wants no more.
pub(crate) fn load(view: &View, segments: &Segments, end: u64, max_age: std::time::Duration) {
    let oldest_ms = view.now_ms().saturating_sub(duration_ms(max_age));
    let mut end = end;
    let starts: Vec<u64> = segments.sizes().into_iter().map(|(first, _)| first).filter(|first| *first < end).collect();
    for first in starts.into_iter().rev() {
        if view.is_closed() {
            break;
        }
        match read(segments, first..end) {
            Ok(older) => {
                let Some(floor) = older.first().map(|loaded| loaded.moment.revision.saturating_sub(1)) else {
                    continue;
                };
                let too_old = older[0].moment.at_ms < oldest_ms;
                if !view.prepend(floor, older) || too_old {
                    break;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "history from before this start is not complete");
                break;
            }
        }
        end = first;
    }
    view.history(|history, _| history.loading = false);
}

fn read(segments: &Segments, sequences: Range<u64>) -> Result<Vec<Loaded>, JournalError> {
    let mut older = Vec::new();
    for record in segments.read(sequences.start)? {
        let (sequence, bytes) = record?;
        if sequence >= sequences.end {
            break;
        }
        if let Some(Record::Commit { at_ms, revision, changes }) = decode(bytes) {
            let moment = Moment { revision, sequence, at_ms };
            older.extend(changes.into_iter().map(|recorded| Loaded {
                moment,
                change: Change::recorded(recorded.kind, &recorded.entry, recorded.before, revision),
                value: recorded.entry.value,
            }));
        }
    }
    link(&older);
    Ok(older)
}

/// Points each change to the next one of its key, where that one replaced what this one left.
fn link(older: &[Loaded]) {
    let mut newer: HashMap<&Arc<str>, (Revision, Option<Revision>)> = HashMap::new();
    for Loaded { change, .. } in older.iter().rev() {
        let replaced = change.before.as_ref().map(|before| before.modified);
        if let Some((next, left)) = newer.insert(&change.key, (change.revision, replaced))
            && left == Some(change.revision)
        {
            change.next.store(next, Ordering::Release);
        }
    }
}
