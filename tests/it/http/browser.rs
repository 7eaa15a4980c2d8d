//! A client of HTTP/1.1 over TLS that says exactly what a test wants said.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use pinfold_loadtest::tls::{TlsVersion, client_config};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::world::SOON;

/// One connection.
pub(crate) struct Browser {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

/// One response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and headers, one a line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The cookie that it sets, as a client sends it back.
    pub(crate) fn cookie(&self) -> Option<String> {
        let set = self.header("set-cookie")?;
        Some(set.split(';').next()?.to_owned())
    }

    /// The name of the node that answered.
    pub(crate) fn node(&self) -> String {
        let text = self.text();
        text.split(' ').next().unwrap_or_default().to_owned()
    }
}

impl Browser {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// One whose system keeps little of what it does not read.
    pub(crate) fn connect_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        let config = client_config(TlsVersion::V1_3).unwrap();
        let name = ServerName::try_from("web.contoso.com").unwrap();
        let connection = ClientConnection::new(config, name).unwrap();
        Self {
            stream: BufReader::new(StreamOwned::new(connection, stream)),
        }
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Asks for `target` with these lines beside, each ended.
    pub(crate) fn get(&mut self, target: &str, lines: &str) -> io::Result<Response> {
        self.say(
            format!("GET {target} HTTP/1.1\r\nHost: web.contoso.com\r\n{lines}\r\n").as_bytes(),
        )?;
        self.response()
    }

    /// Reads one response that has a length.
    pub(crate) fn response(&mut self) -> io::Result<Response> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.trim_end().is_empty() {
                break;
            }
            head += line.trim_end();
            head += "\n";
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let mut response = Response {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            head,
            body: Vec::new(),
        };
        let length = response
            .header("content-length")
            .and_then(|length| length.parse().ok());
        response.body.resize(length.unwrap_or(0), 0);
        self.stream.read_exact(&mut response.body)?;
        Ok(response)
    }

    /// Reads so many bytes of a tunnel.
    pub(crate) fn hear(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the server has ended the connection.
    pub(crate) fn has_ended(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
        }
    }
}
