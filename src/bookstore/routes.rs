//! Every URL of the bookstore. Pure: no I/O, no allocation.
#![allow(missing_docs)] // The variants are the rows of the URL table, with the same names.

use http::Method;
use strum::{EnumCount, EnumDiscriminants, EnumIter};

use crate::chassis::route::{self, Access, GET, GET_POST, GET_PUT_DELETE, Miss, POST, SEGMENTS_MAX, Spec};
use crate::chassis::route::{by_method, row, segments};

/// A description of 65,535 bytes, most of them escaped.
const BOOK_BYTES_MAX: usize = 256 * 1024;
/// A quantity, a method or an id.
const CHOICE_BYTES_MAX: usize = 4 * 1024;

/// A URL and what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumDiscriminants, EnumIter)]
pub enum Route {
    BookList,
    BookAdd,
    BookListMine,
    Book { id: u64 },
    BookChange { id: u64 },
    BookDelete { id: u64 },
    Buy { book: u64 },
    Purchase { id: u64 },
    Pay { purchase: u64 },
    Deliver { purchase: u64 },
    ProviderList,
}

/// The route of a method and a path.
///
/// # Errors
/// A [`Miss`] tells 404 from 405.
pub fn find(method: &Method, path: &str) -> Result<Route, Miss> {
    let get = |route| by_method(method, GET, &[(Method::GET, route)]);
    let post = |route| by_method(method, POST, &[(Method::POST, route)]);
    match segments(path, &mut [""; SEGMENTS_MAX]) {
        ["books"] => {
            by_method(method, GET_POST, &[(Method::GET, Route::BookList), (Method::POST, Route::BookAdd)])
        }
        ["books", "mine"] => get(Route::BookListMine),
        ["books", book] => {
            let id = row(book)?;
            by_method(
                method,
                GET_PUT_DELETE,
                &[
                    (Method::GET, Route::Book { id }),
                    (Method::PUT, Route::BookChange { id }),
                    (Method::DELETE, Route::BookDelete { id }),
                ],
            )
        }
        ["books", book, "purchases"] => post(Route::Buy { book: row(book)? }),
        ["purchases", purchase] => get(Route::Purchase { id: row(purchase)? }),
        ["purchases", purchase, "payment"] => post(Route::Pay { purchase: row(purchase)? }),
        ["purchases", purchase, "delivery"] => post(Route::Deliver { purchase: row(purchase)? }),
        ["delivery-providers"] => get(Route::ProviderList),
        _ => Err(Miss::Path),
    }
}

impl route::Route for Route {
    crate::numbered!();

    fn spec(self) -> Spec {
        // Anyone may look around in a shop; who does is told apart to show them their own changes at once.
        use Access::{Optional, Public, User};
        match self {
            Self::BookList => Spec::list("/books", Optional),
            Self::BookAdd => Spec::post("/books", User, BOOK_BYTES_MAX),
            Self::BookListMine => Spec::list("/books/mine", User),
            Self::Book { .. } => Spec::get("/books/:id", Optional),
            Self::BookChange { .. } => Spec::put("/books/:id", User, BOOK_BYTES_MAX),
            Self::BookDelete { .. } => Spec::delete("/books/:id", User),
            Self::Buy { .. } => Spec::post("/books/:id/purchases", User, CHOICE_BYTES_MAX),
            Self::Purchase { .. } => Spec::get("/purchases/:id", User),
            Self::Pay { .. } => Spec::post("/purchases/:id/payment", User, CHOICE_BYTES_MAX),
            Self::Deliver { .. } => Spec::post("/purchases/:id/delivery", User, CHOICE_BYTES_MAX),
            Self::ProviderList => Spec::get("/delivery-providers", Public),
        }
    }
}
