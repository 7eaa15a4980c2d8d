//! Building snapshots, and carrying over by identity what outlives them.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::sync::{Arc, Weak};

use super::{
    Admission, Endpoint, GroupKey, GroupPlan, Listener, ListenerState, MemberPlan, Scope, Seat,
    Snapshot, Termination,
};
use crate::addr::NodeAddr;
use crate::config::model::{self, Config, NodeState};
use crate::partner::presence::Presence;
use crate::partner::resolved::Addresses;
use crate::partner::table::PartnerTable;
use crate::pool::health::Timing;
use crate::pool::pace::{Pace, Recovery};
use crate::pool::pins::PinScope;
use crate::pool::select::{Standing, WARM};
use crate::tls;

/// Knows every endpoint and listener that lives. Belongs to control; builds one snapshot at a time.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    numbers: u32,
    revision: u64,
    edition: u64,
    endpoints: HashMap<EndpointKey, Known>,
    listeners: HashMap<Arc<str>, Arc<ListenerState>>,
    /// What clients' TLS is ended by, by name of the listener: their sessions go on across reloads.
    terminations: HashMap<Arc<str>, tls::InForce>,
    /// Listeners of this and earlier snapshots: a client that came in by one may dial its nodes yet.
    handed_out: Vec<Weak<Listener>>,
    partners: (Vec<model::Partner>, Arc<PartnerTable>),
    /// By name of the partner: one that is written down again finds its sessions.
    presences: HashMap<Box<str>, Arc<Presence>>,
    /// By pool.
    recoveries: HashMap<Arc<str>, Arc<Recovery>>,
    /// By pool and node.
    paces: HashMap<(Arc<str>, Arc<str>), Arc<Pace>>,
}

type EndpointKey = (GroupKey, Arc<str>, NodeAddr);

#[derive(Debug)]
struct Known {
    endpoint: Arc<Endpoint>,
    manner: Manner,
}

/// How an endpoint is asked, beside what its group's key says.
#[derive(Debug)]
struct Manner {
    probed: NodeAddr,
    proxy_protocol: model::ProxySend,
    tls: Option<Arc<tls::Client>>,
}

impl Registry {
    /// An empty registry for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            numbers: 0,
            revision: 0,
            edition: 0,
            endpoints: HashMap::new(),
            listeners: HashMap::new(),
            terminations: HashMap::new(),
            handed_out: Vec::new(),
            partners: (Vec::new(), Arc::default()),
            presences: HashMap::new(),
            recoveries: HashMap::new(),
            paces: HashMap::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    /// The next snapshot. Nothing that serves has changed until it is published.
    pub fn build(&mut self, config: &Arc<Config>) -> Snapshot {
        self.revision += 1;
        let offer = config.server.kernel_tls.then(tls::Offer::of_this_kernel);
        let in_use = self.in_use();
        let mut groups: Vec<GroupPlan> = Vec::new();
        let mut listeners: Vec<Listener> = config
            .listeners
            .iter()
            .filter_map(|listener| {
                let pool = config
                    .pools
                    .iter()
                    .find(|pool| pool.name == listener.pool)?;
                Some(self.listener(listener, pool, &mut groups, offer))
            })
            .collect();
        let live = endpoints_of(&groups);
        self.retire(config, &groups, &live, &in_use);
        self.add_retired(&mut groups, &live);
        Scope::join(&mut listeners);
        let listeners: Vec<_> = listeners.into_iter().map(Arc::new).collect();
        self.handed_out.extend(listeners.iter().map(Arc::downgrade));
        if self.partners.0 != config.partners {
            let resolved = Arc::clone(self.partners.1.resolved());
            let table = self.partners_of(config).with_resolved(resolved);
            self.partners = (config.partners.clone(), Arc::new(table));
        }
        self.edition += 1;
        Snapshot {
            revision: self.revision,
            edition: self.edition,
            config: Arc::clone(config),
            scopes: Scope::all_of(&listeners),
            listeners,
            groups,
            partners: Arc::clone(&self.partners.1),
        }
    }

