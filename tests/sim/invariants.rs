//! What must hold after every step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pinfold::clock::Moment;
use pinfold::config::model::{Failback, NodeState};
use pinfold::pool::group::MemberView;
use pinfold::pool::health::State;
use pinfold::pool::invariant::{NodeNow, Pinned, Rule, dead_beside_others, is_served_elsewhere};
use pinfold::pool::pins::{Pin, PinKey, PinnedBy};
use pinfold::pool::placement::Subject;
use pinfold::pool::select::Standing;

use crate::driver::{Driver, PIN_TTL, PINS_MAX};
use crate::failback::rule;

/// How long a dead node may keep sessions and pins while a healthy one is known to be up: a rest
/// interval, a timeout, and room for a shortage that has just ended.
const ALLOWED: Duration = Duration::from_secs(1);

/// How long a partner may be stranded: clocks jump in this world, and shortages last.
pub(crate) const STRANDED_MAX: Duration = Duration::from_secs(3);

/// What was true after the step before.
#[derive(Default)]
pub(crate) struct Before {
    partners: BTreeMap<Subject, Arc<str>>,
}

/// Checks everything; the first violation is the error.
pub(crate) fn check(driver: &mut Driver, before: &mut Before) -> Result<(), String> {
    if let Some(violation) = driver.violation.take() {
        return Err(violation);
    }
    let view = driver.group.view();
    let pins = driver.pin_list();
    standings_are_as_told(driver, &view)?;
    sessions_are_governed(driver, &view)?;
    the_dead_are_left(driver, &view, &pins)?;
    pins_are_bounded_and_counted(driver, &pins)?;
    pins_move_only_with_reason(driver, before, &pins)?;
    nobody_returns_unasked(&pins)?;
    survivors_keep_their_pace(driver)?;
    driver.one_is_maintained()?;
    driver.books.disagreement(&pins).map_or(Ok(()), Err)?;
    the_live_watch_is_content(driver, &view, &pins)?;
    driver.excused.clear();
    Ok(())
}

fn standings_are_as_told(driver: &Driver, view: &[MemberView]) -> Result<(), String> {
    for member in view {
        if driver.standings.get(&member.node) != Some(&member.standing) {
            return Err(format!(
                "{} stands {:?} and nobody was told",
                member.node, member.standing
            ));
        }
    }
    Ok(())
}

fn sessions_are_governed(driver: &Driver, view: &[MemberView]) -> Result<(), String> {
    for session in &driver.sessions {
        let member = view
            .iter()
            .any(|member| member.node == session.node && member.address == session.address);
        if !member && session.orphan_until.is_none() {
            return Err(format!(
                "a session on {} is governed by nothing",
                session.node
            ));
        }
        let disabled = driver
            .node(&session.node)
            .is_some_and(|node| node.admin == NodeState::Disabled);
        if disabled && session.orphan_until.is_none() {
            return Err(format!(
                "a session lives on {}, which is disabled",
                session.node
            ));
        }
    }
    Ok(())
}

/// Since when it is beyond doubt that the sessions of `victim` had to be cut.
fn overdue_since(driver: &Driver, view: &[MemberView], victim: &MemberView) -> Option<Moment> {
    if victim.state != State::Down {
        return None;
    }
    // One that answers again is about to be up: whoever it serves is not cut at the last moment.
    let itself = driver.node(&victim.node)?;
    if itself.serves() {
        return None;
    }
    view.iter()
        .filter(|other| other.node != victim.node && other.admin == NodeState::Active)
        .filter(|other| other.state == State::Up)
        .filter_map(|other| {
            let node = driver.node(&other.node)?;
            node.serves().then(|| node.last_disturbed.max(other.since))
        })
        .min()
        .map(|healthy| {
            healthy
                .max(victim.since)
                .max(driver.last_disturbed)
                .max(itself.last_disturbed)
        })
}

fn the_dead_are_left(
    driver: &Driver,
    view: &[MemberView],
    pins: &[(PinKey, Pin)],
) -> Result<(), String> {
    for victim in view {
        let Some(since) = overdue_since(driver, view, victim) else {
            continue;
        };
        let name = &victim.node;
        let overdue = |from: Moment| driver.now.since(from.max(since)) > ALLOWED;
        let kept = driver.sessions.iter().any(|session| {
            session.node == *name && session.orphan_until.is_none() && overdue(session.since)
        });
        if kept && victim.admin != NodeState::Disabled {
            return Err(format!(
                "a session stays on {name}, which is down while others are up"
            ));
        }
        let pinned = pins
            .iter()
            .any(|(_, pin)| pin.node == *name && overdue(pin.since));
        if pinned && victim.admin == NodeState::Active {
            return Err(format!(
                "a pin stays on {name}, which is down while others are up"
            ));
        }
        let cut = driver.last_cut.get(name);
        let outlived_cut = driver.sessions.iter().any(|session| {
            session.node == *name
                && session.orphan_until.is_none()
                && cut.is_some_and(|cut| *cut >= victim.since && session.since < *cut)
        });
        if outlived_cut {
            return Err(format!("a session on {name} outlived the cut"));
        }
    }
    Ok(())
}

