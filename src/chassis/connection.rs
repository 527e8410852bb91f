//! One client connection: what it is doing, since when, and the limits on that.
//!
//! A sweep visits all connections of an event loop a few times a second and ends those that took too long. So no
//! connection has a timer of its own: an idle one costs a few words and no wake-up, and a request sets no timer. In
//! return a limit is kept only to within [`SWEEP_MS`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{FutureExt, Stream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::lag::{Lag, SWEEP_MS};
use super::response::{Body, Pieces, Response};
use super::unparsed;

/// An idle connection is closed after this: longer than a balancer keeps its own idle ones (an ALB 60 s by
/// default), or it would send a request into a connection that is being closed.
pub(super) const IDLE_MS_MAX: u64 = 75_000;
/// Where all connections are in use, one that is idle for this long makes room for another: longer than a browser's that
/// asks every five seconds.
const IDLE_MS_MIN: u64 = 10_000;
/// Longest time from a request's first byte to the end of its head.
pub(super) const HEAD_MS_MAX: u64 = 9_500;
/// Longest time in which a client takes no byte of its answer.
pub(super) const WRITE_STALL_MS_MAX: u64 = 19_500;
/// The slowest client that is waited for: an answer may take [`WRITE_STALL_MS_MAX`], and a second more for each so many
/// bytes of it. That is slower than any network that people use, and fast enough that the longest answer
/// ([`super::ANSWER_BYTES_MAX`]) is gone in about seven minutes.
const WRITE_BYTES_PER_S_MIN: u64 = 20_000;
/// After the last answer, what the client is still sending is read and thrown away until it closes, or sends
/// nothing for this long. Closing on unread bytes resets the connection, and a reset takes the answer away
/// from a client that has not read it yet: it would see a broken upload where we said 413.
pub(super) const LINGER_SILENT_MS_MAX: u64 = 2_000;
/// Longest time for that, however much the client sends.
pub(super) const LINGER_MS_MAX: u64 = 10_000;
/// Most bytes that are read and thrown away in that time.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a connection that has done nothing yet is left open while closing: its request may be on its way.
const CLOSING_GRACE_MS: u64 = 250;

/// What hyper is given of a body at once. It copies head and body into one buffer and sends them as one piece, which takes
/// less of it and of the kernel than two, and keeps that buffer as large as it ever was: with so much in it, and a head, it
/// stays at its [`WRITE_BUFFER_BYTES`]. An idle poll's answer has 400 bytes.
const PIECE_BYTES_MAX: usize = WRITE_BUFFER_BYTES - 1_024;
/// What hyper's buffer for answers begins with.
const WRITE_BUFFER_BYTES: usize = 8 * 1_024;

const _: () = assert!(HEAD_MS_MAX + 2 * SWEEP_MS <= 10_000);
const _: () = assert!(WRITE_STALL_MS_MAX + 2 * SWEEP_MS <= 20_000);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing: before the first request or after an answer.
    Idle,
    /// Receiving a request's head.
    Head,
    /// A request is being answered; the pipeline has its own limits.
    Busy,
    /// The answer is made and on its way.
    Answered,
    /// The answer comes in pieces, of which the last is not made yet.
    Streaming,
    /// The last answer is sent: waiting for the client to close.
    Lingering,
    /// The client left before its request was read, while the loop lagged: put aside until a sweep closes the connection.
    Abandoned,
}

const PHASES: [Phase; 7] = [
    Phase::Idle,
    Phase::Head,
    Phase::Busy,
    Phase::Answered,
    Phase::Streaming,
    Phase::Lingering,
    Phase::Abandoned,
];

/// Shared by the connection's socket, its requests, and the sweep; all on one event loop, so plain stores
/// do. Times are ticks of the sweep.
#[derive(Default)]
pub(super) struct Activity {
    phase: AtomicU8,
    since: AtomicU32,
    /// The tick at which the client stopped taking bytes; 0 while it takes them.
    stalled: AtomicU32,
    /// The tick since which there has always been something that it had not taken; 0 while there is nothing.
    behind: AtomicU32,
    /// Bytes that the client took since then.
    taken: AtomicU64,
    /// Whether there is more of the answer than hyper was given.
    has_more: AtomicBool,
    /// Whether hyper has a piece of the answer that the kernel has not taken.
    has_unsent: AtomicBool,
    /// Whether hyper asked for the next piece meanwhile.
    is_awaited: AtomicBool,
}

