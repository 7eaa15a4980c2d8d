//! Partners are known by their names: a real DNS server that changes, dies and comes back, and one that
//! lies.

mod liar;
pub(crate) mod server;

use std::net::Ipv4Addr;
use std::time::Duration;

use pinfold_loadtest::process::{Signal, wait_until};
use serde_json::Value;

use self::liar::{Liar, Lie};
use self::server::Server;
use crate::world::{Caller, FABRIKAM, Pinfold, SOON, World, find};

const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 40);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 41);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 42);

/// Two nodes, and "fabrikam" known by `lines` only, with this server.
fn world(server: std::net::SocketAddr, lines: &str) -> World {
    World::start_with(2, |setup| {
        setup.pool = "balance = \"round-robin\"".into();
        setup.fabrikam_addresses.clear();
        setup.fabrikam = lines.into();
        setup.rest = format!("[resolve]\nservers = [\"{server}\"]\n");
    })
}

fn partner(world: &World) -> Value {
    let partners = world.pinfold.json("/v1/partners");
    find(&partners["partners"], "name", "fabrikam").clone()
}

/// Reloads, which asks again, until "fabrikam" is known by these addresses.
#[track_caller]
fn wait_known(world: &mut World, expected: &[Ipv4Addr]) {
    let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    let known = wait_until(SOON, || {
        let _ = world.pinfold.process.signal(Signal::HUP);
        let partner = partner(world);
        let names = partner["names"].as_array()?.iter();
        let addresses = names.flat_map(|name| name["addresses"].as_array().into_iter().flatten());
        let mut addresses: Vec<_> = addresses.filter_map(Value::as_str).collect();
        addresses.sort_unstable();
        (addresses == expected && partner["resolved"] == expected.len()).then_some(())
    });
    assert!(known.is_some(), "{}", partner(world));
}

fn served(world: &World, from: Ipv4Addr) -> (Caller, String) {
    Caller::served(world.address(), from).unwrap()
}

#[track_caller]
fn wait_line(world: &World, words: &[&str]) -> String {
    let pleases = |line: &str| words.iter().all(|word| line.contains(word));
    let line = world.pinfold.process.wait_line(SOON, pleases);
    line.unwrap_or_else(|| panic!("no line has {words:?}"))
}

fn lines(world: &World, word: &str) -> usize {
    let log = world.pinfold.process.output();
    log.lines().filter(|line| line.contains(word)).count()
}

#[test]
fn a_partner_that_moves_is_known_at_its_new_address_and_keeps_its_pin() {
    let mut server = Server::start();
    server.host("sip.fabrikam.test", &[FIRST]);
    let mut world = world(server.address(), "edge = [\"sip.fabrikam.test\"]");
    wait_known(&mut world, &[FIRST]);
    let home = served(&world, FIRST).1;
    let pinned = wait_until(SOON, || world.pinfold.pin("fabrikam"));
    assert_eq!(pinned.as_ref(), Some(&home));
    assert_eq!(served(&world, FIRST).1, home);

    let revision = world.pinfold.revision();
    server.host("sip.fabrikam.test", &[SECOND]);
    wait_known(&mut world, &[SECOND]);
    let drift = wait_line(&world, &["partner-drift", "fabrikam"]);
    assert!(
        drift.contains("127.0.0.40") && drift.contains("127.0.0.41"),
        "{drift}"
    );
    assert_eq!(
        world.pinfold.revision(),
        revision,
        "the configuration is the same"
    );
    for _ in 0..3 {
        assert_eq!(served(&world, SECOND).1, home);
    }
    assert_eq!(world.pinfold.pin("127.0.0.41"), None);
    world.reload_harmlessly(2);
    assert_eq!(served(&world, SECOND).1, home, "a reload forgets nothing");

    // What it was is a stranger's now.
    let _ = served(&world, FIRST);
    let pinned = wait_until(SOON, || world.pinfold.pin("127.0.0.40"));
    assert!(pinned.is_some());
    let sample = "pinfold_resolved_addresses{partner=\"fabrikam\"}";
    assert_eq!(world.pinfold.metric(sample), Some(1.0));
}

