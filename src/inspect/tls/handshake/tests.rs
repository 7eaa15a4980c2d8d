use proptest::prelude::*;

use super::*;
use crate::inspect::tls::Era;

/// Recorded handshakes between real peers, by name.
fn recorded(name: &str) -> Vec<(Side, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/");
    let text = std::fs::read_to_string(format!("{folder}{name}.hex")).unwrap();
    let line = |line: &str| {
        let (side, digits) = line.split_once(' ').unwrap();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let bytes = (0..digits.len()).step_by(2).map(byte).collect();
        let side = if side == ">" {
            Side::Client
        } else {
            Side::Node
        };
        (side, bytes)
    };
    text.lines().map(line).collect()
}

const ALL: [&str; 11] = [
    "tls1.0",
    "tls1.1",
    "tls1.2",
    "tls1.3",
    "tls1.0-resumed",
    "tls1.2-resumed",
    "tls1.2-no-client-certificate",
    "alert-client-unknown-ca",
    "alert-node-protocol-version",
    "alert-node-handshake-failure",
    "alert-node-unknown-ca",
];

fn watch<'a>(pieces: impl IntoIterator<Item = (Side, &'a [u8])>) -> Handshake {
    let mut handshake = Handshake::new();
    for (side, bytes) in pieces {
        handshake.feed(side, bytes);
    }
    handshake
}

fn facts(name: &str) -> Facts {
    let recorded = recorded(name);
    let watched = watch(recorded.iter().map(|(side, bytes)| (*side, &bytes[..])));
    assert!(watched.has_ended(), "{name}");
    watched.into_facts()
}

#[test]
fn both_certificates_are_seen_up_to_tls_1_2() {
    for (name, version) in [
        ("tls1.0", Version::TLS_1_0),
        ("tls1.1", Version::TLS_1_1),
        ("tls1.2", Version::TLS_1_2),
    ] {
        let facts = facts(name);
        assert_eq!(facts.negotiated, Some(version), "{name}");
        let hello = facts.hello.unwrap();
        assert_eq!(hello.newest(), version, "{name}");
        let client = facts.client_certificate.unwrap();
        assert_eq!(client.name(), "sip.fabrikam.com", "{name}");
        let node = facts.node_certificate.unwrap();
        assert_eq!(node.name(), "sip.contoso.com", "{name}");
        assert!(node.for_servers && !node.for_clients);
        assert_eq!(facts.resumed, Some(false), "{name}");
        assert_eq!(facts.alert, None, "{name}");
        assert!(facts.completed && !facts.is_other, "{name}");
    }
}

#[test]
fn a_resumed_session_shows_no_certificate_and_says_that_it_is_resumed() {
    for name in ["tls1.0-resumed", "tls1.2-resumed"] {
        let facts = facts(name);
        assert_eq!(facts.resumed, Some(true), "{name}");
        assert_eq!(facts.client_certificate, None, "{name}");
        assert!(facts.completed, "{name}");
    }
}

#[test]
fn tls_1_3_ends_the_watching_with_the_version() {
    let facts = facts("tls1.3");
    assert_eq!(facts.negotiated, Some(Version::TLS_1_3));
    assert_eq!(facts.client_certificate, None);
    assert_eq!(facts.hello.unwrap().era(), Era::Modern);
    assert!(!facts.completed && !facts.is_other);
}

#[test]
fn alerts_in_clear_name_their_side() {
    for (name, side, alert) in [
        ("alert-client-unknown-ca", Side::Client, "unknown_ca"),
        (
            "alert-node-protocol-version",
            Side::Node,
            "protocol_version",
        ),
        (
            "alert-node-handshake-failure",
            Side::Node,
            "handshake_failure",
        ),
        ("alert-node-unknown-ca", Side::Node, "unknown_ca"),
    ] {
        let facts = facts(name);
        let (from, fatal) = facts.fatal().unwrap();
        assert_eq!((from, fatal.name()), (side, alert), "{name}");
        assert!(!facts.completed, "{name}");
    }
    let rejected = facts("alert-node-unknown-ca");
    assert_eq!(
        rejected.client_certificate.unwrap().name(),
        "stranger.example"
    );
}

#[test]
fn a_client_without_a_certificate_completes_without_a_name() {
    let facts = facts("tls1.2-no-client-certificate");
    assert_eq!(facts.client_certificate, None);
    assert_eq!(
        facts.hello.unwrap().server_name.as_deref(),
        Some("sip.contoso.com")
    );
    assert!(facts.completed);
}

#[test]
fn what_is_no_tls_ends_the_watching_at_once() {
    for bytes in [
        &b"OPTIONS sip:x SIP/2.0\r\n"[..],
        b"\x16\x02\x00",
        b"\x17\x03\x01",
        b"\x15\x03\x01\0\x02\x02\x28",
        b"\x80\x2e\x02",
    ] {
        let watched = watch([(Side::Client, bytes)]);
        assert!(
            watched.has_ended() && watched.facts().is_other,
            "{bytes:x?}"
        );
    }
    // A hello, and then a node that speaks something else.
    let hello = &recorded("tls1.2")[0].1;
    let watched = watch([
        (Side::Client, &hello[..]),
        (Side::Node, b"HTTP/1.1 400\r\n"),
    ]);
    assert!(watched.has_ended() && watched.facts().is_other);
    assert!(watched.facts().hello.is_some());
}

