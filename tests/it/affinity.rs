//! Listeners of one affinity that see a node differently.

use std::sync::Arc;

use pinfold_loadtest::process::wait_until;

use crate::world::{Caller, FABRIKAM, Listener, SOON, World, edge};

/// The node that serves fabrikam on a listener, once it is served by `node`.
fn served_by(world: &World, listener: &str, node: &str) -> Caller {
    let address = world.pinfold.address(listener);
    let served = wait_until(SOON, || {
        let (caller, at) = Caller::served(address, FABRIKAM).ok()?;
        (at == node).then_some(caller)
    });
    served.unwrap_or_else(|| panic!("{listener} is served by {node}"))
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
    assert_eq!(first.ask("still here").unwrap(), home);

    // Now each node lacks something: each listener is served where it can be, and the pin stays.
    world.edge(other).kill().unwrap();
    drop(served_by(&world, "federation", &home));
    for node in [&home, other] {
        let down = wait_until(SOON, || {
            let node = world.pinfold.node(node);
            let mut services = node["services"].as_array()?.iter();
            services.any(|each| each["health"] == "down").then_some(())
        });
        assert!(down.is_some(), "{}", world.pinfold.node(node));
    }
    let pin = world.pinfold.pin("fabrikam");
    for _ in 0..5 {
        drop(served_by(&world, "federation", &home));
        drop(served_by(&world, "conference", other));
        assert_eq!(world.pinfold.pin("fabrikam"), pin);
    }
}
