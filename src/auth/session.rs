//! Sessions: the cookie that carries a token, and the sessions that were signed out.
//!
//! There is no table of sessions that are open: a token speaks for itself until it expires. Signing
//! out therefore has to be remembered, and only until the last token of that session would have
//! expired anyway.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::oauth::RevokedClients;
use super::token::SessionId;
use crate::clock::Timestamp;

/// The name of the session cookie. Its value is the token itself.
pub const COOKIE_NAME: &str = "hyperdesk_session";

/// The most sessions that are remembered as signed out, about 40 MiB of them. A fleet where 10 users
/// sign out every second, day and night, stays below it with tokens valid for 24 hours.
pub const REVOKED_MAX: usize = 1_000_000;

/// The set of revoked sessions is full, see [`REVOKED_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{REVOKED_MAX} sessions are already remembered as signed out")]
pub struct RevocationsFull;

/// The value of `Set-Cookie` for a cookie of `max_age_seconds`; with 0 the browser forgets the one it has.
///
/// In production the front end lives on another site, so the cookie must be `SameSite=None`, which browsers accept
/// only with `Secure`. In development there is no TLS, so it is `SameSite=Lax`.
pub fn set_cookie(name: &str, value: &str, max_age_seconds: u64, production: bool) -> String {
    // Older browsers know only `Expires`.
    let expires = if max_age_seconds == 0 { "; Expires=Thu, 01 Jan 1970 00:00:00 GMT" } else { "" };
    let attributes = if production { "HttpOnly; SameSite=None; Secure" } else { "HttpOnly; SameSite=Lax" };
    format!("{name}={value}; Path=/; Max-Age={max_age_seconds}{expires}; {attributes}")
}

/// The tokens in the value of a `Cookie` header, see [`cookies`].
pub fn tokens(cookie_header: &[u8]) -> impl Iterator<Item = &[u8]> {
    cookies(cookie_header, COOKIE_NAME)
}

/// The cookies of a name in the value of a `Cookie` header (RFC 6265 §5.4), in its order, without allocating.
///
/// The name must match exactly. There can be several cookies with that name: browsers send one for each path and
/// domain that it was ever set for, so a stale one may come before the good one. The header is taken as bytes since
/// other cookies in it need not be UTF-8.
pub fn cookies<'h>(cookie_header: &'h [u8], name: &str) -> impl Iterator<Item = &'h [u8]> {
    cookie_header.split(|byte| *byte == b';').filter_map(move |pair| {
        let (own, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        if own.trim_ascii() != name.as_bytes() {
            return None;
        }
        let value = value.get(1..)?.trim_ascii();
        let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        Some(unquoted.unwrap_or(value)).filter(|value| !value.is_empty())
    })
}

/// The sessions that were signed out and whose tokens have not all expired yet.
///
/// This is the memory of one instance; that all instances learn of a sign-out, also after a restart,
/// is the business of whoever calls [`Revocations::revoke`]. Every poll of every thread asks whether it
/// has changed ([`Revocations::version`]), which is one load of a word that is seldom written; the set itself
/// is looked at once for each token and change.
#[derive(Debug, Default)]
pub struct Revocations {
    /// Each session with the Unix second from which on it may be forgotten.
    sessions: RwLock<HashMap<SessionId, i64>>,
    /// The number of `sessions`, written while the lock is held.
    count: AtomicUsize,
    /// How often a session was revoked, written while the lock is held.
    version: AtomicU64,
    /// The client programs that were revoked, for their access tokens.
    pub clients: RevokedClients,
}

