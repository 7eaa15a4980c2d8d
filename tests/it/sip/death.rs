//! What a node's death does to its clients: their connections stay.

use std::io::ErrorKind;

use pinfold_loadtest::process::{Signal, wait_until};

use super::node::SipNode;
use super::phone::Phone;
use super::{answer_to, counted, read_answer, request, speaking_sip, world_of};
use crate::timeouts::Full;
use crate::tls::{certify, s_server};
use crate::world::{Directory, FABRIKAM, SOON, Setup, World, find};

/// Two nodes, one of which is fabrikam's.
pub(crate) fn two(
    directory: &Directory,
    differ: impl FnOnce(&mut Setup),
) -> (World, SipNode, SipNode) {
    certify(directory.path());
    let nodes = [SipNode::start("edge1"), SipNode::start("edge2")];
    let world = world_of(directory.path(), &[&nodes[0], &nodes[1]], |setup| {
        setup.fabrikam = "node = \"edge1\"".into();
        setup.server = "[log]\nsessions = \"all\"".into();
        differ(setup);
    });
    let [one, other] = nodes;
    (world, one, other)
}

/// A partner that its own node serves.
pub(crate) fn served(world: &World) -> Phone {
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    assert_eq!(phone.ask("OPTIONS", 1), (200, Some("edge1".into())));
    phone
}

fn sessions_of(world: &World, node: &str) -> u64 {
    let services = world.pinfold.node(node)["services"].take();
    services[0]["sessions"].as_u64().unwrap_or_default()
}

/// Waits until the session is this node's.
fn wait_for_session(world: &World, node: &str) {
    let is_there = || (sessions_of(world, node) == 1).then_some(());
    assert!(wait_until(SOON, is_there).is_some(), "it is not {node}'s");
}

#[test]
fn what_was_asked_is_answered_503_and_the_connection_goes_on_with_another_node() {
    let directory = Directory::create();
    let (world, mut one, other) = two(&directory, |_| {});
    let mut phone = served(&world);
    one.answer(false);
    phone.say(request("INVITE", 2, "fabrikam.com", "offer"));
    phone.say(request("MESSAGE", 3, "fabrikam.com", ""));
    one.wait_heard(|text| text.contains("CSeq: 3 MESSAGE"));
    one.kill();
    for (number, method) in [(2, "INVITE"), (3, "MESSAGE")] {
        let answer = phone.hear().unwrap();
        assert_eq!(read_answer(&answer), (503, None), "{answer}");
        assert!(
            answer.contains(&format!("CSeq: {number} {method}\r\n")),
            "{answer}"
        );
        assert!(answer.contains("Retry-After: 1\r\n"), "{answer}");
        assert!(
            answer.contains(&format!("branch=z9hG4bK{number}{method}\r\n")),
            "{answer}"
        );
        assert!(
            answer.contains("To: <sip:bob@contoso.com>;tag="),
            "{answer}"
        );
    }
    // Pinfold has answered, so the ACK is for it.
    phone.say(
        request("INVITE", 2, "fabrikam.com", "")
            .replace("INVITE", "ACK")
            .replace("2ACK", "2INVITE"),
    );
    assert_eq!(phone.ask("OPTIONS", 4), (200, Some("edge2".into())));
    let heard = String::from_utf8(other.heard().concat()).unwrap();
    assert_eq!(
        heard,
        request("OPTIONS", 4, "fabrikam.com", ""),
        "and nothing of before"
    );
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("edge2"));
    let fabrikam = "partner=\"fabrikam\"";
    assert_eq!(counted(&world, "pinfold_sip_rehomed_total", &[fabrikam]), 1);
    let name = "pinfold_sip_answers_total";
    assert_eq!(counted(&world, name, &[fabrikam, "code=\"503\""]), 2);
    let rehomed = |line: &str| line.contains("session-rehomed") && line.contains("answered=2");
    let line = world.pinfold.process.wait_line(SOON, rehomed);
    assert!(line.is_some(), "{}", world.pinfold.process.output());
    // It is one session, and it is the other node's.
    assert_eq!(
        world.pinfold.json("/v1/status")["listeners"][0]["sessions"],
        1
    );
    assert_eq!(
        (sessions_of(&world, "edge1"), sessions_of(&world, "edge2")),
        (0, 1)
    );
    let partners = world.pinfold.json("/v1/partners");
    let fabrikam = find(&partners["partners"], "name", "fabrikam");
    assert_eq!(fabrikam["sessions"], 1, "{fabrikam}");
}

