//! The journal against failing disks, damage and its own promises.

mod damage;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use stdx::{Random, SeededRandom};

use crate::{
    Appender, Config, Disk, GroupLimits, Journal, JournalError, SystemDisk,
    end::{End, EndFile},
    frame::SEGMENT_HEADER,
    is_unused,
    simulation::{self, Faults, SimulatedDisk, recover_from},
};

fn config(disk: &SimulatedDisk, segment_bytes: u64) -> Config {
    Config {
        dir: "/journal".into(),
        segment_bytes,
        accept_loss: false,
        disk: Arc::new(disk.clone()),
        random: Arc::new(SeededRandom::new(5)),
    }
}

fn open(disk: &SimulatedDisk) -> Result<Journal, JournalError> {
    open_with(config(disk, 4096))
}

fn open_large(disk: &SimulatedDisk) -> Result<Journal, JournalError> {
    open_with(config(disk, 1 << 20))
}

fn open_with(config: Config) -> Result<Journal, JournalError> {
    if is_unused(&*config.disk, &config.dir)? { Journal::create(config) } else { Journal::open(config) }
}

fn content(disk: &SimulatedDisk, path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    disk.edit(path, |bytes| content.clone_from(bytes));
    content
}

/// The page cache that had it is lost: the end file says what it said when the journal was started.
fn forget_end(disk: &SimulatedDisk) {
    let nothing = End { segment: 1, offset: SEGMENT_HEADER as u64, next: 1 };
    EndFile::create(disk, Path::new("/journal"), nothing).unwrap();
}

fn record(sequence: u64, size: usize) -> Bytes {
    let mut bytes = sequence.to_le_bytes().to_vec();
    bytes.resize(8 + size, sequence as u8);
    bytes.into()
}

fn contents(journal: &Journal, from: u64) -> Result<Vec<(u64, Bytes)>, JournalError> {
    journal.segments().read(from)?.collect()
}

/// Appends `count` batches of one record each.
fn fill(journal: &mut Journal, count: u64, size: usize) {
    for _ in 0..count {
        let next = journal.next_sequence();
        assert_eq!(journal.append(&[record(next, size)]).unwrap(), next..next + 1);
    }
}

#[test]
fn records_are_read_back_from_any_sequence_and_after_reopening() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk).unwrap();
    fill(&mut journal, 100, 200);
    let batch: Vec<Bytes> = (101..=110).map(|sequence| record(sequence, 3)).collect();
    assert_eq!(journal.append(&batch).unwrap(), 101..111);
    assert!(journal.segments().sizes().len() > 3, "segments have a limit");
    drop(journal);
    disk.crash();
    let journal = open(&disk).unwrap();
    assert_eq!(journal.next_sequence(), 111);
    for from in [1, 2, 57, 105, 110, 111] {
        let found = contents(&journal, from).unwrap();
        assert_eq!(found.len() as u64, 111 - from);
        assert!(found.iter().all(|(sequence, bytes)| bytes[..8] == sequence.to_le_bytes()));
        assert_eq!(found.first().map(|(sequence, _)| *sequence), (from < 111).then_some(from));
    }
}

#[test]
fn only_whole_old_segments_are_dropped() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk).unwrap();
    fill(&mut journal, 100, 200);
    let segments = journal.segments();
    let (second, third) = (segments.sizes()[1].0, segments.sizes()[2].0);
    segments.drop_before(third - 1).unwrap();
    assert_eq!(segments.first(), second);
    assert!(matches!(contents(&journal, 1), Err(JournalError::Missing { sequence: 1, next }) if next == second));
    segments.drop_before(u64::MAX).unwrap();
    assert_eq!(segments.sizes().len(), 1, "the segment being written stays");
    fill(&mut journal, 1, 200);
    disk.crash();
    assert_eq!(open(&disk).unwrap().next_sequence(), 102);
}

#[test]
fn damage_in_an_old_segment_and_a_missing_segment_are_errors_of_the_reader() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk).unwrap();
    fill(&mut journal, 60, 200);
    let files = disk.files();
    disk.edit(&files[1], |bytes| bytes[100] ^= 1);
    let error = contents(&open(&disk).unwrap(), 1).unwrap_err();
    assert!(matches!(&error, JournalError::Corrupt { segment, offset: 32, .. } if *segment == files[1]), "{error}");
    disk.edit(&files[1], |bytes| bytes.truncate(32));
    assert!(matches!(contents(&open(&disk).unwrap(), 1), Err(JournalError::Missing { .. })));
    disk.remove(&files[1]).unwrap();
    assert!(matches!(contents(&open(&disk).unwrap(), 1), Err(JournalError::Missing { .. })));
}

