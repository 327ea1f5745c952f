//! The series of requests in Prometheus' text format.

use std::{
    fmt::{self, Display, Write},
    sync::atomic::Ordering::Relaxed,
};

use super::{CODES, EVENT_BYTES, LATER_CODES, Labels, Requests, SYSTEM_CLIENTS, Series};
use crate::metrics::histogram::Histogram;

impl Requests {
    /// `is_deprecated` tells the resources that clients are warned of.
    pub fn write(&self, out: &mut String, is_deprecated: &dyn Fn(Labels<'_>) -> bool) {
        let table = self.table.load();
        let mut all: Vec<&Series> = table.values().map(|series| &**series).collect();
        all.sort_by(|a, b| a.place().cmp(&b.place()));
        let name = "apiserver_request_duration_seconds";
        let help = "Time to answer, in seconds; of a watch, until it began.";
        write_counts(out, &all);
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for series in all.iter().filter(|series| !series.duration.is_empty()) {
            series.duration.write(out, name, Shown { series, with_dry_run: true });
        }
        // The other families do not tell dry runs apart, which stand beside what was meant.
        let merged: Vec<&[&Series]> = all.chunk_by(|a, b| a.place()[..6] == b.place()[..6]).collect();
        let families: [Family; 2] = [
            (
                "apiserver_request_sli_duration_seconds",
                "Time to answer, in seconds, as service levels count it.",
                |series| Some(&series.objective),
            ),
            ("apiserver_response_sizes", "Size of answers to reads, in bytes before compression.", |series| {
                Some(&series.response_bytes)
            }),
        ];
        for (name, help, histogram) in families {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
            for alike in &merged {
                write_sum(out, name, alike, histogram, Shown { series: alike[0], with_dry_run: false });
            }
        }
        write_terminations(out, &merged);
        write_watches(out, &merged);
        write_event_sizes(out, &all);
        write_deprecated(out, &all, is_deprecated);
    }
}

/// Name, help, and where a series has it.
type Family = (&'static str, &'static str, fn(&Series) -> Option<&Histogram>);

/// What several series have counted, as one; nothing where nothing was counted.
fn write_sum(
    out: &mut String,
    name: &str,
    alike: &[&Series],
    histogram: fn(&Series) -> Option<&Histogram>,
    labels: impl Display,
) {
    let mut counted = alike.iter().filter_map(|series| histogram(series)).filter(|histogram| !histogram.is_empty());
    let Some(first) = counted.next() else { return };
    let sum = Histogram::new(first.bounds());
    for histogram in std::iter::once(first).chain(counted) {
        sum.merge(histogram);
    }
    sum.write(out, name, labels);
}

fn write_counts(out: &mut String, all: &[&Series]) {
    let name = "apiserver_request_total";
    let _ = writeln!(out, "# HELP {name} Requests by verb, resource and HTTP code.\n# TYPE {name} counter");
    for series in all {
        let labels = Shown { series, with_dry_run: true };
        for (client, by_code) in SYSTEM_CLIENTS.iter().zip(&series.by_code) {
            for (code, count) in CODES.iter().chain(&LATER_CODES).zip(by_code) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let _ = writeln!(out, "{name}{{code=\"{code}\",{labels},system_client=\"{client}\"}} {count}");
                }
            }
        }
    }
}

fn write_terminations(out: &mut String, merged: &[&[&Series]]) {
    let name = "apiserver_request_terminations_total";
    let _ = writeln!(out, "# HELP {name} Requests refused because too much was asked for.\n# TYPE {name} counter");
    for alike in merged {
        let count: u64 = alike.iter().map(|series| series.terminated.load(Relaxed)).sum();
        if count > 0 {
            let labels = Shown { series: alike[0], with_dry_run: false };
            let _ = writeln!(out, "{name}{{code=\"429\",{labels}}} {count}");
        }
    }
}

fn write_watches(out: &mut String, merged: &[&[&Series]]) {
    let watches = || merged.iter().filter(|alike| alike[0].verb == "WATCH");
    let name = "apiserver_longrunning_requests";
    let _ = writeln!(out, "# HELP {name} Watches that go on.\n# TYPE {name} gauge");
    for alike in watches() {
        let running: i64 = alike.iter().map(|series| series.running.load(Relaxed)).sum();
        let _ = writeln!(out, "{name}{{{}}} {running}", Shown { series: alike[0], with_dry_run: false });
    }
    let name = "apiserver_watch_list_duration_seconds";
    let help = "Time until a watch was told the objects that there were, in seconds.";
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
    for alike in watches() {
        let Labels { group, version, resource, scope, .. } = alike[0].labels();
        let labels = format!("group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",version=\"{version}\"");
        write_sum(out, name, alike, |series| series.state_told.get(), labels);
    }
}

/// Of these, clients do not tell scopes apart.
fn write_event_sizes(out: &mut String, all: &[&Series]) {
    let mut by_resource: Vec<(String, Histogram)> = Vec::new();
    for series in all.iter().filter(|series| series.verb == "WATCH") {
        let Labels { group, version, resource, .. } = series.labels();
        let labels = format!("group=\"{group}\",resource=\"{resource}\",version=\"{version}\"");
        if by_resource.last().is_none_or(|(known, _)| *known != labels) {
            by_resource.push((labels, Histogram::new(&EVENT_BYTES)));
        }
        if let Some((_, sizes)) = by_resource.last() {
            sizes.merge(&series.event_bytes);
        }
    }
    let name = "apiserver_watch_events_total";
    let _ = writeln!(out, "# HELP {name} Events that were sent to watches.\n# TYPE {name} counter");
    for (labels, sizes) in &by_resource {
        let _ = writeln!(out, "{name}{{{labels}}} {}", sizes.total());
    }
    let name = "apiserver_watch_events_sizes";
    let _ = writeln!(out, "# HELP {name} Size of events sent to watches, in bytes.\n# TYPE {name} histogram");
    for (labels, sizes) in by_resource.iter().filter(|(_, sizes)| !sizes.is_empty()) {
        sizes.write(out, name, labels);
    }
}

/// A gauge that says which deprecated resources have been asked for; in which release they go is not known of any.
fn write_deprecated(out: &mut String, all: &[&Series], is_deprecated: &dyn Fn(Labels<'_>) -> bool) {
    let name = "apiserver_requested_deprecated_apis";
    let _ = writeln!(out, "# HELP {name} Deprecated resources that have been asked for.\n# TYPE {name} gauge");
    let of = |series: &Series| {
        let Labels { group, version, resource, subresource, .. } = series.labels();
        format!(
            "group=\"{group}\",removed_release=\"\",resource=\"{resource}\",subresource=\"{subresource}\",version=\"{version}\""
        )
    };
    let mut asked: Vec<String> =
        all.iter().filter(|series| is_deprecated(series.labels())).map(|series| of(series)).collect();
    asked.sort();
    asked.dedup();
    for labels in asked {
        let _ = writeln!(out, "{name}{{{labels}}} 1");
    }
}

/// The labels as the exposition has them. All come from tables or from the registry: there is nothing to escape.
struct Shown<'a> {
    series: &'a Series,
    with_dry_run: bool,
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Labels { verb, group, version, resource, subresource, scope, dry_run } = self.series.labels();
        // What is no resource belongs to none, as upstream has it.
        let component = if resource.is_empty() { "" } else { "apiserver" };
        write!(f, "component=\"{component}\",")?;
        if self.with_dry_run {
            write!(f, "dry_run=\"{dry_run}\",")?;
        }
        write!(f, "group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"{subresource}\",")?;
        write!(f, "verb=\"{verb}\",version=\"{version}\"")
    }
}
