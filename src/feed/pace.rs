//! When the tail looks again. Pure.
//!
//! Each look of each instance is the database's work: about a third of what a write costs it. At a thousand changes a
//! second looks must come each 10 ms, or changes are told later than 20 ms after their write; there the looks of nine
//! instances are a small part of what the writes cost. Where changes are a few hundred a second the same looks would cost
//! more than the writes. So looks get rarer with the cube of the rate, until they come as rarely as those who are held
//! are to be told of a change, and as changes that nobody numbered are to be found.
//! A write of this instance, and a poll that cannot be answered yet or soon could not, wake the tail at once.

use std::time::{Duration, Instant};

use super::FRESH_MS_MAX;

/// Shortest time from one look to the next of an instance that follows another: at a thousand changes a second they are to be
/// seen within 20 ms.
const SHORTEST_MS: u64 = 10;
/// Changes a second from which on looks are [`SHORTEST_MS`] apart. Far below a thousand, as changes come in runs and the rate
/// is an average over few looks. At 300 they are [`HELD_MS`] apart, and nine instances that follow a tenth cost its
/// database less than a fifth of what the writes do (`benches/RESULTS.md`).
const MANY_PER_S: f64 = 600.0;
/// Longest time while somebody is held or listens to a stream: they are told of a change as soon as a poll is to see it.
const HELD_MS: u64 = 80;
/// Longest time else. Where polls are many they wake the tail before that, and a rare one waits for a look of its own
/// rather than that others are made for nobody.
const IDLE_MS: u64 = 200;
/// Shortest time from the begin of a round to the next, whatever wakes the tail: writes that come closer share one.
const ROUND_MS_MIN: u64 = 5;
/// After a round there is a rest as long as it took, up to this, and of this length where there were
/// [`MANY_CHANGES_MIN`]: a database that is busy is asked less often, and still often enough for [`FRESH_MS_MAX`].
const REST_MS_MAX: u64 = 25;
/// So many changes in one round mean that the database is full: its writers need it more than its readers need to be
/// told soon. It is more than 1,000 writes a second make during the longest rest, or one slow round would make all that
/// follow slow.
const MANY_CHANGES_MIN: u64 = 64;
/// What the newest round weighs in the averages.
const WEIGHT: f64 = 0.25;

const _: () = assert!(ROUND_MS_MIN <= SHORTEST_MS && SHORTEST_MS < HELD_MS && HELD_MS < FRESH_MS_MAX);

/// What a round was like.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// When it began.
    pub begun: Instant,
    /// How long it took.
    pub took: Duration,
    /// Changes that came with it.
    pub changes: u64,
    /// Others may leave changes to this instance to be numbered.
    pub leads: bool,
    /// Polls are held here, or streams open.
    pub is_held: bool,
}

/// When the next round begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Not before this, even if somebody waits for it.
    pub earliest: Instant,
    /// Now, if nobody does.
    pub latest: Instant,
}

/// Moving averages over the last rounds.
#[derive(Debug, Default)]
pub struct Pace {
    /// Changes of one.
    changes: f64,
    /// Seconds from the begin of one to the begin of the next.
    apart: f64,
    last: Option<Instant>,
}

impl Pace {
    /// Takes in a round, and tells when the next one is due.
    pub fn after(&mut self, round: Round) -> Next {
        let Round { begun, took, changes, leads, is_held } = round;
        let apart = self.last.map_or(Duration::ZERO, |last| begun.saturating_duration_since(last));
        self.last = Some(begun);
        self.apart += WEIGHT * (apart.as_secs_f64() - self.apart);
        self.changes += WEIGHT * (changes as f64 - self.changes);
        let longest = Duration::from_millis(REST_MS_MAX);
        let rest = if changes < MANY_CHANGES_MIN { took.min(longest) } else { longest };
        let earliest = begun + Duration::from_millis(ROUND_MS_MIN).max(took + rest);
        Next { earliest, latest: earliest.max(begun + self.between_looks(leads, is_held)) }
    }

