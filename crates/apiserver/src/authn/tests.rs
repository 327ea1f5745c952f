//! Requests to users, on a cluster of a few accounts, pods and secrets.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use stdx::clock::{Clock, ManualClock};

use super::*;
use crate::{
    authz::{
        Chain,
        rbac::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES},
    },
    cluster::FixedCluster,
    identity::{ANONYMOUS, MASTERS},
    pki::{CLIENT_AUTH, Names, SERVER_AUTH},
};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The moment the RS256 token of `cases/tokens` was issued.
const START: i64 = 1_900_000_000;

struct Fixture {
    pki: Pki,
    authenticator: Authenticator,
    clock: ManualClock,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names = Names { host: "box".into(), service_address: [10, 96, 0, 1].into(), extra: Vec::new() };
        let start = Timestamp::from_second(START).unwrap();
        Pki::open(directory.path(), &names, start).unwrap();
        // A key of another make, whose tokens are accepted beside our own.
        let path = directory.path().join("sa.pub");
        std::fs::write(&path, include_str!("../../cases/tokens/rsa.pub")).unwrap();
        let pki = Pki::open(directory.path(), &names, start).unwrap();
        let config = Config { issuer: ISSUER.into(), audiences: vec![ISSUER.into()] };
        let authenticator = Authenticator::new(&pki, config).unwrap();
        Self { pki, authenticator, clock: ManualClock::starting_at(start), _directory: directory }
    }

    fn bearer(&self, token: &str, cluster: &FixedCluster) -> Result<User, Unauthenticated> {
        let headers = headers(&[("authorization", &format!("Bearer {token}"))]);
        self.authenticator.authenticate(&headers, None, cluster, self.clock.now())
    }

    fn issue(&self, spec: Value) -> Result<Value, Status> {
        let request = json!({"kind": "TokenRequest", "spec": spec});
        self.authenticator.tokens.issue("shop", "web", request, &cluster(), self.clock.now())
    }

    fn token(&self, spec: Value) -> String {
        self.issue(spec).unwrap()["status"]["token"].as_str().unwrap().to_owned()
    }

    fn with_certificate(&self, pem: &str) -> Result<User, Unauthenticated> {
        let der = x509_cert::der::pem::decode_vec(pem.as_bytes()).unwrap().1;
        self.authenticator.authenticate(
            &HeaderMap::new(),
            Some(&[CertificateDer::from(der)]),
            &cluster(),
            self.clock.now(),
        )
    }
}

fn headers(entries: &[(&str, &str)]) -> HeaderMap {
    let entry = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    entries.iter().map(entry).collect()
}

fn object(name: &str, uid: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": uid}})
}

fn pod() -> Value {
    let mut pod = object("web-1", "pod-1");
    pod["spec"] = json!({"serviceAccountName": "web", "nodeName": "n1"});
    pod
}

fn cluster() -> FixedCluster {
    cluster_with_pod(pod())
}

fn cluster_with_pod(pod: Value) -> FixedCluster {
    FixedCluster::default()
        .with("serviceaccounts", object("web", "sa-1"))
        .with("pods", pod)
        .with("secrets", object("bound", "secret-1"))
        .with("nodes", json!({"metadata": {"name": "n1", "uid": "node-1"}}))
}

#[test]
fn a_request_without_credentials_is_anonymous() {
    let fixture = Fixture::new();
    let ask = |entries| fixture.authenticator.authenticate(&headers(entries), None, &cluster(), fixture.clock.now());
    assert_eq!(ask(&[]), Ok(User::anonymous()));
    assert_eq!(ask(&[("authorization", "Basic eDp5")]), Ok(User::anonymous()));
    assert_eq!(ask(&[("authorization", "Bearer ")]), Ok(User::anonymous()));
    assert!(ask(&[("authorization", "Bearer x")]).is_err());
}

#[test]
fn certificates_name_users() {
    let fixture = Fixture::new();
    let admin = fixture.with_certificate(&fixture.pki.admin().certificate).unwrap();
    assert_eq!(
        (admin.name.as_str(), admin.groups.as_slice()),
        ("kubernetes-admin", &[MASTERS.to_owned(), AUTHENTICATED.to_owned()][..])
    );
    assert!(admin.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));

    let other = Fixture::new();
    assert!(fixture.with_certificate(&other.pki.admin().certificate).is_err(), "another cluster's");
    // Judged once, it is still refused when its time is over.
    fixture.clock.advance(Duration::from_secs(366 * 24 * 3600));
    assert!(fixture.with_certificate(&fixture.pki.admin().certificate).is_err(), "expired");
}

