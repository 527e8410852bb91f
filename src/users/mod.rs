//! Which users exist and which sessions were signed out: keeps this instance's memory of both current.
//!
//! One task reads the newest rows of `users` and of `revoked_sessions` again and again. A request ends its pause when the
//! user of its token is not known here, or the last refresh is too old to judge by
//! ([`Freshness`](crate::auth::freshness::Freshness)). The task has a connection of its own, so no request delays it.
//!
//! - **Users.** The newest users show whether the database was replaced by a backup of it: the newest user that was known
//!   is gone, or an id has a row with another time. Then all new users are read again, and every token is checked again:
//!   [`Registrations`](crate::auth::registrations::Registrations) says why.
//! - **Sign-outs.** The first refresh reads all of them, each later one those since [`OVERLAP_S`] before the refresh
//!   before it: a sign-out gets its time when it is written, but can only be seen when it is committed.
//!
//! The task runs once in each process that serves something to users, whichever services those are.

pub mod store;

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::auth::Auth;
use crate::auth::registrations::{NEWCOMERS_MAX, REMEMBERED_EXTRA_S, Registration, Replaced};
use crate::auth::token::SessionId;
use crate::clock::Timestamp;
use crate::db::{Db, Dedicated, Error};
use crate::tasks::{Kind, Tasks};

use store::{ASKED_AT_ONCE, SESSIONS_AT_ONCE, Seen, SignedOut};

pub use store::{exists, is_signed_out, sign_out};

/// Rows of a refresh's first page: users who registered during the pause, and some before them, because transactions may
/// commit in another order than that of their ids.
const PAGE_ROWS: u64 = 100;
/// Rows of its other pages, which are needed after a start and when the database was replaced.
const LONG_PAGE_ROWS: u64 = 10_000;
/// Times that a refresh begins again at once because it finds the database replaced.
const ANEW_MAX: usize = 3;
/// How far before the last refresh the next one reads sign-outs, in seconds: twice as long as a request may work until its
/// commit is acknowledged.
const OVERLAP_S: i64 = 10;
/// Pause between two removals of sign-outs whose tokens have all expired.
const PURGE_EVERY_S: u64 = 60;
/// Pause between two steps of such a removal, of 500 sign-outs each.
const PURGE_PAUSE_MS: u64 = 20;
/// Steps of one removal, at most: more than all sign-outs of a minute.
const PURGE_STEPS_MAX: usize = 1_000;

/// Starts the tasks, on the runtime that this is called on. They end when nobody has `auth` any more.
pub fn follow(db: &Arc<Db>, auth: &Arc<Auth>, tasks: &Tasks) {
    auth.registrations.follow();
    let (looked_at, known) = (db.clone(), Arc::downgrade(auth));
    tasks.spawn("users_look", Kind::Needed, move || run(looked_at.clone(), known.clone()));
    let (db, auth) = (db.clone(), Arc::downgrade(auth));
    tasks.spawn("users_purge", Kind::Housekeeping, move || purge(db.clone(), auth.clone()));
}

/// What is kept from one refresh to the next.
#[derive(Default)]
struct Kept {
    connection: Option<Dedicated>,
    /// When sign-outs were last read, by the database's clock; `None` before the first time.
    signed_out_at: Option<Timestamp>,
}

async fn run(db: Arc<Db>, auth: Weak<Auth>) {
    let mut kept = Kept::default();
    loop {
        let Some(auth) = auth.upgrade() else { return };
        if let Err(error) = auth.registrations.looks.refresh(refresh(&mut kept, &db, &auth)).await {
            // That the database is away is logged and counted by the requests that need it.
            tracing::debug!(%error, "who may come in could not be looked up");
        }
    }
}

/// Refreshes once, on the connection that is kept for it, or on a new one where that was closed meanwhile.
async fn refresh(kept: &mut Kept, db: &Db, auth: &Auth) -> Result<(), Error> {
    if let Some(mut connection) = kept.connection.take()
        && refresh_on(&mut connection, &mut kept.signed_out_at, auth).await.is_ok()
    {
        kept.connection = Some(connection);
        return Ok(());
    }
    let mut connection = Dedicated::open(db).await?;
    refresh_on(&mut connection, &mut kept.signed_out_at, auth).await?;
    kept.connection = Some(connection);
    Ok(())
}

