//! The tables that are brought over, and what a source must have of them. Pure.

use std::collections::BTreeSet;

/// A table, in the order in which they are brought over: none names one that comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// `users`
    Users,
    /// `expert_profiles`
    Profiles,
    /// `conversations`
    Conversations,
    /// `messages`
    Messages,
    /// `expert_assignments`
    Assignments,
}

/// All of them.
pub const TABLES: [Table; 5] =
    [Table::Users, Table::Profiles, Table::Conversations, Table::Messages, Table::Assignments];

impl Table {
    /// Its name, in both databases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Profiles => "expert_profiles",
            Self::Conversations => "conversations",
            Self::Messages => "messages",
            Self::Assignments => "expert_assignments",
        }
    }

    /// The columns here, in the order in which all statements have them: the id first, the two times last.
    #[must_use]
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Users => &[
                "id",
                "username",
                "password_digest",
                "username_key",
                "last_active_at",
                "created_at",
                "updated_at",
            ],
            Self::Profiles => &["id", "user_id", "bio", "knowledge_base_links", "created_at", "updated_at"],
            Self::Conversations => &[
                "id",
                "title",
                "status",
                "initiator_id",
                "assigned_expert_id",
                "last_message_at",
                "created_at",
                "updated_at",
            ],
            Self::Messages => &[
                "id",
                "conversation_id",
                "sender_id",
                "sender_role",
                "content",
                "is_read",
                "created_at",
                "updated_at",
            ],
            Self::Assignments => &[
                "id",
                "conversation_id",
                "expert_id",
                "status",
                "assigned_at",
                "resolved_at",
                "rating",
                "created_at",
                "updated_at",
            ],
        }
    }

    /// Whether anything is made of a column of a source that has these columns.
    #[must_use]
    pub fn takes(self, column: &str, names: &[String]) -> bool {
        let is_sender = self == Self::Messages && column == "user_id";
        let is_sender = is_sender && !names.iter().any(|name| name == "sender_id");
        is_sender || (self.columns().contains(&column) && column != "username_key")
    }

    /// What the source must have of it, one name of each group. All else may be missing.
    const fn needs(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Users => &[&["id"], &["username"], &["password_digest"], &["created_at"]],
            Self::Profiles => &[&["id"], &["user_id"], &["created_at"]],
            Self::Conversations => &[
                &["id"],
                &["title"],
                &["status"],
                &["initiator_id"],
                &["assigned_expert_id"],
                &["created_at"],
            ],
            Self::Messages => {
                &[&["id"], &["conversation_id"], &["sender_id", "user_id"], &["content"], &["created_at"]]
            }
            Self::Assignments => {
                &[&["id"], &["conversation_id"], &["expert_id"], &["status"], &["created_at"]]
            }
        }
    }
}

/// A column of the source.
pub struct Column {
    /// The table of the source that has the column.
    pub table: String,
    /// The column as the source calls it.
    pub name: String,
    /// Such as `bigint`.
    pub kind: String,
    /// What has the column, such as `base table` or `view`.
    pub holder: String,
}

/// Tables in which Rails keeps what it knows of its own schema.
const OF_RAILS: [&str; 2] = ["schema_migrations", "ar_internal_metadata"];

/// The tables of a source of which nothing is brought over, by name. Views are left out: they hold nothing.
#[must_use]
pub fn left_behind(columns: &[Column]) -> BTreeSet<&str> {
    let holds =
        columns.iter().filter(|column| !column.holder.contains("view") && column.holder != "sequence");
    let is_known = |name: &&str| TABLES.iter().any(|table| table.name() == *name) || OF_RAILS.contains(name);
    holds.map(|column| column.table.as_str()).filter(|name| !is_known(name)).collect()
}

/// Whether a source is a Rails help desk.
///
/// # Errors
/// A sentence that says what it lacks.
pub fn judge(columns: &[Column]) -> Result<(), String> {
    if columns.iter().any(|column| column.table == "hyperdesk_migrations") {
        return Err("the source is a database of hyperdesk itself: there is nothing to bring over".to_owned());
    }
    let mut lacks = Vec::new();
    for table in TABLES {
        let of_table: Vec<&Column> = columns.iter().filter(|column| column.table == table.name()).collect();
        if of_table.is_empty() {
            lacks.push(format!("there is no table {}", table.name()));
            continue;
        }
        for names in table.needs() {
            let found = of_table.iter().find(|column| names.contains(&column.name.as_str()));
            match found {
                None => lacks.push(format!("table {} has no {}", table.name(), names.join(" or "))),
                Some(id) if id.name == "id" && !id.kind.ends_with("int") => {
                    lacks.push(format!("the ids of table {} are no whole numbers", table.name()));
                }
                Some(_) => {}
            }
        }
    }
    if lacks.is_empty() {
        return Ok(());
    }
    Err(format!("the source is no help desk of Rails that this account may read: {}", lacks.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_none_says_what_it_lacks() {
        let column = |table: &str, name: &str| Column {
            table: table.to_owned(),
            name: name.to_owned(),
            kind: "bigint".to_owned(),
            holder: "base table".to_owned(),
        };
        let mut all: Vec<Column> = Vec::new();
        for table in TABLES {
            all.extend(table.needs().iter().map(|names| column(table.name(), names[names.len() - 1])));
        }
        assert_eq!(judge(&all), Ok(()));
        all.retain(|column| column.name != "user_id" || column.table != "messages");
        assert_eq!(
            judge(&all),
            Err("the source is no help desk of Rails that this account may read: \
                 table messages has no sender_id or user_id"
                .to_owned())
        );
        all.push(column("hyperdesk_migrations", "version"));
        assert!(judge(&all).unwrap_err().contains("hyperdesk itself"));
    }
}
