//! The main flow of every service under the settings that managed servers have, several of them at once, and the one
//! setting that is refused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::board::upload;
use crate::helpdesk::{ask, claim, each, say};
use crate::support::child::fresh_folder;
use crate::support::product::output;
use crate::support::server::{all_of, default_env};
use crate::support::{EventStream, Hyperdesk, Product, Schema, Server, User, eventually, run_command};

const SOON: Duration = Duration::from_secs(30);
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\0\0\0;";

/// Settings of the server that both products have.
const BOTH: [&str; 5] = [
    "--server-id=1",
    "--log-bin=changes",
    "--max-connections=60",
    "--wait-timeout=30",
    "--interactive-timeout=30",
];

/// More options: `mysql` and `mariadb` only know their own.
async fn server(common: &[&str], mysql: &[&str]) -> Server {
    let own = if Product::chosen() == Product::MySql { mysql } else { &[] };
    Server::start_with(&[&BOTH[..], common, own].concat()).await
}

/// Migrates, serves, and does what people do with each service; `env` is for the way to the database.
async fn main_flow(schema: &Schema, env: &[(&str, &str)]) -> Hyperdesk {
    let pictures = fresh_folder("pictures").display().to_string();
    let mut builder = Hyperdesk::builder(schema).env("UPLOAD_DIR", &pictures);
    for (name, value) in env {
        builder = builder.env(name, value);
    }
    let desk = builder.start().await;
    eventually(SOON, || async { desk.admin_client().get("/ready").send().await.status == 200 }).await;
    help_desk(&desk).await;
    bookstore(&desk).await;
    stock(&desk, schema, env).await;
    let upload = upload(&desk.client(), "hello", "cat.gif", GIF).await;
    assert_eq!(upload.status, 200, "{}", upload.text());
    assert_eq!(desk.client().get("/readMessages").send().await.json()[0]["message"], "hello");
    desk
}

async fn help_desk(desk: &Hyperdesk) {
    let (ann, eve) = (User::register(desk.addr(), "Ann").await, User::register(desk.addr(), "eve").await);
    let before = ann.get("/api/updates").await.expect_status(200);
    let cursor = before.header("x-updates-cursor").expect("a cursor").to_owned();
    let mut stream = EventStream::open(desk.addr(), &ann.token, Some(&cursor)).await.unwrap();
    let id = ask(&ann, "printer").await;
    claim(&eve, &id).await;
    let held = format!("/api/updates?cursor={cursor}&wait=20");
    let messages = [say(&ann, &id, "it burns 🔥").await, say(&eve, &id, "water?").await];
    for path in ["/api/conversations/updates", "/api/messages/updates", "/api/expert-queue/updates"] {
        let since = format!("{path}?since=2026-01-01T00:00:00Z");
        eventually(SOON, || async {
            let (mine, theirs) = (ann.get(&since).await, eve.get(&since).await);
            mine.status == 200 && theirs.status == 200 && theirs.text().contains(&format!("\"id\":\"{id}\""))
                || theirs.text().contains(&messages[0])
        })
        .await;
    }
    let told = |news: &Value| {
        let ids = each(&news["messages"], "id");
        messages.iter().all(|id| ids.contains(&id.as_str()))
    };
    eventually(SOON, || async { told(&ann.get(&held).await.expect_status(200).json()) }).await;
    let mut heard = Vec::new();
    while heard.len() < messages.len() {
        let event =
            tokio::time::timeout(SOON, stream.next()).await.expect("in time").unwrap().expect("an event");
        let news: Value = serde_json::from_str(&event.data).unwrap();
        heard.extend(each(&news["messages"], "content").into_iter().map(str::to_owned));
    }
    assert_eq!(heard, ["it burns 🔥", "water?"]);
    // A time in the database's zone would be hours away from the clock's.
    let conversation = ann.get(&format!("/conversations/{id}")).await.expect_status(200).json();
    let now = hyperdesk::clock::Timestamp::now().to_string();
    assert_eq!(conversation["updatedAt"].as_str().unwrap()[..10], now[..10]);
    ann.post("/auth/logout", json!({})).await;
    User::login(desk.addr(), "Ann", &ann.password).await;
}

async fn bookstore(desk: &Hyperdesk) {
    let bob = User::register(desk.addr(), "bob").await;
    let book =
        json!({"title": "Dune", "author": "Herbert", "description": "Sand.", "price": "19.90", "stock": 3});
    let id = &bob.post("/books", book).await.expect_status(201).json()["id"];
    let eve = User::register(desk.addr(), "ed").await;
    eve.post(&format!("/books/{id}/purchases"), json!({"quantity": 2})).await.expect_status(201);
    assert_eq!(eve.get("/books?q=dune").await.expect_status(200).json()[0]["stock"], 1);
}

