//! What a row of a Rails help desk becomes here, or why it cannot. Pure.

use std::collections::HashMap;

use crate::auth::names;
use crate::clock::Timestamp;

use super::field::{Field, Fields, Reason};
use super::links;
use super::table::Table;

/// Characters of a name and of a title; the columns hold as many.
const SHORT_CHARS_MAX: usize = 255;
/// Bytes of a message, of a biography, and of all links together; the columns hold as many.
const TEXT_BYTES_MAX: usize = 65_535;

/// A row as it is to be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id, the same as in the source.
    pub id: u64,
    /// The values of [`Table::columns`].
    pub fields: Vec<Field>,
    /// The users that it names.
    pub users: Vec<u64>,
    /// The conversation that it names.
    pub conversation: Option<u64>,
    /// What is not quite as it was in the source.
    pub notes: Vec<String>,
}

/// Who asks in each conversation that the rows name.
pub type Initiators = HashMap<u64, u64>;

/// What becomes of one row of `table`.
///
/// # Errors
/// Why it cannot be taken.
pub fn judge(table: Table, source: &Fields<'_>, initiators: &Initiators) -> Result<Row, Reason> {
    let id = source.some_id("id")?;
    match table {
        Table::Users => user(id, source),
        Table::Profiles => profile(id, source),
        Table::Conversations => conversation(id, source),
        Table::Messages => message(id, source, initiators),
        Table::Assignments => assignment(id, source),
    }
}

/// The column of `messages` that says who sent it.
fn sender(source: &Fields<'_>) -> Result<u64, Reason> {
    let name = if source.names.iter().any(|name| name == "sender_id") { "sender_id" } else { "user_id" };
    source.some_id(name)
}

/// The users and the conversation that a row names, as far as they can be read: looked for before it is judged.
#[must_use]
pub fn named(table: Table, source: &Fields<'_>) -> (Vec<u64>, Option<u64>) {
    let id = |name| source.id(name).ok().flatten();
    match table {
        Table::Users => (Vec::new(), None),
        Table::Profiles => (id("user_id").into_iter().collect(), None),
        Table::Conversations => {
            (id("initiator_id").into_iter().chain(id("assigned_expert_id")).collect(), None)
        }
        Table::Messages => (sender(source).ok().into_iter().collect(), id("conversation_id")),
        Table::Assignments => (id("expert_id").into_iter().collect(), id("conversation_id")),
    }
}

/// Both times that every table has. Where only the first is known, nothing changed since.
fn stamps(source: &Fields<'_>) -> Result<(Timestamp, Timestamp), Reason> {
    let created_at = source.some_time("created_at")?;
    Ok((created_at, source.time("updated_at")?.unwrap_or(created_at)))
}

fn user(id: u64, source: &Fields<'_>) -> Result<Row, Reason> {
    let (created_at, updated_at) = stamps(source)?;
    let stored = source.text("username")?.unwrap_or_default();
    let username = stored.trim();
    if username.is_empty() {
        return Err("username is blank".to_owned());
    }
    if username.chars().count() > SHORT_CHARS_MAX {
        return Err("username is longer than 255 characters".to_owned());
    }
    let digest = source.text("password_digest")?.unwrap_or_default();
    if !digest.is_ascii() || digest.len() > SHORT_CHARS_MAX {
        return Err("password_digest is none".to_owned());
    }
    let mut notes = Vec::new();
    if username != stored {
        notes.push(format!("is {username:?} here, without the spaces at the ends of the name"));
    }
    if digest.is_empty() {
        notes.push("has no password, so nobody signs in".to_owned());
    }
    let fields = vec![
        id.into(),
        username.into(),
        digest.into(),
        Field::Bytes(names::key(username).to_vec()),
        source.time("last_active_at")?.into(),
        created_at.into(),
        updated_at.into(),
    ];
    Ok(Row { id, fields, users: Vec::new(), conversation: None, notes })
}

fn profile(id: u64, source: &Fields<'_>) -> Result<Row, Reason> {
    let (created_at, updated_at) = stamps(source)?;
    let user = source.some_id("user_id")?;
    let bio = source.text("bio")?.unwrap_or_default();
    let (links, note) = links::read(source.text("knowledge_base_links")?.unwrap_or_default());
    let notes = note.into_iter().map(str::to_owned).collect();
    let links = serde_json::Value::from(links).to_string();
    if bio.len() > TEXT_BYTES_MAX || links.len() > TEXT_BYTES_MAX {
        return Err("bio or knowledge_base_links is longer than 65535 bytes".to_owned());
    }
    let fields = vec![id.into(), user.into(), bio.into(), links.into(), created_at.into(), updated_at.into()];
    Ok(Row { id, fields, users: vec![user], conversation: None, notes })
}

