//! What is read of a head, and what is answered.

use super::*;

const INVITE: &str = "INVITE sip:bob@contoso.com SIP/2.0\r\n\
    Via: SIP/2.0/TLS edge.fabrikam.com:5061;branch=z9hG4bK1 , SIP/2.0/TLS inner:5061;branch=z9hG4bK0\r\n\
    v: SIP/2.0/TCP client;branch=z9hG4bKc\r\n\
    Max-Forwards: 69\r\n\
    f: \"A, <B>; tag=no \\\" \" <sip:alice;x@y@fabrikam.com:5060;user=phone?a=b>;epid=1;tag = a73k\r\n\
    t: <sip:bob@contoso.com>\r\n\
    i: 42@fabrikam\r\n\
    CSeq: 7\r\n\tINVITE\r\n\
    Content-Length: 0\r\n\r\n";

#[test]
fn what_policy_needs_is_read_where_it_lies() {
    let invite = message(INVITE);
    let uri = b"sip:bob@contoso.com".as_slice();
    assert_eq!(
        invite.start,
        Start::Request {
            method: "INVITE",
            uri
        }
    );
    let via = invite.via().unwrap();
    assert_eq!(
        (via.sent_by, via.branch()),
        (&b"edge.fabrikam.com:5061"[..], Some(&b"z9hG4bK1"[..]))
    );
    let (from, to) = (invite.from().unwrap(), invite.to().unwrap());
    assert_eq!(
        (from.host(), from.tag()),
        (Some("fabrikam.com"), Some(&b"a73k"[..]))
    );
    assert_eq!((to.host(), to.tag()), (Some("contoso.com"), None));
    assert_eq!(invite.call_id(), Some(&b"42@fabrikam"[..]));
    assert_eq!(
        invite.cseq(),
        Some(CSeq {
            number: 7,
            method: "INVITE"
        })
    );
    assert_eq!(invite.max_forwards(), Some(69));
    assert_eq!(invite.values(Name::Via).count(), 2);
    let ringing = message("SIP/2.0 180 Es läutet\r\n\r\n");
    assert_eq!((ringing.code(), ringing.method()), (Some(180), None));
}

#[test]
fn the_domain_is_the_host_of_whatever_form_the_address_has() {
    let host = |value: &str| {
        let text = format!("BYE sip:a SIP/2.0\r\nFrom: {value}\r\n\r\n");
        message(&text).from().unwrap().host().map(str::to_owned)
    };
    for (value, expected) in [
        ("sip:alice@fabrikam.com", Some("fabrikam.com")),
        ("sip:alice@fabrikam.com;tag=x@y", Some("fabrikam.com")),
        ("SIPS:fabrikam.com:5061", Some("fabrikam.com")),
        ("<sip:[2001:db8::1]:5061;lr>", Some("[2001:db8::1]")),
        ("x <sip:a@[2001:db8::1]>", Some("[2001:db8::1]")),
        ("<tel:+123>", None),
        ("<sip:>", None),
        ("<sip:a@b c>", Some("b")),
        ("<sip:a@b\u{e9}>", None),
        ("", None),
        ("<", None),
    ] {
        assert_eq!(host(value).as_deref(), expected, "{value}");
    }
}

