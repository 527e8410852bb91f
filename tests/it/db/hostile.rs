//! A server whose sessions begin with everything set to something else: nobody notices.

use std::collections::{BTreeMap, BTreeSet};

use hyperdesk::db::Statement;
use hyperdesk::db::session::{SETTINGS, Vendor};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use super::Library;
use crate::board::upload;
use crate::helpdesk::{ask, claim, is_time, say};
use crate::stock::{OWN, Program, QUANTITY};
use crate::support::child::fresh_folder;
use crate::support::{Hyperdesk, Response, Schema, Server, User};

/// What `init_connect` says of what is pinned.
const HOSTILE: &[(&str, &str)] = &[
    ("character_set_client", "latin1"),
    ("character_set_results", "latin1"),
    ("collation_connection", "latin1_german2_ci"),
    ("time_zone", "'+05:30'"),
    (
        "sql_mode",
        "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE'",
    ),
    ("sql_auto_is_null", "1"),
    ("autocommit", "0"),
    ("completion_type", "'RELEASE'"),
    ("sql_safe_updates", "1"),
    ("sql_select_limit", "1"),
    ("sql_big_selects", "0"),
    ("unique_checks", "0"),
    ("foreign_key_checks", "0"),
    ("check_constraint_checks", "0"),
    ("tx_isolation", "'SERIALIZABLE'"),
    ("transaction_isolation", "'SERIALIZABLE'"),
    ("tx_read_only", "1"),
    ("transaction_read_only", "1"),
    ("innodb_lock_wait_timeout", "50"),
    ("lock_wait_timeout", "500"),
    ("wait_timeout", "28800"),
    ("idle_transaction_timeout", "0"),
    ("max_statement_time", "0"),
    ("max_execution_time", "0"),
];

/// What it says of what is not, and has no effect.
const HARMLESS: &[(&str, &str)] = &[
    ("max_join_size", "1"),
    ("group_concat_max_len", "4"),
    ("div_precision_increment", "0"),
    ("max_sort_length", "64"),
    ("sql_notes", "0"),
    ("lc_messages", "'de_DE'"),
    ("lc_time_names", "'de_DE'"),
    ("default_week_format", "3"),
];

/// Whether a server has the variables of this vendor.
async fn is_there(schema: &Schema, vendor: Vendor) -> bool {
    let version: String = schema.query_one("SELECT VERSION()").await;
    let other = if version.contains("MariaDB") { Vendor::MySql } else { Vendor::MariaDb };
    vendor != other
}

/// From now on sessions of everybody but the administrator begin so.
async fn become_hostile(schema: &Schema) {
    let mut settings = Vec::new();
    for (name, value) in HARMLESS.iter().chain(HOSTILE) {
        let mut vendors: Vec<Vendor> =
            SETTINGS.iter().filter(|setting| setting.name == *name).map(|setting| setting.vendor).collect();
        if vendors.is_empty() {
            vendors.push(Vendor::Both);
        }
        for vendor in vendors {
            if is_there(schema, vendor).await {
                settings.push(format!("{name} = {value}"));
            }
        }
    }
    schema.execute(format!("SET GLOBAL init_connect = \"SET SESSION {}\"", settings.join(", "))).await;
    for global in
        ["character_set_server = latin1", "time_zone = '+05:30'", "innodb_default_row_format = 'compact'"]
    {
        schema.execute(format!("SET GLOBAL {global}")).await;
    }
}

const READ: &str = "CAST(@@SESSION.NAME AS CHAR)";

/// What the layer's own sessions have.
async fn pinned(schema: &Schema) -> BTreeMap<&'static str, String> {
    let library = Library::new(&schema.url(), None, 1);
    let mut writer = library.db.writer().await.unwrap();
    let mut values = BTreeMap::new();
    for setting in SETTINGS {
        if is_there(schema, setting.vendor).await {
            let sql = format!("SELECT {}", READ.replace("NAME", setting.name)).leak();
            let value: Option<String> =
                writer.first(&Statement { name: "test.setting", sql }, ()).await.unwrap();
            values.insert(setting.name, value.unwrap());
        }
    }
    values
}

