//! What outlives the process: pins and administrators' changes, however it ends.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use pinfold_loadtest::http;
use pinfold_loadtest::process::{Signal, wait_until};

use crate::world::{Caller, FABRIKAM, Pinfold, SOON, WITHOUT_LANDLOCK, World, caller_address};

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

/// A thread that wants to wake every millisecond, and so knows when this machine let nobody run.
struct Metronome {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Metronome {
    fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !of_thread.load(SeqCst) {
                let begun = Instant::now();
                std::thread::park_timeout(Duration::from_millis(1));
                longest = longest.max(begun.elapsed());
            }
            longest
        });
        Self { is_over, thread }
    }

    fn longest_pause(self) -> Duration {
        self.is_over.store(true, SeqCst);
        self.thread.join().unwrap()
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
    let mut oldest_in_all = Duration::ZERO;
    for round in 0..rounds {
        let address = world.address();
        let metronome = Metronome::start();
        let end = Instant::now() + Duration::from_millis(random.u64(5..250));
        // In every other round nothing but time makes traffic's pins durable.
        let administrator = (round % 2 == 0).then(|| administrator(&world, known));
        let mut made = Vec::new();
        // Nobody comes twice, or what is there may be of an earlier round.
        let most = CALLERS_MAX / usize::try_from(rounds.max(1)).unwrap();
        while Instant::now() < end && made.len() < most {
            number += 1;
            let source = caller_address(number);
            Caller::served(address, source).unwrap();
            made.push((source.to_string(), Instant::now()));
        }
        let killed = Instant::now();
        world.pinfold.process.signal(Signal::KILL).unwrap();
        let pause = metronome.longest_pause();
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
        let oldest = lost
            .first()
            .map_or(Duration::ZERO, |(_, at)| killed.duration_since(*at));
        assert!(
            oldest <= LOST_MAX + pause,
            "round {round}, seed {seed}: {} pins of {oldest:?} are lost; pauses of {pause:?}",
            lost.len()
        );
        oldest_in_all = oldest_in_all.max(oldest);
        assert!(!attention(&world).contains("SET ASIDE"), "seed {seed}");
    }
    assert!(number > lost_in_all, "all {number} are lost");
    eprintln!(
        "{rounds} rounds: {number} pins, {lost_in_all} lost, none made more than {oldest_in_all:?} before its kill"
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

#[test]
fn whatever_is_removed_under_it_is_there_at_the_next_start() {
    let mut world = World::start(4);
    let (mut caller, first) = Caller::served(world.address(), FABRIKAM).unwrap();
    world.edge(&first).kill().unwrap();
    assert!(caller.ends_within(SOON));
    failovers(&world, 1);
    Caller::served(world.address(), caller_address(1)).unwrap();
    let others: Vec<_> = ["edge1", "edge2", "edge3", "edge4"]
        .into_iter()
        .filter(|node| *node != first)
        .collect();
    let drain = format!("/v1/nodes/{}/drain", others[0]);
    assert_eq!(world.pinfold.post(&drain).unwrap().status, 200);
    let key_file = world.directory.state().join("placement.key");
    let key = || fs::read_to_string(&key_file).unwrap();
    let placement = key();
    let empty: fn(&Path) = |state| {
        for entry in fs::read_dir(state).unwrap() {
            // A segment of the journal comes and goes.
            let _ = fs::remove_file(entry.unwrap().path());
        }
    };
    let file: fn(&Path) = |state| fs::remove_file(state.join("state.redb")).unwrap();
    let all: fn(&Path) = |state| {
        // A segment that is made meanwhile keeps the directory for another moment.
        let gone = wait_until(SOON, || fs::remove_dir_all(state).ok());
        gone.expect("it can be removed");
    };
    let cases = [
        // Landlock knows the directory, not its name: who is confined by it makes no other one.
        ("", file, others[1]),
        ("", empty, others[2]),
        (WITHOUT_LANDLOCK, all, others[1]),
    ];
    for (server, harm, node) in cases {
        world.rewrite(|setup| setup.server = server.into());
        again(&mut world, Signal::TERM);
        harm(&world.directory.state());
        let wish = serde_json::json!({ "node": node });
        let answer = world.pinfold.send("PUT", "/v1/pins/fabrikam", &wish);
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(world.pinfold.process.output().contains("state-removed"));
        again(&mut world, Signal::KILL);
        assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some(node));
        let stranger = caller_address(1).to_string();
        assert!(world.pinfold.pin(&stranger).is_some(), "nor is it lost");
        failovers(&world, 1);
        let nodes = world.pinfold.json("/v1/nodes").to_string();
        assert!(nodes.contains("draining"), "{nodes}");
        assert_eq!(key(), placement);
    }
}

#[test]
fn what_is_removed_while_nothing_changes_is_made_anew_all_the_same() {
    let world = World::start(2);
    let state = world.directory.state();
    fs::remove_file(state.join("state.redb")).unwrap();
    fs::remove_file(state.join("lock")).unwrap();
    let is_there = || {
        let names = ["state.redb", "lock"];
        names
            .iter()
            .all(|name| state.join(name).exists())
            .then_some(())
    };
    assert!(wait_until(SOON, is_there).is_some());
}

#[test]
fn a_state_directory_that_cannot_be_made_anew_keeps_nothing_says_so_and_is_made_up_for() {
    let mut world = World::start_with(2, |setup| setup.server = WITHOUT_LANDLOCK.into());
    let state = world.directory.state();
    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, b"no directory").unwrap();
    let wish = serde_json::json!({ "node": "edge2" });
    let answer = world.pinfold.send("PUT", "/v1/pins/fabrikam", &wish);
    let answer = answer.unwrap();
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert!(answer.body.contains("NOT durable"), "{}", answer.body);
    assert_eq!(
        world.pinfold.pin("fabrikam").as_deref(),
        Some("edge2"),
        "it stands all the same"
    );
    let told = attention(&world);
    assert!(told.contains("NOT KEPT"), "{told}");
    assert!(told.contains("make it again with mode"), "{told}");
    fs::remove_file(&state).unwrap();
    let told = || (!attention(&world).contains("NOT KEPT")).then_some(());
    assert!(wait_until(SOON, told).is_some(), "{}", attention(&world));
    again(&mut world, Signal::KILL);
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("edge2"));
}

