use proptest::prelude::*;
use stun_types::message::MessageClass;

use super::*;

/// RFC 5769, section 2.2: a sample answer, over IPv4.
const RFC_5769_ANSWER: &[u8] = &[
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86,
    0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63,
    0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43,
    0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9,
    0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
];

/// A message of these attributes, as an Edge Server writes it: nothing between them.
fn microsoft(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let cookie = (attribute::MAGIC_COOKIE, &MS_COOKIE.to_be_bytes()[..]);
    let body = [cookie].into_iter().chain(attributes.iter().copied());
    let body: Vec<u8> = body
        .flat_map(|(kind, value)| attribute_of(kind, value, 0))
        .collect();
    message(kind, [7; 16], &body)
}

fn rfc(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let padded = |(kind, value): &(u16, &[u8])| {
        attribute_of(*kind, value, value.len().next_multiple_of(4) - value.len())
    };
    let body: Vec<u8> = attributes.iter().flat_map(padded).collect();
    let mut transaction = [7; 16];
    transaction[..4].copy_from_slice(&COOKIE.to_be_bytes());
    message(kind, transaction, &body)
}

fn attribute_of(kind: u16, value: &[u8], padding: usize) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    let head = [kind.to_be_bytes(), length.to_be_bytes()].concat();
    [&head, value, &vec![0x20; padding]].concat()
}

fn message(kind: u16, transaction: Transaction, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    [
        &kind.to_be_bytes(),
        &length.to_be_bytes(),
        &transaction[..],
        body,
    ]
    .concat()
}

const REFUSED: &[u8] = b"\0\0\x04\x01Unauthorized";
const THERE: &[u8] = &[0, 1, 0x0d, 0x96, 198, 51, 100, 31];

#[test]
fn an_edge_server_refuses_an_allocate_and_says_where_it_is() {
    let realm: &[u8] = b"\"rtcmedia\"";
    let attributes = [(0x0009, REFUSED), (0x0015, realm), (0x000E, THERE)];
    let bytes = microsoft(0x0113, &attributes);
    let refusal = Message::read(&bytes).unwrap();
    assert_eq!(refusal.dialect, Dialect::Microsoft);
    assert_eq!(
        (refusal.class, refusal.method),
        (Class::Error, Method::Allocate)
    );
    assert_eq!(refusal.error(), Some(401));
    assert_eq!(
        refusal.alternate_server(),
        "198.51.100.31:3478".parse().ok()
    );
    assert!(refusal.sends_away());
}

#[test]
fn so_does_a_server_by_the_book() {
    let attributes: [(u16, &[u8]); 3] = [(0x0009, REFUSED), (0x0014, b"nonce"), (0x8023, THERE)];
    let bytes = rfc(0x0113, &attributes);
    let refusal = Message::read(&bytes).unwrap();
    assert_eq!(refusal.dialect, Dialect::Rfc);
    assert!(refusal.sends_away());
    let stays = rfc(0x0113, &attributes[..2]);
    assert!(!Message::read(&stays).unwrap().sends_away());
    let of_another_request = rfc(0x0114, &attributes);
    assert!(!Message::read(&of_another_request).unwrap().sends_away());
}

#[test]
fn the_vector_of_rfc_5769_is_read() {
    let answer = Message::read(RFC_5769_ANSWER).unwrap();
    assert_eq!(
        (answer.class, answer.method),
        (Class::Success, Method::Binding)
    );
    let kinds: Vec<u16> = answer.attributes.map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [0x8022, 0x0020, 0x0008, 0x8028]);
    let software = answer.attributes.find(0x8022);
    assert_eq!(software, Some(&b"test vector"[..]));
}

#[test]
fn what_is_no_stun_is_nobodys_message() {
    let media = [
        0x80, 114, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let channel = [
        0x40, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let mut longer = RFC_5769_ANSWER.to_vec();
    longer.push(0);
    let shorter = &RFC_5769_ANSWER[..RFC_5769_ANSWER.len() - 1];
    let without_cookie = message(3, [7; 16], &[]);
    for bytes in [&media[..], &channel, &longer, shorter, &without_cookie, &[]] {
        assert_eq!(Message::read(bytes), None, "{bytes:?}");
    }
}

#[test]
fn an_address_of_a_family_that_nobody_knows_is_none() {
    for value in [
        &[0, 3, 0, 1, 1, 2, 3, 4][..],
        &[0, 1, 0, 1, 1, 2, 3],
        &[0, 2, 0, 1, 1, 2, 3, 4],
    ] {
        assert_eq!(attribute::address(value), None);
    }
    let v6 = [&[0, 2, 0x0d, 0x96][..], &[0; 15], &[1]].concat();
    assert_eq!(attribute::address(&v6), "[::1]:3478".parse().ok());
}

#[test]
fn a_question_is_read_as_what_it_asks() {
    for dialect in [Dialect::Rfc, Dialect::Microsoft] {
        let (bytes, transaction) = allocate(dialect, [9; 16]);
        let asked = Message::read(&bytes).unwrap();
        assert_eq!((asked.dialect, asked.transaction), (dialect, transaction));
        assert_eq!(
            (asked.class, asked.method),
            (Class::Request, Method::Allocate)
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_attributes_come_to_an_end(mut bytes: Vec<u8>, as_stun: bool) {
        if as_stun && let Some((head, body)) = bytes.split_first_chunk_mut::<HEADER>() {
            let length = u16::try_from(body.len()).unwrap_or(0).to_be_bytes();
            head[0] &= 0x3f;
            head[2..4].copy_from_slice(&length);
            head[4..8].copy_from_slice(&COOKIE.to_be_bytes());
        }
        if let Some(message) = Message::read(&bytes) {
            prop_assert!(message.attributes.count() <= bytes.len() / 4);
            let _ = (message.error(), message.alternate_server(), message.sends_away());
        }
    }

    #[test]
    fn it_agrees_with_an_independent_reader(kind in 0_u16..0x4000, values in attributes()) {
        let borrowed: Vec<_> = values.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        let bytes = rfc(kind, &borrowed);
        let ours = Message::read(&bytes).unwrap();
        let theirs = stun_types::message::Message::from_bytes(&bytes);
        let theirs = theirs.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let class = match theirs.class() {
            MessageClass::Request => Class::Request,
            MessageClass::Indication => Class::Indication,
            MessageClass::Success => Class::Success,
            MessageClass::Error => Class::Error,
        };
        prop_assert_eq!(ours.class, class);
        let own = match ours.method {
            Method::Binding => 1,
            Method::Allocate => 3,
            Method::Other(other) => other,
        };
        prop_assert!(theirs.has_method(stun_types::message::Method::new(own)));
    }
}

fn attributes() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    prop::collection::vec(
        (
            0x8030_u16..0x8100,
            prop::collection::vec(any::<u8>(), 0..12),
        ),
        0..6,
    )
}
