//! One question to DNS servers, and what is made of whatever comes back.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::Resolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record as Answer, RecordType};
use tokio::time::timeout;

use super::sockets::Sockets;
use crate::config::model::Resolve;
use crate::confine::files::{self, Wish};
use crate::partner::resolved::{Failure, Family, Heard, Question, Record};

/// Who is asked.
#[derive(Clone)]
pub(super) struct Asker {
    /// `None`: there is no server.
    resolver: Option<Resolver<Sockets>>,
    /// Whether it has been said that they are no longer to be found out.
    is_told: bool,
}

impl Asker {
    pub(super) fn new(resolve: &Resolve) -> Self {
        let built = match (resolve.names, resolve.servers.is_empty()) {
            (false, _) => None,
            (true, true) => Resolver::builder(Sockets::default()).ok(),
            (true, false) => {
                let servers = resolve.servers.iter().copied().map(server).collect();
                let config = ResolverConfig::from_name_servers(servers);
                Some(Resolver::builder_with_config(config, Sockets::default()))
            }
        };
        let resolver = built.and_then(|mut builder| {
            limit(builder.options_mut());
            builder.build().ok()
        });
        Self {
            resolver,
            is_told: false,
        }
    }

    /// As [`new`](Self::new), with what the system's configuration says by now. Where the sandbox hides that, because
    /// the file has been replaced, who was asked before is asked on.
    pub(super) fn renew(&mut self, resolve: &Resolve) {
        let new = Self::new(resolve);
        let is_systems = resolve.names && resolve.servers.is_empty();
        let is_lost = is_systems && new.resolver.is_none() && self.resolver.is_some();
        if !is_lost || !files::hides(Path::new(SERVERS), Wish::Read) {
            *self = new;
        } else if !self.is_told {
            tracing::warn!(
                file = SERVERS,
                remedy = "restart pinfold, or write `servers` in [resolve]",
                "resolve-servers: the file was replaced and is out of the sandbox's reach; the servers that were known \
                 are asked"
            );
            self.is_told = true;
        }
    }

