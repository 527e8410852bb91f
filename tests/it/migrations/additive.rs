//! Which migrations only add, read from their text: versions N and N+1 of the server run side by side on the schema of
//! N+1 only if nothing is taken away that N's statements name, and nothing is asked of them that they do not know.

use hyperdesk::db::migrations::{BREAKING, MIGRATIONS, Migration};

/// Those that change what was there and are not called breaking, and why no running server is hurt.
const EXCUSED: &[(u32, &str)] = &[
    (
        106,
        "drops an index, on databases of the builds before the first release, which were served by one instance",
    ),
    (107, "makes two tables anew, on databases of the same builds"),
];

/// What a file makes itself may be filled by it, and may be anything: no older version knows it.
#[derive(Default)]
struct Made {
    tables: Vec<String>,
}

/// The first thing in a file that an older version might miss, or stumble over; nothing where it only adds.
fn offence(sql: &'static str) -> Option<String> {
    let migration = Migration { version: 0, name: "", sql };
    let mut made = Made::default();
    migration.statements().find_map(|statement| judge(&without_comments(statement), &mut made).err())
}

/// In one line, with single spaces.
fn without_comments(statement: &str) -> String {
    let lines = statement.lines().map(|line| line.split("-- ").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join(" ");
    let mut bare = String::new();
    let mut rest = text.as_str();
    while let Some((before, comment)) = rest.split_once("/*") {
        bare += before;
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    bare += rest;
    bare.trim_end_matches(';').split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An allow-list: what is not known to be harmless is an offence.
fn judge(statement: &str, made: &mut Made) -> Result<(), String> {
    let words: Vec<&str> = statement.split_whitespace().collect();
    match words.as_slice() {
        ["CREATE", "TABLE", "IF", "NOT", "EXISTS", table, ..] => {
            made.tables.push((*table).to_owned());
            Ok(())
        }
        // One that was there may be read as a whole by somebody.
        ["INSERT", "IGNORE", "INTO", table, ..] if made.tables.iter().any(|own| own == table) => Ok(()),
        ["ALTER", "TABLE", table, ..] if made.tables.iter().any(|own| own == table) => Ok(()),
        ["ALTER", "TABLE", table, ..] => {
            let clauses = clauses(statement.split_once(table).map_or("", |(_, clauses)| clauses));
            clauses.iter().try_for_each(|clause| judge_clause(clause, &clauses))
        }
        // What is prepared stands in a SET, as a text.
        ["PREPARE" | "EXECUTE" | "DEALLOCATE", ..] | ["DO", "0"] => Ok(()),
        ["SET", variable, "=", "IF(", ..] if variable.starts_with('@') => {
            // None of the texts holds a quote, so they are every second piece; names in conditions are such, too.
            let (_, choices) = statement.split_once("), '").ok_or_else(|| statement.to_owned())?;
            let choices = format!("'{choices}");
            choices.split('\'').skip(1).step_by(2).try_for_each(|text| judge(text, made))
        }
        _ => Err(statement.to_owned()),
    }
}

/// What stands between the commas that are in no brackets.
fn clauses(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut all) = (0_i32, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                all.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    all.push(text[from..].trim());
    all
}

/// A clause of an ALTER TABLE of a table that older versions know.
fn judge_clause(clause: &str, all: &[&str]) -> Result<(), String> {
    let offends = Err(clause.to_owned());
    let words: Vec<&str> = clause.split_whitespace().collect();
    match words.as_slice() {
        // Those who do not know it leave it out of what they insert.
        ["ADD", "COLUMN", _, definition @ ..] => {
            let may_be_left_out = !clause.contains("NOT NULL") || definition.contains(&"DEFAULT");
            let asks = ["UNIQUE", "PRIMARY", "CHECK", "REFERENCES", "AUTO_INCREMENT", "GENERATED", "AS"];
            let asks_something = definition.iter().any(|word| asks.contains(word));
            if may_be_left_out && !asks_something { Ok(()) } else { offends }
        }
        ["ADD", "KEY" | "INDEX", ..] => Ok(()),
        // Of a column that is new here and NULL in what they insert: as often as they like.
        ["ADD", "UNIQUE", "KEY", _, columns @ ..] => {
            let columns = columns.concat();
            let is_new_and_null = |column: &str| {
                all.iter().any(|other| {
                    other.starts_with(&format!("ADD COLUMN {column} "))
                        && !other.contains("NOT NULL")
                        && !other.contains("DEFAULT")
                })
            };
            let columns = columns.trim_matches(|letter| "()".contains(letter));
            if columns.split(',').all(is_new_and_null) { Ok(()) } else { offends }
        }
        _ => offends,
    }
}

/// The reason in a comment of a file that is called breaking.
fn reason(migration: &Migration) -> Option<&'static str> {
    migration.sql.lines().find_map(|line| line.strip_prefix("-- breaking: "))
}

#[test]
fn migrations_only_add_or_are_called_breaking() {
    for migration in MIGRATIONS {
        let Migration { version, name, sql } = migration;
        let excuse = EXCUSED.iter().any(|(excused, _)| excused == version);
        match offence(sql) {
            Some(_) if excuse => assert!(!name.starts_with(BREAKING)),
            Some(what) => {
                assert!(
                    name.starts_with(BREAKING),
                    "{version}_{name}: an older version that still runs may miss this or stumble over it: {what}\n\
                     Add instead, and let a later version take away what nobody uses any more; or call the file \
                     {version}_{BREAKING}{name}.sql, with the reason in a line `-- breaking: …`"
                );
                assert!(reason(migration).is_some(), "{version}_{name} lacks its line `-- breaking: …`");
            }
            None => {
                assert!(!excuse, "{version}_{name} needs no excuse");
                assert!(!name.starts_with(BREAKING), "{version}_{name} only adds");
            }
        }
    }
    assert!(EXCUSED.iter().all(|(version, _)| MIGRATIONS.iter().any(|known| known.version == *version)));
}

#[test]
fn the_rule_sees_what_is_wrong() {
    for (wrong, seen) in [
        ("DROP TABLE events;\n", "DROP TABLE"),
        ("UPDATE users SET username = LOWER(username);\n", "UPDATE"),
        ("DELETE FROM messages;\n", "DELETE"),
        ("RENAME TABLE events TO changes;\n", "RENAME"),
        ("CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW SET NEW.a = 1;\n", "CREATE TRIGGER"),
        ("INSERT IGNORE INTO users (id) VALUES (1);\n", "INSERT"),
        ("ALTER TABLE users DROP COLUMN username;\n", "DROP COLUMN"),
        ("ALTER TABLE users DROP KEY users_username;\n", "DROP KEY"),
        ("ALTER TABLE users RENAME COLUMN username TO name;\n", "RENAME COLUMN"),
        ("ALTER TABLE users MODIFY username VARCHAR(10) NOT NULL;\n", "MODIFY"),
        ("ALTER TABLE users CHANGE username name TEXT;\n", "CHANGE"),
        ("ALTER TABLE users ADD COLUMN a INT NULL, ADD COLUMN b INT NOT NULL;\n", "ADD COLUMN b"),
        ("ALTER TABLE users ADD COLUMN a INT NULL UNIQUE;\n", "ADD COLUMN a"),
        ("ALTER TABLE users ADD COLUMN a INT NULL CHECK (a > 0);\n", "ADD COLUMN a"),
        ("ALTER TABLE users ADD COLUMN a INT NULL, ADD UNIQUE KEY u (a, username);\n", "ADD UNIQUE"),
        ("ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES others (id);\n", "ADD CONSTRAINT"),
        ("ALTER TABLE users CONVERT TO CHARACTER SET latin1;\n", "CONVERT"),
        (
            "SET @a = IF(\n    EXISTS (SELECT 1 FROM t WHERE n = 'x'),\n    'ALTER TABLE users DROP COLUMN a',\n    'DO 0'\n);\n",
            "DROP COLUMN a",
        ),
    ] {
        let found = offence(wrong);
        assert!(found.as_ref().is_some_and(|found| found.starts_with(seen)), "{wrong}: {found:?}");
    }
    for right in [
        "-- DROP it some day.\nCREATE TABLE IF NOT EXISTS a (\n    id INT NOT NULL PRIMARY KEY -- DROP\n);\nINSERT IGNORE INTO a VALUES (1);\n",
        "ALTER TABLE users ADD COLUMN a DECIMAL(12, 2) NOT NULL DEFAULT 0, ADD KEY a_b (a, b);\n",
        "ALTER TABLE users ADD COLUMN a INT NULL AFTER id, ADD UNIQUE KEY u (a);\n",
        "SET @a = IF(\n    EXISTS (SELECT 1 FROM t WHERE n = 'x'),\n    'DO 0',\n    'ALTER TABLE users ADD COLUMN a INT NULL'\n) /* IF NOT EXISTS */;\nPREPARE a FROM @a;\nEXECUTE a;\nDEALLOCATE PREPARE a;\n",
    ] {
        assert_eq!(offence(right), None, "{right}");
    }
}
