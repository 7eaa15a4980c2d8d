//! The question to an A/V Edge over UDP: an Allocate without credentials, in both dialects at once.
//!
//! Owns one socket for one question. A datagram is easily forged, so only an answer to one of our two transactions
//! says anything; whatever else arrives is silence. What the answer is worth is others' business: any well-formed
//! one is a sign of life.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{FAREWELL_MAX, Question, Shown};
use crate::addr::NodeAddr;
use crate::inspect::stun::{self, ASKED_MAX, Class, Dialect, Message, Transaction};
use crate::net::dial::{Sources, dial_datagrams};
use crate::sys;

/// What a TURN server says to an Allocate without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnAnswer {
    /// The code of the error, 401 as it should be; `None`: it has allocated something for anybody.
    pub code: Option<u16>,
    /// ALTERNATE-SERVER: where the client is sent.
    pub alternate: Option<SocketAddr>,
}

/// A server that has answered.
pub(super) struct Answered(Conversation);

/// Asks, and once more at half the timeout, since datagrams get lost: RFC 8489, section 6.2.1. Returns with the
/// first answer, however late it is.
///
/// # Errors
///
/// As a dial: what ICMP tells of the node, or a shortage of our own.
pub(super) async fn answer(question: &Question, address: NodeAddr) -> io::Result<Answered> {
    let mut conversation = Conversation::open(question.source, address)?;
    conversation.ask().await?;
    match timeout(question.timeout / 2, conversation.hear()).await {
        Ok(heard) => heard?,
        Err(_) => {
            conversation.ask().await?;
            conversation.hear().await?;
        }
    }
    Ok(Answered(conversation))
}

impl Answered {
    /// Waits a little for the answer in the other dialect. Where none is spoken it does not come; where one is, it
    /// may say more, and would otherwise reach a closed port: Windows tells a server of that as of a failure.
    pub(super) async fn part(self) -> Shown {
        let Self(mut conversation) = self;
        let _ = timeout(FAREWELL_MAX, async {
            while conversation.has_more_to_hear() && conversation.hear().await.is_ok() {}
        })
        .await;
        Shown {
            turn: conversation.outcome(),
            ..Shown::default()
        }
    }
}

/// A question that is asked in both dialects.
struct Conversation {
    socket: UdpSocket,
    said: [Said; 2],
    reads_left: usize,
}

/// The question in one dialect.
struct Said {
    dialect: Dialect,
    message: [u8; ASKED_MAX],
    transaction: Transaction,
    heard: Option<TurnAnswer>,
}

impl Said {
    fn new(dialect: Dialect) -> Self {
        let mut random = [0; 16];
        random.fill_with(|| fastrand::u8(..));
        let (message, transaction) = stun::allocate(dialect, random);
        Self {
            dialect,
            message,
            transaction,
            heard: None,
        }
    }
}

impl Conversation {
    fn open(source: Option<IpAddr>, address: NodeAddr) -> io::Result<Self> {
        Ok(Self {
            socket: connect(source, address.socket())?,
            // What Edge Servers speak stands first.
            said: [Dialect::Microsoft, Dialect::Rfc].map(Said::new),
            reads_left: READS_MAX,
        })
    }

    async fn ask(&self) -> io::Result<()> {
        for said in &self.said {
            self.socket.send(&said.message).await?;
        }
        Ok(())
    }

    /// Waits for the next answer to one of our transactions.
    async fn hear(&mut self) -> io::Result<()> {
        let mut room = [0; DATAGRAM_MAX];
        loop {
            // A flood of what we do not want to hear must not keep the thread.
            let left = self.reads_left.checked_sub(1).ok_or(Errno::TIMEDOUT)?;
            self.reads_left = left;
            let interest = Interest::READABLE | Interest::ERROR;
            let socket = &self.socket;
            // udp(7): an ICMP error makes a socket exceptional, not readable.
            let receive = || Ok(recv(socket, &mut room[..], RecvFlags::empty())?.1);
            let length = socket.async_io(interest, receive).await?;
            if self.take(room.get(..length).unwrap_or_default()) {
                return Ok(());
            }
        }
    }

    /// Whether this is an answer to one of our transactions.
    fn take(&mut self, datagram: &[u8]) -> bool {
        let Some(message) = Message::read(datagram) else {
            return false;
        };
        let Some(answer) = TurnAnswer::of(&message) else {
            return false;
        };
        let question = (message.dialect, message.transaction);
        let mut said = self.said.iter_mut();
        let Some(said) = said.find(|said| (said.dialect, said.transaction) == question) else {
            return false;
        };
        said.heard.get_or_insert(answer);
        true
    }

    fn has_more_to_hear(&self) -> bool {
        self.said.iter().any(|said| said.heard.is_none())
    }

    /// What was heard in both dialects: a server may understand only one, and say so in the other.
    fn outcome(&self) -> Option<TurnAnswer> {
        let heard = || self.said.iter().filter_map(|said| said.heard);
        let best = heard()
            .find(TurnAnswer::is_expected)
            .or_else(|| heard().next())?;
        Some(TurnAnswer {
            code: best.code,
            alternate: heard().find_map(|answer| answer.alternate),
        })
    }
}

impl TurnAnswer {
    fn of(message: &Message<'_>) -> Option<Self> {
        let code = match message.class {
            Class::Success => None,
            // RFC 8489, section 14.8: without its code it is no error.
            Class::Error => Some(message.error()?),
            Class::Request | Class::Indication => return None,
        };
        Some(Self {
            code,
            alternate: message.alternate_server(),
        })
    }

    /// Whether it asks who we are, as it should.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.code == Some(EXPECTED)
    }
}

/// Connected, so that the kernel tells what ICMP says and keeps other senders away.
fn connect(source: Option<IpAddr>, address: SocketAddr) -> io::Result<UdpSocket> {
    let sources = Sources {
        addresses: source.as_slice(),
        turn: &Cell::new(0),
    };
    let socket = dial_datagrams(address, sources)?;
    sys::option::set_all_errors(&socket, address.is_ipv6())?;
    let socket = UdpSocket::from_std(socket)?;
    // The kernel may pick the very port that is asked, where nobody has it: it would hear itself. Only a
    // laboratory has such nodes.
    if socket.local_addr()? == address {
        return Err(Errno::CONNREFUSED.into());
    }
    Ok(socket)
}

/// RFC 8489, section 14.8: Unauthenticated.
const EXPECTED: u16 = 401;
/// An answer is some hundred bytes; what is longer than an Ethernet frame is none.
const DATAGRAM_MAX: usize = 2048;
const READS_MAX: usize = 256;

#[cfg(test)]
mod tests;
