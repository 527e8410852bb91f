//! Boot: arguments, configuration, logging, database, services, listeners, wait for a signal, drain.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use hyperdesk::auth::{Auth, registrations::Registrations, session::Revocations, token::Keys};
use hyperdesk::chassis::drain::{Drain, Stage};
use hyperdesk::chassis::{self, Background, Chassis, admin};
use hyperdesk::config::{CONNECTIONS_MAX, FEED_WAITERS_MAX, FEED_WINDOW_BYTES, FEED_WINDOW_EVENTS};
use hyperdesk::config::{Config, DatabaseTarget, Environment};
use hyperdesk::db::migrations::{Refusal, SchemaStanding};
use hyperdesk::db::{self, Capacity, Db, DbMetrics, migrations};
use hyperdesk::log::Log;
use hyperdesk::service::Context;
use hyperdesk::services::{self, Services};
use hyperdesk::stock::clients;
use hyperdesk::tasks::{Kind, Tasks};
use hyperdesk::{config, helpdesk, import, metrics};
use prometheus::Registry;
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
/// EX_IOERR: what a command had to say could not be written.
const EXIT_IO: u8 = 74;
/// Pause between looks at a database that is not there yet.
const WAIT_FOR_DATABASE: Duration = Duration::from_secs(1);
/// Pause between looks whether a newer version took away what this one needs: one small statement each.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

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
    /// Bring the database of a Rails help desk over; safe to break off and to repeat. The source is only read.
    Import {
        /// Where it is: mysql://user:password@host:port/name. Every process of the machine sees the password here;
        /// the variable IMPORT_FROM keeps it from them.
        #[arg(long)]
        from: Option<String>,
        /// Say what would be done, and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Make, list and revoke the client programs of the stock counter.
    #[command(subcommand)]
    OauthClient(clients::Command),
    /// Check the environment variables and exit: 0 when all are right, 64 with every mistake when not.
    CheckConfig,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::from_vars(&Environment::read(), services::NAMES) {
        Ok(config) => config,
        Err(mistakes) => return refuse(EXIT_CONFIG, &mistakes),
    };
    let command = arguments.command.unwrap_or(Command::Serve);
    if command == Command::CheckConfig {
        return match say("the configuration is right") {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure(code, why)) => refuse(code, &[why]),
        };
    }
    // Dropped last, however this ends: what was logged by then is written.
    let log = match Log::start(&config) {
        Ok(log) => log,
        Err(why) => return refuse(EXIT_OS, &[format!("no log: {why}")]),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.web_concurrency)
        .thread_name("background")
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(command, config, &log));
            // A password being hashed cannot be interrupted; the process does not wait for it.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure(EXIT_OS, format!("no threads: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The log goes where this could not be written.
        Err(Failure(EXIT_IO, why)) => refuse(EXIT_IO, &[why]),
        Err(Failure(code, why)) => {
            tracing::error!(why, "stopped");
            ExitCode::from(code)
        }
    }
}

/// An exit code and the reason for the log.
struct Failure(u8, String);

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        if let Some(advice) = error.advice() {
            return Self(EXIT_DATA, format!("{error}: {advice}"));
        }
        match error {
            db::Error::Internal(_) | db::Error::Duplicate(_) => Self(EXIT_SOFTWARE, error.to_string()),
            _ => Self(EXIT_UNAVAILABLE, format!("{error}: see that it runs, and where DATABASE_URL leads")),
        }
    }
}

