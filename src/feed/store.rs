//! The feed's SQL, and the connections of their own that the tail and the lists keep.

use std::collections::HashMap;

use mysql_async::Value;

use crate::clock::Timestamp;
use crate::db::{Columns, Connection, Db, Dedicated, Error, Literal, Record};

use super::event::{Change, Event, Kind, NewEvent};
use super::position::Position;
use super::resource::{Conversation, Message};
use super::window::Waiting;

crate::statements! { "feed":
    HEAD = "head";
    LOOK = "look";
    TAIL = "tail";
    WAITING_PAGE = "waiting_page";
    ASSIGNED_64 = "assigned_64";
    WAITING_IDS = "waiting_ids";
    PURGE_BOUND = "purge_bound";
    PURGE_EVENTS = "purge_events";
    PURGE_LOCK = "purge_lock";
}

crate::packets! { "feed":
    RECORD = "record";
    SEQUENCE = "sequence";
}

/// Numbered rows of one `feed.tail`. There are no gaps, so the numbers themselves limit them.
pub const TAIL_ROWS_MAX: usize = 500;
/// Rows of one `feed.tail` that have no number yet, and are numbered in one go: its LIMIT.
pub const OUTBOX_ROWS_MAX: usize = 500;
/// Rows of one page of `feed.waiting_ids`: its LIMIT.
const PAGE_ROWS: usize = 10_000;
/// Experts in one `feed.assigned_64`.
pub const ASSIGNED_AT_ONCE: usize = 64;

/// Records a change and commits the transaction that made it, in one exchange. Nothing comes after it: nothing
/// may fail for want of a lock once it is recorded, and the shorter the row waits for its commit, the sooner
/// it is seen.
///
/// Returns the event's id, for [`super::Feed::wrote`].
///
/// # Errors
/// See [`Connection::run_and_commit`].
pub async fn record_and_commit(connection: &mut Connection, event: &NewEvent) -> Result<u64, Error> {
    let NewEvent { kind, conversation, message, expert } = *event;
    let kind = Literal::Word(kind.as_str());
    let parameters = [kind, conversation.into(), Literal::Number(message), Literal::Number(expert)];
    Ok(connection.run_and_commit(&RECORD, &parameters).await?.last_id)
}

/// Where the feed is, and the changes that a window can begin with.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The last number given.
    pub position: Position,
    /// The database's clock.
    pub clock: Timestamp,
    /// The newest change that is there: the last number given, or numbers were given to nothing.
    pub newest: Option<u64>,
    /// The oldest change that was not purged.
    pub oldest: Option<u64>,
    /// The first of those that lead up to the newest without a gap, at most 10,000 back (the statement's own limit).
    pub first: Option<Position>,
}

impl Record for Head {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let position = Position { seq: columns.take()?, at: columns.take()? };
        let (clock, newest, oldest) = (columns.take()?, columns.take()?, columns.take()?);
        let (seq, at): (Option<u64>, Option<Timestamp>) = (columns.take()?, columns.take()?);
        let first = seq.zip(at).map(|(seq, at)| Position { seq, at });
        Ok(Self { position, clock, newest, oldest, first })
    }
}

/// One page of the tail, all of one snapshot.
#[derive(Debug, Default)]
pub struct Page {
    /// The last number given.
    pub head: Position,
    /// The database's clock.
    pub clock: Timestamp,
    /// The time of the change that the page comes after, if that is there.
    pub anchor: Option<Timestamp>,
    /// In order.
    pub events: Vec<Event>,
    /// What is committed and has no number yet, in the order in which it is to be numbered.
    pub outbox: Vec<Change>,
    /// The conversations of the events, and of the outbox where it was read to be numbered.
    pub conversations: HashMap<u64, Conversation>,
}

/// The page's own columns; nothing else where nothing is new.
struct TailRow(Position, Timestamp, Option<Timestamp>, Option<Found>);

/// A change with its conversation, numbered or from the outbox.
struct Found {
    number: Option<(u64, Timestamp)>,
    change: Change,
    conversation: Option<Conversation>,
}

