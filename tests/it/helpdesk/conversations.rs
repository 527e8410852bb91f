//! Conversations.

use serde_json::json;

use super::{Desk, ask, claim, each, say};

#[tokio::test]
async fn a_conversation_reads_byte_for_byte_as_the_contract_shows_it() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let made = ann.post("/conversations", json!({"title": "The \"printer\"\n"})).await.expect_status(201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let created = desk.time("created_at FROM conversations").await;
    let shown = |status: &str, expert: &str, updated: &str, last: &str, unread: u32, count: u32| {
        format!(
            "{{\"id\":\"{id}\",\"title\":\"The \\\"printer\\\"\\n\",\"status\":\"{status}\",\
             \"questionerId\":\"{}\",\"questionerUsername\":\"ann\",{expert},\"createdAt\":\"{created}\",\
             \"updatedAt\":\"{updated}\",\"lastMessageAt\":{last},\"unreadCount\":{unread},\
             \"messageCount\":{count}}}",
            ann.id
        )
    };
    let nobody = r#""assignedExpertId":null,"assignedExpertUsername":null"#;
    assert_eq!(made.text(), shown("waiting", nobody, &created, "null", 0, 0));
    assert_eq!(ann.get(&format!("/conversations/{id}")).await.expect_status(200).text(), made.text());
    assert_eq!(ann.get("/conversations").await.text(), format!("[{}]", made.text()));

    claim(&eve, &id).await;
    say(&ann, &id, "It burns.").await;
    say(&eve, &id, "Leave the building.").await;
    let expert = format!(r#""assignedExpertId":"{}","assignedExpertUsername":"eve""#, eve.id);
    let updated = desk.time("updated_at FROM conversations").await;
    assert_eq!(desk.time("last_message_at FROM conversations").await, updated);
    let expected = shown("active", &expert, &updated, &format!("\"{updated}\""), 1, 2);
    for side in [&ann, &eve] {
        assert_eq!(side.get(&format!("/conversations/{id}")).await.text(), expected);
        assert_eq!(side.get("/conversations").await.text(), format!("[{expected}]"));
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_somebody_elses_get_one_answer() {
    let desk = Desk::start().await;
    let (ann, eve, bob) = (desk.user("ann").await, desk.user("eve").await, desk.user("bob").await);
    let id = ask(&ann, "mine").await;
    claim(&eve, &id).await;
    let missing = r#"{"error":"Conversation not found"}"#;
    for path in ["/conversations/ID".to_owned(), "/conversations/ID/messages".to_owned()] {
        let (hers, none) = (path.replace("ID", &id), path.replace("ID", "999999"));
        assert_eq!(bob.get(&hers).await.expect_status(404).text(), missing);
        assert_eq!(bob.get(&none).await.expect_status(404).text(), missing);
        eve.get(&hers).await.expect_status(200);
    }
    assert_eq!(bob.get("/conversations").await.text(), "[]");
    for strange in ["0", "007", "-1", "+1", "1e3", "abc", "99999999999999999999", "%2531", "1 OR 1=1"] {
        let path = format!("/conversations/{}", strange.replace(' ', "%20"));
        ann.get(&path).await.expect_status(404);
    }
}

#[tokio::test]
async fn a_title_is_needed_and_read_in_every_form() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    for body in [
        json!({}),
        json!({"title": ""}),
        json!({"title": " \n\t"}),
        json!({"title": null}),
        json!({"conversation": {}}),
    ] {
        let answer = ann.post("/conversations", body).await.expect_status(422);
        assert_eq!(answer.text(), r#"{"errors":["Title can't be blank"]}"#);
    }
    ann.request("POST", "/conversations").send().await.expect_status(422);
    let long = "ä".repeat(255);
    assert_eq!(
        ann.post("/conversations", json!({ "title": long })).await.expect_status(201).json()["title"],
        long
    );
    ann.post("/conversations", json!({ "title": "ä".repeat(256) })).await.expect_status(422);
    let wrapped =
        ann.post("/conversations", json!({"conversation": {"title": "w"}})).await.expect_status(201);
    assert_eq!(wrapped.json()["title"], "w");
    for name in ["title", "conversation[title]"] {
        let form = ann.request("POST", "/conversations").form(&[(name, "a b&c=d é")]).send().await;
        assert_eq!(form.expect_status(201).json()["title"], "a b&c=d é");
    }
    assert_eq!(ann.post("/conversations", json!({"title": 7})).await.expect_status(201).json()["title"], "7");
}

#[tokio::test]
async fn the_list_has_both_sides_newest_update_first() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let (one, two, three) = (ask(&ann, "1").await, ask(&ann, "2").await, ask(&eve, "3").await);
    claim(&eve, &one).await;
    assert_eq!(each(&ann.get("/conversations").await.json(), "id"), [&*one, &*two]);
    assert_eq!(each(&eve.get("/conversations").await.json(), "id"), [&*one, &*three]);
    say(&ann, &two, "hello").await;
    assert_eq!(each(&ann.get("/conversations").await.json(), "id"), [&*two, &*one]);
    // Claimed by its own initiator it is listed once.
    claim(&eve, &three).await;
    assert_eq!(each(&eve.get("/conversations").await.json(), "id"), [&*three, &*one]);
    eve.post(&format!("/expert/conversations/{one}/resolve"), json!({})).await.expect_status(200);
    assert_eq!(each(&eve.get("/conversations").await.json(), "id"), [&*one, &*three]);
    assert_eq!(each(&ann.get("/conversations").await.json(), "status"), ["resolved", "waiting"]);
}

#[tokio::test]
async fn a_list_gives_the_newest_thousand() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let digits = "(SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 \
                  UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let numbers = format!(
        "(SELECT 1 + a.n + 10 * b.n + 100 * c.n + 1000 * d.n AS i FROM {digits} a, {digits} b, {digits} c, {digits} d) \
         numbers WHERE i <= 1100"
    );
    desk.schema
        .execute(format!(
            "INSERT INTO conversations (id, title, status, initiator_id, assigned_expert_id, created_at, updated_at) \
             SELECT i, CONCAT('t', i), 'active', {}, {}, '2026-01-01' + INTERVAL i SECOND, '2026-01-01' + INTERVAL i SECOND \
             FROM {numbers}",
            ann.id, eve.id
        ))
        .await;
    desk.schema
        .execute(format!(
            "INSERT INTO messages (id, conversation_id, sender_id, sender_role, content, created_at, updated_at) \
             SELECT i, 5, {}, 'initiator', CONCAT('m', i), '2026-01-01' + INTERVAL i SECOND, '2026-01-01' FROM {numbers}",
            ann.id
        ))
        .await;
    desk.schema
        .execute("UPDATE conversations SET unread = 1100, unread_from_initiator = 1100 WHERE id = 5")
        .await;
    desk.schema
        .execute(format!(
            "INSERT INTO expert_assignments (id, conversation_id, expert_id, status, assigned_at, created_at, updated_at) \
             SELECT i, i, {}, 'active', '2026-01-01' + INTERVAL i SECOND, '2026-01-01', '2026-01-01' FROM {numbers}",
            eve.id
        ))
        .await;
    let newest_first: Vec<String> = (101..=1100).rev().map(|i: u32| i.to_string()).collect();
    let oldest_first: Vec<String> = (101..=1100).map(|i: u32| i.to_string()).collect();
    for user in [&ann, &eve] {
        assert_eq!(each(&user.get("/conversations").await.json(), "id"), newest_first);
        assert_eq!(each(&user.get("/conversations/5/messages").await.json(), "id"), oldest_first);
        assert_eq!(each(&user.get("/api/messages/updates").await.json(), "id"), oldest_first);
        assert_eq!(each(&user.get("/api/conversations/updates").await.json(), "id"), newest_first);
    }
    assert_eq!(each(&eve.get("/expert/assignments/history").await.json(), "id"), newest_first);
    let queue = eve.get("/expert/queue").await.json();
    assert_eq!(each(&queue["assignedConversations"], "id"), newest_first);
    let one = ann.get("/conversations/5").await.json();
    assert_eq!(one["unreadCount"], 0);
    assert_eq!(eve.get("/conversations/5").await.json()["unreadCount"], 1100);
}
