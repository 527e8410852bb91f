//! Nobody gets a connection before the schema is known to be the one that this program needs: on another's, such as
//! that of a Rails application, statements would find tables of the same names and change what they do not understand.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::Error;
use super::pool::POOL_WAIT_MS_MAX;

/// What is known of the schema.
enum Known {
    /// It was not looked at yet.
    Nothing,
    /// Why nobody may pass.
    Wrong(String),
    /// Everybody may pass, until [`Gate::shut`].
    Right,
}

/// Open, unless somebody closed it.
pub struct Gate {
    /// So that those who pass need to look at nothing else.
    is_open: AtomicBool,
    known: watch::Sender<Known>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { is_open: AtomicBool::new(true), known: watch::Sender::new(Known::Right) }
    }
}

impl Gate {
    /// Nobody passes until [`Gate::open`].
    pub fn close(&self) {
        self.is_open.store(false, Relaxed);
        self.known.send_replace(Known::Nothing);
    }

    /// The schema is right.
    pub fn open(&self) {
        self.is_open.store(true, Relaxed);
        self.known.send_replace(Known::Right);
    }

    /// The schema is wrong, or cannot be looked at: why, for those who want to pass.
    pub fn tell(&self, why: &str) {
        if !self.is_open.load(Relaxed) {
            self.known.send_replace(Known::Wrong(why.to_owned()));
        }
    }

    /// The schema is not right any more: nobody passes until [`Gate::open`].
    pub fn shut(&self, why: String) {
        self.is_open.store(false, Relaxed);
        self.known.send_replace(Known::Wrong(why));
    }

    /// The same as [`Gate::pass`] for those who have a connection already: waits for nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the schema is not right, or that is not known.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_open.load(Relaxed) {
            return Ok(());
        }
        self.why_closed().map_or(Ok(()), |why| Err(Error::Unavailable(why)))
    }

    /// Why the schema is not right, as far as that is known; nothing where it is.
    #[must_use]
    pub fn why_closed(&self) -> Option<String> {
        match &*self.known.borrow() {
            Known::Right => None,
            Known::Wrong(why) => Some(why.clone()),
            Known::Nothing => Some("waiting for the database".to_owned()),
        }
    }

    /// Returns when the schema is right. Waits only while it is being looked at for the first time.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is not, or that is not known in time.
    pub(super) async fn pass(&self) -> Result<(), Error> {
        if self.is_open.load(Relaxed) {
            return Ok(());
        }
        let mut known = self.known.subscribe();
        let is_known = known.wait_for(|known| !matches!(known, Known::Nothing));
        // The sender is ours; what comes too late reads as what is known.
        drop(timeout(Duration::from_millis(POOL_WAIT_MS_MAX), is_known).await);
        match self.why_closed() {
            None => Ok(()),
            Some(why) => Err(Error::Unavailable(why)),
        }
    }
}
