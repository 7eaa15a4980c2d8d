//! Sessions whose TLS ends here: the handshake with the client, then whatever is spoken inside.
//!
//! Owns both handshakes and what is said of those that fail. Does not verify anything itself: `tls` has set down
//! whom to believe. A client that has shown a good certificate is known by it before a node is chosen.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::{Error, ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::http;
use super::inspection::Hello;
use super::life::{Approach, Life, Undialled};
use super::placing::Failure;
use super::pump::{FirstBytes, NodeLeg, Secured};
use super::report::Report;
use super::session::{Interrupt, outcome_of};
use super::sip;
use super::tcp::{Arrival, Guest, arrive, end_client};
use crate::config::model::Protocol;
use crate::inspect::tls::{Alert, Certificate, Level, Side, Version};
use crate::net::dial::Opening;
use crate::net::records::Records;
use crate::snapshot::{Endpoint, Place, Termination};
use crate::telemetry::outcome::Outcome;
use crate::tls::{self, Terms};

/// A client's connection, in clear, which the library keeps.
pub(super) type ClientStream = Box<TlsStream<Records>>;
/// A node's connection, likewise.
pub(super) type NodeStream = NodeLeg<ClientStream>;

/// Serves one client from its first packet to its last.
pub(super) async fn serve(life: Life<'_>, client: TcpStream, place: Place) -> Outcome {
    let Some(termination) = &life.policy().listener.termination else {
        return Outcome::InternalError;
    };
    let arrival = match arrive(life, &client, place).await {
        Ok(arrival) => arrival,
        Err(outcome) => {
            if outcome == Outcome::RefusedTls {
                life.tell_too_old();
            }
            end_client(&client, outcome);
            return outcome;
        }
    };
    let terms = Terms::new(termination.kernel);
    let clients = terms.of_server(Arc::clone(&termination.clients));
    match life.shake_hands(clients, client, &arrival.said).await {
        Ok((client, names)) => match &termination.protocol {
            Protocol::Raw => {
                let client = Secured::new(client, terms);
                life.relay(termination, client, arrival).await
            }
            Protocol::Sip(terms) => {
                let names = names.unwrap_or_default();
                Box::pin(sip::serve(life, terms, client, names, arrival)).await
            }
            Protocol::Http(terms) => {
                let Arrival {
                    header,
                    ticket: _ticket,
                    ..
                } = arrival;
                http::serve(life, terms, client, header).await
            }
        },
        Err(outcome) => outcome,
    }
}

