//! Makes the entries of changes that are about to be numbered: whose they are, what they show, what they mean to the queue.
//! Pure.
//!
//! # What a conversation shows
//! All of one snapshot, so a conversation shows everything that this does, and not all of that need fit into one run. Clients
//! echo the time that it shows, which stands for everything before it in the feed; so it is shown only in the run that has
//! its last change. Read marks do not count: they move no time. That it left the queue is told at once.
//!
//! # Who was assigned
//! A change goes to the expert who was assigned after it and still is. The snapshot shows who is; going back from there
//! through what comes later, each claim and each unclaim tells who was before it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::feed::run::RUN_BYTES_MAX;

use super::super::model::json_bytes;
use super::super::resource::Conversation;
use super::event::{Change, Kind};
use super::item::{Entry, Piece, QueueChange, Rendered};
use super::places::Places;
use super::wire::Header;

/// Makes the entries of `changes`, and how their run begins. `before` is what waited before
/// them, `later` is what follows on them in the same snapshot, and `conversations` are those that they concern: each is
/// rendered once, in its newest change, and again in its newest that a `since` poll sees.
pub fn render(
    before: &Places,
    changes: &[Change],
    later: &[Change],
    conversations: &HashMap<u64, Conversation>,
) -> (Header, Vec<Entry>) {
    let all = seen(before, changes, later, conversations);
    let assigned = assigned_after(changes, conversations, later);
    let mut waiting = before.count();
    for (id, seen) in &all {
        match (seen.queue, before.waits(*id)) {
            (QueueChange::Waits, false) => waiting += 1,
            (QueueChange::Left, true) => waiting -= 1,
            _ => {}
        }
    }
    let entries = changes.iter().zip(assigned).enumerate().map(|(place, (change, expert_id))| {
        let conversation = change.conversation_id;
        let initiator_id = conversation.and_then(|id| conversations.get(&id)).map(|row| row.initiator_id);
        let seen = conversation.and_then(|id| all.get(&id));
        let shows = seen.filter(|seen| place == seen.newest || place == seen.newest_shown);
        entry(change, (initiator_id, expert_id), shows)
    });
    (Header { is_cut: !later.is_empty(), waiting }, entries.collect())
}

/// What the run says of each conversation.
fn seen(
    before: &Places,
    changes: &[Change],
    later: &[Change],
    conversations: &HashMap<u64, Conversation>,
) -> HashMap<u64, ConversationInRun> {
    let mut all: HashMap<u64, ConversationInRun> = HashMap::new();
    for (place, change) in changes.iter().enumerate() {
        let Some(conversation) = change.conversation_id else { continue };
        let seen = all.entry(conversation).or_default();
        seen.newest = place;
        if change.kind != Some(Kind::Read) {
            seen.newest_shown = place;
            seen.may_leave |= matches!(change.kind, Some(Kind::Claimed | Kind::Opened));
        }
    }
    let moved = later.iter().filter(|change| change.kind != Some(Kind::Read));
    for id in moved.filter_map(|change| change.conversation_id) {
        all.entry(id).and_modify(|seen| seen.is_hidden = true);
    }
    for (id, seen) in &mut all {
        let row = conversations.get(id);
        seen.rendered = row.filter(|_| !seen.is_hidden).map(|row| Arc::new(Rendered::new(row)));
        seen.queue = if row.is_some_and(Conversation::is_waiting) {
            if seen.is_hidden { QueueChange::None } else { QueueChange::Waits }
        } else if before.waits(*id) || seen.may_leave {
            // At once: the run that shows it does not have the claim.
            QueueChange::Left
        } else {
            QueueChange::None
        };
    }
    all
}

/// So many of the first of `changes` fit into one run, at least one.
pub fn fitting(changes: &[Change], conversations: &HashMap<u64, Conversation>) -> usize {
    /// What an item has besides its texts, and a conversation besides its title and names.
    const FIXED_BYTES: usize = 512;
    let mut bytes = FIXED_BYTES;
    let fits = |change: &&Change| {
        let message = change.message.as_ref();
        let message =
            message.map_or(0, |message| json_bytes(&message.content) + json_bytes(&message.sender_username));
        let conversation = change.conversation_id.and_then(|id| conversations.get(&id));
        let shown = conversation.map_or(0, |row| {
            let expert = row.expert_username.as_deref().map_or(0, json_bytes);
            2 * (json_bytes(&row.title) + json_bytes(&row.initiator_username) + expert)
        });
        bytes += message + shown + 3 * FIXED_BYTES;
        bytes <= RUN_BYTES_MAX
    };
    changes.iter().take_while(fits).count().max(1)
}

/// For each of `changes` the expert who was assigned after it and is now.
fn assigned_after(
    changes: &[Change],
    conversations: &HashMap<u64, Conversation>,
    later: &[Change],
) -> Vec<Option<u64>> {
    let now = |id: u64| conversations.get(&id).and_then(|conversation| conversation.expert_id);
    let mut after: HashMap<u64, Option<u64>> = HashMap::new();
    let mut go_back = |change: &Change| {
        let id = change.conversation_id?;
        let expert = after.entry(id).or_insert_with(|| now(id));
        let was = match change.kind {
            Some(Kind::Claimed) => None,
            Some(Kind::Unclaimed) => change.expert_id,
            _ => *expert,
        };
        std::mem::replace(expert, was).filter(|&expert| Some(expert) == now(id))
    };
    for change in later.iter().rev() {
        go_back(change);
    }
    let mut assigned: Vec<_> = changes.iter().rev().map(&mut go_back).collect();
    assigned.reverse();
    assigned
}

