//! A STUN message: what is read of it lies within it, and nothing before its end is a message.
#![cfg_attr(fuzzing, no_main)]

use pinfold::inspect::stun::Message;

/// Reads `data` as a datagram.
pub(crate) fn run(data: &[u8]) {
    let Some(message) = Message::read(data) else {
        return;
    };
    let code = message.error();
    assert!(code.is_none_or(|code| (300..700).contains(&code)));
    assert!(!message.sends_away() || message.alternate_server().is_some());
    assert_eq!(Message::read(&data[..data.len() - 1]), None);
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
