//! Which share of the attempts to connect the kernel lets through, while more clients connect than can be accepted.
//!
//! The kernel's queue of connections does not bound them well. A client whose handshake ends while the queue is full is not told:
//! it believes that it is connected, sends its request, and sends it again until there is room in the queue. By then it has often
//! given up, and the server accepts, answers and closes for nobody, for up to a minute after everybody has left. (Where many are
//! in that state, the kernel keeps nothing of them, and knows them again by SYN cookies: there is no bound at all.)
//!
//! So a filter on the listener drops SYN packets at random before anything is made of them. The client is not refused: its kernel
//! sends the packet again after one and after three seconds. With each sweep the share that passes is set anew: what can be
//! served, of what would come if all passed, each as it was of late, since clients that come again come in waves. Some are kept
//! waiting, so that there is always somebody to serve: few, as many waiting connections are dearer to serve than few.
//!
//! Where the loop lags, all pass, and what was seen is forgotten: hardly any are accepted then by [`super::acceptor`], which says
//! nothing of how many could be, and once it does not lag any more it must not be short of clients. (With a share set by what was
//! accepted meanwhile, clients on kept connections that are impatient got half of what they get.)
//!
//! Accepted connections inherit the filter, which lets everything else pass. Only Linux has one; elsewhere the queue is the bound.

use socket2::SockRef;
use tokio::net::TcpListener;

/// The least share: there is somebody to accept when there is room again.
const SHARE_MIN: f64 = 1.0 / 1_024.0;
/// How many may wait, in what one sweep serves.
const WAITING: f64 = 0.25;
/// A sweep's part in what is remembered of all of them: about a second.
const MEMORY: f64 = 0.25;
/// What of those that are too many, or too few, is made up for with the next sweep.
const CORRECTION: f64 = 0.25;
/// The least that is let through, of what can be served, however many wait: so that there is somebody to serve when they were.
const INFLOW_MIN: f64 = 0.5;
/// Where nobody waits, more may be served than was: so much, and so much where not even half of that came.
const GROWTH: f64 = 1.25;
const GROWTH_IDLE: f64 = 2.0;

/// What happened to connections since the last sweep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Accepted from the kernel.
    pub(super) accepted: usize,
    /// Served.
    pub(super) served: usize,
    /// Not served yet.
    pub(super) waiting: usize,
    /// Whether the first of those has waited for long.
    pub(super) is_long: bool,
}

/// The share, and what it is made of: numbers of connections from one sweep to the next.
#[derive(Debug)]
pub(super) struct SynShare {
    share: f64,
    /// That would come if all passed.
    attempts: f64,
    /// That can be served.
    capacity: f64,
}

impl SynShare {
    /// All pass.
    pub(super) const fn new() -> Self {
        Self { share: 1.0, attempts: 0.0, capacity: 0.0 }
    }

    /// Which share passes.
    pub(super) const fn get(&self) -> f64 {
        self.share
    }

    /// Has the kernel let all pass, and forgets what was seen.
    pub(super) fn let_all_pass(&mut self, listener: &TcpListener) {
        self.set(listener, 1.0);
        *self = Self::new();
    }

    /// Has the kernel let as many pass as can be served. So many may wait in any case, and no more than so many.
    pub(super) fn follow(&mut self, listener: &TcpListener, seen: Seen, may_wait: (usize, usize)) {
        let fitting = self.fitting(seen, may_wait);
        self.set(listener, fitting);
    }

    fn set(&mut self, listener: &TcpListener, share: f64) {
        if self.share.to_bits() != share.to_bits() {
            self.share = share;
            let_pass(listener, share);
        }
    }

    fn fitting(&mut self, seen: Seen, (least, most): (usize, usize)) -> f64 {
        let (served, waiting) = (seen.served as f64, seen.waiting as f64);
        let attempts = seen.accepted as f64 / self.share;
        self.attempts += MEMORY * (attempts - self.attempts);
        let all_pass = self.share >= 1.0;
        let capacity = self.remember(served, waiting > 0.0, all_pass);
        let may_wait = (capacity * WAITING).clamp(least as f64, most as f64);
        if all_pass && (waiting <= may_wait || !seen.is_long) {
            return 1.0;
        }
        // What is remembered is too little where they have just come.
        let attempts = if waiting > 2.0 * may_wait { self.attempts.max(attempts) } else { self.attempts };
        let inflow = (capacity + CORRECTION * (may_wait - waiting)).max(INFLOW_MIN * capacity);
        (inflow / attempts.max(1.0)).clamp(SHARE_MIN, 1.0)
    }

    /// What can be served, by what was.
    fn remember(&mut self, served: f64, is_busy: bool, all_pass: bool) -> f64 {
        let before = self.capacity;
        self.capacity = match (is_busy, all_pass) {
            (true, _) => before + MEMORY * (served - before),
            (false, true) => served.max(before * (1.0 - MEMORY)),
            (false, false) if 2.0 * served < before => before * GROWTH_IDLE,
            (false, false) => served.max(before * GROWTH),
        };
        self.capacity
    }
}