    /// Asks; whatever happens, for no longer than [`LONGEST`].
    pub(super) fn ask(&self, question: Question) -> impl Future<Output = Heard> + Send + use<> {
        let resolver = self.resolver.clone();
        async move {
            let Some(resolver) = resolver else {
                return Heard::Failed(Failure::NoServer);
            };
            let heard = async {
                match &question {
                    Question::Addresses(name) => addresses(&resolver, name).await,
                    Question::Service(domain) => service(&resolver, domain).await,
                }
            };
            let heard = timeout(LONGEST, heard).await;
            heard.unwrap_or(Heard::Failed(Failure::Timeout))
        }
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn limit(options: &mut ResolverOpts) {
    options.timeout = Duration::from_secs(2);
    options.attempts = 1;
    // A port that the system leaves to clients, at random: no listener finds its own taken.
    options.os_port_selection = true;
    // What is known, and for how long, is ours to say.
    options.cache_size = 0;
    // DNS is asked, not this machine: the file says who a partner is where DNS does not.
    options.use_hosts_file = ResolveHosts::Never;
    // So that it shows which records belong to the name that was asked.
    options.preserve_intermediates = true;
}

async fn addresses(resolver: &Resolver<Sockets>, name: &str) -> Heard {
    let Some(name) = absolute(name) else {
        return Heard::Failed(Failure::Unusable);
    };
    let (v4, v6) = tokio::join!(
        resolver.lookup(name.clone(), RecordType::A),
        resolver.lookup(name.clone(), RecordType::AAAA)
    );
    let address = |data: &RData| {
        if let RData::A(ip) = data {
            return Some(IpAddr::V4(ip.0));
        }
        if let RData::AAAA(ip) = data {
            return Some(IpAddr::V6(ip.0));
        }
        None
    };
    match (read(v4, &name, address), read(v6, &name, address)) {
        (Ok((mut found, ttl)), Ok((more, other))) => {
            found.extend(more);
            let (unheard, ttl) = (None, ttl.min(other));
            Heard::Addresses {
                found,
                unheard,
                ttl,
            }
        }
        (Ok((found, ttl)), Err(failure)) => one_family(found, ttl, Family::V6, failure),
        (Err(failure), Ok((found, ttl))) => one_family(found, ttl, Family::V4, failure),
        // That there is no such name says more than that it has none of these records.
        (Err(Failure::Empty), Err(failure)) | (Err(failure), Err(_)) => Heard::Failed(failure),
    }
}

/// One family has answered; the other has none, or could not be asked.
fn one_family(found: Vec<IpAddr>, ttl: Duration, other: Family, failure: Failure) -> Heard {
    let unheard = (!failure.is_word()).then_some(other);
    Heard::Addresses {
        found,
        unheard,
        ttl,
    }
}

async fn service(resolver: &Resolver<Sockets>, domain: &str) -> Heard {
    let Some(name) = absolute(&format!("_sipfederationtls._tcp.{domain}")) else {
        return Heard::Failed(Failure::Unusable);
    };
    let record = |data: &RData| {
        let RData::SRV(srv) = data else { return None };
        Some(Record {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: plain(&srv.target),
        })
    };
    let answer = resolver.lookup(name.clone(), RecordType::SRV).await;
    match read(answer, &name, record) {
        Ok((found, ttl)) => Heard::Service { found, ttl },
        Err(failure) => Heard::Failed(failure),
    }
}

/// What `pick` takes from the answer to `name`, and how long it holds.
fn read<T>(
    answer: Result<Lookup, NetError>,
    name: &Name,
    pick: impl Fn(&RData) -> Option<T>,
) -> Result<(Vec<T>, Duration), Failure> {
    let answer = answer.map_err(|error| failure(&error))?;
    let (chain, mut ttl) = chain(answer.answers(), name);
    let mut found = Vec::new();
    for record in answer.answers() {
        if let Some(picked) = pick(&record.data).filter(|_| chain.contains(&&record.name)) {
            ttl = ttl.min(record.ttl);
            found.push(picked);
        }
    }
    if found.is_empty() {
        return Err(Failure::Empty);
    }
    Ok((found, Duration::from_secs(ttl.into())))
}

/// `name` and what it is another name of, and the least TTL on the way. An answer may carry records that
/// nobody asked for; these are not its.
fn chain<'a>(answers: &'a [Answer], name: &'a Name) -> (Vec<&'a Name>, u32) {
    let (mut chain, mut ttl) = (vec![name], u32::MAX);
    while let Some(last) = chain.last().filter(|_| chain.len() < CHAIN_MAX) {
        let next = answers.iter().find_map(|record| {
            let RData::CNAME(target) = &record.data else {
                return None;
            };
            (record.name == **last).then_some((&target.0, record.ttl))
        });
        let Some((next, its)) = next.filter(|(next, _)| !chain.contains(next)) else {
            break;
        };
        chain.push(next);
        ttl = ttl.min(its);
    }
    (chain, ttl)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "there are many ways to fail, and more to come"
)]
fn failure(error: &NetError) -> Failure {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Failure::NoSuchName,
            ResponseCode::NoError => Failure::Empty,
            _ => Failure::ServerFailure,
        },
        NetError::Dns(_) => Failure::ServerFailure,
        NetError::Timeout => Failure::Timeout,
        NetError::NoConnections | NetError::Io(_) | NetError::Busy => Failure::NoServer,
        _ => Failure::Unusable,
    }
}

/// Never with the search list of this machine.
fn absolute(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).ok()
}

/// In lower case, without the final dot; the root is empty.
fn plain(name: &Name) -> Arc<str> {
    let text = name.to_ascii().to_ascii_lowercase();
    Arc::from(text.trim_end_matches('.'))
}

/// Of one question, all servers, attempts and further names included.
/// Where the system says whom to ask: `resolv.conf(5)`.
const SERVERS: &str = "/etc/resolv.conf";
pub(super) const LONGEST: Duration = Duration::from_secs(10);
/// More further names than any honest answer has.
const CHAIN_MAX: usize = 10;
