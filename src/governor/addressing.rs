//! What A/V Edges say of themselves to probes: where they send their clients, and whether they ask who those are.
//!
//! Owns what was last heard of each endpoint and the fault that stands against it. Nothing here is evidence of
//! health: a node with a wrong address is alive, and its clients are lost behind it.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::addr::NodeAddr;
use crate::probe::TurnAnswer;
use crate::relay::session::EndpointNumber;

/// What is wrong with an answer to an Allocate without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// ALTERNATE-SERVER is not the node's own configured address: over UDP its clients go there and leave us.
    Elsewhere(SocketAddr),
    /// It is refused by another code than 401.
    Code(u16),
    /// It is not refused.
    Open,
}

impl Fault {
    /// Judges what a node at `own` has said. An absent ALTERNATE-SERVER is none: `[MS-TURN]` only recommends it.
    #[must_use]
    pub fn of(answer: &TurnAnswer, own: NodeAddr) -> Option<Self> {
        match (answer.alternate, answer.code) {
            (Some(there), _) if NodeAddr::new(there) != own => Some(Self::Elsewhere(there)),
            (_, None) => Some(Self::Open),
            (_, Some(code)) => (!answer.is_expected()).then_some(Self::Code(code)),
        }
    }

    /// For the admin API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Elsewhere(_) => "elsewhere",
            Self::Code(_) => "other-code",
            Self::Open => "open",
        }
    }
}

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnView {
    /// What it last said, as far as that counts yet.
    pub answer: TurnAnswer,
    /// What stands against it.
    pub fault: Option<Fault>,
}

/// Everything that was heard.
#[derive(Debug, Default)]
pub(super) struct Addressing {
    heard: HashMap<EndpointNumber, Heard>,
}

#[derive(Debug)]
struct Heard {
    view: TurnView,
    /// Answers in a row that speak for another fault, or for none.
    doubts: u32,
}

/// Something that an administrator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// This is wrong from here on.
    Appears(Fault),
    /// This is right again.
    Ends(Fault),
}

impl Addressing {
    /// An endpoint at `own` has answered.
    pub(super) fn note(
        &mut self,
        endpoint: EndpointNumber,
        answer: TurnAnswer,
        own: NodeAddr,
    ) -> Option<Notice> {
        let fault = Fault::of(&answer, own);
        let heard = self.heard.entry(endpoint).or_insert(Heard {
            view: TurnView {
                answer,
                fault: None,
            },
            doubts: 0,
        });
        let before = heard.view.fault;
        if fault.map(Fault::label) == before.map(Fault::label) {
            // One that names another address each time is told of once.
            heard.view = TurnView { answer, fault };
            heard.doubts = 0;
            return None;
        }
        heard.doubts += 1;
        let is_certain = matches!(fault, Some(Fault::Elsewhere(_)));
        if !is_certain && heard.doubts < DOUBTS_MAX {
            return None;
        }
        heard.doubts = 0;
        heard.view = TurnView { answer, fault };
        fault
            .map(Notice::Appears)
            .or_else(|| before.map(Notice::Ends))
    }

    /// What is known of an endpoint.
    pub(super) fn of(&self, endpoint: EndpointNumber) -> Option<TurnView> {
        self.heard.get(&endpoint).map(|heard| heard.view)
    }

    /// Forgets endpoints that are gone.
    pub(super) fn keep(&mut self, endpoints: impl Fn(EndpointNumber) -> bool) {
        self.heard.retain(|number, _| endpoints(*number));
    }
}

