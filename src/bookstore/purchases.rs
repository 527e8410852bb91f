//! Purchases: buying, paying, choosing who delivers. Always the writer's: they are their buyer's own.

use std::sync::Arc;

use crate::chassis::{Error, Response, response};
use crate::{reading, transaction};

use super::books;
use super::marks::Mark;
use super::{Bookstore, begin, require, store};

/// The answer to what is not there and to what is somebody else's.
const NOT_FOUND: Error = Error::not_found("Purchase not found");

/// Buys copies of a book, at its present price. The stock falls in the same transaction, and never below zero.
pub async fn buy(
    shop: Arc<Bookstore>,
    caller: u64,
    book: u64,
    quantity: u64,
) -> Result<(Response, Mark), Error> {
    let (version, purchase) = transaction!(shop.db, db => {
        // The buyer's own row first: the book's, which all buyers wait for, is then held the shorter.
        let version = begin(db, caller).await?;
        if !store::book_take(db, book, quantity).await? {
            return Err(match store::book_by_id(db, book).await? {
                Some(_) => Error::conflict("Not enough stock"),
                None => books::NOT_FOUND,
            });
        }
        let id = store::purchase_insert(db, book, caller, quantity).await?;
        Ok((version, store::purchase_by_id(db, id, caller).await?.ok_or(NOT_FOUND)?))
    })?;
    Ok((response::created(&purchase), Mark { user: caller, version }))
}

/// One purchase of the caller's.
pub async fn show(shop: Arc<Bookstore>, caller: u64, id: u64) -> Result<Response, Error> {
    let purchase = store::purchase_by_id(&mut shop.db.writer().await?, id, caller).await?;
    Ok(response::ok(&purchase.ok_or(NOT_FOUND)?))
}

/// Pays a purchase, once: of two payments at the same time one is refused.
pub async fn pay(
    shop: Arc<Bookstore>,
    caller: u64,
    id: u64,
    method: Result<&'static str, &'static str>,
) -> Result<Response, Error> {
    let purchase = transaction!(shop.db, db => {
        require(db, caller).await?;
        let purchase = store::purchase_by_id(db, id, caller).await?.ok_or(NOT_FOUND)?;
        let method = method.map_err(Error::invalid)?;
        if purchase.status == "Paid" || !store::purchase_pay(db, id, caller, method).await? {
            return Err(Error::conflict("Purchase is already paid"));
        }
        store::purchase_by_id(db, id, caller).await?.ok_or(NOT_FOUND)
    })?;
    Ok(response::ok(&purchase))
}

/// Chooses who delivers a purchase, before or after it is paid; the last choice counts, as nothing is sent by
/// this program.
pub async fn deliver(
    shop: Arc<Bookstore>,
    caller: u64,
    id: u64,
    provider: Option<u64>,
) -> Result<Response, Error> {
    const NO_PROVIDER: Error = Error::not_found("Delivery provider not found");
    let mut db = shop.db.writer().await?;
    require(&mut db, caller).await?;
    let purchase = store::purchase_by_id(&mut db, id, caller).await?.ok_or(NOT_FOUND)?;
    let provider = store::provider_by_id(&mut db, provider.ok_or(NO_PROVIDER)?).await?.ok_or(NO_PROVIDER)?;
    store::purchase_deliver(&mut db, id, caller, &provider).await?;
    Ok(response::ok(&purchase))
}

/// Those who deliver, and for how much.
pub async fn providers(shop: Arc<Bookstore>) -> Result<Response, Error> {
    Ok(response::ok(&reading!(shop.db, db => { store::provider_list(db).await })?))
}
