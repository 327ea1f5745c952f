//! What clients should not send, each with what Kubernetes answers; and after all of it nothing has changed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cases;

use std::{
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Clients, Server, http::Http};

use cases::{CASES, CLEARER_CASES, FIRST, JSON, MAPS, YAML};

fn start() -> (Option<Server>, Http) {
    // Stock Kubernetes has to give the same answers.
    let reference = std::env::var_os("REFERENCE_KUBECONFIG");
    let server = reference.is_none().then(|| Server::start(env!("CARGO_BIN_EXE_coracle")));
    let http = match (&server, reference) {
        (Some(server), _) => Http::of(server),
        (None, kubeconfig) => Http::with(&Clients::new(Path::new(&kubeconfig.unwrap_or_default()))),
    };
    let first = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "first"}, "data": {"a": "b"}});
    let path = format!("{FIRST}?fieldManager=owner");
    let answer =
        http.request("PATCH", &path, &["Content-Type: application/apply-patch+yaml"], first.to_string().as_bytes());
    assert!(matches!(answer.unwrap().code, 200 | 201));
    (server, http)
}

/// Everything there is, to be compared before and after.
fn state(http: &Http) -> Vec<Value> {
    ["/api/v1/configmaps", "/api/v1/secrets", "/api/v1/namespaces", "/apis/rbac.authorization.k8s.io/v1/roles"]
        .map(|path| http.json("GET", path, None).unwrap().1["items"].clone())
        .into()
}

/// Where nothing is served at all, not even a `Status` is.
#[test]
fn what_is_nowhere_is_a_plain_page() {
    let (_server, http) = start();
    for path in ["/nothing", "/apis/nothing.example/v1/things", "/apis/nothing.example"] {
        let answer = http.request("GET", path, &[], b"").unwrap();
        assert_eq!((answer.code, answer.body.as_str()), (404, "404 page not found\n"), "{path}");
    }
}

