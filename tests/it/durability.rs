//! What outlives the process: pins and administrators' changes, however it ends.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use pinfold_loadtest::http;
use pinfold_loadtest::process::{Signal, wait_until};

use crate::world::{Caller, Pinfold, SOON, World, caller_address};

/// Ends Pinfold with `signal` and starts it again.
fn again(world: &mut World, signal: Signal) {
    world.pinfold.process.signal(signal).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    world.pinfold = Pinfold::start(&world.directory);
    world.pinfold.wait_ready();
}

/// Whom the pins are about.
fn pinned(world: &World) -> HashSet<String> {
    let pins = world.pinfold.json("/v1/pins");
    let pins = pins["pins"].as_array().unwrap().iter();
    let name = |pin: &serde_json::Value| pin["subject"]["name"].as_str().unwrap().to_owned();
    pins.map(name).collect()
}

fn attention(world: &World) -> String {
    world.pinfold.json("/v1/status")["attention"].to_string()
}

#[test]
fn pins_stand_again_after_a_stop_and_after_a_kill() {
    let mut world = World::start_with(3, |setup| setup.fabrikam = "node = \"edge2\"".into());
    world.stage.wait(world.fabrikam().stop());
    let served = |world: &World, number| {
        let caller = Caller::served(world.address(), caller_address(number));
        caller.unwrap()
    };
    let before: Vec<_> = (0..6).map(|number| served(&world, number)).collect();
    for signal in [Signal::TERM, Signal::KILL] {
        // Time enough to be written, were nobody to wait for it.
        crate::world::pass(Duration::from_millis(200));
        again(&mut world, signal);
        world.wait_all_up();
        assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("edge2"));
        for (number, (_, node)) in before.iter().enumerate() {
            assert_eq!(&served(&world, number).1, node, "{number}");
        }
    }
}

/// Pins "fabrikam" again and again until Pinfold ends, each time with the next number as the reason: the
/// last number that was told to be done, and the last that was sent.
fn administrator(world: &World, first: u64) -> JoinHandle<(u64, u64)> {
    let admin = world.directory.admin();
    let process = world.pinfold.process.pid();
    std::thread::spawn(move || {
        let (mut told, mut sent) = (first, first);
        while Path::new(&format!("/proc/{process}")).exists() {
            sent += 1;
            let node = ["edge1", "edge2"][usize::from(sent % 2 == 0)];
            let wish = format!("{{\"node\": \"{node}\", \"reason\": \"{sent}\"}}");
            match http::request(&admin, "PUT", "/v1/pins/fabrikam", &wish) {
                Ok(answer) if answer.status == 200 => told = sent,
                Ok(answer) => panic!("{}", answer.body),
                Err(_) => break,
            }
        }
        (told, sent)
    })
}

#[test]
fn a_kill_at_any_moment_keeps_what_an_administrator_was_told_and_loses_only_the_last_pins() {
    let rounds = std::env::var("PINFOLD_KILL_ROUNDS");
    let rounds: u64 = rounds.map_or(10, |rounds| rounds.parse().unwrap());
    let seed = fastrand::u64(..);
    let mut random = Rng::with_seed(seed);
    let mut world = World::start(2);
    let (mut number, mut lost_in_all, mut known) = (0, 0, 0);
    for round in 0..rounds {
        let address = world.address();
        let end = Instant::now() + Duration::from_millis(random.u64(5..250));
        // In every other round nothing but time makes traffic's pins durable.
        let administrator = (round % 2 == 0).then(|| administrator(&world, known));
        let mut made = Vec::new();
        while Instant::now() < end {
            number += 1;
            let source = caller_address(number % 60_000);
            Caller::served(address, source).unwrap();
            made.push((source.to_string(), Instant::now()));
        }
        let killed = Instant::now();
        world.pinfold.process.signal(Signal::KILL).unwrap();
        world.pinfold.process.wait_exit(SOON).expect("it ends");
        let numbers = administrator.map(|thread| thread.join().unwrap());
        let (told, sent) = numbers.unwrap_or((known, known));
        world.pinfold = Pinfold::start(&world.directory);
        world.pinfold.wait_ready();

        let pins = world.pinfold.json("/v1/pins");
        let mut pins = pins["pins"].as_array().unwrap().iter();
        let by_hand = pins.find(|pin| pin["by"] == "by-hand");
        let reason = by_hand.map(|pin| pin["order"]["reason"].as_str().unwrap().to_owned());
        let found: u64 = reason.map_or(0, |reason| reason.parse().unwrap());
        assert!(
            told <= found && found <= sent,
            "round {round}, seed {seed}: {told} told, {sent} sent, {found} found"
        );
        known = found;
        let pinned = pinned(&world);
        let there = |(name, _): &&(String, Instant)| pinned.contains(name);
        let kept = made.iter().take_while(there).count();
        let lost = &made[kept..];
        lost_in_all += lost.len();
        assert!(
            !lost.iter().any(|pin| there(&pin)),
            "round {round}, seed {seed}: what is lost is a tail: {lost:?}, {kept} kept"
        );
        // 10 ms and a commit, on a disk that others use as well.
        let oldest = lost.first().map(|(_, at)| killed.duration_since(*at));
        assert!(
            oldest < Some(SOON),
            "round {round}, seed {seed}: {oldest:?}"
        );
        assert!(!attention(&world).contains("SET ASIDE"), "seed {seed}");
    }
    assert!(
        number > 3 * lost_in_all,
        "{lost_in_all} of {number} are lost"
    );
}

