//! A stream of SIP: framed as it comes it is what it is at once, and what is read of a head lies within it.
#![cfg_attr(fuzzing, no_main)]

use pinfold::inspect::sip::{Answer, Fault, Found, Framer, Message, Name};

/// Reads `data` as what a peer sends, whole and byte by byte.
pub(crate) fn run(data: &[u8]) {
    assert_eq!(frame(data, data.len().max(1)), frame(data, 1));
}

/// The ends of all that is found, and the fault. Of a body only its last byte counts.
fn frame(data: &[u8], step: usize) -> (Vec<usize>, Option<Fault>) {
    let mut framer = Framer::new(1 << 20);
    let (mut ends, mut begin, mut end) = (Vec::new(), 0, 0);
    while end < data.len() {
        end = data.len().min(end + step);
        loop {
            let found = match framer.look(&data[begin..end]) {
                Ok(Found::Incomplete) => break,
                Ok(found) => found,
                Err(fault) => return (ends, Some(fault)),
            };
            let piece = &data[begin..begin + found.length()];
            begin += found.length();
            match found {
                Found::Head { .. } => read(piece),
                Found::Body { is_last: false, .. } => continue,
                Found::Body { .. } | Found::LineEnd { .. } | Found::Incomplete => {}
            }
            ends.push(begin);
        }
    }
    (ends, None)
}

fn read(head: &[u8]) {
    let Some(message) = Message::read(head) else {
        return;
    };
    let hosts = [message.from(), message.to()].map(|party| party.and_then(|party| party.host()));
    assert!(
        hosts
            .iter()
            .flatten()
            .all(|host| !host.is_empty() && host.is_ascii())
    );
    let _ = (message.cseq(), message.call_id(), message.max_forwards());
    let _ = (message.offers_compression(), message.accepts_compression());
    let Some(answer) = Answer::Forbidden.to(&message, 1) else {
        return;
    };
    // It is framed as one message with the same way back.
    let found = Framer::new(0).look(&answer);
    let is_one = matches!(found, Ok(Found::Head { length, body: 0, .. }) if length == answer.len());
    assert!(is_one, "{found:?}");
    let answer =
        Message::read(&answer).map(|answer| answer.values(Name::Via).eq(message.values(Name::Via)));
    assert_eq!(answer, Some(true));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