    fn between_looks(&self, leads: bool, is_held: bool) -> Duration {
        let shortest = Duration::from_millis(SHORTEST_MS);
        let longest = Duration::from_millis(if is_held { HELD_MS } else { IDLE_MS });
        // Without changes it is infinite, or no number.
        let rarer = (MANY_PER_S * self.apart / self.changes).powi(3);
        let follows = shortest.mul_f64(rarer.min(longest.div_duration_f64(shortest))).max(shortest);
        // What is left to who leads is told to nobody before it is numbered.
        if leads { (follows / 2).min(shortest) } else { follows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of an instance that finds `per_second` changes and is woken by nobody; the last one's distance from the next,
    /// in milliseconds.
    fn settled(pace: &mut Pace, now: &mut Instant, per_second: f64, rounds: usize, leads: bool) -> f64 {
        let (mut owed, mut apart) = (0.0_f64, Duration::ZERO);
        for _ in 0..rounds {
            let took = Duration::from_millis(1);
            let next = pace.after(Round { begun: *now, took, changes: owed as u64, leads, is_held: true });
            assert!(next.earliest <= next.latest);
            apart = next.latest - *now;
            owed = owed.fract() + per_second * apart.as_secs_f64();
            *now = next.latest;
        }
        apart.as_secs_f64() * 1e3
    }

    #[test]
    fn looks_get_rarer_with_the_cube_of_the_rate_within_bounds() {
        for (per_second, least, most) in [
            (0.0, 80.0, 80.0),
            (10.0, 80.0, 80.0),
            (100.0, 80.0, 80.0),
            (300.0, 72.0, 80.0),
            (500.0, 14.0, 20.0),
            (1_000.0, 10.0, 10.0),
            (20_000.0, 26.0, 26.0),
        ] {
            let (mut pace, mut now) = (Pace::default(), Instant::now());
            let apart = settled(&mut pace, &mut now, per_second, 200, false);
            assert!((least..=most).contains(&apart), "{per_second}/s: {apart} ms");
            // As soon as nothing changes any more, the looks get rare, and as soon as much does, frequent.
            settled(&mut pace, &mut now, 0.0, 20, false);
            assert_eq!(settled(&mut pace, &mut now, 0.0, 1, false), 80.0, "after {per_second}/s");
            settled(&mut pace, &mut now, 1_000.0, 5, false);
            let apart = settled(&mut pace, &mut now, 1_000.0, 1, false);
            assert!(apart < 20.0, "{apart} ms after silence");
        }
    }

    #[test]
    fn where_nobody_is_held_looks_may_be_rarer() {
        let round = |is_held| Round {
            begun: Instant::now(),
            took: Duration::ZERO,
            changes: 0,
            leads: false,
            is_held,
        };
        let apart = |round: Round| (Pace::default().after(round).latest - round.begun).as_millis();
        assert_eq!((apart(round(true)), apart(round(false))), (80, 200));
    }

    #[test]
    fn who_leads_looks_more_often() {
        for (per_second, apart) in [(0.0, 10.0), (100.0, 10.0), (1_000.0, 5.0)] {
            let (mut pace, mut now) = (Pace::default(), Instant::now());
            assert_eq!(settled(&mut pace, &mut now, per_second, 200, true), apart, "{per_second}/s");
        }
    }

    /// At a thousand changes a second there are rounds that find none, as they come in runs.
    #[test]
    fn a_round_without_changes_makes_none_late() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        settled(&mut pace, &mut now, 1_000.0, 50, false);
        for changes in [0, 20, 0, 0, 30, 0, 20, 0, 0, 30] {
            let next = pace.after(Round {
                begun: now,
                took: Duration::from_millis(1),
                changes,
                leads: false,
                is_held: true,
            });
            let apart = next.latest - now;
            assert!(apart < Duration::from_millis(15), "{apart:?} after {changes}");
            now = next.latest;
        }
    }

    #[test]
    fn a_busy_database_is_left_alone_for_a_while() {
        let at = Instant::now();
        let after = |took, changes| {
            let took = Duration::from_millis(took);
            let next = Pace::default().after(Round { begun: at, took, changes, leads: true, is_held: true });
            (next.earliest - at).as_millis()
        };
        assert_eq!(after(0, 1), 5);
        assert_eq!(after(2, 1), 5);
        assert_eq!(after(10, 1), 20);
        assert_eq!(after(400, 1), 425);
        assert_eq!(after(2, 64), 27);
        let slow =
            Round { begun: at, took: Duration::from_millis(400), changes: 0, leads: false, is_held: true };
        let next = Pace::default().after(slow);
        assert_eq!(next.earliest, next.latest, "it took longer than the pause");
    }
}
