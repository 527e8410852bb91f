//! The stock counter, on the real port and a real database.

mod contract;
mod crowd;
mod tokens;

use std::net::SocketAddr;

use crate::support::server::{all_of, default_env};
use crate::support::{Client, Response, Schema, run_command};

pub const QUANTITY: &str = "/api/hyper";
pub const OWN: &str = "/api/hyper/own";
pub const TOKEN: &str = "/oauth/token";

/// A client program, made by the command.
pub struct Program {
    pub id: String,
    pub secret: String,
}

/// `hyperdesk oauth-client <args>` on this schema: whether it succeeded, and what it said.
pub async fn oauth_client(schema: &Schema, args: &[&str]) -> (bool, String) {
    let (defaults, url) = (default_env(), schema.url());
    let mut env: Vec<(&str, &str)> =
        defaults.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    env.push(("DATABASE_URL", &url));
    let done = run_command(&[&["oauth-client"], args].concat(), &env).await;
    (done.status.success(), all_of(&done))
}

impl Program {
    /// The schema must be migrated, so a server was started on it before.
    pub async fn create(schema: &Schema, scope: &str) -> Program {
        let (done, said) = oauth_client(schema, &["create", "--scope", scope, "--name", "test"]).await;
        assert!(done, "{said}");
        let value = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {said}")).to_owned()
        };
        Program { id: value("client_id="), secret: value("client_secret=") }
    }

    /// A token of this scope.
    pub async fn token(&self, addr: SocketAddr, scope: &str) -> String {
        let answer = self.ask(&Client::new(addr), scope).await.expect_status(200);
        answer.json()["access_token"].as_str().expect("a text").to_owned()
    }

    pub async fn ask(&self, client: &Client, scope: &str) -> Response {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.id),
            ("client_secret", &self.secret),
            ("scope", scope),
        ];
        client.post(TOKEN).form(&fields).send().await
    }
}
