//! A connection, and over it what is asked.
//!
//! Owns dialling and parting. What is asked by HTTP, SIP and XMPP does not know what carries it (`http`, `sip`, `xmpp`).

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{FAREWELL_MAX, Question, Shown, Unanswered, judge};
use crate::addr::NodeAddr;
use crate::config::model::{ProbeKind, ProxySend};
use crate::inspect::proxy;
use crate::inspect::sip::Transport;
use crate::inspect::tls::{self as wire, Certificate, Handshake, Side, Version};
use crate::inspect::xmpp::FAREWELL;
use crate::net::dial::{Opening, Origin, Sources, dial};
use crate::tls::{self, Finding};

mod http;
mod sip;
mod xmpp;

/// A node that has answered.
pub(super) struct Answered {
    /// Gone with a handshake that has failed.
    connection: Option<Box<dyn Carrier>>,
    /// What it said to a hello, as far as it has come.
    said: Vec<u8>,
    /// What it is told before its connection is closed.
    farewell: &'static [u8],
    shown: Shown,
    /// To be looked at in TLS by a connection of its own.
    look: Option<Look>,
}

/// Whatever carries a question.
trait Carrier: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Carrier for T {}

pub(super) async fn answer(question: &Question, address: NodeAddr) -> Result<Answered, Unanswered> {
    let mut connection = connect(question, address)
        .await
        .map_err(|error| judge(&error))?;
    let node = address.socket();
    let mut answered = Answered {
        connection: None,
        said: Vec::new(),
        farewell: &[],
        shown: Shown::default(),
        look: None,
    };
    let asks_inside = question.kind.asks_inside();
    match question.kind {
        ProbeKind::TlsHello | ProbeKind::Tls => {
            answered.said = say_hello(&mut connection).await?;
            answered.look = Look::of(question, address);
        }
        ProbeKind::Xmpp => {
            xmpp::ask(&mut connection, node.ip()).await?;
            answered.farewell = FAREWELL.as_bytes();
        }
        // Of these nobody asks more here than whether the node accepts.
        ProbeKind::Tcp
        | ProbeKind::TurnAllocate
        | ProbeKind::None
        | ProbeKind::Http
        | ProbeKind::SipOptions => {}
    }
    if !asks_inside {
        answered.connection = Some(Box::new(connection));
        return Ok(answered);
    }
    let local = connection.local_addr().map_err(|error| judge(&error))?;
    let mut stream: Box<dyn Carrier> = match &question.tls {
        None => Box::new(connection),
        Some(terms) => match secure(terms, address, connection).await {
            Ok((stream, shown)) => {
                answered.shown = shown;
                Box::new(stream)
            }
            Err(error) => return answered.unless_tls(judge(&error)),
        },
    };
    match ask_inside(&mut stream, question, (local, node)).await {
        Ok(()) => {
            answered.connection = Some(stream);
            Ok(answered)
        }
        // In TLS 1.3 a node says only now that it wants a certificate.
        Err(unanswered) => answered.unless_tls(unanswered),
    }
}

impl Answered {
    /// A node that cannot be spoken to in TLS has answered all the same.
    fn unless_tls(mut self, unanswered: Unanswered) -> Result<Self, Unanswered> {
        match unanswered.finding {
            Some(finding) => {
                self.shown.handshake = Some(Err(finding));
                Ok(self)
            }
            None => Err(unanswered),
        }
    }
}

/// A connection over which the node has had its PROXY header.
async fn connect(question: &Question, address: NodeAddr) -> io::Result<TcpStream> {
    let sources = Sources {
        addresses: question.source.as_slice(),
        turn: &Cell::new(0),
    };
    let dialled = dial(address.socket(), Opening::Theirs, Origin::Own(sources));
    let mut connection = dialled.await?;
    let header = match question.proxy_protocol {
        ProxySend::Off => &[],
        ProxySend::V1 => proxy::version_1_local(),
        ProxySend::V2 => proxy::version_2_local(),
    };
    connection.write_all(header).await?;
    Ok(connection)
}

