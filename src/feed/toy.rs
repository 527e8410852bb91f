//! A service for the feed's own tests: an item says whom it is for, and nothing else.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::db::{Dedicated, Error};

use super::block::Block;
use super::domain::{After, Ask, Domain, Unwritten, WindowOf};
use super::item::{Item, Payload, PollClass, Projection, Shows};
use super::run::{Decoded, Outbox};

/// For this user, and on the one topic.
#[derive(Debug)]
pub(super) struct For(u64);

pub(super) fn item(seq: u64, user: u64) -> Arc<Item<For>> {
    Arc::new(Item { seq, id: seq, at: Timestamp::from_micros(1), group: seq, payload: For(user) })
}

#[derive(Clone, Copy)]
pub(super) struct All;

impl PollClass for All {
    const ALL: &'static [Self] = &[Self];

    fn index(self) -> usize {
        0
    }

    fn topic(self) -> Option<usize> {
        None
    }

    fn replaces(self) -> bool {
        false
    }
}

impl Payload for For {
    type Class = All;

    fn recipients(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.0)
    }

    fn withdrawn_from(&self) -> Option<u64> {
        None
    }

    fn subject(&self) -> u64 {
        1
    }

    fn topic(&self) -> Option<usize> {
        Some(0)
    }

    fn is_told(&self) -> bool {
        true
    }

    fn shows(&self, _: All, _: u64) -> Option<Shows<'_>> {
        None
    }

    fn topic_stamp(&self) -> Option<Timestamp> {
        None
    }

    fn bytes(&self) -> usize {
        1
    }
}

#[derive(Clone)]
pub(super) struct Nothing;

impl Projection<For> for Nothing {
    const TOPICS: usize = 1;

    fn apply(&mut self, _: &[Arc<Item<For>>]) {}
}

#[derive(Clone, Copy)]
pub(super) struct Anything;

impl Ask for Anything {
    fn topic(self) -> Option<usize> {
        None
    }

    fn is_denied(self) -> bool {
        false
    }

    fn minor(self) -> bool {
        true
    }

    fn with_minor(self, _: bool) -> Self {
        self
    }
}

pub(super) struct Toy;

impl Domain for Toy {
    type Payload = For;
    type Projection = Nothing;
    type State = ();
    type Ask = Anything;
    type News = ();

    const CURSOR_AT: usize = 0;

    async fn load(_: &mut Dedicated) -> Result<Nothing, Error> {
        Ok(Nothing)
    }

    async fn outbox(_: &mut Dedicated, _: usize) -> Result<Outbox<()>, Error> {
        Err(Error::Unavailable("a toy has none".to_owned()))
    }

    async fn render(_: &mut Dedicated, _: &Nothing, (): (), _: bool) -> Result<(Vec<u8>, usize), Error> {
        Err(Error::Unavailable("a toy has none".to_owned()))
    }

    fn decode(_: &Bytes) -> Option<Decoded<For>> {
        None
    }

    fn after(window: &WindowOf<Self>, user: u64, seq: u64, _: Anything) -> After<()> {
        let unchanged = window.is_unchanged(user, None, seq);
        if unchanged { After::Unchanged(window.position()) } else { After::News((), window.position()) }
    }

    fn has_minor(_: &WindowOf<Self>, _: u64) -> bool {
        false
    }

    fn write(answer: Unwritten<'_, Self>, block: &mut Block) -> Bytes {
        block.text(64, |text| text.extend_from_slice(&answer.cursor.text()))
    }

    fn restarted(&self) {}
}
