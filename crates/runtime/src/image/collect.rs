//! What goes when the disk fills up: images that nobody uses, the longest unused first.

use std::time::Duration;

use jiff::Timestamp;

/// A kubelet's `imageGCHighThresholdPercent`, `imageGCLowThresholdPercent`, `imageMinimumGCAge` and `imageMaximumGCAge`.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// From so much in use on, images go,
    pub high_percent: u64,
    /// until so much is.
    pub low_percent: u64,
    /// No image goes that came later than so long ago.
    pub min_age: Duration,
    /// One that was not used for so long goes, however much room there is.
    pub max_age: Option<Duration>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, min_age: Duration::from_secs(120), max_age: None }
    }
}

/// The file system that images are on.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    pub capacity_bytes: u64,
    pub available_bytes: u64,
}

#[derive(Debug, Clone)]
pub struct Candidate {
    pub id: String,
    /// What its layers take, also those that it shares.
    pub size_bytes: u64,
    pub is_in_use: bool,
    pub came: Timestamp,
    /// When a container of it was last seen; when it came, if there was none.
    pub last_used: Timestamp,
}

/// The images to remove, in their order.
pub fn choose(mut candidates: Vec<Candidate>, disk: Disk, thresholds: Thresholds, now: Timestamp) -> Vec<String> {
    let age = |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
    candidates.retain(|image| !image.is_in_use && age(image.came) >= thresholds.min_age);
    candidates.sort_by(|a, b| (a.last_used, a.came, &a.id).cmp(&(b.last_used, b.came, &b.id)));
    let mut wanted_bytes = excess_bytes(disk, thresholds);
    let mut chosen = Vec::new();
    for image in candidates {
        let is_old = thresholds.max_age.is_some_and(|most| age(image.last_used) > most);
        if is_old || wanted_bytes > 0 {
            wanted_bytes = wanted_bytes.saturating_sub(image.size_bytes);
            chosen.push(image.id);
        }
    }
    chosen
}

/// How much has to go.
fn excess_bytes(Disk { capacity_bytes, available_bytes }: Disk, thresholds: Thresholds) -> u64 {
    let percent = |part: u64| u64::try_from(u128::from(capacity_bytes) * u128::from(part) / 100).unwrap_or(u64::MAX);
    let used_bytes = capacity_bytes.saturating_sub(available_bytes);
    if capacity_bytes == 0 || used_bytes < percent(thresholds.high_percent) {
        return 0;
    }
    used_bytes.saturating_sub(percent(thresholds.low_percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + minute * 60).unwrap()
    }

    fn image(id: &str, size_bytes: u64, last_used: i64) -> Candidate {
        Candidate { id: id.to_owned(), size_bytes, is_in_use: false, came: at(0), last_used: at(last_used) }
    }

    #[test]
    fn the_longest_unused_go_until_there_is_room() {
        let images =
            || vec![image("newest", 30, 9), image("oldest", 30, 1), image("older", 30, 2), image("newer", 30, 3)];
        for (available_bytes, expect) in [
            // 1,000 bytes: from 850 in use on, down to 800.
            (151, vec![]),
            (150, vec!["oldest", "older"]),
            (130, vec!["oldest", "older", "newer"]),
            (0, vec!["oldest", "older", "newer", "newest"]),
        ] {
            let disk = Disk { capacity_bytes: 1000, available_bytes };
            assert_eq!(choose(images(), disk, Thresholds::default(), at(10)), expect, "{available_bytes}");
        }
    }

    #[test]
    fn what_is_used_or_new_stays() {
        let mut used = image("used", 500, 1);
        used.is_in_use = true;
        let mut new = image("new", 500, 1);
        new.came = at(9);
        let full = Disk { capacity_bytes: 1000, available_bytes: 0 };
        let images = vec![used, new, image("other", 1, 5)];
        assert_eq!(choose(images.clone(), full, Thresholds::default(), at(10)), ["other"]);
        let unknown = Disk { capacity_bytes: 0, available_bytes: 0 };
        assert!(choose(images, unknown, Thresholds::default(), at(10)).is_empty());
    }

    #[test]
    fn what_nobody_used_for_too_long_goes_from_an_empty_disk_too() {
        let thresholds = Thresholds { max_age: Some(Duration::from_secs(300)), ..Thresholds::default() };
        let empty = Disk { capacity_bytes: 1000, available_bytes: 1000 };
        let images = vec![image("a", 1, 4), image("b", 1, 5), image("c", 1, 6)];
        assert_eq!(choose(images, empty, thresholds, at(10)), ["a"]);
    }
}
