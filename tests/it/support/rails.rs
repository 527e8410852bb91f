//! A help desk's database as Rails 8 makes it, in the shapes that there are.

use mysql_async::prelude::Queryable;

use super::schema::{Schema, numbers};

/// Where the databases differ.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// `expert_assignments.rating` is there.
    pub rating: bool,
    /// `messages.sender_role` is there.
    pub sender_role: bool,
    /// The column of `messages` that says who sent it.
    pub sender: &'static str,
    /// The type of `expert_profiles.knowledge_base_links`.
    pub links: &'static str,
    /// The collation of all texts.
    pub collation: &'static str,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            rating: true,
            sender_role: true,
            sender: "sender_id",
            links: "json",
            collation: "utf8mb4_unicode_ci",
        }
    }
}

const ID: &str = "id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY";
const STAMPS: &str = "created_at datetime(6) NOT NULL, updated_at datetime(6) NOT NULL";

/// Such a database.
pub struct Rails {
    pub schema: Schema,
    pub shape: Shape,
}

/// The password of whoever is called so.
pub fn password(username: &str) -> String {
    format!("secret-{}", username.trim())
}

/// As `has_secure_password` stores it, at the cost that Rails' tests have.
pub fn digest(username: &str) -> String {
    bcrypt::hash(password(username), 4).expect("a digest")
}

impl Rails {
    pub async fn fresh() -> Rails {
        Rails::of(Shape::default()).await
    }

    /// With foreign keys, and the tables that Rails has for itself.
    pub async fn of(shape: Shape) -> Rails {
        Rails::in_schema(Schema::fresh().await, shape).await
    }

    /// The same in a schema that is empty yet.
    pub async fn in_schema(schema: Schema, shape: Shape) -> Rails {
        let rails = Rails { schema, shape };
        for statement in rails.people_ddl().into_iter().chain(rails.talk_ddl()) {
            rails.schema.execute(statement).await;
        }
        rails
    }

    fn table(&self, name: &str, columns: &str) -> String {
        let collation = self.shape.collation;
        format!("CREATE TABLE {name} ({columns}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE={collation}")
    }

    /// Rails' own tables and the people.
    fn people_ddl(&self) -> Vec<String> {
        let links = self.shape.links;
        let (id, stamps) = (ID, STAMPS);
        let table = |name: &str, columns: String| self.table(name, &columns);
        vec![
            table("schema_migrations", "version varchar(255) NOT NULL PRIMARY KEY".to_owned()),
            table(
                "ar_internal_metadata",
                format!("`key` varchar(255) NOT NULL PRIMARY KEY, value varchar(255) DEFAULT NULL, {stamps}"),
            ),
            table(
                "sessions",
                format!(
                    "{id}, session_id varchar(255) NOT NULL, data text, {stamps},
                    UNIQUE KEY index_sessions_on_session_id (session_id)"
                ),
            ),
            table(
                "users",
                format!(
                    "{id}, username varchar(255) NOT NULL, password_digest varchar(255) NOT NULL,
                    last_active_at datetime(6) DEFAULT NULL, {stamps},
                    UNIQUE KEY index_users_on_username (username)"
                ),
            ),
            table(
                "expert_profiles",
                format!(
                    "{id}, user_id bigint NOT NULL, bio text, knowledge_base_links {links}, {stamps},
                    KEY index_expert_profiles_on_user_id (user_id),
                    CONSTRAINT fk_p_user FOREIGN KEY (user_id) REFERENCES users (id)"
                ),
            ),
        ]
    }

