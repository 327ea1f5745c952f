use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use h2::RecvStream;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use serde_json::json;
use stdx::{SystemClock, SystemRandom};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ledger::GRACE, *};
use crate::{
    http::{
        listener::{Answer, Handler, Peer, RequestBody, serve},
        loopback,
        negotiate::Format,
        progress::Connection,
        verbs,
    },
    identity::User,
    server::{Config, Server},
};

const MADE: usize = 100_000;
/// Of this a quarter is for chunks.
const BOUND: usize = 8 * MADE;
/// Longer than any test.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Longer than any test that ends well.
const LONG: Duration = Duration::from_secs(60);

fn made(bytes: usize) -> Response<Body> {
    Response::new(Body::from(vec![b'x'; bytes]))
}

/// As it is asked on a connection.
async fn connected<T>(asked: impl Future<Output = T>) -> T {
    Arc::new(Connection::default()).scope(asked).await
}

#[tokio::test]
async fn large_reads_are_refused_to_who_holds_most() {
    let outgoing = Outgoing::within(BOUND);
    connected(async {
        let (jane, joe) = (outgoing.reader("jane"), outgoing.reader("joe"));
        let mut under_way = Vec::new();
        for (user, count) in [(&jane, 4), (&joe, 2)] {
            for _ in 0..count {
                under_way.push(user.answer(made(MADE), true).unwrap());
            }
        }
        let refusal = jane.answer(made(MADE), true).unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after_seconds), (429, Some(1)));
        assert!(jane.check().is_err() && joe.check().is_ok());
        // What has been done is told, and so is what is small. What is compressed otherwise goes out as it is.
        under_way.push(jane.answer(made(MADE), false).unwrap());
        under_way.push(jane.answer(made(SMALL_BYTES), true).unwrap());
        assert!(jane.compressor().is_none());
        under_way.clear();
        assert_eq!(outgoing.held(), 0);
        assert!(jane.check().is_ok());
    })
    .await;
}

/// However many lists are asked for at once: what is being made of them stays within the bound, and one is always made.
#[tokio::test]
async fn what_is_being_made_counts_before_it_is_there() {
    for (bytes, most) in [(MADE, 3 * BOUND / 4 / MADE), (BOUND / 2, 1), (10 * BOUND, 1)] {
        let outgoing = Outgoing::within(BOUND);
        connected(async {
            let reader = outgoing.reader("jane");
            for _ in 0..2 {
                let making: Vec<_> = (0..90).filter_map(|_| reader.making(bytes).ok()).collect();
                assert_eq!((making.len(), outgoing.held()), (most, most * bytes));
            }
            assert_eq!(outgoing.held(), 0);
        })
        .await;
    }
}

#[tokio::test]
async fn only_what_is_made_for_one_reader_counts() {
    let outgoing = Outgoing::default();
    let stored = Bytes::from(vec![b'x'; MADE]);
    let pieces = |own_bytes| {
        let pieces = Box::new(std::iter::once(stored.clone()));
        Body::Pieces { pieces, remaining: MADE as u64, own_bytes }
    };
    for (body, expect) in [
        (Body::from(stored.clone()), 0),
        (Body::from(stored.slice(10..)), 0),
        (Body::from("text".to_owned()), 4),
        (Body::empty(), 0),
        (pieces(0), 0),
        (pieces(10), 10),
        (Body::Stream(Box::pin(futures_util::stream::pending())), 0),
    ] {
        let shape = format!("{body:?}");
        let answer = async { outgoing.reader("jane").answer(Response::new(body), true).unwrap() };
        let response = connected(answer).await;
        assert_eq!(outgoing.held(), expect, "{shape}");
        drop(response);
        assert_eq!(outgoing.held(), 0, "{shape}");
    }
    // A caller in this process has taken it already.
    let _response = outgoing.reader("jane").answer(made(MADE), true).unwrap();
    assert_eq!(outgoing.held(), 0);
}

/// Parts of the bytes may lie in queues when the body itself is gone.
#[tokio::test]
async fn bytes_are_held_until_the_last_of_them_is_sent() {
    let outgoing = Outgoing::default();
    let reader = connected(async { outgoing.reader("jane") }).await;
    let answered = || match reader.answer(made(MADE), true).unwrap().into_body() {
        Body::Whole(Some(bytes)) => bytes,
        other => panic!("{other:?}"),
    };
    let chunk = || reader.made(vec![b'x'; MADE]);
    for make in [&answered as &dyn Fn() -> Bytes, &chunk] {
        let bytes = make();
        let queued = bytes.slice(MADE - 1..);
        drop(bytes);
        assert_eq!(outgoing.held(), MADE);
        drop(queued);
        assert_eq!(outgoing.held(), 0);
    }
}

/// A path is a user and the shape of the answer.
struct Maker(Outgoing);

