//! A disk in memory with the failures of a real one, replayed by seed: short writes, no space, failed
//! syncs after which the kernel believes its pages clean, and crashes that keep any mixture of the
//! sectors and names that had not been synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use stdx::{Random, SeededRandom};

use crate::{
    Config, Disk, File, FileId, Found, Journal, Lock,
    end::{End, EndFile},
    frame::{BatchHeader, SEGMENT_HEADER, SegmentHeader, encode_batch},
};

const SECTOR: usize = 512;

/// How often each operation fails, in thousandths.
#[derive(Debug, Default, Clone, Copy)]
pub struct Faults {
    pub short_write: u64,
    pub failed_write: u64,
    pub failed_sync: u64,
    pub failed_create: u64,
}

#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    /// The boot this handle belongs to; it fails in later ones.
    boot: Option<u64>,
}

#[derive(Debug)]
struct State {
    names: BTreeMap<PathBuf, Inode>,
    durable_names: BTreeMap<PathBuf, Inode>,
    /// Changes to names since the last `sync_dir`, in order.
    changes: Vec<NameChange>,
    random: SeededRandom,
    faults: Faults,
    capacity: usize,
    /// Raised by a crash: files opened and locks taken before it belong to a dead process.
    boot: u64,
    locks: BTreeSet<PathBuf>,
    syncs: u64,
    written: u64,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Debug, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(PathBuf, Inode),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl SimulatedDisk {
    pub fn new(seed: u64) -> Self {
        let state = State {
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            random: SeededRandom::new(seed),
            faults: Faults::default(),
            capacity: usize::MAX,
            boot: 0,
            locks: BTreeSet::new(),
            syncs: 0,
            written: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), boot: None }
    }

    /// A handle for one process: its threads reach the disk no more after a crash or kill.
    pub fn process(&self) -> Self {
        Self { state: Arc::clone(&self.state), boot: Some(self.state.lock().boot) }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// Bytes that all files together may take.
    pub fn set_capacity(&self, bytes: usize) {
        self.state.lock().capacity = bytes;
    }

    pub fn used(&self) -> usize {
        self.state.lock().used()
    }

    /// Calls of `sync` and bytes written so far.
    pub fn activity(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.syncs, state.written)
    }

    /// The machine stops: what was not synced is kept, lost or torn as chance has it. Whoever held files or locks is dead.
    pub fn crash(&self) {
        let state = &mut *self.state.lock();
        let kept = state.random.below(state.changes.len() as u64 + 1) as usize;
        for change in state.changes.drain(..).take(kept) {
            change.apply(&mut state.durable_names);
        }
        state.names = state.durable_names.clone();
        for inode in state.names.values() {
            inode.lock().crash(&state.random);
        }
        state.restart();
    }

    /// The process is killed: the machine keeps what was written.
    pub fn kill(&self) {
        self.state.lock().restart();
    }

    pub fn files(&self) -> Vec<PathBuf> {
        self.state.lock().names.keys().cloned().collect()
    }

    /// A file's bytes for a test to read or damage.
    pub fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let inode = self.state.lock().names[path].clone();
        let mut content = inode.lock();
        edit(&mut content.cached);
        content.durable = content.cached.clone();
    }
}

impl State {
    fn restart(&mut self) {
        self.boot += 1;
        self.locks.clear();
    }

    fn used(&self) -> usize {
        self.names.values().map(|inode| inode.lock().cached.len()).sum()
    }

    fn chance(&self, thousandths: u64) -> bool {
        thousandths > 0 && self.random.below(1000) < thousandths
    }

    fn change(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.changes.push(change);
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, Inode>) {
        match self {
            Self::Set(path, inode) => drop(names.insert(path, inode)),
            Self::Remove(path) => drop(names.remove(&path)),
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
        }
    }
}

impl Content {
    fn sector(bytes: &[u8], index: usize) -> &[u8] {
        let start = (index * SECTOR).min(bytes.len());
        &bytes[start..(start + SECTOR).min(bytes.len())]
    }

