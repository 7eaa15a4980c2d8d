//! The stream header of XMPP between servers, which crosses in clear before STARTTLS: who says that it calls.
//!
//! Owns the reading of the first element in either direction, and the opening of a probe. No stanzas, no TLS, no
//! dialback: what follows the header is the node's.
//!
//! A `from` in clear is a *claim*: anybody can write it, and only the node finds out, by certificate or dialback,
//! whether it is true. So it may do what costs nobody anything who is not lying: say which node a partner's
//! connection is sent to, and whose it is in lists and the ledger. It grants nothing (`allow`, places that are kept
//! for partners, a lower `tls_min`), it blocks nobody, and nothing is learned from it: no name for an address, and no
//! pin for another connection than this one's partner. Who lies is served by the partner's node instead of any other.
//!
//! Invariants: nothing beyond [`HEADER_MAX`] bytes is looked at. No input panics.
//!
//! Sources: RFC 6120, sections 4.2 (opening), 4.7 (attributes), 4.8 (namespaces), 4.9 (errors), 11.1 (what of XML is
//! not allowed).

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Error, Reader, XmlVersion};

/// The longest header, an XML declaration before it included: two domains and a few namespaces are some hundreds.
pub const HEADER_MAX: usize = 4096;

/// What the beginning of a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// More of it must come.
    Incomplete,
    /// A stream header.
    Header(Header),
    /// An error in the place of a header, as some servers send it who should send a header first.
    Error,
    /// No XMPP.
    Other,
}

/// A stream header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The domain that its sender says to be, in lower case.
    pub from: Option<Box<str>>,
    /// The domain that it wants, in lower case.
    pub to: Option<Box<str>>,
    /// Whether it is between servers, and not of a client.
    pub is_between_servers: bool,
}

/// Looks at the first bytes of one direction.
#[must_use]
pub fn opening(bytes: &[u8]) -> Opening {
    let looked_at = bytes.get(..HEADER_MAX.min(bytes.len())).unwrap_or_default();
    // Perhaps cut within a character; what is no text at all may only follow a header.
    let mut chunks = looked_at.utf8_chunks();
    let text = chunks.next().map_or("", |chunk| chunk.valid());
    let is_text =
        std::str::from_utf8(looked_at).map_or_else(|error| error.error_len().is_none(), |_| true);
    let opening = first_element(text);
    let can_go_on = is_text && bytes.len() < HEADER_MAX;
    if opening == Opening::Incomplete && !can_go_on {
        return Opening::Other;
    }
    opening
}

/// What a probe says first to a server that is asked for `domain`; an address will do, too. Whatever a server makes of
/// it, it answers by a header of its own.
#[must_use]
pub fn question(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='{SERVER}' xmlns:stream='{STREAMS}' to='{domain}' version='1.0'>"
    )
}

/// What a probe says last: RFC 6120, section 4.4.
pub const FAREWELL: &str = "</stream:stream>";

const STREAMS: &str = "http://etherx.jabber.org/streams";
const SERVER: &str = "jabber:server";

fn first_element(text: &str) -> Opening {
    let mut reader = Reader::from_str(text);
    let mut has_declaration = false;
    loop {
        match reader.read_event() {
            Ok(Event::Decl(_)) if !has_declaration => has_declaration = true,
            Ok(Event::Text(space)) if space.trim_ascii().is_empty() => {}
            Ok(Event::Start(element)) => return element_of_stream(&element),
            Ok(Event::Eof) | Err(Error::Syntax(_)) if may_begin(text) => {
                return Opening::Incomplete;
            }
            _ => return Opening::Other,
        }
    }
}

/// Whether what is not whole yet can become a header: an element or a declaration, not what else begins by `<`.
fn may_begin(text: &str) -> bool {
    let declared = text.trim_start();
    let declared = match declared.strip_prefix("<?xml") {
        Some(rest) => match rest.split_once("?>") {
            Some((_, rest)) => rest.trim_start(),
            None => return true,
        },
        None => declared,
    };
    let is_begun = |whole: &str| whole.starts_with(declared);
    match declared.strip_prefix('<') {
        Some(name) => {
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                || is_begun("<?xml")
        }
        None => declared.is_empty(),
    }
}

fn element_of_stream(element: &BytesStart<'_>) -> Opening {
    let name = element.name();
    let (prefix, local) = match name.as_ref().split_once(':') {
        Some((prefix, local)) => (prefix, local),
        None => ("", name.as_ref()),
    };
    if (prefix, local) == ("stream", "error") {
        return Opening::Error;
    }
    let mut header = Header::default();
    let mut is_stream = false;
    // Checks would compare each name with all before it.
    for attribute in element.attributes().with_checks(false) {
        let Ok(attribute) = attribute else {
            return Opening::Other;
        };
        let Ok(value) = attribute.normalized_value(XmlVersion::Implicit1_0) else {
            return Opening::Other;
        };
        match attribute.key.as_ref() {
            "from" => header.from = domain(&value),
            "to" => header.to = domain(&value),
            "xmlns" => {
                header.is_between_servers = value == SERVER;
                is_stream |= prefix.is_empty() && value == STREAMS;
            }
            key => {
                let bound = key.strip_prefix("xmlns:");
                is_stream |= bound == Some(prefix) && value == STREAMS;
            }
        }
    }
    match is_stream && local == "stream" {
        true => Opening::Header(header),
        false => Opening::Other,
    }
}

