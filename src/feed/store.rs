//! The feed's SQL, and the connections of their own that the tail and the lists keep.

use std::collections::HashMap;

use mysql_async::Value;

use crate::clock::Timestamp;
use crate::db::{Columns, Connection, Db, Dedicated, Error, Literal, Record};

use super::event::{Change, Kind, NewEvent};
use super::position::Position;
use super::resource::{Conversation, Message};
use super::run::Run;
use super::window::Waiting;

crate::statements! { "feed":
    LOOK = "look";
    OUTBOX = "outbox";
    OUTBOX_REST = "outbox_rest";
    RUN_LIST = "run_list";
    WAITING_PAGE = "waiting_page";
    ASSIGNED_64 = "assigned_64";
    WAITING_IDS = "waiting_ids";
    PURGE_BOUND = "purge_bound";
    PURGE_RUNS = "purge_runs";
    PURGE_LOCK = "purge_lock";
}

crate::packets! { "feed":
    RECORD = "record";
    SEQUENCE = "sequence";
}

/// Changes of one `feed.outbox`, its LIMIT, and so of one run; and those that one `feed.look` gives the runs of.
pub const OUTBOX_ROWS_MAX: usize = 500;
/// Rows of one page of `feed.waiting_ids`: its LIMIT.
const PAGE_ROWS: usize = 10_000;
/// After every number there is.
const BEYOND: u64 = i64::MAX as u64 - OUTBOX_ROWS_MAX as u64;
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

/// Changes that have no number, of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The first one's id.
    pub oldest: u64,
    /// The last one's.
    pub newest: u64,
}

/// What came after a place, of one snapshot.
#[derive(Debug)]
pub struct Look {
    /// The last number given.
    pub head: Position,
    /// The database's clock.
    pub clock: Timestamp,
    /// What has no number, if there is anything.
    pub open: Option<Open>,
    /// The next runs. There are more if the last of them does not reach the head.
    pub runs: Vec<Run>,
}

/// What there is to number, of one snapshot.
#[derive(Debug)]
pub struct Outbox {
    /// The last number given.
    pub head: Position,
    /// The database's clock.
    pub clock: Timestamp,
    /// What is to be numbered, in that order: at most [`OUTBOX_ROWS_MAX`].
    pub changes: Vec<Change>,
    /// The conversations of these.
    pub conversations: HashMap<u64, Conversation>,
}

struct LookRow(Position, Timestamp, bool, Option<Open>, Option<Run>);

impl Record for LookRow {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let head = Position { seq: columns.take()?, at: columns.take()? };
        let (clock, is_read_only) = (columns.take()?, columns.take()?);
        let (oldest, newest): (Option<u64>, Option<u64>) = (columns.take()?, columns.take()?);
        let open = oldest.zip(newest).map(|(oldest, newest)| Open { oldest, newest });
        let run = if columns.next_is_null() { None } else { Some(Run::read(columns)?) };
        Ok(Self(head, clock, is_read_only, open, run))
    }
}

struct OutboxRow(Position, Timestamp, Option<(Change, Option<Conversation>)>);

impl Record for OutboxRow {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let head = Position { seq: columns.take()?, at: columns.take()? };
        let (clock, id): (Timestamp, Option<u64>) = (columns.take()?, columns.take()?);
        let Some(id) = id else { return Ok(Self(head, clock, None)) };
        let kind: String = columns.take()?;
        let (conversation_id, message_id): (Option<u64>, Option<u64>) = (columns.take()?, columns.take()?);
        let expert_id = columns.take()?;
        let message = read_message(columns, message_id, conversation_id)?;
        let conversation = read_conversation(columns)?;
        let change = Change { id, kind: Kind::parse(&kind), conversation_id, expert_id, message };
        Ok(Self(head, clock, Some((change, conversation))))
    }
}

/// A change as far as it matters to those that are numbered before it.
struct Rest(Change);

impl Record for Rest {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let (id, kind): (u64, String) = (columns.take()?, columns.take()?);
        let (conversation_id, expert_id) = (columns.take()?, columns.take()?);
        Ok(Self(Change { id, kind: Kind::parse(&kind), conversation_id, expert_id, message: None }))
    }
}

/// Where a run begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The number of its last change.
    pub last: u64,
    /// The number of its first.
    pub first: u64,
    /// The time of the change before that.
    pub after_at: Timestamp,
    /// Bytes of all runs' texts up to this one.
    pub bytes: u64,
}

impl Record for Place {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let (last, first) = (columns.take()?, columns.take()?);
        Ok(Self { last, first, after_at: columns.take()?, bytes: columns.take()? })
    }
}