    /// Writes the dirty sectors that `keep` chooses.
    fn flush(&mut self, keep: impl Fn() -> bool) {
        for index in std::mem::take(&mut self.dirty) {
            if keep() {
                let bytes = Self::sector(&self.cached, index);
                let start = index * SECTOR;
                if self.durable.len() < start + bytes.len() {
                    self.durable.resize(start + bytes.len(), 0);
                }
                self.durable[start..start + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    fn crash(&mut self, random: &SeededRandom) {
        if self.cached.len() < self.durable.len() && random.below(2) == 0 {
            self.durable.truncate(self.cached.len());
        }
        self.flush(|| random.below(2) == 0);
        self.cached = self.durable.clone();
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: Inode,
    boot: u64,
}

#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
    boot: u64,
}

impl Lock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

/// As long as a file is open its place in memory is its own.
fn id(inode: &Inode) -> FileId {
    FileId(0, Arc::as_ptr(inode) as usize as u64)
}

fn failure(what: &str) -> io::Error {
    io::Error::other(format!("simulated: {what}"))
}

impl SimulatedDisk {
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if self.boot.is_some_and(|boot| boot != state.boot) { Err(failure("the process is dead")) } else { Ok(state) }
    }

    fn file(&self, state: &State, inode: Inode) -> Box<dyn File> {
        Box::new(SimulatedFile { disk: self.clone(), inode, boot: state.boot })
    }
}

impl Disk for SimulatedDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.alive()?;
        let names = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let state = self.alive()?;
        let inode = state.names.get(path).ok_or(io::ErrorKind::NotFound)?.clone();
        Ok(self.file(&state, inode))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.alive()?;
        if state.chance(state.faults.failed_create) {
            return Err(failure("create"));
        }
        let inode = match state.names.get(path) {
            Some(inode) => {
                inode.lock().cached.clear();
                Arc::clone(inode)
            }
            None => {
                let inode = Inode::default();
                state.change(NameChange::Set(path.to_owned(), Arc::clone(&inode)));
                inode
            }
        };
        Ok(self.file(&state, inode))
    }

    fn find(&self, path: &Path) -> io::Result<Found> {
        let state = self.alive()?;
        let inode = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Found { id: id(inode), size: inode.lock().cached.len() as u64 })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let state = &mut *self.alive()?;
        state.syncs += 1;
        if state.chance(state.faults.failed_sync) {
            return Err(failure("sync of a directory"));
        }
        for change in state.changes.drain(..) {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = self.alive()?;
        match state.locks.insert(path.to_owned()) {
            true => Ok(Box::new(SimulatedLock { disk: self.clone(), path: path.to_owned(), boot: state.boot })),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl File for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.inode.lock().cached.len() as u64)
    }

    fn id(&self) -> io::Result<FileId> {
        Ok(id(&self.inode))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.inode.lock();
        let rest = content.cached.get(offset as usize..).unwrap_or_default();
        let size = rest.len().min(buffer.len());
        buffer[..size].copy_from_slice(&rest[..size]);
        Ok(size)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        if state.boot != self.boot || state.chance(state.faults.failed_write) {
            return Err(failure("write"));
        }
        let (used, short) = (state.used(), state.chance(state.faults.short_write));
        let mut content = self.inode.lock();
        let start = offset as usize;
        let room = content.cached.len().saturating_sub(start) + state.capacity.saturating_sub(used);
        let mut size = bytes.len().min(room);
        if short && size > 1 {
            size = 1 + state.random.below(size as u64 - 1) as usize;
        }
        if size == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.written += size as u64;
        let end = start + size;
        if content.cached.len() < end {
            let old = content.cached.len();
            content.cached.resize(end, 0);
            content.dirty.extend(old / SECTOR..=(end - 1) / SECTOR);
        }
        content.cached[start..end].copy_from_slice(&bytes[..size]);
        if size > 0 {
            content.dirty.extend(start / SECTOR..=(end - 1) / SECTOR);
        }
        Ok(size)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let state = self.disk.state.lock();
        if state.boot != self.boot || state.chance(state.faults.failed_write) {
            return Err(failure("truncate"));
        }
        let mut content = self.inode.lock();
        content.cached.resize(size as usize, 0);
        content.dirty.retain(|index| index * SECTOR < size as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.syncs += 1;
        if state.boot != self.boot {
            return Err(failure("sync"));
        }
        let mut content = self.inode.lock();
        if state.chance(state.faults.failed_sync) {
            // Some sectors reach the disk; the kernel forgets that the others did not.
            content.flush(|| state.random.below(2) == 0);
            return Err(failure("sync"));
        }
        let size = content.cached.len();
        content.durable.resize(size, 0);
        content.flush(|| true);
        Ok(())
    }
}

/// Opens a journal whose only segment is `bytes`, whatever they are: that must end in an error or with the whole
/// batches at the beginning, to which another one can be appended. For fuzzing; panics where it does not.
pub fn recover_from(bytes: &[u8]) {
    let disk = SimulatedDisk::new(1);
    let path = Path::new("/journal/00000000000000000001.log");
    assert!(disk.create(path).is_ok());
    disk.edit(path, |content| content.extend_from_slice(bytes));
    let nothing = End { segment: 1, offset: SEGMENT_HEADER as u64, next: 1 };
    assert!(EndFile::create(&disk, Path::new("/journal"), nothing).is_ok());
    let config = Config { disk: Arc::new(disk), ..Config::new("/journal") };
    let Ok(mut journal) = Journal::open(config) else { return };
    let segments = journal.segments();
    let records = || -> Vec<_> {
        let read = segments.read(1).and_then(|records| records.collect());
        read.expect("what was opened can be read")
    };
    let before = records();
    journal.append(&[b"next"]).expect("a healthy disk takes a record");
    let after = records();
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1);
}

/// Segments for [`recover_from`]: one that a journal wrote, and what only a faulty one would write, all with checksums that
/// are right. Bytes that are changed at random do not get past those.
pub fn segments() -> Vec<Vec<u8>> {
    const SALT: u64 = 7;
    let header = |first| SegmentHeader { salt: SALT, first }.encode().to_vec();
    let batch = |first: u64, records: &[&[u8]]| {
        let mut bytes = Vec::new();
        encode_batch(&mut bytes, SALT, first, records);
        bytes
    };
    let (one, two, three) = (batch(1, &[b"first"]), batch(2, &[b"", &[9; 600]]), batch(4, &[b"fourth", b"fifth"]));
    let lying = |record: &[u8], size: u32, records: u32| {
        let mut payload = size.to_le_bytes().to_vec();
        payload.extend_from_slice(record);
        [&BatchHeader::of(1, records, &payload).encode(SALT)[..], &payload].concat()
    };
    let after_one = |batches: &[&[u8]]| [header(1), one.clone(), batches.concat()].concat();
    vec![
        after_one(&[&two, &three]),
        after_one(&[]),
        header(1),
        header(2),
        // Torn, out of order, twice, with a gap, of another segment.
        after_one(&[&two, &three[..three.len() - 3]]),
        after_one(&[&three, &two]),
        after_one(&[&two, &two]),
        after_one(&[&three]),
        after_one(&[&header(4), &three]),
        after_one(&[&two, &vec![0; 512], &three]),
        // Records that are not where their sizes say, or more or fewer than are counted.
        [header(1), lying(b"abc", 4, 1)].concat(),
        [header(1), lying(b"abc", u32::MAX, 1)].concat(),
        [header(1), lying(b"abc", 2, 1)].concat(),
        [header(1), lying(b"abc", 3, 2)].concat(),
        [header(1), lying(b"abc", 3, 0)].concat(),
        [header(1), lying(b"abc", 3, u32::MAX)].concat(),
        // Records that look like batches.
        after_one(&[&batch(2, &[&three, &one])]),
    ]
}
