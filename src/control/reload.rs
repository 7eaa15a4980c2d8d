//! Reloading: load, check, diff, bind what is new, publish, retire what is gone.
//!
//! Whatever can fail comes before the publish; after it nothing can. A bad file changes nothing, an
//! unchanged one not even the revision.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::adoption::{Adopted, Ground, adopt, adopted};
use super::doors::tell;
use super::error::{ReloadError, StartError};
use super::pins::durable;
use super::{Control, PinAdopted, Reloaded, Shared, notify};
use crate::clock::Moment;
use crate::config::diff::{Changes, diff};
use crate::config::model::Config;
use crate::governor::Command;
use crate::partner::table::PartnerTable;
use crate::relay::session::{EndpointNumber, Interrupt};
use crate::snapshot::{Endpoint, ListenerState, Snapshot};
use crate::telemetry::log;
use crate::worker::{Order, Whose};

impl Control {
    /// Loads the configuration again and puts it in force, or only says what that would do.
    pub(super) async fn reload(
        &mut self,
        is_plan: bool,
        by: &str,
    ) -> Result<Reloaded, ReloadError> {
        notify::reloading();
        let result = self.try_reload(is_plan, by).await;
        match &result {
            Ok(done) if !is_plan => {
                tracing::info!(revision = done.revision, by, "reload: {}", done.summary);
                for key in &done.restart_needed {
                    tracing::warn!(key, "reload: this key needs a restart");
                }
                self.shared.last_failure.store(None.into());
                self.shared.asking.ask_again().await;
                let keys = done.restart_needed.clone();
                self.shared.restart_needed.store(keys.into());
            }
            Ok(_) => {}
            Err(_) if is_plan => {}
            Err(error) => self.note_failure(error),
        }
        notify::ready();
        result
    }

    async fn try_reload(&mut self, is_plan: bool, by: &str) -> Result<Reloaded, ReloadError> {
        let loaded = self.source.load().map_err(ReloadError::Configuration)?;
        if !loaded.config.unavailable.is_empty() {
            return Err(StartError::Unavailable(loaded.config.unavailable).into());
        }
        self.shared.sandbox.permit(&loaded.config)?;
        let changes = diff(&self.config, &loaded.config);
        let warnings = loaded.warnings.lines();
        let config = Arc::new(keep_what_needs_a_restart(loaded.config, &self.config));
        let gone = Gone::between(&self.shared.snapshot.load(), &config);
        let adopted = self.adopted(&config);
        let mut done = Reloaded {
            revision: self.shared.snapshot.load().revision,
            changed: !changes.is_empty(),
            summary: changes.to_string(),
            restart_needed: changes
                .restart_needed
                .iter()
                .map(ToString::to_string)
                .collect(),
            warnings,
            sessions_draining: gone.sessions(),
            adopted: adopted.iter().map(PinAdopted::from).collect(),
        };
        if is_plan || changes.is_empty() || is_only_restart(&changes) {
            return Ok(done);
        }
        let prepared = self.doors.prepare(&config)?;
        let readable = self.admin.views.prepare(&config)?;

        let snapshot = Arc::new(self.registry.build(&config));
        done.revision = snapshot.revision;
        // First, so that no connection of a partner finds it without its pin.
        adopt(&adopted, &self.shared.pins, Moment::now());
        self.shared.snapshot.store(Arc::clone(&snapshot));
        self.config = config;

        let workers = self.orders();
        tell(&workers, || Order::Refresh).await;
        self.doors.commit(prepared, &snapshot, &workers).await;
        self.shared.bound.store(self.doors.bound().into());
        self.admin.views.commit(readable, &self.shared);
        self.forget_pins(&changes);
        let _ = self
            .shared
            .governor
            .send(Command::Watch(Arc::clone(&snapshot)))
            .await;
        self.shared.asking.configure(Arc::clone(&self.config)).await;
        log::set_level(self.config.log.level);
        self.shared.pins.set_max(self.config.server.max_pins);
        self.drain(gone, &snapshot);
        // What an administrator is told of pins has to last, as every change by hand.
        if !adopted.is_empty()
            && let Err(error) = durable(&self.shared).await
        {
            tracing::warn!(%error, "reload: the pins that it handed on are in force, and not on the disk yet");
        }
        tracing::debug!(by, "published");
        Ok(done)
    }

    /// The pins that are about somebody else where `config` is in force.
    fn adopted(&self, config: &Config) -> Vec<Adopted> {
        let before = self.shared.snapshot.load();
        let resolved = Arc::clone(before.partners.resolved());
        let after = PartnerTable::new(&config.partners).with_resolved(resolved);
        let ground = |config, partners| Ground { config, partners };
        let before = ground(&*before.config, &*before.partners);
        let grounds = (before, ground(config, &after));
        let Shared {
            recognition, pins, ..
        } = &*self.shared;
        adopted(grounds, recognition, pins, Moment::now())
    }

    /// Pins name nodes and partners; what is gone takes its pins along.
    fn forget_pins(&self, changes: &Changes) {
        for node in &changes.nodes.removed {
            self.shared.pins.forget_node(&node.pool, &node.node);
        }
        for partner in &changes.partners.removed {
            self.shared.pins.forget_partner(partner);
        }
    }

