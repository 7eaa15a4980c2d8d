//! Probes that speak TLS: what they take for life, what they find, and whom they ask inside.

use std::net::SocketAddr;
use std::path::Path;

use pinfold_loadtest::process::{Process, wait_until};

use crate::http::browser::Browser;
use crate::kamailio::Kamailio;
use crate::scripted::{Script, ScriptedNode};
use crate::terminated::{issue, pair, terminating};
use crate::tls::s_server;
use crate::world::{Directory, SOON, WITHOUT_LANDLOCK, World};

/// An OpenSSL server that tells its state by HTTP.
fn site(directory: &Path, name: &str, more: &str) -> (Process, SocketAddr) {
    s_server(directory, name, &format!("-www{more}"))
}

/// What the first service of a node has found against its TLS.
fn fault(world: &World, node: &str) -> serde_json::Value {
    world.pinfold.node(node)["services"][0]["tls_fault"].take()
}

fn wait_fault(world: &World, node: &str, fault_is: &str) {
    let found = wait_until(SOON, || {
        (fault(world, node)["fault"] == fault_is).then_some(())
    });
    assert!(found.is_some(), "{node}: {}", world.pinfold.node(node));
}

#[test]
fn a_whole_handshake_finds_what_keeps_a_node_from_being_spoken_to_and_condemns_nobody() {
    let directory = Directory::create();
    let path = directory.path();
    issue(path, "node", &["edge.contoso.net"]);
    let old = site(path, "node", " -tls1 -cipher ALL:@SECLEVEL=0");
    let new = site(path, "node", " -tls1_3");
    let picky = site(path, "node", " -tls1_3 -Verify 1 -verify_return_error");
    let mut world = World::start_with(0, |setup| {
        for (name, (_, address)) in [("old", &old), ("new", &new), ("picky", &picky)] {
            setup.node(name, *address);
        }
        setup.listeners[0].more = "[listener.probe]\nkind = \"tls\"\n".into();
        // A reload names certificates of another folder.
        setup.server = WITHOUT_LANDLOCK.into();
    });
    wait_fault(&world, "old", "nothing-in-common");
    wait_fault(&world, "picky", "refused");
    let said = fault(&world, "old")["remedy"].take();
    assert!(
        said.as_str().unwrap().contains("Windows Server 2016"),
        "{said}"
    );
    // TLS 1.3 hides the certificate from the hello alone.
    let shown = wait_until(SOON, || {
        let shown = world.pinfold.node("new")["services"][0]["certificate"]["name"].take();
        (shown == "edge.contoso.net").then_some(())
    });
    assert!(shown.is_some(), "{}", world.pinfold.node("new"));
    assert!(fault(&world, "new").is_null());
    let told = world.pinfold(&["probe", "old"]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("answered in") && told.contains("TLS with it fails"),
        "{told}"
    );
    let status = world.pinfold.json("/v1/status");
    assert!(
        status.to_string().contains("TLS of old for federation"),
        "{status}"
    );
    // Where somebody must vouch for nodes, it is said who does not.
    let here = path.display();
    let verify = |name: &str| {
        format!(
            "[listener.probe]\nkind = \"tls\"\n[listener.node_tls]\nmode = \"verify\"\nca = \"{here}/ca.pem\"\nserver_name = \"{name}\"\n"
        )
    };
    world.reload_with(|setup| setup.listeners[0].more = verify("other.contoso.net"));
    wait_fault(&world, "new", "untrusted");
    world.reload_with(|setup| setup.listeners[0].more = verify("edge.contoso.net"));
    let well = || fault(&world, "new").is_null().then_some(());
    assert!(wait_until(SOON, well).is_some());
    for node in ["old", "new", "picky"] {
        world.pinfold.wait_health(node, "up");
    }
    let output = world.pinfold.process.output();
    assert!(output.contains("node-tls-fault ") && output.contains("node-tls-fault-ended"));
}

/// Waits until the node has this health as it is asked now; as it was asked before, it may have another for a while.
fn wait_asked_so(world: &World, health: &str) {
    let reached = wait_until(SOON, || {
        let node = world.pinfold.node("web1");
        let services = node["services"].as_array()?;
        let mut asked = services
            .iter()
            .filter(|service| service["listeners"][0] == "federation");
        asked
            .all(|service| service["health"] == health)
            .then_some(())
    });
    assert!(reached.is_some(), "{}", world.pinfold.node("web1"));
}

