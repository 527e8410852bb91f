//! A backup is taken, and restored while everybody is at work: what came in between is lost, to all.

use std::time::Duration;

use super::{DESKS, World, chaos};
use crate::support::eventually;

/// The history ([`super::due::Due::era`]) that is no more in the end: from the backup to its restoring.
pub const LOST: u64 = 1;
const QUIET_LIMIT: Duration = Duration::from_secs(20);

/// Three parts of trouble; in the second one what is done is lost.
pub async fn run(world: &World) {
    let part = world.plan.length / 3;
    chaos::run(world, 1, part).await;
    without_database(world, async || world.schema.dump().await).await;
    chaos::run(world, 2, part).await;
    // One of them hears of it only when the others have gone on.
    let frozen = usize::try_from(world.random(4_000_000).number(0..DESKS as u64)).unwrap();
    let desk = world.desks[frozen].lock().await;
    desk.freeze();
    without_database(world, async || restore(world).await).await;
    tokio::time::sleep(world.plan.freeze).await;
    desk.thaw();
    drop(desk);
    chaos::run(world, 3, part).await;
}

async fn restore(world: &World) {
    world.schema.restore().await;
    let now = "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')";
    *world.restored_at.lock().unwrap() = Some(world.schema.query_one(now).await);
    let conversations =
        world.schema.query("SELECT id, initiator_id, assigned_expert_id FROM conversations").await;
    let messages = world.schema.query("SELECT id, conversation_id, sender_id FROM messages").await;
    world.board.lock().unwrap().set(conversations, messages);
}

/// Does `work` while nobody is connected, and begins a new history by it.
async fn without_database(world: &World, work: impl AsyncFnOnce()) {
    let _quiet = world.restoring.write().await;
    for proxy in &world.proxies {
        proxy.refuse();
        proxy.cut_all();
    }
    let name = world.schema.name();
    let connected = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{name}'");
    eventually(QUIET_LIMIT, async || world.schema.query_one::<u64>(&connected).await == 0).await;
    world.due.begin_era();
    work().await;
    for proxy in &world.proxies {
        proxy.pass();
    }
}
