//! The composition: which services there are. A sixth one is one more line in `services!`.
//!
//! A service that is not named in `SERVICES` has no routes, asks no table, and costs nothing. What a service says of
//! itself is in its implementation of [`Service`]; here they are only put side by side.

pub mod meta;
mod openapi;
pub mod pages;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use crate::board::Board;
use crate::bookstore::Bookstore;
use crate::chassis::pages::Page;
use crate::chassis::route::{self, Miss, Spec};
use crate::chassis::{Answer, Application, Error, Request};
use crate::datetime::Datetime;
use crate::db::{Packet, Statement};
use crate::helpdesk::Helpdesk;
use crate::service::{Context, Service};
use crate::stock::Stock;
use crate::{feed, users};

use pages::Pages;

macro_rules! services {
    ($($field:ident: $Service:ident;)+) => {
        /// The names that `SERVICES` may hold.
        pub const NAMES: &[&str] = &[$($Service::NAME),+];

        /// Every statement of the feed, the users and every service, for the test that prepares them all.
        pub const STATEMENTS: &[&[Statement]] =
            &[feed::store::STATEMENTS, users::store::STATEMENTS, $($Service::STATEMENTS),+];

        /// Every packet of the feed and every service.
        pub const PACKETS: &[&[Packet]] = &[feed::store::PACKETS, $($Service::PACKETS),+];

        /// Each service's page, where it has one.
        const PAGES: &[Option<Page>] = &[$($Service::PAGE),+];

        /// A route of one of the services, or of all of them.
        #[derive(Clone, Copy, Debug)]
        #[allow(missing_docs)] // The variants are the services.
        pub enum Route {
            Meta(meta::Route),
            Page(pages::Route),
            $($Service(<$Service as Service>::Route),)+
        }

        impl Route {
            /// The service whose URL this is; none of those that every process has.
            #[must_use]
            pub fn service(self) -> Option<&'static str> {
                match self {
                    Self::Meta(_) => None,
                    Self::Page(route) => route.service(),
                    $(Self::$Service(_) => Some($Service::NAME),)+
                }
            }
        }

        /// What each service finds at a path, whether it is on or not; for tests of all of them.
        pub fn find_in_each(method: &Method, path: &str) -> [Result<Route, Miss>; NAMES.len()] {
            [$($Service::find(method, path).map(Route::$Service)),+]
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
            /// A text for the log, see [`Service::new`].
            pub fn new(context: &Context) -> Result<Self, String> {
                let is_on = |name: &str| context.config.services.iter().any(|service| service == name);
                let documents = [$(($Service::NAME, $Service::OPENAPI)),+];
                let documents = documents.into_iter().filter(|(name, _)| is_on(name));
                Ok(Self {
                    openapi: openapi::document(documents.map(|(_, document)| document))?,
                    pages: context.config.pages.then(|| Pages::new(&context.config)).transpose()?,
                    $($field: is_on($Service::NAME).then(|| $Service::new(context)).transpose()?,)+
                })
            }
        }

        impl Application for Services {
            type Route = Route;

            fn find(&self, method: &Method, path: &str) -> Result<Route, Miss> {
                $(if self.$field.is_some() {
                    match $Service::find(method, path) {
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
                let off = || Answer::now(Err(Error::not_found("Not found")));
                match route {
                    Route::Meta(route) => meta::call(route, &self.openapi, request),
                    Route::Page(route) => self.pages.as_ref().map_or_else(off, |pages| pages.call(route, request)),
                    $(Route::$Service(route) => match &self.$field {
                        Some(service) => service.call(route, request),
                        None => off(),
                    },)+
                }
            }
        }

        impl route::Route for Route {
            const COUNT: usize =
                meta::Route::COUNT + pages::Route::COUNT $(+ <$Service as Service>::Route::COUNT)+;

            fn spec(self) -> Spec {
                match self {
                    Self::Meta(route) => route.spec(),
                    Self::Page(route) => route.spec(),
                    $(Self::$Service(route) => route.spec(),)+
                }
            }

            fn ordinal(self) -> usize {
                // Each service's routes come after those of the services before it.
                let (pages, after) = (meta::Route::COUNT, meta::Route::COUNT + pages::Route::COUNT);
                $(let ($field, after) = (after, after + <$Service as Service>::Route::COUNT);)+
                debug_assert_eq!(after, Self::COUNT);
                match self {
                    Self::Meta(route) => route.ordinal(),
                    Self::Page(route) => pages + route.ordinal(),
                    $(Self::$Service(route) => $field + route.ordinal(),)+
                }
            }

            fn all() -> impl Iterator<Item = Self> {
                meta::Route::all()
                    .map(Self::Meta)
                    .chain(pages::Route::all().map(Self::Page))
                    $(.chain(<$Service as Service>::Route::all().map(Self::$Service)))+
            }
        }
    };
}

services! {
    helpdesk: Helpdesk;
    stock: Stock;
    bookstore: Bookstore;
    board: Board;
    datetime: Datetime;
}
