//! What a client may say: who is blocked, and how much those may say who were only found by DNS.
//!
//! By whom a certificate names that was verified here, by configured addresses, and by a message's own words where
//! those refuse it. A domain that a client merely claims grants nothing. Pure: `now` is an argument.

use std::time::Duration;

use super::RETRY_AFTER;
use crate::clock::Moment;
use crate::config::model::Rate;
use crate::inspect::sip::{Answer, Message};
use crate::partner::table::{Known, PartnerTable};

/// The policy of one client's connection.
#[derive(Debug)]
pub(super) struct Gate {
    is_blocked: bool,
    /// Who may only say so much.
    limits: Option<Limits>,
}

/// What is known of a client beyond its own words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    /// The names in the certificate that it has shown, and that was verified.
    pub(super) names: &'a [Box<str>],
    /// Whom configured addresses name.
    pub(super) configured: Option<&'a Known>,
}

impl Gate {
    /// The gate for `who`; `rate` is what others than known partners may say.
    pub(super) fn new(partners: &PartnerTable, who: Identity<'_>, rate: Option<Rate>) -> Self {
        let mut names = who.names.iter();
        let is_blocked = names.any(|name| partners.blocked(name).is_some())
            || who.configured.is_some_and(|known| known.blocked);
        let known = who.configured.or_else(|| {
            let owner = partners.by_certificate(who.names);
            owner.map(|owner| &**owner)
        });
        let is_limited = known.is_none_or(|known| known.discovered);
        Self {
            is_blocked,
            limits: rate.filter(|_| is_limited).map(Limits::new),
        }
    }

    /// Whether nothing is asked of what the client says: then it may also say what cannot be read.
    pub(super) const fn is_open(&self) -> bool {
        !self.is_blocked && self.limits.is_none()
    }

    /// Whom it is for by now; what was said already still counts.
    pub(super) fn renew(&mut self, anew: Self) {
        self.is_blocked = anew.is_blocked;
        match (&mut self.limits, anew.limits) {
            (Some(old), Some(new)) if old.rate == new.rate => {}
            (limits, new) => *limits = new,
        }
    }

    /// The answer to `request`, if it must not pass; to an ACK nobody is given one.
    pub(super) fn judge(
        &mut self,
        request: &Message<'_>,
        partners: &PartnerTable,
        now: Moment,
    ) -> Option<Answer> {
        if self.is_blocked || is_from_blocked(request, partners) {
            return Some(Answer::Forbidden);
        }
        if request.offers_compression() {
            return Some(Answer::NotCompressed);
        }
        let limits = self.limits.as_mut()?;
        let allowance = match request.method() {
            Some("ACK" | "CANCEL") => &mut limits.dependent,
            _ => &mut limits.requests,
        };
        let answer = Answer::Unavailable {
            retry_after: RETRY_AFTER,
        };
        (!allowance.take(now)).then_some(answer)
    }

    /// Whether a response may pass that answers nothing which was asked, as far as that is remembered, or not finally.
    pub(super) fn may_respond(&mut self, now: Moment) -> bool {
        let limits = self.limits.as_mut();
        limits.is_none_or(|limits| limits.dependent.take(now))
    }
}

fn is_from_blocked(request: &Message<'_>, partners: &PartnerTable) -> bool {
    if !partners.blocks_anybody() {
        return false;
    }
    let domain = request.from().and_then(|from| from.host());
    domain
        .is_some_and(|domain| with_lower_case(domain, |domain| partners.blocked(domain).is_some()))
}

/// Looks at `domain` in lower case and without the dot that may end it (RFC 3261, section 25.1: `hostname`), without
/// allocating. What is longer than a domain can be is none.
pub(super) fn with_lower_case<A: Default>(domain: &str, look: impl FnOnce(&str) -> A) -> A {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let mut room = [0; 253];
    let Some(room) = room.get_mut(..domain.len()) else {
        return A::default();
    };
    room.copy_from_slice(domain.as_bytes());
    room.make_ascii_lowercase();
    std::str::from_utf8(room).map(look).unwrap_or_default()
}

/// How much may be said.
#[derive(Debug)]
struct Limits {
    rate: Rate,
    requests: Allowance,
    /// What belongs to a request that has passed: ACK, CANCEL and responses. Nobody could be told to send them later,
    /// so there is room for all that a call has.
    dependent: Allowance,
}

impl Limits {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            requests: Allowance::new(rate),
            dependent: Allowance::new(Rate {
                count: rate.count.saturating_mul(DEPENDENT),
                ..rate
            }),
        }
    }
}

/// So many messages may belong to one request.
const DEPENDENT: u32 = 4;

/// So many messages in so much time, all of them at once if nothing came before.
#[derive(Debug)]
struct Allowance {
    between: Duration,
    burst: Duration,
    /// When all that was said would have been said, had it come evenly.
    said_by: Moment,
}

impl Allowance {
    fn new(rate: Rate) -> Self {
        Self {
            between: rate.per / rate.count.max(1),
            burst: rate.per,
            said_by: Moment::START,
        }
    }

