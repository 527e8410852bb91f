//! What happens to networks and servers, seen by two people who talk: each message once on both screens.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::browser::PATIENCE;
use crate::desk::{Person, talk};
use crate::nginx::Nginx;
use crate::support::ports::Reserved;
use crate::support::{Hyperdesk, Proxy, Schema, Server, User, eventually};

const TITLE: &str = "A printer";

/// Ann asks, Bob has claimed; both have the conversation open.
async fn two(ann_at: std::net::SocketAddr, bob_at: std::net::SocketAddr) -> (Person, Person) {
    let (ann, bob) = tokio::join!(Person::register(ann_at, "ann"), Person::register(bob_at, "bob"));
    ann.ask(TITLE, "What now?").await;
    bob.claim(TITLE).await;
    talk(&ann, &bob, "before").await;
    (ann, bob)
}

/// Both were told all of these, in one order, and nothing of it twice.
async fn have_the_same(ann: &Person, bob: &Person, count: usize) {
    eventually(PATIENCE, || async {
        let texts = ann.texts().await;
        texts.len() == count && texts == bob.texts().await
    })
    .await;
    for person in [ann, bob] {
        person.is_sound().await;
    }
}

#[tokio::test]
async fn the_server_starts_anew_and_freezes() {
    let (schema, port) = (Schema::fresh().await, Reserved::new());
    let mut desk = Hyperdesk::builder(&schema).env("PORT", port.port()).start().await;
    let (ann, bob) = two(desk.addr(), desk.addr()).await;
    desk.kill();
    ann.say("nobody is there").await;
    ann.browser.shows(".message .by", "later").await;
    ann.browser.shows("#status", "No connection").await;
    desk.start_again().await;
    ann.has_once("nobody is there").await;
    bob.has_once("nobody is there").await;
    talk(&ann, &bob, "after the restart").await;

    desk.freeze();
    bob.say("it is frozen").await;
    // The fault itself lasts so long.
    sleep(Duration::from_secs(5)).await;
    desk.thaw();
    ann.has_once("it is frozen").await;
    talk(&ann, &bob, "after the thaw").await;
    ann.live().await;
    have_the_same(&ann, &bob, 9).await;
}

#[tokio::test]
async fn the_database_is_away_for_ten_seconds() {
    let database = Server::start().await;
    let schema = Schema::on(&database).await;
    let proxy = Proxy::start(database.addr());
    let desk = Hyperdesk::builder(&schema).env("DATABASE_URL", schema.url_via(proxy.addr())).start().await;
    let (ann, bob) = two(desk.addr(), desk.addr()).await;
    proxy.refuse();
    proxy.cut_all();
    ann.say("no database").await;
    sleep(Duration::from_secs(10)).await;
    ann.browser.shows("#status", "busy").await;
    proxy.pass();
    bob.has_once("no database").await;
    talk(&ann, &bob, "after").await;
    ann.live().await;
    have_the_same(&ann, &bob, 6).await;
}

#[tokio::test]
async fn the_network_is_cut_while_sending_and_the_page_is_loaded_anew() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let network = Proxy::start(desk.addr());
    let (ann, bob) = two(network.addr(), desk.addr()).await;
    network.refuse();
    network.cut_all();
    for text in ["first", "second", "third"] {
        ann.say(text).await;
    }
    bob.say("meanwhile").await;
    bob.has_once("meanwhile").await;
    ann.browser.shows("#status", "No connection").await;
    ann.keys_draft("a draft").await;
    // What is not sent and what is not finished are the browser's, and survive the page.
    network.pass();
    ann.browser.client.refresh().await.unwrap();
    for text in ["first", "second", "third", "meanwhile"] {
        ann.has_once(text).await;
        bob.has_once(text).await;
    }
    assert_eq!(ann.browser.value("document.getElementById('text').value").await, "a draft");
    ann.browser.run("document.getElementById('text').value = ''", &[]).await;
    let texts = bob.texts().await;
    let place = |text: &str| texts.iter().position(|other| other == text);
    assert!(place("first") < place("second") && place("second") < place("third"), "{texts:?}");

    // An answer that is lost after the server did the work: the same key, so the same message.
    network.cut_after_bytes(1);
    ann.say("was it sent?").await;
    bob.has_once("was it sent?").await;
    ann.has_once("was it sent?").await;
    talk(&ann, &bob, "after").await;
    have_the_same(&ann, &bob, 10).await;
}

