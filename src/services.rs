//! The composition: which services there are. A sixth one is one more line in `services!`.
//!
//! A service that is not named in `SERVICES` has no routes, asks no table, and costs nothing. Each has its part of
//! the OpenAPI document in its folder, and its page where people use it ([`pages`]).

mod openapi;
pub mod pages;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::board::{self, Board};
use crate::bookstore::{self, Bookstore};
use crate::chassis::route::{self, Access, Miss, Spec};
use crate::chassis::{Answer, Request, Service, response};
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
            OpenApi,
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
                match path {
                    "/openapi.json" => route::by_method(method, route::GET, &[(Method::GET, Route::OpenApi)]),
                    _ => match &self.pages {
                        Some(pages) => pages.find(method, path).map(Route::Page),
                        None => Err(Miss::Path),
                    },
                }
            }

            fn call(&self, route: Route, request: &mut Request) -> Answer {
                match route {
                    Route::OpenApi => {
                        Answer::now(Ok(response::json_text(StatusCode::OK, self.openapi.clone())))
                    }
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
                    Self::OpenApi => Spec::get("/openapi.json", Access::Public),
                    Self::Page(route) => route.spec(),
                    $(Self::$Service(route) => route.spec(),)+
                }
            }

            fn ordinal(self) -> usize {
                // Each service's routes come after those of the services before it.
                let after = 1 + pages::Route::COUNT;
                $(let ($field, after) = (after, after + <$field::routes::Route as strum::EnumCount>::COUNT);)+
                let _all = after;
                match self {
                    Self::OpenApi => 0,
                    Self::Page(route) => 1 + route.ordinal(),
                    $(Self::$Service(route) => $field + route.ordinal(),)+
                }
            }

            fn all() -> Vec<Self> {
                let mut all = vec![Self::OpenApi];
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
