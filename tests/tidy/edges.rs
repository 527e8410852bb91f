//! Who may name whom: the crate's own modules, and libraries. And violations that are planted, to be found.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::names::{Crate, Name, module};
use super::{Source, report, root, services, sources};

/// What each module may name, besides itself. Who is named stands below: so there is no circle.
const EDGES: [(&str, &[&str]); 18] = [
    ("main", &["*"]),
    ("lib", &[]),
    ("services", &["*"]),
    (
        "helpdesk",
        &["service", "chassis", "users", "auth", "feed", "fair", "db", "tasks", "metrics", "clock", "config"],
    ),
    ("bookstore", &["service", "chassis", "users", "auth", "db", "tasks", "metrics", "clock", "config"]),
    ("stock", &["service", "chassis", "auth", "db", "tasks", "metrics", "clock", "config"]),
    (ANY_SERVICE, &["service", "chassis", "db", "tasks", "metrics", "clock", "config"]),
    ("import", &["auth", "db", "clock", "config"]),
    ("service", &["chassis", "users", "auth", "feed", "db", "tasks", "metrics", "clock", "config"]),
    ("chassis", &["auth", "fair", "db", "tasks", "metrics", "clock", "config"]),
    ("users", &["auth", "db", "tasks", "metrics", "clock", "config"]),
    ("feed", &["db", "tasks", "metrics", "clock", "config"]),
    ("auth", &["fair", "metrics", "clock", "config"]),
    ("db", &["tasks", "metrics", "clock", "config"]),
    ("tasks", &["log", "metrics", "clock", "config"]),
    ("log", &["metrics", "config"]),
    // At the bottom: `fair`, `metrics`, `clock` and `config`, which name nothing.
    ("fair", &[]),
    ("metrics", &[]),
];

/// The row of every service that has none of its own.
const ANY_SERVICE: &str = "any other service";

/// Circles there are, by name. Another one needs another reason.
const CIRCLES: [(&str, &str, &str); 0] = [];

/// Libraries that belong somewhere: a file, a folder, or the files of a name.
const LIBRARIES: [(&str, &[&str]); 36] = [
    ("brotli", &["src/chassis/pages.rs"]),
    ("flate2", &["src/chassis/pages.rs"]),
    ("hyper", &["src/chassis/"]),
    ("hyper_util", &["src/chassis/"]),
    ("http_body", &["src/chassis/"]),
    ("http_body_util", &["src/chassis/"]),
    ("rustix", &["src/chassis/"]),
    ("socket2", &["src/chassis/"]),
    ("simd_json", &["src/chassis/"]),
    ("icu_properties", &["src/chassis/", "src/auth/names.rs"]),
    ("icu_casemap", &["src/auth/names.rs"]),
    ("icu_normalizer", &["src/auth/names.rs", "src/bookstore/model.rs"]),
    ("mysql_async", &["src/db/", "/store.rs"]),
    ("deadpool", &["src/db/"]),
    ("argon2", &["src/auth/password"]),
    ("bcrypt", &["src/auth/password"]),
    ("object_store", &["src/board/storage.rs"]),
    // Named nowhere: it is there for its features, which `object_store` uses.
    ("reqwest", &[]),
    ("multer", &["src/board/posts.rs"]),
    ("rustls", &["src/board/storage.rs", "src/config/"]),
    ("clap", &["src/main.rs", "src/stock/clients.rs"]),
    ("mimalloc", &["src/main.rs"]),
    ("dotenvy", &["src/config/"]),
    ("rlimit", &["src/config.rs", "src/main.rs"]),
    ("url", &["src/config"]),
    ("tracing_subscriber", &["src/config.rs", "src/log.rs"]),
    ("saphyr_parser", &["src/import/links.rs"]),
    ("slab", &["src/chassis/", "src/feed/shard.rs"]),
    ("strum", &["/routes.rs", "/route.rs", "src/services", "src/auth/attempts.rs", "src/helpdesk/changes/"]),
    ("form_urlencoded", &["src/chassis/", "src/stock/token.rs"]),
    ("std::env", &["src/config/", "src/main.rs"]),
    ("std::fs", &["src/config/", "src/log.rs", "src/board/storage.rs"]),
    ("std::process", &["src/main.rs", "src/chassis/event_loop.rs"]),
    ("std::os", &["src/log.rs", "src/chassis/"]),
    ("tokio::net", &["src/chassis/", "src/db/", "src/main.rs"]),
    ("tokio::io", &["src/chassis/", "src/db/", "src/main.rs"]),
];

