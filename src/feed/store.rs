//! The feed's SQL, on a connection of its own. One whose exchange failed or was dropped half-way is out of step: its owner
//! drops it and connects anew. What writers record in the outbox, and what is read with that, is a
//! service's.

use crate::clock::Timestamp;
use crate::db::{Columns, Dedicated, Error, Literal, Record};

use super::cursor::Position;
use super::run::{RUN_ITEMS_MAX, Run, Unnumbered};

crate::statements! { "feed":
    LOOK = "look";
    RUN_LIST = "run_list";
    PURGE_BOUND = "purge_bound";
    PURGE_RUNS = "purge_runs";
    PURGE_LOCK = "purge_lock";
}

crate::packets! { "feed":
    SEQUENCE = "sequence";
}

/// After every number there is.
const BEYOND: u64 = i64::MAX as u64 - RUN_ITEMS_MAX as u64;

/// What came after a place, of one snapshot.
#[derive(Debug)]
pub struct Look {
    /// The last number given.
    pub head: Position,
    /// The database's clock.
    pub clock: Timestamp,
    /// What has no number, if there is anything.
    pub open: Option<Unnumbered>,
    /// The next runs. There are more if the last of them does not reach the head.
    pub runs: Vec<Run>,
}

crate::records! { Position { seq, at } }

struct LookRow(Position, Timestamp, bool, Option<Unnumbered>, Option<Run>);

impl Record for LookRow {
    fn read(columns: &mut Columns) -> Result<Self, Error> {
        let head = Position::read(columns)?;
        let (clock, is_read_only) = (columns.take()?, columns.take()?);
        let (oldest, newest): (Option<u64>, Option<u64>) = (columns.take()?, columns.take()?);
        let open = oldest.zip(newest).map(|(oldest, newest)| Unnumbered { oldest, newest });
        let run = if columns.next_is_null() { None } else { Some(Run::read(columns)?) };
        Ok(Self(head, clock, is_read_only, open, run))
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

/// What came after `seq`, up to which the runs' texts took `bytes`: what every round of an instance that does not number
/// costs. Of the runs these are [`RUN_ITEMS_MAX`] changes at most, which are one run at least, and some MiB where they
/// are more.
pub async fn look(db: &mut Dedicated, seq: u64, bytes: u64) -> Result<Look, Error> {
    let params = (seq, seq + RUN_ITEMS_MAX as u64, bytes, seq + 1);
    let rows: Vec<LookRow> = db.rows(&LOOK, params).await?;
    let &LookRow(head, clock, is_read_only, open, _) = rows.first().ok_or_else(no_feed)?;
    db.still_writes(is_read_only)?;
    let mut runs: Vec<Run> = rows.into_iter().filter_map(|row| row.4).collect();
    // By primary key they come in this order, but nothing promises that.
    runs.sort_unstable_by_key(|run| run.last.seq);
    Ok(Look { head, clock, open, runs })
}

/// Where the head is, and the database's clock.
pub async fn head(db: &mut Dedicated) -> Result<(Position, Timestamp), Error> {
    look(db, BEYOND, 0).await.map(|look| (look.head, look.clock))
}

/// The runs after `seq`, without their texts.
pub async fn run_list(db: &mut Dedicated, seq: u64) -> Result<Vec<Run>, Error> {
    db.rows(&RUN_LIST, (seq,)).await
}

/// Gives the changes `ids`, which were read when the feed was at `head`, the numbers after it, with `body` as the text of
/// their run, and `bytes` up to its end: the time of the last one, `None` when somebody else was faster.
///
/// # Errors
/// The connection must not be used again then: a transaction may be open.
pub async fn sequence(
    db: &mut Dedicated,
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
    let row = db.packet(text).await?;
    let at: Option<i64> = row.map(|mut row| row.take()).transpose()?.flatten();
    Ok(at.map(Timestamp::from_micros))
}

/// Becomes the one who purges, as long as this connection lives.
pub async fn purge_lock(db: &mut Dedicated) -> Result<bool, Error> {
    Ok(db.rows::<Option<u64>>(&PURGE_LOCK, ()).await?.pop().flatten() == Some(1))
}

/// Removes some runs that are older than `retention_seconds`, or that more changes or bytes came after than `kept` says;
/// how many.
pub async fn purge_runs(db: &mut Dedicated, retention_seconds: u64, kept: (u64, u64)) -> Result<u64, Error> {
    let bound = db.rows::<Option<u64>>(&PURGE_BOUND, (retention_seconds, kept.0, kept.1)).await?;
    let Some(bound) = bound.into_iter().next().flatten() else { return Ok(0) };
    db.run(&PURGE_RUNS, (bound,)).await
}

/// The feed's tables are empty.
pub fn no_feed() -> Error {
    Error::Unavailable("there is no feed yet".to_owned())
}
