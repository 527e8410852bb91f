//! The real server binary as a child process.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use super::child::{self, Child};
use super::eventually;
use super::http::Client;
use super::logs::Logs;
use super::schema::Schema;

/// From the start of the process to both listeners, on a busy machine, in a debug build.
const START_LIMIT: Duration = Duration::from_secs(30);
/// For a command that ends by itself, migrations included.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// Longer than the default `DRAIN_SECONDS` (8) and a little.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// 64 characters; signs the tokens that tests make themselves.
pub const SECRET: &str = "it-secret-0123456789abcdef0123456789abcdef0123456789abcdef012345";

type Env = BTreeMap<String, String>;

/// A running server; killed on drop.
pub struct Hyperdesk {
    program: PathBuf,
    env: Env,
    child: Child,
    logs: Logs,
    output: Option<OwnedFd>,
}

/// What to start it with.
pub struct Builder<'a> {
    schema: Option<&'a Schema>,
    program: PathBuf,
    env: Env,
    migrate: bool,
    output: Option<OwnedFd>,
}

impl Builder<'_> {
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// Leaves a default out.
    pub fn without_env(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// Does not run `hyperdesk migrate` first, which else happens once for each schema.
    pub fn without_migrate(mut self) -> Self {
        self.migrate = false;
        self
    }

    /// Another program in its place, such as an older version.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Where it writes to in place of the pipes that become [`Hyperdesk::logs`]. `PORT` and `METRICS_PORT` must be
    /// given, then: else only its log tells them.
    pub fn output(mut self, output: impl Into<OwnedFd>) -> Self {
        self.output = Some(output.into());
        self
    }

    /// Starts it and waits until it listens on both ports.
    pub async fn start(self) -> Hyperdesk {
        let desk = self.spawn().await;
        desk.listening().await;
        desk
    }

    /// Starts it and waits for nothing (but a migration).
    pub async fn spawn(self) -> Hyperdesk {
        if let Some(schema) = self.schema.filter(|_| self.migrate) {
            // Straight to the database: a proxy may be spoiling DATABASE_URL already.
            let mut env = self.env.clone();
            env.insert("DATABASE_URL".to_owned(), schema.url());
            let migrate = || async {
                let done = run_program(&self.program, &["migrate"], &env).await;
                assert!(done.status.success(), "migrate: {}", all_of(&done));
            };
            schema.migrated.get_or_init(migrate).await;
        }
        let (child, logs) = launch(&self.program, &["serve"], &self.env, self.output.as_ref());
        Hyperdesk { program: self.program, env: self.env, child, logs, output: self.output }
    }
}

impl Hyperdesk {
    /// On this schema, on free ports, with small figures for a small machine.
    pub fn builder(schema: &Schema) -> Builder<'_> {
        let mut builder = Hyperdesk::without_database().env("DATABASE_URL", schema.url());
        builder.schema = Some(schema);
        builder
    }

    /// The defaults without `DATABASE_URL`, for a database that is not there.
    pub fn without_database() -> Builder<'static> {
        Builder {
            schema: None,
            program: PathBuf::from(env!("CARGO_BIN_EXE_hyperdesk")),
            env: default_env(),
            migrate: true,
            output: None,
        }
    }

    /// Waits until it listens on both ports; panics with its log if it ends instead.
    pub async fn listening(&self) {
        let both = || async {
            if let Some(status) = self.child.exited() {
                panic!("the server ended with {status} before it listened");
            }
            if self.output.is_none() {
                return self.listener("http").is_some() && self.listener("admin").is_some();
            }
            self.client().get("/health").try_send().await.is_ok()
                && self.admin_client().get("/live").try_send().await.is_ok()
        };
        eventually(START_LIMIT, both).await;
    }

    fn listener(&self, name: &str) -> Option<SocketAddr> {
        if self.output.is_some() {
            let variable = if name == "http" { "PORT" } else { "METRICS_PORT" };
            return Some((Ipv4Addr::LOCALHOST, self.env[variable].parse().expect("a port")).into());
        }
        let line = self
            .logs
            .last(|line| line.str("message") == Some("listening") && line.str("listener") == Some(name))?;
        line.str("address")?.parse().ok()
    }

    pub fn addr(&self) -> SocketAddr {
        self.listener("http").expect("it listens for requests")
    }

    /// Where `/metrics`, `/live` and `/ready` are.
    pub fn admin_addr(&self) -> SocketAddr {
        self.listener("admin").expect("it listens for the administrator")
    }

    pub fn client(&self) -> Client {
        Client::new(self.addr())
    }

    pub fn admin_client(&self) -> Client {
        Client::new(self.admin_addr())
    }

    /// The value of one series of `/metrics`, named as it stands there with its labels.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let page = self.admin_client().get("/metrics").send().await.expect_status(200);
        let text = page.text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a number"))
    }

    /// The log so far. After an exit, [`Logs::finish`] first gives all of it.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.child.terminate();
    }

    /// SIGKILL; gone when this returns.
    pub fn kill(&self) {
        self.child.kill();
    }

    pub fn freeze(&self) {
        self.child.freeze();
    }

    pub fn thaw(&self) {
        self.child.thaw();
    }

    pub fn exited(&self) -> Option<ExitStatus> {
        self.child.exited()
    }

    pub async fn wait_exit(&self, limit: Duration) -> ExitStatus {
        self.child.wait_exit(limit).await
    }

    /// SIGTERM, the end, and a new process with the same environment (and new ports, if those
    /// are free ones).
    pub async fn restart(&mut self) {
        self.terminate();
        self.wait_exit(STOP_LIMIT).await;
        self.start_again().await;
    }

    /// A new process with the same environment after [`Hyperdesk::kill`] or [`Hyperdesk::terminate`].
    pub async fn start_again(&mut self) {
        self.child.kill();
        (self.child, self.logs) = launch(&self.program, &["serve"], &self.env, self.output.as_ref());
        self.listening().await;
    }

    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    pub fn rss_bytes(&self) -> u64 {
        self.child.rss_bytes()
    }

    pub fn peak_rss_bytes(&self) -> u64 {
        self.child.peak_rss_bytes()
    }

    pub fn open_fds(&self) -> usize {
        self.child.open_fds()
    }

    pub fn threads(&self) -> usize {
        self.child.threads()
    }

    pub fn cpu_time(&self) -> Duration {
        self.child.cpu_time()
    }
}

