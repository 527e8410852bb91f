//! Whatever people write is shown as text.

use serde_json::json;

use crate::desk::Person;
use crate::support::{Hyperdesk, Schema, User};

#[tokio::test]
async fn html_directions_long_words_and_emoji_break_nothing() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let word = "w".repeat(65_535);
    let texts = [
        "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>",
        "javascript:alert(1) {{files}} ${1} &amp; \u{0}",
        "\u{202e}drawkcab si siht\u{202c} and \u{2066}isolated",
        "مرحبا بالعالم, שלום and hello",
        "👩🏽‍🚒🔥🖨️ z̷͍̈́a̴̪̕l̵̰̚g̶̙̈́o̵̲͘",
        word.as_str(),
    ];
    let bob = User::register(desk.addr(), "bob").await;
    let ann = Person::register(desk.addr(), "<b>ann</b> \u{5d0}").await;
    ann.ask("<i>title</i> \u{202e}txet", "Ready?").await;
    let asked = bob.get("/expert/queue").await.json();
    let id = asked["waitingConversations"][0]["id"].as_str().unwrap().to_owned();
    bob.post(&format!("/expert/conversations/{id}/claim"), json!({})).await.expect_status(200);
    for text in texts {
        bob.post("/messages", json!({"conversationId": id, "content": text})).await.expect_status(201);
        // The list draws what is near the end: each is looked at while it is the last.
        ann.has_once(text).await;
    }
    ann.browser.shows("#head h2", "<i>title</i>").await;
    ann.browser.shows("#who", "<b>ann</b>").await;
    assert!(ann.browser.value("window.hurt").await.is_null(), "nothing of it ran");
    let wide = ann.browser.value("document.documentElement.scrollWidth - window.innerWidth").await;
    assert!(wide.as_i64().unwrap() <= 0, "nothing is wider than the page: {wide}");
    let inside = "[...document.querySelectorAll('.message')].every((m) => m.querySelectorAll('script, img, i, b').length === 0)";
    ann.browser.until(inside).await;
    ann.is_sound().await;
}

/// The policy is not only written: what slipped in would not run, and nothing makes HTML of a text.
#[tokio::test]
async fn a_planted_script_does_not_run() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk,bookstore,board").start().await;
    let ann = Person::register(desk.addr(), "ann").await;
    for path in ["/", "/helpdesk/", "/bookstore/", "/board/"] {
        ann.open(path).await;
        ann.browser.until("document.readyState === 'complete'").await;
        ann.is_sound().await;
        let plant = "window.violations = []; \
            document.addEventListener('securitypolicyviolation', (event) => window.violations.push(event.effectiveDirective)); \
            const script = document.createElement('script'); \
            try { script.textContent = 'window.hurt = 1'; document.body.append(script); } catch { window.violations.push('types'); } \
            try { document.body.innerHTML = '<img src=x>'; } catch { window.violations.push('types'); } \
            const link = document.createElement('link'); link.rel = 'stylesheet'; link.href = 'http://127.0.0.1:1/x.css'; \
            document.head.append(link);";
        ann.browser.run(plant, &[]).await;
        ann.browser.until("window.violations.length >= 3").await;
        assert!(ann.browser.value("window.hurt").await.is_null(), "{path}: the script ran");
        ann.browser.console().await;
    }
}
