//! The messages of RFC 4475 through a listener that speaks SIP.

use std::fs;
use std::path::{Path, PathBuf};

use pinfold_loadtest::process::wait_until;

use super::node::SipNode;
use super::phone::Phone;
use super::{request, speaking_sip, world_of};
use crate::tls::certify;
use crate::world::{Directory, FABRIKAM, SOON};

/// Those that no stream can carry as they are: what passes of each, and what is answered.
const OTHERS: [(&str, usize, Option<&str>); 5] = [
    // 3.1.2.2: more is announced than comes; here more than is taken.
    ("clerr", 0, Some("SIP/2.0 413 ")),
    // 3.1.2.3, 3.3.9: a length that is none, or two.
    ("ncl", 0, Some("SIP/2.0 400 ")),
    ("mcl01", 0, Some("SIP/2.0 400 ")),
    // 3.1.1.8: two requests, and then what begins no third.
    ("dblreq", 2, None),
    // 3.4.1: what follows a head without a length begins no message.
    ("inv2543", 1, None),
];

fn messages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sip/rfc4475");
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    all
}

#[test]
fn messages_of_rfc_4475_pass_to_the_byte_or_are_refused_and_nothing_breaks() {
    let directory = Directory::create();
    certify(directory.path());
    let node = SipNode::start("edge1");
    node.answer(false);
    let world = world_of(directory.path(), &[&node], |setup| {
        setup.listeners[0].more =
            speaking_sip(directory.path(), "[listener.sip]\nmax_body = \"4KB\"\n");
    });
    let (mut passed, mut refused) = (0, 0);
    for path in messages() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // A response is for a node, and that is found by a request.
        let first = request("OPTIONS", 1, "fabrikam.com", "");
        let bytes = [first.as_bytes(), &fs::read(&path).unwrap()].concat();
        let before = node.heard().len();
        let mut phone = Phone::connect(world.address(), FABRIKAM);
        phone.say_chopped(&bytes, 97);
        match OTHERS.iter().find(|(other, ..)| *other == name) {
            Some((_, requests, answer)) => {
                if let Some(answer) = answer {
                    assert!(phone.hear().unwrap().starts_with(answer), "{name}");
                }
                assert!(phone.ends().is_some(), "{name}");
                let passes = || {
                    let heard = node.heard().get(before).cloned()?;
                    let blank = heard.windows(4).filter(|four| four == b"\r\n\r\n");
                    (blank.count() > *requests).then_some(heard)
                };
                let heard = wait_until(SOON, passes).unwrap_or_else(|| panic!("{name}"));
                assert!(
                    bytes.starts_with(&heard) && heard.len() < bytes.len(),
                    "{name}"
                );
                refused += 1;
            }
            None => {
                let arrived = || {
                    let heard = node.heard().get(before).cloned()?;
                    (heard == bytes).then_some(())
                };
                assert!(
                    wait_until(SOON, arrived).is_some(),
                    "{name}: {:?}",
                    node.heard().last()
                );
                passed += 1;
            }
        }
    }
    assert_eq!((passed, refused), (44, 5));
}
