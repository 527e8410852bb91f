//! Texts of every kind are kept byte for byte or refused, and two people never become one.

use serde_json::json;

use crate::board::upload;
use crate::helpdesk::{Desk, ask, claim};
use crate::support::{Hyperdesk, Response, Schema, User};

/// Texts that have broken other services.
const TEXTS: &[&str] = &[
    "it's \"quoted\" `here`",
    "back\\slash \\' \\\" \\n \\0",
    "NUL \0 inside",
    "control \u{1}\u{7f}\u{85} and \r\n\t",
    "four bytes 🔥👩‍👩‍👧‍👦 𝒳",
    "right to left \u{202e}abc\u{202c} שלום مرحبا",
    "combining e\u{301} and precomposed \u{e9}",
    "zero width \u{200b}\u{feff}\u{2060}",
    "noncharacters \u{fffe}\u{ffff}\u{10ffff}",
    " leading and trailing ",
    "'; DROP TABLE users; -- ",
    "' OR '1'='1",
    "\" OR 1=1 #",
    "1; SELECT SLEEP(5)",
    "%' UNION SELECT password_digest FROM users WHERE '1' LIKE '%",
    "\\'; UPDATE users SET id = 0; /*",
    "%_%25%00?:name ?",
    "<script>alert(1)</script> {{7*7}} ${x}",
    "ß ẞ İ ı ſ K Å",
];

async fn stored(desk: &Desk, what: &str) -> Vec<u8> {
    let hex: String = desk.schema.query_one(format!("SELECT HEX({what})")).await;
    let nibble = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| nibble(pair[0]) * 16 + nibble(pair[1])).collect()
}

async fn raw(user: &User, method: &str, path: &str, content_type: &str, body: &[u8]) -> u16 {
    user.request(method, path).header("content-type", content_type).body(body).send().await.status
}

#[tokio::test]
async fn texts_are_kept_byte_for_byte() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "texts").await;
    for text in TEXTS {
        let made =
            ann.post("/messages", json!({"conversationId": id, "content": text})).await.expect_status(201);
        assert_eq!(made.json()["content"], **text);
        let from = "content) FROM messages ORDER BY id DESC LIMIT 1 -- ";
        assert_eq!(stored(&desk, from).await, text.as_bytes(), "{text:?}");
        let form = [("conversationId", id.as_str()), ("content", text)];
        let made = ann.request("POST", "/messages").form(&form).send().await.expect_status(201);
        assert_eq!(made.json()["content"], **text);
        assert_eq!(stored(&desk, from).await, text.as_bytes(), "{text:?}");
        let made = ann.post("/conversations", json!({ "title": text })).await.expect_status(201).json();
        assert_eq!(made["title"], **text);
        assert_eq!(
            stored(&desk, "title) FROM conversations ORDER BY id DESC LIMIT 1 -- ").await,
            text.as_bytes()
        );
        let made = ann.put("/expert/profile", json!({"bio": text, "knowledgeBaseLinks": [text]})).await;
        let made = made.expect_status(200).json();
        assert_eq!((&made["bio"], &made["knowledgeBaseLinks"]), (&json!(text), &json!([text])));
    }
    let list = ann.get(&format!("/conversations/{id}/messages")).await.expect_status(200).json();
    let contents: Vec<&str> =
        list.as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    let twice: Vec<&str> = TEXTS.iter().flat_map(|text| [*text, *text]).collect();
    assert_eq!(contents, twice);
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM users").await, 1);
}

#[tokio::test]
async fn a_text_as_long_as_its_column_is_kept_and_one_byte_more_is_refused() {
    let desk = Desk::start().await;
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "long").await;
    claim(&eve, &id).await;
    let fire = "🔥".repeat(16_383);
    for text in ["x".repeat(65_535), format!("{fire}xyz"), "\"".repeat(65_535), "\u{1}".repeat(40_000)] {
        let made =
            ann.post("/messages", json!({"conversationId": id, "content": text})).await.expect_status(201);
        assert_eq!(made.json()["content"], text);
        assert_eq!(
            stored(&desk, "content) FROM messages ORDER BY id DESC LIMIT 1 -- ").await,
            text.as_bytes()
        );
    }
    let form = "%F0%9F%94%A5".repeat(16_383);
    let body = format!("conversationId={id}&content={form}");
    assert_eq!(
        raw(&ann, "POST", "/messages", "application/x-www-form-urlencoded", body.as_bytes()).await,
        201
    );
    for text in ["x".repeat(65_536), format!("{fire}wxyz"), "ä".repeat(32_768)] {
        let answer =
            ann.post("/messages", json!({"conversationId": id, "content": text})).await.expect_status(422);
        assert_eq!(answer.text(), r#"{"errors":["Content is too long (maximum is 65535 bytes)"]}"#);
        ann.put("/expert/profile", json!({ "bio": text })).await.expect_status(422);
    }
    ann.put("/expert/profile", json!({ "bio": "x".repeat(65_535) })).await.expect_status(200);
    ann.put("/expert/profile", json!({ "knowledgeBaseLinks": ["x".repeat(65_531)] }))
        .await
        .expect_status(200);
    ann.put("/expert/profile", json!({ "knowledgeBaseLinks": ["x".repeat(65_532)] }))
        .await
        .expect_status(422);
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM messages").await, 5);
}

