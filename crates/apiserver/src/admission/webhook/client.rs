//! HTTPS to a webhook: HTTP/1.1, connections kept for the next call, answers of bounded size.

use std::{
    collections::HashMap,
    error::Error,
    io,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{
    CertificateError, ClientConfig, OtherError, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{address::Address, trust::Verifier};

/// An answer may be as large as what a client may send: a patch can hold an object.
const MAX_ANSWER_BYTES: usize = 3 * 1024 * 1024;
/// Connections kept to one address. Calls beyond that make their own and close it.
const MAX_IDLE: usize = 8;

type Sender = SendRequest<Full<Bytes>>;

pub struct Client {
    tls: TlsConnector,
    idle: Mutex<HashMap<(String, u16), Vec<Sender>>>,
}

impl Client {
    /// Trusts the given authorities (PEM), or those of the machine where there are none.
    pub fn new(authorities: &[u8]) -> Result<Self, String> {
        let (roots, named) = match authorities {
            [] => (Arc::clone(&MACHINE_ROOTS), Vec::new()),
            pem => {
                let certificates = certificates(pem)?;
                (Arc::new(roots(&certificates)?), certificates)
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(roots, named, Arc::clone(&provider))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), idle: Mutex::default() })
    }

    /// Posts a JSON document. An error is in the words of Kubernetes' client, without the URL.
    pub async fn post(&self, address: &Address, body: Bytes) -> Result<Bytes, CallError> {
        while let Some(mut sender) = self.take(&address.dial) {
            // The server may have closed the connection meanwhile.
            if sender.ready().await.is_err() {
                continue;
            }
            match self.send(sender, address, body.clone()).await {
                Err(CallError::Transport(error)) if error.is_canceled() || error.is_incomplete_message() => {}
                other => return other,
            }
        }
        let sender = self.connect(address).await?;
        self.send(sender, address, body).await
    }

    fn take(&self, dial: &(String, u16)) -> Option<Sender> {
        self.idle.lock().get_mut(dial)?.pop()
    }

    async fn connect(&self, address: &Address) -> Result<Sender, CallError> {
        let (host, port) = &address.dial;
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let dialled = format!("dial tcp {shown}:{port}: connect");
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(|error| CallError::Connect(format!("{dialled}: {}", describe_io(&error))))?;
        // A small request should not wait for a full packet.
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(address.server_name.clone());
        let name = name.map_err(|error| CallError::Connect(error.to_string()))?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|error| CallError::Connect(describe_io(&error)))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(CallError::Transport)?;
        // Ends when the sender is dropped or the peer closes.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn send(&self, mut sender: Sender, address: &Address, body: Bytes) -> Result<Bytes, CallError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&address.path_and_query)
            .header(header::HOST, &address.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .body(Full::new(body))
            .map_err(|error| CallError::Connect(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(CallError::Transport)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => CallError::Transport(*error),
            Err(error) if error.is::<LengthLimitError>() => CallError::TooLarge,
            Err(error) => CallError::Connect(error.to_string()),
        })?;
        self.keep(&address.dial, sender);
        let body = body.to_bytes();
        if status.is_success() { Ok(body) } else { Err(CallError::Status(describe_status(status, &body))) }
    }

    fn keep(&self, dial: &(String, u16), sender: Sender) {
        let mut idle = self.idle.lock();
        // Endpoints come and go.
        idle.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        let senders = idle.entry(dial.clone()).or_default();
        if senders.len() < MAX_IDLE && !sender.is_closed() {
            senders.push(sender);
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{0}")]
    Connect(String),
    #[error("{}", describe_transport(.0))]
    Transport(hyper::Error),
    #[error("the answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// The webhook answered with another status than success.
    #[error("{0}")]
    Status(String),
}

fn describe_transport(error: &hyper::Error) -> String {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(error) => describe_io(error),
        None if error.is_incomplete_message() => "EOF".to_owned(),
        None => error.to_string(),
    }
}

/// As Go says it: these texts reach users, who search for them.
fn describe_io(error: &io::Error) -> String {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return describe_tls(error);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        _ => error.to_string(),
    }
}

/// What the TLS library has only names for.
const OTHERS: [(&str, &str); 4] = [
    // Whatever else it holds against an authority that nobody knows.
    ("CaUsedAsEndEntity", "certificate signed by unknown authority"),
    ("EndEntityUsedAsCa", "certificate signed by unknown authority"),
    ("NameConstraintViolation", "certificate is not authorized to sign for this name"),
    ("PathLenConstraintViolated", "too many intermediates for path length constraint"),
];

pub(super) fn describe_tls(error: &rustls::Error) -> String {
    let problem = match error {
        rustls::Error::InvalidCertificate(problem) => problem,
        other => return format!("tls: {other}"),
    };
    let text = match problem {
        // A bad signature is an authority of the right name with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "certificate has expired or is not yet valid".to_owned(),
        CertificateError::NotValidForName => "certificate is not valid for the requested name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            let names: Vec<&str> = presented
                .iter()
                .map(|name| name.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix("\")")).unwrap_or(name))
                .collect();
            format!("certificate is valid for {}, not {expected}", names.join(", "))
        }
        CertificateError::BadEncoding => "malformed certificate".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate specifies an incompatible key usage".to_owned()
        }
        CertificateError::UnhandledCriticalExtension => "unhandled critical extension".to_owned(),
        CertificateError::Other(OtherError(error)) => {
            let error = error.to_string();
            let known = OTHERS.iter().find(|(name, _)| *name == error);
            known.map_or(error, |(_, words)| (*words).to_owned())
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {text}")
}

fn describe_status(status: StatusCode, body: &[u8]) -> String {
    const MAX_SHOWN_BYTES: usize = 1024;
    let body = String::from_utf8_lossy(&body[..body.len().min(MAX_SHOWN_BYTES)]).trim().to_owned();
    let text = match status.as_u16() {
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        403 => "the server does not allow access to the requested resource",
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        code if code >= 500 => {
            return format!("an error on the server ({body:?}) has prevented the request from succeeding");
        }
        code => return format!("the server responded with the status code {code} but did not return more information"),
    };
    text.to_owned()
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| format!("unable to load root certificates: {error}"))?;
    if certificates.is_empty() {
        let is_pem = pem.windows(11).any(|part| part == b"-----BEGIN ");
        let why =
            if is_pem { "no valid certificate authority data seen" } else { "unable to parse bytes as PEM block" };
        return Err(format!("unable to load root certificates: {why}"));
    }
    Ok(certificates)
}

fn roots(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|error| format!("unable to load root certificates: {error}"))?;
    }
    Ok(roots)
}

/// Where distributions keep the authorities that a machine trusts.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

static MACHINE_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = BUNDLES.iter().find_map(|path| std::fs::read(path).ok()) {
        // One that the library cannot read makes only itself unknown.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    }
    Arc::new(roots)
});