/// Libraries that whoever needs them may name.
const ANYWHERE: [&str; 15] = [
    "base64",
    "bytes",
    "futures_util",
    "http",
    "itoa",
    "memchr",
    "percent_encoding",
    "prometheus",
    "ring",
    "serde",
    "serde_json",
    "std",
    "thiserror",
    "tokio",
    "tracing",
];

/// What does I/O, or waits for it. Of `std::net`, an address is as good as a number.
const IMPURE: [&str; 19] = [
    "tokio",
    "futures_util",
    "object_store",
    "mysql_async",
    "rustix",
    "socket2",
    "std::env",
    "std::fs",
    "std::io",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "crate::db",
    "async",
    "await",
];

/// Whether a file must be pure: by what it is, or since it says so itself.
fn is_pure(source: &Source) -> bool {
    let is_one = source.path.ends_with("/routes.rs") || source.path.ends_with("/model.rs");
    let mut head = source.text.lines().skip_while(|line| !line.starts_with("//!"));
    let says_so = head.by_ref().take_while(|line| line.starts_with("//!")).any(|line| line.contains("Pure."));
    is_one || says_so || source.path.starts_with("src/feed/window")
}

/// The first part of a file's module.
fn top(path: &str) -> String {
    let top = if path == "src/main.rs" { "main" } else { "lib" };
    module(path).into_iter().next().unwrap_or_else(|| top.to_owned())
}

/// The place of a module's row in the table.
fn place(module: &str) -> Option<usize> {
    static SERVICES: LazyLock<BTreeSet<String>> = LazyLock::new(services);
    let place = |module: &str| EDGES.iter().position(|(known, _)| *known == module);
    place(module).or_else(|| SERVICES.contains(module).then(|| place(ANY_SERVICE)).flatten())
}

/// Whether a module may name another one of the crate.
fn may_name(own: &str, target: &str) -> bool {
    let known = place(own).map_or(&[][..], |place| EDGES[place].1);
    own == target || known.contains(&"*") || known.contains(&target)
}

/// Whether a file is one of those where a library belongs.
fn belongs(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place) || (place.starts_with('/') && path.ends_with(place)))
}

/// All that is wrong with what one file names.
fn wrong(known: &Crate, source: &Source) -> Vec<String> {
    let own = top(&source.path);
    let mut wrong = Vec::new();
    for name in known.names(&source.path, &source.text) {
        let Name { line, parts, is_test } = &name;
        let mut refuse = |why: String| {
            wrong.push(format!("{}:{line}: {} ({why})", source.path, parts.join("::")));
        };
        if parts[0] == "crate" {
            match parts.get(1).map(String::as_str) {
                Some("*") => refuse("names everything".to_owned()),
                Some(target)
                    if known.modules.contains(&[target.to_owned()][..]) && !may_name(&own, target) =>
                {
                    refuse(format!("{own} may not name {target}"));
                }
                _ => {}
            }
        }
        if source.is_test() || *is_test {
            continue;
        }
        for (library, _) in
            LIBRARIES.iter().filter(|(library, places)| name.is_in(library) && !belongs(&source.path, places))
        {
            refuse(format!("{library} does not belong here"));
        }
        if is_pure(source)
            && let Some(impure) = IMPURE.iter().find(|impure| name.is_in(impure))
        {
            refuse(format!("must be pure, names {impure}"));
        }
    }
    wrong
}

fn known(sources: &[Source]) -> Crate {
    Crate::of(sources.iter().map(|source| (source.path.as_str(), source.text.as_str())))
}

