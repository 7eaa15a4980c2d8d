//! Events of names, as lines of the log.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::mem::{Discriminant, discriminant};

use crate::partner::resolved::{Event, Question};
use crate::telemetry::log::Limiter;

/// Writes them, and keeps names that change all the time from filling the log: each kind for itself, so that
/// many failures do not hide where a partner has moved.
#[derive(Debug, Default)]
pub(super) struct Telling {
    limiters: RefCell<HashMap<Discriminant<Event>, Limiter>>,
}

impl Telling {
    pub(super) fn tell_all(&self, events: Vec<Event>) {
        let mut limiters = self.limiters.borrow_mut();
        for event in events {
            let limiter = limiters.entry(discriminant(&event)).or_default();
            if let Some(suppressed) = limiter.allow() {
                tell(&event, suppressed);
            }
        }
    }
}

fn tell(event: &Event, suppressed: u64) {
    match event {
        Event::Resolved { name, addresses } => {
            let addresses = shown(addresses);
            tracing::info!(name = &**name, addresses, suppressed, "name-resolved");
        }
        Event::Drift {
            partner,
            name,
            old,
            new,
        } => {
            let (old, new) = (shown(old), shown(new));
            let (partner, name) = (&**partner, &**name);
            tracing::warn!(partner, name, old, new, suppressed, "partner-drift");
        }
        Event::Retargeted { domain, old, new } => {
            let (old, new) = (old.as_deref().unwrap_or("-"), new.as_deref().unwrap_or("-"));
            tracing::info!(domain = &**domain, old, new, suppressed, "srv-target");
        }
        Event::Violation {
            domain,
            target,
            why,
        } => {
            let (domain, target, why) = (&**domain, &**target, why.label());
            tracing::warn!(
                domain,
                target,
                why,
                suppressed,
                "srv-violation: an Access Edge refuses this target, and it is not used"
            );
        }
        Event::Ignored { name, address, why } => {
            let (name, why) = (&**name, why.label());
            tracing::warn!(name, %address, why, suppressed, "address-ignored");
        }
        Event::Failed {
            question,
            failure,
            is_known,
        } => {
            let (name, why) = (name_of(question), failure.label());
            let meanwhile = match is_known {
                true => "its last good answer is used",
                false => "it was never answered",
            };
            tracing::warn!(name, why, meanwhile, suppressed, "resolve-failed");
        }
        Event::Recovered { question } => {
            let name = name_of(question);
            tracing::info!(name, suppressed, "resolve-recovered");
        }
        Event::Contested { address, partners } => {
            let partners = shown(partners);
            tracing::warn!(
                %address,
                partners,
                suppressed,
                "address-contested: names of several partners have it, so it recognises none"
            );
        }
        Event::TooMany { left_out } => {
            tracing::warn!(
                left_out,
                suppressed,
                "names-left-out: there are too many names to ask"
            );
        }
    }
}

fn name_of(question: &Question) -> String {
    match question {
        Question::Service(domain) => format!("_sipfederationtls._tcp.{domain}"),
        Question::Addresses(name) => name.to_string(),
    }
}

/// A few of them.
fn shown<T: Display>(list: &[T]) -> String {
    let mut text = String::new();
    for (at, each) in list.iter().take(SHOWN_MAX).enumerate() {
        let _ = write!(text, "{}{each}", if at == 0 { "" } else { ", " });
    }
    if list.len() > SHOWN_MAX {
        let _ = write!(text, " and {} more", list.len() - SHOWN_MAX);
    }
    text
}

const SHOWN_MAX: usize = 8;
