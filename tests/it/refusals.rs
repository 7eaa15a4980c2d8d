//! What cannot be served is refused at the start, with one exit code for each kind of cause.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use pinfold_loadtest::process::Process;

use crate::world::{Directory, Pinfold, SOON, Setup, World};

/// How `pinfold` with these arguments exits, and what it says.
fn exits(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    command.env_remove("NOTIFY_SOCKET");
    let mut process = Process::spawn(command.args(arguments)).unwrap();
    let status = process.wait_exit(SOON);
    if status.is_some() {
        let _ = process.wait_line(SOON, |_| false);
    }
    (status.and_then(|status| status.code()), process.output())
}

fn serves(directory: &Directory) -> (Option<i32>, String) {
    exits(&["serve", "--config", directory.config().to_str().unwrap()])
}

/// A setup with a node that nobody needs to reach.
fn setup() -> Setup {
    let mut setup = Setup::default();
    setup.node("edge1", "127.0.0.1:9".parse().unwrap());
    setup
}

fn broken_files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config/invalid");
    let entries = fs::read_dir(directory).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let files: Vec<_> = files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    assert!(files.len() >= 20, "{} broken files", files.len());
    files
}

/// Where each expected mistake stands: `name.toml:line:column`.
fn places(file: &Path) -> Vec<String> {
    let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
    let place = |line: &str| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":");
    let lines = expected
        .lines()
        .filter(|line| line.contains(".toml:") && !line.contains(".toml: "));
    lines.map(place).collect()
}

#[test]
fn broken_configurations_exit_with_78_and_name_every_place() {
    for file in broken_files() {
        let path = file.to_str().unwrap();
        for arguments in [&["check", path][..], &["serve", "--config", path]] {
            let (code, said) = exits(arguments);
            assert_eq!(code, Some(78), "{arguments:?}: {said}");
            for place in places(&file) {
                assert!(said.contains(&place), "{place} is missing: {said}");
            }
        }
    }
}

#[test]
fn a_missing_file_and_one_that_is_no_text_exit_with_78() {
    let directory = Directory::create();
    assert_eq!(serves(&directory).0, Some(78));
    fs::write(directory.config(), [0xff, 0xfe, 0, 1, 2]).unwrap();
    for arguments in [&["check"][..], &["serve", "--config"]] {
        let path = directory.config();
        let (code, said) = exits(&[arguments, &[path.to_str().unwrap()]].concat());
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("pinfold.toml"), "{said}");
    }
}

#[test]
fn what_comes_with_a_later_version_exits_with_69_and_says_so() {
    let directory = Directory::create();
    let mut setup = setup();
    setup.rest = "[cluster]\netcd = [\"127.0.0.1:2379\"]".into();
    directory.write(&setup);
    let (code, said) = serves(&directory);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("is not available in this version"), "{said}");
    assert!(said.contains("pinfold.toml:"), "{said}");
}

#[test]
fn an_address_in_use_exits_with_71_and_names_address_and_listener() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = Directory::create();
    let mut setup = setup();
    setup.listeners[0].bind = address.clone();
    directory.write(&setup);
    let (code, said) = serves(&directory);
    assert_eq!(code, Some(71), "{said}");
    let line = said
        .lines()
        .find(|line| line.contains("cannot listen"))
        .unwrap();
    assert!(
        line.contains(&address) && line.contains("federation"),
        "{line}"
    );
    assert!(line.contains("in use"), "{line}");
}

#[test]
fn a_second_instance_never_shares_an_address_in_silence() {
    let world = World::start(1);
    let directory = Directory::create();
    let mut setup = setup();
    setup.listeners[0].bind = world.address().to_string();
    directory.write(&setup);
    let (code, said) = serves(&directory);
    assert_eq!(code, Some(71), "{said}");
    assert!(said.contains(&world.address().to_string()), "{said}");
}

#[test]
fn a_second_instance_with_the_same_state_directory_exits_with_69() {
    let world = World::start(1);
    let directory = Directory::create();
    let own = directory.state().display().to_string();
    let theirs = world.directory.state().display().to_string();
    directory.write_text(&setup().text(&directory).replace(&own, &theirs));
    let (code, said) = serves(&directory);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains(&theirs), "{said}");
}

#[test]
fn a_second_instance_with_the_same_admin_socket_exits_with_71_and_leaves_it_alone() {
    let world = World::start(1);
    let directory = Directory::create();
    let own = directory.admin().display().to_string();
    let theirs = world.directory.admin().display().to_string();
    directory.write_text(&setup().text(&directory).replace(&own, &theirs));
    let (code, said) = serves(&directory);
    assert_eq!(code, Some(71), "{said}");
    assert!(said.contains(&theirs), "{said}");
    assert_eq!(world.pinfold.get("/live").unwrap().status, 200);
}

#[test]
fn an_admin_socket_that_a_killed_instance_left_behind_is_replaced() {
    let mut world = World::start(1);
    world
        .pinfold
        .process
        .signal(pinfold_loadtest::process::Signal::KILL)
        .unwrap();
    assert!(world.pinfold.process.wait_exit(SOON).is_some());
    assert!(world.directory.admin().exists());
    let again = Pinfold::start(&world.directory);
    again.wait_ready();
}

#[test]
fn a_file_that_is_no_socket_is_not_removed_for_the_admin_socket() {
    let directory = Directory::create();
    directory.write(&setup());
    fs::write(directory.admin(), "somebody's work").unwrap();
    let (code, said) = serves(&directory);
    assert_eq!(code, Some(71), "{said}");
    assert_eq!(
        fs::read_to_string(directory.admin()).unwrap(),
        "somebody's work"
    );
}

#[test]
fn what_cannot_be_written_or_read_exits_with_71_and_is_named() {
    let directory = Directory::create();
    let file = directory.path().join("a-file");
    fs::write(&file, "").unwrap();
    // Under a file nothing can be made, not even by root.
    let under = file.join("beneath").display().to_string();
    let text = setup().text(&directory);
    let state = directory.state().display().to_string();
    let admin = directory.admin().display().to_string();
    let token = format!("[server]\nadmin_token_file = \"{under}\"");
    for text in [
        text.replace(&state, &under),
        text.replace(&admin, &under),
        text.replace("[server]", &token),
    ] {
        directory.write_text(&text);
        let (code, said) = serves(&directory);
        assert_eq!(code, Some(71), "{said}");
        assert!(said.contains(&under), "{said}");
    }
}

#[test]
fn an_address_that_this_machine_lacks_is_refused_where_freebind_is_off() {
    let directory = Directory::create();
    let mut setup = setup();
    setup.server = "freebind = false".into();
    setup.listeners[0].bind = "203.0.113.10:5061".into();
    directory.write(&setup);
    let (code, said) = serves(&directory);
    assert_eq!(code, Some(71), "{said}");
    assert!(
        said.contains("203.0.113.10:5061") && said.contains("freebind"),
        "{said}"
    );
}