#[test]
fn each_module_names_only_what_it_may() {
    let sources = sources(&["src"]);
    let known = known(&sources);
    let all: Vec<String> = sources.iter().flat_map(|source| wrong(&known, source)).collect();
    report("modules name only what the table allows", &all);
}

#[test]
fn the_table_is_whole_and_points_down_only() {
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let own = top(&source.path);
        if place(&own).is_none() && !["clock", "config"].contains(&own.as_str()) {
            wrong.push(format!("{}: {own} is not in the table", source.path));
        }
    }
    for (own, targets) in EDGES {
        for target in targets.iter().filter(|target| **target != "*") {
            if place(target).is_some_and(|target| Some(target) <= place(own)) {
                wrong.push(format!("{own} → {target} points up"));
            }
        }
    }
    for service in services() {
        let (_, targets) = EDGES[place(&service).unwrap()];
        let others = targets.iter().filter(|target| services().contains(**target));
        wrong.extend(others.map(|target| format!("{service} → {target}: services do not name each other")));
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let libraries = manifest.split("[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    for line in libraries.lines().filter(|line| !line.starts_with('#')) {
        let Some((library, _)) = line.split_once(" = ") else { continue };
        let library = library.replace('-', "_");
        let is_known = ANYWHERE.contains(&&*library) || LIBRARIES.iter().any(|(known, _)| *known == library);
        if !is_known {
            wrong.push(format!("Cargo.toml: {library} is in no table"));
        }
    }
    report("the tables are whole", &wrong);
}

/// Two modules that name each other, a module and those within it left out.
fn circles(sources: &[Source]) -> BTreeSet<(String, String)> {
    let known = known(sources);
    let mut edges = BTreeSet::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let own = module(&source.path);
        for name in known.names(&source.path, &source.text).iter().filter(|name| !name.is_test) {
            let mut target = name.parts[1.min(name.parts.len())..].to_vec();
            while !target.is_empty() && !known.modules.contains(&target) {
                target.pop();
            }
            let is_within = own.starts_with(&target) || target.starts_with(&own);
            if name.parts[0] == "crate" && !is_within {
                edges.insert((own.join("::"), target.join("::")));
                // The whole ones, too: their files may name each other across.
                edges.insert((own[0].clone(), target[0].clone()));
            }
        }
    }
    let is_circle =
        |(one, other): &&(String, String)| one != other && edges.contains(&(other.clone(), one.clone()));
    edges.iter().filter(is_circle).cloned().collect()
}

fn unknown_circles(sources: &[Source]) -> Vec<String> {
    let is_known = |one: &str, other: &str| CIRCLES.iter().any(|(a, b, _)| *a == one && *b == other);
    let found = circles(sources);
    let unknown = found.iter().filter(|(one, other)| !is_known(one, other) && !is_known(other, one));
    unknown.map(|(one, other)| format!("{one} and {other} name each other")).collect()
}

#[test]
fn no_two_modules_name_each_other() {
    let mut sources = sources(&["src"]);
    report("no two modules name each other", &unknown_circles(&sources));
    let found = circles(&sources);
    for (one, other, _) in CIRCLES {
        let is_there = found.contains(&(one.to_owned(), other.to_owned()));
        assert!(is_there, "{one} and {other} name each other no longer: strike it out");
    }
    for (path, line, circle) in [
        ("src/board/head.rs", "use super::model::picture;", "board::head and board::model"),
        ("src/feed/cursor.rs", "fn planted() { super::poll::planted() }", "feed::cursor and feed::poll"),
        ("src/helpdesk/model.rs", "use super::{store as rows};", "helpdesk::model and helpdesk::store"),
        ("src/clock.rs", "type Planted = crate::feed::Feed;", "clock and feed"),
        ("src/chassis/pipeline.rs", "use super::accept::bind;", "chassis::accept and chassis::pipeline"),
        ("src/helpdesk/messages.rs", "use crate::services::Services;", "helpdesk and services"),
    ] {
        let source = sources.iter_mut().find(|source| source.path == path).unwrap();
        *source = planted(source, line);
        let found = unknown_circles(&sources);
        assert!(found.iter().any(|found| found.starts_with(circle)), "{path}: {line}: {found:?}");
    }
}