/// What a run says of one conversation.
#[derive(Default)]
struct ConversationInRun {
    /// Which of the run's changes is its newest.
    newest: usize,
    /// The same without read marks, which `since` polls do not see.
    newest_shown: usize,
    may_leave: bool,
    /// It shows a change that is not in this run.
    is_hidden: bool,
    rendered: Option<Arc<Rendered>>,
    queue: QueueChange,
}

fn entry(
    change: &Change,
    (initiator_id, expert_id): (Option<u64>, Option<u64>),
    shows: Option<&ConversationInRun>,
) -> Entry {
    let message = change.message.as_ref().map(|message| Piece {
        id: message.id,
        stamp: message.created_at,
        json: message.json().into(),
    });
    Entry {
        // What another version records reads as a change of its conversation.
        kind: change.kind.unwrap_or(Kind::Resolved),
        conversation_id: change.conversation_id.unwrap_or(0),
        initiator_id: initiator_id.unwrap_or(0),
        expert_id,
        former_expert_id: change.expert_id.filter(|_| change.kind == Some(Kind::Unclaimed)),
        conversation: shows.and_then(|seen| seen.rendered.clone()),
        message,
        queue: shows.map_or(QueueChange::None, |seen| seen.queue),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::resource::Message;
    use super::super::wire::encode;
    use super::*;
    use crate::clock::Timestamp;
    use crate::feed::run::group;

    /// A character that JSON writes as six bytes.
    const WORST: &str = "\u{1}";

    fn conversation(id: u64, texts: usize) -> Conversation {
        let at = Timestamp::from_micros(1);
        Conversation {
            id,
            title: WORST.repeat(texts),
            status: "active".to_owned(),
            initiator_id: 1,
            initiator_username: WORST.repeat(texts),
            expert_id: Some(2),
            expert_username: Some(WORST.repeat(texts)),
            created_at: at,
            updated_at: at,
            last_message_at: Some(at),
            unread: u64::MAX,
            unread_from_initiator: 0,
            unread_from_expert: 0,
            message_count: u64::MAX,
        }
    }

    fn posted(id: u64, conversation_id: u64, bytes: usize) -> Change {
        let message = Message {
            id,
            conversation_id,
            sender_id: 1,
            sender_username: WORST.repeat(255),
            sender_role: "initiator".to_owned(),
            content: WORST.repeat(bytes),
            created_at: Timestamp::from_micros(1),
            is_read: false,
        };
        Change {
            id,
            kind: Some(Kind::Message),
            conversation_id: Some(conversation_id),
            expert_id: None,
            message: Some(message),
        }
    }

    /// Cuts `changes` into runs, as they follow each other, and gives the bytes and the changes of each.
    fn runs(mut changes: Vec<Change>, conversations: &HashMap<u64, Conversation>) -> Vec<(usize, usize)> {
        let (places, mut open, mut first, mut found) = (Places::default(), None, 1, Vec::new());
        while !changes.is_empty() {
            let later = changes.split_off(fitting(&changes, conversations));
            let (header, entries) = render(&places, &changes, &later, conversations);
            assert_eq!(header.is_cut, !later.is_empty());
            assert_eq!(group(&mut open, first, header.is_cut), 1, "all were there at once");
            first += changes.len() as u64;
            found.push((encode(header, &changes, &entries).len(), changes.len()));
            changes = later;
        }
        found
    }

    #[test]
    fn a_run_is_bounded_whatever_is_in_it() {
        for (texts, bytes) in [(0, 0), (255, 100), (255, 1_000), (1, 10_000), (255, 65_535)] {
            let conversations: HashMap<u64, Conversation> =
                (1..=500).map(|id| (id, conversation(id, texts))).collect();
            let runs = runs((1..=500).map(|id| posted(id, id, bytes)).collect(), &conversations);
            assert_eq!(runs.iter().map(|(_, changes)| changes).sum::<usize>(), 500);
            assert!(runs.iter().all(|(bytes, _)| *bytes <= RUN_BYTES_MAX), "{texts} {bytes}: {runs:?}");
        }
        let small = runs((1..=500).map(|id| posted(id, 1, 100)).collect(), &HashMap::new());
        assert_eq!(small.len(), 1, "what is usual is one run");
    }

    #[test]
    fn a_conversation_is_shown_with_its_last_change_and_left_the_queue_at_once() {
        let conversations = HashMap::from([(1, conversation(1, 1)), (2, conversation(2, 1))]);
        let change = |id, kind, conversation| Change {
            id,
            kind: Some(kind),
            conversation_id: Some(conversation),
            expert_id: Some(2),
            message: None,
        };
        let now = [change(1, Kind::Claimed, 1), change(2, Kind::Message, 2), change(3, Kind::Read, 2)];
        let later = [change(4, Kind::Message, 1), change(5, Kind::Read, 2)];
        // The list of who waits was read after the claim.
        let places = Places::default();
        let (_, entries) = render(&places, &now, &later, &conversations);
        let shows: Vec<bool> = entries.iter().map(|entry| entry.conversation.is_some()).collect();
        assert_eq!(shows, [false, true, true]);
        assert_eq!(entries[0].queue, QueueChange::Left);
        assert_eq!(entries[0].expert_id, Some(2));
        let (header, entries) = render(&places, &later, &[], &conversations);
        assert!(entries[0].conversation.is_some() && !header.is_cut);
    }
}
