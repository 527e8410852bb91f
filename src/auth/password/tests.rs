//! The queue is tested with work that ends when the test says so, and hashes that are cheap.

use std::sync::mpsc;

use super::*;

/// Who asks; the queue's own tests have several.
fn here() -> Network {
    crate::fair::address(1)
}

const LIMITS: Limits = Limits { queue_max: 2, wait_max: Duration::from_secs(60) };

fn cheap(concurrency: usize, limits: Limits) -> Hasher {
    Hasher::with_params(concurrency, Params::new(8, 1, 1, Some(32)).unwrap(), limits).unwrap()
}

async fn hash(hasher: &Hasher, password: &str) -> Result<String, Error> {
    hasher.permit(here()).await?.hash(password.to_owned()).await
}

async fn verify(hasher: &Hasher, password: &str, stored: Option<&str>) -> Result<Verdict, Error> {
    hasher.permit(here()).await?.verify(password.to_owned(), stored.map(str::to_owned)).await
}

async fn check(hasher: &Hasher, password: &str, stored: &str) -> Result<Verdict, Error> {
    verify(hasher, password, Some(stored)).await
}

async fn run<T: Send + 'static>(
    hasher: &Hasher,
    work: impl FnOnce(&Recipe) -> T + Send + 'static,
) -> Result<T, Error> {
    hasher.permit(here()).await?.run(work).await
}

/// Lets the other tasks and threads run until `done`; fails rather than hangs.
async fn until(done: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "it never happened");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hash_verifies_and_is_salted() {
    let hasher = cheap(2, LIMITS);
    let (first, second) = tokio::join!(hash(&hasher, "pässword"), hash(&hasher, "pässword"));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.starts_with("$argon2id$v=19$m=8,t=1,p=1$") && first != second);
    assert_eq!(check(&hasher, "pässword", &first).await, Ok(Verdict::Right));
    assert_eq!(check(&hasher, "passwort", &first).await, Ok(Verdict::Wrong));
    assert_eq!(check(&hasher, "", &first).await, Ok(Verdict::Wrong));
    assert_eq!((hasher.queued(), hasher.running(), hasher.rejected().get()), (0, 0, 0));
}

#[tokio::test]
async fn an_unknown_user_is_always_wrong() {
    let hasher = cheap(1, LIMITS);
    for password in ["", "x", "the password of nobody"] {
        assert_eq!(verify(&hasher, password, None).await, Ok(Verdict::Wrong));
    }
}

#[tokio::test]
async fn other_argon2_hashes_are_right_but_old() {
    let hasher = cheap(1, LIMITS);
    for (algorithm, version, memory, length) in [
        (Algorithm::Argon2id, Version::V0x13, 16, 32),
        (Algorithm::Argon2id, Version::V0x10, 8, 32),
        (Algorithm::Argon2i, Version::V0x13, 8, 32),
        (Algorithm::Argon2id, Version::V0x13, 8, 16),
    ] {
        let params = Params::new(memory, 1, 1, Some(length)).unwrap();
        let stored = hash_with(&Argon2::new(algorithm, version, params), "x").unwrap();
        assert_eq!(check(&hasher, "x", &stored).await, Ok(Verdict::RightButRehash));
        assert_eq!(check(&hasher, "y", &stored).await, Ok(Verdict::Wrong));
    }
}

#[tokio::test]
async fn unusable_stored_hashes_are_reported_and_not_computed() {
    let hasher = cheap(1, LIMITS);
    let argon2 = |params| format!("$argon2id$v=19${params}$c29tZXNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA");
    let bcrypt = "$2a$15$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    for stored in [
        "",
        "x",
        "$",
        "$1$abc$def",
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzYWx0",
        "$argon2id$v=19",
        "$scrypt$ln=15,r=8,p=1$c29tZXNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA",
        bcrypt,
        "$2a$",
        "$2b$10$ä",
        &bcrypt.replace("15", "31"),
        &bcrypt.replace("15", "99"),
        &bcrypt.replace("15", "03"),
        &bcrypt.replace("2a", "2x"),
        &argon2("m=65537,t=1,p=1"),
        &argon2("m=4294967295,t=1,p=1"),
        &argon2("m=8,t=11,p=1"),
        &argon2("m=64,t=1,p=5"),
        &argon2("m=8,t=1,p=1,x=1"),
        &argon2("m=1,t=1,p=1"),
    ] {
        let found = check(&hasher, "x", stored).await;
        assert!(matches!(found, Err(Error::Stored(_))), "{stored}: {found:?}");
        assert_eq!(check_stored(stored).err(), found.err(), "{stored}");
    }
}

