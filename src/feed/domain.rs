//! What a service says to the feed that it has one of.

use bytes::Bytes;

use crate::db::{Dedicated, Error};

use super::block::Block;
use super::cursor::Cursor;
use super::item::{Payload, Projection};
use super::run::{Decoded, Outbox};
use super::window::{Position, Window};

/// A service with a feed: what its changes mean, whom they concern, and how they are told.
pub trait Domain: Send + Sync + Sized + 'static {
    /// What an item says.
    type Payload: Payload;
    /// What it keeps in each window, and the leader to make runs of.
    type Projection: Projection<Self::Payload>;
    /// What it reads with the outbox.
    type State: Send;
    /// What cursor polls ask for.
    type Ask: Ask;
    /// What is new after a cursor.
    type News;
    /// Where the cursor's text begins in what [`Domain::write`] writes.
    const CURSOR_AT: usize;
    /// What windows begin with; it may be of a later moment than they.
    fn load(connection: &mut Dedicated) -> impl Future<Output = Result<Self::Projection, Error>> + Send;
    /// The first `changes_max` of what has no number, with the state after exactly all of that: one statement, one snapshot.
    fn outbox(
        connection: &mut Dedicated,
        changes_max: usize,
    ) -> impl Future<Output = Result<Outbox<Self::State>, Error>> + Send;
    /// The text of the run that is made of what was read, and how many of the outbox's first rows it has: at least one. What
    /// is left is for the next run. The outbox has rows that were not read unless it `is_whole`.
    fn render(
        connection: &mut Dedicated,
        projection: &Self::Projection,
        state: Self::State,
        is_whole: bool,
    ) -> impl Future<Output = Result<(Vec<u8>, usize), Error>> + Send;
    /// Reads such a text, of another version of the program too; `None` for what is none.
    fn decode(body: &Bytes) -> Option<Decoded<Self::Payload>>;
    /// What is new after `seq` for `user`, who asks for this.
    fn after(window: &WindowOf<Self>, user: u64, seq: u64, ask: Self::Ask) -> After<Self::News>;
    /// Whether something can become new for `user` that wakes nobody.
    fn has_minor(window: &WindowOf<Self>, user: u64) -> bool;
    /// The answer to a cursor poll. Where there is no news, it is cut from `block`.
    fn write(answer: Unwritten<'_, Self>, block: &mut Block) -> Bytes;
    /// The windows begin anew: what was kept of another history is to be forgotten.
    fn restarted(&self);
}

pub type WindowOf<D> = Window<<D as Domain>::Payload, <D as Domain>::Projection>;

/// What a cursor poll asks for.
pub trait Ask: Copy + Send + 'static {
    /// The topic that it follows.
    fn topic(self) -> Option<usize>;
    /// Whether its user is not entitled to all of it.
    fn is_denied(self) -> bool;
    /// Whether it is to be told of minor news alone. Whoever is held is told of them now and then only.
    fn minor(self) -> bool;
    #[must_use]
    fn with_minor(self, minor: bool) -> Self;
}

/// What there is after a cursor.
#[derive(Debug, PartialEq, Eq)]
pub enum After<N> {
    /// Nothing to be told, up to here.
    Unchanged(Position),
    /// Nothing but minor news that are not to be told yet: the cursor stays.
    HeldBack,
    /// This is all that one answer holds, up to here.
    News(N, Position),
    /// The window does not reach back that far.
    TooOld,
}

/// An answer to a cursor poll, before it is written.
pub struct Unwritten<'a, D: Domain> {
    pub cursor: Cursor,
    pub ask: D::Ask,
    pub news: Option<D::News>,
    pub window: &'a WindowOf<D>,
    pub next_poll_ms: u64,
}

/// A position, and what is asked for of what came after it.
#[derive(Clone, Copy, Debug)]
pub struct CursorAsk<A> {
    /// What the client has: it is told what came after.
    pub cursor: Cursor,
    /// What it asks for.
    pub ask: A,
}
