//! Remote users, who sign in one after the other and stay.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use super::Doors;
use super::agenda::{Agenda, period, random_pause};
use super::client::message;
use super::record::Record;
use super::talk::{Deed, Entry, Talk};
use crate::scenario::Users;

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn begin(plan: &Users, doors: Doors<'_>, record: Arc<Record>) -> io::Result<()> {
    let message = message(plan.message_bytes);
    let talk = Talk::new(plan.users, doors, (message, plan.rest), record)?;
    let (start, between) = (Instant::now(), period(plan.sign_in_rate));
    let mut agenda = Agenda::default();
    for number in 0..plan.users {
        agenda.enter(start + between * number, (number, Deed::Open));
    }
    let habits = Habits::of(plan);
    spawn_local(talk.keep(agenda, move |agenda, due, entry| {
        habits.follow(agenda, due, entry);
    }));
    Ok(())
}

/// What every user does again and again.
#[derive(Clone, Copy, Debug)]
struct Habits {
    keep_alive: Duration,
    /// Mean distance of messages; none if they are never sent.
    message: Option<Duration>,
}

impl Habits {
    fn of(plan: &Users) -> Self {
        let rate = plan.messages_per_hour;
        Self {
            keep_alive: plan.keep_alive.0.max(Duration::from_millis(1)),
            message: (rate > 0.0).then(|| HOUR.div_f64(rate)),
        }
    }

    fn follow(&self, agenda: &mut Agenda<Entry>, due: Instant, (number, deed): Entry) {
        match deed {
            Deed::Open => {
                let phase = self.keep_alive.mul_f64(fastrand::f64());
                agenda.enter(due + phase, (number, Deed::KeepAlive));
                self.next_message(agenda, due, number);
            }
            Deed::KeepAlive => agenda.enter(due + self.keep_alive, (number, deed)),
            Deed::Message => self.next_message(agenda, due, number),
        }
    }

    fn next_message(&self, agenda: &mut Agenda<Entry>, due: Instant, number: u32) {
        if let Some(mean) = self.message {
            agenda.enter(due + random_pause(mean), (number, Deed::Message));
        }
    }
}
