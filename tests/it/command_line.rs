//! The command line: what it prints, and with which code it exits.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use pinfold_loadtest::process::{Process, Signal, wait_until};
use serde_json::Value;

use crate::world::{Caller, Directory, FABRIKAM, SOON, World};

/// What `pinfold` with these arguments comes to, within its own deadlines.
fn pinfold(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    command
        .env_remove("PINFOLD_ADMIN")
        .env_remove("PINFOLD_TOKEN_FILE");
    command.args(arguments).output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The same, against the daemon of `world`.
fn ask(world: &World, arguments: &[&str]) -> Output {
    let admin = format!("unix:{}", world.directory.admin().display());
    pinfold(&[arguments, &["--admin", &admin]].concat())
}

#[test]
fn help_and_version_exit_with_0_and_mistakes_with_64() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["serve", "--help"],
        &["status", "--help"],
    ] {
        assert_eq!(code(&pinfold(arguments)), Some(0), "{arguments:?}");
    }
    for arguments in [
        &[][..],
        &["nonsense"],
        &["drain"],
        &["drain", ""],
        &["explain", ""],
        &["pin", "", "edge1"],
        &["unpin", ""],
        &["status", "--nonsense"],
        &["serve", "--config"],
        &["status", "--admin", "/not/an/address"],
        &["demo", "--seconds", "many"],
    ] {
        let output = pinfold(arguments);
        assert_eq!(
            code(&output),
            Some(64),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
}

#[test]
fn without_a_daemon_every_command_exits_with_69_and_says_where_it_looked() {
    let directory = Directory::create();
    let admin = format!("unix:{}", directory.path().join("nobody.sock").display());
    for arguments in [
        &["status"][..],
        &["nodes"],
        &["sessions"],
        &["partners"],
        &["pins"],
        &["failovers"],
        &["drain", "edge1"],
        &["resume", "edge1"],
        &["disable", "edge1", "--yes"],
        &["reload"],
    ] {
        let output = pinfold(&[arguments, &["--admin", &admin]].concat());
        assert_eq!(code(&output), Some(69), "{arguments:?}");
        assert!(stderr(&output).contains(&admin), "{}", stderr(&output));
    }
}

#[test]
fn the_shipped_configuration_passes_check() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/pinfold.toml");
    let output = pinfold(&["check", file.to_str().unwrap()]);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("ok: "), "{}", stdout(&output));
}

