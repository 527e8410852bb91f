//! Date and time: the three shapes of load, each as plain as can be. One call asks no database, one writes
//! a row, one reads a row.
//!
//! | method, path | what it does |
//! |---|---|
//! | GET /date_time_only | tells the present; answered on the event loop |
//! | GET /date_time | tells the present and stores it |
//! | GET /latest_date_time | tells what was stored last; 404 when nothing was |
//!
//! The same three are at `/welcome/default/…`, where the original had them. Nobody needs to sign in. All times
//! are UTC. No answer may be cached: a write by GET that a cache answers is a write that did not happen.
//!
//! **The table does not grow without bound**: the newest [`moments::MOMENTS_KEPT`] are kept.

pub mod moments;
pub mod routes;
pub mod store;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::Method;

use crate::chassis::route::Miss;
use crate::chassis::{Answer, Request};
use crate::db::{Db, Statement};
use crate::service::{Context, Service};

use routes::Route;

/// The date and time service.
pub struct Datetime {
    db: Arc<Db>,
    /// Moments that this process stored, to tidy up now and then.
    stored: AtomicU64,
}

impl Service for Datetime {
    type Route = Route;

    const NAME: &'static str = "datetime";
    const OPENAPI: &'static str = include_str!("openapi.json");
    const STATEMENTS: &'static [Statement] = store::STATEMENTS;

    fn new(context: &Context) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self { db: context.db.clone(), stored: AtomicU64::new(0) }))
    }

    fn find(method: &Method, path: &str) -> Result<Route, Miss> {
        routes::find(method, path)
    }

    fn call(self: &Arc<Self>, route: Route, request: &mut Request) -> Answer {
        match route {
            Route::Now | Route::NowDefault => {
                Answer::now(Ok(moments::now(std::mem::take(&mut request.headers))))
            }
            Route::Store | Route::StoreDefault => Answer::detached(moments::store(self.clone())),
            Route::Latest | Route::LatestDefault => Answer::detached(moments::latest(self.clone())),
        }
    }
}
