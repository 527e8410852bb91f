//! The house's rules that a compiler does not know: who may name what, and how large things get.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by panicking")]

#[path = "tidy/edges.rs"]
mod edges;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One source file: its path from the crate's root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Lines of code, comments and the file's own unit tests left out, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..end].lines().enumerate();
        lines.map(|(index, line)| (index + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.is_in("tests/")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn paths(folders: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for folder in folders {
        files_below(&root().join(folder), &mut found);
    }
    let mut paths: Vec<String> =
        found.iter().map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect();
    paths.sort();
    paths
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let rust = paths(folders).into_iter().filter(|path| path.ends_with(".rs"));
    rust.map(|path| Source { text: std::fs::read_to_string(root().join(&path)).unwrap(), path }).collect()
}

/// Panics with all that is wrong.
fn report(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}:\n{}", wrong.join("\n"));
}

/// The folders of services: those that have routes.
fn services() -> BTreeSet<String> {
    let all = paths(&["src"]);
    all.iter()
        .filter_map(|path| path.strip_prefix("src/")?.strip_suffix("/routes.rs"))
        .map(str::to_owned)
        .collect()
}

/// What is spawned elsewhere than in `tasks.rs`: how often, and why it needs no supervision.
const UNSUPERVISED: [(&str, usize, &str); 7] = [
    ("src/tasks.rs", 2, "it supervises"),
    (
        "src/log.rs",
        1,
        "what supervises writes to it; without it lines are dropped and counted, and all goes on",
    ),
    ("src/chassis/accept.rs", 2, "one connection, or the refusal of one, which ends with it"),
    ("src/chassis/admin.rs", 1, "one connection, which ends with it"),
    ("src/chassis/background.rs", 1, "one request's work: a panic is its 500"),
    ("src/auth/password.rs", 1, "one password: who waits for it is told"),
    ("src/board/storage.rs", 1, "one file, waited for"),
];

fn spawns(source: &Source) -> Vec<usize> {
    let is_spawn = |line: &str| {
        ["spawn", "spawn_blocking", "spawn_local", "spawn_on"].iter().any(|call| {
            let call = format!("{call}(");
            line.contains(&call) && !line.contains(&format!("tasks.{call}")) && !line.contains("fn spawn")
        })
    };
    source.code().filter(|(_, line)| is_spawn(line)).map(|(number, _)| number).collect()
}

#[test]
fn every_task_is_supervised() {
    let mut wrong = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !source.is_test()) {
        let known = UNSUPERVISED.iter().find(|(path, ..)| *path == source.path);
        let (_, count, why) = known.unwrap_or(&("", 0, "nothing is known of it"));
        let found = spawns(source);
        if found.len() != *count {
            wrong.push(format!("{}: spawned in lines {found:?}, {count} known: {why}", source.path));
        }
    }
    report("every task is supervised", &wrong);
    let planted = |text: &str| spawns(&Source { path: "src/planted.rs".to_owned(), text: text.to_owned() });
    for text in
        ["tokio::spawn(x)", "background.spawn(x)", "thread::Builder::new()\n.spawn(x)", "spawn_blocking(x)"]
    {
        assert_eq!(planted(text).len(), 1, "{text}");
    }
    assert_eq!(planted("parts.tasks.spawn(\"name\", x)\n// tokio::spawn(x)\npub fn spawn<F>(").len(), 0);
}

#[test]
fn no_sql_text_is_built() {
    let verbs =
        ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "REPLACE INTO ", "WHERE ", "CREATE TABLE", "DROP TABLE"];
    let builders = ["format!(", "push_str(", "write!(", "writeln!(", "concat!(", ".replace(", " + ", "+= "];
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        if source.is_test() {
            continue;
        }
        let lines: Vec<(usize, &str)> = source.code().collect();
        for (at, (number, line)) in lines.iter().enumerate() {
            let is_sql = verbs
                .iter()
                .any(|verb| line.contains(&format!("\"{verb}")) || line.contains(&format!("r#\"{verb}")));
            if !is_sql {
                continue;
            }
            // The text itself may stand in `db` only, where no parameter exists; elsewhere it is a file.
            if !source.is_in("src/db/") {
                wrong.push(format!("{}:{number}: SQL outside sql/", source.path));
            }
            let near = &lines[at.saturating_sub(2)..(at + 2).min(lines.len())];
            if near.iter().any(|(_, line)| builders.iter().any(|builder| line.contains(builder))) {
                wrong.push(format!("{}:{number}: SQL text is built", source.path));
            }
        }
        for (number, line) in lines {
            let runs = [
                ".query_drop(",
                ".query_first(",
                ".query_iter(",
                ".exec_drop(",
                ".exec_first(",
                ".exec(",
                ".prep(",
            ];
            if runs.iter().any(|run| line.contains(run))
                && !source.is_in("src/db/")
                && !["src/feed/store.rs", "src/import/store.rs"].contains(&source.path.as_str())
            {
                wrong.push(format!("{}:{number}: goes round db::Connection", source.path));
            }
        }
    }
    report("SQL is never built", &wrong);
}

#[test]
fn files_are_short_and_well_named() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        let lines = source.text.lines().count();
        if lines > 500 {
            wrong.push(format!("{}: {lines} lines", source.path));
        }
        if !source.text.starts_with("//!") && !source.path.starts_with("tests/it/support/") {
            wrong.push(format!("{}: does not begin by saying what it is for", source.path));
        }
        for (number, line) in source.code() {
            for verb in ["fn do_", "fn handle_", "fn process_", "fn process("] {
                if line.contains(verb) && !source.is_test() {
                    wrong.push(format!("{}:{number}: {verb}", source.path));
                }
            }
        }
    }
    for path in paths(&["src", "tests", "benches", "sql"]) {
        for part in path.split(['/', '.']) {
            if ["utils", "util", "common", "helpers", "helper", "misc", "process"].contains(&part) {
                wrong.push(format!("{path}: {part} says nothing"));
            }
        }
    }
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    if lib.lines().count() > 120 {
        wrong.push(format!("src/lib.rs: {} lines", lib.lines().count()));
    }
    report("files are short and well named", &wrong);
}

#[test]
fn tests_are_run_and_wait_for_nothing_in_vain() {
    let mut wrong = Vec::new();
    let ignore = ["#[ign", "ore"].concat();
    let sleep = ["thread::", "sleep("].concat();
    for source in sources(&["src", "tests", "benches"]) {
        for (index, line) in source.text.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for word in [&ignore, &sleep] {
                if line.contains(word.as_str()) {
                    wrong.push(format!("{}:{}: {word}", source.path, index + 1));
                }
            }
        }
    }
    report("tests are run", &wrong);
}

#[test]
fn every_migration_is_listed() {
    let listed: BTreeSet<String> = hyperdesk::db::migrations::MIGRATIONS
        .iter()
        .map(|migration| format!("sql/schema/{:03}_{}.sql", migration.version, migration.name))
        .collect();
    let files: BTreeSet<String> = paths(&["sql/schema"]).into_iter().collect();
    assert_eq!(listed, files);
}

#[test]
fn every_service_is_built_alike() {
    let mut wrong = Vec::new();
    for service in services() {
        for file in ["mod.rs", "routes.rs", "store.rs", "openapi.json"] {
            if !root().join("src").join(&service).join(file).is_file() {
                wrong.push(format!("src/{service}/{file} is missing"));
            }
        }
    }
    report("services are built alike", &wrong);
}
