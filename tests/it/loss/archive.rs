//! A long history, from before the feed knew anything: more messages than one answer may have.

use super::Person;
use crate::support::Schema;
use crate::support::schema::numbers;

const WORD: &str = "archived";
/// Three answers' worth, and so many of each time that some share the time at a cut.
const MESSAGES: u64 = 2_300;
const OF_ONE_TIME: u64 = 7;

/// Whether a title or content is of the archive.
pub fn is_of(text: &str) -> bool {
    text.starts_with(WORD)
}

/// Written as if an hour ago by somebody with whom nobody but the archive's owner has to do.
pub async fn write(schema: &Schema, owner: &Person) {
    let id = owner.id;
    schema
        .execute(format!(
            "INSERT INTO conversations (title, status, initiator_id, last_message_at, unread, unread_from_initiator,
                 created_at, updated_at)
             VALUES ('{WORD}', 'resolved', {id}, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, {MESSAGES}, {MESSAGES},
                 UTC_TIMESTAMP(6) - INTERVAL 2 HOUR, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR)"
        ))
        .await;
    let numbers = numbers(1, MESSAGES);
    schema
        .execute(format!(
            "INSERT INTO messages (conversation_id, sender_id, sender_role, content, created_at, updated_at)
             SELECT conversations.id, {id}, 'initiator', CONCAT('{WORD} ', i),
                 conversations.created_at + INTERVAL (i DIV {OF_ONE_TIME}) * 1000 MICROSECOND, conversations.created_at
             FROM conversations, {numbers} WHERE title = '{WORD}' ORDER BY i"
        ))
        .await;
}
