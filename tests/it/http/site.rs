//! A web node in this process: it answers by what it was asked, and keeps what came.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use pinfold_loadtest::process::wait_until;

use crate::world::SOON;

/// One request as the node saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Which of the node's connections, from 0.
    pub(crate) connection: usize,
    /// Request line and headers, one a line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
}

impl Asked {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A web node.
///
/// It says its name and what it was asked. `/die` closes the connection unanswered; `/silent` is answered only once
/// the site is [let go](Self::let_go); `/ntlm` asks for NTLM until the connection has shown it; `/socket` becomes a
/// tunnel that says everything twice; `/head-only` is answered without a body.
#[derive(Debug)]
pub(crate) struct Site {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
    is_let_go: AtomicBool,
    has_died: AtomicBool,
}

impl Site {
    pub(crate) fn start(name: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.into(),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            streams: Mutex::default(),
            is_let_go: AtomicBool::new(false),
            has_died: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_thread.has_died.load(SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                thread::spawn(move || {
                    let _ = shared.serve(stream);
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Waits for a request whose head contains `text`.
    pub(crate) fn wait_asked(&self, text: &str) -> Asked {
        let found = || {
            self.asked()
                .into_iter()
                .find(|asked| asked.head.contains(text))
        };
        wait_until(SOON, found).unwrap_or_else(|| panic!("nobody asks {text}: {:?}", self.asked()))
    }

    /// Answers whatever waits at `/silent`.
    pub(crate) fn let_go(&self) {
        self.shared.is_let_go.store(true, SeqCst);
    }

    /// Resets every connection, and refuses those to come.
    pub(crate) fn die(&self) {
        self.shared.has_died.store(true, SeqCst);
        // The listening thread sees it at its next connection, and lets go of its port.
        let _ = TcpStream::connect(self.address);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.die();
    }
}

/// Bytes at `/huge`: more than all that lies between two processes can keep.
pub(crate) const HUGE: usize = 64 << 20;

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(SOON * 3))?;
        self.streams.lock().unwrap().push(stream.try_clone()?);
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        let mut has_shown = false;
        let mut connection = None;
        loop {
            let mut asked = read(&mut reader)?;
            // A probe is no request.
            let connection =
                *connection.get_or_insert_with(|| self.connections.fetch_add(1, SeqCst));
            asked.connection = connection;
            has_shown |= asked
                .header("authorization")
                .is_some_and(|shown| shown.starts_with("NTLM"));
            self.asked.lock().unwrap().push(asked.clone());
            let target = asked.head.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut body = format!(
                "{} {}\n",
                self.name,
                asked.head.lines().next().unwrap_or_default()
            );
            let (mut status, mut more) = ("200 OK", "");
            match target.split('?').next().unwrap_or_default() {
                "/die" => return stream.shutdown(std::net::Shutdown::Both),
                "/silent" => {
                    let _ = wait_until(SOON * 3, || self.is_let_go.load(SeqCst).then_some(()));
                }
                "/ntlm" if !has_shown => {
                    (status, more) = ("401 Unauthorized", "WWW-Authenticate: NTLM\r\n");
                }
                "/length" => body = format!("{} {}\n", self.name, asked.body.len()),
                "/large" => body = "0123456789abcdef".repeat(256 * 1024),
                "/huge" => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n");
                    stream.write_all(head.as_bytes())?;
                    let piece = [b'x'; 1 << 20];
                    (0..HUGE / piece.len()).try_for_each(|_| stream.write_all(&piece))?;
                    continue;
                }
                "/socket" => {
                    stream.write_all(
                        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                    )?;
                    loop {
                        let said = reader.fill_buf()?.to_vec();
                        if said.is_empty() {
                            return Ok(());
                        }
                        reader.consume(said.len());
                        stream.write_all(&[said.clone(), said].concat())?;
                    }
                }
                _ => {}
            }
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: text/plain\r\nKeep-Alive: timeout=5\r\n{more}\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes())?;
            if !asked.head.starts_with("HEAD ") {
                stream.write_all(body.as_bytes())?;
            }
        }
    }
}

/// Reads one request.
fn read(reader: &mut impl BufRead) -> io::Result<Asked> {
    let mut asked = Asked::default();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim_end().is_empty() {
            break;
        }
        asked.head += line.trim_end();
        asked.head += "\n";
    }
    let length = asked
        .header("content-length")
        .and_then(|length| length.parse().ok());
    if asked.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            if length == 0 {
                break;
            }
            let mut part = vec![0; length + 2];
            reader.read_exact(&mut part)?;
            asked.body.extend_from_slice(&part[..length]);
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                return Ok(asked);
            }
            asked.trailers += line.trim_end();
            asked.trailers += "\n";
        }
    }
    asked.body.resize(length.unwrap_or(0), 0);
    reader.read_exact(&mut asked.body)?;
    Ok(asked)
}
