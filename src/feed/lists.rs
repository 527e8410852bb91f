//! The lists that are shown whole: the waiting queue's page, and what each expert is assigned to.
//!
//! They are loaded when somebody needs one that is newer than the one in memory, by one task for all who ask:
//! while it loads, the next askers gather, and many experts share one statement. A list is as new as the
//! feed's position that was read before it was loaded. So the database's work grows with changes.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::db::{Db, Error};

use super::Feed;
use super::resource::Conversation;
use super::store::{self, ASSIGNED_AT_ONCE};
use super::window::IdMap;

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

    fn take(&self) -> (bool, Vec<u64>) {
        let mut state = self.state();
        let experts: Vec<u64> = state.wanted.iter().copied().take(ASSIGNED_AT_ONCE).collect();
        for expert in &experts {
            state.wanted.remove(expert);
        }
        (std::mem::take(&mut state.waiting_wanted), experts)
    }
}

/// Loads what is wanted until the feed is dropped.
pub(super) async fn run(feed: Weak<Feed>, db: Arc<Db>) {
    loop {
        let Some(feed) = feed.upgrade() else { return };
        let (waiting, experts) = feed.lists.take();
        if !waiting && experts.is_empty() {
            // Now and then it looks whether the feed is still there.
            let idle = std::time::Duration::from_secs(1);
            let _looked = tokio::time::timeout(idle, feed.lists.wanted.notified()).await;
            continue;
        }
        if let Err(error) = load(&feed, &db, waiting, &experts).await {
            // Those who wait ask again or give up.
            tracing::debug!(%error, "a list could not be loaded");
        }
        feed.lists.loaded.notify_waiters();
    }
}

async fn load(feed: &Feed, db: &Db, waiting: bool, experts: &[u64]) -> Result<(), Error> {
    let mut connection = db.writer().await?;
    let seq = feed.applied.load(Relaxed);
    if waiting {
        let page = store::waiting_page(&mut connection).await?;
        let json = array(page.iter(), Conversation::unread_by_others);
        feed.lists.state().waiting = Some(List { seq, json });
        feed.metrics.list_loads.inc();
    }
    if experts.is_empty() {
        return Ok(());
    }
    let assigned = store::assigned(&mut connection, experts).await?;
    feed.metrics.list_loads.inc();
    let mut state = feed.lists.state();
    if state.assigned.len() + experts.len() > ASSIGNED_MAX {
        state.assigned.clear();
    }
    for &expert in experts {
        let own = assigned.iter().filter(|conversation| conversation.expert_id == Some(expert));
        let json = array(own, |conversation| conversation.unread_count(expert));
        state.assigned.insert(expert, List { seq, json });
    }
    Ok(())
}

fn array<'a>(
    conversations: impl Iterator<Item = &'a Conversation>,
    unread: impl Fn(&Conversation) -> u64,
) -> Bytes {
    let mut json = vec![b'['];
    for conversation in conversations {
        if json.len() > 1 {
            json.push(b',');
        }
        conversation.write_json(unread(conversation), &mut json);
    }
    json.push(b']');
    Bytes::from(json)
}
