//! Every line of the bookstore's contract.

use serde_json::{Value, json};

use super::{book, offer};
use crate::support::{Hyperdesk, Schema, User};

#[tokio::test]
async fn a_book_is_offered_found_changed_and_taken_back() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let (ann, bob) = (User::register(desk.addr(), "ann").await, User::register(desk.addr(), "bob").await);
    let made = ann.post("/books", book("Dune")).await.expect_status(201);
    let text = format!(
        r#"{{"id":1,"title":"Dune","author":"Ann Author","description":"Good.","price":"19.90","stock":3,"sellerId":{}}}"#,
        ann.id
    );
    assert_eq!(made.text(), text);
    // Other instances may have a reader already.
    let mark = made.header("set-cookie").expect("a mark");
    assert!(mark.starts_with(&format!("hyperdesk_books={}.1; ", ann.id)), "{mark}");
    let stranger = desk.client();
    assert_eq!(stranger.get("/books/1").send().await.expect_status(200).text(), text);
    assert_eq!(stranger.get("/books/%31").send().await.expect_status(200).text(), text, "RFC 3986 §6.2.2.2");
    let list = stranger.get("/books").send().await.expect_status(200);
    assert_eq!((list.text(), list.header("x-total-count")), (format!("[{text}]"), Some("1")));
    assert_eq!(ann.get("/books/mine").await.expect_status(200).text(), format!("[{text}]"));
    assert_eq!(bob.get("/books/mine").await.expect_status(200).text(), "[]");

    let refused = bob.put("/books/1", json!({"stock": 9})).await.expect_status(403);
    assert_eq!(refused.text(), r#"{"error":"Only the seller can change this book"}"#);
    bob.delete("/books/1").await.expect_status(403);
    // What is absent stays; either case, wrapped or not.
    let changed = ann.put("/books/1", json!({"book": {"price": 5, "stock": "0"}})).await.expect_status(200);
    assert_eq!((&changed.json()["price"], &changed.json()["stock"]), (&json!("5.00"), &json!(0)));
    assert_eq!(changed.json()["title"], "Dune");
    ann.put("/books/1", json!({})).await.expect_status(200);

    let gone = ann.delete("/books/1").await.expect_status(204);
    assert!(gone.body.is_empty());
    for answer in
        [ann.get("/books/1").await, ann.put("/books/1", json!({})).await, ann.delete("/books/1").await]
    {
        assert_eq!(answer.expect_status(404).text(), r#"{"error":"Book not found"}"#);
    }
    assert_eq!(ann.get("/books").await.text(), "[]");
    assert_eq!(ann.get("/books/mine").await.text(), "[]");
}

#[tokio::test]
async fn what_is_wrong_with_a_book_is_told_all_at_once() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let errors = |answer: crate::support::Response| answer.expect_status(422).json()["errors"].clone();
    assert_eq!(
        errors(ann.post("/books", json!({})).await),
        json!([
            "Title can't be blank",
            "Author can't be blank",
            "Price can't be blank",
            "Stock can't be blank"
        ])
    );
    let long = "x".repeat(256);
    let wrong =
        json!({"title": " ", "author": long, "description": "y".repeat(65_536), "price": "x", "stock": -1});
    assert_eq!(
        errors(ann.post("/books", wrong).await),
        json!([
            "Title can't be blank",
            "Author is too long (maximum is 255 characters)",
            "Description is too long (maximum is 65535 bytes)",
            "Price must be a number with at most 2 decimals, from 0 to 999999.99",
            "Stock must be an integer from 0 to 1000000"
        ])
    );
    for stock in [json!(1.5), json!("1.0"), json!(1_000_001), json!(true), json!([1]), json!("")] {
        let mut book = book("Dune");
        book["stock"] = stock;
        assert_eq!(
            errors(ann.post("/books", book).await),
            json!(["Stock must be an integer from 0 to 1000000"])
        );
    }
    // A form's digits may begin with zeros, as at the stock counter.
    let form = [("title", "Dune"), ("author", "Ann"), ("price", "00.5"), ("stock", "03")];
    let made = ann.request("POST", "/books").form(&form).send().await.expect_status(201).json();
    assert_eq!(
        (&made["price"], &made["description"], &made["stock"]),
        (&json!("0.50"), &json!(""), &json!(3))
    );
    ann.request("POST", "/books")
        .header("content-type", "text/plain")
        .body("x")
        .send()
        .await
        .expect_status(415);
    assert_eq!(schema.query_one::<u64>("SELECT COUNT(*) FROM books").await, 1);
}

