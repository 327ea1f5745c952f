//! Series of one family, by their labels, for what is counted less often than once a request: found without a lock, made
//! under one.

use std::{
    collections::HashMap,
    fmt::{Display, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::histogram::Histogram;

/// More series than this come from names that somebody keeps making up; what is beyond is not counted.
const MAX_SERIES: usize = 4_096;

/// By labels as the exposition has them: `name="a",operation="CREATE"`. Their values need no escaping.
#[derive(Debug)]
pub struct Labelled<T> {
    table: ArcSwap<HashMap<Box<str>, Arc<T>>>,
    growing: Mutex<()>,
}

impl<T> Default for Labelled<T> {
    fn default() -> Self {
        Self { table: ArcSwap::default(), growing: Mutex::new(()) }
    }
}

impl<T> Labelled<T> {
    fn series(&self, labels: &str, make: impl FnOnce() -> T) -> Option<Arc<T>> {
        if let Some(found) = self.table.load().get(labels) {
            return Some(Arc::clone(found));
        }
        let _growing = self.growing.lock();
        let table = self.table.load();
        if table.len() >= MAX_SERIES {
            return table.get(labels).cloned();
        }
        let mut next = HashMap::clone(&table);
        let made = Arc::clone(next.entry(labels.into()).or_insert_with(|| Arc::new(make())));
        self.table.store(Arc::new(next));
        Some(made)
    }

    /// Forgets the series of other labels.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let _growing = self.growing.lock();
        let table = self.table.load();
        if !table.keys().all(|labels| keep(labels)) {
            let mut next = HashMap::clone(&table);
            next.retain(|labels, _| keep(labels));
            self.table.store(Arc::new(next));
        }
    }

    /// In the order of the labels.
    fn sorted(&self) -> Vec<(Box<str>, Arc<T>)> {
        let mut all: Vec<_> =
            self.table.load().iter().map(|(labels, series)| (labels.clone(), Arc::clone(series))).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

impl Labelled<AtomicU64> {
    pub fn count(&self, labels: impl Display) {
        if let Some(series) = self.series(&labels.to_string(), AtomicU64::default) {
            series.fetch_add(1, Relaxed);
        }
    }

    /// The family; nothing while it has no series.
    pub fn write(&self, out: &mut String, name: &str, help: &str) {
        write_counters(out, name, help, self.sorted().iter().map(|(labels, count)| (&**labels, count.load(Relaxed))));
    }
}

impl Labelled<Histogram> {
    pub fn observe(&self, labels: impl Display, bounds: &'static [f64], elapsed: std::time::Duration) {
        if let Some(series) = self.series(&labels.to_string(), || Histogram::new(bounds)) {
            series.observe_duration(elapsed);
        }
    }

    /// The family; nothing while it has no series.
    pub fn write(&self, out: &mut String, name: &str, help: &str) {
        let all = self.sorted();
        if !all.is_empty() {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        }
        for (labels, histogram) in all {
            histogram.write(out, name, labels);
        }
    }

    /// A family that only counts what was observed.
    pub fn write_totals(&self, out: &mut String, name: &str, help: &str) {
        write_counters(out, name, help, self.sorted().iter().map(|(labels, series)| (&**labels, series.total())));
    }
}

fn write_counters<'a>(out: &mut String, name: &str, help: &str, series: impl Iterator<Item = (&'a str, u64)>) {
    for (index, (labels, count)) in series.enumerate() {
        if index == 0 {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        }
        let _ = writeln!(out, "{name}{{{labels}}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn series_are_made_once_and_told_in_order() {
        let counts = Labelled::<AtomicU64>::default();
        let text = |counts: &Labelled<AtomicU64>| {
            let mut out = String::new();
            counts.write(&mut out, "calls", "Calls.");
            out
        };
        assert_eq!(text(&counts), "");
        for labels in ["name=\"b\"", "name=\"a\"", "name=\"b\""] {
            counts.count(labels);
        }
        assert_eq!(
            text(&counts),
            "# HELP calls Calls.\n# TYPE calls counter\ncalls{name=\"a\"} 1\ncalls{name=\"b\"} 2\n"
        );
        (0..2 * MAX_SERIES).for_each(|at| counts.count(at));
        assert_eq!(text(&counts).lines().count(), MAX_SERIES + 2);
    }

    #[test]
    fn what_is_observed_is_also_counted() {
        let durations = Labelled::<Histogram>::default();
        durations.observe("name=\"a\"", &[1.0], Duration::from_millis(2));
        let mut out = String::new();
        durations.write(&mut out, "seconds", "Time.");
        durations.write_totals(&mut out, "total", "Calls.");
        assert!(out.contains("seconds_bucket{name=\"a\",le=\"1\"} 1\n"), "{out}");
        assert!(out.ends_with("total{name=\"a\"} 1\n"), "{out}");
    }
}
