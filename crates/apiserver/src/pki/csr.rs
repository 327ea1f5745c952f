//! Certificate signing requests (PKCS #10): read, proven to hold the key they ask for, and signed.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_cert::{
    der::{Decode, Encode, asn1::ObjectIdentifier, oid::AssociatedOid, pem},
    ext::{Extensions, pkix::SubjectAltName},
    name::Name,
    request::CertReq,
    spki::SubjectPublicKeyInfoOwned,
};

use super::PkiError;

const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";

/// A request whose signature was made with the key it holds.
pub struct SigningRequest {
    pub subject: Name,
    pub(super) public_key: SubjectPublicKeyInfoOwned,
    pub alternative_names: Option<SubjectAltName>,
}

impl SigningRequest {
    /// The PEM block in `CertificateSigningRequestSpec.request`.
    pub fn from_pem(text: &[u8]) -> Result<Self, PkiError> {
        Self::from_der(&der(text)?)
    }

    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let request = CertReq::from_der(der).map_err(|error| PkiError::Request(error.to_string()))?;
        verify(&request)?;
        let mut alternative_names = None;
        let wanted = request.info.attributes.iter().filter(|attribute| attribute.oid == EXTENSION_REQUEST);
        for value in wanted.flat_map(|attribute| attribute.values.iter()) {
            let extensions: Extensions = value.decode_as()?;
            for extension in extensions.iter().filter(|extension| extension.extn_id == SubjectAltName::OID) {
                alternative_names = Some(SubjectAltName::from_der(extension.extn_value.as_bytes())?);
            }
        }
        Ok(Self { subject: request.info.subject, public_key: request.info.public_key, alternative_names })
    }
}

/// What a PEM block of a request holds.
pub(super) fn der(text: &[u8]) -> Result<Vec<u8>, PkiError> {
    match pem::decode_vec(text) {
        Ok(("CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST", der)) => Ok(der),
        _ => Err(PkiError::Request("PEM block type must be CERTIFICATE REQUEST".into())),
    }
}

fn verify(request: &CertReq) -> Result<(), PkiError> {
    let refused = |why: &str| PkiError::Request(why.to_owned());
    let algorithm = algorithm(&request.algorithm.oid, &request.info.public_key)
        .ok_or_else(|| refused("unsupported signature algorithm"))?;
    let message = request.info.to_der()?;
    let signature = request.signature.as_bytes().ok_or_else(|| refused("malformed signature"))?;
    UnparsedPublicKey::new(algorithm, request.info.public_key.subject_public_key.raw_bytes())
        .verify(&message, signature)
        .map_err(|_| refused("the signature does not match the public key"))
}

fn algorithm(oid: &ObjectIdentifier, key: &SubjectPublicKeyInfoOwned) -> Option<&'static dyn VerificationAlgorithm> {
    let curve = || key.algorithm.parameters.as_ref()?.decode_as::<ObjectIdentifier>().ok();
    let is_curve = |name: &str| {
        key.algorithm.oid.to_string() == EC_PUBLIC_KEY && curve().is_some_and(|curve| curve.to_string() == name)
    };
    Some(match oid.to_string().as_str() {
        "1.2.840.10045.4.3.2" if is_curve(P256) => &signature::ECDSA_P256_SHA256_ASN1,
        "1.2.840.10045.4.3.2" if is_curve(P384) => &signature::ECDSA_P384_SHA256_ASN1,
        "1.2.840.10045.4.3.3" if is_curve(P256) => &signature::ECDSA_P256_SHA384_ASN1,
        "1.2.840.10045.4.3.3" if is_curve(P384) => &signature::ECDSA_P384_SHA384_ASN1,
        "1.2.840.113549.1.1.11" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "1.2.840.113549.1.1.12" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "1.2.840.113549.1.1.13" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "1.3.101.112" => &signature::ED25519,
        _ => return None,
    })
}
