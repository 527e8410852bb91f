//! The lists that are shown whole: the waiting queue's page, and what each expert is assigned to.
//!
//! They are loaded when somebody needs one that is newer than the one in memory, by one task for all who ask: many experts
//! share one statement. So the database's work grows with changes. A list is as new as the feed's position that was read
//! before it was loaded. A load that fails is tried again after a pause; those who waited in vain learn the cause. Event
//! loops take the lock that is here, so JSON is written before it is taken.
//!
//! # A conversation that is ahead
//! A list may show more than its position: what the database holds and the feed did not tell yet. Clients echo the newest
//! time that an answer shows, which then stands for everything before it in the feed. But an answer is made of two lists,
//! loaded at different moments: one may show the time of a change that is newer than what the other one lacks. So **no list
//! shows a time from beyond its position**: a conversation that is ahead is shown as it is, with the position's own time in
//! place of its `updatedAt`; the change that made it so is about to come, and with it the list again. An answer is given
//! only where both lists have everything up to the window's position, so an echo of it leaves nothing out.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::sync::Notify;

use crate::chassis::list;
use crate::db::{Backoff, Db, Dedicated, Error};
use crate::feed::window::IdMap;
use crate::feed::{Position, WAIT_MS_MAX};

use super::super::resource::Conversation;
use super::super::store::changes::{self as store, ASSIGNED_AT_ONCE, Current};
use super::Feed;

/// Assigned lists in memory; when there would be more, all of earlier loads are forgotten, as each is one row set away.
const ASSIGNED_MAX: usize = 16_384;
/// Their bytes, likewise: 2 KiB for each of so many experts. One list alone may have more.
const ASSIGNED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Experts that wait for their list at once; beyond it they are told to come back.
const WANTED_MAX: usize = 16_384;
/// Shortest and longest pause after a load that failed: the longest is half of what a poll waits.
const RETRY_MS: (u64, u64) = (50, 1_000);
/// How often an idle loader looks whether the feed is still there.
const LOOK_MS: u64 = 1_000;

const _: () = assert!(ASSIGNED_AT_ONCE < ASSIGNED_MAX);
const _: () = assert!(2 * RETRY_MS.1 <= WAIT_MS_MAX);

/// A list's JSON and the position that it is at least as new as.
#[derive(Clone, Debug)]
pub(super) struct List {
    position: Position,
    /// Which load it came with.
    load: u64,
    pub(super) json: Bytes,
}

#[derive(Default)]
struct ListCache {
    waiting: Option<List>,
    assigned: IdMap<List>,
    assigned_bytes: usize,
    wanted: HashSet<u64>,
    waiting_wanted: bool,
    /// Loads begun; and those of them that do not come in, as all was forgotten meanwhile.
    loads: u64,
    forgotten: u64,
    /// Why the last load failed.
    failure: Option<Arc<str>>,
}

impl ListCache {
    fn insert(&mut self, expert: u64, list: List) {
        let (load, bytes) = (list.load, list.json.len());
        let fits = |state: &Self| {
            state.assigned.len() < ASSIGNED_MAX && state.assigned_bytes + bytes <= ASSIGNED_BYTES_MAX
        };
        self.remove(expert);
        if !fits(self) {
            self.assigned.retain(|_, list| list.load == load);
            self.assigned_bytes = self.assigned.values().map(|list| list.json.len()).sum();
        }
        if fits(self) || self.assigned.is_empty() {
            self.assigned_bytes += bytes;
            self.assigned.insert(expert, list);
        } else {
            // Who waits for the others of this load must get them: this one's turn is with the next.
            self.wanted.insert(expert);
        }
    }

    fn remove(&mut self, expert: u64) {
        if let Some(list) = self.assigned.remove(&expert) {
            self.assigned_bytes -= list.json.len();
        }
    }
}

crate::metrics! {
    /// What is counted of them.
    struct Metrics {
        loads: IntCounter = "feed_list_loads_total", "Loads of queue pages and assigned lists.";
        failures: IntCounter = "feed_list_failures_total", "Loads of these that failed.";
        lists: IntGauge = "feed_lists", "Assigned lists in memory.";
        bytes: IntGauge = "feed_lists_bytes", "Their bytes.";
    }
}

