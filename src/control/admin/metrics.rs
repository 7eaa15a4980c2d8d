//! `/metrics`: OpenMetrics text, made when it is asked for.
//!
//! Owns the names. Label values come from the configuration and from closed lists, never from what a
//! peer sends, so a peer can neither make series nor lines. Counters stand here without `_total`,
//! which the encoder adds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::named;
use super::status::names;
use crate::control::Shared;
use crate::governor::{EndpointView, Fault, GroupView, Totals, View};
use crate::pool::health::State;
use crate::pool::invariant::Rule;
use crate::relay::recognition::What;
use crate::relay::sip;
use crate::snapshot::{Listener, ListenerCounters};
use crate::telemetry::counters::Counter;
use crate::telemetry::outcome::Outcome;
use crate::telemetry::panics;

/// What a scraper must be told that the text is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The whole text.
pub(super) fn render(shared: &Shared, view: &View) -> Result<String, fmt::Error> {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds fit a double")]
    let started = shared.started.as_millisecond() as f64 / 1000.0;
    let mut scrape = Scrape {
        started,
        ..Scrape::default()
    };
    scrape.process(shared, view);
    scrape.pins(shared);
    let snapshot = shared.snapshot.load();
    for listener in &snapshot.listeners {
        scrape.listener(listener);
    }
    for group in &view.groups {
        scrape.group(group);
    }
    scrape.handshakes(shared);
    scrape.sip(shared);
    scrape.names(shared);
    scrape.failovers(view);
    scrape.render()
}

const CERTIFICATE_EXPIRY: &str = "When a certificate expires that a node shows to probes, or a listener to clients or \
                                  nodes, in seconds since 1970";

