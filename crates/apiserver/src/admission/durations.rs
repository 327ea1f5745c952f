//! How long plug-ins take, under upstream's names. A plug-in that has not been asked is not shown.

use std::{fmt::Write, sync::OnceLock, time::Duration};

use super::Operation;
use crate::metrics::histogram::Histogram;

const NAME: &str = "apiserver_admission_controller_admission_duration_seconds";
const SECONDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];
const STEPS: [&str; 2] = ["admit", "validate"];

#[derive(Debug, Clone, Copy)]
pub enum Step {
    Admit,
    Validate,
}

/// Of one plug-in: by step, operation and whether it refused. Made when there is something to count.
#[derive(Debug, Default)]
pub struct Durations([[[OnceLock<Histogram>; 2]; 4]; 2]);

impl Durations {
    pub fn observe(&self, step: Step, operation: Operation, refused: bool, elapsed: Duration) {
        let slot = &self.0[step as usize][operation as usize][usize::from(refused)];
        slot.get_or_init(|| Histogram::new(&SECONDS)).observe_duration(elapsed);
    }

    pub fn write(&self, out: &mut String, plugin: &str) {
        for (step, operations) in STEPS.iter().zip(&self.0) {
            for (operation, results) in OPERATIONS.iter().zip(operations) {
                for (rejected, histogram) in [false, true].iter().zip(results) {
                    if let Some(histogram) = histogram.get() {
                        let labels = format!(
                            "name=\"{plugin}\",operation=\"{operation}\",rejected=\"{rejected}\",type=\"{step}\""
                        );
                        histogram.write(out, NAME, labels);
                    }
                }
            }
        }
    }
}

pub fn write_head(out: &mut String) {
    let _ = writeln!(out, "# HELP {NAME} How long an admission plug-in took, in seconds.\n# TYPE {NAME} histogram");
}
