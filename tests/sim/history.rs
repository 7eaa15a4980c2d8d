//! One invented history: what happens, and when, drawn from a seed.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use fastrand::Rng;
use pinfold::clock::Moment;
use pinfold::config::model::{Balance, NodeState, ProbeKind};
use pinfold::pool::health::Event;
use pinfold::telemetry::outcome::Outcome;

use crate::driver::{Client, Driver, Rule, Session};
use crate::invariants::{self, Before};
use crate::tally::Tally;
use crate::world::Node;

/// Where and how a history went wrong.
#[derive(Debug)]
pub(crate) struct Failure {
    seed: u64,
    step: u64,
    at: Moment,
    what: String,
    /// The last things that happened.
    trail: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            step,
            at,
            what,
            trail,
        } = self;
        writeln!(
            formatter,
            "seed {seed}, step {step}, {} µs: {what}",
            at.as_micros()
        )?;
        for line in trail {
            writeln!(formatter, "  {line}")?;
        }
        write!(formatter, "replay with PINFOLD_SIM_SEED={seed}")
    }
}

const PARTNERS: u8 = 4;
const ADDRESSES: u8 = 12;
const ACTIONS: u32 = 60;
/// Answers of a pausing node all arrive before it pauses again.
const BETWEEN_PAUSES: Duration = Duration::from_millis(200);

/// Plays the history of `seed`.
pub(crate) fn run(seed: u64, rule: Rule) -> Result<Tally, Failure> {
    let mut rng = Rng::with_seed(seed);
    let nodes = (0..rng.u8(1..=4))
        .map(|number| Node::new(number, 0, Moment::START))
        .collect();
    let balance = *rng
        .choice(&[
            Balance::LeastSessions,
            Balance::RoundRobin,
            Balance::SourceHash,
        ])
        .unwrap();
    let mut driver = Driver::new(seed, rule, nodes, balance);
    if driver.kind == ProbeKind::Tcp {
        // Where traffic alone tells, there is somebody who talks.
        driver.step(driver.now);
        (0..ADDRESSES).for_each(|number| driver.connect(Client::address(number)));
    }
    let mut before = Before::default();
    let mut trail: Vec<String> = Vec::new();
    let fail = |driver: &Driver, trail: &[String], what: String| Failure {
        seed,
        step: driver.tally.steps,
        at: driver.now,
        what,
        trail: trail.iter().rev().take(40).rev().cloned().collect(),
    };
    for _ in 0..ACTIONS {
        let next_action = driver.now + Duration::from_micros(rng.u64(0..250_000).pow(2) / 150_000);
        while driver.next_moment() < next_action {
            driver.step(driver.next_moment());
            driver.tally.steps += 1;
            invariants::check(&mut driver, &mut before)
                .map_err(|what| fail(&driver, &trail, what))?;
        }
        driver.step(next_action);
        let what = act(&mut driver, &mut rng);
        trail.push(format!("{} µs: {what}", driver.now.as_micros()));
        driver.tally.steps += 1;
        invariants::check(&mut driver, &mut before).map_err(|what| fail(&driver, &trail, what))?;
    }
    invariants::check_end(&mut driver).map_err(|what| fail(&driver, &trail, what))?;
    Ok(driver.tally)
}

