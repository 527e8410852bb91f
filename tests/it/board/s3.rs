//! A real S3 API: moto's server from PyPI, and a bucket in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::child::{self, Child, find};
use crate::support::ports::Reserved;
use crate::support::raw::reset;
use crate::support::server::Builder;
use crate::support::{Client, Hyperdesk, Response, Schema, eventually};

/// Python and moto take seconds to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
pub const BUCKET: &str = "board-pictures";

/// A bucket on a server of its own; gone when dropped.
pub struct S3 {
    port: Reserved,
    _child: Child,
}

impl S3 {
    /// With the empty bucket in it.
    pub async fn start() -> S3 {
        let port = Reserved::new();
        let mut command = child::command(&program());
        command.args(["-H", "127.0.0.1", "-p", &port.port().to_string()]);
        command.current_dir(child::run_folder());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let s3 = S3 { _child: Child::spawn(command).expect("start moto_server"), port };
        let client = s3.client();
        eventually(START_LIMIT, || async { client.get("/moto-api/").try_send().await.is_ok() }).await;
        s3.client().put(&format!("/{BUCKET}")).send().await.expect_status(200);
        s3
    }

    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    fn client(&self) -> Client {
        Client::new(self.addr())
    }

    /// The keys in the bucket.
    pub async fn keys(&self) -> Vec<String> {
        let listed = self.client().get(&format!("/{BUCKET}?list-type=2")).send().await.expect_status(200);
        let text = listed.text();
        let keys = text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_owned());
        keys.collect()
    }

    /// As a CDN asks for it.
    pub async fn object(&self, key: &str) -> Response {
        // Any signature will do for moto, but some key: the bucket is private.
        let signed = "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";
        self.client().get(&format!("/{BUCKET}/{key}")).header("authorization", signed).send().await
    }
}

fn program() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/venv/bin/moto_server");
    if venv.is_file() {
        return venv;
    }
    find("moto_server").expect("moto_server: deploy/local/test installs it, or pip install 'moto[server]'")
}

/// A server whose pictures go to the bucket at `endpoint`.
pub fn on_bucket(schema: &Schema, endpoint: SocketAddr) -> Builder<'_> {
    Hyperdesk::builder(schema)
        .env("S3_BUCKET", BUCKET)
        .env("S3_ENDPOINT", format!("http://{endpoint}"))
        .env("AWS_ACCESS_KEY_ID", "test-key")
        .env("AWS_SECRET_ACCESS_KEY", "test-secret")
        .env("UPLOAD_ORPHAN_SECONDS", "10")
        .env("CDN_BASE_URL", "https://cdn.example.com")
}

/// Passes on so many bytes of each connection towards `upstream`, then resets both sides.
pub async fn cutting_proxy(upstream: SocketAddr, bytes_max: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(cut(client, upstream, bytes_max));
        }
    });
    addr
}

async fn cut(mut client: TcpStream, upstream: SocketAddr, bytes_max: usize) {
    let mut server = TcpStream::connect(upstream).await.unwrap();
    let mut left = bytes_max;
    let mut buffer = vec![0; 16 * 1024];
    while left > 0 {
        let most = left.min(buffer.len());
        match client.read(&mut buffer[..most]).await {
            Ok(read) if read > 0 => {
                server.write_all(&buffer[..read]).await.unwrap();
                left -= read;
            }
            _ => break,
        }
    }
    reset(client);
    reset(server);
}
