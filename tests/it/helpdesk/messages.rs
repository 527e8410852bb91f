//! Messages.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Desk, ask, claim, each, say};

#[tokio::test]
async fn a_message_reads_byte_for_byte_as_the_contract_shows_it() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    claim(&eve, &id).await;
    let before = ann.get(&format!("/conversations/{id}")).await.json();
    let mut shown = Vec::new();
    for (side, role, content) in [(&ann, "initiator", "It \"burns\" 🔥"), (&eve, "expert", "</script>")] {
        let fields = json!({"conversationId": id, "content": content});
        let made = side.post("/messages", fields).await.expect_status(201);
        let message = made.json()["id"].as_str().unwrap().to_owned();
        let time = desk.time(&format!("created_at FROM messages WHERE id = {message}")).await;
        let expected = format!(
            "{{\"id\":\"{message}\",\"conversationId\":\"{id}\",\"senderId\":\"{}\",\"senderUsername\":\"{}\",\
             \"senderRole\":\"{role}\",\"content\":{},\"timestamp\":\"{time}\",\"isRead\":false}}",
            side.id,
            side.username,
            json!(content)
        );
        assert_eq!(made.text(), expected);
        shown.push(expected);
        let after = ann.get(&format!("/conversations/{id}")).await.json();
        assert_eq!((&after["updatedAt"], &after["lastMessageAt"]), (&json!(time), &json!(time)));
        assert!(after["updatedAt"].as_str() > before["updatedAt"].as_str());
    }
    for side in [&ann, &eve] {
        let list = side.get(&format!("/conversations/{id}/messages")).await.expect_status(200);
        assert_eq!(list.text(), format!("[{}]", shown.join(",")));
    }
}

/// Each exchange is a round trip, and costs both sides more than most statements do.
#[tokio::test]
async fn a_post_asks_the_database_three_times() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    let asked = async || {
        let page = desk.server.admin_client().get("/metrics").send().await.expect_status(200).text();
        let counts = page.lines().filter_map(|line| {
            let (statement, count) =
                line.strip_prefix("db_statement_duration_seconds_count{statement=\"")?.split_once("\"} ")?;
            Some((statement.to_owned(), count.parse::<u64>().unwrap()))
        });
        counts.collect::<BTreeMap<_, _>>()
    };
    say(&ann, &id, "one").await;
    let before = asked().await;
    say(&ann, &id, "two").await;
    let mut after = asked().await;
    after.iter_mut().for_each(|(statement, count)| *count -= before.get(statement).unwrap_or(&0));
    // Tasks ask on their own, whether anybody posts or not.
    let is_of_task = |name: &str| {
        ["users.", "feed.", "migrations.", "helpdesk.outbox"].iter().any(|of| name.starts_with(of))
    };
    after.retain(|name, count| *count > 0 && !is_of_task(name));
    let expected = ["helpdesk.conversation_bump", "helpdesk.message_insert", "helpdesk.record"];
    assert_eq!(after, BTreeMap::from(expected.map(|statement| (statement.to_owned(), 1))));
}

#[tokio::test]
async fn a_message_is_read_in_every_form_that_clients_send() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    let number: u64 = id.parse().unwrap();
    for body in [
        json!({"conversationId": id, "content": "x"}),
        json!({"conversationId": number, "content": "x"}),
        json!({"conversation_id": id, "content": "x"}),
        json!({"conversation_id": number, "content": "x"}),
        json!({"message": {"conversationId": id, "content": "x"}}),
        json!({"message": {"conversation_id": number, "content": "x"}}),
        json!({"message": {"content": "x"}, "conversationId": id}),
        json!({"message": {"content": "x"}, "conversation_id": number}),
    ] {
        let made = ann.post("/messages", &body).await.expect_status(201).json();
        assert_eq!((&made["conversationId"], &made["content"]), (&json!(id), &json!("x")), "{body}");
    }
    for names in [
        ["conversationId", "content"],
        ["conversation_id", "content"],
        ["message[conversationId]", "message[content]"],
        ["message[conversation_id]", "message[content]"],
    ] {
        let form = [(names[0], id.as_str()), (names[1], "a+b c&d")];
        let made = ann.request("POST", "/messages").form(&form).send().await.expect_status(201).json();
        assert_eq!(made["content"], "a+b c&d");
    }
}

