//! The beginning of an XMPP stream: what is known of it stays so when more comes, and names are names.
#![cfg_attr(fuzzing, no_main)]

use pinfold::inspect::xmpp::{Header, Opening, opening};

/// Reads `data` as what a peer says first.
pub(crate) fn run(data: &[u8]) {
    let whole = opening(data);
    for end in (0..data.len()).step_by(1 + data.len() / 64) {
        let part = opening(&data[..end]);
        assert!(
            part == Opening::Incomplete || part == whole,
            "{part:?}, {whole:?}"
        );
    }
    if let Opening::Header(Header { from, to, .. }) = whole {
        let is_name = |name: Box<str>| {
            !name.is_empty() && name.is_ascii() && !name.contains(char::is_whitespace)
        };
        assert!([from, to].into_iter().flatten().all(is_name));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
