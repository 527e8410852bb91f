//! Every URL of date and time. Pure: no I/O, no allocation.
#![allow(missing_docs)] // The variants are the rows of the URL table, with the same names.

use http::Method;
use strum::{EnumCount, EnumDiscriminants, EnumIter};

use crate::chassis::route::{self, Access, GET, Miss, SEGMENTS_MAX, Spec};
use crate::chassis::route::{by_method, segments};

/// A URL and what it names. Those that end in `Default` are the long names of the original, rows of their
/// own in the table and in the metrics, so that it shows which ones are still called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumDiscriminants, EnumIter)]
pub enum Route {
    Now,
    Store,
    Latest,
    NowDefault,
    StoreDefault,
    LatestDefault,
}

/// The route of a method and a path.
///
/// # Errors
/// A [`Miss`] tells 404 from 405.
pub fn find(method: &Method, path: &str) -> Result<Route, Miss> {
    let get = |route| by_method(method, GET, &[(Method::GET, route)]);
    match segments(path, &mut [""; SEGMENTS_MAX]) {
        ["date_time_only"] => get(Route::Now),
        ["date_time"] => get(Route::Store),
        ["latest_date_time"] => get(Route::Latest),
        ["welcome", "default", "date_time_only"] => get(Route::NowDefault),
        ["welcome", "default", "date_time"] => get(Route::StoreDefault),
        ["welcome", "default", "latest_date_time"] => get(Route::LatestDefault),
        _ => Err(Miss::Path),
    }
}

impl route::Route for Route {
    crate::numbered!();

    fn spec(self) -> Spec {
        use Access::Public;
        match self {
            Self::Now => Spec::get("/date_time_only", Public),
            Self::Store => Spec::get("/date_time", Public),
            Self::Latest => Spec::get("/latest_date_time", Public),
            Self::NowDefault => Spec::get("/welcome/default/date_time_only", Public),
            Self::StoreDefault => Spec::get("/welcome/default/date_time", Public),
            Self::LatestDefault => Spec::get("/welcome/default/latest_date_time", Public),
        }
    }
}
