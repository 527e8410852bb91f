//! OAuth2 client credentials (RFC 6749 §4.4): the secrets of client programs, and their access tokens.
//!
//! An access token is a JWT signed with the same key as a session's, told apart by its claim `"use":"oauth"`:
//! [`Keys::verify`] refuses every token with a `use`, and [`verify`] every token without this one. So neither
//! opens what the other opens.
//!
//! A secret is 256 random bits, so there is nothing to guess and nothing a slow hash would slow down: one
//! HMAC-SHA-256 hides it from a reader of the database. The key of that HMAC is public. It is there because
//! ring compares an HMAC in constant time, and because a hash made elsewhere of the same text is another one.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SecureRandom;
use serde::Deserialize;

use crate::clock::Timestamp;

use super::freshness::Freshness;
use super::token::{Keys, NoRandomness, NumericDate, PART_BYTES_MAX, SessionId, TokenError, check_time};

/// How long an access token is valid, in seconds. There are no refresh tokens: a client asks again.
pub const ACCESS_TOKEN_SECONDS: u32 = 3_600;
/// The scopes there are.
pub const SCOPES: [&str; 2] = ["read", "stock"];
/// What stands in the place of a session where a client calls: it has none, and none can be signed out by it.
pub const NO_SESSION: SessionId = SessionId::from_bytes([0; 16]);

/// The value of the claim `use`.
const USE: &str = "oauth";
/// Bytes of randomness in a secret.
const SECRET_BYTES: usize = 32;
/// Names the purpose of the hash; not a secret.
const SECRET_LABEL: &[u8] = b"hyperdesk oauth2 client secret v1";

/// A new client's secret: 43 characters that need no quoting anywhere.
///
/// # Errors
/// [`NoRandomness`] where the operating system has none to give.
pub fn new_secret() -> Result<String, NoRandomness> {
    let mut bytes = [0; SECRET_BYTES];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored of a secret.
#[must_use]
pub fn hash_secret(secret: &str) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET_LABEL), secret.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(tag.as_ref());
    hash
}

/// Whether `secret` is the one that was stored, in a time that tells nothing about either.
#[must_use]
pub fn secret_matches(secret: &str, stored: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET_LABEL);
    hmac::verify(&key, secret.as_bytes(), stored).is_ok()
}

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which client: `oauth_clients.id`.
    pub client_id: u64,
    /// Scopes, separated by single spaces.
    pub scope: String,
    /// `iat`, in Unix seconds.
    pub issued_at: i64,
    /// `exp`, in Unix seconds.
    pub expires_at: i64,
}

impl Grant {
    /// Access for a client from `now` on.
    #[must_use]
    pub fn new(client_id: u64, scope: String, now: Timestamp) -> Self {
        let issued_at = now.unix_seconds();
        Self { client_id, scope, issued_at, expires_at: issued_at + i64::from(ACCESS_TOKEN_SECONDS) }
    }

    /// Whether it reaches this far.
    #[must_use]
    pub fn allows(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|granted| granted == scope)
    }
}

/// The claims as they are read; one given twice, or of another type, is refused by serde.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(rename = "use")]
    purpose: &'a str,
    client_id: u64,
    scope: String,
    iat: NumericDate,
    exp: NumericDate,
    nbf: Option<NumericDate>,
    /// RFC 7519 §4.1.3: a token that names an audience is refused by whoever is not it.
    aud: Option<serde::de::IgnoredAny>,
}

/// An access token.
#[must_use]
pub fn sign(keys: &Keys, grant: &Grant) -> String {
    let payload = serde_json::json!({
        "use": USE,
        "client_id": grant.client_id,
        "scope": grant.scope,
        "iat": grant.issued_at,
        "exp": grant.expires_at,
    });
    keys.sign_payload(payload.to_string().as_bytes())
}

/// What `token` says, if it may be believed at the time `now`. Whether its client was revoked is asked of
/// [`RevokedClients`] afterwards.
///
/// # Errors
/// A [`TokenError`] for every other token, a session's among them.
pub fn verify(keys: &Keys, token: &[u8], now: Timestamp) -> Result<Grant, TokenError> {
    let mut buffer = [0; PART_BYTES_MAX];
    let payload = keys.verify_signature(token, &mut buffer)?;
    let payload = std::str::from_utf8(payload).map_err(|_| TokenError::Claims)?;
    let payload: Payload<'_> = serde_json::from_str(payload).map_err(|_| TokenError::Claims)?;
    if payload.purpose != USE || payload.aud.is_some() {
        return Err(TokenError::Purpose);
    }
    let (issued_at, expires_at) = (payload.iat.ceil, payload.exp.floor);
    check_time(expires_at, Some(issued_at), payload.nbf.map(|date| date.ceil), now)?;
    Ok(Grant { client_id: payload.client_id, scope: payload.scope, issued_at, expires_at })
}