impl Drop for Hyperdesk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.child.kill();
            self.logs.finish();
            self.logs.print(&format!("hyperdesk {}", self.pid()));
        }
    }
}

/// `hyperdesk <args>` with exactly this environment, until it ends.
pub async fn run_command(args: &[&str], env: &[(&str, &str)]) -> Output {
    let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    run_program(Path::new(env!("CARGO_BIN_EXE_hyperdesk")), args, &env).await
}

/// The same while it is under way, to wait for what it says.
pub fn begin_command(args: &[&str], env: &[(&str, &str)]) -> (Child, Logs) {
    let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    launch(Path::new(env!("CARGO_BIN_EXE_hyperdesk")), args, &env, None)
}

/// The environment that a started server gets, for [`run_command`] to build on.
pub fn default_env() -> Env {
    let defaults = [
        ("PORT", "0"),
        ("METRICS_PORT", "0"),
        ("BIND_ADDRESS", "127.0.0.1"),
        ("SECRET_KEY_BASE", SECRET),
        ("LOG_FORMAT", "json"),
        ("RUST_LOG", "info"),
        ("HASH_CONCURRENCY", "2"),
        // Tests make their people from one address.
        ("ADDRESS_ATTEMPTS_MAX", "100000"),
    ];
    defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

async fn run_program(program: &Path, args: &[&str], env: &Env) -> Output {
    let mut command = tokio::process::Command::new(program);
    command.args(args).env_clear().envs(env).kill_on_drop(true);
    command.current_dir(child::run_folder()).stdin(Stdio::null());
    match tokio::time::timeout(COMMAND_LIMIT, command.output()).await {
        Ok(done) => done.expect("run the program"),
        Err(_) => panic!("{args:?} still runs after {COMMAND_LIMIT:?}"),
    }
}

/// In an empty folder, so that no developer's `.env` is read.
fn launch(program: &Path, args: &[&str], env: &Env, output: Option<&OwnedFd>) -> (Child, Logs) {
    let mut command = child::command(program);
    command.args(args).env_clear().envs(env).current_dir(child::run_folder());
    let output = || output.map_or(Stdio::piped(), |output| output.try_clone().expect("a descriptor").into());
    command.stdin(Stdio::null()).stdout(output()).stderr(output());
    let child = Child::spawn(command).expect("start the server");
    let logs = Logs::default();
    let (stdout, stderr) = child.take_output();
    stdout.into_iter().for_each(|pipe| logs.follow(pipe));
    stderr.into_iter().for_each(|pipe| logs.follow(pipe));
    (child, logs)
}

/// Both streams of a command, for a message or an assertion.
pub fn all_of(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}
