//! Finding nodes whose probes cannot see that their process stands still.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Court, Heard, Told, Watched};
use crate::clock::Moment;
use crate::config::model::ProbeKind;
use crate::pool::health::{Event, State};
use crate::pool::traffic::{MUTE_AFTER, Traffic};
use crate::relay::session::Survey;
use crate::snapshot::Endpoint;
use crate::worker::{Order, Surveyed};

/// A node that may be mute.
struct Suspicion {
    node: Arc<str>,
    /// When the governor was last late.
    late: Option<Moment>,
    endpoint: Arc<Endpoint>,
    siblings: Vec<Arc<Endpoint>>,
}

impl Court {
    /// Asks workers about every node of which nothing was heard for long although it was asked, where its
    /// probes say nothing.
    pub(super) fn look_for_mute(&mut self, now: Moment) {
        for index in 0..self.watched.len() {
            let Some(watched) = self.watched.get_mut(index) else {
                return;
            };
            let suspicions = watched.suspicions(now);
            let group = watched.plan.key.clone();
            for suspicion in suspicions {
                let of = Surveyed::Endpoint(suspicion.endpoint.number);
                let survey = self.survey(&of);
                let (group, told) = (group.clone(), self.told.clone());
                tokio::task::spawn_local(async move {
                    let survey = survey.await;
                    if suspicion.is_true(&survey) {
                        // A full queue means thousands of answers wait; the next look asks again.
                        let _ = told.try_send(Told::Node {
                            group,
                            node: suspicion.node,
                            endpoint: suspicion.endpoint.number,
                            what: Heard::Event(Event::Mute),
                        });
                    }
                });
            }
        }
    }

    /// What sessions are doing, in all workers that answer in time.
    pub(super) fn survey(&self, of: &Surveyed) -> impl Future<Output = Survey> + use<> {
        let (answer, mut answers) = mpsc::channel(self.workers.len().max(1));
        self.workers.ask(|| Order::Survey {
            of: of.clone(),
            answer: answer.clone(),
        });
        async move {
            let mut all = Survey::default();
            let added = async {
                while let Some(survey) = answers.recv().await {
                    all.add(&survey);
                }
            };
            let _ = timeout(WORKERS_TIMEOUT, added).await;
            all
        }
    }
}

impl Watched {
    /// Nodes that are asked and say nothing, each told of once in a while.
    fn suspicions(&mut self, now: Moment) -> Vec<Suspicion> {
        if !matches!(self.plan.probe.kind, ProbeKind::Tcp | ProbeKind::None) {
            return Vec::new();
        }
        let is_silent = |endpoint: &Endpoint| {
            let (asked, heard) = endpoint.traffic();
            let since = asked.map(|asked| heard.map_or(asked, |heard| heard.max(asked)));
            since.is_some_and(|since| now.since(since) >= MUTE_AFTER)
        };
        if self
            .surveyed
            .is_some_and(|(at, apart)| now.since(at) < apart)
        {
            return Vec::new();
        }
        let members = || self.plan.members.iter().filter(|member| !member.is_removed);
        let view = self.group.view();
        let is_up = |node: &str| {
            let mut members = view.iter().filter(|member| *member.node == *node);
            members.any(|member| matches!(member.state, State::Up | State::Suspect))
        };
        let suspicions: Vec<_> = members()
            .filter(|member| is_up(&member.name) && is_silent(&member.endpoint))
            .map(|member| Suspicion {
                node: Arc::clone(&member.name),
                late: self.late,
                endpoint: Arc::clone(&member.endpoint),
                siblings: members()
                    .filter(|other| other.name != member.name)
                    .map(|other| Arc::clone(&other.endpoint))
                    .collect(),
            })
            .collect();
        // One client that waits in vain may do so for hours.
        self.surveyed = (!suspicions.is_empty()).then(|| {
            let before = self.surveyed.map_or(SURVEYS_APART / 2, |(_, apart)| apart);
            (now, (2 * before).min(SURVEYS_APART_MAX))
        });
        suspicions
    }
}

impl Suspicion {
    fn is_true(&self, survey: &Survey) -> bool {
        let (_, heard) = self.endpoint.traffic();
        let traffic_of_node = Traffic {
            asked: survey.waits_since(0),
            also_asked: survey.waits_since(1),
            heard,
            late: self.late.max(survey.late),
        };
        let siblings = self.siblings.iter();
        let sibling_heard = siblings.filter_map(|sibling| sibling.traffic().1).max();
        traffic_of_node.is_mute(sibling_heard, Moment::now())
    }
}

/// A survey looks at every session of a node; an answer that does not come at once is asked for again.
const SURVEYS_APART: Duration = Duration::from_millis(100);
const SURVEYS_APART_MAX: Duration = Duration::from_millis(800);
/// A worker that is busy for so long has nothing to tell that would be true.
const WORKERS_TIMEOUT: Duration = Duration::from_millis(500);
