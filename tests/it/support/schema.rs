//! A fresh database with its own user for one test.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::sync::{Mutex, OnceCell};

use super::database::{self, Server, connect, within_limit};

/// Time to remove the database at the end of a test; a leftover is no reason to fail.
const DROP_LIMIT: Duration = Duration::from_secs(5);

/// A derived table of the numbers `i` from the first to the last, in any MySQL: a hundred thousand at most.
pub fn numbers(first: u64, last: u64) -> String {
    const DIGITS: &str = "(SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 \
                          UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    assert!((first..first + 100_000).contains(&last));
    let count = last - first + 1;
    format!(
        "(SELECT {first} + number AS i
        FROM (SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n AS number
            FROM {DIGITS} a, {DIGITS} b, {DIGITS} c, {DIGITS} d, {DIGITS} e) all_numbers
        WHERE number < {count}) numbers"
    )
}

/// A derived table of the changes that have a number, as the runs have them.
pub const CHANGES: &str = "(SELECT runs.first + item.place - 1 AS seq,
        runs.at - INTERVAL (runs.seq - runs.first + 1 - item.place) MICROSECOND AS at,
        item.id, item.kind, item.conversation_id, item.message_id, item.expert_id
    FROM runs JOIN JSON_TABLE(runs.body, '$.items[*]' COLUMNS (
        place FOR ORDINALITY, id BIGINT PATH '$.id', kind VARCHAR(20) PATH '$.kind',
        conversation_id BIGINT PATH '$.conversation', message_id BIGINT PATH '$.message.id',
        expert_id BIGINT PATH '$.by'
    )) item) changes";

/// One database, and a user who owns it and nothing else (no SUPER: `read_only` stops them).
///
/// The database is made with the server's default character set on purpose: tables must name theirs.
pub struct Schema {
    name: String,
    admin: OptsBuilder,
    conn: Mutex<Option<Conn>>,
    drop_at_end: bool,
    /// Set by the first `Hyperdesk` on this schema.
    pub(super) migrated: OnceCell<()>,
}

impl Schema {
    /// On the shared server. Dropped at the end of the test.
    pub async fn fresh() -> Schema {
        Schema::create(database::shared().await, true).await
    }

    /// On a private server, with which it goes.
    pub async fn on(server: &Server) -> Schema {
        Schema::create(server.admin_opts(), false).await
    }

    /// The same on a server that has a copy of it.
    pub async fn at(&self, server: &Server) -> Schema {
        Schema {
            name: self.name.clone(),
            admin: server.admin_opts().db_name(Some(self.name.clone())),
            conn: Mutex::new(None),
            drop_at_end: false,
            migrated: OnceCell::new_with(Some(())),
        }
    }

    async fn create(admin: OptsBuilder, drop_at_end: bool) -> Schema {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("it_{}_{number}_{:04x}", std::process::id(), fastrand::u16(..));
        let mut conn = connect(admin.clone()).await;
        // Where an anonymous local user exists, it would win over `name`@`%`: hence two accounts.
        let mut statements = vec![format!("CREATE DATABASE {name}")];
        for host in ["%", "localhost"] {
            statements.push(format!("CREATE USER '{name}'@'{host}' IDENTIFIED BY '{name}'"));
            statements.push(format!("GRANT ALL ON {name}.* TO '{name}'@'{host}'"));
        }
        statements.push(format!("USE {name}"));
        for statement in &statements {
            within_limit(statement, conn.query_drop(statement)).await;
        }
        Schema {
            admin: admin.db_name(Some(name.clone())),
            name,
            conn: Mutex::new(Some(conn)),
            drop_at_end,
            migrated: OnceCell::new(),
        }
    }

