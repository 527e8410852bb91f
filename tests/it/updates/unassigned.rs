//! An expert who loses a conversation is told so, and nothing more of it.

use serde_json::{Value, json};

use crate::helpdesk::{Desk, ask, claim, each, say};
use crate::support::{EventStream, User};

use super::{after, last_cursor, news};

async fn unclaim(expert: &User, id: &str) {
    expert.post(&format!("/expert/conversations/{id}/unclaim"), json!({})).await.expect_status(200);
}

/// By a poll, a held one and a stream, whatever the client shows besides its conversations.
#[tokio::test]
async fn an_expert_is_told_what_they_lost_in_another_browser() {
    let desk = Desk::start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let id = ask(&ann, "printer").await;
    claim(&bob, &id).await;
    let (his, hers) = (last_cursor(&bob).await, last_cursor(&ann).await);
    let path = format!("/api/updates/stream?parts=conversations&cursor={his}");
    let mut stream = EventStream::open_at(desk.addr(), &path, &bob.token, None).await.unwrap();
    let other = User::login(desk.addr(), "bob", &bob.password).await;
    let path = format!("/api/updates?parts=conversations,messages&wait=50&cursor={his}");
    let (held, ()) = tokio::join!(other.get(&path), unclaim(&bob, &id));
    let held = held.expect_status(200).json();
    let streamed: Value = serde_json::from_str(&stream.next().await.unwrap().unwrap().data).unwrap();
    for told in [&held, &streamed, &news(&bob, &his).await] {
        assert_eq!((&told["unassigned"], &told["conversations"]), (&json!([id]), &json!([])), "{told}");
    }
    let told = after(&bob, &his).await.expect_status(200).json();
    assert_eq!(each(&told["queue"]["waiting"], "id"), [&*id], "{told}");
    let asker = news(&ann, &hers).await;
    assert_eq!((each(&asker["conversations"], "id"), asker.get("unassigned")), (vec![&*id], None), "{asker}");
    // Who shows no conversations has none to drop.
    let path = format!("/api/updates?parts=messages&cursor={his}");
    let told = bob.get(&path).await.expect_status(200).json();
    assert_eq!((&told["messages"], told.get("unassigned")), (&json!([]), None), "{told}");
}

#[tokio::test]
async fn whoever_lost_it_sees_nothing_of_what_comes_after_until_it_is_theirs_again() {
    let desk = Desk::start().await;
    let (ann, bob, eve) = (desk.user("ann").await, desk.user("bob").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    claim(&bob, &id).await;
    say(&bob, &id, "before").await;
    let his = last_cursor(&bob).await;
    say(&bob, &id, "not fetched").await;
    unclaim(&bob, &id).await;
    claim(&eve, &id).await;
    say(&eve, &id, "between the two of us").await;
    last_cursor(&eve).await;
    let told = after(&bob, &his).await.expect_status(200).json();
    assert_eq!(told["unassigned"], json!([id]), "{told}");
    for part in [&told["conversations"], &told["messages"], &told["queue"]["waiting"]] {
        assert_eq!(part, &json!([]), "{told}");
    }
    // Existing clients are told as the original told them: by the queue, which they get whole.
    let since =
        ann.get(&format!("/conversations/{id}")).await.json()["createdAt"].as_str().unwrap().to_owned();
    for path in ["conversations", "messages"] {
        let told = bob.get(&format!("/api/{path}/updates?since={since}")).await.expect_status(200).json();
        assert_eq!(told, json!([]), "{path}");
    }
    let queue = bob.get(&format!("/api/expert-queue/updates?since={since}")).await.expect_status(200).json();
    assert_eq!(queue[0]["assignedConversations"], json!([]), "{queue}");

    unclaim(&eve, &id).await;
    claim(&bob, &id).await;
    last_cursor(&bob).await;
    let told = after(&bob, &his).await.expect_status(200).json();
    assert_eq!((each(&told["conversations"], "id"), told.get("unassigned")), (vec![&*id], None), "{told}");
}
