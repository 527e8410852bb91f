//! What a window remembers of one user, and where in it an echoed time is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;

use super::super::event::{Entry, Kind};
use super::{CLASSES, Class, IdMap, NEWS_BYTES_MAX, NEWS_MAX, Position};

/// How far before a time its change is looked for. A change shows an `updatedAt` newer than its own time only
/// when the tail read it late.
const ECHO_LAG_MICROS: i64 = 2_000_000;

/// The newest change of one class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Newest {
    pub(super) seq: u64,
    /// The latest time of its class, shown or its own: a later `since` is no echo.
    pub(super) latest: Timestamp,
    /// The latest time that its class showed.
    pub(super) shown: Timestamp,
    /// The time that it shows.
    pub(super) stamp: Timestamp,
    /// Whether a client that echoes `stamp` certainly has everything, as far as that is seen at a glance.
    pub(super) settled: bool,
}

impl Newest {
    /// `alone` tells that nothing before it was numbered in the same go.
    pub(super) fn note(&mut self, entry: &Entry, stamp: Timestamp, alone: bool) {
        let settled = alone && stamp > self.shown;
        let (latest, shown) = (self.latest.max(entry.at).max(stamp), self.shown.max(stamp));
        *self = Self { seq: entry.seq, latest, shown, stamp, settled };
    }
}

/// What is remembered of one user.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) entries: VecDeque<Arc<Entry>>,
    /// What comes after this is complete: where the window began, or the newest change that was evicted.
    pub(super) evicted: Position,
    pub(super) newest: [Newest; CLASSES.len()],
    /// The newest change of any class, read marks included.
    pub(super) seq: u64,
    /// What the database said: nothing after this time had happened at that position.
    pub(super) verified: [Option<(Timestamp, u64)>; CLASSES.len()],
}

/// A user's view; a new one knows what comes after `floor`.
pub(super) fn view_of(users: &mut IdMap<View>, user: u64, floor: Position) -> &mut View {
    users.entry(user).or_insert_with(|| View { evicted: floor, seq: floor.seq, ..View::default() })
}

/// The oldest entry that shows `since`.
pub(super) fn echo(
    entries: &VecDeque<Arc<Entry>>,
    since: Timestamp,
    stamp: impl Fn(&Entry) -> Option<Timestamp>,
) -> Option<Echoed> {
    let first = Timestamp::from_micros(since.micros().saturating_sub(ECHO_LAG_MICROS));
    let recent = entries.iter().rev().take_while(|entry| entry.at >= first);
    let found = recent.filter(|entry| entry.kind != Kind::Read && stamp(entry) == Some(since)).last()?;
    Some(Echoed { seq: found.seq, group: found.group, conversation: found.conversation_id })
}

/// The change that an echoed time belongs to.
pub(super) struct Echoed {
    pub(super) seq: u64,
    pub(super) group: u64,
    pub(super) conversation: u64,
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
    fn is_new(&self, entry: &Entry, stamp: Timestamp) -> bool {
        match self {
            Self::Echo(echoed, since) => {
                entry.seq > echoed.seq
                    || stamp > *since
                    || (entry.group == echoed.group && entry.conversation_id != echoed.conversation)
            }
            Self::Time(reach) => entry.at > *reach,
            Self::Seq(seq) => entry.seq > *seq,
        }
    }

    /// Whether nothing before `entry` can be new.
    fn ends_at(&self, entry: &Entry) -> bool {
        match self {
            // No change shows a later time than its own.
            Self::Echo(echoed, since) => entry.seq < echoed.group && entry.at <= *since,
            Self::Time(reach) => entry.at <= *reach,
            Self::Seq(seq) => entry.seq <= *seq,
        }
    }
}

impl View {
    /// How recently there was something to remember.
    pub(super) fn rank(&self) -> u64 {
        self.verified.iter().flatten().map(|(_, seq)| *seq).fold(self.seq, u64::max)
    }

    pub(super) fn verified(&self, class: Class, since: Timestamp) -> Option<u64> {
        self.verified[class as usize].filter(|(stamp, _)| since >= *stamp).map(|(_, seq)| seq)
    }

    /// What `entry` shows to a `since` poll of `class`: its text and the time in it.
    pub(super) fn shown(class: Class, user: u64, entry: &Entry) -> Option<(&Bytes, Timestamp)> {
        let is_told = entry.kind != Kind::Read;
        is_told.then(|| Self::state(class, user, entry)).flatten().map(|(_, json, stamp)| (json, stamp))
    }

    /// The same, with the id of what it shows, of read marks too: nobody who asks by time is told of them, but what is
    /// told shows them.
    fn state(class: Class, user: u64, entry: &Entry) -> Option<(u64, &Bytes, Timestamp)> {
        match class {
            Class::Messages => {
                entry.message.as_ref().map(|message| (message.id, &message.json, message.stamp))
            }
            // The queue holds what the user is the expert of.
            Class::Queue if entry.expert_id != Some(user) => None,
            _ => {
                let rendered = entry.conversation.as_ref()?;
                Some((entry.conversation_id, entry.conversation_for(user)?, rendered.stamp))
            }
        }
    }

    pub(super) fn echo(&self, class: Class, user: u64, since: Timestamp) -> Option<Echoed> {
        echo(&self.entries, since, |entry| Self::shown(class, user, entry).map(|(_, stamp)| stamp))
    }

    /// What is new after `start`, oldest first, and where it was cut. All is given as it is now, a conversation once
    /// and not at all where the client showed that it has it so.
    pub(super) fn news(
        &self,
        class: Class,
        user: u64,
        start: &Start,
        since: Timestamp,
    ) -> (Vec<Bytes>, Option<u64>) {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut newest = HashMap::new();
        for entry in self.entries.iter().rev() {
            if start.ends_at(entry) {
                break;
            }
            let Some((id, json, stamp)) = Self::state(class, user, entry) else { continue };
            let json = *newest.entry(id).or_insert(json);
            if entry.kind == Kind::Read {
                continue;
            }
            let echoed = matches!(start, Start::Echo(echoed, _) if echoed.conversation == entry.conversation_id)
                && stamp == since;
            let first = class == Class::Messages || seen.insert(entry.conversation_id);
            if first && !echoed && start.is_new(entry, stamp) {
                found.push((json, entry.seq));
            }
        }
        found.reverse();
        let all = found.len();
        let mut bytes = 0;
        let fits = |(json, _): &(&Bytes, u64)| {
            bytes += json.len() + 1;
            bytes < NEWS_BYTES_MAX
        };
        let given: Vec<_> = found.into_iter().take(NEWS_MAX).take_while(fits).collect();
        let cut = given.last().filter(|_| given.len() < all).map(|(_, seq)| *seq);
        (given.into_iter().map(|(json, _)| json.clone()).collect(), cut)
    }
}

/// The entries after `seq`, at most [`NEWS_MAX`] and half of [`NEWS_BYTES_MAX`] (there are the user's and the queue's),
/// and where they were cut.
pub(super) fn newer(entries: &VecDeque<Arc<Entry>>, seq: u64) -> (Vec<&Arc<Entry>>, Option<u64>) {
    let first = entries.partition_point(|entry| entry.seq <= seq);
    let mut bytes = 0;
    let fits = |entry: &&Arc<Entry>| {
        bytes += entry.bytes();
        bytes <= NEWS_BYTES_MAX / 2
    };
    let found: Vec<_> = entries.range(first..).take(NEWS_MAX).take_while(fits).collect();
    let cut = (entries.len() - first > found.len()).then(|| found.last().map(|entry| entry.seq)).flatten();
    (found, cut)
}
