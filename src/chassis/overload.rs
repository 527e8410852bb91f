//! An event loop that is asked for more than it can do: it serves the newest first, and never all of them late.
//!
//! An answer that comes after its client gave up is work for nothing, and a queue that is served in its order makes
//! every answer late once it is long. So a loop that has had no rest for [`BUSY_MS_MAX`] shuts its [`Gate`]:
//!
//! - **Requests wait unread**, in the kernel, which costs nothing: of the connections that have one, a few are read
//!   each turn, the one that asked last first. Every now and then it is the oldest.
//! - **Who has left is not worked for**: a connection that its client closed meanwhile ends unread.
//! - **Some are told**: where the line does not get empty, one for every [`REFUSED_EVERY`] served is read to be
//!   refused, by 503 and `Retry-After`, on a connection that stays open. No more of them, because reading and writing is
//!   what a poll costs: a refusal of each would leave time for hardly any answer. It is one that came just now,
//!   since an older one could not be told soon.
//! - **Connections wait in the kernel's queue** while others fill the turns, but for one now and then; who is accepted
//!   is served at once. The queue is shortened to what is accepted in an eighth of a second: beyond it the kernel drops
//!   the first packet, and the client's kernel sends it again after a second.
//! - **`/health` does not wait** on a connection that asked for it before.
//!
//! The gate opens when nobody waits any more. While it is open a request costs it a few plain loads and stores.
//! A client that closes its sending half before it has its answer counts as one who left, while the gate is shut.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::sync::Notify;

use super::connection::{Activity, Turn};

/// A loop that always had something to do for so long has more to do than it can.
const BUSY_MS_MAX: u64 = 50;
/// Every so many requests a busy loop looks at the clock.
const LOOKED_EVERY: u32 = 64;
/// Requests that are served before the loop looks for newer ones.
const SERVED_PER_TURN: usize = 16;
/// Connections that are accepted in a turn in which nobody was served.
pub(super) const ACCEPTED_PER_TURN: usize = 8;
/// One of so many that are served is the one that waited longest: a patient client is served some time.
const OLDEST_EVERY: usize = 64;
/// For so many that are served one connection is accepted, which costs three times as much.
const ACCEPTED_EVERY: usize = 32;
/// For so many that are served one is refused.
const REFUSED_EVERY: usize = 64;
/// Nobody is refused before the line has been there for so long: a burst is served.
const STANDING_MS_MIN: u64 = 1_000;
/// Who is refused has waited at most so long, so that they are told within a tenth of a second.
const REFUSED_MS_MAX: u64 = 30;
/// The gate opens after so many turns without anybody to serve.
const EMPTY_TURNS: u32 = 4;

/// What keeps the requests of one event loop waiting while it has too much to do. Used on that loop's thread only, but
/// for [`Gate::has_room`].
pub(super) struct Gate {
    is_shut: AtomicBool,
    has_room: AtomicBool,
    /// Requests begun since the loop last had nothing to do.
    begun: AtomicU32,
    /// Requests that were read in this turn as they came.
    passed: AtomicUsize,
    inner: Mutex<Inner>,
    shutting: Notify,
    pub(super) refused: IntCounter,
    pub(super) gone: IntCounter,
}

struct Inner {
    /// Since when the loop is known to be busy.
    busy_since: Instant,
    line: Line<(Arc<Activity>, Waker)>,
    empty_turns: u32,
}

