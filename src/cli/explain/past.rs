//! What was: the last failover, and how sessions went.

use jiff::Timestamp;

use super::Screen;
use crate::cli::table::{Layout, clock, count, millis};
use crate::control::admin::answers::{Attempts, CutOff, Explanation, Trouble};

/// When each thing happened, from the last byte of the old node to the first of the new one.
pub(super) fn describe_cut(cut: &CutOff) -> String {
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
        None if gap.given_up => "and no longer waited for".into(),
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

pub(super) fn attempts(screen: &mut Screen<'_>, explanation: &Explanation) {
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

/// Kinds of trouble on the screen.
const TROUBLES: usize = 3;
