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
