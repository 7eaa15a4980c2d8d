//! Figures: what they are called, what they mean, and in which order they matter.
//!
//! A figure is `LOAD.FIGURE`, where `LOAD` is the name a scenario gives to a load, or
//! `balancer.FIGURE`. Scenarios may expect any of them, a run tells those that apply, and reports show
//! them in this order.

/// What can be told of a load or of the balancer.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its name, after the dot.
    pub name: &'static str,
    /// Of which loads there is one.
    pub of: &'static str,
    /// What it counts.
    pub meaning: &'static str,
    /// Whether a report is hard to read without it.
    pub is_telling: bool,
}

/// Whose figures are about the balancer itself.
pub const BALANCER: &str = "balancer";

const fn telling(name: &'static str, of: &'static str, meaning: &'static str) -> Figure {
    Figure {
        name,
        of,
        meaning,
        is_telling: true,
    }
}

const fn detail(name: &'static str, of: &'static str, meaning: &'static str) -> Figure {
    let figure = telling(name, of, meaning);
    Figure {
        is_telling: false,
        ..figure
    }
}

/// Every figure.
#[rustfmt::skip]
pub const FIGURES: [Figure; 37] = [
    telling("moves", "partners, udp-flows", "changes of node"),
    telling("gap_p50_ms", "partners, udp-flows", "how long nobody answered when a node changed or failed"),
    telling("gap_p99_ms", "partners, udp-flows", "the same"),
    telling("gap_max_ms", "partners, udp-flows", "the same, the longest"),
    telling("silence_max_ms", "partners, udp-flows", "the longest silence within the window, moved or not"),
    telling("not_back", "partners, udp-flows", "connections and flows that are not answered at the end"),
    telling("disturbed_elsewhere", "all but bulk, connects and flood", "sessions lost and flows moved while their node was well"),
    telling("pin_violations", "partners", "connections of one partner on two nodes"),
    telling("per_second", "all but bulk and idle", "round trips, connections or packets done in a second"),
    telling("gb_per_second", "bulk", "10⁹ bytes in a second"),
    telling("cpu_us", "the only load of a scenario", "processor time of the balancer for a unit"),
    telling("cpu_s_per_gb", "the only load, bulk", "the same for 10⁹ bytes"),
    telling("kib_per_session", "the only load, idle", "memory beside the balancer at rest"),
    telling("descriptors_per_session", "the only load, idle", "descriptors beside the balancer at rest"),
    telling("p50_us", "with latencies", "since due (with a rate, users, udp-flows) or since sent"),
    detail("p90_us", "with latencies", "the same"),
    telling("p99_us", "with latencies", "the same"),
    detail("calm_p99_us", "with latencies", "over the calmer half of the quarters of a second"),
    detail("max_us", "with latencies", "the longest"),
    detail("late_p99_us", "with latencies", "how late the harness itself was in sending"),
    detail("late_max_us", "with latencies", "the same, the worst: a stall of this machine"),
    telling("unanswered", "with latencies", "due within the window, not answered soon after it"),
    detail("standing", "all", "sessions that stand at the end"),
    telling("troubles", "all", "everything that went wrong for a client"),
    detail("refused", "all", "connections that were refused"),
    detail("reset", "all", "connections that were reset, and what was lost with them"),
    detail("closed", "all", "the same, ended in order with more to say"),
    detail("silent", "all", "nothing came in time"),
    detail("wrong_node", "all", "another node answered than before on the same connection"),
    detail("wrong_bytes", "all", "the answer was not the one to the question"),
    detail("unsent", "all", "messages that were due and could not be sent"),
    detail("handshake", "all", "a TLS handshake was not the one asked for"),
    detail("ours", "all", "this machine was short of descriptors or ports"),
    telling("processors", BALANCER, "processors kept busy"),
    telling("resident_mib", BALANCER, "memory at the end"),
    detail("descriptors", BALANCER, "descriptors at the end"),
    detail("imbalance", BALANCER, "the busiest thread beside the mean of those that relay"),
];

/// The figure that `figure`, with the name of a load before it, is one of.
#[must_use]
pub fn find(figure: &str) -> Option<&'static Figure> {
    let (load, name) = figure.split_once('.')?;
    FIGURES
        .iter()
        .find(|known| known.name == name && (load == BALANCER) == (known.of == BALANCER))
}

/// Where `figure` stands among those of its load; after all others if nobody knows it.
#[must_use]
pub fn rank(figure: &str) -> usize {
    let name = figure.split_once('.').map_or(figure, |(_, name)| name);
    let known = FIGURES.iter().position(|known| known.name == name);
    known.unwrap_or(FIGURES.len())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::load::Trouble;

    #[test]
    fn names_are_unique_and_every_trouble_has_one() {
        let names: HashSet<_> = FIGURES.iter().map(|figure| figure.name).collect();
        assert_eq!(names.len(), FIGURES.len());
        for trouble in Trouble::ALL {
            assert!(names.contains(trouble.name()), "{}", trouble.name());
        }
    }

    #[test]
    fn a_figure_belongs_to_loads_or_to_the_balancer() {
        assert!(find("talk.p50_us").is_some() && find("balancer.processors").is_some());
        for unknown in [
            "talk.processors",
            "balancer.p50_us",
            "talk.p51_us",
            "p50_us",
        ] {
            assert!(find(unknown).is_none(), "{unknown}");
        }
        assert!(rank("talk.moves") < rank("talk.p50_us"));
        assert_eq!(rank("talk.p51_us"), FIGURES.len());
    }
}