fn conversation(id: u64, source: &Fields<'_>) -> Result<Row, Reason> {
    let (created_at, updated_at) = stamps(source)?;
    let status = source.text("status")?.unwrap_or_default();
    if !["waiting", "active", "resolved"].contains(&status) {
        return Err(format!("status is {status:?}"));
    }
    let (initiator, expert) = (source.some_id("initiator_id")?, source.id("assigned_expert_id")?);
    let mut notes = Vec::new();
    match (status, expert) {
        ("waiting", Some(_)) => {
            notes.push("waits with an expert assigned, so nobody can claim it".to_owned())
        }
        ("active", None) => notes.push("is active without an expert, so nobody is shown it".to_owned()),
        _ => {}
    }
    let stored = source.text("title")?.unwrap_or_default();
    let title: String = stored.chars().take(SHORT_CHARS_MAX).collect();
    if title != stored {
        notes.push("title is cut to 255 characters".to_owned());
    }
    let fields = vec![
        id.into(),
        title.into(),
        status.into(),
        initiator.into(),
        expert.into(),
        source.time("last_message_at")?.into(),
        created_at.into(),
        updated_at.into(),
    ];
    let users = std::iter::once(initiator).chain(expert).collect();
    Ok(Row { id, fields, users, conversation: None, notes })
}

fn message(id: u64, source: &Fields<'_>, initiators: &Initiators) -> Result<Row, Reason> {
    let (created_at, updated_at) = stamps(source)?;
    let (conversation, sender) = (source.some_id("conversation_id")?, sender(source)?);
    let content = source.text("content")?.unwrap_or_default();
    if content.len() > TEXT_BYTES_MAX {
        return Err("content is longer than 65535 bytes".to_owned());
    }
    // Where the source does not say it, whoever opened the conversation asks, and others answer.
    let said = source.text("sender_role").ok().flatten();
    let role = match said.filter(|role| ["initiator", "expert"].contains(role)) {
        Some(role) => role,
        None if initiators.get(&conversation) == Some(&sender) => "initiator",
        None => "expert",
    };
    let fields = vec![
        id.into(),
        conversation.into(),
        sender.into(),
        role.into(),
        content.into(),
        Field::Number(i64::from(source.flag("is_read")?)),
        created_at.into(),
        updated_at.into(),
    ];
    Ok(Row { id, fields, users: vec![sender], conversation: Some(conversation), notes: Vec::new() })
}

fn assignment(id: u64, source: &Fields<'_>) -> Result<Row, Reason> {
    let (created_at, updated_at) = stamps(source)?;
    let (conversation, expert) = (source.some_id("conversation_id")?, source.some_id("expert_id")?);
    // What was given back ended as `resolved` there: it is told as it was.
    let status = source.text("status")?.unwrap_or_default();
    if !["active", "resolved", "unassigned"].contains(&status) {
        return Err(format!("status is {status:?}"));
    }
    let rating = source.number("rating")?;
    if rating.is_some_and(|rating| i32::try_from(rating).is_err()) {
        return Err("rating is too large".to_owned());
    }
    let fields = vec![
        id.into(),
        conversation.into(),
        expert.into(),
        status.into(),
        source.time("assigned_at")?.unwrap_or(created_at).into(),
        source.time("resolved_at")?.into(),
        rating.map_or(Field::Null, Field::Number),
        created_at.into(),
        updated_at.into(),
    ];
    Ok(Row { id, fields, users: vec![expert], conversation: Some(conversation), notes: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_taken_says_why() {
        let names = ["id", "username", "password_digest", "created_at"].map(str::to_owned);
        let time = Field::Time(Timestamp::from_micros(1));
        let judged = |values: [Field; 4]| {
            let source = Fields { names: &names, values: &values };
            judge(Table::Users, &source, &Initiators::new())
        };
        let row = judged([Field::Number(3), " ann ".into(), "x".into(), time.clone()]).unwrap();
        assert_eq!((row.id, &row.fields[1], row.notes.len()), (3, &Field::from("ann"), 1));
        assert_eq!(row.fields[6], time, "it was not changed since");
        let refused = |values| judged(values).unwrap_err();
        assert_eq!(refused([Field::Number(0), "a".into(), "x".into(), time.clone()]), "id is not above 0");
        assert_eq!(refused([Field::Number(3), "  ".into(), "x".into(), time]), "username is blank");
        assert_eq!(refused([Field::Number(3), "a".into(), "x".into(), Field::Odd]), "created_at is no time");
        assert_eq!(refused([Field::Number(3), "a".into(), "x".into(), Field::Null]), "created_at is NULL");
    }
}
