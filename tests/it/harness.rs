//! The harness tried on itself: a fault that is not injected proves nothing.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::database::opts_from_url;
use crate::support::{
    Client, Ending, Hyperdesk, Product, Proxy, Random, Raw, Schema, Server, User, eventually,
};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

async fn one_is_answered(conn: &mut Conn, limit: Duration) -> Option<u64> {
    let answer = conn.query_first::<u64, _>("SELECT 1");
    tokio::time::timeout(limit, answer).await.ok()?.ok()?
}

#[tokio::test]
async fn a_killed_database_is_back_with_its_rows() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    schema.execute("CREATE TABLE kept (id INT PRIMARY KEY)").await;
    assert_eq!(schema.execute("INSERT INTO kept VALUES (1), (2)").await, 2);
    let mut conn = schema.connect().await;
    server.kill();
    assert!(one_is_answered(&mut conn, LONG).await.is_none());
    assert!(TcpStream::connect(server.addr()).await.is_err());
    server.restart().await;
    assert_eq!(schema.query_one::<u64>("SELECT COUNT(*) FROM kept").await, 2);
}

/// Or a green run would say of one product what is true of the other.
#[tokio::test]
async fn private_and_shared_servers_are_of_the_product_that_was_asked_for() {
    let (server, schema) = (Server::start().await, Schema::fresh().await);
    for schema in [&schema, &Schema::on(&server).await] {
        let version: String = schema.query_one("SELECT VERSION()").await;
        assert_eq!(Product::of(&version), Product::chosen(), "{version}");
    }
}

#[tokio::test]
async fn a_frozen_database_accepts_but_does_not_answer() {
    let server = Server::start().await;
    let mut admin = server.admin().await;
    server.freeze();
    assert!(TcpStream::connect(server.addr()).await.is_ok());
    let opened = tokio::time::timeout(SHORT, Conn::new(server.admin_opts())).await;
    assert!(opened.is_err(), "no handshake comes");
    server.thaw();
    assert_eq!(one_is_answered(&mut admin, LONG).await, Some(1));
}

#[tokio::test]
async fn a_read_only_or_full_database_says_so_to_the_user_and_not_to_the_administrator() {
    let server = Server::start().await;
    let schema = Schema::on(&server).await;
    let mut conn = schema.connect().await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    server.set_read_only(true).await;
    let refused = conn.query_drop("INSERT INTO t VALUES (1)").await;
    assert!(matches!(refused, Err(Error::Server(error)) if error.code == 1290));
    server.set_read_only(false).await;
    conn.query_drop("INSERT INTO t VALUES (1)").await.unwrap();

    server.set_max_connections(10).await;
    let mut held = Vec::new();
    let refused = loop {
        match Conn::new(opts_from_url(&schema.url())).await {
            Ok(conn) => held.push(conn),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Server(error) if error.code == 1040));
    let mut admin = server.admin().await;
    assert_eq!(one_is_answered(&mut admin, LONG).await, Some(1));
}

#[tokio::test]
async fn schemas_are_apart_and_are_dropped() {
    let (one, two) = (Schema::fresh().await, Schema::fresh().await);
    one.execute("CREATE TABLE mine (id INT PRIMARY KEY)").await;
    let mut stranger = two.connect().await;
    let refused = stranger.query_drop(format!("SELECT * FROM {}.mine", one.name())).await;
    assert!(matches!(refused, Err(Error::Server(error)) if error.code == 1142));
    let count =
        format!("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = '{}'", one.name());
    assert_eq!(two.query_one::<u64>(&count).await, 1);
    drop(one);
    assert_eq!(two.query_one::<u64>(&count).await, 0);
}

fn through(proxy: &Proxy, schema: &Schema) -> OptsBuilder {
    opts_from_url(&schema.url_via(proxy.addr()))
}

