//! What maintenance is made of: moving one partner, taking a few sessions off, putting everything back.
//!
//! The conductor itself is the command line (`cli/maintain.rs`). Each step here is whole, durable and logged
//! with who and why, so a conductor that dies with its terminal leaves nothing half done and nobody waiting;
//! and no daemon goes on ending sessions after the administrator has gone.
//!
//! A pin that is moved for maintenance keeps its home and is not by hand: `node =` and failback bring its
//! partner back as configured. What it said before is remembered until the node is resumed, so that undoing
//! restores it, also one that was by hand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::admin::answers::{PinMoved, PinsMoved, SessionsEnded};
use super::doors::tell;
use super::pins::{PinRefused, durable, gather, locate};
use super::{Census, Control, NodeRefused};
use crate::clock::Moment;
use crate::config::model::NodeState;
use crate::pool::maintenance::Restored;
use crate::pool::pins::{Order as Word, Pin, PinKey};
use crate::relay::session::{Concerned, EndpointNumber};
use crate::snapshot::{Endpoint, Leaver, Scope, Snapshot};
use crate::worker::{Order, Strays};

mod state;

/// What is wanted of a node under maintenance.
#[derive(Clone, Debug)]
pub struct Task {
    /// The node.
    pub node: String,
    /// Only in this pool.
    pub pool: Option<String>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// Why it was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TaskRefused {
    /// There is no such partner or node, or the change is not durable.
    #[error(transparent)]
    Pin(#[from] PinRefused),
    /// Nobody else may take the partner.
    #[error("{0} stays on {1}: no other node takes sessions")]
    NoRefuge(String, String),
    /// Whoever is ended would come right back.
    #[error("{0} takes new sessions: `pinfold drain {0}` first")]
    NotDraining(String),
    /// There is no such node, or its state could not be made durable.
    #[error(transparent)]
    Node(#[from] NodeRefused),
    /// Another node of the pool is under maintenance.
    #[error(
        "{node} (pool {pool}) is under maintenance, begun by {by} at {since}{reason}: one node of a pool at a time, \
         or each would be blamed for what the other does. It ends with `pinfold resume {node}` when it is done, \
         or `pinfold maintain {node} --undo`"
    )]
    Busy {
        /// The other node.
        node: String,
        /// The pool.
        pool: String,
        /// Who began it.
        by: String,
        /// Since when.
        since: String,
        /// Why, in brackets.
        reason: String,
    },
}

/// What came of a task.
pub type Done<T> = Result<T, TaskRefused>;

/// A move, and the sessions that belong elsewhere now.
struct Gone {
    told: PinMoved,
    strays: Strays,
    patience: Duration,
}

impl Control {
    /// Moves the pins that a partner has on the node, and ends its sessions there. The answer goes out once
    /// that is durable.
    pub(super) fn move_away(
        &mut self,
        task: &Task,
        partner: &str,
        answer: oneshot::Sender<Done<PinsMoved>>,
    ) {
        let snapshot = self.shared.snapshot.load_full();
        let Some(known) = snapshot.partners.by_name(partner).map(Arc::clone) else {
            let refused = self.unknown_partner(partner);
            return drop(answer.send(Err(refused.into())));
        };
        if let Err(refused) = self.wait_for_others(task) {
            return drop(answer.send(Err(refused)));
        }
        let now = Moment::now();
        let who = self.shared.whereabouts(&snapshot);
        let leavers: Vec<_> = snapshot
            .scopes_with(&task.node, task.pool.as_deref())
            .filter_map(|scope| scope.leaver(who, &known, &task.node, now))
            .collect();
        if leavers.iter().any(|leaver| leaver.to.is_none()) {
            let refused = TaskRefused::NoRefuge(partner.into(), task.node.clone());
            return drop(answer.send(Err(refused)));
        }
        let word = task.word();
        let gone = leavers
            .into_iter()
            .filter_map(|leaver| self.let_go(task, &leaver, &word, now));
        let gone: Vec<_> = gone.collect();
        let (shared, workers) = (Arc::clone(&self.shared), self.orders());
        tokio::spawn(async move {
            let surveys = locate(&workers, &known.name).await;
            let active_at = surveys.values().filter_map(|survey| survey.active_at).max();
            let mut moved = Vec::new();
            for Gone {
                mut told,
                strays,
                patience,
            } in gone
            {
                let gathered = gather(&workers, strays).await;
                (told.ended, told.sip) = (gathered.ending(), gathered.sip);
                told.active =
                    gathered.sessions > 0 && active_at.is_some_and(|at| now.since(at) < patience);
                moved.push(told);
            }
            let kept = durable(&shared).await.map(|()| PinsMoved { moved });
            let _ = answer.send(kept.map_err(Into::into));
        });
    }

