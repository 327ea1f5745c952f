//! The servers under measurement: started by the harness on this machine, or given.

use std::{
    fs::File,
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
    programs::{self, Peer, Recipe, free_port},
};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a server that starts is asked whether it is ready.
const POLL: Duration = Duration::from_millis(2);
/// How many clients fill a cluster.
const FILLERS: usize = 32;

/// One side of a comparison: an API server, what it stores in, and the other parts of the cluster that are measured.
pub struct Cluster {
    pub name: &'static str,
    protocol: Protocol,
    pub kubeconfig: PathBuf,
    recipes: Vec<Recipe>,
    /// Those that need the others to be ready.
    late: Vec<Recipe>,
    /// Beside the cluster, and not measured.
    beside: Vec<Recipe>,
    directory: PathBuf,
    children: Vec<Child>,
    unmeasured: Vec<Child>,
    given: Vec<u32>,
}

impl Cluster {
    fn new(name: &'static str, protocol: Protocol, kubeconfig: PathBuf) -> Self {
        Self {
            name,
            protocol,
            kubeconfig,
            recipes: Vec::new(),
            late: Vec::new(),
            beside: Vec::new(),
            directory: PathBuf::new(),
            children: Vec::new(),
            unmeasured: Vec::new(),
            given: Vec::new(),
        }
    }

    /// Runs already, and is not started, stopped or wiped.
    pub fn given(kubeconfig: PathBuf, pids: Vec<u32>, protocol: Protocol, directory: &Path) -> Self {
        Self { given: pids, directory: directory.to_owned(), ..Self::new("given", protocol, kubeconfig) }
    }

    /// Coracle, with everything it keeps below `directory`; `parts` says what it does beside serving.
    pub fn coracle(program: &Path, directory: &Path, protocol: Protocol, parts: &[String]) -> Result<Self> {
        let (state, kubeconfig) = (directory.join("state"), directory.join("kubeconfig"));
        let recipe = programs::coracle(program, (&state, &kubeconfig), free_port()?, parts);
        Ok(Self { recipes: vec![recipe], directory: state, ..Self::new("coracle", protocol, kubeconfig) })
    }

    /// Leaves the scheduling to a stock kube-scheduler, which gives up where it finds no kubeconfig: the server writes it when
    /// it is up.
    pub fn scheduled_by(&mut self, scheduler: &Path) -> Result<()> {
        self.late.push(programs::scheduler(scheduler, &self.kubeconfig)?);
        self.name = "peer";
        Ok(())
    }

    /// A stock kube-apiserver with an etcd, below `directory`. Its certificates and its administrator
    /// are those of `coracle`, which has been started once: they lie as kubeadm lays them out.
    pub fn peer(programs: &Peer, directory: &Path, coracle: &Cluster) -> Result<Self> {
        let pki = pki(directory);
        std::fs::create_dir_all(&pki)?;
        for file in std::fs::read_dir(coracle.directory.join("pki"))? {
            let file = file?;
            std::fs::copy(file.path(), pki.join(file.file_name()))?;
        }
        let (kubeconfig, state, port) = (directory.join("kubeconfig"), directory.join("state"), free_port()?);
        programs::copy_kubeconfig(&coracle.kubeconfig, &kubeconfig, port)?;
        let recipes = programs::apiserver(programs, &state, &pki, port)?;
        Ok(Self { recipes, directory: state, ..Self::new("peer", coracle.protocol, kubeconfig) })
    }

    /// Makes a whole cluster of a peer's API server.
    pub fn controlled_by(&mut self, directory: &Path, (controllers, scheduler): (&Path, &Path)) -> Result<()> {
        self.late.push(programs::controllers(controllers, &self.kubeconfig, &pki(directory))?);
        self.scheduled_by(scheduler)
    }

    /// Puts nodes that run nothing beside the cluster.
    pub fn play_nodes(&mut self, program: &Path, nodes: (&str, usize)) {
        self.beside.push(programs::fake_nodes(program, &self.kubeconfig, nodes));
    }

    pub fn is_given(&self) -> bool {
        self.recipes.is_empty()
    }

    /// Starts every program and waits until the API says it is ready; how long that took.
    pub async fn start(&mut self) -> Result<Duration> {
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
        let ready = started.elapsed();
        for at in 0..self.late.len() {
            self.children.push(self.spawn(&self.late[at])?);
        }
        for at in 0..self.beside.len() {
            self.unmeasured.push(self.spawn(&self.beside[at])?);
        }
        Ok(ready)
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

    /// Ends the programs, the last one first: the API server before its store.
    pub async fn stop(&mut self) -> Result<()> {
        while let Some(mut child) = self.unmeasured.pop().or_else(|| self.children.pop()) {
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
        Access::from_kubeconfig(&self.kubeconfig, self.protocol)
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

fn pki(directory: &Path) -> PathBuf {
    directory.join("pki")
}
