//! WATCH: what happens to the selected objects, in order, from a revision on.
//!
//! A watcher is a cursor into the store's shared history. Whatever has happened since it last looked is
//! written into one chunk, so a busy watch costs one write per wake-up, not one per event. Large objects are
//! not copied into it: all their watchers send the same bytes.

use std::{sync::Arc, time::Duration};

use api::{
    registry::Registry,
    resource::{Origin, Resource},
    status::Status,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Value, json};
use stdx::Clock;
use store::{Entry, Event, EventKind, ReadError};
use tokio::{
    sync::watch as watch_channel,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Engine, Target, document_of,
    list::Selection,
    object::Stored,
    options::{Freshness, Start, WatchOptions},
};
use crate::{
    http::{
        body::{CHUNK_BYTES, Chunk, SHARED_BYTES},
        outgoing::Held,
        render::{View, pointer_bytes},
    },
    metrics::requests::Running,
};

/// Between two bookmarks (KEP-956 promises no interval; upstream sends one a minute).
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// A watch without a timeout ends after 30 to 60 minutes, so that load spreads over servers.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// What an event adds to its object, at most.
const FRAME_BYTES: usize = 40;
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// A running watch; yields newline-separated events, in parts, until it ends.
pub struct Watcher {
    target: Target,
    selection: Selection,
    view: View,
    cursor: Option<store::Watch>,
    /// The state to be told first, and whether its end is marked.
    state: std::vec::IntoIter<Arc<Entry>>,
    mark_state_end: bool,
    /// What the pointers to that state take.
    state_held: Held,
    /// An error event that ends the watch before it began.
    refusal: Option<Status>,
    bookmarks: bool,
    next_bookmark: Instant,
    began: Instant,
    deadline: Instant,
    caught_up: u64,
    batch: Vec<Arc<Event>>,
    /// What is left of the last chunk.
    chunk: Chunk,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    /// Of a custom resource: what says whether it is still there.
    source: Option<Source>,
    /// Where the watch and its events are counted.
    running: Running,
}

/// The row of a definition as it was when a watch began.
struct Source {
    registry: Arc<ArcSwap<Registry>>,
    changes: watch_channel::Receiver<()>,
    row: Arc<Resource>,
}

impl Source {
    /// `None` for a built-in kind. It is an error where the row is gone already.
    fn of(engine: &Engine, row: &Arc<Resource>) -> Result<Option<Self>, Status> {
        if row.custom.is_none() {
            return Ok(None);
        }
        let changes = engine.registry_changes.subscribe();
        let source = Self { registry: Arc::clone(&engine.registry), changes, row: Arc::clone(row) };
        if source.is_current() { Ok(Some(source)) } else { Err(Status::no_such_path()) }
    }

    /// Whether this version is served by the same definition, unchanged.
    fn is_current(&self) -> bool {
        fn origin(row: &Resource) -> Option<&Origin> {
            row.custom.as_ref()?.origin()
        }
        let registry = self.registry.load();
        let row = registry.find(&self.row.group, &self.row.version, &self.row.plural);
        row.is_some_and(|row| origin(row) == origin(&self.row))
    }

    async fn ends(source: Option<&mut Self>) {
        let Some(source) = source else { return std::future::pending().await };
        while source.changes.changed().await.is_ok() && source.is_current() {}
    }
}