/// Chromium's own offline mode: the page says so, and sends when the network is back.
#[tokio::test]
async fn offline_mode() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let (ann, bob) = two(desk.addr(), desk.addr()).await;
    ann.browser.offline(true).await;
    ann.say("from the train").await;
    ann.browser.shows(".message .by", "later").await;
    bob.say("are you there?").await;
    ann.browser.offline(false).await;
    bob.has_once("from the train").await;
    ann.has_once("are you there?").await;
    talk(&ann, &bob, "after").await;
    have_the_same(&ann, &bob, 7).await;
}

/// As after an hour's sleep: the server no longer has what came since.
#[tokio::test]
async fn a_cursor_that_is_too_old_ends_in_a_complete_screen() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).env("FEED_WINDOW_EVENTS", 16).start().await;
    let network = Proxy::start(desk.addr());
    let (ann, bob) = two(network.addr(), desk.addr()).await;
    network.refuse();
    network.cut_all();
    let stranger = User::register(desk.addr(), "stranger").await;
    bob.say("while she slept").await;
    bob.has_once("while she slept").await;
    for number in 0..64 {
        stranger.post("/conversations", json!({"title": format!("{number}")})).await.expect_status(201);
    }
    network.pass();
    ann.has_once("while she slept").await;
    talk(&ann, &bob, "after").await;
    ann.live().await;
    have_the_same(&ann, &bob, 6).await;
}

#[tokio::test]
async fn a_session_that_ends_elsewhere_asks_to_sign_in_and_goes_on() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let (ann, bob) = two(desk.addr(), desk.addr()).await;
    let cookies = ann.browser.client.get_all_cookies().await.unwrap();
    let cookie = cookies.iter().find(|cookie| cookie.name() == "hyperdesk_session").expect("a session");
    let header = format!("hyperdesk_session={}", cookie.value());
    // Cut off, or the page would know of the end before anything is typed.
    ann.browser.offline(true).await;
    let signed_out = desk.client().post("/auth/logout").header("cookie", header).json(json!({})).send().await;
    signed_out.expect_status(200);
    ann.say("who am I?").await;
    ann.browser.offline(false).await;
    ann.browser.shows("dialog", "You are signed out").await;
    ann.sign().await;
    ann.has_once("who am I?").await;
    bob.has_once("who am I?").await;
    talk(&ann, &bob, "after").await;
    have_the_same(&ann, &bob, 6).await;
}

/// nginx as Debian has it; then one that holds the stream back whatever the server says of it.
#[tokio::test]
async fn behind_nginx() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let buffering = Nginx::start(desk.addr(), "");
    let (ann, bob) = two(buffering.addr(), desk.addr()).await;
    talk(&ann, &bob, "by the stream").await;
    have_the_same(&ann, &bob, 5).await;
    assert_eq!(requests(&desk, "/api/updates").await, 0.0, "nobody had to poll");

    let holding = Nginx::start(desk.addr(), "proxy_ignore_headers X-Accel-Buffering; proxy_buffers 8 256k;");
    let eve = Person::register(holding.addr(), "eve").await;
    eve.ask("Another one", "Do I see you?").await;
    eve.live().await;
    let polled = requests(&desk, "/api/updates").await;
    assert!(polled > 0.0, "the first state came by a poll: {polled}");
    bob.claim("Another one").await;
    talk(&eve, &bob, "by held polls").await;
}

/// How often a route was asked, whatever became of it.
async fn requests(desk: &Hyperdesk, route: &str) -> f64 {
    let mut sum = 0.0;
    for status in [200, 204] {
        let series = format!(r#"http_requests_total{{method="GET",route="{route}",status="{status}"}}"#);
        sum += desk.metric(&series).await.unwrap_or_default();
    }
    sum
}
