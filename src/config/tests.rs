//! Right and wrong environments.

use std::collections::HashMap;

use super::*;

const KNOWN: &[&str] = &["helpdesk", "stock"];

const DATABASE: (&str, &str) = ("DATABASE_URL", "mysql://user:password@host/name");

/// Of these and [`DATABASE`].
fn read(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    read_only(&[&[DATABASE], pairs].concat())
}

fn read_only(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let vars: HashMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::from_vars(&vars, KNOWN)
}

#[test]
fn defaults_are_valid_in_development() {
    let config = read(&[]).unwrap();
    assert_eq!((config.port, config.metrics_port, config.drain_seconds), (3000, 9464, 8));
    assert_eq!(config.services, KNOWN);
    assert_eq!(config.database.host, "host");
    assert_eq!(config.database_reader, None);
}

#[test]
fn every_mistake_is_reported_in_one_run() {
    let mistakes = read(&[
        ("PORT", "70000"),
        ("BIND_ADDRESS", "here"),
        ("APP_ENV", "staging"),
        ("DATABASE_URL", "postgres://x"),
        ("FRONTEND_URL", "https://a.example/path"),
        ("LOG_FORMAT", "xml"),
        ("SERVICES", "helpdesk,shop"),
        ("DB_POOL_SIZE", "0"),
    ])
    .unwrap_err();
    assert_eq!(mistakes.len(), 8, "{mistakes:#?}");
}

#[test]
fn production_wants_a_real_secret() {
    for secret in ["", "short", DEVELOPMENT_SECRET] {
        let mistakes = read(&[("APP_ENV", "production"), ("SECRET_KEY_BASE", secret)]).unwrap_err();
        assert!(mistakes[0].starts_with("SECRET_KEY_BASE"), "{mistakes:?}");
    }
    let config = read(&[("APP_ENV", "production"), ("SECRET_KEY_BASE", &"k".repeat(32))]).unwrap();
    assert_eq!(config.services, ["helpdesk"]);
}

#[test]
fn a_database_url_is_taken_apart_and_its_password_never_shown() {
    let config =
        read(&[("DATABASE_URL", "mysql2://app:p%40ss@db.example:3307/desk?encoding=utf8mb4&reconnect=true")])
            .unwrap();
    let database = &config.database;
    assert_eq!((database.host.as_str(), database.port, database.name.as_str()), ("db.example", 3307, "desk"));
    assert_eq!(database.password.reveal(), "p@ss");
    assert!(!format!("{config:?}").contains("p@ss"));
    assert!(read(&[("DATABASE_URL", "mysql://a:b@c/d?ssl-mode=REQUIRED")]).is_err());
}

#[test]
fn the_rds_variables_make_a_writer_and_a_reader() {
    let vars =
        [("RDS_HOSTNAME", "w"), ("RDS_READER_HOSTNAME", "r"), ("RDS_USERNAME", "u"), ("RDS_PASSWORD", "p")];
    let config = read_only(&vars).unwrap();
    assert_eq!(config.database.host, "w");
    assert_eq!(config.database_reader.unwrap().host, "r");
}

#[test]
fn the_reader_is_of_the_writers_database() {
    let rds =
        [("RDS_HOSTNAME", "w"), ("RDS_READER_HOSTNAME", "r"), ("RDS_USERNAME", "u"), ("RDS_PASSWORD", "p")];
    let config = read(&rds).unwrap();
    assert_eq!((config.database.host.as_str(), config.database_reader), ("host", None));
    // A writer of either kind may have a reader with a URL.
    let by_url = [&[("DATABASE_READER_URL", "mysql://u:p@other/name")], &rds[..]].concat();
    assert_eq!(read(&by_url).unwrap().database_reader.unwrap().host, "other");
    let named = [&by_url[..], &[("RDS_DB_NAME", "name")]].concat();
    let config = read_only(&named).unwrap();
    assert_eq!((config.database.host.as_str(), &*config.database_reader.unwrap().host), ("w", "other"));
}

/// Exactly one mistake: of the first variable, with these words in it, and without a secret.
#[track_caller]
fn assert_mistake(pairs: &[(&str, &str)], words: &str) {
    let mistakes = read(pairs).map(|_| ()).unwrap_err();
    let (name, value) = pairs[0];
    let is_it =
        mistakes.len() == 1 && mistakes[0].starts_with(&format!("{name}: ")) && mistakes[0].contains(words);
    assert!(is_it, "{name}={value:?}: {mistakes:?}");
    assert!(!mistakes[0].contains("hush"), "{mistakes:?}");
}

