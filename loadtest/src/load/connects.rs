//! Connections that are opened, used once and closed.
//!
//! The node is asked to close: who closes first keeps the port for a minute (TIME_WAIT), and there
//! it is the same port for all. What a client asks for at its end is that it hears the other one's.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustls::{ClientConfig, HandshakeKind};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::agenda::period;
use super::client::{Client, message, say};
use super::pace::Pace;
use super::pick;
use super::record::{Record, Trouble};
use super::talk::PAUSE;
use crate::scenario::{Connects, Handshakes, Termination};
use crate::tls::{Resumption, measured_client};

/// Clients come from so many addresses in turn: each has ports for tens of thousands, and nobody
/// who remembers clients has to remember more.
const SOURCES: u32 = 1_000;

pub(super) fn begin(
    plan: &Connects,
    addresses: &Rc<[SocketAddr]>,
    termination: Option<Termination>,
    record: Arc<Record>,
) -> io::Result<()> {
    let memory = match plan.handshakes {
        Handshakes::Full => Resumption::Off,
        Handshakes::Resumed => Resumption::On,
    };
    let callers = termination.map(|termination| Callers {
        termination,
        memory,
        waiting: RefCell::default(),
    });
    let message = message(plan.bytes);
    let visits = Rc::new(Visits {
        words: [&message, &b"!close\n"[..]].concat().into(),
        message,
        addresses: Rc::clone(addresses),
        callers,
        record,
        next: Cell::new(0),
        at_once: Cell::new(0),
    });
    if let Some(rate) = plan.rate {
        let pace = Pace::new()?;
        spawn_local(visits.come_in_time(pace, rate, plan.at_once));
    } else {
        for _ in 0..plan.at_once {
            spawn_local(Rc::clone(&visits).come_again());
        }
    }
    Ok(())
}

/// All connections of a load, one after the other.
#[derive(Debug)]
struct Visits {
    message: Rc<[u8]>,
    words: Box<[u8]>,
    addresses: Rc<[SocketAddr]>,
    callers: Option<Callers>,
    record: Arc<Record>,
    next: Cell<u32>,
    at_once: Cell<u32>,
}

impl Visits {
    /// Each connection is followed by the next.
    async fn come_again(self: Rc<Self>) {
        loop {
            if let Err(trouble) = self.visit(Instant::now()).await {
                self.record.trouble(trouble);
                sleep(PAUSE).await;
            }
        }
    }

    /// Connections come at an even rate; where `limit` are under way the next has to stay away.
    async fn come_in_time(self: Rc<Self>, pace: Pace, rate: f64, limit: u32) {
        let between = period(rate);
        let mut due = Instant::now() + between;
        while pace.until(due).await.is_ok() {
            let now = Instant::now();
            while due <= now {
                if self.at_once.get() < limit {
                    self.record.begun(due, now);
                    self.at_once.set(self.at_once.get() + 1);
                    spawn_local(Rc::clone(&self).come_once(due));
                } else {
                    self.record.trouble(Trouble::Unsent);
                }
                due += between;
            }
        }
        self.record.trouble(Trouble::Ours);
    }

    async fn come_once(self: Rc<Self>, due: Instant) {
        if let Err(trouble) = self.visit(due).await {
            self.record.trouble(trouble);
        }
        self.at_once.set(self.at_once.get() - 1);
    }

    async fn visit(&self, due: Instant) -> Result<(), Trouble> {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let address = pick(&self.addresses, number).map_err(|error| Trouble::of(&error))?;
        let question = self.record.ask(due);
        let caller = self.callers.as_ref().map(Callers::next).transpose()?;
        let tls = caller.as_ref().map(|caller| &caller.config);
        let mut client = Client::connect(address, number % SOURCES, tls).await?;
        if caller
            .as_ref()
            .is_some_and(|caller| client.handshake() != Some(caller.expected))
        {
            return Err(Trouble::Handshake);
        }
        say(client.stream(), &self.words)?;
        client.hear(&self.message).await?;
        question.heard();
        client.hear_the_end().await?;
        if let (Some(callers), Some(caller)) = (&self.callers, caller) {
            callers.come_again(caller);
        }
        self.record.count(1);
        self.record.settle();
        Ok(())
    }
}

/// Who calls a listener that ends TLS. Each is one client at a time, and remembers its own sessions: what
/// was handed to it on one visit is taken up again on the next.
#[derive(Debug)]
struct Callers {
    termination: Termination,
    memory: Resumption,
    waiting: RefCell<Vec<Caller>>,
}

#[derive(Debug)]
struct Caller {
    config: Arc<ClientConfig>,
    /// The handshake that it must have next.
    expected: HandshakeKind,
}

impl Callers {
    fn next(&self) -> Result<Caller, Trouble> {
        if let Some(caller) = self.waiting.borrow_mut().pop() {
            return Ok(caller);
        }
        let config = measured_client(self.termination, self.memory);
        Ok(Caller {
            config: config.map_err(|_| Trouble::Ours)?,
            expected: HandshakeKind::Full,
        })
    }

    fn come_again(&self, caller: Caller) {
        let expected = match self.memory {
            Resumption::Off => HandshakeKind::Full,
            Resumption::On => HandshakeKind::Resumed,
        };
        self.waiting
            .borrow_mut()
            .push(Caller { expected, ..caller });
    }
}