/// The clients that were revoked and whose tokens could still be valid. Kept up to date by the service that
/// has the clients' table.
#[derive(Debug, Default)]
pub struct RevokedClients {
    clients: RwLock<HashSet<u64>>,
    /// How old the knowledge of revoked clients is.
    pub looks: Freshness,
}

impl RevokedClients {
    /// Whether this client's tokens are dead.
    #[must_use]
    pub fn contains(&self, client_id: u64) -> bool {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).contains(&client_id)
    }

    /// Takes what the database says now.
    pub fn replace(&self, clients: impl IntoIterator<Item = u64>) {
        let clients = clients.into_iter().collect();
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new(b"0123456789abcdef0123456789abcdef", None).unwrap()
    }

    const NOW: Timestamp = Timestamp::from_micros(1_768_473_000_000_000);

    #[test]
    fn a_secret_is_known_by_its_hash_only() {
        let (one, two) = (new_secret().unwrap(), new_secret().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, two);
        assert!(secret_matches(&one, &hash_secret(&one)));
        assert!(!secret_matches(&two, &hash_secret(&one)));
        assert!(!secret_matches(&one, &hash_secret(&one)[..31]));
        assert!(!secret_matches("", &[]));
    }

    #[test]
    fn a_grant_is_read_as_it_was_signed_and_ends() {
        let grant = Grant::new(7, "read stock".to_owned(), NOW);
        let token = sign(&keys(), &grant);
        assert_eq!(verify(&keys(), token.as_bytes(), NOW), Ok(grant.clone()));
        assert!(grant.allows("read") && grant.allows("stock"));
        assert!(!grant.allows("rea") && !grant.allows("") && !grant.allows("read stock"));
        let end = Timestamp::from_micros(grant.expires_at * 1_000_000);
        assert_eq!(verify(&keys(), token.as_bytes(), end), Err(TokenError::Expired));
        let other = Keys::new(b"another secret of another server", None).unwrap();
        assert_eq!(verify(&other, token.as_bytes(), NOW), Err(TokenError::Signature));
    }

    #[test]
    fn the_two_kinds_of_token_are_told_apart() {
        let keys = keys();
        let access = sign(&keys, &Grant::new(7, "read".to_owned(), NOW));
        assert_eq!(keys.verify(access.as_bytes(), NOW), Err(TokenError::Purpose));
        let expires_at = NOW.unix_seconds() + 60;
        for payload in [
            format!(r#"{{"user_id":7,"iat":1,"exp":{expires_at}}}"#),
            format!(r#"{{"user_id":7,"client_id":7,"scope":"stock","iat":1,"exp":{expires_at}}}"#),
            format!(r#"{{"use":"other","client_id":7,"scope":"stock","iat":1,"exp":{expires_at}}}"#),
            format!(
                r#"{{"use":"oauth","client_id":7,"scope":"stock","aud":"x","iat":1,"exp":{expires_at}}}"#
            ),
            format!(r#"{{"use":"oauth","client_id":"7","scope":"stock","iat":1,"exp":{expires_at}}}"#),
            format!(r#"{{"use":"oauth","client_id":7,"scope":"stock","iat":1,"exp":"{expires_at}"}}"#),
            format!(
                r#"{{"use":"oauth","client_id":7,"client_id":8,"scope":"stock","iat":1,"exp":{expires_at}}}"#
            ),
            format!(r#"{{"use":"oauth","client_id":7,"iat":1,"exp":{expires_at}}}"#),
            r#"{"use":"oauth","client_id":7,"scope":"stock","iat":1}"#.to_owned(),
        ] {
            let token = keys.sign_payload(payload.as_bytes());
            let refused = verify(&keys, token.as_bytes(), NOW);
            assert!(matches!(refused, Err(TokenError::Claims | TokenError::Purpose)), "{payload}");
        }
    }

    #[test]
    fn a_revoked_client_is_remembered_until_it_is_replaced() {
        let revoked = RevokedClients::default();
        assert!(!revoked.contains(7));
        revoked.replace([7]);
        assert!(revoked.contains(7) && !revoked.contains(8));
        revoked.replace([]);
        assert!(!revoked.contains(7));
    }
}