    /// `snapshot`, which must be the last one, where DNS says `resolved`: another edition of the same
    /// revision.
    pub fn name(&mut self, snapshot: &Snapshot, resolved: Arc<Addresses>) -> Snapshot {
        self.edition += 1;
        self.partners.1 = Arc::new(self.partners.1.with_resolved(resolved));
        Snapshot {
            revision: snapshot.revision,
            edition: self.edition,
            config: Arc::clone(&snapshot.config),
            listeners: snapshot.listeners.clone(),
            scopes: Arc::clone(&snapshot.scopes),
            groups: snapshot.groups.clone(),
            partners: Arc::clone(&self.partners.1),
        }
    }

    fn partners_of(&mut self, config: &Config) -> PartnerTable {
        let (presences, workers) = (&mut self.presences, self.workers);
        // A session of a partner that is gone holds what counts it.
        presences.retain(|_, each| Arc::strong_count(each) > 1);
        PartnerTable::counted_by(&config.partners, |name| {
            let presence = presences.entry(name.into());
            Arc::clone(presence.or_insert_with(|| Arc::new(Presence::new(workers))))
        })
    }

    /// Endpoints that have a session, or may yet get one from a client that came in by an earlier
    /// snapshot.
    fn in_use(&mut self) -> HashSet<u32> {
        self.handed_out
            .retain(|listener| listener.strong_count() > 0);
        let mut numbers = HashSet::new();
        for listener in self.handed_out.iter().filter_map(Weak::upgrade) {
            numbers.extend(listener.nodes.iter().map(|seat| seat.endpoint.number));
        }
        let busy = self
            .endpoints
            .values()
            .filter(|known| known.endpoint.sessions() > 0);
        numbers.extend(busy.map(|known| known.endpoint.number));
        numbers
    }

    /// Forgets what nobody uses any more: of a group that is gone nothing while one of it is in use.
    fn retire(
        &mut self,
        config: &Config,
        groups: &[GroupPlan],
        live: &HashSet<u32>,
        in_use: &HashSet<u32>,
    ) {
        let keys: HashSet<&GroupKey> = groups.iter().map(|plan| &plan.key).collect();
        let is_used = |known: &Known| in_use.contains(&known.endpoint.number);
        let used = self.endpoints.iter().filter(|(_, known)| is_used(known));
        let kept: HashSet<GroupKey> = used
            .map(|((key, _, _), _)| key)
            .filter(|key| !keys.contains(key))
            .cloned()
            .collect();
        self.endpoints.retain(|(key, _, _), known| {
            let is_live = live.contains(&known.endpoint.number);
            is_live || is_used(known) || kept.contains(key)
        });
        let endpoints = || self.endpoints.values().map(|known| &known.endpoint);
        let kept: HashSet<_> = endpoints()
            .map(|each| (Arc::clone(&each.pool), Arc::clone(&each.node)))
            .collect();
        self.paces.retain(|name, _| kept.contains(name));
        let pools: HashSet<_> = kept.iter().map(|(pool, _)| pool).collect();
        self.recoveries.retain(|pool, _| pools.contains(pool));
        let named: HashSet<&str> = config.listeners.iter().map(|each| &*each.name).collect();
        self.terminations.retain(|name, _| named.contains(&**name));
        self.listeners
            .retain(|name, state| named.contains(&**name) || state.sessions() > 0);
    }

    fn listener(
        &mut self,
        config: &model::Listener,
        pool: &model::Pool,
        groups: &mut Vec<GroupPlan>,
        offer: Option<&'static tls::Offer>,
    ) -> Listener {
        let state = self.listener_state(&config.name);
        let termination = self.termination(config, &state.name, offer);
        let affinity: Arc<str> = Arc::from(config.affinity.as_str());
        let plan = self.group(config, pool, groups);
        plan.listeners.push(Arc::clone(&state.name));
        if !plan.affinities.contains(&affinity) {
            plan.affinities.push(Arc::clone(&affinity));
        }
        let nodes = plan
            .members
            .iter()
            .map(|member| Seat {
                endpoint: Arc::clone(&member.endpoint),
                weight: member.weight,
                siblings: Box::default(),
            })
            .collect();
        Listener {
            config: config.clone(),
            pool: Arc::clone(&plan.key.pool),
            pin_scope: Arc::new(PinScope {
                pool: Arc::clone(&plan.key.pool),
                affinity,
            }),
            balance: pool.balance,
            max_share: pool.max_share,
            max_new_per_node: pool.max_new_per_node,
            sources: Arc::clone(&plan.sources),
            nodes,
            termination,
            state,
        }
    }