#[test]
fn all_that_is_hostile_is_pinned() {
    let pinned: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(HOSTILE.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), pinned);
}

#[tokio::test]
async fn what_is_pinned_is_pinned_whatever_the_server_says() {
    let database = Server::start().await;
    let schema = Schema::on(&database).await;
    let usual = pinned(&schema).await;
    become_hostile(&schema).await;
    assert_eq!(pinned(&schema).await, usual);
    // And it was needed: this is what others get there.
    let mut conn = schema.connect().await;
    for (name, pinned) in &usual {
        let read = format!("SELECT {}", READ.replace("NAME", name));
        let theirs: Option<String> = conn.query_first(read).await.unwrap();
        assert_ne!(theirs.as_ref(), Some(pinned), "{name}: not hostile enough");
    }
}

/// An answer without what differs from run to run.
fn plain(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_new = [
                    "token",
                    "access_token",
                    "nextPollMs",
                    "cursor",
                    "filename",
                    "image_url",
                    "date",
                    "time",
                ]
                .contains(&name.as_str());
                if is_time(value) || is_new {
                    *value = json!(format!("some {name}"));
                }
                plain(value);
            }
        }
        _ => {}
    }
}

/// What was answered, in order.
#[derive(Default)]
struct Transcript(Vec<String>);

impl Transcript {
    fn note(&mut self, answer: Response) -> Value {
        let (status, json) = (answer.status, answer.json());
        assert!(status < 500, "{status}: {json}");
        let mut same = json.clone();
        plain(&mut same);
        self.0.push(format!("{status} {same}"));
        json
    }
}

const TEXTS: [&str; 3] = ["Drücker 🖨️ größer \\ 'quoted' \"\"", "Привет 🔥👩‍👩‍👧", "ÿ € ‰ ŒÆ"];

async fn help_desk(desk: &Hyperdesk, seen: &mut Transcript) {
    let (ann, eve) = (User::register(desk.addr(), "änn 🔥").await, User::register(desk.addr(), "eve").await);
    seen.note(
        desk.client()
            .post("/auth/register")
            .json(json!({"username": "eve", "password": "secret"}))
            .send()
            .await,
    );
    seen.note(ann.get("/auth/me").await);
    let cursor = seen.note(ann.get("/api/updates").await)["cursor"].clone();
    let cursor = cursor.as_str().unwrap().to_owned();
    for text in TEXTS {
        let id = ask(&ann, text).await;
        for text in TEXTS {
            say(&ann, &id, text).await;
        }
        let keyed =
            || eve.request("POST", "/conversations").header("idempotency-key", text.len().to_string());
        seen.note(keyed().json(json!({"title": text})).send().await);
        seen.note(keyed().json(json!({"title": text})).send().await);
    }
    seen.note(eve.get("/expert/queue").await);
    claim(&eve, "1").await;
    let reply = say(&eve, "1", TEXTS[1]).await;
    seen.note(ann.put(&format!("/messages/{reply}/read"), json!({})).await);
    seen.note(ann.get("/conversations").await);
    seen.note(ann.get("/conversations/1/messages").await);
    seen.note(ann.get("/api/messages/updates?since=2026-01-01T00:00:00Z").await);
    seen.note(eve.get("/api/conversations/updates?since=2026-01-01T00:00:00Z").await);
    seen.note(ann.get(&format!("/api/updates?cursor={cursor}")).await);
    let profile = json!({"bio": TEXTS[0], "knowledgeBaseLinks": TEXTS});
    seen.note(eve.put("/expert/profile", profile).await);
    seen.note(eve.post("/expert/conversations/1/resolve", json!({})).await);
    seen.note(eve.get("/expert/assignments/history").await);
    let secret = json!({"username": "änn 🔥", "password": "änn 🔥-secret"});
    seen.note(desk.client().post("/auth/login").json(secret).send().await);
    seen.note(eve.post("/auth/logout", json!({})).await);
    seen.note(eve.get("/auth/me").await);
}

