//! Each service alone: `SERVICES` decides what is there, and what is not named is not there at all.

use std::time::Duration;

use hyperdesk::chassis::route::Route as _;
use hyperdesk::db::migrations::MIGRATIONS;
use hyperdesk::services::{NAMES, Route};
use serde_json::{Value, json};

use crate::docs::{check, resolve};
use crate::helpdesk::path_of;
use crate::stock::Program;
use crate::support::{Client, Hyperdesk, Schema, User, eventually};

const SOON: Duration = Duration::from_secs(20);
/// What the contract gives a sign-out to reach every instance.
const SIGNED_OUT_WITHIN: Duration = Duration::from_secs(2);

/// Tables that a service may ask, besides its own: who may come in, and who was signed out.
const OTHERS_TABLES: [(&str, &[&str]); 1] = [("bookstore", &["users", "revoked_sessions"])];

/// The services' tables. A service's migrations have a hundred numbers, and the first of them has its name.
fn tables() -> Vec<(&'static str, &'static str)> {
    let mut tables = Vec::new();
    for migration in MIGRATIONS {
        let first = MIGRATIONS.iter().find(|first| first.version / 100 == migration.version / 100);
        let created = migration.sql.split("CREATE TABLE IF NOT EXISTS ").skip(1);
        let names = created.filter_map(|text| text.split([' ', '\n', '(']).next());
        tables.extend(names.map(|table| (first.unwrap().name, table)));
    }
    tables
}

#[tokio::test]
async fn each_service_alone_serves_its_urls_and_no_others() {
    let schema = Schema::fresh().await;
    for name in NAMES {
        let server = Hyperdesk::builder(&schema).env("SERVICES", name).start().await;
        let client = server.client();
        for route in Route::all() {
            let (spec, owner) = (route.spec(), route.service());
            let at = format!("SERVICES={name}: {} {}", spec.method, spec.label);
            let answer = client.request(spec.method, &path_of(spec.label, "1")).send().await;
            let unknown = answer.status == 404 && answer.text() == r#"{"error":"Not found"}"#;
            if owner.is_none_or(|owner| owner == *name) {
                assert!(!unknown, "{at} is there");
            } else {
                assert!(unknown && answer.header("allow").is_none(), "{at} is not: {}", answer.status);
            }
        }
    }
}

#[tokio::test]
async fn what_is_off_asks_no_table() {
    for name in NAMES {
        let schema = Schema::fresh().await;
        drop(Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").start().await);
        let of = tables();
        let found = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()";
        let found: Vec<String> = schema.query(found).await;
        let others = OTHERS_TABLES.iter().filter(|(service, _)| service == name);
        let others: Vec<&str> = others.flat_map(|(_, tables)| *tables).copied().collect();
        let mut dropped = String::new();
        for table in found.iter().filter(|table| *table != "hyperdesk_migrations") {
            let owner = of.iter().find(|(_, known)| known == table).map(|(owner, _)| *owner);
            let owner = owner.unwrap_or_else(|| panic!("no migration creates {table}"));
            assert!(NAMES.contains(&owner), "{table}: {owner} is no service");
            if owner != *name && !others.contains(&table.as_str()) {
                dropped += &format!("DROP TABLE {table};");
            }
        }
        // The whole schema is looked at before anybody is served, whichever services those are.
        let server = Hyperdesk::builder(&schema).without_migrate().env("SERVICES", name).start().await;
        eventually(SOON, || async { server.admin_client().get("/ready").send().await.status == 200 }).await;
        schema.execute(format!("SET foreign_key_checks = 0; {dropped}")).await;
        let mut asked = 0;
        for spec in Route::all().filter(|route| route.service() == Some(name)).map(|route| route.spec()) {
            if spec.method == "GET" && !spec.label.contains(':') {
                let answer = server.client().get(spec.label).send().await;
                let (at, status) = (format!("{name}: {}", spec.label), answer.status);
                assert!([200, 401, 404].contains(&status), "{at}: {status} {}", answer.text());
                assert_ne!(answer.text(), r#"{"error":"Not found"}"#, "{at}");
                asked += 1;
            }
        }
        assert!(asked > 0, "{name}");
        let errors = server.admin_client().get("/metrics").send().await.expect_status(200);
        let failed =
            errors.text().lines().any(|line| line.starts_with("db_errors_total{") && !line.ends_with(" 0"));
        assert!(!failed, "{name} asked for what is not there:\n{}", errors.text());
    }
}

#[tokio::test]
async fn a_sign_out_reaches_an_instance_that_serves_the_bookstore_only() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).env("SERVICES", "helpdesk").start().await;
    let shop = Hyperdesk::builder(&schema).env("SERVICES", "bookstore").start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let mine = async || Client::new(shop.addr()).get("/books/mine").bearer(&ann.token).send().await;
    mine().await.expect_status(200);
    ann.post("/auth/logout", json!({})).await.expect_status(200);
    eventually(SIGNED_OUT_WITHIN, || async { mine().await.status == 401 }).await;
    // And one that starts later knows.
    let late = Hyperdesk::builder(&schema).env("SERVICES", "bookstore").start().await;
    let refused =
        async || Client::new(late.addr()).get("/books/mine").bearer(&ann.token).send().await.status == 401;
    eventually(SIGNED_OUT_WITHIN, refused).await;
}

