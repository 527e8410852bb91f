//! The help desk's SQL: one function for each statement, one statement for each file in `sql/helpdesk/`.

pub mod changes;
mod records;

use std::cmp::Reverse;

use crate::clock::Timestamp;
use crate::db::{Connection, Error, Literal};

use super::merge::{End, Key, Read};
use super::model::{Assignment, LIST_MAX, Profile, User};
use super::resource::{Conversation, Message};

crate::statements! { "helpdesk" with "conversation", "ahead":
    USER_INSERT = "user_insert";
    USER_CREDENTIALS = "user_credentials";
    USER_CREDENTIALS_BY_KEY = "user_credentials_by_key";
    USER_LIST_WITHOUT_KEY = "user_list_without_key";
    USER_GIVE_KEY = "user_give_key";
    USER_BY_ID = "user_by_id";
    USER_SIGNED_IN = "user_signed_in";
    USER_REHASH = "user_rehash";
    PROFILE_INSERT = "profile_insert";
    PROFILE_BY_USER = "profile_by_user";
    PROFILE_UPDATE = "profile_update";
    CONVERSATION_INSERT = "conversation_insert";
    CONVERSATION_BY_ID = "conversation_by_id";
    CONVERSATION_LIST = "conversation_list";
    CONVERSATION_LIST_SINCE = "conversation_list_since";
    QUEUE_LIST = "queue_list";
    CONVERSATION_KEYS_CHANGED = "conversation_keys_changed";
    CONVERSATION_KEYS_NEWEST = "conversation_keys_newest";
    CONVERSATION_IS_READABLE = "conversation_is_readable";
    CONVERSATION_LOCK = "conversation_lock";
    CONVERSATION_READ = "conversation_read";
    CONVERSATION_UNREAD_FROM_EXPERT = "conversation_unread_from_expert";
    CONVERSATION_CLAIM = "conversation_claim";
    CONVERSATION_UNCLAIM = "conversation_unclaim";
    CONVERSATION_RESOLVE = "conversation_resolve";
    CONVERSATION_STANDING = "conversation_standing";
    ASSIGNMENT_INSERT = "assignment_insert";
    ASSIGNMENT_END = "assignment_end";
    ASSIGNMENT_LIST = "assignment_list";
    MESSAGE_INSERT = "message_insert";
    MESSAGE_FOR_READING = "message_for_reading";
    MESSAGE_READ = "message_read";
    MESSAGE_COUNT_UNREAD = "message_count_unread";
    MESSAGE_AT = "message_at";
    MESSAGE_KEYS_OF_OTHERS = "message_keys_of_others";
    IDEMPOTENCY_CLAIM = "idempotency_claim";
    IDEMPOTENCY_FIND = "idempotency_find";
    IDEMPOTENCY_ANSWER = "idempotency_answer";
    IDEMPOTENCY_LOCK = "idempotency_lock";
    IDEMPOTENCY_PURGE = "idempotency_purge";
    OUTBOX = "outbox";
    OUTBOX_REST = "outbox_rest";
    WAITING_PAGE = "waiting_page";
    ASSIGNED_64 = "assigned_64";
    WAITING_IDS = "waiting_ids";
}

crate::packets! { "helpdesk":
    CONVERSATION_BUMP = "conversation_bump";
    CONVERSATION_LIST_UNCOUNTED = "conversation_list_uncounted";
    CONVERSATION_RECOUNT = "conversation_recount";
    EXPERT_LIST_AT_WORK = "expert_list_at_work";
    LEASE_IS_OVER = "lease_is_over";
    LEASE_LIST_OVER = "lease_list_over";
    MESSAGE_KEYS_AFTER = "message_keys_after";
    MESSAGE_KEYS_BEFORE = "message_keys_before";
    MESSAGE_LIST_BY_IDS = "message_list_by_ids";
    USER_ASKED = "user_asked";
    USER_LIST_NAMES = "user_list_names";
    RECORD = "record";
}

type Outcome<T> = Result<T, Error>;

/// Makes a user; its id. [`Error::Duplicate`] when the name, or its key, is taken.
pub async fn user_insert(
    db: &mut Connection,
    username: &str,
    digest: &str,
    key: Option<[u8; 32]>,
) -> Outcome<u64> {
    let key = key.as_ref().map(<[u8; 32]>::as_slice);
    Ok(db.run(&USER_INSERT, (username, digest, key)).await?.last_id)
}

