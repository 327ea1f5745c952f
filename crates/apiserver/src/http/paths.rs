//! What is served beside resources: health, version, metrics, discovery, OpenAPI, the token issuer.

use api::status::Status;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use super::{
    body::Body,
    compress::accepts_gzip,
    negotiate::{self, Format},
    pipeline::{method_not_allowed, not_acceptable},
    query::Query,
    render,
};
use crate::{
    openapi::{self, Encoding, SpecVersion},
    server::Server,
};

/// The level of the Kubernetes API that is served.
pub const MAJOR: &str = "1";
pub const MINOR: &str = "36";
/// The oldest level whose objects and clients are understood throughout, as upstream has it.
const MIN_COMPATIBLE_MINOR: &str = "35";
const PATCH_LEVEL: &str = "0";
const PLAIN: &str = "text/plain; charset=utf-8";
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What stands above pages that are made for people.
const FOR_PEOPLE: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility \
                          guarantees and is for debugging purposes only.";

/// The endpoints of health checks.
const HEALTH: [&str; 3] = ["healthz", "livez", "readyz"];

impl Server {
    pub(crate) fn paths(&self, parts: &Parts, path: &str, query: &Query) -> Result<Response<Body>, Status> {
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return Err(method_not_allowed());
        }
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        match trimmed {
            "" => Ok(json_value(&json!({"paths": self.known_paths()}))),
            "/version" => Ok(json_value(&version())),
            "/metrics" => Ok(text(StatusCode::OK, METRICS_TYPE, self.render_metrics())),
            "/openid/v1/jwks" => {
                Ok(for_an_hour(with_type(json_value(&self.engine.authority.jwks()), "application/jwk-set+json")))
            }
            "/.well-known/openid-configuration" => {
                let jwks_uri = format!("https://{}/openid/v1/jwks", self.address());
                Ok(for_an_hour(json_value(&self.engine.authority.openid_configuration(&jwks_uri))))
            }
            // Upstream's health checks have no other path.
            _ if is_health(trimmed) => Ok(if trimmed == path { self.health(trimmed, query) } else { page_not_found() }),
            "/metrics/slis" => Ok(text(StatusCode::OK, METRICS_TYPE, self.render_checks())),
            "/statusz" => Ok(text(StatusCode::OK, PLAIN, self.status_page())),
            "/flagz" => Ok(text(StatusCode::OK, PLAIN, self.flags_page())),
            _ if trimmed == "/openapi/v2" || trimmed.starts_with("/openapi/v3") => {
                self.openapi(trimmed, query, &parts.headers)
            }
            _ if trimmed.starts_with("/api") => self.discovery(trimmed, &parts.headers),
            _ => Ok(page_not_found()),
        }
    }

    fn render_checks(&self) -> String {
        self.metrics.render_checks(&self.all_checks())
    }

    /// Every health check at every endpoint, and whether it passes.
    pub(crate) fn all_checks(&self) -> Vec<(&'static str, &'static str, bool)> {
        let at = |endpoint: &'static str| {
            let checks = self.checks(endpoint == "readyz").into_iter();
            checks.map(move |(name, result)| (name, endpoint, result.is_ok()))
        };
        HEALTH.into_iter().flat_map(at).collect()
    }

    /// `/statusz`: since when this has been running, and what.
    fn status_page(&self) -> String {
        let started = jiff::Timestamp::from_second(self.metrics.started_seconds() as i64).unwrap_or_default();
        let up = self.engine.now_seconds() - started.as_second();
        format!(
            "\napiserver statusz\n{FOR_PEOPLE}\n\nStarted  {}\nUp  {} hr {:02} min {:02} sec\nBinary version  \
             {MAJOR}.{MINOR}\nEmulation version  {MAJOR}.{MINOR}\nPaths  /flagz /healthz /livez /metrics /readyz /statusz \
             /version\n",
            started.strftime("%a %b %e %H:%M:%S UTC %Y"),
            up / 3600,
            up / 60 % 60,
            up % 60,
        )
    }

    /// `/flagz`: how this was started.
    fn flags_page(&self) -> String {
        let mut page = format!("\napiserver flagz\n{FOR_PEOPLE}\n");
        for (name, value) in &self.flags {
            page.push_str(&format!("{name}: {value}\n"));
        }
        page
    }

    fn known_paths(&self) -> Vec<String> {
        let registry = self.engine.registry.load();
        let mut paths: Vec<String> =
            ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/"].map(String::from).into();
        for group in registry.groups().filter(|group| !group.name.is_empty()) {
            paths.push(format!("/apis/{}", group.name));
            paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{}", group.name, version.name)));
        }
        let rest = [
            "/flagz",
            "/healthz",
            "/livez",
            "/metrics",
            "/metrics/slis",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/statusz",
            "/version",
        ];
        paths.extend(rest.map(String::from));
        for endpoint in HEALTH {
            paths.extend(self.checks(endpoint == "readyz").iter().map(|(name, _)| format!("/{endpoint}/{name}")));
        }
        paths.sort();
        paths
    }

    fn discovery(&self, path: &str, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        let documents = self.documents();
        let accept = header_text(headers, header::ACCEPT);
        let Some(document) = documents.discovery.document(path, accept) else { return Ok(page_not_found()) };
        // The aggregated form has been negotiated already; the plain one comes in any format objects come in.
        let is_plain = document.etag.is_none();
        let format =
            if is_plain { negotiate::negotiate_format(headers).ok_or_else(not_acceptable)? } else { Format::Json };
        if format == Format::Yaml {
            let value: Value = serde_json::from_slice(&document.body).unwrap_or_default();
            return Ok(render::value(StatusCode::OK, format, &value));
        }
        let body = || document.body.clone();
        let mut response = tagged(headers, document.etag.as_deref(), document.content_type, body);
        if !is_plain {
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        }
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        Ok(response)
    }

    /// `/openapi/v2`, the index `/openapi/v3`, and a document for each group and version below it.
    fn openapi(&self, path: &str, query: &Query, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        let documents = self.documents();
        let openapi = &documents.openapi;
        let rest = path.strip_prefix("/openapi/v3");
        if rest == Some("") {
            return Ok(json_value(&openapi.index()));
        }
        let version = if rest.is_some() { SpecVersion::V3 } else { SpecVersion::V2 };
        let encoding = Encoding::accepted(header_text(headers, header::ACCEPT), version)
            .ok_or_else(|| Status::not_acceptable("OpenAPI is served as JSON and as gnostic's protobuf"))?;
        let Some(rest) = rest.map(|rest| rest.trim_start_matches('/')) else {
            return Ok(document_response(headers, &openapi.v2(encoding)));
        };
        let document = openapi.v3(rest, encoding).ok_or_else(Status::no_such_path)?;
        match (query.text("hash"), openapi.hash(rest)) {
            (Some(asked), Some(current)) if asked == current => {
                // A document asked for by its hash never changes under that address.
                let mut response = document_response(headers, &document);
                let forever = HeaderValue::from_static("public, immutable");
                response.headers_mut().insert(header::CACHE_CONTROL, forever);
                Ok(response)
            }
            (Some(_), Some(current)) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                let location = HeaderValue::from_str(&format!("{path}?hash={current}"));
                response.headers_mut().insert(header::LOCATION, location.map_err(|_| Status::no_such_path())?);
                Ok(response)
            }
            _ => Ok(document_response(headers, &document)),
        }
    }

    /// `/healthz`, `/livez`, `/readyz`, each with `?verbose`, `?exclude=NAME` and `/NAME` for one check.
    fn health(&self, path: &str, query: &Query) -> Response<Body> {
        let mut segments = path.trim_start_matches('/').splitn(2, '/');
        let (endpoint, only) = (segments.next().unwrap_or_default(), segments.next());
        let excluded: Vec<&str> = query.all("exclude").collect();
        let mut report = String::new();
        let mut healthy = true;
        let mut found = only.is_none();
        for (name, result) in self.checks(endpoint == "readyz") {
            if only.is_some_and(|only| only != name) {
                continue;
            }
            self.metrics.checked(endpoint, name, result.is_ok());
            found = true;
            match result {
                _ if excluded.contains(&name) => report.push_str(&format!("[+]{name} excluded: ok\n")),
                Ok(()) => report.push_str(&format!("[+]{name} ok\n")),
                Err(reason) => {
                    healthy = false;
                    report.push_str(&format!("[-]{name} failed: {reason}\n"));
                }
            }
        }
        if !found {
            return page_not_found();
        }
        if !healthy {
            return text(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{report}{endpoint} check failed\n"));
        }
        if query.get("verbose").is_some() {
            return text(StatusCode::OK, PLAIN, format!("{report}{endpoint} check passed\n"));
        }
        text(StatusCode::OK, PLAIN, "ok".into())
    }
}

