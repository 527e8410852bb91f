//! Every environment variable: its name, its default, what it is for, and what it may be.
//!
//! [`Config::from_vars`] reads them all and reports every mistake of one run together, before a port is bound
//! or a database is asked. Nothing else in the crate reads the environment.
//! The table in the README is compared with [`VARIABLES`] by a test.

mod database;
mod environment;
mod pictures;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::thread::available_parallelism;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use url::Url;

pub use database::{DatabaseTarget, SslMode};
pub use environment::{Environment, Vars};
pub use pictures::{Bucket, Pictures};

/// One environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name in the environment.
    pub name: &'static str,
    /// The value taken where the variable is unset or empty; empty when there is none.
    pub default: &'static str,
    /// What it is for, in one line, as the README's table shows it.
    pub meaning: &'static str,
}

macro_rules! variables {
    ($($name:ident = $default:literal, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: Variable =
            Variable { name: stringify!($name), default: $default, meaning: $meaning };)*
        /// All of them, in the order of the README's table.
        pub const VARIABLES: &[Variable] = &[$($name),*];
    };
}

variables! {
    PORT = "3000", "Port of the HTTP service; 0 takes a free one and logs it";
    BIND_ADDRESS = "0.0.0.0", "Address that both ports listen on";
    METRICS_PORT = "9464", "Port of /metrics, /live and /ready; keep it off the load balancer";
    APP_ENV = "development", "development or production; production refuses weak settings and sets secure cookies";
    SERVICES = "", "Comma-separated services to serve; default all in development, helpdesk in production";
    PAGES = "on", "on or off: pages for browsers, at / and one for each service that people use";
    DATABASE_URL = "", "mysql://user:password@host:port/name of the writer, percent-encoded, without parameters; wins over the RDS_ variables";
    RDS_HOSTNAME = "", "Writer's host, as Elastic Beanstalk sets it";
    RDS_PORT = "3306", "Writer's and reader's port, with RDS_HOSTNAME";
    RDS_DB_NAME = "ebdb", "Database name, with RDS_HOSTNAME";
    RDS_USERNAME = "", "User, with RDS_HOSTNAME";
    RDS_PASSWORD = "", "Password, with RDS_HOSTNAME";
    DATABASE_READER_URL = "", "URL of a read replica or reader endpoint of the same database; without one reads go to the writer";
    RDS_READER_HOSTNAME = "", "Reader's host, with RDS_HOSTNAME; not looked at with DATABASE_URL";
    DATABASE_SSL_MODE = "disabled", "disabled, required (encrypted, unverified) or verify_identity";
    DATABASE_SSL_CA = "", "PEM file of the authorities to trust with verify_identity, such as the RDS bundle";
    IMPORT_FROM = "", "mysql://user:password@host:port/name of the Rails help desk that import brings over; unlike --from, no process list shows it";
    DB_POOL_SIZE = "10", "Connections to the writer, and as many to a reader; see the arithmetic in the README";
    WEB_CONCURRENCY = "", "Event loops; default the cores this process may use";
    HASH_CONCURRENCY = "", "Passwords hashed at once, 19 MiB each; default half the cores, at least one";
    REHASH = "on", "on or off; off keeps the bcrypt digests that the Rails original can read, while both run";
    USERNAMES = "exact", "exact (byte for byte) or case_insensitive: case and accents make no other name, as in the Rails original";
    ADDRESS_ATTEMPTS_MAX = "30", "Wrong sign-ins from one address in a minute, and as many registrations, then 429; a load test needs more";
    SECRET_KEY_BASE = "", "Key that signs the tokens, at least 32 bytes, each of which counts; required in production";
    SECRET_KEY_BASE_PREVIOUS = "", "The key before this one: still accepted, no longer used to sign";
    TOKEN_TTL_SECONDS = "86400", "Seconds a token and its session cookie are valid";
    FRONTEND_URL = "http://localhost:5173,http://127.0.0.1:5173", "Comma-separated origins that browsers may call from, exact";
    TRUSTED_PROXY_HOPS = "0", "Proxies in front whose X-Forwarded-For entry is believed: ALB 1, ALB and nginx 2";
    CONNECTIONS_MAX = "", "Open client connections; default the file descriptor limit less a reserve of 512. Beyond it 503, and of those idle for 10 s some are closed";
    S3_BUCKET = "", "Bucket of the board's pictures; without one they go to UPLOAD_DIR";
    S3_REGION = "", "Region of S3_BUCKET; wins over AWS_REGION";
    AWS_REGION = "", "Region of S3_BUCKET where S3_REGION is not set";
    S3_ENDPOINT = "", "http(s) URL of a service that speaks S3, such as MinIO; default AWS";
    AWS_ACCESS_KEY_ID = "", "Key for S3_BUCKET, with AWS_SECRET_ACCESS_KEY; without both the instance's role is used";
    AWS_SECRET_ACCESS_KEY = "", "Secret of AWS_ACCESS_KEY_ID";
    CDN_BASE_URL = "", "http(s) URL that pictures are linked under; default relative links to /media/";
    UPLOAD_DIR = "./.local/uploads", "Folder of the board's pictures where S3_BUCKET is not set";
    UPLOAD_ORPHAN_SECONDS = "3600", "A picture whose upload failed half-way is deleted after this many seconds";
    DRAIN_SECONDS = "8", "Seconds from SIGTERM to exit at the latest; below every platform's kill";
    CLAIM_LEASE_SECONDS = "0", "Seconds after which an expert who neither writes nor asks for updates loses a claim; 0 for never";
    FEED_WINDOW_EVENTS = "50000", "Recent changes kept in memory for polls, at most";
    FEED_WINDOW_BYTES = "67108864", "Bytes that these changes may take, at most";
    FEED_RETENTION_SECONDS = "3600", "Seconds a run stays in the database at most, for instances that start";
    FEED_WAITERS_MAX = "", "Held polls and streams at once; default CONNECTIONS_MAX";
    LOG_FORMAT = "json", "json or text";
    RUST_LOG = "info", "Log filter, such as info or hyperdesk=debug";
}

