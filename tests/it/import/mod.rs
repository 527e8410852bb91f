//! `hyperdesk import`: a Rails help desk's database, brought over whole, whatever its shape, and left as it was.

mod between;
mod changed;
mod deleted;
mod interrupted;
mod left;
mod links;
mod odd;

use std::process::ExitStatus;
use std::time::Duration;

use serde_json::{Value, json};

use crate::helpdesk::each;
use crate::support::child::Child;
use crate::support::logs::Logs;
use crate::support::rails::{Rails, Shape, password};
use crate::support::server::begin_command;
use crate::support::{EventStream, Hyperdesk, Schema, User, run_command};

/// For an import of a hundred thousand messages, in a debug build on a busy machine.
const IMPORT_LIMIT: Duration = Duration::from_secs(300);

/// An import under way.
pub struct Import {
    pub child: Child,
    logs: Logs,
}

impl Import {
    pub fn begin(from: &str, target: &Schema, more: &[&str]) -> Import {
        Import::run(&[&["--from", from], more].concat(), &[], target)
    }

    fn run(args: &[&str], env: &[(&str, &str)], target: &Schema) -> Import {
        let url = target.url();
        let env = [&[("DATABASE_URL", url.as_str())], env].concat();
        let (child, logs) = begin_command(&[&["import"], args].concat(), &env);
        Import { child, logs }
    }

    /// Its end, and all that it said.
    pub async fn end(self) -> (ExitStatus, String) {
        let status = self.child.wait_exit(IMPORT_LIMIT).await;
        self.logs.finish();
        let lines: Vec<String> = self.logs.lines().into_iter().map(|line| line.text).collect();
        (status, lines.join("\n"))
    }
}

/// A whole import; all that it said.
pub async fn import(from: &str, target: &Schema) -> String {
    let (status, said) = Import::begin(from, target, &[]).end().await;
    assert!(status.success(), "{said}");
    said
}

/// A schema of ours, empty.
pub async fn empty() -> Schema {
    migrated(Schema::fresh().await).await
}

async fn migrated(schema: Schema) -> Schema {
    let done = run_command(&["migrate"], &[("DATABASE_URL", &schema.url())]).await;
    assert!(done.status.success(), "{}", crate::support::server::all_of(&done));
    schema
}

/// An account that may read the source and nothing else.
pub async fn reader(schema: &Schema) -> String {
    let name = schema.name();
    let url = stranger(schema).await;
    for host in ["%", "localhost"] {
        schema.execute(format!("GRANT SELECT ON {name}.* TO '{}r'@'{host}'", &name[3..])).await;
    }
    url
}

/// An account that may do nothing at all.
pub async fn stranger(schema: &Schema) -> String {
    let name = schema.name();
    let stranger = format!("{}r", &name[3..]);
    for host in ["%", "localhost"] {
        schema.execute(format!("CREATE USER '{stranger}'@'{host}' IDENTIFIED BY 'r'")).await;
    }
    schema.url().replace(&format!("{name}:{name}@"), &format!("{stranger}:r@"))
}

pub async fn forget_reader(schema: &Schema) {
    let reader = format!("{}r", &schema.name()[3..]);
    schema.execute(format!("DROP USER '{reader}'@'%', '{reader}'@'localhost'")).await;
}

/// All rows of a table as texts, whatever its columns; in both databases where these are named alike.
pub async fn rows(schema: &Schema, columns: &str, table: &str) -> Vec<String> {
    let quoted: Vec<String> =
        columns.split(", ").map(|column| format!("COALESCE(HEX({column}), 'NULL')")).collect();
    let all = quoted.join(", ");
    schema.query(format!("SELECT CONCAT_WS(' ', {all}) FROM {table} ORDER BY id")).await
}

