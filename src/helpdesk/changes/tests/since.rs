//! A client of the `since` polls.

use super::*;

/// Asks with the newest time that it was shown, as existing front ends do, or with its clock.
pub(super) struct SinceClient {
    echoes: bool,
    since: [Timestamp; 2],
    conversations: BTreeMap<u64, Timestamp>,
    messages: Vec<u64>,
}

impl SinceClient {
    pub(super) fn new(echoes: bool) -> Self {
        Self {
            echoes,
            since: [Timestamp::from_micros(1_000_000); 2],
            conversations: BTreeMap::new(),
            messages: Vec::new(),
        }
    }

    /// The clock of a client is right when everything committed is applied: that is what freshness is for.
    pub(super) fn poll(&mut self, model: &Model, user: u64) {
        for (place, class) in [Class::Conversations, Class::Messages].into_iter().enumerate() {
            let pieces = match model.window.since(user, class, self.since[place]) {
                Since::Unchanged => Vec::new(),
                Since::News(pieces, _) => pieces,
                other => panic!("{other:?}"),
            };
            for piece in &pieces {
                let value = json(piece);
                let shown = if place == 0 { &value["updatedAt"] } else { &value["timestamp"] };
                let shown = Timestamp::parse_lenient(shown.as_str().unwrap()).unwrap();
                if self.echoes {
                    self.since[place] = self.since[place].max(shown);
                }
                if place == 0 {
                    assert!(model.may_see(user, id(&value)));
                    self.conversations.insert(id(&value), shown);
                } else {
                    // What was posted before a claim comes by GET: so it is the same on every instance.
                    let due = || model.due_messages(user).contains(&id(&value));
                    assert!(!model.pending.is_empty() || due(), "user {user} gets {value}");
                    self.messages.push(id(&value));
                }
            }
            if !self.echoes && model.pending.is_empty() {
                self.since[place] = Timestamp::from_micros(model.now);
            }
        }
    }

    pub(super) fn check(&self, model: &Model, user: u64) {
        for (conversation, updated_at) in model.due_conversations(user) {
            assert_eq!(self.conversations.get(&conversation), Some(&updated_at), "user {user}");
        }
        for message in model.due_messages(user) {
            assert!(self.messages.contains(&message), "user {user}, message {message}");
        }
    }
}

/// Reads the state from the database, unnumbered changes included, and then echoes the newest time in it.
pub(super) fn reader(model: &Model, user: u64) -> SinceClient {
    let mut client = SinceClient::new(true);
    client.conversations = model.due_conversations(user);
    client.messages = model.due_messages(user);
    let floor = client.since[0];
    client.since[0] = client.conversations.values().copied().fold(floor, Timestamp::max);
    let times = client.messages.iter().map(|message| model.messages[message].created_at);
    client.since[1] = times.fold(floor, Timestamp::max);
    client
}