#[test]
fn a_state_file_that_cannot_be_read_is_set_aside_and_the_service_starts() {
    let mut world = World::start(2);
    Caller::served(world.address(), caller_address(1)).unwrap();
    let file = world.directory.state().join("state.redb");
    world.pinfold.process.signal(Signal::TERM).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    let length = fs::metadata(&file).unwrap().len();
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
    world.pinfold = Pinfold::start(&world.directory);
    world.pinfold.wait_ready();
    let attention = attention(&world);
    let aside = fs::read_dir(world.directory.state()).unwrap();
    let aside = aside.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let aside: Vec<_> = aside.filter(|name| name.contains("damaged")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(attention.contains(&aside[0]), "{attention}");
    assert_eq!(world.pinfold.metric("pinfold_panics_total"), Some(0.0));
    Caller::served(world.address(), caller_address(1)).unwrap();
    crate::world::pass(Duration::from_millis(200));
    again(&mut world, Signal::KILL);
    assert!(world.pinfold.pin(&caller_address(1).to_string()).is_some());
}

/// How large files of a running Pinfold may become.
fn limit_files(pinfold: &Pinfold, limit: &str) {
    let status = Command::new("prlimit")
        .args(["--pid", &pinfold.process.pid().to_string()])
        .arg(format!("--fsize={limit}:"))
        .status()
        .expect("this test needs the program `prlimit` (util-linux)");
    assert!(status.success());
}

#[test]
fn a_full_disk_is_told_once_stops_nobody_and_is_made_up_for() {
    let mut world = World::start(2);
    world.pinfold.process.signal(Signal::TERM).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    world.pinfold = Pinfold::start_with(&world.directory, |command| {
        let mut patient = Command::new("sh");
        // A write beyond the limit is then an error, and no signal that kills.
        patient.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        patient.arg(command.get_program()).args(command.get_args());
        patient.env_remove("NOTIFY_SOCKET");
        *command = patient;
    });
    world.pinfold.wait_ready();
    limit_files(&world.pinfold, "1024");
    for number in 0..40 {
        Caller::served(world.address(), caller_address(number)).unwrap();
    }
    let told = wait_until(SOON, || {
        attention(&world).contains("NOT KEPT").then_some(())
    });
    assert!(told.is_some(), "{}", world.pinfold.process.output());
    for number in 40..80 {
        Caller::served(world.address(), caller_address(number)).unwrap();
        let output = world.pinfold.process.output();
        assert_eq!(output.matches("state-not-kept").count(), 1, "{output}");
    }
    limit_files(&world.pinfold, "unlimited");
    let told = wait_until(SOON, || {
        (!attention(&world).contains("NOT KEPT")).then_some(())
    });
    assert!(told.is_some(), "{}", world.pinfold.process.output());
    again(&mut world, Signal::KILL);
    let pinned = pinned(&world);
    for number in 0..80 {
        assert!(
            pinned.contains(&caller_address(number).to_string()),
            "{number}"
        );
    }
}
