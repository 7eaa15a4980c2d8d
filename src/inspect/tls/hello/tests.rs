use proptest::prelude::*;
use tls_parser::{
    TlsMessageHandshake, parse_tls_client_hello_extensions, parse_tls_message_handshake,
};

use super::*;
use crate::inspect::tls::client_hello;

/// An extension of `kind` with `content`.
fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&kind.to_be_bytes()[..], &length, content].concat()
}

fn body(suites: &[u16], extensions: &[Vec<u8>]) -> Vec<u8> {
    let suites: Vec<u8> = suites
        .iter()
        .flat_map(|suite| suite.to_be_bytes())
        .collect();
    let extensions = extensions.concat();
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len()).unwrap().to_be_bytes());
    body.extend(suites);
    body.extend([1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    body
}

#[test]
fn everything_is_read_in_order_and_grease_is_left_out() {
    let hello = ClientHello::parse(&body(
        &[0x0a0a, 0x1301, 0xc02f, 0xfafa],
        &[
            extension(0x1a1a, &[]),
            extension(0, b"\0\x0d\0\0\x0aSip.Test.A"),
            extension(43, &[6, 0x2a, 0x2a, 3, 4, 3, 3]),
            extension(10, &[0, 4, 0x3a, 0x3a, 0, 29]),
            extension(13, &[0, 4, 4, 3, 8, 4]),
            extension(16, b"\0\x0c\x02h2\x08http/1.1"),
        ],
    ))
    .unwrap();
    assert_eq!(hello.cipher_suites, [0x1301, 0xc02f]);
    assert_eq!(hello.extensions, [0, 43, 10, 13, 16]);
    assert_eq!(
        hello.supported_versions,
        [Version::TLS_1_3, Version::TLS_1_2]
    );
    assert_eq!(hello.newest(), Version::TLS_1_3);
    assert_eq!(hello.groups, [29]);
    assert_eq!(hello.signature_algorithms, [0x0403, 0x0804]);
    assert_eq!(hello.first_protocol.as_deref(), Some(&b"h2"[..]));
    assert_eq!(hello.server_name.as_deref(), Some("sip.test.a"));
}

#[test]
fn without_supported_versions_nothing_newer_than_tls_1_2_is_offered() {
    let mut bytes = body(&[1], &[]);
    bytes[..2].copy_from_slice(&[3, 4]);
    assert_eq!(
        ClientHello::parse(&bytes).unwrap().newest(),
        Version::TLS_1_2
    );
    bytes[..2].copy_from_slice(&[3, 1]);
    assert_eq!(
        ClientHello::parse(&bytes).unwrap().newest(),
        Version::TLS_1_0
    );
    // Drafts and inventions are not versions.
    let odd = body(&[1], &[extension(43, &[4, 0x7f, 0x1c, 0xff, 0xff])]);
    assert_eq!(ClientHello::parse(&odd).unwrap().newest(), Version::TLS_1_2);
}

#[test]
fn an_extension_with_broken_content_is_there_and_says_nothing() {
    for name in [
        &b"\0\x05\0\0\x09abc"[..],
        b"",
        b"\0\x06\x01\0\x03abc",
        b"\0\x06\0\0\x03a\nb",
        b"\0\x06\0\0\x03a\xffb",
    ] {
        let hello = ClientHello::parse(&body(&[1], &[extension(0, name)])).unwrap();
        assert_eq!(hello.server_name, None, "{name:x?}");
        assert!(hello.has_server_name());
    }
}

#[test]
fn framing_must_be_exact() {
    let whole = body(&[1, 2], &[extension(23, &[])]);
    assert!(ClientHello::parse(&whole).is_some());
    for length in 0..whole.len() {
        // Where the extensions begin a hello of old may end.
        let may = length == 2 + 32 + 1 + 2 + 4 + 2;
        assert_eq!(
            ClientHello::parse(&whole[..length]).is_some(),
            may,
            "{length}"
        );
    }
    assert!(ClientHello::parse(&[&whole[..], &[0]].concat()).is_none());
}

fn hello_bytes() -> impl Strategy<Value = Vec<u8>> {
    let content = proptest::collection::vec(any::<u8>(), 0..12);
    let known =
        proptest::sample::select(vec![5_u16, 11, 15, 18, 21, 23, 35, 0x3a3a, 0xff01, 51, 45]);
    let extensions = proptest::collection::vec((known, content), 0..8);
    let suites = proptest::collection::vec(any::<u16>(), 0..40);
    (suites, extensions).prop_map(|(suites, extensions)| {
        let extensions: Vec<_> = extensions
            .into_iter()
            .map(|(kind, content)| extension(kind, &content))
            .chain([
                extension(0, b"\0\x08\0\0\x05a.b.c"),
                extension(10, &[0, 2, 0, 29]),
            ])
            .collect();
        body(&suites, &extensions)
    })
}

/// What another parser, of the same body, reads: version, suites, extensions and name.
fn oracle(body: &[u8]) -> Option<(u16, Vec<u16>, Vec<u16>)> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], body].concat();
    let Ok((_, tls_parser::TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) =
        parse_tls_message_handshake(&message)
    else {
        return None;
    };
    let suites = hello.ciphers.iter().map(|suite| suite.0).collect();
    let mut kinds = Vec::new();
    let mut rest = hello.ext.unwrap_or_default();
    // Its own reading of an extension may refuse the content; the frames must agree.
    let _ = parse_tls_client_hello_extensions(rest);
    while let [a, b, c, d, behind @ ..] = rest {
        kinds.push(u16::from_be_bytes([*a, *b]));
        rest = behind.get(usize::from(u16::from_be_bytes([*c, *d]))..)?;
    }
    Some((hello.version.0, suites, kinds))
}

proptest! {
    #[test]
    fn another_parser_reads_the_same(body in hello_bytes()) {
        let (version, suites, extensions) = oracle(&body).unwrap();
        let ours = ClientHello::parse(&body).unwrap();
        let without_grease = |values: Vec<u16>| -> Vec<u16> {
            values.into_iter().filter(|value| !is_grease(*value)).collect()
        };
        prop_assert_eq!(ours.legacy_version.0, version);
        prop_assert_eq!(ours.cipher_suites, without_grease(suites));
        prop_assert_eq!(ours.extensions, without_grease(extensions));
        prop_assert_eq!(ours.server_name.as_deref(), Some("a.b.c"));
    }

    #[test]
    fn what_we_read_another_parser_reads_too(
        body in hello_bytes(), at in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        let mut body = body;
        let at = at.index(body.len());
        body[at] = value;
        if let (Some(ours), Some((version, suites, _))) = (ClientHello::parse(&body), oracle(&body)) {
            prop_assert_eq!(ours.legacy_version.0, version);
            let suites: Vec<u16> = suites.into_iter().filter(|suite| !is_grease(*suite)).collect();
            prop_assert_eq!(ours.cipher_suites, suites);
        }
    }

    #[test]
    fn the_probes_own_hello_is_read(random in any::<[u8; 32]>()) {
        let hello = ClientHello::parse(&client_hello(random)[9..]).unwrap();
        prop_assert_eq!(hello.newest(), Version::TLS_1_2);
        prop_assert_eq!(hello.extensions, vec![10, 11, 13]);
    }
}