/// Field by field, in SQL: apart from the product's own comparison.
async fn is_the_same(rails: &Rails, target: &Schema) {
    let sender = rails.shape.sender;
    let role = if rails.shape.sender_role { ", sender_role" } else { "" };
    let rating = if rails.shape.rating { ", rating" } else { "" };
    for (theirs, ours, table) in [
        ("id, username, password_digest, last_active_at, created_at, updated_at".to_owned(), None, "users"),
        ("id, user_id, created_at, updated_at".to_owned(), None, "expert_profiles"),
        (
            "id, title, status, initiator_id, assigned_expert_id, last_message_at, created_at, updated_at"
                .to_owned(),
            None,
            "conversations",
        ),
        (
            format!("id, conversation_id, {sender}{role}, content, is_read, created_at, updated_at"),
            Some(format!("id, conversation_id, sender_id{role}, content, is_read, created_at, updated_at")),
            "messages",
        ),
        (
            format!(
                "id, conversation_id, expert_id, status, assigned_at, resolved_at{rating}, created_at, updated_at"
            ),
            None,
            "expert_assignments",
        ),
    ] {
        let ours = ours.unwrap_or_else(|| theirs.clone());
        let expected = rows(&rails.schema, &theirs, table).await;
        assert!(!expected.is_empty());
        assert_eq!(rows(target, &ours, table).await, expected, "{table}");
    }
}

/// What its people see: each signs in with the password of before, and finds everything.
async fn is_served(rails: &Rails, target: &Schema) {
    let desk = Hyperdesk::builder(target).without_migrate().env("SERVICES", "helpdesk").start().await;
    for name in ["alice", "bob", "Émile", "Dana"] {
        User::login(desk.addr(), name, &password(name)).await;
    }
    let alice = User::login(desk.addr(), "alice", &password("alice")).await;
    let bob = User::login(desk.addr(), "bob", &password("bob")).await;
    assert_eq!((alice.id, bob.id), (1, 2));
    let list = alice.get("/conversations").await.expect_status(200).json();
    assert_eq!(each(&list, "id"), ["11", "10"], "newest update first");
    assert_eq!(list[0]["title"], "Answered 👍🏽");
    assert_eq!(
        (&list[0]["unreadCount"], &list[0]["lastMessageAt"]),
        (&json!(2), &json!("2024-04-01T00:00:04.500000Z"))
    );
    let of_bob = bob.get("/conversations").await.expect_status(200).json();
    assert_eq!((&of_bob[0]["unreadCount"], &of_bob[0]["messageCount"]), (&json!(1), &json!(4)));
    let messages = alice.get("/conversations/11/messages").await.expect_status(200).json();
    assert_eq!(each(&messages, "id"), ["100", "101", "102", "103"]);
    assert_eq!(messages[0]["content"], "It says “PC LOAD LETTER” 😠\r\n\t'\"\\");
    assert_eq!(each(&messages, "senderRole"), ["initiator", "expert", "expert", "initiator"]);
    assert_eq!(messages[2]["content"], "  two\n lines  ");
    let queue = bob.get("/expert/queue").await.expect_status(200).json();
    assert_eq!(each(&queue["waitingConversations"], "id"), ["10", "13"], "longest waiting first");
    assert_eq!(each(&queue["assignedConversations"], "id"), ["11"]);
    let profile = bob.get("/expert/profile").await.expect_status(200).json();
    assert_eq!(profile["bio"], "Printers 🖨");
    assert_eq!(profile["knowledgeBaseLinks"], json!(["https://a.example/1", "https://b.example/ü"]));
    let dana = User::login(desk.addr(), "Dana", &password("Dana")).await;
    let profile = dana.get("/expert/profile").await.expect_status(200).json();
    assert_eq!((&profile["bio"], &profile["knowledgeBaseLinks"]), (&json!(""), &json!([])));
    let history = dana.get("/expert/assignments/history").await.expect_status(200).json();
    let rating = if rails.shape.rating { json!(4) } else { Value::Null };
    assert_eq!((&history[0]["status"], &history[0]["rating"]), (&json!("resolved"), &rating));
    // And it goes on: new ids follow the old ones, counts stay right.
    let fields = json!({"conversationId": "11", "content": "And now?"});
    let posted = alice.post("/messages", fields).await.expect_status(201).json();
    assert!(posted["id"].as_str().unwrap().parse::<u64>().unwrap() > 104);
    bob.put("/messages/103/read", json!({})).await.expect_status(200);
    let of_bob = bob.get("/conversations/11").await.expect_status(200).json();
    assert_eq!(of_bob["unreadCount"], 1);
    bob.post("/expert/conversations/10/claim", json!({})).await.expect_status(200);
}