#[test]
fn tables_are_shown_to_people_and_json_to_scripts() {
    let world = World::start(2);
    let (_caller, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    for listing in [
        "status",
        "nodes",
        "sessions",
        "partners",
        "pins",
        "failovers",
    ] {
        let table = ask(&world, &[listing]);
        assert_eq!(code(&table), Some(0), "{}", stderr(&table));
        let json = ask(&world, &[listing, "--json"]);
        assert_eq!(code(&json), Some(0));
        let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
        assert!(json.is_object(), "{listing}");
    }
    let status: Value = serde_json::from_str(&stdout(&ask(&world, &["status", "--json"]))).unwrap();
    assert_eq!(status["listeners"][0]["name"], "federation");
    assert_eq!(status["listeners"][0]["sessions"], 1);
    assert_eq!(
        status["listeners"][0]["bound"][0],
        world.address().to_string()
    );
    assert!(status["revision"].is_u64());
    let pins = stdout(&ask(&world, &["pins"]));
    let line = pins.lines().find(|line| line.contains("fabrikam"));
    assert!(line.is_some_and(|line| line.contains(&node)), "{pins}");
    assert!(stdout(&ask(&world, &["partners"])).contains("fabrikam"));
    assert!(stdout(&ask(&world, &["nodes"])).contains("edge2"));
}

#[test]
fn a_node_is_drained_resumed_and_disabled() {
    let world = World::start(2);
    let (mut caller, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    let drained = ask(&world, &["drain", &node, "--reason", "patch day"]);
    assert_eq!(code(&drained), Some(0), "{}", stderr(&drained));
    assert_eq!(world.pinfold.node(&node)["state"], "draining");
    assert_eq!(
        world.pinfold.node(&node)["administered"]["reason"],
        "patch day"
    );
    assert_eq!(caller.ask("still here").unwrap(), node);
    assert_eq!(code(&ask(&world, &["resume", &node])), Some(0));
    assert_eq!(world.pinfold.node(&node)["state"], "active");

    // Nobody can be asked here, and nothing is done unasked.
    let unsure = ask(&world, &["disable", &node]);
    assert_eq!(code(&unsure), Some(64), "{}", stderr(&unsure));
    assert_eq!(caller.ask("still here").unwrap(), node);
    assert_eq!(code(&ask(&world, &["disable", &node, "--yes"])), Some(0));
    assert!(caller.ends_within(SOON), "its sessions end");
    assert_ne!(Caller::served(world.address(), FABRIKAM).unwrap().1, node);

    for arguments in [
        &["drain", "nobody"][..],
        &["drain", "edge1", "--pool", "nowhere"],
        &["drain", "edge1", "--deadline", "soon"],
    ] {
        let output = ask(&world, arguments);
        assert!(
            matches!(code(&output), Some(64 | 69)),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_reload_waits_and_fails_with_78_and_every_diagnostic_when_the_file_is_bad() {
    let mut world = World::start(1);
    let revision = world.pinfold.revision();
    let nothing = ask(&world, &["reload"]);
    assert_eq!(code(&nothing), Some(0), "{}", stderr(&nothing));
    assert_eq!(
        world.pinfold.revision(),
        revision,
        "an unchanged file changes nothing"
    );

    world.rewrite(crate::world::Setup::change_harmlessly);
    assert_eq!(code(&ask(&world, &["reload", "--plan"])), Some(0));
    assert_eq!(world.pinfold.revision(), revision, "a plan changes nothing");
    assert_eq!(
        code(&ask(&world, &["reload", "--reason", "a test"])),
        Some(0)
    );
    assert_eq!(world.pinfold.revision(), revision + 1);

    world.rewrite(|setup| setup.pool = "balnce = \"round-robin\"\nflap = 3".into());
    let refused = ask(&world, &["reload"]);
    assert_eq!(code(&refused), Some(78));
    let said = stderr(&refused);
    assert!(
        said.contains("pinfold.toml:") && said.contains("balnce") && said.contains("flap"),
        "{said}"
    );
    assert_eq!(world.pinfold.revision(), revision + 1);
    assert_eq!(
        world.pinfold.metric("pinfold_reload_failures_total"),
        Some(1.0)
    );
    Caller::served(world.address(), FABRIKAM).unwrap();
}

#[test]
fn the_demo_ends_well_and_names_every_partner() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    command.args(["demo", "--seconds", "8"]);
    let mut demo = Process::spawn(&mut command).unwrap();
    let status = demo.wait_exit(Duration::from_secs(40));
    let _ = demo.wait_line(SOON, |_| false);
    let output = demo.output();
    assert!(status.is_some_and(|status| status.success()), "{output}");
    let partners = output
        .lines()
        .filter(|line| line.contains("partner") || line.contains("cut off"));
    assert!(partners.count() >= 2, "{output}");
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    let mut world = World::start_with(1, |setup| setup.server = "stop_timeout = \"60s\"".into());
    let (mut caller, _) = Caller::served(world.address(), FABRIKAM).unwrap();
    world.pinfold.process.signal(Signal::INT).unwrap();
    let stopping = world
        .pinfold
        .process
        .wait_line(SOON, |line| line.contains("stopping"));
    assert!(stopping.is_some());
    caller.ask("still here").unwrap();
    world.pinfold.process.signal(Signal::INT).unwrap();
    let status = world.pinfold.process.wait_exit(SOON);
    assert!(status.is_some_and(|status| status.success()));
    assert!(caller.ends_within(SOON));
    assert!(!world.directory.admin().exists(), "its socket goes with it");
}

#[test]
fn status_check_is_a_plug_in_that_says_ok_warning_critical_and_unknown() {
    let mut world = World::start_with(2, |setup| {
        setup.listeners[0].more = "when_no_node = \"refuse\"".into();
    });
    let check = |world: &World, code: i32, begins: &str| {
        let reached = wait_until(SOON, || {
            let output = ask(world, &["status", "--check"]);
            let is_so = output.status.code() == Some(code);
            (is_so && stdout(&output).starts_with(begins)).then(|| stdout(&output))
        });
        let last = || format!("{:?}", ask(world, &["status", "--check"]));
        reached.unwrap_or_else(|| panic!("not {begins}: {}", last()))
    };
    let line = check(&world, 0, "OK - 1 listener, 2 of 2 nodes up | ");
    assert!(line.contains("nodes_up=2;;;0;2 nodes=2;;;0"), "{line}");
    world.edge("edge1").kill().unwrap();
    let line = check(&world, 1, "WARNING - DOWN edge1 since ");
    assert!(line.contains("nodes_up=1;;;0;2"), "{line}");
    world.edge("edge2").kill().unwrap();
    let line = check(&world, 2, "CRITICAL - NOT READY listener");
    assert_eq!(line.lines().count(), 1);
    drop(world.pinfold);
    let output = {
        let admin = format!("unix:{}", world.directory.admin().display());
        pinfold(&["status", "--check", "--admin", &admin])
    };
    assert_eq!(code(&output), Some(3));
    assert!(stdout(&output).starts_with("UNKNOWN - no pinfold answers"));
}
