//! A node dies, and its partners are served by another.

use std::time::Duration;

use pinfold_loadtest::Partner;
use pinfold_loadtest::partner::Gap;
use pinfold_loadtest::process::wait_until;

use crate::world::{SOON, World, quiet};

const KILLED_LIMIT: Duration = Duration::from_millis(500);
const FROZEN_LIMIT: Duration = Duration::from_secs(3);

/// How a node fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Freeze,
}

impl Fault {
    fn strike(self, world: &mut World, node: &str) {
        match self {
            Self::Kill => world.edge(node).kill().unwrap(),
            Self::Freeze => world.edge(node).freeze().unwrap(),
        }
    }

    const fn limit(self) -> Duration {
        match self {
            Self::Kill => KILLED_LIMIT,
            Self::Freeze => FROZEN_LIMIT,
        }
    }
}

/// Waits for the partner's first gap.
fn first_gap(world: &World, partner: &Partner) -> Gap {
    let back = partner.wait_for(SOON, |stats| stats.gaps_total > 0);
    let stats = world.stage.wait(back).expect("the partner is served again");
    stats.gaps[0].clone()
}

/// A partner's node fails: how long it was cut off, and that its pin went along.
fn fail_over(world: &mut World, partner: &Partner, fault: Fault) {
    let node = partner.stats().node.unwrap();
    fault.strike(world, &node);
    let gap = first_gap(world, partner);
    assert_eq!(gap.from_node, node);
    assert_ne!(gap.to_node, node);
    assert!(
        gap.duration < fault.limit(),
        "{fault:?}: {:?}",
        gap.duration
    );
    let pinned = wait_until(SOON, || {
        (world.pinfold.pin("fabrikam")? == gap.to_node).then_some(())
    });
    assert!(pinned.is_some(), "the pin follows to {}", gap.to_node);
}

#[test]
fn a_killed_node_hands_its_partner_over_within_half_a_second() {
    let _quiet = quiet();
    let mut world = World::start(3);
    let partner = world.fabrikam();
    fail_over(&mut world, &partner, Fault::Kill);
}

#[test]
fn a_frozen_node_hands_its_partner_over_within_three_seconds() {
    let _quiet = quiet();
    let mut world = World::start(3);
    let partner = world.fabrikam();
    fail_over(&mut world, &partner, Fault::Freeze);
}
