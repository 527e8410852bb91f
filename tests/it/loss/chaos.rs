//! What is done to the servers, to their database and to the way there while everybody is at work.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{DESKS, World};
use crate::support::{Hyperdesk, Random};

/// Longer than anything may be kept silent about.
const ISOLATION: Duration = Duration::from_millis(7_500);
/// No desk.
pub const NONE: usize = usize::MAX;

/// What happens to an instance.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    Terminate,
    Freeze,
}

/// What happens to the database and the way there.
#[derive(Clone, Copy, Debug)]
enum Fault {
    RestartDatabase,
    FreezeDatabase,
    /// All replies to all instances come 50 to 200 ms late for a while.
    SlowDatabase,
    Cut,
    CutAtPackets,
    CutAtBytes,
    Delay,
    /// Whoever could read the log is gone.
    CloseLog,
}

const FAULTS: [Fault; 8] = [
    Fault::RestartDatabase,
    Fault::FreezeDatabase,
    Fault::SlowDatabase,
    Fault::Cut,
    Fault::CutAtPackets,
    Fault::CutAtBytes,
    Fault::Delay,
    Fault::CloseLog,
];

/// Each at least once, in any order, until the time is over; whole again at the end.
pub async fn run(world: &World, part: u64, length: Duration) {
    let until = Instant::now() + length;
    tokio::join!(
        end_instances(world, world.random(1_000_000 + part), until),
        spoil_the_way(world, world.random(2_000_000 + part), until),
        isolate(world, world.random(3_000_000 + part), until),
    );
    for proxy in &world.proxies {
        proxy.pass();
    }
    sleep(Duration::from_millis(200)).await;
}

async fn end_instances(world: &World, mut random: Random, until: Instant) {
    let mut due = vec![End::Kill, End::Terminate, End::Freeze];
    random.shuffle(&mut due);
    while !due.is_empty() || Instant::now() < until {
        sleep(random.duration(Duration::from_millis(50), Duration::from_millis(400))).await;
        let any = match random.number(0..12) {
            0 => End::Freeze,
            1..6 => End::Kill,
            _ => End::Terminate,
        };
        let end = due.pop().unwrap_or(any);
        // With one instance cut off, the other two take turns.
        let mut at = usize::try_from(random.number(0..DESKS as u64)).unwrap();
        if at == world.isolated.load(SeqCst) {
            at = (at + 1) % DESKS;
        }
        hurt(world, end, at, &mut random).await;
    }
}

async fn hurt(world: &World, end: End, at: usize, random: &mut Random) {
    let mut desk = world.desks[at].lock().await;
    match end {
        End::Kill => {
            desk.kill();
            sleep(random.duration(Duration::ZERO, Duration::from_millis(300))).await;
            desk.start_again().await;
        }
        End::Terminate => desk.restart().await,
        End::Freeze => {
            desk.freeze();
            sleep(world.plan.freeze).await;
            return desk.thaw();
        }
    }
    world.moved(at, &desk);
    world.ends.fetch_add(1, SeqCst);
}

async fn spoil_the_way(world: &World, mut random: Random, until: Instant) {
    let mut first = true;
    while first || Instant::now() < until {
        let mut faults = FAULTS;
        random.shuffle(&mut faults);
        for fault in faults {
            if !first && Instant::now() >= until {
                break;
            }
            sleep(random.duration(Duration::from_millis(20), Duration::from_millis(200))).await;
            spoil(world, fault, &mut random).await;
        }
        first = false;
    }
}

async fn spoil(world: &World, fault: Fault, random: &mut Random) {
    let at = usize::try_from(random.number(0..DESKS as u64)).unwrap();
    match fault {
        Fault::RestartDatabase => {
            world.server.kill();
            sleep(random.duration(Duration::ZERO, Duration::from_millis(300))).await;
            world.server.restart().await;
        }
        Fault::FreezeDatabase => {
            world.server.freeze();
            sleep(random.duration(Duration::from_secs(1), world.plan.database_freeze_max)).await;
            world.server.thaw();
        }
        Fault::SlowDatabase => {
            let late = random.duration(Duration::from_millis(50), Duration::from_millis(200));
            world.proxies.iter().for_each(|proxy| proxy.delay_replies(late));
            sleep(random.duration(Duration::from_millis(400), world.plan.freeze)).await;
            world.proxies.iter().for_each(|proxy| proxy.delay_replies(Duration::ZERO));
        }
        Fault::Cut => {
            world.proxies[at].cut_all();
            world.cuts.fetch_add(1, SeqCst);
        }
        Fault::CutAtPackets => {
            cut_often(world, random, |proxy, random| proxy.cut_after_packets(random.number(1..60))).await;
        }
        Fault::CutAtBytes => {
            cut_often(world, random, |proxy, random| proxy.cut_after_bytes(random.number(1..4_000))).await;
        }
        Fault::Delay => {
            let most = Duration::from_millis(*random.pick(&[0, 5, 20, 60]));
            world.proxies[at].delay_replies_randomly(Duration::ZERO, most, random.number(..));
        }
        Fault::CloseLog => drop(world.log_reader.lock().unwrap().take()),
    }
}

/// One connection of some instance after the other.
async fn cut_often(world: &World, random: &mut Random, cut: impl Fn(&crate::support::Proxy, &mut Random)) {
    for _ in 0..random.number(5..20) {
        let proxy = &world.proxies[usize::try_from(random.number(0..DESKS as u64)).unwrap()];
        cut(proxy, random);
        world.cuts.fetch_add(1, SeqCst);
        sleep(random.duration(Duration::from_millis(10), Duration::from_millis(60))).await;
    }
}

/// One instance hears nothing of its database, for longer than it may say that nothing is new.
async fn isolate(world: &World, mut random: Random, until: Instant) {
    if !world.plan.isolates {
        return;
    }
    let mut pause = Duration::from_millis(300);
    loop {
        sleep(pause).await;
        let at = usize::try_from(random.number(0..DESKS as u64)).unwrap();
        // Not while it is being started.
        let desk = world.desks[at].lock().await;
        world.isolated.store(at, SeqCst);
        drop(desk);
        world.proxies[at].blackhole();
        sleep(ISOLATION).await;
        world.proxies[at].pass();
        world.isolated.store(NONE, SeqCst);
        pause = random.duration(Duration::from_secs(8), Duration::from_secs(25));
        if Instant::now() + pause + ISOLATION > until {
            return;
        }
    }
}

impl World {
    fn moved(&self, at: usize, desk: &Hyperdesk) {
        self.addrs.lock().unwrap()[at] = desk.addr();
    }
}
