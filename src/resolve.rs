//! Asking DNS for partners' names.
//!
//! Owns one task on control's runtime: it asks what is due, tells the log what has changed, and publishes
//! whose which address is. What is known and when it is due is `partner::resolved`'s; `question` is how a
//! name is asked. Nobody ever waits for an answer: whoever needs one takes the last.
//!
//! Invariants: no more than [`AT_ONCE`] questions are under way, each for no longer than ten seconds; no
//! cache but our own; a question that goes wrong in any way is a failure of that question alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;

pub use self::kept::Kept;
use self::question::Asker;
use self::telling::Telling;
use crate::clock::Moment;
use crate::config::model::{Config, Resolve};
use crate::partner::resolved::{Addresses, Event, Failure, Ground, Heard, Names, Question, View};

mod kept;
mod question;
mod sockets;
mod telling;

/// Where answers are kept for the next instance: under a name; `None` removes.
pub type Keep = Box<dyn FnMut(String, Option<&Kept>) + Send>;

/// What is known, for whoever wants it now.
#[derive(Debug)]
pub struct Asking {
    orders: mpsc::Sender<Order>,
    found: watch::Receiver<Arc<Addresses>>,
    view: Arc<ArcSwap<View>>,
    failures: Arc<AtomicU64>,
}

impl Asking {
    /// From here on the names of `config` are asked.
    pub async fn configure(&self, config: Arc<Config>) {
        // The task ends with the process only.
        let _ = self.orders.send(Order::Configure(config)).await;
    }

    /// An administrator wants to know now: every name is asked again, whatever its TTL.
    pub async fn ask_again(&self) {
        let _ = self.orders.send(Order::AskAgain).await;
    }

    /// Whose which address is; changes when DNS does.
    #[must_use]
    pub fn found(&self) -> watch::Receiver<Arc<Addresses>> {
        self.found.clone()
    }

    /// What is known of each partner's names.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Questions that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }
}

enum Order {
    Configure(Arc<Config>),
    AskAgain,
}

/// Begins to ask the names of `config`, with what the instance before has kept. To be called within a
/// runtime.
#[must_use]
pub fn begin(config: &Config, pages: Vec<(String, Kept)>, keep: Keep) -> Asking {
    let (orders, inbox) = mpsc::channel(ORDERS_MAX);
    let (publish, found) = watch::channel(Arc::default());
    let (view, failures) = (Arc::default(), Arc::default());
    let mut floor = Floor {
        names: Names::new(fastrand::u64(..)),
        asker: Asker::new(&config.resolve),
        resolve: config.resolve.clone(),
        asker_made: Moment::now(),
        under_way: JoinSet::new(),
        questions: HashMap::new(),
        keep,
        kept: HashMap::new(),
        telling: Telling::default(),
        publish,
        view: Arc::clone(&view),
        failures: Arc::clone(&failures),
    };
    floor.configure(config);
    floor.restore(pages);
    floor.settle();
    tokio::spawn(floor.run(inbox));
    Asking {
        orders,
        found,
        view,
        failures,
    }
}

/// What the task works with.
struct Floor {
    names: Names,
    asker: Asker,
    resolve: Resolve,
    asker_made: Moment,
    under_way: JoinSet<Heard>,
    questions: HashMap<Id, Question>,
    keep: Keep,
    /// When each answer was last handed to whoever keeps it.
    kept: HashMap<Question, Moment>,
    telling: Telling,
    publish: watch::Sender<Arc<Addresses>>,
    view: Arc<ArcSwap<View>>,
    failures: Arc<AtomicU64>,
}

