//! JSON Web Tokens in their compact form (RFC 7515): signed with one key, verified with any of several.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{
        self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_2048_8192_SHA256,
        UnparsedPublicKey,
    },
};
use serde_json::{Value, json};
use x509_cert::{
    der::{
        Decode, Encode,
        asn1::{SequenceOf, Uint},
        pem,
    },
    spki::SubjectPublicKeyInfoOwned,
};

use crate::pki::{PkiError, PrivateKey};

/// A token longer than this is not looked at.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const END: &str = "-----END PUBLIC KEY-----";

#[derive(Debug)]
pub(super) struct Signer {
    pair: EcdsaKeyPair,
    header: String,
}

impl Signer {
    pub fn new(key: &PrivateKey) -> Result<Self, PkiError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.pkcs8(), &SystemRandom::new())
            .map_err(|_| PkiError::Crypto("reading the key that signs tokens"))?;
        let id = key_id(&key.public_key()?.to_der()?);
        Ok(Self { pair, header: BASE64.encode(json!({"alg": "ES256", "kid": id}).to_string()) })
    }

    pub fn sign(&self, claims: &Value) -> Result<String, PkiError> {
        let mut token = format!("{}.{}", self.header, BASE64.encode(claims.to_string()));
        let signature =
            self.pair.sign(&SystemRandom::new(), token.as_bytes()).map_err(|_| PkiError::Crypto("signing a token"))?;
        token.push('.');
        token.push_str(&BASE64.encode(signature.as_ref()));
        Ok(token)
    }
}

/// The public keys by which tokens are accepted.
#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: String,
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Es256,
    Rs256,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::Rs256 => "RS256",
        }
    }

    fn verification(self) -> &'static dyn signature::VerificationAlgorithm {
        match self {
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

impl Keys {
    /// One or more PEM blocks `PUBLIC KEY`, ECDSA P-256 or RSA.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        let mut keys: Vec<Key> = Vec::new();
        let mut rest = text;
        while let Some(end) = rest.find(END) {
            let (block, after) = rest.split_at(end + END.len());
            let (_, der) = pem::decode_vec(block.trim().as_bytes())?;
            let key = Key::from_der(&der)?;
            if keys.iter().all(|known| known.id != key.id) {
                keys.push(key);
            }
            rest = after;
        }
        if keys.is_empty() {
            return Err(PkiError::Crypto("reading the keys of tokens: expected PUBLIC KEY blocks"));
        }
        Ok(Self(keys))
    }

    /// The claims of a token that one of the keys has signed; nothing is said about what they claim.
    pub fn verify(&self, token: &str) -> Result<Value, &'static str> {
        let parsed = Token::parse(token).ok_or("malformed token")?;
        let header = json_part(parsed.header).ok_or("malformed token header")?;
        if header.get("crit").is_some() {
            return Err("unsupported token header");
        }
        let id = header["kid"].as_str().unwrap_or_default();
        let mut candidates = self.0.iter().filter(|key| id.is_empty() || key.id == id).peekable();
        if candidates.peek().is_none() {
            return Err("invalid signature, no keys found");
        }
        let is_signed = |key: &Key| {
            header["alg"] == key.algorithm.name()
                && UnparsedPublicKey::new(key.algorithm.verification(), &key.bytes)
                    .verify(parsed.signed.as_bytes(), &parsed.signature)
                    .is_ok()
        };
        if !candidates.any(is_signed) {
            return Err("invalid signature");
        }
        json_part(parsed.claims).ok_or("malformed token claims")
    }

    /// The `alg` values that tokens may have.
    pub fn algorithms(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.0.iter().map(|key| key.algorithm.name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The JSON Web Key Set (RFC 7517).
    pub fn to_jwks(&self) -> Value {
        json!({"keys": self.0.iter().map(Key::to_jwk).collect::<Vec<_>>()})
    }
}

impl Key {
    fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let info = SubjectPublicKeyInfoOwned::from_der(der)?;
        let bytes = info.subject_public_key.raw_bytes().to_vec();
        let algorithm = match info.algorithm.oid.to_string().as_str() {
            "1.2.840.10045.2.1" if bytes.len() == 65 && bytes[0] == 4 => Algorithm::Es256,
            "1.2.840.113549.1.1.1" => {
                SequenceOf::<Uint, 2>::from_der(&bytes)?;
                Algorithm::Rs256
            }
            _ => return Err(PkiError::Crypto("reading the keys of tokens: expected ECDSA P-256 or RSA")),
        };
        Ok(Self { id: key_id(der), algorithm, bytes })
    }

    fn to_jwk(&self) -> Value {
        let mut jwk = json!({"use": "sig", "kid": self.id, "alg": self.algorithm.name()});
        match self.algorithm {
            Algorithm::Es256 => {
                let (x, y) = self.bytes[1..].split_at(32);
                jwk["kty"] = "EC".into();
                jwk["crv"] = "P-256".into();
                jwk["x"] = BASE64.encode(x).into();
                jwk["y"] = BASE64.encode(y).into();
            }
            Algorithm::Rs256 => {
                jwk["kty"] = "RSA".into();
                // It was read when the key was made.
                let numbers = SequenceOf::<Uint, 2>::from_der(&self.bytes).unwrap_or_default();
                for (field, number) in ["n", "e"].into_iter().zip(numbers.iter()) {
                    jwk[field] = BASE64.encode(number.as_bytes()).into();
                }
            }
        }
        jwk
    }
}

fn key_id(der: &[u8]) -> String {
    BASE64.encode(digest(&SHA256, der))
}

/// The claims as the token states them, without any proof.
pub(super) fn unverified_claims(token: &str) -> Option<Value> {
    json_part(Token::parse(token)?.claims)
}

struct Token<'a> {
    header: &'a str,
    claims: &'a str,
    /// What the signature is over.
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    fn parse(token: &'a str) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        Some(Self { header, claims, signed, signature: BASE64.decode(signature).ok()? })
    }
}

/// An object in base64; serde_json bounds its nesting.
fn json_part(part: &str) -> Option<Value> {
    let value: Value = serde_json::from_slice(&BASE64.decode(part).ok()?).ok()?;
    value.is_object().then_some(value)
}
