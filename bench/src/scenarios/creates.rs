//! Durable creates: each is acknowledged after it has reached the disk.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use async_trait::async_trait;

use super::Scenario;
use crate::{
    client::Call,
    cluster::Cluster,
    figures::{Figure, Goal, Unit},
    load, objects,
};

const CLIENTS: usize = 32;
const CREATES: usize = 5_000;

pub struct Creates;

#[async_trait]
impl Scenario for Creates {
    fn name(&self) -> &'static str {
        "creates"
    }

    fn work(&self) -> &'static str {
        "5,000 durable creates of 2 KB objects by 32 clients"
    }

    fn figures(&self) -> &'static [Figure] {
        &[
            Figure { name: "creates", unit: Unit::PerSecond, goal: Goal::TimesMore(3.0) },
            Figure { name: "p50", unit: Unit::Time, goal: Goal::None },
            Figure { name: "p99", unit: Unit::Time, goal: Goal::TimesLess(5.0) },
        ]
    }

    async fn prepare(&self, cluster: &mut Cluster) -> Result<()> {
        cluster.make_namespace().await
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        static ROUND: AtomicUsize = AtomicUsize::new(0);
        let round = ROUND.fetch_add(1, Ordering::Relaxed);
        let call = move |index| {
            let name = format!("settings-{round}-{index}");
            Call::post(objects::path("configmaps", ""), objects::config_map(&name, 0))
        };
        let outcome = load::run(&cluster.access()?, CLIENTS, CREATES, call).await?;
        Ok(vec![outcome.per_second(), outcome.percentile(0.5), outcome.percentile(0.99)])
    }
}
