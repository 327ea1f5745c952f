//! Service accounts: their names as users, and the tokens that prove them. A token may be bound to a pod,
//! secret or node and dies with it; that is looked up on every use, only the signature is remembered.

use api::{
    field::{FieldError, Path},
    status::{Status, Subject},
};
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::{
    Config, Unauthenticated,
    jwt::{Keys, Signer, unverified_claims},
    recent::Recent,
    with_credential,
};
use crate::{
    cluster::Cluster,
    identity::User,
    pki::{Pki, PkiError},
};

const USER_PREFIX: &str = "system:serviceaccount:";
const GROUP: &str = "system:serviceaccounts";

const MAX_REMEMBERED: usize = 4096;
/// Clocks may differ by this much.
const LEEWAY_SECONDS: i64 = 60;
const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// What a kubelet asks for on behalf of a pod; clients of old do not read their token again in time, so such
/// a token lives on for a year, and using it late is only noted.
const PROJECTED_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// `system:serviceaccount:<namespace>:<name>`.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("{USER_PREFIX}{namespace}:{name}")
}

/// Namespace and name of the service account that a user is.
pub fn split_user_name(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(USER_PREFIX)?.split_once(':')?;
    let is_label = |text: &str, max: usize| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        text.len() <= max
            && text.bytes().all(|byte| is_plain(byte) || byte == b'-')
            && text.bytes().next().is_some_and(is_plain)
            && text.bytes().last().is_some_and(is_plain)
    };
    let is_name = name.len() <= 253 && name.split('.').all(|label| is_label(label, 253));
    (is_label(namespace, 63) && is_name).then_some((namespace, name))
}

/// The groups every service account of a namespace is in.
pub fn groups(namespace: &str) -> Vec<String> {
    vec![GROUP.to_owned(), format!("{GROUP}:{namespace}")]
}

/// Issues tokens and checks them.
#[derive(Debug)]
pub struct Tokens {
    config: Config,
    signer: Signer,
    keys: Keys,
    /// The claims of tokens whose signature was found good.
    verified: Recent<Value>,
}

impl Tokens {
    pub fn new(pki: &Pki, config: Config) -> Result<Self, PkiError> {
        let key = pki.service_account_key();
        // What we sign we accept, whatever the file says.
        let accepted = key.public_pem()? + pki.accepted_token_keys();
        Ok(Self {
            config,
            signer: Signer::new(key)?,
            keys: Keys::from_pem(&accepted)?,
            verified: Recent::new(MAX_REMEMBERED),
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The document at `/.well-known/openid-configuration`; `jwks_uri` is where [`Tokens::jwks`] is served.
    pub fn openid_configuration(&self, jwks_uri: &str) -> Value {
        json!({
            "issuer": self.config.issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": self.keys.algorithms(),
        })
    }

    /// The document at `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        self.keys.to_jwks()
    }

    /// The user of a token and the audiences among `wanted` that it is for; `None` where it is not one of
    /// our tokens.
    pub(super) fn authenticate(
        &self,
        token: &str,
        wanted: &[String],
        cluster: &dyn Cluster,
        now: Timestamp,
    ) -> Result<Option<(User, Vec<String>)>, Unauthenticated> {
        let claims = match self.verified.get(token.as_bytes()) {
            Some(claims) => claims,
            None => {
                if unverified_claims(token).is_none_or(|claims| claims["iss"] != *self.config.issuer) {
                    return Ok(None);
                }
                let claims = self.keys.verify(token).map_err(|why| Unauthenticated(why.to_owned()))?;
                self.verified.insert(token.as_bytes(), claims)
            }
        };
        let claimed = match &claims["aud"] {
            Value::String(one) => vec![one.clone()],
            list => list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        };
        let audiences: Vec<String> = claimed.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
        if audiences.is_empty() {
            let quoted = crate::authz::rule::quoted;
            let why =
                format!("token audiences {} is invalid for the target audiences {}", quoted(&claimed), quoted(wanted));
            return Err(Unauthenticated(why));
        }
        check_time(&claims, now)?;
        Ok(Some((user_of(&claims, cluster, now)?, audiences)))
    }

    /// Answers a `TokenRequest` for a service account: the request with its defaults and `status`.
    pub fn issue(
        &self,
        namespace: &str,
        name: &str,
        mut request: Value,
        cluster: &dyn Cluster,
        now: Timestamp,
    ) -> Result<Value, Status> {
        let account = cluster
            .get("serviceaccounts", Some(namespace), name)
            .ok_or_else(|| Status::not_found(Subject { group: "", resource: "serviceaccounts", name }))?;
        let uid = &account["metadata"]["uid"];
        check_request_metadata(&request["metadata"], namespace, name, uid)?;
        let mut spec = request["spec"].take();
        if spec["audiences"].as_array().is_none_or(Vec::is_empty) {
            spec["audiences"] = json!(self.config.audiences);
        }
        let seconds = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
        spec["expirationSeconds"] = seconds.into();
        check_life(seconds)?;

        let bound = bound_claims(&spec["boundObjectRef"], namespace, name, cluster)?;
        let mut kubernetes = json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}});
        for (kind, reference) in &bound {
            kubernetes[*kind] = reference.clone();
        }
        let is_own = |audience: &Value| self.config.audiences.iter().any(|own| audience == own);
        let is_projected = bound.first().is_some_and(|(kind, _)| *kind == "pod")
            && seconds == PROJECTED_SECONDS
            && spec["audiences"].as_array().is_some_and(|audiences| audiences.iter().all(is_own));
        let issued = now.as_second();
        if is_projected {
            kubernetes["warnafter"] = (issued + seconds).into();
        }
        let claims = json!({
            "iss": self.config.issuer,
            "sub": user_name(namespace, name),
            "aud": spec["audiences"],
            "iat": issued,
            "nbf": issued,
            "exp": issued + if is_projected { EXTENDED_SECONDS } else { seconds },
            "jti": random_uuid()?,
            "kubernetes.io": kubernetes,
        });
        let token = self.signer.sign(&claims).map_err(|error| Status::internal(error.to_string()))?;
        let expires = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        let metadata = json!({
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "creationTimestamp": whole_seconds(now),
        });
        for (field, value) in metadata.as_object().into_iter().flatten() {
            request["metadata"][field] = value.clone();
        }
        request["spec"] = spec;
        request["status"] = json!({"token": token, "expirationTimestamp": whole_seconds(expires)});
        Ok(request)
    }
}