#[tokio::test]
async fn books_are_paged_and_searched() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    for number in 1..=45 {
        offer(&ann, book(&format!("Volume {number}"))).await;
    }
    let titles = async |query: &str| -> (Vec<String>, String) {
        let answer = ann.get(&format!("/books{query}")).await.expect_status(200);
        let books: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
        let titles = books.iter().map(|book| book["title"].as_str().unwrap().to_owned()).collect();
        (titles, answer.header("x-total-count").unwrap().to_owned())
    };
    for (page, first, count) in
        [("?page=1", "Volume 45", 20), ("?page=2", "Volume 25", 20), ("?page=3", "Volume 5", 5)]
    {
        let (titles, total) = titles(page).await;
        assert_eq!((titles[0].as_str(), titles.len(), total.as_str()), (first, count, "45"));
    }
    assert_eq!(titles("?page=4").await, (vec![], "45".to_owned()));
    for wrong in ["0", "-1", "x", "1001"] {
        let refused = ann.get(&format!("/books?page={wrong}")).await.expect_status(400);
        assert_eq!(refused.text(), r#"{"error":"page must be a number from 1 to 1000"}"#);
    }
    ann.get(&format!("/books?q={}", "x".repeat(101))).await.expect_status(400);

    offer(&ann, book("100% sure_thing!")).await;
    offer(&ann, json!({"title": "Café", "author": "Zoë O'Neill", "price": 1, "stock": 1})).await;
    // With its accents as letters of their own, as macOS names files.
    let decomposed =
        json!({"title": "Cafe\u{301} re\u{301}sume\u{301}", "author": "Ann", "price": 1, "stock": 1});
    let made = ann.post("/books", decomposed).await.expect_status(201).json();
    assert_eq!(made["title"], "Café résumé");
    let renamed = json!({"author": "Bjo\u{308}rn"});
    let renamed = ann.put(&format!("/books/{}", made["id"]), renamed).await.expect_status(200).json();
    assert_eq!(renamed["author"], "Björn");
    // The wildcards of LIKE are letters here; neither case nor accents matter, nor how these are written.
    for (query, found) in [
        ("caf%C3%A9+r%C3%A9", vec!["Café résumé"]),
        ("cafe%CC%81+re%CC%81", vec!["Café résumé"]),
        ("cafe+RESUME", vec!["Café résumé"]),
        ("bjorn", vec!["Café résumé"]),
        ("bjo%CC%88rn", vec!["Café résumé"]),
        ("zoe%CC%88", vec!["Café"]),
        ("100%25", vec!["100% sure_thing!"]),
        ("sure_", vec!["100% sure_thing!"]),
        ("thing!", vec!["100% sure_thing!"]),
        ("%25", vec!["100% sure_thing!"]),
        ("e_t", vec!["100% sure_thing!"]),
        ("CAFE", vec!["Café résumé", "Café"]),
        ("o%27neill", vec!["Café"]),
        ("%5C", vec![]),
        ("volume+44", vec!["Volume 44"]),
    ] {
        let (titles, total) = titles(&format!("?q={query}")).await;
        assert_eq!(
            (titles, total),
            (found.iter().map(ToString::to_string).collect(), found.len().to_string())
        );
    }
    assert_eq!(titles("?q=volume&page=3").await.0.len(), 5);
    assert_eq!(titles("?q=").await.1, "48");
}

