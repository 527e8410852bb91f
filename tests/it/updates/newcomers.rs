//! Somebody without a profile, as people who were brought in from elsewhere may be, becomes an expert.

use serde_json::json;

use super::{SOON, at, news};
use crate::helpdesk::{Desk, ask, each};
use crate::support::{EventStream, User, eventually_some};

/// The cursor of an answer whose queue shows these.
async fn sees(user: &User, query: &str, waiting: &[&str]) -> String {
    let answer = user.get(&format!("/api/updates{query}")).await.expect_status(200);
    assert_eq!(each(&answer.json()["queue"]["waiting"], "id"), waiting);
    answer.header("x-updates-cursor").unwrap().to_owned()
}

/// Somebody without a profile, of whom no instance knows that they had one.
async fn stranger(desk: &Desk) -> User {
    let elsewhere = desk.second().await;
    let max = User::register(elsewhere.addr(), "max").await;
    desk.schema.execute(format!("DELETE FROM expert_profiles WHERE user_id = {}", max.id)).await;
    User { client: desk.client(), ..max }
}

/// The other instance remembers for a minute that they are none. It tells nothing of the queue meanwhile, and its cursors do not
/// stand for what it left out.
#[tokio::test]
async fn who_becomes_an_expert_is_told_of_the_queue_whatever_another_instance_remembers() {
    let desk = Desk::start().await;
    let second = desk.second().await;
    let (ann, max) = (desk.user("ann").await, stranger(&desk).await);
    let there = at(&max, &second);
    let first = ask(&ann, "printer").await;
    let before = sees(&max, "", &[]).await;
    sees(&there, "", &[]).await;
    let mut stream = EventStream::open(desk.addr(), &max.token, None).await.expect("a stream");
    assert_eq!(stream.next().await.unwrap().unwrap().name, "updates");

    max.put("/expert/profile", json!({ "bio": "now" })).await.expect_status(200);
    // What waited before is in nothing that came after the cursor.
    max.get(&format!("/api/updates?cursor={before}")).await.expect_status(410);
    let known = sees(&max, "", &[&first]).await;

    let second_one = ask(&ann, "mouse").await;
    let moved = eventually_some(SOON, || async {
        let cursor = sees(&there, &format!("?cursor={known}"), &[]).await;
        (cursor != known).then_some(cursor)
    })
    .await;
    max.get(&format!("/api/updates?cursor={moved}")).await.expect_status(410);
    assert_eq!(each(&news(&max, &known).await["queue"]["waiting"], "id"), [&*second_one]);

    // An open stream says so with its next piece.
    let own = ask(&max, "of my own").await;
    let piece = stream.next().await.unwrap().unwrap();
    assert!(piece.name == "updates" && piece.data.contains(&own), "{}", piece.data);
    assert_eq!(stream.next().await.unwrap().unwrap().name, "reset");
}

/// Who takes part as an expert is one, from then on also for polls.
#[tokio::test]
async fn who_claims_is_shown_it_in_their_next_poll() {
    let desk = Desk::start().await;
    let second = desk.second().await;
    let (ann, max) = (desk.user("ann").await, stranger(&desk).await);
    let there = at(&max, &second);
    let since = "/api/expert-queue/updates?since=2020-01-01T00:00:00Z";
    assert_eq!(there.get(since).await.expect_status(200).text(), "[]");
    max.put("/expert/profile", json!({ "bio": "now" })).await.expect_status(200);
    let id = ask(&ann, "printer").await;
    there.post(&format!("/expert/conversations/{id}/claim"), json!({})).await.expect_status(200);
    let told = there.get(since).await.expect_status(200).json();
    assert_eq!(told[0]["assignedConversations"][0]["id"], id, "{told}");
}
