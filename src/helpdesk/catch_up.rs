//! What a `since` poll asks the database for, because it reaches back further than the feed's memory.
//!
//! The answer is the oldest that are new, so that the next poll, which echoes the newest time of this answer, goes
//! on where it was cut. What makes that true however many there are:
//!
//! - **A cut falls between two times**, never between two things of one time: the echo of that time would
//!   stand for both. Where more have one time than an answer holds, they are all given, up to
//!   [`ONE_TIME_MAX`] and the bytes of an answer; beyond that the poll is refused with a text that says why.
//! - **What is late does not use up the answer.** A transaction commits later than the time that it wrote, so the
//!   database is asked for what has a time up to [`COMMIT_MICROS_MAX`] before `since`, too. That part may take half of an
//!   answer. Where so much happened in those seconds that it does not fit, it reaches back less far.
//! - **A time that was shown stands for all up to it**, where the feed can tell that nothing came late: memory knows that of
//!   a user for longer than it has what they were told. Then nothing is repeated. (A conversation that moved on shows
//!   that time no more: with it what else changed in the seconds before it is repeated.)
//! - **A cut answer stands for nothing but itself**: the feed does not remember it, and it has no cursor.
//! - Where the server knows that all up to the cut was committed when it answered, it remembers the cut
//!   ([`Cuts`]), and its echo is answered without repeats. Another instance does not know and repeats.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::chassis::list::List;
use crate::chassis::{ANSWER_BYTES_MAX, Error};
use crate::clock::Timestamp;
use crate::db::Connection;
use crate::feed::poll::BeyondMemory;
use crate::feed::{COMMIT_MICROS_MAX, window};

use super::changes::Class;
use super::model::LIST_MAX;
use super::timeline::{self, Texts};
use super::{Helpdesk, store};

/// What is late takes this much of an answer, in rows and in bytes.
const LATE_MAX: usize = LIST_MAX as usize / 2;
const LATE_BYTES_MAX: usize = ANSWER_BYTES_MAX / 2;
/// It reaches back a quarter as far where that is too much; below this, in microseconds, not at all.
const REACH_MICROS_MIN: i64 = 50_000;
/// Things with one and the same time that one answer gives: ours differ, those of a copied table may not.
pub const ONE_TIME_MAX: usize = 10_000;
/// Cuts remembered; when there are more, all are forgotten, and some clients get something twice.
const CUTS_MAX: usize = 8_192;

// What is answered from memory and what from the database is bounded alike.
const _: () = assert!(window::NEWS_BYTES_MAX == ANSWER_BYTES_MAX && window::NEWS_MAX as u64 == LIST_MAX);

const TOO_MANY: Error =
    Error::unprocessable("Too many changes have the same time: read them by GET /conversations");

/// The newest times of cut answers up to which nothing can come any more.
#[derive(Default)]
pub(super) struct Cuts(Mutex<HashMap<(u64, Class), Timestamp>>);

impl Cuts {
    fn note(&self, user: u64, class: Class, at: Timestamp) {
        let mut cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cuts.len() >= CUTS_MAX {
            cuts.clear();
        }
        cuts.insert((user, class), at);
    }

    /// Whether this time is where the user's last answer was cut.
    fn is_at(&self, user: u64, class: Class, since: Timestamp) -> bool {
        let cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.get(&(user, class)) == Some(&since)
    }
}

/// An answer.
pub(super) struct CaughtUp {
    /// The array.
    pub json: Vec<u8>,
    /// Nothing has a later time: the latest in it, or `since`; where there is nothing, not even late, what was asked for.
    pub newest: Timestamp,
    /// There is more after it.
    pub is_cut: bool,
}

/// Answers a poll that was received on `event_loop`.
pub(super) async fn since(
    desk: &Helpdesk,
    event_loop: usize,
    asked: &BeyondMemory<Class>,
) -> Result<CaughtUp, Error> {
    let &BeyondMemory { user, class, since, .. } = asked;
    let mut db = desk.db.heavy().await?;
    let moment = db.begin_snapshot().await?;
    let reach = if desk.cuts.is_at(user, class, since) { 0 } else { COMMIT_MICROS_MAX };
    let asking = Asking { since, reach, wanted: LIST_MAX as usize };
    let is_settled = async || desk.feed.is_settled(event_loop, asked).await;
    let found = match class {
        Class::Messages => messages(&mut db, user, asking, is_settled).await?,
        _ => changed(&mut db, user, asking, is_settled).await?,
    };
    db.end_snapshot().await?;
    if found.is_cut && found.newest.micros() + COMMIT_MICROS_MAX <= moment.micros() {
        desk.cuts.note(user, class, found.newest);
    }
    Ok(found)
}