#[test]
fn an_idle_partner_is_with_another_node_before_it_says_a_word_and_the_ledger_knows() {
    let directory = Directory::create();
    let (world, mut one, _other) = two(&directory, |_| {});
    let mut phone = served(&world);
    one.kill();
    wait_for_session(&world, "edge2");
    let back = || {
        let failovers = world.pinfold.json("/v1/failovers");
        let partner = failovers["failovers"][0]["partners"][0].clone();
        (partner["node"] == "edge2").then_some(partner)
    };
    let partner = wait_until(SOON, back);
    assert!(partner.is_some(), "{}", world.pinfold.json("/v1/failovers"));
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("edge2"));
    assert_eq!(phone.ask("OPTIONS", 2), (200, Some("edge2".into())));
}

#[test]
fn the_rest_of_a_message_whose_node_died_in_its_midst_reaches_nobody() {
    let directory = Directory::create();
    let (world, mut one, other) = two(&directory, |_| {});
    let mut phone = served(&world);
    let body = format!(
        "{}\r\n\r\nMESSAGE sip:evil@contoso.com SIP/2.0\r\n\r\n",
        "x".repeat(500)
    );
    let whole = request("MESSAGE", 2, "fabrikam.com", &body);
    let (begin, rest) = whole.split_at(whole.len() - 300);
    phone.say(begin);
    one.wait_heard(|text| text.ends_with("xxx"));
    one.kill();
    let answer = phone.hear().unwrap();
    assert_eq!(read_answer(&answer), (503, None), "{answer}");
    phone.say(rest);
    assert_eq!(phone.ask("OPTIONS", 3), (200, Some("edge2".into())));
    let heard = String::from_utf8(other.heard().concat()).unwrap();
    assert_eq!(heard, request("OPTIONS", 3, "fabrikam.com", ""));
}

#[test]
fn a_head_of_which_half_has_come_goes_to_the_next_node() {
    let directory = Directory::create();
    let (world, mut one, other) = two(&directory, |_| {});
    let mut phone = served(&world);
    let whole = request("OPTIONS", 2, "fabrikam.com", "");
    let (begin, rest) = whole.split_at(60);
    phone.say(begin);
    one.kill();
    wait_for_session(&world, "edge2");
    phone.say(rest);
    assert_eq!(
        read_answer(&phone.hear().unwrap()),
        (200, Some("edge2".into()))
    );
    assert_eq!(other.heard().concat(), whole.as_bytes());
}

#[test]
fn a_client_that_has_half_of_a_dead_nodes_message_is_ended() {
    let directory = Directory::create();
    let (world, mut one, _other) = two(&directory, |_| {});
    let mut phone = served(&world);
    let whole = request("NOTIFY", 9, "contoso.com", &"x".repeat(1000));
    let begin = &whole.as_bytes()[..whole.len() - 500];
    one.say(begin);
    assert_eq!(phone.hear_bytes(begin.len()), begin);
    one.kill();
    let ended = phone.ends();
    assert!(
        matches!(ended, Some(ErrorKind::ConnectionReset)),
        "{ended:?}"
    );
    let mut again = Phone::connect(world.address(), FABRIKAM);
    assert_eq!(again.ask("OPTIONS", 2), (200, Some("edge2".into())));
}

