//! What a window remembers of one recipient or topic, and where in it an echoed time is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;

use super::super::COMMIT_MICROS_MAX;
use super::super::item::{CLASSES_MAX, Item, Payload, PollClass as _};
use super::{NEWS_BYTES_MAX, NEWS_MAX, Position, SinceTime};

/// How far before a time its change is looked for. A change shows a time newer than its own only when the tail read it
/// late.
const ECHO_LAG_MICROS: i64 = 2_000_000;

/// The newest change of one class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Newest {
    pub(super) seq: u64,
    /// Its item's group.
    group: u64,
    /// The latest time of its class, shown or its own: a later `since` is no echo.
    pub(super) latest: Timestamp,
    /// The latest time that its class showed.
    pub(super) shown: Timestamp,
    /// The time that it shows.
    pub(super) stamp: Timestamp,
    /// Whether a client that echoes `stamp` certainly has everything, as far as that is seen at a glance.
    pub(super) settled: bool,
    /// The latest time that had been shown when a change came that shows an earlier one, because it was committed late. A
    /// client that echoes this time or an earlier one may lack that change.
    pub(super) overtaken: Timestamp,
    /// The latest time shown of which an echo may lack something that shows an earlier one, or the same.
    pub(super) unsettled: Timestamp,
}

impl Newest {
    /// Of what was numbered from one snapshot a client may lack an earlier one.
    pub(super) fn note<P>(&mut self, item: &Item<P>, stamp: Timestamp) {
        let settled = item.group != self.group && stamp > self.shown;
        let (latest, shown) = (self.latest.max(item.at).max(stamp), self.shown.max(stamp));
        let overtaken = if stamp < self.shown { self.shown } else { self.overtaken };
        let unsettled = if settled { self.unsettled } else { shown };
        *self =
            Self { seq: item.seq, group: item.group, latest, shown, stamp, settled, overtaken, unsettled };
    }

    /// That of both, where they are shown as one.
    pub(super) fn with(self, other: Self) -> Self {
        let (latest, overtaken) = (self.latest.max(other.latest), self.overtaken.max(other.overtaken));
        Self { latest, overtaken, ..if self.seq > other.seq { self } else { other } }
    }
}

/// The items of one recipient or topic.
#[derive(Debug)]
pub struct Inbox<P> {
    pub(super) items: VecDeque<Arc<Item<P>>>,
    /// What comes after this is complete: where the window began, or the newest change that was evicted.
    pub(super) evicted: Position,
    pub(super) newest: [Newest; CLASSES_MAX],
    /// The newest change of any class, those included that no `since` poll is told of.
    pub(super) seq: u64,
    /// What the database said: nothing after this time had happened at that position.
    pub(super) verified: [Option<(Timestamp, u64)>; CLASSES_MAX],
    /// The settled time of the newest change, when it and all before that position were evicted: its echo has everything.
    settled: [Option<(Timestamp, u64)>; CLASSES_MAX],
}

/// The oldest of these items that shows `since`.
pub(super) fn echo<P: Payload>(
    items: &VecDeque<Arc<Item<P>>>,
    since: Timestamp,
    stamp: impl Fn(&Item<P>) -> Option<Timestamp>,
) -> Option<Echoed> {
    let first = Timestamp::from_micros(since.micros().saturating_sub(ECHO_LAG_MICROS));
    let recent = items.iter().rev().take_while(|item| item.at >= first);
    let found = recent.filter(|item| item.is_told() && stamp(item) == Some(since)).last()?;
    Some(Echoed { seq: found.seq, group: found.group, subject: found.subject() })
}

/// The change that an echoed time belongs to.
pub(super) struct Echoed {
    pub(super) seq: u64,
    pub(super) group: u64,
    pub(super) subject: u64,
}

/// From where on changes are new.
pub(super) enum Start {
    /// What shows a later time is new as well, wherever it stands: the client echoes the latest that it has. An answer
    /// of the database's, which goes by times, may have ended between two that were numbered the other way round.
    Echo(Echoed, Timestamp),
    Time(Timestamp),
    Seq(u64),
}

impl Start {
    fn is_new<P: Payload>(&self, item: &Item<P>, stamp: Timestamp) -> bool {
        match self {
            Self::Echo(echoed, since) => {
                item.seq > echoed.seq
                    || stamp > *since
                    || (item.group == echoed.group && item.subject() != echoed.subject)
            }
            Self::Time(reach) => item.at > *reach,
            Self::Seq(seq) => item.seq > *seq,
        }
    }

    /// Whether nothing before `item` can be new.
    fn ends_at<P>(&self, item: &Item<P>) -> bool {
        match self {
            // No change shows a later time than its own.
            Self::Echo(echoed, since) => item.seq < echoed.group && item.at <= *since,
            Self::Time(reach) => item.at <= *reach,
            Self::Seq(seq) => item.seq <= *seq,
        }
    }
}

/// The time that an item shows in a class, if `since` polls are told of it.
pub(super) fn stamp_of<P: Payload>(item: &Item<P>, class: P::Class, recipient: u64) -> Option<Timestamp> {
    item.is_told().then(|| item.shows(class, recipient)).flatten().map(|shows| shows.stamp)
}

