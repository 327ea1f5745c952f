//! Bootstrap tokens (`abcdef.0123456789abcdef`): secrets in `kube-system` by which a machine joins.

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::Value;

use crate::{cluster::Cluster, identity::User};

const NAMESPACE: &str = "kube-system";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const USER_PREFIX: &str = "system:bootstrap:";
const GROUP: &str = "system:bootstrappers";

pub(super) fn authenticate(token: &str, cluster: &dyn Cluster, now: Timestamp) -> Option<User> {
    let (id, key) = token.split_once('.')?;
    if !is_word(id, 6) || !is_word(key, 16) {
        return None;
    }
    let secret = cluster.get("secrets", Some(NAMESPACE), &format!("bootstrap-token-{id}"))?;
    let field = |name: &str| data(&secret, name);
    let is_valid = secret["metadata"]["deletionTimestamp"].is_null()
        && secret["type"] == SECRET_TYPE
        && same_bytes(field("token-secret")?.as_bytes(), key.as_bytes())
        && field("token-id")? == id
        && field("usage-bootstrap-authentication")? == "true"
        && !field("expiration").is_some_and(|until| is_over(&until, now));
    if !is_valid {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in field("auth-extra-groups").iter().flat_map(|groups| groups.split(',')) {
        if !is_group(group) {
            return None;
        }
        groups.push(group.to_owned());
    }
    groups.sort_unstable();
    groups.dedup();
    Some(User { name: format!("{USER_PREFIX}{id}"), groups, ..User::default() })
}

/// A value of the secret; an empty one counts as absent.
fn data(secret: &Value, name: &str) -> Option<String> {
    let encoded = secret["data"][name].as_str()?;
    String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok().filter(|text| !text.is_empty())
}

/// A time that cannot be read is over.
fn is_over(until: &str, now: Timestamp) -> bool {
    until.parse::<Timestamp>().map_or(true, |until| until <= now)
}

fn is_word(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_group(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.strip_prefix("system:bootstrappers:").is_some_and(|rest| {
        rest.len() <= 256
            && rest.bytes().all(|byte| is_plain(byte) || byte == b':' || byte == b'-')
            && rest.bytes().last().is_some_and(is_plain)
    })
}

/// In a time that does not tell where they differ.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
