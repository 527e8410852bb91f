//! For everybody: axe-core on every page in light and dark, and the main flow by keyboard alone.

use std::path::Path;

use serde_json::json;

use crate::browser::Browser;
use crate::desk::{PASSWORD, Person};
use crate::support::{Hyperdesk, Schema, User};

/// Where `deploy/local/test pages` puts it.
const AXE: &str = ".local/axe/node_modules/axe-core/axe.min.js";

fn axe() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(AXE);
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{AXE}: {error}; deploy/local/test pages gets it"))
}

/// Panics with what axe finds wrong, in either colour scheme, at a narrow and a wide window.
async fn has_no_violation(browser: &Browser, axe: &str, what: &str) {
    for scheme in ["light", "dark"] {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.devtools("Emulation.setEmulatedMedia", features).await;
        for width in [320, 1440] {
            let size = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
            browser.devtools("Emulation.setDeviceMetricsOverride", size).await;
            let script = format!(
                "const done = arguments[0]; {axe}; axe.run().then((r) => done(r.violations.map((v) => \
                 v.id + ': ' + v.nodes.map((n) => n.html.slice(0, 200)).join(' | '))), (e) => done([String(e)]));"
            );
            let found = browser.client.execute_async(&script, Vec::new()).await.expect("axe runs");
            assert_eq!(found, json!([]), "{what}, {scheme}, {width} px wide");
            let over = browser.value("document.documentElement.scrollWidth - window.innerWidth").await;
            assert!(over.as_i64().unwrap() <= 0, "{what}: {over} px wider than a window of {width} px");
        }
    }
    browser.devtools("Emulation.clearDeviceMetricsOverride", json!({})).await;
}

#[tokio::test]
async fn axe_finds_no_violation() {
    let (schema, axe) = (Schema::fresh().await, axe());
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = Person::register(desk.addr(), "ann").await;
    // It makes elements of texts, which the pages' own policy forbids.
    ann.browser.devtools("Page.setBypassCSP", json!({"enabled": true})).await;
    ann.ask("My printer is on fire", "What now?").await;
    has_no_violation(&ann.browser, &axe, "a conversation").await;
    for (view, shown) in
        [("queue", "#list"), ("history", "#main .page p"), ("profile", "#bio"), ("new", "#title")]
    {
        ann.open(&format!("/helpdesk/#/{view}")).await;
        ann.browser.until(&format!("document.querySelector('{shown}')")).await;
        has_no_violation(&ann.browser, &axe, view).await;
    }
    let bob = User::register(desk.addr(), "bob").await;
    let book = json!({"title": "Fires", "author": "Ada", "description": "Of printers.", "price": "19.90", "stock": 2});
    bob.post("/books", book).await.expect_status(201);
    for (path, shown) in [
        ("/", ".summaries a"),
        ("/board/", "#posts li"),
        ("/bookstore/", ".books li"),
        ("/bookstore/#/sell", "#price"),
        ("/bookstore/#/mine", "#view p"),
        ("/bookstore/#/purchases", "#view p"),
    ] {
        ann.open(path).await;
        ann.browser.until(&format!("document.querySelector('{shown}')")).await;
        has_no_violation(&ann.browser, &axe, path).await;
    }
    ann.open("/helpdesk/").await;
    ann.live().await;
    ann.browser.click("#sign").await;
    ann.browser.until("document.querySelector('dialog[open]')").await;
    has_no_violation(&ann.browser, &axe, "the sign-in").await;
}

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const DOWN: &str = "\u{e015}";

/// Presses Tab until an element has the focus, as somebody without a mouse does.
async fn tab_to(browser: &Browser, css: &str) {
    for _ in 0..40 {
        if browser.value(&format!("document.activeElement.matches({css:?})")).await == json!(true) {
            return;
        }
        press(browser, TAB).await;
    }
    panic!("no way to {css} by the Tab key");
}

/// A key where the focus is.
async fn press(browser: &Browser, keys: &str) {
    let focused = browser.client.active_element().await.expect("an element has the focus");
    focused.send_keys(keys).await.expect("a key");
}

#[tokio::test]
async fn the_main_flow_by_keyboard_alone() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    for title in ["First", "Second"] {
        ann.post("/conversations", json!({"title": title})).await.expect_status(201);
    }
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/helpdesk/", desk.addr())).await;
    browser.until("document.activeElement.id === 'sign-name'").await;
    press(&browser, "bob").await;
    tab_to(&browser, "#sign-other").await;
    press(&browser, ENTER).await;
    tab_to(&browser, "#sign-password").await;
    press(&browser, &format!("{PASSWORD}{ENTER}")).await;
    browser.until("document.getElementById('status').textContent === 'Up to date'").await;
    tab_to(&browser, "#to-queue").await;
    press(&browser, ENTER).await;
    browser.shows("#list .entry", "Second").await;
    tab_to(&browser, "#list .entry").await;
    press(&browser, DOWN).await;
    browser.until("document.activeElement.textContent.includes('Second')").await;
    press(&browser, ENTER).await;
    browser.shows("#head h2", "Second").await;
    browser.until("document.getElementById('claim')").await;
    tab_to(&browser, "#claim").await;
    press(&browser, ENTER).await;
    // The focus goes where one goes on.
    browser.until("document.activeElement.id === 'text'").await;
    press(&browser, &format!("Hello{ENTER}")).await;
    browser.shows(".message .text", "Hello").await;
    browser.until("document.activeElement.id === 'text'").await;
    // What comes is announced, once, in a place that screen readers watch.
    let waiting = ann.get("/conversations").await.json();
    let id = waiting.as_array().unwrap().iter().find(|one| one["title"] == "Second").unwrap()["id"].clone();
    ann.post("/messages", json!({"conversationId": id, "content": "Thank you"})).await.expect_status(201);
    browser.until("document.querySelector('#news[aria-live]').textContent === 'ann: Thank you'").await;
    tab_to(&browser, "#resolve").await;
    press(&browser, ENTER).await;
    browser.shows("#about", "resolved by you").await;
}
