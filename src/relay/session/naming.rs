//! Whose the sessions are, looked at anew.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Interrupt, Sessions};
use crate::partner::table::Known;

impl Sessions {
    /// Looks at those of `most` places in the list, from the place `from` on, and wakes each of which `who` knows, by
    /// its client's address and by whose it was, that it is another's; the place to go on from, if there are more.
    /// Those that no node has answered yet look themselves when one does.
    pub fn name(
        &self,
        from: usize,
        most: usize,
        who: impl Fn(IpAddr, Option<&Known>) -> Option<Arc<Known>>,
    ) -> Option<usize> {
        let list = self.list.borrow();
        let to = from.saturating_add(most.max(1));
        let slots = list.slots.iter().take(to).skip(from);
        let sessions = slots.filter_map(|slot| slot.session.as_ref());
        for session in sessions.filter(|session| session.is_answered.get()) {
            let from = session.from.get().to_canonical();
            let known = session
                .owner
                .look(|was| who(from, was.map(|known| &**known)));
            if let Some(known) = known
                && session.mark_partner(&known)
            {
                session.interrupt(Interrupt::Named);
            }
        }
        (to < list.slots.len()).then_some(to)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::clock::Moment;
    use crate::config::model::PinPrefix;
    use crate::relay::session::Session;
    use crate::relay::session::tests::known;

    #[test]
    fn sessions_that_are_a_partners_by_now_are_told_a_few_places_at_a_time_and_once() {
        let sessions = Rc::new(Sessions::new(Moment::START));
        let prefix = PinPrefix { v4: 32, v6: 64 };
        let seats: Vec<_> = (0..10_u8)
            .map(|number| {
                let seat = sessions.admit(1);
                seat.come_from([192, 0, 2, number].into(), prefix);
                if number != 3 {
                    seat.mark_heard();
                }
                seat
            })
            .collect();
        let (fabrikam, contoso) = (known("fabrikam"), known("contoso"));
        seats[4].mark_partner(&contoso);
        let ours = |ip: IpAddr, was: Option<&Known>| {
            let IpAddr::V4(ip) = ip else { return None };
            let is_ours = was.is_none() && (2..=8).contains(&ip.octets()[3]);
            is_ours.then(|| Arc::clone(&fabrikam))
        };
        assert_eq!(sessions.name(0, 4, ours), Some(4));
        let named = || -> Vec<_> {
            let named = |seat: &&super::super::Seat| seat.interrupt.get() == Some(Interrupt::Named);
            let all = seats.iter().enumerate();
            let named = all.filter(|(_, seat)| named(seat));
            named.map(|(number, _)| number).collect()
        };
        assert_eq!(named(), [2], "no node has answered the fourth yet");
        assert_eq!(sessions.name(4, 4, ours), Some(8));
        assert_eq!(sessions.name(8, 4, ours), None);
        assert_eq!(named(), [2, 5, 6, 7, 8], "and nobody is recognised twice");
        assert!(seats[4].is_of("contoso") && seats[8].is_of("fabrikam"));
        for seat in &seats {
            seat.interrupt.take();
        }
        assert_eq!(sessions.name(0, 100, ours), None);
        assert!(named().is_empty());
        assert_eq!(sessions.name(100, 100, ours), None);
        // Whoever has turned out to be another is told once, too.
        let litware = known("litware");
        let renamed = |_: IpAddr, was: Option<&Known>| {
            let is_it = was.is_some_and(|was| *was.name == *"contoso");
            is_it.then(|| Arc::clone(&litware))
        };
        assert_eq!(sessions.name(0, 100, renamed), None);
        assert_eq!(named(), [4]);
        assert!(seats[4].is_of("litware"));
    }

    #[test]
    fn to_be_named_ends_nothing_and_hides_no_cut() {
        let sessions = Rc::new(Sessions::new(Moment::START));
        let seat = sessions.admit(1);
        seat.bind(7);
        seat.interrupt(Interrupt::Named);
        let thinned = sessions.thin(Interrupt::Drained, 1, |_| true);
        assert_eq!(thinned.sessions, 1);
        seat.interrupt(Interrupt::Named);
        assert_eq!(seat.interrupt.get(), Some(Interrupt::Drained));
    }

    #[test]
    fn a_session_in_the_list_is_small() {
        // With the two counts of an `Rc`, what the allocator has in store: 112.
        assert!(size_of::<Session>() <= 96, "{}", size_of::<Session>());
    }
}
