//! `messageCount`: how many messages each conversation has, so that a client can prove that it has them all.
//!
//! It is counted where messages are inserted, under the row's lock that every post has anyway: the column
//! `message_count`, and beside it `message_counted_at`, the `last_message_at` up to which it counts. **A server of the
//! version before posts and counts nothing**, and while a new version is rolled out both serve. What it posts moves
//! `last_message_at` and not `message_counted_at`, so everybody sees that the count is not to be trusted: who shows the
//! conversation counts its messages there and then (in the same statement, so as of the same moment), and the next post
//! by a server that counts sets it right. So what is shown is right at every moment, whoever posts.
//!
//! What is left to be set right, such as all of what was there when the column came, is done here,
//! conversation by conversation, so that no post waits for more than one count.

use std::sync::Weak;
use std::time::Duration;

use crate::db::{self, Db};
use crate::transaction;

use super::store;

/// Pause between two rounds.
const EVERY_S: u64 = 3_600;
/// The first one waits so long: an instance that starts has more urgent things to ask the database for.
const FIRST_S: u64 = 20;
/// Pause between two steps of 1,000 conversations.
const PAUSE_MS: u64 = 20;

/// Counts for as long as anybody has the database.
pub(super) async fn run(db: Weak<Db>) {
    let mut pause_s = FIRST_S;
    loop {
        tokio::time::sleep(Duration::from_secs(pause_s)).await;
        let Some(held) = db.upgrade() else { return };
        pause_s = EVERY_S;
        if let Err(error) = round(&held).await {
            tracing::warn!(%error, "messages are counted later");
            pause_s = FIRST_S;
        }
    }
}

/// Goes through all conversations. Where several instances do, each finds what the others have left.
async fn round(db: &Db) -> Result<(), db::Error> {
    let mut last = 0;
    loop {
        let found = store::conversation_list_uncounted(&mut db.writer().await?, last).await?;
        let Some((end, uncounted)) = found else { return Ok(()) };
        for conversation in uncounted {
            recount(db, conversation).await?;
        }
        last = end;
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
}

async fn recount(db: &Db, conversation: u64) -> Result<(), db::Error> {
    transaction!(db, db => {
        store::conversation_lock(db, conversation).await?;
        store::conversation_recount(db, conversation).await
    })
}