/// Id and password hash of who has this key.
pub async fn user_credentials_by_key(db: &mut Connection, key: &[u8; 32]) -> Outcome<Option<(u64, String)>> {
    db.first(&USER_CREDENTIALS_BY_KEY, (key.as_slice(),)).await
}

/// Users after `after` without a key: ids and names.
pub async fn user_list_without_key(db: &mut Connection, after: u64) -> Outcome<Vec<(u64, String)>> {
    db.rows(&USER_LIST_WITHOUT_KEY, (after,)).await
}

/// Gives a user the key of their name; [`Error::Duplicate`] when somebody has it.
pub async fn user_give_key(db: &mut Connection, id: u64, key: &[u8; 32]) -> Outcome<()> {
    db.run(&USER_GIVE_KEY, (key.as_slice(), id)).await.map(drop)
}

/// Id and password hash of a name.
pub async fn user_credentials(db: &mut Connection, username: &str) -> Outcome<Option<(u64, String)>> {
    db.first(&USER_CREDENTIALS, (username,)).await
}

/// One user.
pub async fn user_by_id(db: &mut Connection, id: u64) -> Outcome<Option<User>> {
    db.first(&USER_BY_ID, (id,)).await
}

/// Notes that a user signed in.
pub async fn user_signed_in(db: &mut Connection, id: u64) -> Outcome<()> {
    db.run(&USER_SIGNED_IN, (id,)).await.map(drop)
}

/// Replaces a password's hash by another of the same password, unless it was changed meanwhile.
pub async fn user_rehash(db: &mut Connection, id: u64, new: &str, old: &str) -> Outcome<()> {
    db.run(&USER_REHASH, (new, id, old)).await.map(drop)
}

/// Makes a user's empty expert profile.
pub async fn profile_insert(db: &mut Connection, user: u64) -> Outcome<()> {
    db.run(&PROFILE_INSERT, (user,)).await.map(drop)
}

/// A user's expert profile.
pub async fn profile_by_user(db: &mut Connection, user: u64) -> Outcome<Option<Profile>> {
    db.first(&PROFILE_BY_USER, (user,)).await
}

/// Changes a profile, or makes it; what is `None` stays.
pub async fn profile_update(
    db: &mut Connection,
    user: u64,
    bio: Option<&str>,
    links: Option<&str>,
) -> Outcome<()> {
    db.run(&PROFILE_UPDATE, (user, bio, links, bio, links)).await.map(drop)
}

/// Opens a conversation; its id.
pub async fn conversation_insert(db: &mut Connection, title: &str, initiator: u64) -> Outcome<u64> {
    Ok(db.run(&CONVERSATION_INSERT, (title, initiator)).await?.last_id)
}

/// One conversation that the viewer may read: their own, and as an expert one that waits.
pub async fn conversation_by_id(db: &mut Connection, id: u64, viewer: u64) -> Outcome<Option<Conversation>> {
    db.first(&CONVERSATION_BY_ID, (id, viewer, viewer, viewer)).await
}

/// The first of these, each once: what one asked and answers oneself comes twice.
fn first<T, K: Ord>(mut rows: Vec<T>, place: impl Fn(&T) -> K, wanted: usize) -> Vec<T> {
    rows.sort_by_key(&place);
    rows.dedup_by_key(|row| place(row));
    rows.truncate(wanted);
    rows
}

/// The viewer's conversations, newest update first.
pub async fn conversation_list(db: &mut Connection, viewer: u64) -> Outcome<Vec<Conversation>> {
    let list: Vec<Conversation> = db.rows(&CONVERSATION_LIST, (viewer, LIST_MAX, viewer, LIST_MAX)).await?;
    Ok(first(list, |one| Reverse((one.updated_at, one.id)), LIST_MAX as usize))
}

/// The viewer's conversations that were updated after `since`, oldest update first, at most `wanted`.
pub async fn conversation_list_since(
    db: &mut Connection,
    viewer: u64,
    since: Timestamp,
    wanted: usize,
) -> Outcome<Vec<Conversation>> {
    let params = (viewer, since, wanted, viewer, since, wanted);
    let list: Vec<Conversation> = db.rows(&CONVERSATION_LIST_SINCE, params).await?;
    Ok(first(list, |one| (one.updated_at, one.id), wanted))
}

crate::records! { Key { id, at } }

