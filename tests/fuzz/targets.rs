//! What is done with an input: each target reads it as the server reads a stranger's, and checks what must hold.
//! Shared by the suite's short run and by libFuzzer.

mod bodies;
mod credentials;
mod heads;
mod values;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use hyperdesk::chassis::Request;
use hyperdesk::clock::Timestamp;

/// Reads some bytes, and panics where what it read breaks a promise.
pub type Target = fn(&[u8]);

/// All of them, by the names of their folders in `corpus/`.
pub const TARGETS: [(&str, Target); 16] = [
    ("access_token", credentials::access_token),
    ("cookie", credentials::cookie),
    ("cursor", values::cursor),
    ("disposition", bodies::disposition),
    ("file_name", values::file_name),
    ("form", bodies::form),
    ("forwarded", heads::forwarded),
    ("json", bodies::json),
    ("money", values::money),
    ("multipart", bodies::multipart),
    ("origin", heads::origin),
    ("path", heads::path),
    ("picture", bodies::picture),
    ("query", heads::query),
    ("since", values::since),
    ("token", credentials::token),
];

/// The target of that name.
pub fn by_name(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// A request of nobody.
fn request(uri: Uri, headers: HeaderMap, body: &[u8]) -> Request {
    Request {
        method: Method::POST,
        uri,
        headers,
        caller: None,
        body: Bytes::copy_from_slice(body),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST).into(),
        event_loop: 0,
        received_at: Instant::now(),
        wall_time: Timestamp::from_micros(0),
    }
}

/// The input up to its first line's end, and what follows.
fn lines(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, b""),
    }
}
