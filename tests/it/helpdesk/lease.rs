//! `CLAIM_LEASE_SECONDS`: a conversation whose expert is gone waits again.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Desk, ask, claim, each, say};
use crate::support::schema::numbers;
use crate::support::{Client, EventStream, Hyperdesk, Random, User, eventually};

/// The shortest lease there is: a second, and another one until the silence counts.
const LEASE: &[(&str, &str)] = &[("CLAIM_LEASE_SECONDS", "1")];
const SILENCE: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(60);

async fn status(user: &User, id: &str) -> String {
    let shown = user.get(&format!("/conversations/{id}")).await.expect_status(200).json();
    shown["status"].as_str().unwrap().to_owned()
}

/// Waits until a conversation of `asker`'s waits again.
async fn lapsed(asker: &User, id: &str) {
    eventually(LONG, || async { status(asker, id).await == "waiting" }).await;
}

/// Does it again and again.
async fn again(mut work: impl AsyncFnMut()) {
    loop {
        work().await;
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_expert_who_is_gone_loses_the_conversation_as_by_an_unclaim() {
    let desk = Desk::start_with(LEASE).await;
    let (ann, eve, max) = (desk.user("ann").await, desk.user("eve").await, desk.user("max").await);
    let (id, later) = (ask(&ann, "printer").await, ask(&ann, "mouse").await);
    claim(&eve, &id).await;
    say(&eve, &id, "One moment.").await;
    let cursor = |state: Value| state["cursor"].as_str().unwrap().to_owned();
    let his = cursor(max.get("/api/updates").await.json());
    let hers = cursor(ann.get("/api/updates").await.json());
    let lost = cursor(eve.get("/api/updates").await.json());
    assert_eq!(each(&max.get("/expert/queue").await.json()["waitingConversations"], "id"), [&*later]);
    lapsed(&ann, &id).await;
    // At its old place, with all that was said.
    let queue = max.get("/expert/queue").await.json();
    assert_eq!(each(&queue["waitingConversations"], "id"), [&*id, &*later]);
    let shown = ann.get(&format!("/conversations/{id}")).await.json();
    assert_eq!((&shown["assignedExpertId"], &shown["messageCount"]), (&Value::Null, &json!(1)));
    // Everybody concerned is told.
    let is_told = async |user: &User, cursor: &str, part: &str| {
        let news = user.get(&format!("/api/updates?cursor={cursor}")).await.expect_status(200).json();
        let list = if part == "queue" { &news["queue"]["waiting"] } else { &news[part] };
        list.as_array().unwrap().contains(&shown)
    };
    eventually(LONG, || is_told(&ann, &hers, "conversations")).await;
    let seen = queue["waitingConversations"][0].clone();
    eventually(LONG, || async {
        let news = max.get(&format!("/api/updates?cursor={his}")).await.expect_status(200).json();
        news["queue"]["waiting"].as_array().unwrap().contains(&seen)
    })
    .await;
    // She too: an open page would show it as hers.
    let told =
        eve.get(&format!("/api/updates?cursor={lost}&parts=conversations")).await.expect_status(200).json();
    assert_eq!((&told["unassigned"], &told["conversations"]), (&json!([id]), &json!([])));
    let past: Value = eve.get("/expert/assignments/history").await.json();
    assert_eq!((past[0]["status"].as_str(), past[0]["resolvedAt"].is_string()), (Some("unassigned"), true));
    assert_eq!(eve.get("/conversations").await.text(), "[]");
    // It is not theirs any more.
    let reply = json!({"conversationId": id, "content": "Still there?"});
    eve.post("/messages", &reply).await.expect_status(404);
    eve.post(&format!("/expert/conversations/{id}/resolve"), json!({})).await.expect_status(403);
    claim(&max, &id).await;
    assert_eq!(desk.schema.changes("unclaimed").await, 1);
    assert_eq!(desk.server.metric("helpdesk_claims_lapsed_total").await, Some(1.0));
}

/// By every way of asking, and by writing; and by whichever server it comes in.
#[tokio::test]
async fn an_expert_who_asks_or_writes_keeps_it() {
    // Long beside what one request takes on a busy machine.
    const SECONDS: &str = "4";
    let desk = Desk::start_with(&[("CLAIM_LEASE_SECONDS", SECONDS)]).await;
    let other =
        Hyperdesk::builder(&desk.schema).env("SERVICES", "helpdesk").env("CLAIM_LEASE_SECONDS", SECONDS);
    let other = other.start().await;
    let ann = desk.user("ann").await;
    let (mut kept, mut experts) = (Vec::new(), Vec::new());
    for name in ["since", "cursor", "held", "stream", "writer", "elsewhere"] {
        experts.push(desk.user(name).await);
        kept.push(ask(&ann, name).await);
    }
    let (asker, silent) = (desk.user("control").await, desk.user("silent").await);
    let control = ask(&asker, "control").await;
    for (expert, id) in experts.iter().zip(&kept) {
        claim(expert, id).await;
    }
    let [since, cursor, held, stream, writer, elsewhere] = &experts[..] else { panic!("six") };
    let asks = again(async || drop(since.get("/api/messages/updates?since=2026-01-01").await));
    let follows = again(async || {
        let from = cursor.get("/api/updates").await.json()["cursor"].as_str().unwrap().to_owned();
        cursor.get(&format!("/api/updates?cursor={from}")).await;
    });
    let writes = again(async || drop(say(writer, &kept[4], "still at it").await));
    let far = Client::new(other.addr());
    let asks_elsewhere = again(async || {
        far.get("/api/expert-queue/updates?since=2030-01-01").bearer(&elsewhere.token).send().await;
    });
    let mut from = held.get("/api/updates").await.json()["cursor"].as_str().unwrap().to_owned();
    let holds = async {
        loop {
            // The control's changes wake it, and then it asks again.
            let path = format!("/api/updates?cursor={from}&wait=55");
            let news = held.request("GET", &path).limit(LONG).send().await;
            from = news.header("x-updates-cursor").unwrap().to_owned();
        }
    };
    let listens = async {
        let mut events = EventStream::open(desk.addr(), &stream.token, None).await.unwrap();
        while events.next().await.unwrap().is_some() {}
        panic!("a stream does not end");
    };
    // As long as it takes a silent one to lose a conversation twice.
    let silences = async {
        for _ in 0..2 {
            claim(&silent, &control).await;
            lapsed(&asker, &control).await;
        }
    };
    tokio::select! {
        () = silences => {}
        () = asks => {}
        () = follows => {}
        () = writes => {}
        () = asks_elsewhere => {}
        () = holds => {}
        () = listens => {}
    }
    for (id, expert) in kept.iter().zip(&experts) {
        assert_eq!(status(&ann, id).await, "active", "{}", expert.username);
    }
    // Written in batches: not with each poll.
    let count = r#"db_statement_duration_seconds_count{statement="helpdesk.user_asked"}"#;
    let polls =
        desk.server.metric(r#"http_requests_total{method="GET",route="/api/messages/updates",status="200"}"#);
    let (written, polls) = (desk.server.metric(count).await.unwrap_or(0.0), polls.await);
    println!("{written} statements, {polls:?} polls of one of five");
    // And who stops loses it.
    for id in &kept {
        lapsed(&ann, id).await;
    }
}

/// While no server listens nobody can ask. So one that starts, or that was frozen, takes nothing back at once.
#[tokio::test]
async fn silence_that_nobody_could_break_does_not_count() {
    let mut desk = Desk::start_with(LEASE).await;
    let (ann, eve, max) = (desk.user("ann").await, desk.user("eve").await, desk.user("max").await);
    let (hers, his) = (ask(&ann, "hers").await, ask(&ann, "his").await);
    for turn in ["frozen", "started"] {
        claim(&eve, &hers).await;
        claim(&max, &his).await;
        if turn == "started" {
            desk.server.kill();
            let long_ago = "NOW(6) - INTERVAL 1 HOUR";
            desk.schema.execute(format!("UPDATE expert_assignments SET assigned_at = {long_ago}")).await;
            desk.schema.execute(format!("UPDATE users SET last_active_at = {long_ago}")).await;
            desk.server.start_again().await;
        } else {
            desk.server.freeze();
            sleep(3 * SILENCE).await;
            desk.server.thaw();
        }
        // Who is back at once has lost nothing; who is not has.
        let client = Client::new(desk.addr());
        let asks = async {
            loop {
                let poll = client.get("/api/messages/updates?since=2030-01-01").bearer(&eve.token);
                poll.send().await.expect_status(200);
                sleep(Duration::from_millis(20)).await;
            }
        };
        let status = async |id: &str| {
            let shown = client_at(&desk, &ann, &format!("/conversations/{id}")).await;
            shown["status"].as_str().unwrap().to_owned()
        };
        tokio::select! {
            () = asks => {}
            () = eventually(LONG, || async { status(&his).await == "waiting" }) => {}
        }
        assert_eq!(status(&hers).await, "active", "{turn}");
        let unclaim = format!("/expert/conversations/{hers}/unclaim");
        Client::new(desk.addr()).post(&unclaim).bearer(&eve.token).send().await.expect_status(200);
    }
}

async fn client_at(desk: &Desk, user: &User, path: &str) -> Value {
    Client::new(desk.addr()).get(path).bearer(&user.token).send().await.expect_status(200).json()
}

/// Asks again where the server has too much to do, as clients do. A repeat of a reply gets the first one's answer.
async fn until_served(client: &Client, path: &str, token: &str, body: Value) -> u16 {
    loop {
        let request = client
            .post(path)
            .bearer(token)
            .header("idempotency-key", format!("{path} {body}"))
            .json(&body)
            .limit(LONG);
        let status = request.send().await.status;
        if status != 503 {
            return status;
        }
    }
}

/// What one conversation's race came to.
struct Race {
    id: u64,
    replied: u16,
    claimed: u16,
}

/// So many conversations of one asker's that wait.
async fn waiting(desk: &Desk, asker: &User, count: u64) -> Vec<u64> {
    desk.schema
        .execute(format!(
            "INSERT INTO conversations (title, status, initiator_id, created_at, updated_at)
             SELECT 'race', 'waiting', {}, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) FROM {}",
            asker.id,
            numbers(1, count)
        ))
        .await;
    desk.schema.query("SELECT id FROM conversations ORDER BY id").await
}

/// Lapse against reply, and against claim, on two processes, one of which is frozen for longer than the lease.
#[tokio::test]
async fn a_lapse_a_reply_and_a_claim_at_once_have_one_outcome() {
    const RACES: u64 = 200;
    let desk = Desk::start_with(LEASE).await;
    let other = Hyperdesk::builder(&desk.schema).env("SERVICES", "helpdesk").env("CLAIM_LEASE_SECONDS", 1);
    let other = other.start().await;
    let (ann, eve, max) = (desk.user("ann").await, desk.user("eve").await, desk.user("max").await);
    let ids = waiting(&desk, &ann, RACES).await;
    let mut random = Random::new();
    let addrs = [desk.addr(), other.addr()];
    let races = ids.iter().map(|&id| {
        let after = random.duration(SILENCE.mul_f64(0.8), SILENCE.mul_f64(1.6));
        let here = random.number(0..2) as usize;
        let (eve, max) = (&eve.token, &max.token);
        async move {
            let (one, two) = (Client::new(addrs[here]), Client::new(addrs[1 - here]));
            let path = format!("/expert/conversations/{id}/claim");
            assert_eq!(until_served(&one, &path, eve, json!({})).await, 200);
            sleep_until(Instant::now() + after).await;
            let reply = json!({"conversationId": id, "content": format!("reply {id}")});
            let (replied, claimed) = tokio::join!(
                until_served(&one, "/messages", eve, reply),
                until_served(&two, &path, max, json!({})),
            );
            Race { id, replied, claimed }
        }
    });
    let frozen = async {
        sleep(SILENCE / 2).await;
        other.freeze();
        sleep(SILENCE.mul_f64(1.5)).await;
        other.thaw();
    };
    let (races, ()) = tokio::join!(join_all(races), frozen);
    let count = |wanted: fn(&Race) -> bool| races.iter().filter(|race| wanted(race)).count();
    println!(
        "{} replies in time, {} too late; {} claims after the lapse, {} before",
        count(|race| race.replied == 201),
        count(|race| race.replied == 404),
        count(|race| race.claimed == 200),
        count(|race| race.claimed == 422)
    );
    for Race { id, replied, claimed } in &races {
        assert!(matches!(replied, 201 | 404), "{id}: {replied}");
        assert!(matches!(claimed, 200 | 422), "{id}: {claimed}");
        let stored =
            format!("SELECT COUNT(*) FROM messages WHERE conversation_id = {id} AND sender_id = {}", eve.id);
        assert_eq!(desk.schema.query_one::<u64>(stored).await, u64::from(*replied == 201), "{id}");
        let turns = format!(
            "SELECT COUNT(*) FROM expert_assignments WHERE conversation_id = {id} AND expert_id = {}",
            max.id
        );
        assert_eq!(desk.schema.query_one::<u64>(turns).await, u64::from(*claimed == 200), "{id}");
    }
    // Nobody asks any more: in the end nobody has anything.
    let left =
        "SELECT COUNT(*) FROM conversations WHERE status <> 'waiting' OR assigned_expert_id IS NOT NULL";
    eventually(LONG, || async { desk.schema.query_one::<u64>(left).await == 0 }).await;
    agree(&desk).await;
    let lapses = [
        desk.server.metric("helpdesk_claims_lapsed_total").await,
        other.metric("helpdesk_claims_lapsed_total").await,
    ];
    println!("lapses by instance: {lapses:?}");
    let turns: u64 = desk.schema.query_one("SELECT COUNT(*) FROM expert_assignments").await;
    assert_eq!(lapses.iter().flatten().sum::<f64>(), turns as f64, "each by one instance");
}

/// What the assignments, the messages and the feed say of the same conversations.
async fn agree(desk: &Desk) {
    let none = async |what: &str, sql: &str| {
        let found: Vec<u64> = desk.schema.query(sql).await;
        assert_eq!(found, Vec::<u64>::new(), "{what}");
    };
    none(
        "two turns at once",
        "SELECT a.id FROM expert_assignments a JOIN expert_assignments b
         ON b.conversation_id = a.conversation_id AND b.id > a.id AND b.assigned_at < COALESCE(a.resolved_at, '2100-01-01')",
    )
    .await;
    none(
        "a reply outside of its sender's turn",
        "SELECT m.id FROM messages m WHERE m.sender_role = 'expert' AND NOT EXISTS (
             SELECT 1 FROM expert_assignments a WHERE a.conversation_id = m.conversation_id AND a.expert_id = m.sender_id
             AND a.assigned_at <= m.created_at AND m.created_at <= COALESCE(a.resolved_at, '2100-01-01'))",
    )
    .await;
    none(
        "a turn that did not end",
        "SELECT id FROM expert_assignments WHERE status <> 'unassigned' OR resolved_at IS NULL",
    )
    .await;
    let turns: u64 = desk.schema.query_one("SELECT COUNT(*) FROM expert_assignments").await;
    assert_eq!(
        (desk.schema.changes("claimed").await, desk.schema.changes("unclaimed").await),
        (turns, turns)
    );
}
