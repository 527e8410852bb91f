//! What changed since a time: the contract of the three polls, whoever answers them.

use std::time::Duration;

use hyperdesk::clock::Timestamp;
use serde_json::{Value, json};

use super::{Desk, ask, claim, each, say};
use crate::support::{User, eventually};

const PATHS: [(&str, &str); 3] = [
    ("/api/conversations/updates", "userId"),
    ("/api/messages/updates", "userId"),
    ("/api/expert-queue/updates", "expertId"),
];
/// How soon a change must be visible, with room for a busy machine.
const SOON: Duration = Duration::from_secs(5);

async fn poll(user: &User, path: &str, since: &str) -> Value {
    user.get(&format!("{path}?since={since}")).await.expect_status(200).json()
}

fn now() -> String {
    Timestamp::now().to_string()
}

#[tokio::test]
async fn polls_give_what_changed_and_nothing_else() {
    let desk = Desk::start().await;
    let (ann, eve, bob) = (desk.user("ann").await, desk.user("eve").await, desk.user("bob").await);
    let begun = now();
    let id = ask(&ann, "printer").await;
    say(&ann, &id, "It burns.").await;
    claim(&eve, &id).await;
    say(&eve, &id, "Run.").await;
    // Who claims gets the conversation, and its older messages by GET.
    for (user, expected) in [(&ann, &["It burns.", "Run."][..]), (&eve, &["Run."][..])] {
        eventually(SOON, || async {
            let conversations = poll(user, "/api/conversations/updates", &begun).await;
            let messages = poll(user, "/api/messages/updates", &begun).await;
            each(&conversations, "id") == [&*id] && each(&messages, "content") == expected
        })
        .await;
        let conversation = user.get(&format!("/conversations/{id}")).await.json();
        assert_eq!(poll(user, "/api/conversations/updates", &begun).await[0], conversation);
        let messages = user.get(&format!("/conversations/{id}/messages")).await.json();
        let newest = messages.as_array().unwrap()[2 - expected.len()..].to_vec();
        assert_eq!(poll(user, "/api/messages/updates", &begun).await, json!(newest));
    }
    for path in ["/api/conversations/updates", "/api/messages/updates"] {
        assert_eq!(poll(&bob, path, &begun).await, json!([]));
        assert_eq!(bob.get(path).await.expect_status(200).text(), "[]");
    }
    // A while later there is nothing new.
    for user in [&ann, &eve, &bob] {
        for (path, _) in PATHS {
            eventually(SOON, || async { poll(user, path, &now()).await == json!([]) }).await;
        }
    }
    // Left out: everything of the caller's.
    for user in [&ann, &eve] {
        assert_eq!(
            user.get("/api/conversations/updates").await.json(),
            user.get("/conversations").await.json()
        );
        let messages = user.get("/api/messages/updates").await.json();
        assert_eq!(messages, user.get(&format!("/conversations/{id}/messages")).await.json());
        assert_eq!(user.get("/api/messages/updates?since=").await.json(), messages);
    }
}

#[tokio::test]
async fn the_queue_comes_whole_or_not_at_all() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let path = "/api/expert-queue/updates";
    let unchanged = ask(&ann, "unchanged").await;
    let whole = async || eve.get("/expert/queue").await.expect_status(200).json();
    assert_eq!(eve.get(path).await.expect_status(200).json(), json!([whole().await]));
    eventually(SOON, || async { poll(&eve, path, &now()).await == json!([]) }).await;

    let id = ask(&ann, "new").await;
    let mut since = now();
    // Each of these changes something on the expert's screen.
    for change in ["opened", "claim", "unclaim", "claim", "resolve"] {
        if change != "opened" {
            eventually(SOON, || async { poll(&eve, path, &now()).await == json!([]) }).await;
            since = now();
            let made = eve.post(&format!("/expert/conversations/{id}/{change}"), json!({})).await;
            made.expect_status(200);
        }
        let queue = whole().await;
        eventually(SOON, || async { poll(&eve, path, &since).await == json!([queue]) }).await;
        let waiting = each(&queue["waitingConversations"], "id");
        assert!(waiting.contains(&&*unchanged), "{change}: {waiting:?}");
    }
}

#[tokio::test]
async fn a_time_is_read_leniently() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "printer").await;
    say(&ann, &id, "hello").await;
    let time = "2026-01-15T10:30:00";
    let mut spellings: Vec<String> = ["", "Z", "%2B02:00", "+02:00", "%2002:00", "-05:30", "%2B0200"]
        .map(|zone| format!("{time}{zone}"))
        .into();
    for decimals in 1..=9 {
        let fraction = &"123456789"[..decimals];
        spellings.extend(["", "Z", "+00:00", "%2B00:00"].map(|zone| format!("{time}.{fraction}{zone}")));
    }
    spellings.extend(
        ["2026-01-15%2010:30:00", "2026-01-15", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00"]
            .map(String::from),
    );
    for since in &spellings {
        for (path, _) in PATHS {
            let answer = ann.get(&format!("{path}?since={since}")).await;
            assert_eq!(answer.status, 200, "{path} {since}: {}", answer.text());
            assert_eq!(answer.json().as_array().unwrap().len(), 1, "{path} {since}");
        }
    }
    for since in [
        "yesterday",
        "2026-13-01T00:00:00Z",
        "2026-02-30",
        "1768473000",
        "2026-01-15T10:30:00.Z",
        "2026-01-15T25:00:00",
        "%00",
        "%FF",
        "2026-01-15T10:30:00.1234567890Z",
    ] {
        for (path, _) in PATHS {
            let answer = ann.get(&format!("{path}?since={since}")).await;
            assert_eq!(
                answer.expect_status(400).text(),
                r#"{"error":"Invalid timestamp format"}"#,
                "{since}"
            );
        }
    }
}

#[tokio::test]
async fn an_offset_moves_the_time() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    ask(&ann, "printer").await;
    let second = Timestamp::now().micros() + 2 * 3_600_000_000;
    let ahead = Timestamp::from_micros(second).to_string().replace('Z', "");
    // Two hours ahead by the clock on the wall, but in a zone that is three hours ahead: an hour ago.
    let past = format!("/api/conversations/updates?since={ahead}%2B03:00");
    eventually(SOON, || async { ann.get(&past).await.json().as_array().unwrap().len() == 1 }).await;
}

#[tokio::test]
async fn polls_are_for_oneself() {
    let desk = Desk::start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    for (path, whose) in PATHS {
        for own in [format!("?{whose}={}", ann.id), format!("?{whose}="), String::new()] {
            ann.get(&format!("{path}{own}")).await.expect_status(200);
        }
        for strange in [bob.id.to_string(), "0".to_owned(), "x".to_owned(), format!("{}%20", ann.id)] {
            let answer = ann.get(&format!("{path}?{whose}={strange}&since=2026-01-01T00:00:00")).await;
            let error = answer.expect_status(403).json();
            assert!(error["error"].is_string(), "{error}");
        }
        let anonymous = ann.client.get(path).send().await.expect_status(401);
        assert_eq!(anonymous.text(), r#"{"error":"Authentication required"}"#);
    }
}