    fn take(&mut self, now: Moment) -> bool {
        let begin = self.said_by.max(now);
        let said_by = begin + self.between;
        let has_room = said_by.since(now) <= self.burst;
        if has_room {
            self.said_by = said_by;
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const PARTNERS: &str = "version = 1\n[[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\n\
        address = \"198.51.100.1\"\n[[listener]]\nname = \"federation\"\nbind = \"203.0.113.10:5061\"\n\
        service = \"federation\"\npool = \"edge\"\n\
        [[partner]]\nname = \"fabrikam\"\ndomains = [\"fabrikam.com\"]\n\
        [[partner]]\nname = \"found\"\ndomains = [\"found.example\"]\nfederation = \"discovered-domain\"\n\
        [[partner]]\nname = \"bad\"\ndomains = [\"bad.example\"]\nfederation = \"blocked\"\n";

    fn partners() -> PartnerTable {
        PartnerTable::new(&parse("a", PARTNERS).unwrap().config.partners)
    }

    const RATE: Rate = Rate {
        count: 20,
        per: Duration::from_secs(1),
    };

    fn gate(name: &str) -> Gate {
        let names = [Box::from(name)];
        let who = Identity {
            names: &names,
            configured: None,
        };
        Gate::new(&partners(), who, Some(RATE))
    }

    fn judge(gate: &mut Gate, method: &str, from: &str, millis: u64) -> Option<u16> {
        let head = format!(
            "{method} sip:a@b SIP/2.0\r\nFrom: <sip:x@{from}>\r\nCompression: LZ77-8K\r\n\r\n"
        );
        let message = Message::read(head.as_bytes()).unwrap();
        let now = Moment::from_micros(millis * 1000);
        gate.judge(&message, &partners(), now).map(Answer::code)
    }

    #[test]
    fn who_was_only_found_may_say_so_much_and_then_more_with_time() {
        for name in ["sip.found.example", "stranger.example"] {
            let mut gate = gate(name);
            assert!(!gate.is_open());
            let mut said = |millis, count: usize| {
                let all = (0..count).map(|_| judge(&mut gate, "MESSAGE", "found.example", millis));
                all.filter(Option::is_none).count()
            };
            assert_eq!(said(5_000, 30), 20);
            assert_eq!(said(5_100, 30), 2, "one each 50 ms");
            assert_eq!(said(9_000, 30), 20);
            assert_eq!(
                judge(&mut gate, "MESSAGE", "found.example", 9_000),
                Some(503)
            );
        }
    }

    #[test]
    fn what_belongs_to_a_request_has_room_of_its_own_and_that_ends_as_well() {
        let mut gate = gate("stranger.example");
        (0..20).for_each(|_| assert_eq!(judge(&mut gate, "INVITE", "a.b", 1), None));
        for _ in 0..20 {
            assert_eq!(judge(&mut gate, "ACK", "a.b", 1), None);
            assert_eq!(judge(&mut gate, "CANCEL", "a.b", 1), None);
            let now = Moment::from_micros(1000);
            assert!(gate.may_respond(now) && gate.may_respond(now));
        }
        for method in ["INVITE", "ACK", "CANCEL"] {
            assert_eq!(judge(&mut gate, method, "a.b", 1), Some(503));
        }
        assert!(!gate.may_respond(Moment::from_micros(1000)));
        assert!(gate.may_respond(Moment::from_micros(14_000)), "80 a second");
    }

    #[test]
    fn a_known_partner_says_what_it_will_and_a_claim_grants_nothing() {
        let mut known = gate("sip.fabrikam.com");
        assert!(known.is_open());
        assert!((0..1000).all(|_| judge(&mut known, "INVITE", "fabrikam.com", 1).is_none()));
        let mut claims = gate("stranger.example");
        let said = (0..100).map(|_| judge(&mut claims, "INVITE", "fabrikam.com", 1));
        assert_eq!(said.filter(Option::is_none).count(), 20);
    }

    #[test]
    fn who_is_blocked_is_refused_by_its_certificate_and_by_its_own_words() {
        assert_eq!(
            judge(&mut gate("sip.bad.example"), "MESSAGE", "fabrikam.com", 1),
            Some(403)
        );
        let mut known = gate("sip.fabrikam.com");
        for from in ["BAD.example", "bad.example.", "bad.example.:5061"] {
            assert_eq!(judge(&mut known, "MESSAGE", from, 1), Some(403), "{from}");
        }
        assert_eq!(judge(&mut known, "MESSAGE", &"b".repeat(300), 1), None);
        assert!(!gate("sip.bad.example").is_open());
        let partners = partners();
        let who = Identity {
            names: &[],
            configured: partners.by_name("bad").map(|known| &**known),
        };
        let mut at_its_address = Gate::new(&partners, who, None);
        assert_eq!(judge(&mut at_its_address, "INFO", "a.b", 1), Some(403));
    }

    #[test]
    fn nothing_is_compressed() {
        let mut known = gate("sip.fabrikam.com");
        assert_eq!(judge(&mut known, "NEGOTIATE", "fabrikam.com", 1), Some(488));
        assert_eq!(judge(&mut known, "MESSAGE", "fabrikam.com", 1), None);
    }

    #[test]
    fn a_new_name_takes_along_what_was_said() {
        let mut stranger = gate("stranger.example");
        (0..20).for_each(|_| assert_eq!(judge(&mut stranger, "INFO", "a.b", 1), None));
        stranger.renew(gate("sip.found.example"));
        assert_eq!(judge(&mut stranger, "INFO", "a.b", 1), Some(503));
        stranger.renew(gate("sip.fabrikam.com"));
        assert!(stranger.is_open());
    }
}