impl Maker {
    fn answer(&self, user: &str, shape: &str) -> Result<Response<Body>, Status> {
        let reader = self.0.reader(user);
        match shape {
            "read" => reader.answer(made(MADE), true),
            "huge" => reader.answer(made(200 * MADE), true),
            "small" => reader.answer(made(MADE / 10), false),
            "watch" => {
                let chunks = futures_util::stream::repeat_with(move || reader.made(vec![b'x'; 3 * MADE]));
                Ok(Response::new(Body::Stream(Box::pin(chunks))))
            }
            "list" => {
                let chunks = std::iter::repeat_with(move || reader.made(vec![b'x'; CHUNK_BYTES]));
                Ok(Response::new(Body::Pieces { pieces: Box::new(chunks), remaining: 1 << 40, own_bytes: 0 }))
            }
            shape => panic!("{shape}"),
        }
    }
}

impl Handler for Maker {
    fn handle(self: Arc<Self>, request: Request<RequestBody>, _: Arc<Peer>) -> Answer {
        let (user, shape) = request.uri().path()[1..].split_once('/').unwrap();
        let response = self.answer(user, shape).unwrap_or_else(|status| verbs::refusal(&status, Format::Json));
        Box::pin(std::future::ready(response))
    }
}

struct Served {
    maker: Arc<Maker>,
    address: SocketAddr,
    client: loopback::Client,
    _stop: DropGuard,
}

/// A client that opens the window of no stream.
struct Asking {
    requests: h2::client::SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
    bodies: Vec<RecvStream>,
    refused: usize,
}

async fn served(protocol: &str, patience: Duration) -> Served {
    let (tls, client) = loopback::tls(protocol);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let maker = Arc::new(Maker(Outgoing::within(BOUND)));
    tokio::spawn(serve(listener, tls, maker.clone(), patience, stop.clone()));
    Served { maker, address, client, _stop: stop.drop_guard() }
}

impl Served {
    async fn connect(&self) -> Asking {
        let stream = self.client.connect(TcpStream::connect(self.address).await.unwrap()).await;
        let builder = h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream);
        let (requests, connection) = builder.await.unwrap();
        Asking { requests, connection: tokio::spawn(connection), bodies: Vec::new(), refused: 0 }
    }

    fn held(&self) -> usize {
        self.maker.0.held()
    }

    async fn comes_to_hold(&self, is_enough: impl Fn(usize) -> bool) {
        let comes = async {
            while !is_enough(self.held()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, comes).await.unwrap_or_else(|_| panic!("{} are held", self.held()));
    }
}

impl Asking {
    async fn ask(&mut self, path: &str, count: usize) {
        for _ in 0..count {
            let mut requests = self.requests.clone().ready().await.unwrap();
            let request = Request::get(format!("https://localhost/{path}")).body(()).unwrap();
            let response = requests.send_request(request, true).unwrap().0.await.unwrap();
            match response.status() {
                StatusCode::OK => self.bodies.push(response.into_body()),
                status => {
                    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
                    self.refused += 1;
                }
            }
        }
    }

    /// Waits for the ends of so many streams; which these are, in order.
    async fn resets(&mut self, count: usize) -> Vec<usize> {
        let ends: FuturesUnordered<_> = self
            .bodies
            .iter_mut()
            .enumerate()
            .map(|(at, body)| async move {
                let end = body.data().await;
                assert!(end.unwrap().unwrap_err().is_reset());
                at
            })
            .collect();
        let mut first: Vec<usize> = timeout(LONG, ends.take(count).collect()).await.unwrap();
        first.sort_unstable();
        first
    }
}

#[tokio::test]
async fn one_user_who_never_reads_holds_no_more_than_the_bound() {
    let served = served("h2", PATIENCE).await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut jane = served.connect().await;
        jane.ask("jane/read", 10).await;
        assert_eq!(served.held(), 6 * MADE);
        connections.push(jane);
    }
    assert_eq!(connections.iter().map(|jane| jane.refused).collect::<Vec<_>>(), [4, 10, 10]);
    for jane in connections {
        jane.connection.abort();
    }
    served.comes_to_hold(|held| held == 0).await;
}

#[tokio::test]
async fn whoever_came_first_makes_room() {
    let served = served("h2", PATIENCE).await;
    let (mut jane, mut joe) = (served.connect().await, served.connect().await);
    jane.ask("jane/read", 4).await;
    joe.ask("joe/read", 2).await;
    sleep(GRACE).await;
    let mut newcomer = served.connect().await;
    newcomer.ask("newcomer/read", 2).await;
    assert_eq!(jane.resets(2).await, [0, 1]);
    // All hold the same now, and each his own.
    newcomer.ask("newcomer/read", 1).await;
    assert_eq!((newcomer.refused, newcomer.bodies.len()), (1, 2));
    assert_eq!(served.held(), 6 * MADE);
    assert!(!jane.connection.is_finished());
}

