//! The servers under measurement: started by the harness on this machine, or given.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Access, Call, Protocol},
    load, objects, process,
};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a server that starts is asked whether it is ready.
const POLL: Duration = Duration::from_millis(2);
/// Scenarios are about the API server alone unless they say otherwise.
const WITHOUT_SCHEDULER: &str = "--without=scheduler";
/// How many clients fill a cluster.
const FILLERS: usize = 32;

/// One side of a comparison: an API server, and what it stores in.
pub struct Cluster {
    pub name: &'static str,
    protocol: Protocol,
    kubeconfig: PathBuf,
    /// Where it listens, if not where the kubeconfig says.
    port: Option<u16>,
    recipes: Vec<Recipe>,
    /// Those that need the others to be ready.
    late: Vec<Recipe>,
    directory: PathBuf,
    children: Vec<Child>,
    given: Vec<u32>,
}

/// A program to start.
struct Recipe {
    program: PathBuf,
    arguments: Vec<String>,
}

impl Cluster {
    /// Runs already, and is not started, stopped or wiped.
    pub fn given(kubeconfig: PathBuf, pids: Vec<u32>, protocol: Protocol) -> Self {
        let directory = PathBuf::new();
        let (recipes, children) = (Vec::new(), Vec::new());
        Self {
            name: "given",
            protocol,
            kubeconfig,
            port: None,
            recipes,
            late: Vec::new(),
            directory,
            children,
            given: pids,
        }
    }

    /// Coracle, with everything it keeps below `directory`.
    pub fn coracle(program: &Path, directory: &Path, protocol: Protocol) -> Result<Self> {
        let (state, kubeconfig, port) = (directory.join("state"), directory.join("kubeconfig"), free_port()?);
        let arguments = vec![
            "server".to_owned(),
            // The peer is an API server and its store.
            "--without=controllers".to_owned(),
            WITHOUT_SCHEDULER.to_owned(),
            format!("--data-dir={}", state.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--api-port={port}"),
        ];
        let recipes = vec![Recipe { program: program.to_owned(), arguments }];
        let (children, given) = (Vec::new(), Vec::new());
        Ok(Self {
            name: "coracle",
            protocol,
            kubeconfig,
            port: None,
            recipes,
            late: Vec::new(),
            directory: state,
            children,
            given,
        })
    }

    /// Lets Coracle place pods.
    pub fn with_scheduler(mut self) -> Self {
        for recipe in &mut self.recipes {
            recipe.arguments.retain(|argument| argument != WITHOUT_SCHEDULER);
        }
        self
    }

    /// Leaves the scheduling to a stock kube-scheduler, whose own limit of requests is lifted.
    pub fn scheduled_by(&mut self, scheduler: &Path) -> Result<()> {
        let kubeconfig = self.kubeconfig.display();
        let arguments = vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--leader-elect=false".to_owned(),
            format!("--secure-port={}", free_port()?),
            "--kube-api-qps=5000".to_owned(),
            "--kube-api-burst=5000".to_owned(),
        ];
        let program = scheduler.to_owned();
        // It gives up where it finds no kubeconfig, which the server writes when it is up.
        self.late.push(Recipe { program, arguments });
        self.name = "peer";
        Ok(())
    }

    /// A stock kube-apiserver with an etcd, below `directory`. Its certificates and its administrator
    /// are those of `coracle`, which has been started once: they lie as kubeadm lays them out.
    pub fn peer(programs: &Peer, directory: &Path, coracle: &Cluster) -> Result<Self> {
        let pki = directory.join("pki");
        std::fs::create_dir_all(&pki)?;
        for file in std::fs::read_dir(coracle.directory.join("pki"))? {
            let file = file?;
            std::fs::copy(file.path(), pki.join(file.file_name()))?;
        }
        let kubeconfig = directory.join("kubeconfig");
        std::fs::copy(&coracle.kubeconfig, &kubeconfig)?;
        let (state, port) = (directory.join("state"), free_port()?);
        let recipes = peer_recipes(programs, &state, &pki, port)?;
        let (children, given) = (Vec::new(), Vec::new());
        Ok(Self {
            name: "peer",
            protocol: coracle.protocol,
            kubeconfig,
            port: Some(port),
            recipes,
            late: Vec::new(),
            directory: state,
            children,
            given,
        })
    }

    pub fn is_given(&self) -> bool {
        self.recipes.is_empty()
    }