/// Shortest secret that production accepts: 256 bits, the size of the HMAC's hash (RFC 7518 §3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// The key of development, so that tokens outlive a restart there. Production refuses it.
const DEVELOPMENT_SECRET: &str = "hyperdesk-development-only-secret-key-base";
/// More loops than this on one machine is a mistake in the variable.
const WEB_CONCURRENCY_MAX: usize = 256;
/// Descriptors kept for the database, the logs and the admin port.
pub const DESCRIPTORS_RESERVED: u64 = 512;
/// Connections allowed where the descriptor limit is unlimited: 100,000 idle ones take about 1 GB.
const CONNECTIONS_DEFAULT_MAX: u64 = 100_000;

/// A value that never reaches a log: its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What the process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppEnv {
    /// Lenient: a built-in secret, plain cookies.
    Development,
    /// Strict.
    Production,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Which usernames are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usernames {
    /// Those of the same bytes.
    Exact,
    /// Those that differ only in case and accents, too.
    CaseInsensitive,
}

/// The whole validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port of the HTTP service.
    pub port: u16,
    /// Address of both listeners.
    pub bind_address: IpAddr,
    /// Port of the admin listener.
    pub metrics_port: u16,
    /// Development or production.
    pub app_env: AppEnv,
    /// Names of the services to serve.
    pub services: Vec<String>,
    /// Whether services have pages for browsers.
    pub pages: bool,
    /// The writer.
    pub database: DatabaseTarget,
    /// The reader, if there is one.
    pub database_reader: Option<DatabaseTarget>,
    /// How the connections to writer and reader are protected.
    pub database_ssl: SslMode,
    /// What `import` brings over, where `--from` does not say it.
    pub import_from: Option<DatabaseTarget>,
    /// Connections to the writer, and as many to the reader.
    pub db_pool_size: usize,
    /// Event loops.
    pub web_concurrency: usize,
    /// Passwords hashed at once.
    pub hash_concurrency: usize,
    /// Whether an old password hash is replaced at sign-in.
    pub rehash: bool,
    /// Which usernames are the same.
    pub usernames: Usernames,
    /// Wrong sign-ins from one address in a minute, and as many registrations.
    pub address_attempts_max: u32,
    /// The key that signs tokens.
    pub secret: Secret,
    /// The key before that: its tokens are still accepted.
    pub secret_previous: Option<Secret>,
    /// Seconds a token is valid.
    pub token_ttl_seconds: u64,
    /// Allowed origins, exact.
    pub frontend_origins: Vec<String>,
    /// How many entries of X-Forwarded-For to believe, from the right.
    pub trusted_proxy_hops: usize,
    /// Open client connections, at most.
    pub connections_max: usize,
    /// Where the board's pictures go.
    pub pictures: Pictures,
    /// Seconds from SIGTERM to exit.
    pub drain_seconds: u64,
    /// Seconds after which an expert who is gone loses a claim; 0 for never.
    pub claim_lease_seconds: u64,
    /// Recent changes kept in memory, at most.
    pub feed_window_events: usize,
    /// Bytes of these changes, at most.
    pub feed_window_bytes: usize,
    /// Seconds that a change stays in the database, at most.
    pub feed_retention_seconds: u64,
    /// Held polls and streams at once, at most.
    pub feed_waiters_max: usize,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// Which log lines are written: a filter that tracing-subscriber has parsed once without an error.
    pub log_filter: String,
}

