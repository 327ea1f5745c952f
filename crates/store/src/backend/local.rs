//! The state on this machine's disk: a thread that takes transactions in groups, decides them in order, appends those
//! that happen to the journal with one sync, and publishes.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use journal::{Disk, GroupLimits, Groups, Journal, JournalError, Lock, Segments};
use tokio::sync::oneshot;

use crate::{
    CommitError, Committed, Config, Durability, HistoryLimits, OpenError, Revision, Snapshot, Transaction,
    backend::{
        Backend, Pending,
        checkpoint::{self, Stands},
        past,
        record::{RESERVED_REVISIONS, encode_ceiling, encode_closed, encode_commit, encode_persist},
        recovery::{self, Opened},
        sequencer::{Decided, decide},
    },
    history::Moment,
    view::View,
};

type Reply = oneshot::Sender<Result<Committed, CommitError>>;

#[derive(Debug)]
enum Request {
    Commit(Transaction, Reply),
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(crate) struct Local {
    groups: Groups<Request>,
    segments: Segments,
    /// The size of the last checkpoint.
    checkpoint_bytes: Arc<AtomicU64>,
    max_transaction_bytes: usize,
}

impl Local {
    pub fn open(config: Config) -> Result<(Self, Arc<View>), OpenError> {
        let Opened { lock, journal, state, mut history, checkpointed, checkpoint_size, tail_bytes } =
            recovery::open(&config)?;
        let segments = journal.segments();
        history.loading = segments.first() <= checkpointed;
        let loading = history.loading;
        let last_used = state.revision;
        let view = Arc::new(View::new(Arc::clone(&config.clock), state.clone(), history));
        let spawn_error = |cause| OpenError::Io { action: "start a thread for", path: config.dir.clone(), cause };
        if loading {
            let (view, segments, max_age) = (Arc::clone(&view), segments.clone(), config.history.max_age);
            thread::Builder::new()
                .name("store-past".into())
                .spawn(move || past::load(&view, &segments, checkpointed + 1, max_age))
                .map_err(spawn_error)?;
        }
        let checkpoint_bytes = Arc::new(AtomicU64::new(checkpoint_size));
        let mut writer = Writer {
            journal,
            view: Arc::clone(&view),
            state,
            last_used,
            ceiling: last_used,
            volatile: BTreeSet::new(),
            checkpoints: Checkpoints {
                dir: config.dir.clone(),
                disk: Arc::clone(&config.disk),
                threshold: config.checkpoint_bytes,
                limits: config.history,
                size: Arc::clone(&checkpoint_bytes),
                journal_bytes: tail_bytes,
                running: None,
            },
            lock: Some(lock),
        };
        let weigh = |request: &Request| match request {
            Request::Commit(transaction, _) => transaction.size(),
            Request::Close(_) => 0,
        };
        let groups = Groups::spawn("store-commit", GroupLimits::default(), weigh, move |group| writer.handle(group))
            .map_err(spawn_error)?;
        let max_transaction_bytes = config.max_transaction_bytes;
        Ok((Self { groups, segments, checkpoint_bytes, max_transaction_bytes }, view))
    }
}

impl Backend for Local {
    fn commit(&self, transaction: Transaction) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            transaction.check_shape(self.max_transaction_bytes)?;
            let (reply, answer) = oneshot::channel();
            self.groups.send(Request::Commit(transaction, reply)).await.map_err(|_| CommitError::Closed)?;
            answer.await.map_err(|_| CommitError::Closed)?
        })
    }

    fn check(&self) -> Result<(), JournalError> {
        self.segments.check()
    }

    fn stored_bytes(&self) -> u64 {
        let journal: u64 = self.segments.sizes().into_iter().map(|(_, bytes)| bytes).sum();
        journal + self.checkpoint_bytes.load(Ordering::Acquire)
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            let (done, finished) = oneshot::channel();
            if self.groups.send(Request::Close(done)).await.is_ok() {
                // An error is an answer too: another close came first.
                let _ = finished.await;
            }
        })
    }
}