#[test]
fn an_address_that_turns_out_to_be_a_partners_brings_its_pin_along() {
    let mut server = Server::start();
    server.host("other.test", &[THIRD]);
    let mut world = world(server.address(), "edge = [\"sip.fabrikam.test\"]");
    // Round-robin: one of them is not where the partner would be placed.
    let (_one, first) = served(&world, FIRST);
    let (_other, second) = served(&world, SECOND);
    assert_ne!(first, second);
    server.host("sip.fabrikam.test", &[FIRST]);
    wait_known(&mut world, &[FIRST]);
    let pinned = wait_until(SOON, || world.pinfold.pin("fabrikam"));
    assert_eq!(pinned, Some(first.clone()));
    // Its session is the partner's, too, without a reconnect.
    let seen = wait_until(SOON, || (partner(&world)["sessions"] == 1).then_some(()));
    assert!(seen.is_some(), "{}", partner(&world));
    assert_eq!(served(&world, FIRST).1, first);
    // The other address is another name's; the pin that there is stands.
    server.host("sip.fabrikam.test", &[FIRST, SECOND]);
    wait_known(&mut world, &[FIRST, SECOND]);
    assert_eq!(served(&world, SECOND).1, first);
}

#[test]
fn the_service_record_names_the_host_as_an_access_edge_reads_it() {
    let mut server = Server::start();
    server.service("fabrikam.test", "b.fabrikam.test", 10, 1);
    server.service("fabrikam.test", "a.fabrikam.test", 10, 7);
    server.service("fabrikam.test", "sip.elsewhere.test", 1, 1);
    server.host("a.fabrikam.test", &[FIRST]);
    server.host("b.fabrikam.test", &[SECOND]);
    server.host("sip.elsewhere.test", &[THIRD]);
    let mut world = world(server.address(), "domains = [\"fabrikam.test\"]");
    wait_known(&mut world, &[FIRST]);
    let violation = wait_line(&world, &["srv-violation", "sip.elsewhere.test"]);
    assert!(violation.contains("another domain"), "{violation}");
    let service = partner(&world)["srv"][0].clone();
    assert_eq!(service["target"], "a.fabrikam.test", "{service}");
    let records = service["records"].as_array().unwrap();
    let refused = records
        .iter()
        .filter(|record| !record["violation"].is_null());
    assert_eq!(refused.count(), 1, "{service}");

    server.clear_services();
    server.service("fabrikam.test", "b.fabrikam.test", 10, 1);
    wait_known(&mut world, &[SECOND]);
    wait_line(&world, &["partner-drift", "b.fabrikam.test", "127.0.0.41"]);
    assert_eq!(lines(&world, "srv-violation"), 1, "said once");
}

#[test]
fn while_the_server_is_dead_the_last_good_answer_counts_also_after_a_restart() {
    let mut server = Server::start();
    server.host("sip.fabrikam.test", &[FIRST]);
    let mut world = world(server.address(), "edge = [\"sip.fabrikam.test\"]");
    wait_known(&mut world, &[FIRST]);
    let home = served(&world, FIRST).1;
    server.kill();
    let failed = wait_until(SOON * 2, || {
        let _ = world.pinfold.process.signal(Signal::HUP);
        let error = partner(&world)["names"][0]["error"].clone();
        error.is_string().then_some(())
    });
    assert!(failed.is_some(), "{}", partner(&world));
    wait_known(&mut world, &[FIRST]);
    assert_eq!(served(&world, FIRST).1, home);
    assert_eq!(lines(&world, "resolve-failed"), 1, "said once");
    assert!(world.pinfold.metric("pinfold_resolve_failures_total") >= Some(1.0));

    world.pinfold.process.signal(Signal::TERM).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    world.pinfold = Pinfold::start(&world.directory);
    world.pinfold.wait_ready();
    world.wait_all_up();
    assert_eq!(
        served(&world, FIRST).1,
        home,
        "known from the first client on"
    );
    assert!(world.pinfold.pin("127.0.0.40").is_none());

    server.revive();
    server.host("sip.fabrikam.test", &[SECOND]);
    wait_known(&mut world, &[SECOND]);
    assert_eq!(served(&world, SECOND).1, home);
}

#[test]
fn what_dns_says_lets_nobody_in_and_a_partner_that_has_moved_is_suspected() {
    let mut server = Server::start();
    server.host("sip.fabrikam.test", &[FABRIKAM]);
    let address = server.address();
    let mut world = World::start_with(2, |setup| {
        setup.fabrikam = "edge = [\"sip.fabrikam.test\"]".into();
        setup.listeners[0].more = "allow = \"partners\"".into();
        setup.rest = format!("[resolve]\nservers = [\"{address}\"]\n");
    });
    wait_known(&mut world, &[FABRIKAM]);
    let _ = served(&world, FABRIKAM);
    server.host("sip.fabrikam.test", &[SECOND]);
    wait_known(&mut world, &[SECOND]);
    assert!(Caller::served(world.address(), SECOND).is_err());
    wait_line(
        &world,
        &[
            "refused 127.0.0.41: DNS says sip.fabrikam.test is 127.0.0.41 (was 127.0.0.2); add it to partner fabrikam",
        ],
    );
    assert!(Caller::served(world.address(), THIRD).is_err());
    assert_eq!(
        lines(&world, "partner-refused"),
        1,
        "of a stranger nothing is said"
    );
}