/// The lists in memory.
pub(super) struct Lists {
    state: Mutex<ListCache>,
    wanted: Notify,
    pub(super) loaded: Notify,
    metrics: Metrics,
}

impl Lists {
    /// None yet.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(registry)?;
        Ok(Self { state: Mutex::default(), wanted: Notify::new(), loaded: Notify::new(), metrics })
    }

    fn state(&self) -> MutexGuard<'_, ListCache> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why there may be no list: the last load failed.
    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.state().failure.clone()
    }

    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.forgotten = state.loads;
        state.waiting = None;
        state.assigned.clear();
        state.assigned_bytes = 0;
        self.metrics.lists.set(0);
        self.metrics.bytes.set(0);
    }

    /// Both lists, where they are as new as `needs` says, and the position of the first.
    pub(super) fn get(&self, expert: u64, needs: (u64, u64)) -> Option<(Bytes, Bytes, Position)> {
        let state = self.state();
        let waiting = state.waiting.as_ref().filter(|list| list.position.seq >= needs.0)?;
        let assigned = state.assigned.get(&expert).filter(|list| list.position.seq >= needs.1)?;
        Some((waiting.json.clone(), assigned.json.clone(), waiting.position))
    }

    /// Has those loaded that are too old; false when too many wait already.
    pub(super) fn want(&self, expert: u64, needs: (u64, u64)) -> bool {
        let mut state = self.state();
        if state.wanted.len() >= WANTED_MAX {
            return false;
        }
        state.waiting_wanted |= state.waiting.as_ref().is_none_or(|list| list.position.seq < needs.0);
        if state.assigned.get(&expert).is_none_or(|list| list.position.seq < needs.1) {
            state.wanted.insert(expert);
        }
        drop(state);
        self.wanted.notify_one();
        true
    }

    /// What is to be loaded next.
    fn take(&self) -> LoadRequest {
        let mut state = self.state();
        let experts: Vec<u64> = state.wanted.iter().copied().take(ASSIGNED_AT_ONCE).collect();
        for expert in &experts {
            state.wanted.remove(expert);
        }
        let waiting = std::mem::take(&mut state.waiting_wanted);
        state.loads += 1;
        LoadRequest { waiting, experts, load: state.loads }
    }

    /// Takes in what was loaded, unless all was forgotten since it was asked for.
    fn put(&self, wanted: &LoadRequest, put: impl FnOnce(&mut ListCache)) {
        let mut state = self.state();
        if wanted.load > state.forgotten {
            put(&mut state);
            self.metrics.lists.set(state.assigned.len() as i64);
            self.metrics.bytes.set(state.assigned_bytes as i64);
        }
    }
}

/// What somebody waits for.
struct LoadRequest {
    waiting: bool,
    experts: Vec<u64>,
    load: u64,
}

/// Loads what is wanted until the feed is dropped.
pub(super) async fn run(feed: Weak<Feed>, db: Arc<Db>) {
    let (mut backoff, mut connection) = (Backoff::new(RETRY_MS.0, RETRY_MS.1), None);
    loop {
        let Some(feed) = feed.upgrade() else { return };
        let wanted = feed.domain.lists.take();
        if !wanted.waiting && wanted.experts.is_empty() {
            let idle = Duration::from_millis(LOOK_MS);
            let _looked = tokio::time::timeout(idle, feed.domain.lists.wanted.notified()).await;
            continue;
        }
        if let Err(error) = load_on(&mut connection, &feed, &db, &wanted).await {
            feed.domain.lists.metrics.failures.inc();
            if backoff.failures() == 0 {
                tracing::warn!(%error, "the queue's lists cannot be loaded");
            }
            feed.domain.lists.state().failure = Some(error.to_string().into());
            drop(feed);
            // Those who wait want their lists again with each read of the tail.
            tokio::time::sleep(backoff.failed()).await;
            continue;
        }
        if backoff.succeeded() {
            feed.domain.lists.state().failure = None;
            tracing::info!("the queue's lists can be loaded again");
        }
        feed.domain.lists.loaded.notify_waiters();
    }
}

