//! Who may say what: blocked partners, those that were only found, messages that are too large, and compression.

use std::io::{Read as _, Write as _};
use std::process::{ChildStdin, ChildStdout};

use pinfold_loadtest::process::wait_until;

use super::node::SipNode;
use super::phone::{Openssl, Phone};
use super::{answer_to, counted, read_answer, request, speaking_sip, take_message, world_of};
use crate::terminated::issue;
use crate::tls::certify;
use crate::world::{Directory, FABRIKAM, SOON, Setup, World};

/// Where a stranger calls from.
const STRANGER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 77);

const BLOCKED: &str =
    "[[partner]]\nname = \"bad\"\ndomains = [\"bad.example\"]\nfederation = \"blocked\"\n";

fn one(directory: &Directory, differ: impl FnOnce(&mut Setup)) -> (World, SipNode) {
    certify(directory.path());
    let node = SipNode::start("edge1");
    let world = world_of(directory.path(), &[&node], differ);
    (world, node)
}

/// The same by these `terms` of SIP.
fn one_by(directory: &Directory, terms: &str) -> (World, SipNode) {
    one(directory, |setup| {
        let terms = format!("[listener.sip]\n{terms}\n");
        setup.listeners[0].more = speaking_sip(directory.path(), &terms);
    })
}

#[test]
fn who_says_to_be_blocked_is_answered_403_and_the_node_hears_nothing_of_it() {
    let directory = Directory::create();
    let (world, node) = one(&directory, |setup| setup.rest = BLOCKED.into());
    let mut phone = Phone::connect(world.address(), STRANGER);
    phone.say(request("INVITE", 1, "BAD.example", &"x".repeat(70_000)));
    assert_eq!(read_answer(&phone.hear().unwrap()), (403, None));
    phone.say(request("ACK", 1, "bad.example", "").replace("1ACK", "1INVITE"));
    assert!(node.heard().is_empty());
    // Somebody else of the same peer is served.
    assert_eq!(phone.ask("OPTIONS", 2), (200, Some("edge1".into())));
    let text = node.wait_heard(|text| text.contains("OPTIONS"));
    assert!(!text.contains("bad.example"), "{text}");
    let name = "pinfold_sip_answers_total";
    assert_eq!(counted(&world, name, &["partner=\"\"", "code=\"403\""]), 1);
}

/// A world whose clients show certificates, and a certificate for each of `names`.
fn certified(
    directory: &Directory,
    names: &[&str],
    more: &str,
    partners: &str,
) -> (World, SipNode) {
    let path = directory.path();
    one(directory, |setup| {
        let ca = path.join("ca.pem");
        let auth = format!(
            "client_auth = \"require\"\nclient_ca = \"{}\"\n{more}",
            ca.display()
        );
        setup.listeners[0].more = speaking_sip(path, &auth);
        setup.rest = partners.into();
        for name in names {
            issue(path, name, &[name]);
        }
    })
}

/// Whoever shows the certificate `name`.
struct Shower {
    _client: Openssl,
    input: ChildStdin,
    output: ChildStdout,
    heard: Vec<u8>,
    number: u32,
}

impl Shower {
    fn connect(directory: &Directory, world: &World, name: &str) -> Self {
        let more = format!(" -cert {name}.pem -key {name}.key");
        let (client, input, output) = Openssl::connect(directory.path(), world.address(), &more);
        Self {
            _client: client,
            input,
            output,
            heard: Vec::new(),
            number: 0,
        }
    }

    /// The code of the answer to a request.
    fn ask(&mut self) -> u16 {
        self.number += 1;
        let text = request("OPTIONS", self.number, "elsewhere.example", "");
        self.input.write_all(text.as_bytes()).unwrap();
        let mut block = [0; 4096];
        loop {
            if let Some(message) = take_message(&mut self.heard) {
                return read_answer(&String::from_utf8_lossy(&message)).0;
            }
            let count = self.output.read(&mut block).unwrap();
            assert!(count > 0, "the connection has ended");
            self.heard.extend_from_slice(&block[..count]);
        }
    }
}

/// Codes of the answers to so many requests of whoever shows the certificate `name`.
fn codes(directory: &Directory, world: &World, name: &str, count: u32) -> Vec<u16> {
    let mut shower = Shower::connect(directory, world, name);
    (0..count).map(|_| shower.ask()).collect()
}

