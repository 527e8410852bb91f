//! Those who write, and what they were told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::due::Item;
use super::restore::LOST;
use super::{SILENT, World};
use crate::support::{Client, Random};

/// The queue's first page shows a hundred.
const WAITING_MAX: u64 = 60;
const LIMIT: Duration = Duration::from_secs(4);

const OPEN: &str = include_str!("../../../sql/helpdesk/conversation_insert.sql");
/// With what the message needs to know.
const BUMP_AND_TELL: &str = include_str!("../../../sql/helpdesk/conversation_bump.sql");
const POST: &str = include_str!("../../../sql/helpdesk/message_insert.sql");
/// With the COMMIT, which these writers stall before.
const RECORD_AND_COMMIT: &str = include_str!("../../../sql/helpdesk/record.sql");

/// What writers know of each other's work, to choose from.
#[derive(Default)]
pub struct Board {
    conversations: Vec<Known>,
    messages: Vec<(u64, u64, u64)>,
}

#[derive(Clone, Copy)]
struct Known {
    id: u64,
    initiator: u64,
    expert: Option<u64>,
}

impl Board {
    /// As if nothing but these had ever been: conversations with their initiator and expert, and messages with
    /// their conversation and sender.
    pub fn set(&mut self, conversations: Vec<(u64, u64, Option<u64>)>, messages: Vec<(u64, u64, u64)>) {
        let known = |(id, initiator, expert)| Known { id, initiator, expert };
        self.conversations = conversations.into_iter().map(known).collect();
        self.messages = messages;
    }
}

impl World {
    /// A conversation was opened by a write that began in the history `era`: others may work on it, and it is due.
    fn opened(&self, era: u64, id: u64, initiator: u64) {
        let mut board = self.board.lock().unwrap();
        if self.due.era() == era {
            board.conversations.push(Known { id, initiator, expert: None });
            self.due.acknowledge(era, initiator, Item::Conversation, id);
        }
    }

    /// The same of a message.
    fn posted(&self, era: u64, id: u64, conversation: u64, sender: u64) {
        let mut board = self.board.lock().unwrap();
        if self.due.era() == era {
            board.messages.push((id, conversation, sender));
            if let Some(known) = board.conversations.iter().find(|known| known.id == conversation) {
                self.due.acknowledge(era, known.initiator, Item::Message, id);
            }
        }
    }
}

/// How a write ended for its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Told that it is done; the new row's id, where there is one.
    Done(u64),
    /// Told that it is not.
    Refused,
    /// Told nothing.
    Unknown,
}

/// One write. New rows are known by their text, which nobody else writes.
#[derive(Debug)]
pub enum Write {
    Open { title: String },
    Post { conversation: u64, content: String },
    Change { kind: &'static str, conversation: u64, by: u64 },
    Read { message: u64 },
}

/// All of one writer's, in their order.
#[derive(Default)]
pub struct Ledger {
    pub writes: Vec<(Write, Outcome)>,
}

impl Ledger {
    /// A write that began in the history `begun` and ended in the history `ended` ([`super::due::Due::era`]): of what was
    /// done in the one that is lost nothing is left, and in between nobody can say.
    fn note(&mut self, (begun, ended): (u64, u64), write: Write, outcome: Outcome) {
        let outcome = match (begun, ended) {
            (LOST, LOST) if matches!(write, Write::Change { .. } | Write::Read { .. }) => return,
            (LOST, LOST) => Outcome::Refused,
            _ if begun != ended => Outcome::Unknown,
            _ => outcome,
        };
        self.writes.push((write, outcome));
    }
}

/// Keeps so few waiting that clients are shown all who wait.
pub async fn keep_the_queue_short(world: Arc<World>) {
    let sql = "SELECT COUNT(*) FROM conversations WHERE status = 'waiting'";
    while world.is_writing() {
        sleep(Duration::from_millis(100)).await;
        let Ok(mut conn) = Conn::new(world.server.admin_opts().db_name(Some(world.schema.name()))).await
        else {
            continue;
        };
        if let Ok(Some(waiting)) = conn.query_first::<u64, _>(sql).await {
            world.may_open.store(waiting < WAITING_MAX, Ordering::Relaxed);
        }
        let _ = conn.disconnect().await;
    }
}

/// A person at their browser, on a random instance each time.
pub async fn over_http(world: Arc<World>, person: usize, number: u64) -> Ledger {
    let mut writer = Writer {
        random: world.random(number),
        me: world.people[person].id,
        person,
        world,
        ledger: Ledger::default(),
    };
    while writer.world.is_writing() {
        writer.act().await;
        sleep(writer.random.duration(Duration::from_millis(2), Duration::from_millis(40))).await;
    }
    writer.ledger
}

struct Writer {
    world: Arc<World>,
    random: Random,
    person: usize,
    me: u64,
    ledger: Ledger,
}

impl Writer {
    async fn act(&mut self) {
        if self.person == SILENT {
            // Claims, says something now and then, and is not heard of.
            return if self.random.chance(3) { self.post().await } else { self.claim().await };
        }
        match self.random.number(0..100) {
            0..12 => self.open().await,
            12..35 => self.claim().await,
            35..42 => self.end("unclaim", "unclaimed").await,
            42..48 => self.end("resolve", "resolved").await,
            48..65 => self.read().await,
            _ => self.post().await,
        }
    }