impl Gate {
    /// An open one. The counters are of refused requests, and of connections whose clients left before their turn.
    pub(super) fn new(refused: IntCounter, gone: IntCounter) -> Self {
        let inner = Inner { busy_since: Instant::now(), line: Line::default(), empty_turns: 0 };
        Self {
            is_shut: AtomicBool::new(false),
            has_room: AtomicBool::new(true),
            begun: AtomicU32::new(0),
            passed: AtomicUsize::new(0),
            inner: Mutex::new(inner),
            shutting: Notify::new(),
            refused,
            gone,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests must wait for their turn.
    pub(super) fn is_shut(&self) -> bool {
        self.is_shut.load(Relaxed)
    }

    /// Whether this loop can do more than it is asked for.
    pub(super) fn has_room(&self) -> bool {
        self.has_room.load(Relaxed)
    }

    /// Notes that a request is being read.
    pub(super) fn begin(&self) {
        let begun = self.begun.load(Relaxed).wrapping_add(1);
        self.begun.store(begun, Relaxed);
        if begun.is_multiple_of(LOOKED_EVERY) {
            self.look(begun, Instant::now());
        }
    }

    /// Notes that the loop has nothing to do.
    pub(super) fn rest(&self) {
        self.begun.store(0, Relaxed);
    }

    fn look(&self, begun: u32, now: Instant) {
        let mut inner = self.inner();
        if begun == LOOKED_EVERY {
            inner.busy_since = now;
        } else if now.duration_since(inner.busy_since) > Duration::from_millis(BUSY_MS_MAX) && !self.is_shut()
        {
            inner.empty_turns = 0;
            self.is_shut.store(true, Relaxed);
            self.has_room.store(false, Relaxed);
            self.shutting.notify_one();
        }
    }

    /// Waits until the gate is shut.
    pub(super) async fn shut(&self) {
        while !self.is_shut() {
            self.shutting.notified().await;
        }
    }

    /// Whether a request that just came may be read in this turn: it is the newest.
    pub(super) fn pass(&self) -> bool {
        let passed = self.passed.load(Relaxed);
        let may_pass = passed < SERVED_PER_TURN;
        self.passed.store(passed + usize::from(may_pass), Relaxed);
        may_pass
    }

    /// Puts a connection with an unread request into the line; it is woken for its turn.
    pub(super) fn defer(&self, activity: &Arc<Activity>, waker: &Waker) {
        self.inner().line.join((activity.clone(), waker.clone()), Instant::now());
    }

    /// Wakes those whose turn it is; how many connections may be accepted in this turn.
    pub(super) fn turn(&self) -> usize {
        let mut inner = self.inner();
        let passed = self.passed.swap(0, Relaxed);
        let places = inner.line.turn(passed, Instant::now(), |(activity, waker), turn| {
            activity.give(turn);
            waker.wake();
        });
        let is_empty = places == ACCEPTED_PER_TURN;
        inner.empty_turns = if is_empty { inner.empty_turns + 1 } else { 0 };
        self.has_room.store(is_empty, Relaxed);
        places
    }

    /// Notes that in this turn connections were accepted.
    pub(super) fn accepted(&self) {
        self.inner().empty_turns = 0;
    }

    /// Opens it if nobody has been waiting for some turns.
    pub(super) fn open_if_idle(&self) {
        if self.inner().empty_turns >= EMPTY_TURNS {
            self.is_shut.store(false, Relaxed);
            self.has_room.store(true, Relaxed);
            self.rest();
        }
    }
}

/// Who waits, the one that came last at the end.
struct Line<T> {
    waiting: VecDeque<(Instant, T)>,
    /// Since when somebody has always been waiting.
    standing_since: Option<Instant>,
    served: usize,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), standing_since: None, served: 0 }
    }
}

impl<T> Line<T> {
    fn join(&mut self, who: T, now: Instant) {
        self.waiting.push_back((now, who));
    }

    /// Tells whose turn it is and what they get, where `passed` were served already; how many connections may be
    /// accepted.
    fn turn(&mut self, passed: usize, now: Instant, mut tell: impl FnMut(T, Turn)) -> usize {
        let (before, mut served) = (self.served, passed);
        while served < SERVED_PER_TURN
            && let Some((_, newest)) = self.waiting.pop_back()
        {
            tell(newest, Turn::Pass);
            served += 1;
        }
        self.served += served;
        let are_due = |every: usize, line: &Self| line.served / every - before / every;
        for _ in 0..are_due(OLDEST_EVERY, self) {
            if let Some((_, oldest)) = self.waiting.pop_front() {
                tell(oldest, Turn::Pass);
            }
        }
        for _ in 0..are_due(REFUSED_EVERY, self) {
            if self.is_standing(now) {
                self.refuse(now, &mut tell);
            }
        }
        if self.waiting.is_empty() {
            self.standing_since = None;
        } else {
            self.standing_since.get_or_insert(now);
        }
        if served == 0 { ACCEPTED_PER_TURN } else { are_due(ACCEPTED_EVERY, self) }
    }

    fn is_standing(&self, now: Instant) -> bool {
        self.standing_since
            .is_some_and(|since| now.duration_since(since) >= Duration::from_millis(STANDING_MS_MIN))
    }

