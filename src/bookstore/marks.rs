//! How a caller reads their own writes at once, although the reader may lag by any time, or stand still.
//!
//! Every transaction that changes something in the shop also counts up its user's row in `bookstore_marks`. The
//! count travels to the reader with the change: **a reader that has the count has the change.** So a caller's
//! reads need only know the count to ask for, their mark. They get it
//! - from this process, which remembers the marks of those who wrote through it lately;
//! - from the cookie that the answer to each write sets, on whatever instance the next request lands. An instance
//!   without a reader sets it, too: while a reader is rolled out, others have one already.
//!
//! A caller with a mark is read for on the reader if its count is as high, else on the writer; a caller without
//! a mark is read for on the reader. What is a caller's own in itself (their books, their purchases, a book
//! they sell) is always read from the writer, so that it also holds for a client that keeps no cookies behind
//! a balancer; there only the public list, and the stock of a book just bought, can be as old as the reader.
//!
//! Several people may share a browser, so the cookie holds the marks of the last few who wrote: `7.3-8.5`, the last
//! one first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

use crate::auth::session;
use crate::chassis::{Response, response};
use crate::db::{Connection, Error};

use super::store;

/// Users whose marks this process remembers. One too many makes it forget another, whose cookie still knows.
pub const MARKS_MAX: usize = 10_000;
/// Seconds a browser keeps the mark: longer than a replica stands still unnoticed.
pub const COOKIE_AGE_S: u64 = 86_400;
const COOKIE_NAME: &str = "hyperdesk_books";
/// Users whose marks one cookie holds.
const COOKIE_MARKS_MAX: usize = 4;

/// What a caller's reads must at least have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose.
    pub user: u64,
    /// How many of their changes.
    pub version: u64,
}

/// The marks that this process remembers.
#[derive(Default)]
pub struct Marks(Mutex<HashMap<u64, u64>>);

impl Marks {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a mark.
    pub fn add(&self, mark: Mark) {
        let mut marks = self.lock();
        if marks.len() >= MARKS_MAX && !marks.contains_key(&mark.user) {
            let any = marks.keys().next().copied();
            any.and_then(|user| marks.remove(&user));
        }
        let version = marks.entry(mark.user).or_default();
        *version = mark.version.max(*version);
    }

    /// The mark of a caller, from here or from their cookie, whichever is higher.
    pub fn find(&self, user: u64, headers: &HeaderMap) -> Option<Mark> {
        let here = self.lock().get(&user).copied();
        let own = in_cookies(headers).filter(|mark| mark.user == user).map(|mark| mark.version);
        let version = own.chain(here).max()?;
        Some(Mark { user, version })
    }

    /// Forgets a mark that the reader has reached.
    fn reached(&self, mark: Mark) {
        let mut marks = self.lock();
        if marks.get(&mark.user).is_some_and(|version| *version <= mark.version) {
            marks.remove(&mark.user);
        }
    }

    /// Whether what this connection leads to has seen all that the mark asks for.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn are_reached(&self, db: &mut Connection, mark: Option<Mark>) -> Result<bool, Error> {
        let Some(mark) = mark else { return Ok(true) };
        let reached = store::mark_version(db, mark.user).await? >= mark.version;
        if reached {
            self.reached(mark);
        }
        Ok(reached)
    }
}

/// The marks in all cookies of the name, as they stand there: a browser sends one for each path and domain that it was
/// ever set for.
fn in_cookies(headers: &HeaderMap) -> impl Iterator<Item = Mark> {
    let cookies = headers.get_all(COOKIE).iter();
    let values = cookies.flat_map(|cookies| session::cookies(cookies.as_bytes(), COOKIE_NAME));
    values.flat_map(|value| value.split(|byte| *byte == b'-')).filter_map(|mark| {
        let (user, version) = std::str::from_utf8(mark).ok()?.split_once('.')?;
        Some(Mark { user: user.parse().ok()?, version: version.parse().ok()? })
    })
}

/// The marks that a browser keeps for others than this user: the newest of each, of as many as a cookie has room for.
pub fn of_others(user: u64, headers: &HeaderMap) -> Vec<Mark> {
    let mut others: Vec<Mark> = Vec::new();
    for mark in in_cookies(headers).filter(|mark| mark.user != user) {
        let has_room = others.len() + 1 < COOKIE_MARKS_MAX;
        match others.iter_mut().find(|known| known.user == mark.user) {
            Some(known) => known.version = mark.version.max(known.version),
            None if has_room => others.push(mark),
            None => {}
        }
    }
    others
}

/// The same answer with the caller's mark in a cookie, and after it those of others.
pub fn with_marks(response: Response, mark: Mark, others: &[Mark], production: bool) -> Response {
    let mut value = format!("{}.{}", mark.user, mark.version);
    for other in others {
        value.push_str(&format!("-{}.{}", other.user, other.version));
    }
    let cookie = session::set_cookie(COOKIE_NAME, &value, COOKIE_AGE_S, production);
    match HeaderValue::from_str(&cookie) {
        Ok(cookie) => response::with_header(response, SET_COOKIE, cookie),
        Err(_) => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(text))])
    }

    #[test]
    fn the_higher_mark_counts_and_only_ones_own() {
        let marks = Marks::default();
        assert_eq!(marks.find(7, &HeaderMap::new()), None);
        assert_eq!(marks.find(7, &cookies("a=b; hyperdesk_books=8.3")), None);
        assert_eq!(marks.find(7, &cookies("hyperdesk_books=7.x")), None);
        let asked = cookies("a=b; hyperdesk_books=7.3");
        assert_eq!(marks.find(7, &asked), Some(Mark { user: 7, version: 3 }));
        marks.add(Mark { user: 7, version: 5 });
        marks.add(Mark { user: 7, version: 4 });
        assert_eq!(marks.find(7, &asked), Some(Mark { user: 7, version: 5 }));
        marks.reached(Mark { user: 7, version: 4 });
        assert!(marks.find(7, &HeaderMap::new()).is_some());
        marks.reached(Mark { user: 7, version: 5 });
        assert_eq!(marks.find(7, &HeaderMap::new()), None);
    }

    #[test]
    fn of_all_marks_in_all_cookies_the_newest_of_ones_own_counts() {
        let asked = cookies(
            "hyperdesk_books=8.9-7.2-7; hyperdesk_books=7.4-x.1-6.1; hyperdesk_books=7.3-5.1-4.1-3.1",
        );
        let find = |user| Marks::default().find(user, &asked).map(|mark| mark.version);
        assert_eq!([7, 8, 6, 3].map(find), [Some(4), Some(9), Some(1), Some(1)]);
        assert_eq!(find(1), None);
        let others =
            |user| of_others(user, &asked).iter().map(|mark| (mark.user, mark.version)).collect::<Vec<_>>();
        assert_eq!(others(8), [(7, 4), (6, 1), (5, 1)]);
        assert_eq!(others(1), [(8, 9), (7, 4), (6, 1)]);
        let marked =
            with_marks(response::ok(&1), Mark { user: 8, version: 10 }, &of_others(8, &asked), false);
        let cookie = marked.headers()[SET_COOKIE].to_str().unwrap();
        assert!(cookie.starts_with("hyperdesk_books=8.10-7.4-6.1-5.1; Path=/; "), "{cookie}");
    }

    #[test]
    fn the_memory_is_bounded() {
        let marks = Marks::default();
        for user in 0..=u64::try_from(MARKS_MAX).unwrap() {
            marks.add(Mark { user, version: 1 });
        }
        assert_eq!(marks.lock().len(), MARKS_MAX);
    }
}
