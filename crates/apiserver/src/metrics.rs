//! What is measured, under upstream's names, in Prometheus' text format. Filling it costs a request some atomic
//! additions; what can be counted when it is asked for is counted then.

pub mod histogram;
mod process;
pub mod requests;

use std::{fmt::Write, time::Duration};

use histogram::Histogram;
use requests::Requests;

/// Upper bounds of what decides about a request before it is handled, in seconds.
const DECISION_SECONDS: [f64; 15] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

/// Counters of one server.
#[derive(Debug)]
pub struct Metrics {
    pub requests: Requests,
    pub authentication: Decisions,
    pub authorization: Decisions,
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
            started_seconds,
        }
    }

    /// Seconds since 1970.
    pub fn started_seconds(&self) -> f64 {
        self.started_seconds
    }

    /// The exposition; `admission` is written by who measures it.
    pub fn render(&self, around: &Surroundings<'_>, admission: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        self.requests.write(&mut out);
        admission(&mut out);
        self.authentication.write(&mut out, "authentication_attempts", "authentication_duration_seconds");
        self.authorization.write(&mut out, "authorization_attempts_total", "authorization_duration_seconds");
        let name = "apiserver_current_inflight_requests";
        let _ = writeln!(out, "# HELP {name} Requests being handled now.\n# TYPE {name} gauge");
        for (kind, count) in ["readOnly", "mutating"].iter().zip(around.in_flight) {
            let _ = writeln!(out, "{name}{{request_kind=\"{kind}\"}} {count}");
        }
        write_objects(&mut out, around.objects);
        let process = process::figures(self.started_seconds);
        for (name, kind, help, value) in around.figures.iter().copied().chain(process) {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        out.push_str(&render_checks(around.checks));
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

/// `/metrics/slis`: the health checks as numbers.
pub fn render_checks(checks: &[(&'static str, &'static str, bool)]) -> String {
    let name = "kubernetes_healthcheck";
    let mut out = format!("# HELP {name} Whether a health check passes.\n# TYPE {name} gauge\n");
    for (check, endpoint, passes) in checks {
        let _ = writeln!(out, "{name}{{name=\"{check}\",type=\"{endpoint}\"}} {}", u8::from(*passes));
    }
    out
}
