//! The smallest HTTP/1.1 client that reads an admin API over a unix socket.
//!
//! Owns one request per connection, blocking, with limits. Knows no chunked answers: it says
//! `Connection: close`, and answers it asks for are made whole.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest wait for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest answer that is read.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// All that follows the headers.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    /// The body is something else.
    pub fn json(&self) -> io::Result<serde_json::Value> {
        serde_json::from_str(&self.body).map_err(io::Error::other)
    }
}

/// Asks for `path`.
///
/// # Errors
/// Nobody listens on the socket, or the answer is no HTTP.
pub fn get(socket: &Path, path: &str) -> io::Result<Response> {
    request(socket, "GET", path, "")
}

/// Posts `body`, which may be empty, to `path`.
///
/// # Errors
/// As [`get`].
pub fn post(socket: &Path, path: &str, body: &str) -> io::Result<Response> {
    request(socket, "POST", path, body)
}

/// Sends `body`, which may be empty, to `path` with any method.
///
/// # Errors
/// As [`get`].
pub fn request(socket: &Path, method: &str, path: &str, body: &str) -> io::Result<Response> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    understand(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not HTTP"))
}

fn understand(answer: &[u8]) -> Option<Response> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(Response {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_split_into_status_and_body() {
        let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}";
        let response = understand(answer).unwrap();
        assert_eq!((response.status, response.body.as_str()), (403, "{}"));
        assert!(response.json().unwrap().is_object());
    }

    #[test]
    fn rubbish_is_no_answer() {
        for rubbish in [
            &b""[..],
            b"hello",
            b"HTTP/1.1 x\r\n\r\n",
            b"\r\n\r\n",
            b"\xff\xfe",
        ] {
            assert_eq!(understand(rubbish), None);
        }
    }
}
