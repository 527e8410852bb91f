//! A private database server that a test may kill, freeze and starve, and the shared one.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::sync::OnceCell;

use super::child::{self, Child};
use super::eventually_some;
use super::ports::Reserved;
use super::product::{Product, output, user_option, version};

/// Time for a start, crash recovery included, on a busy two-core machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Time for an administrator's connection or statement: a test that waits longer is stuck.
pub const ADMIN_LIMIT: Duration = Duration::from_secs(10);

/// One private server with its own port and folder; both go when this is dropped.
pub struct Server {
    product: Product,
    port: Reserved,
    folder: PathBuf,
    extra_args: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Server {
    pub async fn start() -> Server {
        Server::start_with(&[]).await
    }

    /// With more options, such as `--max-connections=20`; these win over ours.
    pub async fn start_with(extra_args: &[&str]) -> Server {
        Server::start_of(Product::chosen(), extra_args).await
    }

    /// Of this product, whichever the run is for.
    pub async fn start_of(product: Product, extra_args: &[&str]) -> Server {
        let folder = child::fresh_folder("db");
        let lasting: Vec<&str> = extra_args.iter().copied().filter(|arg| arg.starts_with(LASTING)).collect();
        if product == Product::MySql && !lasting.is_empty() {
            product.make_data_folder(&folder.join("data"), &lasting);
        } else {
            copy_template(product, &folder.join("data"));
        }
        // Another program may listen on the port between our look and the server's start.
        for _ in 0..3 {
            let server = Server {
                product,
                port: Reserved::new(),
                folder: folder.clone(),
                extra_args: extra_args.iter().map(ToString::to_string).collect(),
                child: Mutex::new(None),
            };
            if server.launch().await {
                return server;
            }
            println!("the database did not start: {}", server.log_tail());
            std::mem::forget(server); // keeps the folder for the next attempt
        }
        panic!("the database does not start in {}", folder.display());
    }

    /// SIGKILL: connections are reset, what was committed is kept (the log is written at commit).
    pub fn kill(&self) {
        *self.child.lock().unwrap() = None;
    }

    /// Starts again on the same port and data, after [`Server::kill`] or instead of it; ready when
    /// this returns.
    pub async fn restart(&self) {
        self.kill();
        assert!(self.launch().await, "no restart: {}", self.log_tail());
    }

    /// SIGSTOP: connections stay open, new ones are accepted by the kernel, nobody answers.
    pub fn freeze(&self) {
        self.child(Child::freeze);
    }

    pub fn thaw(&self) {
        self.child(Child::thaw);
    }

    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The administrator's URL, for what wants one.
    pub fn url(&self) -> String {
        format!("mysql://root@{}/", self.addr())
    }

    /// A connection of the administrator, whom `read_only` and `max_connections` do not stop.
    pub async fn admin(&self) -> Conn {
        // Who was just refused may still be on the place that is kept for the administrator.
        const FULL: u16 = 1040;
        let connected = || async {
            match Conn::new(self.admin_opts()).await {
                Err(mysql_async::Error::Server(error)) if error.code == FULL => None,
                connected => Some(connected),
            }
        };
        within_limit("connect", eventually_some(ADMIN_LIMIT, connected)).await
    }

    pub fn admin_opts(&self) -> OptsBuilder {
        admin_opts(&self.url())
    }

    /// Whose product it is, for what is said in two dialects.
    pub fn product(&self) -> Product {
        self.product
    }

    /// What a writer that was failed over looks like: writes get error 1290.
    pub async fn set_read_only(&self, on: bool) {
        self.set(&format!("read_only = {}", u8::from(on))).await;
    }

    /// At least 10, says MariaDB; one more is kept for the administrator. Those who are connected
    /// stay.
    pub async fn set_max_connections(&self, count: u32) {
        assert!(count >= 10, "MariaDB takes no fewer than 10");
        self.set(&format!("max_connections = {count}")).await;
    }

    async fn set(&self, setting: &str) {
        let mut admin = self.admin().await;
        let done = admin.query_drop(format!("SET GLOBAL {setting}"));
        within_limit(setting, done).await;
        within_limit("disconnect", admin.disconnect()).await;
    }

    /// The last lines of its own log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// What is in a file of its data folder so far; nothing where there is none.
    pub fn data_file(&self, name: &str) -> String {
        let bytes = std::fs::read(self.folder.join("data").join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn child<T>(&self, act: impl FnOnce(&Child) -> T) -> T {
        act(self.child.lock().unwrap().as_ref().expect("the database runs"))
    }

    /// Starts the process and waits until it answers; false if it ended instead.
    async fn launch(&self) -> bool {
        let started = Child::spawn(self.command()).expect("start the database");
        *self.child.lock().unwrap() = Some(started);
        eventually_some(START_LIMIT, || async {
            if self.child(Child::exited).is_some() {
                return Some(false);
            }
            let conn = Conn::new(self.admin_opts()).await.ok()?;
            conn.disconnect().await.ok().map(|()| true)
        })
        .await
    }

    fn command(&self) -> Command {
        let mut command = child::command(&self.product.program());
        let file = |name: &str| self.folder.join(name).display().to_string();
        command
            .arg("--no-defaults") // first, or it is not understood
            .args(user_option())
            .arg(format!("--datadir={}", file("data")))
            .arg(format!("--socket={}", file("s")))
            .arg(format!("--pid-file={}", file("pid")))
            // A server that starts deletes the temporary tables of all others in the same folder.
            .arg(format!("--tmpdir={}", self.folder.display()))
            .arg(format!("--port={}", self.port.port()))
            .args(SERVER_ARGS)
            .args(self.product.args())
            .args(&self.extra_args);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .expect("the database's log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- the database on {} said:\n{}", self.addr(), self.log_tail());
        }
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Small, and quick to start. The log is written but not synced at commit: a killed process loses
/// nothing by that, only a machine that loses power would.
const SERVER_ARGS: [&str; 12] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-buffer-size=2M",
    "--innodb-buffer-pool-load-at-startup=OFF",
    "--innodb-buffer-pool-dump-at-shutdown=OFF",
    "--innodb-read-io-threads=1",
    "--innodb-write-io-threads=1",
    "--performance-schema=OFF",
    "--table-open-cache=400",
    "--max-connections=151",
];

/// An option that MySQL must have been given when its data folder was made.
const LASTING: &str = "--lower-case-table-names=";

/// Copies a data folder that was made once for this build folder and version.
fn copy_template(product: Product, to: &Path) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(target).expect("target/tmp");
    let lock = File::create(target.join("database-template.lock")).expect("the template's lock");
    lock.lock().expect("the template's lock");
    let version = version(&product.program());
    let version: String = version.chars().filter(char::is_ascii_alphanumeric).collect();
    let template = target.join(format!("database-template-{version}"));
    if !template.is_dir() {
        let unfinished = target.join("database-template-unfinished");
        let _ = std::fs::remove_dir_all(&unfinished);
        product.make_data_folder(&unfinished, &[]);
        std::fs::rename(&unfinished, &template).expect("rename the template");
    }
    drop(lock);
    output(Command::new("cp").arg("-a").arg(&template).arg(to));
}

/// The administrator of the server that ordinary tests share: `TEST_DATABASE_URL`, or one private
/// server for the whole test process, which dies with it.
pub async fn shared() -> OptsBuilder {
    static URL: OnceCell<String> = OnceCell::const_new();
    static SERVER: Mutex<Option<Server>> = Mutex::new(None);
    let url = URL
        .get_or_init(|| async {
            if let Ok(url) = std::env::var("TEST_DATABASE_URL") {
                return url;
            }
            let args = ["--max-connections=500", "--innodb-buffer-pool-size=64M"];
            let server = Server::start_with(&args).await;
            let url = server.url();
            *SERVER.lock().unwrap() = Some(server);
            url
        })
        .await;
    admin_opts(url)
}

/// An administrator's session has its clock in UTC, as the product's have.
fn admin_opts(url: &str) -> OptsBuilder {
    opts_from_url(url).setup(vec!["SET time_zone = '+00:00'"])
}

/// Never the server's own socket: that would go round a proxy.
pub fn opts_from_url(url: &str) -> OptsBuilder {
    OptsBuilder::from_opts(Opts::from_url(url).expect("a database URL")).prefer_socket(false)
}

pub async fn connect(opts: OptsBuilder) -> Conn {
    within_limit("connect", Conn::new(opts)).await
}

/// Panics on an error, and when the database does not answer.
pub async fn within_limit<T>(what: &str, work: impl Future<Output = mysql_async::Result<T>>) -> T {
    match tokio::time::timeout(ADMIN_LIMIT, work).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => panic!("database: {what}: {error}"),
        Err(_) => panic!("database: no answer within {ADMIN_LIMIT:?}: {what}"),
    }
}
