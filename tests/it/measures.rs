//! What of a running Pinfold can be counted: outcomes, sessions, descriptors, memory.

use std::fs;

use pinfold_loadtest::process::wait_until;

use crate::world::{Pinfold, SOON, World};

impl Pinfold {
    /// Sessions of the first listener that ended so, by `/metrics`.
    pub(crate) fn ended(&self, outcome: &str) -> u64 {
        let sample =
            format!("pinfold_sessions_total{{listener=\"federation\",outcome=\"{outcome}\"}}");
        whole(self.metric(&sample).unwrap())
    }

    /// Waits until so many sessions ended so.
    pub(crate) fn wait_ended(&self, outcome: &str, count: u64) {
        let reached = wait_until(SOON, || (self.ended(outcome) >= count).then_some(()));
        let sessions = self.json("/v1/sessions");
        assert!(reached.is_some(), "not {count} {outcome}: {sessions}");
        assert_eq!(self.ended(outcome), count, "{outcome}: {sessions}");
    }

    /// Sessions of the first listener now.
    pub(crate) fn sessions(&self) -> u64 {
        let status = self.json("/v1/status");
        status["listeners"][0]["sessions"].as_u64().unwrap()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        let list = fs::read_dir(format!("/proc/{}/fd", self.process.pid()));
        list.unwrap().count()
    }

    /// Memory of its own that is resident, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }
}

impl World {
    /// What must hold after any ordeal: nothing is left of it, nothing broke, and it serves.
    /// `descriptors` were open before; pipes that are kept for the next bulk transfer come on top.
    pub(crate) fn assert_unharmed(&self, descriptors: usize) {
        let pinfold = &self.pinfold;
        let empty = || {
            let nodes = pinfold.json("/v1/sessions");
            let mut nodes = nodes["nodes"].as_array()?.iter();
            let idle = nodes.all(|node| node["sessions"] == 0);
            (pinfold.sessions() == 0 && idle).then_some(())
        };
        let sessions = pinfold.json("/v1/sessions");
        assert!(wait_until(SOON, empty).is_some(), "not empty: {sessions}");
        let limit = descriptors + KEPT_PIPES + FLEETING;
        let few = || (pinfold.descriptors() <= limit).then_some(());
        let now = pinfold.descriptors();
        assert!(
            wait_until(SOON, few).is_some(),
            "{descriptors} became {now}"
        );
        assert_eq!(pinfold.metric("pinfold_panics_total"), Some(0.0));
        assert_eq!(pinfold.ended("internal-error"), 0);
    }
}

/// Sixteen for each of two workers, two descriptors each.
const KEPT_PIPES: usize = 64;
/// Probes, and the admin connection that asks.
const FLEETING: usize = 12;

/// Counters are whole numbers.
pub(crate) fn whole(value: f64) -> u64 {
    format!("{value:.0}").parse().unwrap()
}