impl Engine {
    pub fn watch(
        &self,
        target: Target,
        options: WatchOptions,
        view: View,
        running: Running,
    ) -> Result<Watcher, Status> {
        options.selection.check(&target)?;
        let now = Instant::now();
        let chunk = Chunk::of(view.reader.clone());
        let timeout = options.timeout.unwrap_or_else(|| {
            DEFAULT_TIMEOUT + Duration::from_millis(self.random.below(DEFAULT_TIMEOUT.as_millis() as u64))
        });
        let mut watcher = Watcher {
            selection: options.selection,
            view,
            cursor: None,
            state: Vec::new().into_iter(),
            mark_state_end: false,
            state_held: Held::default(),
            refusal: None,
            bookmarks: options.bookmarks,
            next_bookmark: now + BOOKMARK_INTERVAL,
            began: now,
            deadline: now + timeout,
            caught_up: 0,
            batch: Vec::new(),
            chunk,
            clock: Arc::clone(&self.clock),
            stop: self.stop.clone(),
            source: Source::of(self, &target.resource)?,
            running,
            target,
        };
        let (after, with_state) = match options.start {
            Start::After(revision) => (revision, false),
            Start::Now => (self.store.revision(), false),
            Start::WithState => (0, true),
            Start::WithMarkedState(revision) => {
                self.snapshot_for(Freshness::NotOlderThan(revision))?;
                watcher.mark_state_end = options.bookmarks;
                (0, true)
            }
        };
        let prefix = watcher.target.prefix();
        let after = if with_state {
            let snapshot = self.store.snapshot();
            let matching = |entry: &&Arc<Entry>| watcher.selection.matches(&watcher.target, entry);
            let state: Vec<Arc<Entry>> = snapshot.range(&prefix, None).filter(matching).cloned().collect();
            watcher.state_held = watcher.view.reader.hold(pointer_bytes(state.len()));
            watcher.state = state.into_iter();
            snapshot.revision()
        } else {
            after
        };
        match self.store.watch(&prefix, after) {
            Ok(cursor) => watcher.cursor = Some(cursor),
            Err(ReadError::Compacted { oldest }) => {
                watcher.refusal = Some(Status::expired(format!("too old resource version: {after} ({oldest})")));
            }
            Err(error @ ReadError::Future { .. }) => return Err(super::list::read_error(&error)),
        }
        watcher.caught_up = after;
        Ok(watcher)
    }
}

