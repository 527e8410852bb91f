//! The token: a JSON Web Token signed with HMAC-SHA-256 (RFC 7515, RFC 7519, and the advice of
//! RFC 8725).
//!
//! The contract fixes it: HS256 whatever the header says, signed with the bytes of `SECRET_KEY_BASE`,
//! claims at least `user_id` and `exp`. The user's other tools make and check such tokens too, so any
//! well-formed JSON is read; but a token in the server's own shape, which nearly every request carries,
//! is read by a short scan that allocates nothing. That shape has three claims more:
//! - `iat`. The Rails original makes tokens without it.
//! - `sid`, the session, which is what signing out revokes: [`SessionId`].
//! - `user_created_at`, the microsecond in which the user's row was made. Ids are given anew after a backup was
//!   restored, times are not: so a token of a user whom the database forgot does not open the account of the
//!   one who got the id next. See [`crate::auth::registrations`].
//!
//! Where RFC 7519 leaves a choice, the stricter one is taken:
//! - `exp` is exact: the server that made the token checks it, so there is no clock difference to
//!   forgive. `iat` and `nbf` may lie [`LEEWAY_SECONDS`] ahead, for tools on other machines.
//! - Times are NumericDate, which may have a fraction or an exponent (§2); each is rounded to the second that
//!   makes the token live shorter. What no calendar holds is refused.
//! - `user_id` is an integer that the database's column holds: beyond it there is nobody.
//! - Base64url has one spelling for each value: no padding, no stray trailing bits. Otherwise a token
//!   could be respelt to escape its revocation, see [`SessionId`].
//! - A claim given twice is refused, because two readers would read two different tokens.
//! - A token that names a use, a scope or an audience was made for something else, see
//!   [`TokenError::Purpose`].

pub mod cache;
mod claims;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use ring::{digest, hmac};

use crate::clock::Timestamp;

pub(super) use claims::NumericDate;

/// The longest token that is looked at, in bytes. The server's own have about 200.
pub const TOKEN_BYTES_MAX: usize = 2048;

/// How far ahead of the server's clock `iat` and `nbf` may be, in seconds. The contract allows 30.
pub const LEEWAY_SECONDS: i64 = 30;

/// The last `exp` that is believed: the end of the year 9999, in Unix seconds. What is later is a
/// mistake, most likely milliseconds.
pub const EXPIRES_AT_MAX: i64 = 253_402_300_799;

/// Room for a decoded part of a token: base64 makes four characters of three bytes.
pub const PART_BYTES_MAX: usize = TOKEN_BYTES_MAX / 4 * 3;

const SIGNATURE_BYTES: usize = 32;

/// `{"alg":"HS256","typ":"JWT"}`, the header of the server's own tokens.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

const _: () = assert!(LEEWAY_SECONDS <= 30, "the contract allows no more than 30 s");

/// Why a token is refused. None of these is told to the client: the answer is one and the same 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than is looked at.
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Not a token at all.
    #[error("the token is not three parts of canonical base64url")]
    Malformed,
    /// Also a header with a `kid`: the server issues none, so it knows none.
    #[error("the header is not that of an HS256 token")]
    Header,
    /// Signed by somebody else, or changed.
    #[error("the signature fits neither the current nor the previous key")]
    Signature,
    /// A claim is missing, doubled or of another type.
    #[error("the claims are not a JSON object with user_id and exp, each once, and every time a number")]
    Claims,
    /// A `use`, `typ`, `scope` or `aud` claim of another service, such as the OAuth2 tokens of the
    /// stock counter, which are signed with the same key.
    #[error("the token was made for another purpose")]
    Purpose,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Its session was signed out.
    #[error("the session was signed out")]
    SignedOut,
    /// There is no such user, or the one who has the id now is another than the token was made for.
    #[error("the token is of nobody whom the database knows")]
    Nobody,
    /// This instance does not know the user yet, and has asked: [`crate::auth::registrations`].
    #[error("whether there is such a user is not known yet")]
    Unknown,
}

/// A key was made from an empty secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an empty secret signs nothing")]
pub struct EmptySecret;

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes from the operating system")]
pub struct NoRandomness;

/// The name of a session: what signing out revokes.
///
/// The server draws it at random at sign-in and puts it into the claim `sid`, as 32 hexadecimal
/// digits. A token from another tool has no `sid`; its session is the first 16 bytes of the SHA-256 of
/// its text, so that it too can be signed out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// A new session's id, from the operating system's randomness.
    ///
    /// # Errors
    /// [`NoRandomness`] where the operating system has none to give.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 16];
        let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
        filled.map(|()| Self(bytes)).map_err(|_| NoRandomness)
    }

    /// The session with these bytes, as the database stores them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the database.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The 32 lower-case hexadecimal digits of the claim `sid`, in ASCII.
    pub fn hex(&self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }

    /// Reads 32 hexadecimal digits of either case; `None` for anything else.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let text: &[u8; 32] = text.try_into().ok()?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = (high * 16 + low) as u8;
        }
        Some(Self(bytes))
    }

    /// The session of a verified token that names none. A verified token has exactly one spelling, so
    /// it cannot be respelt into another session.
    fn of_token(token: &[u8]) -> Self {
        let mut bytes = [0; 16];
        for (byte, digested) in bytes.iter_mut().zip(digest::digest(&digest::SHA256, token).as_ref()) {
            *byte = *digested;
        }
        Self(bytes)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whom the token identifies: `users.id`.
    pub user_id: u64,
    /// What signing out revokes.
    pub session: SessionId,
    /// When the user's row was made. The server's own tokens say so.
    pub user_created_at: Option<Timestamp>,
    /// `exp`, in Unix seconds: from this second on the token is refused.
    pub expires_at: i64,
    /// `iat`, in Unix seconds. The server's own tokens have one.
    pub issued_at: Option<i64>,
}

