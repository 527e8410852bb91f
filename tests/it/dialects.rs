//! SQL that runs on all the servers that the README names, and not only on the one that the tests run on: nothing
//! that one of them lacks, has taken away or announced to take away.

use std::path::{Path, PathBuf};

/// What one of MySQL 8.0, 8.4 and 9, MariaDB 10.6 to 11 and Aurora MySQL 3 (which is 8.0) lacks, and why.
const OFFENDERS: &[(&str, &str)] = &[
    // Functions.
    ("MD5(", "gone since MySQL 9.6 (a component brings it back): SHA2"),
    ("SHA(", "gone since MySQL 9.6: SHA2"),
    ("SHA1(", "gone since MySQL 9.6: SHA2"),
    ("PASSWORD(", "gone since MySQL 8.0"),
    ("OLD_PASSWORD(", "gone since MySQL 8.0"),
    ("ENCRYPT(", "gone since MySQL 8.0"),
    ("ENCODE(", "gone since MySQL 8.0"),
    ("DECODE(", "gone since MySQL 8.0"),
    ("DES_ENCRYPT(", "gone since MySQL 8.0"),
    ("DES_DECRYPT(", "gone since MySQL 8.0"),
    ("FOUND_ROWS(", "about to go from MySQL: a COUNT of its own"),
    ("ANY_VALUE(", "MySQL only"),
    ("BIN_TO_UUID(", "MySQL only: HEX and UNHEX"),
    ("UUID_TO_BIN(", "MySQL only: HEX and UNHEX"),
    ("JSON_PRETTY(", "an alias that the older ones of each MariaDB series lack"),
    ("JSON_DETAILED(", "MySQL calls it JSON_PRETTY"),
    ("JSON_SCHEMA_VALID(", "MariaDB from 11.1 only"),
    ("MEMBER OF", "MySQL only"),
    ("REGEXP_LIKE(", "MySQL only"),
    ("WAIT_FOR_EXECUTED_GTID_SET(", "MySQL only"),
    ("MASTER_GTID_WAIT(", "MariaDB only"),
    ("NEXTVAL(", "MariaDB only"),
    ("LASTVAL(", "MariaDB only"),
    ("UUID_V4(", "MariaDB from 11.7 only"),
    ("UUID_V7(", "MariaDB from 11.7 only"),
    ("RANDOM_BYTES(", "MariaDB from 10.10 only"),
    ("NATURAL_SORT_KEY(", "MariaDB only"),
    ("SYSDATE(", "not the statement's time; statement-based replication gives it another value"),
    ("LOAD_FILE(", "managed servers refuse it"),
    // Operators and types.
    ("->", "MySQL only: JSON_EXTRACT"),
    ("||", "OR or CONCAT, by sql_mode, and about to go from MySQL as OR"),
    ("&&", "about to go from MySQL: AND"),
    (":=", "about to go from MySQL in expressions: SELECT … INTO"),
    ("BINARY(?", "the operator is about to go from MySQL: CAST(… AS BINARY)"),
    ("INET4", "MariaDB from 10.10 only"),
    ("INET6", "MariaDB only, as a type"),
    ("ZEROFILL", "about to go from MySQL"),
    ("CHARACTER SET utf8 ", "utf8mb3 in one, utf8mb4 in another: utf8mb4"),
    ("utf8mb4_0900", "MySQL only: utf8mb4_unicode_ci, utf8mb4_bin"),
    ("uca1400", "MariaDB from 10.10 only"),
    // Clauses.
    ("RETURNING", "MariaDB only"),
    ("LATERAL", "MySQL only, before MariaDB 12"),
    ("FOR SHARE", "MySQL only: LOCK IN SHARE MODE"),
    ("FOR UPDATE OF", "MySQL only"),
    ("= VALUES(", "about to go from MySQL in ON DUPLICATE KEY UPDATE: give the value twice"),
    (", VALUES(", "as above"),
    (") AS NEW ON DUPLICATE", "MySQL only"),
    ("SQL_CALC_FOUND_ROWS", "about to go from MySQL"),
    ("INTERSECT", "MySQL from 8.0.31 only, and not every Aurora is that"),
    ("EXCEPT", "MySQL from 8.0.31 only"),
    ("FETCH FIRST", "MariaDB only"),
    ("FULL OUTER JOIN", "none of them"),
    ("TABLESAMPLE", "a reserved word of MySQL's, and nothing"),
    ("QUALIFY", "as above"),
    ("FOR SYSTEM_TIME", "MariaDB only"),
    ("WITH SYSTEM VERSIONING", "MariaDB only"),
    ("SET STATEMENT", "MariaDB only"),
    ("MAX_EXECUTION_TIME(", "a hint of MySQL's only: the session has the limit"),
    // DDL.
    ("CREATE OR REPLACE TABLE", "MariaDB only"),
    ("CREATE SEQUENCE", "MariaDB only"),
    ("COLUMN IF NOT EXISTS", "MariaDB only"),
    ("COLUMN IF EXISTS", "MariaDB only"),
    ("ADD IF NOT EXISTS", "MariaDB only"),
    ("DROP IF EXISTS", "MariaDB only"),
    ("INDEX IF NOT EXISTS", "MariaDB only"),
    ("INDEX IF EXISTS", "MariaDB only"),
    ("KEY IF NOT EXISTS", "MariaDB only"),
    ("KEY IF EXISTS", "MariaDB only"),
    ("INVISIBLE", "of columns in one and of indexes in the other"),
    ("PAGE_COMPRESSED", "MariaDB only"),
    ("ENGINE = ARIA", "MariaDB only"),
    ("ENGINE = MYISAM", "managed servers refuse it, and it has no transactions"),
    // Administration.
    ("CHANGE MASTER", "gone since MySQL 8.4"),
    ("START SLAVE", "gone since MySQL 8.4"),
    ("SHOW SLAVE", "gone since MySQL 8.4"),
    ("SHOW MASTER STATUS", "gone since MySQL 8.4"),
    ("CHANGE REPLICATION", "MySQL only"),
    ("INFORMATION_SCHEMA.GLOBAL_STATUS", "MariaDB only: SHOW GLOBAL STATUS"),
    ("INFORMATION_SCHEMA.GLOBAL_VARIABLES", "MariaDB only"),
    ("PERFORMANCE_SCHEMA.", "off by default in MariaDB"),
    ("@@IN_TRANSACTION", "MariaDB only"),
    ("@@TX_ISOLATION", "gone since MySQL 8.0"),
    ("@@TRANSACTION_ISOLATION", "MariaDB from 11.1 only"),
];

