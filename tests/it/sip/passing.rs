//! Messages pass to the byte, both ways, however they are chopped; and they are counted.

use super::node::SipNode;
use super::phone::Phone;
use super::{answer_to, counted, read_answer, request, world_of};
use crate::tls::certify;
use crate::world::{Directory, FABRIKAM};

#[test]
fn what_a_client_says_reaches_its_node_to_the_byte_however_it_is_chopped() {
    let directory = Directory::create();
    certify(directory.path());
    let node = SipNode::start("edge1");
    let world = world_of(directory.path(), &[&node], |_| {});
    // Odd headers, folds, an empty body, line ends between messages, a large body.
    let strange = "INFO sip:bob@contoso.com SIP/2.0\r\nv: SIP / 2.0 / TLS  h ;branch = z9hG4bKx\r\n\
        f: <sip:alice@fabrikam.com>;tag=\"a\"\r\nt: sip:bob@contoso.com\r\ni:  1\r\nCSeq: 7   INFO\r\n\
        Subject: one\r\n\t two\r\nX-Nothing:\r\nl : 5\r\n\r\n\0\r\n\r\n";
    let large = "x\r\n".repeat(30_000);
    let all = [
        request("OPTIONS", 1, "fabrikam.com", ""),
        "\r\n\r\n".into(),
        strange.into(),
        request("MESSAGE", 2, "fabrikam.com", &large),
        "\r\n".into(),
        request("MESSAGE", 3, "fabrikam.com", "hello"),
    ]
    .concat();
    for (at, size) in [1_000_000, 4096, 37].into_iter().enumerate() {
        let mut phone = Phone::connect(world.address(), FABRIKAM);
        phone.say_chopped(all.as_bytes(), size);
        for _ in 0..4 {
            assert!(phone.hear().unwrap().starts_with("SIP/2.0 200 OK"));
        }
        assert_eq!(node.heard()[at], all.as_bytes(), "{size} at a time");
    }
    let fabrikam = "partner=\"fabrikam\"";
    let requests = |method: &str| {
        let method = format!("method=\"{method}\"");
        counted(
            &world,
            "pinfold_sip_requests_total",
            &[fabrikam, &method, "\"up\""],
        )
    };
    assert_eq!(
        [requests("OPTIONS"), requests("INFO"), requests("MESSAGE")],
        [3, 3, 6]
    );
    let name = "pinfold_sip_responses_total";
    assert_eq!(
        counted(&world, name, &[fabrikam, "class=\"2xx\"", "\"down\""]),
        12
    );
}

#[test]
fn what_a_node_says_reaches_its_client_to_the_byte_and_is_answered() {
    let directory = Directory::create();
    certify(directory.path());
    let node = SipNode::start("edge1");
    let world = world_of(directory.path(), &[&node], |_| {});
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    phone.ask("OPTIONS", 1);
    let asked = request("NOTIFY", 9, "contoso.com", &"y".repeat(200_000));
    let all = format!("\r\n\r\n{asked}\r\n");
    for piece in all.as_bytes().chunks(50_001) {
        node.say(piece);
    }
    assert_eq!(phone.hear_bytes(all.len()), all.as_bytes());
    let answer = answer_to(asked.as_bytes(), "486 Busy Here", "phone").unwrap();
    phone.say(&answer);
    node.wait_heard(|text| text.ends_with(&answer));
    let name = "pinfold_sip_response_codes_total";
    assert_eq!(
        counted(&world, name, &["code=\"486\"", "direction=\"up\""]),
        1
    );
    let name = "pinfold_sip_requests_total";
    assert_eq!(
        counted(&world, name, &["method=\"NOTIFY\"", "direction=\"down\""]),
        1
    );
}

#[test]
fn a_node_is_found_when_the_first_request_is_there_and_pings_are_answered_before() {
    let directory = Directory::create();
    certify(directory.path());
    let node = SipNode::start("edge1");
    let world = world_of(directory.path(), &[&node], |_| {});
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    phone.say("\r\n\r\n");
    assert_eq!(phone.hear_bytes(2), b"\r\n");
    assert!(node.heard().is_empty());
    assert_eq!(phone.ask("OPTIONS", 1), (200, Some("edge1".into())));
    phone.say("\r\n\r\n");
    node.wait_heard(|text| text.ends_with("\r\n\r\n\r\n\r\n"));
}

#[test]
fn a_partner_that_is_only_known_by_its_domain_comes_to_its_node() {
    let directory = Directory::create();
    certify(directory.path());
    let nodes = [SipNode::start("edge1"), SipNode::start("edge2")];
    let world = world_of(directory.path(), &[&nodes[0], &nodes[1]], |setup| {
        setup.fabrikam_addresses = vec!["192.0.2.1".into()];
        setup.fabrikam = "domains = [\"fabrikam.com\"]\nnode = \"edge2\"".into();
    });
    for _ in 0..3 {
        let mut phone = Phone::connect(world.address(), FABRIKAM);
        // Every Access Edge begins so, in the name of the server that it is.
        let begin = request("NEGOTIATE", 7, "sip.fabrikam.com", "");
        phone.say(begin.replace("Max-Forwards", "Compression: LZ77-8K\r\nMax-Forwards"));
        assert_eq!(read_answer(&phone.hear().unwrap()), (488, None));
        assert_eq!(phone.ask("OPTIONS", 1), (200, Some("edge2".into())));
    }
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("edge2"));
    let mine = ["partner=\"fabrikam\"", "method=\"OPTIONS\""];
    assert_eq!(counted(&world, "pinfold_sip_requests_total", &mine), 3);
}
