//! The places of those who wait, and how long they may have to. Pure.
//!
//! A claim at the head of the queue moves everybody's place. So nothing is done for each who waits: the order is kept, and
//! from where on places moved; whoever asks compares that with their own place. A change costs one place in a sorted
//! list (its shorter side is moved, and a claim is at the head), a question two binary searches, however many wait.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::feed::item::{Item, Projection};
use crate::feed::window::IdMap;

use super::answer::QueuePosition;
use super::event::Kind;
use super::item::{Entry, QueueChange};

/// Claims whose distances count.
const CLAIMS_MAX: usize = 20;
/// So many must be known before anything is expected.
const CLAIMS_MIN: usize = 3;
/// Moves remembered; who asks from before them is told their place once more.
const MOVES_MAX: usize = 16_384;
/// Places in one answer, the first of its user's.
const PLACES_MAX: usize = 100;

/// Where a conversation stands in the queue: the longest waiting first.
type Order = (Timestamp, u64);

/// A conversation that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The conversation's id.
    pub conversation: u64,
    /// When it was opened, by the database's clock: who waits longest is first.
    pub opened_at: Timestamp,
    /// Who asked.
    pub initiator: u64,
}

impl Waiting {
    fn order(&self) -> Order {
        (self.opened_at, self.conversation)
    }
}

/// All who wait, in order.
#[derive(Clone, Debug, Default)]
pub struct Places {
    order: VecDeque<Order>,
    known: IdMap<Waiting>,
    of_user: IdMap<Vec<Order>>,
    /// After which change the places from where on moved: the newest last, each further back than the one before, as a
    /// later move further in front stands for both.
    moves: VecDeque<(u64, Order)>,
    /// What moved up to this change is not known in detail.
    forgotten: u64,
    /// The newest move.
    last: u64,
    /// Nothing was applied yet: what is here may be from a later moment than the window.
    is_new: bool,
    claims: VecDeque<Timestamp>,
}

impl Projection<Entry> for Places {
    const TOPICS: usize = 1;

    fn apply(&mut self, entries: &[Arc<Item<Entry>>]) {
        entries.iter().for_each(|entry| self.take(entry));
        if let Some(newest) = entries.last()
            && std::mem::take(&mut self.is_new)
        {
            (self.forgotten, self.last) = (newest.seq, newest.seq);
        }
    }
}

impl Places {
    /// Where these wait already: nothing else tells before the first change.
    pub fn new(waiting: &[Waiting]) -> Self {
        let mut places = Self { is_new: true, ..Self::default() };
        let mut order: Vec<Order> = waiting.iter().map(Waiting::order).collect();
        order.sort_unstable();
        places.order = order.into();
        for one in waiting {
            places.known.insert(one.conversation, *one);
            places.of_user.entry(one.initiator).or_default().push(one.order());
        }
        places
    }

    /// How many wait.
    pub fn count(&self) -> u64 {
        self.known.len() as u64
    }

    /// Whether a conversation does.
    pub fn waits(&self, conversation: u64) -> bool {
        self.known.contains_key(&conversation)
    }

    fn take(&mut self, entry: &Item<Entry>) {
        if entry.kind == Kind::Claimed {
            self.claims.push_back(entry.at);
            self.claims.drain(..self.claims.len().saturating_sub(CLAIMS_MAX));
        }
        // Where a list from a later moment has it already, its place is told all the same.
        if matches!(entry.kind, Kind::Opened | Kind::Unclaimed | Kind::Claimed)
            && let Some(waiting) = self.known.get(&entry.conversation_id)
        {
            self.moved(entry.seq, waiting.order());
        }
        match (entry.queue, &entry.conversation) {
            (QueueChange::Waits, Some(rendered)) => {
                let (conversation, initiator) = (entry.conversation_id, entry.initiator_id);
                let waiting = Waiting { conversation, opened_at: rendered.opened_at, initiator };
                if self.known.insert(conversation, waiting).is_none() {
                    let place = waiting.order();
                    let at = self.order.partition_point(|other| *other < place);
                    self.order.insert(at, place);
                    self.of_user.entry(initiator).or_default().push(place);
                    self.moved(entry.seq, place);
                }
            }
            (QueueChange::Left, _) => self.leave(entry.conversation_id, entry.seq),
            _ => {}
        }
    }

    fn leave(&mut self, conversation: u64, seq: u64) {
        let Some(waiting) = self.known.remove(&conversation) else {
            // It had left before all this was read.
            return self.moved(seq, Order::default());
        };
        let place = waiting.order();
        if let Ok(at) = self.order.binary_search(&place) {
            self.order.remove(at);
        }
        if let Some(own) = self.of_user.get_mut(&waiting.initiator) {
            own.retain(|&other| other != place);
            if own.is_empty() {
                self.of_user.remove(&waiting.initiator);
            }
        }
        self.moved(seq, place);
    }

    fn moved(&mut self, seq: u64, from: Order) {
        while self.moves.back().is_some_and(|(_, other)| *other >= from) {
            self.moves.pop_back();
        }
        self.moves.push_back((seq, from));
        self.last = seq;
        if self.moves.len() > MOVES_MAX
            && let Some((oldest, _)) = self.moves.pop_front()
        {
            self.forgotten = oldest;
        }
    }

    /// Whether `user` has a conversation that waits.
    pub fn has(&self, user: u64) -> bool {
        self.of_user.contains_key(&user)
    }

