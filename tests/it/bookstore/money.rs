//! Money is exact: text and numbers alike, up to the last cent.

use serde_json::json;

use super::{book, offer};
use crate::support::{Hyperdesk, Schema, User};

#[tokio::test]
async fn prices_are_what_was_written() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let price = async |text: &str| {
        let body = format!(r#"{{"title":"t","author":"a","stock":1000,"price":{text}}}"#);
        let request = ann.request("POST", "/books").header("content-type", "application/json");
        request.body(body).send().await
    };
    for (sent, kept) in [
        ("0.1", "0.10"),
        ("\"0.1\"", "0.10"),
        ("0.29", "0.29"), // 0.29 * 100 is 28.999999999999996 in binary
        ("1.10", "1.10"),
        ("999999.99", "999999.99"),
        ("4503.99", "4503.99"),
        ("0", "0.00"),
    ] {
        let made = price(sent).await.expect_status(201).json();
        assert_eq!(made["price"], kept, "{sent}");
        let row = format!("SELECT CAST(price AS CHAR) FROM books WHERE id = {}", made["id"]);
        assert_eq!(schema.query_one::<String>(row).await, kept);
    }
    // The last would be 0.1 to whoever reads it as a binary fraction.
    for wrong in ["1.999", "-1", "1000000", "\"1,50\"", "1e2", "true", "[1]", "\"\"", "0.1000000000000000055"]
    {
        let refused = price(wrong).await.expect_status(422).json();
        assert_eq!(
            refused["errors"],
            json!(["Price must be a number with at most 2 decimals, from 0 to 999999.99"]),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_tenth_and_two_tenths_are_three_tenths() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = User::register(desk.addr(), "ann").await;
    let mut cheap = book("Cheap");
    (cheap["price"], cheap["stock"]) = (json!(0.1), json!(2000));
    let id = offer(&ann, cheap).await;
    for (quantity, total) in [(1, "0.10"), (2, "0.20"), (3, "0.30"), (1000, "100.00")] {
        let bought = ann.post(&format!("/books/{id}/purchases"), json!({"quantity": quantity})).await;
        assert_eq!(bought.expect_status(201).json()["totalPrice"], total);
    }
    let sum: String =
        schema.query_one("SELECT CAST(SUM(total_price) AS CHAR) FROM purchases WHERE id < 3").await;
    assert_eq!(sum, "0.30");
    ann.put(&format!("/books/{id}"), json!({"price": "999999.99"})).await.expect_status(200);
    let dear = ann.post(&format!("/books/{id}/purchases"), json!({"quantity": 900})).await.expect_status(201);
    assert_eq!(dear.json()["totalPrice"], "899999991.00");
}