/// The viewer's conversations that were updated after `since`, by when they were opened, those after `last`.
pub async fn conversation_keys_changed(
    db: &mut Connection,
    viewer: u64,
    since: Timestamp,
    last: Key,
    wanted: usize,
) -> Outcome<Vec<Key>> {
    let Key { at, id } = last;
    let params = (viewer, since, at, at, id, wanted, viewer, since, at, at, id, wanted);
    Ok(first(db.rows(&CONVERSATION_KEYS_CHANGED, params).await?, |key: &Key| *key, wanted))
}

/// The viewer's conversations by when they were updated, newest first, those before `last`.
pub async fn conversation_keys_newest(
    db: &mut Connection,
    viewer: u64,
    last: Key,
    wanted: usize,
) -> Outcome<Vec<Key>> {
    let Key { at, id } = last;
    let params = (viewer, at, at, id, wanted, viewer, at, at, id, wanted);
    Ok(first(db.rows(&CONVERSATION_KEYS_NEWEST, params).await?, |key: &Key| Reverse(*key), wanted))
}

/// A line of an expert's queue: whether it is assigned to them, else it waits.
struct QueueRow {
    is_assigned: bool,
    conversation: Conversation,
}

crate::records! { QueueRow { is_assigned, conversation } }

/// The longest waiting conversations, and what the expert is assigned to, newest change first. Of one snapshot:
/// an echo of the newest time in both must stand for both.
pub async fn queue_list(db: &mut Connection, expert: u64) -> Outcome<(Vec<Conversation>, Vec<Conversation>)> {
    let (mut waiting, mut assigned) = (Vec::new(), Vec::new());
    for QueueRow { is_assigned, conversation } in db.rows(&QUEUE_LIST, (expert, LIST_MAX)).await? {
        if is_assigned { &mut assigned } else { &mut waiting }.push(conversation);
    }
    waiting.sort_by_key(|one: &Conversation| (one.created_at, one.id));
    assigned.sort_by_key(|one: &Conversation| Reverse((one.updated_at, one.id)));
    Ok((waiting, assigned))
}

/// Whether a user may read a conversation: one that they take part in, and as an expert one that waits.
pub async fn conversation_is_readable(db: &mut Connection, id: u64, viewer: u64) -> Outcome<bool> {
    Ok(db.first::<u64>(&CONVERSATION_IS_READABLE, (id, viewer, viewer, viewer)).await?.is_some())
}

/// Locks a conversation's row, which whoever changes it has to have; its status and expert.
pub async fn conversation_lock(db: &mut Connection, id: u64) -> Outcome<Option<(String, Option<u64>)>> {
    db.first(&CONVERSATION_LOCK, (id,)).await
}

/// Of the next conversations after `id` those whose count of messages is not to be trusted, and the last one looked
/// at; `None` after the last of all.
pub async fn conversation_list_uncounted(db: &mut Connection, id: u64) -> Outcome<Option<(u64, Vec<u64>)>> {
    let found: Vec<(Option<u64>, Option<u64>)> =
        db.rows_of_packets(&CONVERSATION_LIST_UNCOUNTED, [[Literal::from(id), id.into()]]).await?;
    let last = found.first().and_then(|(last, _)| *last);
    Ok(last.map(|last| (last, found.into_iter().filter_map(|(_, uncounted)| uncounted).collect())))
}

/// Counts a conversation's messages. Only in a transaction that has locked its row before.
pub async fn conversation_recount(db: &mut Connection, id: u64) -> Outcome<()> {
    db.packet::<u64>(&CONVERSATION_RECOUNT, &[id.into(), id.into()]).await.map(drop)
}

/// Those of these users who are the expert of a conversation that is not done.
pub async fn expert_list_at_work(db: &mut Connection, users: &[u64]) -> Outcome<Vec<u64>> {
    db.rows_of_packets(&EXPERT_LIST_AT_WORK, [[Literal::Numbers(users)]]).await
}

/// Notes that these users asked for updates so many microseconds ago, if at all.
pub async fn user_asked(db: &mut Connection, users: &[u64], micros_ago: u64) -> Outcome<()> {
    let ago = Literal::from(micros_ago);
    db.packet::<u64>(&USER_ASKED, &[ago, ago, Literal::Numbers(users)]).await.map(drop)
}

/// Conversations whose experts gave no sign of life for so many microseconds, with those experts, at most 100.
pub async fn lease_list_over(db: &mut Connection, micros: u64) -> Outcome<Vec<(u64, u64)>> {
    db.rows_of_packets(&LEASE_LIST_OVER, [[Literal::from(micros); 3]]).await
}

