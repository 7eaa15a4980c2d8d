//! How somebody's sessions went, as far as is remembered.

use std::time::Duration;

use super::super::answers::{Attempts, Trouble};
use super::super::status::{at, round};
use super::meaning;
use super::place::Scene;
use crate::clock::Moment;
use crate::control::chronicle::{self, Chronicle, was_served};
use crate::control::us_or_them::pins_of;
use crate::inspect::tls::Side;
use crate::partner::verdict::speaks_for;
use crate::relay::history::Ended;
use crate::telemetry::outcome::Outcome;

/// The attempts of the last day.
pub(super) fn attempts(scene: &Scene<'_>) -> Attempts {
    let endings = endings(scene);
    let is_recent = |ended: &&Ended| scene.now.since(ended.ended) < DAY;
    let recent: Vec<&Ended> = endings.iter().filter(is_recent).collect();
    let mut attempts = Attempts {
        is_full: recent.len() >= Chronicle::ENDINGS_MAX,
        last_at: last_at(scene, &endings),
        ..Attempts::default()
    };
    let day_ago = at(scene.now.before(DAY));
    let begin = day_ago.max(round(scene.shared.started));
    let oldest = recent.first().map(|ended| at(ended.ended));
    attempts.since = Some(if attempts.is_full {
        oldest.unwrap_or(begin)
    } else {
        begin
    });
    for ended in &recent {
        match judge(ended) {
            Some(true) => attempts.good += 1,
            Some(false) => attempts.bad += 1,
            None => attempts.empty += 1,
        }
    }
    // Which address each of them comes from is not remembered.
    if scene.subject.address.is_none() {
        let served = scene.located.values().map(|survey| survey.answered);
        attempts.good += served.sum::<usize>();
    }
    attempts.troubles = troubles(scene, &recent);
    attempts
}

/// What is remembered of the subject, the latest last. Of an address that is a partner's, what came from
/// there.
fn endings(scene: &Scene<'_>) -> Vec<Ended> {
    let chronicle = chronicle::lock(&scene.shared.chronicle);
    let (subject, mut endings) = (scene.subject, Vec::new());
    if let Some(address) = subject.address {
        endings.extend(chronicle.address(address).into_iter().flatten().cloned());
    }
    if let Some(chapter) = subject
        .partner
        .as_ref()
        .and_then(|known| chronicle.partner(&known.name))
    {
        let is_from_there = |ended: &&Ended| {
            subject
                .address
                .is_none_or(|address| ended.client.ip() == address)
        };
        endings.extend(chapter.endings.iter().filter(is_from_there).cloned());
    }
    endings.sort_by_key(|ended| ended.ended);
    endings
}

/// When it was last heard of.
fn last_at(scene: &Scene<'_>, endings: &[Ended]) -> Option<jiff::Timestamp> {
    let ended = endings.last().map(|ended| ended.ended);
    let active = || scene.located.values().filter_map(|survey| survey.active_at);
    // What is known of the whole partner says nothing about one of its addresses.
    let of_partner = scene.subject.address.is_none().then(|| {
        let known = scene.subject.partner.as_ref()?;
        let pins = pins_of(scene.shared, scene.snapshot, &known.name, scene.now);
        let used = pins.map(|(_, pin)| pin.last_used).max();
        active().chain(used).max()
    });
    let last = ended.into_iter().chain(of_partner.flatten()).max();
    let last = last.filter(|moment| *moment > Moment::START).map(at);
    last.max(shaken(scene))
}

/// When the whole partner last shook hands, also before the start.
fn shaken(scene: &Scene<'_>) -> Option<jiff::Timestamp> {
    let known = scene.subject.partner.as_ref();
    let known = known.filter(|_| scene.subject.address.is_none())?;
    let chronicle = chronicle::lock(&scene.shared.chronicle);
    chronicle.partner(&known.name)?.tls.seen_at.map(round)
}

/// Whether an attempt was good or bad; `None`: it was nothing.
fn judge(ended: &Ended) -> Option<bool> {
    let is_break = matches!(
        ended.outcome,
        Outcome::FirstBytesTimeout
            | Outcome::NoNode
            | Outcome::NodeReset
            | Outcome::NodeLost
            | Outcome::NodeDown
            | Outcome::ClientLost
            | Outcome::Shortage
            | Outcome::InternalError
    );
    if is_break || ended.outcome.is_refusal() {
        return Some(false);
    }
    speaks_for(ended.outcome, was_served(ended))
}

/// What went wrong, alike ones together, the latest first.
fn troubles(scene: &Scene<'_>, endings: &[&Ended]) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = Vec::new();
    for ended in endings
        .iter()
        .rev()
        .filter(|ended| judge(ended) == Some(false))
    {
        let told = tell(scene, ended);
        let like = troubles.iter_mut().find(|known| {
            known.outcome == told.outcome
                && known.alert == told.alert
                && known.node == told.node
                && known.listener == told.listener
        });
        match like {
            Some(known) => {
                known.times += 1;
                known.first = told.first;
            }
            None => troubles.push(told),
        }
    }
    troubles
}

fn tell(scene: &Scene<'_>, ended: &Ended) -> Trouble {
    let alert = ended.tls.as_ref().and_then(|tls| tls.alert);
    let alert = alert.map(|(side, alert)| {
        let side = match side {
            Side::Client => "client",
            Side::Node => "node",
        };
        format!("{side}: {}", alert.name())
    });
    let listener = scene
        .snapshot
        .listeners
        .iter()
        .find(|each| each.state.name == ended.listener);
    let who = scene
        .subject
        .partner
        .as_ref()
        .map_or("it", |known| &*known.name);
    let (meaning, remedy) = meaning::of(ended, who, listener.map(|each| &each.config));
    Trouble {
        times: 1,
        first: at(ended.ended),
        last: at(ended.ended),
        listener: ended.listener.to_string(),
        client: ended.client.ip().to_string(),
        node: ended.node.as_ref().map(ToString::to_string),
        outcome: ended.outcome.label().into(),
        alert,
        meaning,
        remedy,
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);
