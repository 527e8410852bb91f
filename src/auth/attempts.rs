//! How often names and passwords may be tried from one address: a limit on guessing, none on people.
//!
//! | what | from | in a minute | why so many |
//! |---|---|---|---|
//! | wrong passwords of one account | one address | [`ACCOUNT_FAILURES_MAX`] | nobody mistypes 20 times; 28,800 guesses a day find no password of six characters |
//! | wrong passwords of any account | one address | `ADDRESS_ATTEMPTS_MAX` (30) | an office of 200 in which every seventh mistypes in the same minute; fewer than the accounts that are worth spraying |
//! | registrations | one address | `ADDRESS_ATTEMPTS_MAX` (30) | a class that begins together |
//!
//! A load test from one machine is to the server what a sprayer is, and sets `ADDRESS_ATTEMPTS_MAX` higher.
//!
//! What counts as one address is [`Network`]'s. A guess takes its place in
//! the limit before its password is looked at, so of 400 at once no more are looked at than are allowed. It gives the
//! place back when the password was right, so people who sign in use nothing up, however many share an address. Who
//! comes while the last places are taken waits for what becomes of those. A registration counts whether or not the
//! name was free, so names are not listed faster by it either.
//!
//! A stranger locks nobody out: what counts against them counts for their own address. Each instance counts for
//! itself, and forgets when it restarts: with N instances up to N times as much gets through. What all of it may cost
//! is bounded by the queue of passwords to hash, in which addresses take turns.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounterVec, Registry};
use strum::VariantArray as _;
use tokio::sync::Notify;

use crate::fair::Network;
use crate::metrics;

/// Wrong passwords of one account from one address in one [`WINDOW`].
pub const ACCOUNT_FAILURES_MAX: u32 = 20;
/// How long failures count, from the first one on.
const WINDOW: Duration = Duration::from_secs(60);
/// Counts in memory, of some 48 bytes each. Only what is hashed is counted, so it takes 546 hashes a second to
/// have as many in one window. Beyond it the older half is forgotten.
const COUNTS_MAX: usize = 65_536;

/// What is limited; the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
enum Limit {
    Account,
    Address,
    Registrations,
}

/// The attempts of late.
pub struct Attempts {
    /// Counts are kept under hashes with a key of this process: nobody can make two of them collide.
    hasher: RandomState,
    counts: Mutex<Counts>,
    /// Tells those who wait that an attempt came to its end.
    settled: Notify,
    address_max: u32,
    refused: IntCounterVec,
}

struct Counts {
    by_key: HashMap<u64, Count>,
    swept: Instant,
}

/// Attempts under one limit.
#[derive(Clone, Copy)]
struct Count {
    /// When the first of the failures was.
    begun: Instant,
    failures: u32,
    /// Admitted, and neither right nor wrong yet.
    open: u32,
}

/// Whether one more is admitted.
enum Room {
    Free,
    /// It depends on those that are open.
    Unsure,
    /// Not for so long.
    None(Limit, Duration),
}

/// An attempt that was admitted. It counts, unless it is forgiven.
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    keys: Keys,
    is_forgiven: bool,
}

/// The limits that an attempt is under, and where its counts are.
type Keys = Vec<(Limit, u64)>;

impl Attempt<'_> {
    /// Takes it back: it was no wrong one.
    pub fn forgive(mut self) {
        self.is_forgiven = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut counts = self.attempts.lock();
        for (_, key) in &self.keys {
            counts.settle(*key, self.is_forgiven, now);
        }
        drop(counts);
        self.attempts.settled.notify_waiters();
    }
}