#[test]
fn an_offer_to_compress_is_known_and_declined_and_one_that_was_taken_up_is_seen() {
    // [MS-SIPCOMP], sections 4.1 and 4.2.
    let offer = "NEGOTIATE sip:192.0.0.1:5061 SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.0.2:2616\r\nCSeq: 1 NEGOTIATE\r\n\
        Call-ID: 8d8b\r\nFrom: <sip:a.contoso.com>;tag=9847\r\nTo: <sip:b.contoso.com>\r\nCompression: LZ77-8K\r\n\
        Max-Forwards: 0\r\nContent-Length: 0\r\n\r\n";
    let offered = message(offer);
    assert!(offered.offers_compression());
    assert!(!message(&offer.replace("LZ77-8K", "None")).offers_compression());
    assert!(!message(&offer.replace("NEGOTIATE", "OPTIONS")).offers_compression());
    let declined = Answer::NotCompressed.to(&offered, 0xabc).unwrap();
    let declined = String::from_utf8(declined).unwrap();
    assert_eq!(
        declined,
        "SIP/2.0 488 Not Acceptable Here\r\nVia: SIP/2.0/TLS 192.0.0.2:2616\r\nFrom: <sip:a.contoso.com>;tag=9847\r\n\
         To: <sip:b.contoso.com>;tag=0000000000000abc\r\nCall-ID: 8d8b\r\nCSeq: 1 NEGOTIATE\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert!(!message(&declined).accepts_compression());
    let accepted = "SIP/2.0 200 OK\r\nCompression: LZ77-8K\r\nCSeq: 1 NEGOTIATE\r\n\r\n";
    assert!(message(accepted).accepts_compression());
    assert!(!message(&accepted.replace("LZ77-8K", "none")).accepts_compression());
}

#[test]
fn an_answer_finds_its_way_back_and_its_transaction() {
    let invite = message(INVITE);
    let answer = Answer::Unavailable { retry_after: 5 }
        .to(&invite, 1)
        .unwrap();
    let pieces = frame(&answer, &[7]);
    let [
        Piece::Message {
            head,
            is_declared: true,
            ..
        },
    ] = pieces.as_slice()
    else {
        panic!("{pieces:?}");
    };
    let read = Message::read(head).unwrap();
    assert_eq!(read.code(), Some(503));
    let same = |name| read.values(name).eq(invite.values(name));
    assert!(
        [Name::Via, Name::From, Name::CallId, Name::CSeq]
            .into_iter()
            .all(same)
    );
    assert_eq!(read.to().unwrap().tag(), Some(&b"0000000000000001"[..]));
    let retry = read
        .headers()
        .find(|header| header.written == b"Retry-After");
    assert_eq!(retry.unwrap().value, b"5");
    // Within a dialog the tag is there already.
    let text = INVITE.replace(
        "t: <sip:bob@contoso.com>",
        "t: <sip:bob@contoso.com>;tag=their",
    );
    let again = Answer::Forbidden.to(&message(&text), 1).unwrap();
    assert_eq!(
        Message::read(&again).unwrap().to().unwrap().tag(),
        Some(&b"their"[..])
    );
}

#[test]
fn nobody_is_answered_who_would_not_take_it() {
    for text in [
        INVITE.replace("INVITE", "ACK"),
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a\r\n\r\n".to_owned(),
        "OPTIONS sip:a SIP/2.0\r\n\r\n".to_owned(),
    ] {
        assert_eq!(Answer::Malformed.to(&message(&text), 1), None, "{text}");
    }
}

#[test]
fn a_question_is_answered_by_a_final_response_to_it_alone() {
    let local = "[2001:db8::7]:4711".parse().unwrap();
    let question = Question::new("edge1.contoso.com", local, Transport::Tls, [1, 2, 3]);
    let request = Message::read(&question.text).unwrap();
    assert_eq!(request.method(), Some("OPTIONS"));
    assert_eq!(request.from().unwrap().host(), Some("[2001:db8::7]"));
    assert_eq!(request.via().unwrap().sent_by, b"[2001:db8::7]:4711");
    assert!(matches!(
        frame(&question.text, &[]).as_slice(),
        [Piece::Message {
            is_declared: true,
            ..
        }]
    ));
    let answer = Answer::Unavailable { retry_after: 1 }
        .to(&request, 9)
        .unwrap();
    let trying =
        "SIP/2.0 100 Trying\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK0000000000000001\r\nl: 0\r\n\r\n";
    let foreign = trying.replace("100", "200").replace("0001", "0002");
    let foreign = foreign.replace("l: 0\r\n\r\n", "l: 7\r\n\r\nno\r\nsip");
    let all = [b"\r\n", trying.as_bytes(), foreign.as_bytes(), &answer].concat();
    let judge = |bytes: &[u8]| question.hearing().judge(bytes);
    let mut hearing = question.hearing();
    for end in 0..all.len() {
        assert_eq!(judge(&all[..end]), Judgement::Awaited, "{end}");
        assert_eq!(hearing.judge(&all[..end]), Judgement::Awaited, "{end}");
    }
    assert_eq!(judge(&all), Judgement::Answered(503));
    assert_eq!(hearing.judge(&all), Judgement::Answered(503));
    assert_eq!(judge(b"HTTP/1.1 400 Bad Request\r\n"), Judgement::Wrong);
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_looked_at_once() {
    let local = "192.0.2.1:4711".parse().unwrap();
    let question = Question::new("edge1.contoso.com", local, Transport::Tcp, [1, 2, 3]);
    let said = "SIP/2.0 100 Trying\r\nx: y\r\nz: 0\r\n";
    let mut hearing = question.hearing();
    for end in 1..=said.len() {
        // Whoever looked again at lines that are whole would find no SIP in them.
        let last = said[..end - 1].rfind("\r\n").map_or(0, |at| at + 2);
        let mut bytes = said.as_bytes()[..end].to_vec();
        bytes[..last].fill(b'\n');
        assert_eq!(hearing.judge(&bytes), Judgement::Awaited, "{end}");
    }
}

proptest! {
    #[test]
    fn nothing_that_a_peer_sends_panics(head: Vec<u8>, value: Vec<u8>) {
        let head = [b"INVITE sip:a SIP/2.0\r\nVia: ".as_slice(), &value, b"\r\nf: ", &value, b"\r\nt:", &value, b"\r\nCSeq: ", &value, b"\r\n", &head].concat();
        if let Some(message) = Message::read(&head) {
            let _ = (message.via().map(|via| via.branch()), message.cseq(), message.max_forwards());
            let _ = (message.from().map(|from| (from.host(), from.tag())), message.to().map(|to| to.host()));
            let _ = (message.offers_compression(), Answer::Forbidden.to(&message, 1));
        }
        let _ = Message::read(&value);
    }
}
