//! Boot: arguments, configuration, logging, database, services, listeners, wait for a signal, drain.

#![forbid(unsafe_code)]

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use hyperdesk::auth::{Auth, registrations::Registrations, session::Revocations, token::Keys};
use hyperdesk::chassis::drain::{Drain, Stage};
use hyperdesk::chassis::{self, Chassis, Loops, admin};
use hyperdesk::config::{self, Config, Environment, LogFormat, Vars as _};
use hyperdesk::db::{self, Db, DbMetrics, migrations};
use hyperdesk::services::{self, Parts, Services};
use hyperdesk::stock::clients;
use hyperdesk::{helpdesk, metrics};
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// EX_USAGE of sysexits: the configuration is wrong.
const EXIT_CONFIG: u8 = 64;
/// EX_DATAERR: what a command was asked to do cannot be done.
const EXIT_DATA: u8 = 65;
/// EX_SOFTWARE: a mistake of ours.
const EXIT_SOFTWARE: u8 = 70;
/// EX_TEMPFAIL: the database is away.
const EXIT_UNAVAILABLE: u8 = 75;
/// EX_OSERR: a port is taken, or threads cannot be made.
const EXIT_OS: u8 = 71;
/// Pause between looks at a database that is not there yet.
const WAIT_FOR_DATABASE: Duration = Duration::from_secs(1);

/// A help-desk backend that answers polls from memory, and four smaller services on the same chassis.
///
/// Configured by environment variables; `check-config` reports all that is wrong with them, the README
/// lists them.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, PartialEq, Eq, Subcommand)]
enum Command {
    /// Serve until SIGTERM (the default).
    Serve,
    /// Bring the database's schema up to date; safe to repeat and to run twice at once.
    Migrate,
    /// Add demo users and conversations, once.
    Seed,
    /// Make, list and revoke the client programs of the stock counter.
    #[command(subcommand)]
    OauthClient(clients::Command),
    /// Check the environment variables and exit: 0 when all are right, 64 with every mistake when not.
    CheckConfig,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match read_config() {
        Ok(config) => config,
        Err(mistakes) => return wrong_config(&mistakes),
    };
    let command = arguments.command.unwrap_or(Command::Serve);
    if command == Command::CheckConfig {
        say("the configuration is right");
        return ExitCode::SUCCESS;
    }
    if let Err(mistake) = start_logging(&config) {
        return wrong_config(&[format!("RUST_LOG: {mistake}")]);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.web_concurrency)
        .thread_name("background")
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(command, config));
            // A password being hashed cannot be interrupted; the process does not wait for it.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure(EXIT_OS, format!("no threads: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, why)) => {
            tracing::error!(why, "stopped");
            ExitCode::from(code)
        }
    }
}

/// The configuration, or all that is wrong with it, whichever command wants it.
fn read_config() -> Result<Config, Vec<String>> {
    let vars = Environment::read().map_err(|mistake| vec![mistake])?;
    let set = |variable: hyperdesk::config::Variable| {
        vars.get(variable.name).filter(|value| !value.trim().is_empty())
    };
    let config = Config::from_vars(&vars, services::NAMES);
    let mut mistakes = config.as_ref().err().cloned().unwrap_or_default();
    if set(config::DATABASE_URL).is_none() && set(config::RDS_HOSTNAME).is_none() {
        mistakes.push("DATABASE_URL: it or RDS_HOSTNAME is required".to_owned());
    }
    if let Some(Err(error)) = set(config::RUST_LOG).map(tracing_subscriber::EnvFilter::try_new) {
        mistakes.push(format!("RUST_LOG: {error}"));
    }
    if mistakes.is_empty() { config } else { Err(mistakes) }
}

/// An exit code and the reason for the log.
struct Failure(u8, String);

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        let code = match error {
            db::Error::Internal(_) | db::Error::Duplicate(_) => EXIT_SOFTWARE,
            _ => EXIT_UNAVAILABLE,
        };
        Self(code, error.to_string())
    }
}