/// A domain as the configuration writes it; `None` where it is an address of a user, or no name that DNS knows.
fn domain(value: &str) -> Option<Box<str>> {
    let value = value.trim_ascii();
    let value = value.strip_suffix('.').unwrap_or(value);
    let may_be = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_one = !value.is_empty() && value.len() <= 253 && value.bytes().all(may_be);
    is_one.then(|| value.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str = "<?xml version='1.0'?>\n<stream:stream from='Fabrikam.COM' to=\"contoso.com\" \
        version='1.0' xml:lang='en' xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
        xmlns:stream='http://etherx.jabber.org/streams'>";

    fn header(from: Option<&str>, to: Option<&str>, is_between_servers: bool) -> Opening {
        Opening::Header(Header {
            from: from.map(Into::into),
            to: to.map(Into::into),
            is_between_servers,
        })
    }

    #[test]
    fn a_header_is_read_as_soon_as_it_is_whole_and_not_before() {
        let expected = header(Some("fabrikam.com"), Some("contoso.com"), true);
        for end in 0..HEADER.len() {
            assert_eq!(
                opening(&HEADER.as_bytes()[..end]),
                Opening::Incomplete,
                "{end}"
            );
        }
        assert_eq!(opening(HEADER.as_bytes()), expected);
        let more = [HEADER.as_bytes(), b"<starttls\xff\xfe"].concat();
        assert_eq!(opening(&more[..HEADER.len() + 9]), expected);
    }

    #[test]
    fn the_prefix_and_the_quoting_are_the_senders_choice() {
        let other = "<s:stream xmlns:s='http&#58;//etherx.jabber.org/streams' xmlns='jabber:server' \
            from='fab&#x72;ikam.com' to='a&gt;b'>";
        assert_eq!(
            opening(other.as_bytes()),
            header(Some("fabrikam.com"), None, true)
        );
        let own = "<stream xmlns='http://etherx.jabber.org/streams' from='alice@fabrikam.com'>";
        assert_eq!(opening(own.as_bytes()), header(None, None, false));
        let client = "<stream:stream to='contoso.com.' xmlns='jabber:client' \
            xmlns:stream='http://etherx.jabber.org/streams'>";
        assert_eq!(
            opening(client.as_bytes()),
            header(None, Some("contoso.com"), false)
        );
    }

    #[test]
    fn what_is_no_stream_is_told_at_once() {
        for bytes in [
            &b"\x16\x03\x01"[..],
            b"line 1\n",
            b"GET / HTTP/1.1\r\n",
            b"</stream:stream>",
            b"<!DOCTYPE x>",
            b"<!-",
            b"<?php",
            b"<a>",
            b"<stream:stream>",
            b"<?xml version='1.0'?><?xml version='1.0'?>",
            b"\xff",
            b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>",
            b"<stream:features xmlns:stream='http://etherx.jabber.org/streams'>",
            b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' from='&unknown;'>",
            b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' from=x>",
        ] {
            assert_eq!(
                opening(bytes),
                Opening::Other,
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
        let error = b"<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
        assert_eq!(opening(error), Opening::Error);
    }

    #[test]
    fn a_header_without_an_end_is_none_at_the_limit() {
        let endless = format!("<stream:stream from='{}", "x".repeat(HEADER_MAX));
        assert_eq!(
            opening(&endless.as_bytes()[..HEADER_MAX - 1]),
            Opening::Incomplete
        );
        assert_eq!(opening(&endless.as_bytes()[..HEADER_MAX]), Opening::Other);
    }

    #[test]
    fn the_question_is_a_header_itself() {
        let question = question("198.51.100.11");
        assert_eq!(
            opening(question.as_bytes()),
            header(None, Some("198.51.100.11"), true)
        );
    }

    proptest! {
        #[test]
        fn nothing_that_a_peer_sends_panics_and_what_is_known_stays_so(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "<", ">", "stream:stream", " ", "xmlns", ":stream", "=", "'", "\"", "http://etherx.jabber.org/streams",
                "from", "a.b", "&", ";", "#", "?xml", "?>", "!--", "/", "\u{e9}", "error",
            ]), 0..40),
            more: Vec<u8>,
        ) {
            let bytes = pieces.concat().into_bytes();
            let whole = opening(&bytes);
            for end in 0..bytes.len() {
                let part = opening(&bytes[..end]);
                prop_assert!(part == Opening::Incomplete || part == whole, "{end}: {part:?}, {whole:?}");
            }
            let _ = opening(&[bytes, more.clone()].concat());
            let _ = opening(&more);
        }
    }
}
