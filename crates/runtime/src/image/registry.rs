//! The distribution protocol (OCI distribution specification 1.1), for reading: mirrors, credentials, and downloads that go
//! on where they were cut.
//!
//! Everything a registry sends is bounded before it is kept, and is what was asked for only once its digest says so.

mod download;
mod login;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE, USER_AGENT, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use oci_spec::image::{Descriptor, Digest};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use serde::Deserialize;
use tokio::time::timeout;

use super::{ImageError, ImageName, digest, manifest};
pub use download::Download;
use login::Tokens;

/// How long a connection may take, and then an answer's head, and each piece of its body.
const CONNECT: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 5;
/// Of what a registry says about a refusal.
const MAX_ERROR_BYTES: usize = 16 << 10;

/// What a registry is told about who asks.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// In place of a password: a refresh token, as `docker login` may leave.
    pub identity_token: String,
}

/// Which registries are asked where, and whom to trust.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// By registry: base addresses (`https://mirror.example.com`) that are asked before it.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Registries that are spoken to without TLS, beside those on loopback.
    pub plain_http: BTreeSet<String>,
    /// Authorities that are trusted beside the system's.
    pub roots: Vec<CertificateDer<'static>>,
}

/// A client of all registries.
pub struct Registry {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    settings: Settings,
    tokens: Tokens,
}

/// Where a registry, or a mirror of it, is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    /// `https://registry-1.docker.io`
    base: String,
    /// A mirror is told whose content it is asked for.
    mirrored: Option<String>,
}

/// One image for one user: what requests are made of.
#[derive(Clone, Copy)]
struct Visit<'a> {
    name: &'a ImageName,
    credentials: Option<&'a Credentials>,
}

impl Registry {
    pub fn new(settings: Settings) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(settings.roots.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let Ok(versions) = versions else { unreachable!("the provider has the default versions") };
        let tls = versions.with_root_certificates(roots).with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(4).build(connector);
        Self { http, settings, tokens: Tokens::default() }
    }

    /// The manifest of an image or an index, and its digest.
    pub async fn manifest(
        &self,
        name: &ImageName,
        wanted: &str,
        credentials: Option<&Credentials>,
    ) -> Result<(Bytes, Digest), ImageError> {
        let path = format!("/v2/{}/manifests/{wanted}", name.repository());
        let visit = Visit { name, credentials };
        let answer = self.get_anywhere(visit, &path, manifest::ACCEPTED, 0).await?;
        let told = answer.headers().get("docker-content-digest").and_then(|text| text.to_str().ok()).map(str::to_owned);
        let bytes = read(answer, "manifest", manifest::MAX_MANIFEST_BYTES).await?;
        // Asked for by a digest it must have that; asked for by a tag, the one that the registry tells.
        let expected = [Some(wanted), told.as_deref()].into_iter().flatten().find(|text| text.contains(':'));
        let found = match expected {
            Some(text) => digest::parse("manifest", text)?,
            None => digest::parse("manifest", &digest::of(&bytes))?,
        };
        digest::verify("manifest", &bytes, &found)?;
        Ok((bytes, found))
    }

    /// A small blob, in memory.
    pub async fn small_blob(
        &self,
        name: &ImageName,
        descriptor: &Descriptor,
        limit_bytes: u64,
        credentials: Option<&Credentials>,
    ) -> Result<Bytes, ImageError> {
        let path = blob_path(name, descriptor);
        let answer = self.get_anywhere(Visit { name, credentials }, &path, "*/*", 0).await?;
        let bytes = read(answer, "image configuration", limit_bytes).await?;
        digest::verify("image configuration", &bytes, descriptor.digest())?;
        Ok(bytes)
    }

    /// A blob as it arrives, to be read outside of the run time's threads.
    pub fn blob(
        self: &Arc<Self>,
        name: &ImageName,
        descriptor: &Descriptor,
        credentials: Option<&Credentials>,
    ) -> Result<Download, ImageError> {
        Download::start(Arc::clone(self), name.clone(), descriptor.clone(), credentials.cloned())
    }