    /// What they say to each other.
    fn talk_ddl(&self) -> Vec<String> {
        let Shape { rating, sender_role, sender, .. } = self.shape;
        let rating = if rating { "rating int DEFAULT NULL," } else { "" };
        let role = if sender_role { "sender_role varchar(255) DEFAULT NULL," } else { "" };
        let (id, stamps) = (ID, STAMPS);
        let table = |name: &str, columns: String| self.table(name, &columns);
        vec![
            table(
                "conversations",
                format!(
                    "{id}, title varchar(255) NOT NULL, status varchar(255) NOT NULL DEFAULT 'waiting',
                    initiator_id bigint NOT NULL, assigned_expert_id bigint DEFAULT NULL,
                    last_message_at datetime(6) DEFAULT NULL, {stamps},
                    KEY index_conversations_on_initiator_id (initiator_id),
                    KEY index_conversations_on_assigned_expert_id (assigned_expert_id),
                    CONSTRAINT fk_c_initiator FOREIGN KEY (initiator_id) REFERENCES users (id),
                    CONSTRAINT fk_c_expert FOREIGN KEY (assigned_expert_id) REFERENCES users (id)"
                ),
            ),
            table(
                "messages",
                format!(
                    "{id}, conversation_id bigint NOT NULL, {sender} bigint NOT NULL, {role}
                    content text NOT NULL, is_read tinyint(1) NOT NULL DEFAULT '0', {stamps},
                    KEY index_messages_on_conversation_id (conversation_id),
                    CONSTRAINT fk_m_conversation FOREIGN KEY (conversation_id) REFERENCES conversations (id),
                    CONSTRAINT fk_m_sender FOREIGN KEY ({sender}) REFERENCES users (id)"
                ),
            ),
            table(
                "expert_assignments",
                format!(
                    "{id}, conversation_id bigint NOT NULL, expert_id bigint NOT NULL,
                    status varchar(255) NOT NULL DEFAULT 'active', assigned_at datetime(6) DEFAULT NULL,
                    resolved_at datetime(6) DEFAULT NULL, {rating} {stamps},
                    CONSTRAINT fk_a_conversation FOREIGN KEY (conversation_id) REFERENCES conversations (id),
                    CONSTRAINT fk_a_expert FOREIGN KEY (expert_id) REFERENCES users (id)"
                ),
            ),
        ]
    }

