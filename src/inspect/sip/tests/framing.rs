//! Framing, beside a framer that is simple and slow.

use super::*;

/// Frames what is there at once, by searching in all that is left.
fn naive(mut rest: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut line_ends = 0;
    while !rest.is_empty() && rest != b"\r" {
        if let Some(behind) = rest.strip_prefix(b"\r\n") {
            line_ends += 1;
            pieces.push(Piece::LineEnd {
                is_ping: line_ends % 2 == 0,
            });
            rest = behind;
            continue;
        }
        line_ends = 0;
        match naive_head(rest) {
            Ok(None) => break,
            Err(fault) => {
                pieces.push(Piece::Fault(fault));
                break;
            }
            Ok(Some((head, body))) => {
                let is_whole = rest.len() >= head + body.unwrap_or(0);
                let end = rest.len().min(head + body.unwrap_or(0));
                pieces.push(Piece::Message {
                    head: rest[..head].to_vec(),
                    body: rest[head..end].to_vec(),
                    is_declared: body.is_some(),
                    is_whole,
                });
                rest = &rest[end..];
            }
        }
    }
    pieces
}

type NaiveHead = Option<(usize, Option<usize>)>;

/// The head that `rest` begins with: its length, and that of its body.
fn naive_head(rest: &[u8]) -> Result<NaiveHead, Fault> {
    let text: String = rest.iter().map(|byte| char::from(*byte)).collect();
    let first = text.chars().next().unwrap();
    if !(first.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(first)) {
        return Err(Fault::NoStartLine);
    }
    let end = text.find("\r\n\r\n");
    let head = end.map_or(text.as_str(), |end| &text[..end + 2]);
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    // What no line end follows is no line yet.
    let last = lines.pop().unwrap();
    for (at, line) in lines.iter().enumerate() {
        if line.contains(['\r', '\n']) {
            return Err(Fault::BareLineEnd);
        }
        let version = |word: &str| {
            let word = word.to_ascii_uppercase();
            word.starts_with("SIP/") && word[4..].starts_with(|c: char| c.is_ascii_digit())
        };
        if at == 0
            && !version(line)
            && !version(
                line.split([' ', '\t'])
                    .rfind(|word| !word.is_empty())
                    .unwrap_or(""),
            )
        {
            return Err(Fault::NoStartLine);
        }
        if at > 0 && !line.starts_with([' ', '\t']) && !line.contains(':') {
            return Err(Fault::NoHeader);
        }
    }
    let last = last.strip_suffix('\r').unwrap_or(last);
    if last.contains(['\r', '\n']) {
        return Err(Fault::BareLineEnd);
    }
    let Some(end) = end else { return Ok(None) };
    if lines
        .get(1)
        .is_some_and(|line| line.starts_with([' ', '\t']))
    {
        return Err(Fault::NoHeader);
    }
    let mut length = None;
    let unfolded = head.replace("\r\n ", "  ").replace("\r\n\t", "  ");
    for line in unfolded.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if !["content-length", "l"]
            .contains(&name.trim_matches([' ', '\t']).to_lowercase().as_str())
        {
            continue;
        }
        let value = value.trim_matches([' ', '\t']);
        if value.is_empty() || !value.chars().all(|c| c.is_ascii_digit()) {
            return Err(Fault::BadLength);
        }
        let value: Option<u64> = value.parse().ok();
        if length.is_some_and(|length| length != value) {
            return Err(Fault::ConflictingLengths);
        }
        length = Some(value);
    }
    if length.is_some_and(|length| length.is_none_or(|length| length > BODY_MAX)) {
        return Err(Fault::BodyTooLarge { head: end + 4 });
    }
    let length = length
        .flatten()
        .map(|length| usize::try_from(length).unwrap());
    Ok(Some((end + 4, length)))
}

/// What streams are made of, good and bad.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "\r\n",
        "\r\n\r\n",
        "\r",
        "\n",
        " ",
        "\t",
        ":",
        "x",
        "\0",
        "INVITE sip:a@b SIP/2.0\r\n",
        "SIP/2.0 200 OK\r\n",
        "GET / HTTP/1.1\r\n",
        "l: 3\r\n",
        "Content-Length : 0\r\n",
        "CONTENT-LENGTH:\r\n 5\r\n",
        "l: -1\r\n",
        "l: 4097\r\n",
        "l: 99999999999999999999\r\n",
        "v: SIP/2.0/TLS a;branch=z\r\n",
        "f: a\r\n b\r\n",
        "nothing\r\n",
        "abc",
        "hello",
    ]);
    let mixed = prop::collection::vec(pieces, 0..14);
    let mixed = mixed.prop_map(|pieces| pieces.concat().into_bytes());
    prop_oneof![9 => mixed, 1 => any::<Vec<u8>>()]
}

