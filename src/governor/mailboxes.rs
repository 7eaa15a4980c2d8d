//! The mailboxes of the workers.
//!
//! Never waits. An order that must arrive and finds a mailbox full is kept, in its turn, until the worker
//! takes it: a cut must not be lost because a worker was busy. A question is not kept: whoever asks goes on
//! without the answer. Invariants: what is kept arrives in the order in which it was given; of interrupts
//! that say the same one is kept, so that there are never more than endpoints and ways to interrupt them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::worker::Order;

/// All workers, as the governor reaches them.
#[derive(Debug)]
pub(super) struct Mailboxes {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    mailbox: mpsc::Sender<Order>,
    owed: RefCell<VecDeque<Order>>,
    /// Its mailbox was full when it was last told something; said once.
    is_stuck: Cell<bool>,
}

impl Mailboxes {
    pub(super) fn new(mailboxes: Vec<mpsc::Sender<Order>>) -> Self {
        let worker = |mailbox| Worker {
            mailbox,
            owed: RefCell::default(),
            is_stuck: Cell::new(false),
        };
        Self {
            workers: mailboxes.into_iter().map(worker).collect(),
        }
    }

    /// How many workers there are.
    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Tells every worker; whoever takes nothing now takes it later.
    pub(super) fn give(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            worker.owe(order());
            worker.settle();
        }
    }

    /// Asks every worker; one that takes nothing now does not answer.
    pub(super) fn ask(&self, question: impl Fn() -> Order) {
        for worker in &self.workers {
            let _ = worker.mailbox.try_send(question());
        }
    }

    /// Tries again what was not taken. To be called at each look around.
    pub(super) fn settle(&self) {
        for worker in &self.workers {
            worker.settle();
        }
    }
}

impl Worker {
    fn owe(&self, order: Order) {
        let mut owed = self.owed.borrow_mut();
        if !owed.iter().any(|known| says_the_same(known, &order)) {
            owed.push_back(order);
        }
    }

    fn settle(&self) {
        let mut owed = self.owed.borrow_mut();
        while let Some(order) = owed.pop_front() {
            match self.mailbox.try_send(order) {
                Ok(()) => {}
                Err(TrySendError::Full(order)) => {
                    owed.push_front(order);
                    if !self.is_stuck.replace(true) {
                        tracing::error!("a worker takes no orders");
                    }
                    return;
                }
                // It has ended, and its sessions with it.
                Err(TrySendError::Closed(_)) => owed.clear(),
            }
        }
        self.is_stuck.set(false);
    }
}

fn says_the_same(one: &Order, other: &Order) -> bool {
    match (one, other) {
        (
            Order::Interrupt { of, with },
            Order::Interrupt {
                of: whose,
                with: how,
            },
        ) => of == whose && with == how,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::session::Interrupt;
    use crate::worker::Whose;

    fn interrupt(endpoint: u32) -> Order {
        Order::Interrupt {
            of: Whose::Endpoint(endpoint),
            with: Interrupt::NodeDown,
        }
    }

    fn endpoints(mailbox: &mut mpsc::Receiver<Order>) -> Vec<u32> {
        let mut endpoints = Vec::new();
        while let Ok(order) = mailbox.try_recv() {
            if let Order::Interrupt {
                of: Whose::Endpoint(endpoint),
                ..
            } = order
            {
                endpoints.push(endpoint);
            }
        }
        endpoints
    }

    #[test]
    fn a_cut_that_finds_a_mailbox_full_arrives_once_there_is_room_in_its_turn_and_once() {
        let (busy, mut of_busy) = mpsc::channel(2);
        let (idle, mut of_idle) = mpsc::channel(16);
        let mailboxes = Mailboxes::new(vec![busy, idle]);
        for endpoint in [1, 2, 3, 4, 3, 4] {
            mailboxes.give(|| interrupt(endpoint));
        }
        mailboxes.ask(|| Order::Refresh);
        assert_eq!(endpoints(&mut of_idle), [1, 2, 3, 4, 3, 4]);
        assert_eq!(endpoints(&mut of_busy), [1, 2]);
        // What comes now stands behind what is owed.
        mailboxes.give(|| interrupt(5));
        assert_eq!(endpoints(&mut of_busy), [3, 4]);
        mailboxes.settle();
        assert_eq!(endpoints(&mut of_busy), [5]);
    }

    #[test]
    fn a_worker_that_has_ended_is_owed_nothing() {
        let (mailbox, inbox) = mpsc::channel(1);
        let mailboxes = Mailboxes::new(vec![mailbox]);
        mailboxes.give(|| interrupt(1));
        mailboxes.give(|| interrupt(2));
        drop(inbox);
        mailboxes.settle();
        assert!(mailboxes.workers[0].owed.borrow().is_empty());
    }
}
