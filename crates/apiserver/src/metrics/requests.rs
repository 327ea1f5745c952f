//! What is counted of each request. A series is looked up without a lock and filled with atomic additions;
//! only the first request of its kind takes the lock and copies the table.

use std::{
    collections::HashMap,
    fmt::{self, Display, Write},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Method, StatusCode};
use parking_lot::Mutex;

use super::histogram::Histogram;
use crate::http::{query::Query, target::Target};

/// Upper bounds in seconds; upstream's.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// Objectives are about more than these two.
const OBJECTIVE_SECONDS: [f64; 21] =
    [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
const BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const EVENT_BYTES: [f64; 8] = [1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0];
/// The codes that are answered; any other is counted as 500.
const CODES: [u16; 22] =
    [101, 200, 201, 202, 301, 302, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 413, 414, 415, 422, 429, 500];
const LATER_CODES: [u16; 2] = [503, 504];
/// More series than this come from clients that try everything; they are counted together.
const MAX_SERIES: usize = 4_096;
/// Paths that are counted by themselves.
const PATHS: [&str; 11] = [
    "/healthz",
    "/livez",
    "/readyz",
    "/metrics",
    "/version",
    "/openapi/v2",
    "/openapi/v3",
    "/apis",
    "/api",
    "/statusz",
    "/flagz",
];

/// What requests are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Labels<'a> {
    verb: &'static str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    scope: &'static str,
    dry_run: &'static str,
}

const OTHER: Labels<'static> =
    Labels { verb: "OTHER", group: "", version: "", resource: "", subresource: "", scope: "", dry_run: "" };

impl<'a> Labels<'a> {
    pub fn of(method: &Method, target: &'a Target, path: &str, query: &Query, is_apply: bool) -> Self {
        let dry_run = if query.get("dryRun").is_some() { "All" } else { "" };
        let Target::Resource(asked) = target else {
            let path = path.trim_end_matches('/');
            let is_below =
                |known: &&str| path.strip_prefix(*known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let subresource = PATHS.into_iter().find(is_below).unwrap_or_default();
            return Self { verb: method_name(method), subresource, ..OTHER };
        };
        let scope = match (asked.name.is_empty(), asked.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        let verb = if is_apply && asked.verb == "patch" { "APPLY" } else { upper(asked.verb) };
        let (group, version) = (asked.group.as_str(), asked.version.as_str());
        let (resource, subresource) = (asked.resource.as_str(), asked.subresource.as_str());
        Self { verb, group, version, resource, subresource, scope, dry_run }
    }
}

fn upper(verb: &str) -> &'static str {
    match verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "OTHER",
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        _ => "OTHER",
    }
}

/// Counters of all requests with the same labels.
#[derive(Debug)]
pub struct Series {
    verb: &'static str,
    scope: &'static str,
    dry_run: &'static str,
    group: Box<str>,
    version: Box<str>,
    resource: Box<str>,
    subresource: Box<str>,
    by_code: [AtomicU64; CODES.len() + LATER_CODES.len()],
    duration: Histogram,
    objective: Histogram,
    response_bytes: Histogram,
    running: AtomicI64,
    event_bytes: Histogram,
}

impl Series {
    fn new(labels: Labels<'_>) -> Self {
        Self {
            verb: labels.verb,
            scope: labels.scope,
            dry_run: labels.dry_run,
            group: labels.group.into(),
            version: labels.version.into(),
            resource: labels.resource.into(),
            subresource: labels.subresource.into(),
            by_code: std::array::from_fn(|_| AtomicU64::new(0)),
            duration: Histogram::new(&SECONDS),
            objective: Histogram::new(&OBJECTIVE_SECONDS),
            response_bytes: Histogram::new(&BYTES),
            running: AtomicI64::new(0),
            event_bytes: Histogram::new(&EVENT_BYTES),
        }
    }

