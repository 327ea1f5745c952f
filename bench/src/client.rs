//! A client that costs little: one connection, TLS with a client certificate, HTTP/1.1 or HTTP/2,
//! answers counted and thrown away. No pool, no retries, no types.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    CipherSuite,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_yaml_ng::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What a pod list or a watch may bring at once; as much as a client that drains lists would allow.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    #[value(name = "1.1")]
    Http1,
    #[value(name = "2")]
    Http2,
}

/// How to reach a cluster, and as whom.
#[derive(Debug, Clone)]
pub struct Access {
    host: String,
    port: u16,
    tls: Arc<rustls::ClientConfig>,
    protocol: Protocol,
}

/// One request, before it knows its server.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub body: Bytes,
}

/// One connection.
pub struct Connection {
    authority: String,
    sender: Sender,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Access {
    /// The first cluster and the first user of a kubeconfig.
    pub fn from_kubeconfig(file: &Path, protocol: Protocol) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let config: Value = serde_yaml_ng::from_str(&text)?;
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let server: Uri = cluster["server"].as_str().context("no server in the kubeconfig")?.parse()?;
        let mut trusted = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&content(cluster, "certificate-authority")?) {
            trusted.add(certificate?)?;
        }
        let chain = content(user, "client-certificate")?;
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&content(user, "client-key")?)?;
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted)
            .with_client_auth_cert(chain, key)?;
        tls.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        Ok(Self {
            host: server.host().context("no host in the server's address")?.to_owned(),
            port: server.port_u16().unwrap_or(443),
            tls: Arc::new(tls),
            protocol,
        })
    }

    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone())?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        let stream = TokioIo::new(stream);
        let sender = match self.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(stream).await?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(WINDOW_BYTES)
                    .initial_connection_window_size(WINDOW_BYTES)
                    .handshake(stream)
                    .await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Connection { authority: format!("{}:{}", self.host, self.port), sender })
    }
}

/// With AES-128 first, as Go's clients offer it, so that both sides encrypt with the same cipher.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// A field that is there either as base64 text or as the name of a file.
fn content(section: &Value, field: &str) -> Result<Vec<u8>> {
    if let Some(text) = section[format!("{field}-data")].as_str() {
        return Ok(STANDARD.decode(text)?);
    }
    let file = section[field].as_str().with_context(|| format!("no {field} in the kubeconfig"))?;
    std::fs::read(file).with_context(|| file.to_owned())
}

impl Call {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: Bytes::new() }
    }

    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, path: path.into(), body: body.into() }
    }

    pub fn put(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { method: Method::PUT, path: path.into(), body: body.into() }
    }

    pub fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, path: path.into(), body: Bytes::new() }
    }
}

impl Connection {
    /// Sends a request and gives the answer's status and its body, still to come.
    pub async fn send(&mut self, call: Call) -> Result<(StatusCode, Incoming)> {
        let request = Request::builder().method(call.method).header(header::ACCEPT, "application/json");
        let request =
            if call.body.is_empty() { request } else { request.header(header::CONTENT_TYPE, "application/json") };
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                let request = request.uri(call.path).header(header::HOST, &self.authority);
                sender.send_request(request.body(Full::new(call.body))?).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                let request = request.uri(format!("https://{}{}", self.authority, call.path));
                sender.send_request(request.body(Full::new(call.body))?).await?
            }
        };
        let (head, body) = response.into_parts();
        Ok((head.status, body))
    }

    /// Sends a request that has to succeed; the number of bytes of its answer.
    pub async fn drain(&mut self, call: Call) -> Result<u64> {
        let asked = format!("{} {}", call.method, call.path);
        let (status, mut body) = self.send(call).await?;
        if !status.is_success() {
            bail!("{asked}: {status}: {}", String::from_utf8_lossy(&body.collect().await?.to_bytes()));
        }
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, Bytes::len) as u64;
        }
        Ok(bytes)
    }

    /// Sends a request and reads its answer; nothing where the object is there already.
    pub async fn ensure(&mut self, call: Call) -> Result<()> {
        let (status, body) = self.send(call).await?;
        let body = body.collect().await?.to_bytes();
        let done = status.is_success() || status == StatusCode::CONFLICT;
        ensure!(done, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}
