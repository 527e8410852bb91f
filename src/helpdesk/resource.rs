//! A conversation and a message as the contract shows them. Pure: rows in, JSON out.
//!
//! What is told of changes and the answers to GETs write them here, so that both are the same to the byte.

use crate::clock::Timestamp;

/// A conversation with what its JSON needs of other tables.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are those of the contract.
pub struct Conversation {
    pub id: u64,
    pub title: String,
    /// `waiting`, `active` or `resolved`.
    pub status: String,
    pub initiator_id: u64,
    pub initiator_username: String,
    pub expert_id: Option<u64>,
    pub expert_username: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_message_at: Option<Timestamp>,
    /// Messages nobody has read, by anyone; below, those of them that one side sent.
    pub unread: u64,
    pub unread_from_initiator: u64,
    pub unread_from_expert: u64,
    /// All messages, by anyone.
    pub message_count: u64,
}

impl Conversation {
    /// Messages that `viewer` did not send and has not read.
    pub fn unread_count(&self, viewer: u64) -> u64 {
        let own = if viewer == self.initiator_id {
            self.unread_from_initiator
        } else if Some(viewer) == self.expert_id {
            self.unread_from_expert
        } else {
            0
        };
        self.unread.saturating_sub(own)
    }

    /// As everyone sees it who takes no part in it, and its expert: what is unread and not the expert's own.
    pub fn unread_by_others(&self) -> u64 {
        self.unread.saturating_sub(self.unread_from_expert)
    }

    /// Whether it waits for an expert.
    pub fn is_waiting(&self) -> bool {
        self.status == "waiting"
    }

    /// Its JSON, as somebody with this many unread messages sees it.
    pub fn json(&self, unread_count: u64) -> Vec<u8> {
        let mut json = Vec::with_capacity(512);
        self.write_json(unread_count, &mut json);
        json
    }

    /// The same, appended to `out`: for lists, which are one text.
    pub fn write_json(&self, unread_count: u64, out: &mut Vec<u8>) {
        field(out, b"{\"id\":\"", self.id);
        out.extend_from_slice(b"\",\"title\":");
        text(out, &self.title);
        out.extend_from_slice(b",\"status\":");
        text(out, &self.status);
        field(out, b",\"questionerId\":\"", self.initiator_id);
        out.extend_from_slice(b"\",\"questionerUsername\":");
        text(out, &self.initiator_username);
        match self.expert_id {
            Some(expert) => {
                field(out, b",\"assignedExpertId\":\"", expert);
                out.push(b'"');
            }
            None => out.extend_from_slice(b",\"assignedExpertId\":null"),
        }
        out.extend_from_slice(b",\"assignedExpertUsername\":");
        match &self.expert_username {
            Some(username) => text(out, username),
            None => out.extend_from_slice(b"null"),
        }
        time(out, b",\"createdAt\":\"", self.created_at);
        time(out, b",\"updatedAt\":\"", self.updated_at);
        match self.last_message_at {
            Some(at) => time(out, b",\"lastMessageAt\":\"", at),
            None => out.extend_from_slice(b",\"lastMessageAt\":null"),
        }
        field(out, b",\"unreadCount\":", unread_count);
        field(out, b",\"messageCount\":", self.message_count);
        out.push(b'}');
    }
}

// The columns of `sql/helpdesk/_conversation.sql`, in that order.
crate::records! {
    Conversation {
        id, title, status, initiator_id, initiator_username, expert_id, expert_username, created_at, updated_at,
        last_message_at, unread, unread_from_initiator, unread_from_expert, message_count,
    }
    Message { id, conversation_id, sender_id, sender_username, sender_role, content, created_at, is_read }
}

/// A message with its sender's name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are those of the contract.
pub struct Message {
    pub id: u64,
    pub conversation_id: u64,
    pub sender_id: u64,
    pub sender_username: String,
    /// `initiator` or `expert`.
    pub sender_role: String,
    pub content: String,
    pub created_at: Timestamp,
    /// Whether the other side has read it.
    pub is_read: bool,
}