impl Activity {
    pub(super) fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Relaxed)) % PHASES.len()]
    }

    pub(super) fn enter(&self, phase: Phase, tick: u32) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(tick, Relaxed);
    }

    /// Whether the connection can be closed without cutting off a request.
    pub(super) fn may_close(&self, tick: u32) -> bool {
        self.phase() == Phase::Idle && longer_than(tick, self.since.load(Relaxed), CLOSING_GRACE_MS)
    }

    /// For how many ticks a connection has been idle that may make room for another.
    pub(super) fn idle_ticks(&self, tick: u32) -> Option<u32> {
        let since = self.since.load(Relaxed);
        (self.phase() == Phase::Idle && longer_than(tick, since, IDLE_MS_MIN))
            .then(|| tick.wrapping_sub(since))
    }

    /// Whether the connection took too long over what it is doing.
    pub(super) fn is_overdue(&self, tick: u32) -> bool {
        let longer_than = |since, limit_ms| longer_than(tick, since, limit_ms);
        let stalled = self.stalled.load(Relaxed);
        if stalled != 0 && longer_than(stalled, WRITE_STALL_MS_MAX) {
            return true;
        }
        let behind = self.behind.load(Relaxed);
        let earned_ms = self.taken.load(Relaxed) * 1_000 / WRITE_BYTES_PER_S_MIN;
        if behind != 0 && longer_than(behind, WRITE_STALL_MS_MAX + earned_ms) {
            return true;
        }
        let since = self.since.load(Relaxed);
        match self.phase() {
            Phase::Idle => longer_than(since, IDLE_MS_MAX),
            Phase::Head => longer_than(since, HEAD_MS_MAX),
            Phase::Lingering => longer_than(since, LINGER_SILENT_MS_MAX),
            Phase::Busy | Phase::Answered | Phase::Streaming | Phase::Abandoned => false,
        }
    }

    /// Whether hyper may be given the next piece. If not, it will be woken when the kernel has the one before.
    fn may_send(&self) -> bool {
        let may_send = !self.has_unsent.load(Relaxed);
        if !may_send {
            self.is_awaited.store(true, Relaxed);
        }
        may_send
    }

    /// Notes that hyper was given a piece.
    fn gave(&self, has_more: bool) {
        self.has_unsent.store(true, Relaxed);
        self.has_more.store(has_more, Relaxed);
    }

    /// Notes that the kernel has all that hyper was given; whether the next piece was asked for.
    fn sent(&self) -> bool {
        self.has_unsent.store(false, Relaxed);
        self.is_awaited.swap(false, Relaxed)
    }

    /// Notes what came of giving the kernel `offered` bytes, which are all that hyper has.
    fn wrote(&self, outcome: &Poll<io::Result<usize>>, offered: usize, tick: u32) {
        // Nearly always the kernel takes all, and did so before.
        if let Poll::Ready(Ok(taken)) = outcome {
            if self.behind.load(Relaxed) != 0 {
                self.stalled.store(0, Relaxed);
                self.taken.store(self.taken.load(Relaxed) + *taken as u64, Relaxed);
                if *taken == offered && !self.has_more.load(Relaxed) {
                    self.behind.store(0, Relaxed);
                }
            }
        } else if outcome.is_pending() && self.stalled.load(Relaxed) == 0 {
            self.stalled.store(tick, Relaxed);
            if self.behind.load(Relaxed) == 0 {
                self.behind.store(tick, Relaxed);
                self.taken.store(0, Relaxed);
            }
        }
    }
}

/// Whether more than `limit_ms` passed from one tick to another, surely: a tick may be nearly over when it is
/// noted.
fn longer_than(tick: u32, since: u32, limit_ms: u64) -> bool {
    u64::from(tick.wrapping_sub(since)) * SWEEP_MS > limit_ms
}

/// Notes that `response` is made. One in pieces keeps the connection busy until the last is made, and so does a large one,
/// which goes out in pieces.
pub(super) fn answered(response: &mut Response, activity: &Arc<Activity>, tick: &Arc<AtomicU32>) {
    if let Body::Whole(bytes) = response.body()
        && bytes.as_ref().is_none_or(|bytes| bytes.len() <= PIECE_BYTES_MAX)
    {
        activity.enter(Phase::Answered, tick.load(Relaxed));
        return;
    }
    let (pieces, rest) = match std::mem::replace(response.body_mut(), Body::empty()) {
        Body::Whole(bytes) => (None, bytes.unwrap_or_default()),
        Body::Pieces(pieces) => (Some(pieces), Bytes::new()),
    };
    if pieces.is_none() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(rest.len()));
    }
    activity.enter(Phase::Streaming, tick.load(Relaxed));
    activity.sent();
    let (activity, tick) = (activity.clone(), tick.clone());
    *response.body_mut() = Body::Pieces(Box::pin(Streamed { pieces, rest, activity, tick }));
}

