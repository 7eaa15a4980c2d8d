//! What happens in the world of names, drawn from a seed.

use std::time::Duration;

use fastrand::Rng;
use pinfold::partner::resolved::{Event, Failure, Family, Heard, Names, Question, Record};

use super::{CERTIFICATES, Happened, NameRule, OWN, World, address, is_too_soon};

const ACTIONS: u32 = 80;

/// Plays the history of `seed`; the error says what went wrong and how to replay it.
pub(crate) fn run(seed: u64, rule: NameRule) -> Result<Happened, String> {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new(seed, rule);
    let mut trail = Vec::new();
    for step in 0..ACTIONS {
        let what = world.act(&mut rng);
        trail.push(format!("  {} µs: {what}", world.now.as_micros()));
        world.check().map_err(|wrong| {
            let last = trail.split_off(trail.len().saturating_sub(30)).join("\n");
            format!("names, seed {seed}, step {step}: {wrong}\n{last}\nreplay with PINFOLD_SIM_NAMES_SEED={seed}")
        })?;
    }
    Ok(world.happened)
}

/// Adds up what happened, and tells what never did.
pub(crate) fn tally(all: &[Happened]) -> Result<String, String> {
    let sum = |count: fn(&Happened) -> u64| all.iter().map(count).sum::<u64>();
    let sums = [
        ("contested", sum(|each| each.contested)),
        ("failed", sum(|each| each.failed)),
        ("drifted", sum(|each| each.drifted)),
        ("learned", sum(|each| each.learned)),
        ("doubted", sum(|each| each.doubted)),
        ("come again", sum(|each| each.come_again)),
        ("taken along", sum(|each| each.taken_along)),
    ];
    match sums.iter().find(|(_, count)| *count == 0) {
        Some((never, _)) => Err(format!("never happened: {never}")),
        None => Ok(format!("{sums:?}")),
    }
}

impl World {
    fn act(&mut self, rng: &mut Rng) -> String {
        let index = rng.usize(..CERTIFICATES.len());
        let (partner, _) = CERTIFICATES[index];
        match rng.u8(0..20) {
            0..6 => {
                let far = if rng.u8(..8) == 0 { 40_000 } else { 60 };
                self.now = self.now + Duration::from_millis(rng.u64(..far * 1000));
                "time passes".into()
            }
            6..9 => self.ask(rng),
            9..13 => self.deliver(rng),
            13..15 => {
                // Few addresses: partners come to claim the same ones.
                let home = address(rng.u8(1..8));
                self.homes.insert(partner, home);
                format!("{partner} moves to {home}")
            }
            _ => {
                let (turn, shows) = (rng.u8(..), rng.u8(..3) > 0);
                self.come(partner, turn, shows);
                format!(
                    "{partner} comes from {}, shows: {shows}",
                    self.homes[partner]
                )
            }
        }
    }

    /// Asks what is due; answers come later, if at all.
    fn ask(&mut self, rng: &mut Rng) -> String {
        if self.rule == NameRule::BelievesTtl {
            self.names.ask_again(self.now);
        }
        let questions = self.names.ask(self.now, 4);
        for question in &questions {
            if is_too_soon(self.answered.get(question), self.now) {
                self.violation = Some(format!("{question:?} is asked again too soon"));
            }
            let late = self.now + Duration::from_millis(rng.u64(..20_000));
            let heard = self.answer(question, rng);
            self.answers.push((late, question.clone(), heard));
        }
        format!("asked: {questions:?}")
    }

    fn answer(&self, question: &Question, rng: &mut Rng) -> Heard {
        let ttl = Duration::from_secs(*rng.choice(&[0, 0, 30, 600, 1_000_000_000]).unwrap());
        let failures = [
            Failure::Timeout,
            Failure::NoSuchName,
            Failure::Empty,
            Failure::ServerFailure,
            Failure::NoServer,
        ];
        if rng.u8(..4) == 0 {
            return Heard::Failed(*rng.choice(&failures).unwrap());
        }
        let is_swapped = rng.u8(..30) == 0;
        match question {
            Question::Addresses(name) if !is_swapped => {
                let found = match rng.u8(..12) {
                    0 => Vec::new(),
                    1 => vec![OWN, [224, 0, 0, 1].into(), [127, 0, 0, 1].into()],
                    2 => (0..=255).map(address).collect(),
                    3..5 => vec![address(rng.u8(1..8)), OWN],
                    _ => self.truth(name),
                };
                let families = [None, None, None, Some(Family::V4), Some(Family::V6)];
                let unheard = *rng.choice(&families).unwrap();
                Heard::Addresses {
                    found,
                    unheard,
                    ttl,
                }
            }
            Question::Addresses(_) | Question::Service(_) => {
                let targets = [
                    "sip.two.example",
                    "edge.two.example",
                    "",
                    "sip.evil.example",
                ];
                let record = |_| Record {
                    priority: rng.u16(..3),
                    weight: rng.u16(..3),
                    port: 5061,
                    target: (*rng.choice(&targets).unwrap()).into(),
                };
                let found = (0..3).map(record).collect();
                Heard::Service { found, ttl }
            }
        }
    }

    /// Where the owner of a name is.
    fn truth(&self, name: &str) -> Vec<std::net::IpAddr> {
        let owner = match name {
            "sip.zero.example" => "edge0",
            "sip.one.example" | "sip2.one.example" => "edge1",
            "sip.four.example" => "blocked4",
            _ => "domain2",
        };
        vec![self.homes[owner]]
    }

    /// Answers that are due arrive, and what they change is published, at once or later.
    fn deliver(&mut self, rng: &mut Rng) -> String {
        let now = self.now;
        let due: Vec<_> = self.answers.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, question, heard) in &due {
            let before = self.names.known(question).map(|(_, at)| at);
            let events = self.names.hear(question, heard.clone(), now);
            // One that nobody asks for any more may be forgotten.
            self.known.retain(|known| self.names.is_asked(known));
            self.answered.retain(|known, _| self.names.is_asked(known));
            let count =
                |wanted: fn(&Event) -> bool| events.iter().filter(|each| wanted(each)).count();
            self.happened.failed += count(|each| matches!(each, Event::Failed { .. })) as u64;
            self.happened.drifted += count(|each| matches!(each, Event::Drift { .. })) as u64;
            let known = self.names.known(question);
            if let Some((what, at)) = known
                && before != Some(at)
            {
                self.answered.insert(question.clone(), at);
                if matches!(what, Heard::Addresses { .. }) {
                    self.known.insert(question.clone());
                }
            } else {
                // What failed is asked again by its own rule.
                self.answered.remove(question);
                if self.rule == NameRule::ForgetsWhatWasKnown {
                    self.names = Names::new(rng.u64(..));
                    self.names
                        .configure(&self.config.partners, self.ground.clone(), now);
                }
            }
        }
        if rng.u8(..4) > 0 {
            self.publish();
        }
        format!("heard: {:.600}", format!("{due:?}"))
    }
}
