//! Which share of the attempts to connect the kernel lets through, while more clients connect than can be accepted.
//!
//! The kernel's queue of connections does not bound them well. A client whose handshake ends while the queue is full is not told:
//! it believes that it is connected, sends its request, and sends it again until there is room in the queue. By then it has often
//! given up, and the server accepts, answers and closes for nobody, for up to a minute after everybody has left. (Where many are
//! in that state, the kernel keeps nothing of them, and knows them again by SYN cookies: there is no bound at all.)
//!
//! So a filter on the listener drops SYN packets at random before anything is made of them. The client is not refused: its kernel
//! sends the packet again after one and after three seconds. With each sweep the share that passes is set by what was seen since
//! the last: how many came at this share, how many were served, and how many wait, which is to be some hundred milliseconds' worth.
//!
//! Accepted connections inherit the filter, which lets everything else pass. Only Linux has one; elsewhere the queue is the bound.

use socket2::SockRef;
use tokio::net::TcpListener;

/// The least share: there is somebody to accept when there is room again.
const SHARE_MIN: f64 = 1.0 / 1_024.0;
/// How many may wait, of those that one sweep serves.
const WAITING: f64 = 0.5;
/// What of those that are too many is made up for with the next sweep: not all, as what comes varies.
const CORRECTION: f64 = 0.25;
/// The most that the share changes by at one sweep, as a factor: down, up.
const FACTORS: (f64, f64) = (0.25, 1.5);

/// What happened to connections since the last sweep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Accepted from the kernel.
    pub(super) accepted: usize,
    /// Served.
    pub(super) served: usize,
    /// Not served yet.
    pub(super) waiting: usize,
}

/// The share.
#[derive(Debug)]
pub(super) struct SynShare(f64);

impl SynShare {
    /// All pass.
    pub(super) const fn new() -> Self {
        Self(1.0)
    }

    /// Which share passes.
    pub(super) const fn get(&self) -> f64 {
        self.0
    }

    /// Has the kernel let as many pass as can be served. So many may wait in any case, and no more than so many.
    pub(super) fn follow(&mut self, listener: &TcpListener, seen: Seen, may_wait: (usize, usize)) {
        let before = self.0;
        self.change(seen, may_wait);
        if self.0.to_bits() != before.to_bits() {
            let_pass(listener, self.0);
        }
    }

    fn change(&mut self, seen: Seen, (least, most): (usize, usize)) {
        let (accepted, served, waiting) = (seen.accepted as f64, seen.served as f64, seen.waiting as f64);
        let may_wait = (served * WAITING).clamp(least as f64, most as f64);
        let factor = (served + CORRECTION * (may_wait - waiting)) / accepted.max(1.0);
        let (down, up) = FACTORS;
        let factor = if waiting > may_wait { factor.clamp(down, 1.0) } else { factor.clamp(1.0, up) };
        self.0 = (self.0 * factor).clamp(SHARE_MIN, 1.0);
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

    /// So many attempts in each sweep, of which `capacity` can be served; how many were, of those that could be.
    fn sweeps(
        share: &mut SynShare,
        waiting: &mut usize,
        attempts: f64,
        capacity: usize,
        count: usize,
    ) -> f64 {
        let mut used = 0;
        for _ in 0..count {
            let accepted = (attempts * share.get()) as usize;
            let served = (*waiting + accepted).min(capacity);
            *waiting = *waiting + accepted - served;
            used += served;
            share.change(Seen { accepted, served, waiting: *waiting }, MAY_WAIT);
        }
        used as f64 / (capacity * count) as f64
    }

    #[test]
    fn the_share_finds_what_can_be_served_and_stays_near_it() {
        for capacity in [30, 300, 5_000] {
            let (mut share, mut waiting) = (SynShare::new(), 0);
            sweeps(&mut share, &mut waiting, capacity as f64, capacity, 10);
            assert_eq!(share.get(), 1.0, "all pass where all can be served");
            for times in [1.3, 2.0, 10.0, 100.0, 2.0] {
                sweeps(&mut share, &mut waiting, times * capacity as f64, capacity, 60);
                let used = sweeps(&mut share, &mut waiting, times * capacity as f64, capacity, 100);
                assert!(
                    used > 0.97 && waiting <= MAY_WAIT.1,
                    "{times} of {capacity}: {used}, {waiting} wait"
                );
            }
            sweeps(&mut share, &mut waiting, 1e6, 1, 100);
            assert!(share.get() < 0.002, "{}", share.get());
            waiting = 0;
            sweeps(&mut share, &mut waiting, 0.0, capacity, 18);
            assert_eq!(share.get(), 1.0, "all pass again after four and a half seconds");
        }
    }

    #[test]
    fn a_few_that_wait_cost_nobody_their_place() {
        let mut share = SynShare::new();
        share.change(Seen { accepted: 60, served: 1, waiting: 59 }, MAY_WAIT);
        assert_eq!(share.get(), 1.0, "the loop was busy for a moment");
        share.change(Seen { accepted: 100, served: 1, waiting: 159 }, MAY_WAIT);
        assert_eq!(share.get(), 0.25);
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