/// The keys that tokens are signed and checked with. `Debug` shows no key material.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Signs, and is tried first.
    current: hmac::Key,
    /// Only checks: the tokens signed before the secret was changed stay valid until they expire.
    previous: Option<hmac::Key>,
}

impl Keys {
    /// The keys from the raw bytes of `SECRET_KEY_BASE` and `SECRET_KEY_BASE_PREVIOUS`. An empty
    /// previous secret is taken as none, since an environment variable is often set to nothing.
    ///
    /// # Errors
    /// [`EmptySecret`] if the current secret is empty, because anyone could sign with it.
    pub fn new(current: &[u8], previous: Option<&[u8]>) -> Result<Self, EmptySecret> {
        if current.is_empty() {
            return Err(EmptySecret);
        }
        let previous = previous.filter(|secret| !secret.is_empty());
        Ok(Self {
            current: hmac::Key::new(hmac::HMAC_SHA256, current),
            previous: previous.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret)),
        })
    }

    /// A token with these claims, signed with the current key.
    pub fn sign(&self, claims: &Claims) -> String {
        self.sign_payload(claims::to_json(claims).as_bytes())
    }

    /// A token with any payload; the JSON of another kind of token must carry a `use` claim, so that
    /// [`Keys::verify`] does not take it for a session's.
    pub fn sign_payload(&self, payload: &[u8]) -> String {
        let mut token = String::with_capacity(HEADER.len() + 2 + payload.len() * 4 / 3 + 48);
        token.push_str(HEADER);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = hmac::sign(&self.current, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// What `token` says, if it may be believed at the time `now`. Whether its session was signed out
    /// is asked of [`crate::auth::session::Revocations`] afterwards.
    ///
    /// # Errors
    /// A [`TokenError`] for every other token.
    pub fn verify(&self, token: &[u8], now: Timestamp) -> Result<Claims, TokenError> {
        let (claims, not_before) = self.verify_lasting(token)?;
        check_time(claims.expires_at, claims.issued_at, not_before, now)?;
        Ok(claims)
    }

    /// What `token` says at any time, and its `nbf`: its times are not judged.
    fn verify_lasting(&self, token: &[u8]) -> Result<(Claims, Option<i64>), TokenError> {
        let mut buffer = [0; PART_BYTES_MAX];
        let payload = self.verify_signature(token, &mut buffer)?;
        let found = claims::read(payload)?;
        let claims = Claims {
            user_id: found.user_id,
            session: found.session.unwrap_or_else(|| SessionId::of_token(token)),
            user_created_at: found.user_created_at,
            expires_at: found.expires_at,
            issued_at: found.issued_at,
        };
        Ok((claims, found.not_before))
    }

    /// The payload of a token that one of the keys signed, decoded into `buffer`. Nothing in it has
    /// been looked at: its times and its purpose are the caller's to judge.
    ///
    /// # Errors
    /// [`TokenError::TooLong`], [`TokenError::Malformed`], [`TokenError::Header`] or
    /// [`TokenError::Signature`].
    pub fn verify_signature<'b>(
        &self,
        token: &[u8],
        buffer: &'b mut [u8; PART_BYTES_MAX],
    ) -> Result<&'b [u8], TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        let (Some((first, _)), Some((second, _)), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(TokenError::Malformed);
        };
        let (signed, header) = (&token[..second], &token[..first]);
        // The server's own header needs no reading; one from elsewhere is read in the same buffer
        // that the payload will overwrite.
        if header != HEADER.as_bytes() {
            claims::check_header(decode(header, buffer)?)?;
        }
        let mut signature = [0; SIGNATURE_BYTES + 16];
        let signature = decode(&token[second + 1..], &mut signature)?;
        self.check_signature(signed, signature)?;
        decode(&token[first + 1..second], buffer)
    }

    /// ring compares in constant time, and refuses a signature of another length.
    fn check_signature(&self, signed: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        if hmac::verify(&self.current, signed, signature).is_ok() {
            return Ok(());
        }
        let previous = self.previous.as_ref().ok_or(TokenError::Signature)?;
        hmac::verify(previous, signed, signature).map_err(|_| TokenError::Signature)
    }
}

/// Whether a token with these times, in Unix seconds, is valid at `now`; also for tokens of other
/// kinds than the session's.
///
/// # Errors
/// [`TokenError::Claims`] for an `exp` beyond [`EXPIRES_AT_MAX`], [`TokenError::Expired`], or
/// [`TokenError::NotYetValid`].
pub fn check_time(
    expires_at: i64,
    issued_at: Option<i64>,
    not_before: Option<i64>,
    now: Timestamp,
) -> Result<(), TokenError> {
    let now = now.unix_seconds();
    if expires_at > EXPIRES_AT_MAX {
        return Err(TokenError::Claims);
    }
    if now >= expires_at {
        return Err(TokenError::Expired);
    }
    let latest_start = now.saturating_add(LEEWAY_SECONDS);
    if issued_at.max(not_before).is_some_and(|start| start > latest_start) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

/// Decodes one part of a token; the engine refuses padding and stray trailing bits.
fn decode<'b>(part: &[u8], buffer: &'b mut [u8]) -> Result<&'b [u8], TokenError> {
    if part.is_empty() {
        return Err(TokenError::Malformed);
    }
    let length = URL_SAFE_NO_PAD.decode_slice(part, buffer).map_err(|_| TokenError::Malformed)?;
    Ok(&buffer[..length])
}