impl Message {
    /// How many columns it has.
    pub const COLUMNS: usize = 8;

    /// Its JSON, which is the same for everyone.
    pub fn json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(self.content.len() + 256);
        let out = &mut json;
        field(out, b"{\"id\":\"", self.id);
        field(out, b"\",\"conversationId\":\"", self.conversation_id);
        field(out, b"\",\"senderId\":\"", self.sender_id);
        out.extend_from_slice(b"\",\"senderUsername\":");
        text(out, &self.sender_username);
        out.extend_from_slice(b",\"senderRole\":");
        text(out, &self.sender_role);
        out.extend_from_slice(b",\"content\":");
        text(out, &self.content);
        time(out, b",\"timestamp\":\"", self.created_at);
        out.extend_from_slice(if self.is_read { b",\"isRead\":true}" } else { b",\"isRead\":false}" });
        json
    }
}

fn field(out: &mut Vec<u8>, before: &[u8], number: u64) {
    out.extend_from_slice(before);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn time(out: &mut Vec<u8>, before: &[u8], at: Timestamp) {
    out.extend_from_slice(before);
    at.write_to(out);
    out.push(b'"');
}

fn text(out: &mut Vec<u8>, text: &str) {
    // Writing to memory cannot fail, and a str is always a JSON string.
    let _infallible = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_what_the_contract_says() {
        let mut conversation = Conversation {
            id: 1,
            title: "a \"b\" \u{1f600}\n".to_owned(),
            status: "waiting".to_owned(),
            initiator_id: 7,
            initiator_username: "ann".to_owned(),
            expert_id: None,
            expert_username: None,
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(1),
            last_message_at: None,
            unread: 5,
            unread_from_initiator: 2,
            unread_from_expert: 1,
            message_count: 6,
        };
        let json = |conversation: &Conversation, viewer| {
            String::from_utf8(conversation.json(conversation.unread_count(viewer))).unwrap()
        };
        assert_eq!(
            json(&conversation, 7),
            "{\"id\":\"1\",\"title\":\"a \\\"b\\\" \u{1f600}\\n\",\"status\":\"waiting\",\"questionerId\":\"7\",\
             \"questionerUsername\":\"ann\",\"assignedExpertId\":null,\"assignedExpertUsername\":null,\
             \"createdAt\":\"1970-01-01T00:00:00.000000Z\",\"updatedAt\":\"1970-01-01T00:00:00.000001Z\",\
             \"lastMessageAt\":null,\"unreadCount\":3,\"messageCount\":6}"
        );
        conversation.expert_id = Some(8);
        conversation.expert_username = Some("bob".to_owned());
        conversation.last_message_at = Some(Timestamp::from_micros(2));
        let text = json(&conversation, 8);
        assert!(text.contains(r#""assignedExpertId":"8","assignedExpertUsername":"bob""#), "{text}");
        assert!(
            text.ends_with(
                r#""lastMessageAt":"1970-01-01T00:00:00.000002Z","unreadCount":4,"messageCount":6}"#
            ),
            "{text}"
        );
        assert_eq!(conversation.unread_count(9), 5);
    }

    #[test]
    fn a_message_is_what_the_contract_says() {
        let message = Message {
            id: 3,
            conversation_id: 1,
            sender_id: 2,
            sender_username: "bob".to_owned(),
            sender_role: "expert".to_owned(),
            content: "hi\t</script>".to_owned(),
            created_at: Timestamp::from_micros(0),
            is_read: false,
        };
        assert_eq!(
            String::from_utf8(message.json()).unwrap(),
            "{\"id\":\"3\",\"conversationId\":\"1\",\"senderId\":\"2\",\"senderUsername\":\"bob\",\
             \"senderRole\":\"expert\",\"content\":\"hi\\t</script>\",\
             \"timestamp\":\"1970-01-01T00:00:00.000000Z\",\"isRead\":false}"
        );
    }
}
