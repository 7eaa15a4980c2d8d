//! A node dies, and its partners are served by another, while nobody else is disturbed.

use std::time::Duration;

use pinfold_loadtest::partner::Gap;
use pinfold_loadtest::process::wait_until;
use pinfold_loadtest::{Partner, background};
use serde_json::Value;

use crate::world::{Caller, FABRIKAM, SOON, Setup, World, quiet};

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

/// The partner's node fails: how long nobody served it, once its pin has gone along.
fn fail_over(world: &mut World, partner: &Partner, fault: Fault) -> Gap {
    let before = partner.stats();
    let node = before.node.unwrap();
    fault.strike(world, &node);
    let back = partner.wait_for(SOON, |stats| stats.gaps_total > before.gaps_total);
    let stats = world.stage.wait(back).expect("the partner is served again");
    let gap = stats.gaps.last().unwrap().clone();
    assert_eq!(gap.from_node, node);
    assert_ne!(gap.to_node, node);
    assert!(
        gap.duration < fault.limit(),
        "{fault:?}: {:?}",
        gap.duration
    );
    let pinned = || (world.pinfold.pin("fabrikam")? == gap.to_node).then_some(());
    assert!(
        wait_until(SOON, pinned).is_some(),
        "the pin does not follow to {}",
        gap.to_node
    );
    gap
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

fn fail_over_after_reloads(fault: Fault) {
    let _quiet = quiet();
    let mut world = World::start(3);
    let partner = world.fabrikam();
    world.reload_harmlessly(100);
    let stats = partner.stats();
    assert_eq!((stats.connections, stats.gaps_total), (1, 0), "{stats:?}");
    fail_over(&mut world, &partner, fault);
}

#[test]
fn a_session_older_than_a_hundred_reloads_survives_its_killed_node() {
    fail_over_after_reloads(Fault::Kill);
}

#[test]
fn a_session_older_than_a_hundred_reloads_survives_its_frozen_node() {
    fail_over_after_reloads(Fault::Freeze);
}

#[test]
fn sessions_on_other_nodes_are_not_disturbed_when_one_is_killed_or_frozen() {
    let _quiet = quiet();
    let mut world = World::start(3);
    let mut plan = background::Plan::new(world.address(), 60);
    plan.interval = Duration::from_millis(50);
    let bystanders = world.stage.background(plan);
    let all = |world: &World| {
        let stands = bystanders.wait_for(SOON, |stats| stats.standing() == 60);
        world.stage.wait(stands).expect("all bystanders are served")
    };
    let stats = all(&world);
    assert_eq!(stats.established.len(), 3, "all nodes serve: {stats:?}");
    let partner = world.fabrikam();

    let killed = fail_over(&mut world, &partner, Fault::Kill).from_node;
    let stats = all(&world);
    assert_eq!(stats.disturbed_elsewhere(&killed), 0, "{stats:?}");

    let frozen = fail_over(&mut world, &partner, Fault::Freeze).from_node;
    let stats = all(&world);
    let elsewhere = stats.disturbed_elsewhere(&killed);
    let of_frozen = stats.disturbed.get(&frozen).copied().unwrap_or_default();
    assert_eq!(elsewhere, of_frozen, "{stats:?}");
    assert_eq!(stats.moved, 0, "{stats:?}");
}

#[test]
fn failback_does_not_happen_behind_the_partners_back() {
    let mut world = World::start_with(2, |setup| setup.pool = "return_after = \"100ms\"".into());
    let partner = world.fabrikam();
    let gap = fail_over(&mut world, &partner, Fault::Kill);
    world.edge(&gap.from_node).restart().unwrap();
    let returned = || {
        let node = world.pinfold.node(&gap.from_node);
        (node["services"][0]["standing"] == "takes").then_some(())
    };
    assert!(wait_until(SOON, returned).is_some(), "the node returns");

    let served = partner.stats().replies + 200;
    let stats = world
        .stage
        .wait(partner.wait_for(SOON, |stats| stats.replies > served))
        .expect("the partner goes on");
    assert_eq!((stats.node_changes, stats.gaps_total), (1, 1), "{stats:?}");
    assert_eq!(world.pinfold.pin("fabrikam").as_ref(), Some(&gap.to_node));

    world.stage.wait(partner.stop());
    let again = world.fabrikam();
    assert_eq!(again.stats().node.as_ref(), Some(&gap.to_node));
}

/// What the ledger says of fabrikam's latest gap on `node`.
fn ledger(world: &World, node: &str) -> Option<(Value, f64)> {
    let failovers = world.pinfold.json("/v1/failovers");
    let mut of_node = failovers["failovers"].as_array()?.iter().rev();
    let failover = of_node.find(|failover| failover["node"] == node)?;
    let mut partners = failover["partners"].as_array()?.iter();
    let gap = partners.find(|gap| gap["partner"] == "fabrikam")?.clone();
    let served_after = gap["served_after_ms"].as_f64()?;
    Some((gap, served_after))
}

fn the_ledger_agrees(fault: Fault) {
    let _quiet = quiet();
    let mut world = World::start(3);
    let partner = world.fabrikam();
    world.reload_with(Setup::change_harmlessly);
    let measured = fail_over(&mut world, &partner, fault);
    let written = wait_until(SOON, || ledger(&world, &measured.from_node));
    let (gap, served_after_ms) = written.expect("the ledger names node and partner");
    assert_eq!(gap["node"], measured.to_node);
    assert_eq!(gap["listener"], "federation");
    let apart = (measured.duration.as_secs_f64() * 1000.0 - served_after_ms).abs();
    assert!(apart < 200.0, "{gap} but the partner measured {measured:?}");
}

#[test]
fn a_partner_that_is_back_before_its_old_session_has_ended_is_on_record() {
    let mut world = World::start(3);
    let (mut half_closed, first) = Caller::served(world.address(), FABRIKAM).unwrap();
    world.edge(&first).kill().unwrap();
    assert!(half_closed.ends_within(SOON));
    // It was told, and keeps its own side open until the verdict ends that.
    let (_again, second) = Caller::served(world.address(), FABRIKAM).unwrap();
    let written = wait_until(SOON, || ledger(&world, &first));
    let (gap, _) = written.expect("the ledger names node and partner");
    assert_eq!(gap["node"], second);
    drop(half_closed);
}

#[test]
fn the_ledger_of_a_kill_agrees_with_what_the_partner_measured() {
    the_ledger_agrees(Fault::Kill);
}

#[test]
fn the_ledger_of_a_freeze_agrees_with_what_the_partner_measured() {
    the_ledger_agrees(Fault::Freeze);
}
