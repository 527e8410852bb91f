//! The tokens that one event loop verified lately.
//!
//! A client polls with the same token for hours. Its signature and its text do not change, so they are verified once.
//! Whether it has expired is checked at every request; whether its session was signed out, or its user is another one,
//! whenever that may have changed.
//!
//! Only tokens with a right signature get in, and the signature decides their place, which nobody can choose. Somebody
//! with many tokens of their own can displace others, which then are verified once more.

use std::time::Instant;

use crate::clock::Timestamp;

use super::super::Auth;
use super::super::registrations::Standing;
use super::{Claims, TokenError, check_time};

/// Tokens remembered at most; about 350 bytes each.
pub const TOKENS_MAX: usize = 8_192;
/// Longest token that is remembered. The server's own tokens have about 200 bytes.
pub const TOKEN_REMEMBERED_BYTES_MAX: usize = 512;

const _: () = assert!(TOKENS_MAX.is_power_of_two());

/// A token whose signature is right.
struct Checked {
    token: Box<[u8]>,
    claims: Claims,
    not_before: Option<i64>,
    /// [`Auth::version`] as of which its session was not signed out, and its user was the same.
    version: u64,
}

/// A table of tokens, one in each place, which bits of its signature choose.
pub struct Cache(Box<[Option<Box<Checked>>]>);

impl Default for Cache {
    fn default() -> Self {
        Self((0..TOKENS_MAX).map(|_| None).collect())
    }
}

impl Cache {
    /// Verifies a token as [`super::Keys::verify`] does, and checks its session and its user. `auth` must be the same at
    /// every call. No user is called missing by knowledge from before `since`, and nobody is let in by knowledge that is
    /// too old at the time `now`.
    ///
    /// # Errors
    /// Those of `verify`, and [`TokenError::SignedOut`], [`TokenError::Nobody`], [`TokenError::Unknown`].
    pub fn verify(
        &mut self,
        auth: &Auth,
        token: &[u8],
        now: Timestamp,
        since: Instant,
    ) -> Result<Claims, TokenError> {
        // Read before sign-outs and users are checked: a change in between makes the next request check again.
        let version = auth.version();
        let mut place = place_of(token).and_then(|place| self.0.get_mut(place));
        if let Some(Some(checked)) = &mut place
            && is_same(&checked.token, token)
        {
            check_time(checked.claims.expires_at, checked.claims.issued_at, checked.not_before, now)?;
            if checked.version != version {
                check_standing(auth, &checked.claims, since)?;
                checked.version = version;
            }
            check_age(auth, now)?;
            return Ok(checked.claims);
        }
        let (claims, not_before) = auth.keys.verify_lasting(token)?;
        check_time(claims.expires_at, claims.issued_at, not_before, now)?;
        check_standing(auth, &claims, since)?;
        check_age(auth, now)?;
        if let Some(place) = place {
            *place = Some(Box::new(Checked { token: token.into(), claims, not_before, version }));
        }
        Ok(claims)
    }
}

fn check_standing(auth: &Auth, claims: &Claims, since: Instant) -> Result<(), TokenError> {
    if auth.revocations.is_revoked(&claims.session) {
        return Err(TokenError::SignedOut);
    }
    match auth.registrations.judge(claims, since) {
        Standing::Known => Ok(()),
        Standing::Nobody => Err(TokenError::Nobody),
        Standing::Unknown => Err(TokenError::Unknown),
    }
}

