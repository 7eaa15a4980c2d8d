//! A certificate: whatever it says, names are host names and texts are harmless.
#![cfg_attr(fuzzing, no_main)]

use pinfold::inspect::tls::{Certificate, host_name};

/// Reads `data` as DER.
pub(crate) fn run(data: &[u8]) {
    let Some(certificate) = Certificate::parse(data) else {
        return;
    };
    for name in &certificate.names {
        assert_eq!(host_name(name).as_deref(), Some(&**name));
    }
    assert!(certificate.subject.chars().all(|c| matches!(c, ' '..='~')));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