/// What is asked over whatever carries it.
async fn ask_inside(
    stream: &mut Box<dyn Carrier>,
    question: &Question,
    (local, node): (SocketAddr, SocketAddr),
) -> Result<(), Unanswered> {
    if let Some(http) = &question.http {
        return http::ask(stream, node, http).await;
    }
    let transport = match question.tls {
        Some(_) => Transport::Tls,
        None => Transport::Tcp,
    };
    sip::ask(stream, transport, local, node.ip()).await
}

/// Shakes hands over `connection`, and tells what the node has shown.
async fn secure(
    terms: &tls::Client,
    address: NodeAddr,
    connection: TcpStream,
) -> io::Result<(TlsStream<TcpStream>, Shown)> {
    let stream = terms
        .connect(address.socket(), connection, &tls::Terms::default())
        .await?;
    let (_, facts) = stream.get_ref();
    let version = facts.protocol_version();
    let shown = Shown {
        version: version.map(|version| Version(u16::from(version))),
        certificate: Certificate::of_peer(facts).map(Box::new),
        handshake: Some(Ok(())),
        ..Shown::default()
    };
    Ok((stream, shown))
}

/// A whole handshake beside the hello, which alone is evidence: stacks of Windows Server 2012 R2 and older live, and
/// may have nothing in common with ours.
struct Look {
    question: Question,
    address: NodeAddr,
}

impl Look {
    fn of(question: &Question, address: NodeAddr) -> Option<Self> {
        (question.kind == ProbeKind::Tls).then(|| Self {
            question: question.clone(),
            address,
        })
    }

    /// What a whole handshake shows; nothing where it is not answered in time.
    async fn look(self) -> Shown {
        let looking = async {
            let terms = self.question.tls.as_ref()?;
            let connection = connect(&self.question, self.address).await.ok()?;
            let error = match secure(terms, self.address, connection).await {
                Ok((mut stream, shown)) => {
                    // In order, so that no log of the node says otherwise. In TLS 1.3 it tells only after that
                    // whether it takes what it was shown.
                    let _ = stream.shutdown().await;
                    match stream.read(&mut [0; 1]).await {
                        Ok(_) => return Some(shown),
                        Err(error) if tls::cause(&error).is_none() => return Some(shown),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            Some(Shown {
                handshake: Some(Err(Finding::of(tls::cause(&error)?))),
                ..Shown::default()
            })
        };
        let looked = tokio::time::timeout(self.question.timeout, looking).await;
        looked.ok().flatten().unwrap_or_default()
    }
}

async fn say_hello(connection: &mut TcpStream) -> Result<Vec<u8>, Unanswered> {
    let mut random = [0; 32];
    random.fill_with(|| fastrand::u8(..));
    let hello = wire::client_hello(random);
    connection
        .write_all(&hello)
        .await
        .map_err(|error| judge(&error))?;
    let mut said = Vec::with_capacity(16);
    loop {
        match wire::answer(&said) {
            wire::Answer::Tls => return Ok(said),
            wire::Answer::Other => return Err(Unanswered::WRONG),
            wire::Answer::Incomplete => {}
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
            connection,
            said,
            farewell: last_words,
            shown,
            look,
        } = self;
        let Some(mut connection) = connection else {
            return (false, shown);
        };
        // What comes within TLS shows nothing of it.
        let is_in_clear = shown.handshake.is_none();
        let mut handshake = Box::new(Handshake::new());
        handshake.feed(Side::Node, &said);
        let farewell = async {
            let _ = connection.write_all(last_words).await;
            let _ = connection.shutdown().await;
            let mut rest = [0; 4096];
            for _ in 0..FAREWELL_READS_MAX {
                match connection.read(&mut rest).await {
                    Ok(count) if count > 0 && !is_in_clear => {}
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
        let looked = match look {
            Some(look) => look.look().await,
            None => shown,
        };
        let shown = Shown {
            version: looked.version.or(facts.negotiated),
            certificate: looked.certificate.or(facts.node_certificate),
            ..looked
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

    async fn events(kind: ProbeKind, address: SocketAddr) -> Vec<Event> {
        let told = RefCell::new(Vec::new());
        let question = Question {
            kind,
            http: None,
            tls: None,
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

    async fn listening() -> (TcpListener, SocketAddr) {
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