/// Starts Pinfold so that a write beyond a limit is an error, and no signal that kills; `limit` is that of
/// `ulimit -f`.
fn start_limited(world: &World, limit: &str) -> Pinfold {
    let pinfold = Pinfold::start_with(&world.directory, |command| {
        let mut patient = Command::new("sh");
        let words = format!("trap '' XFSZ; ulimit -S -f {limit}; exec \"$0\" \"$@\"");
        patient.args(["-c", &words]).arg(command.get_program());
        patient.args(command.get_args()).env_remove("NOTIFY_SOCKET");
        *command = patient;
    });
    pinfold.wait_ready();
    pinfold
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
    world.pinfold = start_limited(&world, "unlimited");
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
    let is_pinned = |number| pinned.contains(&caller_address(number).to_string());
    assert!((0..80).all(is_pinned), "{pinned:?}");

    // What cannot be written at the start is read all the same, and by whoever comes next.
    world.pinfold.process.signal(Signal::KILL).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    world.pinfold = start_limited(&world, "0");
    assert_eq!(self::pinned(&world), pinned);
    assert!(attention(&world).contains("NOT KEPT"));
    assert_eq!(world.pinfold.metric("pinfold_state_kept"), Some(0.0));
    Caller::served(world.address(), caller_address(90)).unwrap();
    let wish = serde_json::json!({"node": "edge1"});
    let answer = world.pinfold.send("PUT", "/v1/pins/fabrikam", &wish);
    let answer = answer.unwrap();
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert!(answer.body.contains("NOT durable"), "{}", answer.body);
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("edge1"));
    limit_files(&world.pinfold, "unlimited");
    let told = || (!attention(&world).contains("NOT KEPT")).then_some(());
    let told = wait_until(SOON, told);
    assert!(told.is_some(), "{}", attention(&world));
    again(&mut world, Signal::KILL);
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("edge1"));
    assert!(self::pinned(&world).is_superset(&pinned));
}

#[test]
fn a_table_of_pins_that_is_nearly_full_is_told_once_and_evicts_the_oldest_beyond() {
    let world = World::start_with(2, |setup| setup.server = "max_pins = 10".into());
    let served = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            Caller::served(world.address(), caller_address(number)).unwrap();
        }
    };
    served(0..7);
    assert!(!attention(&world).contains("PINS of addresses"));
    served(7..8);
    assert!(attention(&world).contains("PINS of addresses: 8 of 10"));
    let process = &world.pinfold.process;
    let told = process.wait_line(SOON, |line| line.contains("pins-crowded"));
    assert!(told.is_some(), "{}", process.output());
    served(8..20);
    assert_eq!(
        world.pinfold.metric("pinfold_pins_evicted_total"),
        Some(10.0)
    );
    // Several looks at it.
    crate::world::pass(Duration::from_millis(600));
    let lines = process.output();
    assert_eq!(lines.matches("pins-crowded").count(), 1, "{lines}");
}

