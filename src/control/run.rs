//! Running: signals, requests, heartbeats, and the end.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::doors::tell;
use super::error::{StartError, chain};
use super::{Control, NodeRefused, Request, admin, notify};
use crate::clock::Moment;
use crate::partner::learned::Learned;
use crate::relay::session::Interrupt;
use crate::store::Wanted;
use crate::worker::{Order, Whose, Worker};

/// Signals that control obeys.
#[derive(Debug)]
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// What is asked for next: to stop, or to reload.
    async fn next(&mut self) -> Next {
        tokio::select! {
            _ = self.terminate.recv() => Next::Stop,
            _ = self.interrupt.recv() => Next::Stop,
            _ = self.hangup.recv() => Next::Reload,
        }
    }

    async fn stop(&mut self) {
        while !matches!(self.next().await, Next::Stop) {}
    }
}

enum Next {
    Reload,
    Request(Request),
    Verdicts,
    Names,
    Heartbeat,
    Stop,
}

impl Control {
    /// Serves until told to stop: by SIGTERM, by SIGINT, or by the end of `stop`.
    ///
    /// # Errors
    ///
    /// A thread of the data plane has died.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        let mut signals = Signals::new().map_err(|cause| StartError::System {
            what: "without signal handlers",
            cause,
        })?;
        let mut stop = std::pin::pin!(stop);
        self.open().await;
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut verdicts = self.shared.verdicts.clone();
        let mut found = self.shared.asking.found();
        found.mark_changed();
        loop {
            let next = tokio::select! {
                biased;
                next = signals.next() => next,
                () = &mut stop => Next::Stop,
                Some(request) = self.requests.recv() => Next::Request(request),
                _ = heartbeat.tick() => Next::Heartbeat,
                Ok(()) = verdicts.changed() => Next::Verdicts,
                Ok(()) = found.changed() => Next::Names,
            };
            match next {
                Next::Reload => drop(self.reload(false, "SIGHUP").await),
                Next::Request(request) => self.answer(request).await,
                Next::Verdicts => self.follow().await,
                Next::Names => self.publish_names().await,
                Next::Heartbeat => self.heartbeat().await?,
                Next::Stop => break,
            }
        }
        // A thread that takes no orders must not keep the process from ending.
        let longest = self.config.server.stop_timeout + 3 * LAST_MOMENTS;
        if timeout(longest, self.stop(&mut signals)).await.is_err() {
            tracing::error!("a thread did not end; the process ends without it");
        }
        Ok(())
    }

    /// Begins to accept, once the first verdicts are in or have kept everybody waiting too long.
    async fn open(&mut self) {
        let mut verdicts = self.shared.verdicts.clone();
        let first = verdicts.wait_for(|verdicts| verdicts.are_first_in);
        let _ = timeout(FIRST_VERDICTS_MAX, first).await;
        let workers = self.orders();
        let snapshot = self.shared.snapshot.load_full();
        if let Some(prepared) = self.doors.prepared.take() {
            self.doors.commit(prepared, &snapshot, &workers).await;
        }
        self.shared.bound.store(self.doors.bound().into());
        self.follow().await;
        self.shared.is_serving.store(true, Relaxed);
        notify::ready();
        let listeners = self.shared.bound.load();
        for bound in listeners.iter() {
            tracing::info!(listener = bound.listener, address = %bound.address, "listening");
        }
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            workers = workers.len(),
            sessions_max = self.shared.capacity.most(),
            "serving"
        );
    }

    /// Opens and closes doors as nodes come and go.
    async fn follow(&mut self) {
        let without = self.shared.verdicts.borrow().closed.clone();
        let workers = self.orders();
        let snapshot = self.shared.snapshot.load_full();
        self.doors.follow(&without, &snapshot, &workers).await;
        self.shared.bound.store(self.doors.bound().into());
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Reload {
                is_plan,
                by,
                answer,
            } => {
                // Whoever asked may have gone; the change stands all the same.
                let _ = answer.send(self.reload(is_plan, &by).await);
            }
            Request::Administer {
                node,
                pool,
                wanted,
                deadline,
                by,
                reason,
                answer,
            } => {
                let order = super::nodes::Order {
                    node,
                    pool,
                    wanted,
                    deadline,
                    by,
                    reason,
                };
                let result = self.administer(order).await;
                if let (Wanted::Active, Ok(changed)) = (wanted, &result) {
                    for done in changed {
                        self.moves.forget(&done.node, |pool| pool == done.pool);
                    }
                }
                if let Err(NodeRefused::Store(error)) = &result {
                    tracing::error!(%error, "the states of nodes cannot be kept");
                }
                let _ = answer.send(result);
            }
            Request::Pin { wish, answer } => self.pin(&wish, answer),
            Request::Census { node, pool, answer } => self.census(&node, pool.as_deref(), answer),
            Request::Move {
                task,
                partner,
                answer,
            } => self.move_away(&task, &partner, answer),
            Request::Maintain { task, answer } => {
                let _ = answer.send(self.begin_maintenance(&task).await);
            }
            Request::Return { task, answer } => self.put_back(&task, answer).await,
            Request::End { task, most, answer } => self.end_some(&task, most, answer),
            Request::Locate { partner, answer } => self.locate(partner, answer),
            Request::Unpin { unwish, answer } => self.unpin(&unwish, answer),
            Request::Import {
                file,
                is_dry_run,
                by,
                answer,
            } => self.import(&file, is_dry_run, &by, answer),
        }
    }

    /// Feeds the watchdog while every thread lives and ticks.
    async fn heartbeat(&mut self) -> Result<(), StartError> {
        if self.workers.iter().any(Worker::has_ended) {
            return Err(StartError::Died("a worker"));
        }
        if self.governor.has_ended() {
            return Err(StartError::Died("the governor"));
        }
        let now = Moment::now();
        self.doors.sweep(now, &self.orders()).await;
        let oldest = self
            .workers
            .iter()
            .map(Worker::pulse)
            .chain([self.governor.pulse()])
            .min();
        if oldest.is_some_and(|pulse| now.since(pulse) < PULSE_MAX) && notify::watchdog().is_some()
        {
            notify::alive();
        }
        if self.shared.bound.load().iter().any(|bound| !bound.is_open) {
            self.follow().await;
        }
        self.watch_pins();
        self.tell_turned_out().await;
        self.learning.look(&self.shared.recognition.learned, now);
        self.inventory.look(&self.shared.chronicle, now);
        self.tellers.us_or_them.look(&self.shared, now);
        self.tellers.diverting.look(&self.shared);
        self.tellers
            .certificates
            .look(&self.config, Timestamp::now());
        Ok(())
    }

    /// Sessions from an address that has turned out to be a partner's are the partner's, on whatever worker.
    async fn tell_turned_out(&mut self) {
        if self.learning.has_more(&self.shared.recognition) {
            tell(&self.orders(), || Order::Recognise).await;
        }
    }

    /// Says once when the table of pins is nearly full, and again after it was not.
    fn watch_pins(&mut self) {
        let (addresses, max) = (
            self.shared.pins.counts().addresses,
            self.config.server.max_pins,
        );
        let is_crowded = admin::is_crowded(addresses, max);
        if is_crowded && !self.tellers.was_crowded {
            tracing::warn!(
                addresses,
                max,
                "pins-crowded: four fifths of max_pins; beyond it the oldest idle pins of addresses go"
            );
        }
        // It hovers about the threshold otherwise.
        self.tellers.was_crowded = is_crowded || (self.tellers.was_crowded && addresses > max / 2);
    }

    /// Ends readiness, then sessions, within `stop_timeout`; a second signal means now.
    async fn stop(&mut self, signals: &mut Signals) {
        let limit = self.config.server.stop_timeout;
        tracing::info!(stop_timeout = ?limit, "stopping");
        self.shared.is_serving.store(false, Relaxed);
        // Whoever asks for a change is refused, not left waiting.
        self.requests.close();
        notify::stopping();
        let workers = self.orders();
        self.doors.close(&workers).await;
        tell(&workers, || Order::Finish).await;
        let deadline = Instant::now() + limit;
        tokio::select! {
            () = self.workers_ended() => {}
            () = sleep_until(deadline) => {}
            () = signals.stop() => {}
        }
        tell(&workers, || Order::Interrupt {
            of: Whose::All,
            with: Interrupt::Stopped,
        })
        .await;
        if timeout(LAST_MOMENTS, self.workers_ended()).await.is_err() {
            tracing::warn!("some sessions did not end in time");
        }
        let learned = &self.shared.recognition.learned;
        self.learning
            .write(learned, Moment::now(), Learned::MAX / 2);
        self.inventory.finish(&self.shared.chronicle, Moment::now());
        if let Some(store) = &self.shared.store {
            // It has said itself why, where it cannot.
            let _ = timeout(LAST_MOMENTS, store.finish()).await;
        }
        self.admin.close();
        tracing::info!("stopped");
    }

    async fn workers_ended(&self) {
        while !self.workers.iter().all(Worker::has_ended) {
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) fn orders(&self) -> Vec<mpsc::Sender<Order>> {
        self.workers.iter().map(Worker::orders).collect()
    }

    pub(super) fn note_failure(&self, error: &super::ReloadError) {
        self.shared.reload_failures.fetch_add(1, Relaxed);
        let lines = error.lines();
        for line in &lines {
            tracing::error!("reload: {line}");
        }
        let revision = self.shared.snapshot.load().revision;
        tracing::error!("reload refused: revision {revision} stays in force");
        let text = match error {
            super::ReloadError::Configuration(_) => lines.join("\n"),
            super::ReloadError::Start(error) => chain(error),
        };
        self.shared.last_failure.store(Some(text).into());
    }
}

/// Twice within the shortest watchdog that anybody sets.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// A thread that has not ticked for so long is stuck.
const PULSE_MAX: Duration = Duration::from_secs(2);
/// Clients wait in the accept queue meanwhile; longer would look like an outage.
const FIRST_VERDICTS_MAX: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);
/// What ending tens of thousands of sessions takes.
const LAST_MOMENTS: Duration = Duration::from_secs(2);
