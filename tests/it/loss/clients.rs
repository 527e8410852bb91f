//! Those who ask what is new, each in one way, and another instance each time.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use hyperdesk::clock::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::book::{Book, time_of};
use super::{Phase, SETTLED_LIMIT, World};
use crate::support::{Client, EventStream, Random, Response};

/// Answers in a row that change nothing, after which a client has everything.
const QUIET_ROUNDS: usize = 6;
/// Shortest time for these: ten times as long as an answer to a `since` may be behind.
const QUIET_TIME: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(4);
const PATHS: [&str; 3] = ["/api/conversations/updates", "/api/messages/updates", "/api/expert-queue/updates"];

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With the newest time that it was shown.
    Echo,
    /// With the time at which it asked before.
    Clock,
    /// With a cursor.
    Cursor,
    /// The same, held until there is news.
    Held,
    /// By server-sent events, resumed elsewhere after a while.
    Stream,
}

pub const KINDS: [Kind; 5] = [Kind::Echo, Kind::Clock, Kind::Cursor, Kind::Held, Kind::Stream];

struct Poller {
    world: Arc<World>,
    random: Random,
    token: String,
    book: Book,
    /// Of the three `since` polls.
    since: [Timestamp; 3],
    cursor: Option<String>,
}

/// Polls until all is quiet.
pub async fn run(world: Arc<World>, person: usize, kind: Kind) -> Book {
    let who = &world.people[person];
    let mut poller = Poller {
        random: world.random(1_000 + 10 * person as u64 + kind as u64),
        token: who.token.clone(),
        book: Book::new(who.id, kind),
        since: [world.begun; 3],
        cursor: None,
        world,
    };
    let mut quiet: Option<(Instant, usize)> = None;
    let mut settling = None;
    loop {
        let phase = poller.world.phase();
        let changed = match kind {
            Kind::Echo | Kind::Clock => poller.ask_since().await,
            Kind::Cursor | Kind::Held => poller.ask_cursor().await,
            Kind::Stream => poller.listen().await,
        };
        if phase == Phase::Settling {
            let since = *settling.get_or_insert_with(Instant::now);
            quiet = match (changed, quiet) {
                (Some(false), Some((begin, rounds))) => Some((begin, rounds + 1)),
                (Some(false), None) => Some((Instant::now(), 1)),
                (Some(true), _) => None,
                (None, quiet) => quiet,
            };
            let enough = if kind == Kind::Held { QUIET_ROUNDS / 2 } else { QUIET_ROUNDS };
            if quiet.is_some_and(|(begin, rounds)| rounds >= enough && begin.elapsed() >= QUIET_TIME) {
                return poller.book;
            }
            if since.elapsed() > SETTLED_LIMIT {
                let text = format!("{}: not quiet after {SETTLED_LIMIT:?}", poller.book);
                poller.book.wrong.push(text);
                return poller.book;
            }
        }
        let pause = poller.random.duration(Duration::from_millis(5), Duration::from_millis(150));
        sleep(pause).await;
    }
}

impl Poller {
    /// An answer from some instance, if it gives one in time.
    async fn get(&mut self, path: &str, limit: Duration) -> Option<Response> {
        let client = Client::new(self.world.some_addr(&mut self.random));
        match client.get(path).bearer(&self.token).limit(limit).try_send().await {
            Ok(answer) if answer.status == 503 => {
                self.world.refused.fetch_add(1, SeqCst);
                None
            }
            Ok(answer) => {
                self.world.polls.fetch_add(1, SeqCst);
                Some(answer)
            }
            Err(_) => {
                self.world.failed.fetch_add(1, SeqCst);
                None
            }
        }
    }

    fn strange(&mut self, what: &str, answer: &Response) {
        let text = format!("{}: {what}: {} {}", self.book, answer.status, answer.text());
        self.book.wrong.push(text);
    }

