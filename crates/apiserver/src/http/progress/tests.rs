use std::{future::Future, net::SocketAddr};

use h2::{RecvStream, client::SendRequest};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::http::{
    listener::{Answer, Handler, Peer, RequestBody, serve},
    loopback,
};

const PATIENCE: Duration = Duration::from_millis(300);
const LARGE: usize = 1_000_000;

/// Answers with a body of the shape that the path names.
struct Shapes {
    freed: mpsc::UnboundedSender<&'static str>,
}

/// Memory that tells when it is freed.
struct Told {
    bytes: Vec<u8>,
    shape: &'static str,
    freed: mpsc::UnboundedSender<&'static str>,
}

impl AsRef<[u8]> for Told {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.freed.send(self.shape);
    }
}

impl Shapes {
    fn bytes(&self, shape: &'static str, length: usize) -> Bytes {
        let bytes = (0..length).map(|at| (at % 251) as u8).collect();
        Bytes::from_owner(Told { bytes, shape, freed: self.freed.clone() })
    }
}

impl Handler for Shapes {
    fn handle(self: Arc<Self>, request: Request<RequestBody>, _: Arc<Peer>) -> Answer {
        let body = match request.uri().path() {
            "/small" => Body::from(self.bytes("small", 100)),
            "/whole" => Body::from(self.bytes("whole", LARGE)),
            "/pieces" => {
                let mut rest = self.bytes("pieces", LARGE);
                let pieces = std::iter::from_fn(move || {
                    let piece = rest.split_to(rest.len().min(70_000));
                    (!piece.is_empty()).then_some(piece)
                });
                Body::Pieces { pieces: Box::new(pieces), remaining: LARGE as u64, own_bytes: 0 }
            }
            "/watch" => {
                let events = futures_util::stream::repeat(self.bytes("watch", 1000));
                Body::Stream(Box::pin(events))
            }
            "/idle" => Body::Stream(Box::pin(futures_util::stream::pending())),
            _ => Body::empty(),
        };
        Box::pin(std::future::ready(Response::new(body)))
    }
}

struct Served {
    address: SocketAddr,
    client: loopback::Client,
    freed: mpsc::UnboundedReceiver<&'static str>,
    _stop: DropGuard,
}

async fn served(protocol: &str, patience: Duration) -> Served {
    let (tls, client) = loopback::tls(protocol);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, freed) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, tls, Arc::new(Shapes { freed: tell }), patience, stop.clone()));
    Served { address, client, freed, _stop: stop.drop_guard() }
}

impl Served {
    /// A client that opens no stream's window further than this by itself, and answers pings.
    async fn http2(&self, window: u32) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
        let stream = self.client.connect(TcpStream::connect(self.address).await.unwrap()).await;
        let mut builder = h2::client::Builder::new();
        let (requests, connection) = builder.initial_window_size(window).handshake(stream).await.unwrap();
        (requests.ready().await.unwrap(), tokio::spawn(connection))
    }
}

fn ask(requests: &mut SendRequest<Bytes>, path: &str) -> impl Future<Output = Result<RecvStream, h2::Error>> + use<> {
    let request = Request::get(format!("https://localhost{path}")).body(()).unwrap();
    let (response, _) = requests.send_request(request, true).unwrap();
    async { Ok(response.await?.into_body()) }
}

/// Takes what comes without opening the window; the error that ends it.
async fn end_of(mut body: RecvStream) -> h2::Error {
    loop {
        match body.data().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return error,
            None => panic!("ended as if it were whole"),
        }
    }
}

/// With a window of 0 all of a piece waits; with one of 1 a part of it is queued already.
#[tokio::test]
async fn a_stream_that_is_not_taken_is_reset_and_freed() {
    for window in [0, 1, 100_000] {
        let mut served = served("h2", PATIENCE).await;
        let (mut requests, connection) = served.http2(window).await;
        let mut idle = ask(&mut requests, "/idle").await.unwrap();
        for shape in ["whole", "pieces", "watch"] {
            let body = ask(&mut requests, &format!("/{shape}")).await.unwrap();
            assert!(end_of(body).await.is_reset(), "{shape} {window}");
            assert_eq!(served.freed.recv().await, Some(shape), "{window}");
        }
        // What has nothing to send goes on, and so does the connection.
        assert!(futures_util::poll!(std::future::poll_fn(|context| idle.poll_data(context))).is_pending());
        assert!(ask(&mut requests, "/empty").await.unwrap().is_end_stream());
        assert!(!connection.is_finished());
    }
}

#[tokio::test]
async fn a_peer_that_takes_no_small_answer_is_dropped() {
    let mut served = served("h2", PATIENCE).await;
    let (mut requests, connection) = served.http2(0).await;
    let body = ask(&mut requests, "/small").await.unwrap();
    end_of(body).await;
    assert_eq!(served.freed.recv().await, Some("small"));
    let _ = connection.await.unwrap();
}

/// More time than the patience may pass, as long as something is taken in the meantime.
#[tokio::test]
async fn what_is_taken_slowly_arrives() {
    let served = served("h2", Duration::from_secs(3600)).await;
    for path in ["/small", "/whole", "/pieces"] {
        let (mut requests, _connection) = served.http2(1000).await;
        let mut body = ask(&mut requests, path).await.unwrap();
        let mut arrived = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            arrived.extend_from_slice(&data);
        }
        assert_eq!(arrived.len(), if path == "/small" { 100 } else { LARGE });
        assert!(arrived.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8), "{path}");
    }
}

#[tokio::test]
async fn over_http_1_bodies_arrive_as_they_are() {
    let served = served("http/1.1", PATIENCE).await;
    for (path, length) in [("/small", 100), ("/whole", LARGE), ("/pieces", LARGE), ("/empty", 0)] {
        let stream = served.client.connect(TcpStream::connect(served.address).await.unwrap()).await;
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
        let body = requests.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), length, "{path}");
        assert!(body.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8), "{path}");
    }
}
