//! What happens in the demo, and the verdict.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pinfold_loadtest::Partner;
use pinfold_loadtest::partner::Gap;
use tokio::time::{Instant, sleep, sleep_until};

use super::stage::{Cast, SPREADING, STUBBORN, Stage};
use super::view::{Scene, View};
use crate::control::Shared;

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    Frozen,
}

/// How a partner came through.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) sentences: Vec<String>,
    is_good: bool,
}

impl Verdict {
    /// Whether every partner came back.
    pub(super) fn is_good(&self) -> bool {
        self.is_good
    }
}

/// The show, and who is in it.
struct Show {
    stage: Stage,
    cast: Cast,
    shared: Arc<Shared>,
    view: View,
    conditions: BTreeMap<String, &'static str>,
    cut_off: Vec<String>,
    lost: Vec<String>,
}

/// Plays the whole script.
pub(super) async fn play(
    stage: Stage,
    shared: Arc<Shared>,
    view: View,
    length: Duration,
) -> Result<Verdict, String> {
    let start = Instant::now();
    let address = address(&shared).await.ok_or("pinfold does not listen")?;
    let cast = Stage::cast(address);
    let mut show = Show {
        stage,
        cast,
        shared,
        view,
        conditions: BTreeMap::new(),
        cut_off: Vec::new(),
        lost: Vec::new(),
    };
    show.view.tell(&format!(
        "pinfold listens on {address}; look in from another terminal:"
    ));
    show.view
        .tell(&format!("  pinfold status --admin {}", show.stage.admin()));
    let at = |share: u32| start + length * share / 100;

    show.until(at(18)).await;
    let killed = show.strike(Fault::Killed, at(40)).await;
    show.mend(killed.as_deref(), Fault::Killed).await;
    show.until(at(52)).await;
    let frozen = show.strike(Fault::Frozen, at(76)).await;
    show.mend(frozen.as_deref(), Fault::Frozen).await;
    show.until(at(96)).await;

    let verdict = show.verdict();
    show.refresh();
    show.view.finish(&verdict.sentences);
    Ok(verdict)
}

impl Show {
    /// Breaks the node that the stubborn partner is on, and watches until `end` what that does.
    async fn strike(&mut self, fault: Fault, end: Instant) -> Option<String> {
        let name = self.cast.stubborn.stats().node?;
        let before = [gaps(&self.cast.stubborn), gaps(&self.cast.spreading)];
        let node = self.stage.node(&name)?;
        match fault {
            Fault::Killed => node.kill().await,
            Fault::Frozen => node.freeze(),
        }
        let (condition, text) = match fault {
            Fault::Killed => (
                "killed",
                "is killed: its connections are reset, its port refuses",
            ),
            Fault::Frozen => (
                "frozen",
                "freezes: its kernel still accepts, nobody answers",
            ),
        };
        self.conditions.insert(name.clone(), condition);
        self.view.tell(&format!("{name} {text}"));
        let mut awaited = vec![(STUBBORN, before[0]), (SPREADING, before[1])];
        while Instant::now() < end {
            awaited.retain(|(partner, known)| !self.is_back(partner, *known, &name, condition));
            self.step(end).await;
        }
        for (partner, _) in awaited {
            // Who had nothing on the node lost nothing.
            if partner == STUBBORN {
                self.lost.push(format!(
                    "{partner} has not come back since {name} was {condition}"
                ));
            }
        }
        Some(name)
    }

    /// Whether a partner has been served again; notes how long it was cut off.
    fn is_back(&mut self, partner: &str, known: u64, node: &str, condition: &str) -> bool {
        let stats = self.partner(partner).stats();
        let fresh = usize::try_from(stats.gaps_total - known).unwrap_or(usize::MAX);
        let latest = stats.gaps.iter().rev().take(fresh);
        let worst = latest
            .filter(|gap| gap.from_node == node)
            .max_by_key(|gap| gap.duration);
        let Some(Gap {
            to_node, duration, ..
        }) = worst
        else {
            return false;
        };
        let time = milliseconds(*duration);
        self.view.tell(&format!(
            "{partner} is served again, by {to_node}, after {time}"
        ));
        self.cut_off.push(format!(
            "{partner} was cut off for {time} when {node} was {condition}"
        ));
        true
    }

    async fn mend(&mut self, name: Option<&str>, fault: Fault) {
        let Some(node) = name.and_then(|name| self.stage.node(name)) else {
            return;
        };
        let name = node.name().to_owned();
        match fault {
            Fault::Killed => {
                if let Err(error) = node.revive().await {
                    self.lost.push(format!("{name} cannot be revived: {error}"));
                }
            }
            Fault::Frozen => node.thaw(),
        }
        self.conditions.remove(&name);
        self.view.tell(&format!(
            "{name} is well again; nobody is moved back behind his back"
        ));
    }

    async fn until(&mut self, end: Instant) {
        while Instant::now() < end {
            self.step(end).await;
        }
    }

    async fn step(&mut self, end: Instant) {
        self.refresh();
        sleep_until(end.min(Instant::now() + FRAME)).await;
    }

    fn refresh(&mut self) {
        let snapshot = self.shared.snapshot.load_full();
        let scene = Scene {
            snapshot: &snapshot,
            conditions: &self.conditions,
            stubborn: self.cast.stubborn.stats(),
            spreading: self.cast.spreading.stats(),
            users: self.cast.users.stats(),
        };
        self.view.draw(&scene);
    }

    fn verdict(&self) -> Verdict {
        let mut sentences = self.cut_off.clone();
        sentences.extend(self.lost.iter().cloned());
        for (name, partner) in [
            (STUBBORN, &self.cast.stubborn),
            (SPREADING, &self.cast.spreading),
        ] {
            let stats = partner.stats();
            if !stats.connected || stats.silent_for > Duration::from_secs(1) {
                sentences.push(format!("{name} is cut off now"));
            }
        }
        let came_back = self
            .cut_off
            .iter()
            .filter(|line| line.starts_with(STUBBORN))
            .count();
        let is_good =
            self.lost.is_empty() && came_back == 2 && sentences.len() == self.cut_off.len();
        sentences.push(if is_good {
            "Every partner came back by itself. Nobody had to be called.".into()
        } else {
            "NOT every partner came back: this is a defect, please report it.".into()
        });
        Verdict { sentences, is_good }
    }

    fn partner(&self, name: &str) -> &Partner {
        if name == STUBBORN {
            &self.cast.stubborn
        } else {
            &self.cast.spreading
        }
    }
}

fn gaps(partner: &Partner) -> u64 {
    partner.stats().gaps_total
}

/// A duration as a person compares it.
pub(super) fn milliseconds(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    if millis < 10.0 {
        format!("{millis:.1} ms")
    } else {
        format!("{millis:.0} ms")
    }
}

/// Where Pinfold listens, once it does.
async fn address(shared: &Shared) -> Option<SocketAddr> {
    for _ in 0..500 {
        if shared.is_serving.load(std::sync::atomic::Ordering::Relaxed) {
            return shared.bound.load().first().map(|bound| bound.address);
        }
        sleep(Duration::from_millis(10)).await;
    }
    None
}

/// Often enough to look alive.
const FRAME: Duration = Duration::from_millis(100);
