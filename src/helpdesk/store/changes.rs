//! The SQL of changes: what is recorded, what a run is made of, and the lists that are shown whole.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::db::{Columns, Connection, Dedicated, Literal, Record};
use crate::feed::run::{Outbox, Rows};
use crate::feed::{self, Position};

use super::super::changes::event::{Change, NewEvent};
use super::super::changes::places::Waiting;
use super::super::resource::{Conversation, Message};
use super::{ASSIGNED_64, OUTBOX, OUTBOX_REST, Outcome, RECORD, WAITING_IDS, WAITING_PAGE};

/// Rows of one page of `helpdesk.waiting_ids`: its LIMIT.
const PAGE_ROWS: usize = 10_000;
/// Experts in one `helpdesk.assigned_64`.
pub const ASSIGNED_AT_ONCE: usize = 64;

/// Records a change and commits the transaction that made it, in one exchange; the event's id, for
/// [`crate::feed::Feed::wrote`]. Nothing comes after it: nothing may fail for want of a lock once it is recorded, and the
/// shorter the row waits for its commit, the sooner it is seen.
pub async fn record_and_commit(connection: &mut Connection, event: &NewEvent) -> Outcome<u64> {
    let NewEvent { kind, conversation, message, expert } = *event;
    let kind = Literal::Word(kind.into());
    let parameters = [kind, conversation.into(), Literal::Number(message), Literal::Number(expert)];
    Ok(connection.run_and_commit(&RECORD, &parameters).await?.last_id)
}

/// What is to be numbered, of one snapshot.
#[derive(Debug)]
pub struct Snapshot {
    /// In the order of their ids, in which they get their numbers.
    pub changes: Vec<Change>,
    /// The conversations of these.
    pub conversations: HashMap<u64, Conversation>,
}

/// Besides the head, the clock and the newest id: a change and its conversation, if there is one.
struct OutboxRow(Position, Timestamp, Option<u64>, Option<(Change, Option<Conversation>)>);

impl Record for OutboxRow {
    fn read(columns: &mut Columns) -> Outcome<Self> {
        let head = Position::read(columns)?;
        let (clock, newest) = (columns.take()?, columns.take()?);
        let Some(id) = columns.take()? else { return Ok(Self(head, clock, newest, None)) };
        let kind: String = columns.take()?;
        let (conversation_id, expert_id) = (columns.take()?, columns.take()?);
        let message = read_if_any(columns, Message::COLUMNS)?;
        let conversation = read_if_any(columns, 0)?;
        let change = Change { id, kind: kind.parse().ok(), conversation_id, expert_id, message };
        Ok(Self(head, clock, newest, Some((change, conversation))))
    }
}

/// What is joined to a row: `None` where there is none, whose `count` columns are passed over.
fn read_if_any<T: Record>(columns: &mut Columns, count: usize) -> Outcome<Option<T>> {
    if columns.next_is_null() {
        columns.skip(count);
        return Ok(None);
    }
    T::read(columns).map(Some)
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

crate::records! {
    Current { conversation, is_ahead }
    Waiting { conversation, opened_at, initiator }
}

/// What it takes to number the first `changes_max` changes. They are sorted here: to sort rows that hold a
/// TEXT the database would make a temporary table for each read, and MariaDB 10.11.19 crashes (in
/// `ha_maria::drop_table`) when such a read fails half-way.
pub async fn outbox(db: &mut Dedicated, changes_max: usize) -> Outcome<Outbox<Snapshot>> {
    let rows: Vec<OutboxRow> = db.rows(&OUTBOX, (changes_max,)).await?;
    let &OutboxRow(head, clock, newest, _) = rows.first().ok_or_else(feed::store::no_feed)?;
    let (mut changes, mut conversations) = (Vec::new(), HashMap::new());
    for (change, conversation) in rows.into_iter().filter_map(|row| row.3) {
        conversations.extend(conversation.map(|conversation| (conversation.id, conversation)));
        changes.push(change);
    }
    changes.sort_unstable_by_key(|change: &Change| change.id);
    let ids = changes.iter().map(|change| change.id).collect();
    Ok(Outbox { head, clock, rows: Rows { ids, newest }, state: Snapshot { changes, conversations } })
}

/// What has no number and comes after `id`, without texts: ten thousand at most. What comes after those may be shown
/// by a conversation before its time; it costs a repeat, as of changes that show the same time the oldest counts.
pub async fn outbox_rest(db: &mut Dedicated, id: u64) -> Outcome<Vec<Change>> {
    let rest: Vec<(u64, String, Option<u64>, Option<u64>)> = db.rows(&OUTBOX_REST, (id,)).await?;
    let change = |(id, kind, conversation_id, expert_id): (u64, String, _, _)| Change {
        id,
        kind: kind.parse().ok(),
        conversation_id,
        expert_id,
        message: None,
    };
    Ok(rest.into_iter().map(change).collect())
}

/// All conversations that wait.
pub async fn waiting_ids(db: &mut Dedicated) -> Outcome<Vec<Waiting>> {
    let mut all = Vec::new();
    loop {
        let last = all.last().map_or(0, |one: &Waiting| one.conversation);
        let page: Vec<Waiting> = db.rows(&WAITING_IDS, (last,)).await?;
        let last = page.len() < PAGE_ROWS;
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

/// The longest waiting conversations. Those that changed after `seq` are ahead.
pub async fn waiting_page(db: &mut Dedicated, seq: u64) -> Outcome<Vec<Current>> {
    db.rows(&WAITING_PAGE, (seq,)).await
}

/// What at most [`ASSIGNED_AT_ONCE`] experts are assigned to, newest change first. Those that changed after
/// `seq` are ahead.
pub async fn assigned(db: &mut Dedicated, experts: &[u64], seq: u64) -> Outcome<Vec<Current>> {
    // The last one repeated until there are as many.
    let last = experts.last().copied().unwrap_or(0);
    let padded = experts.iter().copied().chain(std::iter::repeat(last)).take(ASSIGNED_AT_ONCE);
    db.rows(&ASSIGNED_64, padded.chain([seq]).collect::<Vec<_>>()).await
}