impl Config {
    /// Reads and validates every variable.
    ///
    /// `known_services` are the names that `SERVICES` may hold.
    ///
    /// # Errors
    /// All mistakes of one run together, a line each, naming the variable and never its value where it is secret.
    pub fn from_vars(vars: &dyn Vars, known_services: &[&str]) -> Result<Self, Vec<String>> {
        let mut read = VarReader { vars, mistakes: vars.mistakes().to_vec() };
        let app_env =
            read.choice(APP_ENV, &[("development", AppEnv::Development), ("production", AppEnv::Production)]);
        let cores = available_parallelism().map_or(1, usize::from);
        let connections_max = read.number_or(CONNECTIONS_MAX, connections_default(), 1..=1_000_000);
        let port = read.number(PORT, 0..=u16::MAX);
        let config = Self {
            port,
            bind_address: read.parse(BIND_ADDRESS, "an IP address"),
            metrics_port: read.metrics_port(port),
            app_env,
            services: read.services(app_env, known_services),
            pages: read.choice(PAGES, &[("on", true), ("off", false)]),
            database: read.writer(),
            database_reader: read.reader(),
            database_ssl: read.ssl_mode(),
            import_from: read.import_source(),
            db_pool_size: read.number(DB_POOL_SIZE, 1..=1000),
            web_concurrency: read.number_or(WEB_CONCURRENCY, cores, 1..=WEB_CONCURRENCY_MAX),
            hash_concurrency: read.number_or(HASH_CONCURRENCY, (cores / 2).max(1), 1..=64),
            rehash: read.choice(REHASH, &[("on", true), ("off", false)]),
            usernames: read.choice(
                USERNAMES,
                &[("exact", Usernames::Exact), ("case_insensitive", Usernames::CaseInsensitive)],
            ),
            address_attempts_max: read.number(ADDRESS_ATTEMPTS_MAX, 1..=1_000_000_000),
            secret: read.signing_key(app_env),
            secret_previous: read.secret(SECRET_KEY_BASE_PREVIOUS),
            token_ttl_seconds: read.number(TOKEN_TTL_SECONDS, 60..=31_536_000),
            frontend_origins: read.origins(),
            trusted_proxy_hops: read.number(TRUSTED_PROXY_HOPS, 0..=16),
            connections_max,
            pictures: read.pictures(),
            drain_seconds: read.number(DRAIN_SECONDS, 1..=3600),
            claim_lease_seconds: read.number(CLAIM_LEASE_SECONDS, 0..=31_536_000),
            feed_window_events: read.number(FEED_WINDOW_EVENTS, 16..=10_000_000),
            feed_window_bytes: read.number(FEED_WINDOW_BYTES, 65_536..=usize::MAX),
            feed_retention_seconds: read.number(FEED_RETENTION_SECONDS, 60..=31_536_000),
            feed_waiters_max: read.number_or(FEED_WAITERS_MAX, connections_max, 0..=1_000_000),
            log_format: read.choice(LOG_FORMAT, &[("json", LogFormat::Json), ("text", LogFormat::Text)]),
            log_filter: read.log_filter(),
        };
        read.quotes();
        if read.mistakes.is_empty() { Ok(config) } else { Err(read.mistakes) }
    }
}

