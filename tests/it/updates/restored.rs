//! The database was restored from a backup, or a replica without the last changes took over: no position in what is no
//! more may be answered as if nothing had happened.

use std::time::Duration;

use hyperdesk::clock::Timestamp;
use hyperdesk::feed::STALE_MS_MAX;
use serde_json::json;
use tokio::time::Instant;

use super::{SOON, after, at, last_cursor, state};
use crate::helpdesk::{Desk, ask, each, say};
use crate::support::{EventStream, Hyperdesk, User, eventually};

/// What everybody had seen when the backup was taken, and what only came after it.
struct Before {
    conversation: String,
    kept: String,
    lost: String,
}

async fn history(desk: &Desk, ann: &User) -> Before {
    let conversation = ask(ann, "printer").await;
    for text in ["one", "two"] {
        say(ann, &conversation, text).await;
    }
    let kept = last_cursor(ann).await;
    desk.schema.dump().await;
    for number in 0..5 {
        say(ann, &conversation, &format!("lost {number}")).await;
    }
    Before { conversation, kept, lost: last_cursor(ann).await }
}

/// Eight new changes, and every way to ask with a position of what is lost.
async fn is_told(before: &Before, ann: &User, servers: &[&Hyperdesk]) {
    // Whoever looks after the restore and before the first change, once memory is not that of a look before it.
    for server in servers {
        // An instance that runs looks within a second.
        let ann = at(ann, server);
        eventually(SOON, || async { after(&ann, &before.lost).await.status == 410 }).await;
    }
    for number in 0..8 {
        say(ann, &before.conversation, &format!("new {number}")).await;
    }
    for server in servers {
        let ann = at(ann, server);
        for wait in ["", "&wait=5"] {
            let answer = after(&ann, &format!("{}{wait}", before.lost)).await;
            assert_eq!(answer.status, 410, "{}", answer.text());
            assert_eq!(answer.json()["reset"], true);
        }
        let stream = EventStream::open(server.addr(), &ann.token, Some(&before.lost)).await.unwrap();
        assert_eq!(stream.status, 410);
        // A position from before the backup is good, in the new history. An instance that did not write it looks soon.
        eventually(SOON, || async {
            let news = after(&ann, &before.kept).await.expect_status(200).json();
            each(&news["messages"], "content").len() == 8
        })
        .await;
        let (all, _) = state(&ann).await;
        assert_eq!(all["messages"].as_array().unwrap().len(), 10);
    }
}

#[tokio::test]
async fn under_running_instances() {
    let desk = Desk::start().await;
    let second = desk.second().await;
    let ann = desk.user("ann").await;
    let before = history(&desk, &ann).await;
    assert_eq!(last_cursor(&at(&ann, &second)).await, before.lost);
    desk.schema.restore().await;
    is_told(&before, &ann, &[&desk.server, &second]).await;
}

#[tokio::test]
async fn while_no_instance_ran() {
    let mut desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let before = history(&desk, &ann).await;
    desk.server.kill();
    desk.schema.restore().await;
    desk.server.start_again().await;
    let ann = at(&ann, &desk.server);
    is_told(&before, &ann, &[&desk.server]).await;
}

#[tokio::test]
async fn across_an_instance_that_was_frozen() {
    let desk = Desk::start().await;
    let second = desk.second().await;
    let ann = desk.user("ann").await;
    let before = history(&desk, &ann).await;
    assert_eq!(last_cursor(&at(&ann, &second)).await, before.lost);
    second.freeze();
    let frozen = Instant::now();
    desk.schema.restore().await;
    // As many new changes as were lost, and more: the frozen one's last number is there again, and is another change.
    for number in 0..5 {
        say(&ann, &before.conversation, &format!("new {number}")).await;
    }
    // For longer than memory may be answered from without a look.
    tokio::time::sleep_until(frozen + Duration::from_millis(STALE_MS_MAX + 100)).await;
    let asked = async {
        let there = at(&ann, &second);
        after(&there, &before.lost).await
    };
    let (answer, ()) = tokio::join!(asked, async {
        // The poll is with the kernel by then, or comes right after: it is answered by a process that just woke up.
        tokio::task::yield_now().await;
        second.thaw();
    });
    assert_eq!(answer.status, 410, "{}", answer.text());
    let found = after(&at(&ann, &second), &before.kept).await.expect_status(200).json();
    assert_eq!(each(&found["messages"], "content").len(), 5, "{found}");
}

#[tokio::test]
async fn times_are_answered_by_what_the_database_has_now() {
    let desk = Desk::start().await;
    let ann = desk.user("ann").await;
    let before = history(&desk, &ann).await;
    let path = |since: &str| format!("/api/messages/updates?since={since}");
    let all = ann.get(&path("2020-01-01T00:00:00Z")).await.expect_status(200).json();
    let newest = all.as_array().unwrap().last().unwrap()["timestamp"].as_str().unwrap().to_owned();
    desk.schema.restore().await;
    let mut expected = Vec::new();
    for number in 0..8 {
        expected.push(say(&ann, &before.conversation, &format!("new {number}")).await);
    }
    for since in [newest, Timestamp::from_micros(Timestamp::now().micros() - 3_600_000_000).to_string()] {
        eventually(SOON, || async {
            let found = ann.get(&path(&since)).await.expect_status(200).json();
            let found = each(&found, "id").into_iter().map(str::to_owned).collect::<Vec<_>>();
            found.ends_with(&expected)
        })
        .await;
    }
    assert_eq!(
        after(&ann, &before.lost).await.json(),
        json!({"error": "Cursor is no longer valid", "reset": true})
    );
}
