//! The arrival of a client: limits, PROXY header, who it is, first bytes.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};

use tokio::net::TcpStream;

use super::super::Context;
use super::super::inspection::Hello;
use super::super::session::{Interrupt, Seat, outcome_of};
use super::Life;
use crate::addr::ClientAddr;
use crate::config::model::{self, ProxyAccept, ProxySend, Service, SpeaksFirst, TlsMinMode};
use crate::inspect::proxy::{self, Parsed};
use crate::inspect::tls::{Alert, Era, Side, Version};
use crate::inspect::xmpp::{self, Opening};
use crate::net::wire::{Waiting, poll_read};
use crate::partner::table::Known;
use crate::relay::life::Entry;
use crate::snapshot::{Place, Ticket};
use crate::telemetry::outcome::Outcome;

/// What is kept of a client's first bytes: the largest TLS record, and a header before it.
pub(in crate::relay) const FIRST_BYTES_MAX: usize = 16 * 1024 + 512;

/// A client that may have a node.
#[derive(Debug)]
pub(in crate::relay) struct Arrival {
    /// Its place within the limits.
    pub(in crate::relay) ticket: Ticket,
    /// The PROXY header that the node is to see.
    pub(in crate::relay) header: Vec<u8>,
    /// What the client said first.
    pub(in crate::relay) said: Vec<u8>,
    /// The turn of the names when it was looked who it is.
    pub(in crate::relay) turn: u64,
}

/// Lets a client in.
pub(in crate::relay) async fn arrive(
    life: Life<'_>,
    client: &TcpStream,
    place: Place,
) -> Result<Arrival, Outcome> {
    let Life { seat, account } = life;
    let (context, policy) = (life.context(), life.policy());
    let config = &policy.listener.config;
    seat.arm(Some(config.first_bytes_timeout));
    let mut said = Said {
        context,
        seat,
        client,
        bytes: Vec::new(),
    };
    if let ProxyAccept::From(trusted) = &config.proxy_protocol {
        let peer = account.client().ip();
        if !trusted.iter().any(|prefix| prefix.contains(&peer)) {
            return Err(Outcome::RefusedProxy);
        }
        if let Some(announced) = said.proxy_header().await? {
            account.announce(announced);
        }
    }
    let Entry {
        ticket,
        turn,
        configured,
    } = life.enter(Some(place))?;
    if config.speaks_first == SpeaksFirst::Client
        && said.bytes.is_empty()
        && said.more().await? == 0
    {
        return Err(Outcome::ClientClosed);
    }
    account.watch(&said.bytes);
    said.judge_hello(life, configured.as_deref()).await?;
    said.hear_claim(life).await?;
    Ok(Arrival {
        ticket,
        header: header_for_node(config.proxy_protocol_send, account.client(), client)?,
        said: said.bytes,
        turn,
    })
}

/// Whether `bytes` are the beginning of a hello to any TLS stack, in whatever state.
fn begins_a_hello(bytes: &[u8]) -> bool {
    matches!(bytes, [22, 3, ..] | [0x80..=0xff, _, 1, ..])
}

/// The least that a client must offer here. Its own partner may lower that, but not below what can be ended here.
fn tls_min(config: &model::Listener, partner: Option<&Known>) -> Option<Version> {
    let own = partner.and_then(|partner| partner.tls_min);
    let least = own.map_or(config.tls_min, |own| own.min(config.tls_min));
    let ended = config.termination.as_ref().map(|termination| {
        let speaks_1_2 = termination.clients.speaks_1_2;
        if speaks_1_2 {
            Version::TLS_1_2
        } else {
            Version::TLS_1_3
        }
    });
    least.map(Version::from).max(ended)
}

/// What a client has said so far.
struct Said<'a> {
    context: &'a Context,
    seat: &'a Seat,
    client: &'a TcpStream,
    bytes: Vec<u8>,
}

