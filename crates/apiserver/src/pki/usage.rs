//! What a certificate may be used for: the usages of `CertificateSigningRequestSpec` and their bits and
//! identifiers in X.509.

use x509_cert::{
    der::{asn1::ObjectIdentifier, flagset::FlagSet},
    ext::pkix::KeyUsages,
};

use super::PkiError;

pub const CLIENT_AUTH: &str = "client auth";
pub const SERVER_AUTH: &str = "server auth";
pub const DIGITAL_SIGNATURE: &str = "digital signature";
pub const KEY_ENCIPHERMENT: &str = "key encipherment";

const KEY_USAGES: [(&str, KeyUsages); 9] = [
    ("signing", KeyUsages::DigitalSignature),
    (DIGITAL_SIGNATURE, KeyUsages::DigitalSignature),
    ("content commitment", KeyUsages::NonRepudiation),
    (KEY_ENCIPHERMENT, KeyUsages::KeyEncipherment),
    ("key agreement", KeyUsages::KeyAgreement),
    ("data encipherment", KeyUsages::DataEncipherment),
    ("crl sign", KeyUsages::CRLSign),
    ("encipher only", KeyUsages::EncipherOnly),
    ("decipher only", KeyUsages::DecipherOnly),
];

const EXTENDED_USAGES: [(&str, &str); 12] = [
    ("any", "2.5.29.37.0"),
    (SERVER_AUTH, "1.3.6.1.5.5.7.3.1"),
    (CLIENT_AUTH, "1.3.6.1.5.5.7.3.2"),
    ("code signing", "1.3.6.1.5.5.7.3.3"),
    ("email protection", "1.3.6.1.5.5.7.3.4"),
    ("s/mime", "1.3.6.1.5.5.7.3.4"),
    ("ipsec end system", "1.3.6.1.5.5.7.3.5"),
    ("ipsec tunnel", "1.3.6.1.5.5.7.3.6"),
    ("ipsec user", "1.3.6.1.5.5.7.3.7"),
    ("timestamping", "1.3.6.1.5.5.7.3.8"),
    ("ocsp signing", "1.3.6.1.5.5.7.3.9"),
    ("microsoft sgc", "1.3.6.1.4.1.311.10.3.3"),
];

/// Usages in the form a certificate carries them.
#[derive(Debug, Clone)]
pub(super) struct Usages {
    pub key: FlagSet<KeyUsages>,
    pub extended: Vec<ObjectIdentifier>,
}

impl Usages {
    /// `cert sign` is refused: nobody but the cluster makes authorities.
    pub fn named(names: &[&str]) -> Result<Self, PkiError> {
        let mut usages = Self { key: FlagSet::default(), extended: Vec::new() };
        for name in names {
            if let Some((_, bit)) = KEY_USAGES.iter().find(|(known, _)| known == name) {
                usages.key |= *bit;
            } else if let Some((_, identifier)) = EXTENDED_USAGES.iter().find(|(known, _)| known == name) {
                let identifier = ObjectIdentifier::new(identifier).map_err(x509_cert::der::Error::from)?;
                if !usages.extended.contains(&identifier) {
                    usages.extended.push(identifier);
                }
            } else {
                return Err(PkiError::Request(format!("unrecognized usage {name:?}")));
            }
        }
        Ok(usages)
    }
}
