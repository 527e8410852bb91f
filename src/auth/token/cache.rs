//! The tokens that one event loop checked lately.
//!
//! A client polls with the same token for hours. Its signature and its text do not change, so both are looked
//! at once; the time is judged at every request, and whether its session was signed out whenever any was.
//!
//! Only tokens that a key signed get in, and their places follow from their signatures, which nobody can
//! choose: somebody with many tokens of their own can drive others out, which costs those one check each.

use crate::clock::Timestamp;

use super::super::session::Revocations;
use super::{Claims, Keys, TokenError, check_time};

/// Tokens remembered at most; about 350 bytes each.
pub const TOKENS_MAX: usize = 8_192;
/// Longest token that is remembered. The server's own have about 200 bytes.
pub const TOKEN_REMEMBERED_BYTES_MAX: usize = 512;

const _: () = assert!(TOKENS_MAX.is_power_of_two());

/// A token whose signature is right.
struct Checked {
    token: Box<[u8]>,
    claims: Claims,
    not_before: Option<i64>,
    /// The version of the sign-outs as of which its session was not signed out.
    version: u64,
}

/// Tokens by the bits of their signatures, one in each place.
pub struct Cache(Box<[Option<Box<Checked>>]>);

impl Default for Cache {
    fn default() -> Self {
        Self((0..TOKENS_MAX).map(|_| None).collect())
    }
}

impl Cache {
    /// The same as [`Keys::verify`] by the same keys every time, and whether the session was signed out by the same
    /// sign-outs every time.
    ///
    /// # Errors
    /// As there, and [`TokenError::SignedOut`].
    pub fn verify(
        &mut self,
        keys: &Keys,
        revocations: &Revocations,
        token: &[u8],
        now: Timestamp,
    ) -> Result<Claims, TokenError> {
        // Read before the sign-outs are looked at: one that comes in between is looked for again.
        let version = revocations.version();
        let mut place = place_of(token).and_then(|place| self.0.get_mut(place));
        if let Some(Some(checked)) = &mut place
            && is_same(&checked.token, token)
        {
            if checked.version != version {
                not_signed_out(revocations, &checked.claims)?;
                checked.version = version;
            }
            check_time(checked.claims.expires_at, checked.claims.issued_at, checked.not_before, now)?;
            return Ok(checked.claims);
        }
        let (claims, not_before) = keys.verify_lasting(token)?;
        check_time(claims.expires_at, claims.issued_at, not_before, now)?;
        not_signed_out(revocations, &claims)?;
        if let Some(place) = place {
            *place = Some(Box::new(Checked { token: token.into(), claims, not_before, version }));
        }
        Ok(claims)
    }
}

fn not_signed_out(revocations: &Revocations, claims: &Claims) -> Result<(), TokenError> {
    if revocations.is_revoked(&claims.session) { Err(TokenError::SignedOut) } else { Ok(()) }
}

/// Eight characters of the signature, without its last, which has few values.
fn place_of(token: &[u8]) -> Option<usize> {
    if token.len() > TOKEN_REMEMBERED_BYTES_MAX {
        return None;
    }
    let (_, bits) = token.split_last()?.1.split_last_chunk::<8>()?;
    let mixed = u64::from_le_bytes(*bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Some((mixed >> 40) as usize % TOKENS_MAX)
}

/// Takes as long for every text of this length: how long it takes tells nothing of somebody's token.
fn is_same(known: &[u8], token: &[u8]) -> bool {
    known.len() == token.len() && known.iter().zip(token).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::super::SessionId;
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn claims(user_id: u64) -> Claims {
        Claims { user_id, session: SessionId::from_bytes([7; 16]), expires_at: 2_000, issued_at: 1_000 }
    }

    #[test]
    fn what_it_remembers_is_what_the_keys_say() {
        let keys = Keys::new(b"a secret", None).unwrap();
        let (mut cache, none) = (Cache::default(), Revocations::new());
        for user in 0..3 * TOKENS_MAX as u64 {
            let token = keys.sign(&claims(user));
            for _ in 0..2 {
                assert_eq!(cache.verify(&keys, &none, token.as_bytes(), NOW), Ok(claims(user)));
            }
        }
        assert!(cache.0.iter().flatten().count() > TOKENS_MAX / 2);
    }

    #[test]
    fn a_remembered_token_still_expires() {
        let keys = Keys::new(b"a secret", None).unwrap();
        let (mut cache, none) = (Cache::default(), Revocations::new());
        let token = keys.sign(&claims(1));
        assert!(cache.verify(&keys, &none, token.as_bytes(), NOW).is_ok());
        let later = Timestamp::from_micros(2_000 * 1_000_000);
        assert_eq!(cache.verify(&keys, &none, token.as_bytes(), later), Err(TokenError::Expired));
        let early = keys.sign_payload(br#"{"user_id":1,"iat":1000,"exp":2000,"nbf":1000}"#);
        assert!(cache.verify(&keys, &none, early.as_bytes(), NOW).is_ok());
        let before = Timestamp::from_micros(900 * 1_000_000);
        assert_eq!(cache.verify(&keys, &none, early.as_bytes(), before), Err(TokenError::NotYetValid));
    }

    #[test]
    fn a_remembered_token_ends_with_its_session_and_no_other() {
        let keys = Keys::new(b"a secret", None).unwrap();
        let (mut cache, revocations) = (Cache::default(), Revocations::new());
        let token = keys.sign(&claims(1));
        let mut verify = |revocations| cache.verify(&keys, revocations, token.as_bytes(), NOW);
        assert!(verify(&revocations).is_ok());
        revocations.revoke(SessionId::from_bytes([8; 16]), 9_000).unwrap();
        assert!(verify(&revocations).is_ok());
        revocations.revoke(claims(1).session, 9_000).unwrap();
        for _ in 0..2 {
            assert_eq!(verify(&revocations), Err(TokenError::SignedOut));
        }
    }

    #[test]
    fn what_only_resembles_a_remembered_token_is_refused() {
        let keys = Keys::new(b"a secret", None).unwrap();
        let (mut cache, none) = (Cache::default(), Revocations::new());
        let good = keys.sign(&claims(1)).into_bytes();
        assert!(cache.verify(&keys, &none, &good, NOW).is_ok());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            assert!(cache.verify(&keys, &none, &bad, NOW).is_err(), "{at}");
            assert!(cache.verify(&keys, &none, &good[..at], NOW).is_err(), "{at}");
        }
    }
}
