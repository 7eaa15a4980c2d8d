//! Whether nodes can be spoken to in TLS, as whole handshakes of probes have shown.
//!
//! Owns what was last found of each endpoint. Nothing here is evidence of health: a node whose certificate nobody
//! believes is alive, and so is one that has no cipher in common with us.

use std::collections::HashMap;
use std::sync::Arc;

use crate::relay::session::EndpointNumber;
use crate::tls::Finding;

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    found: HashMap<EndpointNumber, Arc<Finding>>,
}

/// Something that an administrator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// This is wrong from here on.
    Appears(Arc<Finding>),
    /// Handshakes succeed again.
    Ends,
}

impl Handshakes {
    /// A whole handshake with an endpoint has ended so.
    pub(super) fn note(
        &mut self,
        endpoint: EndpointNumber,
        handshake: Result<(), Finding>,
    ) -> Option<Notice> {
        let Err(finding) = handshake else {
            return self.found.remove(&endpoint).map(|_| Notice::Ends);
        };
        let known = self.found.get(&endpoint);
        // One that words it otherwise each time is told of once.
        if known.is_some_and(|known| known.label() == finding.label()) {
            return None;
        }
        let finding = Arc::new(finding);
        self.found.insert(endpoint, Arc::clone(&finding));
        Some(Notice::Appears(finding))
    }

    /// What stands against an endpoint.
    pub(super) fn of(&self, endpoint: EndpointNumber) -> Option<&Arc<Finding>> {
        self.found.get(&endpoint)
    }

    /// Forgets endpoints that are gone.
    pub(super) fn keep(&mut self, endpoints: impl Fn(EndpointNumber) -> bool) {
        self.found.retain(|number, _| endpoints(*number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_fault_is_told_once_and_its_end_once() {
        let mut handshakes = Handshakes::default();
        let untrusted = |why: &str| Err(Finding::Untrusted(why.into()));
        let appears = |finding| Some(Notice::Appears(Arc::new(finding)));
        assert_eq!(handshakes.note(1, Ok(())), None);
        let told = handshakes.note(1, untrusted("expired"));
        assert_eq!(told, appears(Finding::Untrusted("expired".into())));
        assert_eq!(
            handshakes.note(1, untrusted("expired since a second")),
            None
        );
        let told = handshakes.note(1, Err(Finding::NothingInCommon));
        assert_eq!(told, appears(Finding::NothingInCommon));
        assert_eq!(handshakes.note(1, Ok(())), Some(Notice::Ends));
        assert_eq!(handshakes.note(1, Ok(())), None);
        let _ = handshakes.note(2, untrusted("no"));
        handshakes.keep(|number| number == 1);
        assert!(handshakes.of(2).is_none());
    }
}
