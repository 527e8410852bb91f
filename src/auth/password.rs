//! Passwords: argon2id for new ones, bcrypt for those that the Rails original stored.
//!
//! Hashing is made to be slow, so it is the one thing in the service that a few callers could drown
//! the rest with. It runs on blocking threads, on at most `HASH_CONCURRENCY` of them at a time; the
//! others wait in a queue that is bounded in length and in time, beyond which the caller is told to
//! come back later ([`Error::Busy`], 503). In the queue the callers' addresses take turns ([`fair::queue`](crate::fair::queue)).
//! Blocking work cannot be cancelled: when a client hangs up, the hash is still computed to its end.
//! So the permit belongs to the work and not to the request.
//!
//! An unknown user's password is checked against a made-up argon2 hash, so that the answer takes as
//! long as a wrong password's. A bcrypt check takes another time than an argon2 check, so a wrong
//! password for an account that still has its bcrypt hash can be told from an unknown user by
//! measuring; that ends with the account's next sign-in, which stores an argon2id hash.

#[cfg(test)]
mod tests;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::password_hash::{self, PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use prometheus::IntCounter;

use crate::fair::Network;
use crate::fair::queue::{FairQueue, Limits, Permit};

/// The longest password, in bytes; checked where requests are validated, so that no one has
/// megabytes hashed.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// The most callers that wait for a permit to hash.
pub const HASH_QUEUE_MAX: usize = 512;

/// The longest that a caller waits for a permit, in milliseconds.
pub const HASH_WAIT_MS_MAX: u64 = 4000;

/// The argon2id parameters of new hashes: 19 MiB, two passes, one lane, as the OWASP Password Storage
/// Cheat Sheet advises.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const OUTPUT_BYTES: usize = 32;

/// Upper bounds of what a stored hash may ask for. A row with larger parameters, however it came into
/// the table, would take the memory or the processor from everyone else.
const STORED_MEMORY_KIB_MAX: u32 = 64 * 1024;
const STORED_PASSES_MAX: u32 = 10;
const STORED_LANES_MAX: u32 = 4;
const STORED_BCRYPT_COST_MAX: u32 = 14;
/// bcrypt knows no lower cost.
const STORED_BCRYPT_COST_MIN: u32 = 4;

/// bcrypt looks at no more of a password than this, in bytes.
const BCRYPT_BYTES_MAX: usize = 72;

const _: () = assert!(MEMORY_KIB <= STORED_MEMORY_KIB_MAX && PASSES <= STORED_PASSES_MAX);
const _: () = assert!(LANES <= STORED_LANES_MAX);

/// Why a password was neither hashed nor checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many are waiting, or the wait was too long: worth a 503 with `Retry-After`.
    #[error("too many passwords are waiting to be hashed")]
    Busy,
    /// The stored hash is not one that this service checks. Checking it took as long as for an
    /// unknown user; the caller should log this and answer as it does a wrong password.
    #[error("the stored password hash cannot be used: {0}")]
    Stored(&'static str),
    /// Hashing itself failed, such as for want of memory.
    #[error("hashing failed: {0}")]
    Failed(String),
}

/// What checking a password found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not this user's password, or no such user.
    Wrong,
    /// The right one.
    Right,
    /// Right, and the stored hash is of an older kind: store a new one.
    RightButRehash,
}

/// The bounds of the queue that the service runs with.
const LIMITS: Limits =
    Limits { queue_max: HASH_QUEUE_MAX, wait_max: Duration::from_millis(HASH_WAIT_MS_MAX) };

/// Hashes and checks passwords, a few at a time. Cloning gives another handle to the same queue.
#[derive(Clone, Debug)]
pub struct Hasher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    recipe: Recipe,
    /// One permit for each hash that may be computed at a time.
    queue: Arc<FairQueue>,
    running: AtomicUsize,
    rejected: IntCounter,
}

/// How passwords are hashed; pure computation, which takes long.
#[derive(Debug)]
struct Recipe {
    argon2: Argon2<'static>,
    /// The hash that an unknown user's password is checked against.
    dummy: String,
}

