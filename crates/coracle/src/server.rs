//! `coracle server`: the control plane in this process.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use api::registry::RuntimeConfig;
use apiserver::{kubeconfig, server};
use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use stdx::{Clock, Random, SystemClock, SystemRandom};
use store::HistoryLimits;
use tokio::signal::unix::{SignalKind, signal};

use crate::parts::{self, Parts};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Where state and keys are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/coracle")]
    data_dir: PathBuf,
    /// The kubeconfig file that gets the context `coracle` [default: as kubectl finds it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The port of the API
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    api_port: u16,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    bind_address: std::net::IpAddr,
    /// Another name or address by which clients reach the API; may be given several times
    #[arg(long, value_name = "NAME")]
    advertise: Vec<String>,
    /// The IPv4 range of service addresses
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12")]
    service_cidr: String,
    /// The ports that services may have on every node
    #[arg(long, value_name = "FIRST-LAST", default_value = "30000-32767", value_parser = parse_ports)]
    service_node_port_range: RangeInclusive<u16>,
    /// Which API versions are served beside the stable ones: resource.k8s.io/v1beta2=true,api/alpha=false
    #[arg(long, value_name = "LIST", default_value = "", value_parser = parse_runtime_config)]
    runtime_config: RuntimeConfig,
    /// Append a line for each request to this file; where it is renamed, a new one follows
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// For how long the past can be read and watched from
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    history_seconds: u64,
    /// How much memory the past may take
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    history_bytes: usize,
    /// Where the end of the state is lost to damage, or a key of the cluster is lost, go on with what is left
    #[arg(long)]
    accept_data_loss: bool,
    #[command(flatten)]
    parts: Parts,
}

fn parse_runtime_config(text: &str) -> Result<RuntimeConfig, String> {
    RuntimeConfig::parse(text).map_err(|error| error.to_string())
}

/// `30000-32767`
fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let ends = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let ports: RangeInclusive<u16> = ends.map(|(first, last)| first..=last).ok_or("it is not FIRST-LAST")?;
    if ports.is_empty() || *ports.start() == 0 { Err("it has no ports".to_owned()) } else { Ok(ports) }
}

#[tokio::main]
pub async fn run(arguments: Arguments) -> Result<()> {
    let pod_ranges = arguments.parts.pod_ranges.ranges(&arguments.service_cidr)?;
    #[allow(clippy::disallowed_methods, reason = "how long the start took, for the reader only")]
    let started = Instant::now();
    let config = server::Config {
        data_dir: arguments.data_dir,
        bind: SocketAddr::new(arguments.bind_address, arguments.api_port),
        advertise: arguments.advertise,
        runtime_config: arguments.runtime_config,
        service_cidr: arguments.service_cidr,
        service_node_ports: arguments.service_node_port_range,
        audit_log: arguments.audit_log,
        history: HistoryLimits {
            max_age: Duration::from_secs(arguments.history_seconds),
            max_bytes: arguments.history_bytes,
            ..HistoryLimits::default()
        },
        accept_data_loss: arguments.accept_data_loss,
    };
    raise_descriptor_limit();
    let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(SystemClock), Arc::new(SystemRandom::default()));
    let running = server::Server::start(config, Arc::clone(&clock), Arc::clone(&random)).await?;
    let file = match arguments.kubeconfig {
        Some(file) => file,
        None => kubeconfig::path(std::env::var_os("KUBECONFIG").as_deref(), std::env::var_os("HOME").as_deref())?,
    };
    hand_out(&running, &file)?;
    eprintln!(
        "coracle: ready at https://{} after {} ms; kubectl --context {} ({})",
        running.address,
        started.elapsed().as_millis(),
        kubeconfig::NAME,
        file.display(),
    );
    let mut parts = parts::start(&running, &arguments.parts, pod_ranges, (&clock, &random));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = running.renewed() => hand_out(&running, &file)?,
            // None ends but by a panic, which is told already: better no control plane than half of one.
            Some(_) = parts.join_next() => bail!("a part of the control plane has failed"),
        }
    }
    parts.shutdown().await;
    running.stop().await;
    Ok(())
}

/// The usual soft limit of 1024 open files is for programs that use `select`; with it, as many connections that say
/// nothing would keep everyone else out.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Writes the admin's access into the kubeconfig file.
fn hand_out(running: &server::Running, file: &Path) -> Result<()> {
    let access = kubeconfig::Access {
        server: &format!("https://{}", running.address),
        authority_pem: &running.server.pki.authority_pem()?,
        credentials: &running.server.pki.admin(),
    };
    Ok(kubeconfig::merge(file, &access)?)
}
