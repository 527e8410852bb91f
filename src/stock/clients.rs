//! `hyperdesk oauth-client`: client programs are made, listed and revoked by who runs the server. And what
//! makes a revoked client's tokens die.

use std::convert::Infallible;
use std::sync::Arc;

use clap::Subcommand;

use crate::auth::{Auth, oauth, token};
use crate::db::{self, Db};

use super::model::{NAME_CHARS_MAX, Scope};
use super::store;

/// How far a refresh goes back, in seconds: the last token of a client revoked earlier has expired. The reserve
/// is for a token that was being made while its client was revoked.
const LOOK_BACK_S: u32 = oauth::ACCESS_TOKEN_SECONDS + 60;

/// What to do with clients.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Make a client; its secret is shown this once.
    Create {
        /// What it may ask for: read, stock, or both separated by a comma.
        #[arg(long)]
        scope: Scope,
        /// A name, to tell it from others in the list.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// List all clients.
    List,
    /// Revoke a client: it gets no more tokens, and those it has die within 2 seconds.
    Revoke {
        /// As printed when it was made.
        client_id: u64,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// No secret can be made.
    #[error(transparent)]
    NoRandomness(#[from] token::NoRandomness),
    /// The user's mistake.
    #[error("{0}")]
    Refused(&'static str),
}

/// Does it; the lines to print.
///
/// # Errors
/// See [`Failure`].
pub async fn run(db: &Db, command: &Command) -> Result<Vec<String>, Failure> {
    let mut db = db.writer().await?;
    match command {
        Command::Create { name, .. } if name.chars().count() > NAME_CHARS_MAX => {
            Err(Failure::Refused("the name is too long (maximum is 255 characters)"))
        }
        Command::Create { scope, name } => {
            let secret = oauth::new_secret()?;
            let hash = oauth::hash_secret(&secret);
            let id = store::client_insert(&mut db, name, &hash, scope.as_str()).await?;
            Ok(vec![format!("client_id={id}"), format!("client_secret={secret}")])
        }
        Command::List => Ok(store::client_list(&mut db).await?.iter().map(ToString::to_string).collect()),
        Command::Revoke { client_id } => {
            if store::client_by_id(&mut db, *client_id).await?.is_none() {
                return Err(Failure::Refused("there is no such client"));
            }
            store::client_revoke(&mut db, *client_id).await?;
            Ok(vec![format!("revoked client_id={client_id}")])
        }
    }
}

/// Keeps the set of revoked clients up to date for as long as the process lives: a revoked client's tokens die within 2 s
/// on every instance, as a session's do.
pub(super) async fn follow_revocations(db: Arc<Db>, auth: Arc<Auth>) -> Infallible {
    let mut told = false;
    loop {
        let clients = &auth.revocations.clients;
        let read = async {
            clients.replace(revoked(&db).await?);
            Ok::<_, db::Error>(())
        };
        match clients.looks.refresh(read).await {
            Ok(()) => {
                if std::mem::take(&mut told) {
                    tracing::info!("the revoked clients can be read again");
                }
            }
            // Once for each outage.
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::warn!(%error, "the revoked clients cannot be read");
            }
            Err(error) => tracing::debug!(%error, "the revoked clients could not be read"),
        }
    }
}

async fn revoked(db: &Db) -> Result<Vec<u64>, db::Error> {
    store::client_revoked(&mut db.writer().await?, LOOK_BACK_S).await
}
