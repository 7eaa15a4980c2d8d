//! The cookie that holds a client on its node.
//!
//! As Lync 2010 Front Ends expect it (domain.md 1.5): a session cookie, not `HttpOnly`, set in every response to a
//! request that lacks it, however often the connection has had it before.

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderValue, SET_COOKIE};

use crate::pool::placement::PlacementKey;
use crate::snapshot::Listener;

/// What cookies go by.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    /// The cookie's name; `None`: none is set.
    pub(super) cookie: Option<&'a str>,
    pub(super) listener: &'a Listener,
    pub(super) key: &'a PlacementKey,
}

/// The position of the node that the client's cookie names, where there is one.
pub(super) fn named(ground: Ground<'_>, headers: &HeaderMap) -> Option<usize> {
    let name = ground.cookie?;
    let token = u64::from_str_radix(value(headers, name)?, 16).ok()?;
    let Ground { listener, key, .. } = ground;
    let is_named = |node: &str| key.token(&listener.pool, node) == token;
    let mut nodes = listener.nodes.iter();
    nodes.position(|seat| is_named(&seat.endpoint.node))
}

/// Sets the cookie for the node at `served`, unless the client has `named` it.
pub(super) fn set(
    ground: Ground<'_>,
    headers: &mut HeaderMap,
    named: Option<usize>,
    served: usize,
) {
    let Ground { listener, key, .. } = ground;
    if let Some(name) = ground.cookie
        && named != Some(served)
        && let Some(seat) = listener.nodes.get(served)
    {
        let token = key.token(&listener.pool, &seat.endpoint.node);
        let cookie = format!("{name}={token:016x}; Path=/; Secure");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// The value of the cookie called `name` (RFC 6265 section 4.2.1).
fn value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let mut pairs = texts.flat_map(|line| line.split(';'));
    pairs.find_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; XMS-WSMAN=2"));
        headers.append(COOKIE, HeaderValue::from_static("b; MS-WSMAN=00ff;c=3"));
        assert_eq!(value(&headers, "MS-WSMAN"), Some("00ff"));
        assert_eq!(value(&headers, "WSMAN"), None);
    }
}