impl Said<'_> {
    /// Reads more; 0: the client has finished.
    async fn more(&mut self) -> Result<usize, Outcome> {
        let room = FIRST_BYTES_MAX.saturating_sub(self.bytes.len());
        let Self {
            context,
            seat,
            client,
            bytes,
        } = self;
        let mut waiting = Waiting::No;
        let reading = poll_fn(|task| {
            context.gear.with_buffer(|buffer| {
                let target = buffer.get_mut(..room).unwrap_or_default();
                let count = ready!(poll_read(task, client, target, &mut waiting))?;
                bytes.extend_from_slice(target.get(..count).unwrap_or_default());
                Poll::Ready(Ok::<_, io::Error>(count))
            })
        });
        match seat.guard(reading).await {
            Ok(Ok(count)) => Ok(count),
            Ok(Err(_)) => Err(Outcome::ClientReset),
            Err(Interrupt::Deadline) => Err(Outcome::FirstBytesTimeout),
            Err(interrupt) => Err(outcome_of(interrupt)),
        }
    }

    /// Looks at what the client offers: turns it away if that is too little, and knows it for legacy.
    /// Waits for the whole hello only where something depends on it.
    async fn judge_hello(
        &mut self,
        life: Life<'_>,
        configured: Option<&Known>,
    ) -> Result<(), Outcome> {
        let (account, config) = (life.account, &life.policy().listener.config);
        let least = tls_min(config, configured);
        while least.is_some() && account.hello() == Hello::Awaited {
            let (before, has_room) = (self.bytes.len(), self.bytes.len() < FIRST_BYTES_MAX);
            if !has_room || self.more().await? == 0 {
                break;
            }
            account.inspect(Side::Client, self.bytes.get(before..).unwrap_or_default());
        }
        let offers_enough = match account.hello() {
            Hello::Known(offered, era) => {
                if era == Era::Ocs && config.unknown_legacy {
                    self.seat.mark_legacy();
                }
                least.is_none_or(|least| offered >= least)
            }
            // A hello that nobody can read must not be a way around. What is no TLS goes its way.
            Hello::Awaited | Hello::None => least.is_none() || !begins_a_hello(&self.bytes),
        };
        if offers_enough {
            return Ok(());
        }
        if config.tls_min_mode == TlsMinMode::Observe {
            account.count_would_refuse();
            return Ok(());
        }
        // A client that has just been accepted has room for a few bytes.
        let _ = self.client.try_write(&Alert::PROTOCOL_VERSION_RECORD);
        Err(Outcome::RefusedTls)
    }

    /// Knows a stranger by the domain that it calls itself in clear, where that is a partner's. Only its node is
    /// chosen by it: it has been let in already, as a stranger.
    async fn hear_claim(&mut self, life: Life<'_>) -> Result<(), Outcome> {
        let Life { seat, account } = life;
        if life.policy().listener.config.service != Service::Xmpp || account.is_partner() {
            return Ok(());
        }
        let claimed = loop {
            match xmpp::opening(&self.bytes) {
                Opening::Header(header) => break header.from,
                Opening::Incomplete => {}
                Opening::Error | Opening::Other => break None,
            }
            if self.more().await? == 0 {
                break None;
            }
        };
        let Some(domain) = claimed else { return Ok(()) };
        let named = self.context.names.with_partners(|partners| {
            let known = partners.by_domain(&domain);
            known.map(Arc::clone)
        });
        if let Some(known) = named {
            account.recognise(&known);
            seat.mark_partner(&known);
        }
        Ok(())
    }

    /// Takes the PROXY header off; the client it announces, unless it speaks for itself.
    async fn proxy_header(&mut self) -> Result<Option<ClientAddr>, Outcome> {
        loop {
            match proxy::parse(&self.bytes) {
                Parsed::Header { source, length } => {
                    self.bytes.drain(..length.min(self.bytes.len()));
                    return Ok(source.map(ClientAddr::new));
                }
                Parsed::Incomplete if self.bytes.len() < FIRST_BYTES_MAX => {}
                Parsed::Incomplete | Parsed::Invalid => return Err(Outcome::RefusedProxy),
            }
            if self.more().await? == 0 {
                return Err(Outcome::RefusedProxy);
            }
        }
    }
}

fn header_for_node(
    version: ProxySend,
    client: ClientAddr,
    connection: &TcpStream,
) -> Result<Vec<u8>, Outcome> {
    let local = || connection.local_addr().map_err(|_| Outcome::ClientReset);
    Ok(match version {
        ProxySend::Off => Vec::new(),
        ProxySend::V1 => proxy::version_1(client.socket(), local()?),
        ProxySend::V2 => proxy::version_2(client.socket(), local()?),
    })
}