impl Record for Run {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let (seq, first) = (columns.take()?, columns.take()?);
        let (after_at, at): (Timestamp, Timestamp) = (columns.take()?, columns.take()?);
        let (bytes, body): (u64, Vec<u8>) = (columns.take()?, columns.take()?);
        Ok(Self { last: Position { seq, at }, first, after_at, bytes, body: body.into() })
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

    /// What came after `seq`, up to which the runs' texts took `bytes`: what every round of an instance that does not number
    /// costs. Of the runs these are [`OUTBOX_ROWS_MAX`] changes at most, which are one run at least, and some MiB where they
    /// are more.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn look(&mut self, seq: u64, bytes: u64) -> Result<Look, Error> {
        let params = (seq, seq + OUTBOX_ROWS_MAX as u64, bytes, seq + 1);
        let rows: Vec<LookRow> = self.0.rows(&LOOK, params).await?;
        let &LookRow(head, clock, is_read_only, open, _) = rows.first().ok_or_else(no_feed)?;
        self.0.still_writes(is_read_only)?;
        let mut runs: Vec<Run> = rows.into_iter().filter_map(|row| row.4).collect();
        // By primary key they come in this order, but nothing promises that.
        runs.sort_unstable_by_key(|run| run.last.seq);
        Ok(Look { head, clock, open, runs })
    }

    /// Where the head is, and the database's clock.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn head(&mut self) -> Result<(Position, Timestamp), Error> {
        self.look(BEYOND, 0).await.map(|look| (look.head, look.clock))
    }

    /// What it takes to number the first [`OUTBOX_ROWS_MAX`] changes. They are sorted here: to sort rows that hold a
    /// TEXT the database would make a temporary table for each read, and MariaDB 10.11.19 crashes (in
    /// `ha_maria::drop_table`) when such a read fails half-way.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn outbox(&mut self) -> Result<Outbox, Error> {
        let rows: Vec<OutboxRow> = self.0.rows(&OUTBOX, ()).await?;
        let &OutboxRow(head, clock, _) = rows.first().ok_or_else(no_feed)?;
        let (mut changes, mut conversations) = (Vec::new(), HashMap::new());
        for (change, conversation) in rows.into_iter().filter_map(|row| row.2) {
            conversations.extend(conversation.map(|conversation| (conversation.id, conversation)));
            changes.push(change);
        }
        changes.sort_unstable_by_key(|change: &Change| change.id);
        Ok(Outbox { head, clock, changes, conversations })
    }

    /// What has no number and comes after `id`, without texts: ten thousand at most. What comes after those may be shown
    /// by a conversation before its time; it costs a repeat, as of changes that show the same time the oldest counts.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn outbox_rest(&mut self, id: u64) -> Result<Vec<Change>, Error> {
        let rest: Vec<Rest> = self.0.rows(&OUTBOX_REST, (id,)).await?;
        Ok(rest.into_iter().map(|rest| rest.0).collect())
    }

    /// The runs after `seq`, without their texts.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn run_list(&mut self, seq: u64) -> Result<Vec<Place>, Error> {
        self.0.rows(&RUN_LIST, (seq,)).await
    }

    /// Gives the changes `ids`, which were read when the feed was at `head`, the numbers after it, with `body` as the text of
    /// their run, and `bytes` up to its end: the time of the last one, `None` when somebody else was faster.
    ///
    /// # Errors
    /// See [`Error`]. The session must not be used again: a transaction may be open.
    pub async fn sequence(
        &mut self,
        head: Position,
        ids: &[u64],
        bytes: u64,
        body: &[u8],
    ) -> Result<Option<Timestamp>, Error> {
        let length = ids.len() as u64;
        let (seq, count) = (Literal::from(head.seq), Literal::from(length));
        let (at, ids) = (Literal::Time(head.at), Literal::Numbers(ids));
        let last = Literal::from(head.seq + length);
        let first = Literal::from(head.seq + 1);
        let mut text = String::new();
        let (bytes, body) = (Literal::from(bytes), Literal::Bytes(body));
        SEQUENCE.write(&[count, seq, at, last, first, at, bytes, body, ids, count], &mut text);
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

    /// Removes some runs that are older than `retention_seconds`, or that more changes or bytes came after than `kept` says;
    /// how many.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn purge_runs(&mut self, retention_seconds: u64, kept: (u64, u64)) -> Result<u64, Error> {
        let bound = self.0.rows::<Option<u64>>(&PURGE_BOUND, (retention_seconds, kept.0, kept.1)).await?;
        let Some(bound) = bound.into_iter().next().flatten() else { return Ok(0) };
        self.0.run(&PURGE_RUNS, (bound,)).await
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