fn pins_are_bounded_and_counted(driver: &Driver, pins: &[(PinKey, Pin)]) -> Result<(), String> {
    let addresses = driver.pins.counts().addresses;
    if addresses > PINS_MAX {
        return Err(format!(
            "{addresses} pins of addresses, {PINS_MAX} are allowed"
        ));
    }
    for (key, pin) in pins {
        if driver.node(&pin.node).is_none() {
            return Err(format!(
                "the pin of {} names {}, which is gone",
                key.subject, pin.node
            ));
        }
        let live = driver
            .sessions
            .iter()
            .filter(|session| session.client.subject == key.subject);
        if pin.sessions as usize > live.count() {
            return Err(format!(
                "the pin of {} counts sessions that ended",
                key.subject
            ));
        }
        let idle = pin.sessions == 0 && !key.subject.is_partner();
        if idle && pin.last_used + PIN_TTL <= driver.now {
            return Err(format!(
                "the pin of {} has lapsed and is listed",
                key.subject
            ));
        }
    }
    Ok(())
}

fn pins_move_only_with_reason(
    driver: &Driver,
    before: &mut Before,
    pins: &[(PinKey, Pin)],
) -> Result<(), String> {
    let partners: BTreeMap<Subject, Arc<str>> = pins
        .iter()
        .filter(|(key, _)| key.subject.is_partner())
        .map(|(key, pin)| (key.subject.clone(), Arc::clone(&pin.node)))
        .collect();
    for (subject, from) in &before.partners {
        let to = partners.get(subject);
        if to != Some(from) && !driver.excused.contains(from) {
            return Err(format!(
                "the pin of {subject} moved from {from} to {to:?} without a reason"
            ));
        }
    }
    before.partners = partners;
    Ok(())
}

fn nobody_returns_unasked(pins: &[(PinKey, Pin)]) -> Result<(), String> {
    let returned = |pin: &Pin| matches!(pin.by, PinnedBy::Failback | PinnedBy::Reverted);
    let mut pins = pins.iter();
    match pins.find(|(key, pin)| returned(pin) && rule(&key.subject) == Failback::Stay) {
        Some((key, _)) => Err(format!("{} was sent back and is to stay", key.subject)),
        None => Ok(()),
    }
}

fn survivors_keep_their_pace(driver: &Driver) -> Result<(), String> {
    match driver.recovery.too_fast() {
        Some((node, count)) => Err(format!("{node} admitted {count} strangers within a second")),
        None => Ok(()),
    }
}

/// What the live process watches, by the same functions.
fn the_live_watch_is_content(
    driver: &mut Driver,
    view: &[MemberView],
    pins: &[(PinKey, Pin)],
) -> Result<(), String> {
    let others_take = view.iter().any(|member| member.standing == Standing::Takes);
    let now = |pin: &Pin| match view.iter().find(|member| member.node == pin.node) {
        None => NodeNow::Unknown,
        Some(member) if member.standing == Standing::Down && member.is_silent && others_take => {
            dead_beside_others(pin, member.since)
        }
        Some(_) => NodeNow::Serves,
    };
    let partners = pins.iter().filter(|(key, _)| key.subject.is_partner());
    let pinned: Vec<_> = partners
        .map(|(key, pin)| Pinned {
            key: key.clone(),
            node: now(pin),
            is_served_elsewhere: is_served_elsewhere(
                driver.books.last_served(&key.subject.to_string()),
                pin,
            ),
        })
        .collect();
    let broken = driver
        .watch
        .look(&pinned, driver.recovery.counts(), driver.now);
    match Rule::ALL.iter().zip(broken).find(|(_, count)| *count > 0) {
        Some((rule, count)) => Err(format!("the live watch counts {count} of {}", rule.label())),
        None => Ok(()),
    }
}

/// When all clients have left, nothing is counted any more.
pub(crate) fn check_end(driver: &mut Driver) -> Result<(), String> {
    while !driver.sessions.is_empty() {
        driver.end(0);
    }
    if let Some((key, pin)) = driver.pin_list().iter().find(|(_, pin)| pin.sessions > 0) {
        return Err(format!(
            "all left, and the pin of {} counts {}",
            key.subject, pin.sessions
        ));
    }
    let far = driver.now + PIN_TTL;
    while driver.pins.expire(far, 2) > 0 {}
    let counts = driver.pins.counts();
    if counts.addresses != 0 || counts.partners != driver.pin_list().len() {
        return Err(format!(
            "all left and all lapsed, and the table counts {counts:?}"
        ));
    }
    driver.tally.evicted = counts.evicted;
    driver.tally.lapsed = counts.lapsed;
    Ok(())
}