    /// One of those that `fits`, mostly a recent one.
    fn choose(&mut self, fits: impl Fn(&Known) -> bool) -> Option<u64> {
        let board = self.world.board.lock().unwrap();
        let mut fitting: Vec<u64> =
            board.conversations.iter().filter(|known| fits(known)).map(|k| k.id).collect();
        drop(board);
        let recent = fitting.split_off(fitting.len().saturating_sub(12));
        (!recent.is_empty()).then(|| *self.random.pick(&recent))
    }

    async fn open(&mut self) {
        if !self.world.may_open.load(Ordering::Relaxed) {
            return;
        }
        let title = self.random.name(16);
        let era = self.world.due.era();
        let (outcome, _) = self.create("/conversations", json!({ "title": title })).await;
        if let Outcome::Done(id) = outcome {
            self.world.opened(era, id, self.me);
        }
        self.note(era, Write::Open { title }, outcome);
    }

    fn note(&mut self, begun: u64, write: Write, outcome: Outcome) {
        self.ledger.note((begun, self.world.due.era()), write, outcome);
    }

    async fn post(&mut self) {
        let (me, era) = (self.me, self.world.due.era());
        let Some(conversation) = self.choose(|known| known.initiator == me || known.expert == Some(me))
        else {
            return;
        };
        let content = self.random.name(20);
        let mut fields = json!({ "conversationId": conversation.to_string(), "content": content });
        if self.random.chance(3) {
            fields["lastSeenMessageId"] = json!(self.newest_in(conversation));
        }
        let (outcome, _) = self.create("/messages", fields).await;
        if let Outcome::Done(id) = outcome {
            self.world.posted(era, id, conversation, me);
        }
        self.note(era, Write::Post { conversation, content }, outcome);
    }

    /// The newest message of a conversation that anybody was told of; a colleague's may have crossed it.
    fn newest_in(&self, conversation: u64) -> u64 {
        let board = self.world.board.lock().unwrap();
        board.messages.iter().rev().find(|(_, at, _)| *at == conversation).map_or(0, |(id, ..)| *id)
    }

    async fn claim(&mut self) {
        let (me, silent) = (self.me, self.world.people[SILENT].id);
        // Who is gone loses it some time.
        let is_free =
            |known: &Known| known.expert.is_none() || (known.expert == Some(silent) && me != silent);
        let Some(conversation) = self.choose(|known| is_free(known) && known.initiator != me) else {
            return;
        };
        self.change("claim", "claimed", conversation, Some(Some(me))).await;
    }

    async fn end(&mut self, verb: &str, kind: &'static str) {
        let me = self.me;
        let Some(conversation) = self.choose(|known| known.expert == Some(me)) else { return };
        let then = if verb == "unclaim" { Some(None) } else { None };
        self.change(verb, kind, conversation, then).await;
    }

    async fn change(&mut self, verb: &str, kind: &'static str, conversation: u64, then: Option<Option<u64>>) {
        let path = format!("/expert/conversations/{conversation}/{verb}");
        let era = self.world.due.era();
        let (status, _) = self.send("POST", &path, json!({}), None).await;
        let outcome = judged(status, || Some(0));
        if outcome == Outcome::Done(0)
            && let Some(expert) = then
            && self.world.due.era() == era
        {
            let mut board = self.world.board.lock().unwrap();
            board.conversations.iter_mut().filter(|k| k.id == conversation).for_each(|k| k.expert = expert);
        }
        self.note(era, Write::Change { kind, conversation, by: self.me }, outcome);
    }

    async fn read(&mut self) {
        let me = self.me;
        let Some(conversation) = self.choose(|known| known.initiator == me || known.expert == Some(me))
        else {
            return;
        };
        let foreign: Vec<u64> = {
            let board = self.world.board.lock().unwrap();
            let fits = board.messages.iter().filter(|(_, at, sender)| *at == conversation && *sender != me);
            fits.map(|(id, ..)| *id).collect()
        };
        if foreign.is_empty() {
            return;
        }
        let message = *self.random.pick(&foreign);
        let era = self.world.due.era();
        let (status, _) = self.send("PUT", &format!("/messages/{message}/read"), json!({}), None).await;
        self.note(era, Write::Read { message }, judged(status, || Some(0)));
    }

