//! The simulated nodes: what they would answer, and what is true of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pinfold::clock::Moment;
use pinfold::config::model::NodeState;

/// The longest pause that must not cut anybody.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A simulated Edge Server.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
    pub(crate) admin: NodeState,
    /// It refuses.
    pub(crate) dead: bool,
    /// It accepts and is silent, until this moment.
    pub(crate) frozen_until: Option<Moment>,
    /// Whether that is for longer than a pause.
    pub(crate) frozen_long: bool,
    /// It is down on a listener that this one needs.
    pub(crate) lacking: bool,
    /// It lives and has nothing to say, until this moment.
    pub(crate) quiet_until: Moment,
    /// When it last was unwell: dead, lacking, or frozen for longer than a pause.
    pub(crate) last_bad: Option<Moment>,
    /// When it last could answer.
    pub(crate) last_alive: Moment,
    /// When it last began or ended to pause, freeze or be dead.
    pub(crate) last_disturbed: Moment,
}

impl Node {
    pub(crate) fn new(number: u8, generation: u8, now: Moment) -> Self {
        Self {
            name: Arc::from(format!("edge{number}")),
            address: SocketAddr::new(IpAddr::from([198, 51, 100, number + 10 * generation]), 5061),
            weight: 1 + u32::from(number % 2),
            admin: NodeState::Active,
            dead: false,
            frozen_until: None,
            frozen_long: false,
            lacking: false,
            quiet_until: Moment::START,
            last_bad: None,
            last_alive: now,
            last_disturbed: now,
        }
    }

    /// Brings the node to `now`: thaws it, and notes how it is.
    pub(crate) fn tick(&mut self, now: Moment) {
        if self.frozen_until.is_some_and(|until| until <= now) {
            self.frozen_until = None;
            self.frozen_long = false;
            self.last_disturbed = now;
        }
        if self.dead || self.frozen_long || self.lacking {
            self.last_bad = Some(now);
        }
        // Also while it lacks something: its probes are answered all the same.
        if self.answers() {
            self.last_alive = now;
        }
    }

    /// Whether it would answer at this moment.
    pub(crate) const fn answers(&self) -> bool {
        !self.dead && self.frozen_until.is_none()
    }

    /// Whether sessions on it are served as they should be.
    pub(crate) const fn serves(&self) -> bool {
        self.answers() && !self.lacking
    }

    pub(crate) fn lack(&mut self, now: Moment, is_lacking: bool) {
        self.lacking = is_lacking;
        self.last_disturbed = now;
        if is_lacking {
            self.last_bad = Some(now);
        } else if self.answers() {
            self.last_alive = now;
        }
    }

    pub(crate) fn kill(&mut self, now: Moment) {
        self.dead = true;
        self.frozen_until = None;
        self.frozen_long = false;
        self.last_disturbed = now;
        self.last_bad = Some(now);
    }

    pub(crate) fn revive(&mut self, now: Moment) {
        self.dead = false;
        self.frozen_until = None;
        self.frozen_long = false;
        self.last_disturbed = now;
    }

    pub(crate) fn freeze(&mut self, now: Moment, time: Duration) {
        self.frozen_until = Some(now + time);
        self.frozen_long = time > PAUSE_MAX;
        self.last_disturbed = now;
    }

    /// Whether it was unwell so lately that it may rightly be taken for down.
    pub(crate) fn may_be_down(&self, now: Moment) -> bool {
        self.last_bad
            .is_some_and(|bad| now.since(bad) < Duration::from_secs(3))
    }
}
