//! Starting: everything that can fail is done before the first client is served.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::admin;
use super::chronicle::{self, Chronicle};
use super::doors::Doors;
use super::error::StartError;
use super::inventory::Inventory;
use super::learning::Learning;
use super::sandbox::Sandbox;
use super::{Control, ReadAt, Shared};
use super::{diverting, naming, nodes};
use crate::clock::Moment;
use crate::config::model::Config;
use crate::config::{Diagnostics, Loaded, Reads, load, parse, sessions_carried};
use crate::governor::{self, Governor};
use crate::net::transparent::MOST_WORKERS;
use crate::pool::pins::PinTable;
use crate::pool::placement::PlacementKey;
use crate::relay::diversions::Diversions;
use crate::relay::recognition::Recognition;
use crate::relay::report::Reports;
use crate::resolve::Asking;
use crate::snapshot::{Capacity, Registry, Snapshot};
use crate::store::{Administered, Book, Found, StateDir, Store, Tally, random_key};
use crate::sys;
use crate::sys::kernel_tls::Version;
use crate::telemetry::log;
use crate::tls::Offer;
use crate::worker::{self, Worker};

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, read again at every reload.
    File(PathBuf),
    /// A text of our own, under this name: the demo's.
    Text(&'static str, String),
}

impl Source {
    /// Reads and checks it.
    ///
    /// # Errors
    ///
    /// Every mistake in it.
    pub fn load(&self) -> Result<Loaded, Diagnostics> {
        match self {
            Self::File(path) => load(path),
            Self::Text(name, text) => parse(name, text),
        }
    }

    /// Whether the process gives rights away. The demo does not, since it starts other processes.
    fn is_confined(&self) -> bool {
        matches!(self, Self::File(_))
    }

    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text(name, _) => (*name).into(),
        }
    }
}

/// Starts everything but the accepting of clients, which [`Control::run`] begins. To be called within
/// a runtime.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(source: Source) -> Result<Control, StartError> {
    let ground = Ground::lay(&source)?;
    let config = &ground.config;
    let mut registry = Registry::new(ground.workers);
    let first = Arc::new(registry.build(config));
    let (doors, admin_sockets) = ground.open()?;
    let sandbox = ground.enter_sandbox(&source)?;
    let pins = Arc::new(PinTable::new(config.server.max_pins));
    let mut before = ground.take_up(&pins, &first)?;
    let first = Arc::new(before.name(&mut registry, &first));
    let snapshot = Arc::new(ArcSwap::new(Arc::clone(&first)));

    let (reports, inbox) = Reports::new(REPORTS_MAX);
    let (recognition, chronicle) = before.recognition(ground.workers, config);
    let workers = ground.start_workers(&snapshot, &pins, &reports, &recognition)?;
    let governor = Governor::start(governor::Setup {
        snapshot: first,
        workers: workers.iter().map(Worker::orders).collect(),
        pins: Arc::clone(&pins),
        key: Arc::clone(&ground.key),
        reports: reports.clone(),
        inbox,
        administered: nodes::wanted(&ground.administered),
        drains: nodes::drains(&ground.administered),
        ledger: before.ledger,
        returns: before.returns,
    })
    .map_err(system("the governor"))?;

    let (to_control, requests) = mpsc::channel(REQUESTS_MAX);
    let shared = Arc::new(Shared {
        snapshot,
        pins,
        placement: Arc::clone(&ground.key),
        governor: governor.commands(),
        verdicts: governor.verdicts(),
        requests: to_control,
        views: ReadAt::default(),
        bound: ArcSwap::default(),
        administered: ArcSwap::from_pointee(ground.administered),
        capacity: ground.capacity,
        diversions: ground.diversions,
        reports,
        recognition,
        asking: before.asking,
        chronicle,
        is_serving: AtomicBool::new(false),
        reload_failures: AtomicU64::new(0),
        started: Timestamp::now(),
        source: source.name(),
        last_failure: ArcSwap::default(),
        restart_needed: ArcSwap::default(),
        store: before.store,
        token: ground.token,
        sandbox,
    });
    Ok(Control {
        admin: admin_sockets.serve(&shared),
        shared,
        source,
        config: ground.config,
        registry,
        workers,
        governor,
        doors,
        state_dir: ground.state_dir,
        requests,
        departures: super::reload::Departures::default(),
        tellers: super::Tellers::default(),
        moves: crate::pool::maintenance::Moves::default(),
        learning: before.learning,
        inventory: before.inventory,
    })
}

