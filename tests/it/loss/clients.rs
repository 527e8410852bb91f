//! Those who ask what is new, each in one way, and another instance each time.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use hyperdesk::clock::Timestamp;
use hyperdesk::feed::{FRESH_MS_MAX, SILENT_MS_MAX};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::book::{Book, time_of};
use super::due::{Asked, Item, Told};
use super::{ARCHIVIST, PEOPLE, Phase, SETTLED_LIMIT, World};
use crate::support::events::Event;
use crate::support::{Client, EventStream, Random, Response};

/// Answers in a row that change nothing, after which a client has everything.
const QUIET_ROUNDS: usize = 6;
/// Shortest time for these: ten times as long as an answer to a `since` may be behind.
const QUIET_TIME: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(4);
/// How old what a `since` poll is answered from may be when the poll comes.
const SINCE_AGE_MAX: Duration = Duration::from_millis(FRESH_MS_MAX);
/// The same of what anybody is answered from, when the answer is made.
const AGE_MAX: Duration = Duration::from_millis(SILENT_MS_MAX);
/// How long a stream may be silent beyond that: it is looked now and then, and on a busy machine.
const STREAM_SLACK: Duration = Duration::from_secs(4);
/// The longest pause while the rest is fetched.
const PAUSE_MAX: Duration = Duration::from_millis(150);
/// A hold beyond the time for which an instance may go on from memory.
const LONG_HOLD: Duration = Duration::from_secs(6);
/// Who has a fast clock and got no answer for so long asks by the right time: soon the clock's will have come, and stands
/// for a moment of which the client knows nothing. With the time for an answer less than the least that a clock is
/// fast by.
const AWAY_MAX_MICROS: i64 = 25_000_000;
/// How exactly the end of a hold is known.
const HOLD_SLACK: Duration = Duration::from_millis(250);
/// As many items as one answer has at most.
pub const CUT_AT: usize = 1_000;
const PATHS: [&str; 3] = ["/api/conversations/updates", "/api/messages/updates", "/api/expert-queue/updates"];

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With the newest time that it was shown.
    Echo,
    /// The same, after pauses in which the window of some instance moves on.
    LateEcho,
    /// The same, from the begin of time again and again: a list longer than one answer may be.
    Walk,
    /// With the time at which it asked before, by a clock that is fast by so many seconds.
    Clock(u32),
    /// With a cursor.
    Cursor,
    /// The same, always this instance: nobody else tells it what that one does not know.
    Sticky(usize),
    /// The same, after such pauses.
    LateCursor,
    /// With a cursor, held until there is news.
    Held,
    /// By server-sent events, resumed elsewhere after a while.
    Stream,
}

const OF_EVERYBODY: [Kind; 5] = [Kind::Echo, Kind::Clock(0), Kind::Cursor, Kind::Held, Kind::Stream];
const OF_SOMEBODY: [(usize, Kind); 10] = [
    (0, Kind::Clock(30)),
    (1, Kind::Clock(300)),
    (2, Kind::Clock(30)),
    (3, Kind::LateEcho),
    (4, Kind::LateCursor),
    (0, Kind::LateCursor),
    (1, Kind::Sticky(0)),
    (2, Kind::Sticky(1)),
    (3, Kind::Sticky(2)),
    (ARCHIVIST, Kind::Walk),
];

impl Kind {
    /// Whether it is told of what is undone, and of all changes once.
    pub fn is_by_cursor(self) -> bool {
        matches!(self, Kind::Cursor | Kind::Sticky(_) | Kind::LateCursor | Kind::Held | Kind::Stream)
    }

    /// Milliseconds from one poll to the next.
    fn pause(self) -> (u64, u64) {
        match self {
            Kind::LateEcho | Kind::LateCursor => (1_500, 4_000),
            // They get a minute's changes each time.
            Kind::Clock(1..) => (100, 400),
            _ => (5, 150),
        }
    }
}

/// Who polls how.
pub fn all() -> Vec<(usize, Kind)> {
    let everybody = (0..PEOPLE).flat_map(|person| OF_EVERYBODY.map(|kind| (person, kind)));
    everybody.chain(OF_SOMEBODY).collect()
}

/// All who have clients go on asking, as their open browsers do, until it is known what they should have: or their
/// claims would lapse one after the other.
pub async fn stay_present(world: Arc<World>) {
    let mut random = world.random(5_000_000);
    loop {
        for person in &world.people[..=ARCHIVIST] {
            let client = Client::new(world.some_addr(&mut random));
            let poll = client.get("/api/messages/updates?since=2100-01-01").bearer(&person.token);
            let _any = poll.limit(PAUSE_MAX).try_send().await;
        }
        sleep(PAUSE_MAX).await;
    }
}

struct Poller {
    world: Arc<World>,
    random: Random,
    token: String,
    book: Book,
    /// Of the three `since` polls.
    since: [Timestamp; 3],
    cursor: Option<String>,
    /// The last question.
    asked: Asked,
    asked_of: Option<usize>,
    told: Told,
}

