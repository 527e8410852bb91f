//! What answers take of the memory: while they are made, and from then until the kernel has their last byte.
//!
//! A client that does not read keeps its answer here for as long as `connection` puts up with it, and anyone can open
//! many connections. So all answers under way share [`ANSWERS_BYTES_MAX`], of which one address may have as much as it
//! leaves to others, and an answer keeps its share as long as its bytes live, wherever hyper has them. Small ones, of
//! which an idle poll's is one, are left out: they cost no counting, and a connection has more in its buffers than they
//! take.
//!
//! Bytes that several answers share count for each of them: more than they take, never less.
//!
//! While an answer is made it takes more than its length: its rows, and a buffer that doubles as it fills. So those
//! whose length depends on what the database holds are made a few at a time (`background`).

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::ready;
use futures_util::{StreamExt as _, stream};
use prometheus::{IntCounter, Registry};

use crate::fair::Network;
use crate::fair::budget::{Budget, Share};
use crate::metrics;

use super::Error;
use super::background::{LARGE_AT_ONCE_MAX, Making};
use super::response::{Body, Response};

/// Bytes of all answers that are made and not yet with the kernel, small ones left out; beyond it 503.
pub(super) const ANSWERS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Up to so many bytes an answer is not counted: about what its connection has in buffers anyway.
pub(super) const SMALL_BYTES_MAX: usize = 16 * 1024;
/// The longest that a large answer should be. Services cut their lists at it.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What an answer takes while it is made, in its lengths: its rows, and the buffer that it is written into, which has
/// twice its length at worst, and half of that once more while it is enlarged.
const MAKING_FACTOR: usize = 4;

/// All answers together take no more than this, beside what the process takes anyway.
const _: () =
    assert!(ANSWERS_BYTES_MAX + LARGE_AT_ONCE_MAX * MAKING_FACTOR * ANSWER_BYTES_MAX <= 540_000_000);

/// The memory of all answers.
#[derive(Clone)]
pub(super) struct Answers {
    budget: Arc<Budget>,
    refused: IntCounter,
}

/// Bytes and their share of the memory.
struct Weighed {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Weighed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    /// With all of the memory free.
    ///
    /// # Errors
    /// When a metric's name is taken: a mistake of ours.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let budget = Budget::new(ANSWERS_BYTES_MAX);
        let refused = metrics::counter(
            registry,
            "http_answers_refused_total",
            "Answers refused, and streams ended, because those under way took all of their memory.",
        )?;
        let taken = budget.clone();
        metrics::gauge(
            registry,
            "http_answers_bytes",
            "Bytes of answers that clients have yet to take, small answers not counted.",
            move || taken.taken() as f64,
        )?;
        Ok(Self { budget, refused })
    }

    /// Gives an answer to `client` that is made its share. One in pieces gets it for each piece when that is made, and ends
    /// where there is none.
    pub(super) fn weigh(&self, mut response: Response, client: Network) -> Result<Response, Error> {
        match response.body_mut() {
            Body::Whole(None) => {}
            Body::Whole(Some(bytes)) => *bytes = self.weighed(std::mem::take(bytes), client)?,
            Body::Pieces(pieces) => {
                let (all, answers) = (std::mem::replace(pieces, Box::pin(stream::empty())), self.clone());
                *pieces = Box::pin(all.scan((), move |(), piece| ready(answers.weighed(piece, client).ok())));
            }
        }
        response.extensions_mut().remove::<Making>();
        Ok(response)
    }

    /// The same bytes, with their share until the last of them is dropped.
    fn weighed(&self, bytes: Bytes, client: Network) -> Result<Bytes, Error> {
        if bytes.len() <= SMALL_BYTES_MAX {
            return Ok(bytes);
        }
        let mut share = self.budget.share(client);
        if share.grow(bytes.len()).is_none() {
            self.refused.inc();
            return Err(Error::busy("memory for answers"));
        }
        Ok(Bytes::from_owner(Weighed { bytes, _share: share }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fair::address;

    fn here() -> Network {
        address(1)
    }

    fn text(length: usize) -> Bytes {
        Bytes::from(vec![b'x'; length])
    }

    #[test]
    fn a_share_lasts_as_long_as_the_bytes() {
        let answers = Answers::new(&Registry::new()).unwrap();
        let whole = answers.weighed(text(SMALL_BYTES_MAX + 1), here()).unwrap();
        assert_eq!(answers.budget.taken(), SMALL_BYTES_MAX + 1);
        let end = whole.slice(SMALL_BYTES_MAX..);
        drop(whole);
        assert_eq!(answers.budget.taken(), SMALL_BYTES_MAX + 1, "one byte keeps all");
        drop(end);
        assert_eq!(answers.budget.taken(), 0);
    }

    #[test]
    fn small_answers_are_not_counted_and_too_many_large_ones_refused() {
        let answers = Answers::new(&Registry::new()).unwrap();
        let small = answers.weighed(text(SMALL_BYTES_MAX), here()).unwrap();
        assert_eq!(answers.budget.taken(), 0);
        let large = answers.weighed(text(ANSWERS_BYTES_MAX / 2), here()).unwrap();
        let more = text(SMALL_BYTES_MAX + 1);
        assert!(matches!(answers.weighed(more.clone(), here()), Err(Error::Busy(..))));
        assert_eq!(answers.refused.get(), 1);
        assert!(answers.weighed(small, here()).is_ok(), "small ones go on");
        assert!(answers.weighed(more.clone(), address(2)).is_ok(), "and other addresses");
        drop(large);
        assert!(answers.weighed(more, here()).is_ok());
    }

    #[tokio::test]
    async fn an_answer_in_pieces_has_its_share_piece_by_piece_and_ends_where_there_is_none() {
        let answers = Answers::new(&Registry::new()).unwrap();
        let lengths = [SMALL_BYTES_MAX + 1, SMALL_BYTES_MAX + 2, ANSWERS_BYTES_MAX, 1];
        let pieces = Body::Pieces(Box::pin(stream::iter(lengths.map(text))));
        let mut response = answers.weigh(Response::new(pieces), here()).unwrap();
        let Body::Pieces(pieces) = response.body_mut() else { panic!("in pieces") };
        for length in &lengths[..2] {
            let piece = pieces.next().await.unwrap();
            assert_eq!((piece.len(), answers.budget.taken()), (*length, *length));
        }
        assert_eq!(pieces.next().await, None);
        assert_eq!((answers.budget.taken(), answers.refused.get()), (0, 1));
    }
}
