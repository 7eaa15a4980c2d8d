//! Listeners of one affinity that see a node differently.

use std::sync::Arc;

use pinfold_loadtest::process::wait_until;

use crate::world::{Caller, FABRIKAM, Listener, SOON, World, edge, find};

/// The node that serves fabrikam on a listener, once it is served by `node`.
fn served_by(world: &World, listener: &str, node: &str) -> Caller {
    let address = world.pinfold.address(listener);
    let served = wait_until(SOON, || {
        let (caller, at) = Caller::served(address, FABRIKAM).ok()?;
        (at == node).then_some(caller)
    });
    served.unwrap_or_else(|| panic!("{listener} is served by {node}"))
}

/// Waits until the node is down on some listener.
fn wait_down(world: &World, node: &str) {
    let down = wait_until(SOON, || {
        let node = world.pinfold.node(node);
        let mut services = node["services"].as_array()?.iter();
        services.find(|each| each["health"] == "down")?;
        Some(())
    });
    assert!(down.is_some(), "{}", world.pinfold.node(node));
}

#[test]
fn a_pin_follows_the_listener_that_is_worse_off_and_never_goes_to_and_fro() {
    let mut conference: Vec<_> = ["edge1", "edge2"].map(edge).into();
    let addresses: Arc<[_]> = conference.iter().map(|edge| edge.address()).collect();
    let mut world = World::start_with(2, |setup| {
        for ((_, text), address) in setup.nodes.iter_mut().zip(&*addresses) {
            text.push_str(&format!("\naddresses = {{ webconf = \"{address}\" }}"));
        }
        setup.listeners.push(Listener {
            more: "affinity = \"federation\"\npin = \"partner\"".into(),
            ..Listener::new("conference", "webconf")
        });
    });
    let (mut first, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    drop(served_by(&world, "conference", &home));
    let other = if home == "edge1" { "edge2" } else { "edge1" };

    // One listener loses its home: both go on elsewhere, and what is in place lives on.
    let position = conference.iter().position(|edge| edge.name() == home);
    conference[position.unwrap()].kill().unwrap();
    drop(served_by(&world, "conference", other));
    drop(served_by(&world, "federation", other));
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some(other));
    wait_down(&world, &home);
    assert_eq!(first.ask("still here").unwrap(), home);
    let explained = world
        .pinfold
        .json("/v1/explain/fabrikam?listener=federation");
    let candidates = &explained["places"][0]["candidates"];
    let left = find(candidates, "node", &home);
    let why = "down on conference, which shares the pin";
    assert_eq!(
        (&left["standing"], &left["evidence"]),
        (&"down".into(), &why.into())
    );

    // Now each node lacks something: each listener is served where it can be, and the pin stays.
    world.edge(other).kill().unwrap();
    drop(served_by(&world, "federation", &home));
    wait_down(&world, other);
    let pin = world.pinfold.pin("fabrikam");
    for _ in 0..5 {
        drop(served_by(&world, "federation", &home));
        drop(served_by(&world, "conference", other));
        assert_eq!(world.pinfold.pin("fabrikam"), pin);
    }
}
