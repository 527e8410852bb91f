//! Demo users and conversations, so that a first look shows something. Idempotent.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::auth::password::{self, Hasher};
use crate::db::{Db, Error};
use crate::transaction;

use super::changes::{self, NewEvent};
use super::store;

/// Names and passwords of the demo users.
const USERS: [(&str, &str); 3] = [
    ("ann-asks", "ann-asks-secret"),
    ("eve-expert", "eve-expert-secret"),
    ("max-expert", "max-expert-secret"),
];

/// A question of the first user's, and an answer of the second's where there is one.
const QUESTIONS: [(&str, &str, Option<&str>); 3] = [
    ("The printer on floor 2 is on fire", "There is smoke, too.", Some("Please leave the building first.")),
    ("How do I reset my password?", "I wrote it on a note and lost the note.", None),
    ("The VPN drops every hour", "At the full hour, exactly.", None),
];

/// Why not all of it was added.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The database.
    #[error(transparent)]
    Database(#[from] Error),
    /// A password could not be hashed.
    #[error(transparent)]
    Password(#[from] password::Error),
}

/// Adds what is missing; lines for the user's terminal.
pub async fn seed(db: &Arc<Db>, hash_concurrency: usize) -> Result<Vec<String>, SeedError> {
    let hasher = Hasher::new(hash_concurrency)?;
    let mut ids = Vec::new();
    let mut lines = Vec::new();
    let mut fresh = false;
    for (name, password) in USERS {
        lines.push(format!("user {name}, password {password}"));
        if let Some((id, _)) = store::user_credentials(&mut db.writer().await?, name).await? {
            ids.push(id);
            continue;
        }
        fresh = true;
        let digest =
            hasher.permit(IpAddr::from(Ipv4Addr::LOCALHOST).into()).await?.hash(password.to_owned()).await?;
        ids.push(user(db, name, &digest).await?);
    }
    if fresh {
        questions(db, ids[0], ids[1]).await?;
        lines.push(format!("{} conversations of {}", QUESTIONS.len(), USERS[0].0));
    }
    Ok(lines)
}

async fn user(db: &Db, name: &str, digest: &str) -> Result<u64, Error> {
    transaction!(db, db => {
        let id = store::user_insert(db, name, digest, None).await?;
        store::profile_insert(db, id).await?;
        Ok::<_, Error>(id)
    })
}

async fn questions(db: &Db, asks: u64, answers: u64) -> Result<(), Error> {
    for (title, question, answer) in QUESTIONS {
        let conversation = open(db, asks, title).await?;
        say(db, conversation, asks, question).await?;
        if let Some(answer) = answer {
            claim(db, conversation, answers).await?;
            say(db, conversation, answers, answer).await?;
        }
    }
    Ok(())
}

async fn open(db: &Db, asks: u64, title: &str) -> Result<u64, Error> {
    transaction!(db, db => {
        let conversation = store::conversation_insert(db, title, asks).await?;
        changes::record_and_commit(db, &NewEvent::opened(conversation)).await?;
        Ok::<_, Error>(conversation)
    })
}

async fn claim(db: &Db, conversation: u64, answers: u64) -> Result<(), Error> {
    transaction!(db, db => {
        store::conversation_claim(db, conversation, answers).await?;
        store::assignment_insert(db, conversation, answers).await?;
        changes::record_and_commit(db, &NewEvent::claimed(conversation, answers)).await.map(drop)
    })
}

async fn say(db: &Db, conversation: u64, sender: u64, content: &str) -> Result<(), Error> {
    transaction!(db, db => {
        let posting = store::conversation_bump(db, conversation, sender).await?;
        let posting = posting.ok_or_else(|| Error::Internal("nobody posts there".to_owned()))?;
        let message = store::message_insert(db, posting, content.to_owned()).await?;
        changes::record_and_commit(db, &NewEvent::message(conversation, message.id)).await.map(drop)
    })
}
