//! Every URL of the stock counter. Pure: no I/O, no allocation.
#![allow(missing_docs)] // The variants are the rows of the URL table, with the same names.

use http::Method;
use strum::{EnumCount, EnumDiscriminants, EnumIter};

use crate::chassis::route::{self, Access, GET_POST, Miss, POST, PUT, SEGMENTS_MAX, Spec};
use crate::chassis::route::{by_method, segments};

use super::model::STOCK;

/// Four short fields.
const TOKEN_REQUEST_BYTES_MAX: usize = 4 * 1024;
/// One number, or none at all.
const QUANTITY_BYTES_MAX: usize = 1024;

/// A URL and what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumDiscriminants, EnumIter)]
pub enum Route {
    Token,
    Quantity,
    QuantitySet,
    Buy,
}

/// The route of a method and a path.
///
/// # Errors
/// A [`Miss`] tells 404 from 405.
pub fn find(method: &Method, path: &str) -> Result<Route, Miss> {
    match segments(path, &mut [""; SEGMENTS_MAX]) {
        ["oauth", "token"] => by_method(method, POST, &[(Method::POST, Route::Token)]),
        ["api", "hyper"] => {
            by_method(method, GET_POST, &[(Method::GET, Route::Quantity), (Method::POST, Route::QuantitySet)])
        }
        ["api", "hyper", "own"] => by_method(method, PUT, &[(Method::PUT, Route::Buy)]),
        _ => Err(Miss::Path),
    }
}

impl route::Route for Route {
    crate::numbered!();

    fn spec(self) -> Spec {
        use Access::{Client, Public};
        match self {
            Self::Token => Spec::post("/oauth/token", Public, TOKEN_REQUEST_BYTES_MAX),
            Self::Quantity => Spec::get("/api/hyper", Client(None)),
            Self::QuantitySet => Spec::post("/api/hyper", Client(Some(STOCK)), QUANTITY_BYTES_MAX),
            Self::Buy => Spec::put("/api/hyper/own", Client(None), QUANTITY_BYTES_MAX),
        }
    }
}