#[tokio::test]
async fn a_purchase_is_paid_once_and_is_its_buyers_only() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let (ann, bob) = (User::register(desk.addr(), "ann").await, User::register(desk.addr(), "bob").await);
    let id = offer(&ann, book("Dune")).await;
    let bought = bob.post(&format!("/books/{id}/purchases"), json!({"quantity": 2})).await.expect_status(201);
    let purchase = bought.json();
    let created = purchase["createdAt"].as_str().unwrap();
    let pending = format!(
        r#"{{"id":1,"bookId":{id},"quantity":2,"totalPrice":"39.80","status":"Pending Payment","createdAt":"{created}"}}"#
    );
    assert_eq!(bought.text(), pending);
    assert_eq!(bob.get(&format!("/books/{id}")).await.json()["stock"], 1);
    assert_eq!(bob.get("/purchases/1").await.expect_status(200).text(), pending);
    // Not even the seller sees it.
    for answer in [
        ann.get("/purchases/1").await,
        ann.post("/purchases/1/payment", json!({"method": "card"})).await,
        ann.post("/purchases/1/delivery", json!({"providerId": 1})).await,
        bob.get("/purchases/2").await,
    ] {
        assert_eq!(answer.expect_status(404).text(), r#"{"error":"Purchase not found"}"#);
    }
    // The price was fixed when it was bought, and a book that is gone can still be paid for.
    ann.put(&format!("/books/{id}"), json!({"price": "99.00"})).await.expect_status(200);
    ann.delete(&format!("/books/{id}")).await.expect_status(204);
    const UNKNOWN: &str = "Method is not included in the list";
    for (method, mistake) in [
        (json!("shells"), UNKNOWN),
        // One space or hyphen stands for a `_`, no two and none do.
        (json!("credit  card"), UNKNOWN),
        (json!("creditcard"), UNKNOWN),
        (json!(null), "Method can't be blank"),
    ] {
        let refused = bob.post("/purchases/1/payment", json!({"method": method})).await.expect_status(422);
        assert_eq!(refused.json(), json!({"errors": [mistake]}));
    }
    let paid = bob.post("/purchases/1/payment", json!({"method": "Credit Card"})).await.expect_status(200);
    assert_eq!(paid.text(), pending.replace("Pending Payment", "Paid"));
    let again = bob.post("/purchases/1/payment", json!({"method": "paypal"})).await.expect_status(409);
    assert_eq!(again.text(), r#"{"error":"Purchase is already paid"}"#);
    assert_eq!(schema.query_one::<String>("SELECT payment_method FROM purchases").await, "credit_card");
}

#[tokio::test]
async fn a_purchase_is_delivered_by_one_of_four() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let providers = desk.client().get("/delivery-providers").send().await.expect_status(200);
    assert_eq!(
        providers.text(),
        r#"[{"id":1,"name":"DHL","coverageArea":"International","cost":"50.00"},{"id":2,"name":"FedEx","coverageArea":"International","cost":"45.00"},{"id":3,"name":"Envia","coverageArea":"National","cost":"20.00"},{"id":4,"name":"Servientrega","coverageArea":"National","cost":"15.00"}]"#
    );
    let id = offer(&ann, book("Dune")).await;
    let bought = ann.post(&format!("/books/{id}/purchases"), json!({"quantity": 1})).await.expect_status(201);
    for (field, provider) in [("providerId", json!(1)), ("provider_id", json!("4"))] {
        let chosen = ann.post("/purchases/1/delivery", json!({field: provider})).await.expect_status(200);
        assert_eq!(chosen.text(), bought.text());
    }
    for wrong in [json!({"providerId": 5}), json!({}), json!({"providerId": "x"})] {
        let refused = ann.post("/purchases/1/delivery", wrong).await.expect_status(404);
        assert_eq!(refused.text(), r#"{"error":"Delivery provider not found"}"#);
    }
    let chosen: (u64, String) =
        schema.query_one("SELECT delivery_provider_id, CAST(delivery_cost AS CHAR) FROM purchases").await;
    assert_eq!(chosen, (4, "15.00".to_owned()));
}

#[tokio::test]
async fn only_users_sell_and_buy() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let stranger = desk.client();
    for (method, path) in [
        ("POST", "/books"),
        ("GET", "/books/mine"),
        ("PUT", "/books/1"),
        ("DELETE", "/books/1"),
        ("POST", "/books/1/purchases"),
        ("GET", "/purchases/1"),
        ("POST", "/purchases/1/payment"),
        ("POST", "/purchases/1/delivery"),
    ] {
        let refused = stranger.request(method, path).send().await.expect_status(401);
        assert_eq!(refused.text(), r#"{"error":"Authentication required"}"#, "{method} {path}");
    }
    for (method, path, allow) in [
        ("PATCH", "/books", "GET, HEAD, POST, OPTIONS"),
        ("POST", "/books/1", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("DELETE", "/books/mine", "GET, HEAD, OPTIONS"),
        ("GET", "/books/1/purchases", "POST, OPTIONS"),
        ("DELETE", "/purchases/1", "GET, HEAD, OPTIONS"),
        ("POST", "/delivery-providers", "GET, HEAD, OPTIONS"),
    ] {
        let refused = stranger.request(method, path).send().await.expect_status(405);
        assert_eq!(refused.header("allow"), Some(allow), "{method} {path}");
    }
    for (path, status) in [("/books/x", 404), ("/books/01", 404), ("/purchases/-1", 401), ("/purchases", 404)]
    {
        stranger.get(path).send().await.expect_status(status);
    }
}