impl From<clients::Failure> for Failure {
    fn from(failure: clients::Failure) -> Self {
        match failure {
            clients::Failure::Database(error) => error.into(),
            clients::Failure::Refused(why) => Self(EXIT_DATA, why.to_owned()),
            clients::Failure::NoRandomness(error) => Self(EXIT_OS, error.to_string()),
        }
    }
}

fn software(error: impl std::fmt::Display) -> Failure {
    Failure(EXIT_SOFTWARE, error.to_string())
}

/// The user's terminal: the one place besides the log that is written to.
fn say(text: &str) {
    let _closed_pipe = writeln!(std::io::stdout(), "{text}");
}

fn wrong_config(mistakes: &[String]) -> ExitCode {
    let mut terminal = std::io::stderr().lock();
    for mistake in mistakes {
        let _closed_pipe = writeln!(terminal, "{mistake}");
    }
    ExitCode::from(EXIT_CONFIG)
}

fn start_logging(config: &Config) -> Result<(), String> {
    let filter =
        tracing_subscriber::EnvFilter::try_new(&config.log_filter).map_err(|error| error.to_string())?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(true);
    match config.log_format {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).init(),
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stdout())).init(),
    }
    Ok(())
}

/// Everything a command works with.
struct Process {
    config: Arc<Config>,
    registry: Registry,
    db: Arc<Db>,
    auth: Arc<Auth>,
}

async fn run(command: Command, config: Config) -> Result<(), Failure> {
    let registry = Registry::new();
    let Some(target) = &config.database else {
        return Err(Failure(EXIT_CONFIG, "DATABASE_URL or RDS_HOSTNAME is required".to_owned()));
    };
    let db = Db::new(&config, target, DbMetrics::new(&registry).map_err(software)?)?;
    let previous = config.secret_previous.as_ref().map(|secret| secret.reveal().as_bytes());
    let auth = Auth {
        keys: Keys::new(config.secret.reveal().as_bytes(), previous).map_err(software)?,
        revocations: Revocations::new(),
        registrations: Registrations::new(),
        token_ttl_seconds: config.token_ttl_seconds,
        production: config.app_env == hyperdesk::config::AppEnv::Production,
    };
    let process = Process { config: Arc::new(config), registry, db: Arc::new(db), auth: Arc::new(auth) };
    match command {
        Command::Serve => serve(process).await,
        Command::Migrate => migrate(&process.db).await,
        Command::Seed => {
            for line in
                helpdesk::seed(&process.db, process.config.hash_concurrency).await.map_err(software)?
            {
                say(&line);
            }
            Ok(())
        }
        Command::OauthClient(command) => {
            for line in clients::run(&process.db, &command).await? {
                say(&line);
            }
            Ok(())
        }
        Command::CheckConfig => Ok(()),
    }
}

