//! Bootstrap tokens, by which nodes join: removed when their time is over.
//!
//! Not here: what is signed with them ([`crate::cluster_info`]).

use base64::{Engine, prelude::BASE64_STANDARD};
use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Object, Secret, accounts::BOOTSTRAP_TOKEN},
    requests::DeleteOptions,
};
use jiff::Timestamp;
use stdx::clock::until;

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Plan},
};

pub struct BootstrapTokens;

pub(crate) const NAMESPACE: &str = "kube-system";

impl Controller for BootstrapTokens {
    fn name(&self) -> &'static str {
        "token-cleaner-controller"
    }

    fn account(&self) -> &'static str {
        "token-cleaner"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Secret]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        if let Changes::Secret(changes) = changes {
            let secrets = changes.iter().filter_map(|change| change.new.as_ref());
            secrets.filter(|secret| is_token(secret)).for_each(|secret| add(secret.key()));
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(secret) = caches.secrets.get(key).filter(|secret| is_token(secret)) else { return plan };
        match end(&secret.data.expiration) {
            Some(end) if end <= turn.now => {
                let options = DeleteOptions { uid: Some(secret.metadata.uid.clone()), ..DeleteOptions::default() };
                plan.then(vec![Action::Delete { kind: Secret::KIND, key: key.clone(), options, tell: None }]);
            }
            Some(end) => plan.again_after(until(end, turn.now)),
            None => {}
        }
        plan
    }
}

pub(crate) fn is_token(secret: &Secret) -> bool {
    *secret.kind == *BOOTSTRAP_TOKEN && *secret.metadata.namespace == *NAMESPACE && !secret.metadata.is_being_deleted()
}

/// When the token ends, if ever. A time that cannot be read is past: nobody is let in by a mistake.
pub(crate) fn end(expiration: &str) -> Option<Timestamp> {
    if expiration.is_empty() {
        return None;
    }
    let text = BASE64_STANDARD.decode(expiration).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    Some(text.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH))
}