#[test]
fn what_answers_a_dead_nodes_request_reaches_nobody() {
    let directory = Directory::create();
    let (world, mut one, other) = two(&directory, |_| {});
    let mut phone = served(&world);
    let asked = request("NOTIFY", 9, "contoso.com", "");
    one.say(asked.as_bytes());
    assert_eq!(phone.hear().unwrap(), asked);
    // Of these no answer is awaited, however many come.
    for number in 1000..2100 {
        let told = request("BENOTIFY", number, "contoso.com", "");
        one.say(told.as_bytes());
        assert_eq!(phone.hear().unwrap(), told);
    }
    one.kill();
    wait_for_session(&world, "edge2");
    assert_eq!(phone.ask("OPTIONS", 2), (200, Some("edge2".into())));
    let answer = |status| answer_to(asked.as_bytes(), status, "phone").unwrap();
    phone.say(answer("180 Ringing"));
    phone.say(answer("200 OK"));
    assert_eq!(phone.ask("OPTIONS", 3).0, 200);
    let heard = String::from_utf8(other.heard().concat()).unwrap();
    assert!(!heard.contains("NOTIFY"), "{heard}");
    // What the new node asks is answered.
    other.say(asked.as_bytes());
    assert_eq!(phone.hear().unwrap(), asked);
    phone.say(answer("200 OK"));
    other.wait_heard(|text| text.contains("NOTIFY"));
}

#[test]
fn the_acks_of_all_that_was_refused_reach_nobody() {
    let directory = Directory::create();
    let (world, mut one, other) = two(&directory, |_| {});
    let mut phone = served(&world);
    one.answer(false);
    let numbers = 100..700;
    for number in numbers.clone() {
        phone.say(request("INVITE", number, "fabrikam.com", ""));
        phone.say(request("MESSAGE", number, "fabrikam.com", ""));
    }
    one.wait_heard(|text| text.contains("CSeq: 699 MESSAGE"));
    one.kill();
    let mut refused = Vec::new();
    while refused.last() != Some(&699) {
        let answer = phone.hear().unwrap();
        assert_eq!(read_answer(&answer), (503, None));
        let mut words = answer.split("CSeq: ").nth(1).unwrap().split_whitespace();
        let number: u32 = words.next().unwrap().parse().unwrap();
        refused.extend((words.next() == Some("INVITE")).then_some(number));
    }
    assert!(refused.len() > 400, "{refused:?}");
    for number in &refused {
        let ack = request("INVITE", *number, "fabrikam.com", "").replace("INVITE", "ACK");
        phone.say(ack.replace(&format!("{number}ACK\r"), &format!("{number}INVITE\r")));
    }
    // The last MESSAGE was answered behind the last INVITE.
    assert_eq!(read_answer(&phone.hear().unwrap()), (503, None));
    assert_eq!(phone.ask("OPTIONS", 4), (200, Some("edge2".into())));
    let heard = String::from_utf8(other.heard().concat()).unwrap();
    assert_eq!(heard, request("OPTIONS", 4, "fabrikam.com", ""));
}

#[test]
fn a_client_is_told_at_once_also_where_the_next_node_does_not_answer() {
    let directory = Directory::create();
    certify(directory.path());
    let mut one = SipNode::start("edge1");
    let mut silent = Full::open();
    let world = World::start_with(0, |setup| {
        setup.node("edge1", one.address());
        setup.node("edge2", silent.address);
        setup.fabrikam = "node = \"edge1\"".into();
        let more = speaking_sip(directory.path(), "");
        let more = more.replace("probe = { kind = \"tcp\" }", "probe = { kind = \"none\" }");
        setup.listeners[0].more = format!("connect_timeout = \"10m\"\n{more}");
    });
    let mut phone = served(&world);
    one.answer(false);
    silent.fill();
    phone.say(request("MESSAGE", 2, "fabrikam.com", ""));
    one.wait_heard(|text| text.contains("CSeq: 2 MESSAGE"));
    one.kill();
    assert_eq!(read_answer(&phone.hear().unwrap()), (503, None));
}

