//! What is changed in the head of a message on its way, and what is looked for in it.
//!
//! Pure. `Host` stays as the client wrote it: the pool's web services tell their sites apart by it.

use std::net::IpAddr;

use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, Entry, HOST, HeaderName,
    HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    VIA, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Method, Uri, Version};

/// What only concerns one connection (RFC 9110 section 7.6.1), beside what `Connection` names.
const OF_ONE_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Takes off what concerns the connection that the message came by; the protocol that it is to be upgraded to.
pub(super) fn take_off_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    let wants_upgrade = named.contains(&UPGRADE);
    let upgrade = headers.get(UPGRADE).cloned();
    // `Connection` must not be a way to strip what says where a message goes and how long it is.
    let is_essential = |name: &HeaderName| matches!(*name, HOST | CONTENT_LENGTH);
    for name in named
        .iter()
        .filter(|name| !is_essential(name))
        .chain(&OF_ONE_HOP)
    {
        headers.remove(name);
    }
    upgrade.filter(|_| wants_upgrade)
}

/// Whether a connection may change over to `protocol`. What is HTTP or TLS again would carry requests past all that is
/// done to requests here.
pub(super) fn may_upgrade_to(protocol: &HeaderValue) -> bool {
    let names = protocol.as_bytes().split(|byte| *byte == b',');
    let mut names = names.map(<[u8]>::trim_ascii);
    names.all(|name| {
        let family = name.split(|byte| *byte == b'/').next().unwrap_or_default();
        !["h2c", "h2", "http", "tls"]
            .iter()
            .any(|each| family.eq_ignore_ascii_case(each.as_bytes()))
    })
}

/// Takes off the length of a message that comes in chunks (RFC 9112 section 6.3).
pub(super) fn frame_once(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
}

/// Whether a message announces trailers; its length is taken off then: HTTP/1.1 has them behind chunks alone (RFC 9112
/// section 7.1.2).
pub(super) fn make_room_for_trailers(headers: &mut HeaderMap) -> bool {
    let has_trailers = headers.contains_key(TRAILER);
    if has_trailers {
        headers.remove(CONTENT_LENGTH);
    }
    has_trailers
}

/// Writes what asks for an upgrade, or grants it.
pub(super) fn ask_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Writes down on whose behalf a request is sent, and that it has come by here.
pub(super) fn forward(headers: &mut HeaderMap, version: Version, client: IpAddr) {
    // hyper has answered it.
    headers.remove(EXPECT);
    join_cookies(headers);
    append(headers, FORWARDED_FOR, &client.to_string());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    via(headers, version);
}

/// HTTP/2 may bring cookies in pieces, which HTTP/1.1 has in one line (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Writes down that a message has come by here (RFC 9110 section 7.6.3).
pub(super) fn via(headers: &mut HeaderMap, version: Version) {
    let version = match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    append(headers, VIA, &format!("{version} pinfold"));
}

/// Adds `value` to a list that may stand in several lines.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let lines = headers.get_all(&name).iter();
    let mut all: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    all.push(value);
    if let Ok(joined) = HeaderValue::from_str(&all.join(", ")) {
        headers.insert(name, joined);
    }
}

/// The target as a node expects it, and `Host` where the client has named it otherwise; `None`: there is no telling
/// which site is meant (RFC 9112 section 3.2).
pub(super) fn target(uri: &Uri, version: Version, headers: &mut HeaderMap) -> Option<Uri> {
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return None;
    }
    // RFC 9112 section 3.2: since HTTP/1.1 a request names its site.
    if version == Version::HTTP_11 && !headers.contains_key(HOST) {
        return None;
    }
    if let Some(authority) = uri.authority() {
        let host = HeaderValue::from_str(authority.as_str()).ok()?;
        match headers.entry(HOST) {
            // Two names for one site are an attempt to be taken for another.
            Entry::Occupied(known)
                if !known.get().as_bytes().eq_ignore_ascii_case(host.as_bytes()) =>
            {
                return None;
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(free) => {
                free.insert(host);
            }
        }
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::try_from(path).ok()
}

/// Whether a request may run twice (RFC 9110 section 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    method.is_safe() || matches!(*method, Method::PUT | Method::DELETE)
}

