//! The bookstore's SQL: one function for each statement, one statement for each file in `sql/bookstore/`.

use crate::db::{Columns, Connection, Error, Record};

use super::model::{Book, Change, MINE_READ, Money, NewBook, PROVIDERS_MAX, Provider, Purchase, Search};

crate::statements! { "bookstore":
    BOOK_INSERT = "book_insert";
    BOOK_BY_ID = "book_by_id";
    BOOK_LIST = "book_list";
    BOOK_COUNT = "book_count";
    BOOK_SEARCH = "book_search";
    BOOK_SEARCH_COUNT = "book_search_count";
    BOOK_LIST_MINE = "book_list_mine";
    BOOK_SELLER_LOCK = "book_seller_lock";
    BOOK_UPDATE = "book_update";
    BOOK_DELETE = "book_delete";
    BOOK_TAKE = "book_take";
    PURCHASE_INSERT = "purchase_insert";
    PURCHASE_BY_ID = "purchase_by_id";
    PURCHASE_PAY = "purchase_pay";
    PURCHASE_DELIVER = "purchase_deliver";
    PROVIDER_LIST = "provider_list";
    PROVIDER_BY_ID = "provider_by_id";
    MARK_ADD = "mark_add";
    MARK_VERSION = "mark_version";
}

type Outcome<T> = Result<T, Error>;

/// A DECIMAL comes as its text.
impl Record for Money {
    fn read(row: &mut Columns) -> Outcome<Self> {
        let text: String = row.take()?;
        Self::parse(&text).ok_or_else(|| Error::Internal(format!("{text} is no amount of money")))
    }
}

crate::records! {
    Book { id, title, author, description, price, stock, seller_id }
    Purchase { id, book_id, quantity, total_price, status, created_at }
    Provider { id, name, coverage_area, cost }
}

/// Adds a book; its id.
pub async fn book_insert(db: &mut Connection, seller: u64, book: &NewBook) -> Outcome<u64> {
    let NewBook { title, author, description, price, stock } = book;
    let params = (seller, title, author, description, price.to_string(), stock);
    Ok(db.run(&BOOK_INSERT, params).await?.last_id)
}

/// One book that is offered.
pub async fn book_by_id(db: &mut Connection, id: u64) -> Outcome<Option<Book>> {
    db.first(&BOOK_BY_ID, (id,)).await
}

/// One page of the books, newest first, and how many there are up to [`Search::total_max`].
pub async fn book_page(db: &mut Connection, search: &Search) -> Outcome<(Vec<Book>, u64)> {
    let (limit, offset) = (search.limit(), search.offset());
    let books: Vec<Book> = match &search.pattern {
        None => db.rows(&BOOK_LIST, (limit, offset)).await?,
        Some(pattern) => db.rows(&BOOK_SEARCH, (pattern, pattern, limit, offset)).await?,
    };
    let shown = books.len() as u64;
    if shown < limit && (shown > 0 || offset == 0) {
        // The last page says it: what was gone through is not gone through again.
        return Ok((books, offset + shown));
    }
    let total = match &search.pattern {
        None => db.first(&BOOK_COUNT, (search.total_max(),)).await?,
        Some(pattern) => db.first(&BOOK_SEARCH_COUNT, (pattern, pattern, search.total_max())).await?,
    };
    Ok((books, total.unwrap_or_default()))
}

/// The newest books of one seller, those before `before`: the next few.
pub async fn book_list_mine(db: &mut Connection, seller: u64, before: u64) -> Outcome<Vec<Book>> {
    db.rows(&BOOK_LIST_MINE, (seller, before, MINE_READ)).await
}

/// The seller of a book that is offered; the book stays as it is until the transaction ends.
pub async fn book_seller_lock(db: &mut Connection, id: u64) -> Outcome<Option<u64>> {
    db.first(&BOOK_SELLER_LOCK, (id,)).await
}

/// Changes what is given.
pub async fn book_update(db: &mut Connection, id: u64, change: &Change) -> Outcome<()> {
    let Change { title, author, description, price, stock } = change;
    let price = price.map(|price| price.to_string());
    db.run(&BOOK_UPDATE, (title, author, description, price, stock, id)).await.map(drop)
}

/// No longer offers a book.
pub async fn book_delete(db: &mut Connection, id: u64) -> Outcome<()> {
    db.run(&BOOK_DELETE, (id,)).await.map(drop)
}

/// Takes `quantity` out of a book's stock; false where it is not there, or there are fewer.
pub async fn book_take(db: &mut Connection, id: u64, quantity: u64) -> Outcome<bool> {
    Ok(db.run(&BOOK_TAKE, (quantity, id, quantity)).await?.affected == 1)
}

/// Adds a purchase at the book's present price; its id.
pub async fn purchase_insert(db: &mut Connection, book: u64, buyer: u64, quantity: u64) -> Outcome<u64> {
    Ok(db.run(&PURCHASE_INSERT, (buyer, quantity, quantity, book)).await?.last_id)
}

/// One purchase of this buyer's.
pub async fn purchase_by_id(db: &mut Connection, id: u64, buyer: u64) -> Outcome<Option<Purchase>> {
    db.first(&PURCHASE_BY_ID, (id, buyer)).await
}

/// Pays a purchase of this buyer's; false where it is not there or was paid.
pub async fn purchase_pay(db: &mut Connection, id: u64, buyer: u64, method: &str) -> Outcome<bool> {
    Ok(db.run(&PURCHASE_PAY, (method, id, buyer)).await?.affected == 1)
}

/// Chooses who delivers a purchase of this buyer's.
pub async fn purchase_deliver(db: &mut Connection, id: u64, buyer: u64, provider: &Provider) -> Outcome<()> {
    db.run(&PURCHASE_DELIVER, (provider.id, provider.cost.to_string(), id, buyer)).await.map(drop)
}

/// Those who deliver.
pub async fn provider_list(db: &mut Connection) -> Outcome<Vec<Provider>> {
    db.rows(&PROVIDER_LIST, (PROVIDERS_MAX,)).await
}

/// One who delivers.
pub async fn provider_by_id(db: &mut Connection, id: u64) -> Outcome<Option<Provider>> {
    db.first(&PROVIDER_BY_ID, (id,)).await
}

/// Counts a change of this user's; the count.
pub async fn mark_add(db: &mut Connection, user: u64) -> Outcome<u64> {
    Ok(db.run(&MARK_ADD, (user,)).await?.last_id)
}

/// How many changes of this user's this server knows of.
pub async fn mark_version(db: &mut Connection, user: u64) -> Outcome<u64> {
    Ok(db.first(&MARK_VERSION, (user,)).await?.unwrap_or_default())
}