/// Refuses to judge by knowledge that is too old, and requests a refresh, for which the request then waits.
fn check_age(auth: &Auth, now: Timestamp) -> Result<(), TokenError> {
    if auth.registrations.looks.are_current(now) {
        return Ok(());
    }
    auth.registrations.looks.request_refresh();
    Err(TokenError::Unknown)
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

/// Bytes of two tokens that are compared in one turn, and what their differences are gathered in: a register's width. Four
/// at a time need no count and no jump between them.
const BLOCK: usize = 4 * LANE;
const LANE: usize = 16;

/// Takes as long for every text of this length: how long it takes tells nothing of somebody's token.
fn is_same(known: &[u8], token: &[u8]) -> bool {
    if known.len() != token.len() {
        return false;
    }
    // The last block overlaps the one before it. No token is shorter than one: it has a signature and two JSON objects.
    let (Some(known_end), Some(token_end)) = (known.last_chunk(), token.last_chunk()) else { return false };
    let differ = |so_far: [u8; LANE], known: &[u8; BLOCK], token: &[u8; BLOCK]| {
        let differ = |at: usize| known[at] ^ token[at];
        std::array::from_fn(|at| {
            so_far[at] | differ(at) | differ(at + LANE) | differ(at + 2 * LANE) | differ(at + 3 * LANE)
        })
    };
    let blocks = known.as_chunks().0.iter().zip(token.as_chunks().0);
    let end = differ([0; LANE], known_end, token_end);
    blocks.fold(end, |so_far, (known, token)| differ(so_far, known, token)) == [0; LANE]
}

#[cfg(test)]
mod tests {
    use super::super::super::registrations::{Registration, Registrations};
    use super::super::super::session::Revocations;
    use super::super::{Keys, SessionId};
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn claims(user_id: u64) -> Claims {
        Claims {
            user_id,
            session: SessionId::from_bytes([7; 16]),
            user_created_at: Some(Timestamp::from_micros(500)),
            expires_at: 2_000,
            issued_at: Some(1_000),
        }
    }

    fn auth() -> Auth {
        Auth {
            keys: Keys::new(b"a secret", None).unwrap(),
            revocations: Revocations::new(),
            registrations: Registrations::new(),
            token_ttl_seconds: 1_000,
            production: false,
        }
    }

    #[test]
    fn what_it_remembers_is_what_the_keys_say() {
        let (mut cache, auth) = (Cache::default(), auth());
        for user in 0..3 * TOKENS_MAX as u64 {
            let token = auth.keys.sign(&claims(user));
            for _ in 0..2 {
                assert_eq!(cache.verify(&auth, token.as_bytes(), NOW, Instant::now()), Ok(claims(user)));
            }
        }
        assert!(cache.0.iter().flatten().count() > TOKENS_MAX / 2);
    }

    #[test]
    fn what_is_remembered_is_not_read_again_and_no_longer_than_it_may_be() {
        let (mut cache, auth) = (Cache::default(), auth());
        let payload =
            |filler: usize| format!(r#"{{"user_id":1,"iat":1000,"exp":2000,"x":"{}"}}"#, "x".repeat(filler));
        let token = |length| {
            let mut tokens = (0..).map(|filler| auth.keys.sign_payload(payload(filler).as_bytes()));
            tokens.find(|token| token.len() >= length).unwrap()
        };
        for (length, user) in [(1, 99), (TOKEN_REMEMBERED_BYTES_MAX, 99), (TOKEN_REMEMBERED_BYTES_MAX + 1, 1)]
        {
            let token = token(length);
            assert!(length == 1 || token.len() == length);
            assert!(cache.verify(&auth, token.as_bytes(), NOW, Instant::now()).is_ok());
            cache.0.iter_mut().flatten().for_each(|checked| checked.claims.user_id = 99);
            let again = cache.verify(&auth, token.as_bytes(), NOW, Instant::now());
            assert_eq!(again.map(|claims| claims.user_id), Ok(user), "{length}");
        }
    }

    #[test]
    fn a_remembered_token_still_expires() {
        let (mut cache, auth) = (Cache::default(), auth());
        let token = auth.keys.sign(&claims(1));
        assert!(cache.verify(&auth, token.as_bytes(), NOW, Instant::now()).is_ok());
        let later = Timestamp::from_micros(2_000 * 1_000_000);
        assert_eq!(cache.verify(&auth, token.as_bytes(), later, Instant::now()), Err(TokenError::Expired));
        let early = auth.keys.sign_payload(br#"{"user_id":1,"iat":1000,"exp":2000,"nbf":1000}"#);
        assert!(cache.verify(&auth, early.as_bytes(), NOW, Instant::now()).is_ok());
        let before = Timestamp::from_micros(900 * 1_000_000);
        assert_eq!(
            cache.verify(&auth, early.as_bytes(), before, Instant::now()),
            Err(TokenError::NotYetValid)
        );
    }

    #[test]
    fn a_remembered_token_ends_with_its_session_and_no_other() {
        let (mut cache, auth) = (Cache::default(), auth());
        let token = auth.keys.sign(&claims(1));
        let mut verify = || cache.verify(&auth, token.as_bytes(), NOW, Instant::now());
        assert!(verify().is_ok());
        auth.revocations.revoke(SessionId::from_bytes([8; 16]), 9_000).unwrap();
        assert!(verify().is_ok());
        auth.revocations.revoke(claims(1).session, 9_000).unwrap();
        for _ in 0..2 {
            assert_eq!(verify(), Err(TokenError::SignedOut));
        }
    }

    #[test]
    fn a_remembered_token_ends_with_the_history_of_its_user() {
        let (mut cache, auth) = (Cache::default(), auth());
        let refresh = |users: &[Registration]| {
            let refresh = auth.registrations.begin(true);
            auth.registrations.end(&refresh, users, users, NOW, 3_600).unwrap();
            auth.registrations.looks.succeeded(Instant::now(), NOW, NOW);
        };
        let user = |created_at| Registration { user_id: 1, created_at: Timestamp::from_micros(created_at) };
        auth.registrations.follow();
        let token = auth.keys.sign(&claims(1));
        let mut verify = |since| cache.verify(&auth, token.as_bytes(), NOW, since);
        assert_eq!(verify(Instant::now()), Err(TokenError::Unknown));
        refresh(&[user(500)]);
        assert!(verify(Instant::now()).is_ok());
        let before = Instant::now();
        refresh(&[user(501)]);
        assert_eq!(verify(before), Err(TokenError::Nobody));
        assert_eq!(verify(Instant::now()), Err(TokenError::Unknown), "what is known may be old");
    }

    #[test]
    fn what_only_resembles_a_remembered_token_is_refused() {
        let (mut cache, auth) = (Cache::default(), auth());
        let good = auth.keys.sign(&claims(1)).into_bytes();
        assert!(cache.verify(&auth, &good, NOW, Instant::now()).is_ok());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            assert!(cache.verify(&auth, &bad, NOW, Instant::now()).is_err(), "{at}");
            assert!(cache.verify(&auth, &good[..at], NOW, Instant::now()).is_err(), "{at}");
        }
    }
}
