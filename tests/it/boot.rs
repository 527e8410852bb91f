//! Starting: what is wrong is said, all of it and at once; what is missing is waited for.

use std::time::Duration;

use crate::support::ports::Reserved;
use crate::support::server::{SECRET, all_of};
use crate::support::{Hyperdesk, Schema, Server, child, eventually, eventually_some, run_command};

const SOON: Duration = Duration::from_secs(30);
const URL: &str = "mysql://nobody:a-password@127.0.0.1:1/none";

#[tokio::test]
async fn one_run_reports_every_wrong_variable() {
    let wrong = [
        ("PORT", "70000"),
        ("METRICS_PORT", "x"),
        ("BIND_ADDRESS", "here"),
        ("APP_ENV", "staging"),
        ("SERVICES", "helpdesk,shop"),
        ("DATABASE_URL", "postgres://user:a-password@host/name"),
        ("DATABASE_SSL_MODE", "perhaps"),
        ("DB_POOL_SIZE", "0"),
        ("WEB_CONCURRENCY", "-1"),
        ("HASH_CONCURRENCY", "many"),
        ("TOKEN_TTL_SECONDS", "1"),
        ("FRONTEND_URL", "https://a.example/path"),
        ("TRUSTED_PROXY_HOPS", "1.5"),
        ("CONNECTIONS_MAX", "0"),
        ("DRAIN_SECONDS", "0"),
        ("LOG_FORMAT", "xml"),
        ("RUST_LOG", "hyperdesk=loud=very"),
    ];
    for command in ["serve", "check-config", "migrate", "seed"] {
        let done = run_command(&[command], &wrong).await;
        let text = all_of(&done);
        assert_eq!(done.status.code(), Some(64), "{command}: {text}");
        for (name, _) in wrong {
            let lines = text.lines().filter(|line| line.starts_with(&format!("{name}: "))).count();
            assert_eq!(lines, 1, "{command}: {name}: {text}");
        }
        assert_eq!(text.lines().count(), wrong.len(), "{command}: {text}");
        assert!(!text.contains("a-password"), "{text}");
    }
}

#[tokio::test]
async fn a_missing_database_variable_is_reported_like_any_other() {
    for command in ["serve", "check-config", "migrate"] {
        let done = run_command(&[command], &[("PORT", "x")]).await;
        let text = all_of(&done);
        assert_eq!(done.status.code(), Some(64), "{command}: {text}");
        assert!(text.contains("DATABASE_URL: ") && text.contains("PORT: "), "{command}: {text}");
    }
}

#[tokio::test]
async fn production_wants_a_secret_of_its_own() {
    let production = [("APP_ENV", "production"), ("DATABASE_URL", URL)];
    for secret in [None, Some(""), Some("short"), Some("hyperdesk-development-only-secret-key-base")] {
        let mut env = production.to_vec();
        env.extend(secret.map(|secret| ("SECRET_KEY_BASE", secret)));
        let done = run_command(&["check-config"], &env).await;
        let text = all_of(&done);
        assert_eq!(done.status.code(), Some(64), "{secret:?}: {text}");
        assert!(text.starts_with("SECRET_KEY_BASE: "), "{secret:?}: {text}");
        assert!(secret.is_none_or(|secret| secret.is_empty() || !text.contains(secret)), "{text}");
    }
    let done =
        run_command(&["check-config"], &[&production[..], &[("SECRET_KEY_BASE", SECRET)]].concat()).await;
    assert_eq!(done.status.code(), Some(0), "{}", all_of(&done));
    // Nor may its accounts have passwords that stand in the source.
    let done = run_command(&["seed"], &[&production[..], &[("SECRET_KEY_BASE", SECRET)]].concat()).await;
    let text = all_of(&done);
    assert!(done.status.code() == Some(64) && text.contains("APP_ENV=production"), "{text}");
}

