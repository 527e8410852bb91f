//! One client connection: what it is doing, since when, and the limits on that.
//!
//! Each event loop looks over its connections a few times a second and ends those that took too long, so no
//! connection carries a timer of its own: an idle one costs a few words and no wake-up, and a request sets no
//! timer. The cost is precision: a limit is kept to within [`SWEEP_MS`].

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::answers::Answers;
use super::response::{Body, Pieces, Response};
use super::unparsed;

/// How often connections are looked over, in milliseconds.
pub(super) const SWEEP_MS: u64 = 250;
/// An idle connection is closed after this: longer than a balancer keeps its own idle ones (an ALB 60 s by
/// default), or it would send a request into a connection that is being closed.
pub(super) const IDLE_MS_MAX: u64 = 75_000;
/// From a request's first byte to the end of its head.
pub(super) const HEAD_MS_MAX: u64 = 9_500;
/// How long a client may take no byte of its answer.
pub(super) const WRITE_STALL_MS_MAX: u64 = 19_500;
/// The slowest client that is waited for: an answer that does not go out at once may take [`WRITE_STALL_MS_MAX`], and
/// longer by a second for so many bytes of it. Slower than any network that people use, and fast enough that
/// [`super::ANSWER_BYTES_MAX`] are gone in about seven minutes.
const WRITE_BYTES_PER_S_MIN: u64 = 20_000;
/// After the last answer, what the client is still sending is read and thrown away until it closes, or sends
/// nothing for this long. Closing on unread bytes resets the connection, and a reset takes the answer away
/// from a client that has not read it yet: it would see a broken upload where we said 413.
pub(super) const LINGER_SILENT_MS_MAX: u64 = 2_000;
/// For how long at most.
pub(super) const LINGER_MS_MAX: u64 = 10_000;
/// How many bytes at most.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a connection that has done nothing yet is left open while closing: its request may be on its way.
const CLOSING_GRACE_MS: u64 = 250;

/// Head and body of up to so many bytes are copied together and sent as one piece, which costs the kernel 6 % less than
/// two (4.45 us, not 4.72): an idle poll's answer has 400.
const GATHERED_BYTES_MAX: usize = 512;

thread_local! {
    /// Where an event loop puts head and body together: made once, not for each answer.
    static GATHERED: RefCell<[u8; GATHERED_BYTES_MAX]> = const { RefCell::new([0; GATHERED_BYTES_MAX]) };
}

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
    /// All is said: waiting for the client to close.
    Lingering,
}

const PHASES: [Phase; 6] =
    [Phase::Idle, Phase::Head, Phase::Busy, Phase::Answered, Phase::Streaming, Phase::Lingering];

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
    /// Bytes that it took since.
    taken: AtomicU64,
}

impl Activity {
    pub(super) fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Relaxed)) % PHASES.len()]
    }

    pub(super) fn enter(&self, phase: Phase, tick: u32) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(tick, Relaxed);
    }

    /// Whether nothing is going on that closing the connection would spoil.
    pub(super) fn may_close(&self, tick: u32) -> bool {
        self.phase() == Phase::Idle && longer_than(tick, self.since.load(Relaxed), CLOSING_GRACE_MS)
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
            Phase::Busy | Phase::Answered | Phase::Streaming => false,
        }
    }

    /// Notes what came of giving the kernel `offered` bytes, which are all that there is.
    fn wrote(&self, outcome: &Poll<io::Result<usize>>, offered: impl FnOnce() -> usize, tick: u32) {
        // Nearly always the kernel takes all, and did so before.
        if let Poll::Ready(Ok(taken)) = outcome {
            if self.behind.load(Relaxed) != 0 {
                self.stalled.store(0, Relaxed);
                self.taken.store(self.taken.load(Relaxed) + *taken as u64, Relaxed);
                if *taken == offered() {
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

/// Notes that `response` is made. One in pieces keeps the connection busy until the last is made.
pub(super) fn answered(
    response: &mut Response,
    activity: &Arc<Activity>,
    tick: &Arc<AtomicU32>,
    answers: &Arc<Answers>,
) {
    let body = response.body_mut();
    if let Body::Whole(_) = body {
        activity.enter(Phase::Answered, tick.load(Relaxed));
    } else if let Body::Pieces(pieces) = std::mem::replace(body, Body::empty()) {
        activity.enter(Phase::Streaming, tick.load(Relaxed));
        let (activity, tick, answers) = (activity.clone(), tick.clone(), answers.clone());
        *body = Body::Pieces(Box::pin(Streamed { pieces, activity, tick, answers }));
    }
}

/// Pieces that tell [`Activity`] when they are over. The next one is made when the client took the one before: one
/// that is large has its share of the memory, or it is the end.
struct Streamed {
    pieces: Pieces,
    activity: Arc<Activity>,
    tick: Arc<AtomicU32>,
    answers: Arc<Answers>,
}

impl Stream for Streamed {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let piece = ready!(self.pieces.as_mut().poll_next(cx));
        Poll::Ready(piece.and_then(|piece| self.answers.weighed(piece).ok()))
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
    lingering: Option<Lingering>,
    /// What goes out in place of hyper's own answer to a head that it cannot read.
    refusal: Option<Box<Refusal>>,
}

struct Refusal {
    text: Vec<u8>,
    sent: usize,
}

/// Since which tick we have been waiting for the client to close, and what it sent meanwhile.
struct Lingering {
    since: u32,
    bytes: usize,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>, tick: Arc<AtomicU32>) -> Self {
        Self { io: TokioIo::new(stream), activity, tick, lingering: None, refusal: None }
    }

    fn tick(&self) -> u32 {
        self.tick.load(Relaxed)
    }

    fn note_write(&self, outcome: &Poll<io::Result<usize>>, offered: impl FnOnce() -> usize) {
        self.activity.wrote(outcome, offered, self.tick());
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
            self.refusal = Some(Box::new(Refusal { text, sent: 0 }));
        }
        let Refusal { text, sent } = &mut **self.refusal.as_mut()?;
        while *sent < text.len() {
            let rest = &text[*sent..];
            let outcome = Pin::new(&mut self.io).poll_write(cx, rest);
            self.activity.wrote(&outcome, || rest.len(), self.tick.load(Relaxed));
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
        self.note_write(&outcome, || bytes.len());
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = slices
            && let Some(outcome) = self.poll_refusal(cx, head)
        {
            return outcome;
        }
        let outcome = match slices {
            [head, body] if head.len() + body.len() <= GATHERED_BYTES_MAX => {
                GATHERED.with_borrow_mut(|both| {
                    let (place, rest) = both.split_at_mut(head.len());
                    place.copy_from_slice(head);
                    rest[..body.len()].copy_from_slice(body);
                    Pin::new(&mut self.io).poll_write(cx, &both[..head.len() + body.len()])
                })
            }
            _ => Pin::new(&mut self.io).poll_write_vectored(cx, slices),
        };
        self.note_write(&outcome, || slices.iter().map(|slice| slice.len()).sum());
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        // hyper flushes when its own buffer is empty: the whole answer is with the kernel now.
        if outcome.is_ready() && self.activity.phase() == Phase::Answered {
            self.activity.enter(Phase::Idle, self.tick());
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
