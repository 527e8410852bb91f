//! A list that was cut is never taken for the whole: whoever goes on from its newest time gets the rest.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helpdesk::{Desk, ask, each};
use crate::support::{Schema, User};

/// Bytes of one answer: api.md's "bounded in bytes", the named limit of the lists.
const ANSWER_BYTES_MAX: usize = hyperdesk::chassis::ANSWER_BYTES_MAX;
const MESSAGES: &str = "/api/messages/updates";
const CONVERSATIONS: &str = "/api/conversations/updates";
const BEFORE: &str = "2026-01-01T00:00:00Z";

/// The numbers from 0 to below `count`, as a table, in any MySQL.
pub fn numbers(count: u64) -> String {
    const DIGITS: &str = "(SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 \
                          UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    format!(
        "(SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n AS i \
          FROM {DIGITS} a, {DIGITS} b, {DIGITS} c, {DIGITS} d, {DIGITS} e HAVING i < {count}) numbers"
    )
}

/// Messages of long ago in a conversation, the time of each by an expression in its place `i`.
async fn post_long_ago(schema: &Schema, sender: &User, conversation: &str, count: u64, at: &str) {
    schema
        .execute(format!(
            "INSERT INTO messages (conversation_id, sender_id, sender_role, content, created_at, updated_at)
             SELECT {conversation}, {}, 'initiator', CONCAT('m', i), '2026-01-02' + INTERVAL {at} MICROSECOND, NOW(6)
             FROM {} ORDER BY i",
            sender.id,
            numbers(count)
        ))
        .await;
}

/// One poll: the items, their newest time, and whether a cursor came along.
struct Poll {
    items: Vec<Value>,
    newest: Option<String>,
    has_cursor: bool,
    bytes: usize,
}

async fn poll(user: &User, path: &str, since: &str) -> Poll {
    let answer = user.get(&format!("{path}?since={since}")).await.expect_status(200);
    let Value::Array(items) = answer.json() else { panic!("an array") };
    let stamp = if path == MESSAGES { "timestamp" } else { "updatedAt" };
    let newest = items.iter().map(|item| item[stamp].as_str().unwrap().to_owned()).max();
    Poll { items, newest, has_cursor: answer.header("x-updates-cursor").is_some(), bytes: answer.body.len() }
}