impl Revocations {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers a session as signed out until `until_unix_seconds`, which must be the time by which
    /// every token of it has expired: a session's tokens can be newer than the one that signed out,
    /// so that is the present plus the lifetime of a token, or that token's own `exp` if it is later.
    /// Revoking a session again can only prolong it.
    ///
    /// # Errors
    /// [`RevocationsFull`] if the session is new and [`REVOKED_MAX`] others are remembered. Nothing
    /// is forgotten to make room, because that would let a signed-out session back in.
    pub fn revoke(&self, session: SessionId, until_unix_seconds: i64) -> Result<(), RevocationsFull> {
        let mut sessions = self.write();
        if sessions.len() >= REVOKED_MAX && !sessions.contains_key(&session) {
            return Err(RevocationsFull);
        }
        let until = sessions.entry(session).or_insert(until_unix_seconds);
        *until = until_unix_seconds.max(*until);
        self.count.store(sessions.len(), Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Changes with each session that is signed out. A caller that read it before it found a session not revoked need not
    /// ask again while it stays the same.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether the session was signed out.
    pub fn is_revoked(&self, session: &SessionId) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.read().contains_key(session)
    }

    /// Forgets the sessions whose tokens have all expired at `now`; gives how many those were. Called
    /// every now and then. It takes the write lock only if there is something to forget.
    pub fn purge(&self, now: Timestamp) -> usize {
        let now = now.unix_seconds();
        if !self.read().values().any(|until| *until <= now) {
            return 0;
        }
        let mut sessions = self.write();
        let before = sessions.len();
        sessions.retain(|_, until| *until > now);
        self.count.store(sessions.len(), Ordering::Release);
        before - sessions.len()
    }

    /// How many sessions are remembered; a gauge.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A thread that panicked while it held the lock cannot have left the map half changed, so the
    /// lock's poison is not a reason to stop checking sign-outs.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<SessionId, i64>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<SessionId, i64>> {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u128) -> SessionId {
        SessionId::from_bytes(number.to_be_bytes())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn cookies_are_written_as_the_contract_says() {
        assert_eq!(
            set_cookie(COOKIE_NAME, "a.b.c", 86_400, true),
            "hyperdesk_session=a.b.c; Path=/; Max-Age=86400; HttpOnly; SameSite=None; Secure"
        );
        assert_eq!(
            set_cookie(COOKIE_NAME, "a.b.c", 60, false),
            "hyperdesk_session=a.b.c; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
        let forget = "Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly";
        let (prod, dev) = (set_cookie(COOKIE_NAME, "", 0, true), set_cookie(COOKIE_NAME, "", 0, false));
        assert_eq!(prod, format!("hyperdesk_session=; {forget}; SameSite=None; Secure"));
        assert_eq!(dev, format!("hyperdesk_session=; {forget}; SameSite=Lax"));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let find = |header| tokens(header).next();
        for (header, wanted) in [
            ("hyperdesk_session=t", Some("t")),
            ("a=b; hyperdesk_session=t; c=d", Some("t")),
            ("a=b;hyperdesk_session=t;c=d", Some("t")),
            (" hyperdesk_session = t ;", Some("t")),
            ("hyperdesk_session=\"t\"", Some("t")),
            ("hyperdesk_session=t=u", Some("t=u")),
            ("hyperdesk_session=first; hyperdesk_session=second", Some("first")),
            ("hyperdesk_session=; hyperdesk_session=second", Some("second")),
            ("lonely; hyperdesk_session=t", Some("t")),
            ("hyperdesk_session", None),
            ("hyperdesk_session=\"\"", None),
            ("hyperdesk_session=\"", Some("\"")),
            ("Hyperdesk_session=t", None),
            ("xhyperdesk_session=t; hyperdesk_sessionx=u; hyperdesk session=v", None),
            ("a=hyperdesk_session=t", None),
            ("", None),
            (";;=;", None),
        ] {
            assert_eq!(find(header.as_bytes()), wanted.map(str::as_bytes), "{header}");
        }
        assert_eq!(find(b"a=\xFF; hyperdesk_session=t").unwrap(), b"t");
        let several =
            b"hyperdesk_session=a; x=y; hyperdesk_session=; hyperdesk_session=\"b\";hyperdesk_session=c";
        assert_eq!(tokens(several).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    }

    #[test]
    fn what_was_written_is_found_again() {
        let cookie = set_cookie(COOKIE_NAME, "a.b.c", 60, true);
        let (pair, _) = cookie.split_once(';').unwrap();
        assert_eq!(tokens(pair.as_bytes()).next().unwrap(), b"a.b.c");
        let cookie = set_cookie(COOKIE_NAME, "", 0, true);
        let (pair, _) = cookie.split_once(';').unwrap();
        assert_eq!(tokens(pair.as_bytes()).next(), None);
    }

    #[test]
    fn a_revoked_session_stays_revoked_until_its_time() {
        let revocations = Revocations::new();
        assert!(revocations.is_empty() && !revocations.is_revoked(&session(1)));
        revocations.revoke(session(1), 100).unwrap();
        revocations.revoke(session(2), 200).unwrap();
        assert!(revocations.is_revoked(&session(1)) && revocations.is_revoked(&session(2)));
        assert!(!revocations.is_revoked(&session(3)));
        assert_eq!(revocations.purge(at(99)), 0);
        assert_eq!(revocations.purge(at(100)), 1);
        assert!(!revocations.is_revoked(&session(1)) && revocations.is_revoked(&session(2)));
        assert_eq!((revocations.len(), revocations.purge(at(200))), (1, 1));
        assert!(revocations.is_empty());
    }

    #[test]
    fn revoking_again_never_shortens() {
        let revocations = Revocations::new();
        revocations.revoke(session(1), 200).unwrap();
        revocations.revoke(session(1), 100).unwrap();
        assert_eq!((revocations.purge(at(150)), revocations.len()), (0, 1));
        revocations.revoke(session(1), 300).unwrap();
        assert_eq!((revocations.purge(at(250)), revocations.len()), (0, 1));
    }

    #[test]
    fn a_full_set_refuses_and_forgets_nothing() {
        let revocations = Revocations::new();
        revocations.write().extend((0..REVOKED_MAX as u128).map(|number| (session(number), 1)));
        assert_eq!(revocations.revoke(session(u128::MAX), 1), Err(RevocationsFull));
        assert_eq!(revocations.revoke(session(7), 2), Ok(()));
        assert!(revocations.is_revoked(&session(0)));
        assert_eq!(revocations.purge(at(1)), REVOKED_MAX - 1);
        assert_eq!(revocations.revoke(session(u128::MAX), 1), Ok(()));
    }

    #[test]
    fn threads_see_each_others_revocations() {
        let revocations = Revocations::new();
        std::thread::scope(|scope| {
            for thread in 0..4u128 {
                let revocations = &revocations;
                scope.spawn(move || {
                    for number in 0..500 {
                        let session = session(thread << 64 | number);
                        revocations.revoke(session, 10).unwrap();
                        assert!(revocations.is_revoked(&session));
                    }
                });
            }
        });
        assert_eq!(revocations.len(), 2000);
    }
}