#[tokio::test]
async fn the_commands_that_only_tell() {
    let help = run_command(&["--help"], &[]).await;
    let text = all_of(&help);
    assert_eq!(help.status.code(), Some(0), "{text}");
    for command in ["serve", "migrate", "seed", "check-config"] {
        assert!(text.contains(command), "{text}");
    }
    let version = run_command(&["--version"], &[]).await;
    assert_eq!(
        (version.status.code(), all_of(&version)),
        (Some(0), format!("hyperdesk {}\n", env!("CARGO_PKG_VERSION")))
    );
    let right = run_command(&["check-config"], &[("DATABASE_URL", URL)]).await;
    assert_eq!((right.status.code(), all_of(&right)), (Some(0), "the configuration is right\n".to_owned()));
    for wrong in [&["serf"][..], &["serve", "--port", "1"], &["serve", "migrate"]] {
        let done = run_command(wrong, &[]).await;
        assert!(!done.status.success() && all_of(&done).contains("Usage"), "{}", all_of(&done));
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for name in ["PORT", "METRICS_PORT"] {
        let desk =
            Hyperdesk::without_database().env("DATABASE_URL", URL).env(name, address.port()).spawn().await;
        assert_eq!(desk.wait_exit(SOON).await.code(), Some(71));
        desk.logs().finish();
        let expected = format!("{name}: {address} cannot be listened on");
        let said = desk.logs().last(|line| line.text.contains(&expected));
        assert!(said.is_some(), "{:?}", desk.logs().lines());
    }
}

/// Only to be read; nothing was ever signed with it.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBiDCCAS+gAwIBAgIUehY8mgqV5wYdbmo7GbrHst+y3VMwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOdGVzdC1hdXRob3JpdHkwIBcNMjYxMTI3MDk1ODQxWhgPMjEy
NjExMDMwOTU4NDFaMBkxFzAVBgNVBAMMDnRlc3QtYXV0aG9yaXR5MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEthE/dBAmrU4l7TfxPWPGhB480ZOewn8i/53nxP4Z
x7I2GQlSTftNdbEfugz8i0RHsIDrqu/nD0U/smJIsGWRhKNTMFEwHQYDVR0OBBYE
FK3JMJMgzDLcaDhDa0D3SarxBoP0MB8GA1UdIwQYMBaAFK3JMJMgzDLcaDhDa0D3
SarxBoP0MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgbu3V86G0
PW7G2OV8U1SUmkXXqeBVDlVXFJPYH+y0rx4CIF5uk59d/P97xLn66oxnbbaqzIbM
RguMGI3xRH5f1iox
-----END CERTIFICATE-----
";

#[tokio::test]
async fn a_setting_that_would_be_something_else_is_refused() {
    let tls = format!("{URL}?tls=true");
    for (name, value, words) in [
        ("DATABASE_URL", &*tls, "set DATABASE_SSL_MODE"),
        ("FRONTEND_URL", "https://*.example.com", "takes no wildcard"),
        ("METRICS_PORT", "3000", "another port than PORT"),
        ("SERVICES", ",", "names no service"),
        ("RUST_LOG", "warning", "no level"),
    ] {
        let done = run_command(&["check-config"], &[("DATABASE_URL", URL), (name, value)]).await;
        let text = all_of(&done);
        assert_eq!(done.status.code(), Some(64), "{name}: {text}");
        assert!(text.starts_with(&format!("{name}: ")) && text.contains(words), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains("a-password"), "{text}");
    }
    // Where DATABASE_URL says which database, the reader is not taken from what a platform set by itself, half of which
    // would be a mistake.
    let platforms = [("DATABASE_URL", URL), ("RDS_READER_HOSTNAME", "reader.example")];
    let done = run_command(&["check-config"], &platforms).await;
    assert_eq!(done.status.code(), Some(0), "{}", all_of(&done));
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hyperdesk"));
    let bytes = std::os::unix::ffi::OsStrExt::from_bytes(&b"k\xff"[..]);
    let bytes: &std::ffi::OsStr = bytes;
    // One that could not be read would count as unset; it is no missing one, and all others are looked at all the same.
    command.arg("check-config").env_clear().env("DATABASE_URL", bytes).env("PORT", "x");
    let text = all_of(&command.current_dir(child::run_folder()).output().await.unwrap());
    let port = "PORT: must be a whole number from 0 to 65535, is \"x\"";
    assert_eq!(text, format!("DATABASE_URL: must be UTF-8\n{port}\n"));
}

#[tokio::test]
async fn the_authorities_are_looked_at_before_the_database_is() {
    let folder = child::fresh_folder("authorities");
    let file = folder.join("ca.pem").display().to_string();
    let key = AUTHORITY.replace("CERTIFICATE", "PRIVATE KEY");
    let damaged = AUTHORITY.replace("MIIB", "MIIC");
    for (content, words) in [
        (None, "cannot be read"),
        (Some(""), "holds no certificate"),
        (Some("not a certificate"), "holds no certificate"),
        (Some(&*key), "holds no certificate"),
        (Some(&*damaged), "cannot be used"),
        (Some(AUTHORITY), "the configuration is right"),
    ] {
        content.inspect(|content| std::fs::write(&file, content).unwrap());
        let env =
            [("DATABASE_URL", URL), ("DATABASE_SSL_MODE", "verify_identity"), ("DATABASE_SSL_CA", &*file)];
        let done = run_command(&["check-config"], &env).await;
        let text = all_of(&done);
        assert!(text.contains(words), "{content:?}: {text}");
        assert_eq!(done.status.success(), content == Some(AUTHORITY), "{text}");
    }
}

#[tokio::test]
async fn the_log_says_what_the_database_has_room_for() {
    let database = Server::start_with(&["--max-prepared-stmt-count=4000"]).await;
    let schema = Schema::on(&database).await;
    let room = |desk: &Hyperdesk, words: &'static str| {
        desk.logs().last(move |line| line.message().contains(words)).map(|line| line.text)
    };
    let desk = Hyperdesk::builder(&schema).env("DB_POOL_SIZE", "5").start().await;
    let line = eventually_some(SOON, || async { room(&desk, "has room for") }).await;
    assert!(line.contains("\"by_statements\":5") && line.contains("\"by_connections\":11"), "{line}");
    let desk = Hyperdesk::builder(&schema).env("DB_POOL_SIZE", "30").start().await;
    let line = eventually_some(SOON, || async { room(&desk, "too small for this DB_POOL_SIZE") }).await;
    assert!(line.contains("4000") && line.contains("WARN"), "{line}");
}

