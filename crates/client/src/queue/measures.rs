//! What work queues tell of themselves, under upstream's names in Prometheus' text format.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use stdx::Histogram;

use super::WorkQueue;

/// Upper bounds in seconds, with upstream's errors of rounding: they are names of series.
const SECONDS: [f64; 10] = [1e-8, 1e-7, 1e-6, 9.999999999999999e-6, 9.999999999999999e-5, 0.001, 0.01, 0.1, 1.0, 10.0];

/// What is counted as it happens.
pub(super) struct Measures {
    adds: AtomicU64,
    retries: AtomicU64,
    /// How long keys waited, and how long they were worked on.
    waits: Histogram,
    works: Histogram,
}

impl Default for Measures {
    fn default() -> Self {
        let count = || AtomicU64::new(0);
        Self { adds: count(), retries: count(), waits: Histogram::new(&SECONDS), works: Histogram::new(&SECONDS) }
    }
}

impl Measures {
    pub fn added(&self) {
        self.adds.fetch_add(1, Relaxed);
    }

    /// As upstream counts it: whatever is added for later.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub fn taken(&self, waited: Duration) {
        self.waits.observe_duration(waited);
    }

    pub fn done(&self, worked: Duration) {
        self.works.observe_duration(worked);
    }
}

/// A queue as it is now.
pub(super) struct Now {
    /// Keys that wait to be worked on.
    pub depth: usize,
    /// How long each that is worked on has been.
    pub working: Vec<Duration>,
}

pub(super) trait Measured: Send + Sync {
    fn measures(&self) -> &Measures;
    fn now(&self) -> Now;
}

/// The queues of this process that have a name. Cheap to clone: clones are the same.
#[derive(Clone, Default)]
pub struct Queues(Arc<Mutex<BTreeMap<Box<str>, Arc<dyn Measured>>>>);

impl Queues {
    /// A new queue under a name. One that had it before is forgotten.
    pub fn open<K: Ord + Clone + Send + 'static>(&self, name: &str) -> WorkQueue<K> {
        let queue = WorkQueue::default();
        let shared: Arc<super::Shared<K>> = Arc::clone(&queue.shared);
        self.0.lock().insert(name.into(), shared);
        queue
    }

    /// Writes their families, each in one piece.
    pub fn write_metrics(&self, out: &mut String) {
        let queues: Vec<(Box<str>, Arc<dyn Measured>)> =
            self.0.lock().iter().map(|(name, queue)| (name.clone(), Arc::clone(queue))).collect();
        let now: Vec<Now> = queues.iter().map(|(_, queue)| queue.now()).collect();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Measures, &Now) -> f64| {
            let _ = writeln!(out, "# HELP workqueue_{name} {help}\n# TYPE workqueue_{name} {kind}");
            for ((queue, measured), now) in queues.iter().zip(&now) {
                let value = value(measured.measures(), now);
                let _ = writeln!(out, "workqueue_{name}{{name=\"{queue}\"}} {value}");
            }
        };
        let count = |count: &AtomicU64| count.load(Relaxed) as f64;
        family("adds_total", "counter", "Keys that were added.", &|measures, _| count(&measures.adds));
        family("depth", "gauge", "Keys that wait to be worked on.", &|_, now| now.depth as f64);
        let help = "For how long the key that is worked on longest has been, in seconds.";
        family("longest_running_processor_seconds", "gauge", help, &|_, now| {
            now.working.iter().max().map_or(0.0, Duration::as_secs_f64)
        });
        family("retries_total", "counter", "Keys that were to be added later.", &|measures, _| {
            count(&measures.retries)
        });
        let help = "For how long the keys that are worked on have been, together, in seconds.";
        family("unfinished_work_seconds", "gauge", help, &|_, now| now.working.iter().sum::<Duration>().as_secs_f64());
        let mut histograms = |name: &str, help: &str, of: fn(&Measures) -> &Histogram| {
            let name = format!("workqueue_{name}");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
            for (queue, measured) in &queues {
                of(measured.measures()).write(out, &name, format_args!("name=\"{queue}\""));
            }
        };
        histograms("queue_duration_seconds", "How long keys waited, in seconds.", |measures| &measures.waits);
        histograms("work_duration_seconds", "How long keys were worked on, in seconds.", |measures| &measures.works);
    }
}
