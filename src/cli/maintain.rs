//! `pinfold maintain`: empties a node for a patch, partner by partner, and says when it is safe.
//!
//! The conductor. It holds nothing that the daemon does not know: each step is one call that is whole,
//! durable and logged (`control/maintenance.rs`), so it may be ended at any moment and begun again.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::steps::{Daemon, Halt};
use self::watch::Stop;
use super::failure::Failure;
use super::table::{count, grouped, millis};
use super::{Node, change, drill, output};
use crate::config::model::Rate;
use crate::control::admin::answers::{Drill, DrillPartner, PinMoved};

mod steps;
mod watch;

/// How it is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// How fast sessions are taken off that are no partner's.
    pub(super) pace: Rate,
    /// All of it is undone if it lasts longer.
    pub(super) window: Option<Duration>,
    /// The node is used again at once, and pins go back: a drill.
    pub(super) is_drill: bool,
}

/// `pinfold drill` for real.
pub(super) fn rehearse(node: &Node, manner: Manner, is_sure: bool) -> Result<ExitCode, Failure> {
    if !is_sure {
        if !io::stdin().is_terminal() {
            let text = "a drill ends sessions: say --yes where nobody can be asked, or --dry-run";
            return Err(Failure::Usage(text.into()));
        }
        let (_, drill) = drill::play(node)?;
        let loss = drill::loss(&drill, &drill::layout());
        change::ask(&format!("{loss}They come back elsewhere."))?;
    }
    maintain(node, manner)
}

/// Empties the node; exit 1 where it was not done, or was undone.
pub(super) fn maintain(node: &Node, manner: Manner) -> Result<ExitCode, Failure> {
    let (_, drill) = drill::play(node)?;
    output::print(&drill::loss(&drill, &drill::layout()))?;
    output::print(&drill::remarks(&drill, &drill::layout()))?;
    if !drill.holds {
        say("the others cannot do without it: nothing was changed")?;
        return Ok(ExitCode::FAILURE);
    }
    output::print(&drill::takers(&drill, &drill::layout()))?;
    let daemon = Daemon::new(node);
    let stop = Stop::listen()?;
    // First, or whoever is to return to it, or has no pin yet, would come while others leave. One that drains
    // already, or is disabled, stays as it is.
    let troubled = daemon.troubled()?;
    daemon.begin()?;
    let mut conductor = Conductor {
        troubled,
        begun: Instant::now(),
        name: &node.node,
        daemon: &daemon,
        manner,
        stop,
    };
    let done = conductor.conduct(&drill);
    match done {
        Ok(()) if manner.is_drill => conductor.roll_back(),
        Ok(()) => conductor.safe(),
        Err(Halt::Failed(failure)) => {
            conductor.stopped("an error")?;
            Err(failure)
        }
        Err(Halt::Interrupted) => {
            conductor.stopped("your word")?;
            Ok(ExitCode::FAILURE)
        }
        Err(Halt::Regression(why)) => conductor.undo(&why),
    }
}

struct Conductor<'a> {
    name: &'a str,
    daemon: &'a Daemon<'a>,
    manner: Manner,
    stop: Stop,
    begun: Instant,
    /// What was the matter with other nodes before.
    troubled: BTreeSet<String>,
}