#[tokio::test]
async fn the_proxy_delays_slices_and_holds_back() {
    let schema = Schema::fresh().await;
    let proxy = Proxy::start(schema.server_addr().await);
    let mut conn = Conn::new(through(&proxy, &schema)).await.unwrap();
    proxy.delay_replies(SHORT);
    let started = Instant::now();
    assert_eq!(one_is_answered(&mut conn, LONG).await, Some(1));
    assert!(started.elapsed() >= SHORT, "{:?}", started.elapsed());
    proxy.delay_replies_randomly(Duration::ZERO, SHORT / 10, 7);
    proxy.slice(1);
    let text: Option<String> = conn.query_first("SELECT REPEAT('x', 300)").await.unwrap();
    assert_eq!(text, Some("x".repeat(300)));
    proxy.blackhole();
    let late = tokio::time::timeout(SHORT, Conn::new(through(&proxy, &schema))).await;
    assert!(late.is_err(), "accepted, not answered");
    let mut answer = Box::pin(conn.query_first::<u64, _>("SELECT 2"));
    assert!(tokio::time::timeout(SHORT, &mut answer).await.is_err());
    proxy.pass();
    assert_eq!(answer.await.unwrap(), Some(2), "what was held back arrives");
    assert_eq!(proxy.opened(), 2);
    conn.disconnect().await.unwrap();
    eventually(LONG, || async { proxy.open() == 0 }).await;
}

