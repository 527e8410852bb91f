//! The recent part of the feed in memory, arranged for the question "what is new for this user since …?".
//! Pure: no I/O, no clock.
//!
//! Each event loop has a window of its own, all made of the same shared [`Entry`]s, so that no loop waits for
//! another. What a window promises:
//!
//! - **Complete or unknown.** For each user it knows from which position on it has everything
//!   (its view's `evicted`); a question that reaches further back is never answered from here. Evicting a change
//!   moves that position for the two people concerned only: for all others the window reaches back to where
//!   it began, which is what keeps a quiet client's poll free of SQL.
//! - **Entitled now.** A conversation's changes are in the lists of its initiator and of the expert who was
//!   assigned after the change and still was when it was read. An unclaim takes out of the former expert's
//!   list what they have not fetched.
//! - **An echoed time is a position.** See [`Window::since`].

mod after;
mod ids;
mod places;
#[cfg(test)]
mod tests;
mod view;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;

use super::answer::Place;
use super::event::{Batch, Entry, Kind, QueueChange};
pub use super::position::Position;
pub use after::{After, News, Tells};
pub use ids::IdMap;
use places::Places;
pub use places::Waiting;
use view::{Echoed, Newest, Start, View, echo, view_of};

/// Changes that one answer carries at most; the rest comes with the next poll.
pub const NEWS_MAX: usize = 1_000;
/// Bytes of them likewise: one answer's. The largest change there is takes a twentieth.
pub const NEWS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Users whose newest positions are remembered; above it the longer quiet half is forgotten, and their next
/// `since` poll asks the database once. About 300 bytes each and event loop.
pub const USERS_MAX: usize = 65_536;
/// Changes whose times are remembered, if the window does not hold more: a cursor from before them is too old, as its
/// history cannot be told any more. Eight bytes each and event loop.
pub const TIMES_MAX: usize = 262_144;
/// A `since` poll looks this far back before its time: as old as its answer may be.
pub const REACH_MICROS: i64 = 100_000;
/// What a `since` poll asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Conversations that changed.
    Conversations,
    /// Messages that were posted.
    Messages,
    /// The waiting queue and the caller's assigned conversations.
    Queue,
}

const CLASSES: [Class; 3] = [Class::Conversations, Class::Messages, Class::Queue];

/// An answer to a `since` poll.
#[derive(Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing is new.
    Unchanged,
    /// These JSON texts are, in order; the position that they lead to.
    News(Vec<Bytes>, Position),
    /// The queue changed: it is given whole.
    Queue,
    /// The window does not reach back that far.
    Unknown,
}

/// How much a window keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Changes.
    pub events_max: usize,
    /// Their bytes, texts included.
    pub bytes_max: usize,
}

/// The recent part of the feed.
pub struct Window {
    limits: Limits,
    /// Where it began: nothing before is known of anybody.
    floor: Position,
    /// The same when the window was new.
    began: Position,
    /// Everything up to here was applied.
    position: Position,
    /// The times of the changes up to there: by its time a position of another history is told from one of this.
    times: VecDeque<Timestamp>,
    log: VecDeque<Arc<Entry>>,
    bytes: usize,
    users: IdMap<View>,
    users_max: usize,
    /// Changes of the waiting queue, the same for everyone.
    queue: VecDeque<Arc<Entry>>,
    queue_evicted: Position,
    queue_newest: Newest,
    /// The same, read marks included.
    queue_seq: u64,
    waiting: u64,
    places: Places,
}

impl Window {
    /// An empty window of what comes after `floor`.
    #[must_use]
    pub fn new(floor: Position, limits: Limits) -> Self {
        Self {
            limits,
            floor,
            began: floor,
            position: floor,
            times: VecDeque::new(),
            log: VecDeque::new(),
            bytes: 0,
            users: IdMap::default(),
            users_max: USERS_MAX,
            queue: VecDeque::new(),
            queue_evicted: floor,
            queue_newest: Newest { latest: floor.at, ..Newest::default() },
            queue_seq: floor.seq,
            waiting: 0,
            places: Places::default(),
        }
    }

    /// The same where these wait already: nothing else tells before the first change.
    #[must_use]
    pub fn with_waiting(self, waiting: &[Waiting]) -> Self {
        Self { waiting: waiting.len() as u64, places: Places::new(waiting), ..self }
    }

    /// Where `user`'s conversations stand that wait.
    #[must_use]
    pub fn positions(&self, user: u64) -> Vec<Place> {
        self.places.of(user)
    }

    /// Whether `user` has one that waits.
    #[must_use]
    pub fn has_place(&self, user: u64) -> bool {
        self.places.has(user)
    }

