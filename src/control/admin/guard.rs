//! Who may ask over TCP, and what at an address of `view`: rules over the head of a request.
//!
//! Pure. The unix socket needs none of this, because its permissions decide. Over TCP anybody on this
//! machine can connect, a browser that shows a foreign page included; so the request must be meant
//! for us (`Host`, `Origin`), and a change must bring the token. An address of `view` may go by any name, and
//! changes nothing.

use std::hint::black_box;
use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use ipnet::IpNet;

/// Why a request over TCP is refused, with 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Forbidden {
    #[error("the Host header must name this loopback address and its port")]
    Host,
    #[error("requests from pages of other origins are refused")]
    Origin,
    #[error(
        "changes over TCP need admin_token_file in the configuration; use the unix socket instead"
    )]
    NoToken,
    #[error("changes over TCP need the header `Authorization: Bearer TOKEN` with the right token")]
    WrongToken,
    #[error(
        "this address is for reading only (`view`): changes are made, and nodes are asked, at the address that `admin` \
         names"
    )]
    OnlyReading,
}

/// Whether a request that came in over TCP on `port` may go on.
pub(super) fn admit(
    method: &Method,
    headers: &HeaderMap,
    port: u16,
    token: Option<&str>,
) -> Result<(), Forbidden> {
    let host = only(headers, &HOST).ok_or(Forbidden::Host)?;
    if !is_ours(host, port) {
        return Err(Forbidden::Host);
    }
    if headers.contains_key(ORIGIN) {
        let origin = only(headers, &ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
        if origin.is_none_or(|origin| !origin.eq_ignore_ascii_case(host)) {
            return Err(Forbidden::Origin);
        }
    }
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    let wanted = token.ok_or(Forbidden::NoToken)?;
    let given = only(headers, &AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    if given.is_some_and(|given| is_same(given.trim().as_bytes(), wanted.as_bytes())) {
        Ok(())
    } else {
        Err(Forbidden::WrongToken)
    }
}

/// Whether a request may go on that came to an address of `view`.
pub(super) fn only_read(method: &Method, headers: &HeaderMap, path: &str) -> Result<(), Forbidden> {
    let is_reading = *method == Method::GET || *method == Method::HEAD;
    // A probe makes handshakes at the node, and of those few at a time are for the administrator.
    if !is_reading || path.ends_with("/probe") {
        return Err(Forbidden::OnlyReading);
    }
    // A browser sends it with whatever a foreign page asks for.
    if headers.contains_key(ORIGIN) {
        return Err(Forbidden::Origin);
    }
    Ok(())
}

/// Whether `ip` may connect to a TCP address of `view`: where nobody is named, this machine alone.
pub(super) fn may_look(ip: IpAddr, from: &[IpNet]) -> bool {
    match from {
        [] => ip.is_loopback(),
        named => named.iter().any(|prefix| prefix.contains(&ip)),
    }
}

/// The value of a header that stands there exactly once.
fn only<'h>(headers: &'h HeaderMap, name: &axum::http::HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether `authority` is a loopback name or address with our port. A name that merely resolves to
/// loopback is not enough: that is how a foreign page would reach us.
fn is_ours(authority: &str, port: u16) -> bool {
    let (host, given) = match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.contains(']') => (host, digits.parse().ok()),
        Some(_) | None => (authority, Some(80)),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_loopback = match bare.unwrap_or(host).parse::<IpAddr>() {
        Ok(ip) => ip.is_ipv6() == bare.is_some() && ip.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    is_loopback && given == Some(port)
}

/// Compares without telling by the time it takes how much was right.
fn is_same(given: &[u8], wanted: &[u8]) -> bool {
    let differences = given
        .iter()
        .zip(wanted)
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    black_box(differences) == 0 && given.len() == wanted.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(
        method: &Method,
        headers: &[(&'static str, &str)],
        token: Option<&str>,
    ) -> Option<Forbidden> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        admit(method, &map, 9061, token).err()
    }

    #[test]
    fn reading_needs_a_host_that_means_us() {
        for host in [
            "127.0.0.1:9061",
            "localhost:9061",
            "LOCALHOST:9061",
            "[::1]:9061",
            "127.9.9.9:9061",
        ] {
            assert_eq!(ask(&Method::GET, &[("host", host)], None), None, "{host}");
        }
        for host in [
            "",
            "127.0.0.1",
            "127.0.0.1:9062",
            "evil.example:9061",
            "localhost.evil.example:9061",
            "192.0.2.1:9061",
            "::1:9061",
            "[::1]",
            "localhost:",
            "[127.0.0.1]:9061",
        ] {
            assert_eq!(
                ask(&Method::GET, &[("host", host)], None),
                Some(Forbidden::Host),
                "{host}"
            );
        }
        assert_eq!(ask(&Method::GET, &[], None), Some(Forbidden::Host));
        let two = [("host", "localhost:9061"), ("host", "localhost:9061")];
        assert_eq!(ask(&Method::GET, &two, None), Some(Forbidden::Host));
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let with = |origin| {
            let headers = [("host", "localhost:9061"), ("origin", origin)];
            ask(&Method::GET, &headers, None)
        };
        assert_eq!(with("http://localhost:9061"), None);
        for origin in [
            "null",
            "http://evil.example",
            "https://localhost:9061",
            "http://127.0.0.1:9061",
            "",
        ] {
            assert_eq!(with(origin), Some(Forbidden::Origin), "{origin}");
        }
    }

    #[test]
    fn an_address_of_view_is_for_reading_by_whatever_name() {
        let mut headers = HeaderMap::new();
        headers.append("host", "lb1.contoso.com".parse().unwrap());
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(only_read(&method, &headers, "/v1/status"), Ok(()));
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(
                only_read(&method, &headers, "/v1/status"),
                Err(Forbidden::OnlyReading)
            );
        }
        let probe = only_read(&Method::GET, &headers, "/v1/nodes/edge1/probe");
        assert_eq!(probe, Err(Forbidden::OnlyReading));
        headers.append("origin", "http://lb1.contoso.com".parse().unwrap());
        assert_eq!(
            only_read(&Method::GET, &headers, "/"),
            Err(Forbidden::Origin)
        );
    }

    #[test]
    fn over_tcp_only_those_named_may_look_and_where_nobody_is_this_machine() {
        let may = |ip: &str, from: &[&str]| {
            let from: Vec<_> = from.iter().map(|prefix| prefix.parse().unwrap()).collect();
            may_look(ip.parse().unwrap(), &from)
        };
        assert!(may("127.0.0.1", &[]) && may("::1", &[]));
        assert!(!may("192.0.2.9", &[]));
        let from = ["192.0.2.0/28", "2001:db8::/64"];
        assert!(may("192.0.2.9", &from) && may("2001:db8::9", &from));
        assert!(!may("192.0.2.16", &from) && !may("127.0.0.1", &from));
    }

    #[test]
    fn a_change_needs_the_token() {
        let with = |value, token| {
            let headers = [("host", "localhost:9061"), ("authorization", value)];
            ask(&Method::POST, &headers, token)
        };
        assert_eq!(with("Bearer s3cret", Some("s3cret")), None);
        for value in [
            "Bearer s3cre",
            "Bearer s3crett",
            "Bearer ",
            "Basic s3cret",
            "s3cret",
        ] {
            assert_eq!(
                with(value, Some("s3cret")),
                Some(Forbidden::WrongToken),
                "{value}"
            );
        }
        assert_eq!(with("Bearer s3cret", None), Some(Forbidden::NoToken));
        let bare = [("host", "localhost:9061")];
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(
                ask(&method, &bare, Some("s3cret")),
                Some(Forbidden::WrongToken)
            );
        }
    }
}
