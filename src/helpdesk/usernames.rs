//! Who is called how: byte for byte, or without regard to case and accents, as `USERNAMES` says.
//!
//! The second way has a key for each name, unique in the database, so two people who register as `Ann` and `ann` at
//! once cannot both have it. Of users who came while names were compared byte for byte, the first of several that are
//! alike has the key; the others sign in by their exact name. A task gives keys to those who have none yet.

use std::borrow::Cow;
use std::sync::Weak;
use std::time::Duration;

use crate::auth::names;
use crate::config::Usernames;
use crate::db::{self, Connection, Db};

use super::store;

/// Pause between two looks for users without a key: those who registered on an instance of another setting or version.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Rows of one look: the statement's LIMIT.
const PAGE_ROWS: usize = 500;

/// How names are compared.
#[derive(Clone, Copy, Debug)]
pub struct Names(pub Usernames);

impl Names {
    const fn are_folded(self) -> bool {
        matches!(self.0, Usernames::CaseInsensitive)
    }

    /// The name by which attempts are counted: one for all ways to write it.
    pub fn counted(self, name: &str) -> Cow<'_, str> {
        if self.are_folded() { names::folded(name).into() } else { name.into() }
    }

    /// What is stored beside a new name.
    pub fn key(self, name: &str) -> Option<[u8; 32]> {
        self.are_folded().then(|| names::key(name))
    }

    /// Id and password hash of who is called so: the exact name comes first.
    pub async fn credentials(
        self,
        db: &mut Connection,
        name: &str,
    ) -> Result<Option<(u64, String)>, db::Error> {
        match (store::user_credentials(db, name).await?, self.key(name)) {
            (None, Some(key)) => store::user_credentials_by_key(db, &key).await,
            (found, _) => Ok(found),
        }
    }
}

/// Gives keys, for as long as the database is there.
pub async fn give_keys(db: Weak<Db>) {
    let mut after = 0;
    loop {
        let Some(db) = db.upgrade() else { return };
        if let Err(error) = give_missing(&db, &mut after).await {
            // The database's absence is logged and counted where requests meet it.
            tracing::debug!(%error, "usernames could not be given their keys");
        }
        drop(db);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn give_missing(db: &Db, after: &mut u64) -> Result<(), db::Error> {
    let mut db = db.writer().await?;
    loop {
        let page = store::user_list_without_key(&mut db, *after).await?;
        for (id, name) in &page {
            match store::user_give_key(&mut db, *id, &names::key(name)).await {
                Ok(()) => {}
                Err(db::Error::Duplicate(_)) => {
                    tracing::warn!(
                        user_id = id,
                        "another user has a name like theirs: they sign in by the exact one"
                    );
                }
                Err(error) => return Err(error),
            }
            *after = *id;
        }
        if page.len() < PAGE_ROWS {
            return Ok(());
        }
    }
}