proptest! {
    #[test]
    fn frames_are_the_same_however_the_stream_is_chopped(
        stream in stream(), cuts in prop::collection::vec(1usize..40, 0..6),
    ) {
        let whole = frame(&stream, &[]);
        prop_assert_eq!(&frame(&stream, &[1]), &whole);
        prop_assert_eq!(&frame(&stream, &cuts), &whole);
        prop_assert_eq!(naive(&stream), whole);
    }

    #[test]
    fn good_messages_pass_to_the_byte(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5), cut in 1usize..90) {
        let one = |body: &Vec<u8>| {
            let head = format!("MESSAGE sip:a@b SIP/2.0\r\nl: {}\r\n\r\n", body.len());
            [head.as_bytes(), body].concat()
        };
        let stream: Vec<u8> = bodies.iter().flat_map(one).collect();
        let found = frame(&stream, &[cut]);
        let passed: Vec<u8> = found.iter().flat_map(|piece| match piece {
            Piece::Message { head, body, .. } => [head.as_slice(), body].concat(),
            Piece::LineEnd { .. } | Piece::Fault(_) => panic!("{piece:?}"),
        }).collect();
        prop_assert_eq!(found.len(), bodies.len());
        prop_assert_eq!(passed, stream);
    }
}

#[test]
fn a_question_of_a_keep_alive_is_two_line_ends_and_its_answer_one() {
    let ends = |stream: &[u8]| frame(stream, &[1]);
    let [alone, ping] = [false, true].map(|is_ping| Piece::LineEnd { is_ping });
    assert_eq!(ends(b"\r\n"), std::slice::from_ref(&alone));
    assert_eq!(ends(b"\r\n\r\n\r\n"), [alone.clone(), ping, alone.clone()]);
    // A message between two of them parts them.
    let parted = ends(b"\r\nACK sip:a SIP/2.0\r\nl: 0\r\n\r\n\r\n");
    assert_eq!((&parted[0], &parted[2]), (&alone, &alone));
}

#[test]
fn a_head_that_does_not_end_is_refused_at_the_limit_and_one_of_that_length_is_not() {
    let head = |length: usize| {
        let (start, end) = ("OPTIONS sip:a SIP/2.0\r\nx: ", "\r\n\r\n");
        let filling = "y".repeat(length - start.len() - end.len());
        format!("{start}{filling}{end}").into_bytes()
    };
    for cuts in [&[][..], &[1000], &[HEAD_MAX - 1, 1]] {
        let fits = frame(&head(HEAD_MAX), cuts);
        assert!(
            matches!(fits.as_slice(), [Piece::Message { .. }]),
            "{cuts:?}"
        );
        assert_eq!(
            frame(&head(HEAD_MAX + 1), cuts),
            [Piece::Fault(Fault::HeadTooLarge)]
        );
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_looked_at_once() {
    // Quadratic work on this many bytes would take minutes; the framer goes on where it was.
    let lines = "x: y\r\n".repeat(HEAD_MAX / 6 - 10);
    let stream = format!("OPTIONS sip:a SIP/2.0\r\n{lines}\r\n").into_bytes();
    let mut framer = Framer::new(0);
    for end in 1..stream.len() {
        assert_eq!(framer.look(&stream[..end]), Ok(Found::Incomplete));
    }
    assert!(matches!(framer.look(&stream), Ok(Found::Head { .. })));
}

#[test]
fn what_is_no_sip_is_refused_with_its_first_line_or_byte() {
    for stream in [
        &b"\x16\x03\x01"[..],
        b" INVITE",
        b"GET / HTTP/1.1\r\n",
        b"line 1\r\n",
        b"SIP/x\r\n",
        b"\r\r",
    ] {
        assert_eq!(
            frame(stream, &[1]),
            [Piece::Fault(Fault::NoStartLine)],
            "{stream:?}"
        );
    }
}

#[test]
fn how_much_is_missing_is_known() {
    let mut framer = Framer::new(100);
    assert!(!framer.is_within_message());
    let head = b"ACK sip:a SIP/2.0\r\nl: 10\r\n\r\n";
    assert_eq!(framer.look(&head[..9]), Ok(Found::Incomplete));
    assert!(framer.is_within_message());
    framer.look(head).unwrap();
    assert_eq!(framer.rest_of_body(), 10);
    assert_eq!(
        framer.look(b"1234"),
        Ok(Found::Body {
            length: 4,
            is_last: false
        })
    );
    assert_eq!(framer.rest_of_body(), 6);
    assert_eq!(
        framer.look(b"567890INVITE"),
        Ok(Found::Body {
            length: 6,
            is_last: true
        })
    );
    assert!(!framer.is_within_message());
}
