//! GET of single objects.

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
const OBJECTS: usize = 100;
const GETS: usize = 20_000;

pub struct Get;

#[async_trait]
impl Scenario for Get {
    fn name(&self) -> &'static str {
        "get"
    }

    fn work(&self) -> &'static str {
        "20,000 GETs of 2 KB objects by 32 clients"
    }

    fn figures(&self) -> &'static [Figure] {
        &[
            Figure { name: "requests", unit: Unit::PerCpuSecond, goal: Goal::TimesMore(10.0) },
            Figure { name: "p50", unit: Unit::Time, goal: Goal::None },
            Figure { name: "p99", unit: Unit::Time, goal: Goal::None },
        ]
    }

    async fn prepare(&self, cluster: &mut Cluster) -> Result<()> {
        cluster.make_namespace().await?;
        let call = |index| Call::post(objects::path("configmaps", ""), objects::config_map(&name(index), 0));
        load::run(&cluster.access()?, 1, OBJECTS, call).await?;
        Ok(())
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        let used = cluster.cpu()?;
        let call = |index| Call::get(objects::path("configmaps", &name(index % OBJECTS)));
        let outcome = load::run(&cluster.access()?, CLIENTS, GETS, call).await?;
        let used = cluster.cpu()? - used;
        Ok(vec![GETS as f64 / used.as_secs_f64(), outcome.percentile(0.5), outcome.percentile(0.99)])
    }
}

fn name(index: usize) -> String {
    format!("settings-{index:03}")
}