type Token<'a> = Option<&'a str>;

/// One call (method, path, what fills it or its query, token, body), and the status that it must come to.
type Call<'a> = (&'static str, &'static str, &'static str, Token<'a>, Option<Value>, u16);

/// In an order in which each finds what it needs; the tokens are two users' and a program's of each scope.
fn calls<'a>(ann: Token<'a>, bob: Token<'a>, read: Token<'a>, stock: Token<'a>) -> Vec<Call<'a>> {
    let book = || Some(json!({"title": "t", "author": "a", "description": "d", "price": 19.9, "stock": 3}));
    let one = || Some(json!({"quantity": 1}));
    vec![
        ("GET", "/date_time_only", "", None, None, 200),
        ("GET", "/latest_date_time", "", None, None, 404),
        ("GET", "/date_time", "", None, None, 200),
        ("GET", "/latest_date_time", "", None, None, 200),
        ("GET", "/welcome/default/date_time", "", None, None, 200),
        ("GET", "/welcome/default/latest_date_time", "", None, None, 200),
        ("POST", "/oauth/token", "", None, None, 400),
        ("GET", "/api/hyper", "", None, None, 401),
        ("GET", "/api/hyper", "", read, None, 200),
        ("PUT", "/api/hyper/own", "", read, None, 404),
        ("POST", "/api/hyper", "", read, one(), 403),
        ("POST", "/api/hyper", "", stock, Some(json!({"quantity": -1})), 422),
        ("POST", "/api/hyper", "", stock, one(), 200),
        ("PUT", "/api/hyper/own", "", read, None, 200),
        ("GET", "/books", "", None, None, 200),
        ("GET", "/books", "?page=x", None, None, 400),
        ("POST", "/books", "", None, book(), 401),
        ("POST", "/books", "", ann, Some(json!({})), 422),
        ("POST", "/books", "", ann, book(), 201),
        ("GET", "/books", "?q=t", None, None, 200),
        ("GET", "/books/mine", "", ann, None, 200),
        ("GET", "/books/{id}", "1", None, None, 200),
        ("GET", "/books/{id}", "9", None, None, 404),
        ("PUT", "/books/{id}", "1", bob, Some(json!({"stock": 1})), 403),
        ("PUT", "/books/{id}", "1", ann, Some(json!({"price": "0.30"})), 200),
        ("POST", "/books/{id}/purchases", "1", bob, one(), 201),
        ("POST", "/books/{id}/purchases", "1", bob, Some(json!({"quantity": 9})), 409),
        ("POST", "/books/{id}/purchases", "1", bob, Some(json!({"quantity": 0})), 422),
        ("POST", "/books/{id}/purchases", "9", bob, one(), 404),
        ("GET", "/purchases/{id}", "1", bob, None, 200),
        ("GET", "/purchases/{id}", "1", ann, None, 404),
        ("GET", "/delivery-providers", "", None, None, 200),
        ("POST", "/purchases/{id}/delivery", "1", bob, Some(json!({"providerId": 1})), 200),
        ("POST", "/purchases/{id}/payment", "1", bob, Some(json!({"method": "card"})), 200),
        ("POST", "/purchases/{id}/payment", "1", bob, Some(json!({"method": "card"})), 409),
        ("POST", "/purchases/{id}/payment", "1", ann, Some(json!({"method": "card"})), 404),
        ("DELETE", "/books/{id}", "1", bob, None, 403),
        ("DELETE", "/books/{id}", "1", ann, None, 204),
        ("DELETE", "/books/{id}", "1", ann, None, 404),
        ("GET", "/readMessages", "", None, None, 200),
        ("POST", "/upload/", "", None, Some(json!({})), 415),
        ("GET", "/media/{name}", "1", None, None, 404),
        ("PUT", "/api/hyper/own", "", None, None, 401),
    ]
}

#[tokio::test]
async fn the_services_answer_as_the_document_says() {
    let schema = Schema::fresh().await;
    let server = Hyperdesk::builder(&schema).start().await;
    let document = server.client().get("/openapi.json").send().await.expect_status(200).json();
    let (ann, bob) = (User::register(server.addr(), "ann").await, User::register(server.addr(), "bob").await);
    let program = Program::create(&schema, "read,stock").await;
    let (read, stock) =
        (program.token(server.addr(), "read").await, program.token(server.addr(), "stock").await);
    let (ann, bob, read, stock) = (Some(&*ann.token), Some(&*bob.token), Some(&*read), Some(&*stock));
    for (method, path, filled, token, body, status) in calls(ann, bob, read, stock) {
        let query = if filled.starts_with('?') { filled } else { "" };
        let url = path.replace("{id}", filled).replace("{name}", filled) + query;
        let client = server.client();
        let mut request = client.request(method, &url);
        if let Some(token) = token {
            request = request.bearer(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let at = format!("{method} {url} {status}");
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{at}: {}", answer.text());
        let said = &document["paths"][path][method.to_lowercase()]["responses"][status.to_string()];
        assert!(said.is_object(), "{at} is not documented");
        if status != 204 {
            let schema = &resolve(&document, said)["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{at} has no schema");
            check(&document, schema, &answer.json(), &at);
        }
    }
}
