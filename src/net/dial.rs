//! Dialling a node, and whose fault it is when that fails.
//!
//! Owns no deadline: the caller's session has one, and ends the dial by dropping it.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::divert::set_transparent;
use super::options::{reset_on_close, set_at_once};
use crate::sys;

/// What a failed dial says, and of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Refused, reset or unreachable: hard evidence against the node.
    Node,
    /// Nobody answered: moves nothing.
    Silence,
    /// A shortage of our own (descriptors, ports, memory, permission), or a datagram too large for the way, which
    /// a router has said (`udp(7)`): never evidence.
    Us,
}

impl Refusal {
    /// Judges the error of a dial.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(
                Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::ADDRNOTAVAIL
                | Errno::ADDRINUSE
                | Errno::AGAIN
                | Errno::INVAL
                | Errno::AFNOSUPPORT
                | Errno::MSGSIZE
                | Errno::PERM
                | Errno::ACCESS,
            )
            | None => Self::Us,
            Some(Errno::TIMEDOUT) => Self::Silence,
            Some(_) => Self::Node,
        }
    }
}

/// Who says the first byte on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// We do, as soon as it stands.
    Ours,
    /// The node does, or nobody for a while.
    Theirs,
}

/// Addresses of this machine from which nodes are dialled, in turn, so that each lends its ports.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// Empty: the system chooses.
    pub addresses: &'a [IpAddr],
    /// Whose turn it is.
    pub turn: &'a Cell<usize>,
}

/// In whose name a node is dialled.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// In this machine's.
    Own(Sources<'a>),
    /// In the client's, so that the node sees its address, and its port unless that is taken.
    Client {
        /// Where the client is.
        address: SocketAddr,
        /// By which the host's rules know what is sent: [`super::transparent::mark`].
        mark: u32,
    },
}

impl Sources<'_> {
    /// Those from which `address` can be reached, the next one first.
    fn towards(&self, address: SocketAddr) -> impl Iterator<Item = IpAddr> {
        let alike = self.addresses.iter().copied();
        let alike = alike.filter(move |own| own.is_ipv4() == address.is_ipv4());
        let count = alike.clone().count();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let first = turn.checked_rem(count).unwrap_or(0);
        alike.clone().skip(first).chain(alike.take(first))
    }
}

/// Connects to `address`. What a connection needs only once it lasts is for the
/// caller to set: [`LegOptions::apply_lasting`](super::options::LegOptions::apply_lasting).
///
/// # Errors
///
/// See [`Refusal`].
pub async fn dial(
    address: SocketAddr,
    opening: Opening,
    origin: Origin<'_>,
) -> io::Result<TcpStream> {
    let sources = match origin {
        Origin::Own(sources) => sources,
        Origin::Client {
            address: client,
            mark,
        } => return dial_for(client, mark, address, opening).await,
    };
    let mut sources = sources.towards(address).peekable();
    loop {
        let source = sources.next();
        match dial_from(source, address, opening).await {
            // Its ports towards this node are used up, or it is not on this machine for now.
            Err(error) if is_unavailable(&error) && sources.peek().is_some() => {}
            result => return result,
        }
    }
}

/// A socket for datagrams to and from `address` alone, from one of `sources`. Waits for nobody.
///
/// # Errors
///
/// See [`Refusal`]; nobody has been asked yet, so the node is blamed only where there is no way to it.
pub fn dial_datagrams(address: SocketAddr, sources: Sources<'_>) -> io::Result<UdpSocket> {
    let mut sources = sources.towards(address).peekable();
    loop {
        let source = sources.next();
        match dial_datagrams_from(source, address) {
            Err(error) if is_unavailable(&error) && sources.peek().is_some() => {}
            result => return result,
        }
    }
}

fn dial_datagrams_from(source: Option<IpAddr>, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect(&address.into())?;
    let socket = socket.into();
    if is_its_own_peer(&socket, address)? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(socket)
}

/// Whether the kernel has given a socket the very port that it is connected to, and it would hear itself: that of a node
/// that was on this machine and is gone.
fn is_its_own_peer(socket: &UdpSocket, address: SocketAddr) -> io::Result<bool> {
    Ok(address.ip().is_loopback() && socket.local_addr()? == address)
}

fn is_unavailable(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL)
}

async fn dial_from(
    source: Option<IpAddr>,
    address: SocketAddr,
    opening: Opening,
) -> io::Result<TcpStream> {
    let socket = stream_socket(address, opening)?;
    if let Some(source) = source {
        sys::option::set_bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    connect(socket, address).await
}

/// Dials in the name of `client`: from its port, or from another where that one is taken, as where it has come to two
/// listeners from one port.
async fn dial_for(
    client: SocketAddr,
    mark: u32,
    address: SocketAddr,
    opening: Opening,
) -> io::Result<TcpStream> {
    let any_port = SocketAddr::new(client.ip(), 0);
    for source in [client, any_port] {
        let socket = stream_socket(address, opening)?;
        set_transparent(&socket, address.is_ipv6())?;
        socket.set_mark(mark)?;
        // What it was used for before may still wait for its last packets.
        socket.set_reuse_address(true)?;
        sys::option::set_bind_address_no_port(&socket)?;
        let connected = match socket.bind(&source.into()) {
            Ok(()) => connect(socket, address).await,
            Err(error) => Err(error),
        };
        match connected {
            Err(error) if source != any_port && is_taken(&error) => {}
            result => return result,
        }
    }
    Err(Errno::ADDRINUSE.into())
}

fn is_taken(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL))
}