fn is_health(path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    HEALTH.iter().any(|known| path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// What answers for a path that nobody serves.
pub fn page_not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n".into())
}

/// `gitVersion`: the level that is served, and by which release.
pub fn git_version() -> String {
    format!("v{MAJOR}.{MINOR}.{PATCH_LEVEL}+coracle-{}", env!("CARGO_PKG_VERSION"))
}

fn version() -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "emulationMajor": MAJOR,
        "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR,
        "minCompatibilityMinor": MIN_COMPATIBLE_MINOR,
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }),
    })
}

fn json_value(value: &Value) -> Response<Body> {
    render::value(StatusCode::OK, Format::Json, value)
}

/// Keys change seldom, and whoever checks tokens may keep them.
fn for_an_hour(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

fn with_type(mut response: Response<Body>, content_type: &'static str) -> Response<Body> {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = with_type(Response::new(Body::from(text)), content_type);
    *response.status_mut() = status;
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A document that is kept compressed: sent so to whoever takes it, unpacked for the rest.
fn document_response(headers: &HeaderMap, document: &openapi::Document) -> Response<Body> {
    let compressed = accepts_gzip(headers);
    let body = || if compressed { document.gzip.clone() } else { document.plain() };
    let mut response = tagged(headers, Some(&document.etag), document.content_type, body);
    if compressed && response.status() == StatusCode::OK {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    response
}

/// A document with its entity tag; nothing but the tag where the client has it already.
fn tagged(headers: &HeaderMap, tag: Option<&str>, content_type: &str, body: impl FnOnce() -> Bytes) -> Response<Body> {
    let known = header_text(headers, header::IF_NONE_MATCH).split(',').any(|known| Some(known.trim()) == tag);
    let mut response = Response::new(if known { Body::empty() } else { Body::from(body()) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    for (name, text) in [(header::ETAG, tag), (header::CONTENT_TYPE, Some(content_type))] {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
