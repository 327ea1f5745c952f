//! Private keys: ECDSA on P-256, which signs and verifies fast and is made in microseconds.

use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey},
};
use x509_cert::{
    der::{
        Any, Encode,
        asn1::{BitString, ObjectIdentifier},
        pem::{self, LineEnding},
    },
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

use super::PkiError;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(super) const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// A key pair with the PKCS #8 document it came from.
pub struct PrivateKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
}

impl PrivateKey {
    pub fn generate() -> Result<Self, PkiError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| PkiError::Crypto("generating a key"))?;
        Self::from_pkcs8(document.as_ref().to_vec())
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, PkiError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &SystemRandom::new())
            .map_err(|_| PkiError::Crypto("reading a key: it must be ECDSA P-256 in PKCS #8"))?;
        Ok(Self { pair, pkcs8 })
    }

    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        match pem::decode_vec(text.as_bytes()) {
            Ok(("PRIVATE KEY", pkcs8)) => Self::from_pkcs8(pkcs8),
            _ => Err(PkiError::Crypto("reading a key: expected one PRIVATE KEY block")),
        }
    }

    pub fn to_pem(&self) -> Result<String, PkiError> {
        Ok(pem::encode_string("PRIVATE KEY", LineEnding::LF, &self.pkcs8)?)
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub fn public_key(&self) -> Result<SubjectPublicKeyInfoOwned, PkiError> {
        let algorithm = AlgorithmIdentifierOwned { oid: EC_PUBLIC_KEY, parameters: Some(Any::from(P256)) };
        let subject_public_key = BitString::from_bytes(self.pair.public_key().as_ref())?;
        Ok(SubjectPublicKeyInfoOwned { algorithm, subject_public_key })
    }

    pub fn public_pem(&self) -> Result<String, PkiError> {
        Ok(pem::encode_string("PUBLIC KEY", LineEnding::LF, &self.public_key()?.to_der()?)?)
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.pair.public_key().as_ref())
            .verify(message, signature)
            .is_ok()
    }

    /// An ASN.1 signature (`ecdsa-with-SHA256`).
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        let signature =
            self.pair.sign(&SystemRandom::new(), message).map_err(|_| PkiError::Crypto("signing a certificate"))?;
        Ok(signature.as_ref().to_vec())
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(secret)")
    }
}