/// The descriptor limit after it was raised, less the reserve.
fn connections_default() -> usize {
    let limit = rlimit::Resource::NOFILE.get_hard().unwrap_or(1024);
    let connections = limit.saturating_sub(DESCRIPTORS_RESERVED).clamp(64, CONNECTIONS_DEFAULT_MAX);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// Raises the limit of descriptors as far as may be. One that is too low is lived with, and told: clients would take those
/// that the database and the admin port need.
pub fn raise_descriptor_limit(connections_max: usize) {
    let limit = rlimit::increase_nofile_limit(u64::MAX).or_else(|_| rlimit::Resource::NOFILE.get_soft());
    let needed = (connections_max as u64).saturating_add(DESCRIPTORS_RESERVED);
    if let Ok(limit) = limit
        && limit < needed
    {
        tracing::warn!(limit, needed, connections_max, "too few file descriptors for CONNECTIONS_MAX");
    }
}

/// Reads variables and collects what is wrong with them.
struct VarReader<'a> {
    vars: &'a dyn Vars,
    mistakes: Vec<String>,
}

impl VarReader<'_> {
    /// The value, else the default, else nothing. An empty value counts as unset, as shells and
    /// Elastic Beanstalk hand over cleared variables.
    fn text(&self, variable: Variable) -> Option<String> {
        let set = self.vars.get(variable.name).map(|value| value.trim().to_owned());
        set.filter(|value| !value.is_empty())
            .or_else(|| (!variable.default.is_empty()).then(|| variable.default.to_owned()))
    }

    fn mistake(&mut self, variable: Variable, expected: &str) {
        let mistake = format!("{}: {expected}", variable.name);
        // Writer and reader share some variables. And what could not be read is not missing.
        if !self.mistakes.contains(&mistake) && !names(self.vars.mistakes(), variable) {
            self.mistakes.push(mistake);
        }
    }

    fn parse<T: FromStr + Fallback>(&mut self, variable: Variable, expected: &str) -> T {
        let text = self.text(variable).unwrap_or_default();
        text.parse().unwrap_or_else(|_| {
            self.mistake(variable, &format!("must be {expected}, is {text:?}"));
            T::FALLBACK
        })
    }

    fn number<T>(&mut self, variable: Variable, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Copy + fmt::Display,
    {
        let text = self.text(variable).unwrap_or_default();
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = (range.start(), range.end());
                self.mistake(variable, &format!("must be a whole number from {low} to {high}, is {text:?}"));
                *range.start()
            }
        }
    }

    fn number_or(&mut self, variable: Variable, default: usize, range: RangeInclusive<usize>) -> usize {
        if self.text(variable).is_some() { self.number(variable, range) } else { default }
    }

    fn choice<T: Copy>(&mut self, variable: Variable, choices: &[(&str, T)]) -> T {
        let text = self.text(variable).unwrap_or_default();
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return *value;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.mistake(variable, &format!("must be {}, is {text:?}", names.join(" or ")));
        choices[0].1
    }

    fn services(&mut self, app_env: AppEnv, known: &[&str]) -> Vec<String> {
        let Some(text) = self.text(SERVICES) else {
            let all = if app_env == AppEnv::Production { &known[..1] } else { known };
            return all.iter().map(|&name| name.to_owned()).collect();
        };
        let mut services: Vec<String> = Vec::new();
        for name in listed(&text) {
            if !known.contains(&name) {
                self.mistake(SERVICES, &format!("knows {}, not {name:?}", known.join(", ")));
            } else if !services.iter().any(|service| service == name) {
                services.push(name.to_owned());
            }
        }
        if listed(&text).next().is_none() {
            self.mistake(SERVICES, "names no service");
        }
        services
    }

    /// Bytes as they are, spaces included, so that another program with the same value has the same secret.
    fn secret(&self, variable: Variable) -> Option<Secret> {
        self.vars.get(variable.name).filter(|value| !value.is_empty()).map(Secret)
    }

    fn signing_key(&mut self, app_env: AppEnv) -> Secret {
        let secret = self.secret(SECRET_KEY_BASE);
        if app_env == AppEnv::Production {
            match secret.as_ref().map(Secret::reveal) {
                None => self.mistake(SECRET_KEY_BASE, "is required in production"),
                Some(text) if text.len() < SECRET_BYTES_MIN || text.trim() == DEVELOPMENT_SECRET => {
                    self.mistake(SECRET_KEY_BASE, "must be at least 32 random bytes in production");
                }
                Some(_) => {}
            }
            let previous = self.secret(SECRET_KEY_BASE_PREVIOUS);
            if previous.is_some_and(|secret| secret.reveal().len() < SECRET_BYTES_MIN) {
                self.mistake(SECRET_KEY_BASE_PREVIOUS, "must be at least 32 random bytes in production");
            }
        }
        secret.unwrap_or_else(|| Secret(DEVELOPMENT_SECRET.to_owned()))
    }

    fn origins(&mut self) -> Vec<String> {
        let text = self.text(FRONTEND_URL).unwrap_or_default();
        let mut origins: Vec<String> = Vec::new();
        for origin in listed(&text) {
            match origin_of(origin.trim_end_matches('/')) {
                Ok(origin) if origins.contains(&origin) => {}
                Ok(origin) => origins.push(origin),
                Err(expected) => self.mistake(FRONTEND_URL, &format!("{expected}, not {origin:?}")),
            }
        }
        if listed(&text).next().is_none() {
            self.mistake(FRONTEND_URL, "names no origin");
        }
        origins
    }

    /// A port that both listeners would take; 0 takes a free one each.
    fn metrics_port(&mut self, port: u16) -> u16 {
        let metrics_port = self.number(METRICS_PORT, 0..=u16::MAX);
        if metrics_port == port && port != 0 {
            self.mistake(METRICS_PORT, "must be another port than PORT");
        }
        metrics_port
    }

    fn log_filter(&mut self) -> String {
        let text = self.text(RUST_LOG).unwrap_or_default();
        // A word that is no level is a target to the filter, and all others are silent.
        let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
        let word = listed(&text).find(|word| !word.contains(['=', '[']) && !is_level(word));
        if let Some(word) = word {
            self.mistake(RUST_LOG, &format!("{word:?} is no level: set one such as info or hyperdesk=debug"));
        } else if let Err(error) = EnvFilter::try_new(&text) {
            self.mistake(RUST_LOG, &error.to_string());
        }
        text
    }

    /// Quotes come with values from files that no shell reads, and would be part of a name. (A password may
    /// have them.)
    fn quotes(&mut self) {
        let secrets = [SECRET_KEY_BASE, SECRET_KEY_BASE_PREVIOUS, RDS_PASSWORD, AWS_SECRET_ACCESS_KEY];
        for variable in VARIABLES {
            let text = self.text(*variable).unwrap_or_default();
            let is_quoted = ['"', '\'']
                .iter()
                .any(|quote| text.len() > 1 && text.starts_with(*quote) && text.ends_with(*quote));
            if is_quoted
                && !names(&self.mistakes, *variable)
                && !secrets.iter().any(|secret| secret.name == variable.name)
            {
                self.mistake(*variable, "is in quotes, which count as part of it: leave them out");
            }
        }
    }
}

/// Whether one of these mistakes is this variable's.
fn names(mistakes: &[String], variable: Variable) -> bool {
    mistakes.iter().any(|mistake| mistake.starts_with(&format!("{}: ", variable.name)))
}

/// What stands between commas.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// An origin as browsers send it, or what it should have been.
fn origin_of(text: &str) -> Result<String, String> {
    const SHAPE: &str = "must hold origins such as https://desk.example.com";
    let url = Url::parse(text).map_err(|_| SHAPE)?;
    let origin = url.origin().ascii_serialization();
    if !matches!(url.scheme(), "http" | "https") || !url.origin().is_tuple() {
        return Err(SHAPE.to_owned());
    }
    if origin.contains('*') {
        return Err("takes no wildcard: list each origin".to_owned());
    }
    if origin != text {
        return Err(format!("must hold origins as browsers send them, such as {origin}"));
    }
    Ok(origin)
}

/// What stands in for a value that was refused, until the mistakes are reported.
trait Fallback {
    const FALLBACK: Self;
}

impl Fallback for IpAddr {
    const FALLBACK: Self = Self::V4(std::net::Ipv4Addr::UNSPECIFIED);
}
