//! Requests go an hour after they were decided, and a day after nobody did.

use base64::{Engine, prelude::BASE64_STANDARD};
use client::{
    Caches, Key,
    caches::{Changes, Topic},
    objects::{CertificateSigningRequest, Object},
    requests::DeleteOptions,
};
use jiff::{SignedDuration, Timestamp};
use x509_cert::{
    Certificate,
    der::{Decode, pem},
};

use super::{APPROVED, DENIED, FAILED};
use stdx::clock::until;

use crate::{
    driver::{Controller, Turn},
    plan::{Action, Plan},
};

pub struct Cleaning;

const DECIDED: SignedDuration = SignedDuration::from_hours(1);
const UNDECIDED: SignedDuration = SignedDuration::from_hours(24);

impl Controller for Cleaning {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-cleaner-controller"
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
        match due(&request) {
            Some(due) if due < turn.now => {
                let options = DeleteOptions { uid: Some(request.metadata.uid.clone()), ..DeleteOptions::default() };
                let kind = CertificateSigningRequest::KIND;
                plan.then(vec![Action::Delete { kind, key: key.clone(), options, tell: None }]);
            }
            // A moment later, so that it is past and not just now.
            Some(due) => plan.again_after(until(due, turn.now) + std::time::Duration::from_secs(1)),
            None => {}
        }
        plan
    }
}

/// When the request may go: at the first of what holds.
fn due(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let after = |since: Option<Timestamp>, wait| since?.checked_add(wait).ok();
    let conditions = request.status.conditions.iter().filter_map(|condition| {
        let wait = match &*condition.kind {
            APPROVED if request.is_issued() => DECIDED,
            APPROVED => UNDECIDED,
            DENIED | FAILED => DECIDED,
            _ => return None,
        };
        after(condition.last_update_time, wait)
    });
    let undecided = request.status.conditions.is_empty().then_some(request.metadata.creation_timestamp);
    let expired = request.condition(APPROVED).and_then(|_| end(request));
    conditions.chain(undecided.and_then(|made| after(made, UNDECIDED))).chain(expired).min()
}

/// When the certificate that was issued ends.
fn end(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let text = BASE64_STANDARD.decode(&*request.status.certificate).ok()?;
    let (_, der) = pem::decode_vec(&text).ok()?;
    let end = Certificate::from_der(&der).ok()?.tbs_certificate.validity.not_after.to_unix_duration();
    Timestamp::from_second(i64::try_from(end.as_secs()).ok()?).ok()
}