#[test]
fn a_record_that_looks_like_a_batch_is_not_taken_for_one() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open_large(&disk).unwrap();
    fill(&mut journal, 1, 20);
    let mut image = Vec::new();
    disk.edit(&disk.files()[0], |bytes| image.clone_from(bytes));
    // A copy of a whole segment inside the torn last batch of another one with its own salt.
    let other = SimulatedDisk::new(2);
    let mut journal = open_with(Config { random: Arc::new(SeededRandom::new(6)), ..config(&other, 1 << 20) }).unwrap();
    journal.append(&[image.repeat(3)]).unwrap();
    journal.mark_end().unwrap();
    let path = other.files()[0].clone();
    other.edit(&path, |bytes| bytes.truncate(bytes.len() - 1));
    forget_end(&other);
    assert_eq!(Journal::open(config(&other, 1 << 20)).unwrap().next_sequence(), 1);
}

#[test]
fn a_full_disk_refuses_writers_and_recovers() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk).unwrap();
    fill(&mut journal, 10, 200);
    journal.mark_end().unwrap();
    disk.set_capacity(disk.used() + 50);
    for _ in 0..20 {
        assert!(matches!(journal.append(&[record(0, 500)]), Err(JournalError::Io { .. })));
        assert_eq!(contents(&journal, 1).unwrap().len(), 10, "reading goes on");
    }
    disk.set_capacity(usize::MAX);
    fill(&mut journal, 10, 200);
    disk.crash();
    assert_eq!(contents(&open(&disk).unwrap(), 1).unwrap().len(), 20);
}

#[test]
fn batches_are_written_into_room_made_before_them() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open_large(&disk).unwrap();
    fill(&mut journal, 1, 200);
    let used = disk.used();
    disk.set_capacity(used);
    fill(&mut journal, 100, 200);
    assert_eq!(disk.used(), used, "nothing has grown");
    // Whether the process ends or not, there is none after the next opening, and it is not told of as something lost.
    let ends: [fn(&SimulatedDisk, &mut Journal); 3] =
        [|disk, _| disk.kill(), |disk, _| disk.crash(), |_, journal| journal.mark_end().unwrap()];
    for end in ends {
        disk.set_capacity(usize::MAX);
        fill(&mut journal, 1, 200);
        end(&disk, &mut journal);
        journal = open_large(&disk).unwrap();
        assert_eq!(journal.dropped(), None);
        let batches: u64 = journal.segments().sizes().iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(content(&disk, &disk.files()[0]).len() as u64, batches);
    }
    assert_eq!(contents(&journal, 1).unwrap().len(), 104);
}

#[test]
fn what_is_too_large_is_refused() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk).unwrap();
    let large = vec![0; crate::MAX_RECORD_BYTES + 1];
    assert!(matches!(journal.append(&[&large]), Err(JournalError::TooLarge { .. })));
    let half = &large[..large.len() / 2 + 1];
    assert!(matches!(journal.append(&[half; 4]), Err(JournalError::TooLarge { .. })));
    fill(&mut journal, 1, 1);
}

/// Random work on a failing disk: what was acknowledged is there after every crash, in order, once.
fn survive(seed: u64) {
    let disk = SimulatedDisk::new(seed);
    let random = SeededRandom::new(seed ^ 0xabcd);
    // What is in the journal for certain, and the batch that a crash may have left there.
    let mut acknowledged: Vec<Bytes> = Vec::new();
    let mut unique = 0;
    for _ in 0..12 {
        disk.set_faults(Faults::default());
        let mut journal = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        disk.set_faults(Faults { short_write: 100, failed_write: 20, failed_sync: 60, failed_create: 60 });
        let mut refused: Option<Vec<Bytes>> = None;
        for _ in 0..random.below(60) {
            let batch: Vec<Bytes> = (0..1 + random.below(4))
                .map(|_| {
                    unique += 1;
                    record(unique, random.below(900) as usize)
                })
                .collect();
            match journal.append(&batch) {
                Ok(_) => (acknowledged, refused) = ([acknowledged, batch].concat(), None),
                Err(_) => refused = Some(batch),
            }
        }
        if random.below(3) == 0 {
            disk.kill()
        } else {
            disk.crash()
        }
        disk.set_faults(Faults::default());
        let journal = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found: Vec<Bytes> = contents(&journal, 1).unwrap().into_iter().map(|(_, bytes)| bytes).collect();
        let with_refused = [acknowledged.clone(), refused.unwrap_or_default()].concat();
        assert!(found == acknowledged || found == with_refused, "seed {seed}");
        acknowledged = found;
        disk.kill();
    }
}

