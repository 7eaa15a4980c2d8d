//! A connection, and over it what is asked.
//!
//! Owns dialling and parting. What is asked by HTTP, SIP and XMPP does not know what carries it (`http`, `sip`, `xmpp`).

use std::cell::Cell;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{FAREWELL_MAX, Question, Shown, Unanswered, judge};
use crate::addr::NodeAddr;
use crate::config::model::{ProbeKind, ProxySend};
use crate::inspect::proxy;
use crate::inspect::sip::Transport;
use crate::inspect::tls::{self, Handshake, Side};
use crate::inspect::xmpp::FAREWELL;
use crate::net::dial::{Opening, Origin, Sources, dial};

mod http;
mod sip;
mod xmpp;

/// A node that has answered.
pub(super) struct Answered {
    connection: TcpStream,
    /// What it said to a hello, as far as it has come.
    said: Vec<u8>,
    /// What it is told before its connection is closed.
    farewell: &'static [u8],
}

pub(super) async fn answer(question: &Question, address: NodeAddr) -> Result<Answered, Unanswered> {
    let sources = Sources {
        addresses: question.source.as_slice(),
        turn: &Cell::new(0),
    };
    let mut connection = dial(address.socket(), Opening::Theirs, Origin::Own(sources))
        .await
        .map_err(|error| judge(&error))?;
    let header = match question.proxy_protocol {
        ProxySend::Off => &[],
        ProxySend::V1 => proxy::version_1_local(),
        ProxySend::V2 => proxy::version_2_local(),
    };
    connection
        .write_all(header)
        .await
        .map_err(|error| judge(&error))?;
    let (mut said, mut farewell): (_, &[u8]) = (Vec::new(), &[]);
    match question.kind {
        ProbeKind::TlsHello => said = say_hello(&mut connection).await?,
        ProbeKind::Xmpp => {
            xmpp::ask(&mut connection, address.socket().ip()).await?;
            farewell = FAREWELL.as_bytes();
        }
        ProbeKind::Http => {
            if let Some(http) = &question.http {
                http::ask(&mut connection, address.socket(), http).await?;
            }
        }
        ProbeKind::SipOptions => {
            let local = connection.local_addr().map_err(|error| judge(&error))?;
            sip::ask(
                &mut connection,
                Transport::Tcp,
                local,
                address.socket().ip(),
            )
            .await?;
        }
        // Of these nobody asks more here than whether the node accepts.
        ProbeKind::Tcp | ProbeKind::Tls | ProbeKind::TurnAllocate | ProbeKind::None => {}
    }
    Ok(Answered {
        connection,
        said,
        farewell,
    })
}

async fn say_hello(connection: &mut TcpStream) -> Result<Vec<u8>, Unanswered> {
    let mut random = [0; 32];
    random.fill_with(|| fastrand::u8(..));
    let hello = tls::client_hello(random);
    connection
        .write_all(&hello)
        .await
        .map_err(|error| judge(&error))?;
    let mut said = Vec::with_capacity(16);
    loop {
        match tls::answer(&said) {
            tls::Answer::Tls => return Ok(said),
            tls::Answer::Other => return Err(Unanswered::WRONG),
            tls::Answer::Incomplete => {}
        }
        match connection.read_buf(&mut said).await {
            Ok(0) => return Err(Unanswered::WRONG),
            Ok(_) => {}
            Err(error) => return Err(judge(&error)),
        }
    }
}

impl Answered {
    /// Parts in order: a reset, or a fatal alert, would leave a line in a Windows event log each time. Whether
    /// the node has parted in turn, which its kernel does not do for a process that is frozen; and its
    /// certificate, which is in what it still had to say, up to TLS 1.2.
    pub(super) async fn part(self) -> (bool, Shown) {
        let Self {
            mut connection,
            said,
            farewell: last_words,
        } = self;
        let mut handshake = Box::new(Handshake::new());
        handshake.feed(Side::Node, &said);
        let farewell = async {
            let _ = connection.write_all(last_words).await;
            let _ = connection.shutdown().await;
            let mut rest = [0; 4096];
            for _ in 0..FAREWELL_READS_MAX {
                match connection.read(&mut rest).await {
                    Ok(count) if count > 0 => {
                        handshake.feed(Side::Node, rest.get(..count).unwrap_or_default());
                    }
                    Ok(_) | Err(_) => return true,
                }
            }
            false
        };
        let parted = tokio::time::timeout(FAREWELL_MAX, farewell).await;
        let facts = handshake.into_facts();
        let shown = Shown {
            version: facts.negotiated,
            certificate: facts.node_certificate,
            ..Shown::default()
        };
        (parted.unwrap_or(false), shown)
    }
}

/// A server's flight with certificates is a few kilobytes.
const FAREWELL_READS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::pool::health::{Event, ProbeFailure};
    use crate::probe::ask;
    use std::cell::RefCell;
    use std::time::Duration;
    use tokio::net::TcpListener;

    async fn events(kind: ProbeKind, address: std::net::SocketAddr) -> Vec<Event> {
        let told = RefCell::new(Vec::new());
        let question = Question {
            kind,
            http: None,
            timeout: Duration::from_millis(200),
            patience: Duration::from_secs(10),
            proxy_protocol: ProxySend::Off,
            source: None,
        };
        ask(question, NodeAddr::new(address), Moment::now(), |event| {
            told.borrow_mut().push(event)
        })
        .await;
        told.into_inner()
    }

    async fn listening() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn answering(bytes: &[u8], delay: Duration) -> Vec<Event> {
        let (listener, address) = listening().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 5]).await.unwrap();
            tokio::time::sleep(delay).await;
            stream.write_all(bytes).await.unwrap();
        };
        tokio::join!(events(ProbeKind::TlsHello, address), server).0
    }

    #[tokio::test]
    async fn a_tls_answer_is_good_and_the_node_parts_in_turn() {
        let told = answering(&[21, 3, 1, 0, 2, 2, 40], Duration::ZERO).await;
        assert!(
            matches!(told.as_slice(), [Event::ProbeGood { .. }, Event::Parted]),
            "{told:?}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_not_tls_is_wrong() {
        let told = answering(b"220 smtp", Duration::ZERO).await;
        let how = ProbeFailure::WrongAnswer;
        assert!(matches!(told.as_slice(), [Event::ProbeFailed { how: h, .. }] if *h == how));
    }

    #[tokio::test]
    async fn a_late_answer_is_told_as_failed_and_then_as_good() {
        let told = answering(&[22, 3, 3, 0, 1, 0], Duration::from_millis(400)).await;
        assert!(
            matches!(
                told.as_slice(),
                [
                    Event::ProbeFailed {
                        how: ProbeFailure::TimedOut,
                        ..
                    },
                    Event::ProbeGood { .. },
                    Event::Parted
                ]
            ),
            "{told:?}"
        );
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let (listener, address) = listening().await;
        drop(listener);
        for kind in [ProbeKind::Tcp, ProbeKind::TlsHello] {
            let told = events(kind, address).await;
            let how = ProbeFailure::Refused;
            assert!(matches!(told.as_slice(), [Event::ProbeFailed { how: h, .. }] if *h == how));
        }
    }

    #[tokio::test]
    async fn an_open_port_is_enough_for_a_tcp_probe_but_does_not_part() {
        let (_listener, address) = listening().await;
        let told = events(ProbeKind::Tcp, address).await;
        assert!(
            matches!(told.as_slice(), [Event::ProbeGood { .. }]),
            "{told:?}"
        );
    }
}