/// Does something invented; says what.
fn act(driver: &mut Driver, rng: &mut Rng) -> String {
    let now = driver.now;
    let index = rng.usize(..driver.nodes.len());
    // Where traffic alone tells, there is more of it to tell.
    if driver.kind == ProbeKind::Tcp {
        match rng.u8(0..16) {
            0 => return leave_alone(driver, rng),
            1..10 => return traffic(driver, rng),
            _ => {}
        }
    }
    // One history in four has an administrator who is always at it.
    if driver.conduct.is_busy && rng.u8(0..3) == 0 {
        return driver.conduct(rng, index);
    }
    match rng.u8(0..100) {
        0..30 => arrive(driver, rng),
        30..38 => leave(driver, rng),
        38..55 => traffic(driver, rng),
        55..80 => befall(driver, rng, index),
        80..82 => {
            driver.nodes.iter_mut().for_each(|node| node.kill(now));
            "all die".to_owned()
        }
        82..84 => {
            driver.nodes.iter_mut().for_each(|node| node.revive(now));
            "all live".to_owned()
        }
        84..87 => trouble(driver, rng),
        87..89 => reload(driver, rng),
        89..91 => {
            let is_lacking = !driver.nodes[index].lacking;
            driver.set_lacking(index, is_lacking);
            format!("{} lacks: {is_lacking}", driver.nodes[index].name)
        }
        91..92 => driver.conduct(rng, index),
        92..93 => {
            let node = &mut driver.nodes[index];
            // With what was asked just before and not answered yet it stays below the second and a half
            // after which a node counts as frozen.
            node.quiet_until = now + Duration::from_millis(rng.u64(..1_100));
            let until = node.quiet_until;
            format!("{} has nothing to say until {until:?}", node.name)
        }
        93..95 if rng.u8(..3) > 0 => driver.conduct(rng, index),
        93..95 => administer(driver, rng, index),
        95..98 => {
            driver.short_until = now + Duration::from_millis(rng.u64(0..800));
            driver.last_disturbed = now;
            format!("shortage until {:?}", driver.short_until)
        }
        _ => jump(driver, rng),
    }
}

/// Something befalls a node.
fn befall(driver: &mut Driver, rng: &mut Rng, index: usize) -> String {
    let now = driver.now;
    match rng.u8(0..25) {
        0..7 => {
            driver.nodes[index].kill(now);
            format!("{} dies", driver.nodes[index].name)
        }
        7..13 => {
            driver.nodes[index].revive(now);
            format!("{} lives", driver.nodes[index].name)
        }
        13..22 => pause(driver, rng, index),
        _ => {
            let node = &mut driver.nodes[index];
            if !node.dead {
                node.freeze(now, Duration::from_millis(rng.u64(501..6_000)));
            }
            format!("{} freezes until {:?}", node.name, node.frozen_until)
        }
    }
}

fn administer(driver: &mut Driver, rng: &mut Rng, index: usize) -> String {
    let states = [
        NodeState::Active,
        NodeState::Active,
        NodeState::Draining,
        NodeState::Disabled,
    ];
    let admin = *rng.choice(&states).unwrap();
    driver.administer(index, admin);
    format!("{} is made {admin:?}", driver.nodes[index].name)
}

fn jump(driver: &mut Driver, rng: &mut Rng) -> String {
    let jump = Duration::from_millis(rng.u64(50..20_000));
    driver.now = driver.now + jump;
    for node in &mut driver.nodes {
        node.tick(driver.now);
    }
    // Long jumps are noticed without being told.
    driver.stun(jump < Duration::from_secs(1) || rng.bool());
    "the clock jumps".to_owned()
}

fn arrive(driver: &mut Driver, rng: &mut Rng) -> String {
    for _ in 0..rng.u8(1..4) {
        let client = if rng.bool() {
            Client::partner(rng.u8(..PARTNERS))
        } else {
            Client::address(rng.u8(..ADDRESSES))
        };
        driver.connect(client);
    }
    "clients arrive".to_owned()
}

/// One client asks what is never answered, on a node where nobody else is.
fn leave_alone(driver: &mut Driver, rng: &mut Rng) -> String {
    let session = rng.choice(&driver.sessions);
    let lonely = session.map(|session| (session.node.clone(), session.client.ip));
    if let Some((node, client)) = &lonely {
        driver.leave_alone(node, *client);
    }
    format!("{lonely:?} is alone and gets no answers")
}

