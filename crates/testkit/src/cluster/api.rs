//! The API server of a simulation: it may be gone at any moment, with every connection to it, and is started again over the
//! same store.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use apiserver::{
    http::listener::Answer,
    identity::User,
    pki::{Names, Pki},
    server::{Config, Kept, Running, Server},
};
use http::Request;
use parking_lot::Mutex;
use stdx::{Clock, Random};
use store::{HistoryLimits, Store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One life of the server.
pub struct Life {
    running: Running,
    /// Cancelled when every connection is cut.
    pub end: CancellationToken,
}

pub struct Api {
    pub store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    life: Mutex<Option<Arc<Life>>>,
    /// Told when another life has begun.
    begun: Notify,
}

impl Api {
    pub async fn start(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Arc<Self> {
        let store = Store::in_memory(Arc::clone(&clock), HistoryLimits::default()).unwrap();
        let api = Self { store, clock, random, life: Mutex::default(), begun: Notify::new() };
        api.begin().await;
        Arc::new(api)
    }

    async fn begin(&self) {
        let kept = Kept { store: self.store.clone(), pki: Arc::clone(pki()) };
        let config = Config::new(Path::new("/nonexistent"));
        let running = Server::over(kept, config, Arc::clone(&self.clock), Arc::clone(&self.random)).await.unwrap();
        *self.life.lock() = Some(Arc::new(Life { running, end: CancellationToken::new() }));
        self.begun.notify_waiters();
    }

    /// Ends the server where it stands. It is back after so long.
    pub async fn restart(&self, down: Duration) {
        let Some(life) = self.life.lock().take() else { return };
        life.running.abandon();
        life.end.cancel();
        tokio::time::sleep(down).await;
        self.begin().await;
    }

    /// The server, if it is there.
    pub fn life(&self) -> Option<Arc<Life>> {
        self.life.lock().clone()
    }

    /// A client whom no fault hits: its requests wait until the server is back, and only its watches end with it.
    pub fn patient(self: &Arc<Self>, user: User) -> kube::Client {
        let api = Arc::clone(self);
        client::in_process(move |request| {
            let (api, user) = (Arc::clone(&api), user.clone());
            Box::pin(async move {
                let life = loop {
                    let begun = api.begun.notified();
                    match api.life() {
                        Some(life) => break life,
                        None => begun.await,
                    }
                };
                life.handle(request, user).await
            })
        })
    }
}

impl Life {
    pub fn handle<B>(&self, request: Request<B>, user: User) -> Answer
    where
        B: http_body::Body<Data = bytes::Bytes, Error: std::fmt::Display> + Send + 'static,
    {
        self.running.in_process(user)(request)
    }
}

/// Keys cost more than the rest of a cluster: all simulations of a process share theirs.
fn pki() -> &'static Arc<Pki> {
    static PKI: OnceLock<Arc<Pki>> = OnceLock::new();
    PKI.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let names = Names {
            host: "simulated".into(),
            service_address: std::net::Ipv4Addr::LOCALHOST.into(),
            extra: Vec::new(),
        };
        Arc::new(Pki::open(directory.path(), &names, super::START.parse().unwrap()).unwrap())
    })
}
