//! What is new after a cursor.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::super::answer::Place;
use super::super::event::QueueChange;
use super::super::shown::Shown;
use super::view::newer;
use super::{Position, Window};

/// An answer to a cursor poll.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Conversations, in the order of their newest changes.
    pub conversations: Vec<Bytes>,
    /// Messages as they are now, in the order in which they were posted or, when that is older, marked.
    pub messages: Vec<Bytes>,
    /// Conversations that entered the waiting queue or changed there.
    pub waiting: Vec<Bytes>,
    /// Ids of those that left it.
    pub left: Vec<u64>,
    /// How many wait.
    pub total: u64,
    /// Where the user's stand that wait, if that changed.
    pub positions: Vec<Place>,
    /// That changed and is not to be told yet: nothing else is new, and the position stays.
    pub is_held_back: bool,
    /// The position that this leads to.
    pub position: Position,
}

impl News {
    /// Whether there is nothing of what the client shows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let lists = [&self.conversations, &self.messages, &self.waiting];
        lists.iter().all(|list| list.is_empty()) && self.left.is_empty() && self.positions.is_empty()
    }
}

/// What an answer to a cursor may hold.
#[derive(Clone, Copy, Debug)]
pub struct Tells {
    /// What the client shows.
    pub shown: Shown,
    /// Whether its user may be told of the queue, and shows it.
    pub queue: bool,
    /// Whether a change of place alone is told.
    pub places: bool,
}

/// An answer to a cursor poll.
#[derive(Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing is new.
    Unchanged,
    /// Something is new, and this is all of it that one answer holds.
    News(News),
    /// The window does not reach back that far.
    TooOld,
}

impl Window {
    /// Whether anything is new for `user` after position `seq`: what an idle poll costs.
    #[must_use]
    pub fn is_unchanged(&self, user: u64, seq: u64, Tells { shown, queue, .. }: Tells) -> bool {
        let floor = self.floor.seq;
        let own = self.users.get(&user).map_or(floor, |view| view.seq);
        own <= seq
            && (!queue || self.queue_seq <= seq)
            && !(shown.conversations && self.places.moved_since(user, seq))
    }

    /// What is new for `user` after position `seq`.
    #[must_use]
    pub fn after(&self, user: u64, seq: u64, tells: Tells) -> After {
        if self.is_unchanged(user, seq, tells) { After::Unchanged } else { self.news_after(user, seq, tells) }
    }

    /// Apart from the above, which nearly every poll ends with: this needs much room on the stack.
    #[inline(never)]
    fn news_after(&self, user: u64, seq: u64, tells: Tells) -> After {
        let mut from = seq;
        loop {
            match self.part_after(user, from, tells) {
                // As many changes as one answer takes, and nothing to tell by any of them: whoever waits would go on waiting.
                After::News(news)
                    if news.is_empty() && !news.is_held_back && news.position.seq < self.seq() =>
                {
                    from = news.position.seq;
                }
                found => return found,
            }
        }
    }

    fn part_after(&self, user: u64, seq: u64, tells: Tells) -> After {
        let Tells { shown, places, .. } = tells;
        if self.is_unchanged(user, seq, tells) {
            return After::Unchanged;
        }
        let view = self.users.get(&user);
        let known = view.map_or(self.floor, |view| view.evicted).seq;
        if seq < known || (tells.queue && seq < self.queue_evicted.seq) {
            return After::TooOld;
        }
        let none = VecDeque::new();
        let (own, own_cut) = newer(view.map_or(&none, |view| &view.entries), seq);
        let (queue, queue_cut) = newer(if tells.queue { &self.queue } else { &none }, seq);
        let cut = own_cut.unwrap_or(self.seq()).min(queue_cut.unwrap_or(self.seq()));
        let position = self.position_of(cut);
        let mut news = News { total: self.waiting, position, ..News::default() };
        // From the newest back, so that each is given as it is now.
        let mut conversations = HashSet::new();
        for entry in own.iter().rev().filter(|entry| entry.seq <= cut) {
            if shown.conversations
                && let Some(json) = entry.conversation_for(user)
                && conversations.insert(entry.conversation_id)
            {
                news.conversations.push(json.clone());
            }
        }
        // Likewise, but where it first comes: a mark must not put a message behind the answer to it.
        let mut messages = HashMap::new();
        for entry in own.iter().filter(|entry| entry.seq <= cut) {
            let Some(message) = entry.message.as_ref().filter(|_| shown.messages) else { continue };
            match messages.entry(message.id) {
                MapEntry::Occupied(place) => news.messages[*place.get()] = message.json.clone(),
                MapEntry::Vacant(place) => {
                    place.insert(news.messages.len());
                    news.messages.push(message.json.clone());
                }
            }
        }
        let mut queued = HashSet::new();
        for entry in queue.iter().rev().filter(|entry| entry.seq <= cut) {
            if !queued.insert(entry.conversation_id) {
                continue;
            }
            match (entry.queue, &entry.conversation) {
                (QueueChange::Waits, Some(rendered)) => news.waiting.push(rendered.for_expert.clone()),
                _ => news.left.push(entry.conversation_id),
            }
        }
        news.conversations.reverse();
        news.waiting.reverse();
        news.left.reverse();
        if shown.conversations && self.places.moved_since(user, seq) {
            news.is_held_back = !places && news.is_empty();
            if !news.is_held_back {
                news.positions = self.places.of(user);
            }
        }
        After::News(news)
    }
}