/// Oldest first.
async fn messages(
    db: &mut Connection,
    user: u64,
    mut asking: Asking,
    is_settled: impl AsyncFnOnce() -> bool,
) -> Result<CaughtUp, Error> {
    let (keys, mut part) = loop {
        let keys = timeline::oldest_since(db, user, asking.from(), asking.wanted + 1).await?;
        if let Some(part) = asking.part(keys.iter().map(|key| key.at).collect())? {
            break (keys, part);
        }
    };
    let known = asking.leave_out_known(&mut part, is_settled).await;
    let mut answer = Writing::new(asking, part);
    let mut texts = Texts::of(&keys[known..known + answer.part.count]);
    while let Some(page) = texts.next(db).await? {
        for message in &page {
            if !answer.add(message.json())? {
                return Ok(answer.end(List::json));
            }
        }
    }
    Ok(answer.end(List::json))
}

/// Conversations, newest update first.
async fn changed(
    db: &mut Connection,
    user: u64,
    mut asking: Asking,
    is_settled: impl AsyncFnOnce() -> bool,
) -> Result<CaughtUp, Error> {
    let (found, mut part) = loop {
        let found = store::conversation_list_since(db, user, asking.from(), asking.wanted + 1).await?;
        if let Some(part) = asking.part(found.iter().map(|one| one.updated_at).collect())? {
            break (found, part);
        }
    };
    let known = asking.leave_out_known(&mut part, is_settled).await;
    let mut answer = Writing::new(asking, part);
    for conversation in &found[known..known + answer.part.count] {
        if !answer.add(conversation.json(conversation.unread_count(user)))? {
            break;
        }
    }
    Ok(answer.end(List::json_reversed))
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Asking {
    since: Timestamp,
    /// How much further back, in microseconds.
    reach: i64,
    wanted: usize,
}

/// The part of what was found that one answer gives, by rows.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// Of all that was found, in order.
    times: Vec<Timestamp>,
    /// How many of them are not later than `since`.
    late: usize,
    /// How many are given.
    count: usize,
    is_cut: bool,
}

impl Asking {
    /// Takes what the client has out of the part: of what is not later than a time that was shown, all, where that time is
    /// settled. How many those are.
    async fn leave_out_known(&mut self, part: &mut Part, is_settled: impl AsyncFnOnce() -> bool) -> usize {
        let late = part.late;
        let is_shown = late.checked_sub(1).is_some_and(|last| part.times[last] == self.since);
        if !is_shown || !is_settled().await {
            return 0;
        }
        self.reach = 0;
        part.times.drain(..late);
        (part.late, part.count) = (0, part.count - late);
        late
    }

    fn from(&self) -> Timestamp {
        Timestamp::from_micros(self.since.micros() - self.reach)
    }

    /// The part to give of things with these times, which are the oldest and one more than wanted if there are as
    /// many; `None` when something else is to be asked, which this then is.
    fn part(&mut self, times: Vec<Timestamp>) -> Result<Option<Part>, Error> {
        let late = times.partition_point(|at| *at <= self.since);
        if late > LATE_MAX {
            self.reach = if self.reach / 4 < REACH_MICROS_MIN { 0 } else { self.reach / 4 };
            return Ok(None);
        }
        let is_all = times.len() <= self.wanted;
        let count = if self.wanted == ONE_TIME_MAX {
            // All of the first time, and no more.
            times.partition_point(|at| times.get(late).is_some_and(|first| at <= first))
        } else if is_all {
            times.len()
        } else {
            // Before the time of which not all may be there.
            times.partition_point(|at| *at < times[self.wanted])
        };
        if !is_all && count == times.len() {
            return Err(TOO_MANY);
        }
        if !is_all && count <= late {
            self.wanted = ONE_TIME_MAX;
            return Ok(None);
        }
        Ok(Some(Part { is_cut: count < times.len(), times, late, count }))
    }
}

/// An answer that is written until it is full.
struct Writing {
    asking: Asking,
    part: Part,
    list: List,
    added: usize,
    /// Of the late ones, that did not fit.
    left_out: usize,
}

impl Writing {
    fn new(asking: Asking, part: Part) -> Self {
        Self { asking, part, list: List::default(), added: 0, left_out: 0 }
    }

    /// Adds the next one; false when it is full, and ends before the time of that one.
    fn add(&mut self, json: Vec<u8>) -> Result<bool, Error> {
        let Part { times, late, count, is_cut } = &mut self.part;
        let place = self.added;
        if self.list.push_back(json) {
            self.added += 1;
            if self.added <= *late {
                self.left_out += self.list.shrink_front(LATE_BYTES_MAX);
            }
            return Ok(true);
        }
        *count = times.partition_point(|at| *at < times[place]);
        *is_cut = true;
        if *count <= *late {
            return Err(TOO_MANY);
        }
        self.list.truncate(*count - self.left_out);
        Ok(false)
    }