impl Record for TailRow {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let head = Position { seq: columns.take()?, at: columns.take()? };
        let (clock, anchor) = (columns.take()?, columns.take()?);
        let (seq, id): (Option<u64>, Option<u64>) = (columns.take()?, columns.take()?);
        let Some(id) = id else { return Ok(Self(head, clock, anchor, None)) };
        let at: Option<Timestamp> = columns.take()?;
        let kind: String = columns.take()?;
        let (conversation_id, message_id): (Option<u64>, Option<u64>) = (columns.take()?, columns.take()?);
        let expert_id = columns.take()?;
        let message = read_message(columns, message_id, conversation_id)?;
        let conversation = read_conversation(columns)?;
        let change = Change { id, kind: Kind::parse(&kind), conversation_id, expert_id, message };
        Ok(Self(head, clock, anchor, Some(Found { number: seq.zip(at), change, conversation })))
    }
}

fn read_message(
    columns: &mut Columns,
    id: Option<u64>,
    conversation_id: Option<u64>,
) -> Result<Option<Message>, Error> {
    let sender: Option<u64> = columns.take()?;
    let (Some(id), Some(conversation_id), Some(sender_id)) = (id, conversation_id, sender) else {
        columns.skip(5);
        return Ok(None);
    };
    Ok(Some(Message {
        id,
        conversation_id,
        sender_id,
        sender_username: columns.take::<Option<String>>()?.unwrap_or_default(),
        sender_role: columns.take()?,
        content: columns.take()?,
        is_read: columns.take()?,
        created_at: columns.take()?,
    }))
}

fn read_conversation(columns: &mut Columns) -> Result<Option<Conversation>, Error> {
    if columns.next_is_null() { Ok(None) } else { Conversation::read(columns).map(Some) }
}

/// A conversation, and whether the feed is behind it.
#[derive(Clone, Debug)]
pub struct Current {
    /// As it is.
    pub conversation: Conversation,
    /// Whether it shows a change that comes only after a given number in the feed, or has none yet. Read marks
    /// do not count: they move no time, and `since` polls do not see them.
    pub is_ahead: bool,
}

impl Record for Current {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        Ok(Self { conversation: Conversation::read(columns)?, is_ahead: columns.take()? })
    }
}

impl Record for Waiting {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        Ok(Self { conversation: columns.take()?, opened_at: columns.take()?, initiator: columns.take()? })
    }
}

