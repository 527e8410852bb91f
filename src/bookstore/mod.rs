//! The bookstore: many look around, some buy, few sell. Reads go to a reader where there is one, writes to the
//! writer.
//!
//! | method, path | who | read from |
//! |---|---|---|
//! | GET /books, GET /books/:id | anyone | the reader |
//! | GET /delivery-providers | anyone | the reader |
//! | POST /books | users | |
//! | GET /books/mine | users | the writer |
//! | PUT, DELETE /books/:id | its seller | |
//! | POST /books/:id/purchases | users | |
//! | GET /purchases/:id | its buyer | the writer |
//! | POST /purchases/:id/payment, /delivery | its buyer | |
//!
//! What always holds:
//! - No more copies are sold than there were: one conditional UPDATE takes them, in the purchase's transaction.
//! - Money is a whole number of cents here, DECIMAL in the database, text on the wire; a price is fixed when
//!   the book is bought.
//! - A caller reads their own writes at once: [`marks`]. A reader that is away is replaced by the writer within
//!   the same request: [`reading!`](crate::reading).
//! - A book that is deleted is only no longer offered: its purchases stay, can be paid and delivered.
//!
//! Users are the help desk's, and so is signing in: an instance with `SERVICES=bookstore` serves those whose
//! token another instance made. Of their sign-outs it learns by the looks of `users`, which go on wherever users are let in.

mod books;
pub mod marks;
pub mod model;
mod purchases;
pub mod routes;
pub mod store;

use std::sync::Arc;

use http::Method;

use crate::auth::Auth;
use crate::chassis::pages::Page;
use crate::chassis::route::Miss;
use crate::chassis::{Answer, Error, Request, Response};
use crate::db::{Connection, Db, Statement};
use crate::page;
use crate::service::{Context, Service};
use crate::users;

use marks::{Mark, Marks, of_others};
use model::{Change, NewBook, Search};
use routes::Route;

/// The bookstore service.
pub struct Bookstore {
    db: Arc<Db>,
    auth: Arc<Auth>,
    marks: Marks,
}

impl Service for Bookstore {
    type Route = Route;

    const NAME: &'static str = "bookstore";
    const OPENAPI: &'static str = include_str!("openapi.json");
    const STATEMENTS: &'static [Statement] = store::STATEMENTS;
    const PAGE: Option<Page> = Some(page!(
        "bookstore",
        "Bookstore",
        "Search, buy and sell books.",
        ["bookstore.html", "bookstore.css", "bookstore.js"]
    ));

    fn new(context: &Context) -> Result<Arc<Self>, String> {
        context.let_users_in();
        Ok(Arc::new(Self { db: context.db.clone(), auth: context.auth.clone(), marks: Marks::default() }))
    }

    fn find(method: &Method, path: &str) -> Result<Route, Miss> {
        routes::find(method, path)
    }

    fn call(self: &Arc<Self>, route: Route, request: &mut Request) -> Answer {
        self.work(route, request).unwrap_or_else(|error| Answer::now(Err(error)))
    }
}

impl Bookstore {
    /// Reads what a request says, and hands it to its handler.
    fn work(self: &Arc<Self>, route: Route, request: &mut Request) -> Result<Answer, Error> {
        let shop = self.clone();
        let user = request.caller.map(|caller| caller.user_id);
        // A route that lets only users in always has one.
        let caller = || user.ok_or(Error::unauthenticated());
        let mark = || user.and_then(|user| self.mark(user, request));
        let others = || user.map(|user| of_others(user, &request.headers)).unwrap_or_default();
        Ok(match route {
            Route::BookList => {
                let (page, text) = (request.query("page"), request.query("q"));
                let search = Search::of(page.as_deref(), text.as_deref()).map_err(Error::bad_request)?;
                Answer::detached(books::list(shop, mark(), search))
            }
            Route::BookListMine => Answer::detached(books::mine(shop, caller()?)),
            Route::Book { id } => Answer::detached(books::show(shop, user, mark(), id)),
            Route::BookAdd => {
                let book = NewBook::of(&request.fields("book")?, &request.body).map_err(Error::Invalid)?;
                let added = books::add(shop.clone(), caller()?, book);
                Answer::detached(shop.marked(added, others()))
            }
            Route::BookChange { id } => {
                let change = Change::of(&request.fields("book")?, &request.body).map_err(Error::Invalid)?;
                let changed = books::change(shop.clone(), caller()?, id, change);
                Answer::detached(shop.marked(changed, others()))
            }
            Route::BookDelete { id } => {
                let deleted = books::delete(shop.clone(), caller()?, id);
                Answer::detached(shop.marked(deleted, others()))
            }
            Route::Buy { book } => {
                let quantity = model::quantity(&request.fields("purchase")?).map_err(Error::invalid)?;
                let bought = purchases::buy(shop.clone(), caller()?, book, quantity);
                Answer::detached(shop.marked(bought, others()))
            }
            Route::Purchase { id } => Answer::detached(purchases::show(shop, caller()?, id)),
            Route::Pay { purchase } => {
                let method = model::payment_method(&request.fields("payment")?);
                Answer::detached(purchases::pay(shop, caller()?, purchase, method))
            }
            Route::Deliver { purchase } => {
                let provider = request.fields("delivery")?.id("providerId");
                Answer::detached(purchases::deliver(shop, caller()?, purchase, provider))
            }
            Route::ProviderList => Answer::detached(purchases::providers(shop)),
        })
    }

    /// What this caller's reads must have seen.
    fn mark(&self, user: u64, request: &Request) -> Option<Mark> {
        self.db.has_reader().then(|| self.marks.find(user, &request.headers)).flatten()
    }

    /// The answer to a write, which the caller's reads from now on must have seen, on whatever instance. `others` are
    /// the marks of those who share the caller's browser.
    async fn marked(
        self: Arc<Self>,
        write: impl Future<Output = Result<(Response, Mark), Error>>,
        others: Vec<Mark>,
    ) -> Result<Response, Error> {
        let (response, mark) = write.await?;
        if self.db.has_reader() {
            self.marks.add(mark);
        }
        Ok(marks::with_marks(response, mark, &others, self.auth.production))
    }
}

/// A write is a user's: a token of nobody, however well signed, changes nothing.
async fn require(db: &mut Connection, caller: u64) -> Result<(), Error> {
    if users::exists(db, caller).await? { Ok(()) } else { Err(Error::unauthenticated()) }
}

/// Begins a change that the caller's reads from its commit on must have seen; its mark's version.
async fn begin(db: &mut Connection, caller: u64) -> Result<u64, Error> {
    require(db, caller).await?;
    Ok(store::mark_add(db, caller).await?)
}