#[tokio::test]
async fn what_is_no_text_is_refused_clearly() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let id = ask(&ann, "bad").await;
    let json_type = "application/json";
    for content in [r"\ud800", r"\udc00", r"\ud83d x", r"\ud800\ud800", r"\udc00\ud800", r"\u12", r"\x41"] {
        let body = format!(r#"{{"conversationId":"{id}","content":"a{content}"}}"#);
        assert_eq!(raw(&ann, "POST", "/messages", json_type, body.as_bytes()).await, 400, "{content}");
    }
    let good = format!(r#"{{"conversationId":"{id}","content":"\ud83d\udd25\u0000"}}"#);
    assert_eq!(raw(&ann, "POST", "/messages", json_type, good.as_bytes()).await, 201);
    for bytes in
        [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"a\x00\xffb"]
    {
        let mut body = format!(r#"{{"conversationId":"{id}","content":"a"#).into_bytes();
        body.extend_from_slice(bytes);
        body.extend_from_slice(br#""}"#);
        assert_eq!(raw(&ann, "POST", "/messages", json_type, &body).await, 400, "{bytes:?}");
        let mut form = format!("conversationId={id}&content=a").into_bytes();
        form.extend_from_slice(bytes);
        let form_type = "application/x-www-form-urlencoded";
        assert_eq!(raw(&ann, "POST", "/messages", form_type, &form).await, 400, "{bytes:?}");
        let escaped: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
        let form = format!("conversationId={id}&content=a{escaped}");
        assert_eq!(raw(&ann, "POST", "/messages", form_type, form.as_bytes()).await, 400, "{escaped}");
    }
    let control = format!("{{\"conversationId\":\"{id}\",\"content\":\"a\u{1}b\"}}");
    assert_eq!(raw(&ann, "POST", "/messages", json_type, control.as_bytes()).await, 400);
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM messages").await, 1);
}

#[tokio::test]
async fn deep_or_broken_json_is_refused_and_harms_nobody() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let pid = desk.server.pid();
    for depth in [100_000, 10_000, 1_025, 1_000, 200, 65] {
        for (open, inner, close) in [("[", "", "]"), ("{\"a\":", "1", "}")] {
            let count = depth.min(250_000 / (open.len() + close.len()) - 20);
            let deep = format!("{}{inner}{}", open.repeat(count), close.repeat(count));
            let inside = format!("{{\"content\":{deep}}}");
            let status = raw(&ann, "POST", "/messages", "application/json", inside.as_bytes()).await;
            assert_eq!(status, 400, "{depth}");
            let broken = open.repeat(count);
            assert_eq!(raw(&ann, "POST", "/messages", "application/json", broken.as_bytes()).await, 400);
        }
    }
    // Brackets within a text are no depth.
    let id = ask(&ann, "brackets").await;
    let brackets = "[{\"\\".repeat(1_000);
    ann.post("/messages", json!({"conversationId": id, "content": brackets})).await.expect_status(201);
    assert_eq!((desk.server.pid(), desk.server.exited()), (pid, None));
}

#[tokio::test]
async fn names_that_look_alike_are_different_people() {
    let desk = Desk::start_with(&[("HASH_CONCURRENCY", "4")]).await;
    let names = [
        "jose",
        "Jose",
        "JOSE",
        "José",
        "Jose\u{301}",
        "josé",
        "jöse",
        "ｊｏｓｅ",
        "straße",
        "strasse",
        "STRASSE",
        "ı",
        "i",
        "İ",
        "I",
        "a b",
        "a  b",
        "a\u{a0}b",
        "K",
        "\u{212a}",
        "🔥",
        "🔥🔥",
        "'; DROP TABLE users; --",
        "' OR 1=1 -- x",
        "null",
        "0",
        "0.0",
        "-0",
    ];
    let mut ids = Vec::new();
    for name in names {
        let user = desk.user(name).await;
        let me = user.get("/auth/me").await.expect_status(200).json();
        assert_eq!(me["username"], name);
        ids.push(user.id);
    }
    ids.dedup();
    assert_eq!(ids.len(), names.len());
    for (name, id) in names.iter().zip(&ids) {
        let user = User::login(desk.addr(), name, &format!("{name}-secret")).await;
        assert_eq!(user.id, *id);
        let taken = json!({"username": name, "password": "another-secret"});
        let answer = desk.client().post("/auth/register").json(taken).send().await.expect_status(422);
        assert_eq!(answer.text(), r#"{"errors":["Username has already been taken"]}"#);
    }
    for padded in ["jose ", " jose", "jose\t", "jose\u{a0}", "\u{3000}jose", "jose\n"] {
        let fields = json!({"username": padded, "password": "jose-secret"});
        let answer = desk.client().post("/auth/register").json(&fields).send().await.expect_status(422);
        assert!(
            answer.json()["errors"][0].as_str().unwrap().starts_with("Username can't"),
            "{}",
            answer.text()
        );
        desk.client().post("/auth/login").json(&fields).send().await.expect_status(401);
    }
    for unseen in ["\0", "\n", "\u{85}", "\u{200b}", "\u{ad}", "\u{feff}", "\u{202e}", "\u{3164}", "\u{200d}"]
    {
        let fields = json!({"username": format!("jo{unseen}se"), "password": "jose-secret"});
        let answer = desk.client().post("/auth/register").json(&fields).send().await.expect_status(422);
        assert_eq!(answer.text(), r#"{"errors":["Username contains characters that cannot be seen"]}"#);
        desk.client().post("/auth/login").json(&fields).send().await.expect_status(401);
    }
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM users").await, names.len() as u64);
}

#[tokio::test]
async fn sql_is_data_wherever_it_is_put() {
    let desk = Desk::start().await;
    let (ann, bob) = (desk.user("ann").await, desk.user("bob").await);
    ask(&bob, "bob's").await;
    for text in TEXTS.iter().filter(|text| !text.contains('\0')) {
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        for path in ["/conversations/ID", "/conversations/ID/messages", "/messages/ID/read"] {
            let method = if path.ends_with("read") { "PUT" } else { "GET" };
            let path = path.replace("ID", &encoded.replace('+', "%20").replace('/', "%2F"));
            ann.request(method, &path).send().await.expect_status(404);
        }
        ann.get(&format!("/api/messages/updates?since={encoded}")).await.expect_status(400);
        ann.get(&format!("/api/messages/updates?userId={encoded}")).await.expect_status(403);
        ann.post("/messages", json!({"conversationId": text, "content": "x"})).await.expect_status(404);
        let fields = json!({"username": text, "password": text});
        desk.client().post("/auth/login").json(fields).send().await.expect_status(401);
        let keyed = ann.request("POST", "/conversations").json(json!({"title": "x"}));
        if text.is_ascii() && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            keyed.header("idempotency-key", text).send().await.expect_status(201);
        }
    }
    assert_eq!(desk.schema.query_one::<u64>("SELECT COUNT(*) FROM users").await, 2);
    let bobs: String = desk
        .schema
        .query_one(format!("SELECT title FROM conversations WHERE initiator_id = {}", bob.id))
        .await;
    assert_eq!(bobs, "bob's");
}

#[tokio::test]
async fn what_shows_nothing_is_blank() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let id = ask(&ann, "\u{200b}seen\u{200b}").await;
    let client = desk.client();
    for nothing in ["\u{200b}", " \u{ad}\u{feff} ", "\u{202e}", "\u{3164}\n", "\u{2800}"] {
        let errors = |answer: Response| answer.expect_status(422).json()["errors"].clone();
        let fields = json!({"username": nothing, "password": "secret"});
        let name = client.post("/auth/register").json(fields).send().await;
        assert_eq!(errors(name), json!(["Username can't be blank"]));
        let message = ann.post("/messages", json!({"conversationId": id, "content": nothing})).await;
        assert_eq!(errors(message), json!(["Content can't be blank"]));
        let title = ann.post("/conversations", json!({"title": nothing})).await;
        assert_eq!(errors(title), json!(["Title can't be blank"]));
        let book = json!({"title": nothing, "author": nothing, "price": "1", "stock": 1});
        let both = json!(["Title can't be blank", "Author can't be blank"]);
        assert_eq!(errors(ann.post("/books", book).await), both);
        let picture = b"GIF89a\x01\0\x01\0\0\0\0;";
        assert_eq!(
            errors(upload(&client, nothing, "a.gif", picture).await),
            json!(["Message can't be blank"])
        );
    }
    // Beside something, it stays.
    let kept = "\u{feff}a\u{200b}\u{202e}";
    let made = ann.post("/messages", json!({"conversationId": id, "content": kept})).await.expect_status(201);
    assert_eq!(made.json()["content"], kept);
}