impl Conductor<'_> {
    fn conduct(&mut self, drill: &Drill) -> Result<(), Halt> {
        let (legacy, others): (Vec<_>, Vec<_>) =
            names(drill).into_iter().partition(|each| each.legacy);
        for partner in legacy {
            let (moved, back) = self.move_one(partner)?;
            for one in &moved {
                tell(&line(
                    &partner.partner,
                    &format!("moved  {} → {}   {}", one.from, one.to, told(one, back)),
                ))?;
            }
        }
        self.move_others(&others)?;
        self.end_the_rest()
    }

    /// Partners that can fail over by themselves: as the others, in one line.
    fn move_others(&self, others: &[&DrillPartner]) -> Result<(), Halt> {
        let (mut idle, mut slowest) = (0_u64, None);
        for partner in others {
            let (moved, back) = self.move_one(partner)?;
            idle += u64::from(moved.iter().all(|one| !one.active));
            slowest = slowest.max(back);
        }
        let mut what = String::from("moved");
        if let Some(slowest) = slowest {
            what += &format!("   slowest {}", in_short(slowest));
        }
        if idle > 0 {
            what += &format!("   idle, pin moved: {idle}");
        }
        match others.len() {
            0 => Ok(()),
            many => tell(&line(&count(many as u64, "other"), &what)),
        }
    }

    /// Moves one partner, and waits until it is served where it was sent.
    fn move_one(&self, partner: &DrillPartner) -> Result<(Vec<PinMoved>, Option<Duration>), Halt> {
        self.look()?;
        let sent = Instant::now();
        let moved = self.daemon.move_away(&partner.partner)?;
        let patience = Duration::from_secs(partner.alarm_after_s.max(1));
        let awaited: Vec<_> = moved.iter().filter(|one| one.active).collect();
        while !self.daemon.are_served(&partner.partner, &awaited)? {
            if sent.elapsed() >= patience {
                let call = partner
                    .contact
                    .as_ref()
                    .map(|contact| format!("; call them: {contact}"));
                return Err(Halt::Regression(format!(
                    "{} did not come back within {} s (alarm_after){}",
                    partner.partner,
                    partner.alarm_after_s,
                    call.unwrap_or_default()
                )));
            }
            self.pause()?;
        }
        let back = (!awaited.is_empty()).then(|| sent.elapsed());
        Ok((moved, back))
    }

    /// Takes off what is left, at the pace.
    fn end_the_rest(&self) -> Result<(), Halt> {
        self.look()?;
        let begun = Instant::now();
        let (mut taken, mut sip) = (0, 0);
        loop {
            let (rate, elapsed) = (self.manner.pace, begun.elapsed());
            let due = elapsed.as_millis() * u128::from(rate.count) / rate.per.as_millis().max(1);
            // At least one, so that the last ones are not waited for.
            let due = usize::try_from(due).unwrap_or(usize::MAX).max(1);
            let answer = self.daemon.end(due.saturating_sub(taken))?;
            taken += answer.ended + answer.sip;
            sip += answer.sip;
            if answer.left == 0 {
                break;
            }
            self.pause()?;
        }
        let lasted = in_short(begun.elapsed());
        let mut what = format!(
            "{} taken off at {}, in {lasted}",
            grouped(taken as u64),
            pace(self.manner.pace)
        );
        if sip > 0 {
            let of_sip = count(sip as u64, "SIP session");
            what += &format!("; {of_sip} among them may go on elsewhere");
        }
        tell(&line("sessions", &what))
    }

    /// Waits a moment, and looks around meanwhile.
    fn pause(&self) -> Result<(), Halt> {
        self.stop.wait(LOOK_INTERVAL);
        self.look()
    }

    /// Whether it may go on.
    fn look(&self) -> Result<(), Halt> {
        if self.stop.is_asked() {
            return Err(Halt::Interrupted);
        }
        if self
            .manner
            .window
            .is_some_and(|window| self.begun.elapsed() > window)
        {
            return Err(Halt::Regression("it lasted longer than --window".into()));
        }
        let now = self.daemon.troubled()?;
        match now.difference(&self.troubled).next() {
            Some(what) => Err(Halt::Regression(format!("{what} meanwhile"))),
            None => Ok(()),
        }
    }

    fn safe(&self) -> Result<ExitCode, Failure> {
        let name = self.name;
        say(&format!(
            "{name} carries nothing that Pinfold can see. NOT seen from here:\n  \
             · Front Ends reach {name}'s inside directly (topology-aware since Lync 2013)\n  \
             · {name}'s own connections to partners, and calls: media flows past Pinfold\n    \
             → on {name}: Stop-CsWindowsService -Graceful    ends both in order\n  \
             · a new A/V authentication certificate: Set-CsCertificate -Roll, days before\n\
             SAFE TO PATCH after that. Then: pinfold resume {name}\n\
             and: pinfold nodes, until every service of it is up"
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Where it stands, and how to go on or back.
    fn stopped(&self, by: &str) -> Result<(), Failure> {
        let name = self.name;
        say(&format!(
            "STOPPED by {by}: everything stays as it is at this moment.\n  \
             to go on:   pinfold maintain {name}\n  \
             to undo it: pinfold maintain {name} --undo"
        ))
    }

    fn undo(&self, why: &str) -> Result<ExitCode, Failure> {
        tell(&line("UNDOING", why)).map_err(Halt::into_failure)?;
        undo(self.daemon, self.name)?;
        Ok(ExitCode::FAILURE)
    }

    fn roll_back(&self) -> Result<ExitCode, Failure> {
        say(&format!(
            "{} carries nothing that Pinfold can see: the drill has succeeded.",
            self.name
        ))?;
        undo(self.daemon, self.name)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `pinfold maintain --undo`.
pub(super) fn undo_maintenance(node: &Node) -> Result<ExitCode, Failure> {
    undo(&Daemon::new(node), &node.node)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts pins back, and the node into the state that it had.
fn undo(daemon: &Daemon<'_>, name: &str) -> Result<(), Failure> {
    let moved = daemon.put_back()?;
    let states: Vec<_> = daemon.states()?.into_iter().collect();
    let pins = count(moved.len() as u64, "pin");
    let state = match states.as_slice() {
        [state] if state == "active" => "takes sessions again".into(),
        states => format!("is {} as before", states.join(" and ")),
    };
    let text = format!(
        "{pins} of partners went back to {name}, which {state}; sessions on other nodes stay as long as they last"
    );
    output::print(&drill::layout().wrapped("", &text))
}

/// Each partner that is pinned to the node, once.
fn names(drill: &Drill) -> Vec<&DrillPartner> {
    let mut seen = BTreeSet::new();
    let partners = drill.partners.iter().filter(|each| each.pinned);
    partners.filter(|each| seen.insert(&each.partner)).collect()
}

fn told(moved: &PinMoved, back: Option<Duration>) -> String {
    match back.filter(|_| moved.active) {
        Some(back) => format!("back in {}", in_short(back)),
        None => match (moved.ended as u64, moved.sip as u64) {
            (0, 0) => "no sessions: pin moved".into(),
            (ended, 0) => format!("idle: {} ended, not waited for", count(ended, "session")),
            (0, sip) => format!(
                "idle: {} taken off, not waited for",
                count(sip, "SIP session")
            ),
            (ended, sip) => format!(
                "idle: {} ended, {} taken off, not waited for",
                count(ended, "session"),
                count(sip, "SIP session")
            ),
        },
    }
}

/// `20:00:02Z  fabrikam      moved …`.
fn line(who: &str, what: &str) -> String {
    format!(
        "{}  {who:<12} {what}",
        Timestamp::now().strftime("%H:%M:%SZ")
    )
}

/// `50/s`, as it was asked for.
fn pace(rate: Rate) -> String {
    match rate.per.as_secs() {
        1 => format!("{}/s", rate.count),
        60 => format!("{}/m", rate.count),
        seconds => format!("{}/{seconds}s", rate.count),
    }
}

fn in_short(time: Duration) -> String {
    millis(time.as_secs_f64() * 1000.0)
}

fn say(text: &str) -> Result<(), Failure> {
    output::print(&format!("{text}\n"))
}

fn tell(text: &str) -> Result<(), Halt> {
    say(text).map_err(Halt::Failed)
}

/// Often enough that nobody waits for it, seldom enough that the daemon does not notice.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_move_it_is_told_who_is_back_and_what_ended_or_goes_on() {
        let moved = |ended, sip, active| PinMoved {
            partner: "fabrikam".into(),
            pool: "edge".into(),
            affinity: "federation".into(),
            from: "edge1".into(),
            to: "edge2".into(),
            ended,
            sip,
            active,
        };
        let back = Some(Duration::from_millis(700));
        for (moved, expected) in [
            (moved(1, 0, true), "back in 700 ms"),
            (moved(0, 0, false), "no sessions: pin moved"),
            (moved(2, 0, false), "idle: 2 sessions ended, not waited for"),
            (
                moved(0, 1, false),
                "idle: 1 SIP session taken off, not waited for",
            ),
            (
                moved(1, 2, false),
                "idle: 1 session ended, 2 SIP sessions taken off, not waited for",
            ),
        ] {
            assert_eq!(told(&moved, back), expected);
        }
    }
}
