//! Background tasks: each is supervised, so none can stop without anybody noticing.
//!
//! - **A task that panics is started again**, from nothing, after a pause; the panic is logged and counted. If requests
//!   cannot do without the task ([`Kind::Needed`]), the process is not ready meanwhile.
//! - A task that returns is done: its work is finished, or its owner is gone. A task that must never return has
//!   `Infallible` as its output, so the compiler checks that it does not.
//! - **A thread that ends takes the process with it.** An event loop's connections die with its thread, so starting it
//!   again would not help. [`Tasks::failed`] says why it ended.
//!
//! Work for one request is no task: a panic there is that request's 500. `tests/tidy.rs` lists the places that spawn
//! without a supervisor, and why.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use prometheus::{IntCounterVec, Registry};
use tokio::sync::watch;

use crate::log::panic_text;
use crate::metrics;

/// Pause before a task that panicked is started again: its reason to panic may still be there.
const PAUSE: Duration = Duration::from_secs(1);

/// I/O events that a thread takes from the kernel at a time, all of which it handles before it takes more. The others wait
/// in the kernel in their order, so new tasks and timers do not wait behind thousands of them.
pub const EVENTS_MAX: usize = 64;

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests cannot be answered, or not correctly, without it: the process is not ready while it is down.
    Needed,
    /// Its work can as well be done later.
    Housekeeping,
}

/// The background tasks of a process.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

struct Inner {
    restarts: IntCounterVec,
    /// Needed tasks that panicked and have not started again yet.
    down: AtomicUsize,
    failed: watch::Sender<Option<String>>,
    #[cfg(debug_assertions)]
    faults: tokio::sync::broadcast::Sender<String>,
}

impl Tasks {
    /// A supervisor without tasks.
    ///
    /// # Errors
    /// When a metric's name is taken: a mistake of ours.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let about = "Background tasks that panicked, by task.";
        let restarts = metrics::counters(registry, "background_task_restarts_total", about, &["task"])?;
        Ok(Self(Arc::new(Inner {
            restarts,
            down: AtomicUsize::new(0),
            failed: watch::Sender::new(None),
            #[cfg(debug_assertions)]
            faults: tokio::sync::broadcast::Sender::new(16),
        })))
    }

    /// Runs what `begin` makes, on the runtime that this is called on, until it returns.
    pub fn spawn<F>(&self, name: &'static str, kind: Kind, begin: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let restarts = self.0.restarts.with_label_values(&[name]);
        let tasks = self.clone();
        tokio::spawn(async move {
            let run = || AssertUnwindSafe(tasks.run(name, async { begin().await })).catch_unwind();
            while let Err(panic) = run().await {
                let cause = panic_text(&*panic).to_owned();
                drop(panic);
                restarts.inc();
                tracing::error!(task = name, cause, "a background task panicked and is started anew");
                let _down = (kind == Kind::Needed).then(|| Down::enter(&tasks.0.down));
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// Runs what `begin` makes, on a thread and a runtime of its own; it must not end.
    ///
    /// # Errors
    /// When a thread or a runtime cannot be made.
    pub fn thread<F: Future>(
        &self,
        name: String,
        begin: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_io_events_per_tick(EVENTS_MAX)
            .event_interval(2 * EVENTS_MAX as u32)
            .build()?;
        let tasks = self.clone();
        let thread = std::thread::Builder::new().name(name.clone());
        let run = move || {
            let work = || runtime.block_on(tasks.run(&name, async { begin().await }));
            let why = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(_) => format!("{name} ended by itself"),
                Err(panic) => format!("{name} panicked: {}", panic_text(&*panic)),
            };
            tasks.0.failed.send_replace(Some(why));
        };
        thread.spawn(run)?;
        Ok(())
    }

    /// Whether every needed task runs.
    #[must_use]
    pub fn are_up(&self) -> bool {
        self.0.down.load(Relaxed) == 0
    }

    /// Waits until the process cannot continue, and returns the reason.
    pub async fn failed(&self) -> String {
        let mut failed = self.0.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // Cannot happen: this supervisor owns the sender.
            Err(_) => std::future::pending().await,
        }
    }

    #[cfg(not(debug_assertions))]
    async fn run<F: Future>(&self, _name: &str, work: F) -> F::Output {
        work.await
    }

    /// In a debug build a test may have it panic in the middle.
    #[cfg(debug_assertions)]
    async fn run<F: Future>(&self, name: &str, work: F) -> F::Output {
        let mut faults = self.0.faults.subscribe();
        let planted = async {
            while faults.recv().await.as_deref() != Ok(name) {}
            panic!("planted in {name}");
        };
        tokio::select! {
            biased;
            () = planted => std::future::pending().await,
            output = work => output,
        }
    }

    /// Makes a task or a thread panic. Release builds have neither this nor the admin port's URL for it.
    #[cfg(debug_assertions)]
    pub fn plant_panic(&self, task: &str) {
        let _nobody = self.0.faults.send(task.to_owned());
    }
}

/// Counts one task that is down, for as long as this lives.
struct Down<'a>(&'a AtomicUsize);

impl<'a> Down<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Down<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