#[test]
fn a_certificate_must_be_for_clients() {
    let fixture = Fixture::new();
    let key = crate::pki::PrivateKey::generate().unwrap();
    let subject = crate::pki::test_subject("jane", &["dev", "ops"], Some("42"));
    let der = crate::pki::test_request(&key, subject);
    let sign = |usage| fixture.pki.sign_csr(&der, &[usage], Duration::from_secs(600), fixture.clock.now()).unwrap();
    let jane = fixture.with_certificate(&sign(CLIENT_AUTH)).unwrap();
    assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", "42"));
    assert_eq!(jane.groups, ["dev", "ops", AUTHENTICATED]);
    assert!(fixture.with_certificate(&sign(SERVER_AUTH)).is_err());
}

#[test]
fn tokens_name_service_accounts() {
    let fixture = Fixture::new();
    let user = fixture.bearer(&fixture.token(json!({})), &cluster()).unwrap();
    assert_eq!(user.name, "system:serviceaccount:shop:web");
    assert_eq!(user.uid, "sa-1");
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:shop", AUTHENTICATED]);

    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web-1"}});
    let user = fixture.bearer(&fixture.token(bound), &cluster()).unwrap();
    let extra = |key: &str| user.extra[&format!("authentication.kubernetes.io/{key}")][0].clone();
    assert_eq!(["pod-name", "pod-uid", "node-name", "node-uid"].map(extra), ["web-1", "pod-1", "n1", "node-1"]);
    assert!(extra("credential-id").starts_with("JTI="));
}

#[test]
fn claims_are_those_of_kubernetes() {
    let fixture = Fixture::new();
    let spec = json!({"expirationSeconds": 3607, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": "pod-1"}});
    let issued = fixture.issue(spec).unwrap();
    assert_eq!(issued["status"]["expirationTimestamp"], "2030-03-17T18:46:47Z");
    assert_eq!(issued["metadata"]["name"], "web");
    let token = issued["status"]["token"].as_str().unwrap();
    let mut claims = jwt::unverified_claims(token).unwrap();
    assert_eq!(claims["jti"].as_str().unwrap().len(), 36);
    claims.as_object_mut().unwrap().remove("jti");
    let expect = json!({
        "iss": ISSUER, "aud": [ISSUER], "sub": "system:serviceaccount:shop:web",
        "iat": START, "nbf": START, "exp": START + 365 * 24 * 3600,
        "kubernetes.io": {
            "namespace": "shop", "serviceaccount": {"name": "web", "uid": "sa-1"},
            "pod": {"name": "web-1", "uid": "pod-1"}, "node": {"name": "n1", "uid": "node-1"},
            "warnafter": START + 3607,
        },
    });
    assert_eq!(claims, expect);
}

#[test]
fn token_requests_are_checked() {
    let fixture = Fixture::new();
    let bound = |kind: &str, name: &str, uid: &str| json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}});
    let cases = [
        (
            json!({"expirationSeconds": 599}),
            422,
            r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"#,
        ),
        (
            json!({"expirationSeconds": 4_294_967_297_i64}),
            422,
            r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"#,
        ),
        (bound("Pod", "gone", ""), 404, r#"pods "gone" not found"#),
        (
            bound("Pod", "web-1", "other"),
            409,
            r#"Operation cannot be fulfilled on Pod "web-1": the UID in the bound object reference (other) does not match the UID in record. The object might have been deleted and then recreated"#,
        ),
        (bound("Widget", "x", ""), 400, "cannot bind token to object of type /v1, Kind=Widget"),
    ];
    for (spec, code, message) in cases {
        let status = fixture.issue(spec).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
    let issue = |account: &str, request: Value| {
        fixture.authenticator.tokens.issue("shop", account, request, &cluster(), fixture.clock.now()).unwrap_err().code
    };
    assert_eq!(issue("gone", json!({})), 404);
    assert_eq!(issue("web", json!({"metadata": {"name": "other"}})), 422);
    assert_eq!(issue("web", json!({"metadata": {"uid": "other"}})), 409);
}

#[test]
fn tokens_end() {
    let fixture = Fixture::new();
    let token = fixture.token(json!({"expirationSeconds": 600}));
    fixture.clock.advance(Duration::from_secs(659));
    assert!(fixture.bearer(&token, &cluster()).is_ok(), "clocks may differ");
    fixture.clock.advance(Duration::from_secs(2));
    let error = fixture.bearer(&token, &cluster()).unwrap_err();
    assert_eq!(error.to_string(), "[invalid bearer token, service account token has expired]");
}

#[test]
fn tokens_end_with_what_they_are_bound_to() {
    let fixture = Fixture::new();
    let bound = |kind: &str, name: &str| {
        fixture.token(json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}}))
    };
    let (of_pod, of_secret, of_node) = (bound("Pod", "web-1"), bound("Secret", "bound"), bound("Node", "n1"));
    for token in [&of_pod, &of_secret, &of_node] {
        assert!(fixture.bearer(token, &cluster()).is_ok());
    }
    let account = || FixedCluster::default().with("serviceaccounts", object("web", "sa-1"));
    for token in [&of_pod, &of_secret, &of_node] {
        let error = fixture.bearer(token, &account()).unwrap_err();
        assert_eq!(error.to_string(), "[invalid bearer token, service account token has been invalidated]");
    }
    let mut reborn = pod();
    reborn["metadata"]["uid"] = "pod-2".into();
    assert!(fixture.bearer(&of_pod, &cluster_with_pod(reborn)).is_err());
    let mut deleted = pod();
    deleted["metadata"]["deletionTimestamp"] = "2030-03-17T17:46:40Z".into();
    assert!(fixture.bearer(&of_pod, &cluster_with_pod(deleted.clone())).is_ok(), "while it terminates");
    fixture.clock.advance(Duration::from_secs(61));
    assert!(fixture.bearer(&of_pod, &cluster_with_pod(deleted)).is_err());

    let reborn = FixedCluster::default().with("serviceaccounts", object("web", "sa-2"));
    assert!(fixture.bearer(&fixture.token(json!({})), &reborn).is_err());
}

