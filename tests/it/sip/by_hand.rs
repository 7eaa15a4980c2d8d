//! What administrators do to a node: its clients go on with another one, and that is said.

use pinfold_loadtest::process::wait_until;
use serde_json::json;

use super::counted;
use super::death::{served, two};
use super::phone::Phone;
use crate::world::{Directory, FABRIKAM, SOON, caller_address};

#[test]
fn who_is_drained_disabled_or_moved_goes_on_with_another_node() {
    let directory = Directory::create();
    let (world, _one, _other) = two(&directory, |_| {});
    let mut phone = served(&world);
    let run = |words: &[&str]| {
        let done = world.pinfold(words);
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let mut number = 1;
    let mut comes_to = |node: &str| {
        let mut is_there = || {
            number += 1;
            let (code, by) = phone.ask("OPTIONS", number);
            (code == 200 && by.as_deref() == Some(node)).then_some(())
        };
        assert!(wait_until(SOON, &mut is_there).is_some(), "not with {node}");
    };
    let told = run(&["pin", "fabrikam", "edge2", "--now"]);
    let moved = "1 session taken off other nodes: 1 SIP session may go on with edge2, 0 ended\n";
    assert!(told.contains(moved), "{told}");
    comes_to("edge2");
    let told = run(&["disable", "edge2", "--yes"]);
    let moved = "1 session taken off it:\n1 SIP session may go on with another node, 0 ended\n";
    assert!(told.contains(moved), "{told}");
    comes_to("edge1");
    run(&["resume", "edge2"]);
    run(&["drain", "edge1", "--deadline", "1s"]);
    comes_to("edge2");
    assert_eq!(
        world.pinfold.json("/v1/status")["listeners"][0]["sessions"],
        1
    );
    assert_eq!(
        counted(&world, "pinfold_sip_rehomed_total", &["fabrikam"]),
        3
    );
}

#[test]
fn who_is_moved_by_a_maintenance_is_not_told_as_ended() {
    let directory = Directory::create();
    let (world, _one, _other) = two(&directory, |_| {});
    let mut phone = served(&world);
    assert!(world.pinfold(&["drain", "edge2"]).status.success());
    let mut stranger = Phone::connect(world.address(), caller_address(1));
    assert_eq!(stranger.ask("OPTIONS", 1), (200, Some("edge1".into())));
    assert!(world.pinfold(&["resume", "edge2"]).status.success());

    let path = "/v1/nodes/edge1/move?partner=fabrikam";
    let moved = world.pinfold.post(path).unwrap().json().unwrap();
    let counts = ["ended", "sip", "active"].map(|key| &moved["moved"][0][key]);
    assert_eq!(counts, [&json!(0), &json!(1), &json!(true)], "{moved}");
    let done = world.pinfold(&["maintain", "edge1", "--pace", "1000/s"]);
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{told}");
    assert!(told.contains("1 taken off at 1000/s"), "{told}");
    let rest = "; 1 SIP session among them may go on elsewhere\n";
    assert!(told.contains(rest), "{told}");
    for each in [&mut phone, &mut stranger] {
        assert_eq!(each.ask("OPTIONS", 2), (200, Some("edge2".into())));
    }
}

#[test]
fn who_is_relayed_unread_ends_and_is_told_so() {
    let directory = Directory::create();
    let (world, one, _other) = two(&directory, |_| {});
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    phone.say(b"\x01\x02no sip\r\n");
    one.wait_heard(|text| text.ends_with("no sip\r\n"));
    let done = world.pinfold(&["pin", "fabrikam", "edge2", "--now"]);
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(
        told.contains("  1 session on other nodes ended\n"),
        "{told}"
    );
    assert!(phone.ends().is_some());
}
