//! JA4: a client's hello in one short line (FoxIO, technical_details/JA4.md, BSD 3-Clause).
//!
//! Only this one of the JA4+ family: the others are under another licence.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::hello::{ALPN, ClientHello, SERVER_NAME};
use super::version::Version;

impl ClientHello {
    /// The fingerprint, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
    #[must_use]
    pub fn ja4(&self) -> String {
        let version = match self.newest() {
            Version::TLS_1_3 => "13",
            Version::TLS_1_2 => "12",
            Version::TLS_1_1 => "11",
            Version::TLS_1_0 => "10",
            Version::SSL_3 => "s3",
            _ => "00",
        };
        let named = if self.has_server_name() { 'd' } else { 'i' };
        let suites = self.cipher_suites.len().min(99);
        let extensions = self.extensions.len().min(99);
        let [first, last] = self.first_protocol.as_deref().map_or(*b"00", ends);
        let mut ja4 = format!(
            "t{version}{named}{suites:02}{extensions:02}{}{}",
            char::from(first),
            char::from(last)
        );
        let _ = write!(ja4, "_{}", hash(&sorted(&self.cipher_suites)));
        let described = self.extensions.iter().copied();
        let described: Vec<u16> = described
            .filter(|kind| ![SERVER_NAME, ALPN].contains(kind))
            .collect();
        let mut list = sorted(&described);
        if !self.signature_algorithms.is_empty() {
            let _ = write!(list, "_{}", listed(&self.signature_algorithms));
        }
        let _ = write!(ja4, "_{}", hash(&list));
        ja4
    }
}

/// First and last character of a protocol's name; of its hexadecimal form where either is no letter
/// or digit.
fn ends(name: &[u8]) -> [u8; 2] {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return *b"00";
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [*first, *last];
    }
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).map_or(b'0', |digit| digit as u8);
    [digit(first >> 4), digit(last & 0x0f)]
}

fn sorted(values: &[u16]) -> String {
    let mut values = values.to_vec();
    values.sort_unstable();
    listed(&values)
}

fn listed(values: &[u16]) -> String {
    let mut list = String::with_capacity(values.len() * 5);
    for value in values {
        let comma = if list.is_empty() { "" } else { "," };
        let _ = write!(list, "{comma}{value:04x}");
    }
    list
}

fn hash(list: &str) -> String {
    if list.is_empty() {
        return "0".repeat(12);
    }
    let digest = Sha256::digest(list.as_bytes());
    digest.iter().take(6).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(list: &str) -> Vec<u16> {
        let number = |digits: &str| u16::from_str_radix(digits, 16).unwrap();
        list.split(',').map(number).collect()
    }

    /// The example of the specification.
    fn chrome() -> ClientHello {
        let mut hello = ClientHello::parse(&[
            3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0,
        ])
        .unwrap();
        hello.supported_versions = vec![Version::TLS_1_3, Version::TLS_1_2];
        hello.cipher_suites =
            numbers("1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035");
        hello.extensions = numbers(
            "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015",
        );
        hello.signature_algorithms = numbers("0403,0804,0401,0503,0805,0501,0806,0601");
        hello.first_protocol = Some(b"h2".as_slice().into());
        hello
    }

    #[test]
    fn the_examples_of_the_specification_come_out() {
        assert_eq!(chrome().ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        // Sorted, so a browser that shuffles its extensions stays the same.
        let mut shuffled = chrome();
        shuffled.extensions.reverse();
        shuffled.cipher_suites.reverse();
        assert_eq!(shuffled.ja4(), chrome().ja4());
    }

    #[test]
    fn what_is_missing_or_illegible_has_its_sign() {
        let mut bare = chrome();
        bare.extensions.clear();
        bare.signature_algorithms.clear();
        bare.supported_versions.clear();
        bare.first_protocol = None;
        assert_eq!(bare.ja4(), "t12i150000_8daaf6152771_000000000000");
        for (name, expected) in [
            (&b"\xab"[..], "ab"),
            (b"\xab\xcd", "ad"),
            (b"0\xab", "3b"),
            (b"01\xab\xcd", "3d"),
            (b"0\xab\xcd1", "01"),
            (b"", "00"),
        ] {
            assert_eq!(ends(name), expected.as_bytes(), "{name:x?}");
        }
    }
}