impl Floor {
    async fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        // What comes in at once is published at once.
        let mut settling: Option<Moment> = None;
        loop {
            self.send_out();
            let now = Moment::now();
            if self.names.has_news() {
                settling = settling.or(Some(now + SETTLE_AFTER));
            }
            let has_room = self.under_way.len() < AT_ONCE;
            let due = self.names.next_due().filter(|_| has_room);
            let wake = due.into_iter().chain(settling).min();
            let rest = wake.map_or(REST_MAX, |wake| wake.since(now).min(REST_MAX));
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(Order::Configure(config)) => self.configure(&config),
                    Some(Order::AskAgain) => self.names.ask_again(Moment::now()),
                    None => return,
                },
                Some(done) = self.under_way.join_next_with_id() => match done {
                    Ok((id, heard)) => self.hear(id, heard),
                    // A defect somewhere below: of this question alone.
                    Err(error) => self.hear(error.id(), Heard::Failed(Failure::Unusable)),
                },
                () = sleep(rest) => {}
            }
            if settling.is_some_and(|at| at <= Moment::now()) {
                settling = None;
                self.settle();
            }
        }
    }

    fn configure(&mut self, config: &Config) {
        let now = Moment::now();
        self.resolve = config.resolve.clone();
        self.make_asker(now);
        let partners: &[_] = match config.resolve.names {
            true => &config.partners,
            false => &[],
        };
        self.names.configure(partners, Ground::of(config), now);
        self.forget_pages();
    }

    /// The system's configuration may be another than when it was last read.
    fn make_asker(&mut self, now: Moment) {
        self.asker.renew(&self.resolve);
        self.asker_made = now;
    }

    /// Services come first: they say which hosts there are.
    fn restore(&mut self, pages: Vec<(String, Kept)>) {
        let now = Moment::now();
        let mut pages: Vec<_> = pages
            .into_iter()
            .map(|(key, page)| (kept::question(&key), key, page))
            .collect();
        pages.sort_by(|one, other| one.0.cmp(&other.0));
        for (question, key, page) in pages {
            let question = question.filter(|question| self.names.is_asked(question));
            let known = question.and_then(|question| Some((question, page.take_up()?)));
            match known {
                Some((question, (heard, age))) => {
                    self.names.restore(&question, heard, age, now);
                    self.kept.insert(question, now.before(age));
                }
                None => (self.keep)(key, None),
            }
        }
    }

    fn send_out(&mut self) {
        let now = Moment::now();
        let room = AT_ONCE.saturating_sub(self.under_way.len());
        if room == 0 {
            return;
        }
        for question in self.names.ask(now, room) {
            let asking = self.asker.ask(question.clone());
            let id = self.under_way.spawn(asking).id();
            self.questions.insert(id, question);
        }
    }

    fn hear(&mut self, id: Id, heard: Heard) {
        let Some(question) = self.questions.remove(&id) else {
            return;
        };
        let now = Moment::now();
        if let Heard::Failed(failure) = &heard {
            self.failures.fetch_add(1, Relaxed);
            let is_old = now.since(self.asker_made) >= ASKER_LIFE;
            if self.resolve.servers.is_empty() && is_old && !failure.is_word() {
                self.make_asker(now);
            }
        }
        let events = self.names.hear(&question, heard, now);
        self.put_page(&question, &events, now);
        self.telling.tell_all(events);
    }

    /// Keeps a good answer that is new, and any other once in a while.
    fn put_page(&mut self, question: &Question, events: &[Event], now: Moment) {
        let Some((heard, at)) = self.names.known(question) else {
            return;
        };
        let last = self.kept.get(question);
        let is_new = at == now && (last.is_none() || !events.is_empty());
        let is_stale = at == now && last.is_some_and(|last| now.since(*last) >= KEEP_EVERY);
        if is_new || is_stale {
            (self.keep)(kept::key(question), Some(&Kept::of(&heard)));
            self.kept.insert(question.clone(), now);
        }
    }

    fn forget_pages(&mut self) {
        let (names, keep) = (&self.names, &mut self.keep);
        self.kept.retain(|question, _| {
            let stays = names.is_asked(question);
            if !stays {
                keep(kept::key(question), None);
            }
            stays
        });
    }

    fn settle(&mut self) {
        let (addresses, events) = self.names.settle();
        self.telling.tell_all(events);
        self.view.store(Arc::new(self.names.view()));
        self.forget_pages();
        self.publish.send_if_modified(|published| {
            let is_other = **published != addresses;
            if is_other {
                *published = Arc::new(addresses);
            }
            is_other
        });
    }
}

/// Questions under way; each is two messages at most, to one server after the other.
pub const AT_ONCE: usize = 16;
/// Reloads wait for the task no longer than it takes to look into its box.
const ORDERS_MAX: usize = 16;
const SETTLE_AFTER: Duration = Duration::from_millis(20);
/// Nothing is due for so long.
const REST_MAX: Duration = Duration::from_secs(3600);
/// The system's servers are looked up again no sooner.
const ASKER_LIFE: Duration = Duration::from_secs(60);
/// An answer that does not change is kept again, so that its age is known.
const KEEP_EVERY: Duration = Duration::from_secs(3600);
