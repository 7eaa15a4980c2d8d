//! Debian's coturn on the nodes, and its own clients through Pinfold.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{TCP, UDP, appliance, caller, node_address, vip};
use crate::coturn::{CREDENTIALS, Call, Coturn, Over, Server};
use crate::laboratory::{Laboratory, laboratory};
use crate::world::{Directory, Listener, Pinfold, World, caller_address, lonely_address};

/// coturn on the three nodes, on both ports of an A/V Edge.
fn servers(laboratory: &Laboratory, coturn: &Coturn) -> Vec<Server> {
    let server = |number: u8| {
        let ip = node_address(number);
        let tcp = format!("--aux-server={ip}:{TCP}");
        let options = [&CREDENTIALS[..], &[&tcp]].concat();
        laboratory.within(&format!("edge{number}"), || {
            coturn.serve((ip, UDP).into(), &options)
        })
    };
    [1, 2, 3].map(server).into()
}

/// Clients that relay by now, each from an address of its own, and their nodes.
fn callers(
    laboratory: &Laboratory,
    coturn: &Coturn,
    pinfold: &Pinfold,
    count: u16,
) -> Vec<(Call, u16, String)> {
    let call = |number: u16| {
        let call = laboratory.within("client", || {
            coturn.call(caller(number), vip(UDP), Over::Udp, LONG)
        });
        (call, number)
    };
    let calls: Vec<_> = (0..count).map(call).collect();
    let located = calls.into_iter().map(|(call, number)| {
        call.wait_relaying();
        let node = pinfold.pin(&caller(number).to_string());
        (call, number, node.expect("who is answered is pinned"))
    });
    located.collect()
}

/// Messages of a call that outlasts whatever happens meanwhile.
const LONG: u32 = 300;

#[test]
fn real_clients_relay_over_udp_and_tcp_and_their_servers_see_who_they_are() {
    laboratory(|laboratory| {
        let Some(coturn) = Coturn::find() else {
            return;
        };
        let directory = Directory::create();
        let _servers = servers(laboratory, &coturn);
        let pinfold = appliance(laboratory, &directory, "");
        let callers = [0, 1, 2].map(caller);
        let on = || callers.map(|from| pinfold.pin(&from.to_string()));
        for from in callers {
            let seen = laboratory.within("client", || coturn.reflexive(from, vip(UDP)));
            assert_eq!(seen.ip(), from);
        }
        let before = on();
        assert!(before.iter().all(Option::is_some), "{before:?}");
        laboratory.within("client", || {
            coturn.complete(&callers, vip(UDP), vip(TCP));
        });
        assert_eq!(on(), before, "a client is on one node by both");
    });
}

#[test]
fn who_calls_after_a_server_was_killed_is_served_by_another_and_who_was_elsewhere_loses_nothing() {
    laboratory(|laboratory| {
        let Some(coturn) = Coturn::find() else {
            return;
        };
        let directory = Directory::create();
        let mut servers = servers(laboratory, &coturn);
        let pinfold = appliance(laboratory, &directory, "");
        let calls = callers(laboratory, &coturn, &pinfold, 6);
        let (_, victim, killed) = &calls[0];
        let (victim, killed) = (caller(*victim), killed.clone());
        let spared = calls.iter().filter(|(_, _, node)| *node != killed);
        assert!(spared.count() > 0, "calls are on several nodes");

        let place = ["edge1", "edge2", "edge3"].map(|node| node == killed);
        let place = place.iter().position(|is_it| *is_it).unwrap();
        servers[place].kill();
        // By whichever way the dead node's client comes first.
        laboratory.within("client", || {
            coturn.complete(&[victim], vip(UDP), vip(TCP));
        });
        let now = pinfold.pin(&victim.to_string());
        assert!(now.is_some_and(|now| now != killed));
        for (call, _, node) in calls {
            if node != killed {
                call.end();
            }
        }
    });
}

/// A world of coturn alone, behind the generic services, which show nodes this machine's own address.
fn generic(coturn: &Coturn) -> (World, Vec<(String, Server)>) {
    let options = [&CREDENTIALS[..], &["--allow-loopback-peers"]].concat();
    let server = |number: u8| {
        // One port for both protocols, which is free on an address where nobody else is.
        let address = SocketAddr::from((lonely_address(), 3478));
        (format!("edge{number}"), coturn.serve(address, &options))
    };
    let servers: Vec<_> = [1, 2, 3].map(server).into();
    let world = World::start_with(0, |setup| {
        for (name, server) in &servers {
            setup.node(name, server.address);
        }
        setup.listeners = [("turn", "udp"), ("turn-tcp", "tcp")]
            .map(|(name, service)| Listener {
                more: "affinity = \"turn\"".into(),
                ..Listener::new(name, service)
            })
            .into();
    });
    (world, servers)
}

#[test]
fn real_clients_relay_through_the_generic_services_also_after_their_server_was_killed() {
    let Some(coturn) = Coturn::find() else {
        return;
    };
    let (world, mut servers) = generic(&coturn);
    let (udp, tcp) = (
        world.pinfold.address("turn"),
        world.pinfold.address("turn-tcp"),
    );
    let from = IpAddr::V4(caller_address(0));
    let seen = coturn.reflexive(from, udp);
    assert_eq!(seen.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST), "source NAT");
    coturn.complete(&[from], udp, tcp);
    let node = world.pinfold.pin(&from.to_string()).unwrap();
    let (_, server) = servers.iter_mut().find(|(name, _)| *name == node).unwrap();
    server.kill();
    coturn.complete(&[from], udp, tcp);
    let now = world.pinfold.pin(&from.to_string());
    assert!(now.is_some_and(|now| now != node));
}