#[test]
fn a_reload_says_also_of_those_who_are_there_what_they_may_say() {
    let directory = Directory::create();
    let name = "sip.found.example";
    let rate = "[listener.sip]\ndiscovered_rate = \"2/m\"\n";
    let partners = |federation| {
        format!(
            "[[partner]]\nname = \"found\"\ndomains = [\"found.example\"]\n\
             federation = \"{federation}\"\n"
        )
    };
    let (mut world, _node) = certified(&directory, &[name], rate, &partners("allowed-domain"));
    let mut shower = Shower::connect(&directory, &world, name);
    assert!((0..4).all(|_| shower.ask() == 200));
    world.reload_with(|setup| setup.rest = partners("blocked"));
    let is_blocked = || (shower.ask() == 403).then_some(());
    assert!(wait_until(SOON, is_blocked).is_some());
    world.reload_with(|setup| setup.rest = partners("discovered-domain"));
    let code = wait_until(SOON, || Some(shower.ask()).filter(|code| *code != 403));
    assert_eq!(code, Some(200));
    assert_eq!([shower.ask(), shower.ask()], [200, 503]);
}

#[test]
fn whose_certificate_is_a_blocked_partners_is_answered_403_whoever_it_says_to_be() {
    let directory = Directory::create();
    let names = ["sip.bad.example", "sip.other.example"];
    let (world, node) = certified(&directory, &names, "", BLOCKED);
    assert_eq!(codes(&directory, &world, names[0], 2), [403, 403]);
    assert!(node.heard().is_empty());
    assert_eq!(codes(&directory, &world, names[1], 1), [200]);
}

#[test]
fn a_verified_certificate_says_who_is_limited_and_whose_node_it_is() {
    let directory = Directory::create();
    let names = ["sip.found.example", "sip.allied.example"];
    let rate = "[listener.sip]\ndiscovered_rate = \"2/m\"\n";
    let partners = "[[partner]]\nname = \"found\"\ndomains = [\"found.example\"]\n\
        federation = \"discovered-domain\"\n\
        [[partner]]\nname = \"allied\"\ndomains = [\"allied.example\"]\npin = \"partner\"\n";
    let (world, _node) = certified(&directory, &names, rate, partners);
    assert_eq!(codes(&directory, &world, names[0], 4), [200, 200, 503, 503]);
    assert_eq!(codes(&directory, &world, names[1], 4), [200; 4]);
    assert_eq!(world.pinfold.pin("allied").as_deref(), Some("edge1"));
    let allied = ["partner=\"allied\"", "class=\"2xx\""];
    assert_eq!(counted(&world, "pinfold_sip_responses_total", &allied), 4);
}

#[test]
fn who_was_not_configured_may_say_so_much_and_a_partner_what_it_will() {
    let directory = Directory::create();
    let (world, node) = one_by(&directory, "discovered_rate = \"3/m\"");
    let mut stranger = Phone::connect(world.address(), STRANGER);
    let codes: Vec<_> = (1..7)
        .map(|number| stranger.ask("MESSAGE", number).0)
        .collect();
    assert_eq!(codes, [200, 200, 200, 503, 503, 503]);
    stranger.say(request("MESSAGE", 8, "fabrikam.com", &"x".repeat(100_000)));
    let answer = stranger.hear().unwrap();
    assert!(
        answer.starts_with("SIP/2.0 503") && answer.contains("Retry-After: 1\r\n"),
        "{answer}"
    );
    let text = node.wait_heard(|text| text.contains("CSeq: 3 "));
    assert!(
        !text.contains("CSeq: 4 ") && !text.contains("CSeq: 8 "),
        "{text}"
    );
    let mut partner = Phone::connect(world.address(), FABRIKAM);
    assert!((1..20).all(|number| partner.ask("MESSAGE", number).0 == 200));
    assert_eq!(
        counted(&world, "pinfold_sip_answers_total", &["\"503\""]),
        4
    );
}

#[test]
fn what_belongs_to_no_request_passes_only_so_often_and_what_a_node_has_asked_is_answered() {
    let directory = Directory::create();
    let (world, node) = one_by(&directory, "discovered_rate = \"1/m\"");
    let mut stranger = Phone::connect(world.address(), STRANGER);
    assert_eq!(stranger.ask("OPTIONS", 1).0, 200);
    let asked = |number| request("INFO", number, "contoso.com", "");
    for number in 100..120 {
        node.say(asked(number).as_bytes());
        assert_eq!(stranger.hear().unwrap(), asked(number));
    }
    let answer = |number| answer_to(asked(number).as_bytes(), "200 OK", "phone").unwrap();
    for number in 200..250 {
        stranger.say(answer(number));
        stranger.say(request("ACK", number, "fabrikam.com", ""));
    }
    for number in 300..320 {
        assert_eq!(stranger.ask("CANCEL", number), (503, None));
    }
    // What was asked is answered all the same.
    (100..120).for_each(|number| stranger.say(answer(number)));
    let text = node.wait_heard(|text| text.contains("CSeq: 119 INFO"));
    let heard = |start: &str| text.matches(start).count();
    assert_eq!(heard("SIP/2.0 200 OK"), 20 + 2);
    assert_eq!((heard("ACK sip:"), heard("CANCEL sip:")), (2, 0));
}

