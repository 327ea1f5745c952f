use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use kube::client::Body;
use tokio::time::sleep;
use tower_service::Service;

use super::run;
use crate::{Cache, Requests, objects::Pod};

/// An API server that has nothing: it lists that, and ends every watch at once.
#[derive(Clone, Default)]
struct Hasty {
    lists: Arc<AtomicUsize>,
    watches: Arc<AtomicUsize>,
}

impl Service<Request<Body>> for Hasty {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let asked = if is_watch { &self.watches } else { &self.lists };
        asked.fetch_add(1, Ordering::Relaxed);
        let list = r#"{"metadata": {"resourceVersion": "5"}, "items": []}"#;
        let body = if is_watch { Vec::new() } else { list.as_bytes().to_vec() };
        ready(Ok(Response::new(Body::from(body))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_at_once_is_asked_less_and_less() {
    let server = Hasty::default();
    let requests = Requests::new(kube::Client::new(server.clone(), "default"), "test");
    let cache = Arc::new(Cache::<Pod>::default());
    let following = tokio::spawn(async move { run(cache, requests, "").await });
    let mut before = 0;
    // Pauses of 50 ms, each twice the one before, up to 15 s.
    for (seconds, expected) in [(1, 5), (60, 7), (600, 40)] {
        sleep(Duration::from_secs(seconds)).await;
        let asked = server.watches.load(Ordering::Relaxed) - before;
        assert_eq!(asked, expected, "within {seconds} s");
        before += asked;
    }
    assert_eq!(server.lists.load(Ordering::Relaxed), 1, "and goes on from where it was");
    following.abort();
}
