//! A browser of its own for each person: its own cookies, its own storage, its own connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use url::{ParseError, Url};

use crate::support::child::{self, Child};
use crate::support::ports::Reserved;
use crate::support::{eventually, eventually_some};

/// For whatever is waited for, on a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often in a row an element may be drawn anew between being found and clicked.
const REDRAWN_MAX: usize = 10;

/// Chromium, driven by a chromedriver of its own. Both end when it is dropped.
pub struct Browser {
    pub client: Client,
    // The driver's end ends the browser: they talk through a pipe.
    _driver: Child,
    _port: Reserved,
    _folder: std::path::PathBuf,
}

impl Browser {
    pub async fn start() -> Browser {
        let advice = "deploy/local/test pages installs it";
        let program = child::find("chromedriver").unwrap_or_else(|| panic!("no chromedriver: {advice}"));
        let (port, folder) = (Reserved::new(), child::fresh_folder("browser"));
        let mut command = child::command(&program);
        command.arg(format!("--port={}", port.port())).env("TMPDIR", &folder).env("HOME", &folder);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        let driver = Child::spawn(command).expect("start chromedriver");
        let arguments = [
            "--headless=new",
            // As root, and in containers with a small /dev/shm.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--window-size=1200,800",
            "--lang=en-US",
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "unhandledPromptBehavior": "accept",
        });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let url = format!("http://{}", port.addr());
        let connect = || async {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.clone()).connect(&url).await.ok()
        };
        let client = eventually_some(PATIENCE, connect).await;
        Browser { client, _driver: driver, _port: port, _folder: folder }
    }

    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("open a page");
    }

    /// Runs a function's body in the page.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> Value {
        let done = self.client.execute(script, arguments.to_vec()).await;
        done.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    pub async fn value(&self, expression: &str) -> Value {
        self.run(&format!("return {expression};"), &[]).await
    }

    /// Waits until an expression is true in the page; says what the page shows if it never is.
    pub async fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression});");
        let is_met = AtomicBool::new(false);
        let look = || async {
            // While a page loads there may be nothing to ask.
            let met = matches!(self.client.execute(&script, Vec::new()).await, Ok(Value::Bool(true)));
            is_met.store(met, Ordering::Relaxed);
            met
        };
        if tokio::time::timeout(PATIENCE, eventually(PATIENCE * 2, look)).await.is_err() {
            let shown = self.client.execute("return document.body.innerText", Vec::new()).await;
            panic!(
                "never in {PATIENCE:?}: {expression}; the page shows {shown:?}; {:?}",
                self.console().await
            );
        }
    }

    /// Waits until the page shows an element that matches, and has this text in it.
    pub async fn shows(&self, css: &str, text: &str) {
        let text = serde_json::to_string(text).unwrap();
        self.until(&format!(
            "[...document.querySelectorAll({css:?})].some((e) => e.checkVisibility() && e.textContent.includes({text}))"
        ))
        .await;
    }

    pub async fn click(&self, css: &str) {
        self.until(&format!("document.querySelector({css:?})?.checkVisibility()")).await;
        for redrawn in 0..=REDRAWN_MAX {
            let element = self.client.find(Locator::Css(css)).await.expect("an element");
            match element.click().await {
                // What was found was drawn anew before it could be clicked.
                Err(error) if redrawn < REDRAWN_MAX && error.to_string().contains("stale element") => {}
                done => return done.unwrap_or_else(|error| panic!("click {css}: {error}")),
            }
        }
    }

    /// Types as a person does, key by key.
    pub async fn keys(&self, css: &str, text: &str) {
        self.until(&format!("document.querySelector({css:?})?.checkVisibility()")).await;
        let element = self.client.find(Locator::Css(css)).await.expect("an element");
        element.send_keys(text).await.unwrap_or_else(|error| panic!("type into {css}: {error}"));
    }

    /// What the console said since the last look: errors, and violations of the policy.
    pub async fn console(&self) -> Vec<String> {
        let log = self.client.issue_cmd(Post("se/log", json!({"type": "browser"}))).await;
        let lines = log.ok().and_then(|log| log.as_array().cloned()).unwrap_or_default();
        lines.iter().map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A command of Chromium's own protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        let done = self.client.issue_cmd(Post("goog/cdp/execute", body)).await;
        done.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Takes the network away, or gives it back.
    pub async fn offline(&self, is_offline: bool) {
        self.devtools("Network.enable", json!({})).await;
        let conditions =
            json!({"offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        self.devtools("Network.emulateNetworkConditions", conditions).await;
    }
}

/// A command that fantoccini does not know, of a session.
#[derive(Debug)]
struct Post(&'static str, Value);

impl WebDriverCompatibleCommand for Post {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _url: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.1.to_string()))
    }
}
