//! What `/v1/explain/{subject}` answers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Gap, Partner, PartnerPin};

/// `GET /v1/explain/{subject}`: who it is, where it goes and why, and how it fared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The partner or the address that was asked about.
    pub subject: String,
    /// Whether an address was asked about.
    pub is_address: bool,
    /// The partner that it is, where that is known.
    pub partner: Option<Partner>,
    /// By what it is known, the most trusted first.
    pub known_by: Vec<Source>,
    /// Addresses and networks that it comes from: configured, by DNS, learned from certificates; or the
    /// address that was asked about. No more than a thousand.
    #[serde(default)]
    pub comes_from: Vec<String>,
    /// Where it would be placed at this moment, one for listeners that place it alike.
    pub places: Vec<Place>,
    /// The last failover that cut it off.
    pub cut_off: Option<CutOff>,
    /// How its sessions went.
    pub attempts: Attempts,
    /// Whether it fails by its own doing.
    pub verdict: Judged,
    /// What to do next, the most pressing first.
    pub next: Vec<String>,
}

/// Something that tells who a client is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `addresses`, `dns`, `certificate` or `edge`, as in the configuration.
    pub source: String,
    /// What it says.
    pub what: String,
}

/// Where a subject would be placed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The listeners.
    pub listeners: Vec<String>,
    /// Where they listen.
    pub bound: Vec<String>,
    /// The pool.
    pub pool: String,
    /// The affinity.
    pub affinity: String,
    /// `granted`, `not-allowed` or `blocked`.
    pub access: String,
    /// The rule that says so.
    pub rule: String,
    /// Whom the placement is about: the partner, or the prefix around the address.
    pub subject: String,
    /// Its pin.
    pub pin: Option<PartnerPin>,
    /// The node that its next session dials.
    pub node: Option<String>,
    /// `pinned`, `preferred`, `placed`, `draining`, `unproven`, `fail-static` or `nobody`.
    pub why: String,
    /// How that came about, step by step.
    pub steps: Vec<String>,
    /// The nodes that there are.
    pub candidates: Vec<Candidate>,
    /// Where a partner's sessions are at this moment.
    pub sessions: Vec<SessionsOn>,
    /// When it returns to the node that it was taken away from.
    pub back: Option<Back>,
}

/// A node that might be chosen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub node: String,
    /// What it is good for: `takes`, `suspect`, `held`, `draining`, `unproven`, `down` or `never`.
    pub standing: String,
    /// Since when its health is so.
    pub since: Option<Timestamp>,
    /// The last thing that spoke for or against it.
    pub evidence: Option<String>,
    /// Its share of placements.
    pub weight: u32,
    /// Its share of new sessions in percent: 100 unless it has just come back.
    pub warmth: u8,
    /// Sessions it has, dials included.
    pub sessions: u32,
    /// Legacy partners that are pinned to it here.
    pub legacy: usize,
    /// Whether it has its share of those.
    pub full: bool,
    /// Where these listeners dial it.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// Sessions of a partner on one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionsOn {
    /// The node.
    pub node: String,
    /// How many, dials included.
    pub sessions: usize,
    /// How many of them the node has answered.
    pub served: usize,
    /// When a byte last passed in one of them.
    pub last_byte: Option<Timestamp>,
}

/// A return to the node that a partner was taken away from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Back {
    /// The node.
    pub node: String,
    /// When, in a sentence.
    pub when: String,
    /// When the next window begins.
    pub at: Option<Timestamp>,
    /// How it is done by hand.
    pub command: String,
}

/// A failover that cut a partner off.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CutOff {
    /// Its number.
    pub failover: u64,
    /// The node that went down.
    pub node: String,
    /// What condemned it.
    pub evidence: String,
    /// When the first thing spoke against it.
    pub first_evidence: Timestamp,
    /// When its sessions were cut.
    pub cut: Timestamp,
    /// What the partner felt of it.
    pub gap: Gap,
}

/// How sessions went, as far as is remembered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Attempts {
    /// From when on; everything before it is forgotten or too old.
    pub since: Option<Timestamp>,
    /// Whether older ones of the last 24 hours are forgotten.
    pub is_full: bool,
    /// Sessions that were served and have ended, and those that are served now.
    pub good: usize,
    /// Sessions that failed or were refused.
    pub bad: usize,
    /// Connections that ended before they were anything.
    pub empty: usize,
    /// When it was last heard of, by whatever means.
    pub last_at: Option<Timestamp>,
    /// The bad ones, alike ones together, the latest first.
    pub troubles: Vec<Trouble>,
}

/// Sessions that went wrong in one way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// How many.
    pub times: usize,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// On which listener.
    pub listener: String,
    /// From where the last one came.
    pub client: String,
    /// With which node, where it came so far.
    pub node: Option<String>,
    /// How they ended.
    pub outcome: String,
    /// The alert that ended the handshake.
    pub alert: Option<String>,
    /// What that means.
    pub meaning: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// Whether a partner fails by its own doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// `neither`, `partner`, `node` or `unknown`.
    pub verdict: String,
    /// The node, where it is one.
    pub node: Option<String>,
    /// On which listener.
    #[serde(default)]
    pub listener: Option<String>,
    /// Why, in a sentence.
    pub evidence: String,
}
