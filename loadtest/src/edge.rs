//! A simulated Edge Server on loopback, with faults on command.
//!
//! One port number. TCP: connections that open with a TLS record are served by real TLS, or in the
//! shape of TLS 1.0 if that is what they ask for, all others in plain lines; all speak the protocol
//! of [`crate::lines`]. UDP: each datagram is answered, STUN in kind. Every answer starts with the
//! node's name or carries it, so that a client sees who serves it. Owns no health and no policy.
//!
//! ```text
//! start ──► running ──freeze──► frozen ──thaw──► running
//!              └──────kill───────┴──► dead ──revive──► running
//! ```

mod command;
mod control;
mod datagrams;
mod house;
mod serve;
mod state;
mod stun;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustls::ServerConfig;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use self::command::{Command, Cue, GRAMMAR, script};
pub use self::control::{Control, perform};
use self::house::{Doors, House};
use self::state::{NEVER, Phase, State};
use crate::tls;

/// Longer than it takes to bind a port.
const TURN_LIMIT: Duration = Duration::from_secs(5);

/// What a node has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections accepted since the start, over all lives.
    pub accepted: u64,
    /// Connections open at present.
    pub open: u64,
    /// Lines answered since the start.
    pub lines: u64,
    /// Datagrams received since the start.
    pub datagrams: u64,
}

/// What `stats` tells.
#[derive(Serialize)]
struct Stats<'a> {
    name: &'a str,
    phase: Phase,
    #[serde(flatten)]
    counters: Counters,
}

/// A node; dropping it kills it.
#[derive(Debug)]
pub struct SimulatedEdge {
    state: Arc<State>,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    life: Mutex<Life>,
}

/// A house with its guests, or its port kept for the next life.
#[derive(Debug)]
enum Life {
    Serving(JoinHandle<()>),
    /// Bound but not listening: connects are refused, and nobody else gets the port.
    Reserved(Option<Doors>),
}

impl SimulatedEdge {
    /// Starts a node at `listen`; port 0 picks one.
    ///
    /// # Errors
    /// The address cannot be bound, or no certificate could be made.
    pub async fn start(name: &str, listen: SocketAddr) -> io::Result<Self> {
        let doors = Doors::find(listen)?;
        let address = doors.address();
        let edge = Self {
            state: Arc::new(State::new(name.to_owned())),
            address,
            tls: tls::server_config()?,
            life: Mutex::new(Life::Reserved(Some(doors))),
        };
        edge.revive().await?;
        Ok(edge)
    }

    /// The name it answers with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Where it listens; the same through all its lives.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Dies like a killed process: all connections are reset, and the port refuses when this
    /// returns.
    pub async fn kill(&self) {
        let mut life = self.life.lock().await;
        if let Life::Serving(task) = &mut *life {
            self.state.phase.send_replace(Phase::Dead);
            let _ = task.await;
            *life = Life::Reserved(Doors::at(self.address).ok());
        }
    }

    /// Listens again after [`kill`](Self::kill), on the same port.
    ///
    /// # Errors
    /// The port was taken by somebody else in the meantime.
    pub async fn revive(&self) -> io::Result<()> {
        let mut life = self.life.lock().await;
        let Life::Reserved(doors) = &mut *life else {
            return Ok(());
        };
        let doors = match doors.take() {
            Some(doors) => doors,
            None => Doors::at(self.address)?,
        };
        self.state.phase.send_replace(Phase::Running);
        let tls = TlsAcceptor::from(Arc::clone(&self.tls));
        let house = House::open(doors, Arc::clone(&self.state), tls)?;
        *life = Life::Serving(tokio::spawn(house.live()));
        Ok(())
    }

    /// Whether the port refuses, while what stands goes on; holds when this returns.
    ///
    /// # Errors
    /// The port is not to be had again.
    pub async fn refuse(&self, refuse: bool) -> io::Result<()> {
        let mut listening = self.state.listening.subscribe();
        self.state.refusing.send_replace(refuse);
        let life = self.life.lock().await;
        if matches!(&*life, Life::Serving(task) if !task.is_finished()) {
            let turned = listening.wait_for(|listening| *listening != refuse);
            // An error would mean that nobody can turn it, but this very node can.
            let _ = timeout(TURN_LIMIT, turned).await?;
        }
        Ok(())
    }

    /// Whether connections and datagrams that come from now on are taken without an answer.
    pub fn mute(&self, mute: bool) {
        self.state.mute.store(mute, Relaxed);
    }

    /// Each connection is reset once so many bytes were sent on it; `None` ends it.
    pub fn reset_after(&self, bytes: Option<u64>) {
        self.state
            .reset_after
            .store(bytes.unwrap_or(NEVER), Relaxed);
    }

    /// Does what `command` says and tells `ok`, or what was asked for.
    ///
    /// # Errors
    /// It cannot be done.
    pub async fn obey(&self, command: Command) -> io::Result<String> {
        match command {
            Command::Freeze => self.freeze(),
            Command::Thaw => self.thaw(),
            Command::Kill => self.kill().await,
            Command::Revive => self.revive().await?,
            Command::Refuse(refuse) => self.refuse(refuse).await?,
            Command::RefuseTls(refuse) => self.refuse_tls(refuse),
            Command::Mute(mute) => self.mute(mute),
            Command::Slow(pause) => self.slow(pause),
            Command::Die(count) => self.die_before_first_byte(count),
            Command::ResetAfter(bytes) => self.reset_after(bytes),
            Command::Stats => {
                return Ok(serde_json::to_string(&Stats {
                    name: self.name(),
                    phase: *self.state.phase.borrow(),
                    counters: self.counters(),
                })?);
            }
        }
        Ok("ok".to_owned())
    }

    /// Falls silent like a stopped process: the kernel still completes handshakes.
    pub fn freeze(&self) {
        self.turn(Phase::Running, Phase::Frozen);
    }

    /// Wakes from [`freeze`](Self::freeze) and goes on where it was.
    pub fn thaw(&self) {
        self.turn(Phase::Frozen, Phase::Running);
    }

    /// The next `count` connections are accepted, read once and reset before a byte is sent.
    pub fn die_before_first_byte(&self, count: u32) {
        self.state.doomed.store(count, Relaxed);
    }

    /// Whether connections that open with TLS are reset at their first byte.
    pub fn refuse_tls(&self, refuse: bool) {
        self.state.refuse_tls.store(refuse, Relaxed);
    }

    /// Waits this long before each answer to a line; zero to stop.
    pub fn slow(&self, pause: Duration) {
        let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        self.state.slow_micros.store(micros, Relaxed);
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            accepted: self.state.accepted.load(Relaxed),
            open: self.state.open.load(Relaxed),
            lines: self.state.lines.load(Relaxed),
            datagrams: self.state.datagrams.load(Relaxed),
        }
    }

    fn turn(&self, from: Phase, to: Phase) {
        self.state.phase.send_if_modified(|phase| {
            let turns = *phase == from;
            if turns {
                *phase = to;
            }
            turns
        });
    }
}

impl Drop for SimulatedEdge {
    fn drop(&mut self) {
        self.state.phase.send_replace(Phase::Dead);
    }
}
