//! The UDP flows of one socket: which client belongs to which flow, and when it has ended.
//!
//! Owns finding, ageing and making room; what a flow holds is the caller's. Everything takes constant time, whatever
//! comes: a flood must not make one datagram dearer. Invariants: a flow is found by its client until it is taken out;
//! a flow whose node has answered is never taken out to make room, so spoofed clients displace each other alone; the
//! two queues are in the order of last use, so whoever lapses first is in front.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::net::SocketAddr;
use std::time::Duration;

use crate::addr::mapped;
use crate::clock::Moment;

/// One place of a table, unique while the table lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId {
    slot: u32,
    generation: u32,
}

impl FlowId {
    /// As one number, for the kernel to keep.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    /// What [`to_bits`](Self::to_bits) has made.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "one half each")]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            slot: (bits >> 32) as u32,
            generation: bits as u32,
        }
    }
}

/// How long flows live without a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Of which the node has answered none.
    pub unanswered: Duration,
    /// The others; `None`: for ever.
    pub answered: Option<Duration>,
}

/// The flows of one socket.
#[derive(Debug)]
pub struct FlowTable<T> {
    by_client: HashMap<Client, u32, RandomState>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    unanswered: Queue,
    answered: Queue,
    lives: Lives,
}

/// What tells clients apart, in 18 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client {
    ip: [u8; 16],
    port: u16,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        Self {
            ip: mapped(address.ip()).octets(),
            port: address.port(),
        }
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    before: u32,
    behind: u32,
    used: Moment,
    flow: Option<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    client: Client,
    is_answered: bool,
    value: T,
}

/// A list through the slots, the longest unused in front.
#[derive(Debug)]
struct Queue {
    front: u32,
    back: u32,
}

impl Queue {
    const EMPTY: Self = Self {
        front: NOBODY,
        back: NOBODY,
    };
}

/// No slot.
const NOBODY: u32 = u32::MAX;

impl<T> FlowTable<T> {
    /// No flows yet.
    #[must_use]
    pub fn new(lives: Lives) -> Self {
        Self {
            by_client: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            unanswered: Queue::EMPTY,
            answered: Queue::EMPTY,
            lives,
        }
    }

    /// From here on flows live so long.
    pub fn set_lives(&mut self, lives: Lives) {
        self.lives = lives;
    }

    /// Flows in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_client.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// The flow of `client`.
    #[must_use]
    pub fn find(&self, client: SocketAddr) -> Option<FlowId> {
        let slot = *self.by_client.get(&Client::new(client))?;
        let generation = self.slots.get(slot as usize)?.generation;
        Some(FlowId { slot, generation })
    }

    /// What the flow holds, if it is still there.
    #[must_use]
    pub fn get(&self, id: FlowId) -> Option<&T> {
        Some(&self.entry(id)?.value)
    }

