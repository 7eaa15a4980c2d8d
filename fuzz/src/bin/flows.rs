//! The table of UDP flows: whatever comes in whatever order, it does what a plain list does.
#![cfg_attr(fuzzing, no_main)]

use std::net::SocketAddr;
use std::time::Duration;

use pinfold::clock::Moment;
use pinfold::pool::flows::{FlowId, FlowTable, Lives};

/// Two bytes are a step: what, and to whom or how much.
pub(crate) fn run(data: &[u8]) {
    let mut both = Both::new();
    for step in data.chunks_exact(2).take(STEPS_MAX) {
        let [what, which] = step else { continue };
        both.step(*what, *which);
        both.expire();
        both.compare();
    }
}

/// A table, and the list that it is held against.
struct Both {
    table: FlowTable<u64>,
    list: Vec<Naive>,
    /// Names of flows that have ended.
    ended: Vec<FlowId>,
    lives: Lives,
    now: Moment,
    /// Grows with every step, so that it tells which of two came first.
    step: u64,
}

/// One flow as anybody would write it down.
struct Naive {
    id: FlowId,
    client: SocketAddr,
    used: Moment,
    /// The step that has put it behind all others.
    order: u64,
    is_answered: bool,
    value: u64,
}

impl Both {
    fn new() -> Self {
        let lives = Lives {
            unanswered: Duration::from_secs(10),
            answered: Some(Duration::from_secs(60)),
        };
        Self {
            table: FlowTable::new(lives),
            list: Vec::new(),
            ended: Vec::new(),
            lives,
            now: Moment::START,
            step: 0,
        }
    }

    fn step(&mut self, what: u8, which: u8) {
        self.step += 1;
        let seconds = Duration::from_secs(u64::from(which));
        match what % 9 {
            0 | 1 => self.admit(client(which)),
            2 => self.pass(client(which), false),
            3 => self.pass(client(which), true),
            4 => self.remove(client(which)),
            5 => self.make_room(),
            6 => self.now = self.now + seconds / 8,
            7 => self.live(Lives {
                unanswered: seconds,
                ..self.lives
            }),
            _ => self.live(Lives {
                // Some listeners let flows live for ever.
                answered: (which < 250).then_some(seconds),
                ..self.lives
            }),
        }
    }

    fn live(&mut self, lives: Lives) {
        self.lives = lives;
        self.table.set_lives(lives);
    }

    fn admit(&mut self, client: SocketAddr) {
        let earlier = self.list.iter().position(|flow| flow.client == client);
        let earlier = earlier.map(|place| self.end(place));
        let (id, displaced) = self.table.admit(client, self.step, self.now);
        assert_eq!(displaced, earlier);
        assert!(!self.ended.contains(&id), "a name is given once");
        self.list.push(Naive {
            id,
            client,
            used: self.now,
            order: self.step,
            is_answered: false,
            value: self.step,
        });
    }

    /// A datagram of a client's flow, or of one that has ended.
    fn pass(&mut self, client: SocketAddr, answers: bool) {
        let (now, step) = (self.now, self.step);
        let found = self.list.iter_mut().find(|flow| flow.client == client);
        let id = match found {
            Some(flow) => {
                if flow.used < now || (answers && !flow.is_answered) {
                    flow.order = step;
                }
                flow.used = now;
                flow.is_answered |= answers;
                Some(flow.id)
            }
            None => self.ended.last().copied(),
        };
        match id {
            Some(id) if answers => self.table.answer(id, now),
            Some(id) => self.table.touch(id, now),
            None => {}
        }
    }

    fn remove(&mut self, client: SocketAddr) {
        let place = self.list.iter().position(|flow| flow.client == client);
        let Some(place) = place else { return };
        let id = self.list[place].id;
        assert_eq!(self.table.remove(id), Some(self.end(place)));
        assert_eq!(self.table.remove(id), None);
    }

    fn make_room(&mut self) {
        let unanswered = self.list.iter().filter(|flow| !flow.is_answered);
        let oldest = unanswered.map(|flow| flow.order).min();
        let place = self
            .list
            .iter()
            .position(|flow| Some(flow.order) == oldest && !flow.is_answered);
        let value = place.map(|place| self.end(place));
        assert_eq!(self.table.make_room(), value);
    }

    fn expire(&mut self) {
        let lapses: Vec<_> = self.list.iter().map(|flow| self.lapse(flow)).collect();
        assert_eq!(
            self.table.next_expiry(),
            lapses.iter().flatten().min().copied()
        );
        let mut gone: Vec<_> = std::iter::from_fn(|| self.table.expire(self.now)).collect();
        gone.sort_unstable();
        let mut lapsed = Vec::new();
        for place in (0..lapses.len()).rev() {
            if lapses[place].is_some_and(|lapse| lapse <= self.now) {
                lapsed.push(self.end(place));
            }
        }
        lapsed.sort_unstable();
        assert_eq!(gone, lapsed);
    }

    fn lapse(&self, flow: &Naive) -> Option<Moment> {
        let life = match flow.is_answered {
            true => self.lives.answered?,
            false => self.lives.unanswered,
        };
        Some(flow.used + life)
    }

    /// Takes a flow off the list.
    fn end(&mut self, place: usize) -> u64 {
        let flow = self.list.remove(place);
        self.ended.push(flow.id);
        flow.value
    }

    fn compare(&mut self) {
        assert_eq!(self.table.len(), self.list.len());
        assert_eq!(self.table.is_empty(), self.list.is_empty());
        for flow in &self.list {
            assert_eq!(self.table.find(flow.client), Some(flow.id));
            assert_eq!(self.table.get(flow.id), Some(&flow.value));
            assert_eq!(FlowId::from_bits(flow.id.to_bits()), flow.id);
        }
        // In steps, which must not overlap, nor leave anything out.
        let places = (0..self.table.places()).step_by(3);
        let ids = places.flat_map(|place| self.table.ids(place, 3));
        let listed = ids.map(|id| *self.table.get(id).expect("a flow that is listed"));
        let mut listed: Vec<_> = listed.collect();
        listed.sort_unstable();
        let mut known: Vec<_> = self.list.iter().map(|flow| flow.value).collect();
        known.sort_unstable();
        assert_eq!(listed, known);
        for id in &self.ended {
            assert_eq!(self.table.get(*id), None);
            assert_eq!(self.table.get_mut(*id), None);
        }
    }
}

/// A few, of either version of IP, which also share addresses and ports.
fn client(which: u8) -> SocketAddr {
    let (ip, port) = (which >> 1 & 3, 1000 + u16::from(which >> 3 & 3));
    match which % 2 {
        0 => ([192, 0, 2, ip], port).into(),
        _ => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(ip)], port).into(),
    }
}

const STEPS_MAX: usize = 256;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
