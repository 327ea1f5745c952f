//! For tests: TLS between a server and a client of this process.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring, pki_types::ServerName};
use stdx::Clock;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::pki::{Names, Pki};

pub struct Client(TlsConnector);

/// What a server needs, and a client that trusts it and speaks this protocol.
pub fn tls(protocol: &str) -> (Arc<ServerConfig>, Client) {
    let directory = tempfile::tempdir().unwrap();
    let names = Names { host: "box".into(), service_address: [10, 96, 0, 1].into(), extra: Vec::new() };
    let pki = Pki::open(directory.path(), &names, stdx::SystemClock.now()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(pki.authority_der().unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    (Arc::new(pki.server_config().unwrap()), Client(TlsConnector::from(Arc::new(config))))
}

impl Client {
    pub async fn connect(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        self.0.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }
}