    /// All three `since` polls; whether anything was new, `None` if one gave no answer.
    async fn ask_since(&mut self) -> Option<bool> {
        let (mut changed, mut complete) = (false, true);
        for (place, path) in PATHS.into_iter().enumerate() {
            let asked = Timestamp::now();
            let Some(answer) = self.get(&format!("{path}?since={}", self.since[place]), LIMIT).await else {
                complete = false;
                continue;
            };
            if answer.status != 200 {
                self.strange(path, &answer);
                continue;
            }
            let news = answer.json();
            changed |= match place {
                0 => self.book.take_conversations(&news),
                1 => self.book.take_messages(&news, false),
                _ => self.book.take_queue(&news),
            };
            match self.book.kind {
                Kind::Clock => self.since[place] = asked,
                _ => self.since[place] = self.since[place].max(newest(place, &news)),
            }
        }
        (changed || complete).then_some(changed)
    }

    /// One cursor poll, of the full state the first time.
    async fn ask_cursor(&mut self) -> Option<bool> {
        let Some(cursor) = self.cursor.clone() else { return self.take_state().await };
        let waits = self.book.kind == Kind::Held && !self.random.chance(4);
        let wait = if waits { "&wait=1" } else { "" };
        let answer = self.get(&format!("/api/updates?cursor={cursor}{wait}"), LIMIT).await?;
        match answer.status {
            200 => {
                let news = answer.json();
                if answer.header("x-updates-cursor") != news["cursor"].as_str() {
                    self.strange("two cursors", &answer);
                }
                self.cursor = news["cursor"].as_str().map(str::to_owned);
                Some(self.book.take(&news, false))
            }
            204 => {
                self.cursor = answer.header("x-updates-cursor").map(str::to_owned);
                Some(false)
            }
            410 => {
                self.world.resets.fetch_add(1, SeqCst);
                self.cursor = None;
                Some(true)
            }
            _ => {
                self.strange("a cursor poll", &answer);
                None
            }
        }
    }

    async fn take_state(&mut self) -> Option<bool> {
        let answer = self.get("/api/updates", LIMIT).await?;
        if answer.status != 200 {
            self.strange("the full state", &answer);
            return None;
        }
        let state = answer.json();
        self.cursor = state["cursor"].as_str().map(str::to_owned);
        Some(self.book.take(&state, true))
    }

    /// Listens to some instance for a while; whether anything new came, `None` if nothing could.
    async fn listen(&mut self) -> Option<bool> {
        let addr = self.world.some_addr(&mut self.random);
        let length = self.random.duration(Duration::from_millis(100), Duration::from_millis(900));
        let resumed = self.cursor.clone();
        let opened = timeout(LIMIT, EventStream::open(addr, &self.token, resumed.as_deref())).await;
        let mut stream = match opened {
            Ok(Ok(stream)) if stream.status == 200 => stream,
            Ok(Ok(stream)) => {
                match stream.status {
                    503 => drop(self.world.refused.fetch_add(1, SeqCst)),
                    410 => {
                        self.world.resets.fetch_add(1, SeqCst);
                        self.cursor = None;
                    }
                    other => self.book.wrong.push(format!("{}: a stream answered {other}", self.book)),
                }
                return None;
            }
            _ => {
                self.world.failed.fetch_add(1, SeqCst);
                return None;
            }
        };
        let until = Instant::now() + length;
        let mut changed = false;
        while let Ok(Ok(Some(event))) = timeout_at(until, stream.next()).await {
            if event.name == "reset" {
                self.world.resets.fetch_add(1, SeqCst);
                self.cursor = None;
                return Some(true);
            }
            let Ok(news) = serde_json::from_str::<Value>(&event.data) else {
                self.book.wrong.push(format!("{}: no JSON: {}", self.book, event.data));
                return None;
            };
            self.world.polls.fetch_add(1, SeqCst);
            changed |= self.book.take(&news, self.cursor.is_none());
            self.cursor = Some(event.id);
        }
        (self.cursor.is_some() || changed).then_some(changed)
    }
}

/// The newest time in an answer.
fn newest(place: usize, news: &Value) -> Timestamp {
    let lists = match place {
        2 => vec![&news[0]["waitingConversations"], &news[0]["assignedConversations"]],
        _ => vec![news],
    };
    let name = if place == 1 { "timestamp" } else { "updatedAt" };
    let all = lists.into_iter().filter_map(Value::as_array).flatten();
    all.filter_map(|item| time_of(item, name)).fold(Timestamp::default(), Timestamp::max)
}