/// The feed's own connection. One whose exchange failed or was dropped half-way is out of step: the owner drops it and
/// connects anew.
pub struct Session(Dedicated);

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn open(db: &Db) -> Result<Self, Error> {
        Ok(Self(Dedicated::open(db).await?))
    }

    /// Where the feed is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn head(&mut self) -> Result<Head, Error> {
        self.0.rows(&HEAD, ()).await?.pop().ok_or_else(no_feed)
    }

    /// The page after `last` if it is empty, for a third of what [`Session::tail`] costs the database; `None` when there
    /// is something to be read.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn look(&mut self, last: Position) -> Result<Option<Page>, Error> {
        let (seq, at, clock, has_outbox): (u64, Timestamp, Timestamp, bool) =
            self.0.rows(&LOOK, ()).await?.pop().ok_or_else(no_feed)?;
        let head = Position { seq, at };
        Ok((seq == last.seq && !has_outbox).then(|| Page { head, clock, ..Page::default() }))
    }

    /// The changes after `seq`, at most [`TAIL_ROWS_MAX`], and at most [`OUTBOX_ROWS_MAX`] without a number; these with their
    /// messages and conversations only if they are `to_be_numbered` by the caller. They are
    /// sorted here: to sort rows that hold a TEXT the database would make a temporary table for each read, and
    /// MariaDB 10.11.19 crashes (in `ha_maria::drop_table`) when such a read fails half-way.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tail(&mut self, seq: u64, to_be_numbered: bool) -> Result<Page, Error> {
        let params = (seq, seq, seq.saturating_add(TAIL_ROWS_MAX as u64), to_be_numbered, to_be_numbered);
        let rows: Vec<TailRow> = self.0.rows(&TAIL, params).await?;
        let &TailRow(head, clock, anchor, _) = rows.first().ok_or_else(no_feed)?;
        let (mut events, mut outbox, mut conversations) = (Vec::new(), Vec::new(), HashMap::new());
        for Found { number, change, conversation } in rows.into_iter().filter_map(|row| row.3) {
            conversations.extend(conversation.map(|conversation| (conversation.id, conversation)));
            match number {
                Some((seq, at)) => events.push(Event { seq, at, change }),
                None => outbox.push(change),
            }
        }
        events.sort_unstable_by_key(|event| event.seq);
        outbox.sort_unstable_by_key(|change| change.id);
        Ok(Page { head, clock, anchor, events, outbox, conversations })
    }

    /// Numbers what the outbox had in it when the feed was at `head`: the time of the last one, `None` when somebody
    /// else was faster.
    ///
    /// # Errors
    /// See [`Error`]. The session must not be used again: a transaction may be open.
    pub async fn sequence(&mut self, head: Position, ids: &[u64]) -> Result<Option<Timestamp>, Error> {
        let (seq, count) = (Literal::from(head.seq), Literal::from(ids.len() as u64));
        let (at, ids) = (Literal::Time(head.at), Literal::Numbers(ids));
        let mut text = String::new();
        SEQUENCE.write(&[count, seq, at, seq, count, ids, ids, count], &mut text);
        let row = self.0.packet(text).await?;
        let at: Option<i64> = row.map(|mut row| row.take()).transpose()?.flatten();
        Ok(at.map(Timestamp::from_micros))
    }

    /// Says goodbye, so that the server has nothing left to send to nobody.
    pub async fn close(self) {
        self.0.close().await;
    }

    /// All conversations that wait.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn waiting_ids(&mut self) -> Result<Vec<Waiting>, Error> {
        let mut all = Vec::new();
        loop {
            let last = all.last().map_or(0, |one: &Waiting| one.conversation);
            let page: Vec<Waiting> = self.0.rows(&WAITING_IDS, (last,)).await?;
            let last = page.len() < PAGE_ROWS;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// The longest waiting conversations. Those that changed after `seq` are ahead.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn waiting_page(&mut self, seq: u64) -> Result<Vec<Current>, Error> {
        self.0.rows(&WAITING_PAGE, (seq,)).await
    }

    /// What at most [`ASSIGNED_AT_ONCE`] experts are assigned to, newest change first. Those that changed after
    /// `seq` are ahead.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn assigned(&mut self, experts: &[u64], seq: u64) -> Result<Vec<Current>, Error> {
        let mut params = padded(experts, ASSIGNED_AT_ONCE);
        params.push(Value::from(seq));
        self.0.rows(&ASSIGNED_64, params).await
    }

    /// Becomes the one who purges, as long as this connection lives.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn purge_lock(&mut self) -> Result<bool, Error> {
        Ok(self.0.rows::<Option<u64>>(&PURGE_LOCK, ()).await?.pop().flatten() == Some(1))
    }

    /// Removes some changes older than `retention_seconds`; how many.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn purge_events(&mut self, retention_seconds: u64) -> Result<u64, Error> {
        let bound = self.0.rows::<Option<u64>>(&PURGE_BOUND, (retention_seconds,)).await?.pop().flatten();
        let Some(bound) = bound else { return Ok(0) };
        self.0.run(&PURGE_EVENTS, (bound,)).await
    }

    /// This connection's id, for the test that kills it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

/// The ids, the last one repeated until there are `size`.
fn padded(ids: &[u64], size: usize) -> Vec<Value> {
    let last = ids.last().copied().unwrap_or(0);
    ids.iter().copied().chain(std::iter::repeat(last)).take(size).map(Value::from).collect()
}

fn no_feed() -> Error {
    Error::Unavailable("there is no feed yet".to_owned())
}
