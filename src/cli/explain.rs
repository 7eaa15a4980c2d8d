//! `pinfold explain`: who somebody is, where it goes and why, how it fared, and what to do next.

use jiff::Timestamp;

use super::failure::Failure;
use super::table::{Layout, clock, count, grouped, millis};
use super::{Show, client, output};
use crate::control::admin::answers::{
    Attempts, Candidate, CutOff, Explanation, Partner, PartnerPin, Place, SessionsOn, Trouble,
};

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
        screen.say("CUT OFF", &describe_cut(cut_off));
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
        screen.say("US OR THEM", &format!("{who}: {}", judged.evidence));
    }
    attempts(&mut screen, explanation);
    for (number, source) in explanation.known_by.iter().enumerate() {
        let label = if number == 0 { "KNOWN BY" } else { "" };
        screen.say(label, &format!("{}: {}", source.source, source.what));
    }
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

fn head(screen: &mut Screen<'_>, explanation: &Explanation) {
    let subject = &explanation.subject;
    let line = match (&explanation.partner, explanation.is_address) {
        (None, _) => format!("{subject} — no partner is known by this address"),
        (Some(partner), true) => format!("{subject} — {}, {}", partner.name, software(partner)),
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
}

/// What it runs, as configured, and what its hello says of that.
fn software(partner: &Partner) -> String {
    let tls = partner.tls.as_ref();
    let offers = tls.and_then(|tls| tls.offers.as_deref());
    let looks = partner
        .looks_like
        .as_deref()
        .filter(|looks| *looks != "unknown");
    let hello = match (looks, offers) {
        (Some(looks), Some(offers)) => format!("; its hello: {looks}, TLS {offers}"),
        (None, Some(offers)) => format!("; its hello: TLS {offers}"),
        (_, None) => String::new(),
    };
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

/// When each thing happened, from the last byte of the old node to the first of the new one.
fn describe_cut(cut: &CutOff) -> String {
    let gap = &cut.gap;
    let time = |at: Timestamp| at.strftime("%H:%M:%S%.3f").to_string();
    let after = |ms: f64| {
        let micros = std::time::Duration::from_secs_f64(ms.max(0.0) / 1000.0);
        time(
            gap.cut_off_since
                .checked_add(micros)
                .unwrap_or(gap.cut_off_since),
        )
    };
    let lasted = match gap.served_after_ms {
        Some(ms) => format!("for {}", millis(ms)),
        None => "and NOT BACK".into(),
    };
    let mut steps = vec![
        format!("last heard of {} {}", cut.node, time(gap.cut_off_since)),
        format!("suspect {}", time(cut.first_evidence)),
        format!("cut {} ({})", time(cut.cut), cut.evidence),
        format!("its session ended {}", after(gap.ended_after_ms)),
    ];
    steps.extend(
        gap.connected_after_ms
            .map(|ms| format!("connected {}", after(ms))),
    );
    let node = gap.node.as_deref().unwrap_or("-");
    steps.extend(
        gap.served_after_ms
            .map(|ms| format!("first byte of {node} {}", after(ms))),
    );
    format!(
        "{lasted}, failover {}, {}: {}",
        cut.failover,
        clock(cut.cut),
        steps.join(" · ")
    )
}

fn attempts(screen: &mut Screen<'_>, explanation: &Explanation) {
    let attempts = &explanation.attempts;
    let told = if explanation.partner.is_none() && attempts.troubles.is_empty() {
        "none was refused; of strangers nothing else is remembered".into()
    } else {
        tally(attempts, screen.layout)
    };
    screen.say("ATTEMPTS", &told);
    for trouble in attempts.troubles.iter().take(TROUBLES) {
        screen.say("", &describe_trouble(trouble));
        let remedy = trouble
            .remedy
            .as_ref()
            .map(|remedy| format!(". → {remedy}"));
        screen.say(
            "",
            &format!("{}{}", trouble.meaning, remedy.unwrap_or_default()),
        );
    }
    let rest = attempts.troubles.len().saturating_sub(TROUBLES);
    if rest > 0 {
        screen.say(
            "",
            &format!("and {} more; --json has all", count(rest as u64, "kind")),
        );
    }
}

fn tally(attempts: &Attempts, layout: &Layout) -> String {
    let total = attempts.good + attempts.bad + attempts.empty;
    let since = attempts.since.map(clock).unwrap_or_default();
    let last = match attempts.last_at {
        Some(last) => format!("last heard of {} ago", layout.age(last)),
        None => "not heard of since the start".into(),
    };
    if total == 0 {
        return format!("none since {since}; {last}");
    }
    let more = if attempts.is_full { "the last " } else { "" };
    format!(
        "{more}{total} since {since}: {} good, {} bad; {last}",
        attempts.good, attempts.bad
    )
}

fn describe_trouble(trouble: &Trouble) -> String {
    let times = match trouble.times {
        1 => clock(trouble.last),
        many => format!("{many} times, last {}", clock(trouble.last)),
    };
    let node = trouble
        .node
        .as_ref()
        .map(|node| format!(" with {node}"))
        .unwrap_or_default();
    let alert = trouble
        .alert
        .as_ref()
        .map(|alert| format!(" ({alert})"))
        .unwrap_or_default();
    format!(
        "{times}, from {} on {}{node}: {}{alert}",
        trouble.client, trouble.listener, trouble.outcome
    )
}

/// Columns of the labels.
const LABEL: usize = 12;
const LABEL_WIDTH: u16 = 12;
/// Kinds of trouble on the screen.
const TROUBLES: usize = 3;

#[cfg(test)]
mod tests;