#[tokio::test]
async fn the_proxy_cuts_and_refuses() {
    let schema = Schema::fresh().await;
    let proxy = Proxy::start(schema.server_addr().await);
    let open = || Conn::new(through(&proxy, &schema));
    let mut conn = open().await.unwrap();
    proxy.cut_all();
    assert_eq!(proxy.open(), 0);
    assert!(one_is_answered(&mut conn, LONG).await.is_none());

    // Packet 1 is the statement and goes through; its answer does not.
    schema.execute("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let mut conn = open().await.unwrap();
    proxy.cut_after_packets(1);
    assert!(conn.query_drop("INSERT INTO t VALUES (1)").await.is_err());
    let count = || async { schema.query_one::<u64>("SELECT COUNT(*) FROM t").await };
    eventually(LONG, || async { count().await == 1 }).await;
    let mut conn = open().await.unwrap();
    assert_eq!(one_is_answered(&mut conn, LONG).await, Some(1), "it was cut once");

    proxy.cut_each_after_packets(3);
    assert!(open().await.is_err(), "a sign-in takes more");
    proxy.refuse();
    let refused = TcpStream::connect(proxy.addr()).await.map(|_| ());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    proxy.pass();
    assert!(open().await.is_ok());
}

/// A server that gives canned answers, one list for each connection, and hands out the requests.
async fn canned(connections: Vec<Vec<String>>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (requests, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answers in connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                requests.send(read_request(&mut stream).await).unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (addr, received)
}

/// A head and a body of the length it names.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        stream.read_buf(&mut request).await.unwrap();
        let text = String::from_utf8(request.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.is_none_or(|length| length.parse() == Ok(body.len())) {
            return text;
        }
    }
}

#[tokio::test]
async fn the_client_reads_lengths_chunks_and_until_the_close() {
    let answers = [
        "HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\na: 2\r\nConnection: close\r\n\r\n{}",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nall of it",
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ncut",
        "rubbish\r\n\r\n",
    ];
    let each_alone = answers.map(|answer| vec![answer.to_owned()]).to_vec();
    let (addr, _requests) = canned(each_alone).await;
    let client = Client::new(addr);
    let response = client.get("/").send().await.expect_status(200);
    assert_eq!(response.headers_named("a"), ["1", "2"]);
    assert_eq!(response.json(), json!({}));
    assert_eq!(client.get("/").send().await.text(), "abcd");
    assert_eq!(client.get("/").send().await.text(), "all of it");
    let empty = client.get("/").send().await.expect_status(204);
    assert!(empty.body.is_empty());
    let kind = async || client.get("/").try_send().await.unwrap_err().kind();
    assert_eq!(kind().await, ErrorKind::UnexpectedEof);
    assert_eq!(kind().await, ErrorKind::InvalidData);
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_user_signs_in_and_keeps_one_connection() {
    let signed_in = r#"{"user":{"id":7,"username":"ann"},"token":"t.o.k"}"#;
    let cookie = "Set-Cookie: session=abc; HttpOnly\r\n";
    let one_connection = vec![
        answer("201 Created", cookie, signed_in),
        answer("200 OK", "", "[]"),
        answer("200 OK", "", ""),
        answer("404 Not Found", "", "{}").replace("\r\n\r\n{}", "\r\n\r\n"), // to HEAD
        answer("200 OK", "", "last"),
    ];
    let (addr, mut requests) = canned(vec![one_connection]).await;
    let ann = User::register(addr, "ann").await;
    assert_eq!((ann.id, ann.token.as_str(), ann.cookie.as_str()), (7, "t.o.k", "session=abc"));
    let sent = requests.recv().await.unwrap();
    let fields = r#"{"username":"ann","password":"ann-secret"}"#;
    let expected = format!(
        "POST /auth/register HTTP/1.1\r\nhost: {addr}\r\ncontent-length: {}\r\n\
         content-type: application/json\r\n\r\n{fields}",
        fields.len()
    );
    assert_eq!(sent, expected);
    ann.get("/conversations").await.expect_status(200);
    assert!(requests.recv().await.unwrap().contains("\r\nauthorization: Bearer t.o.k\r\n"));
    let form = ann.cookie_request("POST", "/x").form(&[("a b", "ü&")]);
    form.send().await.expect_status(200);
    let sent = requests.recv().await.unwrap();
    assert!(sent.contains("\r\ncookie: session=abc\r\n") && sent.ends_with("\r\n\r\na+b=%C3%BC%26"));
    ann.request("HEAD", "/y").send().await.expect_status(404);
    assert_eq!(ann.delete("/z").await.text(), "last");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_an_error_at_the_limit() {
    let (addr, _requests) = canned(vec![vec![String::new(), String::new()], vec![]]).await;
    let client = Client::new(addr);
    let error = client.get("/").limit(SHORT).try_send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_raw_connection_tells_a_close_from_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut raw = Raw::connect(addr).await;
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(b"bye").await.unwrap();
    assert!(!raw.stays_silent(SHORT).await);
    drop(peer);
    assert_eq!(raw.read_to_end(LONG).await, (b"bye".to_vec(), Ending::Eof));

    let mut raw = Raw::connect(addr).await;
    let (peer, _) = listener.accept().await.unwrap();
    peer.set_zero_linger().unwrap();
    drop(peer);
    assert_eq!(raw.read_to_end(LONG).await.1, Ending::Reset);

    let raw = Raw::connect(addr).await;
    let (mut peer, _) = listener.accept().await.unwrap();
    raw.reset();
    let error = peer.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// A stand-in for the server that logs what the real one does, in both shapes, until SIGTERM.
const STAND_IN: &str = r#"#!/bin/sh
[ "$1" = serve ] || exit 0
trap 'exit 7' TERM
echo 'not JSON'
echo '{"message":"listening","listener":"http","address":"127.0.0.1:4001"}'
echo '{"fields":{"message":"listening","listener":"admin","address":"127.0.0.1:4002"}}'
echo "{\"message\":\"secret of $(/usr/bin/printenv SECRET_KEY_BASE | /usr/bin/wc -c)\"}" >&2
while :; do /bin/sleep 0.02; done
"#;

fn stand_in() -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = crate::support::child::fresh_folder("stand-in").join("hyperdesk");
    std::fs::write(&program, STAND_IN).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    program
}

#[tokio::test]
async fn a_server_is_started_watched_and_stopped() {
    let schema = Schema::fresh().await;
    let mut desk = Hyperdesk::builder(&schema).program(stand_in()).start().await;
    assert_eq!(desk.addr().port(), 4001);
    assert_eq!(desk.admin_addr().port(), 4002);
    let logged = || async { desk.logs().count(|line| line.message() == "secret of 65") == 1 };
    eventually(LONG, logged).await;
    assert!(desk.rss_bytes() > 100_000 && desk.open_fds() >= 3 && desk.threads() == 1);
    let first = desk.pid();
    desk.restart().await;
    assert_ne!(desk.pid(), first);
    desk.freeze();
    desk.terminate();
    assert!(desk.exited().is_none(), "a frozen process does not hear SIGTERM");
    desk.thaw();
    assert_eq!(desk.wait_exit(LONG).await.code(), Some(7));
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let draw = |seed| {
        let mut random = Random::seeded(seed);
        (random.number(..), random.name(8), random.bytes(4))
    };
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
}
