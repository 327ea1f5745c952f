//! Which certificates of webhooks' servers are believed: those that an authority of the configuration has signed, and
//! those that the configuration names themselves.
//!
//! The second are refused by the TLS library where they are authorities too, as what `openssl req -x509` makes is.
//! Kubernetes believes them, and many webhooks have no other.

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_cert::{Certificate, der::Decode};

#[derive(Debug)]
pub struct Verifier {
    signed: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// `named` are certificates that need nobody's signature.
    pub fn new(
        roots: Arc<RootCertStore>,
        named: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let signed = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        Ok(Self { signed: signed.map_err(|error| error.to_string())?, named })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let signed = self.signed.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if signed.is_ok() || !self.named.iter().any(|named| **named == **end_entity) {
            return signed;
        }
        check_dates(end_entity, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate.validity;
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::{super::client::describe_tls, *};

    /// What `openssl req -x509 -addext subjectAltName=DNS:localhost` made in 2026 for a hundred years: an authority.
    const SELF_SIGNED: &str = "
        -----BEGIN CERTIFICATE-----
        MIIBizCCATGgAwIBAgIUI3gSuT8sWXaBThX3y5vcZqMZtXMwCgYIKoZIzj0EAwIw
        DzENMAsGA1UEAwwEaG9vazAgFw0yNjExMjMxNTM2MjRaGA8yMTI2MTAzMDE1MzYy
        NFowDzENMAsGA1UEAwwEaG9vazBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABAaM
        4+Dmrgy06cwL5lrT3I6l2ulb+234783cQlqO3pXB59/Gcy201J9RjWMzfmUSdERi
        //lXfXN2p8hB35b9mbijaTBnMB0GA1UdDgQWBBSENxu2G6mra/uL9d0FRwiCFC3Z
        uTAfBgNVHSMEGDAWgBSENxu2G6mra/uL9d0FRwiCFC3ZuTAPBgNVHRMBAf8EBTAD
        AQH/MBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAKBggqhkjOPQQDAgNIADBFAiAOOVIJ
        lodL14jPWlanhev1tm2HWXFWSB3alIjFn5CaBAIhANI/MwLuIgK0wpp+/Y9Y+Wse
        rqJnwfRmzZfCrggESocf
        -----END CERTIFICATE-----
    ";

    #[test]
    fn a_certificate_that_is_named_needs_no_other_signature() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_slice(SELF_SIGNED.replace("        ", "").as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let verifier = |named| Verifier::new(Arc::new(roots.clone()), named, Arc::clone(&provider)).unwrap();
        let verify = |verifier: &Verifier, name: &'static str, year: u64| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
            verifier.verify_server_cert(&certificate, &[], &ServerName::try_from(name).unwrap(), &[], now)
        };
        let named = verifier(vec![certificate.clone()]);
        assert!(verify(&named, "localhost", 2030).is_ok());
        assert!(verify(&named, "elsewhere", 2030).is_err());
        for (year, expected) in [(2020, CertificateError::NotValidYet), (2200, CertificateError::Expired)] {
            assert_eq!(verify(&named, "localhost", year).unwrap_err(), Error::InvalidCertificate(expected));
        }
        let unknown = verify(&verifier(Vec::new()), "localhost", 2030).unwrap_err();
        let told = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
        assert_eq!(describe_tls(&unknown), told);
    }
}