impl Attempts {
    /// A limiter that has counted nothing yet.
    pub fn new(address_max: u32, registry: &Registry) -> Result<Self, prometheus::Error> {
        let about = "Sign-ins and registrations answered by 429, by limit.";
        let refused = metrics::counters(registry, "auth_attempts_refused_total", about, &["limit"])?;
        for limit in Limit::VARIANTS {
            refused.with_label_values(&[<&str>::from(limit)]);
        }
        Ok(Self {
            hasher: RandomState::new(),
            counts: Mutex::new(Counts { by_key: HashMap::new(), swept: Instant::now() }),
            settled: Notify::new(),
            address_max,
            refused,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a sign-in has a chance to be looked at: most are refused by this, before they cost anything.
    ///
    /// # Errors
    /// How long it has none.
    pub fn may_sign_in(&self, name: &str, client: Network) -> Result<(), Duration> {
        let room = self.room(&self.lock(), &self.of_sign_in(name, client), Instant::now());
        if let Room::None(limit, wait) = room { Err(self.refuse(limit, wait)) } else { Ok(()) }
    }

    /// Admits a sign-in whose password is about to be looked at.
    ///
    /// # Errors
    /// How long it is until one more is looked at.
    pub async fn sign_in(&self, name: &str, client: Network) -> Result<Attempt<'_>, Duration> {
        self.admit(self.of_sign_in(name, client)).await
    }

    /// Admits a registration.
    ///
    /// # Errors
    /// How long it is until one more is let in.
    pub async fn registration(&self, client: Network) -> Result<Attempt<'_>, Duration> {
        let key = self.hasher.hash_one((Limit::Registrations, client));
        self.admit(vec![(Limit::Registrations, key)]).await
    }

    fn of_sign_in(&self, name: &str, client: Network) -> Keys {
        let account = self.hasher.hash_one((Limit::Account, client, name));
        let address = self.hasher.hash_one((Limit::Address, client));
        vec![(Limit::Account, account), (Limit::Address, address)]
    }

    fn max(&self, limit: Limit) -> u32 {
        match limit {
            Limit::Account => ACCOUNT_FAILURES_MAX,
            Limit::Address | Limit::Registrations => self.address_max,
        }
    }

    fn refuse(&self, limit: Limit, wait: Duration) -> Duration {
        self.refused.with_label_values(&[<&str>::from(limit)]).inc();
        wait
    }

    /// What all of the limits leave together.
    fn room(&self, counts: &Counts, keys: &Keys, now: Instant) -> Room {
        let mut room = Room::Free;
        for (limit, key) in keys {
            let Some(count) = counts.by_key.get(key) else { continue };
            let (max, (failures, wait)) = (self.max(*limit), count.failures(now));
            if failures >= max {
                // Of two limits the one that lasts longer.
                match room {
                    Room::None(_, longer) if longer >= wait => {}
                    _ => room = Room::None(*limit, wait),
                }
            } else if failures.saturating_add(count.open) >= max && matches!(room, Room::Free) {
                room = Room::Unsure;
            }
        }
        room
    }

    async fn admit(&self, keys: Keys) -> Result<Attempt<'_>, Duration> {
        loop {
            // Made before the look: what is settled in between wakes it.
            let settled = self.settled.notified();
            let now = Instant::now();
            {
                let mut counts = self.lock();
                match self.room(&counts, &keys, now) {
                    Room::Free => {
                        counts.sweep(now);
                        keys.iter().for_each(|(_, key)| counts.open(*key, now));
                        return Ok(Attempt { attempts: self, keys, is_forgiven: false });
                    }
                    Room::None(limit, wait) => return Err(self.refuse(limit, wait)),
                    Room::Unsure => {}
                }
            }
            settled.await;
        }
    }
}

impl Count {
    /// How many failures count, and for how long.
    fn failures(&self, now: Instant) -> (u32, Duration) {
        let left = WINDOW.saturating_sub(now.saturating_duration_since(self.begun));
        if left.is_zero() { (0, left) } else { (self.failures, left) }
    }
}

impl Counts {
    fn open(&mut self, key: u64, now: Instant) {
        self.by_key.entry(key).or_insert(Count { begun: now, failures: 0, open: 0 }).open += 1;
    }

    /// An attempt came to its end.
    fn settle(&mut self, key: u64, is_forgiven: bool, now: Instant) {
        let count = self.by_key.entry(key).or_insert(Count { begun: now, failures: 0, open: 0 });
        count.open = count.open.saturating_sub(1);
        if is_forgiven {
            return;
        }
        if count.failures(now).0 == 0 {
            (count.begun, count.failures) = (now, 0);
        }
        count.failures += 1;
    }

