//! The bookstore on a real replica: who is asked what, what a caller sees of their own, and what happens when
//! the replica stands still, dies, freezes, and comes back.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{book, offer};
use crate::support::{Client, Hyperdesk, Pair, Response, Schema, Server, User, eventually};

const LONG: Duration = Duration::from_secs(30);
/// How many connections to the reader there are when it freezes: each could cost a wait of its own.
const OPEN_MIN: f64 = 8.0;
/// Longer than one wait for a reader, with much for a busy machine; shorter than one for each connection, or for each
/// of twenty reads.
const ONE_WAIT: Duration = Duration::from_secs(6);

/// A writer and a reader that follows it, both writing down every statement.
async fn start() -> Pair {
    // Into a file: a MariaDB that was killed finds its log's table damaged, and some die of that at their start.
    Pair::start_with(&["--general-log=ON", "--log-output=FILE", "--general-log-file=general.log"]).await
}

/// A server between them, with tables and rows on both sides.
async fn between(pair: &Pair, schema: &Schema) -> Hyperdesk {
    let reader = schema.url_via(pair.reader.addr());
    Hyperdesk::builder(schema).env("DATABASE_READER_URL", reader).start().await
}

/// How often a statement of the bookstore ran on a server.
fn runs(server: &Server, statement: &str) -> usize {
    server.data_file("general.log").matches(&format!("Execute\t-- bookstore.{statement}\n")).count()
}

/// What comes of reads that the reader answered, all of them: on a machine that stands still for half a second one
/// may be given to the writer, and then they are done again.
async fn from_reader<T>(desk: &Hyperdesk, mut reads: impl AsyncFnMut() -> T) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        let before = fallbacks(desk).await;
        let done = reads().await;
        if fallbacks(desk).await == before {
            return done;
        }
        assert!(Instant::now() < deadline, "reads still go to the writer after {LONG:?}");
    }
}

async fn fallbacks(desk: &Hyperdesk) -> f64 {
    desk.metric("db_reader_fallbacks_total").await.expect("it is counted")
}

#[tokio::test]
async fn reads_go_to_the_reader_and_writes_to_the_writer() {
    let pair = start().await;
    let schema = Schema::on(&pair.writer).await;
    let desk = between(&pair, &schema).await;
    let (ann, bob) = (User::register(desk.addr(), "ann").await, User::register(desk.addr(), "bob").await);
    let id = offer(&ann, book("Dune")).await;
    // A full page: how many there are is counted only where the page does not say it.
    for _ in 1..20 {
        offer(&ann, book("Dune")).await;
    }
    pair.in_step().await;
    let statements =
        ["book_list", "book_count", "book_search", "book_search_count", "book_by_id", "provider_list"];
    let (there, here) = from_reader(&desk, async || {
        let before =
            statements.map(|statement| (runs(&pair.reader, statement), runs(&pair.writer, statement)));
        for _ in 0..10 {
            bob.get("/books").await.expect_status(200);
            bob.get("/books?q=dune").await.expect_status(200);
            desk.client().get(&format!("/books/{id}")).send().await.expect_status(200);
            desk.client().get("/delivery-providers").send().await.expect_status(200);
        }
        let mut counted = (Vec::new(), Vec::new());
        for (statement, before) in statements.iter().zip(before) {
            counted.0.push(runs(&pair.reader, statement) - before.0);
            counted.1.push(runs(&pair.writer, statement) - before.1);
        }
        counted
    })
    .await;
    assert_eq!((there, here), (vec![10; statements.len()], vec![0; statements.len()]), "{statements:?}");
    bob.post(&format!("/books/{id}/purchases"), json!({"quantity": 1})).await.expect_status(201);
    bob.post("/purchases/1/payment", json!({"method": "card"})).await.expect_status(200);
    bob.post("/purchases/1/delivery", json!({"providerId": 2})).await.expect_status(200);
    ann.put(&format!("/books/{id}"), json!({"stock": 9})).await.expect_status(200);
    ann.delete(&format!("/books/{id}")).await.expect_status(204);
    for statement in
        ["book_take", "purchase_insert", "purchase_pay", "purchase_deliver", "book_update", "book_delete"]
    {
        assert_eq!(runs(&pair.writer, statement), 1, "{statement} on the writer");
        assert_eq!(runs(&pair.reader, statement), 0, "{statement} on the reader");
    }
}