/// Whether that is so of this one. Only in a transaction that has locked its row before.
pub async fn lease_is_over(db: &mut Connection, conversation: u64, micros: u64) -> Outcome<bool> {
    let micros = Literal::from(micros);
    let found: Option<(u64, u64)> =
        db.packet(&LEASE_IS_OVER, &[conversation.into(), micros, micros, micros]).await?;
    Ok(found.is_some())
}

/// Who posts, and when.
#[derive(Clone, Debug)]
pub struct Posting {
    conversation: u64,
    sender: u64,
    sender_username: String,
    is_initiator: bool,
    at: Timestamp,
    /// The conversation's count has this message. Otherwise somebody posted without counting: a server of the version
    /// before does.
    is_counted: bool,
}

/// A message of `sender`'s changes the conversation, if they take part in it. First comes the row that both sides'
/// posts contend for: later locks are then never waited for.
pub async fn conversation_bump(
    db: &mut Connection,
    conversation: u64,
    sender: u64,
) -> Outcome<Option<Posting>> {
    let (id, by) = (conversation.into(), sender.into());
    let found = db.packet(&CONVERSATION_BUMP, &[by, by, id, by, by, by, id]).await?;
    Ok(found.map(|(at, is_initiator, sender_username, is_counted): (i64, bool, String, bool)| Posting {
        conversation,
        sender,
        sender_username,
        is_initiator,
        at: Timestamp::from_micros(at),
        is_counted,
    }))
}

/// Takes a waiting conversation; false when it does not wait. An expert who was at it before may have left messages
/// that nobody has read: they are counted once the row is locked, by a statement that sees what was marked
/// before; what is marked later finds the expert in the row and counts itself off.
pub async fn conversation_claim(db: &mut Connection, id: u64, expert: u64) -> Outcome<bool> {
    if db.run(&CONVERSATION_CLAIM, (expert, id)).await?.affected == 0 {
        return Ok(false);
    }
    let own: u64 = db.first(&MESSAGE_COUNT_UNREAD, (id, expert)).await?.unwrap_or_default();
    if own > 0 {
        db.run(&CONVERSATION_UNREAD_FROM_EXPERT, (own, id)).await?;
    }
    Ok(true)
}

/// Puts back what this expert is at; false when they are not at it.
pub async fn conversation_unclaim(db: &mut Connection, id: u64, expert: u64) -> Outcome<bool> {
    Ok(db.run(&CONVERSATION_UNCLAIM, (id, expert)).await?.affected == 1)
}

/// Ends what this expert is at; false when they are not at it.
pub async fn conversation_resolve(db: &mut Connection, id: u64, expert: u64) -> Outcome<bool> {
    Ok(db.run(&CONVERSATION_RESOLVE, (id, expert)).await?.affected == 1)
}

/// A conversation's status and expert.
pub async fn conversation_standing(db: &mut Connection, id: u64) -> Outcome<Option<(String, Option<u64>)>> {
    db.first(&CONVERSATION_STANDING, (id,)).await
}

/// Begins an expert's turn.
pub async fn assignment_insert(db: &mut Connection, conversation: u64, expert: u64) -> Outcome<()> {
    db.run(&ASSIGNMENT_INSERT, (conversation, expert)).await.map(drop)
}

/// Ends an expert's turn as `status`.
pub async fn assignment_end(
    db: &mut Connection,
    status: &str,
    conversation: u64,
    expert: u64,
) -> Outcome<()> {
    db.run(&ASSIGNMENT_END, (status, conversation, expert)).await.map(drop)
}

/// An expert's turns, newest first.
pub async fn assignment_list(db: &mut Connection, expert: u64) -> Outcome<Vec<Assignment>> {
    db.rows(&ASSIGNMENT_LIST, (expert, LIST_MAX)).await
}

/// Adds a message to a conversation that was bumped in the same transaction: both have the same time.
pub async fn message_insert(db: &mut Connection, posting: Posting, content: String) -> Outcome<Message> {
    let Posting { conversation, sender, sender_username, is_initiator, at, is_counted } = posting;
    let role = if is_initiator { "initiator" } else { "expert" };
    let done = db.run(&MESSAGE_INSERT, (conversation, sender, &content, role, at, at)).await?;
    if !is_counted {
        conversation_recount(db, conversation).await?;
    }
    Ok(Message {
        id: done.last_id,
        conversation_id: conversation,
        sender_id: sender,
        sender_username,
        sender_role: role.to_owned(),
        content,
        created_at: at,
        is_read: false,
    })
}

