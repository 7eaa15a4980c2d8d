//! How the sessions of one partner went lately, on each listener with each node.
//!
//! Bounded, and by the place: however busy one listener is, what another has shown is not forgotten for it.

use std::sync::Arc;
use std::time::Duration;

use super::Fared;
use crate::clock::Moment;

/// The last of one partner's sessions, summed up.
#[derive(Clone, Debug, Default)]
pub struct Record {
    places: Vec<Place>,
}

#[derive(Clone, Debug)]
struct Place {
    listener: Arc<str>,
    node: Arc<str>,
    /// Since it was last served.
    failures: u32,
    failed: Option<Moment>,
    served: Option<Moment>,
}

impl Record {
    /// What is older says little about now.
    pub const LATELY: Duration = Duration::from_secs(3600);
    /// More than a partner comes by; reloads for ever might make many.
    pub const PLACES_MAX: usize = 32;

    /// Notes how a session went that ended at `at`. Sessions may be told a little out of order: whether the
    /// partner fails is right all the same, and how often about so.
    pub fn note(&mut self, listener: &Arc<str>, node: &Arc<str>, is_good: bool, at: Moment) {
        let known = self.places.iter_mut();
        let mut known =
            known.filter(|place| *place.listener == **listener && *place.node == **node);
        match known.next() {
            Some(place) => place.note(is_good, at),
            None => {
                self.make_room();
                let mut place = Place {
                    listener: Arc::clone(listener),
                    node: Arc::clone(node),
                    failures: 0,
                    failed: None,
                    served: None,
                };
                place.note(is_good, at);
                self.places.push(place);
            }
        }
    }

    fn make_room(&mut self) {
        if self.places.len() < Self::PLACES_MAX {
            return;
        }
        let places = self.places.iter().enumerate();
        let quietest = places.min_by_key(|(_, place)| place.heard());
        if let Some((position, _)) = quietest {
            self.places.swap_remove(position);
        }
    }

    /// How the partner fares, where something was seen of it within [`LATELY`](Self::LATELY).
    pub fn fared(&self, now: Moment) -> impl Iterator<Item = Fared> {
        let is_lately = move |at: Moment| now.since(at) < Self::LATELY;
        let lately = self.places.iter();
        let lately = lately.filter(move |place| place.heard().is_some_and(is_lately));
        lately.map(|place| Fared {
            listener: Arc::clone(&place.listener),
            node: Arc::clone(&place.node),
            failures: place.failures,
        })
    }
}

impl Place {
    /// Of one moment the good counts last: it is not known to have failed since.
    fn note(&mut self, is_good: bool, at: Moment) {
        if is_good {
            self.served = self.served.max(Some(at));
            if self.failed <= Some(at) {
                self.failures = 0;
            }
        } else if self.served < Some(at) {
            let is_old = |failed| at.since(failed) >= Record::LATELY;
            if self.failed.is_some_and(is_old) {
                self.failures = 0;
            }
            self.failures = self.failures.saturating_add(1);
            self.failed = self.failed.max(Some(at));
        }
    }

    fn heard(&self) -> Option<Moment> {
        self.failed.max(self.served)
    }
}