    /// Whether a place of `user`'s moved after the change `seq`.
    pub fn moved_since(&self, user: u64, seq: u64) -> bool {
        if self.last <= seq {
            return false;
        }
        let Some(own) = self.of_user.get(&user) else { return false };
        if seq < self.forgotten {
            return true;
        }
        let first = self.moves.partition_point(|(at, _)| *at <= seq);
        self.moves.get(first).is_some_and(|(_, from)| own.iter().any(|place| place >= from))
    }

    /// The places of `user`'s conversations that wait, the first first.
    pub fn of(&self, user: u64) -> Vec<QueuePosition> {
        let Some(own) = self.of_user.get(&user) else { return Vec::new() };
        let mean = self.mean_micros();
        let mut places: Vec<QueuePosition> = own
            .iter()
            .filter_map(|place| {
                let position = self.order.binary_search(place).ok()? as u64 + 1;
                let expected_wait_seconds = mean.map(|mean| (position * mean + 500_000) / 1_000_000);
                Some(QueuePosition { conversation: place.1, position, expected_wait_seconds })
            })
            .collect();
        places.sort_unstable_by_key(|place| place.position);
        places.truncate(PLACES_MAX);
        places
    }

    /// The mean time between the last claims.
    fn mean_micros(&self) -> Option<u64> {
        if self.claims.len() < CLAIMS_MIN {
            return None;
        }
        let (first, last) = (self.claims.front()?, self.claims.back()?);
        Some(last.micros().abs_diff(first.micros()) / (self.claims.len() as u64 - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::resource::Conversation;
    use super::super::item::Rendered;
    use super::*;

    fn entry(seq: u64, kind: Kind, conversation_id: u64, queue: QueueChange) -> Item<Entry> {
        let at = Timestamp::from_micros(1_000_000 * conversation_id.cast_signed());
        let conversation = Conversation {
            id: conversation_id,
            title: String::new(),
            status: "waiting".to_owned(),
            initiator_id: conversation_id,
            initiator_username: String::new(),
            expert_id: None,
            expert_username: None,
            created_at: at,
            updated_at: at,
            last_message_at: None,
            unread: 0,
            unread_from_initiator: 0,
            unread_from_expert: 0,
            message_count: 0,
        };
        let payload = Entry {
            kind,
            conversation_id,
            initiator_id: conversation_id,
            expert_id: None,
            former_expert_id: None,
            conversation: Some(Arc::new(Rendered::new(&conversation))),
            message: None,
            queue,
        };
        let at = Timestamp::from_micros(10_000_000 * seq.cast_signed());
        Item { seq, id: seq, at, group: seq, payload }
    }

    /// Conversation n is of user n, and was opened before n + 1.
    fn waiting(count: u64) -> Places {
        let mut places = Places::default();
        for id in 1..=count {
            places.take(&entry(id, Kind::Opened, id, QueueChange::Waits));
        }
        places
    }

    fn place(places: &Places, user: u64) -> (u64, Option<u64>) {
        let found = places.of(user);
        assert_eq!(found.len(), 1);
        (found[0].position, found[0].expected_wait_seconds)
    }

    #[test]
    fn a_claim_moves_those_behind_and_a_claim_given_back_moves_them_back() {
        let mut places = waiting(5);
        assert_eq!(place(&places, 5), (5, None));
        places.take(&entry(6, Kind::Claimed, 3, QueueChange::Left));
        let moved = |places: &Places, seq| -> Vec<u64> {
            (1..=5).filter(|&user| places.moved_since(user, seq)).collect()
        };
        let none: [u64; 0] = [];
        assert_eq!(moved(&places, 5), [4, 5]);
        assert_eq!(moved(&places, 6), none);
        assert_eq!(place(&places, 5), (4, None));
        assert!(!places.has(3) && places.of(3).is_empty());
        places.take(&entry(7, Kind::Unclaimed, 3, QueueChange::Waits));
        assert_eq!(moved(&places, 6), [3, 4, 5]);
        assert_eq!(place(&places, 3), (3, None));
        // A later move further in front stands for both; one further back does not hide it.
        places.take(&entry(8, Kind::Claimed, 1, QueueChange::Left));
        places.take(&entry(9, Kind::Claimed, 5, QueueChange::Left));
        assert_eq!(moved(&places, 7), [2, 3, 4]);
        assert_eq!(moved(&places, 8), none);
        // Claims came at 60, 80 and 90 s.
        assert_eq!(place(&places, 2), (1, Some(15)));
        assert_eq!(place(&places, 4), (3, Some(45)));
        // What is posted while it waits moves nothing.
        places.take(&entry(10, Kind::Message, 2, QueueChange::Waits));
        assert_eq!(moved(&places, 9), none);
    }

    #[test]
    fn what_is_forgotten_is_told_once_more() {
        let mut places = waiting(2);
        // Each further back than the one before, so that none stands for another.
        for id in 3..MOVES_MAX as u64 + 10 {
            places.take(&entry(id, Kind::Opened, id, QueueChange::Waits));
        }
        assert!(places.moves.len() <= MOVES_MAX && places.forgotten > 2);
        assert!(places.moved_since(1, 2) && !places.moved_since(1, places.forgotten));
        // A list from a later moment than the window: whoever asks from before its first batch is told.
        let one = Waiting { conversation: 7, opened_at: Timestamp::from_micros(7), initiator: 7 };
        let mut places = Places::new(&[one]);
        places.apply(&[Arc::new(entry(100, Kind::Message, 8, QueueChange::None))]);
        assert!(places.moved_since(7, 99) && !places.moved_since(7, 100));
        assert_eq!(place(&places, 7), (1, None));
    }
}
