//! Every field of every body, with every kind of JSON value: nothing is taken for what it is not, and what is refused
//! is told why.

use serde_json::{Value, json};

use crate::helpdesk::{ask, claim};
use crate::stock::Program;
use crate::support::{Hyperdesk, Response, Schema, User};

/// A body that is right but for one field.
struct Field<'a> {
    method: &'a str,
    path: &'a str,
    /// As Rails' clients wrap it.
    wrapper: &'a str,
    /// The other fields.
    others: Value,
    name: &'a str,
    /// Answers to a boolean, an array or an object.
    refusal: u16,
    /// Answer to `null`, which is a field left out.
    absent: u16,
    /// Kinds of values that are right here.
    takes: &'a [&'a str],
}

/// A value of each kind that is no text and no number.
fn values() -> Vec<(&'static str, Value)> {
    vec![
        ("boolean", json!(true)),
        ("boolean", json!(false)),
        ("array", json!([])),
        ("array of texts", json!(["secret text"])),
        ("array", json!([7])),
        ("array", json!([["x"]])),
        ("object", json!({})),
        ("object", json!({"a": "secret text"})),
        ("object", json!({"0": 7})),
        // Larger than any number that is kept exactly.
        ("rounded", serde_json::from_str("1e300").unwrap()),
    ]
}

fn snake_case(name: &str) -> String {
    let letters = name.chars().map(|letter| match letter.is_ascii_uppercase() {
        true => format!("_{}", letter.to_ascii_lowercase()),
        false => letter.to_string(),
    });
    letters.collect()
}

/// A 422 has texts; every other refusal has one.
#[track_caller]
fn expect_texts(answer: &Response, what: &str) {
    let body = answer.json();
    let is_text = |text: &Value| text.as_str().is_some_and(|text| text.len() > 3);
    let texts = body["errors"].as_array();
    let tells =
        texts.is_some_and(|texts| !texts.is_empty() && texts.iter().all(is_text)) || is_text(&body["error"]);
    assert!(tells, "{what}: {body}");
}

impl Field<'_> {
    fn body(&self, name: &str, value: &Value, wrapped: bool) -> Value {
        let mut fields = self.others.clone();
        fields[name] = value.clone();
        if wrapped { json!({ self.wrapper: fields }) } else { fields }
    }

    async fn check(&self, user: &User, token: &str) {
        let send = async |body: &Value| {
            user.client.request(self.method, self.path).bearer(token).json(body).send().await
        };
        for name in [self.name.to_owned(), snake_case(self.name)] {
            for wrapped in [false, true] {
                for (kind, value) in values() {
                    let body = self.body(&name, &value, wrapped);
                    let answer = send(&body).await;
                    let what = format!("{} {} {body}: {}", self.method, self.path, answer.status);
                    if self.takes.contains(&kind) {
                        assert!(answer.status < 300, "{what}");
                        continue;
                    }
                    assert_eq!(answer.status, self.refusal, "{what}");
                    expect_texts(&answer, &what);
                }
                let body = self.body(&name, &Value::Null, wrapped);
                let answer = send(&body).await;
                assert_eq!(answer.status, self.absent, "{} {} {body}", self.method, self.path);
            }
        }
    }
}