/// The ledger, once it has `count` failovers.
fn failovers(world: &World, count: usize) -> Vec<serde_json::Value> {
    let listed = || {
        let ledger = world.pinfold.json("/v1/failovers?partner=fabrikam");
        let failovers = ledger["failovers"].as_array().unwrap().clone();
        (failovers.len() >= count).then_some(failovers)
    };
    wait_until(SOON, listed).expect("the failovers are on record")
}

#[test]
fn the_ledger_goes_on_after_a_kill_and_knows_who_has_not_come_back() {
    let mut world = World::start_with(4, |setup| {
        setup.fabrikam = "alarm_after = \"1s\"".into();
    });
    let (mut caller, first) = Caller::served(world.address(), FABRIKAM).unwrap();
    world.edge(&first).kill().unwrap();
    assert!(caller.ends_within(SOON));
    world.pinfold.wait_health(&first, "down");
    let (mut caller, second) = Caller::served(world.address(), FABRIKAM).unwrap();
    let is_back = || {
        let node = failovers(&world, 1)[0]["partners"][0]["node"].clone();
        (node == second.as_str()).then_some(())
    };
    assert!(wait_until(SOON, is_back).is_some());
    world.edge(&second).kill().unwrap();
    assert!(caller.ends_within(SOON));
    world.pinfold.wait_health(&second, "down");
    failovers(&world, 2);
    crate::world::pass(Duration::from_millis(200));

    again(&mut world, Signal::KILL);
    let before = failovers(&world, 2);
    assert_eq!(
        (&before[0]["number"], &before[1]["number"]),
        (&1.into(), &2.into())
    );
    assert_eq!(
        before[0]["partners"][0]["node"],
        second.as_str(),
        "{before:?}"
    );
    assert!(before[1]["partners"][0]["node"].is_null(), "{before:?}");
    let alarm = || {
        attention(&world)
            .contains("NOT BACK fabrikam")
            .then_some(())
    };
    assert!(wait_until(SOON, alarm).is_some(), "{}", attention(&world));

    let (_caller, third) = Caller::served(world.address(), FABRIKAM).unwrap();
    let back = wait_until(SOON, || {
        let gap = failovers(&world, 2)[1]["partners"][0].clone();
        (gap["node"] == third.as_str()).then_some(gap)
    });
    let gap = back.expect("whom the earlier instance waited for is known to be back");
    assert!(gap["served_after_ms"].as_f64().unwrap() > 200.0, "{gap}");
    assert!(!attention(&world).contains("NOT BACK"));

    world.pinfold.wait_health(&third, "up");
    world.edge(&third).kill().unwrap();
    assert_eq!(failovers(&world, 3)[2]["number"], 3, "numbers go on");
    let others = world.pinfold.json("/v1/failovers?partner=nobody");
    assert_eq!(others["failovers"].as_array().unwrap().len(), 0);
}

#[test]
fn a_drain_keeps_its_deadline_over_a_restart() {
    let mut world = World::start(2);
    let drain = world
        .pinfold
        .post("/v1/nodes/edge1/drain?deadline=4s")
        .unwrap();
    assert_eq!(drain.status, 200, "{}", drain.body);
    let asked = Instant::now();
    again(&mut world, Signal::KILL);
    world.wait_all_up();
    // With nobody else a node that drains is used all the same.
    world.edge("edge2").kill().unwrap();
    world.pinfold.wait_health("edge2", "down");
    let (mut caller, node) = Caller::served(world.address(), caller_address(1)).unwrap();
    assert_eq!(node, "edge1");
    assert!(caller.ends_within(SOON), "the deadline cuts it");
    assert!(
        asked.elapsed() >= Duration::from_millis(3900),
        "{:?}",
        asked.elapsed()
    );
    world.pinfold.wait_ended("drained", 1);
}

/// How long before a kill a pin that is lost may have been seen made. Pinfold gathers for 8 ms and appends
/// to the page cache, however slow the disk is. All else is the machine's: the thread that appends is one
/// of many on few cores and may wait some slices for its turn, as may this test between its last look at
/// the clock and the kill; and a file system may hold up a write for a moment while it commits. Where the
/// whole machine stood still, nobody could have appended: that is measured, and comes on top.
const LOST_MAX: Duration = Duration::from_millis(100);

/// As many addresses as callers have.
const CALLERS_MAX: usize = 60_000;
