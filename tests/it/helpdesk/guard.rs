//! The reply guard: `lastSeenMessageId`, and what is told to whose reply crosses another one.

use serde_json::{Value, json};

use super::{Desk, ask, claim, each, say};
use crate::support::{Client, Response, User};

const WRONG: &str = "lastSeenMessageId must be the id of a message of the conversation";

/// A reply by somebody who has seen `seen` last.
async fn reply(user: &User, conversation: &str, content: &str, seen: impl Into<Value>) -> Response {
    let seen = seen.into();
    user.post(
        "/messages",
        json!({"conversationId": conversation, "content": content, "lastSeenMessageId": seen}),
    )
    .await
}

async fn refused(desk: &Desk) -> f64 {
    desk.server.metric("helpdesk_replies_refused_total").await.expect("it is counted from the start")
}

#[tokio::test]
async fn a_reply_that_crosses_another_is_refused_with_what_came_meanwhile() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    let first = say(&ann, &id, "It burns.").await;
    claim(&eve, &id).await;
    reply(&eve, &id, "Run.", first.as_str()).await.expect_status(201);
    // One's own messages are none that one has not seen.
    let last = reply(&eve, &id, "Now.", first.as_str()).await.expect_status(201).json();
    let last = last["id"].as_str().unwrap().to_owned();
    say(&ann, &id, "I do.").await;
    let crossed = say(&ann, &id, "It is out.").await;
    let path = format!("/conversations/{id}");
    let before = eve.get(&path).await.text();
    let messages = eve.get(&format!("{path}/messages")).await.json();
    for seen in [&first, &last] {
        let answer = reply(&eve, &id, "Run!", seen.as_str()).await.expect_status(409);
        assert_eq!(
            answer.text(),
            format!(r#"{{"error":"There are newer messages","messages":[{},{}]}}"#, messages[3], messages[4])
        );
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    }
    assert_eq!(eve.get(&path).await.text(), before, "nothing was posted, nothing moved");
    assert_eq!(refused(&desk).await, 2.0);
    reply(&eve, &id, "Good.", crossed.as_str()).await.expect_status(201);
    // The asker's replies are guarded as well.
    let answer = reply(&ann, &id, "Hello?", crossed.as_str()).await.expect_status(409).json();
    assert_eq!(each(&answer["messages"], "content"), ["Good."]);
    // Without it nothing is asked.
    say(&ann, &id, "Thanks.").await;
    reply(&eve, &id, "Bye.", Value::Null).await.expect_status(201);
}

#[tokio::test]
async fn it_is_read_in_every_form_and_wrong_ones_are_refused() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let (id, other) = (ask(&ann, "printer").await, ask(&ann, "mouse").await);
    claim(&eve, &id).await;
    let foreign = say(&ann, &other, "It squeaks.").await;
    // 0 is the newest message where there is none.
    reply(&ann, &id, "It burns.", 0).await.expect_status(201);
    reply(&eve, &id, "Run.", "0").await.expect_status(409);
    let first = say(&ann, &id, "Help!").await;
    let number: u64 = first.parse().unwrap();
    say(&ann, &id, "Hello?").await;
    for body in [
        json!({"conversationId": id, "content": "x", "lastSeenMessageId": first}),
        json!({"conversationId": id, "content": "x", "lastSeenMessageId": number}),
        json!({"conversation_id": id, "content": "x", "last_seen_message_id": first}),
        json!({"message": {"conversation_id": id, "content": "x", "last_seen_message_id": number}}),
        json!({"message": {"conversation_id": id, "content": "x"}, "lastSeenMessageId": number}),
    ] {
        eve.post("/messages", &body).await.expect_status(409);
    }
    for names in [
        ["conversationId", "content", "lastSeenMessageId"],
        ["message[conversation_id]", "message[content]", "message[last_seen_message_id]"],
    ] {
        let form = [(names[0], id.as_str()), (names[1], "x"), (names[2], first.as_str())];
        eve.request("POST", "/messages").form(&form).send().await.expect_status(409);
    }
    let wrong = json!({ "errors": [WRONG] }).to_string();
    for seen in [
        json!("x"),
        json!(""),
        json!(-1),
        json!(1.5),
        json!([1]),
        json!({"id": 1}),
        json!(true),
        json!("999999"),
        json!(u64::MAX),
        json!(foreign),
    ] {
        let answer = reply(&eve, &id, "x", seen.clone()).await.expect_status(422);
        assert_eq!(answer.text(), wrong, "{seen}");
    }
    let both = reply(&eve, &id, " ", "x").await.expect_status(422);
    assert_eq!(both.text(), json!({"errors": ["Content can't be blank", WRONG]}).to_string());
    // What is somebody else's is not there, whatever was seen.
    reply(&eve, &other, "x", foreign.as_str()).await.expect_status(404);
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM messages").await, 4);
}