/// The admin port's word, or none.
async fn ready(desk: &Hyperdesk) -> (u16, String) {
    let answer = desk.admin_client().get("/ready").send().await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn a_database_that_is_not_there_yet_is_waited_for() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    server.kill();
    let desk = Hyperdesk::builder(&schema).without_migrate().start().await;
    desk.client().get("/health").send().await.expect_status(200);
    assert_eq!(ready(&desk).await, (503, "waiting for the database\n".to_owned()));
    desk.admin_client().get("/live").send().await.expect_status(200);
    let waits = || desk.logs().count(|line| line.message().starts_with("waiting for the database"));
    eventually(SOON, || async { waits() >= 2 }).await;

    // There, but empty: not ready either, and the log says what to do.
    server.restart().await;
    let too_old = |line: &crate::support::logs::Line| {
        line.message().contains("the schema is empty: run `hyperdesk migrate`")
    };
    eventually(SOON, || async { desk.logs().last(|line| too_old(line)).is_some() }).await;
    assert_eq!(ready(&desk).await, (503, "the schema is empty: run `hyperdesk migrate`\n".to_owned()));

    let done = run_command(&["migrate"], &[("DATABASE_URL", &schema.url())]).await;
    assert_eq!(done.status.code(), Some(0), "{}", all_of(&done));
    eventually(SOON, || async { ready(&desk).await == (200, "ready\n".to_owned()) }).await;
    let is_there = || desk.logs().last(|line| line.message() == "the database is there").is_some();
    eventually(SOON, || async { is_there() }).await;

    // Away again: still ready, or every instance would be out at once.
    server.kill();
    assert_eq!(ready(&desk).await.0, 200);
    desk.client().get("/health").send().await.expect_status(200);
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_shown() {
    let schema = Schema::fresh().await;
    let name = schema.name();
    let url = schema.url().replace(&format!("{name}:{name}@"), &format!("{name}:hunter2-wrong@"));
    let desk = Hyperdesk::without_database().env("DATABASE_URL", &url).start().await;
    let denied = |text: &str| text.contains("1045") || text.contains("Access denied");
    eventually(SOON, || async { desk.logs().last(|line| denied(&line.text)).is_some() }).await;
    assert_eq!(ready(&desk).await.0, 503);
    let all: String = desk.logs().lines().iter().map(|line| line.text.clone()).collect();
    assert!(!all.contains("hunter2"), "the password is in the log");
}

/// In a folder with this `.env`.
async fn check_config_beside(dotenv: &str, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = child::fresh_folder("dotenv");
    std::fs::write(folder.join(".env"), dotenv).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hyperdesk"));
    command.arg("check-config").env_clear().envs(env.iter().copied()).current_dir(folder);
    let done = command.output().await.unwrap();
    (done.status.code(), all_of(&done))
}

#[tokio::test]
async fn a_dotenv_file_counts_in_development_only() {
    let file = format!("# ours\nDATABASE_URL={URL}\nLOG_FORMAT=xml\n");
    let (code, text) = check_config_beside(&file, &[]).await;
    assert_eq!((code, text.lines().count()), (Some(64), 1), "{text}");
    assert!(text.starts_with("LOG_FORMAT: "), "{text}");
    // The process's own variables win.
    let (code, text) = check_config_beside(&file, &[("LOG_FORMAT", "text")]).await;
    assert_eq!(code, Some(0), "{text}");
    let production = [("APP_ENV", "production"), ("SECRET_KEY_BASE", SECRET), ("DATABASE_URL", URL)];
    let (code, text) = check_config_beside(&file, &production).await;
    assert_eq!(code, Some(0), "the file is not read: {text}");
    let (code, text) = check_config_beside("PORT=\"unfinished\nX", &[("DATABASE_URL", URL)]).await;
    assert_eq!(code, Some(64), "{text}");
    assert!(text.starts_with(".env: "), "{text}");
}

/// Two on one port: the second says so and ends, the first goes on.
#[tokio::test]
async fn the_first_on_a_port_keeps_it() {
    let port = Reserved::new();
    let start = || Hyperdesk::without_database().env("DATABASE_URL", URL).env("PORT", port.port());
    let first = start().start().await;
    let second = start().spawn().await;
    assert_eq!(second.wait_exit(SOON).await.code(), Some(71));
    first.client().get("/health").send().await.expect_status(200);
}

#[tokio::test]
async fn a_reader_of_another_name_is_told() {
    for (reader, times) in [("name", 0), ("nine", 1)] {
        let url = format!("mysql://nobody:a-password@127.0.0.1:2/{reader}");
        let desk = Hyperdesk::without_database().env("DATABASE_URL", "mysql://nobody@127.0.0.1:1/name");
        let desk = desk.env("DATABASE_READER_URL", url).start().await;
        let told =
            desk.logs().count(|line| line.message().starts_with("the reader's database has another name"));
        assert_eq!(told, times, "{reader}");
    }
}