/// Whether the message belongs to an authentication of its connection: whoever sends it is known by the connection
/// from then on (RFC 4559 section 6, NTLM).
pub(super) fn authenticates_connection(headers: &HeaderMap) -> bool {
    let names = [
        AUTHORIZATION,
        PROXY_AUTHORIZATION,
        WWW_AUTHENTICATE,
        PROXY_AUTHENTICATE,
    ];
    let lines = names.iter().flat_map(|name| headers.get_all(name));
    let is_scheme = |line: &HeaderValue| {
        let scheme = line
            .as_bytes()
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    };
    lines.into_iter().any(is_scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn what_concerns_one_hop_goes_no_further() {
        let mut some = headers(&[
            ("connection", "close, X-Secret, host, Content-Length"),
            ("x-secret", "1"),
            ("host", "web"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("accept", "*/*"),
            ("upgrade", "h2c"),
        ]);
        assert_eq!(
            take_off_hop(&mut some),
            None,
            "upgrade was not asked for in `Connection`"
        );
        let mut left: Vec<_> = some.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
        let mut some = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(take_off_hop(&mut some).unwrap(), "websocket");
        assert!(some.is_empty());
    }

    #[test]
    fn a_request_tells_for_whom_it_comes_and_by_which_way() {
        let mut some = headers(&[
            ("x-forwarded-for", "192.0.2.1"),
            ("via", "1.1 edge"),
            ("x-forwarded-proto", "http"),
        ]);
        forward(&mut some, Version::HTTP_2, "192.0.2.7".parse().unwrap());
        assert_eq!(some["x-forwarded-for"], "192.0.2.1, 192.0.2.7");
        assert_eq!(some["via"], "1.1 edge, 2 pinfold");
        assert_eq!(some["x-forwarded-proto"], "https");
    }

    #[test]
    fn a_site_has_one_name() {
        let site = |uri: &'static str, lines: &[(&'static str, &'static str)]| {
            let mut some = headers(lines);
            let target = target(&Uri::from_static(uri), Version::HTTP_2, &mut some)?;
            let host = some.get(HOST).map(|host| host.to_str().unwrap().to_owned());
            Some((target.to_string(), host.unwrap_or_default()))
        };
        let is = |path: &str, host: &str| Some((path.to_owned(), host.to_owned()));
        assert_eq!(site("/a?b", &[("host", "web")]), is("/a?b", "web"));
        assert_eq!(site("https://web/a", &[]), is("/a", "web"));
        assert_eq!(site("https://WEB/a", &[("host", "web")]), is("/a", "web"));
        assert_eq!(site("https://web/a", &[("host", "other")]), None);
        let mut twice = headers(&[("host", "a")]);
        twice.append(HOST, HeaderValue::from_static("a"));
        let uri = Uri::from_static("/");
        assert_eq!(target(&uri, Version::HTTP_11, &mut twice), None);
        let mut none = HeaderMap::new();
        assert_eq!(target(&uri, Version::HTTP_11, &mut none), None);
        assert!(target(&uri, Version::HTTP_10, &mut none).is_some());
    }

    #[test]
    fn pieces_of_a_cookie_become_one_line_and_a_length_beside_chunks_goes() {
        let mut some = headers(&[
            ("cookie", "a=1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
        ]);
        some.append(COOKIE, HeaderValue::from_static("b=2"));
        forward(&mut some, Version::HTTP_2, "192.0.2.7".parse().unwrap());
        let cookies: Vec<_> = some.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        frame_once(&mut some);
        assert!(!some.contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn nothing_changes_over_to_what_would_carry_requests() {
        let may = |name: &'static str| may_upgrade_to(&HeaderValue::from_static(name));
        assert!(may("websocket") && may("example/1"));
        assert!(!may("h2c") && !may("websocket, H2C") && !may("TLS/1.0") && !may("HTTP/2.0"));
    }

    #[test]
    fn an_authenticated_connection_is_known_by_both_sides_words() {
        assert!(authenticates_connection(&headers(&[(
            "authorization",
            "NTLM TlRM"
        )])));
        assert!(authenticates_connection(&headers(&[(
            "www-authenticate",
            "negotiate"
        )])));
        assert!(!authenticates_connection(&headers(&[(
            "authorization",
            "Basic TlRM"
        )])));
    }
}
