//! A world for one test: nodes as real processes, Pinfold before them, and who calls.
//!
//! Owns the lives of all of them: whatever a test starts ends with its handle, also by a panic.
//! Nothing here judges; tests do.

mod caller;
mod directory;
mod notify;
mod pinfold;
mod programs;
mod setup;
mod stage;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pinfold_loadtest::Partner;
use pinfold_loadtest::process::{EdgeProcess, Signal, program_beside, wait_until};

pub(crate) use self::caller::{Caller, caller_address};
pub(crate) use self::directory::Directory;
pub(crate) use self::notify::Notified;
pub(crate) use self::pinfold::{Pinfold, find};
pub(crate) use self::programs::{program, programs};
pub(crate) use self::setup::{Listener, Setup};
pub(crate) use self::stage::Stage;

/// What a noisy machine may need for something that takes no time.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Where the configured partner "fabrikam" calls from.
pub(crate) const FABRIKAM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A line of `[server]` for tests of what a service cannot do that reaches only the folders which it knew at its start.
pub(crate) const WITHOUT_LANDLOCK: &str =
    "sandbox = [\"capabilities\", \"no-new-privileges\", \"system-calls\"]";

/// Held by tests that measure time, so that they do not measure one another.
pub(crate) fn quiet() -> MutexGuard<'static, ()> {
    static QUIET: Mutex<()> = Mutex::new(());
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `pinfold-loadtest` beside the binary under test.
pub(crate) fn loadtest() -> PathBuf {
    program_beside(env!("CARGO_BIN_EXE_pinfold"))
        .expect("run `cargo build --workspace` first, or `cargo test --workspace`")
}

/// Nodes, Pinfold before them, and the thread on which partners play.
#[derive(Debug)]
pub(crate) struct World {
    // Dropped in this order: callers first, so that nobody reports the end of the others.
    pub(crate) stage: Stage,
    pub(crate) pinfold: Pinfold,
    pub(crate) edges: Vec<EdgeProcess>,
    pub(crate) setup: Setup,
    pub(crate) directory: Directory,
}

impl World {
    /// `count` nodes "edge1", "edge2" … and one listener "federation" with shipped defaults.
    pub(crate) fn start(count: usize) -> Self {
        Self::start_with(count, |_| {})
    }

    /// As [`start`](Self::start), with a configuration that differs from the default.
    pub(crate) fn start_with(count: usize, differ: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        let edges: Vec<_> = (1..=count)
            .map(|number| edge(&format!("edge{number}")))
            .collect();
        for edge in &edges {
            setup.node(edge.name(), edge.address());
        }
        differ(&mut setup);
        let directory = Directory::create();
        directory.write(&setup);
        let pinfold = Pinfold::start(&directory);
        pinfold.wait_ready();
        let world = Self {
            stage: Stage::open(),
            pinfold,
            edges,
            setup,
            directory,
        };
        world.wait_all_up();
        world
    }

    /// Waits until every configured node is up.
    pub(crate) fn wait_all_up(&self) {
        for (name, _) in &self.setup.nodes {
            self.pinfold.wait_health(name, "up");
        }
    }

    /// Where the first listener's clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.pinfold.address(&self.setup.listeners[0].name)
    }

    /// The stubborn partner "fabrikam" at work, a line every 5 ms, once it is served.
    pub(crate) fn fabrikam(&self) -> Partner {
        let partner = self.stage.stubborn("fabrikam", self.address(), FABRIKAM);
        wait_until(SOON, || (partner.stats().replies > 10).then_some(()))
            .expect("fabrikam is served");
        partner
    }

    /// The node process of this name.
    pub(crate) fn edge(&mut self, name: &str) -> &mut EdgeProcess {
        let mut edges = self.edges.iter_mut();
        edges.find(|edge| edge.name() == name).unwrap()
    }

    /// `pinfold` with these words, against this daemon.
    pub(crate) fn pinfold(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
        let admin = format!("unix:{}", self.directory.admin().display());
        command.args(words).env("PINFOLD_ADMIN", admin);
        command.output().unwrap()
    }

    /// Changes the configuration file, and nothing else.
    pub(crate) fn rewrite(&mut self, change: impl FnOnce(&mut Setup)) {
        change(&mut self.setup);
        self.directory.write(&self.setup);
    }

    /// Changes the configuration and reloads with SIGHUP until it is in force.
    pub(crate) fn reload_with(&mut self, change: impl FnOnce(&mut Setup)) {
        let before = self.pinfold.revision();
        self.rewrite(change);
        self.pinfold.process.signal(Signal::HUP).unwrap();
        wait_until(SOON, || (self.pinfold.revision() != before).then_some(()))
            .expect("the reload comes into force");
    }

    /// Stops it in order and starts it anew by the file as it is.
    pub(crate) fn restart(&mut self) {
        self.pinfold.process.signal(Signal::TERM).unwrap();
        self.pinfold.process.wait_exit(SOON).expect("it ends");
        assert!(!self.directory.admin().exists(), "its socket goes with it");
        self.pinfold = Pinfold::start(&self.directory);
        self.pinfold.wait_ready();
        self.wait_all_up();
    }

    /// `count` reloads, each with a change that changes nothing for anybody.
    pub(crate) fn reload_harmlessly(&mut self, count: usize) {
        for _ in 0..count {
            self.reload_with(Setup::change_harmlessly);
        }
    }
}

/// An address that nobody else listens on, whatever the port.
pub(crate) fn lonely_address() -> Ipv4Addr {
    Ipv4Addr::new(
        127,
        fastrand::u8(64..250),
        fastrand::u8(..),
        fastrand::u8(1..255),
    )
}

/// Lets time pass, where a test is about something that must not happen meanwhile.
pub(crate) fn pass(time: Duration) {
    let _ = wait_until(time, || None::<()>);
}

/// A node as a process of its own.
pub(crate) fn edge(name: &str) -> EdgeProcess {
    EdgeProcess::spawn(&loadtest(), name, (Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}