impl Hasher {
    /// A hasher that computes at most `concurrency` hashes at a time (at least one), with the
    /// service's parameters and limits. It computes one hash before it returns.
    ///
    /// # Errors
    /// [`Error::Failed`] if that hash could not be computed.
    pub fn new(concurrency: usize) -> Result<Self, Error> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_BYTES));
        let params = params.map_err(|error| Error::Failed(error.to_string()))?;
        Self::with_params(concurrency, params, LIMITS)
    }

    /// A hasher with other argon2id parameters and other limits, so that tests are quick.
    ///
    /// # Errors
    /// [`Error::Failed`] if the dummy hash could not be computed.
    pub fn with_params(concurrency: usize, params: Params, limits: Limits) -> Result<Self, Error> {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = hash_with(&argon2, "the password of nobody")?;
        let rejected = IntCounter::new(
            "auth_hash_rejected_total",
            "Passwords turned away because the queue was full or slow.",
        );
        let rejected = rejected.map_err(|error| Error::Failed(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            recipe: Recipe { argon2, dummy },
            queue: FairQueue::new(concurrency, limits),
            running: AtomicUsize::new(0),
            rejected,
        })))
    }

    /// Waits for the permit to hash or to check one password, for a caller at the address `whose`.
    ///
    /// # Errors
    /// [`Error::Busy`] when the queue is full, or the wait too long.
    pub async fn permit(&self, whose: Network) -> Result<HashPermit, Error> {
        let permit = self.0.queue.permit(whose).await;
        let permit = permit.ok_or(Error::Busy).inspect_err(|_| self.0.rejected.inc())?;
        Ok(HashPermit { hasher: self.0.clone(), permit })
    }

    /// How many callers wait for a permit now.
    pub fn queued(&self) -> usize {
        self.0.queue.waiting()
    }

    /// How many hashes are being computed now, also for callers that have gone.
    pub fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    /// How many callers were sent away with [`Error::Busy`] since the start, to be registered.
    pub fn rejected(&self) -> &IntCounter {
        &self.0.rejected
    }
}

/// The permit to hash or to check one password.
#[must_use]
#[derive(Debug)]
pub struct HashPermit {
    hasher: Arc<Inner>,
    permit: Permit,
}

impl HashPermit {
    /// A new salted argon2id hash of `password`, as a PHC string of about 100 bytes.
    ///
    /// # Errors
    /// [`Error::Failed`]
    pub async fn hash(self, password: String) -> Result<String, Error> {
        self.run(move |recipe| hash_with(&recipe.argon2, &password)).await?
    }

    /// Checks `password` against a stored hash: argon2 in PHC form, or bcrypt. Without one, for an
    /// unknown user, it takes as long as with one and the password is wrong.
    ///
    /// # Errors
    /// [`Error::Stored`] or [`Error::Failed`].
    pub async fn verify(self, password: String, stored: Option<String>) -> Result<Verdict, Error> {
        self.run(move |recipe| recipe.verify(&password, stored.as_deref())).await?
    }

    /// Computes `work` on a blocking thread, which keeps the permit until the work is done, whether or not
    /// anyone still waits for it.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&Recipe) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let done = tokio::task::spawn_blocking(move || {
            let Self { hasher, permit } = self;
            // Locals are dropped last to first, so the count falls before the permit is free and
            // `running` never exceeds the concurrency.
            let _permit = permit;
            let _running = CountGuard::enter(&hasher.running);
            work(&hasher.recipe)
        });
        done.await.map_err(|error| Error::Failed(error.to_string()))
    }
}

/// One more in a count for as long as this lives, also when the future that holds it is dropped.
struct CountGuard<'a>(&'a AtomicUsize);