#[test]
fn tokens_are_for_their_audiences() {
    let fixture = Fixture::new();
    let token = fixture.token(json!({"audiences": ["vault", "other"]}));
    assert!(fixture.bearer(&token, &cluster()).is_err());
    let ask =
        |spec: Value| review::token(&json!({"spec": spec}), &fixture.authenticator, &cluster(), fixture.clock.now());
    let status = ask(json!({"token": token, "audiences": ["vault", "db"]})).unwrap();
    assert_eq!(status["audiences"], json!(["vault"]));
    assert_eq!(status["authenticated"], true);
    assert_eq!(status["user"]["username"], "system:serviceaccount:shop:web");
    let status = ask(json!({"token": token})).unwrap();
    assert_eq!(status.get("authenticated"), None);
    let error = r#"[invalid bearer token, token audiences ["vault" "other"] is invalid for the target audiences ["https://kubernetes.default.svc.cluster.local"]]"#;
    assert_eq!(status["error"], error);
    assert_eq!(ask(json!({})).unwrap_err().code, 400);
}

#[test]
fn a_token_made_elsewhere_is_accepted_by_its_key() {
    let fixture = Fixture::new();
    let token = include_str!("../../cases/tokens/rs256.jwt").trim();
    assert_eq!(fixture.bearer(token, &cluster()).unwrap().name, "system:serviceaccount:shop:web");
    let keys = fixture.authenticator.tokens.jwks();
    let kinds: Vec<&str> = keys["keys"].as_array().unwrap().iter().map(|key| key["kty"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["EC", "RSA"]);
    assert_eq!(keys["keys"][1]["e"], "AQAB");
    let document = fixture.authenticator.tokens.openid_configuration("https://box:6443/openid/v1/jwks");
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256", "RS256"]));
}

#[test]
fn hostile_tokens_are_refused() {
    let fixture = Fixture::new();
    let good = fixture.token(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { panic!("{good}") };
    let encode = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let kid = jwt_header(header)["kid"].clone();
    let stranger = Fixture::new().token(json!({}));
    let forged_claims = {
        let mut claims = jwt::unverified_claims(&good).unwrap();
        claims["kubernetes.io"]["serviceaccount"]["name"] = "admin".into();
        encode(claims)
    };
    let deep = BASE64_URL_SAFE_NO_PAD.encode("[".repeat(5000));
    let cases = [
        ("unsigned", format!("{}.{claims}.", encode(json!({"alg": "none"})))),
        ("unsigned, with kid", format!("{}.{claims}.{signature}", encode(json!({"alg": "none", "kid": kid})))),
        ("symmetric", format!("{}.{claims}.{signature}", encode(json!({"alg": "HS256", "kid": kid})))),
        ("other algorithm", format!("{}.{claims}.{signature}", encode(json!({"alg": "RS256", "kid": kid})))),
        ("unknown key", format!("{}.{claims}.{signature}", encode(json!({"alg": "ES256", "kid": "x"})))),
        (
            "critical header",
            format!("{}.{claims}.{signature}", encode(json!({"alg": "ES256", "kid": kid, "crit": ["b64"]}))),
        ),
        ("another cluster's", stranger),
        ("forged claims", format!("{header}.{forged_claims}.{signature}")),
        ("no signature", format!("{header}.{claims}.")),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{good}.x")),
        ("truncated", good[..good.len() - 4].to_owned()),
        ("dots", "..".to_owned()),
        ("deeply nested", format!("{deep}.{deep}.x")),
        ("huge", format!("{header}.{}.{signature}", "A".repeat(1 << 20))),
        ("claims that are no object", format!("{header}.{}.{signature}", encode(json!([1])))),
    ];
    for (what, token) in cases {
        assert!(fixture.bearer(&token, &cluster()).is_err(), "{what}");
    }
    assert!(fixture.bearer(&good, &cluster()).is_ok());
}

fn jwt_header(part: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn browsers_send_the_token_as_a_protocol() {
    let fixture = Fixture::new();
    let token = BASE64_URL_SAFE_NO_PAD.encode(fixture.token(json!({})));
    let headers = headers(&[("sec-websocket-protocol", &format!("v5.channel.k8s.io, {WEBSOCKET_TOKEN}{token}"))]);
    let user = fixture.authenticator.authenticate(&headers, None, &cluster(), fixture.clock.now()).unwrap();
    assert_eq!(user.name, "system:serviceaccount:shop:web");
}

#[test]
fn bootstrap_tokens_name_machines_that_join() {
    let fixture = Fixture::new();
    let encode = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
    let secret = |changes: &[(&str, &str)]| {
        let mut secret = json!({
            "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
            "type": "bootstrap.kubernetes.io/token",
            "data": {
                "token-id": encode("abcdef"), "token-secret": encode("0123456789abcdef"),
                "usage-bootstrap-authentication": encode("true"), "expiration": encode("2030-03-17T18:00:00Z"),
                "auth-extra-groups": encode("system:bootstrappers:kubeadm:default-node-token"),
            },
        });
        for (field, value) in changes {
            secret["data"][*field] = encode(value).into();
        }
        secret
    };
    let ask = |token: &str, secret: Value| fixture.bearer(token, &FixedCluster::default().with("secrets", secret));
    const TOKEN: &str = "abcdef.0123456789abcdef";
    let user = ask(TOKEN, secret(&[])).unwrap();
    assert_eq!(user.name, "system:bootstrap:abcdef");
    assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", AUTHENTICATED]);
    for token in ["abcdef.0123456789abcdeX", "abcdef.0123456789abcdee", "abcdeg.0123456789abcdef", "abcdef.", "abcdef"]
    {
        assert!(ask(token, secret(&[])).is_err(), "{token}");
    }
    let refused = [
        ("usage-bootstrap-authentication", "false"),
        ("expiration", "2030-03-17T17:46:40Z"),
        ("expiration", "tomorrow"),
        ("token-id", "abcdeg"),
        ("auth-extra-groups", "system:masters"),
        ("auth-extra-groups", "system:bootstrappers:x,"),
    ];
    for change in refused {
        assert!(ask(TOKEN, secret(&[change])).is_err(), "{change:?}");
    }
    let mut other = secret(&[]);
    other["type"] = "Opaque".into();
    assert!(ask(TOKEN, other).is_err());
    let mut deleted = secret(&[]);
    deleted["metadata"]["deletionTimestamp"] = "2030-03-17T17:46:40Z".into();
    assert!(ask(TOKEN, deleted).is_err());
}

#[test]
fn impersonation_needs_the_verb_for_every_part() {
    let rules = json!([
        {"apiGroups": [""], "resources": ["users"], "resourceNames": ["jane", "system:anonymous"], "verbs": ["impersonate"]},
        {"apiGroups": [""], "resources": ["groups"], "resourceNames": ["dev"], "verbs": ["impersonate"]},
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/example.com/team"], "verbs": ["impersonate"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["uids"], "resourceNames": ["42"], "verbs": ["impersonate"]}]);
    let cluster =
        FixedCluster::default().with(CLUSTER_ROLES, json!({"metadata": {"name": "actor"}, "rules": rules})).with(
            CLUSTER_ROLE_BINDINGS,
            json!({"metadata": {"name": "actor"}, "roleRef": {"kind": "ClusterRole", "name": "actor"},
            "subjects": [{"kind": "User", "name": "bob"}]}),
        );
    let bob = User { name: "bob".into(), ..User::default() };
    let ask = |entries: &[(&str, &str)]| match impersonation::impersonate(
        &headers(entries),
        &bob,
        &Chain::default(),
        &cluster,
    ) {
        Ok(None) => "nobody".to_owned(),
        Ok(Some(user)) => format!("{} {} {:?} {:?}", user.name, user.groups.join(","), user.uid, user.extra),
        Err(status) => format!("{} {}", status.code, status.message),
    };
    let check = |entries: &[(&str, &str)], expect: &str| assert_eq!(ask(entries), expect);
    let user = ("impersonate-user", "jane");
    check(&[], "nobody");
    check(&[user], r#"jane system:authenticated "" {}"#);
    check(&[user, ("impersonate-group", "dev")], r#"jane dev,system:authenticated "" {}"#);
    check(
        &[user, ("impersonate-uid", "42"), ("impersonate-extra-example.com%2Fteam", "a")],
        r#"jane system:authenticated "42" {"example.com/team": ["a"]}"#,
    );
    check(
        &[("impersonate-user", "system:serviceaccount:shop:web")],
        r#"system:serviceaccount:shop:web system:serviceaccounts,system:serviceaccounts:shop,system:authenticated "" {}"#,
    );
    check(&[("impersonate-user", ANONYMOUS)], &format!(r#"{ANONYMOUS} {UNAUTHENTICATED} "" {{}}"#));
    check(
        &[("impersonate-user", "root")],
        r#"403 users "root" is forbidden: User "bob" cannot impersonate resource "users" in API group "" at the cluster scope"#,
    );
    check(
        &[user, ("impersonate-group", MASTERS)],
        r#"403 groups "system:masters" is forbidden: User "bob" cannot impersonate resource "groups" in API group "" at the cluster scope"#,
    );
    check(
        &[user, ("impersonate-extra-scopes", "all")],
        r#"403 userextras.authentication.k8s.io "all" is forbidden: User "bob" cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io" at the cluster scope"#,
    );
    assert!(ask(&[("impersonate-group", "dev")]).starts_with("400 "));
    assert!(ask(&[user, ("impersonate-uid", "43")]).starts_with("403 "));
}

#[test]
fn one_sees_oneself() {
    let user = User { name: "jane".into(), groups: vec!["dev".into()], ..User::default() };
    assert_eq!(review::own(&user), json!({"userInfo": {"username": "jane", "groups": ["dev"]}}));
}

/// Damages one byte in each round and expects that nothing damaged is believed, and nothing panics.
fn damage(good: &[u8], mut is_believed: impl FnMut(&[u8]) -> bool) {
    use stdx::Random;
    let random = stdx::SeededRandom::new(7);
    for _ in 0..2000 {
        let mut bytes = good.to_vec();
        let index = random.below(bytes.len() as u64) as usize;
        bytes[index] ^= 1 + random.below(255) as u8;
        assert!(!is_believed(&bytes), "byte {index}");
        assert!(!is_believed(&bytes[..index]), "up to byte {index}");
    }
}

#[test]
fn nothing_damaged_is_believed() {
    let fixture = Fixture::new();
    let now = fixture.clock.now();
    let der = x509_cert::der::pem::decode_vec(fixture.pki.admin().certificate.as_bytes()).unwrap().1;
    damage(&der, |bytes| {
        let chain = [CertificateDer::from(bytes)];
        fixture.authenticator.authenticate(&HeaderMap::new(), Some(&chain), &cluster(), now).is_ok()
    });

    let key = crate::pki::PrivateKey::generate().unwrap();
    let request = crate::pki::test_request(&key, crate::pki::test_subject("jane", &["dev"], None));
    damage(&request, |bytes| crate::pki::SigningRequest::from_der(bytes).is_ok());

    let token = fixture.token(json!({}));
    damage(token.as_bytes(), |bytes| {
        std::str::from_utf8(bytes).is_ok_and(|token| {
            fixture.authenticator.authenticate_token(token, &[ISSUER.to_owned()], &cluster(), now).is_ok()
        })
    });
}
