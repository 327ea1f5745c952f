//! Cut, flipped, foreign and missing files: what a crash can leave is repaired, anything else is refused.

use std::path::Path;

use super::{config, content, contents, fill, forget_end, open, open_large};
use crate::{
    Config, Disk, Dropped, Journal, JournalError,
    end::{End, EndFile},
    frame::SEGMENT_HEADER,
    simulation::SimulatedDisk,
};

#[test]
fn a_torn_tail_is_cut_at_every_length_and_told() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open_large(&disk).unwrap();
    fill(&mut journal, 3, 20);
    journal.mark_end().unwrap();
    let (path, end) = (disk.files()[0].clone(), disk.files()[1].clone());
    let (before, end_before) = (content(&disk, &path).len(), content(&disk, &end));
    fill(&mut journal, 1, 20);
    journal.mark_end().unwrap();
    let whole = content(&disk, &path);
    for length in before..whole.len() {
        for zeroes in [0, 1, 700] {
            disk.kill();
            let mut torn = whole[..length].to_vec();
            torn.resize(length + zeroes, 0);
            disk.edit(&path, |content| content.clone_from(&torn));
            disk.edit(&end, |content| content.clone_from(&end_before));
            let mut journal = open_large(&disk).unwrap();
            assert_eq!(journal.next_sequence(), 4, "cut to {length}");
            // Zeroes at the end are room for more, and no loss.
            let written = torn.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let bytes = written.saturating_sub(before) as u64;
            let dropped = Dropped { segment: path.clone(), offset: before as u64, bytes, lost: 0 };
            assert_eq!(journal.dropped(), Some(&dropped).filter(|dropped| dropped.bytes > 0));
            fill(&mut journal, 1, 5);
            assert_eq!(contents(&journal, 1).unwrap().len(), 4);
        }
    }
}

/// Whatever happens to the only segment of a journal whose end is known is refused, and leaves it as it is.
#[test]
fn no_cut_and_no_flipped_bit_before_the_known_end_goes_unnoticed() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open_large(&disk).unwrap();
    fill(&mut journal, 4, 20);
    journal.mark_end().unwrap();
    let path = disk.files()[0].clone();
    let whole = content(&disk, &path);
    let damaged = (0..whole.len()).flat_map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x20;
        let zeroed = [&whole[..at], &vec![0; whole.len() - at]].concat();
        [flipped, whole[..at].to_vec(), zeroed]
    });
    for bytes in damaged.filter(|bytes| *bytes != whole) {
        let at = whole.iter().zip(&bytes).position(|(byte, found)| byte != found).unwrap_or(bytes.len());
        disk.edit(&path, |content| content.clone_from(&bytes));
        let error = open_large(&disk).unwrap_err();
        let (JournalError::Lost { segment, offset, .. } | JournalError::Corrupt { segment, offset, .. }) = &error
        else {
            panic!("damage at {at} gave {error}");
        };
        assert_eq!(*segment, path);
        assert!(*offset as usize <= at);
        assert!(error.is_damage());
        assert_eq!(content(&disk, &path), bytes, "nothing is changed");
    }
    disk.edit(&path, |content| content.clone_from(&whole));
    assert_eq!(open_large(&disk).unwrap().next_sequence(), 5);
}

#[test]
fn loss_is_accepted_only_when_that_is_asked_for() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open_large(&disk).unwrap();
    fill(&mut journal, 10, 20);
    journal.mark_end().unwrap();
    let path = disk.files()[0].clone();
    let whole = content(&disk, &path);
    let batch = (whole.len() - SEGMENT_HEADER) / 10;
    let accepting = || Config { accept_loss: true, ..config(&disk, 1 << 20) };
    for (at, left) in [(SEGMENT_HEADER + 7 * batch + 5, 7), (whole.len() - 1, 9), (10, 0)] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        disk.edit(&path, |content| content.clone_from(&flipped));
        assert!(open_large(&disk).unwrap_err().is_damage());
        let mut journal = Journal::open(accepting()).unwrap();
        let dropped = journal.dropped().unwrap().clone();
        assert_eq!((journal.next_sequence(), dropped.lost), (left + 1, 10 - left));
        fill(&mut journal, 1, 20);
        assert_eq!(contents(&open_large(&disk).unwrap(), 1).unwrap().len() as u64, left + 1, "and it is whole again");
        disk.edit(&path, |content| content.clone_from(&whole));
        EndFile::create(&disk, Path::new("/journal"), End { segment: 1, offset: whole.len() as u64, next: 11 })
            .unwrap();
    }
    assert_eq!(Journal::open(accepting()).unwrap().dropped(), None);
}

