//! Sets of completion indexes, as status and policies write them: `1,3-5,7`.

use std::fmt::{self, Display};

/// Intervals in ascending order, with gaps between them; both ends belong to an interval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(u32, u32)>);

impl Indexes {
    /// What of the text lies below `completions`. A part that cannot be read is left out.
    pub fn parse(text: &str, completions: u32) -> Self {
        let mut intervals: Vec<(u32, u32)> = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else { continue };
            if first < completions && first <= last {
                intervals.push((first, last.min(completions - 1)));
            }
        }
        Self::of(intervals)
    }

    fn of(mut intervals: Vec<(u32, u32)>) -> Self {
        intervals.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    pub fn union(&self, other: &Self) -> Self {
        Self::of([&*self.0, &*other.0].concat())
    }

    pub fn contains(&self, index: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> u32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many indexes are in both.
    pub fn overlap(&self, other: &Self) -> u32 {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut count = 0;
        while let (Some(one), Some(another)) = (mine.peek(), theirs.peek()) {
            let (first, last) = (one.0.max(another.0), one.1.min(another.1));
            count += (last + 1).saturating_sub(first);
            if one.1 <= another.1 {
                mine.next()
            } else {
                theirs.next()
            };
        }
        count
    }

    /// The indexes below `completions` that are not in the set, in order.
    pub fn missing(&self, completions: u32) -> impl Iterator<Item = u32> {
        let ends = self.0.iter().copied().chain([(completions, completions)]);
        let starts = [0].into_iter().chain(self.0.iter().map(|(_, last)| last + 1));
        starts.zip(ends).flat_map(move |(start, (end, _))| start..end.min(completions))
    }
}

impl FromIterator<u32> for Indexes {
    fn from_iter<I: IntoIterator<Item = u32>>(indexes: I) -> Self {
        Self::of(indexes.into_iter().map(|index| (index, index)).collect())
    }
}

/// Two neighbours are written as two, more as an interval.
impl Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (first, last) in &self.0 {
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use stdx::{Random, SeededRandom};

    use super::*;

    #[test]
    fn text_is_read_up_to_the_completions_and_written_compressed() {
        for (text, completions, expect) in [
            ("", 5, ""),
            ("0,1", 5, "0,1"),
            ("0,1,2", 5, "0-2"),
            ("0-9", 5, "0-4"),
            ("1,3-5,7", 10, "1,3-5,7"),
            ("1,3-5,7", 5, "1,3,4"),
            ("x,2-y,4", 10, "4"),
            ("7", 0, ""),
        ] {
            assert_eq!(Indexes::parse(text, completions).to_string(), expect, "{text} of {completions}");
        }
    }

    #[test]
    fn intervals_do_what_sets_do() {
        let random = SeededRandom::new(5);
        for _ in 0..500 {
            let bound = 1 + random.below(40);
            let set = || -> BTreeSet<u32> {
                (0..random.below(20)).map(|_| u32::try_from(random.below(bound)).unwrap()).collect()
            };
            let (one, other) = (set(), set());
            let (a, b): (Indexes, Indexes) = (one.iter().copied().collect(), other.iter().copied().collect());
            assert_eq!(a.union(&b), one.union(&other).copied().collect());
            assert_eq!(a.overlap(&b) as usize, one.intersection(&other).count());
            assert_eq!(a.len() as usize, one.len());
            let completions = u32::try_from(random.below(50)).unwrap();
            let missing: Vec<u32> = (0..completions).filter(|index| !one.contains(index)).collect();
            assert_eq!(a.missing(completions).collect::<Vec<_>>(), missing);
            assert!((0..50).all(|index| a.contains(index) == one.contains(&index)));
            assert_eq!(Indexes::parse(&a.to_string(), u32::MAX), a);
        }
    }
}
