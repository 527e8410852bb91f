//! Two experts at once.

use serde_json::json;

use crate::desk::Person;
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
