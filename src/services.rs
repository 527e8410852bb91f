//! The composition: which services there are. A sixth one is one more line in `services!`.
//!
//! A service that is not named in `SERVICES` has no routes, asks no table, and costs nothing. Each has its part of
//! the OpenAPI document in its folder, and its page where people use it ([`pages`]).

mod openapi;
pub mod pages;

use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use prometheus::Registry;

use crate::auth::Auth;
use crate::board::{self, Board};
use crate::bookstore::{self, Bookstore};
use crate::chassis::drain::{Drain, Stage};
use crate::chassis::route::{self, Access, Miss, Spec};
use crate::chassis::{Answer, Request, Service, response};
use crate::config::Config;
use crate::datetime::{self, Datetime};
use crate::db::{Db, Packet, Statement};
use crate::feed::{self, Feed};
use crate::helpdesk::{self, Helpdesk};
use crate::metrics::BeforeScrape;
use crate::stock::{self, Stock};
use crate::tasks::{Kind, Tasks};
use crate::users;

use pages::Pages;

/// What a service may be made from.
pub struct Parts {
    /// Every variable.
    pub config: Arc<Config>,
    /// The database.
    pub db: Arc<Db>,
    /// Keys and revoked sessions.
    pub auth: Arc<Auth>,
    /// Where its metrics go.
    pub registry: Registry,
    /// What brings them up to date.
    pub before_scrape: Arc<BeforeScrape>,
    /// When the process stops.
    pub drain: Arc<Drain>,
    /// What supervises its tasks.
    pub tasks: Tasks,
    /// One for all who want it: [`Parts::feed`].
    feed: OnceLock<Arc<Feed>>,
    /// Once for all who want it: [`Parts::let_users_in`].
    users: Once,
}

impl Parts {
    /// Of these.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        db: Arc<Db>,
        auth: Arc<Auth>,
        registry: Registry,
        before_scrape: Arc<BeforeScrape>,
        drain: Arc<Drain>,
        tasks: Tasks,
    ) -> Self {
        let (feed, users) = (OnceLock::new(), Once::new());
        Self { config, db, auth, registry, before_scrape, drain, tasks, feed, users }
    }

    /// Keeps what tells users apart current, from the first service on that lets them in, on the background runtime
    /// that this is called on.
    pub fn let_users_in(&self) {
        self.users.call_once(|| users::follow(&self.db, &self.auth, &self.tasks));
    }

    /// The feed, started by the first service that wants it, on the background runtime that this is called on.
    /// Whoever lets users in does: sign-outs on other instances come by it.
    ///
    /// # Errors
    /// When a metric's name is taken: a mistake of ours.
    pub fn feed(&self) -> Result<Arc<Feed>, String> {
        if let Some(feed) = self.feed.get() {
            return Ok(feed.clone());
        }
        let feed_parts = feed::Parts {
            db: self.db.clone(),
            auth: self.auth.clone(),
            event_loops: self.config.web_concurrency,
            settings: feed::Settings::from(&*self.config),
            tasks: self.tasks.clone(),
        };
        let feed = Feed::start(feed_parts, &self.registry).map_err(|error| error.to_string())?;
        let scraped = feed.clone();
        self.before_scrape.add(move || scraped.refresh_metrics());
        let (drain, released) = (self.drain.clone(), feed.clone());
        self.tasks.spawn("feed_release", Kind::Housekeeping, move || {
            let (drain, released) = (drain.clone(), released.clone());
            async move {
                drain.reached(Stage::Leaving).await;
                released.release();
            }
        });
        Ok(self.feed.get_or_init(|| feed).clone())
    }

    /// Waits for what must be known before anybody is served: until then a token that was signed out would be taken. Where
    /// the database does not answer that is not waited for long: nothing is told without it either.
    pub async fn settled(&self) {
        if let Some(feed) = self.feed.get() {
            let _in_time = tokio::time::timeout(SETTLE_LIMIT, feed.loaded()).await;
        }
    }

    /// Ends what asks the database by itself, so that nothing is cut off half-way; to be called when nobody is served
    /// any more.
    pub async fn close(&self) {
        if let Some(feed) = self.feed.get() {
            let _in_time = tokio::time::timeout(CLOSE_LIMIT, feed.close()).await;
        }
    }
}

/// Longest wait for the feed's tail to end. A database that answers needs some ms, and one that does not may be left.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// Longest wait for the first look at the database.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);

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