    /// Two who ask, two who answer; conversations that wait, are answered and are done; emoji, NULLs.
    pub async fn fill(&self) {
        let mut conn = self.schema.admin().await;
        let stamps = "'2024-03-01 08:00:00.123456', '2024-03-02 09:30:00.654321'";
        for (id, name, seen) in [
            (1, "alice", "'2024-05-01 10:00:00.000001'"),
            (2, "bob", "NULL"),
            (3, "Émile", "NULL"),
            (7, "Dana", "'2024-05-02 10:00:00'"),
        ] {
            let text = format!(
                "INSERT INTO users (id, username, password_digest, last_active_at, created_at, updated_at)
                VALUES ({id}, ?, ?, {seen}, {stamps})"
            );
            conn.exec_drop(text, (name, digest(name))).await.expect("a user");
        }
        let Shape { rating, sender_role, sender, .. } = self.shape;
        let (rating, rated) = if rating { (", rating", ", 4") } else { ("", "") };
        let role = |role: &str| if sender_role { format!(", '{role}'") } else { String::new() };
        let role_column = if sender_role { ", sender_role" } else { "" };
        let (asks, answers) = (role("initiator"), role("expert"));
        for insert in [
            "schema_migrations VALUES ('20240101000000')".to_owned(),
            format!("ar_internal_metadata VALUES ('environment', 'production', {stamps})"),
            format!("sessions (session_id, data, created_at, updated_at) VALUES ('2::abc', 'x', {stamps})"),
            format!(
                "expert_profiles (id, user_id, bio, knowledge_base_links, created_at, updated_at) VALUES
                (5, 2, 'Printers 🖨', '[\"https://a.example/1\", \"https://b.example/ü\"]', {stamps}),
                (6, 7, NULL, NULL, {stamps})"
            ),
            "conversations (id, title, status, initiator_id, assigned_expert_id, last_message_at, created_at, updated_at)
                VALUES (10, 'Waits longest', 'waiting', 1, NULL, NULL, '2024-01-01 00:00:01', '2024-01-01 00:00:01'),
                (11, 'Answered 👍🏽', 'active', 1, 2, '2024-04-01 00:00:04.5', '2024-01-03 00:00:01', '2024-04-01 00:00:05'),
                (12, 'Done', 'resolved', 3, 7, '2024-02-01 00:00:01', '2024-01-04 00:00:01', '2024-02-01 00:00:02'),
                (13, 'Waits, too', 'waiting', 3, NULL, NULL, '2024-01-02 00:00:01', '2024-01-02 00:00:01')".to_owned(),
            format!(
                "messages (id, conversation_id, {sender}{role_column}, content, is_read, created_at, updated_at) VALUES
                (100, 11, 1{asks}, 'It says “PC LOAD LETTER” 😠\\r\\n\\t\\'\\\"\\\\', 1, '2024-04-01 00:00:01', {updated}),
                (101, 11, 2{answers}, 'Ah. 日本語 और हिन्दी', 0, '2024-04-01 00:00:02', {updated}),
                (102, 11, 2{answers}, '  two\\n lines  ', 0, '2024-04-01 00:00:03', {updated}),
                (103, 11, 1{asks}, 'Thanks', 0, '2024-04-01 00:00:04.5', {updated}),
                (104, 12, 7{answers}, 'Done', 1, '2024-02-01 00:00:01', {updated})",
                updated = "'2024-04-02 00:00:00'"
            ),
            format!(
                "expert_assignments (id, conversation_id, expert_id, status, assigned_at, resolved_at, created_at, updated_at{rating})
                VALUES (50, 11, 2, 'active', '2024-03-01 00:00:00', NULL, {stamps}{rated}),
                (51, 12, 7, 'resolved', '2024-01-30 00:00:00', '2024-02-01 00:00:02', {stamps}{rated}),
                (52, 10, 2, 'resolved', '2024-01-05 00:00:00', '2024-01-06 00:00:00', {stamps}{rated})"
            ),
        ] {
            conn.query_drop(format!("INSERT INTO {insert}")).await.unwrap_or_else(|error| panic!("{insert}: {error}"));
        }
        conn.disconnect().await.expect("disconnect");
    }

    /// So many more messages, at most a hundred thousand at once, in two hundred more conversations of ten more people.
    pub async fn fill_many(&self, messages: u64) {
        let Shape { sender_role, sender, .. } = self.shape;
        let (column, role) =
            if sender_role { (", sender_role", ", IF(i % 3, 'initiator', 'expert')") } else { ("", "") };
        let digest = digest("many");
        for insert in [
            format!(
                "users (id, username, password_digest, created_at, updated_at)
                SELECT 1000 + i, CONCAT('many', i), '{digest}', '2024-01-01', '2024-01-01' FROM {}",
                numbers(0, 9)
            ),
            format!(
                "conversations (id, title, status, initiator_id, assigned_expert_id, created_at, updated_at)
                SELECT 1000 + i, CONCAT('c', i), 'active', 1000 + i % 5, 1005 + i % 5, '2024-01-01', '2024-01-01' FROM {}",
                numbers(0, 199)
            ),
        ] {
            self.schema.execute(format!("INSERT INTO {insert}")).await;
        }
        // In portions, each within the time that a test's database has for an answer.
        for first in (0..messages).step_by(10_000) {
            let last = messages.min(first + 10_000) - 1;
            self.schema
                .execute(format!(
                    "INSERT INTO messages
                        (id, conversation_id, {sender}{column}, content, is_read, created_at, updated_at)
                    SELECT 1000 + i, 1000 + i % 200, IF(i % 3, 1000 + i % 5, 1005 + i % 5){role},
                        CONCAT('m', i, REPEAT('é😀', i % 30)), i % 4 = 0,
                        '2024-01-02' + INTERVAL i SECOND, '2024-01-02' + INTERVAL i SECOND FROM {}",
                    numbers(first, last)
                ))
                .await;
        }
    }

    /// Of every table, its definition included.
    pub async fn checksums(&self) -> Vec<(String, Option<i64>, String)> {
        let mut all = Vec::new();
        for table in self.schema.query::<String>("SHOW TABLES").await {
            let (_, sum): (String, Option<i64>) =
                self.schema.query_one(format!("CHECKSUM TABLE {table} EXTENDED")).await;
            let (_, made): (String, String) =
                self.schema.query_one(format!("SHOW CREATE TABLE {table}")).await;
            all.push((table, sum, made));
        }
        all
    }
}