    /// Sessions of what is gone live on for `drain_timeout`, and longer if it comes back by then.
    fn drain(&self, gone: Gone, snapshot: &Snapshot) {
        let (departures, revision) = (self.departures.clone(), snapshot.revision);
        departures.note(&gone, snapshot);
        if gone.is_empty() {
            return;
        }
        let (workers, limit) = (self.orders(), self.config.server.drain_timeout);
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            for of in gone.whose() {
                if !departures.settle(of, revision) {
                    continue;
                }
                let with = match of {
                    Whose::Listener(_) => Interrupt::ListenerRemoved,
                    Whose::Endpoint(_) | Whose::All => Interrupt::NodeRemoved,
                };
                tell(&workers, || Order::Interrupt { of, with }).await;
            }
        });
    }
}

/// The revision that took each endpoint or listener away, by number. Who came back, and perhaps went
/// again, is not cut by the deadline of the first time.
#[derive(Clone, Debug, Default)]
pub(super) struct Departures(Arc<Mutex<HashMap<u32, u64>>>);

impl Departures {
    /// Forgets what `snapshot` has, and notes what it has not any more.
    fn note(&self, gone: &Gone, snapshot: &Snapshot) {
        let members = snapshot.groups.iter().flat_map(|group| &group.members);
        let endpoints = members
            .filter(|member| !member.is_removed)
            .map(|member| member.endpoint.number);
        let listeners = snapshot.listeners.iter().map(|each| each.state.number);
        let mut departed = self.departed();
        for number in endpoints.chain(listeners) {
            departed.remove(&number);
        }
        for of in gone.whose() {
            departed.entry(number(of)).or_insert(snapshot.revision);
        }
    }

    /// Whether `whose` is gone since this very revision; it is forgotten then.
    fn settle(&self, whose: Whose, revision: u64) -> bool {
        let mut departed = self.departed();
        let is_due = departed.get(&number(whose)) == Some(&revision);
        if is_due {
            departed.remove(&number(whose));
        }
        is_due
    }

    fn departed(&self) -> MutexGuard<'_, HashMap<u32, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Endpoints and listeners are numbered alike; zero is none.
const fn number(whose: Whose) -> u32 {
    match whose {
        Whose::Endpoint(number) | Whose::Listener(number) => number,
        Whose::All => 0,
    }
}

/// What a reload takes away.
struct Gone {
    endpoints: Vec<Arc<Endpoint>>,
    listeners: Vec<Arc<ListenerState>>,
}

impl Gone {
    fn between(old: &Snapshot, new: &Config) -> Self {
        let named: HashSet<&str> = new.listeners.iter().map(|each| &*each.name).collect();
        let listeners = old
            .listeners
            .iter()
            .filter(|listener| !named.contains(&*listener.config.name));
        let dialled = dialled(new);
        let mut seen: HashSet<EndpointNumber> = HashSet::new();
        let endpoints = old
            .groups
            .iter()
            .flat_map(|group| &group.members)
            .filter(|member| {
                let endpoint = &member.endpoint;
                let place = (&*endpoint.pool, &*endpoint.node, endpoint.address.socket());
                !dialled.contains(&place) && seen.insert(endpoint.number)
            });
        Self {
            endpoints: endpoints
                .map(|member| Arc::clone(&member.endpoint))
                .collect(),
            listeners: listeners
                .map(|listener| Arc::clone(&listener.state))
                .collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.listeners.is_empty()
    }

    fn sessions(&self) -> u64 {
        let of_listeners: u64 = self
            .listeners
            .iter()
            .map(|listener| listener.sessions())
            .sum();
        let of_endpoints: u64 = self
            .endpoints
            .iter()
            .map(|endpoint| u64::from(endpoint.sessions()))
            .sum();
        of_listeners.max(of_endpoints)
    }

    fn whose(&self) -> impl Iterator<Item = Whose> {
        let listeners = self
            .listeners
            .iter()
            .map(|listener| Whose::Listener(listener.number));
        let endpoints = self
            .endpoints
            .iter()
            .map(|endpoint| Whose::Endpoint(endpoint.number));
        listeners.chain(endpoints)
    }
}

/// Whom the listeners of `config` dial: pool, node and address.
fn dialled(config: &Config) -> HashSet<(&str, &str, SocketAddr)> {
    let mut dialled = HashSet::new();
    for listener in &config.listeners {
        let mut pools = config.pools.iter();
        let Some(pool) = pools.find(|pool| pool.name == listener.pool) else {
            continue;
        };
        dialled.extend(pool.nodes.iter().map(|node| {
            let address = node.address(listener.family);
            let port = address.port.unwrap_or(listener.node_port);
            (&*pool.name, &*node.name, SocketAddr::new(address.ip, port))
        }));
    }
    dialled
}

/// The new configuration, with what cannot change while the process runs as it was: the file in force
/// must say what is in force.
fn keep_what_needs_a_restart(mut new: Config, old: &Config) -> Config {
    new.server.workers = old.server.workers;
    new.server.admin = old.server.admin.clone();
    new.server.state_dir.clone_from(&old.server.state_dir);
    new.server
        .placement_key
        .clone_from(&old.server.placement_key);
    new.server
        .admin_token_file
        .clone_from(&old.server.admin_token_file);
    new.server.sandbox.clone_from(&old.server.sandbox);
    new.log.format = old.log.format;
    new
}

fn is_only_restart(changes: &Changes) -> bool {
    let rest = Changes {
        restart_needed: Vec::new(),
        ..changes.clone()
    };
    rest.is_empty()
}
