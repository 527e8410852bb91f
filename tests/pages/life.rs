//! The whole life of a conversation, with two browsers at once.

use crate::desk::{Person, talk};
use crate::support::{Hyperdesk, Schema};

#[tokio::test]
async fn a_conversation_from_question_to_resolved() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = Person::register(desk.addr(), "ann").await;
    let bob = Person::register(desk.addr(), "bob").await;
    ann.ask("My printer is on fire", "What now?").await;
    bob.claim("My printer is on fire").await;
    bob.has_once("What now?").await;
    ann.browser.shows("#about", "answered by bob").await;
    talk(&ann, &bob, "1").await;
    bob.browser.click("#resolve").await;
    ann.browser.shows("#about", "resolved").await;
    bob.browser.shows("#about", "resolved by you").await;
    let told = ["What now?", "question 1", "answer 1"];
    assert_eq!(ann.texts().await, told);
    assert_eq!(bob.texts().await, told);
    // Read marks go out when the other one has it on the screen.
    ann.browser.shows(".message.mine .by", "read").await;

    // A reload is signed in by the cookie, and has the same.
    ann.browser.client.refresh().await.unwrap();
    ann.has_once("answer 1").await;
    assert_eq!(ann.texts().await, told);
    ann.browser.click("#sign").await;
    ann.browser.until("document.querySelector('dialog[open]')").await;
    for person in [&ann, &bob] {
        person.is_sound().await;
    }
}