fn table<'a>(paths: &'a Paths) -> Vec<Field<'a>> {
    let field = |path, wrapper, others, name, refusal, absent| Field {
        method: "POST",
        path,
        wrapper,
        others,
        name,
        refusal,
        absent,
        takes: &[],
    };
    let put = |path, wrapper, others, name, takes| Field {
        method: "PUT",
        takes,
        ..field(path, wrapper, others, name, 422, 200)
    };
    let book = |without: &str| {
        let mut book = json!({"title": "t", "author": "a", "description": "d", "price": "1.00", "stock": 9});
        book.as_object_mut().unwrap().remove(without);
        book
    };
    let mut fields = vec![
        field("/auth/register", "user", json!({"password": "secret"}), "username", 422, 422),
        field("/auth/register", "user", json!({"username": "new"}), "password", 422, 422),
        field("/auth/login", "user", json!({"password": "ann-secret"}), "username", 401, 401),
        field("/auth/login", "user", json!({"username": "ann"}), "password", 401, 401),
        field("/conversations", "conversation", json!({}), "title", 422, 422),
        field("/messages", "message", json!({"conversationId": paths.conversation}), "content", 422, 422),
        field("/messages", "message", json!({"content": "c"}), "conversationId", 404, 404),
        put("/expert/profile", "expert_profile", json!({}), "bio", &[]),
        put(
            "/expert/profile",
            "expert_profile",
            json!({}),
            "knowledgeBaseLinks",
            &["array of texts", "array"],
        ),
        field(&paths.purchases, "purchase", json!({}), "quantity", 422, 422),
        field(&paths.payment, "payment", json!({}), "method", 422, 422),
        field(&paths.delivery, "delivery", json!({}), "providerId", 404, 404),
    ];
    for name in ["title", "author", "price", "stock", "description"] {
        let absent = if name == "description" { 201 } else { 422 };
        fields.push(field("/books", "book", book(name), name, 422, absent));
        fields.push(put(&paths.book, "book", json!({}), name, &[]));
    }
    fields
}

struct Paths {
    conversation: String,
    book: String,
    purchases: String,
    payment: String,
    delivery: String,
}

#[tokio::test]
async fn what_is_no_text_is_refused_and_told_why() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let (ann, eve) = (User::register(desk.addr(), "ann").await, User::register(desk.addr(), "eve").await);
    let conversation = ask(&ann, "printer").await;
    claim(&eve, &conversation).await;
    let book = json!({"title": "t", "author": "a", "price": "1.00", "stock": 9});
    let book = ann.post("/books", book).await.expect_status(201).json()["id"].to_string();
    let purchases = format!("/books/{book}/purchases");
    let bought = ann.post(&purchases, json!({"quantity": 1})).await.expect_status(201).json();
    let purchase = format!("/purchases/{}", bought["id"]);
    let paths = Paths {
        conversation,
        book: format!("/books/{book}"),
        purchases,
        payment: format!("{purchase}/payment"),
        delivery: format!("{purchase}/delivery"),
    };
    for mut field in table(&paths) {
        if field.name == "knowledgeBaseLinks" {
            // Checked below: only some arrays are right.
            field.takes = &["array of texts"];
            links(&ann, &field).await;
            continue;
        }
        field.check(&ann, &ann.token).await;
    }
    let program = Program::create(&schema, "read,stock").await.token(desk.addr(), "stock").await;
    let stock = Field {
        method: "POST",
        path: "/api/hyper",
        wrapper: "hyper",
        others: json!({}),
        name: "quantity",
        refusal: 422,
        absent: 422,
        takes: &[],
    };
    stock.check(&ann, &program).await;
    // Nobody came by a name, a title or a text that nobody typed.
    for (table, column) in
        [("users", "username"), ("conversations", "title"), ("messages", "content"), ("books", "title")]
    {
        let odd = format!("SELECT COUNT(*) FROM {table} WHERE {column} IN ('true', 'false', '[]', '{{}}')");
        assert_eq!(schema.query_one::<u64>(odd).await, 0, "{table}.{column}");
    }
}

async fn links(user: &User, field: &Field<'_>) {
    for (kind, value) in values() {
        let fits = kind == "array of texts" || value == json!([]);
        let answer = user.put(field.path, field.body(field.name, &value, false)).await;
        assert_eq!(answer.status, if fits { 200 } else { 422 }, "{value}");
        if !fits {
            expect_texts(&answer, "links");
        }
    }
}

#[tokio::test]
async fn a_number_is_taken_as_its_text() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let client = desk.client();
    let fields = json!({"username": 1234567, "password": 7654321});
    let made = client.post("/auth/register").json(&fields).send().await.expect_status(201).json();
    assert_eq!(made["user"]["username"], "1234567");
    let typed = json!({"username": "1234567", "password": "7654321"});
    client.post("/auth/login").json(&typed).send().await.expect_status(200);
    let token = made["token"].as_str().unwrap();
    let title = json!({"title": 1.5});
    let asked = client.post("/conversations").bearer(token).json(&title).send().await.expect_status(201);
    assert_eq!(asked.json()["title"], "1.5");
}