#[test]
fn a_client_outlives_all_nodes_and_is_served_by_the_first_that_returns() {
    let directory = Directory::create();
    let (world, mut one, mut other) = two(&directory, |_| {});
    let mut phone = served(&world);
    // What is asked while they die is not answered either.
    one.answer(false);
    other.kill();
    one.kill();
    for number in 2..5 {
        assert_eq!(phone.ask("MESSAGE", number), (503, None));
    }
    // A body that has no node goes nowhere.
    phone.say(request("MESSAGE", 5, "fabrikam.com", &"x".repeat(100_000)));
    assert_eq!(read_answer(&phone.hear().unwrap()).0, 503);
    let address = one.address();
    drop(one);
    let _back = SipNode::start_at("edge1", address);
    let mut number = 10;
    let is_served = || {
        number += 1;
        (phone.ask("MESSAGE", number).0 == 200).then_some(())
    };
    assert!(wait_until(SOON, is_served).is_some());
}

#[test]
fn a_reload_that_removes_a_node_moves_its_clients_to_one_that_came_with_it() {
    let directory = Directory::create();
    certify(directory.path());
    let one = SipNode::start("edge1");
    let mut world = world_of(directory.path(), &[&one], |setup| {
        setup.server = "drain_timeout = \"1s\"".into();
    });
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    assert_eq!(phone.ask("OPTIONS", 1), (200, Some("edge1".into())));
    let new = SipNode::start("edge3");
    world.reload_with(|setup| {
        setup.remove_node("edge1");
        setup.node("edge3", new.address());
    });
    let mut number = 1;
    let is_there = || {
        number += 1;
        (phone.ask("OPTIONS", number) == (200, Some("edge3".into()))).then_some(())
    };
    assert!(wait_until(SOON, is_there).is_some());
}

#[test]
fn where_sessions_are_left_to_a_dead_node_they_go_on_when_it_ends() {
    let directory = Directory::create();
    let (world, mut one, _other) = two(&directory, |setup| {
        let more = &setup.listeners[0].more;
        setup.listeners[0].more = format!("on_node_down = \"leave\"\n{more}");
    });
    let mut phone = served(&world);
    one.stop_listening();
    world.pinfold.wait_health("edge1", "down");
    // Its process lives, and so does the connection.
    assert_eq!(phone.ask("OPTIONS", 2), (200, Some("edge1".into())));
    one.kill();
    wait_for_session(&world, "edge2");
    assert_eq!(phone.ask("OPTIONS", 3), (200, Some("edge2".into())));
}

#[test]
fn a_reload_that_passes_tls_through_takes_no_living_session_out_of_tls() {
    let directory = Directory::create();
    let path = directory.path();
    certify(path);
    let (mut inside, address) = s_server(path, "server", "-www -state");
    let plain = SipNode::start("edge2");
    let mut world = World::start_with(0, |setup| {
        setup.node("edge1", address);
        setup.node("edge2", plain.address());
        setup.fabrikam = "node = \"edge1\"".into();
        setup.listeners[0].more = speaking_sip(path, "[listener.node_tls]\nmode = \"insecure\"\n");
    });
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    phone.say(request("MESSAGE", 1, "fabrikam.com", "secret"));
    let done = inside.wait_line(SOON, |line| line.contains("read finished"));
    assert!(done.is_some(), "{}", inside.output());
    world.reload_with(|setup| {
        setup.listeners[0].more = "probe = { kind = \"tcp\" }\n".into();
    });
    inside.signal(Signal::KILL).unwrap();
    assert_eq!(read_answer(&phone.hear().unwrap()), (503, None));
    phone.say(request("MESSAGE", 2, "fabrikam.com", "secret"));
    // The next node is spoken to in TLS, as the one before was, and does not understand it.
    let hello = wait_until(SOON, || plain.heard().into_iter().next());
    let hello = hello.expect("the other node is dialled");
    assert_eq!(hello[0], 22, "{}", String::from_utf8_lossy(&hello));
}