type Labels = Vec<(&'static str, String)>;

/// Everything that is told at one scrape, by family and labels.
#[derive(Debug, Default)]
struct Scrape {
    families: Vec<Family>,
    gaps: Totals,
    /// In seconds since 1970.
    started: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    /// Series with equal labels are one: their values are added.
    series: BTreeMap<Labels, u64>,
}

impl Scrape {
    fn counter(&mut self, name: &'static str, help: &'static str, labels: Labels, value: u64) {
        self.add((name, help), Kind::Counter, labels, value);
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, labels: Labels, value: u64) {
        self.add((name, help), Kind::Gauge, labels, value);
    }

    fn add(
        &mut self,
        (name, help): (&'static str, &'static str),
        kind: Kind,
        labels: Labels,
        value: u64,
    ) {
        let place = self.families.iter().position(|family| family.name == name);
        let place = place.unwrap_or_else(|| {
            self.families.push(Family {
                name,
                help,
                kind,
                series: BTreeMap::new(),
            });
            self.families.len() - 1
        });
        if let Some(family) = self.families.get_mut(place) {
            *family.series.entry(labels).or_default() += value;
        }
    }

    fn process(&mut self, shared: &Shared, view: &View) {
        let revision = shared.snapshot.load().revision;
        self.gauge(
            "pinfold_config_revision",
            "Revision of the configuration in force",
            Labels::new(),
            revision,
        );
        self.counter(
            "pinfold_reload_failures",
            "Reloads that were refused",
            Labels::new(),
            shared.reload_failures.load(Relaxed),
        );
        self.counter(
            "pinfold_views_refused",
            "Connections to an address of view that view_from does not name",
            Labels::new(),
            shared.views.refused.load(Relaxed),
        );
        self.counter(
            "pinfold_reports_dropped",
            "Reports of sessions that found the governor's queue full",
            Labels::new(),
            shared.reports.dropped(),
        );
        self.counter("pinfold_probes", "Probes begun", Labels::new(), view.probes);
        self.counter(
            "pinfold_panics",
            "Defects that ended one session or more",
            Labels::new(),
            panics::count(),
        );
        self.gauge(
            "pinfold_sessions_max",
            "Sessions that the descriptors carry",
            Labels::new(),
            shared.capacity.most(),
        );
        self.gauge(
            "pinfold_partners_awaited",
            "Partners that lost a session by a node's fault and have not been served since",
            Labels::new(),
            shared.reports.missing() as u64,
        );
        self.gauge(
            "pinfold_partners_not_back",
            "Partners that were active when their node died and have not come back within alarm_after",
            Labels::new(),
            view.not_back as u64,
        );
        for (rule, count) in Rule::ALL.iter().zip(view.broken) {
            let help = "How many break a rule that must always hold: a number above 0 is a defect";
            let labels = vec![("rule", rule.label().to_owned())];
            self.gauge("pinfold_invariant_violations", help, labels, count as u64);
        }
    }

    fn names(&mut self, shared: &Shared) {
        let help = "Questions to DNS that failed";
        let failures = shared.asking.failures();
        self.counter("pinfold_resolve_failures", help, Labels::new(), failures);
        let snapshot = shared.snapshot.load();
        let resolved = named::resolved(&snapshot);
        for partner in shared.asking.view().partners.keys() {
            let labels = vec![("partner", partner.to_string())];
            let help = "Addresses by which DNS makes a partner known";
            let addresses = resolved.get(&**partner).copied().unwrap_or(0);
            self.gauge("pinfold_resolved_addresses", help, labels, addresses as u64);
        }
    }

    fn pins(&mut self, shared: &Shared) {
        let counts = shared.pins.counts();
        for (kind, count) in [("partner", counts.partners), ("address", counts.addresses)] {
            let labels = vec![("kind", kind.to_owned())];
            self.gauge("pinfold_pins", "Pins", labels, count as u64);
        }
        let max = shared.snapshot.load().config.server.max_pins as u64;
        let help = "Pins of addresses at most";
        self.gauge("pinfold_pins_max", help, Labels::new(), max);
        if let Some(store) = &shared.store {
            let is_kept = u64::from(store.condition().trouble.is_none());
            let help = "Whether pins and the ledger reach the disk";
            self.gauge("pinfold_state_kept", help, Labels::new(), is_kept);
        }
        let help = "Pins of addresses evicted for others";
        self.counter("pinfold_pins_evicted", help, Labels::new(), counts.evicted);
        let help = "Addresses that went without a pin, because the table was full of pins in use";
        self.counter("pinfold_pins_refused", help, Labels::new(), counts.refused);
        let help = "Pins of addresses that lapsed";
        self.counter("pinfold_pins_lapsed", help, Labels::new(), counts.lapsed);
    }

    fn listener(&mut self, listener: &Listener) {
        let name = listener.state.name.to_string();
        let sum = |count: fn(&ListenerCounters) -> u64| listener.state.slots().map(count).sum();
        let labels = vec![
            ("listener", name.clone()),
            ("service", listener.config.service.name().into()),
            ("pool", listener.pool.to_string()),
        ];
        let help = "Sessions now";
        self.gauge(
            "pinfold_sessions_active",
            help,
            labels,
            listener.state.sessions(),
        );
        for outcome in Outcome::ALL {
            let counts = listener.state.slots().map(|slot| &slot.ended);
            let ended = counts.map(|counts| counts[outcome.index()].value()).sum();
            let labels = vec![
                ("listener", name.clone()),
                ("outcome", outcome.label().into()),
            ];
            self.counter(
                "pinfold_sessions",
                "Sessions that ended, by outcome",
                labels,
                ended,
            );
        }
        let bytes = [
            ("up", sum(|slot| slot.bytes_up.value())),
            ("down", sum(|slot| slot.bytes_down.value())),
        ];
        for (direction, count) in bytes {
            let labels = vec![("listener", name.clone()), ("direction", direction.into())];
            let help = "Bytes relayed: up to the nodes, down to the clients";
            self.counter("pinfold_bytes", help, labels, count);
        }
        let help = "Sessions whose first bytes were sent again to another node";
        let replays = sum(|slot| slot.replayed.value());
        self.counter("pinfold_replays", help, vec![("listener", name)], replays);
        self.termination(listener);
    }

    /// What is told only of listeners that end TLS.
    fn termination(&mut self, listener: &Listener) {
        let Some(termination) = &listener.config.termination else {
            return;
        };
        let name = || ("listener", listener.state.name.to_string());
        for credential in termination.credentials() {
            let Ok(end) = u64::try_from(credential.certificate.not_after) else {
                continue;
            };
            let certificate = credential.certificate.name().to_owned();
            let labels = vec![name(), ("certificate", certificate)];
            let help = CERTIFICATE_EXPIRY;
            self.gauge("pinfold_certificate_expiry_seconds", help, labels, end);
        }
        if listener.http().is_none() {
            return;
        }
        for (class, label) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().enumerate() {
            let counters = listener
                .state
                .slots()
                .filter_map(|slot| slot.responses.get(class));
            let count = counters.map(Counter::value).sum();
            let labels = vec![name(), ("class", (*label).to_owned())];
            let help = "Responses of HTTP by class, those that Pinfold gives itself among them";
            self.counter("pinfold_http_responses", help, labels, count);
        }
    }

    fn group(&mut self, group: &GroupView) {
        for each in &group.endpoints {
            self.endpoint(group, each);
            for listener in names(&group.listeners) {
                self.node_of_listener(&listener, each);
            }
        }
    }

    fn node_of_listener(&mut self, listener: &str, each: &EndpointView) {
        let labels = || {
            let mut labels = node_labels(each);
            labels.push(("listener", listener.to_owned()));
            labels
        };
        if let Some(end) = each
            .certificate
            .as_ref()
            .and_then(|shown| u64::try_from(shown.not_after).ok())
        {
            let help = CERTIFICATE_EXPIRY;
            self.gauge("pinfold_certificate_expiry_seconds", help, labels(), end);
        }
        if let Some(turn) = each.turn {
            let is_elsewhere = matches!(turn.fault, Some(Fault::Elsewhere(_)));
            let help =
                "1 while the node sends its clients to another address than its own, over UDP";
            let value = u64::from(is_elsewhere);
            self.gauge("pinfold_node_addressing_fault", help, labels(), value);
        }
        let is_up = matches!(each.health.state, State::Up | State::Suspect);
        let help = "1 while the node is up or merely in doubt";
        self.gauge("pinfold_node_up", help, labels(), u64::from(is_up));
        let help = "What the node is good for: 0 takes, 1 suspect, 2 held, 3 draining, 4 unproven, 5 down, 6 never";
        let standing = u64::from(each.health.standing.as_u8());
        self.gauge("pinfold_node_standing", help, labels(), standing);
    }

    fn endpoint(&mut self, group: &GroupView, each: &EndpointView) {
        let sessions = u64::from(each.endpoint.sessions());
        let mut labels = node_labels(each);
        labels.push(("listeners", group.listeners.join(",")));
        let help = "Sessions of the node now, dials included; listeners that are probed together";
        self.gauge("pinfold_node_sessions_active", help, labels, sessions);
        // One port of ours for each session, from each source to each address of a node.
        let mut labels = node_labels(each);
        labels.push(("listeners", group.listeners.join(",")));
        labels.push(("address", each.endpoint.address.to_string()));
        let help = "Ports used towards one address of a node; about 28000 exist";
        self.gauge("pinfold_source_ports_used", help, labels, sessions);
    }

    fn handshakes(&mut self, shared: &Shared) {
        let recognition = &shared.recognition;
        for (counted, count) in recognition.tally.sums() {
            let mut labels = vec![
                ("listener", counted.listener.to_string()),
                ("partner", counted.partner.to_string()),
            ];
            let (name, help) = match counted.what {
                What::Session(version) => {
                    labels.push(("version", version.into()));
                    ("pinfold_tls_sessions", "Handshakes by the version agreed")
                }
                What::Alert(side, alert) => {
                    labels.extend([("side", side.into()), ("alert", alert.into())]);
                    let help = "Handshakes that an alert in clear has ended";
                    ("pinfold_tls_alerts", help)
                }
                What::WouldRefuse => {
                    let help = "Hellos that offer less than tls_min, where that only observes";
                    ("pinfold_tls_would_refuse", help)
                }
                What::NameDisagrees => {
                    let help = "Certificates that are not the configured partner's";
                    ("pinfold_name_disagreements", help)
                }
            };
            self.counter(name, help, labels, count);
        }
        let help = "Addresses whose certificate name is remembered";
        let learned = recognition.learned.len() as u64;
        self.gauge("pinfold_learned_names", help, Labels::new(), learned);
        let help = "Endings of sessions that found control's queue full";
        let dropped = recognition.history.dropped();
        self.counter("pinfold_history_dropped", help, Labels::new(), dropped);
    }

    fn sip(&mut self, shared: &Shared) {
        for ((listener, partner), counts) in shared.recognition.sip.all() {
            let whose = || {
                vec![
                    ("listener", listener.to_string()),
                    ("partner", partner.to_string()),
                ]
            };
            for (way, direction) in sip::Way::ALL {
                let mut add = |name, help, label: (&'static str, String), count| {
                    // Most of what might be said nobody says.
                    if count > 0 {
                        let mut labels = whose();
                        labels.extend([label, ("direction", direction.into())]);
                        self.counter(name, help, labels, count);
                    }
                };
                for (at, method) in sip::METHODS.into_iter().enumerate() {
                    let help = "Requests of SIP by method: up from clients, down to them";
                    let label = ("method", method.to_owned());
                    let count = counts.requests(way, at);
                    add("pinfold_sip_requests", help, label, count);
                }
                for (at, class) in sip::CLASSES.into_iter().enumerate() {
                    let help =
                        "Responses of SIP by class, those that Pinfold gives itself among them";
                    let label = ("class", class.to_owned());
                    let count = counts.responses(way, at);
                    add("pinfold_sip_responses", help, label, count);
                }
                for (at, code) in sip::CODES.into_iter().enumerate() {
                    let help = "Responses of SIP with codes that tell something";
                    let label = ("code", code.to_string());
                    let count = counts.codes(way, at);
                    add("pinfold_sip_response_codes", help, label, count);
                }
            }
            for (at, code) in sip::ANSWERS.into_iter().enumerate() {
                let help = "Requests of SIP that Pinfold has answered itself";
                let mut labels = whose();
                labels.push(("code", code.to_string()));
                self.counter("pinfold_sip_answers", help, labels, counts.answers(at));
            }
            let help = "Sessions of SIP that went on with another node";
            self.counter("pinfold_sip_rehomed", help, whose(), counts.rehomed());
            let help = "Sessions that were to be SIP and are relayed unread";
            self.counter("pinfold_sip_opaque", help, whose(), counts.opaque());
        }
    }

    /// From the start at zero, so that the first failover is an increase like any other.
    fn failovers(&mut self, view: &View) {
        let help = "Downfalls of a node on one group of listeners";
        for each in view.groups.iter().flat_map(|group| &group.endpoints) {
            self.counter("pinfold_failovers", help, node_labels(each), 0);
        }
        for ((pool, node), count) in &view.totals.failovers {
            let labels = vec![("pool", pool.to_string()), ("node", node.to_string())];
            self.counter("pinfold_failovers", help, labels, *count);
        }
        self.gaps = view.totals.clone();
    }

    fn render(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.families {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.series {
                if labels.is_empty() {
                    write(&mut metric, family.kind, *value)?;
                } else {
                    write(&mut metric.encode_family(labels)?, family.kind, *value)?;
                }
            }
        }
        // The encoder adds `_info`.
        encoder
            .encode_descriptor("pinfold_build", "What runs", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let help = "When the process started, in seconds since 1970";
        encoder
            .encode_descriptor("process_start_time_seconds", help, None, MetricType::Gauge)?
            .encode_gauge(&self.started)?;
        let help = "How long partners were cut off, from their last byte to their next first byte";
        let kind = MetricType::Histogram;
        encoder
            .encode_descriptor("pinfold_failover_seconds", help, None, kind)?
            .encode_histogram::<NoLabelSet>(
                self.gaps.gaps_sum,
                self.gaps.gaps_count,
                &buckets(&self.gaps),
                None,
            )
    }
}

fn write(metric: &mut MetricEncoder<'_>, kind: Kind, value: u64) -> fmt::Result {
    match kind {
        Kind::Counter => metric.encode_counter::<NoLabelSet, u64, f64>(&value, None),
        Kind::Gauge => metric.encode_gauge(&value),
    }
}

/// The encoder adds up what the totals have added up already.
fn buckets(totals: &Totals) -> Vec<(f64, u64)> {
    let mut below = 0;
    let bounds = Totals::BOUNDS.into_iter().chain([f64::INFINITY]);
    let counts = totals.gaps.into_iter().chain([totals.gaps_count]);
    bounds
        .zip(counts)
        .map(|(bound, count)| {
            let own = count.saturating_sub(below);
            below = count;
            (bound, own)
        })
        .collect()
}

fn node_labels(each: &EndpointView) -> Labels {
    // By its name in the group: a node that has moved must not be shown as what it left behind.
    let (pool, node): (&Arc<str>, &Arc<str>) = (&each.endpoint.pool, &each.health.node);
    vec![("pool", pool.to_string()), ("node", node.to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_equal_series_are_one() {
        let mut scrape = Scrape::default();
        let labels = || vec![("node", "a\"b\\c\nd".to_owned())];
        scrape.gauge("pinfold_x", "X", labels(), 1);
        scrape.gauge("pinfold_x", "X", labels(), 2);
        let text = scrape.render().unwrap();
        assert!(
            text.contains("pinfold_x{node=\"a\\\"b\\\\c\\nd\"} 3\n"),
            "{text}"
        );
    }

    #[test]
    fn the_histogram_adds_up_to_its_count() {
        let mut totals = Totals {
            gaps_count: 5,
            ..Totals::default()
        };
        totals.gaps = [0, 0, 1, 1, 2, 2, 2, 2, 4, 4, 4];
        let own = buckets(&totals);
        assert_eq!(own.len(), Totals::BOUNDS.len() + 1);
        assert_eq!(own.iter().map(|(_, count)| count).sum::<u64>(), 5);
        assert_eq!(own.last(), Some(&(f64::INFINITY, 1)));
    }
}
