//! Pins from a file that an administrator brings: checked wholly before anything changes.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::super::Control;
use super::super::admin::answers::{Pin, PinFile, SubjectKind};
use super::{PinRefused, durable};
use crate::clock::Moment;
use crate::config::model;
use crate::pool::pins::{Kept, Order as Word, PinKey, PinScope, PinnedBy, Put};
use crate::pool::placement::Subject;
use crate::pool::select::Standing;
use crate::snapshot::{Scope, Snapshot};

/// What an import did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Pins that were not there before.
    pub made: usize,
    /// Pins that named another node before.
    pub moved: usize,
    /// Pins that name the same node as before.
    pub kept: usize,
    /// Pins of addresses for which there is no room.
    pub beyond: usize,
    /// Pins whose life has run out since the export.
    pub lapsed: usize,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

impl Control {
    /// Puts the pins of a file beside those that there are. The answer goes out once that is durable.
    pub(in crate::control) fn import(
        &self,
        file: &PinFile,
        is_dry_run: bool,
        by: &str,
        answer: oneshot::Sender<Result<Imported, PinRefused>>,
    ) {
        let pins = match self.understand(file) {
            Ok(pins) => pins,
            Err(mistakes) => return drop(answer.send(Err(PinRefused::Mistakes(mistakes)))),
        };
        let imported = self.put(pins, is_dry_run);
        if is_dry_run {
            return drop(answer.send(Ok(imported)));
        }
        let Imported {
            made, moved, kept, ..
        } = imported;
        tracing::warn!(made, moved, kept, by, "pins-imported");
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let _ = answer.send(durable(&shared).await.map(|()| imported));
        });
    }

    fn put(&self, pins: Vec<(PinKey, Option<Kept>)>, is_dry_run: bool) -> Imported {
        let (table, now) = (&self.shared.pins, Moment::now());
        let max = self.config.server.max_pins;
        let mut room = max.saturating_sub(table.counts().addresses);
        let mut imported = Imported {
            dry_run: is_dry_run,
            ..Imported::default()
        };
        let mut named = Named::new();
        for (key, kept) in pins {
            let Some(kept) = kept else {
                imported.lapsed += 1;
                continue;
            };
            let before = table.inspect(&key, now);
            // An import evicts nobody.
            if before.is_none() && !key.subject.is_partner() {
                if room == 0 {
                    imported.beyond += 1;
                    continue;
                }
                room -= 1;
            }
            // It names this node here since now, whatever the ledger has of it before, or as long as it did.
            let since = match before {
                None => {
                    imported.made += 1;
                    now
                }
                Some(pin) if pin.node == kept.node => {
                    imported.kept += 1;
                    pin.since
                }
                Some(_) => {
                    imported.moved += 1;
                    now
                }
            };
            if !is_dry_run {
                if key.subject.is_partner() {
                    let place = (Arc::clone(&key.scope), Arc::clone(&kept.node));
                    named.entry(place).or_default().insert(key.clone());
                }
                let _: Put = table.put(&key, Kept { since, ..kept }, now);
            }
        }
        self.leave_the_dead(&named, now);
        imported
    }

    /// What the file pins to a node that is down goes where the node's death would have sent it, and remembers its
    /// home: that death is over, and nobody else would move it.
    fn leave_the_dead(&self, named: &Named, now: Moment) {
        let snapshot = self.shared.snapshot.load_full();
        let who = self.shared.whereabouts(&snapshot);
        for ((scope, node), keys) in named {
            let scope = snapshot.scope(scope);
            let is_dead = |scope: &&Scope| scope.standing(node) == Some(Standing::Down);
            let Some(scope) = scope.filter(is_dead) else {
                continue;
            };
            for leaver in scope.leavers(who, node, now) {
                if let Some(to) = leaver.to.filter(|_| keys.contains(&leaver.key)) {
                    let by = PinnedBy::Failover;
                    who.pins.move_from(&leaver.key, node, &to, by, now);
                }
            }
        }
    }

    /// What the file says; or every mistake in it, one line each.
    fn understand(&self, file: &PinFile) -> Result<Vec<(PinKey, Option<Kept>)>, Vec<String>> {
        if file.version != PIN_FILE_VERSION {
            let version = file.version;
            return Err(vec![format!(
                "version {version} of the file is unknown; this pinfold knows {PIN_FILE_VERSION}"
            )]);
        }
        let snapshot = self.shared.snapshot.load();
        let ago = Timestamp::now().duration_since(file.exported);
        let ago = Duration::try_from(ago).unwrap_or_default();
        let (mut pins, mut mistakes, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (place, pin) in file.pins.iter().enumerate() {
            let read = read(pin, &snapshot, ago).and_then(|pin| {
                let is_new = seen.insert(pin.0.clone());
                is_new
                    .then_some(pin)
                    .ok_or_else(|| "stands there twice".into())
            });
            match read {
                Ok(pin) => pins.push(pin),
                Err(mistake) if mistakes.len() < MISTAKES_MAX => {
                    let name = &pin.subject.name;
                    mistakes.push(format!("pin {} (\"{name}\"): {mistake}", place + 1));
                }
                Err(_) => {}
            }
        }
        if mistakes.is_empty() {
            Ok(pins)
        } else {
            Err(mistakes)
        }
    }
}