/// The system refuses `what`.
fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |cause| StartError::System { what, cause }
}

/// What the instance before this one has left.
struct Before {
    store: Option<Store>,
    ledger: governor::Kept,
    returns: governor::KeptReturns,
    learning: Learning,
    inventory: Inventory,
    asking: Asking,
}

impl Before {
    /// Whom it knew by name is known from the first client on.
    fn name(&self, registry: &mut Registry, first: &Snapshot) -> Snapshot {
        let found = Arc::clone(&self.asking.found().borrow());
        registry.name(first, found)
    }

    /// What is learned of clients, and the memory of their sessions, with what is known already.
    fn recognition(
        &mut self,
        workers: usize,
        config: &Config,
    ) -> (Arc<Recognition>, Arc<Mutex<Chronicle>>) {
        let (recognition, told) = Recognition::new(workers, HISTORY_MAX);
        self.learning.teach(&recognition.learned, Moment::now());
        let chronicle = Arc::default();
        self.inventory.teach(&chronicle, config, Timestamp::now());
        tokio::spawn(chronicle::record(Arc::clone(&chronicle), told));
        (Arc::new(recognition), chronicle)
    }
}

/// What everything else stands on: the configuration, the state directory, keys and limits.
struct Ground {
    config: Arc<Config>,
    reads: Reads,
    workers: usize,
    state_dir: Option<StateDir>,
    administered: Vec<Administered>,
    key: Arc<PlacementKey>,
    token: Option<String>,
    capacity: Arc<Capacity>,
    diversions: Arc<Diversions>,
}

impl Ground {
    fn lay(source: &Source) -> Result<Self, StartError> {
        let loaded = source.load().map_err(StartError::Configuration)?;
        let config = Arc::new(loaded.config);
        log::start(&config.log);
        for warning in loaded.warnings.lines() {
            tracing::warn!("{warning}");
        }
        if !config.unavailable.is_empty() {
            return Err(StartError::Unavailable(config.unavailable.clone()));
        }
        diverting::warn_of_buffers(&config);
        tell_kernel_tls(&config);
        let state_dir = config
            .server
            .state_dir
            .as_deref()
            .map(StateDir::open)
            .transpose()?;
        let workers = config
            .server
            .workers
            .unwrap_or_else(cores)
            .min(MOST_WORKERS);
        Ok(Self {
            workers,
            diversions: Arc::new(Diversions::new(workers)),
            administered: administered(state_dir.as_ref())?,
            key: Arc::new(placement_key(&config, state_dir.as_ref())?),
            token: token(&config)?,
            capacity: Arc::new(capacity(&config)),
            state_dir,
            reads: loaded.reads,
            config,
        })
    }

    /// Opens what clients and administrators connect to; nobody accepts there yet.
    fn open(&self) -> Result<(Doors, admin::Sockets), StartError> {
        let doors = Doors::begin(self.workers, &self.config)?;
        Ok((doors, admin::Sockets::bind(&self.config)?))
    }

    /// Here no other thread exists yet, and nothing that is to come needs more than the sandbox leaves.
    fn enter_sandbox(&self, source: &Source) -> Result<Sandbox, StartError> {
        match source.is_confined() {
            true => Sandbox::enter(&self.config, &self.reads),
            false => Ok(Sandbox::default()),
        }
    }

    /// Starts the store, puts the pins of the instance before this one into the table, opens its ledger,
    /// and begins to ask DNS with what that one knew.
    fn take_up(&self, pins: &Arc<PinTable>, snapshot: &Snapshot) -> Result<Before, StartError> {
        let Some(directory) = &self.state_dir else {
            return Ok(Before {
                store: None,
                ledger: governor::Kept::default(),
                returns: governor::KeptReturns::default(),
                learning: Learning::default(),
                inventory: Inventory::default(),
                asking: naming::begin(&self.config, Book::default(), Vec::new()),
            });
        };
        let started = Store::start_in(directory);
        let (store, mut contents) = started.map_err(|cause| StartError::System {
            what: "the store",
            cause,
        })?;
        let now = contents.present();
        let tally = store.take_up(pins, &mut contents, snapshot, now);
        if tally != Tally::default() {
            let Tally {
                restored,
                lapsed,
                homeless,
                beyond,
            } = tally;
            tracing::info!(restored, lapsed, homeless, beyond, "pins of before");
        }
        let ledger = governor::Kept::open(&store, &mut contents);
        let returns = governor::KeptReturns::open(&store, &mut contents);
        let learning = Learning::open(&store, &mut contents);
        let inventory = Inventory::open(&store, &mut contents);
        let (book, pages) = store.book(NAMES_BOOK, &mut contents);
        Ok(Before {
            store: Some(store),
            ledger,
            returns,
            learning,
            inventory,
            asking: naming::begin(&self.config, book, pages),
        })
    }

