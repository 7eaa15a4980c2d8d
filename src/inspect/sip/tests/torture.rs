//! The messages of RFC 4475: what can be framed passes to the byte, good or bad, since a bad request is the node's to
//! refuse; what cannot be framed is refused here.

use super::*;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sip/rfc4475")
}

fn print(name: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.dat"))).unwrap()
}

/// What is read of a message: method or code, domain of From and To, number of CSeq.
type Read<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<u32>);

const COM: Option<&str> = Some("example.com");
const NET: Option<&str> = Some("example.net");
const ORG: Option<&str> = Some("example.org");
const EDU: Option<&str> = Some("example.edu");

/// Sections 3.1.1, and 3.2 to 3.4 but for those below: whatever a node makes of them.
const PASS: [(&str, Read<'_>); 43] = [
    (
        "wsinv",
        ("INVITE", COM, Some("chair-dnrc.example.com"), Some(9)),
    ),
    (
        "intmeth",
        (
            "!interesting-Method0123456789_*+`.%indeed'~",
            COM,
            COM,
            Some(139_122_385),
        ),
    ),
    ("esc01", ("INVITE", NET, COM, Some(234_234))),
    ("escnull", ("REGISTER", COM, COM, Some(14_398_234))),
    ("esc02", ("RE%47IST%45R", COM, COM, Some(29_344))),
    ("lwsdisp", ("OPTIONS", COM, COM, Some(60))),
    ("longreq", ("INVITE", NET, COM, Some(3_882_340))),
    ("semiuri", ("OPTIONS", ORG, COM, Some(8))),
    ("transports", ("OPTIONS", COM, COM, Some(60))),
    ("mpart01", ("MESSAGE", COM, ORG, Some(1))),
    ("unreason", ("200", COM, EDU, Some(35))),
    ("noreason", ("100", COM, EDU, Some(35))),
    // 3.1.2, invalid where a balancer does not look.
    ("badinv01", ("INVITE", NET, COM, Some(8))),
    ("scalar02", ("REGISTER", COM, COM, None)),
    ("scalarlg", ("503", NET, COM, None)),
    ("quotbal", ("INVITE", NET, None, Some(8))),
    ("ltgtruri", ("INVITE", NET, COM, Some(1))),
    ("lwsruri", ("INVITE", NET, COM, Some(2_130_706_432))),
    ("lwsstart", ("INVITE", NET, COM, Some(1_893_884))),
    ("trws", ("OPTIONS", COM, COM, Some(238_923))),
    ("escruri", ("INVITE", NET, COM, Some(149_209_342))),
    ("baddate", ("INVITE", NET, COM, Some(1_392_934))),
    ("regbadct", ("REGISTER", COM, COM, Some(1))),
    ("badaspec", ("OPTIONS", COM, ORG, Some(3_923_239))),
    ("baddn", ("OPTIONS", COM, ORG, Some(3_923_239))),
    ("badvers", ("OPTIONS", COM, ORG, Some(1))),
    ("mismatch01", ("OPTIONS", NET, COM, Some(8))),
    ("mismatch02", ("NEWMETHOD", NET, COM, Some(8))),
    ("badbranch", ("OPTIONS", ORG, COM, Some(8))),
    ("insuf", ("INVITE", None, None, Some(193_942))),
    ("unkscm", ("OPTIONS", NET, COM, Some(3_923_423))),
    ("novelsc", ("OPTIONS", NET, COM, Some(3_923_423))),
    ("unksm2", ("REGISTER", None, None, Some(234_902))),
    ("bext01", ("OPTIONS", NET, COM, Some(8))),
    ("invut", ("INVITE", NET, COM, Some(235_448))),
    ("regaut01", ("REGISTER", COM, COM, Some(9338))),
    ("multi01", ("INVITE", COM, COM, Some(5))),
    ("bcast", ("200", COM, EDU, Some(35))),
    ("zeromf", ("OPTIONS", NET, COM, Some(39_234_321))),
    ("cparam01", ("REGISTER", COM, COM, Some(2))),
    ("cparam02", ("REGISTER", COM, COM, Some(3))),
    ("regescrt", ("REGISTER", COM, COM, Some(14_398_234))),
    ("sdp01", ("INVITE", NET, COM, Some(8))),
];

/// Those that the table above does not hold.
const OTHERS: [&str; 6] = ["bigcode", "clerr", "dblreq", "inv2543", "mcl01", "ncl"];

#[test]
fn what_can_be_framed_passes_to_the_byte_and_is_read() {
    for (name, expected) in PASS {
        let bytes = print(name);
        for cuts in [&[][..], &[1], &[7, 40]] {
            let pieces = frame(&bytes, cuts);
            let [
                Piece::Message {
                    head,
                    body,
                    is_declared: true,
                    is_whole: true,
                },
            ] = pieces.as_slice()
            else {
                panic!("{name}: {pieces:?}");
            };
            assert_eq!([head.as_slice(), body].concat(), bytes, "{name}");
            let message = Message::read(head).unwrap_or_else(|| panic!("{name}"));
            let code = message.code().map(|code| code.to_string());
            let what = message.method().or(code.as_deref()).unwrap();
            let [from, to] =
                [message.from(), message.to()].map(|party| party.and_then(|party| party.host()));
            let number = message.cseq().map(|cseq| cseq.number);
            assert_eq!((what, from, to, number), expected, "{name}");
        }
    }
}

#[test]
fn the_table_holds_every_message() {
    let mut stored: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let mut listed: Vec<&str> = PASS.iter().map(|(name, _)| *name).chain(OTHERS).collect();
    stored.sort();
    listed.sort_unstable();
    assert_eq!(stored, listed);
}

#[test]
fn a_length_that_is_none_or_two_cannot_be_framed() {
    // 3.1.2.3: "Content-Length: -999". 3.3.9: two that differ.
    assert_eq!(frame(&print("ncl"), &[1]), [Piece::Fault(Fault::BadLength)]);
    assert_eq!(
        frame(&print("mcl01"), &[1]),
        [Piece::Fault(Fault::ConflictingLengths)]
    );
}

#[test]
fn a_length_beyond_the_message_waits_for_the_rest_or_is_too_large() {
    // 3.1.2.2: 9999 where there are fewer.
    let bytes = print("clerr");
    let pieces = frame(&bytes, &[1]);
    let [Piece::Fault(Fault::BodyTooLarge { head })] = pieces[..] else {
        panic!("{pieces:?}");
    };
    let request = Message::read(&bytes[..head]).unwrap();
    let answer = Answer::BodyTooLarge.to(&request, 1).unwrap();
    assert!(answer.starts_with(b"SIP/2.0 413 "));
    let mut framer = Framer::new(9999);
    framer.look(&bytes).unwrap();
    framer.look(&bytes[head..]).unwrap();
    assert_eq!(framer.rest_of_body(), 9999 - (bytes.len() - head) as u64);
}

#[test]
fn two_requests_of_one_datagram_are_two_and_what_follows_is_none() {
    // 3.1.1.8. Over UDP what is beyond the first is to be ignored; a stream goes on.
    let pieces = frame(&print("dblreq"), &[1]);
    let method = |piece: &Piece| match piece {
        Piece::Message { head, .. } => Message::read(head).unwrap().method().unwrap().to_owned(),
        Piece::LineEnd { .. } | Piece::Fault(_) => format!("{piece:?}"),
    };
    let methods: Vec<String> = pieces.iter().map(method).collect();
    assert_eq!(
        methods,
        [
            "REGISTER",
            "LineEnd { is_ping: false }",
            "INVITE",
            "Fault(NoStartLine)"
        ]
    );
}

#[test]
fn without_a_length_there_is_no_body_and_it_is_said() {
    // 3.4.1: as RFC 2543 had it; what follows would be the body.
    let pieces = frame(&print("inv2543"), &[1]);
    let [
        Piece::Message {
            body,
            is_declared: false,
            ..
        },
        Piece::Fault(Fault::NoStartLine),
    ] = pieces.as_slice()
    else {
        panic!("{pieces:?}");
    };
    assert_eq!(body, b"");
}

#[test]
fn a_code_that_is_none_makes_no_response() {
    // 3.1.2.19: 4294967301, which is 5 in 32 bits.
    let pieces = frame(&print("bigcode"), &[1]);
    let [Piece::Message { head, .. }] = pieces.as_slice() else {
        panic!("{pieces:?}");
    };
    assert!(Message::read(head).is_none());
}
