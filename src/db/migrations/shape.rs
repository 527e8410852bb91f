//! Which columns the schema must have, read from the migrations' own text, and how a database differs. Pure.

/// A column as a database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its table.
    pub table: String,
    /// Its name.
    pub column: String,
    /// Whether it may be NULL.
    pub may_be_null: bool,
}

/// A column that the schema must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its table.
    pub table: &'static str,
    /// Its name.
    pub column: &'static str,
    /// Whether it may be NULL.
    pub may_be_null: bool,
}

/// What begins a line of a table that is no column.
const NO_COLUMNS: [&str; 6] = ["PRIMARY", "UNIQUE", "KEY", "CONSTRAINT", "CHECK", "--"];

/// The columns of all tables that these files make, and those that they add.
#[must_use]
pub fn wanted(files: impl Iterator<Item = &'static str>) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for text in files {
        let mut table = None;
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["CREATE", "TABLE", "IF", "NOT", "EXISTS", name, "("] => table = Some((*name, true)),
                [.., "ALTER", "TABLE", name] | [.., "'ALTER", "TABLE", name] => table = Some((*name, false)),
                _ if line.starts_with(')') => table = None,
                _ => {}
            }
            let column = match (table, words.as_slice()) {
                (Some((table, true)), [name, _, ..]) if line.starts_with("    ") => {
                    (!NO_COLUMNS.contains(name)).then_some((table, *name))
                }
                (Some((table, false)), ["ADD", "COLUMN", name, ..]) => Some((table, *name)),
                _ => None,
            };
            if let Some((table, column)) = column
                && !all.iter().any(|known| (known.table, known.column) == (table, column))
            {
                let may_be_null = !line.contains("NOT NULL") && !line.contains("PRIMARY KEY");
                all.push(Wanted { table, column, may_be_null });
            }
        }
    }
    all
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
        assert_eq!(read, [("id", false), ("name", true), ("size", false), ("more", true)]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wanted = wanted([TEXT].into_iter());
        let right = [("id", false), ("name", true), ("size", false), ("more", true), ("newer", false)];
        assert_eq!(mistakes(&wanted, &found(&right)), Vec::<String>::new());
        assert_eq!(mistakes(&wanted, &found(&right[2..4])), ["table a lacks id, name"]);
        assert_eq!(mistakes(&wanted, &[]), ["there is no table a"]);
        let nullable = [("id", true), ("name", true), ("size", false), ("more", true)];
        assert_eq!(mistakes(&wanted, &found(&nullable)), ["table a allows NULL in id"]);
    }
}