    fn let_go(
        &mut self,
        task: &Task,
        leaver: &Leaver,
        word: &Arc<Word>,
        now: Moment,
    ) -> Option<Gone> {
        let to = leaver.to.as_ref()?;
        let from: Arc<str> = Arc::from(&*task.node);
        let (pins, word) = (&self.shared.pins, Arc::clone(word));
        let has_gone = self.moves.let_go(pins, &leaver.key, (&from, to), word, now);
        has_gone.then_some(())?;
        let scope = &leaver.key.scope;
        tracing::warn!(
            partner = %leaver.known.name, pool = %scope.pool, affinity = %scope.affinity, %from, %to,
            by = task.by, reason = task.reason.as_deref().unwrap_or("-"),
            "moved-for-maintenance"
        );
        let snapshot = self.shared.snapshot.load();
        Some(Gone {
            strays: Strays::leaving(&snapshot, &leaver.key, &task.node, true),
            told: told(&leaver.key, &from, to),
            patience: leaver.known.alarm_after,
        })
    }

    /// Puts back what was moved away from the node, and the node into the state that it had. Sessions stay where
    /// they are as long as they last. The answer goes out once that is durable.
    pub(super) async fn put_back(&mut self, task: &Task, answer: oneshot::Sender<Done<PinsMoved>>) {
        let now = Moment::now();
        let pools = match self.pools_of(&task.node, task.pool.as_deref()) {
            Ok(pools) => pools,
            // Nobody is to be pinned to a node that is gone.
            Err(refused) => return drop(answer.send(Err(refused.into()))),
        };
        let home: Arc<str> = Arc::from(&*task.node);
        let earlier = self.begun_before_this_instance(&task.node);
        let is_of_this = |key: &PinKey, pin: &Pin| {
            let since = earlier.get(&*key.scope.pool);
            let order = pin.order.as_ref();
            order.is_some_and(|order| since.is_some_and(|since| order.at >= *since))
        };
        let is_pool = |pool: &str| pools.iter().any(|each| *each == *pool);
        let pins = &self.shared.pins;
        let restored = self.moves.put_back(pins, &home, is_pool, is_of_this, now);
        let mut moved = Vec::new();
        for Restored { key, from } in &restored {
            tracing::warn!(
                partner = %key.subject, pool = %key.scope.pool, affinity = %key.scope.affinity,
                %from, to = %home, by = task.by,
                reason = task.reason.as_deref().unwrap_or("-"),
                "maintenance-undone"
            );
            moved.push(told(key, from, &home));
        }
        if let Err(refused) = self.end_maintenance(task).await {
            return drop(answer.send(Err(refused.into())));
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let kept = durable(&shared).await.map(|()| PinsMoved { moved });
            let _ = answer.send(kept.map_err(Into::into));
        });
    }

    /// Takes at most so many sessions off a node that takes no new ones, partners first.
    pub(super) fn end_some(
        &self,
        task: &Task,
        most: usize,
        answer: oneshot::Sender<Done<SessionsEnded>>,
    ) {
        let snapshot = self.shared.snapshot.load_full();
        let scopes = || snapshot.scopes_with(&task.node, task.pool.as_deref());
        if scopes().next().is_none() {
            let place = task
                .pool
                .as_ref()
                .map_or_else(|| "any pool".into(), |pool| format!("pool \"{pool}\""));
            let refused = PinRefused::UnknownNode(task.node.clone(), place);
            return drop(answer.send(Err(refused.into())));
        }
        if let Err(refused) = self.wait_for_others(task) {
            return drop(answer.send(Err(refused)));
        }
        let is_active =
            |scope: &Scope| self.state_of(&scope.pins.pool, &task.node) == Some(NodeState::Active);
        if scopes().any(is_active) {
            return drop(answer.send(Err(TaskRefused::NotDraining(task.node.clone()))));
        }
        let endpoints = endpoints_of(&snapshot, &task.node, task.pool.as_deref());
        let numbers: Arc<[EndpointNumber]> = endpoints.iter().map(|each| each.number).collect();
        let workers = self.orders();
        tokio::spawn(async move {
            let mut taken = Concerned::default();
            for worker in &workers {
                taken += thin(worker, &numbers, most.saturating_sub(taken.sessions)).await;
            }
            let left = endpoints
                .iter()
                .map(|each| u64::from(each.sessions()))
                .sum();
            let _ = answer.send(Ok(SessionsEnded {
                ended: taken.ending(),
                sip: taken.sip,
                left,
            }));
        });
    }
}

