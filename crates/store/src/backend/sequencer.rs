//! The decision on one transaction, given the state it meets: pure.

use std::sync::Arc;

use crate::{
    CommitError, Committed, Durability, Entry, Event, EventKind, Expect, Operation, Revision, Snapshot, Transaction,
    history::{Change, Moment},
    view::Commit,
};

#[derive(Debug)]
pub(crate) struct Decided {
    pub committed: Committed,
    pub commit: Commit,
    /// As asked for, or durable where a key comes or goes.
    pub durability: Durability,
}

/// Applies the transaction to `state` as commit `moment.revision`, or leaves the state alone. A transaction without operations
/// only asks about its expectations, and uses no revision.
pub(crate) fn decide(state: &mut Snapshot, transaction: &Transaction, moment: Moment) -> Result<Decided, CommitError> {
    for (key, expect) in &transaction.expects {
        check(state, key, *expect)?;
    }
    for operation in &transaction.operations {
        if let Operation::Delete { key, .. } = operation {
            check(state, key, Expect::Present)?;
        }
    }
    let revision = if transaction.operations.is_empty() { state.revision } else { moment.revision };
    state.revision = revision;
    let events: Vec<Event> = transaction.operations.iter().map(|operation| apply(state, operation, revision)).collect();
    let is_update = |event: &Event| event.kind == EventKind::Put && event.previous.is_some();
    let durability = if events.iter().all(is_update) { transaction.durability } else { Durability::Durable };
    let entries = events.iter().map(|event| Arc::clone(&event.entry)).collect();
    let changes = events.into_iter().map(|event| (Change::new(&event), Arc::new(event))).collect();
    Ok(Decided { committed: Committed { revision, entries }, commit: Commit { moment, changes }, durability })
}

fn check(state: &Snapshot, key: &Arc<str>, expect: Expect) -> Result<(), CommitError> {
    let actual = state.get(key);
    let holds = match expect {
        Expect::Absent => actual.is_none(),
        Expect::Present => actual.is_some(),
        Expect::Modified(revision) => actual.is_some_and(|entry| entry.modified == revision),
    };
    if holds { Ok(()) } else { Err(CommitError::Conflict { key: Arc::clone(key), actual: actual.cloned() }) }
}

fn apply(state: &mut Snapshot, operation: &Operation, revision: Revision) -> Event {
    let (kind, template) = match operation {
        Operation::Put { value, .. } => (EventKind::Put, value),
        Operation::Delete { last, .. } => (EventKind::Delete, last),
    };
    let previous = state.get(operation.key()).cloned();
    let entry = Arc::new(Entry {
        // The same key again shares the name it has.
        key: Arc::clone(previous.as_ref().map_or(operation.key(), |previous| &previous.key)),
        value: template.fill(revision),
        created: previous.as_ref().map_or(revision, |previous| previous.created),
        modified: revision,
    });
    match kind {
        EventKind::Put => state.put(Arc::clone(&entry)),
        EventKind::Delete => state.remove(&entry.key, revision),
    }
    Event { revision, kind, entry, previous }
}
