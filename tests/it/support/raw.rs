//! A bare socket to the server, for requests that no client would send.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::http::{ANSWER_LIMIT, Response, Wire};

/// One connection; every reading panics after [`ANSWER_LIMIT`] unless it takes its own limit.
pub struct Raw {
    wire: Wire,
}

/// How the server ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It closed in order (FIN).
    Eof,
    /// It reset (RST): what was on its way may be lost.
    Reset,
}

impl Raw {
    pub async fn connect(addr: SocketAddr) -> Raw {
        let wire = Wire::connect(addr).await;
        Raw { wire: wire.expect("connect to the server") }
    }

    /// With a receive buffer of about `bytes`, for a reader so slow that the server must wait.
    pub async fn connect_slow_reader(addr: SocketAddr, bytes: u32) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("a small buffer");
        let stream = socket.connect(addr).await.expect("connect to the server");
        Raw { wire: Wire { stream, unread: Vec::new() } }
    }

    /// Fails when the server has closed, which may be what the test wants to see.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within(ANSWER_LIMIT, "write", self.wire.stream.write_all(bytes.as_ref())).await
    }

    /// In pieces of `step` bytes with a `pause` after each: slow on purpose, not to wait.
    pub async fn write_slowly(
        &mut self,
        bytes: impl AsRef<[u8]>,
        step: usize,
        pause: Duration,
    ) -> io::Result<()> {
        for piece in bytes.as_ref().chunks(step) {
            self.write(piece).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// The next answer (to anything but HEAD).
    pub async fn read_response(&mut self) -> io::Result<Response> {
        self.read_response_within(ANSWER_LIMIT).await
    }

    pub async fn read_response_within(&mut self, limit: Duration) -> io::Result<Response> {
        within(limit, "an answer", self.wire.read_response(false)).await
    }

    /// The bytes through `end`, for a stream of events or a head without its body.
    pub async fn read_through(&mut self, end: impl AsRef<[u8]>) -> io::Result<Vec<u8>> {
        within(ANSWER_LIMIT, "the end of a part", self.wire.read_through(end.as_ref())).await
    }

    /// Exactly so many bytes.
    pub async fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        within(ANSWER_LIMIT, "bytes", self.wire.read_exactly(count)).await
    }

    /// All that comes until the server closes, and how it closed; panics if it has not by `limit`.
    pub async fn read_to_end(&mut self, limit: Duration) -> (Vec<u8>, Ending) {
        let end = async {
            loop {
                match self.wire.fill().await {
                    Ok(true) => {}
                    Ok(false) => return Ending::Eof,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                        return Ending::Reset;
                    }
                    Err(error) => panic!("read: {error}"),
                }
            }
        };
        let end = match tokio::time::timeout(limit, end).await {
            Ok(end) => end,
            Err(_) => panic!("still open after {limit:?}, having sent {:?}", self.unread()),
        };
        (std::mem::take(&mut self.wire.unread), end)
    }

    /// True if the server neither sends nor closes for this long.
    pub async fn stays_silent(&mut self, length: Duration) -> bool {
        tokio::time::timeout(length, self.wire.fill()).await.is_err()
    }

    fn unread(&self) -> String {
        String::from_utf8_lossy(&self.wire.unread).into_owned()
    }

    /// Sends FIN: no more will be written, answers may still come.
    pub async fn finish_writing(&mut self) {
        self.wire.stream.shutdown().await.expect("shut down the writing half");
    }

    /// Hangs up with RST.
    pub fn reset(self) {
        reset(self.wire.stream);
    }
}

/// Closes with RST in place of FIN, unsent bytes thrown away.
pub fn reset(stream: TcpStream) {
    // An error says that the connection is gone already.
    let _ = stream.set_zero_linger();
}

async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}
