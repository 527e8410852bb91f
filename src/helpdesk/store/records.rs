//! Rows into the help desk's own resources.

use crate::db::{Columns, Record};

use super::super::model::{Assignment, Id, Profile, User};
use super::Outcome;

crate::records! {
    User { id, username, created_at, last_active_at }
    Assignment { id, conversation_id, expert_id, status, assigned_at, resolved_at, rating }
}

impl Record for Id {
    fn read(row: &mut Columns) -> Outcome<Self> {
        row.take().map(Self)
    }
}

impl Record for Profile {
    fn read(row: &mut Columns) -> Outcome<Self> {
        Ok(Self {
            id: Id::read(row)?,
            user_id: Id::read(row)?,
            bio: row.take()?,
            // Written by us as JSON; a row of the Rails original may hold nothing.
            knowledge_base_links: serde_json::from_str(&row.take::<String>()?).unwrap_or_default(),
            created_at: row.take()?,
            updated_at: row.take()?,
        })
    }
}