#[test]
fn each_gets_the_answer_of_kubernetes_and_changes_nothing() {
    let (server, http) = start();
    let before = state(&http);
    let mut wrong = Vec::new();
    let clearer = if server.is_some() { CLEARER_CASES } else { &[] };
    for (method, path, media_type, body, code, reason, message) in CASES.iter().chain(clearer) {
        let content = format!("Content-Type: {media_type}");
        let headers: &[&str] = if media_type.is_empty() { &[] } else { &[&content] };
        let answer = http.request(method, path, headers, body.as_bytes()).unwrap();
        let status = answer.json();
        let is_status = status["kind"] == "Status" && status["apiVersion"] == "v1" && status["status"] == "Failure";
        let fits = answer.code == *code
            && status["code"] == *code
            && status["reason"].as_str().unwrap_or_default() == *reason
            && status["message"].as_str().unwrap_or_default().contains(message);
        if !is_status || !fits {
            wrong.push(format!(
                "{method} {path} {body}\n  expected {code} {reason} …{message}…\n  got {} {}",
                answer.code, answer.body
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    assert_eq!(state(&http), before);
}

#[test]
fn too_much_is_refused() {
    let (_server, http) = start();
    let before = state(&http);
    let post = |body: &str, media_type: &str| {
        http.request("POST", MAPS, &[&format!("Content-Type: {media_type}")], body.as_bytes()).unwrap().code
    };
    let large = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(4 << 20)}}).to_string();
    assert_eq!(post(&large, JSON), 413);
    // Within the limit of a request, beyond that of the kind.
    let large = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(2 << 20)}}).to_string();
    assert_eq!(post(&large, JSON), 422);
    let deep = format!("{}{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert_eq!(post(&deep, JSON), 400);
    assert_eq!(post(&"[".repeat(1_000_000), JSON), 400);
    assert_eq!(post(&"[".repeat(1_000_000), YAML), 400);
    assert_eq!(post(&"- ".repeat(1_000_000), YAML), 400);
    // Each alias doubles what the one before holds.
    let mut doubling = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let below = level - 1;
        doubling.push_str(&format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}, *a{below}]\n"));
    }
    let code = post(&doubling, YAML);
    assert!(code == 400 || code == 413, "{code}");
    let path = format!("{MAPS}?labelSelector={}", "a,".repeat(20_000));
    let code = http.request("GET", &path, &[], b"").unwrap().code;
    assert!((400..500).contains(&code), "{code}");
    let header = format!("X-Large: {}", "x".repeat(1 << 20));
    let code = http.request("GET", MAPS, &[&header], b"").map_or(431, |answer| answer.code);
    assert_eq!(code, 431);
    let many: Vec<String> = (0..1000).map(|number| format!("X-{number}: x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let code = http.request("GET", MAPS, &many, b"").map_or(431, |answer| answer.code);
    assert_eq!(code, 431);
    assert_eq!(state(&http), before);
}

/// Requests that two servers might read differently: refused, or read as the standard says, never as two.
#[test]
fn requests_are_read_one_way() {
    let (_server, http) = start();
    let before = state(&http);
    let host = format!("Host: {}\r\n", http.address);
    let hidden = format!("DELETE {FIRST} HTTP/1.1\r\n{host}\r\n");
    let cases = [
        format!(
            "POST {MAPS} HTTP/1.1\r\n{host}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
        ),
        format!("POST {MAPS} HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("POST {MAPS} HTTP/1.1\r\n{host}Content-Length: +0\r\n\r\n"),
        format!("POST {MAPS} HTTP/1.1\r\n{host}Transfer-Encoding: chunked, identity\r\n\r\n{hidden}"),
        format!("POST {MAPS} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nzz\r\n{hidden}"),
        format!("GET {MAPS} HTTP/1.1\r\n{host}X : y\r\n\r\n"),
        format!("GET {MAPS} HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n"),
        format!("GET {MAPS}\r\n\r\n{hidden}"),
        "\u{16}\u{3}\u{1}\u{0}\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
    ];
    for case in &cases {
        if let Ok(answer) = http.raw(case.as_bytes()) {
            assert!((400..500).contains(&answer.code), "{case}\n{answer:?}");
        }
    }
    assert_eq!(state(&http), before);
}

/// Bodies that end half way, and clients that only connect.
#[test]
fn unfinished_requests_change_nothing() {
    let (_server, http) = start();
    let before = state(&http);
    let object = r#"{"metadata":{"name":"half"}}"#;
    for sent in [0, 1, object.len() - 1] {
        let mut connection = http.connect().unwrap();
        let head = format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
        write!(connection, "{head}Content-Length: {}\r\n\r\n{}", object.len(), &object[..sent]).unwrap();
        connection.flush().unwrap();
        connection.sock.shutdown(std::net::Shutdown::Both).unwrap();
        // A chunked body without its end.
        let mut connection = http.connect().unwrap();
        write!(connection, "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{object}\r\n", object.len()).unwrap();
        connection.flush().unwrap();
        connection.sock.shutdown(std::net::Shutdown::Both).unwrap();
    }
    // Others are served while some say nothing.
    let silent: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(&http.address).unwrap()).collect();
    let mut plain = std::net::TcpStream::connect(&http.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "the API is not to be had in the clear");
    assert_eq!(state(&http), before);
    drop(silent);
}

#[test]
fn strangers_are_kept_out() {
    let server = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let http = Http::of(&server);
    let before = state(&http);
    let anonymous = Http::anonymous(&server);
    let status = |http: &Http, method: &str, path: &str, headers: &[&str]| {
        let answer = http.request(method, path, headers, b"").unwrap();
        (answer.code, answer.json()["reason"].as_str().unwrap_or_default().to_owned(), answer.json()["message"].clone())
    };
    let (code, reason, message) = status(&anonymous, "GET", MAPS, &[]);
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert!(
        message
            .as_str()
            .unwrap()
            .starts_with("configmaps is forbidden: User \"system:anonymous\" cannot list resource")
    );
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(anonymous.request("GET", path, &[], b"").unwrap().code, 200, "{path}");
    }
    let expired = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJleHAiOjE2MDAwMDAwMDAsImlzcyI6Imh0dHBzOi8va3ViZXJuZXRlcy5kZWZhdWx0LnN2Yy5jbHVzdGVyLmxvY2FsIn0.AAAA";
    for token in ["nonsense", "a.b.c", expired, "", "\u{fc}"] {
        let header = format!("Authorization: Bearer {token}");
        let (code, reason, _) = status(&anonymous, "GET", MAPS, &[&header]);
        // No token is nobody; a wrong one is refused.
        let expect = if token.is_empty() { (403, "Forbidden") } else { (401, "Unauthorized") };
        assert_eq!((code, reason.as_str()), expect, "{token}");
    }
    assert_eq!(status(&anonymous, "GET", MAPS, &["Impersonate-User: admin"]).0, 403);
    assert_eq!(status(&http, "GET", MAPS, &["Impersonate-Group: admins"]).0, 400);
    assert_eq!(status(&http, "DELETE", FIRST, &["Impersonate-User: jane"]).0, 403);
    // A server of another authority, and a client of another authority.
    let other = Server::start(env!("CARGO_BIN_EXE_coracle"));
    let stranger = Http::of(&other).at(&server.address);
    assert!(stranger.request("GET", MAPS, &[], b"").is_err(), "the authority is another");
    let clients = other.clients();
    let url = format!("https://{}", server.address);
    let arguments = ["--server", &url, "--insecure-skip-tls-verify", "get", "configmaps"];
    let output = testkit::clients::run(clients.command("kubectl").args(arguments), "");
    assert!(!output.status.success(), "a certificate of another authority is none");
    assert_eq!(state(&http), before);
}
