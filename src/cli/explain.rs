//! `pinfold explain`: who somebody is, where it goes and why, how it fared, and what to do next.

use jiff::Timestamp;

use super::failure::Failure;
use super::table::{Layout, clock, count, grouped};
use super::{Show, client, output};
use crate::control::admin::answers::{
    Candidate, Explanation, Partner, PartnerPin, Place, SessionsOn,
};

mod past;

/// Explains `subject`, on all listeners or one.
pub(super) fn explain(
    subject: &str,
    listener: Option<&str>,
    options: &Show,
) -> Result<(), Failure> {
    let path = format!("/v1/explain/{}", client::escape(subject));
    let path = client::with_query(&path, &[("listener", listener)]);
    let json = client::get(&options.daemon, &path)?;
    if options.json {
        return output::print(&(json + "\n"));
    }
    let layout = Layout {
        width: output::width(),
        now: Timestamp::now(),
    };
    output::print(&render(&client::read(&options.daemon, &json)?, &layout))
}

/// The sections of the screen, each with its label.
struct Screen<'a> {
    layout: &'a Layout,
    text: String,
}

impl Screen<'_> {
    /// A paragraph beside its label; without one it belongs to the section above.
    fn say(&mut self, label: &str, what: &str) {
        let indent = " ".repeat(LABEL);
        // Following lines stand below the first; the wrapping itself would put them deeper.
        let wrapped = self
            .layout
            .wrapped(&indent, what)
            .replace(&format!("\n{indent}  "), &format!("\n{indent}"));
        let body = wrapped.strip_prefix(&indent).unwrap_or(&wrapped);
        self.text += &format!("{label:<LABEL$}{body}");
    }

    fn table(&mut self, label: &str, headings: &[&str], rows: Vec<Vec<String>>) {
        let width = self
            .layout
            .width
            .map(|width| width.saturating_sub(LABEL_WIDTH));
        let layout = Layout {
            width,
            ..*self.layout
        };
        for (place, line) in layout.table(headings, rows).lines().enumerate() {
            let label = if place == 0 { label } else { "" };
            self.text += format!("{label:<LABEL$}{line}").trim_end();
            self.text.push('\n');
        }
    }
}

fn render(explanation: &Explanation, layout: &Layout) -> String {
    let mut screen = Screen {
        layout,
        text: String::new(),
    };
    head(&mut screen, explanation);
    for place in &explanation.places {
        on(&mut screen, explanation, place);
    }
    if let Some(cut_off) = &explanation.cut_off {
        screen.say("CUT OFF", &past::describe_cut(cut_off));
    }
    if explanation.partner.is_some() {
        let judged = &explanation.verdict;
        let who = judged
            .node
            .as_deref()
            .unwrap_or(match judged.verdict.as_str() {
                "partner" => "them",
                other => other,
            });
        let on = judged.listener.as_ref();
        let on = on.map_or_else(String::new, |listener| format!(" on {listener}"));
        screen.say("US OR THEM", &format!("{who}{on}: {}", judged.evidence));
    }
    past::attempts(&mut screen, explanation);
    known_by(&mut screen, explanation);
    if explanation.partner.is_some() {
        screen.say(
            "OUTBOUND",
            "not seen from here: what the nodes open themselves passes elsewhere",
        );
    }
    for (number, what) in explanation.next.iter().enumerate() {
        screen.say(if number == 0 { "NEXT" } else { "" }, what);
    }
    screen.text
}

/// A cloud's certificate is seen from hundreds of addresses; on the phone nobody reads them.
fn known_by(screen: &mut Screen<'_>, explanation: &Explanation) {
    let (mut label, mut seen) = ("KNOWN BY", 0_usize);
    for source in &explanation.known_by {
        seen += usize::from(source.source == "certificate");
        if source.source != "certificate" || seen <= CERTIFICATES {
            screen.say(label, &format!("{}: {}", source.source, source.what));
            label = "";
        }
    }
    if let Some(more @ 1..) = seen.checked_sub(CERTIFICATES) {
        screen.say(
            "",
            &format!("certificate: from {more} more; --json has all"),
        );
    }
}

fn head(screen: &mut Screen<'_>, explanation: &Explanation) {
    let subject = &explanation.subject;
    let line = match (&explanation.partner, explanation.is_address) {
        (None, _) => format!("{subject} — no partner is known by this address"),
        (Some(partner), true) => {
            let by = explanation.known_by.first().map(|source| &*source.source);
            let by = match by {
                Some("dns") => " by DNS alone",
                Some("certificate") => " by its certificate",
                _ => "",
            };
            format!("{subject} — {}{by}, {}", partner.name, software(partner))
        }
        (Some(partner), false) => format!("{subject} — {}", software(partner)),
    };
    screen.text += &screen.layout.wrapped("", &line);
    let contact = explanation
        .partner
        .as_ref()
        .and_then(|partner| partner.contact.as_deref());
    if let Some(contact) = contact {
        screen.say("CONTACT", contact);
    }
    if let Some(partner) = &explanation.partner {
        looks(screen, partner);
    }
}

/// What it seems to run, beside what is configured.
fn looks(screen: &mut Screen<'_>, partner: &Partner) {
    let Some(looks) = &partner.looks_like else {
        return;
    };
    let because = partner.looks_like_because.join("; ");
    match because.is_empty() {
        true => screen.say("LOOKS LIKE", looks),
        false => screen.say("LOOKS LIKE", &format!("{looks}: {because}")),
    }
}