async fn refresh_on(
    db: &mut Dedicated,
    signed_out_at: &mut Option<Timestamp>,
    auth: &Auth,
) -> Result<(), Error> {
    *signed_out_at = Some(sign_outs(db, *signed_out_at, auth).await?);
    users(db, auth).await
}

/// Reads the sign-outs since `before`; returns the time of the read, by the database's clock.
async fn sign_outs(db: &mut Dedicated, before: Option<Timestamp>, auth: &Auth) -> Result<Timestamp, Error> {
    let since = before.map_or(i64::MAX, |before| before.micros() - OVERLAP_S * 1_000_000);
    let since = Timestamp::from_micros(since.min(FAR_MICROS));
    let (now, late) = store::signed_out_since(db, since).await?;
    remember(auth, &late);
    // Where the clock went back, times say nothing of what came since.
    let is_all = before.is_some_and(|before| before <= now) && late.len() < SESSIONS_AT_ONCE;
    let mut after = (!is_all).then_some(SessionId::from_bytes([0; 16]));
    while let Some(last) = after {
        let page = store::signed_out(db, last).await?;
        remember(auth, &page);
        after = page.last().filter(|_| page.len() == SESSIONS_AT_ONCE).map(|last| last.session);
    }
    Ok(now)
}

/// A time after which nothing was signed out: the year 2200.
const FAR_MICROS: i64 = 7_258_118_400_000_000;

fn remember(auth: &Auth, sessions: &[SignedOut]) {
    for SignedOut { session, until } in sessions {
        if let Err(full) = auth.revocations.revoke(*session, until.unix_seconds() + 1) {
            tracing::error!(%full, "a sign-out could not be remembered");
        }
    }
}

/// Reads the newest users, and begins again where the database was replaced.
async fn users(db: &mut Dedicated, auth: &Auth) -> Result<(), Error> {
    let horizon_seconds = auth.token_ttl_seconds.saturating_add(REMEMBERED_EXTRA_S);
    let mut anew = false;
    for _ in 0..ANEW_MAX {
        let refresh = auth.registrations.begin(anew);
        let (mut newest, mut now) = (Vec::new(), Timestamp::default());
        let (mut below, mut rows) = (i64::MAX as u64, PAGE_ROWS);
        loop {
            let page = store::newest(db, below, rows).await?;
            newest.extend(page.iter().map(|seen| seen.user));
            let Some(&Seen { user: last, now: read_at }) = page.last() else { break };
            (now, below) = (read_at, last.user_id);
            let was_last = (page.len() as u64) < rows || newest.len() > NEWCOMERS_MAX;
            if was_last || refresh.ends_with(last, now, horizon_seconds) {
                break;
            }
            rows = LONG_PAGE_ROWS;
        }
        let asked = asked(db, &refresh.asked).await?;
        match auth.registrations.end(&refresh, &newest, &asked, now, horizon_seconds) {
            Ok(()) => return Ok(()),
            Err(Replaced) => {
                tracing::warn!("the database has other users than it had: all tokens are judged anew");
                anew = true;
            }
        }
    }
    Err(Error::Unavailable("the users change faster than they can be read".to_owned()))
}

async fn asked(db: &mut Dedicated, users: &[u64]) -> Result<Vec<Registration>, Error> {
    let mut there = Vec::new();
    for users in users.chunks(ASKED_AT_ONCE) {
        there.extend(store::asked(db, users).await?.iter().map(|seen| seen.user));
    }
    Ok(there)
}

/// Forgets, here and in the database, the sign-outs whose tokens have all expired. Each instance does, in steps so small
/// that nobody waits for one; what another one removed already is not there.
async fn purge(db: Arc<Db>, auth: Weak<Auth>) {
    loop {
        tokio::time::sleep(Duration::from_secs(PURGE_EVERY_S)).await;
        let Some(auth) = auth.upgrade() else { return };
        auth.revocations.purge(Timestamp::now());
        if let Err(error) = purge_stored(&db).await {
            tracing::warn!(%error, "old sign-outs were not removed");
        }
    }
}

async fn purge_stored(db: &Db) -> Result<(), Error> {
    for _ in 0..PURGE_STEPS_MAX {
        if store::purge_signed_out(&mut db.writer().await?).await? == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(PURGE_PAUSE_MS)).await;
    }
    Ok(())
}
