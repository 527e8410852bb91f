//! Usernames: whose name is as it must be keeps it, and nobody has one that is somebody else's.

use std::collections::{HashMap, HashSet};

use crate::auth::names;
use crate::import::Failure;
use crate::import::field::Field;
use crate::import::row::Row;
use crate::import::table::Table;

use super::{Copier, Mode, Tally};

/// Names kept by a dry run, which cannot find them in the target.
const NAMES_MAX: usize = 1_000_000;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 255;

impl Copier<'_> {
    /// Users under names that nobody else has here. One whose name is another's is taken under a name with its id.
    /// The names of those in `exact` are as they are in the source.
    pub(super) async fn distinct_names(
        &mut self,
        rows: Vec<Row>,
        exact: &HashSet<u64>,
        mode: Mode,
        tally: &mut Tally,
    ) -> Result<Vec<Row>, Failure> {
        let others: Vec<String> = rows.iter().map(|row| format!("{}-{}", name(row), row.id)).collect();
        let all: Vec<&str> = rows.iter().map(name).chain(others.iter().map(String::as_str)).collect();
        let mut owners = self.target.names(&all).await?;
        let keys: Vec<_> = all.iter().map(|name| names::key(name)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
        let mut key_owners = self.target.keys(&keys).await?;
        let mut distinct = Vec::with_capacity(rows.len());
        for mut row in rows {
            let stored = name(&row).to_owned();
            let mut own = stored.clone();
            if self.is_others(&stored, row.id, exact.contains(&row.id), &owners).await? {
                own = format!("{stored}-{}", row.id);
                if own.chars().count() > NAME_CHARS_MAX
                    || self.is_others(&own, row.id, false, &owners).await?
                {
                    let why = format!("the names {stored:?} and {own:?} are taken");
                    self.refuse(Table::Users, mode, Some(row.id), &why, tally)?;
                    continue;
                }
                row.notes.push(format!("is {own:?} here: somebody else is {stored:?}"));
                row.fields[1] = own.as_str().into();
                row.fields[3] = Field::Bytes(names::key(&own).to_vec());
            }
            // Of several names that are alike the first has the key.
            let has_key =
                key(&row).is_none_or(|key| *key_owners.entry(key.to_vec()).or_insert(row.id) == row.id);
            if !has_key {
                row.fields[3] = Field::Null;
            }
            if mode == Mode::DryRun && self.names.len() < NAMES_MAX {
                self.names.insert(own.clone());
            }
            owners.insert(own, row.id);
            distinct.push(row);
        }
        Ok(distinct)
    }

    /// Whether a name is somebody else's: here, or since it is exactly so in the source, on whatever page.
    async fn is_others(
        &mut self,
        name: &str,
        id: u64,
        is_exact: bool,
        owners: &HashMap<String, u64>,
    ) -> Result<bool, Failure> {
        if let Some(owner) = owners.get(name) {
            return Ok(*owner != id);
        }
        if self.names.contains(name) {
            return Ok(true);
        }
        if is_exact {
            return Ok(false);
        }
        let in_source = self.source.names(&[name]).await.map_err(Failure::Source)?;
        Ok(in_source.get(name).is_some_and(|owner| *owner != id))
    }
}

fn name(row: &Row) -> &str {
    match &row.fields[1] {
        Field::Text(name) => name,
        _ => "",
    }
}

fn key(row: &Row) -> Option<&[u8]> {
    match &row.fields[3] {
        Field::Bytes(key) => Some(key),
        _ => None,
    }
}
