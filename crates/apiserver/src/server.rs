//! One API server: what it is made of, how it starts, how it ends.

mod config;

use std::{fmt::Display, net::SocketAddr, path::Path, sync::Arc};

use api::{
    registry::Registry,
    resource::{Resource, Verbs},
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, StreamBody};
use stdx::{Clock, Random};
use store::Store;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use config::Checked;
pub use config::{Config, StartError};

use crate::{
    admission, api_services,
    audit::Audit,
    authority::Authority,
    bootstrap,
    crd::known::Definitions,
    discovery::Discovery,
    engine::{Engine, cache::DecodedCache},
    http::{
        heavy::Heavy,
        listener::{self, Answer, BodyError, Handler, Peer},
        load::Load,
        outgoing::Outgoing,
        paths::git_version,
        upload::Uploads,
        verbs,
    },
    identity::User,
    metrics::{Metrics, Surroundings, requests::Labels},
    openapi::{self, OpenApi},
    pki::{self, Pki},
    quota::Usage,
    upkeep,
};

/// Documents about what is served, made for one registry.
pub struct Documents {
    registry: Arc<Registry>,
    address: SocketAddr,
    pub discovery: Discovery,
    pub openapi: OpenApi,
}

pub struct Server {
    pub engine: Arc<Engine>,
    pub pki: Arc<Pki>,
    pub(crate) audit: Audit,
    pub(crate) metrics: Metrics,
    pub(crate) load: Load,
    pub(crate) uploads: Uploads,
    pub(crate) outgoing: Outgoing,
    pub(crate) heavy: Arc<Heavy>,
    /// What other parts of the process measure.
    parts: parking_lot::Mutex<Vec<Measured>>,
    /// How the server was started, for who asks.
    pub(crate) flags: Vec<(&'static str, String)>,
    documents: ArcSwap<Documents>,
    address: SocketAddr,
    /// Told after certificates were renewed.
    renewed: tokio::sync::Notify,
    stop: CancellationToken,
}

/// Writes what a part has measured, in Prometheus' text format: whole families, and none that others write.
pub type Measured = Box<dyn Fn(&mut String) + Send + Sync>;

/// What outlives a server.
pub struct Kept {
    pub store: Store,
    pub pki: Arc<Pki>,
}

/// A server that runs.
pub struct Running {
    pub server: Arc<Server>,
    pub address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Tells with its own what a part of the process measures.
    pub fn add_metrics(&self, write: Measured) {
        self.parts.lock().push(write);
    }

    /// Opens the state, writes what every cluster has, and serves.
    pub async fn start(config: Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Running, StartError> {
        let checked = config.check()?;
        let listener = TcpListener::bind(config.bind)
            .await
            .map_err(|source| StartError::Listen { address: config.bind, source })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address: config.bind, source })?;
        create_directory(&config.data_dir)?;
        // The state comes first: keys without one are those of a cluster that has lost it.
        let store = open_store(&config, &clock, &random)?;
        let names =
            pki::Names { host: host_name(), service_address: checked.allocation.first().into(), extra: config.names() };
        let pki = Arc::new(Pki::open(&config.data_dir.join("pki"), &names, clock.now())?);
        let mut running = Self::run(config, checked, Kept { store, pki }, address, (clock, random)).await?;
        let server = &running.server;
        running.tasks.push(tokio::spawn(renew_certificates(Arc::clone(server))));
        let tls = Arc::new(server.pki.server_config()?);
        let handler: Arc<dyn Handler> = Arc::clone(server) as Arc<dyn Handler>;
        let serving = listener::serve(listener, tls, handler, listener::STALL_TIMEOUT, server.stop.clone());
        running.tasks.push(tokio::spawn(serving));
        Ok(running)
    }

