//! The client's side of the admin API: one request, one answer, within a deadline.

use std::fs;
use std::future::Future;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Daemon;
use super::address::AdminAddress;
use super::failure::Failure;
use crate::control::admin::answers::Refused;

/// Asks the daemon at `path`, and answers its JSON as it came.
pub(super) fn get(daemon: &Daemon, path: &str) -> Result<String, Failure> {
    ask(daemon, Method::GET, path, String::new(), READ_TIMEOUT)
}

/// What the daemon answers at `path`, whatever that says, within `limit`.
pub(super) fn look(
    daemon: &Daemon,
    path: &str,
    limit: Duration,
) -> Result<(StatusCode, String), Failure> {
    answer(daemon, Method::GET, path, String::new(), limit)
}

/// Asks the daemon for a change.
pub(super) fn post(daemon: &Daemon, path: &str) -> Result<String, Failure> {
    ask(daemon, Method::POST, path, String::new(), CHANGE_TIMEOUT)
}

/// Asks the daemon for a change that `body`, which is JSON, describes.
pub(super) fn post_body(daemon: &Daemon, path: &str, body: String) -> Result<String, Failure> {
    ask(daemon, Method::POST, path, body, CHANGE_TIMEOUT)
}

/// As [`post_body`], for something that has a place of its own.
pub(super) fn put(daemon: &Daemon, path: &str, body: String) -> Result<String, Failure> {
    ask(daemon, Method::PUT, path, body, CHANGE_TIMEOUT)
}

/// Asks the daemon to remove something.
pub(super) fn delete(daemon: &Daemon, path: &str) -> Result<String, Failure> {
    ask(daemon, Method::DELETE, path, String::new(), CHANGE_TIMEOUT)
}

/// What the daemon's JSON says.
pub(super) fn read<T: DeserializeOwned>(daemon: &Daemon, json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| strange(daemon, error.to_string()))
}

/// `text` as a part of a path or query.
pub(super) fn escape(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// `path` with those of `parts` that are there, as its query.
pub(super) fn with_query(path: &str, parts: &[(&str, Option<&str>)]) -> String {
    let parts = parts.iter().filter_map(|(name, value)| {
        let value = value.as_ref()?;
        Some(format!("{name}={}", escape(value)))
    });
    let query = parts.collect::<Vec<_>>().join("&");
    if query.is_empty() {
        path.into()
    } else {
        format!("{path}?{query}")
    }
}

fn ask(
    daemon: &Daemon,
    method: Method,
    path: &str,
    body: String,
    limit: Duration,
) -> Result<String, Failure> {
    let (status, body) = answer(daemon, method, path, body, limit)?;
    if status.is_success() {
        return Ok(body);
    }
    let unknown = |_| strange(daemon, format!("status {status}"));
    Err(Failure::Refused(
        serde_json::from_str::<Refused>(&body).map_err(unknown)?,
    ))
}

fn answer(
    daemon: &Daemon,
    method: Method,
    path: &str,
    body: String,
    limit: Duration,
) -> Result<Answer, Failure> {
    let request = request(daemon, method, path, body)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::System {
            what: "start",
            cause,
        })?;
    let answered = runtime.block_on(async { timeout(limit, exchange(daemon, request)).await });
    answered.unwrap_or_else(|_| {
        let what = format!("no answer within {} s", limit.as_secs_f32());
        Err(absent(daemon)(io::Error::new(
            io::ErrorKind::TimedOut,
            what,
        )))
    })
}

fn request(
    daemon: &Daemon,
    method: Method,
    path: &str,
    body: String,
) -> Result<Request<Full<Bytes>>, Failure> {
    let host = match &daemon.admin {
        AdminAddress::Unix(_) => "localhost".into(),
        AdminAddress::Tcp(address) => address.to_string(),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host);
    if let Some(path) = &daemon.token_file {
        let token = fs::read_to_string(path).map_err(|cause| Failure::File {
            path: path.clone(),
            cause,
        })?;
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
    }
    let unfit = |error: hyper::http::Error| Failure::Usage(error.to_string());
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request.body(Full::new(body.into())).map_err(unfit)
}

type Answer = (StatusCode, String);

async fn exchange(daemon: &Daemon, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
    match &daemon.admin {
        AdminAddress::Unix(path) => {
            let stream = connect(UnixStream::connect(path))
                .await
                .map_err(absent(daemon))?;
            converse(daemon, stream, request).await
        }
        AdminAddress::Tcp(address) => {
            let stream = connect(TcpStream::connect(address))
                .await
                .map_err(absent(daemon))?;
            converse(daemon, stream, request).await
        }
    }
}

async fn connect<S>(connecting: impl Future<Output = io::Result<S>>) -> io::Result<S> {
    timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn converse<S>(
    daemon: &Daemon,
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let fails = |error: hyper::Error| strange(daemon, error.to_string());
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(fails)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(fails)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| strange(daemon, error.to_string()))?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok((status, text))
}

fn absent(daemon: &Daemon) -> impl FnOnce(io::Error) -> Failure {
    let address = daemon.admin.clone();
    move |cause| Failure::NoDaemon { address, cause }
}

fn strange(daemon: &Daemon, what: String) -> Failure {
    Failure::Strange {
        address: daemon.admin.clone(),
        what,
    }
}

/// A socket of this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A little longer than the daemon itself waits.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// A full pin table is some 30 MB.
const ANSWER_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_cannot_change_the_request() {
        assert_eq!(escape("edge1"), "edge1");
        assert_eq!(escape("a/b?c=d&e #é"), "a%2Fb%3Fc%3Dd%26e%20%23%C3%A9");
        let parts = [
            ("pool", None),
            ("reason", Some("CHG 1 & more")),
            ("deadline", Some("10m")),
        ];
        assert_eq!(
            with_query("/x", &parts),
            "/x?reason=CHG%201%20%26%20more&deadline=10m"
        );
        assert_eq!(with_query("/x", &parts[..1]), "/x");
    }
}
