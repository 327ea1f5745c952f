//! What is counted of each request; how it is told stands in `exposition`. A series is looked up without a lock and filled with atomic additions;
//! only the first request of its kind takes the lock and copies the table.

mod exposition;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, StatusCode, header};
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
/// Until the objects that there are have been told to a watch.
const STATE_SECONDS: [f64; 17] =
    [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
const EVENT_BYTES: [f64; 8] = [1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0];
/// The codes that are answered; any other is counted as 500.
const CODES: [u16; 22] =
    [101, 200, 201, 202, 301, 302, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 413, 414, 415, 422, 429, 500];
const LATER_CODES: [u16; 2] = [503, 504];
/// More series than this come from clients that try everything; they are counted together.
const MAX_SERIES: usize = 4_096;
/// Paths that are counted by themselves, and what upstream calls them.
const PATHS: [(&str, &str); 11] = [
    ("/healthz", "/healthz"),
    ("/livez", "/livez"),
    ("/readyz", "/readyz"),
    ("/metrics", "/metrics"),
    ("/version", "/version"),
    ("/openapi/v2", "openapi/v2"),
    ("/openapi/v3", "openapi/v3"),
    ("/apis", "/apis"),
    ("/api", "/api"),
    ("/statusz", "/statusz"),
    ("/flagz", "/flagz"),
];
/// Clients that are parts of the control plane, by the name before the slash of their user agents; any other is the first.
const SYSTEM_CLIENTS: [&str; 4] = ["", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// Which of the parts of the control plane asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemClient(usize);

impl SystemClient {
    pub fn of(headers: &HeaderMap) -> Self {
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let name = agent.split_once('/').map_or("", |(name, _)| name);
        Self(SYSTEM_CLIENTS.iter().position(|known| *known == name).unwrap_or(0))
    }
}

/// What requests are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Labels<'a> {
    verb: &'static str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
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
            let is_below = |(known, _): &(&str, &str)| {
                path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let subresource = PATHS.into_iter().find(is_below).map_or("", |(_, name)| name);
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
    by_code: [[AtomicU64; CODES.len() + LATER_CODES.len()]; SYSTEM_CLIENTS.len()],
    /// Refused because too much was asked for at once.
    terminated: AtomicU64,
    duration: Histogram,
    objective: Histogram,
    response_bytes: Histogram,
    running: AtomicI64,
    event_bytes: Histogram,
    /// Few watches begin with the state, marked at its end.
    state_told: OnceLock<Histogram>,
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
            by_code: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            terminated: AtomicU64::new(0),
            duration: Histogram::new(&SECONDS),
            objective: Histogram::new(&OBJECTIVE_SECONDS),
            response_bytes: Histogram::new(&BYTES),
            running: AtomicI64::new(0),
            event_bytes: Histogram::new(&EVENT_BYTES),
            state_told: OnceLock::new(),
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
    pub fn answered(&self, client: SystemClient, status: StatusCode, elapsed: Duration, bytes: Option<u64>) {
        let mut codes = CODES.iter().chain(&LATER_CODES);
        let at = codes.position(|code| *code == status.as_u16()).unwrap_or(CODES.len() - 1);
        self.by_code[client.0][at].fetch_add(1, Relaxed);
        self.duration.observe_duration(elapsed);
        // Nobody is promised how long a dry run takes; upstream leaves them out too.
        if self.dry_run.is_empty() {
            self.objective.observe_duration(elapsed);
        }
        if let (Some(bytes), "GET" | "LIST") = (bytes, self.verb) {
            self.response_bytes.observe_bytes(bytes);
        }
    }

    /// The request was refused before it was looked at: with 429, to keep the server able to answer others.
    pub fn refused(&self, code: u16) {
        if code == 429 {
            self.terminated.fetch_add(1, Relaxed);
        }
    }

    /// A watch has been told all that there was when it began, and that this is so.
    pub fn state_told(&self, elapsed: Duration) {
        self.state_told.get_or_init(|| Histogram::new(&STATE_SECONDS)).observe_duration(elapsed);
    }

    /// Events of these sizes were written to a watch.
    pub fn told(&self, bytes_of_each: impl IntoIterator<Item = usize>) {
        self.event_bytes.observe_bytes_of_each(bytes_of_each.into_iter().map(|bytes| bytes as u64));
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

    pub fn series(&self) -> &Arc<Series> {
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
    /// The rest stands in the table too: odd methods on paths have the same labels, and are counted with it.
    fn default() -> Self {
        let (hasher, other) = (RandomState::new(), Arc::new(Series::new(OTHER)));
        let table = HashMap::from([(hasher.hash_one(OTHER), Arc::clone(&other))]);
        Self { table: ArcSwap::from_pointee(table), growing: Mutex::new(()), hasher, other }
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

    /// Forgets what was asked of resources that are gone: definitions come and go, and their series would stay.
    pub fn retain(&self, exists: impl Fn(Labels<'_>) -> bool) {
        let keep = |series: &Series| series.resource.is_empty() || exists(series.labels());
        let _growing = self.growing.lock();
        let table = self.table.load();
        if !table.values().all(|series| keep(series)) {
            let mut next = HashMap::clone(&table);
            next.retain(|_, series| keep(series));
            self.table.store(Arc::new(next));
        }
    }
}

#[cfg(test)]
mod tests;
