//! What a cursor poll asks.

use super::cursor::Cursor;
use super::shown::Shown;
use super::window::Tells;

/// A position, and what the client shows of what came after it.
#[derive(Clone, Copy, Debug)]
pub struct CursorAsk {
    /// What the client has: it is told what came after.
    pub cursor: Cursor,
    /// What may be told.
    pub tells: Tells,
}

impl CursorAsk {
    /// By a client that shows this.
    #[must_use]
    pub const fn new(cursor: Cursor, shown: Shown) -> Self {
        Self { cursor, tells: Tells { shown, queue: shown.queue, places: true } }
    }

    /// The same where its user may be told of the queue, or may not.
    #[must_use]
    pub const fn with_queue(self, may: bool) -> Self {
        let queue = self.tells.shown.queue && may;
        Self { tells: Tells { queue, ..self.tells }, ..self }
    }

    /// The same where it asks again as soon as it was told: a change of a place alone can wait.
    #[must_use]
    pub const fn patient(self) -> Self {
        Self { tells: Tells { places: false, ..self.tells }, ..self }
    }
}

impl From<Cursor> for CursorAsk {
    fn from(cursor: Cursor) -> Self {
        Self::new(cursor, Shown::ALL)
    }
}
