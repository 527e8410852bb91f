//! Experts read a question before they claim it, and nothing more once somebody else has.

use serde_json::json;

use super::{Desk, ask, claim, each, say};
use crate::support::{Client, User};

const MISSING: &str = r#"{"error":"Conversation not found"}"#;

async fn is_missing(user: &User, id: &str) {
    for path in [format!("/conversations/{id}"), format!("/conversations/{id}/messages")] {
        assert_eq!(user.get(&path).await.expect_status(404).text(), MISSING, "{path}");
    }
}

#[tokio::test]
async fn experts_read_a_question_while_it_waits() {
    let desk = Desk::start().await;
    let (ann, eve, max) = (desk.user("ann").await, desk.user("eve").await, desk.user("max").await);
    let zoe = desk.user("zoe").await;
    desk.schema.execute(format!("DELETE FROM expert_profiles WHERE user_id = {}", zoe.id)).await;
    let id = ask(&ann, "printer").await;
    let message = say(&ann, &id, "It burns.").await;
    let path = format!("/conversations/{id}");
    for expert in [&eve, &max] {
        let shown = expert.get(&path).await.expect_status(200).json();
        assert_eq!((&shown["status"], &shown["unreadCount"]), (&json!("waiting"), &json!(1)));
        assert_eq!(shown, expert.get("/expert/queue").await.json()["waitingConversations"][0]);
        let messages = expert.get(&format!("{path}/messages")).await.expect_status(200);
        assert_eq!(messages.text(), ann.get(&format!("{path}/messages")).await.text());
        // To read is all.
        expert.put(&format!("/messages/{message}/read"), json!({})).await.expect_status(404);
        expert.post("/messages", json!({"conversationId": id, "content": "x"})).await.expect_status(404);
        assert_eq!(expert.get("/conversations").await.text(), "[]");
    }
    // Whoever has no profile is no expert.
    is_missing(&zoe, &id).await;
    claim(&eve, &id).await;
    eve.get(&path).await.expect_status(200);
    is_missing(&max, &id).await;
    eve.post(&format!("/expert/conversations/{id}/unclaim"), json!({})).await.expect_status(200);
    max.get(&path).await.expect_status(200);
    claim(&max, &id).await;
    is_missing(&eve, &id).await;
    max.post(&format!("/expert/conversations/{id}/resolve"), json!({})).await.expect_status(200);
    is_missing(&eve, &id).await;
}

/// Whether it waits and what is in it are of one moment.
#[tokio::test]
async fn nothing_that_follows_a_claim_is_shown_to_those_who_may_read_until_then() {
    const RACES: usize = 60;
    let desk = Desk::start().await;
    let other = desk.second().await;
    let (ann, eve, max) = (desk.user("ann").await, desk.user("eve").await, desk.user("max").await);
    let far = Client::new(other.addr());
    let (mut read, mut refused) = (0, 0);
    for race in 0..RACES {
        let id = ask(&ann, "printer").await;
        say(&ann, &id, "It burns.").await;
        let taken = async {
            claim(&eve, &id).await;
            say(&eve, &id, "Between us.").await;
        };
        let looks = async {
            let path = format!("/conversations/{id}/messages");
            loop {
                let answer = far.get(&path).bearer(&max.token).send().await;
                if answer.status == 404 {
                    refused += 1;
                    return;
                }
                let shown = answer.expect_status(200).json();
                assert_eq!(each(&shown, "content"), ["It burns."], "race {race}");
                read += 1;
            }
        };
        tokio::join!(taken, looks);
    }
    println!("{read} read, {refused} refused");
    assert!(refused == RACES && read > 0);
}

/// The waiting queue is the experts'. Who has no profile is told of their own things only, in the same shape.
#[tokio::test]
async fn the_queue_is_told_to_experts_only() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let zoe = desk.user("zoe").await;
    desk.schema.execute(format!("DELETE FROM expert_profiles WHERE user_id = {}", zoe.id)).await;
    // One that did not see her register.
    let other = desk.second().await;
    let zoe = User { client: Client::new(other.addr()), ..zoe };
    let begun = hyperdesk::clock::Timestamp::now();
    let state = zoe.get("/api/updates").await.expect_status(200).json();
    let from = state["cursor"].as_str().unwrap().to_owned();
    let id = ask(&ann, "printer").await;
    let seen = async || other.metric("feed_position").await;
    crate::support::eventually(std::time::Duration::from_secs(20), || async { seen().await >= Some(1.0) })
        .await;
    let queue = "/api/expert-queue/updates";
    for path in [queue.to_owned(), format!("{queue}?since={begun}"), format!("{queue}?since=2000-01-01")] {
        assert_eq!(zoe.get(&path).await.expect_status(200).text(), "[]", "{path}");
    }
    for path in ["/api/updates".to_owned(), format!("/api/updates?cursor={from}")] {
        let told = zoe.get(&path).await.expect_status(200).json();
        assert_eq!((&told["queue"]["waiting"], &told["queue"]["left"]), (&json!([]), &json!([])), "{path}");
    }
    zoe.get(&format!("/api/updates?wait=1&cursor={from}")).await.expect_status(204);
    // Her own things she is told; and as an expert everything.
    let hers = ask(&zoe, "mouse").await;
    let told = zoe.get(&format!("/api/updates?cursor={from}")).await.expect_status(200).json();
    assert_eq!(each(&told["conversations"], "id"), [&*hers]);
    zoe.put("/expert/profile", json!({"bio": "now"})).await.expect_status(200);
    zoe.get(&format!("/api/updates?cursor={from}")).await.expect_status(410);
    let told = zoe.get("/api/updates").await.expect_status(200).json();
    assert_eq!(each(&told["queue"]["waiting"], "id"), [&*id, &*hers]);
    assert_eq!(zoe.get(queue).await.json().as_array().unwrap().len(), 1);
}