    fn labels(&self) -> Labels<'_> {
        Labels {
            verb: self.verb,
            group: &self.group,
            version: &self.version,
            resource: &self.resource,
            subresource: &self.subresource,
            scope: self.scope,
            dry_run: self.dry_run,
        }
    }

    /// Where it is listed.
    fn place(&self) -> [&str; 7] {
        [&self.group, &self.resource, &self.version, self.verb, &self.subresource, self.scope, self.dry_run]
    }

    /// An answer has been made; `bytes` where its length is known.
    pub fn answered(&self, status: StatusCode, elapsed: Duration, bytes: Option<u64>) {
        let mut codes = CODES.iter().chain(&LATER_CODES);
        let at = codes.position(|code| *code == status.as_u16()).unwrap_or(CODES.len() - 1);
        self.by_code[at].fetch_add(1, Relaxed);
        self.duration.observe_duration(elapsed);
        self.objective.observe_duration(elapsed);
        if let (Some(bytes), "GET" | "LIST") = (bytes, self.verb) {
            self.response_bytes.observe_bytes(bytes);
        }
    }

    /// An event was written to a watch.
    pub fn told(&self, bytes: usize) {
        self.event_bytes.observe_bytes(bytes as u64);
    }
}

/// A watch that goes on; counted as long as this lives.
#[derive(Debug)]
pub struct Running(Arc<Series>);

impl Running {
    pub fn of(series: Arc<Series>) -> Self {
        series.running.fetch_add(1, Relaxed);
        Self(series)
    }

    pub fn series(&self) -> &Series {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

/// All series, by the hash of their labels. Two labels with one hash would be counted together with the rest.
#[derive(Debug)]
pub struct Requests {
    table: ArcSwap<HashMap<u64, Arc<Series>>>,
    growing: Mutex<()>,
    hasher: RandomState,
    other: Arc<Series>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            table: ArcSwap::default(),
            growing: Mutex::new(()),
            hasher: RandomState::new(),
            other: Arc::new(Series::new(OTHER)),
        }
    }
}

impl Requests {
    /// The series of the labels; made where they name what exists, and the common one otherwise.
    pub fn series(&self, labels: Labels<'_>, exists: impl FnOnce() -> bool) -> Arc<Series> {
        let hash = self.hasher.hash_one(labels);
        if let Some(found) = self.table.load().get(&hash) {
            return Arc::clone(if found.labels() == labels { found } else { &self.other });
        }
        if !exists() {
            return Arc::clone(&self.other);
        }
        let _growing = self.growing.lock();
        let table = self.table.load();
        if table.len() >= MAX_SERIES {
            return Arc::clone(&self.other);
        }
        let mut next = HashMap::clone(&table);
        let made = Arc::clone(next.entry(hash).or_insert_with(|| Arc::new(Series::new(labels))));
        self.table.store(Arc::new(next));
        made
    }

    pub fn write(&self, out: &mut String) {
        let table = self.table.load();
        let mut all: Vec<&Series> = table.values().map(|series| &**series).collect();
        if !self.other.duration.is_empty() {
            all.push(&self.other);
        }
        all.sort_by(|a, b| a.place().cmp(&b.place()));
        write_counts(out, &all);
        let families: [Family; 3] = [
            (
                "apiserver_request_duration_seconds",
                "Time to answer, in seconds; of a watch, until it began.",
                |series| &series.duration,
            ),
            (
                "apiserver_request_sli_duration_seconds",
                "Time to answer, in seconds, as service levels count it.",
                |series| &series.objective,
            ),
            ("apiserver_response_sizes", "Size of answers to reads, in bytes before compression.", |series| {
                &series.response_bytes
            }),
        ];
        for (name, help, histogram) in families {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
            for series in all.iter().filter(|series| !histogram(series).is_empty()) {
                let with_dry_run = name == "apiserver_request_duration_seconds";
                histogram(series).write(out, name, Shown { series, with_dry_run });
            }
        }
        write_watches(out, &all);
    }
}

/// Name, help, and where a series has it.
type Family = (&'static str, &'static str, fn(&Series) -> &Histogram);

fn write_counts(out: &mut String, all: &[&Series]) {
    let name = "apiserver_request_total";
    let _ = writeln!(out, "# HELP {name} Requests by verb, resource and HTTP code.\n# TYPE {name} counter");
    for series in all {
        let labels = Shown { series, with_dry_run: true };
        for (code, count) in CODES.iter().chain(&LATER_CODES).zip(&series.by_code) {
            let count = count.load(Relaxed);
            if count > 0 {
                let _ = writeln!(out, "{name}{{code=\"{code}\",{labels}}} {count}");
            }
        }
    }
}