/// Words that one of them has reserved since, so that they cannot be names. (As words of the language they are
/// above, or in none of our statements.)
const RESERVED: &[&str] = &[
    "CUBE",
    "DENSE_RANK",
    "EMPTY",
    "FUNCTION",
    "GROUPS",
    "LAG",
    "LEAD",
    "LIBRARY",
    "MANUAL",
    "NTILE",
    "OF",
    "PARALLEL",
    "RANK",
    "RECURSIVE",
    "ROWNUM",
    "ROWS",
    "SYSTEM",
    "VECTOR",
    "WINDOW",
];

/// A text's words and signs, in capitals, without comments and quoted texts; a space between any two.
fn normalised(sql: &str) -> String {
    let mut plain = String::from(" ");
    for line in sql.lines() {
        let line = line.split("--").next().unwrap_or_default();
        // What is between quotes is every second piece.
        for piece in line.split('\'').step_by(2) {
            let mut last_is_word = false;
            for letter in piece.chars() {
                let is_word = letter.is_alphanumeric() || "_@?".contains(letter);
                if !(is_word && last_is_word) {
                    plain.push(' ');
                }
                if !letter.is_whitespace() {
                    plain.extend(letter.to_uppercase());
                }
                last_is_word = is_word;
            }
            plain.push(' ');
        }
    }
    plain.split_whitespace().fold(String::from(" "), |all, word| all + word + " ")
}