/// The key, and the pin where it still has life.
fn read(pin: &Pin, snapshot: &Snapshot, ago: Duration) -> Result<(PinKey, Option<Kept>), String> {
    let mut listeners = snapshot.listeners.iter();
    let listener = listeners.find(|listener| {
        *listener.pin_scope.pool == *pin.pool && *listener.pin_scope.affinity == *pin.affinity
    });
    let Some(listener) = listener else {
        let (pool, affinity) = (&pin.pool, &pin.affinity);
        return Err(format!(
            "no listener of pool \"{pool}\" has affinity \"{affinity}\""
        ));
    };
    let Some(node) = listener
        .position(&pin.node)
        .and_then(|position| listener.nodes.get(position))
    else {
        return Err(format!("no node \"{}\" in pool \"{}\"", pin.node, pin.pool));
    };
    let Some(by) = PinnedBy::from_label(&pin.by) else {
        return Err(format!("nothing is pinned by \"{}\"", pin.by));
    };
    let subject = subject(pin, snapshot)?;
    let now = Moment::now();
    let before = |time: Timestamp| {
        let ago = Timestamp::now()
            .duration_since(time)
            .max(SignedDuration::ZERO);
        now.before(Duration::try_from(ago).unwrap_or_default())
    };
    let ttl = Duration::from_millis(pin.ttl_ms);
    let left = pin.remaining_ms.map_or(ttl, Duration::from_millis).min(ttl);
    // Life goes on in a file, because nobody knows where it was.
    let left = left.saturating_sub(ago);
    let last_used = if subject.is_partner() {
        before(pin.last_used)
    } else {
        now.before(ttl.saturating_sub(left))
    };
    let is_alive = subject.is_partner() || !left.is_zero();
    let kept = Kept {
        node: Arc::clone(&node.endpoint.node),
        since: now,
        by,
        last_used,
        revision: pin.revision,
        ttl,
        order: pin.order.as_ref().map(|order| {
            Arc::new(Word {
                by: order.by.clone(),
                reason: order.reason.clone(),
                at: order.at.as_second(),
            })
        }),
        home: pin.home.as_deref().map(Arc::from),
        looks_legacy: pin.looks_legacy,
    };
    let key = PinKey::new(&listener.pin_scope, subject);
    Ok((key, is_alive.then_some(kept)))
}

fn subject(pin: &Pin, snapshot: &Snapshot) -> Result<Subject, String> {
    let name = &pin.subject.name;
    match pin.subject.kind {
        SubjectKind::Partner => match snapshot.partners.by_name(name) {
            Some(partner) if partner.pin == model::Pin::Partner => {
                Ok(Subject::Partner(Arc::clone(&partner.name)))
            }
            Some(_) => Err("this partner has no pin of its own".into()),
            None => Err("no such partner in the configuration".into()),
        },
        SubjectKind::Address => {
            let net = name.parse().ok();
            let net = net.or_else(|| Some(name.parse::<IpAddr>().ok()?.into()));
            net.map(Subject::Prefix)
                .ok_or_else(|| "neither an address nor a prefix".into())
        }
    }
}

/// Pins of partners, by where they hold and the node that the file has them on.
type Named = HashMap<(Arc<PinScope>, Arc<str>), HashSet<PinKey>>;

/// Of the file.
pub(in crate::control) const PIN_FILE_VERSION: u32 = 1;
const MISTAKES_MAX: usize = 20;
