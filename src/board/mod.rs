//! The message board: a text and a picture, and the newest five of them.
//!
//! | URL | what it does |
//! |---|---|
//! | POST /upload/ | stores the picture, then makes the post (`posts::upload`) |
//! | GET /readMessages | the newest five posts (`posts::newest`) |
//! | GET /media/:name | a picture, for readers without a CDN and for a CDN that asks us (`pictures::show`) |
//!
//! Invariants:
//! - A post is there only for a picture that was stored: it is made after the store said so.
//! - Every picture that was begun is in `board_posts` or in `board_uploads`, so what became of no post is
//!   found again and deleted, without ever listing a bucket that others may use too (`pictures::sweep`).
//! - At most [`UPLOADS_AT_ONCE_MAX`] pictures are on their way to the store, and [`MEDIA_AT_ONCE_MAX`] on their way
//!   from it; those on their way to readers share the chassis' limit for all answers. So memory has a limit however
//!   slow either side is.

pub mod disposition;
pub mod head;
pub mod model;
mod pictures;
pub mod posts;
pub mod routes;
mod storage;
pub mod store;

use std::sync::Arc;

use http::Method;
use http::header::{CONTENT_TYPE, IF_NONE_MATCH};
use prometheus::{IntCounter, IntCounterVec, Registry};
use tokio::sync::Semaphore;

use crate::chassis::known::Known;
use crate::chassis::pages::Page;
use crate::chassis::route::Miss;
use crate::chassis::{Answer, Request};
use crate::db::{Db, Statement};
use crate::metrics;
use crate::page;
use crate::service::{Context, Service};
use crate::tasks::Kind;

use routes::Route;
use storage::Storage;

/// Uploads under way, at most; beyond it 503. Each holds up to four copies of its picture for a moment:
/// the body, the parser's, the field's, and what the store's client has buffered.
pub const UPLOADS_AT_ONCE_MAX: usize = 16;
/// Pictures being read from the store, at most; beyond it 503.
pub const MEDIA_AT_ONCE_MAX: usize = 64;

/// The message board service.
pub struct Board {
    db: Arc<Db>,
    storage: Storage,
    cdn_base_url: Option<String>,
    orphan_seconds: u64,
    uploads: Semaphore,
    media: Semaphore,
    metrics: Metrics,
}

/// What only the board counts.
struct Metrics {
    uploads: IntCounterVec,
    orphans_swept: IntCounter,
}

impl Metrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let about = "Uploads by what became of them.";
        let uploads = metrics::counters(registry, "board_uploads_total", about, &["outcome"])?;
        for outcome in posts::OUTCOMES {
            uploads.with_label_values(&[outcome]);
        }
        let about = "Pictures deleted because no post came of them.";
        let orphans_swept = metrics::counter(registry, "board_orphans_swept_total", about)?;
        Ok(Self { uploads, orphans_swept })
    }
}

impl Service for Board {
    type Route = Route;

    const NAME: &'static str = "board";
    const OPENAPI: &'static str = include_str!("openapi.json");
    const STATEMENTS: &'static [Statement] = store::STATEMENTS;
    const PAGE: Option<Page> = Some(page!(
        "board",
        "Message board",
        "Post a picture with a few words, and see the newest five.",
        ["board.html", "board.css", "board.js"]
    ));

    fn new(context: &Context) -> Result<Arc<Self>, String> {
        let pictures = &context.config.pictures;
        let board = Arc::new(Self {
            db: context.db.clone(),
            storage: Storage::new(pictures, &context.registry)?,
            cdn_base_url: pictures.cdn_base_url.clone(),
            orphan_seconds: pictures.orphan_seconds,
            uploads: Semaphore::new(UPLOADS_AT_ONCE_MAX),
            media: Semaphore::new(MEDIA_AT_ONCE_MAX),
            metrics: Metrics::new(&context.registry).map_err(|error| error.to_string())?,
        });
        let held = Arc::downgrade(&board);
        context.tasks.spawn("board_sweep", Kind::Housekeeping, move || pictures::sweep(held.clone()));
        Ok(board)
    }

    fn find(method: &Method, path: &str) -> Result<Route, Miss> {
        routes::find(method, path)
    }

    fn call(self: &Arc<Self>, route: Route, request: &mut Request) -> Answer {
        let board = self.clone();
        match route {
            Route::Upload => {
                let content_type = request.headers.get(CONTENT_TYPE).cloned();
                Answer::detached(posts::upload(board, content_type, std::mem::take(&mut request.body)))
            }
            Route::ReadMessages => Answer::detached(posts::newest(board)),
            Route::Media => {
                let name = request.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
                let known = Known::of(request.headers.get_all(IF_NONE_MATCH), &name);
                Answer::detached(pictures::show(board, name, known))
            }
        }
    }
}
