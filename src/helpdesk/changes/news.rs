//! What is new after a cursor. Pure.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::feed::domain::{After, Ask as _};
use crate::feed::window;

use super::answer::QueuePosition;
use super::item::{Entry, QueueChange};
use super::places::Places;
use super::shown::Tells;

/// The help desk's window.
pub type Window = window::Window<Entry, Places>;

/// What is new.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Conversations, in the order of their newest changes.
    pub conversations: Vec<Bytes>,
    /// Ids of those that the user was the expert of and is no more.
    pub unassigned: Vec<u64>,
    /// Messages as they are now, in the order in which they were posted or, when that is older, marked.
    pub messages: Vec<Bytes>,
    /// Conversations that entered the waiting queue or changed there.
    pub waiting: Vec<Bytes>,
    /// Ids of those that left it.
    pub left: Vec<u64>,
    /// How many wait.
    pub total: u64,
    /// Where the user's stand that wait, if that changed.
    pub positions: Vec<QueuePosition>,
}

impl News {
    /// Whether there is nothing of what the client shows.
    pub fn is_empty(&self) -> bool {
        let lists = [&self.conversations, &self.messages, &self.waiting];
        let ids = [&self.unassigned, &self.left];
        lists.iter().all(|list| list.is_empty())
            && ids.iter().all(|ids| ids.is_empty())
            && self.positions.is_empty()
    }
}

/// Whether anything is new for `user` after position `seq`: what an idle poll costs.
pub fn is_unchanged(window: &Window, user: u64, seq: u64, tells: Tells) -> bool {
    window.is_unchanged(user, tells.topic(), seq)
        && !(tells.shown.conversations && window.projection().moved_since(user, seq))
}

/// What is new for `user` after position `seq`.
pub fn after(window: &Window, user: u64, seq: u64, tells: Tells) -> After<News> {
    let mut from = seq;
    while !is_unchanged(window, user, from, tells) {
        match news_after(window, user, from, tells) {
            // As many changes as one answer takes, and nothing to tell by any of them: whoever waits would go on waiting.
            After::Unchanged(position) if position.seq < window.position().seq => from = position.seq,
            found => return found,
        }
    }
    After::Unchanged(window.position())
}

/// Apart from the above, which nearly every poll ends with: this needs much room on the stack.
#[inline(never)]
fn news_after(window: &Window, user: u64, seq: u64, tells: Tells) -> After<News> {
    let Tells { shown, places, .. } = tells;
    let Some(window::Slices { own, topic: queue, position }) = window.after(user, tells.topic(), seq) else {
        return After::TooOld;
    };
    let mut news = News { total: window.projection().count(), ..News::default() };
    // From the newest back, so that each is given as it is now.
    let mut conversations = HashSet::new();
    for entry in own.iter().rev().filter(|_| shown.conversations) {
        let (id, json) = (entry.conversation_id, entry.conversation_for(user));
        if (json.is_some() || entry.is_taken_from(user)) && conversations.insert(id) {
            match json {
                Some(json) => news.conversations.push(json.clone()),
                None => news.unassigned.push(id),
            }
        }
    }
    // Likewise, but where it first comes: a mark must not put a message behind the answer to it.
    let mut messages = HashMap::new();
    let own = own.iter().filter(|entry| shown.messages && !entry.is_taken_from(user));
    for message in own.filter_map(|entry| entry.message.as_ref()) {
        match messages.entry(message.id) {
            MapEntry::Occupied(place) => news.messages[*place.get()] = message.json.clone(),
            MapEntry::Vacant(place) => {
                place.insert(news.messages.len());
                news.messages.push(message.json.clone());
            }
        }
    }
    let mut queued = HashSet::new();
    for entry in queue.iter().rev().filter(|entry| queued.insert(entry.conversation_id)) {
        match (entry.queue, &entry.conversation) {
            (QueueChange::Waits, Some(rendered)) => news.waiting.push(rendered.for_expert.clone()),
            _ => news.left.push(entry.conversation_id),
        }
    }
    news.conversations.reverse();
    news.unassigned.reverse();
    news.waiting.reverse();
    news.left.reverse();
    if shown.conversations && window.projection().moved_since(user, seq) {
        if !places && news.is_empty() {
            return After::HeldBack;
        }
        news.positions = window.projection().of(user);
    }
    if news.is_empty() { After::Unchanged(position) } else { After::News(news, position) }
}