impl<P: Payload> Inbox<P> {
    /// A new one knows what comes after `floor`.
    pub(super) fn new(floor: Position) -> Self {
        // What was shown before is not known: it may have been anything up to then.
        let newest = Newest { shown: floor.at, unsettled: floor.at, ..Newest::default() };
        let (newest, none) = ([newest; CLASSES_MAX], Default::default());
        let items = VecDeque::new();
        Self { items, evicted: floor, newest, seq: floor.seq, verified: none, settled: none }
    }

    /// Takes in an item.
    pub(super) fn push(&mut self, item: &Arc<Item<P>>) {
        self.items.push_back(item.clone());
        self.seq = item.seq;
    }

    /// Lets the oldest item go, if it is the one at `position`.
    pub(super) fn evict(&mut self, position: Position) {
        if self.items.front().is_some_and(|front| front.seq == position.seq) {
            self.items.pop_front();
            self.evicted = position;
            for (settled, newest) in self.settled.iter_mut().zip(&self.newest) {
                if newest.settled && newest.seq <= position.seq {
                    *settled = Some((newest.stamp, position.seq));
                }
            }
        }
    }

    /// How recently there was something to remember.
    pub(super) fn rank(&self) -> u64 {
        self.verified.iter().flatten().map(|(_, seq)| *seq).fold(self.seq, u64::max)
    }

    /// The position up to which a client that asks by `since` has everything: because they echo what was the newest when it was
    /// evicted, or by what the database said to another poll.
    ///
    /// That was that nothing had a later time than `stamp`. Who asks by a later time may still lack a change that wrote an
    /// earlier one and was committed after they had been answered, until no such commit can come any more. Who asks by that
    /// very time echoes it, and lacks such a change only where it was overtaken. (Of one that was overtaken before this
    /// window began nothing is known. It is missed by a client that echoes the newest time, was away since, and is not the
    /// only one of its user.) To whom such changes are told again and again, neither matters.
    pub(super) fn verified(&self, class: P::Class, since: SinceTime, overtaken: Timestamp) -> Option<u64> {
        let SinceTime { time, is_told_again } = since;
        let echoes = |&(stamp, _): &(Timestamp, u64)| time == stamp && time > overtaken;
        if let Some((_, seq)) =
            self.settled[class.index()].filter(|settled| class.topic().is_none() && echoes(settled))
        {
            return Some(seq);
        }
        let (stamp, seq) = self.verified[class.index()]?;
        let is_settled = time.micros().saturating_sub(stamp.micros()) >= COMMIT_MICROS_MAX;
        let has_all = (time == stamp || is_settled) && time > overtaken;
        (has_all || is_told_again && time >= stamp).then_some(seq)
    }

    pub(super) fn echo(&self, class: P::Class, recipient: u64, since: Timestamp) -> Option<Echoed> {
        echo(&self.items, since, |item| stamp_of(item, class, recipient))
    }

    /// What is new after `start`, oldest first, and where it was cut. All is given as it is now, each thing once and not at
    /// all where the client showed that it has it so.
    pub(super) fn news(
        &self,
        class: P::Class,
        recipient: u64,
        start: &Start,
        since: Timestamp,
    ) -> (Vec<Bytes>, Option<u64>) {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut newest = HashMap::new();
        for item in self.items.iter().rev() {
            if start.ends_at(item) {
                break;
            }
            let Some(shows) = item.shows(class, recipient) else { continue };
            let text = *newest.entry(shows.thing).or_insert(shows.text);
            if !item.is_told() {
                continue;
            }
            let echoed = matches!(start, Start::Echo(echoed, _) if echoed.subject == item.subject())
                && shows.stamp == since;
            if seen.insert(shows.thing) && !echoed && start.is_new(item, shows.stamp) {
                found.push((text, item.seq));
            }
        }
        found.reverse();
        let all = found.len();
        let mut bytes = 0;
        let fits = |(text, _): &(&Bytes, u64)| {
            bytes += text.len() + 1;
            bytes < NEWS_BYTES_MAX
        };
        let given: Vec<_> = found.into_iter().take(NEWS_MAX).take_while(fits).collect();
        let cut = given.last().filter(|_| given.len() < all).map(|(_, seq)| *seq);
        (given.into_iter().map(|(text, _)| text.clone()).collect(), cut)
    }

    /// The items after `seq`, at most [`NEWS_MAX`] and half of [`NEWS_BYTES_MAX`] (there are the recipient's and the
    /// topic's), and where they were cut.
    pub(super) fn after(&self, seq: u64) -> (Vec<&Item<P>>, Option<u64>) {
        let first = self.items.partition_point(|item| item.seq <= seq);
        let mut bytes = 0;
        let fits = |item: &&Item<P>| {
            bytes += item.bytes();
            bytes <= NEWS_BYTES_MAX / 2
        };
        let found: Vec<_> =
            self.items.range(first..).map(|item| &**item).take(NEWS_MAX).take_while(fits).collect();
        let cut =
            (self.items.len() - first > found.len()).then(|| found.last().map(|item| item.seq)).flatten();
        (found, cut)
    }
}