    fn end(self, json: impl Fn(&List) -> Vec<u8>) -> CaughtUp {
        let Part { times, count, is_cut, .. } = self.part;
        let last = count.checked_sub(1);
        let newest = last.map_or(self.asking.from(), |last| times[last].max(self.asking.since));
        CaughtUp { json: json(&self.list), newest, is_cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Timestamp = Timestamp::from_micros(10_000_000);
    const FULL: usize = LIST_MAX as usize;

    fn asking() -> Asking {
        Asking { since: SINCE, reach: 5_000_000, wanted: FULL }
    }

    /// Of things `after` `since`, by these microseconds, in order; what was asked at the end and the part given.
    fn given(all: &[i64]) -> (Asking, Result<(usize, usize, bool), ()>) {
        let mut asking = asking();
        for _ in 0..12 {
            let from = asking.from().micros() - SINCE.micros();
            let found = all.iter().filter(|micros| **micros > from).take(asking.wanted + 1);
            let times = found.map(|micros| Timestamp::from_micros(SINCE.micros() + micros)).collect();
            match asking.part(times) {
                Ok(None) => {}
                Ok(Some(part)) => return (asking, Ok((part.late, part.count, part.is_cut))),
                Err(_) => return (asking, Err(())),
            }
        }
        panic!("it asks for ever: {asking:?}")
    }

    #[test]
    fn a_cut_falls_between_two_times_and_what_is_late_does_not_use_it_up() {
        let each = |count: i64| (1..=count).collect::<Vec<i64>>();
        assert_eq!(given(&[]).1, Ok((0, 0, false)));
        assert_eq!(given(&each(1_000)).1, Ok((0, 1_000, false)));
        assert_eq!(given(&each(1_001)).1, Ok((0, 1_000, true)));
        let pairs: Vec<i64> = (0..2_000).map(|place| 1 + (place + 1) / 2).collect();
        assert_eq!(given(&pairs).1, Ok((0, 999, true)), "not one of the two that share a time");
        // More of one time than an answer holds.
        assert_eq!(given(&[7; 1_001]).1, Ok((0, 1_001, false)));
        let mut more = vec![7; 3_000];
        more.extend(8..10);
        assert_eq!(given(&more).1, Ok((0, 3_000, true)), "with nothing after them");
        assert_eq!(given(&[7; ONE_TIME_MAX]).1, Ok((0, ONE_TIME_MAX, false)));
        assert_eq!(given(&[7; ONE_TIME_MAX + 1]).1, Err(()));
        // Late ones.
        let mut late: Vec<i64> = (-300..=0).collect();
        late.extend(1..=2_000);
        assert_eq!(given(&late).1, Ok((301, 1_000, true)));
        let many: Vec<i64> = (-4_000..=1_000).map(|milli| 1_000 * milli).collect();
        let (asked, part) = given(&many);
        assert_eq!((asked.reach, part), (312_500, Ok((313, 1_000, true))), "less far back");
        let dense: Vec<i64> = (-100_000..=2_000).collect();
        let (asked, part) = given(&dense);
        assert_eq!((asked.reach, part), (0, Ok((0, 1_000, true))));
        let mut behind = vec![0; 700];
        behind.extend([3; 1_200]);
        assert_eq!(given(&behind).1, Ok((0, 1_200, false)));
    }

    #[test]
    fn an_answer_that_is_full_ends_before_the_time_that_does_not_fit() {
        let at = |micros: i64| Timestamp::from_micros(SINCE.micros() + micros);
        let writing = |times: &[i64]| {
            let times: Vec<_> = times.iter().map(|&micros| at(micros)).collect();
            let part = asking().part(times).unwrap().unwrap();
            Writing::new(asking(), part)
        };
        let third = || vec![b'1'; ANSWER_BYTES_MAX / 3];
        let mut full = writing(&[1, 2, 2, 3]);
        assert!(full.add(third()).unwrap() && full.add(third()).unwrap());
        assert!(!full.add(third()).unwrap(), "the second of one time does not fit: neither is given");
        let answer = full.end(List::json);
        assert_eq!((answer.newest, answer.is_cut), (at(1), true));
        assert_eq!(answer.json.len(), ANSWER_BYTES_MAX / 3 + 2);
        // Late ones leave room.
        let mut late = writing(&[-3, -2, -1, 1, 2]);
        for _ in 0..4 {
            assert!(late.add(third()).unwrap());
        }
        assert!(!late.add(third()).unwrap());
        let answer = late.end(List::json);
        assert_eq!((answer.newest, answer.is_cut), (at(1), true));
        assert_eq!(answer.json.len(), 2 * (ANSWER_BYTES_MAX / 3) + 3, "one that is late, one that is new");
        // More of one time than fits.
        let mut one_time = writing(&[1, 1, 1]);
        assert!(one_time.add(third()).unwrap() && one_time.add(third()).unwrap());
        assert!(one_time.add(third()).is_err());
    }

    #[test]
    fn cuts_are_remembered_until_there_are_too_many() {
        let cuts = Cuts::default();
        cuts.note(1, Class::Messages, SINCE);
        assert!(cuts.is_at(1, Class::Messages, SINCE));
        assert!(!cuts.is_at(1, Class::Conversations, SINCE) && !cuts.is_at(2, Class::Messages, SINCE));
        for user in 0..=CUTS_MAX as u64 {
            cuts.note(user + 10, Class::Messages, SINCE);
        }
        assert!(!cuts.is_at(1, Class::Messages, SINCE));
        assert!(cuts.0.lock().unwrap().len() <= CUTS_MAX);
    }
}
