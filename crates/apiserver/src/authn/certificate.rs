//! Client certificates: the common name is the user, the organizations are the groups.

use std::{fmt::Write, sync::Arc, time::Duration};

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_cert::{Certificate, der::Decode};

use super::{Unauthenticated, recent::Recent, with_credential};
use crate::{
    identity::User,
    metrics::histogram::Histogram,
    pki::{COMMON_NAME, ORGANIZATION, PkiError, USER_UID, attributes},
};

/// Certificates of which the judgement is remembered.
const MAX_REMEMBERED: usize = 1024;
/// Half an hour to a year.
const REMAINING_SECONDS: [f64; 14] = [
    0.0,
    1_800.0,
    3_600.0,
    7_200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];

#[derive(Debug)]
pub(super) struct ClientCertificates {
    verifier: Arc<dyn ClientCertVerifier>,
    /// By the leaf as the client shows it: verifying a chain costs more than the rest of a request.
    known: Recent<Known>,
    /// How long the certificates that were used are still good.
    remaining: Histogram,
}

#[derive(Debug)]
struct Known {
    user: Option<User>,
    from_second: u64,
    until_second: u64,
}

impl ClientCertificates {
    pub fn new(authority: CertificateDer<'static>) -> Result<Self, PkiError> {
        let mut roots = RootCertStore::empty();
        roots.add(authority)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| PkiError::Crypto("preparing the verification of client certificates"))?;
        Ok(Self { verifier, known: Recent::new(MAX_REMEMBERED), remaining: Histogram::new(&REMAINING_SECONDS) })
    }

    pub fn write_metrics(&self, out: &mut String) {
        let name = "apiserver_client_certificate_expiration_seconds";
        let help = "How long client certificates that were used are still good, in seconds.";
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        self.remaining.write(out, name, "");
    }

    /// `None` for a good certificate that names nobody. `chain` is not empty.
    pub fn authenticate(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<Option<User>, Unauthenticated> {
        let now_second = u64::try_from(now.as_second()).unwrap_or(0);
        if let Some(known) = self.known.get(&chain[0])
            && (known.from_second..=known.until_second).contains(&now_second)
        {
            self.remaining.observe_seconds(known.until_second - now_second);
            return Ok(known.user.clone());
        }
        let at = UnixTime::since_unix_epoch(Duration::from_secs(now_second));
        self.verifier
            .verify_client_cert(&chain[0], &chain[1..], at)
            .map_err(|error| Unauthenticated(format!("x509: {error}")))?;
        let known = read(&chain[0])?;
        self.remaining.observe_seconds(known.until_second.saturating_sub(now_second));
        Ok(self.known.insert(&chain[0], known).user.clone())
    }
}

fn read(der: &CertificateDer<'_>) -> Result<Known, Unauthenticated> {
    let certificate = Certificate::from_der(der).map_err(|error| Unauthenticated(format!("x509: {error}")))?;
    let validity = &certificate.tbs_certificate.validity;
    let subject = &certificate.tbs_certificate.subject;
    let uids: Vec<String> = attributes(subject, USER_UID).collect();
    let uid = match uids.as_slice() {
        [] => String::new(),
        [uid] if uid.is_empty() => return Err(Unauthenticated("UID cannot be an empty string".into())),
        [uid] => uid.clone(),
        _ => return Err(Unauthenticated("expected 1 UID, but found multiple".into())),
    };
    // Where a subject has several common names, the last one counts.
    let user = attributes(subject, COMMON_NAME).last().filter(|name| !name.is_empty()).map(|name| {
        let fingerprint: String = digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        User {
            name,
            uid,
            groups: attributes(subject, ORGANIZATION).collect(),
            extra: with_credential(format!("X509SHA256={fingerprint}")),
        }
    });
    Ok(Known {
        user,
        from_second: validity.not_before.to_unix_duration().as_secs(),
        until_second: validity.not_after.to_unix_duration().as_secs(),
    })
}
