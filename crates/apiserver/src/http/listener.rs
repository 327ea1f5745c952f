//! Connections: TLS, HTTP/1.1 and HTTP/2, limits, and an orderly end.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    body::{Body, CHUNK_BYTES},
    gather::Gathered,
    progress::{Connection, Paced, Stalled, Streams},
};
use crate::identity::User;

pub type RequestBody = BoxBody<Bytes, BodyError>;

/// A body that broke off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(pub String);

const MAX_CONNECTIONS: usize = 10_000;
/// As upstream. Clients of many watches open further connections.
const MAX_STREAMS_PER_CONNECTION: u32 = 100;
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Of one response: a piece.
const SEND_BUFFER_BYTES: usize = CHUNK_BYTES;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the last answer to the end of the next request's head: clients in Go keep connections idle for so long, and one
/// that is closed under a request loses it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A peer that takes no bytes for so long is gone or too slow, and is dropped; where it leaves only one stream
/// shut, that is reset.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long requests may go on after the listener was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// The client's chain, leaf first, already verified against the client CA; empty without one.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Who a caller in this process is; no connection sets it.
    pub user: Option<User>,
}

pub type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    fn handle(self: Arc<Self>, request: Request<RequestBody>, peer: Arc<Peer>) -> Answer;

    /// A connection ended before it was secured.
    fn handshake_failed(&self) {}
}

/// Serves until `stop`; then lets requests that are under way finish, within bounds. `patience` is for peers that
/// take nothing.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    handler: Arc<dyn Handler>,
    patience: Duration,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
        let (stream, address) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: others have to end before more can come.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (acceptor, handler, stop) = (acceptor.clone(), Arc::clone(&handler), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection(stream, address, acceptor, handler, patience, stop).await {
                tracing::debug!(%address, %error, "connection ended");
            }
            drop(slot);
        });
    }
    connections.close();
    let _ = timeout(DRAIN_TIMEOUT, connections.wait()).await;
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    handler: Arc<dyn Handler>,
    patience: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(patience))?;
    let secured = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await.map_err(io::Error::from).flatten();
    let stream = secured.inspect_err(|_| handler.handshake_failed())?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
    let peer = Arc::new(Peer { address, certificates, user: None });
    let shared = Arc::new(Connection::default());
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (handler, peer) = (Arc::clone(&handler), Arc::clone(&peer));
        async move {
            let request = request.map(|body| body.map_err(|error| BodyError(error.to_string())).boxed());
            let response = handler.handle(request, peer).await;
            Ok::<_, std::convert::Infallible>(response.map(Paced::new))
        }
    });
    let mut builder = auto::Builder::new(Streams { patience, connection: Arc::clone(&shared) });
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES * 2);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(STALL_TIMEOUT);
    let stream = Gathered::new(stream);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream.clone()), service);
    let until_stopped = async {
        let mut served = pin!(served);
        let result = tokio::select! {
            result = served.as_mut() => result,
            () = shared.stalled(patience) => return Err(io::Error::other(Stalled)),
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        result.map_err(io::Error::other)
    };
    let scoped = Arc::clone(&shared).scope(until_stopped);
    stream.drive(scoped).await
}
