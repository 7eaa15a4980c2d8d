//! One client's connection: what it says, and the answers to it.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, HandshakeKind};
use socket2::SockRef;
use tokio::time::timeout;

use super::record::{Record, Standing, Trouble};
use super::source;
use super::wire::Wire;
use crate::partner::connect;

/// Who hears nothing for so long gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// Longest answer that is listened to: any message and the name of a node.
const ANSWER_MAX: usize = 17 * 1024;

/// What is taken from a socket at once.
const READ: usize = 8 * 1024;

/// A message of `size` bytes, its line end included.
pub(super) fn message(size: u32) -> Rc<[u8]> {
    let mut message = vec![b'm'; (size as usize).max(2)];
    if let Some(last) = message.last_mut() {
        *last = b'\n';
    }
    message.into()
}

/// A connection, and the one node that answers on it.
#[derive(Debug)]
pub(super) struct Client {
    stream: Rc<Wire>,
    node: Box<[u8]>,
    partial: Vec<u8>,
}

impl Client {
    /// Connects as session `number`, in TLS if the listener ends it.
    pub(super) async fn connect(
        address: SocketAddr,
        number: u32,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, Trouble> {
        let connecting = async {
            let stream = connect(address, source(number, address)).await?;
            match tls {
                Some(tls) => Wire::secure(stream, tls).await,
                None => Ok(Wire::plain(stream)),
            }
        };
        match timeout(PATIENCE, connecting).await {
            Ok(Ok(wire)) => Ok(Self {
                stream: Rc::new(wire),
                node: Box::default(),
                partial: Vec::new(),
            }),
            Ok(Err(error)) => Err(Trouble::of(&error)),
            Err(_) => Err(Trouble::Silent),
        }
    }

    /// Connects as session `number` and says `message`. Only the first answer tells who serves, so only
    /// then the connection counts as standing; the load is settled once `wanted` do.
    pub(super) async fn stand<'a>(
        (address, tls): (SocketAddr, Option<&Arc<ClientConfig>>),
        number: u32,
        message: &[u8],
        record: &'a Arc<Record>,
        wanted: u64,
    ) -> Result<(Self, Standing<'a>), Trouble> {
        let first = record.ask(Instant::now());
        let mut client = Self::connect(address, number, tls).await?;
        client.ask(message).await?;
        drop(first);
        let standing = record.stand();
        if record.standing() == wanted {
            record.settle();
        }
        Ok((client, standing))
    }

    /// The connection itself, for who writes to it.
    pub(super) const fn stream(&self) -> &Rc<Wire> {
        &self.stream
    }

    /// See [`Wire::handshake`].
    pub(super) fn handshake(&self) -> Option<HandshakeKind> {
        self.stream.handshake()
    }

    /// Who answers; empty before the first answer.
    pub(super) const fn node(&self) -> &[u8] {
        &self.node
    }

    /// Says `message` and waits for the answer to it, with patience.
    pub(super) async fn ask(&mut self, message: &[u8]) -> Result<(), Trouble> {
        say(&self.stream, message)?;
        self.hear(message).await
    }

    /// Waits for the one answer to `message`, with patience.
    pub(super) async fn hear(&mut self, message: &[u8]) -> Result<(), Trouble> {
        let mut answers = 0;
        let answered = async {
            while answers == 0 {
                self.listen(|said| {
                    answers += 1;
                    is(said == message)
                })
                .await?;
            }
            is(answers == 1)
        };
        let answered = timeout(PATIENCE, answered).await;
        answered.unwrap_or(Err(Trouble::Silent))
    }

    /// Waits for the other side to end the connection in order, with patience.
    pub(super) async fn hear_the_end(&mut self) -> Result<(), Trouble> {
        match timeout(PATIENCE, self.listen_on(|_| is(false))).await {
            Ok(Trouble::Closed) => Ok(()),
            Ok(trouble) => Err(trouble),
            Err(_) => Err(Trouble::Silent),
        }
    }

