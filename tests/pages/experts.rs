//! Two experts at once.

use serde_json::json;

use crate::desk::{PASSWORD, Person};
use crate::support::{Hyperdesk, Schema, User};

#[tokio::test]
async fn of_two_who_claim_at_once_one_wins_and_the_other_is_told() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    ann.post("/conversations", json!({"title": "Who is faster?"})).await.expect_status(201);
    let (bob, eve) = tokio::join!(Person::register(desk.addr(), "bob"), Person::register(desk.addr(), "eve"));
    for expert in [&bob, &eve] {
        expert.look_at("Who is faster?").await;
        expert.browser.until("document.getElementById('claim')").await;
    }
    tokio::join!(bob.browser.run(CLAIM, &[]), eve.browser.run(CLAIM, &[]));
    let ended = "document.getElementById('resolve') || document.getElementById('notice').textContent.includes('faster')";
    for expert in [&bob, &eve] {
        expert.browser.until(ended).await;
    }
    let won = [&bob, &eve].map(|expert| expert.browser.value("Boolean(document.getElementById('resolve'))"));
    let [bob_won, eve_won] = won;
    let (bob_won, eve_won) = tokio::join!(bob_won, eve_won);
    assert!(bob_won != eve_won, "one of them: {bob_won} {eve_won}");
    let loser = if bob_won == json!(true) { &eve } else { &bob };
    loser.browser.shows("#notice", "was faster").await;
    loser.browser.until("!document.getElementById('claim')").await;
    loser.browser.shows("#about", "no longer waits").await;
    for expert in [&bob, &eve] {
        expert.is_sound().await;
    }
}

const CLAIM: &str = "document.getElementById('claim').click();";

/// The same account at two desks: what one of them writes holds the other's reply back, until it was read.
#[tokio::test]
async fn a_reply_that_crosses_a_colleagues_is_held_back() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let asked = ann.post("/conversations", json!({"title": "Crossing"})).await.expect_status(201);
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    let message = |content: &str| json!({"conversationId": id, "content": content});
    let first = ann.post("/messages", message("Hello?")).await.expect_status(201);
    let bob = Person::register(desk.addr(), "bob").await;
    bob.claim("Crossing").await;
    bob.has_once("Hello?").await;
    // Only a server that knows the guard holds a reply back.
    let colleague = User::login(desk.addr(), "bob", PASSWORD).await;
    ann.post("/messages", message("One more thing")).await.expect_status(201);
    let mut crossing = message("Too late");
    crossing["lastSeenMessageId"] = first.json()["id"].clone();
    colleague.post("/messages", crossing).await.expect_status(409);

    // The news of it comes after the reply was sent: the page is not told while its network is away.
    bob.has_once("One more thing").await;
    bob.browser.offline(true).await;
    bob.say("An answer to one thing").await;
    ann.post("/messages", message("And another")).await.expect_status(201);
    bob.browser.offline(false).await;
    bob.browser.shows(".message .bad", "Somebody wrote meanwhile").await;
    bob.has_once("And another").await;
    bob.browser.click(".message button").await;
    bob.has_once("An answer to one thing").await;
    assert_eq!(bob.texts().await, ["Hello?", "One more thing", "And another", "An answer to one thing"]);
}

/// Given back in another browser, or by a lease that ran out: the feed tells it.
#[tokio::test]
async fn a_conversation_that_was_lost_elsewhere_is_nobodys_to_answer_here() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let (ann, eve) = (User::register(desk.addr(), "ann").await, User::register(desk.addr(), "eve").await);
    let asked = ann.post("/conversations", json!({"title": "Mine or not"})).await.expect_status(201);
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    let bob = Person::register(desk.addr(), "bob").await;
    bob.claim("Mine or not").await;
    bob.say("I am on it").await;
    bob.has_once("I am on it").await;
    let elsewhere = User::login(desk.addr(), "bob", PASSWORD).await;
    let act = async |user: &User, what: &str| {
        user.post(&format!("/expert/conversations/{id}/{what}"), json!({})).await.expect_status(200);
    };
    act(&elsewhere, "unclaim").await;
    bob.browser.until("document.getElementById('claim') && !document.getElementById('resolve')").await;
    bob.browser.until("document.getElementById('write').hidden").await;
    act(&eve, "claim").await;
    bob.browser.shows("#about", "no longer waits").await;
    // It comes back with what was said meanwhile.
    eve.post("/messages", json!({"conversationId": id, "content": "So am I"})).await.expect_status(201);
    act(&eve, "unclaim").await;
    act(&elsewhere, "claim").await;
    bob.browser.shows("#about", "you answer").await;
    bob.has_once("So am I").await;
    bob.has_once("I am on it").await;
    // And both at once, while this browser was away.
    bob.browser.offline(true).await;
    act(&elsewhere, "unclaim").await;
    act(&eve, "claim").await;
    bob.browser.offline(false).await;
    bob.browser.shows("#about", "no longer waits").await;
    bob.browser.until("!document.getElementById('resolve') && document.getElementById('write').hidden").await;
    bob.is_sound().await;
}

/// A full state has the first hundred; the rest is not told as it moves up.
#[tokio::test]
async fn a_long_queue_is_read_again_before_those_who_wait_longest_run_out() {
    const LONG: usize = 105;
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let (ann, eve) = (User::register(desk.addr(), "ann").await, User::register(desk.addr(), "eve").await);
    let mut ids = Vec::new();
    for number in 0..LONG {
        let asked = ann.post("/conversations", json!({"title": format!("Question {number}")})).await;
        ids.push(asked.expect_status(201).json()["id"].as_str().unwrap().to_owned());
    }
    let bob = Person::register(desk.addr(), "bob").await;
    bob.open("/helpdesk/#/queue").await;
    bob.browser.shows("#side-note", "105 waiting, 100 shown").await;
    ann.post("/conversations", json!({"title": "The newest"})).await.expect_status(201);
    bob.browser.shows("#side-note", "106 waiting, 101 shown").await;
    for id in &ids[..60] {
        eve.post(&format!("/expert/conversations/{id}/claim"), json!({})).await.expect_status(200);
    }
    bob.browser.shows("#side-note", "46 waiting, longest first").await;
    bob.is_sound().await;
}

/// Also where there was nothing to be seen yet.
#[tokio::test]
async fn a_first_reply_that_crosses_a_message_is_held_back() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let asked = ann.post("/conversations", json!({"title": "Empty yet"})).await.expect_status(201);
    let bob = Person::register(desk.addr(), "bob").await;
    bob.claim("Empty yet").await;
    bob.browser.offline(true).await;
    bob.say("What is it?").await;
    let first = json!({"conversationId": asked.json()["id"], "content": "It is this"});
    ann.post("/messages", first).await.expect_status(201);
    bob.browser.offline(false).await;
    bob.browser.shows(".message .bad", "Somebody wrote meanwhile").await;
    bob.has_once("It is this").await;
    bob.is_sound().await;
}
