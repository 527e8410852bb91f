//! The hot number. Buyers that arrive together are taken in one statement.
//!
//! One row can be locked by one transaction at a time, so a statement for each buyer makes a queue in the
//! database, one commit after the other. Here they queue in the process: while one statement is under way the
//! next buyers gather, and then go together (`n` of them ask for `LEAST(quantity, n)`). The more there are,
//! the larger the batch, and the row sees one statement per process at a time, whatever the load.
//! Readers share a `SELECT` in the same way; theirs begins after each of them asked, so it is never stale.
//!
//! **Never oversold, on however many instances.** The number falls in one statement that commits by itself
//! before anyone is told, and only as many are told as it fell by. What goes wrong in between can only sell
//! too little: a process that dies, or a commit whose answer is lost (its buyers get a 503), leaves at most
//! one batch taken from the stock that nobody was told of. So there is no journal to keep or to repair.
//!
//! **First come, first served** within a process. Between processes the database's lock queue decides, which
//! is in order of arrival too, and [`BATCH_MAX`] keeps a process with many buyers from taking all at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{Histogram, IntCounter, Registry};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use crate::chassis::{DETACHED_MS_MAX, Error};
use crate::db::pool::SERVER_STATEMENT_MS_MAX;
use crate::db::{self, Backoff, Connection, Db};
use crate::metrics;
use crate::tasks::{Kind, Tasks};

use super::store;

/// Buyers, or readers, that wait at most; beyond it 503. About 100 bytes each.
pub const QUEUE_MAX: usize = 16_384;
/// Buyers in one statement. At this size its cost is shared out already, and a smaller number lets other
/// instances have their turn sooner.
pub const BATCH_MAX: usize = 512;
/// Who waited longer in the queue is sent away, surely not sold anything, rather than taken into a statement
/// whose outcome they would not live to see.
pub const QUEUE_WAIT_MS_MAX: u64 = 2_000;
/// The longest that a buyer or a reader is kept waiting for an answer.
const ANSWER_MS_MAX: u64 = DETACHED_MS_MAX;
/// Shortest and longest pause before a statement that lost its row is run again.
const RERUN_PAUSE_MS: (u64, u64) = (5, 100);

const _: () = assert!(BATCH_MAX <= QUEUE_MAX);
const _: () = assert!(QUEUE_WAIT_MS_MAX + SERVER_STATEMENT_MS_MAX <= ANSWER_MS_MAX);

/// Why someone in a queue got nothing: the text is for the log.
type Refusal = Arc<str>;

/// Someone in a queue.
struct InLine<T> {
    since: Instant,
    answer: oneshot::Sender<Result<T, Refusal>>,
}

/// An outcome that is still to come. Whoever drops it before the statement began leaves the queue.
pub struct Pending<T>(oneshot::Receiver<Result<T, Refusal>>);

impl<T> Pending<T> {
    /// Waits for the outcome, [`DETACHED_MS_MAX`] at most.
    ///
    /// # Errors
    /// 503 where the database did not answer; whether a buyer was sold something is then unknown.
    pub async fn outcome(self) -> Result<T, Error> {
        match timeout(Duration::from_millis(ANSWER_MS_MAX), self.0).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(cause))) => Err(Error::Unavailable(cause.to_string())),
            Ok(Err(_)) => Err(Error::Unavailable("the batch was given up".to_owned())),
            Err(_) => Err(Error::Unavailable("the batch took too long".to_owned())),
        }
    }
}

/// The way into a queue.
#[derive(Clone)]
struct Line<T>(mpsc::Sender<InLine<T>>);

impl<T> Line<T> {
    fn join(&self) -> Result<Pending<T>, Error> {
        let (answer, outcome) = oneshot::channel();
        match self.0.try_send(InLine { since: Instant::now(), answer }) {
            Ok(()) => Ok(Pending(outcome)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Error::busy("the queue at the stock")),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(Error::Internal("nobody serves the queue at the stock".to_owned()))
            }
        }
    }

    fn length(&self) -> f64 {
        (self.0.max_capacity() - self.0.capacity()) as f64
    }
}

/// What the counter reports to Prometheus.
#[derive(Clone)]
struct Metrics {
    bought: Histogram,
    read: Histogram,
    sold: IntCounter,
    unknown: IntCounter,
}

