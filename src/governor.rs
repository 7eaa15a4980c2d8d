//! The governor: one thread that probes, decides, and writes the ledger.
//!
//! Owns the shell around `pool::group`: it feeds the groups with probes, reports and traffic, and
//! carries out what they ask. On a thread of its own, so that nothing slow can make a healthy node
//! look dead. It never touches a session: workers are told by orders.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use self::addressing::{Fault, TurnView};
use self::court::Court;
pub use self::court::KeptReturns;
pub(crate) use self::ledger::wall;
pub use self::ledger::{Failover, Gap, Kept, Totals};
pub use self::view::{EndpointView, GroupView, View};
use crate::clock::Moment;
use crate::config::model::NodeState;
use crate::inspect::tls::Certificate;
use crate::pool::health::Event;
use crate::pool::pins::{PinKey, PinTable};
use crate::pool::placement::PlacementKey;
use crate::probe::TurnAnswer;
use crate::relay::report::{Report, Reports};
use crate::relay::session::{EndpointNumber, Survey};
use crate::snapshot::{GroupKey, Snapshot};
use crate::sys;
use crate::tls::Finding;
use crate::worker::Order;

mod addressing;
mod certificates;
mod court;
mod handshakes;
mod incident;
pub mod ledger;
mod mailboxes;
mod view;

/// What the governor is told by control.
#[derive(Debug)]
pub enum Command {
    /// This snapshot is in force.
    Watch(Arc<Snapshot>),
    /// An administrator wants this of a node; it overrides the file until withdrawn.
    Administer {
        /// The pool.
        pool: Arc<str>,
        /// The node.
        node: Arc<str>,
        /// What is wanted; `None`: what the file says.
        state: Option<NodeState>,
        /// When its sessions are cut, where it drains.
        deadline: Option<Duration>,
    },
    /// Tell how things stand.
    View(oneshot::Sender<View>),
}

/// What a governor is made of.
#[derive(Debug)]
pub struct Setup {
    /// The first snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Where the workers get their orders.
    pub workers: Vec<mpsc::Sender<Order>>,
    /// The pins of the process.
    pub pins: Arc<PinTable>,
    /// Key of placement.
    pub key: Arc<PlacementKey>,
    /// The sessions' side of the reports.
    pub reports: Reports,
    /// The governor's side of them.
    pub inbox: mpsc::Receiver<Report>,
    /// What administrators have wanted before.
    pub administered: HashMap<(Arc<str>, Arc<str>), NodeState>,
    /// When the drains among it cut what is left: moment, pool and node.
    pub drains: Vec<(Moment, Arc<str>, Arc<str>)>,
    /// The ledger of an earlier instance.
    pub ledger: Kept,
    /// Returns of partners that an earlier instance has begun or given up.
    pub returns: KeptReturns,
}

/// A running governor, as others see it.
#[derive(Debug)]
pub struct Governor {
    commands: mpsc::Sender<Command>,
    verdicts: watch::Receiver<Verdicts>,
    pulse: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// What is known of the pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// The revision they are about.
    pub revision: u64,
    /// Whether every group has a node that is proven, or all of its nodes are down.
    pub are_first_in: bool,
    /// Names of the listeners that have no node up.
    pub without_node: Vec<Arc<str>>,
    /// Those among them whose nodes are all known: none is merely unproven.
    pub closed: Vec<Arc<str>>,
}

impl Governor {
    /// Starts the governor.
    ///
    /// # Errors
    ///
    /// No thread, or no descriptors for its runtime.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let (commands, mailbox) = mpsc::channel(COMMANDS_MAX);
        let (tell, verdicts) = watch::channel(Verdicts::default());
        let pulse = Arc::new(AtomicU64::new(Moment::now().as_micros()));
        let beat = Arc::clone(&pulse);
        let thread = sys::thread::spawn("governor", move || run(setup, mailbox, tell, beat))?;
        Ok(Self {
            commands,
            verdicts,
            pulse,
            thread,
        })
    }

    /// Where its commands go.
    #[must_use]
    pub fn commands(&self) -> mpsc::Sender<Command> {
        self.commands.clone()
    }

    /// What is known of the pools, as it changes.
    #[must_use]
    pub fn verdicts(&self) -> watch::Receiver<Verdicts> {
        self.verdicts.clone()
    }

    /// When it last looked around.
    #[must_use]
    pub fn pulse(&self) -> Moment {
        Moment::from_micros(self.pulse.load(Relaxed))
    }

    /// Whether its thread has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// What came of a question that the governor asked.
enum Told {
    /// Of a probe, or of a look at a node's traffic.
    Node {
        group: GroupKey,
        node: Arc<str>,
        endpoint: EndpointNumber,
        what: Heard,
    },
    /// Of a look at partners that might return to their nodes.
    Partners(Vec<(PinKey, Survey)>),
}

/// What is told of a node.
enum Heard {
    Event(Event),
    /// What it has shown.
    Certificate(Box<Certificate>),
    /// What it has said to an Allocate.
    Answer(TurnAnswer),
    /// How a whole handshake with it has ended.
    Handshake(Result<(), Finding>),
}

/// Traffic is looked at this often, so a silence is known at most this late.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// A look so late means that this machine, or this thread, stood still: what was asked meanwhile
/// says nothing about the nodes.
const STUNNED_AFTER: Duration = Duration::from_millis(50);
const COMMANDS_MAX: usize = 1024;
/// A few milliseconds' work; then time has its turn again.
const REPORTS_AT_ONCE: usize = 256;
/// Every endpoint of the largest configuration may answer at once.
const TOLD_MAX: usize = 16_384;

async fn run(
    setup: Setup,
    mut mailbox: mpsc::Receiver<Command>,
    verdicts: watch::Sender<Verdicts>,
    pulse: Arc<AtomicU64>,
) {
    let (told, mut answers) = mpsc::channel(TOLD_MAX);
    let (mut court, mut inbox) = Court::new(setup, told);
    let mut reports = Vec::with_capacity(REPORTS_AT_ONCE);
    loop {
        // First what time asks for: a storm of reports must not put it off.
        let now = Moment::now();
        if court.next_look() <= now {
            pulse.store(now.as_micros(), Relaxed);
            court.look(now);
            court.publish(&verdicts);
        }
        let begun = Moment::now();
        let planned = court.next_look().max(begun);
        let wait = planned.since(begun);
        tokio::select! {
            biased;
            command = mailbox.recv() => match command {
                Some(command) => {
                    court.obey(command);
                    court.publish(&verdicts);
                }
                None => return,
            },
            Some(told) = answers.recv() => {
                court.hear(told);
                court.publish(&verdicts);
            }
            _ = inbox.recv_many(&mut reports, REPORTS_AT_ONCE) => {
                reports.drain(..).for_each(|report| court.take(report));
            }
            () = tokio::time::sleep(wait) => {
                // Only time spent asleep beyond the plan is a stall.
                let lateness = Moment::now().since(planned);
                if lateness > STUNNED_AFTER {
                    court.stunned(lateness);
                }
            }
        }
    }
}
