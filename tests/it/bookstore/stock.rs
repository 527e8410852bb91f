//! The stock is never oversold, and nobody pays twice.

use serde_json::json;

use super::{book, offer};
use crate::support::{Client, Hyperdesk, Schema, User};

#[tokio::test]
async fn what_is_not_there_is_not_sold() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let id = offer(&ann, book("Dune")).await;
    let path = format!("/books/{id}/purchases");
    let refused = ann.post(&path, json!({"quantity": 4})).await.expect_status(409);
    assert_eq!(refused.text(), r#"{"error":"Not enough stock"}"#);
    for quantity in [json!(0), json!(-1), json!(1001), json!(1.5), json!("x"), json!(true)] {
        let refused = ann.post(&path, json!({"quantity": quantity})).await.expect_status(422);
        assert_eq!(refused.json(), json!({"errors": ["Quantity must be an integer from 1 to 1000"]}));
    }
    let refused = ann.post(&path, json!({})).await.expect_status(422);
    assert_eq!(refused.json(), json!({"errors": ["Quantity can't be blank"]}));
    let refused = ann.post("/books/99/purchases", json!({"quantity": 1})).await.expect_status(404);
    assert_eq!(refused.text(), r#"{"error":"Book not found"}"#);
    assert_eq!(
        schema.query_one::<(u64, u64)>("SELECT stock, (SELECT COUNT(*) FROM purchases) FROM books").await,
        (3, 0)
    );
}

#[tokio::test]
async fn many_buyers_over_two_processes_get_exactly_what_there_was() {
    const BUYERS: usize = 120;
    const STOCK: usize = 50;
    let schema = Schema::fresh().await;
    let one = Hyperdesk::builder(&schema).start().await;
    let two = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(one.addr(), "ann").await;
    let bob = User::register(one.addr(), "bob").await;
    let mut hot = book("Hot");
    hot["stock"] = json!(STOCK);
    let id = offer(&ann, hot).await;
    let buyers: Vec<_> = (0..BUYERS)
        .map(|number| {
            let addr = if number % 2 == 0 { one.addr() } else { two.addr() };
            let token = if number % 3 == 0 { ann.token.clone() } else { bob.token.clone() };
            tokio::spawn(async move {
                loop {
                    let client = Client::new(addr);
                    let request = client.post(&format!("/books/{id}/purchases")).bearer(&token);
                    let answer = request.json(json!({"quantity": 1})).send().await;
                    match answer.status {
                        // Told to come back: nothing was sold.
                        503 => {}
                        status => return status,
                    }
                }
            })
        })
        .collect();
    let mut sold = 0;
    for buyer in buyers {
        match buyer.await.unwrap() {
            201 => sold += 1,
            status => assert_eq!(status, 409),
        }
    }
    assert_eq!(sold, STOCK);
    let kept: (usize, usize) =
        schema.query_one("SELECT stock, (SELECT SUM(quantity) FROM purchases) FROM books").await;
    assert_eq!(kept, (0, STOCK));
}

#[tokio::test]
async fn of_many_payments_at_once_one_counts() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let id = offer(&ann, book("Dune")).await;
    ann.post(&format!("/books/{id}/purchases"), json!({"quantity": 1})).await.expect_status(201);
    let payments: Vec<_> = (0..20)
        .map(|_| {
            let (addr, token) = (desk.addr(), ann.token.clone());
            tokio::spawn(async move {
                let client = Client::new(addr);
                let request = client.post("/purchases/1/payment").bearer(&token);
                request.json(json!({"method": "card"})).send().await.status
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for payment in payments {
        statuses.push(payment.await.unwrap());
    }
    statuses.sort_unstable();
    let mut wanted = vec![409; 20];
    wanted[0] = 200;
    assert_eq!(statuses, wanted);
}