/// Polls until all is quiet.
pub async fn run(world: Arc<World>, number: usize, person: usize, kind: Kind) -> Book {
    let who = &world.people[person];
    let begin = if kind == Kind::Walk { Timestamp::default() } else { world.begun };
    let mut poller = Poller {
        random: world.random(1_000 + number as u64),
        token: who.token.clone(),
        book: Book::new(who.id, kind),
        since: [begin; 3],
        cursor: None,
        asked: world.due.ask(),
        asked_of: None,
        told: Told::default(),
        world,
    };
    let mut quiet: Option<(Instant, usize)> = None;
    let mut settling = None;
    loop {
        let phase = poller.world.phase();
        let changed = match kind {
            Kind::Echo | Kind::LateEcho | Kind::Walk | Kind::Clock(_) => poller.ask_since().await,
            Kind::Cursor | Kind::Sticky(_) | Kind::LateCursor | Kind::Held => poller.ask_cursor().await,
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
            // Rounds of these take up to a second each.
            let is_slow = matches!(kind, Kind::Held | Kind::Stream);
            let enough = if is_slow { QUIET_ROUNDS / 2 } else { QUIET_ROUNDS };
            if quiet.is_some_and(|(begin, rounds)| rounds >= enough && begin.elapsed() >= QUIET_TIME) {
                poller.book.settled = Some(Instant::now());
                return poller.book;
            }
            if since.elapsed() > SETTLED_LIMIT {
                let text = format!("{}: not quiet after {SETTLED_LIMIT:?}", poller.book);
                poller.book.wrong.push(text);
                return poller.book;
            }
        }
        poller.pause().await;
    }
}

impl Poller {
    async fn pause(&mut self) {
        let (least, most) = self.book.kind.pause();
        let pause = self.random.duration(Duration::from_millis(least), Duration::from_millis(most));
        let end = Instant::now() + pause;
        // Who pauses long sees that there is nothing more to pause for.
        while self.world.phase() == Phase::Writing && Instant::now() + PAUSE_MAX < end {
            sleep(PAUSE_MAX).await;
        }
        sleep(end.saturating_duration_since(Instant::now()).min(PAUSE_MAX)).await;
        if self.book.kind == Kind::Walk && self.world.phase() == Phase::Writing && self.random.chance(20) {
            self.since = [Timestamp::default(); 3];
        }
    }

    /// Notes what should have been told by an answer, or by a silence, that is as of `as_of` at the earliest.
    fn must_have(&mut self, items: &[Item], as_of: Instant, age_max: Duration) {
        let Some(before) = as_of.checked_sub(age_max) else { return };
        for item in items {
            let untold = self.world.due.untold(&mut self.told, &self.book, *item, self.asked, before);
            if let Some(untold) = untold {
                let (now, cursor) = (Timestamp::now(), &self.cursor);
                let place = format!("at {now}, by {:?}, after {cursor:?}", self.asked_of);
                self.book
                    .wrong
                    .push(format!("{}: was told that nothing is new: {untold} ({place})", self.book));
            }
        }
    }