    /// Starts every program and waits until the API says it is ready; how long that took.
    pub async fn start(&mut self) -> Result<Duration> {
        if self.is_given() {
            return Ok(Duration::ZERO);
        }
        std::fs::create_dir_all(&self.directory)?;
        let started = Instant::now();
        for at in 0..self.recipes.len() {
            self.children.push(self.spawn(&self.recipes[at])?);
        }
        while !self.is_ready().await {
            if started.elapsed() > START_TIMEOUT {
                bail!("{} is not ready after {START_TIMEOUT:?}", self.name);
            }
            sleep(POLL).await;
        }
        for at in 0..self.late.len() {
            self.children.push(self.spawn(&self.late[at])?);
        }
        Ok(started.elapsed())
    }

    fn spawn(&self, recipe: &Recipe) -> Result<Child> {
        let log = self.directory.join(recipe.program.file_name().unwrap_or_default()).with_extension("log");
        let log = File::options().create(true).append(true).open(log)?;
        Command::new(&recipe.program)
            .args(&recipe.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| recipe.program.display().to_string())
    }

    async fn is_ready(&self) -> bool {
        let Ok(access) = self.access() else { return false };
        let Ok(mut connection) = access.connect().await else { return false };
        connection.drain(Call::get("/readyz")).await.is_ok()
    }

    /// Ends the programs in order, the API server before its store.
    pub async fn stop(&mut self) -> Result<()> {
        while let Some(mut child) = self.children.pop() {
            if let Some(pid) = child.id() {
                Command::new("kill").arg(pid.to_string()).status().await?;
            }
            if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
                child.kill().await?;
            }
        }
        Ok(())
    }

    /// Starts again without any state.
    pub async fn start_empty(&mut self) -> Result<Duration> {
        self.stop().await?;
        if !self.is_given() && self.directory.exists() {
            std::fs::remove_dir_all(&self.directory)?;
        }
        self.start().await
    }

    pub fn access(&self) -> Result<Access> {
        let access = Access::from_kubeconfig(&self.kubeconfig, self.protocol)?;
        Ok(self.port.map_or(access.clone(), |port| access.at_port(port)))
    }

    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().filter_map(Child::id).chain(self.given.iter().copied()).collect()
    }

    pub fn cpu(&self) -> Result<Duration> {
        process::cpu(&self.pids())
    }

    pub fn resident(&self) -> Result<u64> {
        process::resident(&self.pids())
    }

    /// The namespace of the load, and what pods need in it.
    pub async fn make_namespace(&self) -> Result<()> {
        let mut connection = self.access()?.connect().await?;
        connection.ensure(Call::post("/api/v1/namespaces", objects::namespace())).await?;
        connection.ensure(Call::post(objects::path("serviceaccounts", ""), objects::service_account())).await
    }

    /// Creates so many pods.
    pub async fn fill(&self, pods: usize) -> Result<()> {
        self.make_namespace().await?;
        let call = |index| Call::post(objects::path("pods", ""), objects::pod(&objects::pod_name(index)));
        load::run(&self.access()?, FILLERS, pods, call).await?;
        Ok(())
    }

    /// Takes the load out of a cluster that goes on living. The namespace stays: ending one takes a
    /// controller, and time.
    pub async fn clear(&self) -> Result<()> {
        let mut connection = self.access()?.connect().await?;
        for plural in ["pods", "configmaps"] {
            connection.drain(Call::delete(format!("{}?gracePeriodSeconds=0", objects::path(plural, "")))).await?;
        }
        Ok(())
    }
}

/// Where the programs of the peer are.
#[derive(Debug, Clone)]
pub struct Peer {
    pub apiserver: PathBuf,
    pub etcd: PathBuf,
}

fn peer_recipes(programs: &Peer, state: &Path, pki: &Path, port: u16) -> Result<Vec<Recipe>> {
    let (client, member) = (free_port()?, free_port()?);
    let store = format!("http://127.0.0.1:{client}");
    let neighbour = format!("http://127.0.0.1:{member}");
    let etcd = vec![
        format!("--data-dir={}", state.join("etcd").display()),
        format!("--listen-client-urls={store}"),
        format!("--advertise-client-urls={store}"),
        format!("--listen-peer-urls={neighbour}"),
        format!("--initial-advertise-peer-urls={neighbour}"),
        format!("--initial-cluster=default={neighbour}"),
    ];
    let file = |name: &str| pki.join(name).display().to_string();
    let apiserver = vec![
        format!("--etcd-servers={store}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/12".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
    ];
    Ok(vec![
        Recipe { program: programs.etcd.clone(), arguments: etcd },
        Recipe { program: programs.apiserver.clone(), arguments: apiserver },
    ])
}

/// A port nobody listens on now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
