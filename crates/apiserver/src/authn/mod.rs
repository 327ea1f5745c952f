//! Authentication: who sends this request? A client certificate or a bearer token says so; a request with
//! neither is anonymous, a request with a bad one is refused.
//!
//! Not here: what the user may do (`authz`).

mod bootstrap_token;
mod certificate;
pub mod impersonation;
mod jwt;
mod recent;
pub mod review;
pub mod service_account;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use api::status::Status;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{
    HeaderMap,
    header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use self::{certificate::ClientCertificates, service_account::Tokens};
use crate::{
    cluster::Cluster,
    identity::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User},
    pki::{Pki, PkiError},
};

const WEBSOCKET_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";
/// Names the credential in a user's `extra`, for the audit log.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// A credential that proves nothing. The client learns no more than `Unauthorized`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unauthenticated(pub String);

impl From<Unauthenticated> for Status {
    fn from(_: Unauthenticated) -> Self {
        Status::unauthorized()
    }
}

/// Who signs service account tokens, and for whom they are meant.
#[derive(Debug, Clone)]
pub struct Config {
    /// `https://kubernetes.default.svc.cluster.local`.
    pub issuer: String,
    /// The API server's own audiences; tokens for others are refused here. The first start with the issuer.
    pub audiences: Vec<String>,
}

#[derive(Debug)]
pub struct Authenticator {
    clients: ClientCertificates,
    /// Issues and checks service account tokens.
    pub tokens: Tokens,
}

impl Authenticator {
    pub fn new(pki: &Pki, config: Config) -> Result<Self, PkiError> {
        Ok(Self { clients: ClientCertificates::new(pki.authority_der()?)?, tokens: Tokens::new(pki, config)? })
    }

    pub fn write_metrics(&self, out: &mut String) {
        self.clients.write_metrics(out);
    }

    /// The user of a request, before impersonation. `peer_certificates` is what the client showed in the
    /// TLS handshake.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        peer_certificates: Option<&[CertificateDer<'_>]>,
        cluster: &dyn Cluster,
        now: Timestamp,
    ) -> Result<User, Unauthenticated> {
        let by_certificate = match peer_certificates {
            Some(chain) if !chain.is_empty() => self.clients.authenticate(chain, now),
            _ => Ok(None),
        };
        if let Ok(Some(user)) = by_certificate {
            return Ok(authenticated(user));
        }
        match (bearer_token(headers), by_certificate) {
            (Some(token), _) => {
                let (user, _) = self.authenticate_token(&token, &self.tokens.config().audiences, cluster, now)?;
                Ok(user)
            }
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => Ok(User::anonymous()),
        }
    }

    /// The user of a bearer token, and for which of `audiences` the token is meant.
    pub fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
        cluster: &dyn Cluster,
        now: Timestamp,
    ) -> Result<(User, Vec<String>), Unauthenticated> {
        if let Some(user) = bootstrap_token::authenticate(token, cluster, now) {
            return Ok((authenticated(user), audiences.to_vec()));
        }
        match self.tokens.authenticate(token, audiences, cluster, now) {
            Ok(Some((user, audiences))) => Ok((authenticated(user), audiences)),
            Ok(None) => Err(Unauthenticated("invalid bearer token".into())),
            Err(Unauthenticated(why)) => Err(Unauthenticated(format!("[invalid bearer token, {why}]"))),
        }
    }
}

fn authenticated(mut user: User) -> User {
    if user.name != ANONYMOUS && !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

fn with_credential(id: String) -> BTreeMap<String, Vec<String>> {
    BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![id])])
}

/// The token of the `Authorization` header or, as browsers must send it, of a WebSocket protocol.
fn bearer_token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        // A header that is not text holds no token that could be valid, but it is a credential.
        let value = String::from_utf8_lossy(value.as_bytes());
        let (scheme, token) = value.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned());
    }
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let encoded =
        protocols.flat_map(|value| value.split(',')).find_map(|word| word.trim().strip_prefix(WEBSOCKET_TOKEN))?;
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?).ok()
}
