//! Books: looking around, and offering one's own.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::chassis::list::{self, List};
use crate::chassis::{Error, Response, response};
use crate::{reading, transaction};

use super::marks::Mark;
use super::model::{Change, MINE_MAX, MINE_READ, NewBook, Search};
use super::{Bookstore, begin, store};

/// The answer to what is not there or no longer offered.
pub(super) const NOT_FOUND: Error = Error::not_found("Book not found");
const NOT_SELLER: Error = Error::forbidden("Only the seller can change this book");
const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// One page of the books, newest first.
pub async fn list(shop: Arc<Bookstore>, mark: Option<Mark>, search: Search) -> Result<Response, Error> {
    let _permit = shop.db.heavy_permit().await?;
    let found = reading!(shop.db, db => {
        if !shop.marks.are_reached(db, mark).await? {
            return Ok(None);
        }
        store::book_page(db, &search).await.map(Some)
    })?;
    let (books, total) = match found {
        Some(page) => page,
        None => store::book_page(&mut shop.db.writer().await?, &search).await?,
    };
    let answer = response::json_text(StatusCode::OK, list::json(&books));
    Ok(response::with_header(answer, TOTAL_COUNT, HeaderValue::from(total)))
}

/// The caller's own books, newest first.
pub async fn mine(shop: Arc<Bookstore>, caller: u64) -> Result<Response, Error> {
    let mut db = shop.db.heavy().await?;
    let (mut mine, mut before) = (List::default(), i64::MAX as u64);
    'full: while mine.len() < MINE_MAX {
        let books = store::book_list_mine(&mut db, caller, before).await?;
        for book in &books {
            if !mine.push_back(list::item(book)) {
                break 'full;
            }
            before = book.id;
        }
        if (books.len() as u64) < MINE_READ {
            break;
        }
    }
    Ok(response::json_text(StatusCode::OK, mine.json()))
}

/// One book. What the reader does not know of may be too new for it, and what a caller sells may be newer than
/// there: both are looked up on the writer, by their key.
pub async fn show(
    shop: Arc<Bookstore>,
    caller: Option<u64>,
    mark: Option<Mark>,
    id: u64,
) -> Result<Response, Error> {
    let found = reading!(shop.db, db => {
        if !shop.marks.are_reached(db, mark).await? {
            return Ok(None);
        }
        store::book_by_id(db, id).await
    })?;
    let book = match found {
        Some(book) if !shop.db.has_reader() || caller != Some(book.seller_id) => Some(book),
        None if !shop.db.has_reader() => None,
        _ => store::book_by_id(&mut shop.db.writer().await?, id).await?,
    };
    Ok(response::ok(&book.ok_or(NOT_FOUND)?))
}

/// Offers a book.
pub async fn add(shop: Arc<Bookstore>, caller: u64, book: NewBook) -> Result<(Response, Mark), Error> {
    let (version, book) = transaction!(shop.db, db => {
        let version = begin(db, caller).await?;
        let id = store::book_insert(db, caller, &book).await?;
        Ok::<_, Error>((version, store::book_by_id(db, id).await?.ok_or(NOT_FOUND)?))
    })?;
    Ok((response::created(&book), Mark { user: caller, version }))
}

/// Changes one's own book.
pub async fn change(
    shop: Arc<Bookstore>,
    caller: u64,
    id: u64,
    change: Change,
) -> Result<(Response, Mark), Error> {
    let (version, book) = transaction!(shop.db, db => {
        let version = begin(db, caller).await?;
        check_seller(store::book_seller_lock(db, id).await?, caller)?;
        store::book_update(db, id, &change).await?;
        Ok::<_, Error>((version, store::book_by_id(db, id).await?.ok_or(NOT_FOUND)?))
    })?;
    Ok((response::ok(&book), Mark { user: caller, version }))
}

/// Offers one's own book no longer. Those who bought it keep their purchases.
pub async fn delete(shop: Arc<Bookstore>, caller: u64, id: u64) -> Result<(Response, Mark), Error> {
    let version = transaction!(shop.db, db => {
        let version = begin(db, caller).await?;
        check_seller(store::book_seller_lock(db, id).await?, caller)?;
        store::book_delete(db, id).await?;
        Ok::<_, Error>(version)
    })?;
    Ok((response::empty(StatusCode::NO_CONTENT), Mark { user: caller, version }))
}

fn check_seller(seller: Option<u64>, caller: u64) -> Result<(), Error> {
    if seller.ok_or(NOT_FOUND)? == caller { Ok(()) } else { Err(NOT_SELLER) }
}
