//! `coracle fake-nodes`: nodes that run nothing and say they do, in any cluster.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use apiserver::kubeconfig;
use clap::Args;
use client::Requests;
use fakenodes::Config;
use stdx::SystemClock;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Args)]
pub struct Arguments {
    /// How many there are to be
    #[arg(default_value_t = 3)]
    count: usize,
    /// What their names begin with; a number follows
    #[arg(long, value_name = "NAME", default_value = "fake-")]
    prefix: String,
    /// The capacity of each
    #[arg(long, value_name = "QUANTITY", default_value = "32", value_parser = quantity)]
    cpu: String,
    /// The capacity of each
    #[arg(long, value_name = "QUANTITY", default_value = "256Gi", value_parser = quantity)]
    memory: String,
    /// Pods that each can take
    #[arg(long, default_value_t = 110)]
    pods: u32,
    /// Zones that they lie in by turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    zones: u32,
    /// The kubeconfig file of the cluster [default: as kubectl finds it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of that file [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

fn quantity(text: &str) -> Result<String, String> {
    match document::quantity::Quantity::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::main]
pub async fn run(arguments: Arguments) -> Result<()> {
    let file = match arguments.kubeconfig {
        Some(file) => file,
        None => kubeconfig::path(std::env::var_os("KUBECONFIG").as_deref(), std::env::var_os("HOME").as_deref())?,
    };
    let client = client::remote(&file, arguments.context.as_deref())
        .await
        .with_context(|| format!("no cluster by {}", file.display()))?;
    let config = Config {
        prefix: arguments.prefix,
        count: arguments.count,
        cpu: arguments.cpu,
        memory: arguments.memory,
        pods: arguments.pods,
        zones: arguments.zones as usize,
    };
    let (first, count) = (config.name(0), config.count);
    let nodes = fakenodes::start(Requests::new(client, "fake-nodes"), config, Arc::new(SystemClock)).await;
    let mut nodes = nodes.context("the nodes cannot be registered")?;
    eprintln!("coracle: {count} nodes from {first} on are ready, until this ends; delete them with kubectl");
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = nodes.join_next() => anyhow::bail!("a task has failed"),
    }
    Ok(())
}
