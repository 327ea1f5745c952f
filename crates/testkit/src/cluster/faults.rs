//! What goes wrong between a part and the server: requests that are lost before or after they took effect, answers that
//! are late, watches that end or lag, and a part, or the server itself, that is gone at any moment in between.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use apiserver::{http::body::Body, identity::User};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use stdx::{Random, SeededRandom};
use tokio::{
    sync::Notify,
    time::{Sleep, sleep},
};

use super::api::{Api, Life};

/// How much goes wrong. By default nothing does.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Of a thousand requests that write: so many never arrive,
    pub lost_requests: u64,
    /// and of so many the answer never comes.
    pub lost_answers: u64,
    /// How late requests and answers may be.
    pub delay: Duration,
    /// How long watches live at most.
    pub watch_life: Option<Duration>,
    /// How late news may be on a watch.
    pub watch_delay: Duration,
    /// The control plane is gone before or after one of so many requests that write at most, again and again;
    pub requests_until_crash: Option<u64>,
    /// and so is the server, with all connections to it.
    pub requests_until_restart: Option<u64>,
    /// How late what nodes hear and say may be.
    pub node_delay: Duration,
    /// The process that plays the nodes is gone before or after one of so many of its requests that write at most.
    pub requests_until_nodes_crash: Option<u64>,
}

impl Faults {
    /// A bad day.
    pub fn many() -> Self {
        Self {
            lost_requests: 20,
            lost_answers: 200,
            delay: Duration::from_millis(50),
            watch_life: Some(Duration::from_secs(30)),
            watch_delay: Duration::from_millis(300),
            requests_until_crash: Some(30),
            requests_until_restart: Some(100),
            node_delay: Duration::from_secs(1),
            requests_until_nodes_crash: Some(60),
        }
    }

    /// What nodes suffer: all but the end of what they talk to, which the control plane sees to.
    pub fn of_nodes(&self) -> Self {
        let requests_until_crash = self.requests_until_nodes_crash;
        Self { delay: self.node_delay, requests_until_crash, requests_until_restart: None, ..self.clone() }
    }
}

/// The way from the control plane, or from nodes, to the server.
pub struct Network {
    faults: Faults,
    random: Arc<SeededRandom>,
    api: Arc<Api>,
    calm: AtomicBool,
    until_crash: Fuse,
    until_restart: Fuse,
}

/// Goes off after a number of requests, again and again.
struct Fuse {
    most: Option<u64>,
    left: AtomicU64,
    gone_off: Notify,
}

impl Fuse {
    fn new(most: Option<u64>, random: &SeededRandom) -> Self {
        let fuse = Self { most, left: AtomicU64::new(0), gone_off: Notify::new() };
        fuse.light(random);
        fuse
    }

    fn light(&self, random: &SeededRandom) {
        let requests = self.most.map_or(u64::MAX, |most| 1 + random.below(most));
        self.left.store(requests, Ordering::Relaxed);
    }

    /// Whether it goes off now.
    fn burn(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 {
            self.gone_off.notify_one();
        }
        left <= 1
    }
}

impl Network {
    pub fn new(faults: Faults, random: Arc<SeededRandom>, api: Arc<Api>) -> Self {
        let until_crash = Fuse::new(faults.requests_until_crash, &random);
        let until_restart = Fuse::new(faults.requests_until_restart, &random);
        Self { faults, random, api, calm: AtomicBool::new(false), until_crash, until_restart }
    }

    /// From here on nothing more goes wrong, or again all that does.
    pub fn set_calm(&self, calm: bool) {
        self.calm.store(calm, Ordering::Relaxed);
    }

    /// Returns when whoever is connected, the control plane or the nodes, is to be gone.
    pub async fn crashed(&self) {
        self.until_crash.gone_off.notified().await;
        self.until_crash.light(&self.random);
    }

    /// Returns when the server is to be gone.
    pub async fn server_crashed(&self) {
        self.until_restart.gone_off.notified().await;
        self.until_restart.light(&self.random);
    }

    /// A client that suffers.
    pub fn connect(self: &Arc<Self>, user: User) -> kube::Client {
        let network = Arc::clone(self);
        client::in_process(move |request| {
            let (network, user) = (Arc::clone(&network), user.clone());
            Box::pin(async move { network.carry(request, user).await })
        })
    }

    async fn carry(&self, request: Request<kube::client::Body>, user: User) -> Response<Unsteady> {
        let writes = request.method() != http::Method::GET;
        let calm = self.calm.load(Ordering::Relaxed);
        let faults = if calm { &Faults::default() } else { &self.faults };
        self.late(faults.delay).await;
        let Some(life) = self.api.life() else { return gone() };
        if writes && self.happens(faults.lost_requests) {
            return gone();
        }
        if writes {
            self.may_crash(&life).await;
        }
        let response = tokio::select! {
            biased;
            response = life.handle(request, user) => response,
            () = life.end.cancelled() => return gone(),
        };
        if writes {
            self.may_crash(&life).await;
        }
        self.late(faults.delay).await;
        if life.end.is_cancelled() || writes && self.happens(faults.lost_answers) {
            return gone();
        }
        let lag = self.up_to(faults.watch_delay);
        let rest = faults.watch_life.map(|most| self.up_to(most));
        let is_watch = matches!(response.body(), Body::Stream(_));
        response.map(|body| Unsteady {
            body,
            end: is_watch.then(|| Box::pin(end_of(life, rest)) as Ending),
            lag: if is_watch { lag } else { Duration::ZERO },
            held: None,
        })
    }

    fn happens(&self, of_thousand: u64) -> bool {
        of_thousand > 0 && self.random.below(1000) < of_thousand
    }

    fn up_to(&self, most: Duration) -> Duration {
        Duration::from_micros(self.random.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }

    async fn late(&self, most: Duration) {
        if !most.is_zero() {
            sleep(self.up_to(most)).await;
        }
    }

    /// Where a crash is due, nothing more happens to this request; where it is the server's, until that is gone.
    async fn may_crash(&self, life: &Life) {
        if self.calm.load(Ordering::Relaxed) {
            return;
        }
        if self.until_crash.burn() {
            std::future::pending::<()>().await;
        }
        if self.until_restart.burn() {
            life.end.cancelled().await;
        }
    }
}

type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A watch ends with the server's life, if not before.
async fn end_of(life: Arc<Life>, rest: Option<Duration>) {
    let Some(rest) = rest else { return life.end.cancelled().await };
    tokio::select! {
        biased;
        () = life.end.cancelled() => {}
        () = sleep(rest) => {}
    }
}

/// What a proxy says of a server that does not answer.
fn gone() -> Response<Unsteady> {
    let body = Unsteady { body: Body::empty(), end: None, lag: Duration::ZERO, held: None };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response
}

/// A body that may end early and comes late.
pub struct Unsteady {
    body: Body,
    end: Option<Ending>,
    lag: Duration,
    held: Option<(Frame<Bytes>, Pin<Box<Sleep>>)>,
}

impl http_body::Body for Unsteady {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready()) {
            return Poll::Ready(None);
        }
        if self.held.is_none() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) if !self.lag.is_zero() => self.held = Some((frame, Box::pin(sleep(self.lag)))),
                other => return Poll::Ready(other),
            }
        }
        if let Some((_, due)) = &mut self.held {
            std::task::ready!(due.as_mut().poll(context));
        }
        Poll::Ready(self.held.take().map(|(frame, _)| Ok(frame)))
    }
}
