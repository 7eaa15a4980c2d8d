//! The PROXY protocol: who may announce whom, and what nodes are told.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::scripted::{Script, ScriptedNode};
use crate::wire::{Ended, Wire};
use crate::world::{FABRIKAM, SOON, World};

/// The balancer in front, which may announce clients.
const FRONT: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 2);

const ACCEPT: &str = "proxy_protocol = \"accept\"\nproxy_protocol_from = [\"127.0.3.1/32\"]\n";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn version_1(client: Ipv4Addr) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 40000 5061\r\n").into_bytes()
}

fn version_2(client: Ipv4Addr, more: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + more.len()).unwrap();
    let mut header = SIGNATURE.to_vec();
    header.extend([0x21, 0x11]);
    header.extend(length.to_be_bytes());
    header.extend(client.octets());
    header.extend([192, 0, 2, 1]);
    header.extend(40_000_u16.to_be_bytes());
    header.extend(5061_u16.to_be_bytes());
    header.extend(more);
    header
}

fn accepting(node: &ScriptedNode, more: &str) -> World {
    World::start_with(0, |setup| {
        setup.scripted(&[node], &format!("{ACCEPT}{more}"))
    })
}

#[test]
fn a_partner_is_recognised_by_the_announced_address() {
    let unknown_type = [0xe0, 0, 3, 1, 2, 3];
    for header in [
        version_1(FABRIKAM),
        version_2(FABRIKAM, &[]),
        version_2(FABRIKAM, &unknown_type),
    ] {
        let node = ScriptedNode::start(Script::Echo);
        let world = accepting(&node, "");
        let mut wire = Wire::connect(world.address(), FRONT).unwrap();
        // Header and first bytes in one segment: none of either may be lost.
        wire.send(&[&header, &b"first"[..]].concat()).unwrap();
        assert_eq!(wire.receive(5).unwrap(), b"first");
        assert!(wire.echoes(b"second"));
        assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("n1"));
        assert_eq!(node.told()[0].bytes, b"firstsecond");
    }
}

#[test]
fn a_front_that_speaks_for_itself_is_a_client_like_any_other() {
    let node = ScriptedNode::start(Script::Echo);
    let world = accepting(&node, "");
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    for header in [&b"PROXY UNKNOWN\r\n"[..], &local] {
        let mut wire = Wire::connect(world.address(), FRONT).unwrap();
        wire.send(header).unwrap();
        assert!(wire.echoes(b"hello"));
    }
    assert_eq!(world.pinfold.pin(&FRONT.to_string()).as_deref(), Some("n1"));
}

#[test]
fn a_header_that_comes_byte_by_byte_is_understood() {
    let node = ScriptedNode::start(Script::Echo);
    let world = accepting(&node, "");
    for header in [version_1(FABRIKAM), version_2(FABRIKAM, &[])] {
        let mut wire = Wire::connect(world.address(), FRONT).unwrap();
        for byte in header {
            wire.send(&[byte]).unwrap();
        }
        assert!(wire.echoes(b"hello"));
    }
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("n1"));
}

#[test]
fn who_may_not_announce_is_refused_and_reaches_no_node() {
    let node = ScriptedNode::start(Script::Echo);
    let world = accepting(&node, "");
    let mut wire = Wire::connect(world.address(), STRANGER).unwrap();
    let _ = wire.send(&version_1(FABRIKAM));
    assert_eq!(wire.ended(), Some(Ended::Reset));
    world.pinfold.wait_ended("refused-proxy", 1);
    assert!(node.told().is_empty());
    assert_eq!(world.pinfold.pin("fabrikam"), None);
}

#[test]
fn broken_headers_are_refused_and_disturb_nobody() {
    let node = ScriptedNode::start(Script::Echo);
    let world = accepting(&node, "");
    let mut witness = Wire::connect(world.address(), FRONT).unwrap();
    witness.send(&version_1(FABRIKAM)).unwrap();
    assert!(witness.echoes(b"before"));
    let missing = [0x16, 3, 1, 0, 200, 1];
    let endless = [b"PROXY ".to_vec(), vec![b'x'; 20_000]].concat();
    let oversized = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff], &[0; 20_000]].concat();
    let short = [SIGNATURE, &[0x21, 0x11, 0, 3, 1, 2, 3]].concat();
    let broken: [&[u8]; 7] = [
        &missing,
        b"PROXY TCP4 127.0.0.2\r\n",
        b"PROXY TCP4 127.0.0.2 127.0.0.1 99999 1\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        &endless,
        &oversized,
        &short,
    ];
    for header in broken {
        let mut wire = Wire::connect(world.address(), FRONT).unwrap();
        // The refusal may be faster than the last of the bytes.
        let _ = wire.send(header);
        assert_eq!(wire.ended(), Some(Ended::Reset), "{header:?}");
        assert!(witness.echoes(b"in between"));
    }
    let unfinished = Wire::connect(world.address(), FRONT).unwrap();
    let mut wire = unfinished;
    wire.send(b"PROXY TCP4 127.0").unwrap();
    wire.finish();
    assert_eq!(wire.ended(), Some(Ended::Reset));
    world.pinfold.wait_ended("refused-proxy", 8);
    assert_eq!(node.told().len(), 1, "only the witness reached the node");
}

