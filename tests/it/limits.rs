//! Who is let in, and how many.

use std::net::{Ipv4Addr, SocketAddr};

use pinfold_loadtest::process::wait_until;

use crate::world::{Caller, FABRIKAM, SOON, World, caller_address};

const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);

fn world(more: &str) -> World {
    World::start_with(1, |setup| setup.listeners[0].more = more.into())
}

fn served(address: SocketAddr, source: Ipv4Addr) -> Option<Caller> {
    Caller::served(address, source)
        .ok()
        .map(|(caller, _)| caller)
}

#[test]
fn beyond_max_sessions_clients_are_refused_but_a_tenth_is_kept_for_partners() {
    let world = world("max_sessions = 20");
    let address = world.address();
    let mut callers: Vec<_> = (0..18)
        .map(|number| served(address, caller_address(number)).expect("there is room"))
        .collect();
    for _ in 0..3 {
        assert!(served(address, STRANGER).is_none());
    }
    let partner = [served(address, FABRIKAM), served(address, FABRIKAM)];
    assert!(partner.iter().all(Option::is_some), "the partners' tenth");
    assert!(served(address, FABRIKAM).is_none());
    world.pinfold.wait_ended("refused-limit", 4);
    assert_eq!(world.pinfold.sessions(), 20);

    drop(partner);
    drop(callers.pop());
    let again = wait_until(SOON, || served(address, STRANGER));
    assert!(again.is_some(), "a place that is given back is given again");
}

#[test]
fn one_client_has_no_more_than_max_sessions_per_client() {
    let world = world("max_sessions_per_client = 3");
    let address = world.address();
    let mut callers: Vec<_> = (0..3).map(|_| served(address, STRANGER)).collect();
    assert!(callers.iter().all(Option::is_some));
    assert!(served(address, STRANGER).is_none());
    assert!(served(address, caller_address(1)).is_some());
    world.pinfold.wait_ended("refused-limit", 1);
    callers.pop();
    let again = wait_until(SOON, || served(address, STRANGER));
    assert!(again.is_some(), "a place that is given back is given again");
}

#[test]
fn one_client_comes_no_faster_than_connect_rate_per_client() {
    let world = world("connect_rate_per_client = \"2/m\"");
    let address = world.address();
    for _ in 0..2 {
        assert!(served(address, STRANGER).is_some());
    }
    assert!(served(address, STRANGER).is_none());
    world.pinfold.wait_ended("refused-limit", 1);
    assert!(served(address, caller_address(1)).is_some());
    let partner: Vec<_> = (0..5).filter_map(|_| served(address, FABRIKAM)).collect();
    assert_eq!(partner.len(), 5, "a partner is never slowed down");
}

#[test]
fn nodes_see_the_source_addresses_in_turn() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let node = listener.local_addr().unwrap();
    let world = World::start_with(0, |setup| {
        setup.node("edge1", node);
        setup.pool = "source_addresses = [\"127.0.7.1\", \"127.0.7.2\"]".into();
        setup.listeners[0].more = "[listener.probe]\nkind = \"none\"".into();
    });
    let mut seen = Vec::new();
    for number in 0..4 {
        let mut caller = Caller::connect(world.address(), caller_address(number)).unwrap();
        caller.say("hello").unwrap();
        seen.push(listener.accept().unwrap().1.ip().to_string());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["127.0.7.1", "127.0.7.2"]);
}

#[test]
fn only_partners_are_let_in_where_the_listener_says_so() {
    let world = world("allow = \"partners\"");
    assert!(served(world.address(), STRANGER).is_none());
    assert!(served(world.address(), FABRIKAM).is_some());
    world.pinfold.wait_ended("refused-access", 1);
}

#[test]
fn only_the_given_prefixes_are_let_in() {
    let world = world("allow = [\"127.0.4.0/30\", \"127.0.5.7\"]");
    let cases = [
        ([127, 0, 4, 3], true),
        ([127, 0, 4, 4], false),
        ([127, 0, 5, 7], true),
        ([127, 0, 5, 8], false),
        // Being a partner is not enough here.
        ([127, 0, 0, 2], false),
    ];
    for (source, expected) in cases {
        let is_served = served(world.address(), source.into()).is_some();
        assert_eq!(is_served, expected, "{source:?}");
    }
    world.pinfold.wait_ended("refused-access", 3);
}

#[test]
fn a_blocked_partner_is_refused_and_others_are_served() {
    let world = World::start_with(1, |setup| {
        setup.fabrikam = "federation = \"blocked\"".into();
    });
    assert!(served(world.address(), FABRIKAM).is_none());
    assert!(served(world.address(), STRANGER).is_some());
    world.pinfold.wait_ended("refused-access", 1);
}