    /// From the first source that has it. What the registry itself says counts most.
    async fn get_anywhere(
        &self,
        visit: Visit<'_>,
        path: &str,
        accept: &str,
        offset: u64,
    ) -> Result<Response<Incoming>, ImageError> {
        let mut last = None;
        for source in sources(&self.settings, visit.name.registry()) {
            match self.get(&source, visit, path, accept, offset).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tracing::debug!(source = source.base, path, %error, "a registry does not help");
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| ImageError::NotFound { what: visit.name.to_string() }))
    }

    async fn get(
        &self,
        source: &Source,
        visit: Visit<'_>,
        path: &str,
        accept: &str,
        offset: u64,
    ) -> Result<Response<Incoming>, ImageError> {
        // A mirror is somebody else: it does not get the registry's credentials.
        let credentials = visit.credentials.filter(|_| source.mirrored.is_none());
        let url = source.url(path);
        let mut authorization = self.tokens.known(source, visit.name, credentials);
        for is_last in [false, true] {
            let answer = self.follow(&url, accept, offset, authorization.clone()).await?;
            if answer.status() == StatusCode::UNAUTHORIZED && !is_last {
                let challenges: Vec<String> = answer
                    .headers()
                    .get_all(WWW_AUTHENTICATE)
                    .iter()
                    .filter_map(|value| value.to_str().ok().map(str::to_owned))
                    .collect();
                authorization = self.log_in(source, visit.name, credentials, &challenges).await?;
                continue;
            }
            if answer.status().is_success() {
                return Ok(answer);
            }
            return Err(refusal(&url, visit.name, answer).await);
        }
        unreachable!("the last answer is returned")
    }

    /// Sends a request, also to where an answer sends it on; credentials stay with the first host.
    async fn follow(
        &self,
        url: &str,
        accept: &str,
        offset: u64,
        mut authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, ImageError> {
        let failed = |url: &str, why: String| ImageError::Registry { url: url.to_owned(), why };
        let mut url: Uri = url.parse().map_err(|error: http::uri::InvalidUri| failed(url, error.to_string()))?;
        for _ in 0..=MOST_REDIRECTS {
            let mut request = Request::get(url.clone()).header(ACCEPT, accept);
            if let Some(authorization) = &authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            let answer = self.send(request, Bytes::new()).await?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let location = answer.headers().get(LOCATION).and_then(|text| text.to_str().ok()).unwrap_or_default();
            let next = resolve(&url, location).ok_or_else(|| {
                failed(&url.to_string(), format!("it sends us to {location:?}, which is no address to go on at"))
            })?;
            if next.authority() != url.authority() {
                authorization = None;
            }
            url = next;
        }
        Err(failed(&url.to_string(), format!("more than {MOST_REDIRECTS} redirects")))
    }

    async fn send(&self, request: http::request::Builder, body: Bytes) -> Result<Response<Incoming>, ImageError> {
        let request = request.header(USER_AGENT, concat!("coracle/", env!("CARGO_PKG_VERSION"))).body(Full::new(body));
        let request = request.map_err(|error| ImageError::Registry { url: String::new(), why: error.to_string() })?;
        let url = request.uri().to_string();
        let failed = |why: String| ImageError::Registry { url: url.clone(), why };
        match timeout(ANSWER, self.http.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(with_causes(&error))),
            Err(_) => Err(failed(format!("no answer within {} s", ANSWER.as_secs()))),
        }
    }
}

impl Source {
    fn url(&self, path: &str) -> String {
        match &self.mirrored {
            Some(registry) => format!("{}{path}?ns={registry}", self.base),
            None => format!("{}{path}", self.base),
        }
    }
}

/// Where a registry is asked: its mirrors first. Docker's own is reached by another name than images call it by.
fn sources(settings: &Settings, registry: &str) -> Vec<Source> {
    let mirrors = settings.mirrors.get(registry).into_iter().flatten();
    let mut sources: Vec<Source> = mirrors
        .map(|base| Source { base: base.trim_end_matches('/').to_owned(), mirrored: Some(registry.to_owned()) })
        .collect();
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let scheme = if settings.plain_http.contains(registry) || is_loopback(host) { "http" } else { "https" };
    sources.push(Source { base: format!("{scheme}://{host}"), mirrored: None });
    sources
}

