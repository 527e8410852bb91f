//! The help desk as its clients see it: api.md §1, line by line.

mod accounts;
mod conversations;
mod counts;
mod experts;
mod guard;
mod idempotency;
mod lease;
mod messages;
mod preview;
mod requests;
mod updates;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{Client, Hyperdesk, Schema, User};

/// A server with its own schema.
pub struct Desk {
    pub server: Hyperdesk,
    pub schema: Schema,
}

impl Desk {
    pub async fn start() -> Desk {
        Desk::start_with(&[]).await
    }

    pub async fn start_with(env: &[(&str, &str)]) -> Desk {
        let schema = Schema::fresh().await;
        let mut builder = Hyperdesk::builder(&schema).env("WEB_CONCURRENCY", 2).env("SERVICES", "helpdesk");
        for (name, value) in env {
            builder = builder.env(name, value);
        }
        let server = builder.start().await;
        Desk { server, schema }
    }

    /// Another process on the same database.
    pub async fn second(&self) -> Hyperdesk {
        Hyperdesk::builder(&self.schema).env("SERVICES", "helpdesk").start().await
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    pub fn client(&self) -> Client {
        self.server.client()
    }

    pub async fn user(&self, name: &str) -> User {
        User::register(self.addr(), name).await
    }

    /// A time of the database as the contract writes it.
    pub async fn time(&self, expression_and_from: &str) -> String {
        let (column, rest) = expression_and_from.split_once(' ').unwrap();
        self.schema.query_one(format!("SELECT DATE_FORMAT({column}, '%Y-%m-%dT%H:%i:%s.%fZ') {rest}")).await
    }
}

/// Opens a conversation; its id.
pub async fn ask(user: &User, title: &str) -> String {
    let made = user.post("/conversations", json!({ "title": title })).await.expect_status(201).json();
    made["id"].as_str().expect("an id is a string").to_owned()
}

/// Posts a message; its id.
pub async fn say(user: &User, conversation: &str, content: &str) -> String {
    let fields = json!({ "conversationId": conversation, "content": content });
    let made = user.post("/messages", fields).await.expect_status(201).json();
    made["id"].as_str().expect("an id is a string").to_owned()
}

/// Claims a conversation.
pub async fn claim(expert: &User, conversation: &str) {
    let path = format!("/expert/conversations/{conversation}/claim");
    assert_eq!(expert.post(&path, json!({})).await.expect_status(200).text(), r#"{"success":true}"#);
}

/// The value of `name` in each element.
pub fn each<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    list.as_array().expect("an array").iter().map(|item| item[name].as_str().unwrap_or_default()).collect()
}

/// `2026-01-15T10:30:00.123456Z`
pub fn is_time(value: &Value) -> bool {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
    value.as_str().is_some_and(|text| {
        text.len() == SHAPE.len()
            && text.bytes().zip(SHAPE).all(|(byte, &shape)| match shape {
                b'd' => byte.is_ascii_digit(),
                _ => byte == shape,
            })
    })
}

pub use requests::{path_of, specs};