impl<'a> CountGuard<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for CountGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Recipe {
    fn verify(&self, password: &str, stored: Option<&str>) -> Result<Verdict, Error> {
        let found = match stored {
            None => Ok(None),
            Some(stored) if is_bcrypt(stored) => verify_bcrypt(password, stored).map(Some),
            Some(stored) => self.verify_argon2(password, stored).map(Some),
        };
        match found {
            Ok(Some(verdict)) => Ok(verdict),
            Ok(None) => {
                self.waste_time(password);
                Ok(Verdict::Wrong)
            }
            Err(error) => {
                self.waste_time(password);
                Err(error)
            }
        }
    }

    /// Takes the time of a real check. What it finds is of no interest, not even if someone knows the
    /// dummy's password.
    fn waste_time(&self, password: &str) {
        let _ = black_box(self.verify_argon2(password, &self.dummy));
    }

    fn verify_argon2(&self, password: &str, stored: &str) -> Result<Verdict, Error> {
        let (parsed, algorithm, params) = read_argon2(stored)?;
        match self.argon2.verify_password(password.as_bytes(), &parsed) {
            Ok(()) => {}
            Err(password_hash::Error::PasswordInvalid) => return Ok(Verdict::Wrong),
            Err(error) => return Err(Error::Failed(error.to_string())),
        }
        let ours = self.argon2.params();
        let alike = algorithm == Algorithm::Argon2id
            && parsed.version == Some(Version::V0x13.into())
            && (params.m_cost(), params.t_cost(), params.p_cost(), params.output_len())
                == (ours.m_cost(), ours.t_cost(), ours.p_cost(), Some(OUTPUT_BYTES));
        Ok(if alike { Verdict::Right } else { Verdict::RightButRehash })
    }
}

fn hash_with(argon2: &Argon2<'_>, password: &str) -> Result<String, Error> {
    let hash = argon2.hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| Error::Failed(error.to_string()))
}

/// Whether passwords can be checked against a stored hash, without the work of checking one.
///
/// # Errors
/// [`Error::Stored`], with the reason.
pub fn check_stored(stored: &str) -> Result<(), Error> {
    if is_bcrypt(stored) { read_bcrypt(stored) } else { read_argon2(stored).map(drop) }
}

fn read_argon2(stored: &str) -> Result<(PasswordHash, Algorithm, Params), Error> {
    let parsed = PasswordHash::new(stored).map_err(|_| Error::Stored("unknown format"))?;
    let algorithm = Algorithm::new(parsed.algorithm.as_str());
    let algorithm = algorithm.map_err(|_| Error::Stored("unknown algorithm"))?;
    let params = Params::try_from(&parsed).map_err(|_| Error::Stored("bad parameters"))?;
    let has_version = parsed.version.is_none_or(|version| Version::try_from(version).is_ok());
    if parsed.salt.is_none() || parsed.hash.is_none() || !has_version {
        return Err(Error::Stored("no salt, no hash or an unknown version"));
    }
    if params.m_cost() > STORED_MEMORY_KIB_MAX
        || params.t_cost() > STORED_PASSES_MAX
        || params.p_cost() > STORED_LANES_MAX
    {
        return Err(Error::Stored("argon2 parameters beyond the bounds"));
    }
    Ok((parsed, algorithm, params))
}

fn read_bcrypt(stored: &str) -> Result<(), Error> {
    let parts: bcrypt::HashParts = stored.parse().map_err(|_| Error::Stored("malformed bcrypt"))?;
    if !(STORED_BCRYPT_COST_MIN..=STORED_BCRYPT_COST_MAX).contains(&parts.get_cost()) {
        return Err(Error::Stored("bcrypt cost beyond the bounds"));
    }
    Ok(())
}

/// `$2x$` marks the hashes of a faulty implementation and is not among them.
fn is_bcrypt(stored: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| stored.starts_with(prefix))
}

/// Checks a password against a hash that Rails' `has_secure_password` stored. bcrypt ignores what
/// follows the 72nd byte, and so did Rails.
fn verify_bcrypt(password: &str, stored: &str) -> Result<Verdict, Error> {
    read_bcrypt(stored)?;
    let matches = bcrypt::verify(password, stored).map_err(|_| Error::Stored("malformed bcrypt"))?;
    // bcrypt repeats the password with its terminating NUL, so "a\0a" has the hash of "a". Were it
    // taken, the rehash would lock "a" out.
    if !matches || password.as_bytes().contains(&0) {
        return Ok(Verdict::Wrong);
    }
    // Nobody has checked what follows the 72nd byte, so a rehash could store a mistyped end.
    let all_checked = password.len() <= BCRYPT_BYTES_MAX;
    Ok(if all_checked { Verdict::RightButRehash } else { Verdict::Right })
}
