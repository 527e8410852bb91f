//! Killed at random points, and run again: the same as in one go. And a hundred thousand messages, with flat memory.

use std::time::Duration;

use super::{Import, empty, import};
use crate::support::rails::Rails;
use crate::support::{Random, Schema};

/// Far more than needed for pages; far less than the messages, which are 10 MB here, would take several times over.
const MEMORY_GROWTH_BYTES_MAX: u64 = 24 * 1024 * 1024;

/// A number for the whole content of a schema.
async fn whole(schema: &Schema) -> Vec<(String, Option<i64>)> {
    schema
        .query("CHECKSUM TABLE users, expert_profiles, conversations, messages, expert_assignments EXTENDED")
        .await
        .into_iter()
        .map(|(table, sum): (String, Option<i64>)| {
            (table.rsplit('.').next().unwrap_or_default().to_owned(), sum)
        })
        .collect()
}

#[tokio::test]
async fn an_import_that_is_killed_goes_on() {
    let rails = Rails::fresh().await;
    rails.fill().await;
    rails.fill_many(20_000).await;
    let url = rails.schema.url();
    let uninterrupted = empty().await;
    import(&url, &uninterrupted).await;
    let expected = whole(&uninterrupted).await;

    let target = empty().await;
    let mut random = Random::new();
    let mut kills = 0;
    for attempt in 0..60 {
        let running = Import::begin(&url, &target, &[]);
        // Longer from time to time, so that it comes further; a message more or less is what is killed at.
        let patience = Duration::from_millis(random.number(0..=200 + 100 * attempt));
        let ended = tokio::time::timeout(patience, running.child.wait_exit(Duration::from_secs(300))).await;
        if ended.is_ok() {
            let (status, said) = running.end().await;
            assert!(status.success(), "{said}");
            break;
        }
        running.child.kill();
        kills += 1;
    }
    assert!(kills >= 3, "it was too quick to be killed");
    import(&url, &target).await;
    assert_eq!(whole(&target).await, expected, "after {kills} kills");
}

#[tokio::test]
async fn a_hundred_thousand_messages_take_no_more_memory_than_some() {
    let small = Rails::fresh().await;
    small.fill().await;
    small.fill_many(2_000).await;
    let large = Rails::fresh().await;
    large.fill().await;
    large.fill_many(100_000).await;
    let mut peaks = Vec::new();
    for rails in [&small, &large] {
        let target = empty().await;
        let running = Import::begin(&rails.schema.url(), &target, &[]);
        let mut peak = 0;
        loop {
            if running.child.exited().is_some() {
                break;
            }
            // Gone between the two looks: what was seen before counts.
            let seen =
                std::fs::read_to_string(format!("/proc/{}/status", running.child.pid())).unwrap_or_default();
            let kib = seen.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
            peak = peak.max(kib.map_or(0, |kib| kib.trim().parse::<u64>().unwrap() * 1_024));
            tokio::task::yield_now().await;
            let _ended = tokio::time::timeout(
                Duration::from_millis(20),
                running.child.wait_exit(Duration::from_secs(300)),
            )
            .await;
        }
        let (status, said) = running.end().await;
        assert!(status.success(), "{said}");
        peaks.push(peak);
        let counted: (u64, u64) =
            target.query_one("SELECT COUNT(*), CAST(SUM(CRC32(content)) AS UNSIGNED) FROM messages").await;
        let expected: (u64, u64) = rails
            .schema
            .query_one("SELECT COUNT(*), CAST(SUM(CRC32(content)) AS UNSIGNED) FROM messages")
            .await;
        assert_eq!(counted, expected);
        let wrong: u64 = target
            .query_one(
                "SELECT COUNT(*) FROM conversations c
                JOIN (
                    SELECT m.conversation_id, COUNT(*) AS unread, SUM(m.sender_id = own.initiator_id) AS asked,
                        SUM(m.sender_id <=> own.assigned_expert_id) AS answered
                    FROM messages m
                    JOIN conversations own ON own.id = m.conversation_id
                    WHERE m.is_read = FALSE
                    GROUP BY m.conversation_id
                ) counted ON counted.conversation_id = c.id
                WHERE (c.unread, c.unread_from_initiator, c.unread_from_expert)
                    <> (counted.unread, counted.asked, counted.answered)",
            )
            .await;
        assert_eq!(wrong, 0);
    }
    println!("peak memory of an import: {peaks:?} bytes");
    assert!(peaks[1] < peaks[0] + MEMORY_GROWTH_BYTES_MAX, "{peaks:?}");
}
