//! What an A/V Edge answers to STUN: enough of RFC 8489 and MS-TURN to tell that it is one.
//!
//! A Binding is answered with the address it came from. An Allocate, which nobody here has
//! credentials for, is answered by 401 with the node's own address as the alternate server: there
//! a client of an Edge pool goes next, past the balancer. Pure.

use std::net::{IpAddr, SocketAddr};

/// RFC 8489, section 5.
const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

const BINDING: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
/// RFC 8656, section 17.
const ALLOCATE: [u8; 2] = [0x00, 0x03];
const ALLOCATE_ERROR: [u8; 2] = [0x01, 0x13];

// RFC 8489, section 18.3.
const ERROR_CODE: u16 = 0x0009;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const SOFTWARE: u16 = 0x8022;
const ALTERNATE_SERVER: u16 = 0x8023;

/// Class 4, number 1, and the phrase (RFC 8489, section 14.8).
const UNAUTHORIZED: &[u8] = b"\0\0\x04\x01Unauthorized";

/// The two ends of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) node: SocketAddr,
}

/// The answer of node `name` to `datagram`, if that is a request.
pub(super) fn answer(datagram: &[u8], name: &str, ends: Ends) -> Option<Vec<u8>> {
    let (header, attributes) = datagram.split_first_chunk::<HEADER>()?;
    let [kind_high, kind_low, high, low, rest @ ..] = header;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (cookie, transaction) = rest.split_first_chunk::<4>()?;
    if *cookie != COOKIE || length != attributes.len() || length % 4 != 0 {
        return None;
    }
    let mut answer = Vec::with_capacity(160);
    match [*kind_high, *kind_low] {
        BINDING => {
            begin(&mut answer, BINDING_SUCCESS, transaction);
            let address = address(ends.client, Some(transaction));
            attribute(&mut answer, XOR_MAPPED_ADDRESS, &address);
        }
        ALLOCATE => {
            begin(&mut answer, ALLOCATE_ERROR, transaction);
            attribute(&mut answer, ERROR_CODE, UNAUTHORIZED);
            attribute(&mut answer, REALM, b"edge.test");
            let nonce = format!("{:032x}", fastrand::u128(..));
            attribute(&mut answer, NONCE, nonce.as_bytes());
            attribute(&mut answer, ALTERNATE_SERVER, &address(ends.node, None));
        }
        _ => return None,
    }
    attribute(&mut answer, SOFTWARE, name.as_bytes());
    Some(answer)
}

fn begin(answer: &mut Vec<u8>, kind: [u8; 2], transaction: &[u8]) {
    for part in [&kind[..], &[0, 0], &COOKIE, transaction] {
        answer.extend_from_slice(part);
    }
}

/// Appends an attribute, padded to four bytes, and counts it in the header.
fn attribute(answer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(0);
    answer.extend(kind.to_be_bytes());
    answer.extend(length.to_be_bytes());
    answer.extend_from_slice(value);
    answer.resize(answer.len().next_multiple_of(4), 0);
    let length = u16::try_from(answer.len() - HEADER).unwrap_or(0);
    if let Some(place) = answer.get_mut(2..4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// An address as an attribute has it (RFC 8489, sections 14.1 and 14.2): disguised by the cookie and
/// the transaction, or plain.
fn address(address: SocketAddr, transaction: Option<&[u8]>) -> Vec<u8> {
    let (family, ip) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut mask = [0; 16];
    if let Some(transaction) = transaction {
        let bytes = COOKIE.iter().chain(transaction);
        mask.iter_mut()
            .zip(bytes)
            .for_each(|(mask, byte)| *mask = *byte);
    }
    let disguised = |bytes: &[u8]| -> Vec<u8> {
        let pairs = bytes.iter().zip(mask);
        pairs.map(|(byte, mask)| byte ^ mask).collect()
    };
    let mut value = vec![0, family];
    value.extend(disguised(&address.port().to_be_bytes()));
    value.extend(disguised(&ip));
    value
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ends() -> Ends {
        Ends {
            client: "192.0.2.1:32853".parse().unwrap(),
            node: "127.0.0.1:3478".parse().unwrap(),
        }
    }

    fn request(kind: [u8; 2], transaction: [u8; 12]) -> Vec<u8> {
        [&kind[..], &[0, 0], &COOKIE, &transaction].concat()
    }

    /// An answer's kind and attributes, read by the letter of the RFC.
    fn read(answer: &[u8]) -> ([u8; 2], BTreeMap<u16, Vec<u8>>) {
        let number = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
        assert_eq!(usize::from(number(2)), answer.len() - HEADER);
        assert_eq!(answer[4..8], COOKIE);
        let (mut attributes, mut at) = (BTreeMap::new(), HEADER);
        while at < answer.len() {
            let length = usize::from(number(at + 2));
            attributes.insert(number(at), answer[at + 4..at + 4 + length].to_vec());
            at += 4 + length.next_multiple_of(4);
        }
        assert_eq!(at, answer.len());
        ([answer[0], answer[1]], attributes)
    }

    /// RFC 5769, section 2.2: the address and the transaction of its sample response.
    #[test]
    fn a_binding_tells_where_it_came_from_in_the_disguise_of_the_rfc() {
        let transaction = [
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ];
        let answer = answer(&request(BINDING, transaction), "edge1", ends()).unwrap();
        let (kind, attributes) = read(&answer);
        assert_eq!((kind, &answer[8..20]), (BINDING_SUCCESS, &transaction[..]));
        let expected = [0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        assert_eq!(attributes[&XOR_MAPPED_ADDRESS], expected);
        assert_eq!(attributes[&SOFTWARE], b"edge1");
    }

    #[test]
    fn an_allocate_is_refused_and_sent_to_the_node_itself() {
        let answer = answer(&request(ALLOCATE, [7; 12]), "edge1", ends()).unwrap();
        let (kind, attributes) = read(&answer);
        assert_eq!(kind, ALLOCATE_ERROR);
        assert_eq!(attributes[&ERROR_CODE][..4], [0, 0, 4, 1]);
        assert_eq!(
            attributes[&ALTERNATE_SERVER],
            [0, 1, 0x0d, 0x96, 127, 0, 0, 1]
        );
        assert!(attributes.contains_key(&REALM) && attributes[&NONCE].len() == 32);
    }

    #[test]
    fn the_newer_addresses_are_told_too() {
        let mut ends = ends();
        ends.node = "[::1]:3478".parse().unwrap();
        let answer = answer(&request(ALLOCATE, [7; 12]), "edge1", ends).unwrap();
        let alternate = &read(&answer).1[&ALTERNATE_SERVER];
        assert_eq!((alternate.len(), alternate[1], alternate[19]), (20, 2, 1));
    }

    #[test]
    fn what_is_no_request_is_not_answered_here() {
        let well = request(BINDING, [7; 12]);
        assert!(answer(&well, "edge1", ends()).is_some());
        let mut longer = well.clone();
        longer.extend([0; 4]);
        let mut indication = well.clone();
        indication[1] = 0x11;
        let mut other_cookie = well.clone();
        other_cookie[7] = 0;
        for other in [&longer, &indication, &other_cookie, &well[..19], &[]] {
            assert_eq!(answer(other, "edge1", ends()), None);
        }
    }

    proptest! {
        #[test]
        fn no_datagram_is_too_strange(datagram in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = answer(&datagram, "edge1", ends());
        }
    }
}
