//! Many watchers of the same objects, each on a connection of its own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use http_body_util::BodyExt;
use tokio::{sync::Barrier, task::JoinSet, time::Instant};

use super::Scenario;
use crate::{
    client::{Access, Call},
    cluster::Cluster,
    figures::{Figure, Goal, Unit},
    load, objects,
};

const WATCHERS: usize = 200;
const UPDATES: usize = 1_000;
const OBJECTS: usize = 100;
/// Clients that update, each on its own objects: an object's updates are in no race.
const WRITERS: usize = 4;

/// Counts from one: an update that changes nothing would be no event.
static ROUND: AtomicUsize = AtomicUsize::new(1);

pub struct FanOut;

#[async_trait]
impl Scenario for FanOut {
    fn name(&self) -> &'static str {
        "fan-out"
    }

    fn work(&self) -> &'static str {
        "1,000 updates of 2 KB objects to 200 watchers, the updates included"
    }

    fn figures(&self) -> &'static [Figure] {
        &[
            Figure { name: "events", unit: Unit::PerCpuSecond, goal: Goal::TimesMore(10.0) },
            Figure { name: "time to the last event", unit: Unit::Time, goal: Goal::None },
        ]
    }

    async fn prepare(&self, cluster: &mut Cluster) -> Result<()> {
        cluster.make_namespace().await?;
        let call = |index| Call::post(objects::path("configmaps", ""), objects::config_map(&name(index), 0));
        load::run(&cluster.access()?, WRITERS, OBJECTS, call).await?;
        Ok(())
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        let access = cluster.access()?;
        let established = Arc::new(Barrier::new(WATCHERS + 1));
        let mut watchers = JoinSet::new();
        for _ in 0..WATCHERS {
            watchers.spawn(watch(access.clone(), Arc::clone(&established)));
        }
        tokio::select! {
            _ = established.wait() => {}
            Some(ended) = watchers.join_next() => { ended??; }
        }
        let (started, used) = (Instant::now(), cluster.cpu()?);
        let round = ROUND.fetch_add(1, Ordering::Relaxed);
        let call = move |index| {
            let name = name(index % OBJECTS);
            Call::put(objects::path("configmaps", &name), objects::config_map(&name, round * UPDATES + index))
        };
        load::run(&access, WRITERS, UPDATES, call).await?;
        while let Some(watcher) = watchers.join_next().await {
            watcher??;
        }
        let (elapsed, used) = (started.elapsed(), cluster.cpu()? - used);
        Ok(vec![(WATCHERS * UPDATES) as f64 / used.as_secs_f64(), elapsed.as_secs_f64()])
    }
}

fn name(index: usize) -> String {
    format!("settings-{index:03}")
}

/// Takes in `UPDATES` events, told from one another by the newlines that end them.
async fn watch(access: Access, established: Arc<Barrier>) -> Result<()> {
    let mut connection = access.connect().await?;
    let from_now = "watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let path = format!("{}?{from_now}", objects::path("configmaps", ""));
    let (status, mut body) = connection.send(Call::get(path)).await?;
    ensure!(status.is_success(), "watch: {status}");
    established.wait().await;
    let mut events = 0;
    while events < UPDATES {
        let Some(frame) = body.frame().await.transpose()? else { bail!("a watch ended after {events} events") };
        let data = frame.data_ref().map_or(&[][..], |data| &data[..]);
        events += data.iter().filter(|byte| **byte == b'\n').count();
    }
    Ok(())
}