#[tokio::test]
async fn watches_that_are_not_read_are_ended() {
    let served = served("h2", PATIENCE).await;
    let mut jane = served.connect().await;
    for count in 0..10 {
        jane.ask("jane/watch", 1).await;
        served.comes_to_hold(|held| held >= 3 * MADE * (count + 1).min(2)).await;
        assert!(served.held() <= 2 * BOUND, "{}", served.held());
    }
    jane.resets(5).await;
}

/// Chunks are counted without a name first.
#[tokio::test]
async fn chunks_that_are_not_read_are_bounded() {
    let served = served("h2", PATIENCE).await;
    let mut jane = served.connect().await;
    jane.ask("jane/list", 60).await;
    assert!(served.held() <= 2 * BOUND, "{}", served.held());
    jane.resets(30).await;
}

/// They leave with the ends of their streams, so that their connection is all that can be ended.
#[tokio::test]
async fn small_answers_that_are_not_read_cost_their_connection() {
    let served = served("h2", PATIENCE).await;
    let (mut jane, mut joe) = (served.connect().await, served.connect().await);
    jane.ask("jane/small", 80).await;
    served.comes_to_hold(|held| held == BOUND).await;
    sleep(GRACE).await;
    joe.ask("joe/read", 1).await;
    let _ = timeout(LONG, jane.connection).await.unwrap().unwrap();
    assert_eq!(joe.bodies.len(), 1);
    served.comes_to_hold(|held| held == MADE).await;
}

#[tokio::test]
async fn over_http_1_a_connection_is_closed() {
    let served = served("http/1.1", PATIENCE).await;
    let ask = async |path: &'static str| {
        let stream = served.client.connect(TcpStream::connect(served.address).await.unwrap()).await;
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
        requests.send_request(request).await.unwrap()
    };
    let huge = ask("/jane/huge").await;
    served.comes_to_hold(|held| held == 200 * MADE).await;
    sleep(GRACE).await;
    let read = ask("/joe/read").await;
    assert_eq!(read.into_body().collect().await.unwrap().to_bytes().len(), MADE);
    assert!(timeout(LONG, huge.into_body().collect()).await.unwrap().is_err());
    served.comes_to_hold(|held| held == 0).await;
}

#[tokio::test]
async fn a_reader_that_stalls_gives_back_what_it_held() {
    let served = served("h2", Duration::from_millis(300)).await;
    let mut jane = served.connect().await;
    jane.ask("jane/read", 1).await;
    jane.resets(1).await;
    served.comes_to_hold(|held| held == 0).await;
}

/// Through the whole pipeline, as if asked on a connection.
#[tokio::test]
async fn answers_watches_and_refusals_count_until_they_are_gone() {
    const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
    const LARGE: usize = 300_000;
    let directory = tempfile::tempdir().unwrap();
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom::default()));
    let running = Server::start(Config::new(directory.path()), clock, random).await.unwrap();
    let admin = User { name: "admin".into(), groups: vec!["system:masters".into()], ..User::default() };
    let handle = running.in_process::<Full<Bytes>>(admin);
    let ask = async |method: &str, path: &str, form: (&str, &str), body: String| {
        let request = Request::builder().method(method).uri(path).header("accept", form.0);
        let request = request.header("content-type", form.1).body(Full::new(body.into())).unwrap();
        connected(handle(request)).await
    };
    let held = || running.outgoing().held();
    let json = "application/json";
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let container = json!({"name": "a", "image": "a", "env": [{"name": "a", "value": "x".repeat(LARGE)}]});
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    let job = json!({"metadata": {"name": "large"}, "spec": {"template": template}});
    let created = ask("POST", JOBS, (json, json), job.to_string()).await;
    assert_eq!((created.status(), held()), (StatusCode::CREATED, 0));

    let patch = json!({"spec": {"template": {"metadata": {"labels": {"x": "y"}}}}}).to_string();
    let refusal = ask("PATCH", &format!("{JOBS}/large"), (json, "application/merge-patch+json"), patch).await;
    assert_eq!(refusal.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let counted = held();
    let text = refusal.into_body().collect().await.unwrap().to_bytes();
    assert!(text.len() == counted && (10_000..50_000).contains(&counted), "{counted} of {}", text.len());
    drop(text);
    assert_eq!(held(), 0);

    let yaml = ask("GET", &format!("{JOBS}/large"), ("application/yaml", json), String::new()).await;
    assert!((LARGE..2 * LARGE).contains(&held()), "{}", held());
    drop(yaml);
    assert_eq!(held(), 0);

    let path = format!("{JOBS}?watch=1&includeObject=Object");
    let mut watch = ask("GET", &path, (table, json), String::new()).await.into_body();
    let event = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(event.len() > LARGE && held() >= event.len(), "{} of {}", held(), event.len());
    drop(event);
    assert_eq!(held(), 0);
    drop(watch);
    running.stop().await;
}
