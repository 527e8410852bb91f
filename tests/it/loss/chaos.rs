//! What is done to the servers and their database while everybody is at work.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::World;
use crate::support::{Hyperdesk, Random};

/// One fault; those of instances name one.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill(usize),
    Freeze(usize),
    Terminate(usize),
    RestartDatabase,
    Cut(usize),
    Delay(usize),
}

/// Each at least once, in any order, until the time is over; whole again at the end.
pub async fn run(world: &World) {
    let mut random = world.random(1_000_000);
    let end = Instant::now() + world.plan.length;
    let mut first = true;
    while first || Instant::now() < end {
        let mut faults = faults(&mut random);
        random.shuffle(&mut faults);
        for fault in faults {
            if !first && Instant::now() >= end {
                break;
            }
            sleep(random.duration(Duration::from_millis(50), Duration::from_millis(400))).await;
            hurt(world, fault, &mut random).await;
        }
        first = false;
    }
    for proxy in &world.proxies {
        proxy.pass();
    }
    sleep(Duration::from_millis(200)).await;
}

fn faults(random: &mut Random) -> Vec<Fault> {
    let mut one = || usize::try_from(random.number(0..3)).unwrap();
    let delays = [Fault::Delay(one()), Fault::Delay(one()), Fault::Cut(one())];
    let mut all =
        vec![Fault::Kill(one()), Fault::Freeze(one()), Fault::Terminate(one()), Fault::RestartDatabase];
    all.extend(delays);
    all
}

async fn hurt(world: &World, fault: Fault, random: &mut Random) {
    match fault {
        Fault::Kill(at) => {
            let mut desk = world.desks[at].lock().await;
            desk.kill();
            sleep(random.duration(Duration::ZERO, Duration::from_millis(300))).await;
            desk.start_again().await;
            world.moved(at, &desk);
        }
        Fault::Terminate(at) => {
            let mut desk = world.desks[at].lock().await;
            desk.restart().await;
            world.moved(at, &desk);
        }
        Fault::Freeze(at) => {
            let desk = world.desks[at].lock().await;
            desk.freeze();
            sleep(world.plan.freeze).await;
            desk.thaw();
        }
        Fault::RestartDatabase => {
            world.server.kill();
            sleep(random.duration(Duration::ZERO, Duration::from_millis(300))).await;
            world.server.restart().await;
        }
        Fault::Cut(at) => world.proxies[at].cut_all(),
        Fault::Delay(at) => {
            let most = Duration::from_millis(*random.pick(&[0, 5, 20, 60]));
            world.proxies[at].delay_replies_randomly(Duration::ZERO, most, random.number(..));
        }
    }
}

impl World {
    fn moved(&self, at: usize, desk: &Hyperdesk) {
        self.addrs.lock().unwrap()[at] = desk.addr();
    }
}
