//! Benchmarks: the same work on Coracle and on a stock kube-apiserver with etcd, in one run, as a table.
//!
//! The load speaks to an API over TLS like any client and reads what the servers used from the kernel;
//! it knows nothing of what is inside them.

#![allow(clippy::print_stdout, reason = "the tables are the product")]

mod client;
mod cluster;
mod earlier;
mod figures;
mod load;
mod objects;
mod process;
mod programs;
mod scenarios;
mod workloads;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::{
    client::Protocol,
    cluster::Cluster,
    figures::{Row, median, table},
    programs::Peer,
    scenarios::{Compared, Scenario},
};

/// Measures Coracle, and the peer beside it where there is one.
#[derive(Debug, Parser)]
struct Arguments {
    /// list, fan-out, creates, get, definitions, memory, scheduling, deployment, cluster-memory, cluster-idle, start,
    /// restart, or all
    #[arg(default_value = "all")]
    scenario: String,
    /// The binary to measure [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    coracle: Option<PathBuf>,
    /// Measure the API of this kubeconfig instead of starting Coracle
    #[arg(long, value_name = "FILE", requires = "pid")]
    kubeconfig: Option<PathBuf>,
    /// A process that serves it; may be given several times
    #[arg(long)]
    pid: Vec<u32>,
    /// A stock kube-apiserver to compare with
    #[arg(long, value_name = "FILE", env = "CORACLE_PEER_APISERVER", requires = "peer_etcd")]
    peer_apiserver: Option<PathBuf>,
    /// Its etcd
    #[arg(long, value_name = "FILE", env = "CORACLE_PEER_ETCD")]
    peer_etcd: Option<PathBuf>,
    /// A stock kube-scheduler: alone to compare with on the same API server, and part of a whole peer
    #[arg(long, value_name = "FILE", env = "CORACLE_PEER_SCHEDULER")]
    peer_scheduler: Option<PathBuf>,
    /// A stock kube-controller-manager, part of a whole peer
    #[arg(long, value_name = "FILE", env = "CORACLE_PEER_CONTROLLER_MANAGER")]
    peer_controller_manager: Option<PathBuf>,
    /// The version of HTTP
    #[arg(long, default_value = "2")]
    http: Protocol,
    /// Rounds on each side [default: as many as the scenario wants]
    #[arg(long)]
    rounds: Option<usize>,
    /// Keep the peer's figures for runs without a peer
    #[arg(long)]
    record: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> Result<()> {
    let asked = |scenario: &&&dyn Scenario| ["all", scenario.name()].contains(&arguments.scenario.as_str());
    let chosen: Vec<_> = scenarios::ALL.iter().filter(asked).collect();
    ensure!(!chosen.is_empty(), "no scenario {:?}", arguments.scenario);
    let mut peer_figures = Vec::new();
    for scenario in chosen {
        if arguments.kubeconfig.is_some() && scenario.restarts() {
            println!("{}: left out, for it restarts the server, and this one was given\n", scenario.name());
            continue;
        }
        let (rows, is_fresh) = measure(*scenario, arguments).await.context(scenario.name())?;
        let rounds = arguments.rounds.unwrap_or(scenario.rounds());
        let title = format!("{}: {}; median of {rounds}", scenario.name(), scenario.work());
        let peer = match scenario.compares() {
            _ if !is_fresh => "the same, earlier",
            Compared::Server => "kube-apiserver + etcd",
            Compared::Scheduler => "kube-scheduler on coracle",
            Compared::Cluster { .. } => "stock control plane",
        };
        let ours = if arguments.kubeconfig.is_some() { "given" } else { "coracle" };
        println!("{}", table(&title, ours, peer, &rows));
        if is_fresh {
            peer_figures.extend(rows.iter().filter_map(|row| Some((scenario.name(), row.figure.name, row.peer?))));
        }
    }
    if arguments.peer_apiserver.is_none() {
        println!(
            "No peer was given (--peer-apiserver, --peer-etcd): its figures are those of an earlier run elsewhere."
        );
    }
    if arguments.record {
        earlier::record(&peer_figures)?;
    }
    Ok(())
}

/// The figures of one scenario, and whether the peer's are of this run.
async fn measure(scenario: &dyn Scenario, arguments: &Arguments) -> Result<(Vec<Row>, bool)> {
    let directory = tempfile::tempdir()?;
    let mut sides = start(arguments, &directory, scenario).await?;
    for side in &mut sides {
        scenario.prepare(side).await.with_context(|| side.name)?;
    }
    let mut values: Vec<Vec<Vec<f64>>> = vec![Vec::new(); sides.len()];
    for _ in 0..arguments.rounds.unwrap_or(scenario.rounds()) {
        for (side, values) in sides.iter_mut().zip(&mut values) {
            values.push(scenario.round(side).await.with_context(|| side.name)?);
        }
    }
    for side in &mut sides {
        if side.is_given() {
            scenario.clear(side).await?;
        }
        side.stop().await?;
    }
    let middle = |side: usize, figure: usize| {
        let rounds: Vec<f64> = values.get(side)?.iter().map(|round| round[figure]).collect();
        Some(median(&rounds))
    };
    let rows = scenario.figures().iter().enumerate().map(|(index, figure)| Row {
        figure,
        ours: middle(0, index).unwrap_or(f64::NAN),
        peer: middle(1, index).or_else(|| earlier::figure(scenario.name(), figure.name)),
    });
    Ok((rows.collect(), sides.len() > 1))
}

/// What is measured first, then the peer if there is one; both ready.
async fn start(arguments: &Arguments, directory: &tempfile::TempDir, scenario: &dyn Scenario) -> Result<Vec<Cluster>> {
    let compared = scenario.compares();
    let program = arguments.coracle.clone().unwrap_or(std::env::current_exe()?.with_file_name("coracle"));
    let (ours, theirs) = (directory.path().join("coracle"), directory.path().join("peer"));
    if let Some(kubeconfig) = &arguments.kubeconfig {
        let mut given = Cluster::given(kubeconfig.clone(), arguments.pid.clone(), arguments.http, &ours);
        if let Compared::Cluster { nodes } = compared {
            given.play_nodes(&program, (workloads::NODES, nodes));
        }
        given.start().await?;
        return Ok(vec![given]);
    }
    let mut coracle = Cluster::coracle(&program, &ours, arguments.http, &compared.parts())?;
    coracle.start().await?;
    let peer = match compared {
        Compared::Server => arguments.peer().map(|programs| Cluster::peer(&programs, &theirs, &coracle)).transpose()?,
        Compared::Scheduler => match &arguments.peer_scheduler {
            None => None,
            Some(scheduler) => {
                let mut peer = Cluster::coracle(&program, &theirs, arguments.http, &Compared::Server.parts())?;
                peer.scheduled_by(scheduler)?;
                Some(peer)
            }
        },
        Compared::Cluster { nodes } => {
            match (arguments.peer(), &arguments.peer_controller_manager, &arguments.peer_scheduler) {
                (Some(programs), Some(controllers), Some(scheduler)) => {
                    let mut peer = Cluster::peer(&programs, &theirs, &coracle)?;
                    peer.controlled_by(&theirs, (controllers, scheduler))?;
                    peer.play_nodes(&program, (workloads::NODES, nodes));
                    Some(peer)
                }
                _ => None,
            }
        }
    };
    let mut sides = vec![coracle];
    if let Some(mut peer) = peer {
        peer.start().await?;
        sides.push(peer);
    }
    Ok(sides)
}

impl Arguments {
    fn peer(&self) -> Option<Peer> {
        Some(Peer { apiserver: self.peer_apiserver.clone()?, etcd: self.peer_etcd.clone()? })
    }
}
