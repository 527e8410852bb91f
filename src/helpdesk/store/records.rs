//! Rows into the help desk's own resources.

use crate::db::{Columns, Record};

use super::super::model::{Assignment, Id, Profile, User};
use super::Outcome;

impl Record for User {
    fn read(row: &mut Columns) -> Outcome<Self> {
        Ok(Self {
            id: row.take()?,
            username: row.take()?,
            created_at: row.take()?,
            last_active_at: row.take()?,
        })
    }
}

impl Record for Profile {
    fn read(row: &mut Columns) -> Outcome<Self> {
        Ok(Self {
            id: Id(row.take()?),
            user_id: Id(row.take()?),
            bio: row.take()?,
            // Written by us as JSON; a row of the Rails original may hold nothing.
            knowledge_base_links: serde_json::from_str(&row.take::<String>()?).unwrap_or_default(),
            created_at: row.take()?,
            updated_at: row.take()?,
        })
    }
}

impl Record for Assignment {
    fn read(row: &mut Columns) -> Outcome<Self> {
        Ok(Self {
            id: Id(row.take()?),
            conversation_id: Id(row.take()?),
            expert_id: Id(row.take()?),
            status: row.take()?,
            assigned_at: row.take()?,
            resolved_at: row.take()?,
            rating: row.take()?,
        })
    }
}