/// Puts the filter in place, or takes it away where all pass. A kernel that takes none lets all pass.
#[cfg(target_os = "linux")]
fn let_pass(listener: &TcpListener, share: f64) {
    let socket = SockRef::from(listener);
    let _best_effort = if share < 1.0 {
        socket.attach_filter(&filter((share * f64::from(u32::MAX)) as u32))
    } else {
        socket.detach_filter()
    };
}

#[cfg(not(target_os = "linux"))]
fn let_pass(_listener: &TcpListener, _share: f64) {}

/// A classic BPF program, which the kernel runs on each packet from its TCP header on: a SYN passes where a random number
/// is at most `passing`.
#[cfg(target_os = "linux")]
const fn filter(passing: u32) -> [socket2::SockFilter; 7] {
    use socket2::SockFilter;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_WORD: u16 = 0x20;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_GREATER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    /// Where the flags are in a TCP header, SYN and ACK among them.
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    /// The kernel's extension that loads a random number: `SKF_AD_OFF + SKF_AD_RANDOM`.
    const RANDOM_AT: u32 = 0xffff_f000 + 56;
    const ALL: u32 = u32::MAX;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 2, SYN),
        SockFilter::new(LOAD_WORD, 0, 0, RANDOM_AT),
        SockFilter::new(JUMP_IF_GREATER, 1, 0, passing),
        SockFilter::new(RETURN, 0, 0, ALL),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::chassis::bind;

    const MAY_WAIT: (usize, usize) = (64, 2_048);

    impl SynShare {
        /// So many attempts in each sweep, of which `capacity` can be served; how many were, of those that could be.
        fn sweeps(&mut self, waiting: &mut usize, attempts: f64, capacity: usize, count: usize) -> f64 {
            let mut used = 0;
            for _ in 0..count {
                let accepted = (attempts * self.share) as usize;
                let served = (*waiting + accepted).min(capacity);
                *waiting = *waiting + accepted - served;
                used += served;
                let seen = Seen { accepted, served, waiting: *waiting, is_long: true };
                self.share = self.fitting(seen, MAY_WAIT);
            }
            used as f64 / (capacity * count) as f64
        }
    }

    #[test]
    fn the_share_finds_what_can_be_served_and_stays_near_it() {
        for capacity in [30, 300, 5_000] {
            let (mut share, mut waiting) = (SynShare::new(), 0);
            share.sweeps(&mut waiting, capacity as f64, capacity, 10);
            assert_eq!(share.get(), 1.0, "all pass where all can be served");
            for times in [1.3, 2.0, 10.0, 100.0, 2.0] {
                let attempts = times * capacity as f64;
                let used = share.sweeps(&mut waiting, attempts, capacity, 20);
                assert!(used > 0.6, "{times} times {capacity}: {used} in the first five seconds");
                share.sweeps(&mut waiting, attempts, capacity, 100);
                let used = share.sweeps(&mut waiting, attempts, capacity, 100);
                let too_many = waiting > MAY_WAIT.0.max(2 * capacity);
                assert!(used > 0.99 && !too_many, "{times} times {capacity}: {used}, {waiting} wait");
            }
            share.sweeps(&mut waiting, 100.0 * capacity as f64, capacity, 50);
            waiting = 0;
            share.sweeps(&mut waiting, 0.0, capacity, 7);
            assert_eq!(share.get(), 1.0, "all pass again after two seconds, once they have left");
        }
    }

    #[test]
    fn who_come_at_once_and_are_served_soon_cost_nobody_their_place() {
        let mut share = SynShare::new();
        let crowd = Seen { accepted: 1_000, served: 1, waiting: 999, ..Seen::default() };
        assert_eq!(share.fitting(crowd, MAY_WAIT), 1.0, "they have just come");
        assert!(share.fitting(Seen { is_long: true, ..crowd }, MAY_WAIT) < 0.1);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_drops_what_is_not_to_pass_and_leaves_open_connections_alone() {
        use std::io::{Read, Write};
        const SOON: Duration = Duration::from_millis(300);
        let listener = bind((std::net::Ipv6Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let half = filter(u32::MAX / 2);
        SockRef::from(&listener).attach_filter(&half).unwrap();
        let passed =
            (0..40).filter(|_| TcpStream::connect_timeout(&address, Duration::from_millis(10)).is_ok());
        let passed = passed.count();
        assert!((5..=35).contains(&passed), "{passed} of 40");

        SockRef::from(&listener).attach_filter(&filter(0)).unwrap();
        assert!(TcpStream::connect_timeout(&address, SOON).is_err());
        let_pass(&listener, 1.0);
        let mut client = TcpStream::connect_timeout(&address, SOON).unwrap();
        let_pass(&listener, SHARE_MIN);
        client.write_all(b"ping").unwrap();
        let mut stream = loop {
            let (stream, peer) = listener.accept().await.unwrap();
            if peer == client.local_addr().unwrap() {
                break stream.into_std().unwrap();
            }
        };
        stream.set_nonblocking(false).unwrap();
        let mut received = [0; 4];
        stream.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"ping");
    }
}
