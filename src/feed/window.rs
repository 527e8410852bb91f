//! The recent part of the feed in memory, arranged for the question "what is new for this recipient since …?".
//! Pure: no I/O, no clock.
//!
//! Each event loop has a window of its own, all made of the same shared [`Item`]s, so that no loop waits for
//! another. What a window promises:
//!
//! - **Complete or unknown.** For each recipient and topic it knows from which position on it has everything
//!   (the inbox's `evicted`); a question that reaches further back is never answered from here. Evicting an item
//!   moves that position for its own recipients only: for all others the window reaches back to where
//!   it began, which is what keeps a quiet client's poll free of SQL.
//! - **Entitled now.** An item is in the inboxes of its recipients only. One that withdraws a subject from somebody
//!   takes out of their inbox what they have not fetched of it, and stands there for that: it shows them nothing.
//! - **An echoed time is a position.** See [`Window::since`].

mod ids;
mod inbox;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;

use super::FRESH_MS_MAX;
pub use super::cursor::Position;
use super::item::{Item, Payload, PollClass as _, Projection};
pub use ids::IdMap;
use inbox::{Echoed, Inbox, Newest, Start, echo, stamp_of};

/// Changes that one answer carries at most; the rest comes with the next poll.
pub const NEWS_MAX: usize = 1_000;
/// Bytes of them likewise: one answer's. The largest change there is takes a twentieth.
pub const NEWS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Recipients whose newest positions are remembered; above it the longer quiet half is forgotten, and their next
/// `since` poll asks the database once. About 300 bytes each and event loop.
pub const RECIPIENTS_MAX: usize = 65_536;
/// Changes whose times are remembered, if the window does not hold more: a cursor from before them is too old, as its
/// history cannot be told any more. Eight bytes each and event loop.
pub const TIMES_MAX: usize = 262_144;
/// A `since` poll looks this far back before its time: as old as its answer may be.
pub const REACH_MICROS: i64 = FRESH_MS_MAX.cast_signed() * 1_000;

/// An answer to a `since` poll.
#[derive(Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing is new.
    Unchanged,
    /// These JSON texts are, in order; the position that they lead to.
    News(Vec<Bytes>, Position),
    /// A class that is told whole changed.
    Whole,
    /// The window does not reach back that far.
    Unknown,
}

/// The time that a `since` poll asks by.
#[derive(Clone, Copy, Debug)]
pub struct SinceTime {
    /// The client's own, or what stands for it.
    pub time: Timestamp,
    /// It stands in for the client's own, because its clock is fast: a while ago. Every poll of such a client is told what
    /// happened since then, so it lacks nothing that was committed before.
    pub is_told_again: bool,
}

impl From<Timestamp> for SinceTime {
    fn from(time: Timestamp) -> Self {
        Self { time, is_told_again: false }
    }
}

/// How much a window keeps.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Changes.
    pub events_max: usize,
    /// Their bytes, texts included.
    pub bytes_max: usize,
}

/// What is new after a position, as far as one answer takes it.
#[derive(Debug)]
pub struct Slices<'a, P> {
    /// The recipient's own items.
    pub own: Vec<&'a Item<P>>,
    /// Those of the topic.
    pub topic: Vec<&'a Item<P>>,
    /// The position that they lead to.
    pub position: Position,
}

/// The recent part of the feed.
pub struct Window<P, V> {
    pub(crate) retention: Retention,
    /// Where it began: nothing before is known of anybody.
    floor: Position,
    /// The same when the window was new.
    began: Position,
    /// Everything up to here was applied.
    position: Position,
    /// The times of the changes up to there: by its time a position of another history is told from one of this.
    times: VecDeque<Timestamp>,
    log: VecDeque<Arc<Item<P>>>,
    bytes: usize,
    inboxes: IdMap<Inbox<P>>,
    /// [`RECIPIENTS_MAX`], less in tests.
    pub(crate) recipients_max: usize,
    /// What is the same for everyone.
    topics: Box<[Inbox<P>]>,
    projection: V,
}