    /// Asks for a new row, again and again with the same key where no answer comes, or not.
    async fn create(&mut self, path: &str, fields: Value) -> (Outcome, usize) {
        let key = self.random.name(20);
        let mut tries = 0;
        loop {
            tries += 1;
            let (status, body) = self.send("POST", path, fields.clone(), Some(&key)).await;
            if let Some(newer) = body.as_ref().and_then(|body| body["messages"].as_array()) {
                let me = self.me.to_string();
                let are_others = newer.iter().all(|one| one["senderId"] != me);
                assert!(status == Some(409) && !newer.is_empty() && are_others, "{status:?} {newer:?}");
            }
            let id = || body.as_ref()?["id"].as_str()?.parse().ok();
            match judged(status, id) {
                // Somebody else took the conversation away meanwhile; the first try may have been in time.
                Outcome::Refused if tries > 1 => return (Outcome::Unknown, tries),
                Outcome::Unknown if tries < 6 && !self.random.chance(4) => {}
                outcome => return (outcome, tries),
            }
            sleep(Duration::from_millis(60)).await;
        }
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        fields: Value,
        key: Option<&str>,
    ) -> (Option<u16>, Option<Value>) {
        let client = Client::new(self.world.some_addr(&mut self.random));
        let token = &self.world.people[self.person].token;
        let mut request = client.request(method, path).bearer(token).json(fields).limit(LIMIT);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        match request.try_send().await {
            Ok(answer) => (Some(answer.status), serde_json::from_slice(&answer.body).ok()),
            Err(_) => (None, None),
        }
    }
}

fn judged(status: Option<u16>, id: impl FnOnce() -> Option<u64>) -> Outcome {
    match status {
        Some(200 | 201) => id().map_or(Outcome::Unknown, Outcome::Done),
        Some(400..500) => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

/// The same statements on a connection of its own, with a stall before the commit, or a rollback.
pub async fn past_the_servers(world: Arc<World>, number: u64) -> Ledger {
    let mut random = world.random(100 + number);
    let mut ledger = Ledger::default();
    let mut conn = None;
    while world.is_writing() {
        let open = match conn.take() {
            Some(open) => Some(open),
            None => Conn::new(world.server.admin_opts().db_name(Some(world.schema.name()))).await.ok(),
        };
        let Some(mut open) = open else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        if slow_write(&world, &mut open, &mut random, &mut ledger).await.is_ok() {
            conn = Some(open);
        }
        sleep(random.duration(Duration::from_millis(1), Duration::from_millis(30))).await;
    }
    ledger
}

async fn slow_write(
    world: &World,
    conn: &mut Conn,
    random: &mut Random,
    ledger: &mut Ledger,
) -> mysql_async::Result<()> {
    // Nobody stands in the middle of a transaction while a backup is taken or restored.
    let _quiet = world.restoring.read().await;
    let era = world.due.era();
    conn.query_drop("SET time_zone = '+00:00'").await?;
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    let me = random.pick(&world.people).id;
    let own: Vec<u64> = {
        let board = world.board.lock().unwrap();
        board.conversations.iter().filter(|known| known.initiator == me).map(|known| known.id).collect()
    };
    let stall = if random.chance(8) { random.number(100..700) } else { random.number(0..25) };
    let rolls_back = random.chance(5);
    let text = random.name(24);
    let opens = own.is_empty() || random.chance(6);
    if opens && !world.may_open.load(Ordering::Relaxed) {
        return Ok(());
    }
    conn.query_drop("START TRANSACTION").await?;
    let (record, _commit) = RECORD_AND_COMMIT.split_once(';').unwrap();
    let (write, id, conversation) = if opens {
        conn.exec_drop(OPEN, (&text, me)).await?;
        let id = conn.last_insert_id().unwrap_or(0);
        conn.exec_drop(record, ("opened", id, None::<u64>, None::<u64>)).await?;
        (Write::Open { title: text }, id, id)
    } else {
        let conversation = *random.pick(&own[own.len().saturating_sub(8)..]);
        let (bump, _tell) = BUMP_AND_TELL.split_once(';').unwrap();
        conn.exec_drop(bump, (me, me, conversation, me, me)).await?;
        let at = "SELECT last_message_at FROM conversations WHERE id = ?";
        let at: Option<mysql_async::Value> = conn.exec_first(at, (conversation,)).await?;
        conn.exec_drop(POST, (conversation, me, &text, "initiator", at.clone(), at)).await?;
        let id = conn.last_insert_id().unwrap_or(0);
        let event = ("message", conversation, Some(id), None::<u64>);
        conn.exec_drop(record, event).await?;
        (Write::Post { conversation, content: text }, id, conversation)
    };
    sleep(Duration::from_millis(stall)).await;
    if rolls_back {
        ledger.note((era, era), write, Outcome::Refused);
        return conn.query_drop("ROLLBACK").await;
    }
    let done = conn.query_drop("COMMIT").await;
    if done.is_ok() {
        match write {
            Write::Open { .. } => world.opened(era, id, me),
            _ => world.posted(era, id, conversation, me),
        }
    }
    ledger.note((era, era), write, if done.is_ok() { Outcome::Done(id) } else { Outcome::Unknown });
    done
}