    /// A server over what is kept, for callers in this process only: it listens nowhere and renews nothing.
    pub async fn over(
        kept: Kept,
        config: Config,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Running, StartError> {
        let (checked, address) = (config.check()?, config.bind);
        Self::run(config, checked, kept, address, (clock, random)).await
    }

    async fn run(
        config: Config,
        Checked { allocation, registry }: Checked,
        Kept { store, pki }: Kept,
        address: SocketAddr,
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    ) -> Result<Running, StartError> {
        let audit = match &config.audit_log {
            None => Audit::off(Arc::clone(&random)),
            Some(path) => Audit::to_file(path, Arc::clone(&random))
                .map_err(|source| StartError::AuditLog { path: path.clone(), source })?,
        };
        let authority = Authority::new(&pki)?;
        let stop = CancellationToken::new();
        let served = Arc::new(ArcSwap::new(Arc::clone(&registry)));
        let usage = Arc::new(Usage::new(store.clone(), Arc::clone(&clock)));
        let engine = Arc::new(Engine {
            store,
            usage: Arc::clone(&usage),
            registry: Arc::clone(&served),
            registry_changes: tokio::sync::watch::Sender::new(()),
            admission: admission::default_chain(
                authority.authorizer(),
                Arc::new(admission::asking::Served(served)),
                usage,
                Arc::clone(&random),
            ),
            authority,
            allocation,
            decoded: DecodedCache::default(),
            definitions: Definitions::default(),
            commits: Default::default(),
            stop: stop.clone(),
            clock,
            random,
        });
        let server = Arc::new(Server {
            audit,
            metrics: Metrics::new(engine.clock.now().as_millisecond() as f64 / 1000.0),
            parts: Default::default(),
            flags: config.flags(),
            load: Load::default(),
            uploads: Uploads::default(),
            outgoing: Outgoing::default(),
            heavy: Arc::default(),
            documents: ArcSwap::from_pointee(Documents::new(&engine, registry, address)),
            address,
            renewed: tokio::sync::Notify::new(),
            stop,
            pki,
            engine,
        });
        let place =
            bootstrap::Place { address: config.advertised(address), authority_pem: &server.pki.authority_pem()? };
        bootstrap::run(&server.engine, &config.service_cidr, &place)
            .await
            .map_err(|status| StartError::Bootstrap(status.message))?;
        let tasks = upkeep::start(&server.engine, &server.stop).await;
        Ok(Running { server, address, tasks })
    }

    /// The documents of the registry as it is now; made anew after it changed.
    pub(crate) fn documents(&self) -> Arc<Documents> {
        let registry = self.engine.registry.load_full();
        let documents = self.documents.load_full();
        if Arc::ptr_eq(&documents.registry, &registry) {
            return documents;
        }
        let documents = Arc::new(documents.succeed(&self.engine, registry));
        self.documents.store(Arc::clone(&documents));
        documents
    }

    /// Health checks: name and result. Ready is live, with the state where it belongs, and not on its way down.
    pub(crate) fn checks(&self, ready: bool) -> Vec<(&'static str, Result<(), String>)> {
        // The store is in this process: where it answers at all, it is well. A full disk is a writer's error.
        let mut checks = vec![("ping", Ok(())), ("log", Ok(())), ("etcd", Ok(()))];
        if ready {
            let down = self.stop.is_cancelled();
            let kept = self.engine.store.check().map_err(|error| error.to_string());
            checks.push(("data-directory", kept));
            // What the server follows was read before it began to listen.
            checks.push(("informer-sync", Ok(())));
            checks.push(("etcd-readiness", Ok(())));
            checks.push(("shutdown", if down { Err("process is shutting down".to_owned()) } else { Ok(()) }));
        }
        checks
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn render_metrics(&self) -> String {
        let snapshot = self.engine.store.snapshot();
        let registry = self.engine.registry.load();
        self.metrics.requests.retain(|of| registry.find(of.group, of.version, of.resource).is_some());
        self.engine.commits.retain(|group, plural| registry.find_preferred(group, plural).is_some());
        let mut objects: Vec<(String, String, usize)> = Vec::new();
        for group in registry.groups() {
            for row in group.versions.iter().flat_map(|version| version.rows()) {
                let name = (group.name.to_string(), row.plural.to_string());
                // What two groups or versions show of the same objects is counted once.
                let is_stored = *row.storage.api_version == *row.api_version();
                if is_stored && row.verbs.contains(Verbs::WATCH) {
                    let count = snapshot.range(&format!("{}/", row.storage.topic), None).count();
                    objects.push((name.0, name.1, count));
                }
            }
        }
        let revision =
            ("coracle_store_revision", "gauge", "The revision of the last commit.", snapshot.revision() as f64);
        let audited =
            ("apiserver_audit_event_total", "counter", "Lines written to the audit log.", self.audit.total() as f64);
        let is_deprecated = |of: Labels<'_>| {
            registry.find(of.group, of.version, of.resource).is_some_and(|row| verbs::deprecation(row).is_some())
        };
        let around = Surroundings {
            in_flight: self.load.in_flight(),
            objects: &objects,
            services: &api_services::unavailable(&self.engine),
            stored_bytes: self.engine.store.stored_bytes(),
            is_deprecated: &is_deprecated,
            figures: &[revision, audited],
            checks: &self.all_checks(),
            version: &git_version(),
        };
        self.metrics.render(&around, |out| {
            self.engine.admission.write_metrics(out);
            self.engine.authority.write_metrics(out);
            self.engine.commits.write_metrics(out);
            self.parts.lock().iter().for_each(|write| write(out));
        })
    }
}

impl Documents {
    fn new(engine: &Arc<Engine>, registry: Arc<Registry>, address: SocketAddr) -> Self {
        Self {
            discovery: Discovery::new(Arc::clone(&registry), &address.to_string()),
            openapi: OpenApi::new(&registry, &published(engine)),
            address,
            registry,
        }
    }