/// The file with one more line, before all others.
fn planted(source: &Source, line: &str) -> Source {
    Source { path: source.path.clone(), text: format!("{line}\n{}", source.text) }
}

/// Lines that break a rule, and where.
const PLANTED: &[(&str, &str)] = &[
    // Libraries where they do not belong.
    ("src/helpdesk/messages.rs", "use hyper::body::Incoming;"),
    ("src/helpdesk/messages.rs", "use {bytes::Bytes, hyper::{self, body as of_hyper}};"),
    ("src/stock/mod.rs", "fn planted(body: hyper::body::Incoming) {}"),
    ("src/metrics.rs", "use ::hyper::Request;"),
    ("src/metrics.rs", "fn planted() -> impl Fn(::hyper::Request<()>) { todo!() }"),
    ("src/users/mod.rs", "type Planted = mysql_async::Conn;"),
    ("src/users/mod.rs", "use mysql_async as driver;"),
    ("src/users/mod.rs", "extern crate mysql_async as driver;"),
    ("src/board/storage.rs", "pub use deadpool::managed::Pool;"),
    ("src/helpdesk/seed.rs", "use std::env;"),
    ("src/helpdesk/seed.rs", "use std::env::var as read;"),
    ("src/helpdesk/seed.rs", "use std::{collections::HashMap, env::{self, var}};"),
    ("src/helpdesk/seed.rs", "use std::*;"),
    ("src/helpdesk/seed.rs", "fn planted() { std::env::vars(); }"),
    ("src/helpdesk/seed.rs", "use std as s; fn planted() { s::env::vars(); }"),
    ("src/helpdesk/seed.rs", "use std as s; use s::env as e; fn planted() { e::vars(); }"),
    ("src/helpdesk/seed.rs", "fn planted() { assert!(matches!(std::env::var(\"X\"), Ok(_))); }"),
    ("src/stock/counter.rs", "fn planted() { tokio::net::TcpStream::connect(\"x\"); }"),
    // Services that name each other, and modules that name what is above them.
    ("src/chassis/pipeline.rs", "use crate::{helpdesk, services};"),
    ("src/chassis/route.rs", "fn planted(board: &crate::board::Board) {}"),
    ("src/db/pool.rs", "use crate::feed::Feed;"),
    ("src/db/pool.rs", "use crate::feed;"),
    ("src/db/pool.rs", "mod planted { use super::super::super::feed; }"),
    ("src/stock/counter.rs", "fn planted() { crate::feed::planted() }"),
    ("src/stock/counter.rs", "impl From<crate::board::Board> for Stock {}"),
    ("src/bookstore/books.rs", "use super::super::helpdesk::model;"),
    ("src/bookstore/books.rs", "use super::super::{helpdesk as planted};"),
    ("src/bookstore/books.rs", "fn planted() { super::super::helpdesk::planted() }"),
    ("src/bookstore/mod.rs", "use super::helpdesk;"),
    ("src/bookstore/books.rs", "use super::super::*;"),
    ("src/bookstore/books.rs", "use crate::*;"),
    ("src/board/posts.rs", "use crate as root; fn planted() { root::stock::planted() }"),
    ("src/board/posts.rs", "use super::super as up; type Planted = up::stock::Stock;"),
    ("src/board/posts.rs", "use crate::{self as root}; type Planted = root::stock::Stock;"),
    ("src/board/posts.rs", "fn planted() { use crate::stock::Stock; }"),
    ("src/datetime/mod.rs", "use crate::{chassis::{Answer, Request}, db::{Db}, feed::{self as changes}};"),
    ("src/auth/session.rs", "fn planted() { tracing::info!(users = crate::users::count()); }"),
    ("src/auth/session.rs", "macro_rules! planted { () => { $crate::db::Db::planted() } }"),
    ("src/auth/session.rs", "use crate::transaction;"),
    ("src/auth/session.rs", "fn planted() { crate::transaction!(db, db => {}) }"),
    ("src/feed/poll.rs", "#[serde(with = \"crate::helpdesk::model\")] struct Planted;"),
    ("src/feed/poll.rs", "#[derive(crate::chassis::Planted)] struct Planted;"),
    ("src/metrics.rs", "impl crate::services::Planted for u8 {}"),
    ("src/clock.rs", "fn planted<T>() where T: Into<<crate::db::Db as Planted>::Of> {}"),
    ("src/config/pictures.rs", "use super::super::board::model;"),
    ("src/users/mod.rs", "#[cfg(test)] fn small() {} fn planted() { crate::chassis::planted() }"),
    ("src/lib.rs", "pub use crate::helpdesk::Helpdesk;"),
    ("src/lib.rs", "pub use helpdesk::Helpdesk;"),
    // What is to be pure.
    ("src/feed/window.rs", "use tokio::net::TcpStream;"),
    ("src/feed/window.rs", "use tokio as t;"),
    ("src/feed/window/inbox.rs", "use std::{collections::HashMap, io::{self, Read}};"),
    ("src/feed/window/ids.rs", "fn planted() { std::fs::read(\"x\"); }"),
    ("src/feed/item.rs", "use tokio::sync::Notify;"),
    ("src/helpdesk/changes/news.rs", "use crate::db::Db;"),
    ("src/helpdesk/changes/places.rs", "fn planted() { std::thread::current(); }"),
    ("src/stock/routes.rs", "async fn planted() {}"),
    ("src/stock/routes.rs", "fn planted() { async { 1 }; }"),
    ("src/helpdesk/model.rs", "use crate::db;"),
    ("src/helpdesk/model.rs", "use super::super::db::Db;"),
    ("src/helpdesk/model.rs", "static PLANTED: fn() = || { dbg!(std::thread::current()); };"),
    ("src/board/model.rs", "use crate::statements;"),
    ("src/board/head.rs", "use std::net::TcpStream;"),
    ("src/board/head.rs", "use std::net::{self as n}; type Planted = n::UdpSocket;"),
    ("src/board/head.rs", "use std::net::*;"),
];