impl<P: Payload, V: Projection<P>> Window<P, V> {
    /// An empty window of what comes after `floor`, with what the service knows by then.
    pub fn new(floor: Position, retention: Retention, projection: V) -> Self {
        let topic = || {
            let mut inbox = Inbox::new(floor);
            inbox.newest.iter_mut().for_each(|newest| newest.latest = floor.at);
            inbox
        };
        Self {
            retention,
            floor,
            began: floor,
            position: floor,
            times: VecDeque::new(),
            log: VecDeque::new(),
            bytes: 0,
            inboxes: IdMap::default(),
            recipients_max: RECIPIENTS_MAX,
            topics: (0..V::TOPICS).map(|_| topic()).collect(),
            projection,
        }
    }

    /// What the service made of the items up to here.
    pub fn projection(&self) -> &V {
        &self.projection
    }

    /// Everything up to here was applied.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether `position` is one of this history, as far back as that is remembered. All begin at 0, but not at the same
    /// time.
    pub fn holds(&self, position: Position) -> bool {
        self.time_of(position.seq) == Some(position.at)
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

    /// Changes, their bytes, recipients, and the time of the oldest change.
    pub fn size(&self) -> (usize, usize, usize, Option<Timestamp>) {
        (self.log.len(), self.bytes, self.inboxes.len(), self.log.front().map(|item| item.at))
    }

    /// Takes in a run's items, in order.
    pub fn apply(&mut self, items: &[Arc<Item<P>>]) {
        for item in items {
            self.take(item);
        }
        self.projection.apply(items);
        self.shrink();
    }

    fn take(&mut self, item: &Arc<Item<P>>) {
        self.position = Position { seq: item.seq, at: item.at };
        self.times.push_back(item.at);
        for recipient in item.recipients() {
            let inbox = self.inboxes.entry(recipient).or_insert_with(|| Inbox::new(self.floor));
            inbox.push(item);
            for &class in P::Class::ALL {
                if let Some(stamp) = stamp_of(item, class, recipient) {
                    inbox.newest[class.index()].note(item, stamp);
                }
            }
        }
        if let Some(former) = item.withdrawn_from() {
            self.withdraw(former, item);
        }
        if let Some(topic) = item.topic() {
            let inbox = &mut self.topics[topic];
            inbox.push(item);
            if item.is_told() {
                let stamp = item.topic_stamp().unwrap_or(item.at);
                for class in P::Class::ALL.iter().filter(|class| class.topic() == Some(topic)) {
                    inbox.newest[class.index()].note(item, stamp);
                }
            }
        }
        self.log.push_back(item.clone());
        self.bytes += item.bytes();
    }

    /// Nothing more of the item's subject goes to its former recipient but that; what they are told whole changed.
    fn withdraw(&mut self, former: u64, item: &Arc<Item<P>>) {
        let inbox = self.inboxes.entry(former).or_insert_with(|| Inbox::new(self.floor));
        if item.recipients().all(|recipient| recipient != former) {
            inbox.items.retain(|held| held.subject() != item.subject());
            inbox.push(item);
        }
        inbox.seq = item.seq;
        for class in P::Class::ALL.iter().filter(|class| class.topic().is_some()) {
            inbox.newest[class.index()].note(item, item.at);
        }
    }

    fn shrink(&mut self) {
        while self.log.len() > self.retention.events_max || self.bytes > self.retention.bytes_max {
            let Some(item) = self.log.pop_front() else { break };
            self.bytes -= item.bytes();
            let position = Position { seq: item.seq, at: item.at };
            for recipient in item.recipients().chain(item.withdrawn_from()) {
                if let Some(inbox) = self.inboxes.get_mut(&recipient) {
                    inbox.evict(position);
                }
            }
            if let Some(topic) = item.topic() {
                self.topics[topic].evict(position);
            }
        }
        let times_max = self.retention.events_max.max(TIMES_MAX);
        self.times.drain(..self.times.len().saturating_sub(times_max));
        self.forget_quiet();
    }

    /// Forgets the half that was quiet for longest when there are too many. Nothing up to their newest change
    /// is known any more of anybody who is not remembered.
    fn forget_quiet(&mut self) {
        if self.inboxes.len() <= self.recipients_max {
            return;
        }
        let mut ranks: Vec<u64> = self.inboxes.values().map(Inbox::rank).collect();
        let (_, &mut median, _) = ranks.select_nth_unstable(self.recipients_max / 2);
        let mut floor = self.floor;
        self.inboxes.retain(|_, inbox| {
            let keep = inbox.rank() > median;
            if !keep {
                floor.seq = floor.seq.max(inbox.seq);
                floor.at = inbox.newest.iter().map(|newest| newest.latest).fold(floor.at, Timestamp::max);
            }
            keep
        });
        self.floor = floor;
    }

    /// What is new for `recipient` since a time that their client sent.
    ///
    /// A time that a change of theirs shows (`updatedAt`, `timestamp`) is an echo: the client has that change,
    /// so everything after it is new, and also what was numbered together with it of other subjects,
    /// which a snapshot that holds the change may lack. Of several changes that show this time the oldest
    /// counts. Any other time stands for the changes whose own time (`at`) is later, [`REACH_MICROS`] included.
    pub fn since(&self, recipient: u64, class: P::Class, since: impl Into<SinceTime>) -> Since {
        let since = since.into();
        let reach = Timestamp::from_micros(since.time.micros().saturating_sub(REACH_MICROS));
        let inbox = self.inboxes.get(&recipient);
        let own = inbox.map_or(Newest::default(), |inbox| inbox.newest[class.index()]);
        let known = inbox.map_or(self.floor, |inbox| inbox.evicted);
        let topic = class.topic().map(|topic| &self.topics[topic]);
        let (newest, known) = match topic {
            Some(topic) => (own.with(topic.newest[class.index()]), known.max(topic.evicted)),
            None => (own, known),
        };
        if newest.settled && newest.stamp == since.time || reach >= newest.latest.max(known.at) {
            return Since::Unchanged;
        }
        let verified = || inbox?.verified(class, since, newest.overtaken).filter(|&seq| seq >= known.seq);
        if let Some(topic) = topic {
            let own_echo = inbox.and_then(|inbox| inbox.echo(class, recipient, since.time));
            let topic_echo = echo(&topic.items, since.time, |item| item.topic_stamp());
            let changed = match own_echo.into_iter().chain(topic_echo).min_by_key(|echoed| echoed.seq) {
                Some(echoed) => Self::moved_on((inbox, topic), recipient, class, &echoed, since.time),
                None if reach >= known.at => newest.latest > reach,
                None => match verified() {
                    Some(seq) => newest.seq > seq,
                    None => return Since::Unknown,
                },
            };
            return if changed { Since::Whole } else { Since::Unchanged };
        }
        let Some(inbox) = inbox else { return Since::Unknown };
        // All that shows a later time is known only if none of that was evicted.
        let echo = if since.time >= known.at { inbox.echo(class, recipient, since.time) } else { None };
        let start = if let Some(echoed) = echo {
            Start::Echo(echoed, since.time)
        } else if reach >= known.at {
            Start::Time(reach)
        } else if let Some(seq) = verified() {
            Start::Seq(seq)
        } else {
            return Since::Unknown;
        };
        let (pieces, cut) = inbox.news(class, recipient, &start, since.time);
        if pieces.is_empty() {
            Since::Unchanged
        } else {
            Since::News(pieces, self.position_of(cut.unwrap_or(self.position.seq)))
        }
    }

    /// Whether whoever echoes `since`, a time that was shown to them, certainly has all that shows that time or an earlier one:
    /// also where memory holds it no more.
    pub fn is_settled(&self, recipient: u64, class: P::Class, since: Timestamp) -> bool {
        let inbox = self.inboxes.get(&recipient).filter(|_| class.topic().is_none());
        inbox.is_some_and(|inbox| since > inbox.newest[class.index()].unsettled)
    }

    /// Whether what is told whole changed after the echoed change, or together with it, other than by what shows the same
    /// subject as it was.
    fn moved_on(
        (inbox, topic): (Option<&Inbox<P>>, &Inbox<P>),
        recipient: u64,
        class: P::Class,
        echoed: &Echoed,
        since: Timestamp,
    ) -> bool {
        let is_news = |item: &Arc<Item<P>>| {
            let same = item.subject() == echoed.subject;
            item.is_told() && !(same && (item.seq <= echoed.seq || item.topic_stamp() == Some(since)))
        };
        let recent = |item: &&Arc<Item<P>>| item.seq >= echoed.group;
        let newest = inbox.map_or(0, |inbox| inbox.newest[class.index()].seq);
        let mut found = false;
        for item in inbox.into_iter().flat_map(|inbox| inbox.items.iter().rev().take_while(recent)) {
            if stamp_of(item, class, recipient).is_some() {
                found |= item.seq == newest;
                if is_news(item) {
                    return true;
                }
            }
        }
        // What took a subject from the recipient shows them nothing.
        (newest > echoed.seq && !found) || topic.items.iter().rev().take_while(recent).any(is_news)
    }

    /// The newest change of a topic.
    pub fn topic_seq(&self, topic: usize) -> u64 {
        self.topics[topic].seq
    }

    /// The newest change of a recipient's own, 0 where none is remembered.
    pub fn own_seq(&self, recipient: u64) -> u64 {
        self.inboxes.get(&recipient).map_or(0, |inbox| inbox.seq)
    }

    /// Whether nothing is new for `recipient`, and on the topic that they follow, after position `seq`: what an idle poll
    /// costs.
    pub fn is_unchanged(&self, recipient: u64, topic: Option<usize>, seq: u64) -> bool {
        let own = self.inboxes.get(&recipient).map_or(self.floor.seq, |inbox| inbox.seq);
        own <= seq && topic.is_none_or(|topic| self.topics[topic].seq <= seq)
    }

    /// What is new for `recipient`, and on the topic that they follow, after position `seq`; `None` where the window does not
    /// reach back that far.
    pub fn after(&self, recipient: u64, topic: Option<usize>, seq: u64) -> Option<Slices<'_, P>> {
        let inbox = self.inboxes.get(&recipient);
        let topic = topic.map(|topic| &self.topics[topic]);
        let known = inbox.map_or(self.floor, |inbox| inbox.evicted).seq;
        if seq < known.max(topic.map_or(0, |topic| topic.evicted.seq)) {
            return None;
        }
        let items =
            |inbox: Option<_>| inbox.map_or_else(Default::default, |inbox: &Inbox<P>| inbox.after(seq));
        let ((mut own, own_cut), (mut topic, topic_cut)) = (items(inbox), items(topic));
        let cut = [own_cut, topic_cut].into_iter().flatten().fold(self.position.seq, u64::min);
        for items in [&mut own, &mut topic] {
            items.truncate(items.partition_point(|item| item.seq <= cut));
        }
        Some(Slices { own, topic, position: self.position_of(cut) })
    }

    /// Notes what the database said: at position `seq`, `recipient` had nothing of `class` newer than `stamp`.
    pub fn verify(&mut self, recipient: u64, class: P::Class, stamp: Timestamp, seq: u64) {
        if seq < self.floor.seq {
            return;
        }
        let inbox = self.inboxes.entry(recipient).or_insert_with(|| Inbox::new(self.floor));
        inbox.verified[class.index()] = Some((stamp, seq));
        self.forget_quiet();
    }
}
