//! A partner's end: one connection within TLS that says exactly what a test wants said.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;

use pinfold_loadtest::tls::{TlsVersion, client_config};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::tls::openssl;
use crate::world::SOON;

/// One connection.
pub(crate) struct Phone {
    stream: StreamOwned<ClientConnection, TcpStream>,
    heard: Vec<u8>,
}

impl Phone {
    /// Calls from `source`.
    pub(crate) fn connect(address: SocketAddr, source: Ipv4Addr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket
            .bind(&SocketAddr::new(IpAddr::V4(source), 0).into())
            .unwrap();
        socket.connect_timeout(&address.into(), SOON).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        let config = client_config(TlsVersion::V1_3).unwrap();
        let name = ServerName::try_from("sip.contoso.com").unwrap();
        let connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
        Self {
            stream: StreamOwned::new(connection, stream),
            heard: Vec::new(),
        }
    }

    pub(crate) fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    /// As [`say`](Self::say), `size` bytes at a time, each a packet within TLS.
    pub(crate) fn say_chopped(&mut self, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size) {
            self.say(piece);
        }
    }

    /// The next message.
    pub(crate) fn hear(&mut self) -> io::Result<String> {
        loop {
            if let Some(message) = super::take_message(&mut self.heard) {
                return Ok(String::from_utf8_lossy(&message).into_owned());
            }
            self.more()?;
        }
    }

    /// Whatever comes next, `count` bytes of it.
    pub(crate) fn hear_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.heard.len() < count {
            self.more().unwrap();
        }
        self.heard.drain(..count).collect()
    }

    fn more(&mut self) -> io::Result<()> {
        let mut block = [0; 16 * 1024];
        match self.stream.read(&mut block)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.heard.extend_from_slice(&block[..count]);
                Ok(())
            }
        }
    }

    /// Asks by `method`, and tells the code and the node of the answer.
    pub(crate) fn ask(&mut self, method: &str, number: u32) -> (u16, Option<String>) {
        self.say(super::request(method, number, "fabrikam.com", ""));
        let answer = self.hear().unwrap();
        assert!(
            answer.contains(&format!("CSeq: {number} {method}\r\n")),
            "{answer}"
        );
        super::read_answer(&answer)
    }

    /// Says that it will say no more.
    pub(crate) fn finish(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().unwrap();
    }

    /// How the connection ends, with nothing more to be heard.
    pub(crate) fn ends(&mut self) -> Option<ErrorKind> {
        assert!(
            self.heard.is_empty(),
            "{:?}",
            String::from_utf8_lossy(&self.heard)
        );
        let ended = self.more();
        assert!(
            self.heard.is_empty(),
            "{:?}",
            String::from_utf8_lossy(&self.heard)
        );
        ended.err().map(|error| error.kind())
    }
}

/// `openssl s_client`, for what a stack of another make and its certificate are needed.
#[derive(Debug)]
pub(crate) struct Openssl {
    process: Child,
}

impl Openssl {
    /// Connects to `address` from `directory`; what is said and heard goes through its pipes.
    pub(crate) fn connect(
        directory: &Path,
        address: SocketAddr,
        more: &str,
    ) -> (Self, ChildStdin, ChildStdout) {
        let arguments = format!("s_client -quiet -connect {address}{more}");
        let mut process = openssl(directory, &arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (
            process.stdin.take().unwrap(),
            process.stdout.take().unwrap(),
        );
        (Self { process }, input, output)
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
