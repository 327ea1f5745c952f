//! The journal for many asynchronous writers: each waits until its own records are durable.

use std::{io, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{GroupLimits, Groups, Journal, JournalError};

#[derive(Debug)]
struct Submission {
    records: Vec<Bytes>,
    reply: oneshot::Sender<Result<u64, Arc<JournalError>>>,
}

/// Appends through a thread that owns the journal. The journal closes when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Appender(Groups<Submission>);

impl Appender {
    pub fn spawn(name: &str, journal: Journal, limits: GroupLimits) -> io::Result<Self> {
        let mut journal = journal;
        let weigh = |submission: &Submission| submission.records.iter().map(Bytes::len).sum();
        Groups::spawn(name, limits, weigh, move |group| {
            append(&mut journal, group);
            ControlFlow::Continue(())
        })
        .map(Self)
    }

    /// The sequence of the first record once all are durable; `None` where the journal has been closed.
    pub async fn append(&self, records: Vec<Bytes>) -> Option<Result<u64, Arc<JournalError>>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Submission { records, reply }).await.ok()?;
        answer.await.ok()
    }
}

fn append(journal: &mut Journal, group: &mut Vec<Submission>) {
    // One writer's oversized record must not fail the others of its group.
    let refuse = |refused: Submission, error| drop(refused.reply.send(Err(Arc::new(error))));
    let mut fitting = Vec::with_capacity(group.len());
    for submission in group.drain(..) {
        match journal.check(&submission.records) {
            Ok(()) => fitting.push(submission),
            Err(error) => refuse(submission, error),
        }
    }
    let records: Vec<&Bytes> = fitting.iter().flat_map(|submission| &submission.records).collect();
    let mut next = journal.append(&records).map(|sequences| sequences.start).map_err(Arc::new);
    for submission in fitting {
        let first = next.clone();
        next = next.map(|sequence| sequence + submission.records.len() as u64);
        // A writer that went away does not want to know.
        let _ = submission.reply.send(first);
    }
}
