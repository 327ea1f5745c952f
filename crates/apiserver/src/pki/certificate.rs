//! Making and reading X.509 certificates. Names are kept as they are encoded: a subject may hold one
//! attribute several times (a user in several groups).

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use x509_cert::{
    Certificate, TbsCertificate, Version,
    attr::AttributeTypeAndValue,
    der::{
        Any, Decode, Encode, Tag, Tagged,
        asn1::{BitString, GeneralizedTime, Ia5String, ObjectIdentifier, OctetString, SetOfVec, UtcTime},
        flagset::FlagSet,
        oid::AssociatedOid,
        pem::{self, LineEnding},
    },
    ext::{
        Extension,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
            SubjectKeyIdentifier, name::GeneralName,
        },
    },
    name::{Name, RdnSequence, RelativeDistinguishedName},
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::{Time, Validity},
};

use super::{
    PkiError,
    key::{ECDSA_WITH_SHA256, PrivateKey},
    usage::Usages,
};

pub const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
pub const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
/// The UID of a user (KEP-4828).
pub const USER_UID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57683.2");

/// UTCTime ends here (RFC 5280, 4.1.2.5).
const YEAR_2050: i64 = 2_524_608_000;

/// What is to be certified.
pub(super) struct Template {
    pub subject: Name,
    pub public_key: SubjectPublicKeyInfoOwned,
    pub kind: Kind,
    pub alternative_names: Option<SubjectAltName>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

pub(super) enum Kind {
    Authority,
    Leaf(Usages),
}

/// Certifies `template` in the name of `issuer`, with its key.
pub(super) fn issue(template: Template, issuer: &Name, key: &PrivateKey) -> Result<Certificate, PkiError> {
    let signature = AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None };
    let tbs_certificate = TbsCertificate {
        version: Version::V3,
        serial_number: random_serial()?,
        signature: signature.clone(),
        issuer: issuer.clone(),
        validity: Validity { not_before: time(template.not_before)?, not_after: time(template.not_after)? },
        extensions: Some(extensions(&template, key)?),
        subject: template.subject,
        subject_public_key_info: template.public_key,
        issuer_unique_id: None,
        subject_unique_id: None,
    };
    let signed = key.sign(&tbs_certificate.to_der()?)?;
    Ok(Certificate { tbs_certificate, signature_algorithm: signature, signature: BitString::from_bytes(&signed)? })
}

fn extensions(template: &Template, issuer_key: &PrivateKey) -> Result<Vec<Extension>, PkiError> {
    let mut extensions = Vec::new();
    match &template.kind {
        Kind::Authority => {
            let usage: FlagSet<KeyUsages> =
                KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment | KeyUsages::KeyCertSign;
            extensions.push(extension(&KeyUsage(usage), true)?);
            extensions.push(extension(&BasicConstraints { ca: true, path_len_constraint: None }, true)?);
        }
        Kind::Leaf(usages) => {
            if !usages.key.is_empty() {
                extensions.push(extension(&KeyUsage(usages.key), true)?);
            }
            if !usages.extended.is_empty() {
                extensions.push(extension(&ExtendedKeyUsage(usages.extended.clone()), false)?);
            }
            extensions.push(extension(&BasicConstraints { ca: false, path_len_constraint: None }, true)?);
        }
    }
    let subject_key = key_identifier(&template.public_key)?;
    extensions.push(extension(&SubjectKeyIdentifier(subject_key), false)?);
    let authority_key = key_identifier(&issuer_key.public_key()?)?;
    let authority = AuthorityKeyIdentifier { key_identifier: Some(authority_key), ..Default::default() };
    extensions.push(extension(&authority, false)?);
    if let Some(names) = &template.alternative_names {
        extensions.push(extension(names, template.subject.is_empty())?);
    }
    Ok(extensions)
}

fn extension(value: &(impl AssociatedOid + Encode), critical: bool) -> Result<Extension, PkiError> {
    let extn_id = oid_of(value);
    Ok(Extension { extn_id, critical, extn_value: OctetString::new(value.to_der()?)? })
}

fn oid_of<T: AssociatedOid>(_: &T) -> ObjectIdentifier {
    T::OID
}

/// The first 160 bits of the key's SHA-256 (RFC 7093, method 1).
fn key_identifier(key: &SubjectPublicKeyInfoOwned) -> Result<OctetString, PkiError> {
    Ok(OctetString::new(&digest(&SHA256, key.subject_public_key.raw_bytes()).as_ref()[..20])?)
}

fn random_serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| PkiError::Crypto("drawing a serial number"))?;
    // Positive, and never zero.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::new(&bytes)?)
}

fn time(at: Timestamp) -> Result<Time, PkiError> {
    let since_epoch = Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0));
    Ok(if at.as_second() < YEAR_2050 {
        Time::UtcTime(UtcTime::from_unix_duration(since_epoch)?)
    } else {
        Time::GeneralTime(GeneralizedTime::from_unix_duration(since_epoch)?)
    })
}

/// A subject: the common name and the organizations, which Kubernetes reads as user and groups.
pub(super) fn subject(common_name: &str, organizations: &[&str]) -> Result<Name, PkiError> {
    let mut parts = Vec::new();
    for (oid, text) in organizations.iter().map(|name| (ORGANIZATION, *name)).chain([(COMMON_NAME, common_name)]) {
        let value = Any::new(Tag::Utf8String, text.as_bytes())?;
        let attributes = SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }])?;
        parts.push(RelativeDistinguishedName(attributes));
    }
    Ok(RdnSequence(parts))
}

pub(super) fn alternative_names(names: &[String]) -> Result<SubjectAltName, PkiError> {
    let general = |name: &String| match name.parse::<IpAddr>() {
        Ok(address) => Ok(GeneralName::from(address)),
        Err(_) => Ok::<_, PkiError>(GeneralName::DnsName(Ia5String::new(name)?)),
    };
    Ok(SubjectAltName(names.iter().map(general).collect::<Result<_, _>>()?))
}

pub(super) fn to_pem(certificate: &Certificate) -> Result<String, PkiError> {
    Ok(pem::encode_string("CERTIFICATE", LineEnding::LF, &certificate.to_der()?)?)
}

pub(super) fn from_pem(text: &str) -> Result<Certificate, PkiError> {
    match pem::decode_vec(text.as_bytes()) {
        Ok(("CERTIFICATE", der)) => Ok(Certificate::from_der(&der)?),
        _ => Err(PkiError::Crypto("reading a certificate: expected one CERTIFICATE block")),
    }
}

/// From and until when a certificate is valid.
pub(super) fn validity(certificate: &Certificate) -> (Timestamp, Timestamp) {
    let Validity { not_before, not_after } = certificate.tbs_certificate.validity;
    let at = |time: Time| {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    };
    (at(not_before), at(not_after))
}

/// The values of one attribute of a subject, in their order. A value that is not text is left out.
pub fn attributes(subject: &Name, oid: ObjectIdentifier) -> impl Iterator<Item = String> {
    let entries = subject.0.iter().flat_map(|part| part.0.iter());
    entries.filter(move |entry| entry.oid == oid).filter_map(|entry| match entry.value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString => {
            String::from_utf8(entry.value.value().to_vec()).ok()
        }
        _ => None,
    })
}
