//! Request metrics under upstream's names, in Prometheus' text format.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use http::{Method, StatusCode};
use parking_lot::Mutex;

use crate::http::target::{ResourceTarget, Target};

/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// More series than this come from clients asking for what does not exist; they are counted together.
const MAX_SERIES: usize = 4_096;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
}

impl Labels {
    pub fn of(method: &Method, target: &Target) -> Self {
        let empty = ResourceTarget::default();
        let (resource, verb) = match target {
            Target::Resource(resource) => (resource, upper(resource.verb)),
            Target::Path => (&empty, method_name(method)),
        };
        let scope = match (resource.name.is_empty(), resource.namespace.is_empty()) {
            _ if resource.resource.is_empty() => "",
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        Self {
            verb,
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.resource.clone(),
            subresource: resource.subresource.clone(),
            scope,
        }
    }

    fn other() -> Self {
        Self {
            verb: "OTHER",
            group: String::new(),
            version: String::new(),
            resource: String::new(),
            subresource: String::new(),
            scope: "",
        }
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

#[derive(Debug, Default)]
struct Series {
    by_code: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
    count: u64,
}

/// Counters of one server.
#[derive(Debug, Default)]
pub struct Metrics {
    series: Mutex<BTreeMap<Labels, Series>>,
}

impl Metrics {
    pub fn observe(&self, labels: Labels, status: StatusCode, elapsed: Duration) {
        let mut all = self.series.lock();
        // Only what exists becomes a series of its own.
        let known = status != StatusCode::NOT_FOUND || all.contains_key(&labels);
        let labels = if known && all.len() < MAX_SERIES { labels } else { Labels::other() };
        let series = all.entry(labels).or_default();
        *series.by_code.entry(status.as_u16()).or_default() += 1;
        let seconds = elapsed.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            series.buckets[bucket] += 1;
        }
        series.seconds += seconds;
        series.count += 1;
    }

    /// The exposition; `gauges` are name, help and value of what is measured elsewhere.
    pub fn render(&self, gauges: &[(&str, &str, f64)]) -> String {
        let mut text = String::new();
        for (name, help, value) in gauges {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        let all = self.series.lock();
        let _ = writeln!(text, "# HELP apiserver_request_total Requests by verb, resource and HTTP code.");
        let _ = writeln!(text, "# TYPE apiserver_request_total counter");
        for (labels, series) in &*all {
            for (code, count) in &series.by_code {
                let _ = writeln!(text, "apiserver_request_total{{code=\"{code}\",{}}} {count}", Shown(labels));
            }
        }
        let name = "apiserver_request_duration_seconds";
        let _ = writeln!(text, "# HELP {name} Time to answer, in seconds; for a watch, until it began.");
        let _ = writeln!(text, "# TYPE {name} histogram");
        for (labels, series) in &*all {
            let mut sum = 0;
            for (bound, count) in BUCKETS.iter().zip(series.buckets) {
                sum += count;
                let _ = writeln!(text, "{name}_bucket{{{},le=\"{bound}\"}} {sum}", Shown(labels));
            }
            let _ = writeln!(text, "{name}_bucket{{{},le=\"+Inf\"}} {}", Shown(labels), series.count);
            let _ = writeln!(text, "{name}_sum{{{}}} {}", Shown(labels), series.seconds);
            let _ = writeln!(text, "{name}_count{{{}}} {}", Shown(labels), series.count);
        }
        text
    }
}

struct Shown<'a>(&'a Labels);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Labels { verb, group, version, resource, subresource, scope } = self.0;
        for (name, value) in [
            ("group", group.as_str()),
            ("resource", resource),
            ("scope", scope),
            ("subresource", subresource),
            ("verb", verb),
        ] {
            write!(f, "{name}=\"{}\",", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))?;
        }
        write!(f, "version=\"{}\"", version.replace(['\\', '"', '\n'], "_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{query::Query, target};

    #[test]
    fn requests_are_counted_by_what_they_asked() {
        let metrics = Metrics::default();
        let labels = |path| Labels::of(&Method::GET, &target::resolve(&Method::GET, path, &Query::default()));
        metrics.observe(labels("/api/v1/namespaces/a/pods"), StatusCode::OK, Duration::from_millis(3));
        metrics.observe(labels("/api/v1/namespaces/a/pods"), StatusCode::OK, Duration::from_secs(90));
        metrics.observe(labels("/api/v1/nonsense"), StatusCode::NOT_FOUND, Duration::ZERO);
        let text = metrics.render(&[("process_resident_memory_bytes", "Memory.", 5.0)]);
        let pods = "group=\"\",resource=\"pods\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"";
        for expect in [
            format!("apiserver_request_total{{code=\"200\",{pods}}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{{pods},le=\"0.005\"}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{{pods},le=\"+Inf\"}} 2"),
            "process_resident_memory_bytes 5".to_owned(),
        ] {
            assert!(text.contains(&expect), "{expect}\n{text}");
        }
        assert!(!text.contains("nonsense"));
    }
}
