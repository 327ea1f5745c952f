//! Tokens of service accounts that are kept in secrets (`kubernetes.io/service-account-token`): filled in where they are
//! missing, and removed with their account.
//!
//! Not here: the accounts `default`, which the API server keeps, and tokens that are asked for as they are needed.

use std::sync::Arc;

use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{Object, Secret, ServiceAccount},
    requests::DeleteOptions,
};
use serde_json::json;

use crate::{
    authority::Authority,
    driver::{Controller, Turn},
    plan::{Action, Errand, Plan, Reference, precondition},
};

/// By the keys of secrets.
pub struct AccountTokens(pub Arc<dyn Authority>);

impl Controller for AccountTokens {
    fn name(&self) -> &'static str {
        "serviceaccount-token-controller"
    }

    fn account(&self) -> &'static str {
        "tokens-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::Secret, Topic::ServiceAccount]
    }

    fn touched(&self, caches: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        match changes {
            Changes::Secret(changes) => {
                let tokens = changes.iter().filter_map(|change| change.new.as_ref());
                tokens.filter(|secret| secret.account().is_some()).for_each(|secret| add(secret.key()));
            }
            Changes::ServiceAccount(changes) => {
                let secrets = changes.iter().flat_map(|change| caches.secrets.of_account(&change.key));
                secrets.for_each(|secret| add(secret.key()));
            }
            _ => {}
        }
    }

    fn reconcile(&self, caches: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(secret) = caches.secrets.get(key).filter(|secret| !secret.metadata.is_being_deleted()) else {
            return plan;
        };
        let Some(of) = secret.account() else { return plan };
        let is_of =
            |account: &Arc<ServiceAccount>| secret.account_uid().is_none_or(|uid| *account.metadata.uid == *uid);
        match caches.service_accounts.get(&of).filter(is_of) {
            None => plan.then(vec![remove(&secret, of)]),
            Some(account) => plan.then(self.fill(&secret, &account).into_iter().collect()),
        }
        plan
    }
}

impl AccountTokens {
    fn fill(&self, secret: &Secret, account: &ServiceAccount) -> Option<Action> {
        let missing = |name: &str| !secret.data.filled.contains(name);
        if !["token", "ca.crt", "namespace"].into_iter().any(missing) {
            return None;
        }
        let mut metadata = precondition(&secret.metadata);
        metadata["annotations"] = json!({"kubernetes.io/service-account.uid": account.metadata.uid});
        let mut patch = json!({"metadata": metadata, "stringData": {}});
        if missing("ca.crt") {
            patch["stringData"]["ca.crt"] = json!(self.0.certificate());
        }
        if missing("namespace") {
            patch["stringData"]["namespace"] = json!(secret.metadata.namespace);
        }
        let secret_reference = Reference::to(secret);
        Some(if missing("token") {
            Action::Errand(Errand::FillToken { account: account.key(), secret: secret_reference, patch })
        } else {
            Action::Patch {
                kind: Secret::KIND,
                key: secret.key(),
                subresource: "",
                form: client::requests::Patch::Merge,
                patch,
            }
        })
    }
}

/// The account may only be too new to be known here.
fn remove(secret: &Secret, account: Key) -> Action {
    let options = DeleteOptions {
        uid: Some(secret.metadata.uid.clone()),
        resource_version: Some(secret.metadata.resource_version),
        ..DeleteOptions::default()
    };
    let then = Action::Delete { kind: Secret::KIND, key: secret.key(), options, tell: None };
    let uid = secret.account_uid().map(Box::from);
    Action::Errand(Errand::IfGone { kind: ServiceAccount::KIND, key: account, uid, then: vec![then] })
}