fn leave(driver: &mut Driver, rng: &mut Rng) -> String {
    for _ in 0..rng.u8(1..4) {
        if !driver.sessions.is_empty() {
            driver.end(rng.usize(..driver.sessions.len()));
        }
    }
    "clients leave".to_owned()
}

/// Bytes both ways where the node lives, one way where it does not; told late.
fn traffic(driver: &mut Driver, rng: &mut Rng) -> String {
    driver.ask(driver.now, rng);
    let late = rng.u64(0..50_000);
    let at = Moment::from_micros(driver.now.as_micros().saturating_sub(late));
    for index in 0..driver.nodes.len() {
        let node = &driver.nodes[index];
        let name = node.name.clone();
        if !driver
            .sessions
            .iter()
            .any(|session| session.node == name && session.answered)
        {
            continue;
        }
        if node.answers() && node.last_disturbed < at {
            driver.observe(&name, Event::Heard { at });
        }
        driver.observe(&name, Event::Asked { at });
    }
    "bytes flow".to_owned()
}

fn pause(driver: &mut Driver, rng: &mut Rng, index: usize) -> String {
    let now = driver.now;
    let node = &mut driver.nodes[index];
    if node.answers() && now.since(node.last_disturbed) > BETWEEN_PAUSES {
        node.freeze(now, Duration::from_millis(rng.u64(1..=500)));
    }
    format!("{} pauses until {:?}", node.name, node.frozen_until)
}

/// What happens to partners beside the death of their nodes.
fn trouble(driver: &mut Driver, rng: &mut Rng) -> String {
    match rng.u8(0..3) {
        0 => evil(driver),
        1 => {
            let absent = Client::partner(rng.u8(..PARTNERS)).subject;
            let until = driver.now + Duration::from_millis(rng.u64(..8_000));
            driver.absent = Some((absent.clone(), until));
            format!("{absent} has no way to us until {until:?}")
        }
        _ => {
            let closes = |session: &Session| session.client.subject.is_partner();
            let index = driver.sessions.iter().position(closes);
            if let Some(index) = index {
                driver.lose(index, Outcome::NodeClosed);
                driver.end(index);
            }
            format!("a node closes the session {index:?}")
        }
    }
}

/// A client whose bytes make every node reset its session, again and again.
fn evil(driver: &mut Driver) -> String {
    let client = IpAddr::from([203, 0, 113, 66]);
    for _ in 0..3 {
        for index in 0..driver.nodes.len() {
            if driver.nodes[index].answers() {
                let name = driver.nodes[index].name.clone();
                driver.observe(&name, Event::SessionReset { client });
            }
        }
    }
    "evil bytes".to_owned()
}

/// Nodes are added, removed, moved to another address or listed in another order.
fn reload(driver: &mut Driver, rng: &mut Rng) -> String {
    driver.tally.reloads += 1;
    let index = rng.usize(..driver.nodes.len());
    // Nobody removes the node that is being maintained.
    let first = if driver.is_maintained(index) { 3 } else { 0 };
    match rng.u8(first..4) {
        0 if driver.nodes.len() > 1 => {
            driver.nodes.remove(index);
        }
        1 => {
            let free = (0..6).find(|number| driver.node(&format!("edge{number}")).is_none());
            if let Some(number) = free {
                driver
                    .nodes
                    .push(Node::new(number, rng.u8(0..2), driver.now));
            }
        }
        2 => {
            let number = driver.nodes[index].name.as_bytes()[4] - b'0';
            let moved = Node::new(number, rng.u8(0..3), driver.now);
            // The same address is the same machine, however it is.
            if moved.address != driver.nodes[index].address {
                driver.nodes[index] = moved;
            }
        }
        _ => rng.shuffle(&mut driver.nodes),
    }
    driver.reload();
    let names: Vec<_> = driver
        .nodes
        .iter()
        .map(|node| format!("{} {}", node.name, node.address))
        .collect();
    format!("reload: {}", names.join(", "))
}