#[tokio::test]
async fn with_replication_stopped_everyone_still_sees_their_own_changes() {
    let pair = start().await;
    let schema = Schema::on(&pair.writer).await;
    let desk = between(&pair, &schema).await;
    let other = between(&pair, &schema).await;
    let (ann, bob) = (User::register(desk.addr(), "ann").await, User::register(desk.addr(), "bob").await);
    let old = offer(&ann, book("Old")).await;
    pair.in_step().await;
    pair.stop().await;

    let made = ann.post("/books", book("New")).await.expect_status(201);
    let id = made.json()["id"].as_u64().unwrap();
    let cookie = mark(&made);
    assert_eq!(cookie, format!("hyperdesk_books={}.2", ann.id));
    // Whoever waits for the reader does not see it in the list yet, the seller does.
    let list = from_reader(&desk, async || bob.get("/books").await).await;
    assert_eq!(list.header("x-total-count"), Some("1"));
    assert_eq!(ann.get("/books").await.header("x-total-count"), Some("2"));
    assert_eq!(ann.get("/books?q=new").await.json()[0]["title"], "New");
    assert_eq!(ann.get("/books/mine").await.json()[0]["title"], "New");
    assert_eq!(ann.get(&format!("/books/{id}")).await.expect_status(200).json()["title"], "New");
    assert_eq!(bob.get(&format!("/books/{id}")).await.expect_status(200).json()["title"], "New");
    // On another instance: by the cookie, and what is one's own also without one.
    let elsewhere = other.client();
    let list = elsewhere.get("/books").bearer(&ann.token).header("cookie", &cookie).send().await;
    assert_eq!(list.expect_status(200).header("x-total-count"), Some("2"));
    let changed = ann.put(&format!("/books/{old}"), json!({"stock": 77})).await.expect_status(200);
    assert_eq!(changed.json()["stock"], 77);
    for path in ["/books/mine", &format!("/books/{old}")] {
        let answer = elsewhere.get(path).bearer(&ann.token).send().await.expect_status(200);
        assert!(answer.text().contains("\"stock\":77"), "{path}: {}", answer.text());
    }
    // A buyer sees the stock they left, and their purchase; others see the old stock.
    bob.post(&format!("/books/{old}/purchases"), json!({"quantity": 7})).await.expect_status(201);
    assert_eq!(bob.get(&format!("/books/{old}")).await.json()["stock"], 70);
    assert_eq!(bob.get("/purchases/1").await.expect_status(200).json()["quantity"], 7);
    let stranger = desk.client();
    let seen = from_reader(&desk, async || stranger.get(&format!("/books/{old}")).send().await).await;
    assert_eq!(seen.json()["stock"], 3);
    ann.delete(&format!("/books/{old}")).await.expect_status(204);
    ann.get(&format!("/books/{old}")).await.expect_status(404);

    // Once the reader has caught up, its reads are the reader's again.
    pair.go_on().await;
    pair.in_step().await;
    let lists = || (runs(&pair.reader, "book_list"), runs(&pair.writer, "book_list"));
    let (before, after) = from_reader(&desk, async || {
        let before = lists();
        for _ in 0..2 {
            assert_eq!(ann.get("/books").await.header("x-total-count"), Some("1"));
        }
        (before, lists())
    })
    .await;
    assert_eq!(after, (before.0 + 2, before.1));
}

/// The mark in an answer to a write, as a browser sends it back.
fn mark(written: &Response) -> String {
    let cookie = written.header("set-cookie").expect("a mark");
    cookie.split(';').next().unwrap().to_owned()
}

/// How many books somebody is shown, by their token and the cookies that a browser has.
async fn books_shown(client: &Client, user: &User, cookies: &str) -> String {
    let list = client.get("/books").bearer(&user.token).header("cookie", cookies).send().await;
    list.expect_status(200).header("x-total-count").unwrap().to_owned()
}

