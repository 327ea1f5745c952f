//! What a registry wants to see before it answers: a password, or a token that another server gives for one.

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_auth::parser::ChallengeParser;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Credentials, ImageError, ImageName, Registry, Source, read, refusal};

/// Tokens that are kept; when there are more, all go.
const MAX_TOKENS: usize = 256;
const MAX_TOKEN_BYTES: u64 = 256 << 10;
/// How long a token lasts that does not say so.
const DEFAULT_SECONDS: u64 = 60;
/// So long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(10);

/// Whose access to what it is: one user never gets another's.
type Key = (String, String, Option<Credentials>);

/// What was let in, while it lasts.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<Key, (HeaderValue, Instant)>>);

impl Tokens {
    pub(super) fn known(
        &self,
        source: &Source,
        name: &ImageName,
        credentials: Option<&Credentials>,
    ) -> Option<HeaderValue> {
        let mut tokens = self.0.lock();
        let key = key(source, name, credentials);
        match tokens.get(&key) {
            Some((value, until)) if *until > Instant::now() => Some(value.clone()),
            Some(_) => {
                tokens.remove(&key);
                None
            }
            None => None,
        }
    }

    fn keep(&self, key: Key, value: HeaderValue, lasts: Duration) {
        let mut tokens = self.0.lock();
        if tokens.len() >= MAX_TOKENS {
            tokens.clear();
        }
        tokens.insert(key, (value, Instant::now() + lasts.saturating_sub(MARGIN)));
    }
}

fn key(source: &Source, name: &ImageName, credentials: Option<&Credentials>) -> Key {
    (source.base.clone(), name.repository().to_owned(), credentials.cloned())
}

/// What a challenge asks for (RFC 9110, section 11.6.1).
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// The first challenge that can be met; a token before a password.
fn understood(headers: &[String]) -> Option<Challenge> {
    let mut basic = None;
    for challenge in headers.iter().flat_map(|text| ChallengeParser::new(text)).flatten() {
        if challenge.scheme.eq_ignore_ascii_case("Basic") {
            basic = Some(Challenge::Basic);
        }
        if challenge.scheme.eq_ignore_ascii_case("Bearer") {
            let param = |name: &str| {
                let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            if let Some(realm) = param("realm") {
                return Some(Challenge::Bearer { realm, service: param("service") });
            }
        }
    }
    basic
}

impl Registry {
    /// What to show after a challenge; `None` where there is nothing to show.
    pub(super) async fn log_in(
        &self,
        source: &Source,
        name: &ImageName,
        credentials: Option<&Credentials>,
        challenges: &[String],
    ) -> Result<Option<HeaderValue>, ImageError> {
        let refused =
            |why: &str| ImageError::Unauthorized { registry: name.registry().to_owned(), why: why.to_owned() };
        match understood(challenges) {
            None => Err(refused("it asks for neither a password nor a token")),
            Some(Challenge::Basic) => {
                let value =
                    credentials.and_then(basic).ok_or_else(|| refused("it asks for a user name and a password"))?;
                self.tokens.keep(key(source, name, credentials), value.clone(), Duration::from_secs(3600));
                Ok(Some(value))
            }
            Some(Challenge::Bearer { realm, service }) => {
                let (token, lasts) = self.token(source, name, credentials, &realm, service.as_deref()).await?;
                let value = secret(&format!("Bearer {token}")).ok_or_else(|| refused("its token is no text"))?;
                self.tokens.keep(key(source, name, credentials), value.clone(), lasts);
                Ok(Some(value))
            }
        }
    }

    /// A token to pull with (the token authentication of the distribution project): for a password by GET, for a refresh
    /// token by OAuth 2.
    async fn token(
        &self,
        source: &Source,
        name: &ImageName,
        credentials: Option<&Credentials>,
        realm: &str,
        service: Option<&str>,
    ) -> Result<(String, Duration), ImageError> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<u64>,
        }
        let refused = |why: String| ImageError::Unauthorized { registry: name.registry().to_owned(), why };
        let address: Uri = realm.parse().map_err(|_| refused(format!("its realm {realm:?} is no address")))?;
        // Who speaks TLS does not send our password on without.
        if address.scheme_str() != Some("https") && source.base.starts_with("https:") {
            return Err(refused(format!("its realm {realm:?} is without TLS")));
        }
        let scope = format!("repository:{}:pull", name.repository());
        let mut fields = vec![("scope", scope)];
        fields.extend(service.map(|service| ("service", service.to_owned())));
        let identity = credentials.map(|known| &*known.identity_token).filter(|token| !token.is_empty());
        let (request, body) = if let Some(identity) = identity {
            fields.extend([
                ("grant_type", "refresh_token".to_owned()),
                ("refresh_token", identity.to_owned()),
                ("client_id", "coracle".to_owned()),
            ]);
            let request = Request::post(address.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            (request, Bytes::from(form(&fields)))
        } else {
            let joint = if address.query().is_some() { '&' } else { '?' };
            let mut request = Request::get(format!("{realm}{joint}{}", form(&fields)));
            if let Some(value) = credentials.and_then(basic) {
                request = request.header(AUTHORIZATION, value);
            }
            (request, Bytes::new())
        };
        let answer = self.send(request, body).await?;
        if !answer.status().is_success() {
            return Err(refusal(realm, name, answer).await);
        }
        let bytes = read(answer, "token", MAX_TOKEN_BYTES).await?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|error| ImageError::malformed("token", error))?;
        let lasts = Duration::from_secs(token.expires_in.unwrap_or(DEFAULT_SECONDS).max(DEFAULT_SECONDS));
        let text = [token.token, token.access_token].into_iter().flatten().find(|text| !text.is_empty());
        text.map(|text| (text, lasts)).ok_or_else(|| refused("it gives no token".to_owned()))
    }
}

fn form(fields: &[(&str, String)]) -> String {
    let pair = |(name, value): &(&str, String)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// RFC 7617; `None` where there is no user.
fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let Credentials { username, password, .. } = credentials;
    if username.is_empty() {
        return None;
    }
    secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_understood() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (headers, expect) in [
            (vec!["Basic realm=\"registry\""], Some(Challenge::Basic)),
            (
                vec!["Bearer realm=\"https://auth.example.com/token\",service=\"r\",scope=\"repository:a:pull,push\""],
                bearer("https://auth.example.com/token", Some("r")),
            ),
            (vec!["basic realm=x", "BEARER realm=\"https://b\""], bearer("https://b", None)),
            (vec!["Negotiate"], None),
            (vec!["Bearer service=\"r\""], None),
            (vec![], None),
            (vec!["\u{7f}"], None),
        ] {
            let headers: Vec<String> = headers.into_iter().map(str::to_owned).collect();
            assert_eq!(understood(&headers), expect, "{headers:?}");
        }
    }

    #[test]
    fn what_is_asked_for_is_encoded() {
        assert_eq!(
            form(&[("scope", "repository:a/b:pull".to_owned()), ("s", "x y".to_owned())]),
            "scope=repository%3Aa%2Fb%3Apull&s=x%20y"
        );
    }
}
