//! A user's messages in the order of time, across all their conversations, from the database.
//!
//! No index has them in that order: who the expert of a conversation is changes, and with it whose messages all of
//! its messages are. To keep one (a row for each message and reader) would cost every post more than reading costs
//! the few who ask, and would have to be rewritten at each claim. So they are merged when they are asked for, from
//! the index that each conversation has ([`merge`](super::merge)):
//!
//! 1. the conversations that may hold the wanted end, a page at a time, with a bound for those of the next page;
//! 2. keys (time and id) out of the index alone, many conversations in one exchange;
//! 3. the texts of those keys that are in the answer, in pages, until the answer is full.
//!
//! | of n messages given, k conversations looked at, s senders | rows examined |
//! |---|---|
//! | conversations | k |
//! | keys | n + 2k where conversations take turns, less than 2n + 2k in any order that was tried |
//! | texts | n |
//! | names | s |
//!
//! k is at most n for the newest (each conversation with a newer change has a newer message, or was opened, claimed or
//! ended; [`CONVERSATIONS_MAX`] bounds those). For the oldest after a time it is the conversations that changed
//! since, at most [`CONVERSATIONS_PAGE`] and those opened before the last message given. Nothing depends on how many
//! messages there are.
//!
//! All this is of one snapshot: else what is committed between two of the exchanges could show a later time
//! than something that an earlier one missed, and a client that echoes it would never see that.

use std::collections::{HashMap, HashSet};

use crate::chassis::list::List;
use crate::clock::Timestamp;
use crate::db::{Connection, Error};

use super::merge::{End, Key, Merge};
use super::model::LIST_MAX;
use super::resource::Message;
use super::store;

/// Conversations added to a merge at once.
pub const CONVERSATIONS_PAGE: usize = 1_000;
/// Conversations looked at for the newest messages. Where so many changed last without a message, what is older than
/// their changes is left out.
pub const CONVERSATIONS_MAX: usize = 5_000;
/// Conversations whose keys are read in one exchange.
const READS_MAX: usize = 256;
/// Texts read in one exchange: the first so many, then four times as many. No more than 16 MiB are in memory with
/// what they turn into.
const TEXTS_PAGE: usize = 64;

/// No message is as old, or as new.
const FIRST: Key = Key::begin_of(Timestamp::MIN);
const LAST: Key = Key::end_of(Timestamp::MAX);

/// The keys of the newest messages of all conversations of `viewer`, newest first.
pub async fn newest(db: &mut Connection, viewer: u64) -> Result<Vec<Key>, Error> {
    let mut merge = Merge::new(End::Newest, LIST_MAX as usize);
    let (mut last, mut looked_at) = (LAST, 0);
    loop {
        let page = store::conversation_keys_newest(db, viewer, last, CONVERSATIONS_PAGE).await?;
        let rest = (page.len() == CONVERSATIONS_PAGE).then(|| page.last().copied()).flatten();
        let bounds: Vec<(u64, Key)> = page.iter().map(|key| (key.id, Key::end_of(key.at))).collect();
        merge.add(LAST, &bounds, rest.map(|key| Key::end_of(key.at)));
        fill(db, End::Newest, &mut merge).await?;
        looked_at += page.len();
        match rest {
            Some(rest) if merge.lacks_conversations() && looked_at < CONVERSATIONS_MAX => last = rest,
            _ => return Ok(merge.keys()),
        }
    }
}

/// The keys of the newest messages of one conversation, newest first.
pub async fn newest_of(db: &mut Connection, conversation: u64) -> Result<Vec<Key>, Error> {
    let mut merge = Merge::new(End::Newest, LIST_MAX as usize);
    merge.add(LAST, &[(conversation, LAST)], None);
    fill(db, End::Newest, &mut merge).await?;
    Ok(merge.keys())
}

/// The keys of the oldest messages after `since` of all conversations of `viewer`, oldest first, at most `wanted`.
pub async fn oldest_since(
    db: &mut Connection,
    viewer: u64,
    since: Timestamp,
    wanted: usize,
) -> Result<Vec<Key>, Error> {
    let mut merge = Merge::new(End::Oldest, wanted);
    let mut last = FIRST;
    loop {
        // Every message of a conversation shows in its `updated_at`, and none is older than the conversation.
        let page = store::conversation_keys_changed(db, viewer, since, last, CONVERSATIONS_PAGE).await?;
        let rest = (page.len() == CONVERSATIONS_PAGE).then(|| page.last().copied()).flatten();
        let from = Key::end_of(since);
        let bounds: Vec<(u64, Key)> = page.iter().map(|key| (key.id, from)).collect();
        merge.add(from, &bounds, rest.map(|key| Key::begin_of(key.at)));
        fill(db, End::Oldest, &mut merge).await?;
        match rest {
            Some(rest) if merge.lacks_conversations() => last = rest,
            _ => return Ok(merge.keys()),
        }
    }
}

/// Reads until all is known that the conversations added can tell.
async fn fill(db: &mut Connection, end: End, merge: &mut Merge) -> Result<(), Error> {
    loop {
        let reads = merge.reads(READS_MAX);
        if reads.is_empty() {
            return Ok(());
        }
        let found = store::message_keys(db, end, &reads).await?;
        merge.take(&reads, &found);
    }
}

/// The messages of these keys, a page at a time.
pub struct Texts<'a> {
    keys: &'a [Key],
    page: usize,
    /// Senders known so far.
    names: HashMap<u64, String>,
}

impl<'a> Texts<'a> {
    /// Of `keys`, in their order.
    pub fn of(keys: &'a [Key]) -> Self {
        Self { keys, page: TEXTS_PAGE, names: HashMap::new() }
    }

    /// The next page, if there is one.
    pub async fn next(&mut self, db: &mut Connection) -> Result<Option<Vec<Message>>, Error> {
        let (page, rest) = self.keys.split_at(self.page.min(self.keys.len()));
        (self.keys, self.page) = (rest, 4 * TEXTS_PAGE);
        if page.is_empty() {
            return Ok(None);
        }
        let ids: Vec<u64> = page.iter().map(|key| key.id).collect();
        let found = store::message_list_by_ids(db, &ids).await?;
        let senders: HashSet<u64> = found.iter().map(|message| message.sender_id).collect();
        let unknown: Vec<u64> =
            senders.into_iter().filter(|sender| !self.names.contains_key(sender)).collect();
        if !unknown.is_empty() {
            self.names.extend(store::user_list_names(db, &unknown).await?);
        }
        let mut found: HashMap<u64, Message> =
            found.into_iter().map(|message| (message.id, message)).collect();
        let named = |mut message: Message| {
            message.sender_username.clone_from(self.names.get(&message.sender_id)?);
            Some(message)
        };
        Ok(Some(ids.iter().filter_map(|id| found.remove(id).and_then(named)).collect()))
    }
}

/// The messages of these keys, newest first, as a list from the oldest that fits; those that `is_shown` says.
pub async fn list(
    db: &mut Connection,
    newest_first: &[Key],
    is_shown: impl Fn(&Message) -> bool,
) -> Result<List, Error> {
    let (mut list, mut texts) = (List::default(), Texts::of(newest_first));
    while let Some(page) = texts.next(db).await? {
        for message in page.iter().filter(|&message| is_shown(message)) {
            if !list.push_front(message.json()) {
                return Ok(list);
            }
        }
    }
    Ok(list)
}
