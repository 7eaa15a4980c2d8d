//! Every input that fuzzing has kept is replayed, over the very functions that are fuzzed.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

#[path = "../fuzz/src/bin/certificate.rs"]
mod certificate;
#[path = "../fuzz/src/bin/client_hello.rs"]
mod client_hello;
#[path = "../fuzz/src/bin/configuration.rs"]
mod configuration;
#[path = "../fuzz/src/bin/flows.rs"]
mod flows;
#[path = "../fuzz/src/bin/handshake.rs"]
mod handshake;
#[path = "../fuzz/src/bin/journal.rs"]
mod journal;
#[path = "../fuzz/src/bin/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "../fuzz/src/bin/sip.rs"]
mod sip;
#[path = "../fuzz/src/bin/state.rs"]
mod state;
#[path = "../fuzz/src/bin/stun.rs"]
mod stun;
#[path = "../fuzz/src/bin/xmpp.rs"]
mod xmpp;

/// A name, which is its corpus's too, and what is fuzzed.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 11] = [
    ("certificate", certificate::run),
    ("client_hello", client_hello::run),
    ("configuration", configuration::run),
    ("flows", flows::run),
    ("handshake", handshake::run),
    ("journal", journal::run),
    ("proxy_protocol", proxy_protocol::run),
    ("sip", sip::run),
    ("state", state::run),
    ("stun", stun::run),
    ("xmpp", xmpp::run),
];

fn corpora() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[test]
fn every_corpus_holds_inputs_and_none_of_them_breaks_its_target() {
    for (name, run) in TARGETS {
        let inputs: Vec<_> = fs::read_dir(corpora().join(name)).unwrap().collect();
        assert!(!inputs.is_empty(), "{name}: an empty corpus");
        for input in inputs {
            let bytes = fs::read(input.unwrap().path()).unwrap();
            run(&bytes);
            // And whatever it is cut down to.
            for length in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
                run(&bytes[..length]);
            }
        }
    }
}

#[test]
fn every_corpus_and_every_target_has_its_other_half() {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        let stem = |entry: fs::DirEntry| {
            let path = entry.path();
            path.file_stem().unwrap().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(|entry| stem(entry.unwrap())).collect();
        names.sort();
        names
    };
    let replayed: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).into()).collect();
    assert_eq!(names(&corpora()), replayed);
    assert_eq!(names(&corpora().join("../src/bin")), replayed);
}

proptest! {
    // Scripts of bytes need no search to reach far.
    #[test]
    fn the_table_of_flows_does_what_a_list_does(script in prop::collection::vec(any::<u8>(), 0..240)) {
        flows::run(&script);
    }
}
