//! Messages on kept connections.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::sleep;

use super::agenda::{Agenda, period};
use super::client::{Client, message};
use super::pace::Pace;
use super::record::{Record, Trouble};
use super::{pick, source};
use crate::partner::connect;
use crate::scenario::RoundTrips;

/// Pause after a connection that failed.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn begin(
    plan: &RoundTrips,
    addresses: &Rc<[SocketAddr]>,
    record: Arc<Record>,
) -> io::Result<()> {
    let message: Rc<[u8]> = message(plan.bytes).into();
    let Some(rate) = plan.rate else {
        for number in 0..plan.connections {
            let address = pick(addresses, number)?;
            let (record, message) = (Arc::clone(&record), Rc::clone(&message));
            let wanted = plan.connections.into();
            spawn_local(async move {
                loop {
                    if let Err(trouble) = ask_again(address, number, &message, &record, wanted).await {
                        record.trouble(trouble);
                    }
                    sleep(PAUSE).await;
                }
            });
        }
        return Ok(());
    };
    let lines = Lines::open(plan.connections, addresses, &message, &record)?;
    let between = period(rate);
    let each = between * plan.connections;
    let start = Instant::now() + PAUSE * 5;
    let mut agenda = Agenda::default();
    for number in 0..plan.connections {
        agenda.enter(start + between * number, number);
    }
    spawn_local(say_in_time(lines, agenda, record, move || each));
    Ok(())
}

/// One connection in step with its answers.
async fn ask_again(
    address: SocketAddr,
    number: u32,
    message: &[u8],
    record: &Record,
    wanted: u64,
) -> Result<(), Trouble> {
    let client = Client::connect(address, number).await;
    let mut client = client.map_err(|error| Trouble::of(&error))?;
    let mut standing = None;
    loop {
        let due = Instant::now();
        client.ask(message).await?;
        record.done(due);
        if standing.is_none() {
            standing = Some(record.stand());
            if record.standing() == wanted {
                record.settle();
            }
        }
    }
}

/// Connections on which messages are said when their time has come.
#[derive(Debug)]
pub(super) struct Lines {
    lines: Vec<Rc<Line>>,
    message: Rc<[u8]>,
}

#[derive(Debug, Default)]
struct Line {
    client: RefCell<Option<Rc<tokio::net::TcpStream>>>,
    unanswered: RefCell<VecDeque<Instant>>,
}

impl Lines {
    /// Opens `count` connections and keeps them open; settles the record once all stand.
    pub(super) fn open(
        count: u32,
        addresses: &[SocketAddr],
        message: &Rc<[u8]>,
        record: &Arc<Record>,
    ) -> io::Result<Self> {
        let mut lines = Self::none(message);
        for number in 0..count {
            lines.add(number, addresses, record, count.into())?;
        }
        Ok(lines)
    }

    pub(super) fn none(message: &Rc<[u8]>) -> Self {
        Self {
            lines: Vec::new(),
            message: Rc::clone(message),
        }
    }

    /// Opens one more connection; the record is settled when `wanted` stand.
    pub(super) fn add(
        &mut self,
        number: u32,
        addresses: &[SocketAddr],
        record: &Arc<Record>,
        wanted: u64,
    ) -> io::Result<()> {
        let address = pick(addresses, number)?;
        let line = Rc::new(Line::default());
        self.lines.push(Rc::clone(&line));
        let (record, message) = (Arc::clone(record), Rc::clone(&self.message));
        spawn_local(async move {
            loop {
                let ended = line.live(address, number, &message, &record, wanted).await;
                line.client.take();
                // Whatever was said and not answered has failed.
                let lost = line.unanswered.take().len().max(1);
                if let Err(trouble) = ended {
                    (0..lost).for_each(|_| record.trouble(trouble));
                }
                sleep(PAUSE).await;
            }
        });
        Ok(())
    }

    /// Says the message on connection `number`, which was due at `due`.
    fn say(&self, number: u32, due: Instant, record: &Record) {
        let Some(line) = self.lines.get(number as usize) else {
            return;
        };
        let client = line.client.borrow();
        let said = client.as_ref().map(|stream| stream.try_write(&self.message));
        match said {
            Some(Ok(count)) if count == self.message.len() => {
                line.unanswered.borrow_mut().push_back(due);
            }
            _ => record.trouble(Trouble::Unsent),
        }
    }
}

impl Line {
    async fn live(
        &self,
        address: SocketAddr,
        number: u32,
        message: &[u8],
        record: &Record,
        wanted: u64,
    ) -> Result<(), Trouble> {
        let stream = connect(address, source(number, address)).await;
        let stream = Rc::new(stream.map_err(|error| Trouble::of(&error))?);
        let mut client = Client::of(Rc::clone(&stream));
        // The first answer tells who serves; only then the connection counts as standing.
        client.ask(message).await?;
        let _standing = record.stand();
        if record.standing() == wanted {
            record.settle();
        }
        *self.client.borrow_mut() = Some(stream);
        loop {
            let answers = client.answers(message).await?;
            for _ in 0..answers {
                let due = self.unanswered.borrow_mut().pop_front();
                record.done(due.ok_or(Trouble::WrongBytes)?);
            }
        }
    }
}

/// Says on each line when its time has come, and enters it again `pause` later.
pub(super) async fn say_in_time(
    lines: Lines,
    mut agenda: Agenda,
    record: Arc<Record>,
    mut pause: impl FnMut() -> Duration,
) {
    let Ok(pace) = Pace::new() else {
        return record.trouble(Trouble::Ours);
    };
    while let Some(at) = agenda.next_at() {
        if pace.until(at).await.is_err() {
            return record.trouble(Trouble::Ours);
        }
        let now = Instant::now();
        while let Some((due, number)) = agenda.take_due(now) {
            record.begun(due, now);
            lines.say(number, due, &record);
            agenda.enter(due + pause(), number);
        }
    }
}
