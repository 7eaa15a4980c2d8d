//! A PROXY header: a header that is found lies within the bytes, and more bytes do not change it.
#![cfg_attr(fuzzing, no_main)]

use pinfold::inspect::proxy::{Parsed, parse};

/// Reads `data` as what a client says first.
pub(crate) fn run(data: &[u8]) {
    let parsed = parse(data);
    if let Parsed::Header { length, .. } = parsed {
        assert!(length <= data.len());
        assert_eq!(parse(&data[..length]), parsed);
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
