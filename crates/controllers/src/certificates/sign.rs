//! Approved requests to Kubernetes' own signers, certified by the cluster's authority.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::Condition,
};
use serde_json::json;

use super::{APPROVED, FAILED, request, request::Asked, with_condition, write};
use crate::{
    authority::Authority,
    driver::{Controller, Turn},
    plan::Plan,
};

pub struct Signing(pub Arc<dyn Authority>);

/// As long as kube-controller-manager certifies by default.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
const SHORTEST: Duration = Duration::from_secs(10 * 60);
/// Certificates begin a little before they are made; those that are not short-lived end as much earlier.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
const SHORT: Duration = Duration::from_secs(8 * 3600);

impl Controller for Signing {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-signing-controller"
    }

    fn account(&self) -> &'static str {
        "certificate-controller"
    }

    fn topics(&self) -> &'static [Topic] {
        &[Topic::CertificateSigningRequest]
    }

    fn touched(&self, _: &Caches, changes: &Changes, add: &mut dyn FnMut(Key)) {
        super::touched(changes, add);
    }

    fn reconcile(&self, caches: &Caches, key: &Key, turn: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        let Some(request) = caches.certificate_signing_requests.get(key) else { return plan };
        let holds = |kind| request.condition(kind).is_some_and(|condition| *condition.status == *"True");
        if !holds(APPROVED) || holds(super::DENIED) || holds(FAILED) || request.is_issued() {
            return plan;
        }
        let Some(bytes) = request::decoded(&request.spec.request) else { return plan };
        let Some(suits) =
            Asked::read(&bytes).and_then(|asked| asked.suits(&request.spec.signer_name, &request.spec.usages))
        else {
            return plan;
        };
        let usages: Vec<&str> = request.spec.usages.iter().map(|usage| &**usage).collect();
        let life = life(request.spec.expiration_seconds);
        let signed = suits
            .map_err(|why| ("SignerValidationFailure", why))
            .and_then(|()| self.0.sign(&bytes, &usages, life, turn.now).map_err(|why| ("SigningError", why)));
        let status = match signed {
            Ok(certificate) => json!({"certificate": BASE64_STANDARD.encode(certificate)}),
            Err((reason, why)) => {
                let condition = Condition {
                    kind: FAILED.into(),
                    reason: reason.into(),
                    message: why.into(),
                    last_update_time: Some(turn.now),
                    ..Condition::default()
                };
                json!({"conditions": with_condition(&request, condition)})
            }
        };
        plan.then(vec![write(&request, "status", status)]);
        plan
    }
}

/// How long the certificate is good for from now on.
fn life(asked: Option<i32>) -> Duration {
    let asked = asked.map_or(LONGEST, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let granted = asked.clamp(SHORTEST, LONGEST);
    if granted < SHORT { granted } else { granted.saturating_sub(BACKDATE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_lasts_as_long_as_asked_within_bounds() {
        let minutes = |asked: Option<i32>| life(asked).as_secs() / 60;
        assert_eq!(minutes(Some(3600)), 60);
        assert_eq!(minutes(Some(600)), 10);
        assert_eq!(minutes(Some(1)), 10);
        assert_eq!(minutes(Some(24 * 3600)), 24 * 60 - 5);
        assert_eq!(minutes(Some(i32::MAX)), 365 * 24 * 60 - 5);
        assert_eq!(minutes(None), 365 * 24 * 60 - 5);
    }
}