impl From<helpdesk::SeedError> for Failure {
    fn from(error: helpdesk::SeedError) -> Self {
        match error {
            helpdesk::SeedError::Database(error) => error.into(),
            helpdesk::SeedError::Password(error) => software(error),
        }
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

impl From<import::Failure> for Failure {
    fn from(failure: import::Failure) -> Self {
        match failure {
            import::Failure::Database(error) => error.into(),
            source @ import::Failure::Source(_) => Self(EXIT_DATA, source.to_string()),
            import::Failure::Refused(why) => Self(EXIT_DATA, why),
            import::Failure::Output(error) => Self(EXIT_IO, error.to_string()),
        }
    }
}

fn software(error: impl std::fmt::Display) -> Failure {
    Failure(EXIT_SOFTWARE, error.to_string())
}

/// The user's terminal: the one place besides the log that is written to.
fn say(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| Failure(EXIT_IO, error.to_string()))
}

/// Ends before there is a log: the reasons go to the terminal, a line each.
fn refuse(code: u8, reasons: &[String]) -> ExitCode {
    let mut terminal = std::io::stderr().lock();
    for reason in reasons {
        let _closed_pipe = writeln!(terminal, "{reason}");
    }
    ExitCode::from(code)
}

/// Everything a command works with.
struct Process {
    config: Arc<Config>,
    registry: Registry,
    db: Arc<Db>,
    auth: Arc<Auth>,
    tasks: Tasks,
}

async fn run(command: Command, config: Config, log: &Log) -> Result<(), Failure> {
    let registry = Registry::new();
    log.register(&registry).map_err(software)?;
    let tasks = Tasks::new(&registry).map_err(software)?;
    let db = Db::new(&config, DbMetrics::new(&registry).map_err(software)?, &tasks)?;
    let previous = config.secret_previous.as_ref().map(|secret| secret.reveal().as_bytes());
    let auth = Auth {
        keys: Keys::new(config.secret.reveal().as_bytes(), previous).map_err(software)?,
        revocations: Revocations::new(),
        registrations: Registrations::new(),
        token_ttl_seconds: config.token_ttl_seconds,
        production: config.app_env == hyperdesk::config::AppEnv::Production,
    };
    let (config, db, auth) = (Arc::new(config), Arc::new(db), Arc::new(auth));
    let process = Process { config, registry, db, auth, tasks };
    match command {
        Command::Serve => serve(process).await,
        Command::Migrate => migrate(&process.db).await,
        Command::Seed if process.auth.production => {
            let why = "the demo accounts' passwords are known to everybody: no seed with APP_ENV=production";
            Err(Failure(EXIT_CONFIG, why.to_owned()))
        }
        Command::Seed => {
            right_schema(&process.db).await?;
            for line in helpdesk::seed(&process.db, process.config.hash_concurrency).await? {
                say(&line)?;
            }
            Ok(())
        }
        Command::Import { from, dry_run } => bring_over(&process, from.as_deref(), dry_run).await,
        Command::OauthClient(command) => {
            right_schema(&process.db).await?;
            for line in clients::run(&process.db, &command).await? {
                say(&line).map_err(|Failure(code, why)| {
                    let advice = "look with `oauth-client list` for a client that was made, and revoke it";
                    Failure(code, format!("{why}: {advice}"))
                })?;
            }
            Ok(())
        }
        Command::CheckConfig => Ok(()),
    }
}

/// Brings a Rails database over.
async fn bring_over(process: &Process, from: Option<&str>, is_dry: bool) -> Result<(), Failure> {
    let given = from.map(DatabaseTarget::from_url).transpose();
    let given = given.map_err(|mistake| Failure(EXIT_CONFIG, format!("--from: {mistake}")))?;
    let Some(from) = given.or_else(|| process.config.import_from.clone()) else {
        let why =
            "set IMPORT_FROM, or give --from: mysql://user:password@host:port/name of the Rails help desk";
        return Err(Failure(EXIT_CONFIG, why.to_owned()));
    };
    right_schema(&process.db).await?;
    let mut say = |line: &str| writeln!(std::io::stdout(), "{line}");
    import::run(&from, &process.config.database_ssl, &process.db, is_dry, &mut say).await.map_err(Into::into)
}

/// Waits for the database, so that a fresh instance and a fresh database may start together, then migrates.
async fn migrate(db: &Db) -> Result<(), Failure> {
    let applied = migrations::apply_patiently(db).await.map_err(|refusal| match refusal {
        Refusal::Busy(_) => {
            let why = format!("{refusal}: run `hyperdesk migrate` again when whoever uses it is done");
            Failure(EXIT_UNAVAILABLE, why)
        }
        Refusal::Database(error) => error.into(),
        Refusal::Schema(why) => Failure(EXIT_DATA, why),
    })?;
    tracing::info!(?applied, "the schema is up to date");
    Ok(())
}

async fn serve(process: Process) -> Result<(), Failure> {
    let Process { config, registry, db, auth, tasks } = process;
    // Until the look that begins below: before anything has a connection.
    db.gate().close();
    config::raise_descriptor_limit(config.connections_max);
    if let Some(reader) = config.database_reader.as_ref().filter(|reader| reader.name != config.database.name)
    {
        let (writer, reader) = (&config.database.name, &reader.name);
        tracing::warn!(
            writer,
            reader,
            "the reader's database has another name than the writer's: is it the same?"
        );
    }
    let drain = Arc::new(Drain::default());
    let background = Arc::new(Background::new(&registry).map_err(software)?);
    let context = Context::new(
        config.clone(),
        db.clone(),
        auth.clone(),
        registry.clone(),
        drain.clone(),
        tasks.clone(),
        background.clone(),
    );
    db.register_gauges(&registry).map_err(software)?;
    let services = Services::new(&context).map_err(software)?;
    let chassis = Chassis::new(&config, services, auth, &registry, background, drain).map_err(software)?;
    let chassis = Arc::new(chassis);
    let (http, http_address) = listen(&config, config.port, "PORT")?;
    let (admin, admin_address) = listen(&config, config.metrics_port, "METRICS_PORT")?;

    let mut terminated = signal(SignalKind::terminate()).map_err(software)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(software)?;
    let (looked_at, pool_size) = (db.clone(), config.db_pool_size);
    tasks.spawn("schema_look", Kind::Needed, move || watch_schema(looked_at.clone(), pool_size));
    let probe =
        InstanceProbe::new(&registry, &config, chassis.clone(), db, tasks.clone()).map_err(software)?;
    let probe: Arc<dyn admin::Probe> = Arc::new(probe);
    let admin = Arc::new(tokio::net::TcpListener::from_std(admin).map_err(software)?);
    tasks.spawn("admin", Kind::Needed, move || admin::serve(admin.clone(), probe.clone()));
    // They are: who connects waits in the kernel's queue.
    tracing::info!(listener = "http", address = %http_address, "listening");
    tracing::info!(listener = "admin", address = %admin_address, "listening");
    context.settled().await;
    chassis::start(&chassis, http, config.web_concurrency, &tasks)
        .map_err(|error| Failure(EXIT_OS, error.to_string()))?;

    let politely = tokio::select! {
        _ = terminated.recv() => true,
        _ = interrupted.recv() => false,
        why = tasks.failed() => return Err(software(why)),
    };
    tracing::info!(seconds_max = config.drain_seconds, politely, "stopping");
    let drained = chassis.drain().run(config.drain_seconds, politely, || chassis.is_idle());
    tokio::select! {
        () = drained => {}
        _ = interrupted.recv() => tracing::warn!("stopped at once by a second signal"),
        why = tasks.failed() => return Err(software(why)),
    }
    context.close().await;
    tracing::info!("stopped");
    Ok(())
}

fn listen(config: &Config, port: u16, name: &str) -> Result<(std::net::TcpListener, SocketAddr), Failure> {
    let address = SocketAddr::new(config.bind_address, port);
    let failed = |error| Failure(EXIT_OS, format!("{name}: {address} cannot be listened on: {error}"));
    let listener = chassis::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Looks at the schema until it is the one that this program needs; and then whether it still is, for a newer version
/// may take something away from it.
async fn watch_schema(db: Arc<Db>, pool_size: usize) -> Infallible {
    loop {
        wait_for_schema(&db).await;
        tell_capacity(&db, pool_size).await;
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            // A database that is away says nothing of its schema.
            if let Ok(Some(why)) = migrations::look_again(&db).await {
                tracing::error!("not ready any more: {why}");
                break;
            }
        }
    }
}

/// Returns when the schema is the one that this program needs; says what it waits for.
async fn wait_for_schema(db: &Db) {
    loop {
        if let Ok(Some(why)) = db.unfit().await {
            tracing::warn!("not ready: {why}");
            db.gate().tell(why);
            tokio::time::sleep(WAIT_FOR_DATABASE).await;
            continue;
        }
        match migrations::look(db).await {
            Ok(SchemaStanding::Right { newer }) => {
                if !newer.is_empty() {
                    tracing::info!(?newer, "the schema is a newer version's, which only added to this one's");
                }
                break;
            }
            Ok(SchemaStanding::Wrong(why)) => {
                tracing::warn!("not ready: {why}");
                db.gate().tell(&why);
            }
            Err(error) => {
                let what = "waiting for the database";
                let advice = error.advice().unwrap_or("it has to run, and DATABASE_URL to lead to it");
                tracing::warn!(%error, "{what}, for as long as it takes: {advice}");
                db.gate().tell(what);
            }
        }
        tokio::time::sleep(WAIT_FOR_DATABASE).await;
    }
    tracing::info!("the database is there");
}

/// For the commands that change what is there: nothing of a schema that is not right.
async fn right_schema(db: &Db) -> Result<(), Failure> {
    match migrations::look(db).await? {
        SchemaStanding::Right { .. } => Ok(()),
        SchemaStanding::Wrong(why) => Err(Failure(EXIT_DATA, why)),
    }
}

/// Says for how many instances such as this one the database has room; loudly where not even for this one.
async fn tell_capacity(db: &Db, pool_size: usize) {
    let pool_size = pool_size as u64;
    let Ok(capacity) = db.capacity().await else { return };
    let Capacity { connections: max_connections, prepared_statements: max_prepared_stmt_count } = capacity;
    let by_connections = capacity.instances_by_connections(pool_size);
    let by_statements = capacity.instances_by_statements(pool_size);
    if by_connections.min(by_statements) == 0 {
        let advice = "the database is too small for this DB_POOL_SIZE: see the arithmetic in the README";
        tracing::warn!(max_connections, max_prepared_stmt_count, pool_size, "{advice}");
    } else {
        tracing::info!(
            by_connections,
            by_statements,
            "instances such as this one that the database has room for"
        );
    }
}

/// This instance, as the admin port sees it.
struct InstanceProbe {
    registry: Registry,
    chassis: Arc<Chassis<Services>>,
    db: Arc<Db>,
    tasks: Tasks,
}

impl InstanceProbe {
    fn new(
        registry: &Registry,
        config: &Config,
        chassis: Arc<Chassis<Services>>,
        db: Arc<Db>,
        tasks: Tasks,
    ) -> Result<Self, prometheus::Error> {
        let about = "The version that runs; always 1.";
        metrics::gauges(registry, "build_info", about, &["version"], |build| {
            build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        })?;
        register_limits(registry, config)?;
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self { registry: registry.clone(), chassis, db, tasks })
    }
}