/// An answer in pieces, which tells [`Activity`] when it is over. The next one is made when the client took the one before.
struct Streamed {
    /// Where more comes from.
    pieces: Option<Pieces>,
    /// What hyper was not given yet of what is made.
    rest: Bytes,
    activity: Arc<Activity>,
    tick: Arc<AtomicU32>,
}

impl Stream for Streamed {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.activity.may_send() {
            return Poll::Pending;
        }
        if self.rest.is_empty() {
            let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
            let piece = ready!(pieces.as_mut().poll_next(cx));
            let Some(piece) = piece else { return Poll::Ready(None) };
            self.rest = piece;
        }
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        let piece = self.rest.split_to(length);
        self.activity.gave(!self.rest.is_empty());
        Poll::Ready(Some(piece))
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.activity.enter(Phase::Answered, self.tick.load(Relaxed));
    }
}

/// The socket, telling [`Activity`] what passes through it.
pub(super) struct Watched {
    io: TokioIo<TcpStream>,
    activity: Arc<Activity>,
    tick: Arc<AtomicU32>,
    lag: Arc<Lag>,
    lingering: Option<Lingering>,
    /// What goes out in place of hyper's own answer to a head that it cannot read.
    refusal: Option<Box<RefusalText>>,
}

struct RefusalText {
    text: Vec<u8>,
    sent: usize,
}

/// Since which tick we have been waiting for the client to close, and what it sent meanwhile.
struct Lingering {
    since: u32,
    bytes: usize,
}

impl Watched {
    pub(super) fn new(
        stream: TcpStream,
        activity: Arc<Activity>,
        tick: Arc<AtomicU32>,
        lag: Arc<Lag>,
    ) -> Self {
        Self { io: TokioIo::new(stream), activity, tick, lag, lingering: None, refusal: None }
    }

    fn tick(&self) -> u32 {
        self.tick.load(Relaxed)
    }

    /// Puts the connection aside if its client has left, as far as the runtime knows, before its request was read. Its task
    /// is not woken again: the sweep ends it.
    fn is_put_aside(&self) -> bool {
        if self.activity.phase() == Phase::Idle {
            let readiness = self.io.inner().ready(Interest::READABLE).now_or_never();
            if matches!(readiness, Some(Ok(ready)) if ready.is_read_closed()) {
                self.activity.enter(Phase::Abandoned, self.tick());
            }
        }
        self.activity.phase() == Phase::Abandoned
    }