async fn the_others(desk: &Hyperdesk, schema: &Schema, seen: &mut Transcript) {
    let program = Program::create(schema, "read,stock").await;
    let token = program.token(desk.addr(), "stock").await;
    let client = desk.client();
    seen.note(client.post(QUANTITY).bearer(&token).json(json!({"quantity": 1})).send().await);
    for _ in 0..2 {
        seen.note(client.put(OWN).bearer(&token).send().await);
    }
    seen.note(client.get(QUANTITY).bearer(&token).send().await);

    let bob = User::register(desk.addr(), "bob").await;
    for title in TEXTS {
        let book =
            json!({"title": title, "author": "Émile", "description": title, "price": "19.90", "stock": 3});
        seen.note(bob.post("/books", book).await);
    }
    seen.note(bob.get("/books").await);
    seen.note(bob.get("/books?q=emil").await);
    seen.note(bob.get("/books?q=DRUCKER").await);
    seen.note(bob.put("/books/1", json!({"stock": 2})).await);
    for quantity in [2, 1] {
        seen.note(bob.post("/books/1/purchases", json!({"quantity": quantity})).await);
    }
    seen.note(bob.post("/purchases/1/payment", json!({"method": "card"})).await);
    seen.note(bob.get("/delivery-providers").await);
    seen.note(bob.post("/purchases/1/delivery", json!({"providerId": 3})).await);

    let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
    for text in TEXTS {
        seen.note(upload(&client, text, "a.png", png).await);
    }
    seen.note(client.get("/readMessages").send().await);
    seen.note(client.get("/latest_date_time").send().await);
    let stored = client.get("/date_time").send().await;
    assert_eq!(client.get("/latest_date_time").send().await.text(), stored.text());
    seen.note(stored);
}

/// All services, and the bytes that are in the tables then.
async fn all_services(schema: &Schema) -> Vec<String> {
    let folder = fresh_folder("pictures");
    let desk =
        Hyperdesk::builder(schema).env("UPLOAD_DIR", folder.display()).env("DB_POOL_SIZE", 3).start().await;
    let mut seen = Transcript::default();
    help_desk(&desk, &mut seen).await;
    the_others(&desk, schema, &mut seen).await;
    for (table, column) in [
        ("users", "username"),
        ("conversations", "title"),
        ("messages", "content"),
        ("expert_profiles", "bio"),
        ("books", "title"),
        ("board_posts", "message"),
    ] {
        let bytes: Vec<String> = schema.query(format!("SELECT HEX({column}) FROM {table} ORDER BY id")).await;
        seen.0.push(format!("{table}: {bytes:?}"));
        let apart = "ABS(TIMESTAMPDIFF(SECOND, MAX(created_at), UTC_TIMESTAMP()))";
        let apart: i64 = schema.query_one(format!("SELECT {apart} FROM {table}")).await;
        assert!(apart < 600, "{table}: {apart} s from UTC");
    }
    seen.0
}

#[tokio::test]
async fn all_services_answer_and_store_the_same_on_a_hostile_server() {
    let database = Server::start().await;
    let usual = all_services(&Schema::on(&database).await).await;
    let schema = Schema::on(&database).await;
    become_hostile(&schema).await;
    let hostile = all_services(&schema).await;
    for (usual, hostile) in usual.iter().zip(&hostile) {
        assert_eq!(usual, hostile);
    }
    assert_eq!(usual.len(), hostile.len());
    let other: Vec<String> = schema
        .query("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND row_format <> 'Dynamic'")
        .await;
    assert_eq!(other, [""; 0], "of another row format");
}
