//! Pods that find their nodes: from the first creation until the last is bound, among 5,000 nodes that run nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::Instant};

use super::{Compared, Scenario};
use crate::{
    client::{Access, Call},
    cluster::Cluster,
    figures::{Figure, Goal, Unit},
    load, objects,
};

const NODES: usize = 5_000;
const PODS: usize = 5_000;
const CLIENTS: usize = 32;
const ZONES: usize = 10;

/// Counts pods of all rounds: names are not taken twice.
static MADE: AtomicUsize = AtomicUsize::new(0);

pub struct Scheduling;

#[async_trait]
impl Scenario for Scheduling {
    fn name(&self) -> &'static str {
        "scheduling"
    }

    fn work(&self) -> &'static str {
        "5,000 pods created and bound among 5,000 nodes: basic, spread over zones, apart from each other"
    }

    fn figures(&self) -> &'static [Figure] {
        &[
            Figure { name: "basic", unit: Unit::PerSecond, goal: Goal::AtLeast(5_000.0) },
            Figure { name: "topology spread", unit: Unit::PerSecond, goal: Goal::AtLeast(2_000.0) },
            Figure { name: "pod anti-affinity", unit: Unit::PerSecond, goal: Goal::AtLeast(1_000.0) },
        ]
    }

    fn rounds(&self) -> usize {
        3
    }

    fn compares(&self) -> Compared {
        Compared::Scheduler
    }

    async fn prepare(&self, cluster: &mut Cluster) -> Result<()> {
        cluster.make_namespace().await?;
        load::run(&cluster.access()?, CLIENTS, NODES, |index| Call::post("/api/v1/nodes", node(index))).await?;
        Ok(())
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        let selector = json!({"matchLabels": {"app": "spread"}});
        let spread = json!({"topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": selector,
        }]});
        let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "apart"}},
        }]}}});
        let mut paces = Vec::new();
        for (app, spec) in [("basic", json!({})), ("spread", spread), ("apart", apart)] {
            paces.push(place(&cluster.access()?, app, spec).await?);
            cluster.clear().await?;
        }
        Ok(paces)
    }
}

/// Creates the pods, and waits until all are bound; how many a second.
async fn place(access: &Access, app: &'static str, spec: Value) -> Result<f64> {
    let first = MADE.fetch_add(PODS, Ordering::Relaxed);
    let (watching, watched) = oneshot::channel();
    let watch = tokio::spawn(count_bound(access.clone(), watching));
    watched.await?;
    let started = Instant::now();
    let call = move |index| Call::post(objects::path("pods", ""), pod(first + index, app, &spec));
    load::run(access, CLIENTS, PODS, call).await?;
    watch.await??;
    Ok(PODS as f64 / started.elapsed().as_secs_f64())
}

/// Returns once as many pods have been bound: a pod that gets a node comes into what is watched.
async fn count_bound(access: Access, watching: oneshot::Sender<()>) -> Result<()> {
    let mut connection = access.connect().await?;
    let from_now = "watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let path = format!("{}?{from_now}&fieldSelector=spec.nodeName!%3D", objects::path("pods", ""));
    let (status, mut body) = connection.send(Call::get(path)).await?;
    ensure!(status.is_success(), "watch: {status}");
    // Whoever waits for it waits for the whole.
    let _ = watching.send(());
    let (mut line, mut bound) = (Vec::new(), 0);
    while bound < PODS {
        let Some(frame) = body.frame().await.transpose()? else { bail!("the watch ended after {bound} pods") };
        for byte in frame.data_ref().map_or(&[][..], |data| &data[..]) {
            if *byte == b'\n' {
                bound += usize::from(line.starts_with(br#"{"type":"ADDED""#));
                line.clear();
            } else if line.len() < 16 {
                line.push(*byte);
            }
        }
    }
    Ok(())
}

fn node(index: usize) -> String {
    let name = format!("node-{index:05}");
    let amounts = json!({"cpu": "32", "memory": "256Gi", "pods": "110"});
    let labels = json!({
        "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", index % ZONES),
    });
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": amounts, "capacity": amounts},
    })
    .to_string()
}

/// A pod that bears every taint: nobody reports on these nodes.
fn pod(index: usize, app: &str, spec: &Value) -> String {
    let container = json!({
        "name": "c", "image": "registry.example.com/c:1", "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}},
    });
    let mut spec = spec.clone();
    spec["containers"] = json!([container]);
    spec["tolerations"] = json!([{"operator": "Exists"}]);
    spec["automountServiceAccountToken"] = json!(false);
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("{app}-{index:06}"), "labels": {"app": app}},
        "spec": spec,
    })
    .to_string()
}