    /// The database, its user and the password are all called this.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For `DATABASE_URL`: the schema's own user.
    pub fn url(&self) -> String {
        let opts = Opts::from(self.admin.clone());
        self.url_at(&format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port()))
    }

    /// The same through another address, such as a proxy's.
    pub fn url_via(&self, addr: SocketAddr) -> String {
        self.url_at(&addr.to_string())
    }

    fn url_at(&self, host_and_port: &str) -> String {
        let name = &self.name;
        format!("mysql://{name}:{name}@{host_and_port}/{name}")
    }

    /// The server's address, for a proxy before it.
    pub async fn server_addr(&self) -> SocketAddr {
        let opts = Opts::from(self.admin.clone());
        let found = tokio::net::lookup_host((opts.ip_or_hostname(), opts.tcp_port())).await;
        found.expect("the database's host").next().expect("an address")
    }

    /// A new connection of the administrator, in this schema.
    pub async fn admin(&self) -> Conn {
        connect(self.admin.clone()).await
    }

    /// A new connection of the schema's own user.
    pub async fn connect(&self) -> Conn {
        connect(database::opts_from_url(&self.url())).await
    }

    /// As the administrator: the first row, which must exist.
    pub async fn query_one<T: FromRow + Send + 'static>(&self, sql: impl AsRef<str>) -> T {
        let sql = sql.as_ref();
        let mut rows = self.query(sql).await;
        assert!(!rows.is_empty(), "no row: {sql}");
        rows.swap_remove(0)
    }

    /// How many changes of a kind (`%`: of any) were committed, numbered or not yet.
    pub async fn changes(&self, kind: &str) -> u64 {
        self.query_one(format!(
            "SELECT (SELECT COUNT(*) FROM outbox WHERE kind LIKE '{kind}')
                + (SELECT COUNT(*) FROM {CHANGES} WHERE kind LIKE '{kind}')"
        ))
        .await
    }

    /// As the administrator: all rows.
    pub async fn query<T: FromRow + Send + 'static>(&self, sql: impl AsRef<str>) -> Vec<T> {
        let sql = sql.as_ref();
        let mut held = self.conn.lock().await;
        let mut conn = self.living(held.take()).await;
        let rows = within_limit(sql, conn.query(sql)).await;
        *held = Some(conn);
        rows
    }

    /// As the administrator: how many rows it changed.
    pub async fn execute(&self, sql: impl AsRef<str>) -> u64 {
        let sql = sql.as_ref();
        let mut held = self.conn.lock().await;
        let mut conn = self.living(held.take()).await;
        within_limit(sql, conn.query_drop(sql)).await;
        let rows = conn.affected_rows();
        *held = Some(conn);
        rows
    }

    /// Keeps a copy of every table, for [`Schema::restore`].
    pub async fn dump(&self) {
        for table in self.tables().await {
            self.execute(format!("CREATE TABLE dump_{table} LIKE {table}")).await;
            self.execute(format!("INSERT INTO dump_{table} SELECT * FROM {table}")).await;
        }
    }

    /// Brings every table back to what [`Schema::dump`] found, next ids included, as restoring a backup does.
    pub async fn restore(&self) {
        let tables = self.tables().await;
        let mut whole = String::from("START TRANSACTION;");
        for table in &tables {
            whole += &format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM dump_{table};");
        }
        self.execute(whole + "COMMIT").await;
        let own_ids = "SELECT table_name FROM information_schema.columns
             WHERE table_schema = DATABASE() AND extra = 'auto_increment' AND table_name NOT LIKE 'dump%'";
        for table in self.query::<String>(own_ids).await {
            self.execute(format!("ALTER TABLE {table} AUTO_INCREMENT = 1")).await;
        }
    }

    async fn tables(&self) -> Vec<String> {
        self.query(
            "SELECT table_name FROM information_schema.tables
             WHERE table_schema = DATABASE() AND table_name NOT LIKE 'dump%' ORDER BY table_name",
        )
        .await
    }

    /// The kept connection, or a new one if the database was restarted since.
    async fn living(&self, kept: Option<Conn>) -> Conn {
        if let Some(mut conn) = kept {
            let answer = tokio::time::timeout(Duration::from_secs(1), conn.ping()).await;
            if matches!(answer, Ok(Ok(()))) {
                return conn;
            }
        }
        self.admin().await
    }

    async fn remove(admin: OptsBuilder, name: String) -> mysql_async::Result<()> {
        let mut conn = Conn::new(admin.db_name(None::<String>)).await?;
        // A transaction that somebody left open must not hold up the test run.
        conn.query_drop("SET lock_wait_timeout = 2").await?;
        conn.query_drop(format!("DROP DATABASE IF EXISTS {name}")).await?;
        conn.query_drop(format!("DROP USER IF EXISTS '{name}'@'%', '{name}'@'localhost'")).await?;
        conn.disconnect().await
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        if !self.drop_at_end {
            return;
        }
        let removal = Schema::remove(self.admin.clone(), self.name.clone());
        // On a thread of its own, because a runtime cannot be entered from within another.
        let done = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let limited = async { tokio::time::timeout(DROP_LIMIT, removal).await };
            runtime.expect("a runtime").block_on(limited)
        });
        match done.join() {
            Ok(Ok(Ok(()))) => {}
            failed => println!("{} was not dropped: {failed:?}", self.name),
        }
    }
}
