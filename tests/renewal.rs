//! What is only good for a time: certificates are replaced before they end, tokens end and are issued anew. On a
//! clock that the test moves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::{path::Path, sync::Arc, time::Duration};

use apiserver::server::{Config, Running, Server};
use serde_json::{Value, json};
use stdx::{Clock, SystemClock, SystemRandom, clock::ManualClock};
use testkit::http::Http;

const DAY: u64 = 86_400;
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// A server whose calendar stands `days` before today.
async fn start(directory: &Path, days: u64) -> (Running, ManualClock) {
    let clock = ManualClock::starting_at(SystemClock.now() - Duration::from_secs(days * DAY));
    let config = Config::new(directory);
    let running = Server::start(config, Arc::new(clock.clone()), Arc::new(SystemRandom::default())).await.unwrap();
    (running, clock)
}

fn admin(running: &Running) -> Http {
    let (pki, address) = (&running.server.pki, running.address.to_string());
    let credentials = pki.admin();
    let authority = pki.authority_pem().unwrap();
    Http::by_certificate(&address, authority.as_bytes(), credentials.certificate.as_bytes(), credentials.key.as_bytes())
}

/// The test's clients block; the server runs beside them.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn json(http: &Http, method: &'static str, path: &str, body: Option<Value>) -> (u16, Value) {
    let (http, path) = (http.clone(), path.to_owned());
    apart(move || http.json(method, &path, body.as_ref()).unwrap()).await
}

#[tokio::test]
async fn certificates_are_renewed_while_the_server_runs() {
    let directory = tempfile::tempdir().unwrap();
    // Of a life of a year, two thirds are over after 244 days.
    let (running, clock) = start(directory.path(), 250).await;
    let before = admin(&running);
    let shown = |http: &Http| {
        let http = http.clone();
        apart(move || http.server_certificate().unwrap())
    };
    let (first, first_admin) = (shown(&before).await, running.server.pki.admin().certificate.clone());
    assert_eq!(json(&before, "GET", "/api/v1/namespaces/default", None).await.0, 200);
    clock.advance(Duration::from_secs(250 * DAY));
    // The task looks once an hour: let that hour pass.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3601)).await;
    tokio::time::resume();
    tokio::time::timeout(Duration::from_secs(30), running.renewed()).await.expect("a renewal");
    let after = admin(&running);
    assert_ne!(running.server.pki.admin().certificate, first_admin);
    let second = shown(&after).await;
    assert_ne!(second, first);
    // Who has the old certificate is still let in, as long as that is valid.
    for http in [&before, &after] {
        let (code, review) = json(
            http,
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            Some(json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})),
        )
        .await;
        assert_eq!((code, &review["status"]["userInfo"]["groups"][0]), (201, &json!("system:masters")), "{review}");
    }
    running.stop().await;
}

#[tokio::test]
async fn tokens_end_and_are_rotated() {
    let directory = tempfile::tempdir().unwrap();
    let (running, clock) = start(directory.path(), 1).await;
    let http = admin(&running);
    let robot = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(json(&http, "POST", accounts, Some(robot.clone())).await.0, 201);
    let issue = async || {
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
        let (code, issued) = json(&http, "POST", &format!("{accounts}/robot/token"), Some(request)).await;
        assert_eq!(code, 201, "{issued}");
        issued["status"]["token"].as_str().unwrap().to_owned()
    };
    let stranger =
        Http::by_authority(&running.address.to_string(), running.server.pki.authority_pem().unwrap().as_bytes());
    // Who the server takes the bearer for, by the token itself and by review.
    let bearer = async |token: &str| {
        let (stranger, header) = (stranger.clone(), format!("Authorization: Bearer {token}"));
        let answer = apart(move || stranger.request("GET", "/api/v1/pods", &[&header], b"").unwrap()).await;
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let (_, review) = json(&http, "POST", REVIEWS, Some(review)).await;
        let authenticated = review["status"]["authenticated"] == true;
        // The robot may not list pods: forbidden is to be known, unauthorized is not.
        assert_eq!(answer.code, if authenticated { 403 } else { 401 }, "{} {review}", answer.body);
        authenticated
    };
    let first = issue().await;
    assert!(bearer(&first).await);
    clock.advance(Duration::from_secs(500));
    let second = issue().await;
    assert!(bearer(&first).await && bearer(&second).await);
    // A minute is granted to clocks that differ.
    clock.advance(Duration::from_secs(161));
    assert!(!bearer(&first).await, "the first token's time is over");
    assert!(bearer(&second).await);
    // A token is its account's: it ends with it, and is not that of another of the same name.
    assert_eq!(json(&http, "DELETE", &format!("{accounts}/robot"), None).await.0, 200);
    assert!(!bearer(&second).await);
    assert_eq!(json(&http, "POST", accounts, Some(robot)).await.0, 201);
    assert!(!bearer(&second).await);
    assert!(bearer(&issue().await).await);
    running.stop().await;
}
