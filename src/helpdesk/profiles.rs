//! Who is an expert, as the polls know it: the queue is told to nobody else, as `GET /expert/queue` is refused to others.
//!
//! Everybody who registers has a profile; only people who were brought in from elsewhere may have none. So a poll that has
//! nothing to tell asks nothing. Where there is something of the queue to tell, it is looked up whether this is an expert:
//! once, as who is one stays one. Who is none may become one on any instance, and is looked up again after a minute. What is
//! left out until then is not lost: the cursors that they get are partial, and refused (410) once it is known that they are one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::chassis::Error;

use super::{Helpdesk, store};

/// Users remembered; when there are more, all are forgotten and looked up again. About 40 bytes each.
const KNOWN_MAX: usize = 65_536;
/// How long somebody who is no expert is none without another look.
const NONE_FOR: Duration = Duration::from_secs(60);

/// Look-ups at once for polls: the others take turns, so that a crowd which comes at once leaves the pool to those who
/// write.
const LOOKS_MAX: usize = 4;

/// Who is known to be an expert or to be none, the latter until when.
pub(super) struct Profiles {
    known: Mutex<HashMap<u64, Option<Instant>>>,
    looks: Semaphore,
}

impl Profiles {
    /// Nobody is known.
    pub(super) fn new() -> Self {
        Self { known: Mutex::default(), looks: Semaphore::new(LOOKS_MAX) }
    }

    /// Whether a user is an expert; `None` where that has to be looked up.
    pub(super) fn known(&self, user: u64) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&user)? {
            None => Some(true),
            Some(until) if Instant::now() < *until => Some(false),
            Some(_) => None,
        }
    }

    /// Notes what was found.
    pub(super) fn note(&self, user: u64, is_expert: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(user, (!is_expert).then(|| Instant::now() + NONE_FOR));
    }
}

/// Whether a user is an expert, looked up if need be.
pub(super) async fn look(desk: &Helpdesk, user: u64) -> Result<bool, Error> {
    if let Some(known) = desk.profiles.known(user) {
        return Ok(known);
    }
    let is_expert = store::profile_by_user(&mut desk.db.writer().await?, user).await?.is_some();
    desk.profiles.note(user, is_expert);
    Ok(is_expert)
}

/// The same for an event loop, which must not ask the database itself.
pub(super) async fn look_apart(desk: &Arc<Helpdesk>, user: u64) -> Result<bool, Error> {
    if let Some(known) = desk.profiles.known(user) {
        return Ok(known);
    }
    // It is never closed.
    let _turn = desk.profiles.looks.acquire().await;
    let apart = desk.clone();
    desk.background.run(async move { look(&apart, user).await }).await
}