    fn termination(
        &mut self,
        config: &model::Listener,
        name: &Arc<str>,
        offer: Option<&'static tls::Offer>,
    ) -> Option<Termination> {
        let Some(termination) = &config.termination else {
            self.terminations.remove(name);
            return None;
        };
        let clients = termination.clients.in_force(self.terminations.get(name));
        self.terminations.insert(Arc::clone(name), clients.clone());
        Some(Termination {
            clients: clients.config,
            nodes: termination.nodes.clone(),
            kernel: offer.filter(|_| termination.may_be_kernels()),
            protocol: termination.protocol.clone(),
        })
    }

    /// The group that judges the nodes of `listener`: one that an earlier listener made, where that
    /// one asks the same at the same times.
    fn group<'a>(
        &mut self,
        listener: &model::Listener,
        pool: &model::Pool,
        groups: &'a mut Vec<GroupPlan>,
    ) -> &'a mut GroupPlan {
        let timing = Timing::new(&listener.probe, pool);
        let mut key = GroupKey {
            pool: Arc::from(pool.name.as_str()),
            family: listener.family,
            node_port: listener.node_port,
            is_udp: listener.service.is_udp(),
            kind: listener.probe.kind,
            http: listener.probe.http.clone(),
            probe_port: listener.probe.port,
            variant: None,
        };
        let fits = |plan: &GroupPlan| {
            plan.timing == timing
                && plan.proxy_protocol == listener.proxy_protocol_send
                && plan.probe.tls == listener.probe.tls
                && plan.needs.iter().map(|need| &**need).eq(&listener.needs)
        };
        let position = match groups.iter().position(|plan| plan.key == key) {
            Some(position) if groups.get(position).is_some_and(fits) => Some(position),
            Some(_) => {
                key.variant = Some(Arc::from(listener.name.as_str()));
                None
            }
            None => None,
        };
        let position = position.unwrap_or_else(|| {
            let members = pool
                .nodes
                .iter()
                .map(|node| self.member(&key, node, listener))
                .collect();
            groups.push(GroupPlan {
                key,
                probe: listener.probe.clone(),
                timing,
                listeners: Vec::new(),
                affinities: Vec::new(),
                sources: pool.source_addresses.as_slice().into(),
                needs: listener
                    .needs
                    .iter()
                    .map(|need| Arc::from(need.as_str()))
                    .collect(),
                members,
                proxy_protocol: listener.proxy_protocol_send,
            });
            groups.len() - 1
        });
        &mut groups[position]
    }

    fn member(
        &mut self,
        key: &GroupKey,
        node: &model::Node,
        listener: &model::Listener,
    ) -> MemberPlan {
        let address = node.address(key.family);
        let at =
            |port: u16| NodeAddr::new(SocketAddr::new(address.ip, address.port.unwrap_or(port)));
        let probed = at(key.probe_port);
        let manner = Manner {
            probed,
            proxy_protocol: listener.proxy_protocol_send,
            tls: listener.probe.tls.clone(),
        };
        let endpoint = self.endpoint(key, &node.name, at(key.node_port), manner);
        MemberPlan {
            name: Arc::clone(&endpoint.node),
            endpoint,
            probed,
            weight: node.weight,
            configured: node.state,
            is_removed: false,
        }
    }

    fn endpoint(
        &mut self,
        key: &GroupKey,
        node: &str,
        address: NodeAddr,
        manner: Manner,
    ) -> Arc<Endpoint> {
        let identity = (key.clone(), Arc::from(node), address);
        if let Some(known) = self.endpoints.get_mut(&identity) {
            known.manner = manner;
            return Arc::clone(&known.endpoint);
        }
        let endpoint = Arc::new(Endpoint {
            number: self.number(),
            pool: Arc::clone(&key.pool),
            node: Arc::clone(&identity.1),
            address,
            standing: AtomicU8::new(Standing::Unproven.as_u8()),
            warmth: AtomicU8::new(WARM),
            pace: self.pace(&key.pool, &identity.1),
            slots: slots(self.workers),
        });
        let known = Known {
            endpoint: Arc::clone(&endpoint),
            manner,
        };
        self.endpoints.insert(identity, known);
        endpoint
    }

    /// The pace of a node, the same for all of its endpoints.
    fn pace(&mut self, pool: &Arc<str>, node: &Arc<str>) -> Arc<Pace> {
        let recovery = self.recoveries.entry(Arc::clone(pool)).or_default();
        let name = (Arc::clone(pool), Arc::clone(node));
        let pace = self
            .paces
            .entry(name)
            .or_insert_with(|| Arc::new(Pace::new(Arc::clone(recovery))));
        Arc::clone(pace)
    }

    fn listener_state(&mut self, name: &str) -> Arc<ListenerState> {
        if let Some(state) = self.listeners.get(name) {
            return Arc::clone(state);
        }
        let state = Arc::new(ListenerState {
            number: self.number(),
            name: Arc::from(name),
            admission: Arc::new(Admission::default()),
            turn: AtomicU64::new(0),
            slots: slots(self.workers),
        });
        self.listeners
            .insert(Arc::clone(&state.name), Arc::clone(&state));
        state
    }

    /// Keeps under the governor's eyes what the file has removed, while a session is there or may yet
    /// come by an earlier snapshot. Members of a group that is gone stay together: what one of them is
    /// worth shows by the others.
    fn add_retired(&self, groups: &mut Vec<GroupPlan>, live: &HashSet<u32>) {
        let retired = self.endpoints.iter();
        for ((key, _, _), known) in
            retired.filter(|(_, known)| !live.contains(&known.endpoint.number))
        {
            let place = groups.iter().position(|plan| plan.key == *key);
            let place = place.unwrap_or_else(|| {
                groups.push(GroupPlan::retired(key, known));
                groups.len() - 1
            });
            if let Some(plan) = groups.get_mut(place) {
                plan.members.push(plan.removed(known));
            }
        }
    }

    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }
}