/// The counter as handlers see it.
pub struct Counter {
    buyers: Line<bool>,
    readers: Line<u64>,
}

impl Counter {
    /// Opens both queues, and starts the tasks that serve them on the runtime that this is called on.
    ///
    /// # Errors
    /// When a metric's name is taken: a mistake of ours.
    pub fn new(db: Arc<Db>, registry: &Registry, tasks: &Tasks) -> Result<Self, prometheus::Error> {
        let (buyers, to_serve) = mpsc::channel(QUEUE_MAX);
        let (readers, to_tell) = mpsc::channel(QUEUE_MAX);
        let counter = Self { buyers: Line(buyers), readers: Line(readers) };
        let metrics = Metrics::new(registry, &counter)?;
        let (queue, counted) =
            (Arc::new(Mutex::new(RequestQueue::new(db.clone(), to_serve))), metrics.clone());
        tasks.spawn("stock_sell", Kind::Needed, move || sell(queue.clone(), counted.clone()));
        let queue = Arc::new(Mutex::new(RequestQueue::new(db, to_tell)));
        tasks.spawn("stock_tell", Kind::Needed, move || tell(queue.clone(), metrics.clone()));
        Ok(counter)
    }

    /// Queues a buyer; the outcome is whether they got one.
    ///
    /// # Errors
    /// 503 when the queue is full.
    pub fn buy(&self) -> Result<Pending<bool>, Error> {
        self.buyers.join()
    }

    /// Queues a reader.
    ///
    /// # Errors
    /// As [`Counter::buy`].
    pub fn quantity(&self) -> Result<Pending<u64>, Error> {
        self.readers.join()
    }
}

impl Metrics {
    fn new(registry: &Registry, counter: &Counter) -> Result<Self, prometheus::Error> {
        let sizes = |name: &str, help: &str| {
            let buckets = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, BATCH_MAX as f64];
            metrics::histogram(registry, name, help, &buckets)
        };
        let (buyers, readers) = (counter.buyers.clone(), counter.readers.clone());
        metrics::gauge(
            registry,
            "stock_buyers_waiting",
            "Buyers in the queue, those of the statement under way not counted.",
            move || buyers.length(),
        )?;
        metrics::gauge(
            registry,
            "stock_readers_waiting",
            "Readers in the queue, those of the statement under way not counted.",
            move || readers.length(),
        )?;
        Ok(Self {
            bought: sizes("stock_buyers_per_statement", "Buyers served by one statement.")?,
            read: sizes("stock_readers_per_statement", "Readers served by one statement.")?,
            sold: metrics::counter(registry, "stock_sold_total", "Buyers told that they got one.")?,
            unknown: metrics::counter(
                registry,
                "stock_outcomes_unknown_total",
                "Buyers refused because the outcome of their statement is unknown.",
            )?,
        })
    }
}

/// A queue as its one server sees it.
struct RequestQueue<T> {
    db: Arc<Db>,
    arriving: mpsc::Receiver<InLine<T>>,
    /// Those of the next statement, first come first.
    waiting: VecDeque<InLine<T>>,
    reruns: Backoff,
}

impl<T> RequestQueue<T> {
    fn new(db: Arc<Db>, arriving: mpsc::Receiver<InLine<T>>) -> Self {
        let reruns = Backoff::new(RERUN_PAUSE_MS.0, RERUN_PAUSE_MS.1);
        Self { db, arriving, waiting: VecDeque::new(), reruns }
    }

    /// Waits until there is someone to serve and a connection to do it with. False at the process's end.
    async fn someone_waits(&mut self) -> bool {
        if self.waiting.is_empty() {
            match self.arriving.recv().await {
                Some(first) => self.waiting.push_back(first),
                None => return false,
            }
        }
        true
    }

