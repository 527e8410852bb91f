//! What the feed is made of: items, and what it must know of what they say. Pure.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;

/// A numbered change as the window keeps it, shared by all event loops. It reads as its payload.
#[derive(Debug)]
pub struct Item<P> {
    /// Its place in the feed.
    pub seq: u64,
    /// The outbox row's id.
    pub id: u64,
    /// The feed's time.
    pub at: Timestamp,
    /// The place of the first item that was numbered from the same snapshot, however many runs that took. Of items with
    /// different subjects that were, another snapshot may hold a later and lack an earlier one.
    pub group: u64,
    /// What the service says.
    pub payload: P,
}

impl<P> Deref for Item<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.payload
    }
}

/// What a service says by an item. A recipient is a user's id, a topic an index below [`Projection::TOPICS`].
pub trait Payload: Send + Sync + 'static {
    /// The kinds of `since` polls.
    type Class: PollClass;
    /// Who gets it, each once; never 0.
    fn recipients(&self) -> impl Iterator<Item = u64>;
    /// Who is entitled to nothing of its subject any more but to learn that: it shows them nothing, unless they are among its
    /// recipients for another reason.
    fn withdrawn_from(&self) -> Option<u64>;
    /// What it is about: items of one subject are told in one order, and the newest stands for all.
    fn subject(&self) -> u64;
    /// The topic that it belongs to as well.
    fn topic(&self) -> Option<usize>;
    /// Whether `since` polls are told of it. Others may show it nevertheless.
    fn is_told(&self) -> bool;
    /// What it shows one of its recipients in a class.
    fn shows(&self, class: Self::Class, recipient: u64) -> Option<Shows<'_>>;
    /// The time that it shows on its topic, if any.
    fn topic_stamp(&self) -> Option<Timestamp>;
    /// About what it takes in memory, the item and its places in the lists included.
    fn bytes(&self) -> usize;
}

/// What an item shows in a class.
#[derive(Clone, Copy, Debug)]
pub struct Shows<'a> {
    /// The id of the thing that is shown: the newest item that shows it has it as it is now.
    pub thing: u64,
    /// Its JSON, as it stands in an answer's list.
    pub text: &'a Bytes,
    /// The time in it that clients echo.
    pub stamp: Timestamp,
}

/// What a `since` poll can ask for.
pub trait PollClass: Copy + 'static {
    /// All of them, by their index; at most [`CLASSES_MAX`].
    const ALL: &'static [Self];
    /// Its place in [`PollClass::ALL`].
    fn index(self) -> usize;
    /// The topic that it shows besides a recipient's own items. Such a class is told whole, by its service.
    fn topic(self) -> Option<usize>;
    /// Whether its news take the place of what a client has. Others only add to it.
    fn replaces(self) -> bool;
}

/// Classes that a recipient's view has room for.
pub const CLASSES_MAX: usize = 3;

/// What a service keeps in each window, made of the items in order.
pub trait Projection<P>: Clone + Send + Sync + 'static {
    /// How many topics there are.
    const TOPICS: usize;
    /// Takes in a run's items.
    fn apply(&mut self, items: &[Arc<Item<P>>]);
}
