//! Who there is: keeps every instance's memory of the newest users current.
//!
//! One task looks at the newest rows of `users`, again and again, and at once when a token comes whose user this
//! instance does not know. The same look shows when the database has another history than it had: the newest user
//! that was known is not there any more, or an id has a row of another time. Then all newcomers are read anew, and
//! every token is judged again: [`Registrations`](crate::auth::registrations::Registrations) says what for.
//!
//! It runs where users are let in, once, whichever services those are. What else every instance has to know of
//! accounts, such as the sessions that were signed out, belongs into the same look.

pub mod store;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::auth::Auth;
use crate::auth::registrations::{NEWCOMERS_MAX, REMEMBERED_EXTRA_S, Registration, Replaced};
use crate::clock::Timestamp;
use crate::db::{Connection, Db, Error};
use crate::tasks::{Kind, Tasks};

use store::{ASKED_AT_ONCE, Seen};

pub use store::exists;

/// Pause between two looks. Tokens of a history that is gone die within this and the look itself.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Shortest time from the begin of one look to the next: those who ask closer together share one.
const LOOK_MS_MIN: u64 = 20;
/// Rows of a look's first page: those who register during the pause, and some before them, whose transactions may
/// end in another order than that of their ids.
const PAGE_ROWS: u64 = 100;
/// Rows of its other pages, which it needs after a start and when the history was replaced.
const LONG_PAGE_ROWS: u64 = 10_000;
/// Looks that find another history one after the other, before there is a pause.
const ANEW_MAX: usize = 3;

/// Starts to look, on the runtime that this is called on, for as long as somebody has `auth`.
pub fn follow(db: &Arc<Db>, auth: &Arc<Auth>, tasks: &Tasks) {
    auth.registrations.follow();
    let (db, auth) = (db.clone(), Arc::downgrade(auth));
    tasks.spawn("users_look", Kind::Needed, move || run(db.clone(), auth.clone()));
}

async fn run(db: Arc<Db>, auth: Weak<Auth>) {
    loop {
        let Some(auth) = auth.upgrade() else { return };
        let begun = Instant::now();
        if let Err(error) = look(&db, &auth).await {
            auth.registrations.failed(begun);
            // The database's absence is logged and counted where requests meet it.
            tracing::debug!(%error, "the newest users could not be read");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = auth.registrations.wanted() => {}
        }
        drop(auth);
        let least = Duration::from_millis(LOOK_MS_MIN);
        tokio::time::sleep(least.saturating_sub(begun.elapsed())).await;
    }
}

/// One look, and another one anew where the history was replaced.
async fn look(db: &Db, auth: &Auth) -> Result<(), Error> {
    let horizon_seconds = auth.token_ttl_seconds.saturating_add(REMEMBERED_EXTRA_S);
    let mut db = db.writer().await?;
    let mut anew = false;
    for _ in 0..ANEW_MAX {
        let look = auth.registrations.begin(anew);
        let (mut newest, mut now) = (Vec::new(), Timestamp::default());
        let (mut below, mut rows) = (i64::MAX as u64, PAGE_ROWS);
        loop {
            let page = store::newest(&mut db, below, rows).await?;
            newest.extend(page.iter().map(|seen| seen.user));
            let Some(&Seen { user: last, now: read_at }) = page.last() else { break };
            (now, below) = (read_at, last.user_id);
            let was_last = (page.len() as u64) < rows || newest.len() > NEWCOMERS_MAX;
            if was_last || look.ends_with(last, now, horizon_seconds) {
                break;
            }
            rows = LONG_PAGE_ROWS;
        }
        let asked = asked(&mut db, &look.asked).await?;
        match auth.registrations.end(&look, &newest, &asked, now, horizon_seconds) {
            Ok(()) => return Ok(()),
            Err(Replaced) => {
                tracing::warn!("the database has other users than it had: all tokens are judged anew");
                anew = true;
            }
        }
    }
    Err(Error::Unavailable("the users change faster than they can be read".to_owned()))
}

async fn asked(db: &mut Connection, users: &[u64]) -> Result<Vec<Registration>, Error> {
    let mut there = Vec::new();
    for users in users.chunks(ASKED_AT_ONCE) {
        there.extend(store::asked(db, users).await?.iter().map(|seen| seen.user));
    }
    Ok(there)
}
