//! What goes wrong between a part and the server: requests that are lost before or after they took effect, answers that
//! are late, watches that end or lag, and a part that is gone at any moment in between.

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

use apiserver::{http::body::Body, identity::User, server::Running};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use stdx::{Random, SeededRandom};
use tokio::{
    sync::Notify,
    time::{Sleep, sleep},
};

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
    /// The control plane is gone before or after one of so many requests that write at most, again and again.
    pub requests_until_crash: Option<u64>,
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
        }
    }
}

/// The way from the control plane to the server.
pub struct Network {
    faults: Faults,
    random: Arc<SeededRandom>,
    calm: AtomicBool,
    until_crash: AtomicU64,
    crash: Notify,
}

impl Network {
    pub fn new(faults: Faults, random: Arc<SeededRandom>) -> Self {
        let network = Self {
            faults,
            random,
            calm: AtomicBool::new(false),
            until_crash: AtomicU64::new(u64::MAX),
            crash: Notify::new(),
        };
        network.arm();
        network
    }

    pub fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Returns when the control plane is to be gone.
    pub async fn crashed(&self) {
        self.crash.notified().await;
        self.arm();
    }

    fn arm(&self) {
        let most = self.faults.requests_until_crash;
        let requests = most.map_or(u64::MAX, |most| 1 + self.random.below(most));
        self.until_crash.store(requests, Ordering::Relaxed);
    }

    /// A client that suffers.
    pub fn connect(self: &Arc<Self>, running: &Running, user: User) -> kube::Client {
        let handle = Arc::new(running.in_process::<kube::client::Body>(user));
        let network = Arc::clone(self);
        client::in_process(move |request| {
            let (handle, network) = (Arc::clone(&handle), Arc::clone(&network));
            Box::pin(async move { network.carry(request, &*handle).await })
        })
    }

    async fn carry<B>(
        &self,
        request: Request<B>,
        handle: &(impl Fn(Request<B>) -> apiserver::http::listener::Answer + Send + Sync),
    ) -> Response<Unsteady> {
        let writes = request.method() != http::Method::GET;
        let faults = if self.calm.load(Ordering::Relaxed) { &Faults::default() } else { &self.faults };
        self.late(faults.delay).await;
        if writes && self.happens(faults.lost_requests) {
            return gone();
        }
        if writes {
            self.may_crash().await;
        }
        let response = handle(request).await;
        if writes {
            self.may_crash().await;
        }
        self.late(faults.delay).await;
        if writes && self.happens(faults.lost_answers) {
            return gone();
        }
        let life = faults.watch_life.map(|most| Box::pin(sleep(self.up_to(most))));
        let lag = self.up_to(faults.watch_delay);
        let is_watch = matches!(response.body(), Body::Stream(_));
        response.map(|body| Unsteady {
            body,
            life: life.filter(|_| is_watch),
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

    /// Where a crash is due, nothing more happens to this request.
    async fn may_crash(&self) {
        if self.calm.load(Ordering::Relaxed) {
            return;
        }
        let left = self.until_crash.load(Ordering::Relaxed);
        self.until_crash.store(left.saturating_sub(1), Ordering::Relaxed);
        if left <= 1 {
            self.crash.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// What a proxy says of a server that does not answer.
fn gone() -> Response<Unsteady> {
    let body = Unsteady { body: Body::empty(), life: None, lag: Duration::ZERO, held: None };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response
}

/// A body that may end early and comes late.
pub struct Unsteady {
    body: Body,
    life: Option<Pin<Box<Sleep>>>,
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
        if self.life.as_mut().is_some_and(|life| life.as_mut().poll(context).is_ready()) {
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
