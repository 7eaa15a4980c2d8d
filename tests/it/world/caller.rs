//! One client connection that says lines and tells who answers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::SOON;

/// The address that the `number`th of many callers uses, so that each is pinned for itself.
pub(crate) fn caller_address(number: usize) -> Ipv4Addr {
    let number = u16::try_from(number).unwrap();
    let [high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// A connection; every wait has a limit.
#[derive(Debug)]
pub(crate) struct Caller {
    stream: BufReader<TcpStream>,
}

impl Caller {
    /// Connects from `source`.
    pub(crate) fn connect(address: SocketAddr, source: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Or the ports of this source, once used, would be missing for a minute.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        socket.connect_timeout(&address.into(), SOON)?;
        socket.set_tcp_nodelay(true)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Connects and says hello: the caller, and the node that serves it.
    pub(crate) fn served(address: SocketAddr, source: Ipv4Addr) -> io::Result<(Self, String)> {
        let mut caller = Self::connect(address, source)?;
        let node = caller.ask("hello")?;
        Ok((caller, node))
    }

    /// Says `line` and tells which node answers it.
    pub(crate) fn ask(&mut self, line: &str) -> io::Result<String> {
        self.say(line)?;
        self.answer(line)
    }

    /// Says `line` and waits for nothing.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
    }

    /// Waits for the answer to `line`.
    pub(crate) fn answer(&mut self, line: &str) -> io::Result<String> {
        let mut answer = String::new();
        if self.stream.read_line(&mut answer)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let node = answer.trim_end().strip_suffix(line);
        node.map(|node| node.trim_end().to_owned())
            .ok_or_else(|| io::Error::other(format!("\"{answer}\" answers \"{line}\"")))
    }

    /// Whether the connection ends within `limit`, politely or not, with nothing more to read.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(limit)).unwrap();
        let read = self.stream.read(&mut [0; 1]);
        self.stream.get_ref().set_read_timeout(Some(SOON)).unwrap();
        match read {
            Ok(count) => count == 0,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
        }
    }
}
