//! Clocks that are wrong: a client's, an instance's, the database's. Idle stays `[]` without SQL, an echo stays a
//! position, and nothing that happens is hidden.
//!
//! Only what lies between the clocks matters, so the database's has the right time and the server's is moved, by the
//! library that Debian calls libfaketime.

use std::path::PathBuf;
use std::time::Duration;

use hyperdesk::clock::Timestamp;
use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::helpdesk::{Desk, ask, claim, each, say};
use crate::support::{Hyperdesk, Schema, User, child, eventually_some};

const PATHS: [&str; 3] = ["/api/conversations/updates", "/api/messages/updates", "/api/expert-queue/updates"];
const SOON: Duration = Duration::from_secs(5);

fn shifted(seconds: i64) -> Timestamp {
    Timestamp::from_micros(Timestamp::now().micros() + seconds * 1_000_000)
}

/// A server whose clock differs from the database's by so many seconds, on a feed that has been there for a while.
async fn start(server_clock: i64) -> Desk {
    let schema = Schema::fresh().await;
    drop(Hyperdesk::builder(&schema).start().await);
    schema.execute("UPDATE feed_head SET at = at - INTERVAL 1 HOUR").await;
    let mut builder = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk");
    if server_clock != 0 {
        builder = builder
            .env("LD_PRELOAD", fake_time().display())
            .env("FAKETIME", format!("{server_clock:+}s"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", 1);
    }
    Desk { server: builder.start().await, schema }
}

fn fake_time() -> PathBuf {
    let program = child::find("faketime").expect("faketime is installed (apt-get install faketime)");
    let root = program.parent().and_then(|bin| bin.parent()).expect("a folder above bin");
    let folders = std::fs::read_dir(root.join("lib")).expect("lib").flatten();
    let library = |folder: std::fs::DirEntry| folder.path().join("faketime/libfaketime.so.1");
    folders.map(library).find(|library| library.is_file()).expect("libfaketime.so.1")
}

/// What each kind of poll gives for this time.
async fn ask_all(user: &User, since: Timestamp) -> Vec<serde_json::Value> {
    let mut all = Vec::new();
    for path in PATHS {
        all.push(user.get(&format!("{path}?since={since}")).await.expect_status(200).json());
    }
    all
}

/// Makes more changes than a memory of 16 holds, and waits until they are in it: a poll shows what its user wrote.
async fn push_out(user: &User) {
    for number in 0..20 {
        ask(user, &format!("{number}")).await;
    }
    user.get(&format!("{}?since={}", PATHS[0], shifted(-60))).await.expect_status(200);
}

async fn from_database(desk: &Desk) -> f64 {
    desk.server.metric("feed_polls_from_database_total").await.unwrap()
}

#[tokio::test]
async fn a_client_whose_clock_is_fast_is_told_what_happened_of_late_and_costs_no_sql() {
    let desk = start(0).await;
    let ann = desk.user("ann").await;
    for fast in [1, 30, 59, 61, 300, 86_400] {
        assert_eq!(ask_all(&ann, shifted(fast)).await, vec![json!([]); 3], "nothing has happened: {fast} s");
    }
    let id = ask(&ann, "printer").await;
    let said = say(&ann, &id, "hello").await;
    for fast in [1, 30, 59, 61, 300, 86_400] {
        let [conversations, messages, queue] = ask_all(&ann, shifted(fast)).await.try_into().unwrap();
        assert_eq!(
            (each(&conversations, "id"), each(&messages, "id")),
            (vec![&*id], vec![&*said]),
            "{fast} s"
        );
        assert_eq!(each(&queue[0]["waitingConversations"], "id"), [&id], "{fast} s");
    }
    assert_eq!(from_database(&desk).await, 0.0);
}

/// Told again and again, it must not be told each time that what was read is not.
#[tokio::test]
async fn what_is_told_again_is_told_as_it_is_now() {
    let desk = start(0).await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let id = ask(&ann, "printer").await;
    claim(&bob, &id).await;
    let said = say(&bob, &id, "is it on?").await;
    let [conversations, messages, _] = ask_all(&ann, shifted(30)).await.try_into().unwrap();
    assert_eq!((&conversations[0]["unreadCount"], &messages[0]["isRead"]), (&json!(1), &json!(false)));
    ann.put(&format!("/messages/{said}/read"), json!({})).await.expect_status(200);
    let [conversations, messages, _] = ask_all(&ann, shifted(30)).await.try_into().unwrap();
    assert_eq!((each(&conversations, "id"), each(&messages, "id")), (vec![&*id], vec![&*said]));
    assert_eq!((&conversations[0]["unreadCount"], &messages[0]["isRead"]), (&json!(0), &json!(true)));
    assert_eq!(from_database(&desk).await, 0.0);
}

#[tokio::test]
async fn an_echo_is_a_position_whatever_the_servers_clock_says() {
    for server_clock in [-300, -60, 300] {
        let desk = start(server_clock).await;
        let ann = desk.user("ann").await;
        let id = ask(&ann, "printer").await;
        let mut newest = shifted(-10).to_string();
        for round in 0..3 {
            let said = say(&ann, &id, &format!("{round}")).await;
            let found = ann.get(&format!("{}?since={newest}", PATHS[1])).await.expect_status(200).json();
            assert_eq!(each(&found, "id"), [&said], "{server_clock} s");
            newest = found[0]["timestamp"].as_str().unwrap().to_owned();
            let path = format!("{}?since={newest}", PATHS[1]);
            assert_eq!(ann.get(&path).await.expect_status(200).text(), "[]", "{server_clock} s");
        }
        assert_eq!(from_database(&desk).await, 0.0, "{server_clock} s");
        let skew = desk.server.metric("feed_clock_skew_seconds").await.unwrap();
        assert!((skew + server_clock as f64).abs() < 5.0, "{skew} for {server_clock}");
        let warned = || async {
            desk.server.logs().last(|line| {
                line.str("message").is_some_and(|text| text.starts_with("the database's clock is ahead"))
            })
        };
        eventually_some(SOON, warned).await;
    }
}

/// Clients whose clocks are right, on servers whose are not.
#[tokio::test]
async fn a_wrong_server_clock_hides_nothing_and_asks_nobody() {
    for server_clock in [-300, -60, 300] {
        let desk = start(server_clock).await;
        let ann = desk.user("ann").await;
        for _ in 0..3 {
            assert_eq!(ask_all(&ann, Timestamp::now()).await, vec![json!([]); 3], "{server_clock} s");
        }
        let before = Timestamp::now();
        let id = ask(&ann, "printer").await;
        let said = say(&ann, &id, "hello").await;
        let [conversations, messages, queue] = ask_all(&ann, before).await.try_into().unwrap();
        assert_eq!((each(&conversations, "id"), each(&messages, "id")), (vec![&*id], vec![&*said]));
        assert_eq!(each(&queue[0]["waitingConversations"], "id"), [&id]);
        assert_eq!(from_database(&desk).await, 0.0, "{server_clock} s");
    }
}

/// What the database told one client of a user's stands only for what another one of theirs must have been told as well.
#[tokio::test]
async fn a_message_that_is_committed_late_is_told_to_everybody_who_asked_before() {
    let desk = Desk::start_with(&[("FEED_WINDOW_EVENTS", "16")]).await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let conversation = ask(&ann, "printer").await;
    let before = desk.time("NOW(6) FROM DUAL").await;
    let messages = async |since: &str| {
        ann.get(&format!("/api/messages/updates?since={since}")).await.expect_status(200).json()
    };
    let mut writer = desk.schema.connect().await;
    let insert = format!(
        "INSERT INTO messages (conversation_id, sender_id, sender_role, content, created_at, updated_at)
         VALUES ({conversation}, {}, 'initiator', 'late', NOW(6), NOW(6))",
        ann.id
    );
    writer.query_drop("BEGIN").await.unwrap();
    writer.query_drop(insert).await.unwrap();
    let late: u64 = writer.query_first("SELECT LAST_INSERT_ID()").await.unwrap().unwrap();
    let late = late.to_string();
    let record = "INSERT INTO outbox (kind, conversation_id, message_id)";
    writer.query_drop(format!("{record} VALUES ('message', {conversation}, {late})")).await.unwrap();
    // What comes after it is told before it.
    let next = say(&ann, &conversation, "next").await;
    let asked = Timestamp::now().to_string();
    let told = messages(&before).await;
    assert_eq!(each(&told, "id"), [&*next], "the other one is not committed");
    let echo = told[0]["timestamp"].as_str().unwrap();
    writer.query_drop("COMMIT").await.unwrap();
    // Memory holds neither any more.
    push_out(&bob).await;
    let both = [&*late, &*next];
    assert_eq!(each(&messages(&before).await, "id"), both, "the database has them");
    assert!(each(&messages(&asked).await, "id").contains(&&*late), "who asks by the clock lacks it");
    assert!(
        each(&messages(echo).await, "id").contains(&&*late),
        "and so does who echoes what came before it"
    );
}

/// In order, so that nothing can have come late.
#[tokio::test]
async fn who_echoes_what_memory_let_go_is_told_what_came_since_and_nothing_again() {
    let desk = Desk::start_with(&[("FEED_WINDOW_EVENTS", "16")]).await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let before = desk.time("NOW(6) FROM DUAL").await;
    let new = async |path: &str, since: &str| {
        ann.get(&format!("/api/{path}/updates?since={since}")).await.expect_status(200).json()
    };
    let newest = async |path: &str, time: &str| {
        let list = new(path, &before).await;
        list.as_array().unwrap().iter().map(|one| one[time].as_str().unwrap().to_owned()).max().unwrap()
    };
    for number in 0..3 {
        let id = ask(&ann, &format!("printer {number}")).await;
        say(&ann, &id, &format!("{number}")).await;
        // Each by itself: of what is numbered together nobody knows in which order it was committed.
        newest("messages", "timestamp").await;
    }
    let said = newest("messages", "timestamp").await;
    ask(&ann, "keyboard").await;
    let changed = newest("conversations", "updatedAt").await;
    let another = ask(&ann, "scanner").await;
    let more = say(&ann, &another, "more").await;
    push_out(&bob).await;
    let from_memory = from_database(&desk).await;
    assert_eq!(each(&new("messages", &said).await, "id"), [&*more]);
    assert_eq!(each(&new("conversations", &changed).await, "id"), [&*another]);
    assert_eq!(from_database(&desk).await - from_memory, 2.0, "memory has neither any more");
}
