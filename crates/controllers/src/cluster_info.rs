//! What nodes that join may trust of the cluster: the ConfigMap `kube-public/cluster-info`, signed with each bootstrap token
//! that may sign (`jws-kubeconfig-<id>`), by which `kubeadm join` knows the cluster before it has any certificate.
//!
//! Not here: that ConfigMap, which whoever sets up the cluster makes.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{ClusterInfo, Object},
    requests::Patch,
};
use jiff::Timestamp;
use ring::hmac;
use serde_json::{Map, Value, json};

use crate::{
    bootstrap_tokens,
    driver::{Controller, Turn},
    plan::{Action, Plan, precondition},
};

/// By the key of that ConfigMap.
pub struct ClusterInfoSigning;

const SIGNATURE: &str = "jws-kubeconfig-";

impl Controller for ClusterInfoSigning {
    fn name(&self) -> &'static str {
        "bootstrap-signer-controller"
    }

    fn account(&self) -> &'static str {
        "bootstrap-signer"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::ClusterInfo, Topic::Secret]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        let concerned = match changes {
            Changes::ClusterInfo(changes) => !changes.is_empty(),
            Changes::Secret(changes) => {
                changes.iter().flat_map(|change| change.states()).any(|secret| bootstrap_tokens::is_token(secret))
            }
            _ => false,
        };
        if concerned {
            add(Key::new(ClusterInfo::NAMESPACE, ClusterInfo::NAME));
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(info) = caches.cluster_infos.get(key) else { return plan };
        let Some(kubeconfig) = &info.data.kubeconfig else { return plan };
        let wanted: BTreeMap<String, String> = tokens(caches, turn.now)
            .map(|(id, secret)| (format!("{SIGNATURE}{id}"), sign(kubeconfig, &id, &secret)))
            .collect();
        let known = info.data.more.iter().filter(|(name, _)| name.starts_with(SIGNATURE));
        let obsolete =
            known.filter(|(name, _)| !wanted.contains_key(&***name)).map(|(name, _)| (name.to_string(), Value::Null));
        let is_new = |(name, signature): &(&String, &String)| {
            info.data.more.get(name.as_str()).is_none_or(|known| **known != ***signature)
        };
        let new = wanted.iter().filter(is_new).map(|(name, signature)| (name.clone(), json!(signature)));
        let data: Map<String, Value> = new.chain(obsolete).collect();
        if !data.is_empty() {
            let patch = json!({"metadata": precondition(&info.metadata), "data": data});
            let (kind, key, form) = (ClusterInfo::KIND, key.clone(), Patch::Merge);
            plan.then(vec![Action::Patch { kind, key, subresource: "", form, patch }]);
        }
        plan
    }
}

/// The tokens that may sign now: their ids and secrets.
fn tokens(caches: &Caches, now: Timestamp) -> impl Iterator<Item = (String, String)> {
    let secrets = caches.secrets.in_namespace(bootstrap_tokens::NAMESPACE).into_iter();
    secrets.filter_map(move |secret| {
        let token = secret.data.token.as_ref().filter(|_| bootstrap_tokens::is_token(&secret))?;
        let is_over = bootstrap_tokens::end(&secret.data.expiration).is_some_and(|end| end <= now);
        let is_named = secret.metadata.name.strip_prefix("bootstrap-token-") == Some(&*token.id);
        (is_named && token.signs && !token.secret.is_empty() && !is_over)
            .then(|| (token.id.to_string(), token.secret.to_string()))
    })
}

/// A JWS of which the middle is left out: whoever has the content and the token can make it again (RFC 7515, appendix F).
fn sign(content: &str, id: &str, secret: &str) -> String {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(json!({"alg": "HS256", "kid": id}).to_string().as_bytes());
    let signed = format!("{header}.{}", encode(content.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{header}..{}", encode(signature.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_other_implementations() {
        let content = "Hello from the other side. I must have called a thousand times.";
        assert_eq!(
            sign(content, "joshua", "my voice is my passcode"),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
        );
    }
}