    /// Everything up to here was applied.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.position.seq
    }

    /// The same, with its time.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether `position` is one of this history, as far back as that is remembered. All histories begin at 0.
    #[must_use]
    pub fn holds(&self, position: Position) -> bool {
        position.seq == 0 || self.time_of(position.seq) == Some(position.at)
    }

    fn time_of(&self, seq: u64) -> Option<Timestamp> {
        if seq == self.began.seq {
            return Some(self.began.at);
        }
        let back = usize::try_from(self.position.seq.checked_sub(seq)?).ok()?;
        self.times.get(self.times.len().checked_sub(back + 1)?).copied()
    }

    /// The position after the change `seq`, which is in the window. (One that were not would be refused later.)
    fn position_of(&self, seq: u64) -> Position {
        Position { seq, at: self.time_of(seq).unwrap_or_default() }
    }

    /// Changes, their bytes, users, and the time of the oldest change.
    #[must_use]
    pub fn size(&self) -> (usize, usize, usize, Option<Timestamp>) {
        (self.log.len(), self.bytes, self.users.len(), self.log.front().map(|entry| entry.at))
    }

    /// How many conversations wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Takes in what was read, in order.
    pub fn apply(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            self.take(entry);
        }
        self.waiting = batch.waiting;
        self.places.applied(self.position.seq);
        self.shrink();
    }

    fn take(&mut self, entry: &Arc<Entry>) {
        self.position = Position { seq: entry.seq, at: entry.at };
        self.times.push_back(entry.at);
        if entry.conversation_id != 0 {
            for user in people(entry) {
                let view = view_of(&mut self.users, user, self.floor);
                let alone = view.entries.back().is_none_or(|before| before.group != entry.group);
                view.entries.push_back(entry.clone());
                view.seq = entry.seq;
                for class in CLASSES {
                    if let Some((_, stamp)) = View::shown(class, user, entry) {
                        view.newest[class as usize].note(entry, stamp, alone);
                    }
                }
            }
            if let Some(former) = entry.former_expert_id {
                self.disentitle(former, entry);
            }
            self.places.take(entry);
            if entry.queue != QueueChange::None {
                self.take_into_queue(entry);
            }
        }
        self.log.push_back(entry.clone());
        self.bytes += entry.bytes();
    }

    fn take_into_queue(&mut self, entry: &Arc<Entry>) {
        let alone = self.queue.back().is_none_or(|before| before.group != entry.group);
        self.queue.push_back(entry.clone());
        self.queue_seq = entry.seq;
        if entry.kind != Kind::Read {
            let stamp = entry.conversation.as_ref().map_or(entry.at, |shown| shown.stamp);
            self.queue_newest.note(entry, stamp, alone);
        }
    }

    /// After an unclaim nothing more of the conversation goes to its former expert; their queue changed.
    fn disentitle(&mut self, former: u64, entry: &Arc<Entry>) {
        let view = view_of(&mut self.users, former, self.floor);
        if former != entry.initiator_id {
            view.entries.retain(|held| held.conversation_id != entry.conversation_id);
        }
        view.seq = entry.seq;
        view.newest[Class::Queue as usize].note(entry, entry.at, true);
    }

    fn shrink(&mut self) {
        while self.log.len() > self.limits.events_max || self.bytes > self.limits.bytes_max {
            let Some(entry) = self.log.pop_front() else { break };
            self.bytes -= entry.bytes();
            let position = Position { seq: entry.seq, at: entry.at };
            for user in people(&entry) {
                let Some(view) = self.users.get_mut(&user) else { continue };
                if view.entries.front().is_some_and(|front| front.seq == entry.seq) {
                    view.entries.pop_front();
                    view.evicted = position;
                }
            }
            if self.queue.front().is_some_and(|front| front.seq == entry.seq) {
                self.queue.pop_front();
                self.queue_evicted = position;
            }
        }
        let times_max = self.limits.events_max.max(TIMES_MAX);
        self.times.drain(..self.times.len().saturating_sub(times_max));
        self.forget_quiet_users();
    }

    /// Forgets the half that was quiet for longest when there are too many. Nothing up to their newest change
    /// is known any more of anybody who is not remembered.
    fn forget_quiet_users(&mut self) {
        if self.users.len() <= self.users_max {
            return;
        }
        let mut ranks: Vec<u64> = self.users.values().map(View::rank).collect();
        let (_, &mut median, _) = ranks.select_nth_unstable(self.users_max / 2);
        let mut floor = self.floor;
        self.users.retain(|_, view| {
            let keep = view.rank() > median;
            if !keep {
                floor.seq = floor.seq.max(view.seq);
                floor.at = view.newest.iter().map(|newest| newest.latest).fold(floor.at, Timestamp::max);
            }
            keep
        });
        self.floor = floor;
    }

    /// What is new for `user` since a time that their client sent.
    ///
    /// A time that a change of theirs shows (`updatedAt`, `timestamp`) is an echo: the client has that change,
    /// so everything after it is new, and also what was numbered together with it in other conversations,
    /// which a snapshot that holds the change may lack. Of several changes that show this time the oldest
    /// counts. Any other time stands for the changes whose own time (`at`) is later, [`REACH_MICROS`] included.
    #[must_use]
    pub fn since(&self, user: u64, class: Class, since: Timestamp) -> Since {
        if class == Class::Queue {
            return self.queue_since(user, since);
        }
        let reach = Timestamp::from_micros(since.micros().saturating_sub(REACH_MICROS));
        let Some(view) = self.users.get(&user) else {
            return if reach >= self.floor.at { Since::Unchanged } else { Since::Unknown };
        };
        let newest = view.newest[class as usize];
        let known = view.evicted;
        if newest.settled && newest.stamp == since || reach >= newest.latest.max(known.at) {
            return Since::Unchanged;
        }
        // All that shows a later time is known only if none of that was evicted.
        let echo = if since >= known.at { view.echo(class, user, since) } else { None };
        let start = if let Some(echoed) = echo {
            Start::Echo(echoed, since)
        } else if reach >= known.at {
            Start::Time(reach)
        } else if let Some(seq) = view.verified(class, since).filter(|&seq| seq >= known.seq) {
            Start::Seq(seq)
        } else {
            return Since::Unknown;
        };
        let (pieces, cut) = view.news(class, user, &start, since);
        if pieces.is_empty() {
            Since::Unchanged
        } else {
            Since::News(pieces, self.position_of(cut.unwrap_or(self.seq())))
        }
    }

    fn queue_since(&self, user: u64, since: Timestamp) -> Since {
        let reach = Timestamp::from_micros(since.micros().saturating_sub(REACH_MICROS));
        let view = self.users.get(&user);
        let own = view.map_or(Newest::default(), |view| view.newest[Class::Queue as usize]);
        let newest = if own.seq > self.queue_newest.seq { own } else { self.queue_newest };
        let latest = own.latest.max(self.queue_newest.latest);
        let known = view.map_or(self.floor, |view| view.evicted).max(self.queue_evicted);
        if newest.settled && newest.stamp == since || reach >= latest.max(known.at) {
            return Since::Unchanged;
        }
        let own_echo = view.and_then(|view| view.echo(Class::Queue, user, since));
        let queue_echo = echo(&self.queue, since, |entry| Some(entry.conversation.as_ref()?.stamp));
        let changed = match own_echo.into_iter().chain(queue_echo).min_by_key(|echoed| echoed.seq) {
            Some(echoed) => self.queue_moved_on(view, user, &echoed, since),
            None if reach >= known.at => latest > reach,
            None => match view.and_then(|view| view.verified(Class::Queue, since)) {
                Some(seq) if seq >= known.seq => newest.seq > seq,
                _ => return Since::Unknown,
            },
        };
        if changed { Since::Queue } else { Since::Unchanged }
    }

    /// Whether the user's queue changed after the echoed change, or together with it, other than by what shows
    /// the same conversation as it was.
    fn queue_moved_on(&self, view: Option<&View>, user: u64, echoed: &Echoed, since: Timestamp) -> bool {
        let is_news = |entry: &Arc<Entry>| {
            let same = entry.conversation_id == echoed.conversation;
            let stamp = entry.conversation.as_ref().map(|rendered| rendered.stamp);
            entry.kind != Kind::Read && !(same && (entry.seq <= echoed.seq || stamp == Some(since)))
        };
        let recent = |entry: &&Arc<Entry>| entry.seq >= echoed.group;
        let newest = view.map_or(0, |view| view.newest[Class::Queue as usize].seq);
        let mut found = false;
        for entry in view.into_iter().flat_map(|view| view.entries.iter().rev().take_while(recent)) {
            if View::shown(Class::Queue, user, entry).is_some() {
                found |= entry.seq == newest;
                if is_news(entry) {
                    return true;
                }
            }
        }
        // What took a conversation from the user is in no list of theirs.
        (newest > echoed.seq && !found) || self.queue.iter().rev().take_while(recent).any(is_news)
    }

    /// The newest change of the waiting queue.
    #[must_use]
    pub fn queue_seq(&self) -> u64 {
        self.queue_seq
    }

    /// How new the waiting page and the user's assigned list must at least be.
    #[must_use]
    pub fn queue_needs(&self, user: u64) -> (u64, u64) {
        (self.queue_seq, self.users.get(&user).map_or(0, |view| view.seq))
    }

    /// Notes what the database said: at position `seq`, `user` had nothing of `class` newer than `stamp`.
    pub fn verify(&mut self, user: u64, class: Class, stamp: Timestamp, seq: u64) {
        if seq < self.floor.seq {
            return;
        }
        let view = view_of(&mut self.users, user, self.floor);
        view.verified[class as usize] = Some((stamp, seq));
        self.forget_quiet_users();
    }
}

/// Who gets to see a change: the initiator and the expert, once where they are the same.
fn people(entry: &Entry) -> impl Iterator<Item = u64> + use<> {
    let initiator = Some(entry.initiator_id).filter(|&user| user != 0);
    initiator.into_iter().chain(entry.expert_id.filter(|&expert| Some(expert) != initiator))
}
