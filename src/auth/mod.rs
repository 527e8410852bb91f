//! Who is calling: tokens, passwords and sessions, without HTTP and without SQL.
//!
//! - [`token`]: the JWT (HS256) that every request carries, made and checked without a database.
//! - [`password`]: argon2id hashing off the async threads, within a bounded queue; old bcrypt hashes.
//! - [`attempts`]: how often passwords may be guessed and accounts made from one address.
//! - [`session`]: the cookie that carries the token, and the set of sessions that were signed out.
//! - [`registrations`]: the users who registered of late, to whom a token may have come by a restored backup.
//! - [`freshness`]: how old this instance's knowledge of its callers is, and whether requests may be judged by it.
//! - [`names`]: which usernames are alike.
//! - [`oauth`]: the secrets and the access tokens of client programs.
//!
//! A request is authenticated by verifying its token and asking whether its session was signed out and its user
//! is still the same ([`token::cache::Cache::verify`]). That is done for every poll, so it neither allocates nor
//! waits.
//!
//! The error types here say what was wrong but not which HTTP answer that makes: the chassis answers
//! every [`token::TokenError`] with the same 401, so that a forger learns nothing from it.

pub mod attempts;
pub mod freshness;
pub mod names;
pub mod oauth;
pub mod password;
pub mod registrations;
pub mod session;
pub mod token;

/// What tells callers apart, shared by the chassis and the services that sign people in.
#[derive(Debug)]
pub struct Auth {
    /// Signs and checks tokens.
    pub keys: token::Keys,
    /// Sessions that were signed out.
    pub revocations: session::Revocations,
    /// Users who registered of late.
    pub registrations: registrations::Registrations,
    /// Seconds a new token is valid.
    pub token_ttl_seconds: u64,
    /// Whether cookies are for another site over TLS.
    pub production: bool,
}

impl Auth {
    /// Changes when a token that was good may not be any more for another reason than time. A caller that read it before
    /// it found a token good need not verify it again while it stays the same.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.revocations.version().wrapping_add(self.registrations.version())
    }
}
