//! Whether the administrator wants it to stop: Ctrl-C, SIGTERM, or the end of the terminal.

use std::cell::Cell;
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::failure::Failure;
use crate::sys;

/// Told once it is asked for.
#[derive(Debug)]
pub(super) struct Stop {
    told: Receiver<()>,
    is_asked: Cell<bool>,
}

impl Stop {
    /// Listens from here on.
    pub(super) fn listen() -> Result<Self, Failure> {
        let (tell, told) = sync_channel(1);
        let (ready, is_ready) = sync_channel(1);
        let listening = sys::thread::spawn("signals", move || async move {
            match Signals::new() {
                Ok(mut signals) => {
                    let _ = ready.send(Ok(()));
                    signals.next().await;
                    let _ = tell.send(());
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
        // A signal that comes before would end it without a word.
        let listening = listening.and_then(|_| is_ready.recv().map_err(io::Error::other)?);
        let fails = |cause| Failure::System {
            what: "listen for signals",
            cause,
        };
        listening.map_err(fails)?;
        let is_asked = Cell::new(false);
        Ok(Self { told, is_asked })
    }

    /// Waits for so long, unless it is asked for meanwhile.
    pub(super) fn wait(&self, time: Duration) {
        if self.told.recv_timeout(time).is_ok() {
            self.is_asked.set(true);
        }
    }

    pub(super) fn is_asked(&self) -> bool {
        self.wait(Duration::ZERO);
        self.is_asked.get()
    }
}

struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
