//! One table after the other, a page at a time: what each row becomes, whether it is here already, and what to tell.

mod names;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::field::{Field, Fields};
use super::row::{Initiators, Row, judge, named};
use super::store::{Page, Source, Target};
use super::table::Table;
use super::{Failure, Say};

/// Users and conversations that are not taken, in memory, for what names them. With more the source is another one.
const REFUSED_MAX: usize = 1_000_000;
/// Between two lines that say how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// As few ids above the highest one deserve a warning: whoever takes them up would have no more rows.
const IDS_LEFT_MIN: u64 = 1_000_000_000;
/// Columns of users that are no part of a comparison: ours, and the one that a sign-in changes and nothing else.
const NOT_COMPARED: [&str; 2] = ["username_key", "last_active_at"];

/// What a pass does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Adds what is not here.
    Copy,
    /// Only says what it would do.
    DryRun,
    /// Compares what is here with the source.
    Verify,
}

/// What a pass over a table found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Rows of the source.
    pub rows: u64,
    /// Added now; in a dry run those that would be.
    pub added: u64,
    /// Here already.
    pub there: u64,
    /// Not taken.
    pub refused: u64,
    /// Changed here since they were brought over.
    pub changed_here: u64,
    /// What a verification found wrong.
    pub wrong: u64,
    /// The highest id of those that can be taken.
    highest: u64,
}

/// What the source has of all that the rows of a page name.
struct Named {
    users: HashSet<u64>,
    initiators: Initiators,
    /// The first profile of each user, in the source and here.
    profiles: [HashMap<u64, u64>; 2],
}

/// A pass over all tables.
pub struct Copier<'a> {
    /// Where the rows come from.
    pub source: &'a mut Source,
    /// Where they go.
    pub target: &'a mut Target,
    /// Where the lines for the user go.
    pub say: Say<'a>,
    // In memory, because what names them is refused, too.
    refused_users: HashSet<u64>,
    refused_conversations: HashSet<u64>,
    names: HashSet<String>,
}

/// How far a pass is.
struct Progress {
    begun: Instant,
    said: Instant,
    total: u64,
}

impl Progress {
    fn new(total: u64) -> Self {
        let now = Instant::now();
        Self { begun: now, said: now, total }
    }

    /// The next line, when it is time for one.
    fn line(&mut self, table: Table, mode: Mode, done: u64) -> Option<String> {
        if self.said.elapsed() < PROGRESS_EVERY || done == 0 || done >= self.total {
            return None;
        }
        self.said = Instant::now();
        let left = self.begun.elapsed().as_secs_f64() * (self.total - done) as f64 / done as f64;
        let verb = if mode == Mode::Verify { "compared" } else { "read" };
        let (name, total) = (table.name(), self.total);
        Some(format!("{name}: {done} of {total} {verb}, about {left:.0} s left"))
    }
}

impl<'a> Copier<'a> {
    /// Before the first pass.
    pub fn new(source: &'a mut Source, target: &'a mut Target, say: Say<'a>) -> Self {
        Self {
            source,
            target,
            say,
            refused_users: HashSet::new(),
            refused_conversations: HashSet::new(),
            names: HashSet::new(),
        }
    }