/// Waits for the database, so that a fresh instance and a fresh database may start together, then migrates.
async fn migrate(db: &Db) -> Result<(), Failure> {
    const ATTEMPTS: u32 = 60;
    for attempt in 1.. {
        match migrations::apply(db).await {
            Ok(applied) => {
                tracing::info!(?applied, "the schema is up to date");
                return Ok(());
            }
            Err(db::Error::Unavailable(cause)) if attempt < ATTEMPTS => {
                tracing::warn!(cause, "waiting for the database");
                tokio::time::sleep(WAIT_FOR_DATABASE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn serve(process: Process) -> Result<(), Failure> {
    let Process { config, registry, db, auth } = process;
    // A limit that cannot be raised is lived with: connections_max follows what there is.
    let _as_it_is = rlimit::increase_nofile_limit(u64::MAX);
    let before_scrape = Arc::new(metrics::BeforeScrape::default());
    let drain = Arc::new(Drain::default());
    let parts = Parts::new(
        config.clone(),
        db.clone(),
        auth.clone(),
        registry.clone(),
        before_scrape.clone(),
        drain.clone(),
    );
    let gauged = db.clone();
    before_scrape.add(move || gauged.refresh_metrics());
    let services = Services::new(&parts).map_err(software)?;
    let background = tokio::runtime::Handle::current();
    let chassis = Chassis::new(&config, services, auth, &registry, background, drain).map_err(software)?;
    let chassis = Arc::new(chassis);
    let (http, http_address) = listen(&config, config.port, "PORT")?;
    let (admin, admin_address) = listen(&config, config.metrics_port, "METRICS_PORT")?;

    let mut terminated = signal(SignalKind::terminate()).map_err(software)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(software)?;
    let schema = Arc::new(tokio::sync::OnceCell::new());
    tokio::spawn(wait_for_schema(db.clone(), schema.clone()));
    let probe = Probe::new(&registry, before_scrape, chassis.clone(), schema).map_err(software)?;
    let admin = tokio::net::TcpListener::from_std(admin).map_err(software)?;
    tokio::spawn(admin::serve(admin, Arc::new(probe)));
    let loops = Loops::start(&chassis, http, config.web_concurrency)
        .map_err(|error| Failure(EXIT_OS, error.to_string()))?;
    tracing::info!(listener = "http", address = %http_address, "listening");
    tracing::info!(listener = "admin", address = %admin_address, "listening");

    let politely = tokio::select! {
        _ = terminated.recv() => true,
        _ = interrupted.recv() => false,
        () = any_ends(&loops) => return Err(software("an event loop ended by itself")),
    };
    tracing::info!(seconds_max = config.drain_seconds, politely, "stopping");
    let drained = chassis.drain().run(config.drain_seconds, politely, || chassis.is_idle());
    tokio::select! {
        () = drained => {}
        _ = interrupted.recv() => tracing::warn!("stopped at once by a second signal"),
    }
    parts.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn any_ends(loops: &Loops) {
    while loops.are_alive() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn listen(config: &Config, port: u16, name: &str) -> Result<(std::net::TcpListener, SocketAddr), Failure> {
    let address = SocketAddr::new(config.bind_address, port);
    let failed = |error| Failure(EXIT_OS, format!("{name}: {address} cannot be listened on: {error}"));
    let listener = chassis::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Looks at the schema until it is the one this program needs; says what it waits for.
async fn wait_for_schema(db: Arc<Db>, ready: Arc<tokio::sync::OnceCell<()>>) {
    loop {
        match migrations::missing(&db).await {
            Ok(missing) if missing.is_empty() => break,
            Ok(missing) => tracing::warn!(?missing, "the schema is too old: run `hyperdesk migrate`"),
            Err(error) => tracing::warn!(%error, "waiting for the database (and `hyperdesk migrate`)"),
        }
        tokio::time::sleep(WAIT_FOR_DATABASE).await;
    }
    tracing::info!("the database is there");
    let _first = ready.set(());
}

/// What the admin port asks.
struct Probe {
    registry: Registry,
    before_scrape: Arc<metrics::BeforeScrape>,
    chassis: Arc<Chassis<Services>>,
    schema: Arc<tokio::sync::OnceCell<()>>,
}

impl Probe {
    fn new(
        registry: &Registry,
        before_scrape: Arc<metrics::BeforeScrape>,
        chassis: Arc<Chassis<Services>>,
        schema: Arc<tokio::sync::OnceCell<()>>,
    ) -> Result<Self, prometheus::Error> {
        let build =
            IntGaugeVec::new(Opts::new("build_info", "The version that runs; always 1."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self { registry: registry.clone(), before_scrape, chassis, schema })
    }
}

impl admin::Probe for Probe {
    fn metrics(&self) -> Result<Vec<u8>, String> {
        self.before_scrape.run();
        metrics::render(&self.registry).map_err(|error| error.to_string())
    }

    /// A database that is away makes no instance unready: every instance would be, and a balancer without
    /// targets helps nobody. Only one that never saw its schema is not ready yet.
    fn ready(&self) -> Result<(), &'static str> {
        if self.chassis.drain().stage() != Stage::Serving {
            return Err("draining\n");
        }
        if !self.schema.initialized() {
            return Err("waiting for the database\n");
        }
        Ok(())
    }
}