fn whole_seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn random_uuid() -> Result<String, Status> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Status::internal("no randomness"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

const REQUEST: Subject<'static> = Subject { group: "authentication.k8s.io", resource: "TokenRequest", name: "" };

fn check_request_metadata(metadata: &Value, namespace: &str, name: &str, uid: &Value) -> Result<(), Status> {
    let root = Path::new("metadata");
    for (field, expect, what) in [("name", name, "name"), ("namespace", namespace, "namespace")] {
        let given = metadata[field].as_str().unwrap_or_default();
        if !given.is_empty() && given != expect {
            let text = format!("must match the service account {what} if specified");
            let error = FieldError::invalid(&root.child(field), given, text);
            return Err(Status::invalid(Subject { name, ..REQUEST }, &vec![error]));
        }
    }
    let given = metadata["uid"].as_str().unwrap_or_default();
    if !given.is_empty() && uid != given {
        let uid = uid.as_str().unwrap_or_default();
        let text =
            format!("the UID in the token request ({given}) does not match the UID of the service account ({uid})");
        return Err(Status::conflict(Subject { name, ..REQUEST }, text));
    }
    Ok(())
}

fn check_life(seconds: i64) -> Result<(), Status> {
    let text = match seconds {
        ..MIN_SECONDS => "may not specify a duration less than 10 minutes",
        MIN_SECONDS..=MAX_SECONDS => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError::invalid(&Path::new("spec").child("expirationSeconds"), seconds, text);
    Err(Status::invalid(REQUEST, &vec![error]))
}

/// The claims about the object that a token is bound to, itself first. A pod brings the node it is on.
fn bound_claims(
    reference: &Value,
    namespace: &str,
    account: &str,
    cluster: &dyn Cluster,
) -> Result<Vec<(&'static str, Value)>, Status> {
    if reference.is_null() {
        return Ok(Vec::new());
    }
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (api_version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
    let (claim, topic, home) = match (api_version, kind) {
        ("v1", "Pod") => ("pod", "pods", Some(namespace)),
        ("v1", "Secret") => ("secret", "secrets", Some(namespace)),
        ("v1", "Node") => ("node", "nodes", None),
        _ => {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let text = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(text));
        }
    };
    let object = cluster
        .get(topic, home, name)
        .ok_or_else(|| Status::not_found(Subject { group: "", resource: topic, name }))?;
    let uid = &object["metadata"]["uid"];
    if kind == "Pod" && object["spec"]["serviceAccountName"] != account {
        let text = format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        );
        return Err(Status::bad_request(text));
    }
    if !text("uid").is_empty() && uid != text("uid") {
        let text = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
             deleted and then recreated",
            text("uid")
        );
        return Err(Status::conflict(Subject { group: "", resource: kind, name }, text));
    }
    let mut claims = vec![(claim, json!({"name": name, "uid": uid}))];
    if let Some(node) = object["spec"]["nodeName"].as_str().filter(|_| kind == "Pod") {
        let mut reference = json!({"name": node});
        if let Some(node) = cluster.get("nodes", None, node) {
            reference["uid"] = node["metadata"]["uid"].clone();
        }
        claims.push(("node", reference));
    }
    Ok(claims)
}