#[test]
fn a_message_that_cannot_be_read_hides_nothing() {
    let directory = Directory::create();
    let (world, node) = one(&directory, |setup| setup.rest = BLOCKED.into());
    let unreadable = |domain| {
        let text = request("MESSAGE", 2, domain, "hello");
        text.replacen("MESSAGE", "MESS\"AGE", 1)
    };
    let mut stranger = Phone::connect(world.address(), STRANGER);
    assert_eq!(stranger.ask("OPTIONS", 1).0, 200);
    stranger.say(unreadable("bad.example"));
    assert_eq!(stranger.ends(), Some(std::io::ErrorKind::UnexpectedEof));
    // Of whom nothing is asked, the node may refuse it.
    let mut partner = Phone::connect(world.address(), FABRIKAM);
    partner.say(unreadable("fabrikam.com"));
    assert_eq!(read_answer(&partner.hear().unwrap()).0, 200);
    let text = String::from_utf8(node.heard().concat()).unwrap();
    assert_eq!(text.matches("MESS\"AGE").count(), 1, "{text}");
    let told = |line: &str| line.contains("sip-refused") && line.contains("first line");
    assert!(world.pinfold.process.wait_line(SOON, told).is_some());
}

#[test]
fn what_is_too_large_or_cannot_be_framed_is_told_so_and_ends_the_connection() {
    let directory = Directory::create();
    let (world, node) = one_by(&directory, "max_body = \"1KB\"");
    let large = request("MESSAGE", 1, "fabrikam.com", &"x".repeat(1001));
    let long = request("MESSAGE", 1, "fabrikam.com", "").replace(
        "Max-Forwards",
        &format!("Subject: {}\r\nMax-Forwards", "s".repeat(70_000)),
    );
    let wrong = request("MESSAGE", 1, "fabrikam.com", "").replace("Length: 0", "Length: -1");
    for (text, code) in [(large, 413), (long, 513), (wrong, 400)] {
        let mut phone = Phone::connect(world.address(), FABRIKAM);
        assert_eq!(phone.ask("OPTIONS", 7).0, 200);
        phone.say(text);
        assert_eq!(read_answer(&phone.hear().unwrap()), (code, None));
        assert_eq!(phone.ends(), Some(std::io::ErrorKind::UnexpectedEof));
    }
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    assert_eq!(phone.ask("OPTIONS", 7).0, 200);
    phone.say("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(phone.ends(), Some(std::io::ErrorKind::UnexpectedEof));
    assert!(!String::from_utf8_lossy(&node.heard().concat()).contains("MESSAGE"));
    drop(phone);
    let refused = "pinfold_sessions_total{listener=\"federation\",outcome=\"refused-message\"}";
    let counted = || (world.pinfold.metric(refused) == Some(4.0)).then_some(());
    assert!(wait_until(SOON, counted).is_some());
    let told = |line: &str| line.contains("sip-refused") && line.contains("fabrikam");
    assert!(world.pinfold.process.wait_line(SOON, told).is_some());
}

/// NEGOTIATE as an Access Edge says it.
fn negotiate() -> String {
    request("NEGOTIATE", 1, "fabrikam.com", "")
        .replace("Max-Forwards", "Compression: LZ77-8K\r\nMax-Forwards")
}

#[test]
fn compression_is_declined_and_the_client_goes_on_without() {
    let directory = Directory::create();
    let (world, node) = one(&directory, |_| {});
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    phone.say(negotiate());
    assert_eq!(read_answer(&phone.hear().unwrap()), (488, None));
    assert_eq!(phone.ask("OPTIONS", 2), (200, Some("edge1".into())));
    let text = node.wait_heard(|text| text.contains("OPTIONS"));
    assert!(!text.contains("NEGOTIATE"), "{text}");
}

#[test]
fn a_message_that_is_too_large_is_no_compression() {
    let directory = Directory::create();
    let (world, _node) = one_by(&directory, "max_body = \"1KB\"");
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    phone.say(negotiate());
    assert_eq!(read_answer(&phone.hear().unwrap()), (488, None));
    phone.say(request("MESSAGE", 2, "fabrikam.com", &"x".repeat(1001)));
    assert_eq!(read_answer(&phone.hear().unwrap()), (413, None));
}

#[test]
fn who_compresses_all_the_same_is_relayed_unread_and_that_is_said() {
    let directory = Directory::create();
    let (world, mut node) = one(&directory, |_| {});
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    phone.say(negotiate());
    assert_eq!(read_answer(&phone.hear().unwrap()), (488, None));
    phone.say(b"\x01\x00\x80compressed\r\n");
    node.wait_heard(|text| text.ends_with("compressed\r\n"));
    node.say(b"\xffbytes back");
    assert_eq!(phone.hear_bytes(11), b"\xffbytes back");
    let told = |line: &str| line.contains("sip-opaque") && line.contains("NEGOTIATE");
    assert!(world.pinfold.process.wait_line(SOON, told).is_some());
    assert_eq!(
        counted(&world, "pinfold_sip_opaque_total", &["fabrikam"]),
        1
    );
    // From here on it is as any other session.
    node.kill();
    assert!(phone.ends().is_some());
}

#[test]
fn what_pinfold_answers_stands_behind_the_message_that_is_coming_from_the_node() {
    let directory = Directory::create();
    let (world, node) = one(&directory, |_| {});
    let (mut phone, rest) = amid_a_message(&world, &node);
    node.answer(false);
    phone.say([negotiate(), request("MESSAGE", 2, "fabrikam.com", "")].concat());
    node.wait_heard(|text| text.contains("CSeq: 2 MESSAGE"));
    node.say(&rest);
    assert_eq!(phone.hear_bytes(rest.len()), rest);
    assert_eq!(read_answer(&phone.hear().unwrap()), (488, None));
    // And ahead of the next.
    let next = request("NOTIFY", 10, "contoso.com", "");
    node.say(next.as_bytes());
    assert_eq!(phone.hear().unwrap(), next);
}

#[test]
fn who_compresses_amid_a_message_of_its_node_gets_its_end_and_then_what_it_is_owed() {
    let directory = Directory::create();
    let (world, node) = one(&directory, |_| {});
    let (mut phone, rest) = amid_a_message(&world, &node);
    node.answer(false);
    // At once: whoever has heard the first part says its rest when all of it has been looked at.
    phone.say(
        [
            request("MESSAGE", 2, "fabrikam.com", "").as_bytes(),
            negotiate().as_bytes(),
            b"\x01\x00\x80compressed\r\n",
        ]
        .concat(),
    );
    node.wait_heard(|text| text.contains("CSeq: 2 MESSAGE"));
    ends_in_two_parts(&rest, &node, &mut phone);
    assert_eq!(read_answer(&phone.hear().unwrap()), (488, None));
    node.wait_heard(|text| text.ends_with("compressed\r\n"));
    node.say(b"\xffbytes back");
    assert_eq!(phone.hear_bytes(11), b"\xffbytes back");
    assert_eq!(
        counted(&world, "pinfold_sip_opaque_total", &["fabrikam"]),
        1
    );
}

#[test]
fn who_is_refused_amid_a_message_of_its_node_gets_its_end_and_hears_why() {
    let directory = Directory::create();
    let (world, node) = one_by(&directory, "max_body = \"2KB\"");
    let (mut phone, rest) = amid_a_message(&world, &node);
    node.answer(false);
    let large = request("MESSAGE", 3, "fabrikam.com", &"x".repeat(3000));
    phone.say([request("MESSAGE", 2, "fabrikam.com", ""), large].concat());
    node.wait_heard(|text| text.contains("CSeq: 2 MESSAGE"));
    ends_in_two_parts(&rest, &node, &mut phone);
    assert_eq!(read_answer(&phone.hear().unwrap()).0, 413);
    assert!(phone.ends().is_some());
    drop(phone);
    world.pinfold.wait_ended("refused-message", 1);
}

/// A partner that has got half of a message of its node, and the rest of that.
fn amid_a_message(world: &World, node: &SipNode) -> (Phone, Vec<u8>) {
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    assert_eq!(phone.ask("OPTIONS", 1).0, 200);
    let mut begin = request("NOTIFY", 9, "contoso.com", &"x".repeat(1000)).into_bytes();
    let rest = begin.split_off(begin.len() - 500);
    node.say(&begin);
    assert_eq!(phone.hear_bytes(begin.len()), begin);
    (phone, rest)
}

/// The rest of a message comes to its phone, and what comes between its parts does not.
fn ends_in_two_parts(rest: &[u8], node: &SipNode, phone: &mut Phone) {
    let (part, last) = rest.split_at(100);
    for part in [part, last] {
        node.say(part);
        assert_eq!(phone.hear_bytes(part.len()), part);
    }
}

#[test]
fn who_does_not_speak_sip_is_relayed_where_nothing_is_asked_of_it_and_else_refused() {
    let directory = Directory::create();
    let (world, node) = one(&directory, |_| {});
    let mut partner = Phone::connect(world.address(), FABRIKAM);
    partner.say("{\"json\": true}\n");
    node.wait_heard(|text| text == "{\"json\": true}\n");
    node.say(b"as it likes");
    assert_eq!(partner.hear_bytes(11), b"as it likes");
    let mut stranger = Phone::connect(world.address(), STRANGER);
    stranger.say("\nINVITE sip:a@b SIP/2.0\r\n\r\n");
    assert_eq!(stranger.ends(), Some(std::io::ErrorKind::UnexpectedEof));
    assert_eq!(node.heard().len(), 1);
}
