//! The bookstore: its contract, its money, its stock, and its reader.

mod contract;
mod money;
mod replica;
mod stock;

use serde_json::{Value, json};

use crate::support::User;

/// A book that is right.
fn book(title: &str) -> Value {
    json!({"title": title, "author": "Ann Author", "description": "Good.", "price": "19.90", "stock": 3})
}

/// Offers a book; its id.
async fn offer(seller: &User, book: Value) -> u64 {
    seller.post("/books", book).await.expect_status(201).json()["id"].as_u64().expect("a number")
}