#[test]
fn without_names_nobody_is_asked() {
    let liar = Liar::start(Lie::Silence);
    let mut world = world(liar.address(), "edge = [\"sip.fabrikam.test\"]");
    wait_until(SOON, || (liar.asked() > 0).then_some(())).expect("it is asked");
    let address = liar.address();
    world.reload_with(|setup| {
        setup.rest = format!("[resolve]\nservers = [\"{address}\"]\nnames = false\n");
    });
    let gone = wait_until(SOON, || {
        partner(&world)["names"]
            .as_array()?
            .is_empty()
            .then_some(())
    });
    assert!(gone.is_some());
    // Whatever was under way is over by then.
    crate::world::pass(Duration::from_millis(300));
    let before = liar.asked();
    world.pinfold.process.signal(Signal::HUP).unwrap();
    crate::world::pass(Duration::from_millis(300));
    assert!(
        liar.asked() <= before + 2,
        "{} after {before}",
        liar.asked()
    );
}

/// Whatever a server answers, the service goes on, and the log has a line, not a flood.
#[track_caller]
fn is_survived(lie: Lie) -> World {
    let liar = Liar::start(lie);
    let lines_of = "edge = [\"sip.fabrikam.test\"]\ndomains = [\"fabrikam.test\"]";
    let mut world = world(liar.address(), lines_of);
    let told = wait_until(SOON * 2, || {
        let _ = world.pinfold.process.signal(Signal::HUP);
        let partner = partner(&world);
        let name = &partner["names"][0];
        let is_settled = name["error"].is_string() || name["resolved_at"].is_string();
        (liar.asked() > 4 && is_settled).then_some(())
    });
    assert!(told.is_some(), "{lie:?}: {}", partner(&world));
    let _ = served(&world, FIRST);
    assert!(
        lines(&world, "resolve-failed") <= 2,
        "{lie:?}: said once of each question"
    );
    assert_eq!(
        world.pinfold.metric("pinfold_panics_total"),
        Some(0.0),
        "{lie:?}"
    );
    let attention = world.pinfold.json("/v1/status")["attention"].to_string();
    assert!(attention.len() < 10_000, "{lie:?}: {attention}");
    world
}

#[test]
fn garbage_is_survived() {
    let world = is_survived(Lie::Garbage);
    let attention = world.pinfold.json("/v1/status")["attention"].to_string();
    assert!(
        attention.contains("DNS sip.fabrikam.test of fabrikam has never resolved"),
        "{attention}"
    );
}

#[test]
fn answers_to_other_questions_are_survived() {
    let world = is_survived(Lie::WrongId);
    assert_eq!(partner(&world)["resolved"], 0);
}

#[test]
fn answers_that_are_cut_short_are_survived() {
    let _ = is_survived(Lie::Truncated);
}

#[test]
fn names_that_lead_in_circles_are_survived() {
    let world = is_survived(Lie::Circle);
    assert_eq!(partner(&world)["resolved"], 0);
}

#[test]
fn a_time_to_live_of_nothing_does_not_make_us_ask_all_the_time() {
    let liar = Liar::start(Lie::NoTime);
    let mut world = world(liar.address(), "edge = [\"sip.fabrikam.test\"]");
    wait_known(&mut world, &[FIRST]);
    let partner = partner(&world);
    assert_eq!(partner["names"][0]["ttl_s"], 0, "{partner}");
    let before = liar.asked();
    crate::world::pass(Duration::from_millis(500));
    assert!(
        liar.asked() <= before + 4,
        "asked {} times more",
        liar.asked() - before
    );
}

#[test]
fn thousands_of_records_and_those_nobody_asked_for_are_bounded() {
    let liar = Liar::start(Lie::Flood);
    let mut world = world(liar.address(), "edge = [\"sip.fabrikam.test\"]");
    let known = wait_until(SOON, || {
        let _ = world.pinfold.process.signal(Signal::HUP);
        let addresses = partner(&world)["names"][0]["addresses"].as_array()?.len();
        (addresses > 0).then_some(addresses)
    });
    assert_eq!(known, Some(64), "{}", partner(&world));
    let text = partner(&world).to_string();
    assert!(!text.contains("127.9."), "of another name: {text}");
    let _ = served(&world, FIRST);
}