/// What is on this machine is spoken to without TLS, as every container engine does.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn blob_path(name: &ImageName, descriptor: &Descriptor) -> String {
    format!("/v2/{}/blobs/{}", name.repository(), descriptor.digest())
}

/// Where a redirect leads; not from TLS to plain text.
fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    if location.is_empty() {
        return None;
    }
    if location.starts_with('/') && !location.starts_with("//") {
        return format!("{}://{}{location}", from.scheme_str()?, from.authority()?).parse().ok();
    }
    let next: Uri = location.parse().ok()?;
    let is_allowed = match next.scheme_str()? {
        "https" => true,
        "http" => from.scheme_str() == Some("http"),
        _ => false,
    };
    (is_allowed && next.authority().is_some()).then_some(next)
}

/// A whole body that is not larger than it may be.
async fn read(answer: Response<Incoming>, what: &str, limit_bytes: u64) -> Result<Bytes, ImageError> {
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    let body = Limited::new(answer.into_body(), limit);
    match timeout(ANSWER, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ImageError::TooLarge { what: what.to_owned(), limit: format!("{limit_bytes} bytes") })
        }
        Ok(Err(error)) => Err(ImageError::Registry { url: format!("the {what}"), why: error.to_string() }),
        Err(_) => {
            Err(ImageError::Registry { url: format!("the {what}"), why: "it does not come to an end".to_owned() })
        }
    }
}

/// What a refusal says, in the registry's own words where it has some.
async fn refusal(url: &str, name: &ImageName, answer: Response<Incoming>) -> ImageError {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ERROR_BYTES).collect();
    let body = timeout(ANSWER, body).await.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
    let told = match serde_json::from_slice::<Errors>(&body) {
        Ok(Errors { errors }) => errors.iter().map(|one| format!("{}: {}", one.code, one.message)).collect(),
        Err(_) => Vec::new(),
    };
    let why = if told.is_empty() { status.to_string() } else { format!("{status}: {}", told.join("; ")) };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ImageError::Unauthorized { registry: name.registry().to_owned(), why: format!("{name}: {why}") }
        }
        StatusCode::NOT_FOUND => ImageError::NotFound { what: name.to_string() },
        _ => ImageError::Registry { url: url.to_owned(), why },
    }
}

/// An error of a connection says little without what caused it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_asked_first_and_loopback_without_tls() {
        let settings = Settings {
            mirrors: [("docker.io".to_owned(), vec!["https://mirror.example.com/".to_owned()])].into(),
            plain_http: ["registry.lan:5000".to_owned()].into(),
            ..Settings::default()
        };
        let urls = |registry: &str| -> Vec<String> {
            sources(&settings, registry).iter().map(|source| source.url("/v2/a/manifests/b")).collect()
        };
        assert_eq!(
            urls("docker.io"),
            [
                "https://mirror.example.com/v2/a/manifests/b?ns=docker.io",
                "https://registry-1.docker.io/v2/a/manifests/b"
            ]
        );
        for (registry, base) in [
            ("quay.io", "https://quay.io"),
            ("localhost:5000", "http://localhost:5000"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("registry.lan:5000", "http://registry.lan:5000"),
            ("registry.lan", "https://registry.lan"),
            ("127.example.com", "https://127.example.com"),
        ] {
            assert_eq!(urls(registry), [format!("{base}/v2/a/manifests/b")]);
        }
    }

    #[test]
    fn redirects_never_leave_tls() {
        let secure: Uri = "https://a.example.com/v2/x".parse().unwrap();
        let plain: Uri = "http://127.0.0.1:5000/v2/x".parse().unwrap();
        for (from, location, expect) in [
            (&secure, "https://b.example.com/y?z=1", Some("https://b.example.com/y?z=1")),
            (&secure, "/y", Some("https://a.example.com/y")),
            (&secure, "http://a.example.com/y", None),
            (&secure, "file:///etc/passwd", None),
            (&secure, "", None),
            (&plain, "http://127.0.0.1:5001/y", Some("http://127.0.0.1:5001/y")),
            (&plain, "//b.example.com/y", None),
        ] {
            let next = resolve(from, location).map(|uri| uri.to_string());
            assert_eq!(next.as_deref(), expect, "{location}");
        }
    }
}
