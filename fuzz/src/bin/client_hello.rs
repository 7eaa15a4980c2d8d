//! A ClientHello message: whatever is read of it can be described, and its frames are another's.
#![cfg_attr(fuzzing, no_main)]

use pinfold::inspect::tls::{ClientHello, Version};

/// Reads `data` as the body of a ClientHello.
pub(crate) fn run(data: &[u8]) {
    let Some(hello) = ClientHello::parse(data) else {
        return;
    };
    let ja4 = hello.ja4();
    assert_eq!(ja4.len(), 36, "{ja4}");
    assert!(ja4.is_ascii());
    assert!(hello.newest() <= Version::TLS_1_3);
    let _ = hello.era();
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
