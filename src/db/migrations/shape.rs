//! Which columns the schema must have, read from the migrations' own text, and how a database differs. Pure.

/// A column as a database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The table that has it.
    pub table: String,
    /// The column as the database calls it.
    pub column: String,
    /// Whether it may be NULL.
    pub may_be_null: bool,
}

/// A column that the schema must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The table that the migrations make it in.
    pub table: &'static str,
    /// The column as the migrations name it.
    pub column: &'static str,
    /// Whether it may be NULL.
    pub may_be_null: bool,
}

/// What begins a line of a table that is no column.
const NO_COLUMNS: [&str; 6] = ["PRIMARY", "UNIQUE", "KEY", "CONSTRAINT", "CHECK", "--"];

/// The columns of all tables that these files make, those that they add, and not those of tables that they drop again.
#[must_use]
pub fn wanted(files: impl Iterator<Item = &'static str>) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for text in files {
        for statement in text.split(";\n") {
            if let Some(dropped) = dropped(statement) {
                all.retain(|known| known.table != dropped);
            }
            for want in made(statement).into_iter().chain(added(statement)) {
                if !all.iter().any(|known| (known.table, known.column) == (want.table, want.column)) {
                    all.push(want);
                }
            }
        }
    }
    all
}

/// The columns of a CREATE TABLE, which has one on each of its lines.
fn made(statement: &'static str) -> Vec<Wanted> {
    let mut table = None;
    let mut columns = Vec::new();
    for line in statement.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (table, words.as_slice()) {
            (None, ["CREATE", "TABLE", "IF", "NOT", "EXISTS", name, "("]) => table = Some(*name),
            (Some(table), [column, _, ..]) if line.starts_with("    ") && !NO_COLUMNS.contains(column) => {
                columns.push(Wanted { table, column, may_be_null: may_be_null(line) });
            }
            _ => {}
        }
    }
    columns
}

/// The table that a DROP TABLE removes.
fn dropped(statement: &'static str) -> Option<&'static str> {
    statement.lines().find_map(|line| line.strip_prefix("DROP TABLE IF EXISTS "))
}

/// The columns that an ALTER TABLE adds, wherever in the statement it stands.
fn added(statement: &'static str) -> Vec<Wanted> {
    let Some((_, alter)) = statement.split_once("ALTER TABLE ") else { return Vec::new() };
    let table = alter.split_whitespace().next().unwrap_or_default();
    let parts = alter.split("ADD ").filter_map(|part| part.strip_prefix("COLUMN "));
    let columns = parts.filter_map(|part| Some((part.split_whitespace().next()?, part)));
    columns.map(|(column, part)| Wanted { table, column, may_be_null: may_be_null(part) }).collect()
}

fn may_be_null(definition: &str) -> bool {
    !definition.contains("NOT NULL") && !definition.contains("PRIMARY KEY")
}

/// What is wrong with a database, a part of a sentence for each table; nothing where it will do. More than is wanted
/// does no harm: a newer version's columns are such.
#[must_use]
pub fn mistakes(wanted: &[Wanted], found: &[Found]) -> Vec<String> {
    let mut mistakes = Vec::new();
    let mut tables: Vec<&str> = wanted.iter().map(|column| column.table).collect();
    tables.dedup();
    tables.sort_unstable();
    tables.dedup();
    for table in tables {
        let of_table: Vec<&Found> = found.iter().filter(|column| column.table == table).collect();
        if of_table.is_empty() {
            mistakes.push(format!("there is no table {table}"));
            continue;
        }
        let (mut lacks, mut nullable) = (Vec::new(), Vec::new());
        for want in wanted.iter().filter(|want| want.table == table) {
            match of_table.iter().find(|column| column.column == want.column) {
                None => lacks.push(want.column),
                Some(column) if column.may_be_null && !want.may_be_null => nullable.push(want.column),
                Some(_) => {}
            }
        }
        if !lacks.is_empty() {
            mistakes.push(format!("table {table} lacks {}", lacks.join(", ")));
        }
        if !nullable.is_empty() {
            mistakes.push(format!("table {table} allows NULL in {}", nullable.join(", ")));
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "-- Two.
CREATE TABLE IF NOT EXISTS a (
    id BIGINT NOT NULL PRIMARY KEY,
    -- For people.
    name TEXT NULL,
    KEY a_name (name),
    CONSTRAINT a_b CHECK (id > 0)
) ENGINE = InnoDB;

SET @add = IF(1, 'DO 0', 'ALTER TABLE a
        ADD COLUMN size INT NOT NULL DEFAULT 0 AFTER name,
        ADD COLUMN more INT NULL'
);
SET @add = IF(1, 'DO 0', 'ALTER TABLE a ADD COLUMN b INT NULL, ADD COLUMN c INT NOT NULL, ADD KEY a_c (c)');
";

    fn found(columns: &[(&str, bool)]) -> Vec<Found> {
        let found = columns.iter();
        found
            .map(|(column, may_be_null)| Found {
                table: "a".to_owned(),
                column: (*column).to_owned(),
                may_be_null: *may_be_null,
            })
            .collect()
    }

    #[test]
    fn columns_are_read_from_the_text() {
        let wanted = wanted([TEXT].into_iter());
        let read: Vec<_> = wanted.iter().map(|want| (want.column, want.may_be_null)).collect();
        let added = [("size", false), ("more", true), ("b", true), ("c", false)];
        assert_eq!(read, [&[("id", false), ("name", true)][..], &added].concat());
        let dropped = super::wanted(
            [TEXT, "-- Gone.\nDROP TABLE IF EXISTS a;\n\nDROP TABLE IF EXISTS b;\n"].into_iter(),
        );
        assert!(dropped.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wanted = wanted([TEXT].into_iter());
        let mut columns: Vec<_> = wanted.iter().map(|want| (want.column, want.may_be_null)).collect();
        columns.push(("newer", false));
        assert_eq!(mistakes(&wanted, &found(&columns)), Vec::<String>::new());
        assert_eq!(mistakes(&wanted, &found(&columns[2..])), ["table a lacks id, name"]);
        assert_eq!(mistakes(&wanted, &[]), ["there is no table a"]);
        columns[0].1 = true;
        assert_eq!(mistakes(&wanted, &found(&columns)), ["table a allows NULL in id"]);
    }
}