fn offences(sql: &str) -> Vec<&'static str> {
    let text = normalised(sql);
    let known = OFFENDERS.iter().filter(|(offender, _)| {
        let offender = normalised(offender);
        // Parts of a name count only where they are meant so.
        if offender.contains("0900") || offender.contains("UCA1400") {
            return text.contains(offender.trim());
        }
        text.contains(&offender)
    });
    let reserved = RESERVED.iter().filter(|word| text.contains(&format!(" {word} ")));
    known.map(|(offender, _)| *offender).chain(reserved.copied()).collect()
}

fn files(folder: &Path, ending: &str, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, into);
        } else if path.extension().is_some_and(|found| found == ending) {
            into.push(path);
        }
    }
}

#[test]
fn no_statement_needs_what_one_of_the_servers_lacks() {
    let mut paths = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sql"), "sql", &mut paths);
    assert!(paths.len() > 80, "{}", paths.len());
    for path in paths {
        let found = offences(&std::fs::read_to_string(&path).unwrap());
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}

/// The few statements that are not in `sql/`: what a session sets, how a migration is remembered, what a server is asked
/// of itself.
#[test]
fn nor_does_sql_in_the_sources() {
    let mut paths = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "rs", &mut paths);
    let mut looked_at = 0;
    for path in paths {
        let source = std::fs::read_to_string(&path).unwrap();
        // Continued lines are one text; what is within double quotes is every second piece.
        let source = source.replace("\\\n", " ");
        for text in source.split('"').skip(1).step_by(2) {
            let is_sql =
                ["SELECT ", "SET ", "INSERT ", "CREATE ", "SHOW "].iter().any(|word| text.starts_with(word));
            looked_at += usize::from(is_sql);
            // Of executable comments each server reads its own.
            let mut for_all = String::new();
            for (number, piece) in text.split("/*").enumerate() {
                for_all +=
                    if number == 0 { piece } else { piece.split_once("*/").map_or("", |(_, rest)| rest) };
            }
            let found = if is_sql { offences(&for_all) } else { Vec::new() };
            assert!(found.is_empty(), "{}: {found:?} in {text}", path.display());
        }
    }
    assert!(looked_at >= 6, "{looked_at}");
}

#[test]
fn offenders_are_found() {
    for (sql, offender) in [
        ("SELECT GET_LOCK(CONCAT('x', MD5(DATABASE())), 0)", "MD5("),
        ("select\n  md5 (x)", "MD5("),
        ("DELETE FROM t WHERE id = 1 RETURNING id", "RETURNING"),
        ("SELECT doc->'$.a' FROM t", "->"),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT", "COLUMN IF NOT EXISTS"),
        ("INSERT INTO t (a) VALUES (?) ON DUPLICATE KEY UPDATE a = VALUES(a)", "= VALUES("),
        ("CREATE TABLE t (a VARCHAR(9) COLLATE utf8mb4_0900_ai_ci)", "utf8mb4_0900"),
        ("SELECT a AS rank FROM t", "RANK"),
        ("SELECT @a := 1", ":="),
    ] {
        assert_eq!(offences(sql), [offender], "{sql}");
    }
    for fine in [
        "-- no MD5() here\nSELECT LEFT(SHA2(DATABASE(), 256), 32), 'RETURNING'",
        "INSERT INTO t (a) VALUES (?) ON DUPLICATE KEY UPDATE a = ?",
        "SELECT ROW_NUMBER() OVER (PARTITION BY a) AS place FROM t",
        "SELECT my_md5(a) FROM t WHERE b <=> -1",
    ] {
        assert_eq!(offences(fine), [""; 0], "{fine}");
    }
}
