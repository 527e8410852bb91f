//! The stock counter: one hot number and many buyers, who are client programs with OAuth2 tokens.
//!
//! | URL | scope | module |
//! |---|---|---|
//! | POST /oauth/token | credentials | [`token`] |
//! | GET /api/hyper | any | [`counter`] |
//! | POST /api/hyper | stock | here |
//! | PUT /api/hyper/own | any | [`counter`] |
//!
//! Invariants:
//! - What is acknowledged was committed before, and never exceeds what was set: see [`counter`].
//! - A client's secret is stored only as a hash, and printed once, by [`clients`].
//! - A revoked client's tokens die within 2 s on every instance.

pub mod clients;
pub mod counter;
pub mod model;
pub mod routes;
pub mod store;
pub mod token;

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::auth::Auth;
use crate::chassis::route::Miss;
use crate::chassis::{Answer, Error, Request, Response, bearer, response};
use crate::db::{Db, Statement};
use crate::service::{Context, Service};
use crate::tasks::Kind;

use counter::{Counter, Pending};
use routes::Route;

/// The stock counter service.
pub struct Stock {
    db: Arc<Db>,
    auth: Arc<Auth>,
    counter: Counter,
}

impl Service for Stock {
    type Route = Route;

    const NAME: &'static str = "stock";
    const OPENAPI: &'static str = include_str!("openapi.json");
    const STATEMENTS: &'static [Statement] = store::STATEMENTS;

    fn new(context: &Context) -> Result<Arc<Self>, String> {
        let counter = Counter::new(context.db.clone(), &context.registry, &context.tasks)
            .map_err(|error| error.to_string())?;
        let (db, auth) = (context.db.clone(), context.auth.clone());
        auth.revocations.clients.looks.require_refresh();
        let follow = move || clients::follow_revocations(db.clone(), auth.clone());
        context.tasks.spawn("stock_revocations", Kind::Needed, follow);
        Ok(Arc::new(Self { db: context.db.clone(), auth: context.auth.clone(), counter }))
    }

    fn find(method: &Method, path: &str) -> Result<Route, Miss> {
        routes::find(method, path)
    }

    fn call(self: &Arc<Self>, route: Route, request: &mut Request) -> Answer {
        self.work(route, request).unwrap_or_else(|error| Answer::now(Err(error)))
    }
}

impl Stock {
    /// Reads what a request says, and hands it to its handler.
    fn work(self: &Arc<Self>, route: Route, request: &Request) -> Result<Answer, Error> {
        Ok(match route {
            Route::Token => Answer::detached(token::issue(self.clone(), token::parse(request)?)),
            Route::Quantity => {
                let asked = self.counter.quantity()?;
                Answer::held(quantity(asked))
            }
            Route::QuantitySet => {
                let fields = request.fields("hyper")?;
                if fields.value("access_token").is_some() {
                    return Err(bearer::invalid_request());
                }
                let quantity = model::quantity(&fields).ok_or(Error::invalid(model::NOT_A_QUANTITY))?;
                Answer::detached(set_quantity(self.clone(), quantity))
            }
            // Held, not detached: a buyer who hangs up while waiting is not sold anything.
            Route::Buy => {
                let bought = self.counter.buy()?;
                Answer::held(buy(bought))
            }
        })
    }
}

/// How much there is.
async fn quantity(pending: Pending<u64>) -> Result<Response, Error> {
    let quantity = pending.outcome().await?;
    Ok(response::json_text(StatusCode::OK, format!(r#"{{"quantity":{quantity}}}"#)))
}

/// Sets it.
async fn set_quantity(stock: Arc<Stock>, quantity: u64) -> Result<Response, Error> {
    store::quantity_set(&mut stock.db.writer().await?, quantity).await?;
    let text = format!(r#"{{"message":"Quantity set successfully to {quantity} Hyper"}}"#);
    Ok(response::json_text(StatusCode::OK, text))
}

/// One for this buyer, or none.
async fn buy(pending: Pending<bool>) -> Result<Response, Error> {
    Ok(if pending.outcome().await? {
        response::json_text(StatusCode::OK, r#"{"message":"Hyper acquired successfully"}"#)
    } else {
        response::json_text(StatusCode::NOT_FOUND, r#"{"message":"No Hyper available for you"}"#)
    })
}