    /// An answer from some instance, if it gives one in time.
    async fn get(&mut self, path: &str, limit: Duration) -> Option<Response> {
        let client = Client::new(match self.book.kind {
            Kind::Sticky(at) => self.world.addr(at),
            _ => self.world.some_addr(&mut self.random),
        });
        self.asked = self.world.due.ask();
        self.asked_of = self.world.addrs.lock().unwrap().iter().position(|a| *a == client.addr());
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
            let mut since = self.since[place];
            if let Kind::Clock(fast @ 1..) = self.book.kind
                && asked.micros() + micros(fast) - since.micros() > AWAY_MAX_MICROS
            {
                since = Timestamp::from_micros(since.micros() - micros(fast));
            }
            let Some(answer) = self.get(&format!("{path}?since={since}"), LIMIT).await else {
                complete = false;
                continue;
            };
            if answer.status != 200 {
                self.strange(path, &answer);
                continue;
            }
            let news = answer.json();
            let count = news.as_array().map_or(0, Vec::len);
            changed |= match place {
                0 => self.book.take_conversations(&news),
                1 => self.book.take_messages(&news, false),
                _ => self.book.take_queue(&news),
            };
            // There is more, though all of this may be known.
            changed |= count >= CUT_AT;
            match place {
                0 if count == 0 => self.must_have(&[Item::Conversation], self.asked.at, SINCE_AGE_MAX),
                1 if count == 0 => self.must_have(&[Item::Message], self.asked.at, SINCE_AGE_MAX),
                _ => {}
            }
            match self.book.kind {
                Kind::Clock(fast) => {
                    self.since[place] = Timestamp::from_micros(asked.micros() + micros(fast));
                }
                _ => self.since[place] = self.since[place].max(newest(place, &news)),
            }
        }
        (changed || complete).then_some(changed)
    }

    /// One cursor poll, of the full state the first time.
    async fn ask_cursor(&mut self) -> Option<bool> {
        let Some(cursor) = self.cursor.clone() else { return self.take_state().await };
        // Not one that outlasts the run.
        let is_early = self.world.started.elapsed() + LONG_HOLD < self.world.plan.length + LONG_HOLD / 3;
        let hold = match self.book.kind {
            Kind::Held if is_early && self.random.chance(4) => LONG_HOLD,
            Kind::Held if !self.random.chance(4) => Duration::from_secs(1),
            _ => Duration::ZERO,
        };
        let wait = format!("&wait={}", hold.as_secs());
        let wait = if hold.is_zero() { "" } else { &*wait };
        let answer = self.get(&format!("/api/updates?cursor={cursor}{wait}"), hold + LIMIT).await?;
        match answer.status {
            200 => {
                let news = answer.json();
                if answer.header("x-updates-cursor") != news["cursor"].as_str() {
                    self.strange("two cursors", &answer);
                }
                self.cursor = news["cursor"].as_str().map(str::to_owned);
                let changed = self.book.take(&news, false);
                if is_empty(&news) {
                    self.must_have(&[Item::Conversation, Item::Message], self.asked.at, AGE_MAX);
                }
                Some(changed)
            }
            204 => {
                self.cursor = answer.header("x-updates-cursor").map(str::to_owned);
                // At the end of the hold, or when the instance began to stop.
                let is_over = self.asked.at.elapsed() >= hold;
                let made = if is_over { (self.asked.at + hold) - HOLD_SLACK } else { self.asked.at };
                self.must_have(&[Item::Conversation, Item::Message], made.max(self.asked.at), AGE_MAX);
                Some(false)
            }
            410 => {
                self.reset();
                Some(true)
            }
            _ => {
                self.strange("a cursor poll", &answer);
                None
            }
        }
    }

    /// The position is no more: all is to be read anew.
    fn reset(&mut self) {
        self.world.resets.fetch_add(1, SeqCst);
        self.cursor = None;
        if self.world.plan.is_restored {
            self.book.clear();
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
        let is_long = self.world.phase() == Phase::Writing && self.random.chance(8);
        let resumed = self.cursor.clone();
        self.asked = self.world.due.ask();
        let opened = timeout(LIMIT, EventStream::open(addr, &self.token, resumed.as_deref())).await;
        let mut stream = match opened {
            Ok(Ok(stream)) if stream.status == 200 => stream,
            Ok(Ok(stream)) => {
                match stream.status {
                    503 => drop(self.world.refused.fetch_add(1, SeqCst)),
                    410 => self.reset(),
                    other => self.book.wrong.push(format!("{}: a stream answered {other}", self.book)),
                }
                return self.cursor.is_none().then_some(true);
            }
            _ => {
                self.world.failed.fetch_add(1, SeqCst);
                return None;
            }
        };
        let opened = Instant::now();
        // What it may be silent about: an instance that is frozen says nothing.
        let silence_max = AGE_MAX + STREAM_SLACK + self.world.plan.freeze;
        let until = opened + if is_long { silence_max + STREAM_SLACK } else { length };
        let mut changed = false;
        while Instant::now() < until && !(is_long && self.world.phase() == Phase::Settling) {
            match timeout_at(until.min(Instant::now() + length), stream.next()).await {
                Ok(Ok(Some(event))) => match self.take_event(event) {
                    Some(something) => changed |= something,
                    None => return self.cursor.is_none().then_some(true),
                },
                Ok(_ended) => break,
                Err(_silent) if opened.elapsed() < silence_max => {}
                Err(_silent) => {
                    self.must_have(&[Item::Conversation, Item::Message], Instant::now(), silence_max);
                }
            }
        }
        (self.cursor.is_some() || changed).then_some(changed)
    }

    /// One piece of a stream; `None` ends it.
    fn take_event(&mut self, event: Event) -> Option<bool> {
        if event.name == "reset" {
            self.reset();
            return None;
        }
        let Ok(news) = serde_json::from_str::<Value>(&event.data) else {
            self.book.wrong.push(format!("{}: no JSON: {}", self.book, event.data));
            return None;
        };
        self.world.polls.fetch_add(1, SeqCst);
        let changed = self.book.take(&news, self.cursor.is_none());
        self.cursor = Some(event.id);
        Some(changed)
    }
}

/// Whether an answer to a cursor says that nothing is new.
fn is_empty(news: &Value) -> bool {
    let lists =
        [&news["conversations"], &news["messages"], &news["queue"]["waiting"], &news["queue"]["left"]];
    lists.into_iter().all(|list| list.as_array().is_none_or(Vec::is_empty))
}

fn micros(seconds: u32) -> i64 {
    i64::from(seconds) * 1_000_000
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