impl GroupPlan {
    /// An endpoint of the group that the file does not have any more. A node that has moved has two
    /// endpoints, which must not be taken for one another.
    fn removed(&self, known: &Known) -> MemberPlan {
        let endpoint = &known.endpoint;
        let is_taken = self.members.iter().any(|each| each.name == endpoint.node);
        MemberPlan {
            name: if is_taken {
                format!("{} (was {})", endpoint.node, endpoint.address).into()
            } else {
                Arc::clone(&endpoint.node)
            },
            endpoint: Arc::clone(endpoint),
            probed: known.manner.probed,
            weight: 1,
            configured: NodeState::Disabled,
            is_removed: true,
        }
    }

    /// A group that no listener has any more: its nodes are asked at the calm pace of the presets
    /// until their sessions have ended.
    fn retired(key: &GroupKey, known: &Known) -> Self {
        let probe = model::Probe {
            kind: key.kind,
            port: key.probe_port,
            interval: std::time::Duration::from_secs(2),
            fast_interval: std::time::Duration::from_millis(250),
            timeout: std::time::Duration::from_secs(1),
            silence: std::time::Duration::from_secs(3),
            fall: 2,
            rise: 3,
            http: key.http.clone(),
            tls: known.manner.tls.clone(),
        };
        Self {
            key: key.clone(),
            timing: Timing::retired(&probe),
            probe,
            listeners: Vec::new(),
            affinities: Vec::new(),
            sources: Arc::default(),
            needs: Vec::new(),
            members: Vec::new(),
            proxy_protocol: known.manner.proxy_protocol,
        }
    }
}

/// Numbers of the endpoints that are members of a group.
fn endpoints_of(groups: &[GroupPlan]) -> HashSet<u32> {
    let members = groups.iter().flat_map(|plan| &plan.members);
    members.map(|member| member.endpoint.number).collect()
}

fn slots<T: Default>(workers: usize) -> Box<[T]> {
    (0..workers.max(1)).map(|_| T::default()).collect()
}
