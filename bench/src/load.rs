//! Many requests from several clients at once, each client on a connection of its own, as fast as they
//! are answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{task::JoinSet, time::Instant};

use crate::client::{Access, Call};

pub struct Outcome {
    pub elapsed: Duration,
    /// One for each request, ascending.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that a share of the requests, 0 to 1, stayed within; in seconds.
    pub fn percentile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share).round() as usize).map_or(f64::NAN, Duration::as_secs_f64)
    }
}

/// Sends `count` requests, `call(0)` to `call(count - 1)`, from `clients` clients.
pub async fn run(
    access: &Access,
    clients: usize,
    count: usize,
    call: impl Fn(usize) -> Call + Send + Sync + 'static,
) -> Result<Outcome> {
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(access.connect().await?);
    }
    let (call, next) = (Arc::new(call), Arc::new(AtomicUsize::new(0)));
    let started = Instant::now();
    let mut running = JoinSet::new();
    for mut connection in connections {
        let (call, next) = (Arc::clone(&call), Arc::clone(&next));
        running.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return Ok::<_, anyhow::Error>(latencies);
                }
                let call = call(index);
                let sent = Instant::now();
                connection.drain(call).await?;
                latencies.push(sent.elapsed());
            }
        });
    }
    let mut latencies = Vec::with_capacity(count);
    while let Some(client) = running.join_next().await {
        latencies.extend(client??);
    }
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    Ok(Outcome { elapsed, latencies })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let latencies = (1..=101).map(Duration::from_secs).collect();
        let outcome = Outcome { elapsed: Duration::from_secs(10), latencies };
        let shares = [0.0, 0.5, 0.99, 1.0].map(|share| outcome.percentile(share));
        assert_eq!(shares, [1.0, 51.0, 100.0, 101.0]);
        assert_eq!(outcome.per_second(), 10.1);
    }
}
