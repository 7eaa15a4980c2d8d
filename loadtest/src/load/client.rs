//! One client's connection: a message, and the answers to it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::record::Trouble;
use super::source;
use crate::partner::connect;

/// Who hears nothing for so long gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A message of `size` bytes, its line end included.
pub(super) fn message(size: u32) -> Box<[u8]> {
    let mut message = vec![b'm'; (size as usize).max(2)];
    if let Some(last) = message.last_mut() {
        *last = b'\n';
    }
    message.into()
}

/// A connection on which one message is said again and again.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: Rc<TcpStream>,
    node: Box<[u8]>,
    partial: Vec<u8>,
}

impl Client {
    /// Connects as session `number`.
    pub(super) async fn connect(address: SocketAddr, number: u32) -> io::Result<Self> {
        let connecting = connect(address, source(number, address));
        let stream = tokio::time::timeout(PATIENCE, connecting).await??;
        Ok(Self::of(Rc::new(stream)))
    }

    /// A client on a connection that stands.
    pub(super) fn of(stream: Rc<TcpStream>) -> Self {
        Self {
            stream,
            node: Box::default(),
            partial: Vec::new(),
        }
    }

    /// Says `message` whole; a message is smaller than any send buffer.
    pub(super) fn say(&self, message: &[u8]) -> io::Result<()> {
        match self.stream.try_write(message) {
            Ok(count) if count == message.len() => Ok(()),
            Ok(_) => Err(ErrorKind::WriteZero.into()),
            Err(error) => Err(error),
        }
    }

    /// Waits for answers to `message` and tells how many came.
    pub(super) async fn answers(&mut self, message: &[u8]) -> Result<usize, Trouble> {
        let mut buffer = [0; 8 * 1024];
        loop {
            let readable = self.stream.readable().await;
            readable.map_err(|error| Trouble::of(&error))?;
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(Trouble::Closed),
                Ok(count) => {
                    let answers = self.understand(buffer.get(..count).unwrap_or_default(), message)?;
                    if answers > 0 {
                        return Ok(answers);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(Trouble::of(&error)),
            }
        }
    }

    /// Says `message` and waits for the answer to it, with patience.
    pub(super) async fn ask(&mut self, message: &[u8]) -> Result<(), Trouble> {
        self.say(message).map_err(|error| Trouble::of(&error))?;
        let answers = tokio::time::timeout(PATIENCE, self.answers(message)).await;
        match answers {
            Ok(Ok(1)) => Ok(()),
            Ok(Ok(_)) => Err(Trouble::WrongBytes),
            Ok(Err(trouble)) => Err(trouble),
            Err(_) => Err(Trouble::Silent),
        }
    }

    /// Counts the answers that `bytes` complete, each `NODE MESSAGE`.
    fn understand(&mut self, mut bytes: &[u8], message: &[u8]) -> Result<usize, Trouble> {
        let mut answers = 0;
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.partial.is_empty() {
                is_answer(&mut self.node, line, message)?;
            } else {
                self.partial.extend_from_slice(line);
                is_answer(&mut self.node, &self.partial, message)?;
                self.partial.clear();
            }
            answers += 1;
        }
        if self.partial.len() + bytes.len() > 2 * message.len() + NAME_MAX {
            return Err(Trouble::WrongBytes);
        }
        self.partial.extend_from_slice(bytes);
        Ok(answers)
    }
}

/// Longest name of a node.
const NAME_MAX: usize = 256;

/// The first answer tells who serves; from then on it is always the same node.
fn is_answer(node: &mut Box<[u8]>, line: &[u8], message: &[u8]) -> Result<(), Trouble> {
    let before = line.strip_suffix(message).ok_or(Trouble::WrongBytes)?;
    let name = before.strip_suffix(b" ").ok_or(Trouble::WrongBytes)?;
    if node.is_empty() {
        *node = name.into();
    }
    if **node == *name {
        Ok(())
    } else {
        Err(Trouble::WrongNode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn client() -> Client {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Client::connect(listener.local_addr().unwrap(), 3).await.unwrap()
    }

    #[tokio::test]
    async fn answers_are_counted_however_they_are_chopped() {
        let (mut client, message) = (client().await, message(10));
        assert_eq!(&*message, b"mmmmmmmmm\n");
        for (bytes, expected) in [
            (&b"edge1 mmmm"[..], 0),
            (b"mmmmm\nedge1 mmmmmmmmm\ned", 2),
            (b"ge1 mmmmmmmmm\n", 1),
        ] {
            assert_eq!(client.understand(bytes, &message), Ok(expected));
        }
    }

    #[tokio::test]
    async fn another_node_and_another_answer_are_told_apart() {
        let (mut client, message) = (client().await, message(3));
        assert_eq!(client.understand(b"edge1 mm\n", &message), Ok(1));
        assert_eq!(
            client.understand(b"edge2 mm\n", &message),
            Err(Trouble::WrongNode)
        );
        assert_eq!(
            client.understand(b"edge1 xm\n", &message),
            Err(Trouble::WrongBytes)
        );
        let endless = vec![b'x'; 4096];
        assert_eq!(
            client.understand(&endless, &message),
            Err(Trouble::WrongBytes)
        );
    }
}