fn stream_socket(address: SocketAddr, opening: Opening) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    set_at_once(&socket)?;
    if opening == Opening::Ours {
        // The first byte acknowledges the handshake too, which saves both sides a packet.
        sys::option::set_no_quick_ack(&socket)?;
    }
    Ok(socket)
}

async fn connect(socket: Socket, address: SocketAddr) -> io::Result<TcpStream> {
    match socket.connect(&address.into()) {
        Ok(()) => return not_itself(TcpStream::from_std(socket.into())?, address),
        // connect(2), EINPROGRESS: the socket becomes writable when it is decided.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from_std(socket.into())?;
    let ready = stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
    // poll(2): a connect that failed shows as an error; only then it is worth asking for which.
    if (ready.is_error() || ready.is_write_closed())
        && let Some(error) = stream.take_error()?
    {
        return Err(error);
    }
    not_itself(stream, address)
}

/// The kernel may pick the very port that is dialled, and where nobody listens on it TCP then
/// connects the socket to itself: a dead node that echoes. Only a laboratory has such nodes.
fn not_itself(stream: TcpStream, address: SocketAddr) -> io::Result<TcpStream> {
    let may_be_itself =
        address.ip().is_loopback() && address.port() >= sys::limits::first_local_port();
    if may_be_itself && stream.local_addr()? == address {
        // Or the port would stay taken for a minute, and the node could not come back.
        reset_on_close(&stream);
        return Err(Errno::CONNREFUSED.into());
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn dial_any(address: SocketAddr) -> io::Result<TcpStream> {
        let turn = Cell::new(0);
        let sources = Sources {
            addresses: &[],
            turn: &turn,
        };
        dial(address, Opening::Ours, Origin::Own(sources)).await
    }

    #[test]
    fn a_socket_that_has_its_nodes_port_hears_only_itself() {
        for own in ["127.0.0.1:0", "[::1]:0"] {
            let (socket, other) = (UdpSocket::bind(own).unwrap(), UdpSocket::bind(own).unwrap());
            let (here, there) = (socket.local_addr().unwrap(), other.local_addr().unwrap());
            socket.connect(here).unwrap();
            assert!(is_its_own_peer(&socket, here).unwrap());
            assert!(!is_its_own_peer(&socket, there).unwrap());
        }
    }

    #[tokio::test]
    async fn sources_take_turns_and_one_that_is_not_here_is_passed_over() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let turn = Cell::new(0);
        // 203.0.113.0/24 is for documentation: no machine has it.
        let addresses =
            ["127.0.0.5", "203.0.113.201", "::1", "127.0.0.6"].map(|ip| ip.parse().unwrap());
        let mut used = Vec::new();
        for _ in 0..6 {
            let sources = Sources {
                addresses: &addresses,
                turn: &turn,
            };
            let origin = Origin::Own(sources);
            let stream = dial(address, Opening::Ours, origin).await.unwrap();
            used.push(stream.local_addr().unwrap().ip().to_string());
        }
        let expected = [
            "127.0.0.5",
            "127.0.0.6",
            "127.0.0.6",
            "127.0.0.5",
            "127.0.0.6",
            "127.0.0.6",
        ];
        assert_eq!(used, expected);
    }

    #[tokio::test]
    async fn sources_that_are_all_elsewhere_are_our_own_fault() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let turn = Cell::new(0);
        let addresses = ["203.0.113.201", "203.0.113.202"].map(|ip| ip.parse().unwrap());
        let sources = Sources {
            addresses: &addresses,
            turn: &turn,
        };
        let origin = Origin::Own(sources);
        let error = dial(listener.local_addr().unwrap(), Opening::Ours, origin)
            .await
            .unwrap_err();
        assert_eq!(Refusal::of(&error), Refusal::Us);
    }

    #[tokio::test]
    async fn a_listening_node_is_reached() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = dial_any(listener.local_addr().unwrap()).await.unwrap();
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_refused_dial_is_the_nodes_fault() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = dial_any(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(Refusal::of(&error), Refusal::Node);
    }

    #[tokio::test]
    async fn a_socket_that_met_itself_has_met_nobody_and_frees_the_port() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        socket.connect(&address.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(socket.into()).unwrap();
        let error = not_itself(stream, address).unwrap_err();
        assert_eq!(Refusal::of(&error), Refusal::Node);
        std::net::TcpListener::bind(address).expect("the node can come back");
    }

    #[test]
    fn a_shortage_of_our_own_is_not_the_nodes_fault() {
        for errno in [
            Errno::MFILE,
            Errno::NOBUFS,
            Errno::ADDRNOTAVAIL,
            Errno::PERM,
            Errno::MSGSIZE,
        ] {
            assert_eq!(Refusal::of(&errno.into()), Refusal::Us);
        }
        for errno in [
            Errno::CONNREFUSED,
            Errno::HOSTUNREACH,
            Errno::CONNRESET,
            Errno::NETUNREACH,
        ] {
            assert_eq!(Refusal::of(&errno.into()), Refusal::Node);
        }
    }
}
