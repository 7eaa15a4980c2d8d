//! The probe `sip-options`, asked of a real SIP server; and SIP inside TLS that ends here: what passes, who is told
//! what, and a node's death that its clients do not feel.

mod by_hand;
mod death;
mod finishing;
mod node;
mod passing;
mod phone;
mod policy;
mod pressure;
mod sipp;
mod torture;

use std::net::TcpStream;
use std::path::Path;

use self::node::SipNode;
use crate::kamailio::Kamailio;
use crate::terminated::terminating;
use crate::world::{SOON, Setup, World};

#[test]
fn a_node_is_up_while_it_answers_options_whatever_it_answers() {
    let Some(kamailio) = Kamailio::find() else {
        return;
    };
    let nodes = [200, 403].map(|code| kamailio.serve(code));
    let silenced = SipNode::start("edge3");
    let world = World::start_with(0, |setup| {
        for (number, node) in nodes.iter().enumerate() {
            setup.node(&format!("edge{}", number + 1), node.address);
        }
        setup.node("edge3", silenced.address());
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = "[listener.probe]\nkind = \"sip-options\"\n".into();
    });
    for node in &nodes {
        let question = format!("asked OPTIONS sip:{}", node.address.ip());
        let asked = node
            .process
            .wait_line(SOON, |line| line.contains(&question));
        assert!(asked.is_some(), "{}", node.process.output());
    }
    let probed = world.pinfold.json("/v1/nodes/edge2/probe");
    assert_eq!(probed["services"][0]["probe"], "sip-options", "{probed}");
    assert_eq!(probed["services"][0]["result"], "answered", "{probed}");
    silenced.wait_heard(|text| text.starts_with("OPTIONS sip:127.0.0.1"));
    world.pinfold.wait_health("edge3", "up");
    // It accepts and reads as before: only who asks for more than that can tell.
    silenced.answer(false);
    world.pinfold.wait_health("edge3", "down");
    TcpStream::connect(silenced.address()).expect("it still listens");
    for node in ["edge1", "edge2"] {
        assert_eq!(world.pinfold.node(node)["services"][0]["health"], "up");
    }
}

/// Lines of a listener that speaks SIP inside TLS that ends here, by the certificate "server" of `directory`; `more`
/// are lines of its sub-tables.
fn speaking_sip(directory: &Path, more: &str) -> String {
    let ends = terminating(directory, "server");
    format!("protocol = \"sip\"\n{ends}{more}")
}

/// `nodes` behind a listener that speaks SIP.
fn world_of(directory: &Path, nodes: &[&SipNode], differ: impl FnOnce(&mut Setup)) -> World {
    World::start_with(0, |setup| {
        for (number, node) in (1..).zip(nodes) {
            setup.node(&format!("edge{number}"), node.address());
        }
        setup.listeners[0].more = speaking_sip(directory, "");
        differ(setup);
    })
}

/// A request from a user of `domain`; `body` is its body.
fn request(method: &str, number: u32, domain: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} sip:bob@contoso.com SIP/2.0\r\n\
         Via: SIP/2.0/TLS edge.{domain}:5061;branch=z9hG4bK{number}{method}\r\n\
         Max-Forwards: 70\r\nFrom: \"A\" <sip:alice@{domain}>;tag=1\r\nTo: <sip:bob@contoso.com>\r\n\
         Call-ID: {number}@{domain}\r\nCSeq: {number} {method}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Takes the first whole message off; line ends between messages go with it.
fn take_message(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    while bytes.starts_with(b"\r\n") {
        bytes.drain(..2);
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = matches!(name.trim(), "content-length" | "l");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = end + length.unwrap_or(0);
    (bytes.len() >= whole).then(|| bytes.drain(..whole).collect())
}

/// A response with `status` to a request, by `server`; none to a response or an ACK.
fn answer_to(request: &[u8], status: &str, server: &str) -> Option<String> {
    let text = String::from_utf8_lossy(request);
    let start = text.lines().next()?;
    if start.starts_with("SIP/2.0") || start.starts_with("ACK ") {
        return None;
    }
    let is_kept = |line: &&str| {
        let names = ["via:", "from:", "to:", "call-id:", "cseq:"];
        names
            .iter()
            .any(|name| line.to_ascii_lowercase().starts_with(name))
    };
    let kept: Vec<_> = text.lines().filter(is_kept).collect();
    let kept = kept.join("\r\n");
    Some(format!(
        "SIP/2.0 {status}\r\n{kept}\r\nServer: {server}\r\nContent-Length: 0\r\n\r\n"
    ))
}

/// The code of an answer, and the node that it is from.
fn read_answer(answer: &str) -> (u16, Option<String>) {
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let server = answer
        .lines()
        .find_map(|line| line.strip_prefix("Server: "));
    (code.unwrap_or_default(), server.map(str::to_owned))
}

/// The sum of a metric's samples whose lines hold all of `labels`.
fn counted(world: &World, name: &str, labels: &[&str]) -> u64 {
    let text = world.pinfold.get("/metrics").unwrap().body;
    let lines = text
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    let sum = values.sum::<f64>() as u64;
    sum
}