fn ids(items: &[Value]) -> Vec<u64> {
    items.iter().map(|item| item["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// Goes on until nothing is new, as existing front ends do: with the newest time of each answer. How many each
/// answer had; each thing once, if `once`, and all of `expected`.
async fn follow(user: &User, path: &str, expected: &BTreeSet<u64>, once: bool) -> Vec<usize> {
    let (mut since, mut found, mut counts) = (BEFORE.to_owned(), BTreeSet::new(), Vec::new());
    loop {
        let poll = poll(user, path, &since).await;
        assert!(poll.bytes <= ANSWER_BYTES_MAX, "{} bytes", poll.bytes);
        let Some(newest) = poll.newest else {
            assert!(poll.has_cursor, "nothing is left out of nothing");
            break;
        };
        assert!(newest > since, "it goes on: {newest} after {since}");
        since = newest;
        for id in ids(&poll.items) {
            assert!(found.insert(id) || !once, "{id} comes again");
        }
        let is_whole = found.len() == expected.len();
        assert_eq!(
            poll.has_cursor,
            is_whole,
            "a cursor stands for all: {} of {}",
            found.len(),
            expected.len()
        );
        counts.push(poll.items.len());
        assert!(counts.len() < 50, "{counts:?}");
    }
    assert!(&found == expected, "{} of {}: {counts:?}", found.len(), expected.len());
    counts
}

async fn all(schema: &Schema, table: &str) -> BTreeSet<u64> {
    schema.query::<u64>(format!("SELECT id FROM {table}")).await.into_iter().collect()
}

#[tokio::test]
async fn messages_older_than_memory_all_come_however_many_there_are() {
    let desk = Desk::start().await;
    for (count, at, counts) in [
        (1_001, "i * 1000000", vec![1_000, 1]),
        (1_100, "i * 1000", vec![1_000, 100]),
        (3_500, "i", vec![1_000, 1_000, 1_000, 500]),
        // Three of each time: the cut falls between two times.
        (2_000, "i DIV 3 * 7000000", vec![999, 999, 2]),
        // More of one time than an answer holds.
        (2_600, "IF(i < 2500, 5, i)", vec![2_500, 100]),
    ] {
        desk.schema.execute("DELETE FROM messages").await;
        let ann = desk.user(&format!("ann{count}")).await;
        let id = ask(&ann, "printer").await;
        post_long_ago(&desk.schema, &ann, &id, count, at).await;
        let expected = all(&desk.schema, "messages").await;
        assert_eq!(follow(&ann, MESSAGES, &expected, true).await, counts, "{count} {at}");
    }
}

#[tokio::test]
async fn more_of_one_time_than_any_answer_holds_is_refused_with_the_reason() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    post_long_ago(&desk.schema, &ann, &id, 10_001, "5").await;
    let refused = ann.get(&format!("{MESSAGES}?since={BEFORE}")).await.expect_status(422).json();
    assert_eq!(refused["error"], "Too many changes have the same time: read them by GET /conversations");
    let newest = ann.get(&format!("/conversations/{id}/messages")).await.expect_status(200).json();
    assert_eq!(newest.as_array().unwrap().len(), 1_000);
}

#[tokio::test]
async fn conversations_older_than_memory_all_come_too() {
    let desk = Desk::start().await;
    for (count, at, counts) in [
        (1_001, "i * 1000000", vec![1_000, 1]),
        (3_500, "i", vec![1_000, 1_000, 1_000, 500]),
        (2_000, "i DIV 3 * 7000000", vec![999, 999, 2]),
    ] {
        let (ann, eve) = (desk.user(&format!("ann{count}")).await, desk.user(&format!("eve{count}")).await);
        desk.schema.execute("DELETE FROM conversations").await;
        desk.schema
            .execute(format!(
                "INSERT INTO conversations (title, status, initiator_id, assigned_expert_id, created_at, updated_at)
                 SELECT CONCAT('c', i), 'active', {}, {}, '2026-01-02', '2026-01-02' + INTERVAL {at} MICROSECOND
                 FROM {} ORDER BY i",
                ann.id,
                eve.id,
                numbers(count)
            ))
            .await;
        let expected = all(&desk.schema, "conversations").await;
        for user in [&ann, &eve] {
            assert_eq!(follow(user, CONVERSATIONS, &expected, true).await, counts, "{count} {at}");
            let first = poll(user, CONVERSATIONS, BEFORE).await;
            let times: Vec<&Value> = first.items.iter().map(|one| &one["updatedAt"]).collect();
            assert!(times.is_sorted_by_key(|time| std::cmp::Reverse(time.as_str())), "newest update first");
        }
    }
}

#[tokio::test]
async fn an_instance_that_does_not_know_where_it_was_cut_goes_on_too() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    // All within the seconds that the database is asked further back.
    post_long_ago(&desk.schema, &ann, &id, 3_500, "i * 100").await;
    let (mut since, mut found, mut polls) = (BEFORE.to_owned(), BTreeSet::new(), 0);
    let mut server = desk.server;
    loop {
        server.restart().await;
        let there = super::at(&ann, &server);
        let Some(newest) = ({
            let answer = poll(&there, MESSAGES, &since).await;
            found.extend(ids(&answer.items));
            answer.newest
        }) else {
            break;
        };
        polls += 1;
        assert!(polls < 12, "{} after {polls} polls", found.len());
        if newest == since {
            break;
        }
        since = newest;
    }
    let expected = all(&desk.schema, "messages").await;
    assert!(found == expected, "{} of {} after {polls} polls", found.len(), expected.len());
}

#[tokio::test]
async fn large_messages_fill_an_answer_and_the_rest_comes_with_the_next() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    post_long_ago(&desk.schema, &ann, &id, 60, "i * 100").await;
    // Six bytes each as JSON.
    desk.schema.execute("UPDATE messages SET content = REPEAT(CHAR(1 USING utf8mb4), 65535)").await;
    let expected = all(&desk.schema, "messages").await;
    let counts = follow(&ann, MESSAGES, &expected, true).await;
    assert_eq!(counts, [21, 21, 18], "by bytes");
    // A list without a time ends at its far end.
    let newest: Vec<String> = expected.iter().rev().take(21).rev().map(ToString::to_string).collect();
    for path in [format!("/conversations/{id}/messages"), MESSAGES.to_owned()] {
        let list = ann.get(&path).await.expect_status(200);
        assert!(list.body.len() <= ANSWER_BYTES_MAX, "{path}: {}", list.body.len());
        assert_eq!(each(&list.json(), "id"), newest, "{path}");
    }
    let state = ann.get("/api/updates").await.expect_status(200);
    assert!(state.body.len() <= ANSWER_BYTES_MAX + 1_024, "{}", state.body.len());
    let state = state.json();
    let shown = each(&state["messages"], "id");
    assert_eq!((shown.last(), state["conversations"][0]["id"].as_str()), (Some(&&*newest[20]), Some(&*id)));
    assert!(shown.len() >= 20, "{}", shown.len());
}

#[tokio::test]
async fn what_is_new_while_somebody_catches_up_is_told_once_they_have() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    post_long_ago(&desk.schema, &ann, &id, 1_500, "i * 10000000").await;
    let first = poll(&ann, MESSAGES, BEFORE).await;
    let said = crate::helpdesk::say(&ann, &id, "meanwhile").await;
    let second = poll(&ann, MESSAGES, &first.newest.unwrap()).await;
    assert_eq!((second.items.len(), &second.items[500]["id"]), (501, &json!(said)));
    let last = second.newest.unwrap();
    assert_eq!(poll(&ann, MESSAGES, &last).await.items, Vec::<Value>::new());
    let again = crate::helpdesk::say(&ann, &id, "and then").await;
    let third = poll(&ann, MESSAGES, &last).await;
    assert_eq!(each(&Value::Array(third.items), "id"), [again]);
}
