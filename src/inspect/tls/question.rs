//! The little of TLS that a probe needs: a hello that every server answers, and whether it did.
//!
//! Sources: RFC 5246 sections 6.2.1 and 7.4.1.2, RFC 8446 section 4.2.1. Offers at most TLS 1.2, so
//! that a server of any age answers: an old one with a ServerHello of its own version, one that
//! insists on TLS 1.3 with an alert. Either proves that its TLS stack is alive.

/// A ClientHello with this random.
#[must_use]
pub fn client_hello(random: [u8; 32]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend(random);
    body.push(0);
    vector_16(&mut body, |body| {
        CIPHER_SUITES.iter().for_each(|suite| body.extend(suite))
    });
    body.extend([1, 0]);
    vector_16(&mut body, |body| {
        EXTENSIONS
            .iter()
            .for_each(|extension| body.extend(*extension))
    });
    let mut record = vec![HANDSHAKE, 3, 1];
    vector_16(&mut record, |record| {
        record.extend([1, 0]);
        vector_16(record, |record| record.extend(&body));
    });
    record
}

/// What the first bytes of an answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A handshake record or an alert: a TLS stack.
    Tls,
    /// Something else.
    Other,
    /// Too little to tell.
    Incomplete,
}

/// Looks at the first bytes of an answer.
#[must_use]
pub fn answer(bytes: &[u8]) -> Answer {
    match bytes {
        [HANDSHAKE | ALERT, 3, 0..=4, ..] => Answer::Tls,
        [] | [HANDSHAKE | ALERT] | [HANDSHAKE | ALERT, 3] => Answer::Incomplete,
        _ => Answer::Other,
    }
}

fn vector_16(target: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = target.len();
    target.extend([0, 0]);
    fill(target);
    let length = u16::try_from(target.len() - start - 2).unwrap_or(u16::MAX);
    if let Some(place) = target.get_mut(start..start + 2) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;

/// From forward secrecy down to what Windows Server 2003 knows.
const CIPHER_SUITES: [[u8; 2]; 14] = [
    [0xc0, 0x30], // ECDHE-RSA-AES256-GCM-SHA384
    [0xc0, 0x2f], // ECDHE-RSA-AES128-GCM-SHA256
    [0xc0, 0x2c], // ECDHE-ECDSA-AES256-GCM-SHA384
    [0xc0, 0x2b], // ECDHE-ECDSA-AES128-GCM-SHA256
    [0xc0, 0x28], // ECDHE-RSA-AES256-SHA384
    [0xc0, 0x14], // ECDHE-RSA-AES256-SHA
    [0xc0, 0x13], // ECDHE-RSA-AES128-SHA
    [0xc0, 0x0a], // ECDHE-ECDSA-AES256-SHA
    [0x00, 0x9d], // RSA-AES256-GCM-SHA384
    [0x00, 0x35], // RSA-AES256-SHA
    [0x00, 0x2f], // RSA-AES128-SHA
    [0x00, 0x0a], // RSA-3DES-SHA
    [0x00, 0x05], // RSA-RC4-SHA
    [0x00, 0xff], // secure renegotiation (RFC 5746)
];

const EXTENSIONS: [&[u8]; 3] = [
    // supported_groups: x25519, P-256, P-384
    &[0, 10, 0, 8, 0, 6, 0, 29, 0, 23, 0, 24],
    // ec_point_formats: uncompressed
    &[0, 11, 0, 2, 1, 0],
    // signature_algorithms: RSA-PSS, RSA and ECDSA with SHA-256 to SHA-512, and with SHA-1
    &[
        0, 13, 0, 20, 0, 18, 8, 4, 8, 5, 8, 6, 4, 1, 5, 1, 6, 1, 4, 3, 5, 3, 2, 1,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_in_the_hello_fits_what_follows() {
        let hello = client_hello([7; 32]);
        assert_eq!(&hello[..3], &[22, 3, 1]);
        assert_eq!(
            usize::from(u16::from_be_bytes([hello[3], hello[4]])),
            hello.len() - 5
        );
        assert_eq!(hello[5], 1);
        assert_eq!(
            usize::from(u16::from_be_bytes([hello[7], hello[8]])),
            hello.len() - 9
        );
        let extensions_at = 9 + 2 + 32 + 1 + 2 + CIPHER_SUITES.len() * 2 + 2;
        let extensions = u16::from_be_bytes([hello[extensions_at], hello[extensions_at + 1]]);
        assert_eq!(usize::from(extensions), hello.len() - extensions_at - 2);
        for extension in EXTENSIONS {
            assert_eq!(
                usize::from(u16::from_be_bytes([extension[2], extension[3]])),
                extension.len() - 4
            );
        }
    }

    #[test]
    fn a_server_hello_or_an_alert_of_any_version_is_an_answer() {
        assert_eq!(answer(&[22, 3, 1, 0, 50]), Answer::Tls);
        assert_eq!(answer(&[21, 3, 3, 0, 2]), Answer::Tls);
        assert_eq!(answer(&[22]), Answer::Incomplete);
        assert_eq!(answer(b"SIP/2.0 200"), Answer::Other);
        assert_eq!(answer(&[22, 2, 0]), Answer::Other);
    }
}