    /// Goes over one table.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn pass(&mut self, table: Table, mode: Mode) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        let mut progress = Progress::new(self.source.count(table).await.map_err(Failure::Source)?);
        let (mut after, mut left) = (i64::MIN, BTreeMap::new());
        loop {
            let page = self.source.page(table, after).await.map_err(Failure::Source)?;
            let Some(last) = ids(&page).last().copied() else { break };
            if mode == Mode::Verify {
                self.name_deleted(table, after, &page, &mut tally).await?;
            } else {
                count_left(table, &page, &mut left);
            }
            after = last;
            tally.rows += page.1.len() as u64;
            let rows = self.judge_page(table, mode, &page, &mut tally).await?;
            self.settle(table, mode, rows, &mut tally).await?;
            if let Some(line) = progress.line(table, mode, tally.rows) {
                (self.say)(&line)?;
            }
        }
        if tally.rows != progress.total {
            return Err(Failure::Refused(format!(
                "{} has {} rows, and {} could be read by their ids",
                table.name(),
                progress.total,
                tally.rows
            )));
        }
        for (column, count) in left {
            let name = table.name();
            (self.say)(&format!("{name}.{column} is left behind: {count} rows have a value in it"))?;
        }
        let ids_left = i64::MAX.unsigned_abs() - tally.highest;
        if mode != Mode::Verify && ids_left < IDS_LEFT_MIN {
            let (name, highest) = (table.name(), tally.highest);
            (self.say)(&format!(
                "{name}: ids go up to {highest}, so only {ids_left} more can be added here"
            ))?;
        }
        Ok(tally)
    }

    /// Names what is here between two pages' ends and not in the source.
    async fn name_deleted(
        &mut self,
        table: Table,
        mut after: i64,
        page: &Page,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let in_source = ids(page);
        let Some(last) = in_source.last().copied() else { return Ok(()) };
        loop {
            let here = self.target.ids(table, after, last).await?;
            let Some(end) = here.last().copied() else { return Ok(()) };
            after = end;
            // Both are in order.
            for id in here.iter().filter(|id| in_source.binary_search(id).is_err()) {
                tally.wrong += 1;
                (self.say)(&format!("{} {id} is here and not in Rails", table.name()))?;
            }
        }
    }

    /// The rows of a page that can be taken, as they are to be here.
    async fn judge_page(
        &mut self,
        table: Table,
        mode: Mode,
        (names, rows): &Page,
        tally: &mut Tally,
    ) -> Result<Vec<Row>, Failure> {
        let sources: Vec<Fields<'_>> = rows.iter().map(|values| Fields { names, values }).collect();
        let (mut users, mut conversations) = (Vec::new(), Vec::new());
        for source in &sources {
            let (of_row, conversation) = named(table, source);
            users.extend(of_row);
            conversations.extend(conversation);
        }
        let named = self.look_up_named(table, users, conversations).await?;
        let (mut taken, mut exact) = (Vec::new(), HashSet::new());
        for source in &sources {
            let judged = judge(table, source, &named.initiators);
            match judged.and_then(|row| self.with_its_own(table, row, &named)) {
                Ok(row) => {
                    if table == Table::Users && source.get("username") == &row.fields[1] {
                        exact.insert(row.id);
                    }
                    taken.push(row);
                }
                Err(why) => {
                    let id = source.id("id").ok().flatten();
                    self.refuse(table, mode, id, &why, tally)?;
                }
            }
        }
        if table == Table::Users {
            taken = self.distinct_names(taken, &exact, mode, tally).await?;
        }
        tally.highest = taken.last().map_or(tally.highest, |row| row.id);
        Ok(taken)
    }

    async fn look_up_named(
        &mut self,
        table: Table,
        users: Vec<u64>,
        conversations: Vec<u64>,
    ) -> Result<Named, Failure> {
        let users = distinct(users);
        let initiators = self.source.initiators(&distinct(conversations)).await.map_err(Failure::Source)?;
        let mut profiles = [HashMap::new(), HashMap::new()];
        if table == Table::Profiles {
            let in_source = self.source.profiles(&users).await.map_err(Failure::Source)?;
            profiles = [in_source, self.target.profiles(&users).await?];
        }
        let users = self.source.users(&users).await.map_err(Failure::Source)?;
        Ok(Named { users: users.into_iter().collect(), initiators, profiles })
    }

    /// A row, if what it names is there and is taken.
    fn with_its_own(&self, table: Table, row: Row, named: &Named) -> Result<Row, String> {
        for user in &row.users {
            if !named.users.contains(user) {
                return Err(format!("it names user {user}, who is not there"));
            }
            if self.refused_users.contains(user) {
                return Err(format!("it names user {user}, who is not taken"));
            }
            // Rails shows the first one of several, and here nobody has more than one.
            let is_other = |profiles: &HashMap<u64, u64>| profiles.get(user).is_some_and(|id| *id != row.id);
            if table == Table::Profiles && named.profiles.iter().any(is_other) {
                return Err(format!("user {user} has another profile"));
            }
        }
        if let Some(conversation) = row.conversation {
            if !named.initiators.contains_key(&conversation) {
                return Err(format!("it names conversation {conversation}, which is not there"));
            }
            if self.refused_conversations.contains(&conversation) {
                return Err(format!("it names conversation {conversation}, which is not taken"));
            }
        }
        Ok(row)
    }

    fn refuse(
        &mut self,
        table: Table,
        mode: Mode,
        id: Option<u64>,
        why: &str,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        tally.refused += 1;
        if mode == Mode::Verify {
            return Ok(());
        }
        match (table, id) {
            (Table::Users, Some(id)) => drop(self.refused_users.insert(id)),
            (Table::Conversations, Some(id)) => drop(self.refused_conversations.insert(id)),
            _ => {}
        }
        if self.refused_users.len() + self.refused_conversations.len() > REFUSED_MAX {
            return Err(Failure::Refused("more than a million rows cannot be taken".to_owned()));
        }
        let id = id.map_or_else(|| "with an id below 1".to_owned(), |id| id.to_string());
        (self.say)(&format!("{} {id} not taken: {why}", table.name()))?;
        Ok(())
    }

    /// Adds what is not here, or says how what is here differs.
    async fn settle(
        &mut self,
        table: Table,
        mode: Mode,
        rows: Vec<Row>,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (rows.first().map(|row| row.id), rows.last().map(|row| row.id))
        else {
            return Ok(());
        };
        let there = self.target.there(table, first, last).await?;
        let mut missing = Vec::new();
        for row in rows {
            match there.get(&row.id) {
                Some(found) => self.compare(table, mode, &row, found, tally)?,
                None if mode == Mode::Verify => {
                    tally.wrong += 1;
                    (self.say)(&format!("{} {} is not here", table.name(), row.id))?;
                }
                None => {
                    for note in &row.notes {
                        (self.say)(&format!("{} {} {note}", table.name(), row.id))?;
                    }
                    missing.push(row);
                }
            }
        }
        tally.added += missing.len() as u64;
        if mode == Mode::Copy && !missing.is_empty() {
            self.target.insert(table, &missing).await?;
        }
        Ok(())
    }

    /// A row that is here already.
    fn compare(
        &mut self,
        table: Table,
        mode: Mode,
        row: &Row,
        found: &[Field],
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let columns = table.columns();
        let stamps = columns.len() - 2;
        if found.get(stamps) != row.fields.get(stamps) {
            return self.refuse(table, mode, Some(row.id), "another row here has its id", tally);
        }
        tally.there += 1;
        let time = |fields: &[Field]| match fields.last() {
            Some(Field::Time(time)) => Some(*time),
            _ => None,
        };
        let (theirs, ours) = (time(&row.fields), time(found));
        if ours > theirs {
            tally.changed_here += 1;
            return Ok(());
        }
        let differs = |place: &usize| found.get(*place) != row.fields.get(*place);
        let other: Vec<&str> = (0..columns.len())
            .filter(differs)
            .map(|place| columns[place])
            .filter(|column| table != Table::Users || !NOT_COMPARED.contains(column))
            .collect();
        if other.is_empty() || mode != Mode::Verify {
            return Ok(());
        }
        tally.wrong += 1;
        let why = if ours < theirs { "was changed in the source since it was brought over, " } else { "" };
        let other = other.join(", ");
        (self.say)(&format!("{} {} {why}differs in {other}: what is here stays", table.name(), row.id))?;
        Ok(())
    }
}

fn distinct(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The ids of a page, in order; none where they cannot be read.
fn ids((names, rows): &Page) -> Vec<i64> {
    let Some(place) = names.iter().position(|name| name == "id") else { return Vec::new() };
    let id = |row: &Vec<Field>| match row.get(place) {
        Some(Field::Number(id)) => Some(*id),
        _ => None,
    };
    rows.iter().map(id).collect::<Option<_>>().unwrap_or_default()
}

/// Counts the values in columns of which nothing is made.
fn count_left(table: Table, (names, rows): &Page, left: &mut BTreeMap<String, u64>) {
    for (place, column) in names.iter().enumerate().filter(|(_, column)| !table.takes(column, names)) {
        let count = rows.iter().filter(|row| row.get(place).is_some_and(|value| !value.is_empty())).count();
        if count > 0 {
            *left.entry(column.clone()).or_default() += count as u64;
        }
    }
}
