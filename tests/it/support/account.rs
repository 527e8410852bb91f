//! A signed-in person of the help desk.

use std::net::SocketAddr;

use serde::Serialize;
use serde_json::json;

use super::http::{Client, Request, Response};

/// Someone with an account, a token and a connection of their own.
pub struct User {
    pub id: i64,
    pub username: String,
    pub password: String,
    pub token: String,
    /// The session cookie as `name=value`, empty if the answer set none.
    pub cookie: String,
    /// The same connection without credentials, for what the methods below do not do.
    pub client: Client,
}

impl User {
    /// Makes an account with a password made from the name (6 characters at least).
    pub async fn register(addr: SocketAddr, username: &str) -> User {
        let password = format!("{username}-secret");
        User::sign_in(addr, "/auth/register", 201, username, &password).await
    }

    pub async fn login(addr: SocketAddr, username: &str, password: &str) -> User {
        User::sign_in(addr, "/auth/login", 200, username, password).await
    }

    async fn sign_in(addr: SocketAddr, path: &str, status: u16, name: &str, password: &str) -> User {
        let client = Client::new(addr);
        let fields = json!({"username": name, "password": password});
        let answer = client.post(path).json(fields).send().await.expect_status(status);
        let body = answer.json();
        let cookie = answer.header("set-cookie").unwrap_or_default();
        User {
            id: body["user"]["id"].as_i64().expect("user.id is a number"),
            username: name.to_owned(),
            password: password.to_owned(),
            token: body["token"].as_str().expect("token is a string").to_owned(),
            cookie: cookie.split(';').next().unwrap_or_default().to_owned(),
            client,
        }
    }

    /// With the token; add to it and send it.
    pub fn request(&self, method: &str, path: &str) -> Request<'_> {
        self.client.request(method, path).bearer(&self.token)
    }

    /// With the cookie in place of the token.
    pub fn cookie_request(&self, method: &str, path: &str) -> Request<'_> {
        self.client.request(method, path).header("cookie", &self.cookie)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request("GET", path).send().await
    }

    pub async fn post(&self, path: &str, body: impl Serialize) -> Response {
        self.request("POST", path).json(body).send().await
    }

    pub async fn put(&self, path: &str, body: impl Serialize) -> Response {
        self.request("PUT", path).json(body).send().await
    }

    pub async fn delete(&self, path: &str) -> Response {
        self.request("DELETE", path).send().await
    }
}