#[test]
fn web_services_are_asked_in_tls_and_served_passed_through_and_ended_here() {
    let directory = Directory::create();
    let path = directory.path();
    issue(path, "server", &["web.contoso.com"]);
    issue(path, "node", &["pool.contoso.net"]);
    let (_node, address) = site(path, "node", "");
    let mut world = World::start_with(0, |setup| {
        setup.node("web1", address);
        // As above.
        setup.server = WITHOUT_LANDLOCK.into();
        setup.listeners[0].service = "https".into();
    });
    let asked = |world: &World| world.pinfold.json("/v1/nodes/web1/probe")["services"][0].take();
    let shown = asked(&world);
    assert_eq!(
        (&shown["probe"], &shown["result"]),
        (&"http".into(), &"answered".into()),
        "{shown}"
    );
    assert_eq!(shown["certificate"]["name"], "pool.contoso.net", "{shown}");
    // Its own status says 200; another one is no life.
    world.reload_with(|setup| {
        setup.listeners[0].more = "[listener.probe]\nstatus = \"500-599\"\n".into()
    });
    wait_asked_so(&world, "down");
    let here = path.display();
    let more = format!(
        "mode = \"terminate\"\nprotocol = \"http\"\n[listener.tls]\ncertificates = [{}]\n\
         [listener.node_tls]\nmode = \"verify\"\nca = \"{here}/ca.pem\"\nserver_name = \"pool.contoso.net\"\n",
        pair(path, "server")
    );
    world.reload_with(|setup| setup.listeners[0].more = more);
    wait_asked_so(&world, "up");
    let mut browser = Browser::connect(world.address());
    let answer = browser.get("/", "").unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .cookie()
            .is_some_and(|cookie| cookie.starts_with("MS-WSMAN=")),
        "{answer:?}"
    );
}

#[test]
fn options_are_asked_of_a_node_that_wants_a_certificate() {
    let Some(kamailio) = Kamailio::find() else {
        return;
    };
    let directory = Directory::create();
    let path = directory.path();
    issue(path, "server", &["sip.contoso.com"]);
    issue(path, "node", &["edge.contoso.net"]);
    let node = kamailio.serve_in_tls(403, path, "node");
    let tables = |certificate: &str| {
        let terminating = terminating(path, "server");
        let terminating = terminating.replace("probe = { kind = \"tcp\" }\n", "");
        format!(
            "{terminating}[listener.node_tls]\nmode = \"verify\"\nca = \"{}/ca.pem\"\nserver_name = \"edge.contoso.net\"\n\
             {certificate}\n[listener.probe]\nkind = \"sip-options\"\n",
            path.display()
        )
    };
    let ours = format!("certificate = {}", pair(path, "server"));
    let mut world = World::start_with(0, |setup| {
        setup.node("edge1", node.address);
        setup.listeners[0].more = tables(&ours);
    });
    let question = format!("asked OPTIONS sip:{}", node.address.ip());
    let asked = node
        .process
        .wait_line(SOON, |line| line.contains(&question));
    assert!(asked.is_some(), "{}", node.process.output());
    assert!(fault(&world, "edge1").is_null());
    // Without one it lives as well; what it lacks is said.
    world.reload_with(|setup| setup.listeners[0].more = tables(""));
    let found = wait_until(SOON, || (!fault(&world, "edge1").is_null()).then_some(()));
    assert!(found.is_some(), "{}", world.pinfold.node("edge1"));
    world.pinfold.wait_health("edge1", "up");
}

#[test]
fn a_node_that_speaks_no_tls_is_down_where_it_is_asked_in_tls() {
    let directory = Directory::create();
    let path = directory.path();
    issue(path, "node", &["pool.contoso.net"]);
    let (_node, address) = site(path, "node", "");
    let others = [
        b"220 smtp.contoso.net ESMTP\r\n".as_slice(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ];
    let others = others.map(|text| ScriptedNode::start(Script::Greet(text)));
    let mut world = World::start_with(0, |setup| {
        setup.node("web1", address);
        setup.listeners[0].service = "https".into();
    });
    world.reload_with(|setup| {
        for (name, node) in ["smtp", "plain"].into_iter().zip(&others) {
            setup.node(name, node.address());
        }
    });
    for name in ["smtp", "plain"] {
        world.pinfold.wait_health(name, "down");
    }
    assert!(fault(&world, "plain").is_null());
    assert_eq!(world.pinfold.node("web1")["services"][0]["health"], "up");
}