    fn start_workers(
        &self,
        snapshot: &Arc<ArcSwap<Snapshot>>,
        pins: &Arc<PinTable>,
        reports: &Reports,
        recognition: &Arc<Recognition>,
    ) -> Result<Vec<Worker>, StartError> {
        let setup = worker::Setup {
            snapshot: Arc::clone(snapshot),
            pins: Arc::clone(pins),
            key: Arc::clone(&self.key),
            capacity: Arc::clone(&self.capacity),
            diversions: Arc::clone(&self.diversions),
            reports: reports.clone(),
            recognition: Arc::clone(recognition),
            workers: self.workers,
            pipes: per_worker(self.capacity.most() / 32, self.workers).clamp(4, 512),
        };
        (0..self.workers)
            .map(|number| Worker::start(number, setup.clone()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|cause| StartError::System {
                what: "a worker",
                cause,
            })
    }
}

/// Asks the kernel, while that may be done in any way, what it takes over, and tells where a listener has any of it.
fn tell_kernel_tls(config: &Config) {
    let offer = Offer::of_this_kernel();
    if !config.may_hand_over() || !config.server.kernel_tls {
        return;
    }
    for version in Version::ALL {
        let label = version.label();
        match offer.refusal(version) {
            None => tracing::info!(version = label, "kernel-tls"),
            Some(why) => tracing::info!(version = label, why, "kernel-tls: not by this kernel"),
        }
    }
}

/// Processors that this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn administered(state_dir: Option<&StateDir>) -> Result<Vec<Administered>, StartError> {
    match state_dir.map(StateDir::administered).transpose()? {
        None => Ok(Vec::new()),
        Some(Found::States(states)) => Ok(states),
        Some(Found::Damaged(aside)) => {
            let aside = aside.display();
            tracing::error!(%aside, "the states of nodes were damaged: set aside, all nodes as the file says");
            Ok(Vec::new())
        }
    }
}

fn placement_key(
    config: &Config,
    state_dir: Option<&StateDir>,
) -> Result<PlacementKey, StartError> {
    let text = match (&config.server.placement_key, state_dir) {
        (Some(key), _) => key.0.clone(),
        (None, Some(directory)) => directory.placement_key()?,
        (None, None) => random_key().map_err(|cause| StartError::System {
            what: "without random numbers",
            cause,
        })?,
    };
    Ok(PlacementKey::from_text(&text).unwrap_or_else(|| PlacementKey::from_bytes([0; 16])))
}

fn token(config: &Config) -> Result<Option<String>, StartError> {
    let Some(path) = &config.server.admin_token_file else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path).map_err(|cause| StartError::File {
        key: "admin_token_file",
        path: path.clone(),
        cause,
    })?;
    Ok(Some(text.trim().into()).filter(|token: &String| !token.is_empty()))
}

/// How many sessions the descriptors carry.
fn capacity(config: &Config) -> Capacity {
    // Read now, because a worker never reads a file.
    let _ = sys::limits::first_local_port();
    let descriptors = sys::limits::raise_descriptors();
    let possible = sessions_carried(descriptors);
    let wanted: u64 = config
        .listeners
        .iter()
        .filter(|listener| listener.needs_descriptors())
        .map(|listener| u64::from(listener.max_sessions))
        .sum();
    if possible < wanted {
        tracing::warn!(
            descriptors,
            max_sessions = wanted,
            possible,
            "max_sessions is more than the descriptors carry; raise LimitNOFILE"
        );
    }
    Capacity::new(possible)
}

fn per_worker(total: u64, workers: usize) -> usize {
    let share = total / u64::try_from(workers.max(1)).unwrap_or(1);
    usize::try_from(share).unwrap_or(usize::MAX)
}

/// What workers report in the second in which every session of a large pool ends.
const REPORTS_MAX: usize = 65_536;
/// A burst of sessions that end, as long as control takes a breath.
const HISTORY_MAX: usize = 4096;
const REQUESTS_MAX: usize = 64;
/// What DNS said, by question.
const NAMES_BOOK: &str = "names";
