//! The lists that are shown whole: the waiting queue's page, and what each expert is assigned to.
//!
//! They are loaded when somebody needs one that is newer than the one in memory, by one task for all who ask:
//! while it loads, the next askers gather, and many experts share one statement. A list is as new as the
//! feed's position that was read before it was loaded. So the database's work grows with changes.
//!
//! # A conversation that is ahead
//! A list may show more than its position: what the database holds and the feed did not tell yet. Clients echo the
//! newest time that an answer shows, which then stands for everything before it in the feed. But an answer is
//! made of two lists, loaded at different moments: one may show the time of a change that is newer than what
//! the other one lacks. So **no list shows a time from beyond its position**: a conversation that is ahead is
//! shown as it is, with the position's own time in place of its `updatedAt`; the change that made it so is about
//! to come, and with it the list again. An answer is given only where both lists have everything up to the
//! window's position, and so an echo of it leaves nothing out.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::db::{Db, Error};

use super::Feed;
use super::resource::Conversation;
use super::store::{self, ASSIGNED_AT_ONCE, Current};
use super::window::{IdMap, Position};

/// Assigned lists in memory; when there are more, all are forgotten, as each is one row set away.
const ASSIGNED_MAX: usize = 16_384;
/// Experts that wait for their list at once; beyond it they are told to come back.
const WANTED_MAX: usize = 16_384;

/// A list's JSON and the position that it is at least as new as.
#[derive(Clone, Debug)]
pub(super) struct List {
    seq: u64,
    pub(super) json: Bytes,
}

#[derive(Default)]
struct State {
    /// How often all was forgotten: what was being loaded meanwhile does not come in.
    clearings: u64,
    waiting: Option<List>,
    assigned: IdMap<List>,
    wanted: HashSet<u64>,
    waiting_wanted: bool,
}

/// The lists in memory.
#[derive(Default)]
pub(super) struct Lists {
    state: Mutex<State>,
    wanted: Notify,
    pub(super) loaded: Notify,
}

impl Lists {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.state().assigned.len()
    }

    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.clearings += 1;
        state.waiting = None;
        state.assigned.clear();
    }

    /// Both lists, where they are as new as `needs` says.
    pub(super) fn get(&self, expert: u64, needs: (u64, u64)) -> Option<(Bytes, Bytes)> {
        let state = self.state();
        let waiting = state.waiting.as_ref().filter(|list| list.seq >= needs.0)?;
        let assigned = state.assigned.get(&expert).filter(|list| list.seq >= needs.1)?;
        Some((waiting.json.clone(), assigned.json.clone()))
    }

    /// Has those loaded that are too old; false when too many wait already.
    pub(super) fn want(&self, expert: u64, needs: (u64, u64)) -> bool {
        let mut state = self.state();
        if state.wanted.len() >= WANTED_MAX {
            return false;
        }
        state.waiting_wanted |= state.waiting.as_ref().is_none_or(|list| list.seq < needs.0);
        if state.assigned.get(&expert).is_none_or(|list| list.seq < needs.1) {
            state.wanted.insert(expert);
        }
        drop(state);
        self.wanted.notify_one();
        true
    }

    /// What is to be loaded next.
    fn take(&self) -> Wanted {
        let mut state = self.state();
        let experts: Vec<u64> = state.wanted.iter().copied().take(ASSIGNED_AT_ONCE).collect();
        for expert in &experts {
            state.wanted.remove(expert);
        }
        let waiting = std::mem::take(&mut state.waiting_wanted);
        Wanted { waiting, experts, clearings: state.clearings }
    }

    /// Takes in what was loaded, unless all was forgotten since it was asked for.
    fn put(&self, wanted: &Wanted, put: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if state.clearings == wanted.clearings {
            put(&mut state);
        }
    }
}

/// What somebody waits for.
struct Wanted {
    waiting: bool,
    experts: Vec<u64>,
    clearings: u64,
}

/// Loads what is wanted until the feed is dropped.
pub(super) async fn run(feed: Weak<Feed>, db: Arc<Db>) {
    loop {
        let Some(feed) = feed.upgrade() else { return };
        let wanted = feed.lists.take();
        if !wanted.waiting && wanted.experts.is_empty() {
            // Now and then it looks whether the feed is still there.
            let idle = std::time::Duration::from_secs(1);
            let _looked = tokio::time::timeout(idle, feed.lists.wanted.notified()).await;
            continue;
        }
        if let Err(error) = load(&feed, &db, &wanted).await {
            // Those who wait ask again or give up.
            tracing::debug!(%error, "a list could not be loaded");
        }
        feed.lists.loaded.notify_waiters();
    }
}

async fn load(feed: &Feed, db: &Db, wanted: &Wanted) -> Result<(), Error> {
    let mut connection = db.writer().await?;
    // Read first: what is in the windows by now is committed, and so in the lists.
    let Some(position) = feed.position_of_all() else { return Ok(()) };
    let list = |json| List { seq: position.seq, json };
    if wanted.waiting {
        let page = store::waiting_page(&mut connection, position.seq).await?;
        let page = array(page.iter(), position, Conversation::unread_by_others);
        feed.lists.put(wanted, |state| state.waiting = Some(list(page)));
        feed.metrics.list_loads.inc();
    }
    if wanted.experts.is_empty() {
        return Ok(());
    }
    let assigned = store::assigned(&mut connection, &wanted.experts, position.seq).await?;
    feed.metrics.list_loads.inc();
    feed.lists.put(wanted, |state| {
        if state.assigned.len() + wanted.experts.len() > ASSIGNED_MAX {
            state.assigned.clear();
        }
        for &expert in &wanted.experts {
            let own = assigned.iter().filter(|current| current.conversation.expert_id == Some(expert));
            let own = array(own, position, |conversation| conversation.unread_count(expert));
            state.assigned.insert(expert, list(own));
        }
    });
    Ok(())
}

/// The list's JSON, as of `position`.
fn array<'a>(
    list: impl Iterator<Item = &'a Current>,
    position: Position,
    unread: impl Fn(&Conversation) -> u64,
) -> Bytes {
    let mut json = vec![b'['];
    for Current { conversation, is_ahead } in list {
        if json.len() > 1 {
            json.push(b',');
        }
        if *is_ahead {
            let shown = Conversation { updated_at: position.at, ..conversation.clone() };
            shown.write_json(unread(&shown), &mut json);
        } else {
            conversation.write_json(unread(conversation), &mut json);
        }
    }
    json.push(b']');
    Bytes::from(json)
}
