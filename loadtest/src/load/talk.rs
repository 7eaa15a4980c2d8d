//! Connections on which things are said when their time has come, answered or not.
//!
//! Owns keeping them open, and holding each answer against what was said. When something is due is
//! the agenda's matter, and what follows on it the caller's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::agenda::Agenda;
use super::client::{Client, PATIENCE, hang_up, is, say};
use super::pace::Pace;
use super::record::{Question, Record, Trouble};
use super::wire::Wire;
use super::{Doors, pick};
use crate::scenario::Span;

/// Pause after a connection that failed.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// Two empty lines, as SIP keeps a connection alive (RFC 5626, section 3.5.1). A simulated node
/// answers each of them.
const KEEP_ALIVE: &[u8] = b"\r\n\r\n";
const KEEP_ALIVE_LINES: usize = 2;

/// What can be due on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    Open,
    Message,
    KeepAlive,
}

/// Which connection, and what.
pub(super) type Entry = (u32, Deed);

/// Connections by number.
#[derive(Debug)]
pub(super) struct Talk {
    lines: Vec<Rc<Line>>,
    message: Rc<[u8]>,
    record: Arc<Record>,
    tls: Option<Arc<ClientConfig>>,
    /// Pause after a connection that failed.
    pause: Duration,
}

#[derive(Debug)]
struct Line {
    number: u32,
    address: SocketAddr,
    stream: RefCell<Option<Rc<Wire>>>,
    unanswered: RefCell<VecDeque<Said>>,
    is_silent: Cell<bool>,
}

#[derive(Debug)]
enum Said {
    Message(Question),
    KeepAlive(Instant),
}

impl Said {
    const fn due(&self) -> Instant {
        match self {
            Self::Message(question) => question.due(),
            Self::KeepAlive(due) => *due,
        }
    }
}

impl Talk {
    /// `count` connections, none of them open yet, which rest before they are opened again; the record is settled once all stand.
    pub(super) fn new(
        count: u32,
        Doors { addresses, tls }: Doors<'_>,
        (message, rest): (Rc<[u8]>, Span),
        record: Arc<Record>,
    ) -> io::Result<Self> {
        let line = |number| {
            Ok(Rc::new(Line {
                number,
                address: pick(addresses, number)?,
                stream: RefCell::default(),
                unanswered: RefCell::default(),
                is_silent: Cell::new(false),
            }))
        };
        Ok(Self {
            lines: (0..count).map(line).collect::<io::Result<_>>()?,
            message,
            record,
            tls: tls.cloned(),
            pause: rest.0.max(PAUSE),
        })
    }

    /// Opens connection `number` and keeps it open from then on.
    pub(super) fn open(&self, number: u32) {
        let Some(line) = self.lines.get(number as usize).map(Rc::clone) else {
            return;
        };
        let (record, message) = (Arc::clone(&self.record), Rc::clone(&self.message));
        let tls = self.tls.clone();
        let (wanted, pause) = (self.lines.len() as u64, self.pause);
        spawn_local(async move {
            loop {
                let trouble = line.live((&message, tls.as_ref()), &record, wanted).await;
                line.stream.take();
                let trouble = if line.is_silent.take() {
                    Trouble::Silent
                } else {
                    trouble
                };
                // Whatever was said and not answered has failed.
                let said = line.unanswered.take();
                let lost = said.iter().filter(|said| matches!(said, Said::Message(_)));
                record.failed(trouble, (lost.count() as u64).max(1));
                sleep(pause).await;
            }
        });
    }

    /// Does what each entry of `agenda` says at its time; `follow` enters what comes after it.
    pub(super) async fn keep(
        self,
        mut agenda: Agenda<Entry>,
        mut follow: impl FnMut(&mut Agenda<Entry>, Instant, Entry),
    ) {
        let Ok(pace) = Pace::new() else {
            return self.record.trouble(Trouble::Ours);
        };
        while let Some(at) = agenda.next_at() {
            if pace.until(at).await.is_err() {
                return self.record.trouble(Trouble::Ours);
            }
            let now = Instant::now();
            while let Some((due, (number, deed))) = agenda.take_due(now) {
                match deed {
                    Deed::Open => self.open(number),
                    Deed::Message => {
                        self.record.begun(due, now);
                        self.say(number, deed, due);
                    }
                    Deed::KeepAlive => self.say(number, deed, due),
                }
                follow(&mut agenda, due, (number, deed));
            }
        }
    }

    fn say(&self, number: u32, deed: Deed, due: Instant) {
        let Some(line) = self.lines.get(number as usize) else {
            return;
        };
        let bytes = match deed {
            Deed::KeepAlive => KEEP_ALIVE,
            Deed::Message | Deed::Open => &*self.message,
        };
        let stream = line.stream.borrow();
        let said = stream.as_ref().map(|stream| {
            line.give_up_if_silent(stream, due);
            say(stream, bytes)
        });
        if matches!(said, Some(Ok(()))) {
            let mut unanswered = line.unanswered.borrow_mut();
            match deed {
                Deed::KeepAlive => {
                    let answers = 0..KEEP_ALIVE_LINES;
                    unanswered.extend(answers.map(|_| Said::KeepAlive(due)));
                }
                Deed::Message | Deed::Open => {
                    unanswered.push_back(Said::Message(self.record.ask(due)));
                }
            }
        } else if deed == Deed::Message {
            // Why the connection failed is told where it is read from.
            self.record.trouble(Trouble::Unsent);
        }
    }
}

impl Line {
    /// One connection from its beginning to its end.
    async fn live(
        &self,
        (message, tls): (&[u8], Option<&Arc<ClientConfig>>),
        record: &Arc<Record>,
        wanted: u64,
    ) -> Trouble {
        let door = (self.address, tls);
        let stands = Client::stand(door, self.number, message, record, wanted).await;
        let (mut client, _standing) = match stands {
            Ok(stands) => stands,
            Err(trouble) => return trouble,
        };
        *self.stream.borrow_mut() = Some(Rc::clone(client.stream()));
        let trouble = client
            .listen_on(|answer| self.answered(answer, message))
            .await;
        record.lost(client.node());
        trouble
    }

    fn answered(&self, answer: &[u8], message: &[u8]) -> Result<(), Trouble> {
        let said = self.unanswered.borrow_mut().pop_front();
        match said.ok_or(Trouble::WrongBytes)? {
            Said::KeepAlive(_) => is(matches!(answer, b"\n" | b"\r\n")),
            Said::Message(question) => {
                is(answer == message)?;
                question.done();
                Ok(())
            }
        }
    }

    fn give_up_if_silent(&self, stream: &Wire, now: Instant) {
        let oldest = self.unanswered.borrow().front().map(Said::due);
        if oldest.is_some_and(|due| now.saturating_duration_since(due) > PATIENCE) {
            self.is_silent.set(true);
            hang_up(stream);
        }
    }
}
