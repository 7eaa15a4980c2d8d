//! What a client is told when no node answers it.
//!
//! For the administrator whom somebody sends a picture of it: what has failed, on which listener, and where to look.
//! It names no node and no address; those are in the log.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

/// Why a request has no answer of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// Its framing or target has two meanings.
    Ambiguous,
    /// Its method asks for a tunnel to anywhere.
    Tunnel,
    /// No node may take it.
    NoNode,
    /// Every node that could be tried refused, or did not answer.
    DialFailed,
    /// The pool recovers, and too many come back at once.
    Paced,
    /// A node had the request, and its connection ended before an answer.
    Lost,
    /// The client's own body did not come.
    Slow,
    /// Pinfold itself is short of something, or stops.
    Ours,
}

impl Failing {
    const fn status(self) -> StatusCode {
        match self {
            Self::Ambiguous => StatusCode::BAD_REQUEST,
            Self::Tunnel => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoNode | Self::DialFailed | Self::Paced | Self::Ours => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Lost => StatusCode::BAD_GATEWAY,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// Its name in the log.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous-request",
            Self::Tunnel => "tunnel-refused",
            Self::NoNode => "no-node",
            Self::DialFailed => "dial-failed",
            Self::Paced => "refused-pace",
            Self::Lost => "node-lost",
            Self::Slow => "slow-request",
            Self::Ours => "shortage",
        }
    }

    const fn said(self) -> &'static str {
        match self {
            Self::Ambiguous => {
                "This request can be understood in two ways, so that it was not passed on."
            }
            Self::Tunnel => "This service makes no tunnels.",
            Self::NoNode => "No server of this service may take requests now.",
            Self::DialFailed => "No server of this service answers.",
            Self::Paced => {
                "The servers of this service recover from a failure. Please try again in a moment."
            }
            Self::Lost => {
                "The server that had this request has failed. It may have carried it out."
            }
            Self::Slow => "The request came too slowly.",
            Self::Ours => "This service cannot take more requests now.",
        }
    }

    /// Whether the client's connection must end with the answer.
    const fn closes(self) -> bool {
        matches!(self, Self::Ambiguous | Self::Slow)
    }

    /// The page, for a client of `listener`.
    pub(super) fn page(self, listener: &str) -> Response<Full<Bytes>> {
        let (status, said, label) = (self.status(), self.said(), self.label());
        let (code, reason) = (
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
        );
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{code} {reason}</title>\
             <style>body{{font:16px/1.5 sans-serif;max-width:40em;margin:15vh auto;padding:0 1em;color:#222}}\
             h1{{font-size:1.4em}}small{{color:#666}}</style></head>\n<body><h1>{code} {reason}</h1>\n<p>{said}</p>\n\
             <p><small>Administrators: Pinfold says “{label}” on listener “{listener}”; see <code>pinfold status</code>, \
             <code>pinfold nodes</code> and the log.</small></p></body></html>\n"
        );
        let mut response = Response::new(Full::new(Bytes::from(page)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if self.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
