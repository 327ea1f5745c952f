use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::RecvStream;
use http::{Request, StatusCode};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::http::{
    listener::{Answer, Handler, Peer, RequestBody, serve},
    loopback,
    negotiate::Format,
    verbs,
};

const MADE: usize = 100_000;

fn made() -> Response<Body> {
    Response::new(Body::from(vec![b'x'; MADE]))
}

#[test]
fn answers_that_are_not_sent_are_bounded_and_shared_out() {
    let outgoing = Outgoing(Budget::within(8 * MADE));
    let other = outgoing.0.other_than("jane");
    let mut under_way = Vec::new();
    for (user, is_served) in [("jane", 4), (&*other, 4), ("jane", 0), (&*other, 0)] {
        for count in 0..10 {
            let answer = outgoing.check(user).and_then(|()| outgoing.hold(made(), user, true));
            assert_eq!(answer.is_ok(), count < is_served, "{user} {count}");
            under_way.extend(answer.inspect_err(|refusal| {
                assert_eq!((refusal.code, refusal.retry_after_seconds), (429, Some(1)));
            }));
        }
    }
    assert_eq!(outgoing.0.held(), 8 * MADE);
    // What has been done is told, whatever is left; what is compressed otherwise goes out as it is.
    under_way.extend(outgoing.hold(made(), "jane", false));
    assert_eq!(outgoing.0.held(), 9 * MADE);
    assert!(outgoing.compressor("jane").is_none());
    under_way.clear();
    assert_eq!(outgoing.0.held(), 0);
    assert!(outgoing.check("jane").is_ok());
}

#[test]
fn only_what_is_made_for_one_reader_counts() {
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
        let response = outgoing.hold(Response::new(body), "jane", true).unwrap();
        assert_eq!(outgoing.0.held(), expect, "{shape}");
        drop(response);
        assert_eq!(outgoing.0.held(), 0, "{shape}");
    }
}

/// A list larger than everything is served to whoever comes first.
#[test]
fn an_answer_may_be_larger_than_the_bound() {
    let outgoing = Outgoing(Budget::within(10));
    let response = outgoing.hold(made(), "jane", true).unwrap();
    assert!(outgoing.hold(made(), "jane", true).is_err());
    drop(response);
    assert!(outgoing.hold(made(), "jane", true).is_ok());
}

/// Parts of the bytes may lie in queues when the body itself is gone.
#[test]
fn bytes_are_held_until_the_last_of_them_is_sent() {
    let outgoing = Outgoing::default();
    let Body::Whole(Some(bytes)) = outgoing.hold(made(), "jane", true).unwrap().into_body() else { panic!() };
    let queued = bytes.slice(MADE - 1..);
    drop(bytes);
    assert_eq!(outgoing.0.held(), MADE);
    drop(queued);
    assert_eq!(outgoing.0.held(), 0);
}

struct Maker(Outgoing);

impl Handler for Maker {
    fn handle(self: Arc<Self>, _: Request<RequestBody>, _: Arc<Peer>) -> Answer {
        let answer = self.0.check("jane").and_then(|()| self.0.hold(made(), "jane", true));
        let response = answer.unwrap_or_else(|status| verbs::refusal(&status, Format::Json));
        Box::pin(std::future::ready(response))
    }
}

async fn served(patience: Duration) -> (Arc<Maker>, SocketAddr, loopback::Client, DropGuard) {
    let (tls, client) = loopback::tls("h2");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let maker = Arc::new(Maker(Outgoing(Budget::within(8 * MADE))));
    tokio::spawn(serve(listener, tls, maker.clone(), patience, stop.clone()));
    (maker, address, client, stop.drop_guard())
}

/// Asks over one connection, and opens the window of no stream.
async fn ask(address: SocketAddr, client: &loopback::Client, count: usize) -> (JoinHandle<()>, Vec<RecvStream>, usize) {
    let stream = client.connect(TcpStream::connect(address).await.unwrap()).await;
    let builder = h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream);
    let (mut requests, connection) = builder.await.unwrap();
    let connection = tokio::spawn(async {
        let _ = connection.await;
    });
    let (mut bodies, mut refused) = (Vec::new(), 0);
    for _ in 0..count {
        requests = requests.ready().await.unwrap();
        let request = Request::get("https://localhost/").body(()).unwrap();
        let response = requests.send_request(request, true).unwrap().0.await.unwrap();
        match response.status() {
            StatusCode::OK => bodies.push(response.into_body()),
            status => {
                assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
                refused += 1;
            }
        }
    }
    (connection, bodies, refused)
}

async fn all_is_given_back(maker: &Maker) {
    let given_back = async {
        while maker.0.0.held() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), given_back).await.unwrap();
}

#[tokio::test]
async fn readers_that_never_read_hold_no_more_than_the_bound() {
    let (maker, address, client, _stop) = served(Duration::from_secs(3600)).await;
    let (mut connections, mut served, mut refused) = (Vec::new(), 0, 0);
    for _ in 0..3 {
        let (connection, bodies, not_served) = ask(address, &client, 10).await;
        (served, refused) = (served + bodies.len(), refused + not_served);
        connections.push((connection, bodies));
        assert_eq!(maker.0.0.held(), 4 * MADE);
    }
    assert_eq!((served, refused), (4, 26));
    for (connection, _) in connections {
        connection.abort();
    }
    all_is_given_back(&maker).await;
}

#[tokio::test]
async fn a_reader_that_stalls_gives_back_what_it_held() {
    let (maker, address, client, _stop) = served(Duration::from_millis(300)).await;
    let (_connection, mut bodies, _) = ask(address, &client, 1).await;
    assert!(bodies[0].data().await.unwrap().is_err());
    all_is_given_back(&maker).await;
}