/// What it runs, as configured, and what its hello says of that.
fn software(partner: &Partner) -> String {
    let tls = partner.tls.as_ref();
    let offers = tls.and_then(|tls| tls.offers.as_deref());
    let hello = offers.map(|offers| format!("; its hello: TLS {offers}"));
    let hello = hello.unwrap_or_default();
    let legacy = if partner.legacy {
        "; legacy: cannot fail over by itself"
    } else {
        ""
    };
    let blocked = if partner.federation == "blocked" {
        "; BLOCKED"
    } else {
        ""
    };
    format!(
        "{} (configured{hello}){legacy}{blocked}",
        partner.generation
    )
}

/// Where it is, where it goes, and why.
fn on(screen: &mut Screen<'_>, explanation: &Explanation, place: &Place) {
    let listeners = place.listeners.join(", ");
    let many = explanation.places.len() > 1;
    let at = if many || explanation.partner.is_none() {
        format!("{listeners}: ")
    } else {
        String::new()
    };
    match place.access.as_str() {
        "granted" if explanation.partner.is_some() => {}
        "granted" => screen.say("ALLOWED", &format!("{at}{}", place.rule)),
        _ => screen.say("REFUSED", &format!("{listeners}: {}", place.rule)),
    }
    match &place.pin {
        Some(pin) => screen.say("ON", &format!("{at}{}", pinned(pin))),
        None => {
            let node = place.node.as_deref().unwrap_or("nowhere");
            screen.say("WOULD BE ON", &format!("{at}{node} (no pin yet)"));
        }
    }
    if explanation.partner.is_some() {
        let sessions: Vec<_> = place
            .sessions
            .iter()
            .map(|on| now_on(on, screen.layout))
            .collect();
        let now = if sessions.is_empty() {
            "no sessions".into()
        } else {
            sessions.join("; ")
        };
        let whose = explanation
            .partner
            .as_ref()
            .filter(|_| explanation.is_address);
        let whose = whose.map(|partner| format!(", of all that {} has", partner.name));
        screen.say("NOW", &(now + &whose.unwrap_or_default()));
    }
    let why = place
        .node
        .as_deref()
        .map_or_else(|| "WHY".into(), |node| format!("WHY {node}"));
    let label = if why.len() < LABEL {
        why.as_str()
    } else {
        "WHY"
    };
    screen.say(label, &place.steps.join(" → "));
    nodes(screen, place);
    if let Some(back) = &place.back {
        let at = back
            .at
            .map(|at| format!(", next {}", clock(at)))
            .unwrap_or_default();
        screen.say(
            "BACK?",
            &format!(
                "to {} {}{at}. By hand: {}",
                back.node, back.when, back.command
            ),
        );
    }
}

fn pinned(pin: &PartnerPin) -> String {
    let mut text = format!(
        "{} since {}: {}",
        pin.node,
        clock(pin.since),
        cause(&pin.by)
    );
    if let Some(home) = &pin.home {
        text += &format!(", from {home}");
    }
    if let Some(order) = &pin.order {
        text += &format!(", by {}", order.by);
        if let Some(reason) = &order.reason {
            text += &format!(" \"{reason}\"");
        }
    }
    text
}

/// Why a pin names its node, in words.
fn cause(by: &str) -> &str {
    match by {
        "placed" => "by placement",
        "configured" => "as configured (node =)",
        "failover" => "moved by a failover",
        "dial-failed" => "moved, its node refused",
        "by-hand" => "pinned by hand",
        "failback" => "returned",
        "reverted" => "put back, it had not come where it was sent",
        "maintenance" => "moved for maintenance",
        other => other,
    }
}

fn now_on(on: &SessionsOn, layout: &Layout) -> String {
    let last = on.last_byte.map_or_else(String::new, |at| {
        format!(", last byte {} ago", layout.age(at))
    });
    let waiting = match on.sessions.saturating_sub(on.served) {
        0 => String::new(),
        some => format!(" ({some} not answered yet)"),
    };
    format!(
        "{} on {}{waiting}{last}",
        count(on.sessions as u64, "session"),
        on.node
    )
}

fn nodes(screen: &mut Screen<'_>, place: &Place) {
    let row = |each: &Candidate| {
        let chosen = place.node.as_deref() == Some(&each.node);
        let mut note = each
            .evidence
            .clone()
            .filter(|_| ["down", "suspect", "unproven"].contains(&&*each.standing))
            .unwrap_or_default();
        if each.warmth < 100 {
            note = format!("warming up: {} %", each.warmth);
        }
        if each.full {
            note = "has its share".into();
        }
        vec![
            format!("{}{}", if chosen { "→ " } else { "  " }, each.node),
            each.standing.clone(),
            each.since
                .map_or_else(|| "-".into(), |since| screen.layout.age(since)),
            each.weight.to_string(),
            grouped(u64::from(each.sessions)),
            each.legacy.to_string(),
            note,
        ]
    };
    let rows: Vec<_> = place.candidates.iter().map(row).collect();
    let headings = [
        "  NODE",
        "STANDING",
        "SINCE",
        "#WEIGHT",
        "#SESSIONS",
        "#LEGACY",
        "NOTE",
    ];
    screen.table("", &headings, rows);
}

/// Columns of the labels.
const LABEL: usize = 12;
const LABEL_WIDTH: u16 = 12;
/// Addresses from which a certificate was seen.
const CERTIFICATES: usize = 8;

#[cfg(test)]
mod tests;
