//! The probe `sip-options`, asked of a real SIP server.

use crate::kamailio::Kamailio;
use crate::world::{SOON, World};

#[test]
fn a_node_is_up_while_it_answers_options_whatever_it_answers() {
    let Some(kamailio) = Kamailio::find() else {
        return;
    };
    let mut nodes = [200, 403].map(|code| kamailio.serve(code));
    let world = World::start_with(0, |setup| {
        for (number, node) in nodes.iter().enumerate() {
            setup.node(&format!("edge{}", number + 1), node.address);
        }
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
    nodes[0].stop();
    world.pinfold.wait_health("edge1", "down");
    assert_eq!(world.pinfold.node("edge2")["services"][0]["health"], "up");
}