    /// A connection, and with it the batch it is for: who came while it was waited for comes along, who left
    /// meanwhile does not. `None` where all were refused or have left.
    async fn gather(&mut self) -> Option<Connection> {
        let connection = match self.db.writer().await {
            Ok(connection) => connection,
            Err(error) => {
                self.refuse_all(&error.to_string());
                return None;
            }
        };
        while self.waiting.len() < BATCH_MAX
            && let Ok(next) = self.arriving.try_recv()
        {
            self.waiting.push_back(next);
        }
        self.waiting.retain(|waiter| !waiter.answer.is_closed());
        let longest = Duration::from_millis(QUEUE_WAIT_MS_MAX);
        while self.waiting.front().is_some_and(|first| first.since.elapsed() > longest) {
            if let Some(first) = self.waiting.pop_front() {
                let _left = first.answer.send(Err("waited too long at the stock".into()));
            }
        }
        (!self.waiting.is_empty()).then_some(connection)
    }

    /// After an error: sends everyone in the batch away, or lets them wait where the statement was undone
    /// and may be run again. How many were sent away.
    async fn failed(&mut self, error: &db::Error) -> usize {
        if let db::Error::Conflict(_) = error {
            tokio::time::sleep(self.reruns.failed()).await;
            return 0;
        }
        self.refuse_all(&error.to_string())
    }

    fn refuse_all(&mut self, cause: &str) -> usize {
        let cause: Refusal = cause.into();
        let count = self.waiting.len();
        for waiter in self.waiting.drain(..) {
            let _left = waiter.answer.send(Err(cause.clone()));
        }
        count
    }
}

/// Serves buyers for as long as there may be any. What a run that panicked left of its batch may have been taken from
/// the stock, so it is refused and not served once more.
async fn sell(queue: Arc<Mutex<RequestQueue<bool>>>, metrics: Metrics) {
    let queue = &mut *queue.lock().await;
    metrics.unknown.inc_by(queue.refuse_all("the batch panicked") as u64);
    while queue.someone_waits().await {
        sell_batch(queue, &metrics).await;
    }
}

async fn sell_batch(queue: &mut RequestQueue<bool>, metrics: &Metrics) {
    let Some(mut connection) = queue.gather().await else { return };
    let wanted = queue.waiting.len();
    metrics.bought.observe(wanted as f64);
    match store::quantity_take(&mut connection, wanted as u64).await {
        Ok(mut taken) => {
            drop(connection);
            queue.reruns.succeeded();
            // A buyer who left just now does not use up what the next one can have.
            for buyer in queue.waiting.drain(..) {
                if buyer.answer.send(Ok(taken > 0)).is_ok() && taken > 0 {
                    taken -= 1;
                    metrics.sold.inc();
                }
            }
        }
        Err(error) => metrics.unknown.inc_by(queue.failed(&error).await as u64),
    }
}

/// Serves readers likewise.
async fn tell(queue: Arc<Mutex<RequestQueue<u64>>>, metrics: Metrics) {
    let queue = &mut *queue.lock().await;
    queue.refuse_all("the batch panicked");
    while queue.someone_waits().await {
        tell_batch(queue, &metrics).await;
    }
}

async fn tell_batch(queue: &mut RequestQueue<u64>, metrics: &Metrics) {
    let Some(mut connection) = queue.gather().await else { return };
    metrics.read.observe(queue.waiting.len() as f64);
    match store::quantity(&mut connection).await {
        Ok(quantity) => {
            drop(connection);
            queue.reruns.succeeded();
            for reader in queue.waiting.drain(..) {
                let _left = reader.answer.send(Ok(quantity));
            }
        }
        Err(error) => {
            queue.failed(&error).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_turns_away_and_a_place_left_is_known() {
        let (sender, mut arriving) = mpsc::channel::<InLine<bool>>(2);
        let line = Line(sender);
        let (one, two) = (line.join().unwrap(), line.join().unwrap());
        assert!((line.length() - 2.0).abs() < f64::EPSILON);
        assert!(matches!(line.join(), Err(Error::Busy(_))));
        drop(two);
        let (first, second) = (arriving.recv().await.unwrap(), arriving.recv().await.unwrap());
        assert!(!first.answer.is_closed() && second.answer.is_closed());
        first.answer.send(Ok(true)).unwrap();
        assert!(one.outcome().await.unwrap());
        let (three, four) = (line.join().unwrap(), line.join().unwrap());
        drop(arriving);
        assert!(matches!(three.outcome().await, Err(Error::Unavailable(_))), "its batch was given up");
        assert!(matches!(line.join(), Err(Error::Internal(_))));
        drop(four);
    }
}
