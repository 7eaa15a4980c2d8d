//! A good answer, as it lasts over a restart.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::partner::resolved::{Heard, Question, Record};

/// What was answered, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(default)]
    records: Vec<Record>,
    ttl_s: u64,
    resolved_at: Timestamp,
}

impl Kept {
    /// `heard`, just now.
    pub(super) fn of(heard: &Heard) -> Self {
        let (mut addresses, mut records, mut ttl) = (Vec::new(), Vec::new(), Duration::ZERO);
        match heard {
            Heard::Addresses { found, ttl: of, .. } => {
                addresses.clone_from(found);
                ttl = *of;
            }
            Heard::Service { found, ttl: of } => {
                records.clone_from(found);
                ttl = *of;
            }
            Heard::Failed(_) => {}
        }
        Self {
            addresses,
            records,
            ttl_s: ttl.as_secs(),
            resolved_at: Timestamp::now(),
        }
    }

    /// What was heard, and how long ago; `None` once it is too old.
    pub(super) fn take_up(self) -> Option<(Heard, Duration)> {
        let age = Timestamp::now().duration_since(self.resolved_at);
        // A clock that was put back does not make an answer worthless.
        let age = Duration::try_from(age).unwrap_or_default();
        let ttl = Duration::from_secs(self.ttl_s);
        let heard = if self.records.is_empty() {
            let (found, unheard) = (self.addresses, None);
            Heard::Addresses {
                found,
                unheard,
                ttl,
            }
        } else {
            let found = self.records;
            Heard::Service { found, ttl }
        };
        (age <= LIFE).then_some((heard, age))
    }
}

/// Under which name the answer to `question` is kept.
pub(super) fn key(question: &Question) -> String {
    match question {
        Question::Service(domain) => format!("{SERVICE}{domain}"),
        Question::Addresses(name) => format!("{ADDRESSES}{name}"),
    }
}

/// The question whose answer is kept under `key`.
pub(super) fn question(key: &str) -> Option<Question> {
    let service = key.strip_prefix(SERVICE);
    let service = service.map(|domain| Question::Service(Arc::from(domain)));
    let addresses = || key.strip_prefix(ADDRESSES).map(Arc::from);
    service.or_else(|| addresses().map(Question::Addresses))
}

const SERVICE: &str = "srv ";
const ADDRESSES: &str = "a ";
/// What is older says nothing about today.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back_with_its_age_and_is_worthless_after_a_week() {
        let heard = Heard::Addresses {
            found: vec![[192, 0, 2, 1].into()],
            unheard: None,
            ttl: Duration::from_secs(60),
        };
        let fresh = Kept::of(&heard);
        let text = serde_json::to_string(&fresh).unwrap();
        let mut kept: Kept = serde_json::from_str(&text).unwrap();
        let (back, age) = kept.clone().take_up().unwrap();
        assert_eq!(back, heard);
        assert!(age < Duration::from_secs(3600));
        kept.resolved_at = Timestamp::now() - jiff::SignedDuration::from_hours(7 * 24 + 1);
        assert_eq!(kept.clone().take_up(), None);
        kept.resolved_at = Timestamp::now() + jiff::SignedDuration::from_hours(5);
        assert!(kept.take_up().is_some(), "the clock was put back");
    }

    #[test]
    fn keys_name_their_question() {
        for asked in [
            Question::Service("fabrikam.com".into()),
            Question::Addresses("sip.fabrikam.com".into()),
        ] {
            assert_eq!(question(&key(&asked)), Some(asked));
        }
        assert_eq!(question("what"), None);
    }
}