#[tokio::test]
async fn every_shape_is_brought_over() {
    let usual = Shape::default();
    for shape in [
        usual,
        Shape { rating: false, ..usual },
        Shape { sender_role: false, links: "text", ..usual },
        Shape { sender: "user_id", rating: false, sender_role: false, ..usual },
        Shape { collation: "utf8mb4_general_ci", links: "text", ..usual },
    ] {
        let (rails, target) = (Rails::of(shape).await, empty().await);
        rails.fill().await;
        let before = rails.checksums().await;
        let url = reader(&rails.schema).await;
        let dry = Import::begin(&url, &target, &["--dry-run"]).end().await;
        assert!(
            dry.0.success() && dry.1.contains("messages: 5 rows, 5 would be added"),
            "{shape:?}: {}",
            dry.1
        );
        assert_eq!(
            target.query_one::<u64>("SELECT COUNT(*) FROM users").await,
            0,
            "a dry run writes nothing"
        );
        let said = import(&url, &target).await;
        assert!(said.contains("messages: 5 rows, 5 added, 0 were here, 0 not taken"), "{said}");
        assert!(said.contains("everybody signs in again"), "{said}");
        is_the_same(&rails, &target).await;
        // Again: nothing is added, nothing is changed.
        let said = import(&url, &target).await;
        assert!(said.contains("messages: 5 rows, 0 added, 5 were here, 0 not taken"), "{said}");
        is_the_same(&rails, &target).await;
        forget_reader(&rails.schema).await;
        assert_eq!(rails.checksums().await, before, "{shape:?}: the source is as it was");
        is_served(&rails, &target).await;
    }
}

/// The environment keeps the password out of the process list, where a command line is for all to see.
#[tokio::test]
async fn the_environment_may_name_the_source() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    let url = rails.schema.url();
    let from = [("IMPORT_FROM", url.as_str())];
    let (status, said) = Import::run(&["--dry-run"], &from, &target).end().await;
    assert!(status.success() && said.contains("messages: 5 rows, 5 would be added"), "{said}");
    // The command line wins.
    let closed = "mysql://nobody:hunter2@127.0.0.1:1/none";
    let (status, said) = Import::run(&["--dry-run", "--from", closed], &from, &target).end().await;
    assert_eq!(status.code(), Some(65), "{said}");
    assert!(said.contains("the source cannot be read") && !said.contains("hunter2"), "{said}");
    let wrong = [("IMPORT_FROM", "postgres://nobody:hunter2@nowhere/none")];
    let (status, said) = Import::run(&[], &wrong, &target).end().await;
    assert_eq!(status.code(), Some(64), "{said}");
    assert!(said.starts_with("IMPORT_FROM: must be mysql://") && !said.contains("hunter2"), "{said}");
    let (status, said) = Import::run(&[], &[], &target).end().await;
    assert_eq!(status.code(), Some(64), "{said}");
    assert!(said.contains("set IMPORT_FROM, or give --from"), "{said}");
}

