//! How long plug-ins take, and both steps over all of them, under upstream's names. What has not been asked is not shown.

use std::{fmt::Write, sync::OnceLock, time::Duration};

use super::Operation;
use crate::metrics::histogram::Histogram;

const OF_PLUGINS: &str = "apiserver_admission_controller_admission_duration_seconds";
const OF_STEPS: &str = "apiserver_admission_step_admission_duration_seconds";
const SECONDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const STEPS: [&str; 2] = ["admit", "validate"];

#[derive(Debug, Clone, Copy)]
pub enum Step {
    Admit,
    Validate,
}

/// Of one plug-in, or of all: by step, operation and whether it refused. Made when there is something to count.
#[derive(Debug, Default)]
pub struct Durations([[[OnceLock<Histogram>; 2]; 4]; 2]);

impl Durations {
    pub fn observe(&self, step: Step, operation: Operation, refused: bool, elapsed: Duration) {
        let slot = &self.0[step as usize][operation as usize][usize::from(refused)];
        slot.get_or_init(|| Histogram::new(&SECONDS)).observe_duration(elapsed);
    }

    pub fn write_plugin(&self, out: &mut String, plugin: &str) {
        self.write(out, OF_PLUGINS, &format!("name=\"{plugin}\","));
    }

    pub fn write_steps(&self, out: &mut String) {
        let _ = writeln!(out, "# HELP {OF_STEPS} How long all plug-ins took, in seconds.\n# TYPE {OF_STEPS} histogram");
        self.write(out, OF_STEPS, "");
    }

    fn write(&self, out: &mut String, name: &str, label: &str) {
        for (step, operations) in STEPS.iter().zip(&self.0) {
            for (operation, results) in Operation::NAMES.iter().zip(operations) {
                for (rejected, histogram) in [false, true].iter().zip(results) {
                    if let Some(histogram) = histogram.get() {
                        let labels =
                            format!("{label}operation=\"{operation}\",rejected=\"{rejected}\",type=\"{step}\"");
                        histogram.write(out, name, labels);
                    }
                }
            }
        }
    }
}

/// What stands above the series of all plug-ins.
pub fn write_head(out: &mut String) {
    let help = "How long an admission plug-in took, in seconds.";
    let _ = writeln!(out, "# HELP {OF_PLUGINS} {help}\n# TYPE {OF_PLUGINS} histogram");
}