#[tokio::test]
async fn with_a_key_a_repeat_gets_its_answer_and_what_was_refused_used_none() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    let first = say(&ann, &id, "It burns.").await;
    claim(&eve, &id).await;
    let with_key = async |key: &str, content: &str, seen: &str| {
        let body = json!({"conversationId": id, "content": content, "lastSeenMessageId": seen});
        eve.request("POST", "/messages").header("idempotency-key", key).json(body).send().await
    };
    // Posted, then crossed: the repeat is of the one that was posted.
    let posted = with_key("one", "Run.", &first).await.expect_status(201);
    let second = say(&ann, &id, "I do.").await;
    let repeat = with_key("one", "Run.", &first).await.expect_status(201);
    assert_eq!(repeat.text(), posted.text());
    // Crossed, then repeated as it was, and as it is right.
    for _ in 0..2 {
        let answer = with_key("two", "Faster.", &first).await.expect_status(409).json();
        assert_eq!(each(&answer["messages"], "id"), [&*second]);
    }
    let posted = with_key("two", "Faster.", &second).await.expect_status(201);
    assert_eq!(with_key("two", "Faster.", &second).await.expect_status(201).text(), posted.text());
    // Now the key stands for that one, whatever the guard would say.
    for (content, seen) in [("Faster.", &first), ("Faster!", &second)] {
        let used = with_key("two", content, seen).await.expect_status(409).json();
        assert_eq!(used, json!({"error": "Idempotency-Key was used for another request"}));
    }
    // What was wrong used none either.
    with_key("three", "", &second).await.expect_status(422);
    with_key("three", "So?", "999999").await.expect_status(422);
    with_key("three", "So?", &second).await.expect_status(201);
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM messages").await, 5);
    assert_eq!(desk.schema.changes("message").await, 5);
}

#[tokio::test]
async fn the_answer_is_bounded_and_who_goes_on_gets_the_rest() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    for (count, bytes, expected) in [(230, 2, vec![100, 100, 30]), (30, 65_000, vec![16, 14])] {
        let id = ask(&ann, "printer").await;
        claim(&eve, &id).await;
        for _ in 0..count {
            say(&ann, &id, &"x".repeat(bytes)).await;
        }
        let (mut seen, mut counts) = ("0".to_owned(), Vec::new());
        loop {
            let answer = reply(&eve, &id, "At last.", seen.as_str()).await;
            if answer.status == 201 {
                break;
            }
            assert!(answer.body.len() <= 1024 * 1024 + 100, "{} bytes", answer.body.len());
            let messages = answer.expect_status(409).json()["messages"].clone();
            let ids: Vec<u64> = each(&messages, "id").iter().map(|id| id.parse().unwrap()).collect();
            assert!(ids.is_sorted() && ids[0] > seen.parse().unwrap());
            counts.push(ids.len());
            seen = ids.last().unwrap().to_string();
        }
        assert_eq!(counts, expected);
    }
}

/// Both sides answer the same message at the same moment, on two processes: one is posted, the other is told of it.
#[tokio::test]
async fn of_two_replies_that_cross_one_is_posted() {
    const RACES: usize = 100;
    let desk = Desk::start().await;
    let other = desk.second().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    claim(&eve, &id).await;
    let (here, there) = (Client::new(desk.addr()), Client::new(other.addr()));
    let (mut seen, mut won) = ("0".to_owned(), [0, 0]);
    for race in 0..RACES {
        let send = |client: &'static str| json!({"conversationId": id, "content": client, "lastSeenMessageId": seen});
        let (one, two) = tokio::join!(
            here.post("/messages").bearer(&ann.token).json(send("ann")).send(),
            there.post("/messages").bearer(&eve.token).json(send("eve")).send(),
        );
        won[usize::from(two.status == 201)] += 1;
        let (posted, told) = if one.status == 201 { (one, two) } else { (two, one) };
        let (posted, told) = (posted.expect_status(201).json(), told.expect_status(409).json());
        assert_eq!(told["messages"], json!([posted]), "race {race}");
        // Seen by both: the loser's next one is guarded by the winner's.
        seen = posted["id"].as_str().unwrap().to_owned();
    }
    println!("won here and there: {won:?}");
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM messages").await, RACES as u64);
}
