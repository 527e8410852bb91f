//! Who registered lately, and so whether a token's user is still the one that it was made for.
//!
//! A database that is restored from a backup, or replaced by a replica that lacked the last commits, forgets
//! users and gives their ids to whoever registers next. A token that outlived this would open a stranger's
//! account. So the server's tokens carry the microsecond in which their user's row was made
//! ([`Claims::user_created_at`]), and every instance knows it of the users who registered within the lifetime of
//! a token, the *newcomers*. Only an id of theirs can have been given twice while a token lives. The time is
//! compared with itself, so no clock matters.
//!
//! This is the memory, without SQL; [`crate::users`] refreshes it from the newest rows of `users` again and again. A user
//! that it does not know is not refused: [`Registrations::judge`] says [`Standing::Unknown`], and the request waits for
//! the next refresh, which decides. So nobody is refused because an instance lags. For users who are known nothing is
//! asked: an idle poll only loads one word ([`Registrations::version`]).

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::freshness::Freshness;
use super::token::Claims;
use crate::clock::Timestamp;

/// Newcomers remembered at most, about 20 MiB. Five registrations a second, day and night, stay below it with
/// tokens valid for 24 hours. A newcomer beyond it counts as known for long.
pub const NEWCOMERS_MAX: usize = 500_000;
/// Users that one refresh reads by their ids, at most. Where there are more, it reads all newcomers instead.
pub const ASKED_MAX: usize = 1_024;
/// A newcomer is remembered this much longer than a token can live, in seconds: the database whose clock says how
/// long ago it was may be another one meanwhile.
pub const REMEMBERED_EXTRA_S: u64 = 3_600;
/// Pause between two rounds of forgetting who is no newcomer any more.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// A user's row, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// `users.id`
    pub user_id: u64,
    /// `users.created_at`
    pub created_at: Timestamp,
}

/// What is known of a token's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is such a user, and nothing speaks against the token.
    Known,
    /// The database says that there is no such user, or another one.
    Nobody,
    /// The next refresh will tell; it was requested.
    Unknown,
}

/// What was read does not follow from what is known: the database has another history now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database has other users than it had")]
pub struct Replaced;

/// One refresh from the database, while it lasts.
#[derive(Debug)]
pub struct Refresh {
    begun: Instant,
    /// The newest user that was known when it began; `None` when all newcomers are to be read.
    anchor: Option<Registration>,
    /// Users to be looked up besides the newest.
    pub asked: Vec<u64>,
}

impl Refresh {
    /// Whether the users older than `last`, which was read when the database's clock said `now`, need not be read.
    #[must_use]
    pub fn ends_with(&self, last: Registration, now: Timestamp, horizon_seconds: u64) -> bool {
        match self.anchor {
            Some(anchor) => last.user_id <= anchor.user_id,
            None => !is_newcomer(last.created_at, now, horizon_seconds),
        }
    }
}