/// What came after the first import is added by the next; what was changed here stays.
#[tokio::test]
async fn a_second_import_adds_what_is_new() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    import(&rails.schema.url(), &target).await;
    target.execute("UPDATE conversations SET title = 'Ours', updated_at = NOW(6) WHERE id = 12").await;
    rails
        .schema
        .execute("UPDATE conversations SET title = 'Theirs', updated_at = '2024-06-01' WHERE id = 13")
        .await;
    rails
        .schema
        .execute(
            "INSERT INTO messages (id, conversation_id, sender_id, sender_role, content, is_read, created_at, updated_at)
            VALUES (99, 11, 2, 'expert', 'late', 0, '2024-06-01', '2024-06-01')",
        )
        .await;
    let (status, said) = Import::begin(&rails.schema.url(), &target, &[]).end().await;
    assert_eq!(status.code(), Some(65), "{said}");
    assert!(said.contains("messages: 6 rows, 1 added, 5 were here, 0 not taken"), "{said}");
    assert!(said.contains("4 rows compared, 1 of them changed here since"), "{said}");
    assert!(
        said.contains(
            "conversations 13 was changed in the source since it was brought over, differs in title"
        ),
        "{said}"
    );
    let titles: Vec<String> =
        target.query("SELECT title FROM conversations WHERE id IN (12, 13) ORDER BY id").await;
    assert_eq!(titles, ["Ours", "Waits, too"]);
    let unread: (u64, u64, u64) = target
        .query_one(
            "SELECT unread, unread_from_initiator, unread_from_expert FROM conversations WHERE id = 11",
        )
        .await;
    assert_eq!(unread, (4, 1, 3));
}

/// Servers that run already see it at once, and no client goes on as if nothing had happened.
/// A desk that was opened to try the server, before anything happened on it.
#[tokio::test]
async fn a_cursor_from_before_the_first_change_is_refused_too() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    for table in ["users", "expert_profiles"] {
        target.execute(format!("ALTER TABLE {table} AUTO_INCREMENT = 5000")).await;
    }
    let desk = Hyperdesk::builder(&target).without_migrate().env("SERVICES", "helpdesk").start().await;
    let eve = User::register(desk.addr(), "eve").await;
    let begin = eve.get("/api/updates").await.expect_status(200).json();
    let cursor = begin["cursor"].as_str().unwrap().to_owned();
    let idle = eve.get(&format!("/api/updates?cursor={cursor}")).await.expect_status(200).json();
    assert_eq!((&idle["cursor"], &idle["queue"]["total"]), (&json!(cursor), &json!(0)), "nothing is new");
    let mut stream = EventStream::open(desk.addr(), &eve.token, Some(&cursor)).await.unwrap();
    import(&rails.schema.url(), &target).await;
    assert_eq!(stream.next().await.unwrap().unwrap().name, "reset");
    eve.get(&format!("/api/updates?cursor={cursor}")).await.expect_status(410);
    let anew = eve.get("/api/updates").await.expect_status(200).json();
    assert_eq!(anew["queue"]["total"], json!(2));
}

#[tokio::test]
async fn running_servers_and_their_clients_see_it() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    // As the accounts of before would be: ids that the source does not have.
    for table in ["users", "expert_profiles", "conversations"] {
        target.execute(format!("ALTER TABLE {table} AUTO_INCREMENT = 5000")).await;
    }
    let desk = Hyperdesk::builder(&target).without_migrate().env("SERVICES", "helpdesk").start().await;
    let eve = User::register(desk.addr(), "eve").await;
    eve.post("/conversations", json!({"title": "Before"})).await.expect_status(201);
    let begin = eve.get("/api/updates").await.expect_status(200).json();
    let cursor = begin["cursor"].as_str().unwrap().to_owned();
    import(&rails.schema.url(), &target).await;
    let told = || async { eve.get(&format!("/api/updates?cursor={cursor}")).await.status == 410 };
    crate::support::eventually(Duration::from_secs(30), told).await;
    let queue = eve.get("/expert/queue").await.expect_status(200).json();
    assert_eq!(each(&queue["waitingConversations"], "title"), ["Waits longest", "Waits, too", "Before"]);
    // A poll with the time of the move finds what Rails wrote before it.
    let alice = User::login(desk.addr(), "alice", &password("alice")).await;
    let news = alice.get("/api/messages/updates?since=2024-03-31T00:00:02Z").await.expect_status(200).json();
    assert_eq!(each(&news, "id"), ["100", "101", "102", "103"]);
    let changed =
        alice.get("/api/conversations/updates?since=2024-03-01T00:00:00Z").await.expect_status(200).json();
    assert_eq!(each(&changed, "id"), ["11"]);
}