    /// Refuses the newest of those who are left, if they can still be told soon.
    fn refuse(&mut self, now: Instant, tell: &mut impl FnMut(T, Turn)) {
        let is_recent = |since: Instant| now.duration_since(since) <= Duration::from_millis(REFUSED_MS_MAX);
        if self.waiting.back().is_some_and(|(since, _)| is_recent(*since))
            && let Some((_, who)) = self.waiting.pop_back()
        {
            tell(who, Turn::Refuse);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Everybody whose turn it is.
    fn turn(line: &mut Line<u32>, passed: usize, now: Instant) -> (Vec<u32>, Vec<u32>, usize) {
        let (mut served, mut refused) = (Vec::new(), Vec::new());
        let places = line.turn(passed, now, |who, turn| match turn {
            Turn::Refuse => refused.push(who),
            _ => served.push(who),
        });
        (served, refused, places)
    }

    #[test]
    fn the_newest_are_served_first_and_the_oldest_now_and_then() {
        let (now, mut line) = (Instant::now(), Line::default());
        (0..100).for_each(|who| line.join(who, now));
        assert_eq!(turn(&mut line, 0, now), ((84..100).rev().collect(), vec![], 0));
        line.join(100, now);
        let (served, _, places) = turn(&mut line, 10, now);
        assert_eq!(served, [100, 83, 82, 81, 80, 79], "those who came meanwhile were served already");
        assert_eq!(places, 1, "one connection for {ACCEPTED_EVERY}");
        assert_eq!(turn(&mut line, SERVED_PER_TURN, now), (vec![], vec![], 0));
        assert_eq!(turn(&mut line, SERVED_PER_TURN, now), (vec![0], vec![], 1), "one in {OLDEST_EVERY}");
        for _ in 0..4 {
            turn(&mut line, 0, now);
        }
        let (served, _, places) = turn(&mut line, 0, now);
        assert_eq!((served.len(), places), (13, 0), "the rest of 101 in turns of {SERVED_PER_TURN}");
        assert_eq!(turn(&mut line, 0, now), (vec![], vec![], ACCEPTED_PER_TURN));
    }

    #[test]
    fn only_where_the_line_stands_some_are_refused_who_came_just_now() {
        let (begun, mut line) = (Instant::now(), Line::default());
        (0..1_000).for_each(|who| line.join(who, begun));
        for _ in 0..4 {
            assert!(turn(&mut line, 0, begun + ms(10)).1.is_empty(), "it is a burst");
        }
        // They have waited too long to be told soon.
        let later = begun + ms(10 + STANDING_MS_MIN);
        assert!((0..4).all(|_| turn(&mut line, 0, later).1.is_empty()));
        (1_000..2_000).for_each(|who| line.join(who, later));
        let (mut served, mut refused) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let turn = turn(&mut line, 0, later + ms(REFUSED_MS_MAX));
            served.extend(turn.0);
            refused.extend(turn.1);
        }
        assert_eq!(
            (served.len(), refused),
            (65, vec![1_935]),
            "one in {REFUSED_EVERY}, and one was the oldest"
        );
        // When the line was empty, it is a new one.
        while turn(&mut line, 0, later).2 < ACCEPTED_PER_TURN {}
        (0..100).for_each(|who| line.join(who, later));
        assert!((0..4).all(|_| turn(&mut line, 0, later).1.is_empty()));
    }

    #[tokio::test]
    async fn the_gate_shuts_when_a_loop_has_no_rest_and_opens_when_nobody_waits() {
        let counter = |name| IntCounter::new(name, "x").unwrap();
        let gate = Gate::new(counter("refused"), counter("gone"));
        let begun = Instant::now();
        gate.look(LOOKED_EVERY, begun);
        gate.look(2 * LOOKED_EVERY, begun + ms(BUSY_MS_MAX));
        assert!(!gate.is_shut() && gate.has_room());
        gate.look(LOOKED_EVERY, begun + ms(2 * BUSY_MS_MAX));
        assert!(!gate.is_shut(), "it had a rest between");
        gate.look(2 * LOOKED_EVERY, begun + ms(3 * BUSY_MS_MAX + 1));
        assert!(gate.is_shut() && !gate.has_room());
        gate.shut().await;

        let activity = Arc::new(Activity::default());
        activity.take_turn(false);
        for _ in 0..SERVED_PER_TURN {
            assert!(gate.pass());
        }
        assert!(!gate.pass());
        gate.defer(&activity, Waker::noop());
        assert_eq!((gate.turn(), activity.turn()), (0, Turn::Wait));
        assert_eq!((gate.turn(), activity.turn()), (0, Turn::Pass));
        for _ in 1..EMPTY_TURNS {
            gate.turn();
            gate.open_if_idle();
            assert!(gate.is_shut());
        }
        gate.turn();
        gate.open_if_idle();
        assert!(!gate.is_shut() && gate.has_room());
    }

    #[test]
    fn who_asked_for_health_does_not_wait_and_is_not_refused() {
        let activity = Activity::default();
        assert_eq!(activity.turn(), Turn::Pass, "a connection's first");
        assert!(!activity.take_turn(false));
        assert_eq!(activity.turn(), Turn::Wait);
        activity.give(Turn::Refuse);
        assert!(!activity.take_turn(true));
        assert_eq!(activity.turn(), Turn::Pass);
        activity.give(Turn::Refuse);
        assert!(activity.take_turn(false));
        assert_eq!(activity.turn(), Turn::Wait, "one refusal, one turn");
    }
}
