//! `parts`: what a client shows. The rest is neither told to it nor wakes it.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::helpdesk::{Desk, ask, claim, each, say};
use crate::support::{Client, EventStream, User, eventually};

const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(90);
const ALL: [&str; 3] = ["conversations", "messages", "queue"];

/// Which of the three parts an answer has.
fn parts(answer: &Value) -> Vec<&'static str> {
    ALL.into_iter().filter(|part| answer.get(part).is_some()).collect()
}

fn cursor(answer: &Value) -> String {
    answer["cursor"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_has_the_parts_that_are_asked_for() {
    let desk = Desk::start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    let id = ask(&ann, "printer").await;
    for (asked, expected) in [
        ("", &ALL[..]),
        ("conversations,messages,queue", &ALL[..]),
        ("queue%2Cmessages", &["messages", "queue"]),
        ("conversations,messages", &["conversations", "messages"]),
        ("messages", &["messages"]),
        ("queue,queue", &["queue"]),
    ] {
        let query = format!("parts={asked}");
        let state = ann.get(&format!("/api/updates?{query}")).await.expect_status(200).json();
        assert_eq!(parts(&state), expected, "{asked}");
        let idle = ann.get(&format!("/api/updates?{query}&cursor={}", cursor(&state))).await;
        assert_eq!(parts(&idle.expect_status(200).json()), expected, "{asked}");
        say(&ann, &id, "hello").await;
        let news = ann.get(&format!("/api/updates?{query}&cursor={}", cursor(&state))).await;
        let news = news.expect_status(200).json();
        assert_eq!(parts(&news), expected, "{asked}");
        for (part, list) in [
            ("conversations", &news["conversations"]),
            ("messages", &news["messages"]),
            ("queue", &news["queue"]["waiting"]),
        ] {
            assert_eq!(
                list.as_array().map(Vec::len),
                expected.contains(&part).then_some(1),
                "{asked}: {news}"
            );
        }
        let path = format!("/api/updates/stream?{query}");
        let mut stream = EventStream::open_at(desk.addr(), &path, &bob.token, None).await.unwrap();
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!(parts(&serde_json::from_str(&first.data).unwrap()), expected, "{asked}");
    }
    for wrong in [
        "x",
        "queue,x",
        "Queue",
        ",",
        "queue,",
        "queue%20messages",
        "conversations,messages,queue,conversations,messages,queue,x",
    ] {
        for path in ["/api/updates", "/api/updates/stream"] {
            let answer = ann.get(&format!("{path}?parts={wrong}")).await.expect_status(400);
            assert!(answer.json()["error"].is_string(), "{wrong}");
        }
    }
}

/// Held polls of people who do not show the queue.
async fn held(desk: &Desk, people: &[User], shown: &str) -> Vec<tokio::task::JoinHandle<(u16, Value)>> {
    let mut all = Vec::new();
    for user in people {
        // Behind all that is known by now: the cursor of a state is from before it was read.
        let state = user.get(&format!("/api/updates?parts={shown}")).await.expect_status(200).json();
        let mut from = cursor(&state);
        loop {
            let news = user.get(&format!("/api/updates?parts={shown}&cursor={from}")).await.json();
            if cursor(&news) == std::mem::replace(&mut from, cursor(&news)) {
                break;
            }
        }
        let path = format!("/api/updates?parts={shown}&wait=55&cursor={from}");
        let (addr, token) = (desk.addr(), user.token.clone());
        all.push(tokio::spawn(async move {
            let answer = Client::new(addr).get(&path).bearer(&token).limit(LONG).send().await;
            (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
        }));
    }
    let waiting = people.len() as f64;
    eventually(SOON, || async { desk.server.metric("feed_waiters").await == Some(waiting) }).await;
    all
}

#[tokio::test]
async fn who_does_not_show_the_queue_is_neither_told_of_it_nor_woken_by_it() {
    const QUESTIONS: usize = 5;
    let desk = Desk::start_with(&[("ADDRESS_ATTEMPTS_MAX", "1000")]).await;
    let asker = desk.user("asker").await;
    let people = join_all((0..12).map(|number| desk.user(format!("person{number}").leak()))).await;
    let id = ask(&people[0], "mine").await;
    let mine = say(&people[0], &id, "help").await;
    let woken = async || desk.server.metric("feed_waiters_woken_total").await.unwrap();
    let events = async || desk.server.metric("feed_position").await.unwrap();

    let held = held(&desk, &people, "conversations,messages").await;
    let (before, at) = (woken().await, events().await);
    let mut asked = Vec::new();
    for number in 0..QUESTIONS {
        asked.push(ask(&asker, &number.to_string()).await);
    }
    claim(&asker, &asked[0]).await;
    eventually(SOON, || async { events().await >= at + QUESTIONS as f64 + 1.0 }).await;
    assert_eq!(woken().await, before, "a question wakes nobody who does not show it");
    assert!(held.iter().all(|poll| !poll.is_finished()));
    // What is theirs wakes them, and them alone.
    claim(&asker, &id).await;
    let mut held = held.into_iter();
    let (status, news) = held.next().unwrap().await.unwrap();
    assert_eq!((status, parts(&news)), (200, vec!["conversations", "messages"]));
    assert_eq!(each(&news["conversations"], "id"), [&*id]);
    assert!(held.all(|poll| !poll.is_finished()));
    drop(mine);
}

#[tokio::test]
async fn who_shows_the_queue_only_is_told_of_it_only() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    let held = held(&desk, std::slice::from_ref(&eve), "queue").await.pop().unwrap();
    let next = ask(&ann, "mouse").await;
    let (status, news) = held.await.unwrap();
    assert_eq!((status, parts(&news)), (200, vec!["queue"]));
    assert_eq!(each(&news["queue"]["waiting"], "id"), [&*next]);
    // Their own conversations do not end a hold.
    claim(&eve, &id).await;
    let state = eve.get("/api/updates?parts=queue").await.json();
    let path = format!("/api/updates?parts=queue&wait=2&cursor={}", cursor(&state));
    let request = eve.request("GET", &path);
    let (quiet, ()) = tokio::join!(request.send(), async {
        let client = Client::new(desk.addr());
        let body = json!({"conversationId": id, "content": "It burns."});
        client.post("/messages").bearer(&ann.token).json(body).send().await.expect_status(201);
    });
    assert_eq!(quiet.status, 204, "{}", quiet.text());
}
