//! Two private servers, one of which follows the other.

use mysql_async::prelude::Queryable;

use super::database::Server;
use super::product::Product;

/// How one server is made to follow another, and to take its place.
pub struct Dialect {
    writer: &'static [&'static str],
    reader: &'static [&'static str],
    follow: &'static str,
    start: &'static str,
    stop: &'static str,
    stop_receiving: &'static str,
    forget: &'static str,
    /// What a writer has, and how a reader waits for it, 20 s at most: 0 is in time.
    position: &'static str,
    wait: &'static str,
    /// Where a reader says what it has received, in which column.
    received: (&'static str, &'static str),
    /// Nothing is acknowledged that the reader has not got, or visible before.
    sync_writer: &'static [&'static str],
    sync_reader: &'static [&'static str],
    is_sync: &'static str,
    read_only: &'static str,
    writable: &'static str,
}

const MARIADB: Dialect = Dialect {
    writer: &["--binlog-format=MIXED"],
    reader: &["--slave-net-timeout=5"],
    follow: "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {}, master_user = 'root', \
             master_use_gtid = slave_pos, master_connect_retry = 1",
    start: "START SLAVE",
    stop: "STOP SLAVE",
    stop_receiving: "STOP SLAVE IO_THREAD",
    forget: "RESET SLAVE ALL",
    position: "SELECT @@gtid_binlog_pos",
    wait: "SELECT MASTER_GTID_WAIT('{}', 20)",
    received: ("SHOW SLAVE STATUS", "Gtid_IO_Pos"),
    sync_writer: &[
        "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC",
        "SET GLOBAL rpl_semi_sync_master_timeout = 60000",
        "SET GLOBAL rpl_semi_sync_master_enabled = ON",
    ],
    sync_reader: &["SET GLOBAL rpl_semi_sync_slave_enabled = ON"],
    is_sync: "SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'",
    read_only: "SET GLOBAL read_only = ON",
    writable: "SET GLOBAL read_only = OFF",
};

const MYSQL: Dialect = Dialect {
    writer: &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
    reader: &["--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--replica-net-timeout=5"],
    follow: "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'root', \
             SOURCE_AUTO_POSITION = 1, SOURCE_CONNECT_RETRY = 1, GET_SOURCE_PUBLIC_KEY = 1",
    start: "START REPLICA",
    stop: "STOP REPLICA",
    stop_receiving: "STOP REPLICA IO_THREAD",
    forget: "RESET REPLICA ALL",
    position: "SELECT @@global.gtid_executed",
    wait: "SELECT WAIT_FOR_EXECUTED_GTID_SET('{}', 20)",
    received: ("SHOW REPLICA STATUS", "Retrieved_Gtid_Set"),
    sync_writer: &[
        "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
        "SET GLOBAL rpl_semi_sync_source_wait_point = AFTER_SYNC",
        "SET GLOBAL rpl_semi_sync_source_timeout = 60000",
        "SET GLOBAL rpl_semi_sync_source_enabled = ON",
    ],
    sync_reader: &[
        "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
        "SET GLOBAL rpl_semi_sync_replica_enabled = ON",
    ],
    is_sync: "SHOW STATUS LIKE 'Rpl_semi_sync_source_clients'",
    read_only: "SET GLOBAL super_read_only = ON",
    writable: "SET GLOBAL read_only = OFF",
};

/// A writer and a reader that follows it.
pub struct Pair {
    pub writer: Server,
    pub reader: Server,
    dialect: Dialect,
}

impl Pair {
    /// With more options for both.
    pub async fn start_with(more: &[&str]) -> Pair {
        let dialect = match Product::chosen() {
            Product::MariaDb => MARIADB,
            Product::MySql => MYSQL,
        };
        let writer = ["--server-id=1", "--log-bin=changes"];
        let writer = Server::start_with(&[&writer[..], more, dialect.writer].concat()).await;
        let reader = ["--server-id=2", "--relay-log=relay", "--read-only=ON"];
        let reader = Server::start_with(&[&reader[..], more, dialect.reader].concat()).await;
        let pair = Pair { writer, reader, dialect };
        let port = pair.writer.addr().port().to_string();
        say(&pair.reader, &[&pair.dialect.follow.replace("{}", &port)]).await;
        pair.go_on().await;
        pair
    }

    pub async fn stop(&self) {
        say(&self.reader, &[self.dialect.stop]).await;
    }

    pub async fn go_on(&self) {
        say(&self.reader, &[self.dialect.start]).await;
    }

    /// From now on nothing is acknowledged that the reader has not got.
    pub async fn synchronise(&self) {
        self.stop().await;
        say(&self.reader, self.dialect.sync_reader).await;
        say(&self.writer, self.dialect.sync_writer).await;
        self.go_on().await;
        super::eventually(super::database::ADMIN_LIMIT, || async {
            let mut writer = self.writer.admin().await;
            let status: Option<(String, String)> = writer.query_first(self.dialect.is_sync).await.unwrap();
            writer.disconnect().await.unwrap();
            status.is_some_and(|(_, followers)| followers == "1")
        })
        .await;
    }

    /// Waits until the reader has all that the writer has.
    pub async fn in_step(&self) {
        let mut writer = self.writer.admin().await;
        let gtid: String = writer.query_first(self.dialect.position).await.unwrap().unwrap();
        let mut reader = self.reader.admin().await;
        self.await_all(&mut reader, &gtid).await;
        writer.disconnect().await.unwrap();
        reader.disconnect().await.unwrap();
    }

    async fn await_all(&self, reader: &mut mysql_async::Conn, gtids: &str) {
        // MySQL breaks a long list into lines.
        let wait = self.dialect.wait.replace("{}", &gtids.replace('\n', ""));
        let outcome: Option<i64> = reader.query_first(wait).await.unwrap();
        assert_eq!(outcome, Some(0), "the reader caught up");
    }

    /// The writer writes no more.
    pub async fn demote(&self) {
        say(&self.writer, &[self.dialect.read_only]).await;
    }

    /// The reader becomes the writer, with all that it has received.
    pub async fn promote(&self) {
        say(&self.reader, &[self.dialect.stop_receiving]).await;
        let mut reader = self.reader.admin().await;
        let (status, column) = self.dialect.received;
        let row: mysql_async::Row = reader.query_first(status).await.unwrap().expect("it follows");
        self.await_all(&mut reader, &row.get::<String, _>(column).unwrap()).await;
        reader.disconnect().await.unwrap();
        say(&self.reader, &[self.dialect.stop, self.dialect.forget, self.dialect.writable]).await;
    }
}

async fn say(server: &Server, statements: &[&str]) {
    let mut admin = server.admin().await;
    for statement in statements {
        admin.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    admin.disconnect().await.unwrap();
}
