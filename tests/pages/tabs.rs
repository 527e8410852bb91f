//! Many tabs of one browser.

use crate::browser::PATIENCE;
use crate::desk::Person;
use crate::support::{Hyperdesk, Schema, eventually};

const TABS: usize = 6;

#[tokio::test]
async fn six_tabs_hold_one_connection_and_the_leaders_end_loses_nothing() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = Person::register(desk.addr(), "ann").await;
    ann.ask("Tabs", "How many?").await;
    let waiters = || async { desk.metric("feed_waiters").await };
    eventually(PATIENCE, || async { waiters().await == Some(1.0) }).await;
    let page = ann.browser.client.current_url().await.unwrap();
    let first = ann.browser.client.window().await.unwrap();
    let mut tabs = vec![first.clone()];
    for _ in 1..TABS {
        let tab = ann.browser.client.new_window(true).await.unwrap().handle;
        ann.browser.client.switch_to_window(tab.clone()).await.unwrap();
        ann.browser.open(page.as_str()).await;
        ann.has_once("How many?").await;
        tabs.push(tab);
    }
    let bob = Person::register(desk.addr(), "bob").await;
    bob.claim("Tabs").await;
    bob.say("Six.").await;
    for tab in &tabs {
        ann.browser.client.switch_to_window(tab.clone()).await.unwrap();
        ann.has_once("Six.").await;
        ann.is_sound().await;
    }
    eventually(PATIENCE, || async { waiters().await == Some(2.0) }).await;

    // Whichever tab leads: the first ones are closed until one is left, and each time it goes on.
    for round in 1..TABS {
        ann.browser.client.switch_to_window(tabs[round - 1].clone()).await.unwrap();
        ann.browser.client.close_window().await.unwrap();
        let text = format!("{} left", TABS - round);
        bob.say(&text).await;
        for tab in &tabs[round..] {
            ann.browser.client.switch_to_window(tab.clone()).await.unwrap();
            ann.has_once(&text).await;
        }
    }
    eventually(PATIENCE, || async { waiters().await == Some(2.0) }).await;
}

#[tokio::test]
async fn signing_out_in_one_tab_signs_out_all() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = Person::register(desk.addr(), "ann").await;
    let first = ann.browser.client.window().await.unwrap();
    let second = ann.browser.client.new_window(true).await.unwrap().handle;
    ann.browser.client.switch_to_window(second).await.unwrap();
    ann.open("/helpdesk/").await;
    ann.live().await;
    ann.browser.click("#sign").await;
    ann.browser.shows("dialog", "Sign in").await;
    ann.browser.client.switch_to_window(first).await.unwrap();
    ann.browser.shows("dialog", "You signed out in another tab").await;
    ann.browser.until("document.getElementById('panes').hidden").await;
}
