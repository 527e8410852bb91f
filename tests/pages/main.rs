//! The pages in a real Chromium, against the real server and a real database.
//!
//! It needs `chromium` and `chromedriver` (Debian's packages chromium and chromium-driver, which
//! `deploy/local/test pages` installs) and stands on the integration tests' support.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says so by panicking, and prints what it saw"
)]

mod access;
mod browser;
mod desk;
mod experts;
mod faults;
mod first_visit;
mod large;
mod life;
mod nginx;
mod shops;
#[path = "../it/support/mod.rs"]
mod support;
mod tabs;
mod texts;
