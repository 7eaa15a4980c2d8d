//! A scenario that is careful with what others run.
//!
//! Owns the bound on what a load asks of them in a second: messages, and connections, those after a
//! failure included. What cannot be bounded is left out. Whatever is changed is told.

use std::time::Duration;

use super::Scenario;
use super::time::Span;

impl Scenario {
    /// Lets no load send more than `rate` messages or open more than `rate` connections a second, not
    /// even those that otherwise go as fast as they are answered, and leaves streams out.
    pub fn limit(&mut self, rate: f64) {
        let mut told = Vec::new();
        for load in self.bulk.drain(..) {
            told.push(format!("{}: a stream takes what it can get", load.name));
        }
        for load in &mut self.round_trips {
            load.rest = pause(load.connections, rate);
            slower_if_any(&mut load.rate, rate, &load.name, &mut told);
        }
        for load in &mut self.connects {
            slower_if_any(&mut load.rate, rate, &load.name, &mut told);
        }
        for load in &mut self.idle {
            load.rest = pause(load.sessions, rate);
            told.push(format!("{}: opened at {rate} a second", load.name));
        }
        for load in &mut self.users {
            load.rest = pause(load.users, rate);
            let hourly = rate * 3600.0 / f64::from(load.users);
            slower(
                &mut load.sign_in_rate,
                rate,
                &load.name,
                "sign-ins a second",
                &mut told,
            );
            let what = "messages of a user in an hour";
            slower(
                &mut load.messages_per_hour,
                hourly,
                &load.name,
                what,
                &mut told,
            );
            longer(
                &mut load.keep_alive,
                load.rest,
                &load.name,
                "keep-alives",
                &mut told,
            );
        }
        for load in &mut self.partners {
            load.rest = pause(load.partners.saturating_mul(load.connections), rate);
            longer(
                &mut load.interval,
                load.rest,
                &load.name,
                "lines",
                &mut told,
            );
            for rung in &mut load.ladder {
                *rung = (*rung).max(load.rest);
            }
            told.push(format!("{}: calls again at {rate} a second", load.name));
        }
        for load in &mut self.flood {
            slower(
                &mut load.rate,
                rate,
                &load.name,
                "connections a second",
                &mut told,
            );
        }
        for load in &mut self.udp_flows {
            let each = rate / f64::from(load.flows);
            let what = "packets a second of a flow";
            slower(&mut load.rate, each, &load.name, what, &mut told);
        }
        self.limited = told;
    }
}

/// From one turn to the next of each of `count`, so that they have `rate` turns a second.
fn pause(count: u32, rate: f64) -> Span {
    let pause = Duration::try_from_secs_f64(f64::from(count) / rate);
    Span(pause.unwrap_or(Duration::MAX))
}

fn slower(given: &mut f64, most: f64, load: &str, what: &str, told: &mut Vec<String>) {
    if *given > most {
        told.push(format!("{load}: {most:.3} instead of {given} {what}"));
        *given = most;
    }
}

fn slower_if_any(given: &mut Option<f64>, most: f64, load: &str, told: &mut Vec<String>) {
    match given {
        Some(rate) => slower(rate, most, load, "a second", told),
        None => {
            told.push(format!(
                "{load}: {most} a second instead of as many as are answered"
            ));
            *given = Some(most);
        }
    }
}

fn longer(given: &mut Span, least: Span, load: &str, what: &str, told: &mut Vec<String>) {
    if *given < least {
        told.push(format!(
            "{load}: {what} every {:?} instead of {:?}",
            least.0, given.0
        ));
        *given = least;
    }
}
