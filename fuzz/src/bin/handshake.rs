//! A handshake of two sides: cut as the input says, it shows what it shows uncut.
#![cfg_attr(fuzzing, no_main)]

use pinfold::inspect::tls::{Handshake, Side};

/// Reads `data` as pieces: a byte with side and length, and so many bytes.
pub(crate) fn run(data: &[u8]) {
    let (mut cut, mut whole) = (Handshake::new(), Handshake::new());
    let mut rest = data;
    while let Some((first, behind)) = rest.split_first() {
        let side = if first & 1 == 0 {
            Side::Client
        } else {
            Side::Node
        };
        let length = usize::from(first >> 1) * 16 + 1;
        let (piece, behind) = behind.split_at(length.min(behind.len()));
        whole.feed(side, piece);
        for byte in piece {
            cut.feed(side, &[*byte]);
        }
        rest = behind;
    }
    // Where it ended within a piece, the rest of that piece was not looked at either way.
    assert_eq!(whole.facts(), cut.facts());
    assert_eq!(whole.has_ended(), cut.has_ended());
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
