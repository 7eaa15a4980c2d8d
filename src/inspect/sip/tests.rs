use super::*;
use proptest::prelude::*;

mod framing;
mod reading;
mod torture;

/// What a stream holds, bodies whole.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    LineEnd {
        is_ping: bool,
    },
    Message {
        head: Vec<u8>,
        body: Vec<u8>,
        is_declared: bool,
        is_whole: bool,
    },
    Fault(Fault),
}

const BODY_MAX: u64 = 4096;

/// Frames `stream` as it comes, cut where `cuts` say, in turn.
fn frame(stream: &[u8], cuts: &[usize]) -> Vec<Piece> {
    let (mut framer, mut pieces) = (Framer::new(BODY_MAX), Vec::new());
    let (mut begin, mut end) = (0, 0);
    let mut turns = cuts.iter().copied().cycle();
    while end < stream.len() {
        end = stream
            .len()
            .min(end + turns.next().unwrap_or(usize::MAX).max(1).min(stream.len()));
        loop {
            let found = match framer.look(&stream[begin..end]) {
                Ok(found) => found,
                Err(fault) => {
                    assert_eq!(framer.look(b"INVITE "), Err(fault), "for good");
                    pieces.push(Piece::Fault(fault));
                    return pieces;
                }
            };
            let bytes = &stream[begin..begin + found.length()];
            begin += found.length();
            match found {
                Found::Incomplete => break,
                Found::LineEnd { is_ping } => pieces.push(Piece::LineEnd { is_ping }),
                Found::Head {
                    body, is_declared, ..
                } => pieces.push(Piece::Message {
                    head: bytes.to_vec(),
                    body: Vec::new(),
                    is_declared,
                    is_whole: body == 0,
                }),
                Found::Body { is_last, .. } => {
                    let Some(Piece::Message { body, is_whole, .. }) = pieces.last_mut() else {
                        panic!("a body without a head");
                    };
                    body.extend(bytes);
                    *is_whole = is_last;
                }
            }
        }
    }
    pieces
}

fn message(text: &str) -> Message<'_> {
    Message::read(text.as_bytes()).unwrap()
}