    /// As [`get`](Self::get), to change it.
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let entry = slot.flow.as_mut();
        entry
            .filter(|_| slot.generation == id.generation)
            .map(|entry| &mut entry.value)
    }

    /// Enters a flow of `client`, which must have none: whoever finds one does not enter another. What an earlier
    /// one held comes back.
    pub fn admit(&mut self, client: SocketAddr, value: T, now: Moment) -> (FlowId, Option<T>) {
        let client = Client::new(client);
        let displaced = self.by_client.get(&client).copied();
        let displaced = displaced.and_then(|slot| self.take(slot));
        let entry = Entry {
            client,
            is_answered: false,
            value,
        };
        let slot = self.place(entry, now);
        self.by_client.insert(client, slot);
        self.push(slot);
        let generation = self.slots.get(slot as usize).map_or(0, |of| of.generation);
        (FlowId { slot, generation }, displaced)
    }

    /// A datagram of the flow has passed.
    pub fn touch(&mut self, id: FlowId, now: Moment) {
        self.pass(id, now, false);
    }

    /// A datagram of the flow has come from its node.
    pub fn answer(&mut self, id: FlowId, now: Moment) {
        self.pass(id, now, true);
    }

    fn pass(&mut self, id: FlowId, now: Moment, answers: bool) {
        let Some(entry) = self.entry(id) else { return };
        let turns = answers && !entry.is_answered;
        let used = self.slots.get(id.slot as usize).map(|slot| slot.used);
        // Most datagrams come within the tick of the one before, and change nothing.
        if !turns && used.is_some_and(|used| used >= now) {
            return;
        }
        self.unlink(id.slot);
        if let Some(slot) = self.slots.get_mut(id.slot as usize) {
            slot.used = slot.used.max(now);
            if let Some(entry) = &mut slot.flow {
                entry.is_answered |= answers;
            }
        }
        self.push(id.slot);
    }

    /// Takes a flow out.
    pub fn remove(&mut self, id: FlowId) -> Option<T> {
        self.entry(id)?;
        self.take(id.slot)
    }

    /// Takes out the flow that has been unused for longest among those that no node has answered.
    pub fn make_room(&mut self) -> Option<T> {
        self.take(self.unanswered.front)
    }

    /// Takes out one flow that has lapsed, if any has.
    pub fn expire(&mut self, now: Moment) -> Option<T> {
        let lapsed = |queue: &Queue, life: Option<Duration>| {
            let used = self.slots.get(queue.front as usize)?.used;
            (used + life? <= now).then_some(queue.front)
        };
        let slot = lapsed(&self.unanswered, Some(self.lives.unanswered))
            .or_else(|| lapsed(&self.answered, self.lives.answered))?;
        self.take(slot)
    }

    /// When the next one lapses, if nothing passes.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Moment> {
        let next = |queue: &Queue, life: Option<Duration>| {
            Some(self.slots.get(queue.front as usize)?.used + life?)
        };
        let unanswered = next(&self.unanswered, Some(self.lives.unanswered));
        let answered = next(&self.answered, self.lives.answered);
        unanswered.into_iter().chain(answered).min()
    }

    /// Places that there are, taken or not.
    #[must_use]
    pub fn places(&self) -> usize {
        self.slots.len()
    }

    /// The flows that have the next `count` places from `first` on.
    #[must_use]
    pub fn ids(&self, first: usize, count: usize) -> Vec<FlowId> {
        let slots = self.slots.get(first..).unwrap_or_default();
        let first = u32::try_from(first).unwrap_or(NOBODY);
        let places = (first..).zip(slots).take(count);
        let taken = places.filter(|(_, slot)| slot.flow.is_some());
        let ids = taken.map(|(slot, of)| FlowId {
            slot,
            generation: of.generation,
        });
        ids.collect()
    }

    fn entry(&self, id: FlowId) -> Option<&Entry<T>> {
        let slot = self.slots.get(id.slot as usize)?;
        slot.flow
            .as_ref()
            .filter(|_| slot.generation == id.generation)
    }

    fn place(&mut self, entry: Entry<T>, now: Moment) -> u32 {
        let slot = Slot {
            generation: 0,
            before: NOBODY,
            behind: NOBODY,
            used: now,
            flow: Some(entry),
        };
        match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.slots.get_mut(number as usize) {
                    let generation = place.generation;
                    *place = Slot { generation, ..slot };
                }
                number
            }
            None => {
                // A socket with four thousand million flows would have failed long before.
                let number = u32::try_from(self.slots.len()).unwrap_or(NOBODY);
                self.slots.push(slot);
                number
            }
        }
    }

    fn take(&mut self, number: u32) -> Option<T> {
        self.slots.get(number as usize)?.flow.as_ref()?;
        self.unlink(number);
        let slot = self.slots.get_mut(number as usize)?;
        let entry = slot.flow.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.by_client.remove(&entry.client);
        self.free.push(number);
        Some(entry.value)
    }

    fn queue_of(&mut self, number: u32) -> Option<&mut Queue> {
        let entry = self.slots.get(number as usize)?.flow.as_ref()?;
        Some(match entry.is_answered {
            true => &mut self.answered,
            false => &mut self.unanswered,
        })
    }

    fn push(&mut self, number: u32) {
        let Some(queue) = self.queue_of(number) else {
            return;
        };
        let last = std::mem::replace(&mut queue.back, number);
        if last == NOBODY {
            queue.front = number;
        }
        if let Some(slot) = self.slots.get_mut(number as usize) {
            (slot.before, slot.behind) = (last, NOBODY);
        }
        if let Some(last) = self.slots.get_mut(last as usize) {
            last.behind = number;
        }
    }

    fn unlink(&mut self, number: u32) {
        let Some(slot) = self.slots.get(number as usize) else {
            return;
        };
        let (before, behind) = (slot.before, slot.behind);
        let Some(queue) = self.queue_of(number) else {
            return;
        };
        if queue.front == number {
            queue.front = behind;
        }
        if queue.back == number {
            queue.back = before;
        }
        if let Some(before) = self.slots.get_mut(before as usize) {
            before.behind = behind;
        }
        if let Some(behind) = self.slots.get_mut(behind as usize) {
            behind.before = before;
        }
    }
}

#[cfg(test)]
mod tests;