impl Watcher {
    /// What is to be sent next; `None` ends the stream.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(rest) = self.chunk.pop() {
            return Some(rest);
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        self.fill(&mut chunk).await?;
        self.chunk = chunk;
        self.chunk.pop()
    }

    /// Writes the next events, once there are some.
    async fn fill(&mut self, chunk: &mut Chunk) -> Option<()> {
        if let Some(refusal) = self.refusal.take() {
            write_error(chunk, &refusal);
            self.cursor = None;
            return Some(());
        }
        self.write_state(chunk);
        while chunk.is_empty() {
            let cursor = self.cursor.as_mut()?;
            let mut is_bookmark_due = false;
            tokio::select! {
                biased;
                result = cursor.next(&mut self.batch) => match result {
                    Ok(revision) => self.caught_up = revision,
                    Err(store::WatchError::Lagged { .. }) => {
                        // Too slow: history has moved on. The client lists again.
                        write_error(chunk, &Status::expired("the watch fell behind the kept history"));
                        self.cursor = None;
                    }
                    Err(store::WatchError::Closed) => return None,
                },
                () = sleep_until(self.deadline) => return None,
                () = self.stop.cancelled() => return None,
                // Clients begin anew, with what is served now, or are told that it is gone.
                () = Source::ends(self.source.as_mut()) => return None,
                () = sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
                    // Events that have come in the meantime go first.
                    if let Ok(revision) = cursor.try_next(&mut self.batch) {
                        self.caught_up = revision;
                        is_bookmark_due = true;
                    }
                }
            }
            if self.selection.is_everything() {
                chunk.text().reserve(self.batch.iter().map(|event| copied_bytes(&event.entry)).sum());
            }
            // The ages in a table are those at the time of the event.
            self.view.now_seconds = self.clock.now().as_second();
            let series = Arc::clone(self.running.series());
            series.told(std::mem::take(&mut self.batch).into_iter().filter_map(|event| {
                let before = chunk.len();
                self.write_event(chunk, &event);
                Some(chunk.len() - before).filter(|bytes| *bytes > 0)
            }));
            if is_bookmark_due {
                write_bookmark(chunk, &self.view, self.caught_up, false);
            }
        }
        Some(())
    }

    /// Writes as much of the initial state as a chunk takes, and its end.
    fn write_state(&mut self, chunk: &mut Chunk) {
        let mut bytes = 0;
        let fits = |entry: &&Arc<Entry>| {
            let is_first = bytes == 0;
            bytes += entry.value.len() + FRAME_BYTES;
            is_first || bytes <= CHUNK_BYTES
        };
        let count = self.state.as_slice().iter().take_while(fits).count();
        chunk.text().reserve(self.state.as_slice()[..count].iter().map(|entry| copied_bytes(entry)).sum());
        self.running.series().told(self.state.by_ref().take(count).map(|entry| {
            let before = chunk.len();
            write(chunk, &mut self.view, "ADDED", &entry);
            chunk.len() - before
        }));
        if self.state.len() > 0 {
            return;
        }
        self.state = Vec::new().into_iter();
        self.state_held = Held::default();
        if std::mem::take(&mut self.mark_state_end) {
            write_bookmark(chunk, &self.view, self.caught_up, true);
            self.running.series().state_told(self.began.elapsed());
        }
    }

    /// What an event is to this watcher depends on whether it saw the object before.
    fn write_event(&mut self, chunk: &mut Chunk, event: &Event) {
        let is_delete = event.kind == EventKind::Delete;
        let (before, now) = if self.selection.is_everything() {
            (event.previous.is_some(), !is_delete)
        } else {
            let matches = |entry: &Entry| self.selection.matches(&self.target, entry);
            (event.previous.as_deref().is_some_and(matches), !is_delete && matches(&event.entry))
        };
        match (before, now) {
            (false, true) => write(chunk, &mut self.view, "ADDED", &event.entry),
            (true, true) => write(chunk, &mut self.view, "MODIFIED", &event.entry),
            (true, false) if is_delete => write(chunk, &mut self.view, "DELETED", &event.entry),
            // It left the selection: shown as the watcher knew it, at the revision of the change.
            (true, false) => {
                let previous =
                    event.previous.as_deref().and_then(|entry| document_of(&self.target.resource, entry).ok());
                let Some(mut document) = previous else { return };
                document["metadata"]["resourceVersion"] = event.revision.to_string().into();
                write_value(chunk, &mut self.view, "DELETED", &document);
            }
            (false, false) => {}
        }
    }
}

fn write(chunk: &mut Chunk, view: &mut View, kind: &str, entry: &Entry) {
    if Stored::of(entry).is_none() {
        return;
    }
    frame(chunk, kind, |chunk| view.write_entry(chunk, entry));
}

fn write_value(chunk: &mut Chunk, view: &mut View, kind: &str, document: &Value) {
    frame(chunk, kind, |chunk| view.write_document(chunk.text(), document));
}

fn frame(chunk: &mut Chunk, kind: &str, object: impl FnOnce(&mut Chunk)) {
    let text = chunk.text();
    text.extend_from_slice(b"{\"type\":\"");
    text.extend_from_slice(kind.as_bytes());
    text.extend_from_slice(b"\",\"object\":");
    object(chunk);
    chunk.text().extend_from_slice(b"}\n");
}

/// What an event of the entry takes in a buffer, at most.
fn copied_bytes(entry: &Entry) -> usize {
    FRAME_BYTES + if entry.value.len() < SHARED_BYTES { entry.value.len() } else { 0 }
}

fn write_bookmark(chunk: &mut Chunk, view: &View, revision: u64, ends_state: bool) {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if ends_state {
        metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
    }
    let object = view.bookmark(metadata);
    frame(chunk, "BOOKMARK", |chunk| chunk.text().extend_from_slice(object.to_string().as_bytes()));
}

fn write_error(chunk: &mut Chunk, status: &Status) {
    frame(chunk, "ERROR", |chunk| chunk.text().extend_from_slice(status.to_value().to_string().as_bytes()));
}