/// The limits that gauges are compared with, so that a rule for an alert need not know an installation's settings.
fn register_limits(registry: &Registry, config: &Config) -> Result<(), prometheus::Error> {
    let limits = [
        (CONNECTIONS_MAX, config.connections_max),
        (FEED_WINDOW_EVENTS, config.feed_window_events),
        (FEED_WINDOW_BYTES, config.feed_window_bytes),
        (FEED_WAITERS_MAX, config.feed_waiters_max),
    ];
    let about = "What a setting limits something to, by the setting's name.";
    metrics::gauges(registry, "config_limit", about, &["setting"], move |gauges| {
        for (setting, limit) in limits {
            gauges.with_label_values(&[setting.name]).set(i64::try_from(limit).unwrap_or(i64::MAX));
        }
    })
}

impl admin::Probe for InstanceProbe {
    fn metrics(&self) -> Result<Vec<u8>, String> {
        metrics::render(&self.registry).map_err(|error| error.to_string())
    }

    /// A database that is away makes no instance unready: every instance would be, and a balancer without
    /// targets helps nobody. Only one that never saw its schema, or lost it to a newer version, is not ready.
    fn ready(&self) -> Result<(), String> {
        if self.chassis.drain().stage() != Stage::Serving {
            return Err("draining\n".to_owned());
        }
        if let Some(why) = self.db.gate().why_closed() {
            return Err(format!("{why}\n"));
        }
        if !self.tasks.are_up() {
            return Err("a background task is being started anew\n".to_owned());
        }
        Ok(())
    }

    #[cfg(debug_assertions)]
    fn plant_panic(&self, task: &str) {
        self.tasks.plant_panic(task);
    }
}
