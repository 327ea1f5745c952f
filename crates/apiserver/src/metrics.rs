//! What is measured, under upstream's names, in Prometheus' text format. Filling it costs a request some atomic
//! additions; what can be counted when it is asked for is counted then.

pub mod labelled;
mod process;
pub mod requests;

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

pub use stdx::histogram;

use histogram::Histogram;
use labelled::Labelled;
use requests::{Labels, Requests};

/// Upper bounds of what decides about a request before it is handled, in seconds.
const DECISION_SECONDS: [f64; 15] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

/// Counters of one server.
#[derive(Debug)]
pub struct Metrics {
    pub requests: Requests,
    pub authentication: Decisions,
    pub authorization: Decisions,
    /// Connections that ended before they were secured.
    pub failed_handshakes: AtomicU64,
    checked: Labelled<AtomicU64>,
    started_seconds: f64,
}

/// How often something was decided either way, and how long that took.
#[derive(Debug)]
pub struct Decisions {
    /// The names of the two results.
    results: [&'static str; 2],
    durations: [Histogram; 2],
}

impl Decisions {
    fn new(yes: &'static str, no: &'static str) -> Self {
        Self { results: [yes, no], durations: [Histogram::new(&DECISION_SECONDS), Histogram::new(&DECISION_SECONDS)] }
    }

    pub fn observe(&self, is_yes: bool, elapsed: Duration) {
        self.durations[usize::from(!is_yes)].observe_duration(elapsed);
    }

    fn write(&self, out: &mut String, attempts: &str, duration: &str) {
        let _ = writeln!(out, "# HELP {attempts} Decisions by their result.\n# TYPE {attempts} counter");
        for (result, histogram) in self.results.iter().zip(&self.durations) {
            let _ = writeln!(out, "{attempts}{{result=\"{result}\"}} {}", histogram.total());
        }
        let _ = writeln!(out, "# HELP {duration} How long decisions took, in seconds.\n# TYPE {duration} histogram");
        for (result, histogram) in self.results.iter().zip(&self.durations) {
            histogram.write(out, duration, format_args!("result=\"{result}\""));
        }
    }
}

/// What is measured elsewhere and only looked at here.
pub struct Surroundings<'a> {
    /// Requests being handled: reads, writes.
    pub in_flight: [usize; 2],
    /// Stored objects by group and resource.
    pub objects: &'a [(String, String, usize)],
    /// APIServices by name, and whether nobody answers for them.
    pub services: &'a [(String, bool)],
    /// Bytes of the state on disk.
    pub stored_bytes: u64,
    /// Whether clients are warned of a resource.
    pub is_deprecated: &'a dyn Fn(Labels<'_>) -> bool,
    /// Name, kind, help and value.
    pub figures: &'a [(&'static str, &'static str, &'static str, f64)],
    /// Health checks by name and endpoint.
    pub checks: &'a [(&'static str, &'static str, bool)],
    pub version: &'a str,
}

impl Metrics {
    pub fn new(started_seconds: f64) -> Self {
        Self {
            requests: Requests::default(),
            authentication: Decisions::new("success", "error"),
            authorization: Decisions::new("allowed", "no-opinion"),
            failed_handshakes: AtomicU64::new(0),
            checked: Labelled::default(),
            started_seconds,
        }
    }

    /// Seconds since 1970.
    pub fn started_seconds(&self) -> f64 {
        self.started_seconds
    }

    /// `/metrics/slis`: the health checks as numbers.
    pub fn render_checks(&self, checks: &[(&'static str, &'static str, bool)]) -> String {
        let name = "kubernetes_healthcheck";
        let mut out = format!("# HELP {name} Whether a health check passes.\n# TYPE {name} gauge\n");
        for (check, endpoint, passes) in checks {
            let _ = writeln!(out, "{name}{{name=\"{check}\",type=\"{endpoint}\"}} {}", u8::from(*passes));
        }
        self.checked.write(&mut out, "kubernetes_healthchecks_total", "Results of health checks that were asked for.");
        out
    }

    /// Somebody asked for a health check.
    pub fn checked(&self, endpoint: &str, check: &str, passes: bool) {
        let status = if passes { "success" } else { "error" };
        self.checked.count(format_args!("name=\"{check}\",status=\"{status}\",type=\"{endpoint}\""));
    }

    /// The exposition; `others` writes what is measured elsewhere.
    pub fn render(&self, around: &Surroundings<'_>, others: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        self.requests.write(&mut out, around.is_deprecated);
        others(&mut out);
        self.authentication.write(&mut out, "authentication_attempts", "authentication_duration_seconds");
        self.authorization.write(&mut out, "authorization_attempts_total", "authorization_duration_seconds");
        let name = "apiserver_current_inflight_requests";
        let _ = writeln!(out, "# HELP {name} Requests being handled now.\n# TYPE {name} gauge");
        for (kind, count) in ["readOnly", "mutating"].iter().zip(around.in_flight) {
            let _ = writeln!(out, "{name}{{request_kind=\"{kind}\"}} {count}");
        }
        write_objects(&mut out, around.objects);
        write_services(&mut out, around.services);
        let handshakes = (
            "apiserver_tls_handshake_errors_total",
            "counter",
            "Connections that ended before they were secured.",
            self.failed_handshakes.load(Relaxed) as f64,
        );
        let figures = around.figures.iter().copied().chain([handshakes]);
        for (name, kind, help, value) in figures.chain(process::figures(self.started_seconds)) {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        out.push_str(&self.render_checks(around.checks));
        let name = "apiserver_storage_size_bytes";
        let _ = writeln!(out, "# HELP {name} Size of the state on disk, in bytes.\n# TYPE {name} gauge");
        let _ = writeln!(out, "{name}{{storage_cluster_id=\"store-0\"}} {}", around.stored_bytes);
        let name = "kubernetes_build_info";
        let _ = writeln!(out, "# HELP {name} The level of the API that is served, and by what.\n# TYPE {name} gauge");
        let _ = writeln!(
            out,
            "{name}{{build_date=\"\",compiler=\"rustc\",git_commit=\"\",git_tree_state=\"\",git_version=\"{0}\",\
             go_version=\"\",major=\"1\",minor=\"36\",platform=\"linux\"}} 1",
            around.version
        );
        out
    }
}

fn write_objects(out: &mut String, objects: &[(String, String, usize)]) {
    let name = "apiserver_resource_objects";
    let _ = writeln!(out, "# HELP {name} Stored objects by resource.\n# TYPE {name} gauge");
    for (group, resource, count) in objects {
        let _ = writeln!(out, "{name}{{group=\"{group}\",resource=\"{resource}\"}} {count}");
    }
    let name = "apiserver_storage_objects";
    let _ = writeln!(out, "# HELP {name} The same, under its earlier name.\n# TYPE {name} gauge");
    for (group, resource, count) in objects {
        let dot = if group.is_empty() { "" } else { "." };
        let _ = writeln!(out, "{name}{{resource=\"{resource}{dot}{group}\"}} {count}");
    }
}

fn write_services(out: &mut String, services: &[(String, bool)]) {
    let name = "aggregator_unavailable_apiservice";
    let _ = writeln!(out, "# HELP {name} APIServices that nobody answers for.\n# TYPE {name} gauge");
    for (service, is_unavailable) in services {
        let _ = writeln!(out, "{name}{{name=\"{service}\"}} {}", u8::from(*is_unavailable));
    }
}
