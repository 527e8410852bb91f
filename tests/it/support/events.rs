//! A client of server-sent events.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One server-sent event.
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: String,
}

/// A stream being read.
pub struct EventStream {
    stream: TcpStream,
    raw: Vec<u8>,
    /// Bytes: a chunk may end within a character.
    text: Vec<u8>,
    pub status: u16,
    /// As it came.
    pub head: String,
}

impl EventStream {
    pub async fn open(addr: SocketAddr, token: &str, last_id: Option<&str>) -> io::Result<EventStream> {
        EventStream::open_at(addr, "/api/updates/stream", token, last_id).await
    }

    /// The same with a query.
    pub async fn open_at(
        addr: SocketAddr,
        path: &str,
        token: &str,
        last_id: Option<&str>,
    ) -> io::Result<EventStream> {
        let mut stream = TcpStream::connect(addr).await?;
        let resume = last_id.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{resume}\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut raw = Vec::new();
        let end = loop {
            if let Some(end) = raw.windows(4).position(|part| part == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut raw).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8_lossy(&raw[..end]).into_owned();
        raw.drain(..end + 4);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok(EventStream { stream, raw, text: Vec::new(), status, head })
    }

    /// The next event, heartbeats left out; `None` at the end.
    pub async fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            let Some(block) = self.next_block().await? else { return Ok(None) };
            let field = |name: &str| {
                let found = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                found.unwrap_or_default().to_owned()
            };
            if !block.starts_with(':') {
                return Ok(Some(Event { id: field("id"), name: field("event"), data: field("data") }));
            }
        }
    }

    /// The text up to an empty line.
    pub async fn next_block(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.text.windows(2).position(|part| part == b"\n\n") {
                let block = String::from_utf8(self.text[..end].to_vec());
                self.text.drain(..end + 2);
                return block.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
            }
            match self.take_chunk() {
                Some(0) => return Ok(None),
                Some(_) => {}
                None if self.stream.read_buf(&mut self.raw).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                None => {}
            }
        }
    }

    /// Takes one whole chunk, if one is there; its size.
    fn take_chunk(&mut self) -> Option<usize> {
        let line = self.raw.windows(2).position(|part| part == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..line]).ok()?, 16).ok()?;
        let end = line + 2 + size;
        if self.raw.len() < end + 2 {
            return None;
        }
        self.text.extend_from_slice(&self.raw[line + 2..end]);
        self.raw.drain(..end + 2);
        Some(size)
    }
}