    /// Tells the answers that come, for as long as they please.
    pub(super) async fn listen_on(
        &mut self,
        mut tell: impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Trouble {
        loop {
            if let Err(trouble) = self.listen(&mut tell).await {
                return trouble;
            }
        }
    }

    /// Waits for bytes and tells each answer they complete, without the node's name. Nothing of
    /// it is lost if this is dropped halfway.
    async fn listen(
        &mut self,
        mut tell: impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        poll_fn(|cx| self.poll_listen(cx, &mut tell)).await
    }

    fn poll_listen(
        &mut self,
        cx: &mut Context<'_>,
        tell: &mut impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Poll<Result<(), Trouble>> {
        // Here and not in the future, which thousands of sessions have one of each.
        let mut buffer = [0; READ];
        let count = ready!(self.stream.poll_read(cx, &mut buffer));
        Poll::Ready(match count.map_err(|error| Trouble::of(&error))? {
            0 => Err(Trouble::Closed),
            count => self.understand(buffer.get(..count).unwrap_or_default(), tell),
        })
    }

    /// Tells the answers that `bytes` complete, each `NODE MESSAGE`.
    fn understand(
        &mut self,
        mut bytes: &[u8],
        tell: &mut impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.partial.is_empty() {
                tell(by_node(&mut self.node, line)?)?;
            } else {
                self.partial.extend_from_slice(line);
                tell(by_node(&mut self.node, &self.partial)?)?;
                self.partial.clear();
            }
        }
        if self.partial.len() + bytes.len() > ANSWER_MAX {
            return Err(Trouble::WrongBytes);
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

/// Says `message` whole on `stream`: it is smaller than any send buffer.
pub(super) fn say(stream: &Wire, message: &[u8]) -> Result<(), Trouble> {
    match stream.try_write(message) {
        Ok(count) if count == message.len() => Ok(()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(Trouble::of(&error)),
        Err(_) => Err(Trouble::Unsent),
        Ok(_) => {
            // Half a message would spoil the next.
            hang_up(stream);
            Err(Trouble::Unsent)
        }
    }
}

/// Ends `stream` from outside: whoever reads from it finds its end.
pub(super) fn hang_up(stream: &Wire) {
    // It fails only if the connection has ended already.
    let _ = SockRef::from(stream.socket()).shutdown(Shutdown::Both);
}

/// What `line` says after the node's name. The first answer tells who serves; from then on it is
/// always the same node.
fn by_node<'a>(node: &mut Box<[u8]>, line: &'a [u8]) -> Result<&'a [u8], Trouble> {
    let blank = line.iter().position(|&byte| byte == b' ');
    let (name, said) = line.split_at(blank.ok_or(Trouble::WrongBytes)?);
    if node.is_empty() {
        *node = name.into();
    }
    if **node == *name {
        Ok(said.get(1..).unwrap_or_default())
    } else {
        Err(Trouble::WrongNode)
    }
}

/// An answer is the one that was asked for, or it is wrong.
pub(super) const fn is(right: bool) -> Result<(), Trouble> {
    if right {
        Ok(())
    } else {
        Err(Trouble::WrongBytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn client() -> Client {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Client::connect(listener.local_addr().unwrap(), 3, None)
            .await
            .unwrap()
    }

    fn answers(client: &mut Client, bytes: &[u8], message: &[u8]) -> Result<u32, Trouble> {
        let mut answers = 0;
        client.understand(bytes, &mut |said| {
            answers += 1;
            is(said == message)
        })?;
        Ok(answers)
    }

    #[tokio::test]
    async fn answers_are_told_however_they_are_chopped() {
        let (mut client, message) = (client().await, message(10));
        assert_eq!(&*message, b"mmmmmmmmm\n");
        for (bytes, expected) in [
            (&b"edge1 mmmm"[..], 0),
            (b"mmmmm\nedge1 mmmmmmmmm\ned", 2),
            (b"ge1 mmmmmmmmm\n", 1),
        ] {
            assert_eq!(answers(&mut client, bytes, &message), Ok(expected));
        }
        assert_eq!(answers(&mut client, b"edge1 \n", b"\n"), Ok(1));
    }

    #[tokio::test]
    async fn another_node_and_another_answer_are_told_apart() {
        let mut client = client().await;
        for (bytes, expected) in [
            (&b"edge1 mm\n"[..], Ok(1)),
            (b"edge2 mm\n", Err(Trouble::WrongNode)),
            (b"edge1 xm\n", Err(Trouble::WrongBytes)),
            (b"edge1\n", Err(Trouble::WrongBytes)),
            (&[b'x'; 2 * ANSWER_MAX], Err(Trouble::WrongBytes)),
        ] {
            assert_eq!(answers(&mut client, bytes, b"mm\n"), expected);
        }
    }
}