/// Loads on the connection that is kept for that, or anew on another one where the server has closed it meanwhile. One of the
/// pool might have to prepare each statement first, which takes as long again where replies are slow.
async fn load_on(
    kept: &mut Option<Dedicated>,
    feed: &Feed,
    db: &Db,
    wanted: &LoadRequest,
) -> Result<(), Error> {
    if let Some(mut connection) = kept.take()
        && load(feed, &mut connection, wanted).await.is_ok()
    {
        *kept = Some(connection);
        return Ok(());
    }
    let mut connection = Dedicated::open(db).await?;
    load(feed, &mut connection, wanted).await?;
    *kept = Some(connection);
    Ok(())
}

async fn load(feed: &Feed, connection: &mut Dedicated, wanted: &LoadRequest) -> Result<(), Error> {
    // Read first: what is in the windows by now is committed, and so in the lists.
    let Some(position) = feed.position_of_all() else { return Ok(()) };
    let list = |json| List { position, load: wanted.load, json };
    if wanted.waiting {
        let page = store::waiting_page(connection, position.seq).await?;
        let page = list(array(&page, position, Conversation::unread_by_others));
        feed.domain.lists.put(wanted, |state| state.waiting = Some(page));
        feed.domain.lists.metrics.loads.inc();
    }
    if wanted.experts.is_empty() {
        return Ok(());
    }
    let assigned = store::assigned(connection, &wanted.experts, position.seq).await?;
    feed.domain.lists.metrics.loads.inc();
    for &expert in &wanted.experts {
        let own = assigned.iter().filter(|current| current.conversation.expert_id == Some(expert));
        let own = list(array(own, position, |conversation| conversation.unread_count(expert)));
        feed.domain.lists.put(wanted, |state| state.insert(expert, own));
    }
    Ok(())
}

/// The list's JSON, as of `position`.
fn array<'a>(
    list: impl IntoIterator<Item = &'a Current>,
    position: Position,
    unread: impl Fn(&Conversation) -> u64,
) -> Bytes {
    let json = list::array(list, |Current { conversation, is_ahead }, json| {
        if *is_ahead {
            let shown = Conversation { updated_at: position.at, ..conversation.clone() };
            shown.write_json(unread(&shown), json);
        } else {
            conversation.write_json(unread(conversation), json);
        }
    });
    Bytes::from(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(load: u64, bytes: usize) -> List {
        List { position: Position::default(), load, json: Bytes::from(vec![b'x'; bytes]) }
    }

    #[test]
    fn lists_have_a_limit_in_bytes_and_those_of_one_load_do_not_push_each_other_out() {
        let mut state = ListCache::default();
        let third = ASSIGNED_BYTES_MAX / 3;
        for expert in 1..=3 {
            state.insert(expert, list(1, third));
        }
        state.insert(3, list(1, third));
        assert_eq!((state.assigned.len(), state.assigned_bytes), (3, 3 * third));
        state.insert(4, list(2, third));
        assert_eq!(state.assigned.keys().collect::<Vec<_>>(), [&4], "those of an earlier load go");
        for expert in 5..=8 {
            state.insert(expert, list(2, third));
        }
        assert_eq!((state.assigned.len(), state.assigned_bytes), (3, 3 * third));
        assert!(state.assigned.contains_key(&4), "who waits for it gets it");
        assert_eq!(state.wanted.len(), 2, "and the others have their turn");
        state.insert(9, list(3, 2 * ASSIGNED_BYTES_MAX));
        assert_eq!(state.assigned.keys().collect::<Vec<_>>(), [&9], "one alone may be larger than all");
        state.insert(1, list(4, 1));
        assert_eq!((state.assigned.len(), state.assigned_bytes), (1, 1));
    }

    #[test]
    fn lists_have_a_limit_in_number() {
        let mut state = ListCache::default();
        for expert in 0..ASSIGNED_MAX as u64 {
            state.insert(expert, list(1 + expert / ASSIGNED_AT_ONCE as u64, 2));
        }
        assert_eq!(state.assigned.len(), ASSIGNED_MAX);
        state.insert(u64::MAX, list(u64::MAX, 2));
        assert_eq!((state.assigned.len(), state.assigned_bytes), (1, 2));
    }
}