#[tokio::test]
async fn bcrypt_from_rails_is_right_but_old() {
    let hasher = cheap(1, LIMITS);
    // Made by libxcrypt, which is what Ruby's bcrypt descends from.
    for (password, stored) in [
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ("", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."),
        ("a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"),
        ("pässword", "$2a$04$abcdefghijklmnopqrstuum174eFeoTj0DHmtuueFaS3Wde4P7wHG"),
    ] {
        for version in ["$2a$", "$2b$", "$2y$"] {
            let stored = stored.replace("$2a$", version);
            assert_eq!(check(&hasher, password, &stored).await, Ok(Verdict::RightButRehash));
            assert_eq!(check(&hasher, "wrong", &stored).await, Ok(Verdict::Wrong));
            let repeated = format!("{password}\0{password}");
            assert_eq!(check(&hasher, &repeated, &stored).await, Ok(Verdict::Wrong));
        }
    }
    let (full, long) = ("x".repeat(72), "x".repeat(PASSWORD_BYTES_MAX));
    let stored = bcrypt::hash(&full, 4).unwrap();
    assert_eq!(check(&hasher, &full, &stored).await, Ok(Verdict::RightButRehash));
    assert_eq!(check(&hasher, &long, &stored).await, Ok(Verdict::Right));
    assert_eq!(check(&hasher, &full[1..], &stored).await, Ok(Verdict::Wrong));
}

#[tokio::test]
async fn no_more_run_at_a_time_than_allowed() {
    let hasher = cheap(2, Limits { queue_max: 100, ..LIMITS });
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let hasher = hasher.clone();
            let inside = hasher.clone();
            tokio::spawn(async move { run(&hasher, move |_| inside.running()).await })
        })
        .collect();
    for task in tasks {
        let running = task.await.unwrap().unwrap();
        assert!((1..=2).contains(&running), "{running}");
    }
    assert_eq!((hasher.queued(), hasher.running(), hasher.rejected().get()), (0, 0, 0));
}

#[tokio::test]
async fn abandoned_work_keeps_its_permit() {
    let hasher = cheap(1, LIMITS);
    let (finish, finished) = mpsc::channel::<()>();
    let abandoned = tokio::spawn({
        let hasher = hasher.clone();
        async move { run(&hasher, move |_| finished.recv()).await }
    });
    until(|| hasher.running() == 1).await;
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    assert_eq!((hasher.running(), hasher.0.queue.free()), (1, 0));
    finish.send(()).unwrap();
    until(|| hasher.0.queue.free() == 1).await;
    assert_eq!(hasher.running(), 0);
}

#[tokio::test]
async fn a_full_queue_is_busy_and_a_caller_that_leaves_makes_room() {
    let hasher = cheap(1, LIMITS);
    let (finish, finished) = mpsc::channel::<()>();
    let start = |work: Box<dyn FnOnce() + Send>| {
        let hasher = hasher.clone();
        tokio::spawn(async move { run(&hasher, move |_| work()).await })
    };
    let first = start(Box::new(move || finished.recv().unwrap()));
    until(|| hasher.running() == 1).await;
    let (second, third) = (start(Box::new(|| ())), start(Box::new(|| ())));
    until(|| hasher.queued() == 2).await;
    assert_eq!(hash(&hasher, "x").await, Err(Error::Busy));
    assert_eq!(hasher.rejected().get(), 1);
    third.abort();
    assert!(third.await.unwrap_err().is_cancelled());
    assert_eq!(hasher.queued(), 1);
    finish.send(()).unwrap();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!((hasher.queued(), hasher.rejected().get()), (0, 1));
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_busy() {
    let hasher = cheap(1, Limits { wait_max: Duration::from_millis(1), ..LIMITS });
    let held = hasher.permit(here()).await.unwrap();
    assert_eq!(hash(&hasher, "x").await, Err(Error::Busy));
    assert_eq!((hasher.queued(), hasher.rejected().get()), (0, 1));
    drop(held);
    assert!(hash(&hasher, "x").await.is_ok());
}

#[tokio::test]
async fn work_that_panics_gives_its_permit_back() {
    let hasher = cheap(1, LIMITS);
    let failed = run(&hasher, |_| panic!("on purpose")).await;
    assert!(matches!(failed, Err::<(), _>(Error::Failed(_))));
    assert!(hash(&hasher, "x").await.is_ok());
}

#[test]
fn the_service_s_own_parameters() {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_BYTES)).unwrap();
    assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (19_456, 2, 1));
}
