//! What a change of the help desk's means in the [`feed`]: what is recorded of it, who sees it, what it shows, what it does to
//! the queue, and how all that is told.
//!
//! | module | what it is |
//! |---|---|
//! | [`event`] | a change as its writer records it, and as the leader reads it |
//! | [`render`], [`item`], [`wire`] | what is made of it: whose it is and what it shows, kept as the text of a run |
//! | [`places`] | who waits, in order: what each window keeps besides its lists |
//! | [`news`], [`shown`], [`answer`] | what is new after a cursor, by what the client shows, and its text |
//! | [`lists`], [`queue`] | the queue, which is told whole; [`super::store::changes`] has the SQL of all this |
//!
//! # An event that is not stored ("typing…")
//! There is none. It could be in no outbox and no run: what is there has a number that cursors move over, and a run without
//! a number would break the rule that each run begins where the one before ended. Instances share only the database, so the
//! others would hear of it by a row: a small table of conversation, user and the time until which it holds. A task of each
//! instance would read that table twice a second.
//! - It would live in [`Desk`], beside the windows as [`lists`] do, and only be told to those who are held or listen: an idle
//!   poll would cost nothing more.
//! - It would touch `sql/` (the table, an upsert, a read), [`super::store::changes`], a new module here, [`news`], [`answer`],
//!   [`shown`], the routes, and the feed's `Shard`, which wakes nobody without an item today.
//! - It would cost an upsert every few seconds for each who types, and two short statements a second for each instance, also
//!   while nobody types. In the tail's own look it would be told sooner, but each of up to a hundred looks a second of each
//!   instance would read one more table.

mod answer;
pub mod event;
pub mod item;
mod lists;
pub mod news;
pub mod places;
mod queue;
mod render;
pub mod shown;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use prometheus::Registry;

use crate::db::{Dedicated, Error};
use crate::feed::block::Block;
use crate::feed::domain::{After, Domain, Unwritten};
use crate::feed::run::{Decoded, Outbox};
use crate::feed::{self, Parts};
use crate::tasks::Kind as TaskKind;

pub use super::store::changes::record_and_commit;
pub use event::NewEvent;
pub use item::Class;
pub use news::Window;
pub(super) use queue::Queue;
pub use shown::{CursorAsk, Shown, Tells};

use super::store::changes::{self as store, Snapshot};
pub(super) use answer::{List, Updates};
use answer::{NOTHING_BYTES_MAX, put_nothing};
use item::Entry;
use lists::Lists;
use news::News;
use places::Places;

/// The help desk's feed.
pub type Feed = feed::Feed<Desk>;

/// What the help desk says to its feed.
pub struct Desk {
    lists: Lists,
}

/// Starts the feed, and the loader of lists, on the runtime that this is called on.
pub fn start(parts: Parts, registry: &Registry) -> Result<Arc<Feed>, prometheus::Error> {
    let (db, tasks) = (parts.db.clone(), parts.tasks.clone());
    let feed = Feed::start(parts, Desk { lists: Lists::new(registry)? }, registry)?;
    let held = Arc::downgrade(&feed);
    tasks.spawn("feed_lists", TaskKind::Needed, move || lists::run(held.clone(), db.clone()));
    Ok(feed)
}

impl Domain for Desk {
    type Payload = Entry;
    type Projection = Places;
    type State = Snapshot;
    type Ask = Tells;
    type News = News;

    const CURSOR_AT: usize = Updates::CURSOR.start;

    async fn load(connection: &mut Dedicated) -> Result<Places, Error> {
        Ok(Places::new(&store::waiting_ids(connection).await?))
    }

    async fn outbox(connection: &mut Dedicated, changes_max: usize) -> Result<Outbox<Snapshot>, Error> {
        store::outbox(connection, changes_max).await
    }

    async fn render(
        connection: &mut Dedicated,
        places: &Places,
        state: Snapshot,
        is_whole: bool,
    ) -> Result<(Vec<u8>, usize), Error> {
        let Snapshot { mut changes, conversations } = state;
        let mut later = changes.split_off(render::fitting(&changes, &conversations));
        if !is_whole && let Some(last) = later.last().or(changes.last()) {
            // They may be of a later moment than the snapshot: what that shows is shown with them at the latest.
            later.extend(store::outbox_rest(connection, last.id).await?);
        }
        let (header, entries) = render::render(places, &changes, &later, &conversations);
        Ok((wire::encode(header, &changes, &entries), entries.len()))
    }

    fn decode(body: &Bytes) -> Option<Decoded<Entry>> {
        wire::decode(body).ok()
    }

    fn after(window: &Window, user: u64, seq: u64, tells: Tells) -> After<News> {
        news::after(window, user, seq, tells)
    }

    fn has_minor(window: &Window, user: u64) -> bool {
        window.projection().has(user)
    }

    fn write(answer: Unwritten<'_, Self>, block: &mut Block) -> Bytes {
        let Unwritten { cursor, ask, news, window, next_poll_ms } = answer;
        let shown = ask.shown;
        let total = window.projection().count();
        let Some(news) = news else {
            if shown == Shown::ALL {
                return block.text(NOTHING_BYTES_MAX, |text| put_nothing(text, cursor, total, next_poll_ms));
            }
            let updates = Updates { total, ..Updates::empty(cursor, shown, next_poll_ms) };
            return block.text(updates.bytes_max(), |text| updates.put(text));
        };
        let updates = Updates {
            conversations: List::Pieces(&news.conversations),
            messages: List::Pieces(&news.messages),
            waiting: List::Pieces(&news.waiting),
            unassigned: &news.unassigned,
            left: &news.left,
            total: news.total,
            positions: &news.positions,
            ..Updates::empty(cursor, shown, next_poll_ms)
        };
        updates.json()
    }

    fn restarted(&self) {
        self.lists.clear();
    }
}
