//! Clients that have finished sending, and are still owed something.

use std::io::ErrorKind;

use super::death::{served, two};
use super::node::SipNode;
use super::phone::Phone;
use super::{read_answer, request};
use crate::world::{Directory, World};

/// A client that has asked something, and has finished; its node knows both.
fn finished(world: &World, node: &SipNode) -> Phone {
    let mut phone = served(world);
    node.answer(false);
    phone.say(request("MESSAGE", 2, "fabrikam.com", ""));
    phone.finish();
    node.wait_heard(|text| text.contains("CSeq: 2 MESSAGE"));
    node.wait_finished();
    phone
}

/// It hears 503, and then that this was all.
fn assert_told(mut phone: Phone) {
    assert_eq!(read_answer(&phone.hear().unwrap()), (503, None));
    assert_eq!(phone.ends(), Some(ErrorKind::UnexpectedEof));
}

#[test]
fn who_has_finished_gets_the_answers_that_come_after_it() {
    let directory = Directory::create();
    let (world, one, _other) = two(&directory, |_| {});
    let mut phone = finished(&world, &one);
    let asked = request("MESSAGE", 2, "fabrikam.com", "");
    let answer = super::answer_to(asked.as_bytes(), "202 Accepted", "edge1").unwrap();
    one.say(answer.as_bytes());
    assert_eq!(phone.hear().unwrap(), answer);
    one.finish();
    assert_eq!(phone.ends(), Some(ErrorKind::UnexpectedEof));
    world.pinfold.wait_ended("client-closed", 1);
}

#[test]
fn who_has_finished_is_told_what_its_node_leaves_unanswered() {
    let directory = Directory::create();
    let (world, one, _other) = two(&directory, |_| {});
    let phone = finished(&world, &one);
    one.finish();
    assert_told(phone);
    world.pinfold.wait_ended("client-closed", 1);
}

#[test]
fn who_has_finished_is_told_that_its_node_has_died_and_ends_with_it() {
    let directory = Directory::create();
    let (world, one, _other) = two(&directory, |_| {});
    let phone = finished(&world, &one);
    drop(one);
    assert_told(phone);
    world.pinfold.wait_ended("node-reset", 1);
}

#[test]
fn who_has_finished_is_taken_to_no_other_node() {
    let directory = Directory::create();
    let (world, one, _other) = two(&directory, |_| {});
    let phone = finished(&world, &one);
    let done = world.pinfold(&["disable", "edge1", "--yes"]);
    assert!(done.status.success(), "{done:?}");
    assert_told(phone);
    world.pinfold.wait_ended("disabled", 1);
}
