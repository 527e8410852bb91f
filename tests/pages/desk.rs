//! What people do on the help desk's page.

use std::net::SocketAddr;

use serde_json::json;

use crate::browser::Browser;

/// Somebody at their browser.
pub struct Person {
    pub browser: Browser,
    pub name: String,
    base: String,
}

pub const PASSWORD: &str = "secret-password";

impl Person {
    /// Registers on the help desk's page.
    pub async fn register(at: SocketAddr, name: &str) -> Person {
        let person =
            Person { browser: Browser::start().await, name: name.to_owned(), base: format!("http://{at}") };
        person.open("/helpdesk/").await;
        person.browser.click("#sign-other").await;
        person.sign().await;
        person
    }

    /// Fills the dialog in.
    pub async fn sign(&self) {
        self.browser.keys("#sign-name", &self.name).await;
        self.browser.keys("#sign-password", PASSWORD).await;
        self.browser.click("dialog button.strong").await;
        self.live().await;
    }

    pub async fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.base)).await;
    }

    /// Until the page says that it has everything.
    pub async fn live(&self) {
        self.browser.until("document.getElementById('status')?.textContent === 'Up to date'").await;
    }

    /// Opens a conversation with a first message.
    pub async fn ask(&self, title: &str, question: &str) {
        self.browser.click("#to-new").await;
        self.browser.keys("#title", title).await;
        self.browser.keys("#question", question).await;
        self.browser.click("#main form button").await;
        self.has_once(question).await;
    }

    /// Opens a waiting conversation from the queue.
    pub async fn look_at(&self, title: &str) {
        self.browser.click("#to-queue").await;
        self.browser.shows("#list .entry", title).await;
        let script = "const [title] = arguments; \
            [...document.querySelectorAll('#list .entry')].find((e) => e.textContent.includes(title)).click();";
        self.browser.run(script, &[json!(title)]).await;
        self.browser.shows("#head h2", title).await;
    }

    pub async fn claim(&self, title: &str) {
        self.look_at(title).await;
        self.browser.click("#claim").await;
        self.browser.until("document.getElementById('resolve')").await;
    }

    /// Types a message and sends it with the Enter key.
    pub async fn say(&self, text: &str) {
        self.browser.keys("#text", &format!("{text}\u{e007}")).await;
    }

    /// Types and does not send.
    pub async fn keys_draft(&self, text: &str) {
        self.browser.keys("#text", text).await;
    }

    /// Until the open conversation shows this message, sent, and once.
    pub async fn has_once(&self, text: &str) {
        let text = serde_json::to_string(text).unwrap();
        let found = format!(
            "[...document.querySelectorAll('.message')].filter((m) => m.querySelector('.text').textContent === {text})"
        );
        let sent = "!/on its way|not sent|is sent later/.test(found[0].querySelector('.by').textContent)";
        self.browser
            .until(&format!("(() => {{ const found = {found}; return found.length === 1 && {sent}; }})()"))
            .await;
    }

    /// The texts that the open conversation shows, in their order.
    pub async fn texts(&self) -> Vec<String> {
        let texts =
            self.browser.value("[...document.querySelectorAll('.message .text')].map((e) => e.textContent)");
        serde_json::from_value(texts.await).expect("texts")
    }

    /// Nothing that breaks the page's policy, and no script that failed.
    pub async fn is_sound(&self) {
        let console = self.browser.console().await;
        let bad = |line: &&String| {
            line.contains("Content Security Policy")
                || line.contains("Uncaught")
                || line.contains("TrustedHTML")
        };
        let bad: Vec<&String> = console.iter().filter(bad).collect();
        assert!(bad.is_empty(), "{}: {bad:?}", self.name);
    }
}

/// Both say something, and each message is once on both screens.
pub async fn talk(asker: &Person, expert: &Person, round: &str) {
    let (question, answer) = (format!("question {round}"), format!("answer {round}"));
    asker.say(&question).await;
    expert.has_once(&question).await;
    expert.say(&answer).await;
    asker.has_once(&answer).await;
    asker.has_once(&question).await;
    expert.has_once(&answer).await;
}