async fn stock(desk: &Hyperdesk, schema: &Schema, env: &[(&str, &str)]) {
    let done =
        command(schema, env, &["oauth-client", "create", "--scope", "read,stock", "--name", "t"]).await;
    let said = all_of(&done);
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", value("client_id=")),
        ("client_secret", value("client_secret=")),
        ("scope", "stock"),
    ];
    let answer = desk.client().post("/oauth/token").form(&fields).send().await.expect_status(200);
    let token = answer.json()["access_token"].as_str().expect("a text").to_owned();
    let client = desk.client();
    client.post("/api/hyper").bearer(&token).json(json!({"quantity": 1})).send().await.expect_status(200);
    client.put("/api/hyper/own").bearer(&token).send().await.expect_status(200);
    client.put("/api/hyper/own").bearer(&token).send().await.expect_status(404);
}

/// `hyperdesk <args>` on this schema.
async fn command(schema: &Schema, env: &[(&str, &str)], args: &[&str]) -> std::process::Output {
    let (defaults, url) = (default_env(), schema.url());
    let mut all: Vec<(&str, &str)> =
        defaults.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.push(("DATABASE_URL", &url));
    all.extend(env);
    run_command(args, &all).await
}

/// Row images, global transaction ids, a zone of its own, ids in steps, tables with a primary key only; and a user who
/// must come over TLS, to a server whose name is verified.
#[tokio::test]
async fn row_images_and_verified_tls() {
    let folder = fresh_folder("tls").display().to_string();
    let make =
        |script: &str| output(std::process::Command::new("sh").args(["-ec", script]).current_dir(&folder));
    make(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority 2>/dev/null
         openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=database 2>/dev/null
         echo 'subjectAltName = IP:127.0.0.1' >names
         openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem \
             2>/dev/null",
    );
    let tls = ["ca=", "cert=", "key="].into_iter().zip(["ca.pem", "server.pem", "server.key"]);
    let tls: Vec<String> = tls.map(|(option, file)| format!("--ssl-{option}{folder}/{file}")).collect();
    let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
    let common = [
        "--binlog-format=ROW",
        "--default-time-zone=+05:30",
        "--innodb-autoinc-lock-mode=1",
        "--auto-increment-increment=2",
        "--auto-increment-offset=2",
    ];
    let own = ["--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--sql-require-primary-key=ON"];
    let server = server(&[&common[..], &tls].concat(), &own).await;
    let schema = Schema::on(&server).await;
    schema.execute(format!("ALTER USER '{0}'@'%' REQUIRE SSL", schema.name())).await;
    let refused = command(&schema, &[], &["seed"]).await;
    assert!(!refused.status.success(), "without TLS nobody gets in: {}", all_of(&refused));
    let authorities = format!("{folder}/ca.pem");
    let env = [("DATABASE_SSL_MODE", "verify_identity"), ("DATABASE_SSL_CA", &*authorities)];
    let _desk = main_flow(&schema, &env).await;
    assert_eq!(schema.query_one::<i64>("SELECT MIN(id) MOD 2 FROM users").await, 0, "ids come in steps");
}

/// Statements where they can be, names in lower case, ids that are not waited for; and passwords that the server has
/// to ask for in full, over a connection without TLS, or knows from the last time.
#[tokio::test]
async fn mixed_logging_and_names_in_lower_case() {
    let common = ["--binlog-format=MIXED", "--lower-case-table-names=1", "--innodb-autoinc-lock-mode=2"];
    let server = server(&common, &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]).await;
    let schema = Schema::on(&server).await;
    if server.product() == Product::MySql {
        let plugin = format!("SELECT plugin FROM mysql.user WHERE user = '{}' AND host = '%'", schema.name());
        assert_eq!(schema.query_one::<String>(plugin).await, "caching_sha2_password");
    }
    let mut desk = main_flow(&schema, &[]).await;
    // What was cached is forgotten.
    schema.execute("FLUSH PRIVILEGES").await;
    desk.restart().await;
    eventually(SOON, || async { desk.admin_client().get("/ready").send().await.status == 200 }).await;
    User::register(desk.addr(), "later").await;
}

#[tokio::test]
async fn a_log_of_statements_is_refused_and_the_remedy_named() {
    let server = server(&["--binlog-format=STATEMENT"], &[]).await;
    let schema = Schema::on(&server).await;
    let refused = command(&schema, &[], &["migrate"]).await;
    let said = all_of(&refused);
    assert_eq!(refused.status.code(), Some(65), "{said}");
    assert!(said.contains("set binlog_format = ROW"), "{said}");
    assert_eq!(schema.query::<String>("SHOW TABLES").await, [""; 0]);

    let desk = Hyperdesk::builder(&schema).without_migrate().start().await;
    let is_told =
        || async { desk.logs().last(|line| line.message().contains("set binlog_format = ROW")).is_some() };
    eventually(SOON, is_told).await;
    assert_eq!(desk.admin_client().get("/ready").send().await.status, 503);
    // For those who connect from now on.
    schema.execute("SET GLOBAL binlog_format = ROW").await;
    let migrated = command(&schema, &[], &["migrate"]).await;
    assert!(migrated.status.success(), "{}", all_of(&migrated));
    eventually(SOON, || async { desk.admin_client().get("/ready").send().await.status == 200 }).await;
    let ann = json!({"username": "ann", "password": "correct horse"});
    let is_in = || async { desk.client().post("/auth/register").json(&ann).send().await.status == 201 };
    eventually(SOON, is_in).await;
    User::login(desk.addr(), "ann", "correct horse").await;
}
