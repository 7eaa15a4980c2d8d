//! A pin changes whom it is about, when an address turns out to be a partner, or a partner is called otherwise.

use std::sync::Arc;

use super::{NewPin, Pin, PinKey, PinTable, Pinned};
use crate::clock::Moment;

impl PinTable {
    /// Gives `to` the pin of `from`, with its node and all that is said of it, unless it has one of its own.
    /// Sessions that live under `from` keep it; that of an address is forgotten where it has no more than one.
    /// Whether `to` has a new pin.
    pub fn rekey(&self, from: &PinKey, to: &PinKey, now: Moment) -> bool {
        let is_new = self.lend(from, to, now);
        let sessions = self.inspect(from, now).map_or(0, |pin| pin.sessions);
        if is_new && sessions <= 1 && !from.subject.is_partner() {
            self.forget(from);
        }
        is_new
    }

    /// As [`PinTable::rekey`], but `from` keeps its pin, too, until it lapses: who said so may be wrong, and
    /// then whoever is at the address is to find its node again.
    pub fn lend(&self, from: &PinKey, to: &PinKey, now: Moment) -> bool {
        let Some(pin) = self.inspect(from, now) else {
            return false;
        };
        let new = NewPin {
            node: Arc::clone(&pin.node),
            by: pin.by,
            revision: pin.revision,
            ttl: pin.ttl,
            looks_legacy: false,
        };
        let is_new = self.pin(to, new, now) == Pinned::New;
        if is_new {
            self.hand_down(&pin, to);
        }
        is_new
    }

    /// What a pin said before goes on being said of it under its new key.
    fn hand_down(&self, pin: &Pin, to: &PinKey) {
        let mut shard = self.shard(to);
        if let Some(entry) = shard.entry_mut(to)
            && entry.pin.node == pin.node
        {
            entry.pin.since = pin.since;
            entry.pin.last_used = pin.last_used;
            entry.pin.order.clone_from(&pin.order);
            entry.pin.home.clone_from(&pin.home);
            shard.note(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pool::pins::{PinScope, PinnedBy};
    use crate::pool::placement::Subject;

    fn key(subject: Subject) -> PinKey {
        let scope = PinScope {
            pool: "edge".into(),
            affinity: "federation".into(),
        };
        PinKey {
            scope: Arc::new(scope),
            subject,
        }
    }

    fn address() -> PinKey {
        let prefix = crate::config::model::PinPrefix { v4: 32, v6: 64 };
        key(Subject::of_client([192, 0, 2, 1].into(), prefix))
    }

    fn new(node: &str) -> NewPin {
        NewPin {
            node: node.into(),
            by: PinnedBy::Placed,
            revision: 1,
            ttl: Duration::from_secs(60),
            looks_legacy: false,
        }
    }

    #[test]
    fn a_partner_takes_the_node_of_its_address_unless_it_has_one() {
        let (pins, now) = (PinTable::new(10), Moment::START);
        let partner = key(Subject::Partner("fabrikam".into()));
        assert!(
            !pins.rekey(&address(), &partner, now),
            "there is nothing to take"
        );
        let _ = pins.pin(&address(), new("edge2"), now);
        let lease = pins.lease(&address(), now).unwrap();
        assert!(pins.rekey(&address(), &partner, now));
        assert_eq!(pins.look_up(&partner, now).as_deref(), Some("edge2"));
        assert_eq!(pins.look_up(&address(), now), None);
        pins.release(lease, now);
        assert_eq!(pins.len(), 1);

        let _ = pins.pin(&address(), new("edge1"), now);
        assert!(!pins.rekey(&address(), &partner, now));
        assert_eq!(pins.look_up(&partner, now).as_deref(), Some("edge2"));
        assert_eq!(pins.look_up(&address(), now).as_deref(), Some("edge1"));
    }

    #[test]
    fn others_that_live_under_the_address_keep_their_pin() {
        let (pins, now) = (PinTable::new(10), Moment::START);
        let _ = pins.pin(&address(), new("edge2"), now);
        let leases = [pins.lease(&address(), now), pins.lease(&address(), now)];
        assert!(pins.rekey(&address(), &key(Subject::Partner("fabrikam".into())), now));
        assert!(pins.look_up(&address(), now).is_some());
        for lease in leases.into_iter().flatten() {
            pins.release(lease, now);
        }
    }

    #[test]
    fn an_address_that_was_lent_to_the_wrong_partner_has_its_node_for_the_right_one() {
        let (pins, now) = (PinTable::new(10), Moment::START);
        let (wrong, right) = ("fabrikam", "litware");
        let (wrong, right) = [wrong, right]
            .map(|name| key(Subject::Partner(name.into())))
            .into();
        let _ = pins.pin(&address(), new("edge2"), now);
        assert!(pins.lend(&address(), &wrong, now));
        assert!(pins.lend(&address(), &right, now));
        assert_eq!(pins.look_up(&right, now).as_deref(), Some("edge2"));
        let later = now + Duration::from_secs(60);
        assert_eq!(pins.look_up(&address(), later), None, "it lapses as ever");
        assert!(pins.look_up(&wrong, later).is_some());
    }
}
