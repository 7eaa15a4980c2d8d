//! XMPP between servers: nodes are asked by a stream, and a partner is known by what it calls itself in clear.

use std::io::Read;
use std::net::Ipv4Addr;

use pinfold::inspect::xmpp::{Opening, opening};
use pinfold_loadtest::process::wait_until;
use serde_json::Value;

use crate::prosody::{Prosody, Server};
use crate::wire::{Ended, Wire};
use crate::world::{SOON, Setup, World, find};

const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 71);
const MOVED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 72);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 73);

/// Two servers, and Pinfold before them.
struct Scene {
    world: World,
    nodes: Vec<Server>,
}

impl Scene {
    fn of(prosody: &Prosody, differ: impl FnOnce(&mut Setup)) -> Self {
        let nodes: Vec<_> = (0..2).map(|_| prosody.serve()).collect();
        let world = World::start_with(0, |setup| {
            for (number, node) in nodes.iter().enumerate() {
                setup.node(&format!("edge{}", number + 1), node.address);
            }
            setup.pool = "balance = \"round-robin\"".into();
            setup.listeners[0].name = "xmpp".into();
            setup.listeners[0].service = "xmpp".into();
            setup.fabrikam = "domains = [\"fabrikam.com\"]\nfederation = \"xmpp\"".into();
            differ(setup);
        });
        Self { world, nodes }
    }

    /// A stream of `domain` from `source`, whose header comes in pieces.
    fn open(&self, source: Ipv4Addr, domain: &str) -> Stream {
        let mut wire = Wire::connect(self.world.address(), source).unwrap();
        for piece in header(domain).as_bytes().chunks(50) {
            wire.send(piece).unwrap();
        }
        Stream {
            wire,
            heard: String::new(),
        }
    }

    /// The sessions of the partner on its nodes.
    fn sessions_of_fabrikam(&self) -> Value {
        let partners = self.world.pinfold.json("/v1/partners");
        find(&partners["partners"], "name", "fabrikam")["sessions"].clone()
    }
}

fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
         xmlns:stream='http://etherx.jabber.org/streams' from='{domain}' to='contoso.com' version='1.0'>"
    )
}

/// A server that calls.
struct Stream {
    wire: Wire,
    heard: String,
}

impl Stream {
    /// Waits until this was said to it.
    #[track_caller]
    fn hears(&mut self, wanted: &str) {
        let mut block = [0; 4096];
        while !self.heard.contains(wanted) {
            let count = self.wire.0.read(&mut block).unwrap();
            assert!(count > 0, "closed after {}", self.heard);
            let more = std::str::from_utf8(&block[..count]).unwrap();
            self.heard.push_str(more);
        }
    }
}

#[test]
fn a_partner_is_pinned_by_the_domain_that_it_calls_itself_and_fails_over() {
    let Some(prosody) = Prosody::find() else {
        return;
    };
    let mut scene = Scene::of(&prosody, |_| {});
    for node in &scene.nodes {
        let is_asked = |line: &str| line.contains("This host does not serve");
        let asked = node.process.wait_line(SOON, is_asked);
        assert!(asked.is_some(), "the probe: {}", node.process.output());
    }
    let mut first = scene.open(STRANGER, "Fabrikam.com");
    first.hears("<starttls ");
    assert!(
        matches!(opening(first.heard.as_bytes()), Opening::Header(_)),
        "{}",
        first.heard
    );
    first
        .wire
        .send(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        .unwrap();
    first.hears("<proceed ");
    let home = scene.world.pinfold.pin("fabrikam").unwrap();
    assert_eq!(scene.sessions_of_fabrikam(), 1);
    // From anywhere it comes to its node, where strangers come to each in turn.
    for _ in 0..3 {
        let mut again = scene.open(MOVED, "fabrikam.com");
        again.hears("</stream:features>");
        assert_eq!(scene.world.pinfold.pin("fabrikam").as_ref(), Some(&home));
        assert_eq!(
            scene.world.pinfold.pin(&MOVED.to_string()),
            None,
            "no pin of its address"
        );
    }
    let mut stranger = scene.open(OTHER, "unknown.example");
    stranger.hears("</stream:features>");
    assert!(
        scene
            .world
            .pinfold
            .pin(&format!("{OTHER}/32"))
            .or_else(|| scene.world.pinfold.pin(&OTHER.to_string()))
            .is_some()
    );

    let dead = usize::from(home == "edge2");
    scene.nodes[dead].kill();
    assert!(first.wire.ended().is_some());
    let survivor = ["edge2", "edge1"][dead];
    let mut after = scene.open(STRANGER, "fabrikam.com");
    after.hears("</stream:features>");
    assert_eq!(
        scene.world.pinfold.pin("fabrikam").as_deref(),
        Some(survivor)
    );
    scene.world.pinfold.wait_health(&home, "down");
}

#[test]
fn a_claim_lets_nobody_in_and_names_nobody_whose_address_says_who_it_is() {
    let Some(prosody) = Prosody::find() else {
        return;
    };
    let scene = Scene::of(&prosody, |setup| {
        setup.listeners[0].more = "allow = \"partners\"".into();
        setup.rest = format!(
            "[[partner]]\nname = \"litware\"\naddresses = [\"{OTHER}/32\"]\nlegacy = true\n"
        );
    });
    let mut liar = Wire::connect(scene.world.address(), STRANGER).unwrap();
    let _ = liar.send(header("fabrikam.com").as_bytes());
    assert_eq!(liar.ended(), Some(Ended::Reset));
    assert_eq!(scene.world.pinfold.pin("fabrikam"), None);
    let mut other = scene.open(OTHER, "fabrikam.com");
    other.hears("</stream:features>");
    assert_eq!(scene.world.pinfold.pin("fabrikam"), None);
    assert!(scene.world.pinfold.pin("litware").is_some());
}

#[test]
fn whoever_says_no_header_is_served_as_a_stranger() {
    let Some(prosody) = Prosody::find() else {
        return;
    };
    let scene = Scene::of(&prosody, |_| {});
    // An element that is no stream: the server says so, and it is the server that does.
    let mut odd = Wire::connect(scene.world.address(), STRANGER).unwrap();
    odd.send(b"<other>").unwrap();
    let (said, _) = odd.until_ended(SOON).unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("stream:error"), "{said}");
    // Half a header, and the end.
    let mut half = Wire::connect(scene.world.address(), STRANGER).unwrap();
    half.send(&header("fabrikam.com").as_bytes()[..60]).unwrap();
    half.finish();
    let (_, ended) = half.until_ended(SOON).unwrap();
    assert_eq!(ended, Ended::Closed);
    assert_eq!(scene.world.pinfold.pin("fabrikam"), None);
    let nobody = wait_until(SOON, || (scene.sessions_of_fabrikam() == 0).then_some(()));
    assert!(nobody.is_some());
}