    /// Forgets what no longer counts, now and then, and makes room where there is too much.
    fn sweep(&mut self, now: Instant) {
        let is_full = self.by_key.len() + Limit::VARIANTS.len() > COUNTS_MAX;
        if !is_full && now.saturating_duration_since(self.swept) < WINDOW {
            return;
        }
        self.swept = now;
        self.by_key.retain(|_, count| count.open > 0 || count.failures(now).0 > 0);
        if self.by_key.len() > COUNTS_MAX / 2 {
            let mut begun: Vec<Instant> = self.by_key.values().map(|count| count.begun).collect();
            let (_, &mut middle, _) = begun.select_nth_unstable(self.by_key.len() - COUNTS_MAX / 2);
            self.by_key.retain(|_, count| count.begun > middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fair::address;

    fn here() -> Network {
        address(1)
    }

    fn there() -> Network {
        address(2)
    }

    fn attempts() -> Attempts {
        with_address_max(30)
    }

    fn with_address_max(address_max: u32) -> Attempts {
        Attempts::new(address_max, &Registry::new()).unwrap()
    }

    fn refused(attempts: &Attempts, limit: Limit) -> u64 {
        attempts.refused.with_label_values(&[<&str>::from(limit)]).get()
    }

    #[tokio::test]
    async fn one_account_is_guessed_at_so_often_from_one_address() {
        let attempts = attempts();
        for _ in 0..ACCOUNT_FAILURES_MAX {
            assert!(attempts.may_sign_in("ann", here()).is_ok());
            drop(attempts.sign_in("ann", here()).await.unwrap());
        }
        let wait = attempts.may_sign_in("ann", here()).unwrap_err();
        assert!(wait > WINDOW / 2 && wait <= WINDOW, "{wait:?}");
        assert!(attempts.sign_in("ann", here()).await.is_err());
        assert_eq!(refused(&attempts, Limit::Account), 2);
        assert!(
            attempts.sign_in("bob", here()).await.is_ok() && attempts.sign_in("ann", there()).await.is_ok()
        );
    }

    #[tokio::test]
    async fn one_address_guesses_so_often_at_all_accounts() {
        let attempts = attempts();
        for number in 0..30 {
            drop(attempts.sign_in(&number.to_string(), here()).await.unwrap());
        }
        assert!(
            attempts.sign_in("ann", here()).await.is_err() && attempts.sign_in("ann", there()).await.is_ok()
        );
        assert_eq!(refused(&attempts, Limit::Address), 1);
    }

    #[tokio::test]
    async fn who_is_right_uses_nothing_up() {
        let attempts = attempts();
        for _ in 0..300 {
            attempts.sign_in("ann", here()).await.unwrap().forgive();
        }
        for _ in 0..ACCOUNT_FAILURES_MAX {
            drop(attempts.sign_in("ann", here()).await.unwrap());
        }
        assert!(attempts.sign_in("ann", here()).await.is_err());
    }

    #[tokio::test]
    async fn registrations_are_counted_apart() {
        let attempts = with_address_max(3);
        for _ in 0..3 {
            drop(attempts.registration(here()).await.unwrap());
        }
        assert!(attempts.registration(here()).await.is_err() && attempts.registration(there()).await.is_ok());
        assert!(attempts.sign_in("ann", here()).await.is_ok());
        assert_eq!(refused(&attempts, Limit::Registrations), 1);
    }

    #[tokio::test]
    async fn the_last_place_is_waited_for() {
        let attempts = with_address_max(3);
        let (_one, _two) = (attempts.registration(here()).await, attempts.registration(here()).await);
        for is_right in [true, false] {
            let open = attempts.registration(here()).await.unwrap();
            let mut waits = std::pin::pin!(attempts.registration(here()));
            assert!(futures_util::poll!(&mut waits).is_pending(), "nobody knows yet");
            if is_right {
                open.forgive();
                waits.await.unwrap().forgive();
            } else {
                drop(open);
                assert!(futures_util::poll!(&mut waits).is_pending(), "two are open still");
            }
        }
        drop((_one, _two));
        assert!(attempts.registration(here()).await.is_err());
    }

    #[test]
    fn a_window_ends() {
        let (begun, key) = (Instant::now(), 7);
        let mut counts = Counts { by_key: HashMap::new(), swept: begun };
        for number in 1..=3 {
            counts.open(key, begun);
            counts.settle(key, false, begun + Duration::from_secs(number));
        }
        let later = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(counts.by_key[&key].failures(later(11)), (3, WINDOW - Duration::from_secs(10)));
        assert_eq!(counts.by_key[&key].failures(later(61)).0, 0);
        // The next one begins a window of its own; what is open stays so.
        counts.open(key, later(70));
        counts.open(key, later(70));
        counts.settle(key, false, later(70));
        let count = counts.by_key[&key];
        assert_eq!((count.failures(later(71)), count.open), ((1, WINDOW - Duration::from_secs(1)), 1));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let begun = Instant::now();
        let mut counts = Counts { by_key: HashMap::new(), swept: begun };
        for number in 0..2 * COUNTS_MAX as u64 {
            let now = begun + Duration::from_micros(number);
            counts.sweep(now);
            counts.settle(number, false, now);
            assert!(counts.by_key.len() <= COUNTS_MAX);
        }
        assert!(counts.by_key.len() >= COUNTS_MAX / 2);
        assert!(counts.by_key.contains_key(&(2 * COUNTS_MAX as u64 - 1)));
        counts.sweep(begun + 2 * WINDOW);
        assert!(counts.by_key.is_empty());
    }
}