#[test]
fn a_header_that_drips_is_ended_at_the_first_bytes_timeout() {
    let node = ScriptedNode::start(Script::Echo);
    let world = accepting(&node, "first_bytes_timeout = \"700ms\"\n");
    let mut wire = Wire::connect(world.address(), FRONT).unwrap();
    let header = version_1(FABRIKAM);
    let pause = Duration::from_millis(50);
    let dripped = header.iter().take_while(|byte| {
        let alive = wire.send(&[**byte]).is_ok();
        alive && wire.until_ended(pause).is_none()
    });
    let count = dripped.count();
    assert!(count < header.len(), "the whole header was let drip in");
    world.pinfold.wait_ended("first-bytes-timeout", 1);
    assert!(node.told().is_empty());
}

/// A node behind a listener that sends headers: what it is told of a client.
fn sent(version: &str) -> (Vec<u8>, SocketAddr, SocketAddr) {
    let node = ScriptedNode::start(Script::Echo);
    let more = format!("proxy_protocol_send = \"{version}\"\n");
    let world = World::start_with(0, |setup| setup.scripted(&[&node], &more));
    let mut wire = Wire::connect(world.address(), FABRIKAM).unwrap();
    let (client, listener) = (wire.0.local_addr().unwrap(), world.address());
    wire.send(b"hello").unwrap();
    wire.finish();
    let told = node.wait_told(|told| told.ended.is_some());
    assert!(wire.until_ended(SOON).is_some());
    (told.bytes, client, listener)
}

#[test]
fn a_node_is_told_its_client_in_version_1() {
    let (told, client, listener) = sent("v1");
    let expected = format!(
        "PROXY TCP4 {} {} {} {}\r\nhello",
        client.ip(),
        listener.ip(),
        client.port(),
        listener.port()
    );
    assert_eq!(String::from_utf8(told).unwrap(), expected);
}

#[test]
fn a_node_is_told_its_client_in_version_2() {
    let (told, client, listener) = sent("v2");
    let mut expected = SIGNATURE.to_vec();
    expected.extend([0x21, 0x11, 0, 12, 127, 0, 0, 2, 127, 0, 0, 1]);
    expected.extend(client.port().to_be_bytes());
    expected.extend(listener.port().to_be_bytes());
    expected.extend(b"hello");
    assert_eq!(told, expected);
}

#[test]
fn the_header_of_a_client_behind_a_front_names_the_client() {
    let node = ScriptedNode::start(Script::Echo);
    let world = accepting(&node, "proxy_protocol_send = \"v1\"\n");
    let mut wire = Wire::connect(world.address(), FRONT).unwrap();
    wire.send(&version_2(FABRIKAM, &[])).unwrap();
    wire.send(b"hello").unwrap();
    let told = node.wait_told(|told| told.bytes.ends_with(b"hello"));
    let told = String::from_utf8(told.bytes).unwrap();
    assert!(told.starts_with("PROXY TCP4 127.0.0.2 "), "{told}");
    assert!(told.contains(" 40000 "), "{told}");
}

#[test]
fn probes_say_that_they_are_no_client() {
    for (version, expected) in [
        ("v1", b"PROXY UNKNOWN\r\n".to_vec()),
        ("v2", [SIGNATURE, &[0x20, 0, 0, 0]].concat()),
    ] {
        let node = ScriptedNode::start(Script::Listen);
        let _world = World::start_with(0, |setup| {
            setup.node("n1", node.address());
            setup.listeners[0].more =
                format!("proxy_protocol_send = \"{version}\"\n[listener.probe]\nkind = \"tcp\"");
        });
        let told = node.wait_told(|told| told.ended.is_some());
        assert_eq!(told.bytes, expected, "{version}");
        assert_eq!(told.ended, Some(Ended::Closed), "{version}");
    }
}

#[test]
fn a_client_that_is_announced_after_a_reload_is_who_the_reload_says() {
    let announced = Ipv4Addr::new(127, 0, 3, 9);
    let node = ScriptedNode::start(Script::Echo);
    let mut world = accepting(&node, "");
    let (mut front, header) = (
        Wire::connect(world.address(), FRONT).unwrap(),
        version_1(announced),
    );
    let (begun, rest) = header.split_at(6);
    front.send(begun).unwrap();
    // One that came later is served, on whichever worker: so has the first one been let in.
    for _ in 0..8 {
        let mut other = Wire::connect(world.address(), FRONT).unwrap();
        other.send(&version_1(STRANGER)).unwrap();
        assert!(other.echoes(b"hello"));
    }
    world.reload_with(|setup| {
        setup.rest = format!(
            "[[partner]]\nname = \"contoso\"\naddresses = [\"{announced}\"]\ngeneration = \"ocs-2007\"\n"
        );
    });
    front.send(rest).unwrap();
    assert!(front.echoes(b"hello"));
    let partners = world.pinfold.json("/v1/partners");
    let known = crate::world::find(&partners["partners"], "name", "contoso").clone();
    assert_eq!(known["sessions"], 1, "{known}");
}