struct Writer {
    journal: Journal,
    view: Arc<View>,
    /// With the transactions of the group at hand applied; otherwise what the view shows.
    state: Snapshot,
    last_used: Revision,
    /// Durably reserved: no revision above is used.
    ceiling: Revision,
    /// Keys whose latest version is not in the journal.
    volatile: BTreeSet<Arc<str>>,
    checkpoints: Checkpoints,
    /// Let go of at close.
    lock: Option<Box<dyn Lock>>,
}

/// A transaction and what was decided on it.
struct Outcome {
    transaction: Transaction,
    reply: Reply,
    decided: Result<Decided, CommitError>,
}

impl Writer {
    fn handle(&mut self, group: &mut Vec<Request>) -> ControlFlow<()> {
        let mut closing = None;
        let mut transactions = Vec::with_capacity(group.len());
        for request in group.drain(..) {
            match request {
                Request::Commit(transaction, reply) if closing.is_none() => transactions.push((transaction, reply)),
                // Came after the close: dropping the reply says so.
                Request::Commit(..) => {}
                Request::Close(done) => closing = closing.or(Some(done)),
            }
        }
        self.commit(transactions);
        match closing {
            None => {
                self.checkpoints.start_if_due(&self.view, &self.journal, self.ceiling);
                ControlFlow::Continue(())
            }
            Some(done) => {
                self.close();
                let _ = done.send(());
                ControlFlow::Break(())
            }
        }
    }

    fn commit(&mut self, transactions: Vec<(Transaction, Reply)>) {
        let outcomes = self.decide(transactions);
        let durable =
            |decided: &Decided| decided.durability == Durability::Durable && !decided.commit.changes.is_empty();
        let mut records: Vec<Vec<u8>> = Vec::new();
        let ceiling = if self.last_used > self.ceiling { self.last_used + RESERVED_REVISIONS } else { self.ceiling };
        if ceiling > self.ceiling {
            records.push(encode_ceiling(ceiling));
        }
        let decided = outcomes.iter().filter_map(|outcome| outcome.decided.as_ref().ok());
        records.extend(decided.filter(|decided| durable(decided)).map(|decided| encode_commit(&decided.commit)));
        match self.journal.append(&records) {
            Ok(_) => {
                self.ceiling = ceiling;
                self.checkpoints.journal_bytes += records.iter().map(Vec::len).sum::<usize>() as u64;
                self.publish(outcomes);
            }
            Err(error) => self.refuse(outcomes, Arc::new(error)),
        }
    }

    fn decide(&mut self, transactions: Vec<(Transaction, Reply)>) -> Vec<Outcome> {
        let moment = Moment { revision: 0, sequence: self.journal.next_sequence(), at_ms: self.view.now_ms() };
        let decide_one = |(transaction, reply): (Transaction, Reply)| {
            let moment = Moment { revision: self.last_used + 1, ..moment };
            let decided = decide(&mut self.state, &transaction, moment);
            self.last_used = self.last_used.max(self.state.revision);
            Outcome { transaction, reply, decided }
        };
        transactions.into_iter().map(decide_one).collect()
    }

    fn publish(&mut self, outcomes: Vec<Outcome>) {
        let mut commits = Vec::with_capacity(outcomes.len());
        let mut answers = Vec::with_capacity(outcomes.len());
        for Outcome { reply, decided, .. } in outcomes {
            let answer = decided.map(|decided| {
                let keys = decided.commit.changes.iter().map(|(change, _)| &change.key);
                match decided.durability {
                    Durability::Durable => {
                        for key in keys {
                            self.volatile.remove(key);
                        }
                    }
                    Durability::Volatile => self.volatile.extend(keys.cloned()),
                }
                commits.push(decided.commit);
                decided.committed
            });
            answers.push((reply, answer));
        }
        if commits.iter().any(|commit| !commit.changes.is_empty()) {
            self.view.publish(self.state.clone(), commits);
        }
        for (reply, answer) in answers {
            // A caller that went away does not want to know.
            let _ = reply.send(answer);
        }
    }

