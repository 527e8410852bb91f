//! Thousands of conversations and messages: only what can be seen is in the document.

use serde_json::json;

use crate::browser::Browser;
use crate::support::{Hyperdesk, Schema, User};

const MANY: u64 = 5_000;

/// Both are signed in by name; the one who asks has all these conversations, and one of so many messages.
async fn fill(schema: &Schema, asker: i64, expert: i64) -> u64 {
    schema
        .execute(&format!(
            "INSERT INTO conversations (title, status, initiator_id, assigned_expert_id, created_at, updated_at)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             SELECT CONCAT('Conversation ', a.i + 1000 * b.i), 'active', {asker}, {expert}, NOW(6), NOW(6) + INTERVAL (a.i + 1000 * b.i) MICROSECOND
             FROM n AS a, n AS b WHERE b.i <= {}", MANY / 1_000
        ))
        .await;
    let id: u64 = schema.query_one("SELECT id FROM conversations ORDER BY updated_at DESC LIMIT 1").await;
    schema
        .execute(&format!(
            "INSERT INTO messages (conversation_id, sender_id, sender_role, content, is_read, created_at, updated_at)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             SELECT {id}, {expert}, 'expert', CONCAT('Message ', a.i + 1000 * b.i, REPEAT(' and so on', a.i % 30)), 1,
                    NOW(6) + INTERVAL (a.i + 1000 * b.i) MICROSECOND, NOW(6)
             FROM n AS a, n AS b WHERE b.i <= {} ORDER BY a.i + 1000 * b.i", MANY / 1_000
        ))
        .await;
    id
}

#[tokio::test]
async fn five_thousand_of_each_stay_fluent() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let bob = User::register(desk.addr(), "bob").await;
    let id = fill(&schema, ann.id, bob.id).await;
    let browser = Browser::start().await;
    // From the first line on, or the long tasks of the beginning would be missed.
    let watch = "window.long = []; new PerformanceObserver((list) => { for (const task of list.getEntries()) \
        window.long.push(Math.round(task.duration)); }).observe({ type: 'longtask', buffered: true });";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": watch})).await;
    browser.open(&format!("http://{}/helpdesk/", desk.addr())).await;
    browser.keys("#sign-name", "ann").await;
    browser.keys("#sign-password", &ann.password).await;
    browser.click("dialog button.strong").await;
    browser.shows("#list .entry", "Conversation").await;
    let rows = browser.value("document.querySelectorAll('#list .entry').length").await;
    assert!(rows.as_u64().unwrap() < 60, "{rows} rows are in the document");
    browser.run("document.getElementById('list').scrollTop = 40000;", &[]).await;
    browser.until("document.querySelectorAll('#list .entry').length > 5").await;
    browser.open(&format!("http://{}/helpdesk/#/c/{id}", desk.addr())).await;
    browser.shows(".message .text", "Message").await;
    let rows = browser.value("document.querySelectorAll('.message').length").await;
    assert!(rows.as_u64().unwrap() < 80, "{rows} messages are in the document");
    browser.keys("#text", "typing stays fluent while all of this is there").await;
    for place in [0, 9_000, 30_000, 1_000_000] {
        let script = format!("document.getElementById('messages').scrollTop = {place};");
        browser.run(&script, &[]).await;
        browser.until("document.querySelectorAll('.message').length > 2").await;
    }
    let long = browser.value("window.long").await;
    println!("long tasks, in ms: {long}");
    // How long one is says much of what else the machine does; how many there are, of the page: a document of
    // thousands of rows has them at every key.
    assert!(long.as_array().unwrap().len() < 60, "{long}");
}