#[tokio::test]
async fn a_wrong_message_is_refused_and_changes_nothing() {
    let desk = Desk::start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let id = ask(&ann, "printer").await;
    let before = ann.get("/conversations").await.text();
    let missing = r#"{"error":"Conversation not found"}"#;
    for conversation in [
        json!("999999"),
        json!(999_999),
        json!(null),
        json!("x"),
        json!(-1),
        json!(1.5),
        json!([1]),
        json!(""),
    ] {
        let answer = ann.post("/messages", json!({"conversationId": conversation, "content": "x"})).await;
        assert_eq!(answer.expect_status(404).text(), missing, "{conversation}");
    }
    assert_eq!(ann.post("/messages", json!({})).await.expect_status(404).text(), missing);
    let strange = bob.post("/messages", json!({"conversationId": id, "content": "x"})).await;
    assert_eq!(strange.expect_status(404).text(), missing);
    for content in [json!(""), json!("  \n"), json!(null), json!([]), json!({"a": 1})] {
        let answer = ann.post("/messages", json!({"conversationId": id, "content": content})).await;
        assert_eq!(answer.expect_status(422).text(), r#"{"errors":["Content can't be blank"]}"#, "{content}");
    }
    assert_eq!(ann.get("/conversations").await.text(), before);
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM messages").await, 0);
}

#[tokio::test]
async fn reading_is_for_the_other_side() {
    let desk = Desk::start().await;
    let (ann, eve, bob) = (desk.user("ann").await, desk.user("eve").await, desk.user("bob").await);
    let id = ask(&ann, "printer").await;
    let message = say(&ann, &id, "It burns.").await;
    let read = format!("/messages/{message}/read");
    let missing = r#"{"error":"Message not found"}"#;
    let own = r#"{"error":"Cannot mark your own messages as read"}"#;
    assert_eq!(ann.put(&read, json!({})).await.expect_status(403).text(), own);
    assert_eq!(eve.put(&read, json!({})).await.expect_status(404).text(), missing);
    claim(&eve, &id).await;
    assert_eq!(bob.put(&read, json!({})).await.expect_status(404).text(), missing);
    assert_eq!(eve.put("/messages/999999/read", json!({})).await.expect_status(404).text(), missing);
    assert_eq!(eve.get(&format!("/conversations/{id}")).await.json()["unreadCount"], 1);
    assert_eq!(ann.get(&format!("/conversations/{id}")).await.json()["unreadCount"], 0);
    let updated = ann.get(&format!("/conversations/{id}")).await.json()["updatedAt"].clone();
    for _ in 0..2 {
        assert_eq!(eve.put(&read, json!({})).await.expect_status(200).text(), r#"{"success":true}"#);
    }
    eve.request("PUT", &read).send().await.expect_status(200);
    assert_eq!(eve.get(&format!("/conversations/{id}")).await.json()["unreadCount"], 0);
    let list = ann.get(&format!("/conversations/{id}/messages")).await.json();
    assert_eq!(list[0]["isRead"], true);
    assert_eq!(ann.get(&format!("/conversations/{id}")).await.json()["updatedAt"], updated);
}

/// As they are where somebody copied rows in by hand: a count below 0 would be no count, and nobody's feed would go on.
#[tokio::test]
async fn a_count_that_was_too_low_stays_one() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    let message = say(&ann, &id, "It burns.").await;
    claim(&eve, &id).await;
    desk.schema.execute("UPDATE conversations SET unread = 0, unread_from_initiator = 0").await;
    let begun = hyperdesk::clock::Timestamp::now();
    eve.put(&format!("/messages/{message}/read"), json!({})).await.expect_status(200);
    say(&ann, &id, "Still.").await;
    for path in ["/conversations".to_owned(), format!("/api/conversations/updates?since={begun}")] {
        assert_eq!(eve.get(&path).await.expect_status(200).json()[0]["unreadCount"], 1, "{path}");
    }
}

#[tokio::test]
async fn messages_of_both_sides_posted_at_once_are_all_there_in_order() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    claim(&eve, &id).await;
    let turns = async |side: &crate::support::User| {
        for number in 0..20 {
            say(side, &id, &format!("{} {number}", side.username)).await;
        }
    };
    tokio::join!(turns(&ann), turns(&eve));
    let list = ann.get(&format!("/conversations/{id}/messages")).await.json();
    let times = each(&list, "timestamp");
    assert_eq!(times.len(), 40);
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "each message has a time of its own");
    for name in ["ann", "eve"] {
        let said: Vec<&str> =
            each(&list, "content").into_iter().filter(|text| text.starts_with(name)).collect();
        let expected: Vec<String> = (0..20).map(|number| format!("{name} {number}")).collect();
        assert_eq!(said, expected);
    }
}
