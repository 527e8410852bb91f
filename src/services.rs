//! The composition: which services there are. A sixth one is one more line in `services!`.
//!
//! A service that is not named in `SERVICES` has no routes, asks no table, and costs nothing. Each has its part of
//! the OpenAPI document in its folder, and its page where people use it ([`pages`]).

pub mod meta;
mod openapi;
pub mod pages;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use crate::board::{self, Board};
use crate::bookstore::{self, Bookstore};
use crate::chassis::route::{self, Miss, Spec};
use crate::chassis::{Answer, Request, Service};
use crate::datetime::{self, Datetime};
use crate::db::{Packet, Statement};
use crate::helpdesk::{self, Helpdesk};
use crate::parts::Parts;
use crate::stock::{self, Stock};
use crate::users;

use pages::Pages;

macro_rules! services {
    ($($field:ident: $Service:ident, $name:literal;)+) => {
        /// The names that `SERVICES` may hold.
        pub const NAMES: &[&str] = &[$($name),+];

        /// Every statement of the feed, the users and every service, for the test that prepares them all.
        pub const STATEMENTS: &[&[Statement]] = &[crate::feed::store::STATEMENTS, users::store::STATEMENTS, $($field::store::STATEMENTS),+];

        /// Every packet, of those that have any.
        pub const PACKETS: &[&[Packet]] = &[crate::feed::store::PACKETS, helpdesk::store::PACKETS];

        /// A route of one of the services, or of all of them.
        #[derive(Clone, Copy, Debug)]
        #[allow(missing_docs)] // The variants are the services.
        pub enum Route {
            Meta(meta::Route),
            Page(pages::Route),
            $($Service($field::routes::Route),)+
        }

        /// The services that this process serves.
        pub struct Services {
            openapi: Bytes,
            pages: Option<Pages>,
            $($field: Option<Arc<$Service>>,)+
        }

        impl Services {
            /// Makes those that the configuration names.
            ///
            /// # Errors
            /// A text for the log: a metric's name taken twice, or something else that must not happen.
            pub fn new(parts: &Parts) -> Result<Self, String> {
                let wanted = |name: &str| parts.config.services.iter().any(|service| service == name);
                let documents = [
                    $((
                        $name,
                        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/", stringify!($field), "/openapi.json")),
                    )),+
                ];
                let documents = documents.into_iter().filter(|(name, _)| wanted(name));
                Ok(Self {
                    openapi: openapi::document(documents.map(|(_, document)| document))?,
                    pages: parts.config.pages.then(|| Pages::new(&parts.config)).transpose()?,
                    $($field: wanted($name).then(|| $Service::new(parts)).transpose()?,)+
                })
            }
        }

        impl Service for Services {
            type Route = Route;

            fn find(&self, method: &Method, path: &str) -> Result<Route, Miss> {
                $(if self.$field.is_some() {
                    match $field::routes::find(method, path) {
                        Ok(route) => return Ok(Route::$Service(route)),
                        Err(Miss::Path) => {}
                        Err(miss) => return Err(miss),
                    }
                })+
                match (meta::find(method, path), &self.pages) {
                    (Err(Miss::Path), Some(pages)) => pages.find(method, path).map(Route::Page),
                    (found, _) => found.map(Route::Meta),
                }
            }

            fn call(&self, route: Route, request: &mut Request) -> Answer {
                match route {
                    Route::Meta(route) => meta::call(route, &self.openapi, request),
                    Route::Page(route) => match &self.pages {
                        Some(pages) => pages.call(route, request),
                        None => Answer::now(Err(crate::chassis::Error::not_found("Not found"))),
                    },
                    $(Route::$Service(route) => match &self.$field {
                        Some(service) => service.call(route, request),
                        None => Answer::now(Err(crate::chassis::Error::not_found("Not found"))),
                    },)+
                }
            }
        }

        impl route::Route for Route {
            fn spec(self) -> Spec {
                match self {
                    Self::Meta(route) => route.spec(),
                    Self::Page(route) => route.spec(),
                    $(Self::$Service(route) => route.spec(),)+
                }
            }

            fn ordinal(self) -> usize {
                // Each service's routes come after those of the services before it.
                let after = <meta::Route as strum::EnumCount>::COUNT;
                let (pages, after) = (after, after + pages::Route::COUNT);
                $(let ($field, after) = (after, after + <$field::routes::Route as strum::EnumCount>::COUNT);)+
                let _all = after;
                match self {
                    Self::Meta(route) => route.ordinal(),
                    Self::Page(route) => pages + route.ordinal(),
                    $(Self::$Service(route) => $field + route.ordinal(),)+
                }
            }

            fn all() -> Vec<Self> {
                let mut all: Vec<Self> = meta::Route::all().into_iter().map(Self::Meta).collect();
                all.extend(pages::Route::all().into_iter().map(Self::Page));
                $(all.extend($field::routes::Route::all().into_iter().map(Self::$Service));)+
                all
            }
        }
    };
}

services! {
    helpdesk: Helpdesk, "helpdesk";
    stock: Stock, "stock";
    bookstore: Bookstore, "bookstore";
    board: Board, "board";
    datetime: Datetime, "datetime";
}