#[test]
fn a_parameter_of_a_database_url_is_never_silently_dropped() {
    for name in ["DATABASE_URL", "DATABASE_READER_URL"] {
        for parameter in [
            "tls=true",
            "ssl-mode=REQUIRED",
            "useSSL=true",
            "require_ssl=true",
            "sslmode=verify-full",
            "sslca=/x",
            "sslverify=true",
            "verifyServerCertificate=true",
            "ssl_mode=disabled",
            "TLS",
            "requireSSL=1",
        ] {
            let url = format!("mysql://u:hush@h/n?reconnect=true&{parameter}");
            assert_mistake(&[(name, &url)], "set DATABASE_SSL_MODE and DATABASE_SSL_CA");
        }
        for (parameter, words) in [
            ("pool=5", "set DB_POOL_SIZE"),
            ("timeout=5000", "leave it out"),
            ("encoding=latin1", "leave it out"),
            ("charset=", "leave it out"),
            ("reconnect=false", "leave it out"),
            ("password=hush", "leave it out"),
        ] {
            assert_mistake(&[(name, &format!("mysql://u:hush@h/n?{parameter}"))], words);
        }
    }
}

#[test]
fn odd_database_urls_are_right_or_a_mistake() {
    let right = [
        (" mysql://u:p@h/n ", ("h", 3306, "u", "p", "n")),
        ("mysql://u@h/n", ("h", 3306, "u", "", "n")),
        ("mysql://u:p@[::1]:3307/n", ("::1", 3307, "u", "p", "n")),
        ("mysql://u:p@10.0.0.1/n?", ("10.0.0.1", 3306, "u", "p", "n")),
        ("mysql://%C3%A4:%25%40%3A%2F%3F%23@h/n", ("h", 3306, "ä", "%@:/?#", "n")),
        ("mysql://u:%20p+%20@h/a%20b", ("h", 3306, "u", " p+ ", "a b")),
        ("mysql://u:p@ss@h/n", ("h", 3306, "u", "p@ss", "n")),
        (
            "mysql2://u:\"'\\@db.a-b_c.rds.amazonaws.com/n",
            ("db.a-b_c.rds.amazonaws.com", 3306, "u", "\"'\\", "n"),
        ),
    ];
    for (url, expected) in right {
        let target = read(&[("DATABASE_URL", url)]).unwrap().database;
        let found = (&*target.host, target.port, &*target.user, target.password.reveal(), &*target.name);
        assert_eq!(found, expected, "{url}");
    }
    for url in [
        "u:hush@h/n",
        "postgres://u:hush@h/n",
        "mysql://h/n",
        "mysql://u:hush@h",
        "mysql://u:hush@h/",
        "mysql://u:hush@/n",
        "mysql://u:hush@h:0/n",
        "mysql://u:hush@h:70000/n",
        "mysql://u:hush@h/a/b",
        "mysql://u:hush@h//n",
        "mysql://u:hush@h,i/n",
        "mysql://u:hu/sh@h/n",
        "mysql://u:hu#sh@h/n",
        "mysql://u:50%hush@h/n",
        "mysql://u:%ffhush@h/n",
        "mysql://u:hush@h/n#x",
        "\"mysql://u:hush@h/n\"",
        "mysql://u:hush@h h/n",
        "mysql:u:hush@h/n",
    ] {
        assert_mistake(&[("DATABASE_URL", url)], "must be mysql://user:password@host:port/name");
    }
}

#[test]
fn a_database_is_required_and_rds_hosts_are_hosts() {
    assert!(read_only(&[]).unwrap_err()[0].starts_with("DATABASE_URL: it or RDS_HOSTNAME is required"));
    assert!(read_only(&[DATABASE, ("DATABASE_URL", " ")]).is_err());
    for host in ["h:3306", "mysql://h", "h/n", "\"h\"", "h h", "[h]"] {
        let vars = [("RDS_HOSTNAME", host), ("RDS_USERNAME", "u"), ("RDS_READER_HOSTNAME", host)];
        let mistakes = read_only(&vars).unwrap_err();
        assert!(mistakes.len() == 2 && mistakes[1].starts_with("RDS_READER_HOSTNAME: "), "{mistakes:?}");
    }
    let vars =
        [("RDS_HOSTNAME", "[::1]"), ("RDS_READER_HOSTNAME", "r"), ("RDS_USERNAME", "u"), ("RDS_PORT", "0")];
    assert_eq!(read_only(&vars).unwrap_err().len(), 1, "said once for both");
    assert_eq!(read_only(&vars[..3]).unwrap().database.host, "::1");
    assert!(read_only(&vars[..1]).unwrap_err()[0].starts_with("RDS_USERNAME: "));
}

