//! Opening: the latest checkpoint, then the journal from there on.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use journal::{Disk, Journal, Lock};

use crate::{
    Config, EventKind, OpenError, Revision, Snapshot,
    backend::{
        checkpoint,
        record::{RESERVED_REVISIONS, Record, RecordedChange, decode, encode_ceiling},
    },
    history::{Before, Change, History, Moment},
};

pub(crate) const VERSION_FILE: &str = "version";
/// What is skipped where it is not known how many revisions were given out: more than a cluster comes to.
const UNKNOWN_REVISIONS: u64 = 1 << 40;
const VERSION: &[u8] = b"coracle state 2\n";

/// What was found in the directory.
#[derive(Debug)]
pub(crate) struct Opened {
    pub lock: Box<dyn Lock>,
    pub journal: Journal,
    pub state: Snapshot,
    pub history: History,
    /// The journal's last sequence number in the checkpoint; 0 where there is none.
    pub checkpointed: u64,
    pub checkpoint_size: u64,
    /// Of the records that were read after the checkpoint.
    pub tail_bytes: u64,
}

pub(crate) fn open(config: &Config) -> Result<Opened, OpenError> {
    let Config { dir, disk, .. } = config;
    disk.create_dir_all(dir).map_err(io_error("create", dir))?;
    let lock = disk.lock(&dir.join("lock")).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(dir.clone()),
        _ => io_error("lock", dir)(error),
    })?;
    let journal_dir = dir.join("journal");
    let known = holds_known_state(&**disk, dir, &journal_dir)?;
    let checkpoint = checkpoint::load(&**disk, dir)?;
    let journal_config = journal::Config {
        dir: journal_dir.clone(),
        segment_bytes: config.segment_bytes,
        accept_loss: config.accept_loss,
        disk: Arc::clone(disk),
        random: Arc::clone(&config.random),
    };
    let mut journal = if known {
        Journal::open(journal_config)?
    } else {
        let journal = Journal::create(journal_config)?;
        // Last: from here on a journal has to be there.
        mark_version(&**disk, dir)?;
        journal
    };
    let (state, stands, checkpoint_size) = match checkpoint {
        Some(checkpoint) => (checkpoint.state, Some(checkpoint.stands), checkpoint.size),
        None => (Snapshot::default(), None, 0),
    };
    let checkpointed = stands.map_or(0, |stands| stands.sequence);
    if journal.next_sequence() <= checkpointed {
        return Err(OpenError::Damaged { path: journal_dir, what: "it ends before the checkpoint does" });
    }
    let mut replay = Replay {
        last_used: state.revision,
        ceiling: stands.map_or(0, |stands| stands.ceiling),
        clean: false,
        history: History::new(config.history, state.revision),
        state,
    };
    let mut tail_bytes = 0;
    for record in journal.segments().read(checkpointed + 1)? {
        let (sequence, bytes) = record?;
        tail_bytes += bytes.len() as u64;
        replay.apply(sequence, bytes).ok_or_else(|| OpenError::Damaged {
            path: journal_dir.clone(),
            what: "it holds a record that is not of a store",
        })?;
    }
    let lost = journal.dropped().map_or(0, |dropped| dropped.lost);
    if let Some(dropped) = journal.dropped() {
        tracing::warn!("{dropped}");
    }
    if !journal.was_marked() {
        tracing::warn!(dir = %journal_dir.display(), "nothing shows whether records of the journal are lost");
    }
    // Each of the records that are lost may have reserved more revisions.
    let skipped = if journal.was_marked() { lost.saturating_mul(RESERVED_REVISIONS) } else { UNKNOWN_REVISIONS };
    if skipped > 0 {
        replay.ceiling = replay.last_used.max(replay.ceiling).saturating_add(skipped);
        replay.clean = false;
        journal.append(&[encode_ceiling(replay.ceiling)])?;
    }
    let (state, history) = replay.finish();
    Ok(Opened { lock, journal, state, history, checkpointed, checkpoint_size, tail_bytes })
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |cause| OpenError::Io { action, path: path.to_owned(), cause }
}

/// Whether the directory holds a state; `false` for one that is new. Directories of other programs and of other versions
/// are left alone.
fn holds_known_state(disk: &dyn Disk, dir: &Path, journal_dir: &Path) -> Result<bool, OpenError> {
    let path = dir.join(VERSION_FILE);
    let mut found = Vec::new();
    match disk.open(&path) {
        Ok(file) => {
            found.resize(file.size().map_err(io_error("read", &path))?.min(100) as usize, 0);
            file.read_exact_at(&mut found, 0).map_err(io_error("read", &path))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("open", &path)(error)),
    }
    if found == VERSION {
        return Ok(true);
    }
    let torn = VERSION.starts_with(&found) || found.iter().all(|byte| *byte == 0);
    let ours = |name: &String| ["lock", VERSION_FILE, "journal"].contains(&name.as_str());
    let unused = disk.list(dir).map_err(io_error("list", dir))?.iter().all(ours);
    if !(torn && unused && journal::is_unused(disk, journal_dir)?) {
        if found.is_empty() {
            return Err(OpenError::Damaged { path, what: "it says nothing, though the directory is in use" });
        }
        return Err(OpenError::Version { dir: dir.to_owned(), found: String::from_utf8_lossy(&found).into_owned() });
    }
    Ok(false)
}

fn mark_version(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(VERSION_FILE);
    let mark = || {
        let file = disk.create(&path)?;
        file.write_all_at(VERSION, 0)?;
        file.sync()?;
        disk.sync_dir(dir)
    };
    mark().map_err(io_error("write", &path))
}

struct Replay {
    state: Snapshot,
    history: History,
    last_used: Revision,
    ceiling: Revision,
    clean: bool,
}

impl Replay {
    fn apply(&mut self, sequence: u64, bytes: Bytes) -> Option<()> {
        self.clean = false;
        match decode(bytes)? {
            Record::Commit { at_ms, revision, changes } => {
                let moment = Moment { revision, sequence, at_ms };
                changes.into_iter().for_each(|change| self.change(moment, change));
                self.last_used = self.last_used.max(revision);
                self.history.trim(at_ms);
            }
            Record::Persist(entry) => {
                if let Some(previous) = self.state.get(&entry.key) {
                    self.history.detach(previous);
                }
                self.last_used = self.last_used.max(entry.modified);
                self.state.put(Arc::new(entry));
            }
            Record::Ceiling(revision) => self.ceiling = self.ceiling.max(revision),
            Record::Closed(revision) => {
                self.clean = true;
                self.last_used = self.last_used.max(revision);
            }
        }
        Some(())
    }

    fn change(&mut self, moment: Moment, recorded: RecordedChange) {
        let RecordedChange { kind, entry, before } = recorded;
        let replaced = before.as_ref().map(|before: &Before| before.modified);
        if let Some(previous) = self.state.get(&entry.key)
            && Some(previous.modified) != replaced
        {
            // A volatile version that was not written down came between.
            self.history.detach(previous);
        }
        self.history.push(moment, Change::recorded(kind, &entry, before, moment.revision), None);
        match kind {
            EventKind::Put => self.state.put(Arc::new(entry)),
            EventKind::Delete => self.state.remove(&entry.key, moment.revision),
        }
    }

    /// After a clean close revisions go on where they ended; otherwise volatile ones may have been given out up to
    /// the ceiling, and none of them may ever mean something else.
    fn finish(mut self) -> (Snapshot, History) {
        self.state.revision = if self.clean { self.last_used } else { self.last_used.max(self.ceiling) };
        self.history.lost = self.last_used + 1..self.state.revision;
        (self.state, self.history)
    }
}