    /// Writes what stands for `head`, which hyper wrote by itself; none where it is the head of an answer of ours. To hyper
    /// it is all or nothing, so that it asks again with the same head.
    fn poll_refusal(&mut self, cx: &mut Context<'_>, head: &[u8]) -> Option<Poll<io::Result<usize>>> {
        // With a request under way or answered it is ours: nearly always.
        if !matches!(self.activity.phase(), Phase::Idle | Phase::Head) {
            return None;
        }
        if self.refusal.is_none() {
            let text = unparsed::with_body(head)?;
            self.refusal = Some(Box::new(RefusalText { text, sent: 0 }));
        }
        let RefusalText { text, sent } = &mut **self.refusal.as_mut()?;
        while *sent < text.len() {
            let rest = &text[*sent..];
            let outcome = Pin::new(&mut self.io).poll_write(cx, rest);
            self.activity.wrote(&outcome, rest.len(), self.tick.load(Relaxed));
            match outcome {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(written)) => *sent += written,
                other => return Some(other),
            }
        }
        self.refusal = None;
        self.activity.enter(Phase::Answered, self.tick());
        Some(Poll::Ready(Ok(head.len())))
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.lag.is_long() && self.is_put_aside() {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.io).poll_read(cx, buffer);
        // The first bytes after a pause begin a request. (An end of file looks the same and does no harm.)
        if outcome.is_ready() && self.activity.phase() == Phase::Idle {
            self.activity.enter(Phase::Head, self.tick());
        }
        outcome
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(outcome) = self.poll_refusal(cx, bytes) {
            return outcome;
        }
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.activity.wrote(&outcome, bytes.len(), self.tick());
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        // hyper flushes when its own buffer is empty: all that it was given is with the kernel now.
        if outcome.is_ready() {
            match self.activity.phase() {
                Phase::Answered => self.activity.enter(Phase::Idle, self.tick()),
                // It asks again when it is woken only.
                Phase::Streaming if self.activity.sent() => cx.waker().wake_by_ref(),
                _ => {}
            }
        }
        outcome
    }

    /// Tells the client that nothing more will come, then reads on until it closes too.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            let since = self.tick();
            self.activity.enter(Phase::Lingering, since);
            self.lingering = Some(Lingering { since, bytes: 0 });
        }
        let mut scratch = [std::mem::MaybeUninit::<u8>::uninit(); 16 * 1024];
        loop {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            if ready!(Pin::new(&mut self.io).poll_read(cx, buffer.unfilled())).is_err() {
                break;
            }
            let (read, tick) = (buffer.filled().len(), self.tick());
            self.activity.enter(Phase::Lingering, tick);
            let Some(lingering) = &mut self.lingering else { break };
            lingering.bytes += read;
            let enough =
                lingering.bytes > LINGER_BYTES_MAX || longer_than(tick, lingering.since, LINGER_MS_MAX);
            if read == 0 || enough {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::task::Waker;

    use http_body::Body as _;

    use super::*;
    use crate::chassis::lag::LAG_MAX;

    /// The next bytes of a body; nothing while it has none to give.
    fn next(body: &mut Body) -> Poll<Option<Bytes>> {
        let mut context = Context::from_waker(Waker::noop());
        let frame = Pin::new(body).poll_frame(&mut context);
        frame.map(|frame| frame.map(|Ok(frame)| frame.into_data().unwrap()))
    }

    #[test]
    fn a_large_answer_is_given_piece_by_piece_as_the_kernel_takes_them() {
        let (activity, tick) = (Arc::new(Activity::default()), Arc::new(AtomicU32::new(1)));
        let text: Bytes = (0..2 * PIECE_BYTES_MAX + 1).map(|at| at as u8).collect();
        let mut response = Response::new(Body::from(text.clone()));
        answered(&mut response, &activity, &tick);
        assert_eq!(response.headers()[CONTENT_LENGTH], text.len().to_string());
        let body = response.body_mut();
        let mut given = Vec::new();
        for length in [PIECE_BYTES_MAX, PIECE_BYTES_MAX, 1] {
            let Poll::Ready(Some(piece)) = next(body) else { panic!("a piece") };
            assert_eq!((piece.len(), activity.phase()), (length, Phase::Streaming));
            given.extend_from_slice(&piece);
            assert_eq!(activity.has_more.load(Relaxed), given.len() < text.len());
            assert_eq!(next(body), Poll::Pending, "hyper has the last one still");
            assert!(activity.sent(), "and is woken when the kernel has it");
            assert!(!activity.sent());
        }
        assert_eq!((next(body), given), (Poll::Ready(None), text.to_vec()));
        *body = Body::empty();
        assert_eq!(activity.phase(), Phase::Answered);
    }

    #[test]
    fn a_small_answer_is_left_as_it_is() {
        let (activity, tick) = (Arc::new(Activity::default()), Arc::new(AtomicU32::new(1)));
        for length in [0, PIECE_BYTES_MAX] {
            let text = Bytes::from(vec![b'x'; length]);
            let mut response = Response::new(Body::from(text.clone()));
            answered(&mut response, &activity, &tick);
            assert_eq!(activity.phase(), Phase::Answered);
            let given = if text.is_empty() { None } else { Some(text) };
            assert_eq!(next(response.body_mut()), Poll::Ready(given));
        }
    }

    /// What comes of reading from a client that sent a request, and left if `leaves`, when its turn comes.
    async fn read(leaves: bool, lag: &Arc<Lag>) -> (Poll<usize>, Phase) {
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET / HTTP/1.1").unwrap();
        if leaves {
            client.shutdown(std::net::Shutdown::Both).unwrap();
        }
        let (stream, _) = listener.accept().await.unwrap();
        // What the runtime believes of a new socket, until it has looked.
        while stream.ready(Interest::READABLE).await.unwrap().is_read_closed() != leaves {
            tokio::task::yield_now().await;
        }
        let mut watched = Watched::new(stream, Arc::default(), Arc::default(), lag.clone());
        let mut bytes = [0; 64];
        let mut buffer = ReadBuf::new(&mut bytes);
        let outcome =
            poll_fn(|cx| Poll::Ready(Pin::new(&mut watched).poll_read(cx, buffer.unfilled()))).await;
        (outcome.map(|outcome| outcome.map(|()| buffer.filled().len()).unwrap()), watched.activity.phase())
    }

    #[tokio::test]
    async fn where_the_loop_lags_a_request_whose_client_left_is_not_read() {
        let lag: Arc<Lag> = Arc::default();
        let is_read = (Poll::Ready(14), Phase::Head);
        assert_eq!(read(true, &lag).await, is_read, "half closed, as far as anybody knows");
        lag.note(LAG_MAX);
        assert_eq!(read(true, &lag).await, (Poll::Pending, Phase::Abandoned));
        assert_eq!(read(false, &lag).await, is_read);
    }
}
