//! What a row of a Rails help desk becomes here, or why it cannot. Pure.

use std::collections::HashMap;

use crate::auth::{names, password};
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
    source.some_id(if source.has("sender_id") { "sender_id" } else { "user_id" })
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
fn stamps(source: &Fields<'_>, notes: &mut Vec<String>) -> Result<(Timestamp, Timestamp), Reason> {
    let created_at = source.some_time("created_at")?;
    if *source.get("updated_at") != Field::Null {
        return Ok((created_at, source.some_time("updated_at")?));
    }
    if source.has("updated_at") {
        notes.push("has no updated_at: created_at is taken".to_owned());
    }
    Ok((created_at, created_at))
}

/// A text that Rails may lack, and this server may not.
fn text<'a>(source: &'a Fields<'_>, name: &str, notes: &mut Vec<String>) -> Result<&'a str, Reason> {
    let text = source.text(name)?;
    if text.is_none() {
        notes.push(format!("{name} is empty here: it was NULL"));
    }
    Ok(text.unwrap_or_default())
}

fn user(id: u64, source: &Fields<'_>) -> Result<Row, Reason> {
    let mut notes = Vec::new();
    let (created_at, updated_at) = stamps(source, &mut notes)?;
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
    if username != stored {
        notes.push(format!("is {username:?} here, without the spaces at the ends of the name"));
    }
    if digest.is_empty() {
        notes.push("has no password, so nobody signs in".to_owned());
    } else if let Err(why) = password::check_stored(digest) {
        notes.push(format!("cannot sign in: {why}"));
    }
    let fields = vec![
        id.into(),
        username.into(),
        digest.into(),
        Field::Bytes(names::key(username).to_vec()),
        source.time("last_active_at", &mut notes)?.into(),
        created_at.into(),
        updated_at.into(),
    ];
    Ok(Row { id, fields, users: Vec::new(), conversation: None, notes })
}

fn profile(id: u64, source: &Fields<'_>) -> Result<Row, Reason> {
    let mut notes = Vec::new();
    let (created_at, updated_at) = stamps(source, &mut notes)?;
    let user = source.some_id("user_id")?;
    let bio = source.text("bio")?.unwrap_or_default();
    let (links, note) = links::read(source.text("knowledge_base_links")?.unwrap_or_default());
    notes.extend(note.map(str::to_owned));
    let links = serde_json::Value::from(links).to_string();
    if bio.len() > TEXT_BYTES_MAX || links.len() > TEXT_BYTES_MAX {
        return Err("bio or knowledge_base_links is longer than 65535 bytes".to_owned());
    }
    let fields = vec![id.into(), user.into(), bio.into(), links.into(), created_at.into(), updated_at.into()];
    Ok(Row { id, fields, users: vec![user], conversation: None, notes })
}

fn conversation(id: u64, source: &Fields<'_>) -> Result<Row, Reason> {
    let mut notes = Vec::new();
    let (created_at, updated_at) = stamps(source, &mut notes)?;
    let status = source.text("status")?.unwrap_or_default();
    if !["waiting", "active", "resolved"].contains(&status) {
        return Err(format!("status is {status:?}"));
    }
    let (initiator, expert) = (source.some_id("initiator_id")?, source.id("assigned_expert_id")?);
    match (status, expert) {
        ("waiting", Some(_)) => {
            notes.push("waits with an expert assigned, so nobody can claim it".to_owned())
        }
        ("active", None) => notes.push("is active without an expert, so nobody is shown it".to_owned()),
        _ => {}
    }
    let stored = text(source, "title", &mut notes)?;
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
        source.time("last_message_at", &mut notes)?.into(),
        created_at.into(),
        updated_at.into(),
    ];
    let users = std::iter::once(initiator).chain(expert).collect();
    Ok(Row { id, fields, users, conversation: None, notes })
}

fn message(id: u64, source: &Fields<'_>, initiators: &Initiators) -> Result<Row, Reason> {
    let mut notes = Vec::new();
    let (created_at, updated_at) = stamps(source, &mut notes)?;
    let (conversation, sender) = (source.some_id("conversation_id")?, sender(source)?);
    let content = text(source, "content", &mut notes)?;
    if content.len() > TEXT_BYTES_MAX {
        return Err("content is longer than 65535 bytes".to_owned());
    }
    // Where the source does not say it, whoever opened the conversation asks, and others answer.
    let is_initiator = initiators.get(&conversation) == Some(&sender);
    let role = match source.get("sender_role") {
        Field::Text(role) if ["initiator", "expert"].contains(&role.as_str()) => role,
        said => {
            let role = if is_initiator { "initiator" } else { "expert" };
            let said = match said {
                Field::Null => None,
                Field::Text(said) => Some(format!("{said:?}")),
                Field::Number(said) => Some(said.to_string()),
                _ => Some("no text".to_owned()),
            };
            notes.extend(said.map(|said| format!("sender_role is {role:?} here: it was {said}")));
            role
        }
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
    Ok(Row { id, fields, users: vec![sender], conversation: Some(conversation), notes })
}

fn assignment(id: u64, source: &Fields<'_>) -> Result<Row, Reason> {
    let mut notes = Vec::new();
    let (created_at, updated_at) = stamps(source, &mut notes)?;
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
    let assigned_at = source.time("assigned_at", &mut notes)?;
    if assigned_at.is_none() {
        notes.push("has no assigned_at: created_at is taken".to_owned());
    }
    let fields = vec![
        id.into(),
        conversation.into(),
        expert.into(),
        status.into(),
        assigned_at.unwrap_or(created_at).into(),
        source.time("resolved_at", &mut notes)?.into(),
        rating.map_or(Field::Null, Field::Number),
        created_at.into(),
        updated_at.into(),
    ];
    Ok(Row { id, fields, users: vec![expert], conversation: Some(conversation), notes })
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
        assert_eq!((row.id, &row.fields[1], row.notes.len()), (3, &Field::from("ann"), 2));
        assert_eq!(row.fields[6], time, "it was not changed since");
        let refused = |values| judged(values).unwrap_err();
        assert_eq!(refused([Field::Number(0), "a".into(), "x".into(), time.clone()]), "id is not above 0");
        assert_eq!(refused([Field::Number(3), "  ".into(), "x".into(), time]), "username is blank");
        assert_eq!(refused([Field::Number(3), "a".into(), "x".into(), Field::Odd]), "created_at is no time");
        assert_eq!(refused([Field::Number(3), "a".into(), "x".into(), Field::Null]), "created_at is NULL");
        let zero = refused([Field::Number(3), "a".into(), "x".into(), Field::ZeroTime]);
        assert_eq!(zero, "created_at is a zero date");
    }
}