/// After a power failure the end file may be old. What proves then that a batch was durable is the next one.
#[test]
fn without_a_known_end_only_the_last_batch_can_be_taken_for_torn() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open_large(&disk).unwrap();
    fill(&mut journal, 3, 20);
    journal.mark_end().unwrap();
    let path = disk.files()[0].clone();
    let last = content(&disk, &path).len();
    fill(&mut journal, 1, 20);
    journal.mark_end().unwrap();
    let whole = content(&disk, &path);
    let next_to_last = last - (whole.len() - last);
    forget_end(&disk);
    for at in 0..whole.len() {
        disk.edit(&path, |bytes| bytes[at] ^= 0x20);
        let result = open_large(&disk);
        match result {
            Ok(journal) if at >= last => {
                let bytes = (whole.len() - last) as u64;
                let expected = Dropped { segment: path.clone(), offset: last as u64, bytes, lost: 0 };
                assert_eq!(journal.dropped(), Some(&expected));
            }
            Err(error) if at < last => assert!(error.is_damage(), "damage at {at} gave {error}"),
            other => panic!("damage at {at} gave {other:?}"),
        }
        disk.edit(&path, |bytes| bytes.clone_from(&whole));
    }
    // The header of a later batch is proof enough, and so is a batch that is not the next one.
    let mut torn = whole.clone();
    torn[next_to_last + 40] ^= 1;
    torn.truncate(whole.len() - 1);
    for bytes in [torn, [&whole[..next_to_last], &whole[last..]].concat(), [&whole[..], &whole[last..]].concat()] {
        disk.edit(&path, |content| content.clone_from(&bytes));
        assert!(open_large(&disk).unwrap_err().is_damage());
    }
}

#[test]
fn a_segment_that_no_crash_left_is_refused_and_not_removed() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk).unwrap();
    fill(&mut journal, 30, 200);
    let next = journal.next_sequence();
    for (first, bytes, accepted) in [
        (99_999, &b"x"[..], false),
        (99_999, b"", false),
        (next, b"x", false),
        (next, b"jour", true),
        (next, b"", true),
    ] {
        let path = Path::new("/journal").join(format!("{first:020}.log"));
        disk.create(&path).unwrap();
        disk.edit(&path, |content| content.extend_from_slice(bytes));
        match open(&disk) {
            Ok(journal) => assert!(accepted && journal.next_sequence() == next, "{first} {bytes:?}"),
            Err(error) => {
                assert!(
                    !accepted && matches!(&error, JournalError::Astray { segment, .. } if *segment == path),
                    "{error}"
                );
                assert_eq!(content(&disk, &path), bytes);
                disk.remove(&path).unwrap();
            }
        }
    }
}

#[test]
fn a_journal_without_its_files_is_refused() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk).unwrap();
    fill(&mut journal, 1, 20);
    assert!(matches!(Journal::create(config(&disk, 4096)), Err(JournalError::Exists(_))));
    let (segment, end) = (disk.files()[0].clone(), disk.files()[1].clone());
    for path in [&segment, &end] {
        let moved = path.with_extension("moved");
        disk.rename(path, &moved).unwrap();
        let error = Journal::open(config(&disk, 4096)).unwrap_err();
        match &error {
            JournalError::Gone(gone) => assert_eq!(gone, &segment),
            JournalError::Unmarked(gone) => assert_eq!(gone, &end),
            _ => panic!("{error}"),
        }
        disk.rename(&moved, path).unwrap();
    }
    // One torn slot of the end file is what a crash may leave; the other one still stands.
    disk.edit(&end, |bytes| bytes[20] ^= 1);
    fill(&mut open(&disk).unwrap(), 1, 20);
    disk.edit(&end, |bytes| bytes.clear());
    assert!(matches!(open(&disk), Err(JournalError::Unmarked(gone)) if gone == end));
    // Where that is accepted, it is marked anew.
    Journal::open(Config { accept_loss: true, ..config(&disk, 4096) }).unwrap();
    open(&disk).unwrap();
}

