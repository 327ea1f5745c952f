//! Large definitions of custom resources: from the request that brings one to its first instance, where many
//! are installed already.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Result, bail};
use async_trait::async_trait;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep};

use super::Scenario;
use crate::{
    client::{Call, Connection},
    cluster::Cluster,
    figures::{Figure, Goal, Unit, median},
    objects,
};

const INSTALLED: usize = 100;
const MEASURED: usize = 10;
/// How often an instance is tried while its kind is not served yet.
const POLL: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Definitions;

/// How many there are: names are never used twice.
static NEXT: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl Scenario for Definitions {
    fn name(&self) -> &'static str {
        "definitions"
    }

    fn work(&self) -> &'static str {
        "10 definitions of 80 KB beside 100 others, each until its first instance is created"
    }

    fn figures(&self) -> &'static [Figure] {
        &[
            Figure { name: "p50", unit: Unit::Time, goal: Goal::Under(0.1) },
            Figure { name: "slowest", unit: Unit::Time, goal: Goal::None },
            Figure { name: "CPU time of each", unit: Unit::Time, goal: Goal::None },
        ]
    }

    async fn prepare(&self, cluster: &mut Cluster) -> Result<()> {
        let mut connection = cluster.access()?.connect().await?;
        for _ in 0..INSTALLED {
            install(&mut connection).await?;
        }
        Ok(())
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        let mut connection = cluster.access()?.connect().await?;
        let used = cluster.cpu()?;
        let mut times = Vec::with_capacity(MEASURED);
        for _ in 0..MEASURED {
            times.push(install(&mut connection).await?.as_secs_f64());
        }
        let used = cluster.cpu()? - used;
        let slowest = times.iter().copied().fold(0.0, f64::max);
        Ok(vec![median(&times), slowest, used.as_secs_f64() / MEASURED as f64])
    }
}

/// Brings one definition and one instance of it; how long that took.
async fn install(connection: &mut Connection) -> Result<Duration> {
    let index = NEXT.fetch_add(1, Ordering::Relaxed);
    let definition = objects::definition(index);
    let instance = objects::instance(index);
    let instances = format!("/apis/{}/v1/{}", objects::DEFINED_GROUP, objects::defined_plural(index));
    let started = Instant::now();
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    connection.drain(Call::post(path, definition)).await?;
    loop {
        let (status, body) = connection.send(Call::post(instances.as_str(), instance.clone())).await?;
        let body = body.collect().await?.to_bytes();
        if status.is_success() {
            return Ok(started.elapsed());
        }
        if status != StatusCode::NOT_FOUND || started.elapsed() > PATIENCE {
            bail!("{instances}: {status}: {}", String::from_utf8_lossy(&body));
        }
        sleep(POLL).await;
    }
}