    /// Those of a later registry; what has not changed is not made again.
    fn succeed(&self, engine: &Arc<Engine>, registry: Arc<Registry>) -> Self {
        Self {
            discovery: Discovery::new(Arc::clone(&registry), &self.address.to_string()),
            openapi: self.openapi.succeed(&registry, &published(engine)),
            address: self.address,
            registry,
        }
    }
}

/// The schemas of custom resources, from the definitions as they then are.
fn published(engine: &Arc<Engine>) -> openapi::Definitions {
    let engine = Arc::clone(engine);
    Arc::new(move |row: &Resource| upkeep::definitions::published_schema(&engine, row))
}

impl Running {
    /// Ends requests within bounds and makes everything durable.
    pub async fn stop(self) {
        self.server.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        self.server.engine.store.clone().close().await;
    }

    /// Ends it where it stands, as a crash would; the store stays as it is, and another server can be started over it.
    pub fn abandon(&self) {
        self.server.stop.cancel();
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Waits until the admin's credentials have been renewed and are to be handed out again.
    pub async fn renewed(&self) {
        self.server.renewed.notified().await;
    }

    #[cfg(test)]
    pub(crate) fn outgoing(&self) -> &Outgoing {
        &self.server.outgoing
    }

    /// Requests of a caller in this process, who is `user`: no socket, the same pipeline (wall W3).
    pub fn in_process<B>(&self, user: User) -> impl Fn(Request<B>) -> Answer + Send + Sync + 'static + use<B>
    where
        B: http_body::Body<Data = Bytes, Error: Display> + Send + 'static,
    {
        let server = Arc::clone(&self.server);
        let peer = Arc::new(Peer { address: self.address, certificates: Vec::new(), user: Some(user) });
        move |request| {
            let (server, peer) = (Arc::clone(&server), Arc::clone(&peer));
            Box::pin(async move {
                let (parts, body) = request.into_parts();
                // These bodies are in memory already.
                let body = match body.collect().await {
                    Ok(whole) => Full::new(whole.to_bytes()).map_err(|never| match never {}).boxed(),
                    Err(error) => {
                        let broken = BodyError(error.to_string());
                        StreamBody::new(futures_util::stream::iter([Err(broken)])).boxed()
                    }
                };
                server.handle(Request::from_parts(parts, body), peer).await
            })
        }
    }
}

async fn renew_certificates(server: Arc<Server>) {
    loop {
        let now = server.engine.clock.now();
        let due = server.pki.next_renewal().unwrap_or(now);
        let wait = std::time::Duration::try_from(due.duration_since(now)).unwrap_or_default();
        // Wall time can jump: look again at least once an hour.
        let wait = wait.clamp(std::time::Duration::from_secs(60), std::time::Duration::from_secs(3600));
        tokio::select! {
            biased;
            () = server.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        if server.engine.clock.now() < due {
            continue;
        }
        match server.pki.renew(server.engine.clock.now()) {
            Ok(()) => server.renewed.notify_one(),
            Err(error) => tracing::error!(%error, "certificates could not be renewed; trying again"),
        }
    }
}

fn open_store(config: &Config, clock: &Arc<dyn Clock>, random: &Arc<dyn Random>) -> Result<Store, StartError> {
    let (pki, state) = (config.data_dir.join("pki"), config.data_dir.join("state"));
    if pki.exists() && !Store::is_in(&state) {
        return Err(StartError::NoState { pki, state });
    }
    let store = Store::open(store::Config {
        accept_loss: config.accept_data_loss,
        history: config.history,
        clock: Arc::clone(clock),
        random: Arc::clone(random),
        ..store::Config::new(state.clone())
    })
    .map_err(StartError::Store)?;
    // Nothing is stored before there are keys.
    let lost = Pki::KEYS.map(|name| pki.join(name)).into_iter().find(|key| store.revision() > 0 && !key.exists());
    match lost {
        Some(key) if !config.accept_data_loss => Err(StartError::NoKey { key, state }),
        Some(key) => {
            tracing::warn!(key = %key.display(), "a new key is made in the place of a lost one; what that has signed is void");
            Ok(store)
        }
        None => Ok(store),
    }
}

fn create_directory(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| StartError::Directory { path: path.to_owned(), source })
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}