#[test]
fn nothing_is_acknowledged_where_the_segment_is_not_in_its_place() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk).unwrap();
    fill(&mut journal, 5, 20);
    let (path, moved) = (disk.files()[0].clone(), Path::new("/journal/moved"));
    let segments = journal.segments();
    disk.rename(&path, moved).unwrap();
    for replaced in [false, true] {
        if replaced {
            disk.create(&path).unwrap();
        }
        assert!(matches!(segments.check(), Err(JournalError::Gone(gone)) if gone == path));
        for _ in 0..2 {
            assert!(matches!(journal.append(&[b"x"]), Err(JournalError::Gone(gone)) if gone == path));
        }
        assert_eq!(journal.next_sequence(), 6);
    }
    disk.rename(moved, &path).unwrap();
    segments.check().unwrap();
    fill(&mut journal, 1, 20);
    segments.check().unwrap();
    disk.crash();
    assert_eq!(contents(&open(&disk).unwrap(), 1).unwrap().len(), 6);
}

/// Whatever segment of an open journal is removed, replaced or cut, old ones too: a look finds it, and nothing is
/// acknowledged until it is back.
#[test]
fn a_look_at_an_open_journal_finds_what_is_missing() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk).unwrap();
    fill(&mut journal, 60, 200);
    let segments = journal.segments();
    assert!(segments.sizes().len() > 2);
    let files: Vec<_> = disk.files().into_iter().filter(|path| path.extension().is_some()).collect();
    let moved = Path::new("/journal/moved");
    for path in &files {
        disk.rename(path, moved).unwrap();
        for replaced in [false, true] {
            if replaced {
                disk.create(path).unwrap();
            }
            for result in [segments.check(), journal.append(&[b"x"]).map(drop)] {
                assert!(matches!(&result, Err(JournalError::Gone(gone)) if gone == path), "{result:?}");
            }
        }
        disk.rename(moved, path).unwrap();
        fill(&mut journal, 1, 20);
    }
    for path in &files {
        journal.mark_end().unwrap();
        let whole = content(&disk, path);
        disk.edit(path, |content| content.truncate(whole.len() - 1));
        for result in [segments.check(), journal.append(&[b"x"]).map(drop)] {
            let at = whole.len() as u64 - 1;
            assert!(
                matches!(&result, Err(JournalError::Corrupt { segment, offset, .. }) if segment == path && *offset == at),
                "{result:?}"
            );
        }
        disk.edit(path, |content| content.clone_from(&whole));
        fill(&mut journal, 1, 20);
    }
    // An old segment that is gone when it is to be dropped is as good as dropped.
    disk.remove(&files[0]).unwrap();
    assert!(segments.check().is_err());
    segments.drop_before(segments.sizes()[1].0).unwrap();
    fill(&mut journal, 1, 20);
}

/// The mark of the end says nothing that an open journal does not know: it is made anew by the next batch, or at an
/// orderly end, whether anybody looked for it meanwhile or not. Until then a look finds it missing.
#[test]
fn a_mark_that_is_removed_is_made_anew() {
    for (replaced, looked, appended) in
        [(false, false, true), (false, true, true), (true, true, true), (false, false, false), (true, true, false)]
    {
        let disk = SimulatedDisk::new(1);
        let mut journal = open(&disk).unwrap();
        fill(&mut journal, 60, 200);
        let segments = journal.segments();
        let mark = disk.files().into_iter().find(|path| path.extension().is_none()).unwrap();
        disk.remove(&mark).unwrap();
        if replaced {
            disk.create(&mark).unwrap();
        }
        if looked {
            assert!(matches!(segments.check(), Err(JournalError::Gone(gone)) if gone == mark));
        }
        if appended {
            fill(&mut journal, 1, 20);
        } else {
            journal.mark_end().unwrap();
        }
        segments.check().unwrap();
        disk.crash();
        let records = if appended { 61 } else { 60 };
        assert_eq!(contents(&open(&disk).unwrap(), 1).unwrap().len(), records, "{replaced} {looked} {appended}");
    }
}

/// The segment being written is not appended to behind a cut that nobody has looked for.
#[test]
fn a_cut_is_not_filled_with_zeroes() {
    let disk = SimulatedDisk::new(1);
    let mut journal = open_large(&disk).unwrap();
    fill(&mut journal, 3, 20);
    let path = disk.files()[0].clone();
    disk.edit(&path, |content| content.truncate(SEGMENT_HEADER + 5));
    let error = journal.append(&[b"x"]).unwrap_err();
    assert!(matches!(error, JournalError::Corrupt { offset, .. } if offset as usize == SEGMENT_HEADER + 5), "{error}");
}
