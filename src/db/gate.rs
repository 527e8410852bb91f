//! Holds connections back until the schema is known to be the one that this program needs. In another schema, such as
//! that of a Rails application, statements would find tables of the same names and damage them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::Error;
use super::pool::POOL_WAIT_MS_MAX;

/// What is known of the schema.
enum SchemaCheck {
    /// Nothing: it was not checked yet.
    Nothing,
    /// It is wrong; why.
    Wrong(String),
    /// It is right, until [`Gate::shut`].
    Right,
}

/// The gate before the pools. It is open unless it was closed, so that commands and tests need not open it.
pub struct Gate {
    /// Whether `known` is [`SchemaCheck::Right`]: read without a lock by every request.
    is_open: AtomicBool,
    known: watch::Sender<SchemaCheck>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { is_open: AtomicBool::new(true), known: watch::Sender::new(SchemaCheck::Right) }
    }
}

impl Gate {
    /// Closes the gate until [`Gate::open`]; callers wait, for the schema is about to be checked.
    pub fn close(&self) {
        self.is_open.store(false, Relaxed);
        self.known.send_replace(SchemaCheck::Nothing);
    }

    /// Opens the gate: the schema is right.
    pub fn open(&self) {
        self.is_open.store(true, Relaxed);
        self.known.send_replace(SchemaCheck::Right);
    }

    /// Tells callers why the gate stays closed: the schema is wrong, or cannot be read.
    pub fn tell(&self, why: &str) {
        if !self.is_open.load(Relaxed) {
            self.known.send_replace(SchemaCheck::Wrong(why.to_owned()));
        }
    }

    /// Closes the gate until [`Gate::open`], because the schema is not right any more.
    pub fn shut(&self, why: String) {
        self.is_open.store(false, Relaxed);
        self.known.send_replace(SchemaCheck::Wrong(why));
    }

    /// Passes without waiting, for callers that have a connection already.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the schema is not right, or not known to be.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_open.load(Relaxed) {
            return Ok(());
        }
        self.why_closed().map_or(Ok(()), |why| Err(Error::Unavailable(why)))
    }

    /// Why the gate is closed; nothing where it is open.
    #[must_use]
    pub fn why_closed(&self) -> Option<String> {
        match &*self.known.borrow() {
            SchemaCheck::Right => None,
            SchemaCheck::Wrong(why) => Some(why.clone()),
            SchemaCheck::Nothing => Some("waiting for the database".to_owned()),
        }
    }

    /// Passes when the schema is right. Waits only while it is checked for the first time, [`POOL_WAIT_MS_MAX`] at most.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the schema is not right, or not known to be in time.
    pub(super) async fn pass(&self) -> Result<(), Error> {
        if self.is_open.load(Relaxed) {
            return Ok(());
        }
        let mut known = self.known.subscribe();
        let is_known = known.wait_for(|known| !matches!(known, SchemaCheck::Nothing));
        // Whether it is known in time or not, the state tells.
        drop(timeout(Duration::from_millis(POOL_WAIT_MS_MAX), is_known).await);
        match self.why_closed() {
            None => Ok(()),
            Some(why) => Err(Error::Unavailable(why)),
        }
    }
}