#[tokio::test]
async fn a_browser_keeps_the_marks_of_all_who_share_it() {
    let pair = start().await;
    let schema = Schema::on(&pair.writer).await;
    // A reader is being rolled out: the instance that takes the writes has none yet.
    let without = Hyperdesk::builder(&schema).start().await;
    let desk = between(&pair, &schema).await;
    let (dora, gus) =
        (User::register(without.addr(), "dora").await, User::register(without.addr(), "gus").await);
    let ida = User::register(without.addr(), "ida").await;
    let sell = async |user: &User, title: &str, cookies: &str| {
        let request = without.client();
        let request = request.post("/books").bearer(&user.token).header("cookie", cookies);
        mark(&request.json(book(title)).send().await.expect_status(201))
    };
    // A mark that the reader has reached.
    let reached = sell(&dora, "First", "").await;
    assert_eq!(reached, format!("hyperdesk_books={}.1", dora.id));
    pair.in_step().await;
    pair.stop().await;

    let client = desk.client();
    let doras = sell(&dora, "Second", &reached).await;
    assert_eq!(books_shown(&client, &dora, &doras).await, "2", "written where there is no reader");
    let both = sell(&gus, "Third", &doras).await;
    assert_eq!(both, format!("hyperdesk_books={}.1-{}.2", gus.id, dora.id));
    for user in [&gus, &dora] {
        assert_eq!(books_shown(&client, user, &both).await, "3", "who shares the browser");
    }
    // A cookie of another path or domain hides none, whichever comes first.
    let newer = sell(&dora, "Fourth", &both).await;
    for cookies in
        [format!("{reached}; {newer}"), format!("{newer}; {reached}"), format!("hyperdesk_books=x; {newer}")]
    {
        assert_eq!(books_shown(&client, &dora, &cookies).await, "4", "{cookies}");
    }
    // Nobody's mark is another's.
    let shown = from_reader(&desk, async || books_shown(&client, &ida, &newer).await).await;
    assert_eq!(shown, "1");
}

#[tokio::test]
async fn a_reader_that_dies_is_replaced_by_the_writer_and_taken_back() {
    let pair = start().await;
    let schema = Schema::on(&pair.writer).await;
    let desk = between(&pair, &schema).await;
    let ann = User::register(desk.addr(), "ann").await;
    let id = offer(&ann, book("Dune")).await;
    pair.in_step().await;
    let path = format!("/books/{id}");
    let stranger = desk.client();
    from_reader(&desk, async || stranger.get(&path).send().await.expect_status(200)).await;

    let before = fallbacks(&desk).await;
    pair.reader.kill();
    // No read fails, and none waits for the reader: not the first one, nor those after it.
    let begun = Instant::now();
    for _ in 0..50 {
        stranger.get(&path).send().await.expect_status(200);
        ann.get("/books").await.expect_status(200);
    }
    assert!(begun.elapsed() < LONG, "100 reads took {:?}", begun.elapsed());
    assert!(fallbacks(&desk).await >= before + 100.0);

    pair.reader.restart().await;
    let path = path.as_str();
    let reads = from_reader(&desk, async || {
        let before = runs(&pair.reader, "book_by_id");
        for _ in 0..10 {
            stranger.get(path).send().await.expect_status(200);
        }
        runs(&pair.reader, "book_by_id") - before
    })
    .await;
    assert_eq!(reads, 10);
}

#[tokio::test]
async fn a_reader_that_freezes_costs_one_short_wait() {
    let pair = start().await;
    let schema = Schema::on(&pair.writer).await;
    let desk = between(&pair, &schema).await;
    let stranger = desk.client();
    let ann = User::register(desk.addr(), "ann").await;
    let path = format!("/books/{}", offer(&ann, book("Dune")).await);
    pair.in_step().await;
    // Many at once, so that the pool holds several connections, each of which would cost a wait. Again where they
    // came about too slowly, and were given up for the writer's.
    eventually(LONG, || async {
        let crowd = (0..60).map(|_| async { Client::new(desk.addr()).get(&path).send().await });
        for answer in futures_util::future::join_all(crowd).await {
            answer.expect_status(200);
        }
        desk.metric(r#"db_pool_connections{pool="reader",state="open"}"#).await.unwrap() >= OPEN_MIN
    })
    .await;
    pair.reader.freeze();
    // 900 ms of patience with the reader, once.
    let begun = Instant::now();
    for _ in 0..20 {
        stranger.get(&path).send().await.expect_status(200);
    }
    assert!(begun.elapsed() < ONE_WAIT, "20 reads took {:?}", begun.elapsed());
    pair.reader.thaw();
    from_reader(&desk, async || stranger.get(&path).send().await.expect_status(200)).await;
}

#[tokio::test]
async fn without_a_reader_reads_go_to_the_writer_and_are_counted() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    for _ in 0..3 {
        desk.client().get("/books").send().await.expect_status(200);
    }
    assert_eq!(fallbacks(&desk).await, 3.0);
}