fn write_watches(out: &mut String, all: &[&Series]) {
    let watches = || all.iter().filter(|series| series.verb == "WATCH");
    let name = "apiserver_longrunning_requests";
    let _ = writeln!(out, "# HELP {name} Watches that go on.\n# TYPE {name} gauge");
    for series in watches() {
        let _ = writeln!(out, "{name}{{{}}} {}", Shown { series, with_dry_run: false }, series.running.load(Relaxed));
    }
    // Of these, clients do not tell scopes apart.
    let mut by_resource: Vec<(String, u64)> = Vec::new();
    for series in watches() {
        let labels =
            format!("group=\"{}\",resource=\"{}\",version=\"{}\"", series.group, series.resource, series.version);
        match by_resource.last_mut() {
            Some((known, total)) if *known == labels => *total += series.event_bytes.total(),
            _ => by_resource.push((labels, series.event_bytes.total())),
        }
    }
    let name = "apiserver_watch_events_total";
    let _ = writeln!(out, "# HELP {name} Events that were sent to watches.\n# TYPE {name} counter");
    for (labels, total) in by_resource {
        let _ = writeln!(out, "{name}{{{labels}}} {total}");
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
        write!(f, "component=\"apiserver\",")?;
        if self.with_dry_run {
            write!(f, "dry_run=\"{dry_run}\",")?;
        }
        write!(f, "group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"{subresource}\",")?;
        write!(f, "verb=\"{verb}\",version=\"{version}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::target;

    fn count(requests: &Requests, uri: &str, exists: bool, status: StatusCode, elapsed: Duration) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let query = Query::parse(query);
        let target = target::resolve(&Method::GET, path, &query);
        let labels = Labels::of(&Method::GET, &target, path, &query, false);
        requests.series(labels, || exists).answered(status, elapsed, Some(10));
    }

    #[test]
    fn requests_are_counted_by_what_they_asked() {
        let requests = Requests::default();
        let pods = "/api/v1/namespaces/a/pods";
        count(&requests, pods, true, StatusCode::OK, Duration::from_millis(30));
        count(&requests, pods, true, StatusCode::OK, Duration::from_secs(90));
        count(&requests, "/api/v1/nonsense", false, StatusCode::NOT_FOUND, Duration::ZERO);
        count(&requests, "/readyz/ping", true, StatusCode::OK, Duration::ZERO);
        let mut text = String::new();
        requests.write(&mut text);
        let labels = |dry_run: &str| {
            format!(
                "component=\"apiserver\",{dry_run}group=\"\",resource=\"pods\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\""
            )
        };
        for expect in [
            format!("apiserver_request_total{{code=\"200\",{}}} 2", labels("dry_run=\"\",")),
            format!("apiserver_request_duration_seconds_bucket{{{},le=\"0.05\"}} 1", labels("dry_run=\"\",")),
            format!("apiserver_request_sli_duration_seconds_bucket{{{},le=\"+Inf\"}} 2", labels("")),
            format!("apiserver_response_sizes_bucket{{{},le=\"1000\"}} 2", labels("")),
            "subresource=\"/readyz\",verb=\"GET\"".to_owned(),
            "verb=\"OTHER\"".to_owned(),
        ] {
            assert!(text.contains(&expect), "{expect}\n{text}");
        }
        assert!(!text.contains("nonsense"));
    }

    #[test]
    fn a_watch_is_counted_while_it_goes_on() {
        let requests = Requests::default();
        let query = Query::parse("watch=1");
        let target = target::resolve(&Method::GET, "/api/v1/pods", &query);
        let series = requests.series(Labels::of(&Method::GET, &target, "/api/v1/pods", &query, false), || true);
        let written = |requests: &Requests| {
            let mut text = String::new();
            requests.write(&mut text);
            text.lines()
                .filter(|line| line.starts_with("apiserver_longrunning"))
                .map(|line| line[line.len() - 1..].to_owned())
                .collect::<String>()
        };
        let running = Running::of(series);
        running.series().told(100);
        assert_eq!(written(&requests), "1");
        drop(running);
        assert_eq!(written(&requests), "0");
    }
}