impl Control {
    /// Tells how many sessions each partner has with a node.
    pub(super) fn census(&self, node: &str, pool: Option<&str>, answer: oneshot::Sender<Census>) {
        let snapshot = self.shared.snapshot.load_full();
        let endpoints = endpoints_of(&snapshot, node, pool);
        let workers = self.orders();
        tokio::spawn(async move {
            let mut census = Census::new();
            for endpoint in endpoints {
                census.push((endpoint.number, count(&workers, endpoint.number).await));
            }
            let _ = answer.send(census);
        });
    }
}

/// How many sessions each partner has with an endpoint.
async fn count(
    workers: &[mpsc::Sender<Order>],
    endpoint: EndpointNumber,
) -> HashMap<Arc<str>, usize> {
    let endpoints: Arc<[EndpointNumber]> = Arc::from([endpoint]);
    let (answer, mut answers) = mpsc::channel(workers.len().max(1));
    tell(workers, || Order::Census {
        endpoints: Arc::clone(&endpoints),
        answer: answer.clone(),
    })
    .await;
    drop(answer);
    let mut sum = HashMap::new();
    let heard = async {
        while let Some(of_worker) = answers.recv().await {
            for (partner, sessions) in of_worker {
                *sum.entry(partner).or_default() += sessions;
            }
        }
    };
    let _ = timeout(WORKER_TIMEOUT, heard).await;
    sum
}

/// Everywhere that the node is dialled, also where it was before it moved.
fn endpoints_of(snapshot: &Snapshot, node: &str, pool: Option<&str>) -> Vec<Arc<Endpoint>> {
    let members = snapshot.groups.iter().flat_map(|group| &group.members);
    let of_node = members.filter(|member| {
        let endpoint = &member.endpoint;
        *endpoint.node == *node && pool.is_none_or(|pool| *endpoint.pool == *pool)
    });
    of_node.map(|member| Arc::clone(&member.endpoint)).collect()
}

impl Task {
    fn word(&self) -> Arc<Word> {
        Arc::new(Word {
            by: self.by.clone(),
            reason: self.reason.clone(),
            at: Timestamp::now().as_second(),
        })
    }
}

fn told(key: &PinKey, from: &str, to: &str) -> PinMoved {
    PinMoved {
        partner: key.subject.to_string(),
        pool: key.scope.pool.to_string(),
        affinity: key.scope.affinity.to_string(),
        from: from.into(),
        to: to.into(),
        ended: 0,
        sip: 0,
        active: false,
    }
}

/// One worker takes off at most so many; one that does not answer in time does it all the same.
async fn thin(
    worker: &mpsc::Sender<Order>,
    endpoints: &Arc<[EndpointNumber]>,
    most: usize,
) -> Concerned {
    if most == 0 {
        return Concerned::default();
    }
    let (answer, mut answered) = mpsc::channel(1);
    let order = Order::Thin {
        endpoints: Arc::clone(endpoints),
        most,
        answer,
    };
    let asked = async {
        worker.send(order).await.ok()?;
        answered.recv().await
    };
    timeout(WORKER_TIMEOUT, asked)
        .await
        .ok()
        .flatten()
        .unwrap_or_default()
}

const WORKER_TIMEOUT: Duration = Duration::from_secs(2);