impl Life<'_> {
    /// Ends the client's TLS, which has begun with `said`; with it come the names in the certificate that the client has
    /// shown.
    async fn shake_hands(
        self,
        terms: Arc<ServerConfig>,
        client: TcpStream,
        said: &[u8],
    ) -> Result<(ClientStream, Option<Vec<Box<str>>>), Outcome> {
        let acceptor = TlsAcceptor::from(terms);
        let client = Records::new(client, said);
        let accepting = acceptor.accept_with(client, |connection| take_in(connection, said));
        match self.seat.guard(accepting.into_fallible()).await {
            Ok(Ok(stream)) => {
                let (_, connection) = stream.get_ref();
                let version = connection.protocol_version().map(version);
                let certificate = Certificate::of_peer(connection);
                let names = certificate.as_ref().map(|shown| shown.names.clone());
                self.account.note_terminated(version, certificate);
                if let Some(partner) = self.account.partner() {
                    self.seat.mark_partner(&partner);
                }
                Ok((Box::new(stream.into()), names))
            }
            Ok(Err((error, client))) => {
                let outcome = self.refused_handshake(&error);
                end_client(client.socket(), outcome);
                Err(outcome)
            }
            Err(Interrupt::Deadline) => Err(Outcome::FirstBytesTimeout),
            Err(interrupt) => Err(outcome_of(interrupt)),
        }
    }

    /// Names the outcome of a handshake with the client that has failed.
    fn refused_handshake(self, error: &io::Error) -> Outcome {
        let Some(error) = tls::cause(error) else {
            let has_closed = error.kind() == ErrorKind::UnexpectedEof;
            return match has_closed {
                true => Outcome::ClientClosed,
                false => Outcome::ClientReset,
            };
        };
        if let Error::AlertReceived(description) = error {
            let alert = Alert {
                level: Level::Fatal,
                description: u8::from(*description),
            };
            self.account.note_alert(Side::Client, alert);
            return Outcome::TlsAlertClient;
        }
        self.tell_refused(error, tls::remedy(error));
        Outcome::RefusedTls
    }

    fn tell_refused(self, error: &dyn Display, remedy: &str) {
        if let Some(suppressed) = self.context().handshakes.allow() {
            let (listener, client) = (&*self.policy().listener.state.name, self.account.client());
            tracing::warn!(listener, %client, %error, remedy, suppressed, "tls-refused");
        }
    }

    /// The client's hello offers less than this listener ends.
    fn tell_too_old(self) {
        if let Hello::Known(offered, _) = self.account.hello() {
            let error = format!("the client offers TLS {} at most", offered.label());
            self.tell_refused(&error, tls::TOO_OLD);
        }
    }

    /// Moves what is spoken inside.
    async fn relay(self, termination: &Termination, client: Secured, arrival: Arrival) -> Outcome {
        let Arrival {
            ticket,
            turn,
            header,
            ..
        } = arrival;
        let guest = Guest {
            client,
            first: FirstBytes {
                bytes: Vec::new(),
                finished: false,
            },
            ticket,
            turn,
        };
        let nodes = termination.nodes.as_ref();
        let connect = async |endpoint: &Endpoint| {
            let terms = Terms::new(termination.kernel);
            let approach = self.approach();
            match approach.connect(endpoint, nodes, &terms, &header).await? {
                NodeLeg::Plain(node) => Ok(NodeLeg::Plain(node)),
                NodeLeg::Tls(node) => Ok(NodeLeg::Tls(Secured::new(node, terms))),
            }
        };
        match self.find_node(guest, connect).await {
            Ok(mut flowing) => loop {
                let end = flowing.pump.until_ended().await;
                if !self.goes_on(&mut flowing.hold, &end) {
                    break self.finish(end, flowing.pump.into_parts());
                }
            },
            Err(outcome) => outcome,
        }
    }
}

impl Approach<'_> {
    /// A connection with the node over which it may be spoken to.
    pub(super) async fn connect(
        self,
        endpoint: &Endpoint,
        terms: Option<&tls::Client>,
        kernel: &Terms,
        header: &[u8],
    ) -> Result<NodeStream, Undialled> {
        let opening = match terms.is_none() && header.is_empty() {
            true => Opening::Theirs,
            false => Opening::Ours,
        };
        let mut connection = self.dial(endpoint, opening).await?;
        let securing = async {
            connection.write_all(header).await?;
            let Some(terms) = terms else {
                return Ok(NodeLeg::Plain(connection));
            };
            let node = endpoint.address.socket();
            let connecting = terms.connect(node, Records::from(connection), kernel);
            let secured = connecting.await?;
            Ok(NodeLeg::Tls(Box::new(secured.into())))
        };
        match self.seat.guard(securing).await {
            Ok(Ok(leg)) => Ok(leg),
            Ok(Err(error)) => {
                self.tell_unsecured(endpoint, &error);
                Err(Undialled::Failed(Failure::Refused))
            }
            Err(interrupt) => Err(self.interrupted_dial(endpoint, interrupt)),
        }
    }

    /// A node whose certificate is not believed is no dead node: it is said, and the next one is tried.
    fn tell_unsecured(self, endpoint: &Endpoint, error: &io::Error) {
        let Some(error) = tls::cause(error) else {
            let client = self.client.ip();
            let reports = &self.context.reports;
            reports.send(Report::SessionReset(endpoint.number, client));
            return;
        };
        if let Some(suppressed) = self.context.handshakes.allow() {
            let (listener, node) = (&*self.policy.listener.state.name, &*endpoint.node);
            let (to, remedy) = (endpoint.address, tls::remedy(error));
            tracing::warn!(listener, node, %to, %error, remedy, suppressed, "node-tls-failed");
        }
    }
}

/// Gives `connection` what its client has said. What is wrong with it, the handshake finds again.
fn take_in(connection: &mut ServerConnection, mut said: &[u8]) {
    while !said.is_empty() {
        let taken = connection.read_tls(&mut said);
        if !matches!(taken, Ok(1..)) || connection.process_new_packets().is_err() {
            break;
        }
    }
}

fn version(version: ProtocolVersion) -> Version {
    Version(u16::from(version))
}