    /// The journal did not take the group. What needs no disk is tried again without the rest, so that
    /// heartbeats go on while the disk is full.
    fn refuse(&mut self, outcomes: Vec<Outcome>, error: Arc<JournalError>) {
        self.state = self.view.snapshot();
        let reserved = self.last_used + outcomes.len() as u64 <= self.ceiling;
        let mut again = Vec::new();
        for Outcome { transaction, reply, decided } in outcomes {
            let needs_disk = decided.is_ok_and(|decided| decided.durability == Durability::Durable);
            if needs_disk || !reserved {
                let _ = reply.send(Err(CommitError::Storage(Arc::clone(&error))));
            } else {
                again.push((transaction, reply));
            }
        }
        if !again.is_empty() {
            self.commit(again);
        }
    }

    fn close(&mut self) {
        let volatile = std::mem::take(&mut self.volatile);
        let entries = volatile.iter().filter_map(|key| self.state.get(key));
        let mut records: Vec<Vec<u8>> = entries.map(|entry| encode_persist(entry)).collect();
        records.push(encode_closed(self.last_used));
        if let Err(error) = self.journal.append(&records).and_then(|_| self.journal.mark_end()) {
            tracing::warn!(%error, "the end of the state could not be written at close");
        }
        self.checkpoints.wait();
        self.lock = None;
    }
}

impl Drop for Writer {
    /// However the thread ends, watchers are not left waiting for it.
    fn drop(&mut self) {
        self.view.close();
    }
}

/// Writes checkpoints in the background and drops what they make superfluous.
struct Checkpoints {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    threshold: u64,
    limits: HistoryLimits,
    /// Of the last checkpoint.
    size: Arc<AtomicU64>,
    /// Written to the journal since the last checkpoint was started.
    journal_bytes: u64,
    running: Option<JoinHandle<()>>,
}

impl Checkpoints {
    fn start_if_due(&mut self, view: &Arc<View>, journal: &Journal, ceiling: Revision) {
        let due = self.journal_bytes >= self.threshold.max(self.size.load(Ordering::Acquire));
        if !due || self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            return;
        }
        self.journal_bytes = 0;
        let state = view.snapshot();
        let stands = Stands { sequence: journal.next_sequence() - 1, revision: state.revision, ceiling };
        let (view, segments) = (Arc::clone(view), journal.segments());
        let (disk, dir, size, limits) = (Arc::clone(&self.disk), self.dir.clone(), Arc::clone(&self.size), self.limits);
        let write = move || match checkpoint::write(&*disk, &dir, stands, &state) {
            Ok(written) => {
                size.store(written, Ordering::Release);
                drop(state);
                if let Err(error) = segments.drop_before(first_needed(&view, &segments, stands.sequence, limits)) {
                    tracing::warn!(%error, "old journal segments could not be dropped");
                }
            }
            Err(error) => tracing::warn!(%error, dir = %dir.display(), "a checkpoint could not be written"),
        };
        match thread::Builder::new().name("store-checkpoint".into()).spawn(write) {
            Ok(running) => self.running = Some(running),
            Err(error) => tracing::warn!(%error, "a checkpoint could not be started"),
        }
    }

    fn wait(&mut self) {
        if let Some(running) = self.running.take() {
            // Its own failures are logged where they happen.
            let _ = running.join();
        }
    }
}

/// The first record of the journal that is still needed: for the next opening, or for the history after it.
fn first_needed(view: &View, segments: &journal::Segments, checkpointed: u64, limits: HistoryLimits) -> u64 {
    let after_checkpoint = checkpointed + 1;
    let history = view.history(|history, _| if history.loading { Some(0) } else { history.oldest_sequence() });
    let mut kept_bytes = 0;
    let fits = |size: &(u64, u64)| {
        kept_bytes += size.1;
        kept_bytes <= limits.max_journal_bytes
    };
    let within_bytes = segments.sizes().into_iter().rev().take_while(fits).last().map_or(u64::MAX, |(first, _)| first);
    history.unwrap_or(after_checkpoint).max(within_bytes).min(after_checkpoint)
}