#[test]
fn acknowledged_records_survive_failing_disks_and_crashes() {
    (0..400).for_each(survive);
}

#[test]
fn recovery_copes_with_mutated_segments() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open_large(&disk).unwrap();
    fill(&mut journal, 8, 30);
    let mut image = Vec::new();
    disk.edit(&disk.files()[0], |bytes| image.clone_from(bytes));
    simulation::segments().iter().for_each(|bytes| recover_from(bytes));
    let random = SeededRandom::new(9);
    let below = |bound: usize| random.below(bound as u64) as usize;
    for _ in 0..3000 {
        let mut bytes = image.clone();
        for _ in 0..1 + below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = below(bytes.len());
            match below(5) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes.truncate(at),
                2 => drop(bytes.drain(at..(at + below(60)).min(image.len()).min(bytes.len()).max(at))),
                3 => bytes.extend_from_within(at..),
                _ => bytes[at..].fill(0),
            }
        }
        recover_from(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_of_any_shape_are_read_back(
        batches in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8), 0..30),
        segment_bytes in 1_u64..3000,
    ) {
        let disk = SimulatedDisk::new(3);
        let mut journal = open_with(config(&disk, segment_bytes)).unwrap();
        for batch in &batches {
            journal.append(batch).unwrap();
        }
        disk.crash();
        let journal = open_with(config(&disk, segment_bytes)).unwrap();
        let found: Vec<Vec<u8>> = contents(&journal, 1).unwrap().into_iter().map(|(_, bytes)| bytes.to_vec()).collect();
        prop_assert_eq!(found, batches.concat());
    }
}

#[tokio::test]
async fn many_writers_share_syncs_and_each_learns_its_own_sequence() {
    let disk = SimulatedDisk::new(1);
    let appender = Appender::spawn("test", open(&disk).unwrap(), GroupLimits::default()).unwrap();
    let oversized = appender.append(vec![vec![0; crate::MAX_RECORD_BYTES + 1].into()]).await;
    assert!(oversized.unwrap().is_err());
    let writers: Vec<_> = (0..500_u64)
        .map(|writer| {
            let appender = appender.clone();
            tokio::spawn(async move {
                let sequence = appender.append(vec![record(writer, 10), record(writer, 11)]).await.unwrap().unwrap();
                (sequence, writer)
            })
        })
        .collect();
    let mut sequences = Vec::new();
    for writer in writers {
        sequences.push(writer.await.unwrap());
    }
    assert!(disk.activity().0 < 400, "writers share syncs");
    disk.crash();
    let found = contents(&open(&disk).unwrap(), 1).unwrap();
    assert_eq!(found.len(), 1000);
    for (sequence, writer) in sequences {
        assert_eq!(found[sequence as usize - 1].1, record(writer, 10));
        assert_eq!(found[sequence as usize].1, record(writer, 11));
    }
}

#[test]
fn a_real_directory_is_locked_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let lock = SystemDisk.lock(&dir.path().join("lock")).unwrap();
    let refused = SystemDisk.lock(&dir.path().join("lock")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    drop(lock);
    SystemDisk.lock(&dir.path().join("lock")).unwrap();
    let journal_dir = dir.path().join("journal");
    let open = || open_with(Config { segment_bytes: 4096, ..Config::new(&journal_dir) }).unwrap();
    fill(&mut open(), 40, 300);
    let mut journal = open();
    fill(&mut journal, 1, 300);
    assert_eq!(contents(&journal, 1).unwrap().len(), 41);
    std::fs::remove_dir_all(&journal_dir).unwrap();
    assert!(matches!(journal.append(&[b"x"]), Err(JournalError::Gone(_))));
    std::fs::create_dir(&journal_dir).unwrap();
    assert!(matches!(journal.append(&[b"x"]), Err(JournalError::Gone(_))));
    assert!(matches!(journal.segments().check(), Err(JournalError::Gone(_))));
}
