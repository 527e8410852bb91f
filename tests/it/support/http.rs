//! A small HTTP/1.1 client that hides nothing: headers in order, no retries, no redirects.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// Long enough for a registration on a busy machine; a test that waits longer is stuck.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// More than any server may send as a head.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// One keep-alive connection, opened when first needed and after the server closed it. Requests
/// on it follow each other; for requests at the same time make several clients.
pub struct Client {
    addr: SocketAddr,
    wire: Mutex<Option<Wire>>,
}

impl Client {
    pub fn new(addr: SocketAddr) -> Client {
        Client { addr, wire: Mutex::new(None) }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn get(&self, path: &str) -> Request<'_> {
        self.request("GET", path)
    }

    pub fn post(&self, path: &str) -> Request<'_> {
        self.request("POST", path)
    }

    pub fn put(&self, path: &str) -> Request<'_> {
        self.request("PUT", path)
    }

    pub fn delete(&self, path: &str) -> Request<'_> {
        self.request("DELETE", path)
    }

    /// Method and path go out as given.
    pub fn request(&self, method: &str, path: &str) -> Request<'_> {
        Request {
            client: self,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
            limit: ANSWER_LIMIT,
        }
    }
}

/// A request being put together.
pub struct Request<'a> {
    client: &'a Client,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    limit: Duration,
}

impl Request<'_> {
    /// Adds a header; `host` and `content-length` replace the ones that are made otherwise.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub fn json(self, value: impl Serialize) -> Self {
        let body = serde_json::to_vec(&value).expect("JSON");
        self.header("content-type", "application/json").body(body)
    }

    /// `application/x-www-form-urlencoded`.
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(bytes.into());
        self
    }

    /// How long the whole answer may take.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The answer; panics when there is none.
    pub async fn send(self) -> Response {
        let what = format!("{} {}", self.method, self.path);
        match self.try_send().await {
            Ok(response) => response,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// The answer, or why there is none: `UnexpectedEof` and `ConnectionReset` when the server
    /// closed, `TimedOut` after the limit, `ConnectionRefused`, `InvalidData` for what is no HTTP.
    pub async fn try_send(self) -> io::Result<Response> {
        // Taken out, so that a dropped or failed request takes the connection with it.
        let mut held = self.client.wire.lock().await;
        let kept = held.take();
        let exchange = async {
            let mut wire = match kept {
                Some(wire) => wire,
                None => Wire::connect(self.client.addr).await?,
            };
            wire.stream.write_all(&self.to_bytes()).await?;
            let response = wire.read_response(self.method == "HEAD").await?;
            io::Result::Ok((wire, response))
        };
        let started = Instant::now();
        let late = || {
            let after = started.elapsed();
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer after {after:?}"))
        };
        let (wire, mut response) = tokio::time::timeout(self.limit, exchange).await.map_err(|_| late())??;
        response.took = started.elapsed();
        *held = response.keeps_alive.then_some(wire);
        Ok(response)
    }

    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let given = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !given("host") {
            head += &format!("host: {}\r\n", self.client.addr);
        }
        let length = self.body.as_ref().map(Vec::len);
        let may_have_body = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        if let Some(length) = length.or(may_have_body.then_some(0))
            && !given("content-length")
            && !given("transfer-encoding")
        {
            head += &format!("content-length: {length}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// In the order they came, names as sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// From the first byte sent (connecting included) to the last byte read.
    pub took: Duration,
    /// Whether another request may follow on the connection.
    pub keeps_alive: bool,
}

impl Response {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers_named(name).first().copied()
    }

    /// All headers of this name, in any case, in order.
    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn expect_status(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// A connection and what was read from it but not yet used.
pub(super) struct Wire {
    pub stream: TcpStream,
    pub unread: Vec<u8>,
}

impl Wire {
    pub async fn connect(addr: SocketAddr) -> io::Result<Wire> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, unread: Vec::new() })
    }

    /// The next answer, after any `100 Continue`.
    pub async fn read_response(&mut self, to_head: bool) -> io::Result<Response> {
        loop {
            let (version, status, headers) = self.read_head().await?;
            let mut response = Response {
                status,
                headers,
                body: Vec::new(),
                took: Duration::ZERO,
                keeps_alive: version == "HTTP/1.1",
            };
            if (100..200).contains(&status) {
                continue;
            }
            let says = |name: &str, word: &str| {
                let values = response.headers_named(name).join(",").to_ascii_lowercase();
                values.split(',').any(|value| value.trim() == word)
            };
            let (chunked, close) = (says("transfer-encoding", "chunked"), says("connection", "close"));
            response.keeps_alive &= !close;
            if to_head || status == 204 || status == 304 {
            } else if chunked {
                response.body = self.read_chunks().await?;
            } else if let Some(length) = response.header("content-length") {
                let length = length.parse().map_err(|_| invalid("content-length"))?;
                response.body = self.read_exactly(length).await?;
            } else {
                while self.fill().await? {}
                response.body = std::mem::take(&mut self.unread);
                response.keeps_alive = false;
            }
            return Ok(response);
        }
    }

    async fn read_head(&mut self) -> io::Result<(String, u16, Vec<(String, String)>)> {
        let head = self.read_through(b"\r\n\r\n").await?;
        // Header bytes are Latin-1 to HTTP: one character each.
        let head: String = head.iter().copied().map(char::from).collect();
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let mut status_line = lines.next().unwrap_or_default().splitn(3, ' ');
        let version = status_line.next().unwrap_or_default().to_owned();
        let status = status_line.next().and_then(|status| status.parse().ok());
        let status = status.filter(|_| version.starts_with("HTTP/1."));
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header line"))?;
            Ok((name.to_owned(), value.trim().to_owned()))
        });
        let headers = headers.collect::<io::Result<_>>()?;
        Ok((version, status.ok_or_else(|| invalid("the status line"))?, headers))
    }

    async fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_through(b"\r\n").await?;
            let line = String::from_utf8_lossy(&line);
            let digits = line.trim_end().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).map_err(|_| invalid("a chunk's size"))?;
            if size == 0 {
                while self.read_through(b"\r\n").await? != b"\r\n" {} // trailers
                return Ok(body);
            }
            body.extend(self.read_exactly(size).await?);
            if self.read_exactly(2).await? != b"\r\n" {
                return Err(invalid("a chunk's end"));
            }
        }
    }

    pub async fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < count {
            self.fill_more().await?;
        }
        let rest = self.unread.split_off(count);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// Everything through the next occurrence of `end`.
    pub async fn read_through(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|part| part == end) {
                return self.read_exactly(at + end.len()).await;
            }
            if self.unread.len() > HEAD_BYTES_MAX {
                return Err(invalid("a head of this size"));
            }
            self.fill_more().await?;
        }
    }

    async fn fill_more(&mut self) -> io::Result<()> {
        if self.fill().await? {
            return Ok(());
        }
        let read = String::from_utf8_lossy(&self.unread).into_owned();
        let message = format!("the server closed after {read:?}");
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
    }

    /// Reads once; false at the end of the stream.
    pub async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.unread).await? > 0)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what}"))
}
