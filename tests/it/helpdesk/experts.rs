//! The experts' side.

use serde_json::json;

use super::{Desk, ask, claim, each, say};
use crate::support::Client;

#[tokio::test]
async fn a_conversation_is_claimed_put_back_and_resolved() {
    let desk = Desk::start().await;
    let (ann, eve, max) = (desk.user("ann").await, desk.user("eve").await, desk.user("max").await);
    let id = ask(&ann, "printer").await;
    let path = |verb: &str| format!("/expert/conversations/{id}/{verb}");
    let taken = r#"{"error":"Conversation is already assigned to an expert"}"#;
    let not_assigned = r#"{"error":"You are not assigned to this conversation"}"#;
    let updated = async || {
        ann.get(&format!("/conversations/{id}")).await.json()["updatedAt"].as_str().unwrap().to_owned()
    };
    let mut last = updated().await;

    for verb in ["unclaim", "resolve"] {
        assert_eq!(eve.post(&path(verb), json!({})).await.expect_status(403).text(), not_assigned);
    }
    claim(&eve, &id).await;
    for expert in [&eve, &max] {
        assert_eq!(expert.post(&path("claim"), json!({})).await.expect_status(422).text(), taken);
    }
    for verb in ["unclaim", "resolve"] {
        assert_eq!(max.post(&path(verb), json!({})).await.expect_status(403).text(), not_assigned);
    }
    let now = updated().await;
    assert!(now > last, "a claim bumps updatedAt");
    last = now;
    let unclaimed = eve.request("POST", &path("unclaim")).send().await.expect_status(200);
    assert_eq!(unclaimed.text(), r#"{"success":true}"#);
    let shown = ann.get(&format!("/conversations/{id}")).await.json();
    assert_eq!((&shown["status"], &shown["assignedExpertId"]), (&json!("waiting"), &json!(null)));
    let now = updated().await;
    assert!(now > last, "an unclaim bumps updatedAt");
    last = now;
    claim(&max, &id).await;
    assert_eq!(max.post(&path("resolve"), json!({})).await.expect_status(200).text(), r#"{"success":true}"#);
    assert!(updated().await > last, "a resolve bumps updatedAt");
    let shown = ann.get(&format!("/conversations/{id}")).await.json();
    assert_eq!((&shown["status"], &shown["assignedExpertUsername"]), (&json!("resolved"), &json!("max")));
    assert_eq!(eve.post(&path("claim"), json!({})).await.expect_status(422).text(), taken);
    assert_eq!(max.post(&path("unclaim"), json!({})).await.expect_status(403).text(), not_assigned);

    let missing = r#"{"error":"Conversation not found"}"#;
    for verb in ["claim", "unclaim", "resolve"] {
        let none = eve.post(&format!("/expert/conversations/999999/{verb}"), json!({})).await;
        assert_eq!(none.expect_status(404).text(), missing);
    }
    let rows: Vec<(u64, String, bool)> = desk
        .schema
        .query("SELECT expert_id, status, resolved_at IS NOT NULL FROM expert_assignments ORDER BY id")
        .await;
    let (eve_id, max_id) = (u64::try_from(eve.id).unwrap(), u64::try_from(max.id).unwrap());
    assert_eq!(rows, [(eve_id, "unassigned".to_owned(), true), (max_id, "resolved".to_owned(), true)]);
}

#[tokio::test]
async fn two_claims_at_once_have_one_winner() {
    const RACES: u64 = 200;
    let desk = Desk::start().await;
    let other = desk.second().await;
    let (ann, eve, max) = (desk.user("ann").await, desk.user("eve").await, desk.user("max").await);
    let far = Client::new(other.addr());
    let mut won = [0, 0];
    for race in 0..RACES {
        desk.schema
            .execute(format!(
                "INSERT INTO conversations (title, status, initiator_id, created_at, updated_at) \
                 VALUES ('race {race}', 'waiting', {}, NOW(6), NOW(6))",
                ann.id
            ))
            .await;
        let id: u64 = desk.schema.query_one("SELECT MAX(id) FROM conversations").await;
        let path = format!("/expert/conversations/{id}/claim");
        let (here, there) =
            tokio::join!(eve.request("POST", &path).send(), far.post(&path).bearer(&max.token).send());
        let mut statuses = [here.status, there.status];
        won[usize::from(there.status == 200)] += 1;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 422], "{} {}", here.text(), there.text());
        let loser = if here.status == 422 { here } else { there };
        assert_eq!(loser.text(), r#"{"error":"Conversation is already assigned to an expert"}"#);
        let rows = format!("SELECT COUNT(*) FROM expert_assignments WHERE conversation_id = {id}");
        assert_eq!(desk.schema.query_one::<u64>(rows).await, 1);
    }
    println!("won here and there: {won:?}");
    let fitting: u64 = desk
        .schema
        .query_one(
            "SELECT COUNT(*) FROM conversations c JOIN expert_assignments a ON a.conversation_id = c.id \
             AND a.expert_id = c.assigned_expert_id AND a.status = 'active' WHERE c.status = 'active'",
        )
        .await;
    assert_eq!(fitting, RACES, "the winner told is the winner stored");
    assert_eq!(desk.schema.changes("claimed").await, RACES);
}

#[tokio::test]
async fn the_queue_shows_the_longest_waiting_hundred_and_counts_all() {
    let desk = Desk::start().await;
    let (ann, eve, max) = (desk.user("ann").await, desk.user("eve").await, desk.user("max").await);
    let empty = eve.get("/expert/queue").await.expect_status(200);
    assert_eq!(empty.text(), r#"{"waitingConversations":[],"assignedConversations":[]}"#);
    assert_eq!(empty.header("x-total-count"), Some("0"));
    let first = ask(&ann, "first").await;
    let second = ask(&ann, "second").await;
    say(&ann, &first, "hello").await;
    // One that was put back has its old place.
    claim(&eve, &first).await;
    eve.post(&format!("/expert/conversations/{first}/unclaim"), json!({})).await.expect_status(200);
    let queue = max.get("/expert/queue").await;
    assert_eq!(queue.header("x-total-count"), Some("2"));
    assert_eq!(each(&queue.json()["waitingConversations"], "id"), [&*first, &*second]);
    assert_eq!(queue.json()["waitingConversations"][0]["unreadCount"], 1);
    claim(&eve, &first).await;
    let (hers, his) = (eve.get("/expert/queue").await.json(), max.get("/expert/queue").await.json());
    assert_eq!(hers["waitingConversations"], his["waitingConversations"]);
    assert_eq!(each(&hers["assignedConversations"], "id"), [&*first]);
    assert_eq!(hers["assignedConversations"][0], eve.get(&format!("/conversations/{first}")).await.json());
    assert_eq!(his["assignedConversations"], json!([]));
    eve.post(&format!("/expert/conversations/{first}/resolve"), json!({})).await.expect_status(200);
    assert_eq!(eve.get("/expert/queue").await.json()["assignedConversations"], json!([]));

    for _ in 0..120 {
        ask(&ann, "more").await;
    }
    let queue = eve.get("/expert/queue").await;
    assert_eq!(queue.header("x-total-count"), Some("121"));
    let list = queue.json()["waitingConversations"].clone();
    assert_eq!(list.as_array().unwrap().len(), 100);
    assert_eq!(list[0]["id"], second);
    let times = each(&list, "createdAt");
    assert!(times.is_sorted());
}

#[tokio::test]
async fn a_user_without_a_profile_is_no_expert() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    desk.schema.execute(format!("DELETE FROM expert_profiles WHERE user_id = {}", eve.id)).await;
    let required = r#"{"error":"Expert profile required"}"#;
    assert_eq!(eve.get("/expert/queue").await.expect_status(403).text(), required);
    for verb in ["claim", "unclaim", "resolve"] {
        let answer = eve.post(&format!("/expert/conversations/{id}/{verb}"), json!({})).await;
        assert_eq!(answer.expect_status(403).text(), required);
    }
    eve.put("/expert/profile", json!({"bio": "now"})).await.expect_status(200);
    claim(&eve, &id).await;
}

#[tokio::test]
async fn a_profile_is_shown_and_changed() {
    let desk = Desk::start().await;
    let eve = desk.user("eve").await;
    let id: u64 = desk.schema.query_one("SELECT id FROM expert_profiles").await;
    let expected = async |bio: &str, links: &str| {
        let created = desk.time("created_at FROM expert_profiles").await;
        let updated = desk.time("updated_at FROM expert_profiles").await;
        format!(
            "{{\"id\":\"{id}\",\"userId\":\"{}\",\"bio\":{},\"knowledgeBaseLinks\":{links},\
             \"createdAt\":\"{created}\",\"updatedAt\":\"{updated}\"}}",
            eve.id,
            json!(bio)
        )
    };
    assert_eq!(eve.get("/expert/profile").await.expect_status(200).text(), expected("", "[]").await);
    let links = json!(["https://a.example/?q=\"x\"", "b 🔥"]);
    for body in [
        json!({"bio": "Prints.", "knowledgeBaseLinks": links}),
        json!({"bio": "Prints.", "knowledge_base_links": links}),
        json!({"expert_profile": {"bio": "Prints.", "knowledgeBaseLinks": links}}),
        json!({"expert_profile": {"bio": "Prints.", "knowledge_base_links": links}}),
        json!({"bio": "Prints."}),
        json!({"knowledgeBaseLinks": links}),
        json!({}),
    ] {
        let answer = eve.put("/expert/profile", &body).await.expect_status(200);
        assert_eq!(answer.text(), expected("Prints.", &links.to_string()).await, "{body}");
        assert_eq!(eve.get("/expert/profile").await.text(), answer.text());
    }
    for wrong in [json!("x"), json!([1]), json!(["a", null]), json!({"0": "a"}), json!(1), json!([["a"]])] {
        let answer = eve.put("/expert/profile", json!({"bio": "no", "knowledgeBaseLinks": wrong})).await;
        assert_eq!(
            answer.expect_status(422).text(),
            r#"{"errors":["knowledgeBaseLinks must be an array of strings"]}"#,
            "{wrong}"
        );
    }
    assert_eq!(eve.get("/expert/profile").await.json()["bio"], "Prints.");
    let form = [
        ("expert_profile[bio]", "form"),
        ("expert_profile[knowledge_base_links][]", "c"),
        ("expert_profile[knowledge_base_links][]", "d"),
    ];
    let answer = eve.request("PUT", "/expert/profile").form(&form).send().await.expect_status(200);
    assert_eq!(answer.text(), expected("form", r#"["c","d"]"#).await);
    let cleared = eve.put("/expert/profile", json!({"bio": "", "knowledgeBaseLinks": []})).await;
    assert_eq!(cleared.expect_status(200).text(), expected("", "[]").await);
}

#[tokio::test]
async fn past_assignments_are_listed_newest_first() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    assert_eq!(eve.get("/expert/assignments/history").await.expect_status(200).text(), "[]");
    let (one, two, three) = (ask(&ann, "1").await, ask(&ann, "2").await, ask(&ann, "3").await);
    for id in [&one, &two, &three] {
        claim(&eve, id).await;
    }
    eve.post(&format!("/expert/conversations/{one}/unclaim"), json!({})).await.expect_status(200);
    eve.post(&format!("/expert/conversations/{two}/resolve"), json!({})).await.expect_status(200);
    desk.schema
        .execute(format!("UPDATE expert_assignments SET rating = 5 WHERE conversation_id = {two}"))
        .await;
    let mut expected = Vec::new();
    for (id, status, rating) in
        [(&three, "active", "null"), (&two, "resolved", "5"), (&one, "unassigned", "null")]
    {
        let row = format!("FROM expert_assignments WHERE conversation_id = {id}");
        let number: u64 = desk.schema.query_one(format!("SELECT id {row}")).await;
        let assigned = desk.time(&format!("assigned_at {row}")).await;
        let resolved = match status {
            "active" => "null".to_owned(),
            // However it ended.
            _ => format!("\"{}\"", desk.time(&format!("resolved_at {row}")).await),
        };
        expected.push(format!(
            "{{\"id\":\"{number}\",\"conversationId\":\"{id}\",\"expertId\":\"{}\",\"status\":\"{status}\",\
             \"assignedAt\":\"{assigned}\",\"resolvedAt\":{resolved},\"rating\":{rating}}}",
            eve.id
        ));
    }
    let answer = eve.get("/expert/assignments/history").await.expect_status(200);
    assert_eq!(answer.text(), format!("[{}]", expected.join(",")));
    assert_eq!(ann.get("/expert/assignments/history").await.text(), "[]");
}
