//! Right and wrong environments.

use super::*;

const KNOWN: &[&str] = &["helpdesk", "stock"];

fn read(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let vars: HashMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::from_vars(&vars, KNOWN)
}

#[test]
fn defaults_are_valid_in_development() {
    let config = read(&[]).unwrap();
    assert_eq!((config.port, config.metrics_port, config.drain_seconds), (3000, 9464, 8));
    assert_eq!(config.services, KNOWN);
    assert_eq!(config.database, None);
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
    let config = read(&[("DATABASE_URL", "mysql2://app:p%40ss@db.example:3307/desk?pool=5")]).unwrap();
    let database = config.database.as_ref().unwrap();
    assert_eq!((database.host.as_str(), database.port, database.name.as_str()), ("db.example", 3307, "desk"));
    assert_eq!(database.password.reveal(), "p@ss");
    assert!(!format!("{config:?}").contains("p@ss"));
    assert!(read(&[("DATABASE_URL", "mysql://a:b@c/d?ssl-mode=REQUIRED")]).is_err());
}

#[test]
fn the_rds_variables_make_a_writer_and_a_reader() {
    let vars =
        [("RDS_HOSTNAME", "w"), ("RDS_READER_HOSTNAME", "r"), ("RDS_USERNAME", "u"), ("RDS_PASSWORD", "p")];
    let config = read(&vars).unwrap();
    assert_eq!(config.database.unwrap().host, "w");
    assert_eq!(config.database_reader.unwrap().host, "r");
}