#[test]
fn secrets_are_their_exact_bytes() {
    let secret = format!(" \t{}\n", "k".repeat(32));
    let config = read_only(&[
        ("SECRET_KEY_BASE", &secret),
        ("SECRET_KEY_BASE_PREVIOUS", "\"quoted\" "),
        ("RDS_HOSTNAME", "h"),
        ("RDS_USERNAME", "u"),
        ("RDS_PASSWORD", " 'p' "),
        ("S3_BUCKET", "pics"),
        ("S3_REGION", "x"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "s "),
    ])
    .unwrap();
    assert_eq!(config.secret.reveal(), secret);
    assert_eq!(config.secret_previous.unwrap().reveal(), "\"quoted\" ");
    assert_eq!(config.database.password.reveal(), " 'p' ");
    assert_eq!(config.pictures.bucket.unwrap().key.unwrap().1.reveal(), "s ");
    let empty = read(&[("SECRET_KEY_BASE", ""), ("SECRET_KEY_BASE_PREVIOUS", "")]).unwrap();
    assert_eq!((empty.secret.reveal(), empty.secret_previous), (DEVELOPMENT_SECRET, None));
}

#[test]
fn origins_are_as_browsers_send_them() {
    let origins = |text: &str| read(&[("FRONTEND_URL", text)]).unwrap().frontend_origins;
    assert_eq!(
        origins(" https://a.example/ ,http://[::1]:5173,https://a.example,"),
        ["https://a.example", "http://[::1]:5173"]
    );
    for (wrong, words) in [
        ("https://*.example.com", "takes no wildcard"),
        ("*", "must hold origins such as"),
        ("null", "must hold origins such as"),
        ("desk.example.com", "must hold origins such as"),
        ("ftp://a.example", "must hold origins such as"),
        ("\"https://a.example\"", "must hold origins such as"),
        ("https://a.example/path", "such as https://a.example,"),
        ("https://A.example", "such as https://a.example,"),
        ("https://a.example:443", "such as https://a.example,"),
        ("https://user@a.example", "such as https://a.example,"),
        ("https://ä.example", "such as https://xn--4ca.example,"),
        (",", "names no origin"),
    ] {
        assert_mistake(&[("FRONTEND_URL", wrong)], words);
    }
}

#[test]
fn what_would_be_something_else_is_a_mistake() {
    for (pairs, words) in [
        (&[("METRICS_PORT", "3000")][..], "another port than PORT"),
        (&[("METRICS_PORT", "80"), ("PORT", "80")], "another port than PORT"),
        (&[("SERVICES", ",")], "names no service"),
        (&[("SERVICES", "Helpdesk")], "knows helpdesk, stock"),
        (&[("RUST_LOG", "warning")], "no level"),
        (&[("RUST_LOG", "hyperdesk=loud=very")], ""),
        (&[("UPLOAD_DIR", "\"/data\"")], "in quotes"),
        (&[("UPLOAD_DIR", "'/data'")], "in quotes"),
        (&[("UPLOAD_DIR", "/dev/null")], "is none"),
        (&[("UPLOAD_DIR", "/dev/null/pictures")], "is none"),
        (&[("DATABASE_SSL_CA", "/etc/hosts")], "only with DATABASE_SSL_MODE=verify_identity"),
        (&[("DATABASE_SSL_CA", "/etc/hosts"), ("DATABASE_SSL_MODE", "required")], "only with"),
        (&[("DATABASE_SSL_CA", "/none.pem"), ("DATABASE_SSL_MODE", "verify_identity")], "cannot be read"),
        (
            &[("DATABASE_SSL_CA", "/etc/hosts"), ("DATABASE_SSL_MODE", "verify_identity")],
            "holds no certificate",
        ),
        (&[("DATABASE_SSL_MODE", "REQUIRED")], "must be disabled or required or verify_identity"),
        (&[("DRAIN_SECONDS", "10s")], "a whole number"),
        (&[("TOKEN_TTL_SECONDS", "24h")], "a whole number"),
        (&[("FEED_WINDOW_BYTES", "64M")], "a whole number"),
        (&[("CONNECTIONS_MAX", "99999999999999999999999")], "a whole number"),
        (&[("DB_POOL_SIZE", "-1")], "a whole number"),
        (&[("BIND_ADDRESS", "localhost")], "an IP address"),
        (&[("S3_ENDPOINT", "http://minio:9000/pics"), ("S3_BUCKET", "pics")], "must not end with the bucket"),
        (&[("S3_REGION", "EU (Ireland)"), ("S3_BUCKET", "pics")], "must be a region"),
    ] {
        assert_mistake(pairs, words);
    }
    for right in [
        [("PORT", " 80 "), ("METRICS_PORT", "81")],
        [("PORT", "0"), ("METRICS_PORT", "0")],
        [("SERVICES", " stock , ,stock,"), ("RUST_LOG", "warn,hyperdesk=debug,hyper=off")],
        [("RUST_LOG", "INFO"), ("BIND_ADDRESS", "::")],
        [("RUST_LOG", "off"), ("FEED_WAITERS_MAX", "0")],
    ] {
        read(&right).unwrap();
    }
}
