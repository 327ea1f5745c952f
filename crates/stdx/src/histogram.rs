//! A histogram that many threads fill at once: atomic counters, no lock, no allocation.

use std::{
    fmt::{self, Display, Write},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Counts of values by upper bound, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than there are bounds: the last counts what is above all of them.
    counts: Box<[AtomicU64]>,
    /// In billionths, so that a sum of durations loses nothing.
    sum: AtomicU64,
}

impl Histogram {
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    pub fn observe_duration(&self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.count(elapsed.as_secs_f64(), nanos);
    }

    pub fn observe_seconds(&self, seconds: u64) {
        self.count(seconds as f64, seconds.saturating_mul(1_000_000_000));
    }

    pub fn observe_bytes(&self, bytes: u64) {
        self.count(bytes as f64, bytes.saturating_mul(1_000_000_000));
    }

    /// Counts many at once: neighbours of about one size cost one addition, on a line that many threads write to.
    pub fn observe_bytes_of_each(&self, sizes: impl IntoIterator<Item = u64>) {
        let (mut at, mut run, mut bytes) = (0, 0, 0_u64);
        for size in sizes {
            let bucket = self.bucket(size as f64);
            if bucket != at {
                self.counts[at].fetch_add(std::mem::take(&mut run), Relaxed);
                at = bucket;
            }
            run += 1;
            bytes += size;
        }
        self.counts[at].fetch_add(run, Relaxed);
        self.sum.fetch_add(bytes.saturating_mul(1_000_000_000), Relaxed);
    }

    fn count(&self, value: f64, billionths: u64) {
        self.counts[self.bucket(value)].fetch_add(1, Relaxed);
        self.sum.fetch_add(billionths, Relaxed);
    }

    fn bucket(&self, value: f64) -> usize {
        self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len())
    }

    pub fn bounds(&self) -> &'static [f64] {
        self.bounds
    }

    /// How many values there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// Adds what another one with the same bounds has counted.
    pub fn merge(&self, other: &Self) {
        for (count, more) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(more.load(Relaxed), Relaxed);
        }
        self.sum.fetch_add(other.sum.load(Relaxed), Relaxed);
    }

    /// Its lines of the exposition; `labels` without braces.
    pub fn write(&self, out: &mut String, name: &str, labels: impl Display) {
        let labels = labels.to_string();
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (index, count) in self.counts.iter().enumerate() {
            total += count.load(Relaxed);
            let bound = Bound(self.bounds.get(index).copied());
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}");
        }
        let sum = self.sum.load(Relaxed) as f64 / 1e9;
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        let _ = writeln!(out, "{name}_sum{labels} {sum}\n{name}_count{labels} {total}");
    }
}

/// A bound as Prometheus' own library writes it: `0.5`, `1e+06`, `5e-07`, `+Inf`. Series must keep their names when a
/// dashboard is pointed from one server to another.
struct Bound(Option<f64>);

impl Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("+Inf"),
            Some(bound) if bound == 0.0 || (1e-4..1e6).contains(&bound) => write!(f, "{bound}"),
            Some(bound) => {
                let text = format!("{bound:e}");
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
                write!(f, "{digits}e{sign}{exponent:0>2}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_up_to_each_bound() {
        let sizes = Histogram::new(&[1e3, 1e6]);
        for bytes in [1, 1_000, 1_001, 2_000_000] {
            sizes.observe_bytes(bytes);
        }
        let mut text = String::new();
        sizes.write(&mut text, "sizes", "verb=\"GET\"");
        let expect = "sizes_bucket{verb=\"GET\",le=\"1000\"} 2\nsizes_bucket{verb=\"GET\",le=\"1e+06\"} 3\n\
                      sizes_bucket{verb=\"GET\",le=\"+Inf\"} 4\nsizes_sum{verb=\"GET\"} 2002002\nsizes_count{verb=\"GET\"} 4\n";
        assert_eq!(text, expect);
    }

    #[test]
    fn bounds_are_written_as_everywhere_else() {
        for (bound, expect) in [
            (0.0, "0"),
            (5e-7, "5e-07"),
            (0.0005, "0.0005"),
            (0.512, "0.512"),
            (604_800.0, "604800"),
            (1e6, "1e+06"),
            (1.05e6, "1.05e+06"),
            (2.592e6, "2.592e+06"),
            (3.1104e7, "3.1104e+07"),
            (1e12, "1e+12"),
        ] {
            assert_eq!(Bound(Some(bound)).to_string(), expect);
        }
    }
}
