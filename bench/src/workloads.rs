//! Deployments on nodes that run nothing: their making, the wait until they run, and their end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    client::{Access, Call},
    cluster::Cluster,
    load,
    objects::{NAMESPACE, path},
};

/// What the names of the nodes begin with, where they are not played by the server itself.
pub const NODES: &str = "bench-node-";
/// The longest that anything is waited for: stock clusters take their time.
const PATIENCE: Duration = Duration::from_secs(1800);
const POLL: Duration = Duration::from_millis(200);
const CLIENTS: usize = 16;

fn deployments(name: &str) -> String {
    let separator = if name.is_empty() { "" } else { "/" };
    format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments{separator}{name}")
}

fn deployment(name: &str, replicas: usize) -> Value {
    let labels = json!({ "app": name });
    let container = json!({
        "name": "c", "image": "registry.example.com/c:1", "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}},
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    })
}

/// Makes the namespace, and waits until so many nodes are ready.
pub async fn prepare(cluster: &Cluster, nodes: usize) -> Result<()> {
    cluster.make_namespace().await?;
    let access = cluster.access()?;
    until(&access, "/api/v1/nodes", |list| items(list).filter(|node| is_ready(node)).count() >= nodes).await
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn is_ready(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        && node["spec"]["taints"].is_null()
}

/// Makes a deployment; the time until it reports all its replicas ready.
pub async fn run(access: &Access, name: &str, replicas: usize) -> Result<Duration> {
    let mut connection = access.connect().await?;
    let started = Instant::now();
    connection.drain(Call::post(deployments(""), deployment(name, replicas).to_string())).await?;
    timeout(PATIENCE, reported(access, name, replicas)).await.context("the deployment never got ready")??;
    Ok(started.elapsed())
}

/// Returns once the deployment reports so many replicas ready. A server may end a watch at any time: the next one begins with
/// what there is.
async fn reported(access: &Access, name: &str, replicas: usize) -> Result<()> {
    while !watched(access, name, replicas).await? {
        sleep(POLL).await;
    }
    Ok(())
}

/// Whether the watch told of it before it ended.
async fn watched(access: &Access, name: &str, replicas: usize) -> Result<bool> {
    let mut connection = access.connect().await?;
    // It begins with what there is; an etcd of 3.4 does not let its API server stream lists.
    let watch = format!("{}?watch=true&resourceVersion=0&fieldSelector=metadata.name%3D{name}", deployments(""));
    let (status, mut body) = connection.send(Call::get(watch)).await?;
    ensure!(status.is_success(), "watch: {status}");
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await.transpose()? {
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let event: Value = serde_json::from_slice(&text[..end])?;
            if event["object"]["status"]["readyReplicas"] == replicas {
                return Ok(true);
            }
            text.drain(..=end);
        }
    }
    Ok(false)
}

/// Deletes the deployments, waits for their pods to go, and then deletes the nodes.
pub async fn clear(cluster: &Cluster, nodes: usize) -> Result<()> {
    let access = cluster.access()?;
    access.connect().await?.drain(Call::delete(deployments(""))).await?;
    until(&access, &format!("{}?limit=1", path("pods", "")), |list| items(list).next().is_none()).await?;
    let delete = |number| Call::delete(format!("/api/v1/nodes/{NODES}{number}"));
    load::run(&access, CLIENTS, nodes, delete).await?;
    Ok(())
}

/// Asks until the answer is what is waited for.
async fn until(access: &Access, path: &str, holds: impl Fn(&Value) -> bool + Send) -> Result<()> {
    let started = Instant::now();
    loop {
        let (status, body) = access.connect().await?.send(Call::get(path)).await?;
        ensure!(status.is_success(), "{path}: {status}");
        if holds(&serde_json::from_slice(&body.collect().await?.to_bytes())?) {
            return Ok(());
        }
        ensure!(started.elapsed() < PATIENCE, "{path} did not become what is waited for");
        sleep(POLL).await;
    }
}