/// Lines that break none, and where.
const HARMLESS: &[(&str, &str)] = &[
    ("src/chassis/route.rs", "/// Not [`crate::helpdesk::Helpdesk`], nor `use crate::helpdesk;`."),
    (
        "src/chassis/route.rs",
        "fn planted() { let text = \"crate::helpdesk::planted\"; /* crate::helpdesk::x */ }",
    ),
    ("src/chassis/route.rs", "fn planted(helpdesk: u8, feed: u8) -> u8 { helpdesk + feed }"),
    ("src/chassis/connection.rs", "use hyper::body::Incoming;"),
    ("src/feed/store.rs", "use mysql_async::Conn;"),
    ("src/helpdesk/seed.rs", "#[cfg(test)] mod planted { use std::env; fn planted() { env::vars(); } }"),
    ("src/helpdesk/seed.rs", "fn planted() { let _ = (env!(\"PATH\"), std::mem::take(&mut 1)); }"),
    ("src/helpdesk/routes.rs", "use super::model; use crate::chassis::{Method, route as of_chassis};"),
    ("src/board/head.rs", "use std::net::IpAddr;"),
    ("src/board/mod.rs", "use crate::{service::Context, transaction}; use self::model::Message;"),
    ("src/db/pool.rs", "mod planted { use super::super::Db; use super::super::super::config; }"),
];

#[test]
fn planted_violations_are_found() {
    let sources = sources(&["src"]);
    let known = known(&sources);
    for (lines, is_wrong) in [(PLANTED, true), (HARMLESS, false)] {
        for (path, line) in lines {
            let source = sources.iter().find(|source| source.path == *path);
            let source = source.unwrap_or_else(|| panic!("there is no {path}"));
            let found = wrong(&known, &planted(source, line));
            let is_found = found.iter().any(|found| found.starts_with(&format!("{path}:1:")));
            assert_eq!(is_found, is_wrong, "{path}: {line}\n{}", found.join("\n"));
        }
    }
}
