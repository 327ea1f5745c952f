//! HTTPS by hand, for requests that no client library would send: one connection a request, the bytes as
//! they are given, the answer as it comes.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Command,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;

use crate::{Clients, Server, clients::run};

/// No answer in so long is none.
const READ_TIMEOUT: Duration = Duration::from_secs(40);

pub type Connection = StreamOwned<ClientConnection, TcpStream>;

/// A way to reach one server as its administrator, or as nobody.
#[derive(Clone)]
pub struct Http {
    pub address: String,
    tls: Arc<ClientConfig>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub code: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Http {
    pub fn of(server: &Server) -> Self {
        Self::with(&server.clients())
    }

    /// With the client certificate of the kubeconfig.
    pub fn with(clients: &Clients) -> Self {
        let text = |path: &str| clients.kubectl(&["config", "view", "--raw", "-o", &format!("jsonpath={{{path}}}")]);
        let field = |path: &str| run(Command::new("base64").arg("-d"), &text(path)).stdout;
        let authority = field(".clusters[0].cluster.certificate-authority-data");
        let certificate = field(".users[0].user.client-certificate-data");
        let address = text(".clusters[0].cluster.server");
        let address = address.trim_start_matches("https://");
        Self::by_certificate(address, &authority, &certificate, &field(".users[0].user.client-key-data"))
    }

    /// With a client certificate; all three in PEM.
    pub fn by_certificate(address: &str, authority: &[u8], certificate: &[u8], key: &[u8]) -> Self {
        let certificate = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
        let key = PrivateKeyDer::from_pem_slice(key).expect("a key");
        let tls = builder(authority).with_client_auth_cert(certificate.expect("a certificate"), key);
        Self { address: address.to_owned(), tls: Arc::new(tls.expect("the key fits the certificate")) }
    }

    /// With no certificate.
    pub fn anonymous(server: &Server) -> Self {
        let authority = fs::read(server.data_dir().join("pki/ca.crt")).expect("the server's authority");
        Self::by_authority(&server.address, &authority)
    }

    /// With no certificate; the authority in PEM.
    pub fn by_authority(address: &str, authority: &[u8]) -> Self {
        Self { address: address.to_owned(), tls: Arc::new(builder(authority).with_no_client_auth()) }
    }

    /// The same client, at another address.
    pub fn at(self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self }
    }

    pub fn connect(&self) -> io::Result<Connection> {
        let socket = TcpStream::connect(&self.address)?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1").expect("an address is a name");
        let session = ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(session, socket))
    }

    /// The certificate that the server shows to a new connection.
    pub fn server_certificate(&self) -> io::Result<Vec<u8>> {
        let mut connection = self.connect()?;
        connection.conn.complete_io(&mut connection.sock)?;
        let shown = connection.conn.peer_certificates().and_then(|chain| chain.first());
        shown.map(|leaf| leaf.to_vec()).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends the bytes and reads one answer.
    pub fn raw(&self, request: &[u8]) -> io::Result<Answer> {
        let mut connection = self.connect()?;
        // A server may refuse and close before it has read everything.
        let _ = connection.write_all(request).and_then(|()| connection.flush());
        answer(&mut BufReader::new(connection))
    }

    pub fn request(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes)
    }

    pub fn json(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<(u16, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self.request(method, path, &["Content-Type: application/json"], body.as_bytes())?;
        Ok((answer.code, answer.json()))
    }

    /// A body that is a line after another, each as it comes, until the end.
    pub fn lines(&self, path: &str, mut each: impl FnMut(&str)) -> io::Result<u16> {
        let mut connection = self.connect()?;
        // HTTP/1.0: no chunks between the lines.
        write!(connection, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address)?;
        let mut reader = BufReader::new(connection);
        let (code, _) = head(&mut reader)?;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            each(&line);
            line.clear();
        }
        Ok(code)
    }
}

fn builder(authority: &[u8]) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("the provider has the default versions").with_root_certificates(roots)
}

fn head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" if lines.is_empty() => {}
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let code = lines[0].split(' ').nth(1).and_then(|code| code.parse().ok());
    let headers = lines[1..].iter().filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Ok((code.ok_or(io::ErrorKind::InvalidData)?, headers))
}

fn answer(reader: &mut impl BufRead) -> io::Result<Answer> {
    let (code, headers) = head(reader)?;
    let mut answer = Answer { code, headers, body: String::new() };
    let mut bytes = Vec::new();
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            reader.take(size).read_to_end(&mut bytes)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = answer.header("content-length").and_then(|length| length.parse().ok()) {
        reader.take(length).read_to_end(&mut bytes)?;
    }
    answer.body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(answer)
}
