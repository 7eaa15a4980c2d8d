//! The question of a probe: an Allocate without credentials, which a healthy server refuses by 401.

use super::{COOKIE, Dialect, HEADER, MS_COOKIE, Transaction, attribute};

/// Bytes of the longest question.
pub const ASKED_MAX: usize = HEADER + 8;

/// RFC 8656, section 18: what is to be relayed.
const REQUESTED_TRANSPORT: u16 = 0x0019;
/// UDP: the number of the protocol, and three bytes that are reserved.
const UDP: [u8; 4] = [17, 0, 0, 0];

/// An Allocate request without credentials: RFC 8656, section 7.1; `[MS-TURN]`, section 3.2.4.1. Which transaction
/// its answer tells is returned with it; `random` makes it one of a kind.
#[must_use]
pub fn allocate(dialect: Dialect, random: Transaction) -> ([u8; ASKED_MAX], Transaction) {
    let (transaction, (kind, value)) = match dialect {
        Dialect::Rfc => {
            let mut transaction = random;
            let (cookie, _) = transaction.split_at_mut(4);
            cookie.copy_from_slice(&COOKIE.to_be_bytes());
            (transaction, (REQUESTED_TRANSPORT, UDP))
        }
        Dialect::Microsoft => (random, (attribute::MAGIC_COOKIE, MS_COOKIE.to_be_bytes())),
    };
    let mut message = [0; ASKED_MAX];
    let parts: [&[u8]; 5] = [
        &[0, 3, 0, 8],
        &transaction,
        &kind.to_be_bytes(),
        &[0, 4],
        &value,
    ];
    for (place, byte) in message.iter_mut().zip(parts.into_iter().flatten()) {
        *place = *byte;
    }
    (message, transaction)
}
