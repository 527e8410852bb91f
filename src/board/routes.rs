//! Every URL of the board. Pure: no I/O, no allocation.
#![allow(missing_docs)] // The variants are the rows of the URL table, with the same names.

use http::Method;
use strum::{EnumCount, EnumDiscriminants, EnumIter};

use crate::chassis::route::{self, Access, GET, Miss, POST, SEGMENTS_MAX, Spec};
use crate::chassis::route::{by_method, is_plain, segments};

use super::model::{MESSAGE_CHARS_MAX, PICTURE_BYTES_MAX};

/// What a form may hold beside the picture and the message: boundaries, part heads, a file's long name, and
/// fields that a front end adds.
const ENVELOPE_BYTES_MAX: usize = 16 * 1024;
/// A picture, a message of four-byte characters, and the form around them.
const UPLOAD_BYTES_MAX: usize = PICTURE_BYTES_MAX + 4 * MESSAGE_CHARS_MAX + ENVELOPE_BYTES_MAX;

/// A URL. The picture's name is read from the path by its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumDiscriminants, EnumIter)]
pub enum Route {
    Upload,
    ReadMessages,
    Media,
}

/// The route of a method and a path.
///
/// # Errors
/// A [`Miss`] tells 404 from 405.
pub fn find(method: &Method, path: &str) -> Result<Route, Miss> {
    let get = |route| by_method(method, GET, &[(Method::GET, route)]);
    match segments(path, &mut [""; SEGMENTS_MAX]) {
        // With the slash as in the original, and without it as everywhere else.
        ["upload", ""] | ["upload"] => by_method(method, POST, &[(Method::POST, Route::Upload)]),
        ["readMessages"] => get(Route::ReadMessages),
        ["media", name] if is_plain(name) => get(Route::Media),
        _ => Err(Miss::Path),
    }
}

impl route::Route for Route {
    crate::numbered!();

    fn spec(self) -> Spec {
        // Anyone may read and post, as in the original.
        match self {
            Self::Upload => Spec::post("/upload/", Access::Public, UPLOAD_BYTES_MAX),
            Self::ReadMessages => Spec::get("/readMessages", Access::Public),
            Self::Media => Spec::get("/media/:name", Access::Public),
        }
    }
}
