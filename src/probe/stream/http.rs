//! A request over HTTP/1.1 that a node answers by a status, and perhaps by a text.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::{Unanswered, judge};
use crate::config::model::HttpQuestion;
use crate::tls;

/// Asks `node` over `stream`.
pub(super) async fn ask<S>(
    stream: &mut S,
    node: SocketAddr,
    question: &HttpQuestion,
) -> Result<(), Unanswered>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = Request::get(&*question.path)
        .header(HOST, node.to_string())
        .header(USER_AGENT, "pinfold")
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    // The file is checked: a path is one.
    let request = request.map_err(|_| Unanswered::WRONG)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(judge_http)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(judge_http)?;
        if !question.status.contains(&response.status().as_u16()) {
            return Err(Unanswered::WRONG);
        }
        match &question.body {
            Some(text) if !holds(response.into_body(), text.as_bytes()).await? => {
                Err(Unanswered::WRONG)
            }
            Some(_) | None => Ok(()),
        }
    };
    // Whatever becomes of the connection, what has come over it counts.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answered = &mut answer => answered,
        _ = connection => answer.await,
    }
}

/// Whether `text` stands in what a body begins with.
async fn holds(mut body: Incoming, text: &[u8]) -> Result<bool, Unanswered> {
    let mut said: Vec<u8> = Vec::new();
    while said.len() < BODY_MAX {
        let Some(frame) = body.frame().await else {
            break;
        };
        let frame = frame.map_err(judge_http)?;
        let room = BODY_MAX - said.len();
        let data = frame.data_ref().map_or(&[][..], |data| data);
        said.extend(data.get(..room.min(data.len())).unwrap_or_default());
    }
    Ok(said.windows(text.len()).any(|window| window == text))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "what map_err hands over is a value"
)]
fn judge_http(error: hyper::Error) -> Unanswered {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    // What neither a system call nor TLS has said is hyper's word for what it read.
    let cause = cause
        .filter(|cause: &&io::Error| cause.raw_os_error().is_some() || tls::cause(cause).is_some());
    cause.map_or(Unanswered::WRONG, judge)
}

/// What is looked at of a body.
const BODY_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::health::ProbeFailure;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What comes of a question to a node that answers so, and what it was asked.
    async fn asked(
        status: std::ops::RangeInclusive<u16>,
        body: Option<&str>,
        answer: &str,
    ) -> (Result<(), Option<ProbeFailure>>, String) {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 18);
        let question = HttpQuestion {
            path: "/health?deep=1".into(),
            status,
            body: body.map(Into::into),
        };
        let node = async {
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\n") {
                assert!(theirs.read_buf(&mut heard).await.unwrap() > 0);
            }
            theirs.write_all(answer.as_bytes()).await.unwrap();
            drop(theirs);
            String::from_utf8(heard).unwrap()
        };
        let address = "198.51.100.11:4443".parse().unwrap();
        let (answered, heard) = tokio::join!(ask(&mut ours, address, &question), node);
        (answered.map_err(|unanswered| unanswered.how), heard)
    }

    const WRONG: Result<(), Option<ProbeFailure>> = Err(Some(ProbeFailure::WrongAnswer));

    #[tokio::test]
    async fn a_status_within_the_range_is_good() {
        let answer = "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n";
        let (answered, heard) = asked(200..=399, None, answer).await;
        assert_eq!(answered, Ok(()));
        let (line, rest) = heard.split_once("\r\n").unwrap();
        assert_eq!(line, "GET /health?deep=1 HTTP/1.1");
        assert!(
            rest.to_ascii_lowercase()
                .contains("host: 198.51.100.11:4443\r\n"),
            "{rest}"
        );
        assert!(
            rest.to_ascii_lowercase().contains("connection: close\r\n"),
            "{rest}"
        );
        assert_eq!(asked(200..=299, None, answer).await.0, WRONG);
    }

    #[tokio::test]
    async fn a_text_is_found_in_whatever_way_the_body_is_sent() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n4\r\nwell\r\n0\r\n\r\n";
        let closing = "HTTP/1.0 200 OK\r\n\r\nall well";
        for answer in [chunked, closing] {
            assert_eq!(
                asked(200..=200, Some("all well"), answer).await.0,
                Ok(()),
                "{answer}"
            );
            assert_eq!(
                asked(200..=200, Some("ill"), answer).await.0,
                WRONG,
                "{answer}"
            );
        }
        let late = format!("HTTP/1.0 200 OK\r\n\r\n{}well", " ".repeat(BODY_MAX - 3));
        assert_eq!(
            asked(200..=200, Some("well"), &late).await.0,
            WRONG,
            "beyond what is looked at"
        );
        assert_eq!(asked(200..=200, Some("wel"), &late).await.0, Ok(()));
    }

    #[tokio::test]
    async fn what_is_no_http_or_breaks_off_is_wrong() {
        for answer in ["", "SIP/2.0 200 OK\r\n\r\n", "HTTP/1.1 20", "line 1\n"] {
            assert_eq!(asked(100..=599, None, answer).await.0, WRONG, "{answer}");
        }
        let broken = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nall";
        assert_eq!(asked(200..=200, Some("well"), broken).await.0, WRONG);
    }
}
