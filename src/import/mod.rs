//! `hyperdesk import`: brings the database of the Rails original over, page by page.
//!
//! ```text
//!  source, one snapshot, read-only            target
//!   users ─► profiles ─► conversations ─► messages ─► assignments     a page: read, judge, look what is here, add
//!                                                       │
//!                                  counts ◄─────────────┘   of all and of unread messages
//!                                       │
//!                                  the feed begins anew     what was brought over is history, and no change
//!                                       │
//!                                  all pages once more      every row of both compared, field by field; what is here only is named
//! ```
//!
//! - Ids are kept, and so are times, so links, tokens and the order of the queue stay what they were.
//! - What is here stays, what is not is added: it may be broken off and run again.
//! - No more than a page is in memory, besides the ids of what is not taken.
//! - What cannot be taken is told row by row, with the reason; what is taken otherwise than it was, too; columns and
//!   tables of which nothing is taken are named.

pub mod copy;
pub mod field;
pub mod links;
pub mod row;
pub mod store;
pub mod table;

use std::io;

use crate::config::{DatabaseTarget, SslMode};
use crate::db::{self, Db};

use copy::{Copier, Mode, Tally};
use store::{Source, Target};
use table::{TABLES, Table};

/// Why an import did not come to its end, or not to a good one.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Our own database.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The one that is brought over.
    #[error(
        "the source cannot be read: {0}: see where --from or IMPORT_FROM leads, and what that account may SELECT"
    )]
    Source(db::Error),
    /// It cannot be done; why, and what to do.
    #[error("{0}")]
    Refused(String),
    /// What it had to say could not be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Where its lines go.
pub type Say<'a> = &'a mut (dyn FnMut(&str) -> io::Result<()> + Send);

/// Brings over what `from` has, into `db`, whose schema is right.
///
/// # Errors
/// See [`Failure`]; also when all was done and something could not be taken, or is not as it was.
pub async fn run(
    from: &DatabaseTarget,
    ssl: &SslMode,
    db: &Db,
    is_dry: bool,
    say: Say<'_>,
) -> Result<(), Failure> {
    let mut source = Source::open(from, ssl).await.map_err(Failure::Source)?;
    let columns = source.columns().await.map_err(Failure::Source)?;
    table::judge(&columns).map_err(Failure::Refused)?;
    let Some(mut target) = Target::open(db).await? else {
        return Err(Failure::Refused("another import is under way here: wait for its end".to_owned()));
    };
    for table in table::left_behind(&columns) {
        say(&format!("table {table} is left behind, with whatever it holds"))?;
    }
    let mut copier = Copier::new(&mut source, &mut target, say);
    let mode = if is_dry { Mode::DryRun } else { Mode::Copy };
    let mut refused = 0;
    for table in TABLES {
        let tally = copier.pass(table, mode).await?;
        refused += tally.refused;
        (copier.say)(&summary(table, mode, tally))?;
    }
    if is_dry {
        (copier.say)("nothing was written: this was a dry run")?;
        return judged(refused, 0);
    }
    count_messages(&mut copier).await?;
    copier.target.begin_feed_anew().await?;
    let wrong = verify(&mut copier).await?;
    (copier.say)("sessions are not brought over: everybody signs in again, or goes on with a token")?;
    judged(refused, wrong)
}

fn summary(table: Table, mode: Mode, tally: Tally) -> String {
    let Tally { rows, added, there, refused, .. } = tally;
    let verb = if mode == Mode::DryRun { "would be added" } else { "added" };
    format!("{}: {rows} rows, {added} {verb}, {there} were here, {refused} not taken", table.name())
}

async fn count_messages(copier: &mut Copier<'_>) -> Result<(), Failure> {
    let (mut after, mut counted) = (0, 0);
    while let Some((last, other)) = copier.target.count_messages(after).await? {
        (after, counted) = (last, counted + other);
    }
    (copier.say)(&format!("messages counted, and the unread ones, of {counted} conversations anew"))?;
    Ok(())
}

/// Everything once more, to be compared: how much is wrong.
async fn verify(copier: &mut Copier<'_>) -> Result<u64, Failure> {
    let mut wrong = 0;
    for table in TABLES {
        let tally = copier.pass(table, Mode::Verify).await?;
        wrong += tally.wrong;
        let mut line = format!("{}: {} rows compared", table.name(), tally.there);
        if tally.changed_here > 0 {
            line += &format!(", {} of them changed here since", tally.changed_here);
        }
        (copier.say)(&line)?;
    }
    let mut after = 0;
    while let Some((last, other)) = copier.target.count_messages(after).await? {
        (after, wrong) = (last, wrong + other);
    }
    Ok(wrong)
}

fn judged(refused: u64, wrong: u64) -> Result<(), Failure> {
    match (refused, wrong) {
        (0, 0) => Ok(()),
        (_, 0) => Err(Failure::Refused(format!("{refused} rows were not taken: the lines above say why"))),
        _ => Err(Failure::Refused(format!(
            "{refused} rows were not taken and {wrong} are not as in the source: the lines above say which"
        ))),
    }
}