/// So many answers in a row are no accident. A server that says where it is in one dialect only, or refuses the other,
/// looks different when a datagram is lost; one that sends clients to several in turn must not fill the log. Only a
/// wrong address is certain at once.
const DOUBTS_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "198.51.100.31:3478";
    const WRONG: &str = "10.0.0.31:3478";

    fn own() -> NodeAddr {
        NodeAddr::new(OWN.parse().unwrap())
    }

    fn says(code: u16, alternate: Option<&str>) -> TurnAnswer {
        TurnAnswer {
            code: Some(code),
            alternate: alternate.map(|address| address.parse().unwrap()),
        }
    }

    #[test]
    fn its_own_address_or_none_is_right_and_any_other_is_not() {
        let right = [says(401, None), says(401, Some(OWN))];
        let mapped = says(401, Some("[::ffff:198.51.100.31]:3478"));
        for answer in right.into_iter().chain([mapped]) {
            assert_eq!(Fault::of(&answer, own()), None);
        }
        for there in [WRONG, "198.51.100.31:443", "[2001:db8::31]:3478"] {
            let fault = Fault::of(&says(401, Some(there)), own());
            assert_eq!(fault, Some(Fault::Elsewhere(there.parse().unwrap())));
        }
        let redirected = Fault::of(&says(300, Some(WRONG)), own());
        assert!(matches!(redirected, Some(Fault::Elsewhere(_))));
        assert_eq!(Fault::of(&says(486, None), own()), Some(Fault::Code(486)));
        let open = TurnAnswer {
            code: None,
            alternate: None,
        };
        assert_eq!(Fault::of(&open, own()), Some(Fault::Open));
    }

    #[test]
    fn a_wrong_address_is_told_once_and_its_end_once() {
        let mut addressing = Addressing::default();
        let there = Fault::Elsewhere(WRONG.parse().unwrap());
        let mut told = Vec::new();
        for alternate in [OWN, WRONG, WRONG, OWN, OWN, WRONG, OWN, OWN, OWN, OWN] {
            told.extend(addressing.note(1, says(401, Some(alternate)), own()));
        }
        assert_eq!(told, [Notice::Appears(there), Notice::Ends(there)]);
        assert_eq!(addressing.of(1).unwrap().fault, None);
        assert_eq!(addressing.of(2), None);
        addressing.keep(|number| number != 1);
        assert_eq!(addressing.of(1), None);
    }

    #[test]
    fn a_lost_datagram_neither_ends_a_fault_nor_begins_one() {
        let mut addressing = Addressing::default();
        let there = Fault::Elsewhere(WRONG.parse().unwrap());
        let (wrong, silent) = (says(401, Some(WRONG)), says(401, None));
        assert_eq!(
            addressing.note(1, wrong, own()),
            Some(Notice::Appears(there))
        );
        for answer in [silent, silent, wrong, silent, silent] {
            assert_eq!(addressing.note(1, answer, own()), None);
            assert_eq!(addressing.of(1).unwrap().fault, Some(there));
        }
        assert_eq!(addressing.note(1, silent, own()), Some(Notice::Ends(there)));
        let refused = says(400, None);
        for answer in [refused, refused, silent, refused, refused] {
            assert_eq!(addressing.note(1, answer, own()), None);
        }
        let code = Fault::Code(400);
        assert_eq!(
            addressing.note(1, refused, own()),
            Some(Notice::Appears(code))
        );
        for answer in [silent, silent, refused, silent, silent] {
            assert_eq!(addressing.note(1, answer, own()), None);
        }
        assert_eq!(addressing.note(1, silent, own()), Some(Notice::Ends(code)));
    }

    #[test]
    fn one_that_names_several_addresses_in_turn_is_told_of_once_and_shown_as_it_is() {
        let mut addressing = Addressing::default();
        let mut told = 0;
        for round in 0..100 {
            let address = [WRONG, "10.0.0.32:3478", OWN][round % 3];
            told += usize::from(
                addressing
                    .note(1, says(401, Some(address)), own())
                    .is_some(),
            );
            let shown = addressing.of(1).unwrap();
            let there = shown.answer.alternate.unwrap();
            assert_eq!(
                shown.fault,
                Some(Fault::Elsewhere(there)),
                "one tells the other"
            );
            assert_ne!(NodeAddr::new(there), own());
        }
        assert_eq!(told, 1);
    }

    #[test]
    fn a_fault_of_another_kind_takes_the_place_of_the_first() {
        let mut addressing = Addressing::default();
        let refused = says(486, None);
        let told = [refused; 3].map(|answer| addressing.note(1, answer, own()));
        assert_eq!(told, [None, None, Some(Notice::Appears(Fault::Code(486)))]);
        let there = Fault::Elsewhere(WRONG.parse().unwrap());
        let notice = addressing.note(1, says(401, Some(WRONG)), own());
        assert_eq!(notice, Some(Notice::Appears(there)));
    }
}