fn is_newcomer(created_at: Timestamp, now: Timestamp, horizon_seconds: u64) -> bool {
    let age = now.micros().saturating_sub(created_at.micros());
    age <= i64::try_from(horizon_seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

#[derive(Debug, Default)]
struct Newcomers {
    /// Whether a task keeps this current. Where none does, every user counts as known.
    is_followed: bool,
    /// When the last refresh that was complete began.
    as_of: Option<Instant>,
    newest: Option<Registration>,
    /// By id. `None` for one that was asked for and is not there.
    newcomers: HashMap<u64, Option<Timestamp>>,
    /// Registered on this instance since the last refresh began, which may not have seen them.
    added: Vec<Registration>,
    asked: HashSet<u64>,
    /// Whether more than [`ASKED_MAX`] were asked for.
    all_asked: bool,
    forgot_at: Option<Instant>,
}

impl Newcomers {
    fn newest_id(&self) -> u64 {
        self.newest.map_or(0, |newest| newest.user_id)
    }

    /// Whether there is a user with this id, and nothing known speaks against their being the claimed one.
    fn agrees(&self, user_id: u64, user_created_at: Option<Timestamp>) -> bool {
        if !self.is_followed {
            return true;
        }
        match (self.newcomers.get(&user_id), user_created_at) {
            (Some(Some(known)), Some(claimed)) => *known == claimed,
            (Some(None), _) => false,
            // Registered before any token that lives was made, or the token does not say of whom it is.
            (Some(Some(_)) | None, _) => self.as_of.is_some() && user_id <= self.newest_id(),
        }
    }

    fn see(&mut self, user: Registration) {
        if self.newest_id() <= user.user_id {
            self.newest = Some(user);
        }
    }

    /// Whether another one had the id.
    fn insert(&mut self, user: Registration) -> bool {
        self.see(user);
        if self.newcomers.len() >= NEWCOMERS_MAX && !self.newcomers.contains_key(&user.user_id) {
            return false;
        }
        let known = self.newcomers.insert(user.user_id, Some(user.created_at));
        known.is_some_and(|known| known != Some(user.created_at))
    }
}

/// The users who registered of late, of one instance.
#[derive(Debug, Default)]
pub struct Registrations {
    state: RwLock<Newcomers>,
    /// How often what was known turned out to hold no more, written while the lock is held.
    version: AtomicU64,
    /// How old the knowledge of users and sign-outs is, which are read together.
    pub looks: Freshness,
}

impl Registrations {
    /// Of a process that nobody keeps current: it takes every token's word for it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on a task keeps this current; until it has read for the first time, no caller is known.
    pub fn follow(&self) {
        self.looks.require_refresh();
        self.write().is_followed = true;
    }

    /// Changes when users who were known may not be any more. A caller that read it before it found a user known need not
    /// ask again while it stays the same.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What is known of a token's user. Nobody is refused by what was read before `since`: then it is asked for.
    pub fn judge(&self, claims: &Claims, since: Instant) -> Standing {
        {
            let state = self.read();
            if state.agrees(claims.user_id, claims.user_created_at) {
                return Standing::Known;
            }
            if state.as_of.is_some_and(|as_of| as_of >= since) {
                return Standing::Nobody;
            }
        }
        let mut state = self.write();
        if state.asked.len() < ASKED_MAX {
            state.asked.insert(claims.user_id);
        } else {
            state.all_asked = true;
        }
        drop(state);
        self.looks.request_refresh();
        Standing::Unknown
    }

    /// Whether nothing speaks against a user who was let in: for who held their request.
    pub fn still_knows(&self, user_id: u64, user_created_at: Option<Timestamp>) -> bool {
        self.read().agrees(user_id, user_created_at)
    }

    /// Somebody registered here: known before their first request comes. To be called after the commit.
    pub fn add(&self, user: Registration) {
        let mut state = self.write();
        if state.is_followed {
            if state.insert(user) {
                self.version.fetch_add(1, Ordering::Release);
            }
            state.added.push(user);
        }
    }

    /// A refresh begins, `anew` if all newcomers are to be read.
    pub fn begin(&self, anew: bool) -> Refresh {
        let mut state = self.write();
        state.added.clear();
        let anew = anew || std::mem::take(&mut state.all_asked) || state.as_of.is_none();
        let anchor = state.newest.filter(|_| !anew);
        Refresh { begun: Instant::now(), anchor, asked: state.asked.drain().collect() }
    }

    /// Takes in what a refresh read: the newest users, newest first, as far as [`Refresh::ends_with`] asks, and those of
    /// [`Refresh::asked`] that are there. `now` is the database's time.
    ///
    /// # Errors
    /// [`Replaced`], and nothing is taken in: another refresh, anew, has to follow at once.
    pub fn end(
        &self,
        refresh: &Refresh,
        newest: &[Registration],
        asked: &[Registration],
        now: Timestamp,
        horizon_seconds: u64,
    ) -> Result<(), Replaced> {
        let mut state = self.write();
        if let Some(anchor) = refresh.anchor {
            let differs = |user: &Registration| {
                state.newcomers.get(&user.user_id).is_some_and(|known| *known != Some(user.created_at))
            };
            if !newest.contains(&anchor) || newest.iter().chain(asked).any(differs) {
                state.asked.extend(&refresh.asked);
                return Err(Replaced);
            }
            Self::forget(&mut state, refresh, now, horizon_seconds);
        } else {
            state.newcomers.clear();
            state.newest = None;
            for user in std::mem::take(&mut state.added) {
                state.insert(user);
            }
            self.version.fetch_add(1, Ordering::Release);
        }
        if let Some(first) = newest.first() {
            state.see(*first);
        }
        for user in newest.iter().filter(|user| is_newcomer(user.created_at, now, horizon_seconds)) {
            state.insert(*user);
        }
        let there: HashMap<u64, Timestamp> =
            asked.iter().map(|user| (user.user_id, user.created_at)).collect();
        let newest_id = state.newest_id();
        for user_id in refresh.asked.iter().filter(|id| **id <= newest_id) {
            let created_at = there.get(user_id).copied();
            let known = state.newcomers.insert(*user_id, created_at);
            // Whoever was let in as the one who was known comes in no more.
            if known.is_some_and(|known| known != created_at) {
                self.version.fetch_add(1, Ordering::Release);
            }
        }
        state.as_of = Some(refresh.begun);
        Ok(())
    }

    /// Forgets, every now and then, who is no newcomer any more.
    fn forget(state: &mut Newcomers, refresh: &Refresh, now: Timestamp, horizon_seconds: u64) {
        let forgot_at = *state.forgot_at.get_or_insert(refresh.begun);
        if refresh.begun.saturating_duration_since(forgot_at) > FORGET_EVERY {
            state.forgot_at = Some(refresh.begun);
            state.newcomers.retain(|_, created_at| {
                created_at.is_some_and(|created_at| is_newcomer(created_at, now, horizon_seconds))
            });
        }
    }

    /// A thread that panicked while it held the lock left nothing behind that is worse than what a refresh mends.
    fn read(&self) -> RwLockReadGuard<'_, Newcomers> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Newcomers> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