fn check_time(claims: &Value, now: Timestamp) -> Result<(), Unauthenticated> {
    let now = now.as_second();
    // Claims are numbers that need not be whole.
    let at = |claim: &str| claims[claim].as_f64().map(|seconds| seconds as i64);
    let refused = |why: &str| Err(Unauthenticated(format!("service account token {why}")));
    if at("nbf").is_some_and(|from| now.saturating_add(LEEWAY_SECONDS) < from) {
        return refused("is not valid yet");
    }
    if at("exp").is_none_or(|until| now.saturating_sub(LEEWAY_SECONDS) > until) {
        return refused("has expired");
    }
    if at("iat").is_some_and(|issued| now.saturating_add(LEEWAY_SECONDS) < issued) {
        return refused("is issued in the future");
    }
    Ok(())
}

/// The user the claims name, as long as the account and the bound object are there with the same UID.
fn user_of(claims: &Value, cluster: &dyn Cluster, now: Timestamp) -> Result<User, Unauthenticated> {
    let refused = |why: String| Err(Unauthenticated(why));
    let kubernetes = &claims["kubernetes.io"];
    let namespace = kubernetes["namespace"].as_str().unwrap_or_default();
    let name = kubernetes["serviceaccount"]["name"].as_str().unwrap_or_default();
    let uid = kubernetes["serviceaccount"]["uid"].as_str().unwrap_or_default();
    let Some(account) = cluster.get("serviceaccounts", Some(namespace), name) else {
        return refused(format!("serviceaccounts {name:?} not found"));
    };
    let actual = account["metadata"]["uid"].as_str().unwrap_or_default();
    if actual != uid {
        return refused(format!("service account UID ({actual}) does not match claim ({uid})"));
    }
    if is_deleted(&account, now) {
        return refused(format!("service account {namespace}/{name} has been deleted"));
    }
    let is_pod_bound = kubernetes["pod"].is_object();
    let bindings = [("secret", "secrets", Some(namespace)), ("pod", "pods", Some(namespace)), ("node", "nodes", None)];
    for (kind, topic, home) in bindings {
        let reference = &kubernetes[kind];
        // The node of a pod is information only.
        if reference.is_null() || kind == "node" && is_pod_bound {
            continue;
        }
        let object = cluster.get(topic, home, reference["name"].as_str().unwrap_or_default());
        let is_there = object.is_some_and(|object| {
            reference["uid"].is_string() && object["metadata"]["uid"] == reference["uid"] && !is_deleted(&object, now)
        });
        if !is_there {
            return refused("service account token has been invalidated".to_owned());
        }
    }
    let mut user =
        User { name: user_name(namespace, name), uid: uid.to_owned(), groups: groups(namespace), ..User::default() };
    if let Some(id) = claims["jti"].as_str() {
        user.extra = with_credential(format!("JTI={id}"));
    }
    for kind in ["pod", "node"] {
        for field in ["name", "uid"] {
            if let Some(value) = kubernetes[kind][field].as_str() {
                user.extra.insert(format!("authentication.kubernetes.io/{kind}-{field}"), vec![value.to_owned()]);
            }
        }
    }
    Ok(user)
}

/// Whether the object's deletion, grace period included, lies in the past.
fn is_deleted(object: &Value, now: Timestamp) -> bool {
    let deletion = &object["metadata"]["deletionTimestamp"];
    let at = deletion.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    at.is_some_and(|at| at.as_second() < now.as_second().saturating_sub(LEEWAY_SECONDS))
}
