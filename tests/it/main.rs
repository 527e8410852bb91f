//! Integration tests: the real server binary, a real database, a fresh schema for each test.
//!
//! How to write one: see `support/mod.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says so by panicking, and prints what it saw"
)]

mod attempts;
mod board;
mod bookstore;
mod boot;
mod chassis;
mod datetime;
mod db;
mod dialects;
mod docs;
mod failover;
mod feed;
mod fields;
mod harness;
mod hashing;
mod helpdesk;
mod identity;
mod import;
mod logging;
mod loss;
mod managed;
mod metrics;
mod migrations;
mod names;
mod pages;
mod services;
mod sql;
mod stock;
mod support;
#[cfg(debug_assertions)]
mod tasks;
mod unicode;
mod updates;
