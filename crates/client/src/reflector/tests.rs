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

use super::{Partial, Sink, follow_metadata, run};
use crate::{Cache, Kind, Requests, objects::Pod, reading::ObjectId};

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

/// An API server whose deployments are sound but for one, and which tells of another.
#[derive(Clone, Default)]
struct Odd(Arc<AtomicUsize>);

impl Service<Request<Body>> for Odd {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let object = |name: &str, revision: u64, spec: serde_json::Value| {
            serde_json::json!({"metadata": {"name": name, "namespace": "shop", "uid": name,
                "resourceVersion": revision.to_string()}, "spec": spec})
        };
        let body = if !is_watch {
            let items = [
                object("sound", 1, serde_json::json!({"ports": [{"name": "http"}]})),
                object("null", 2, serde_json::json!({"ports": null, "selector": null})),
                object("odd", 3, serde_json::json!({"ports": "none"})),
            ];
            serde_json::json!({"metadata": {"resourceVersion": "5"}, "items": items}).to_string()
        } else if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            let lines = [
                ("MODIFIED", object("sound", 6, serde_json::json!({"ports": 80}))),
                ("ADDED", object("later", 7, serde_json::json!({}))),
                ("DELETED", object("odd", 8, serde_json::json!({"ports": "none"}))),
            ];
            let line = |(kind, object)| format!("{}\n", serde_json::json!({"type": kind, "object": object}));
            lines.map(line).concat()
        } else {
            String::new()
        };
        ready(Ok(Response::new(Body::from(body.into_bytes()))))
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_costs_nobody_else_anything() {
    let requests = Requests::new(kube::Client::new(Odd::default(), "default"), "test");
    let cache = Arc::new(Cache::<crate::objects::Service>::default());
    let (kept, following) = (Arc::clone(&cache), tokio::spawn(async move { run(cache, requests, "").await }));
    sleep(Duration::from_secs(1)).await;
    let mut known: Vec<_> = kept
        .all()
        .iter()
        .map(|service| (service.metadata.name.to_string(), service.metadata.resource_version))
        .collect();
    known.sort();
    // Of what was sound once, that stays.
    assert_eq!(known, [("later".to_owned(), 7), ("null".to_owned(), 2), ("sound".to_owned(), 1)]);
    assert_eq!(kept.revision(), 8);
    following.abort();
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

/// An API server that knows neither the kind nor what to say of it but a text.
#[derive(Clone)]
struct Unaware;

impl Service<Request<Body>> for Unaware {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::from(b"404 page not found\n".to_vec()));
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        ready(Ok(response))
    }
}

struct Nobody;

impl Sink<Partial> for Nobody {
    fn replace(&self, _: Vec<Partial>, _: &[ObjectId], _: u64) {}
    fn observe(&self, _: Partial) {}
    fn ended(&self, _: &ObjectId) {}
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_no_longer_served_is_left() {
    let requests = Requests::new(kube::Client::new(Unaware, "default"), "test");
    let kind = Kind::namespaced("shop.example.com", "v1", "Sail", "sails");
    let left = tokio::time::timeout(Duration::from_secs(1), follow_metadata(&requests, &kind, &Nobody)).await;
    assert!(left.is_ok(), "it is followed for ever");
}