/// When a message of a conversation was posted.
pub async fn message_at(db: &mut Connection, id: u64, conversation: u64) -> Outcome<Option<Timestamp>> {
    db.first(&MESSAGE_AT, (id, conversation)).await
}

/// The keys of the messages of a conversation after `last` that others than `sender` posted, oldest first.
pub async fn message_keys_of_others(
    db: &mut Connection,
    conversation: u64,
    sender: u64,
    last: Key,
    wanted: usize,
) -> Outcome<Vec<Key>> {
    let Key { at, id } = last;
    db.rows(&MESSAGE_KEYS_OF_OTHERS, (conversation, at, at, id, sender, wanted)).await
}

/// The keys that `reads` ask for, with their conversations.
pub async fn message_keys(db: &mut Connection, end: End, reads: &[Read]) -> Outcome<Vec<(u64, Key)>> {
    let packet = if end == End::Oldest { &MESSAGE_KEYS_AFTER } else { &MESSAGE_KEYS_BEFORE };
    let sets = reads.iter().map(|read| {
        let at = Literal::Time(read.from.at);
        [read.conversation.into(), at, at, read.from.id.into(), (read.rows as u64).into()]
    });
    let found = db.rows_of_packets::<(u64, Timestamp, u64), 5>(packet, sets).await?;
    Ok(found.into_iter().map(|(conversation, at, id)| (conversation, Key { at, id })).collect())
}

/// Names by id.
pub async fn user_list_names(db: &mut Connection, ids: &[u64]) -> Outcome<Vec<(u64, String)>> {
    db.rows_of_packets(&USER_LIST_NAMES, [[Literal::Numbers(ids)]]).await
}

/// The messages of these ids, in no order, without their senders' names.
pub async fn message_list_by_ids(db: &mut Connection, ids: &[u64]) -> Outcome<Vec<Message>> {
    db.rows_of_packets(&MESSAGE_LIST_BY_IDS, [[Literal::Numbers(ids)]]).await
}

/// Conversation and sender of a message, where the viewer takes part in it.
pub async fn message_for_reading(db: &mut Connection, id: u64, viewer: u64) -> Outcome<Option<(u64, u64)>> {
    db.first(&MESSAGE_FOR_READING, (viewer, id)).await
}

/// Marks a message of `sender`'s as read and counts it off its conversation; false when it was read already.
pub async fn message_read(db: &mut Connection, id: u64, conversation: u64, sender: u64) -> Outcome<bool> {
    if db.run(&MESSAGE_READ, (id,)).await?.affected == 0 {
        return Ok(false);
    }
    db.run(&CONVERSATION_READ, (sender, sender, conversation)).await?;
    Ok(true)
}

/// Takes an idempotency key; [`Error::Duplicate`] when it was taken.
pub async fn idempotency_claim(db: &mut Connection, user: u64, key: &[u8], request: &[u8]) -> Outcome<()> {
    db.run(&IDEMPOTENCY_CLAIM, (user, key, request)).await.map(drop)
}

/// The request and the answer that an idempotency key stands for.
pub async fn idempotency_find(
    db: &mut Connection,
    user: u64,
    key: &[u8],
) -> Outcome<Option<(Vec<u8>, Option<String>)>> {
    db.first(&IDEMPOTENCY_FIND, (user, key)).await
}

/// Keeps the answer of an idempotency key.
pub async fn idempotency_answer(db: &mut Connection, user: u64, key: &[u8], response: &str) -> Outcome<()> {
    db.run(&IDEMPOTENCY_ANSWER, (response, user, key)).await.map(drop)
}

/// Becomes the one who forgets idempotency keys, as long as this connection lives.
pub async fn idempotency_lock(db: &mut Connection) -> Outcome<bool> {
    Ok(db.first::<Option<u64>>(&IDEMPOTENCY_LOCK, ()).await?.flatten() == Some(1))
}

/// Forgets some of the idempotency keys that are older than a day; how many.
pub async fn idempotency_purge(db: &mut Connection) -> Outcome<u64> {
    Ok(db.run(&IDEMPOTENCY_PURGE, ()).await?.affected)
}