#[test]
fn a_hello_in_the_format_of_ssl_2_is_read_and_followed_by_records() {
    let mut old = vec![0x80, 0, 1, 3, 1, 0, 9, 0, 0, 0, 16];
    old.extend([0, 0, 4, 0, 0, 5, 1, 0, 0x80]);
    old.extend([7; 16]);
    old[1] = u8::try_from(old.len() - 2).unwrap();
    for piece in [1, old.len()] {
        let pieces = old.chunks(piece).map(|bytes| (Side::Client, bytes));
        let mut watched = watch(pieces);
        assert!(!watched.has_ended());
        let hello = watched.facts().hello.as_ref().unwrap();
        assert!(hello.is_version_2);
        assert_eq!(hello.cipher_suites, [4, 5]);
        assert_eq!((hello.newest(), hello.era()), (Version::TLS_1_0, Era::Ocs));
        watched.feed(Side::Client, &[21, 3, 1, 0, 2, 2, 48]);
        assert_eq!(watched.facts().fatal().unwrap().1.name(), "unknown_ca");
    }
}

#[test]
fn what_a_peer_sends_without_end_is_watched_no_further_and_not_kept() {
    // Messages that nobody reads, and one that never ends.
    for message in [[0_u8, 0, 0, 0], [11, 0, 0x70, 0], [12, 0xff, 0xff, 0xff]] {
        let mut handshake = Handshake::new();
        let record = [&[22, 3, 1, 0x10, 0][..], &message.repeat(1024)].concat();
        let mut fed = 0;
        while !handshake.has_ended() {
            handshake.feed(Side::Client, &record);
            fed += record.len();
            assert!(fed < 1 << 20, "{message:?}");
        }
    }
    let mut endless = Handshake::new();
    endless.feed(Side::Client, &[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff]);
    assert!(endless.has_ended());
}

/// `recorded` cut at `cuts`, in the same order.
fn cut(recorded: &[(Side, Vec<u8>)], cuts: &[usize]) -> Vec<(Side, Vec<u8>)> {
    let mut cuts = cuts.iter().cycle();
    let mut pieces = Vec::new();
    for (side, bytes) in recorded {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = cuts.next().copied().unwrap_or(1).clamp(1, rest.len());
            let (piece, behind) = rest.split_at(length);
            pieces.push((*side, piece.to_vec()));
            rest = behind;
        }
    }
    pieces
}

fn any_recording() -> impl Strategy<Value = Vec<(Side, Vec<u8>)>> {
    proptest::sample::select(ALL.to_vec()).prop_map(recorded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_fragmentation_shows_the_same(
        recorded in any_recording(),
        cuts in proptest::collection::vec(1..200_usize, 1..20),
    ) {
        let whole = watch(recorded.iter().map(|(side, bytes)| (*side, &bytes[..])));
        let pieces = cut(&recorded, &cuts);
        let cut = watch(pieces.iter().map(|(side, bytes)| (*side, &bytes[..])));
        prop_assert_eq!(whole.facts(), cut.facts());
    }

    #[test]
    fn records_of_any_size_show_the_same(
        recorded in any_recording(),
        size in 1..100_usize,
    ) {
        // The first flight of each side is in clear; its records are made smaller.
        let hello = &recorded[0].1;
        let payload = &hello[5..];
        let mut smaller = Vec::new();
        for part in payload.chunks(size) {
            smaller.extend([22, 3, 1, 0, u8::try_from(part.len()).unwrap()]);
            smaller.extend(part);
        }
        let (whole, parts) = (watch([(Side::Client, &hello[..])]), watch([(Side::Client, &smaller[..])]));
        prop_assert!(whole.facts().hello.is_some());
        prop_assert_eq!(whole.facts(), parts.facts());
    }

    #[test]
    fn no_mutation_panics_or_keeps_more_than_a_message_a_side(
        recorded in any_recording(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cuts in proptest::collection::vec(1..200_usize, 1..5),
    ) {
        let mut recorded = recorded;
        for (piece, byte, value) in changes {
            let piece = piece.index(recorded.len());
            let bytes = &mut recorded[piece].1;
            let at = byte.index(bytes.len());
            bytes[at] = value;
        }
        let mut handshake = Handshake::new();
        for (side, bytes) in cut(&recorded, &cuts) {
            handshake.feed(side, &bytes);
            prop_assert!(handshake.client.messages.len() <= 32 * 1024);
            prop_assert!(handshake.node.messages.len() <= 32 * 1024);
        }
    }

    #[test]
    fn no_bytes_at_all_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), node in any::<bool>()) {
        let side = if node { Side::Node } else { Side::Client };
        watch([(side, &bytes[..])]);
        watch([(side, &[&[22, 3, 1, 1, 0][..], &bytes].concat()[..])]);
    }
}
