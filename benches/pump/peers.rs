//! Two connections over loopback, client's and node's: the peers' ends, and the worker's.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use pinfold::sys::pipe::{Pipe, Spliced};
use rustix::io::ioctl_fionread;
use socket2::SockRef;

/// All four ends. Nothing blocks.
pub(crate) struct Peers {
    client: TcpStream,
    node: TcpStream,
    /// Where the worker reads.
    pub(crate) source: TcpStream,
    /// Where it writes.
    pub(crate) sink: TcpStream,
    /// Bytes that the client has sent and the node has not received.
    on_their_way: Cell<usize>,
}

impl Peers {
    pub(crate) fn connect() -> Self {
        let (client, source) = pair();
        let (node, sink) = pair();
        Self {
            client,
            node,
            source,
            sink,
            on_their_way: Cell::new(0),
        }
    }

    /// The client sends until `size` bytes are on their way, or as many as there is room for, and they
    /// wait for the worker: loopback may deliver later, on a thread of the kernel. How many wait.
    pub(crate) fn send(&self, size: usize) -> usize {
        let missing = size
            .min(BYTES.len())
            .saturating_sub(self.on_their_way.get());
        if missing > 0 {
            let sent = moved((&self.client).write(&BYTES[..missing]));
            self.on_their_way.set(self.on_their_way.get() + sent);
        }
        let waiting = || ioctl_fionread(&self.source).unwrap_or(0);
        patiently(|| waiting() < self.on_their_way.get() as u64, waiting);
        usize::try_from(waiting()).unwrap_or(0)
    }

    /// The node receives what is on its way; how much.
    pub(crate) fn receive(&self) -> usize {
        let before = self.on_their_way.get();
        let mut buffer = [0; 64 << 10];
        let take = || {
            let taken = moved((&self.node).read(&mut buffer));
            self.on_their_way.set(self.on_their_way.get() - taken);
            self.on_their_way.get() as u64
        };
        patiently(|| self.on_their_way.get() > 0, take);
        before - self.on_their_way.get()
    }

    /// The worker copies once; how much.
    pub(crate) fn copy(&self, buffer: &mut [u8]) -> usize {
        let read = moved((&self.source).read(buffer));
        let mut sent = 0;
        while sent < read {
            sent += moved((&self.sink).write(&buffer[sent..read]));
        }
        read
    }

    /// The worker splices once; how much.
    pub(crate) fn splice(&self, pipe: &Pipe) -> usize {
        let filled = match pipe.fill(&self.source) {
            Ok(Spliced::Moved(filled)) => filled,
            Ok(Spliced::Finished) => panic!("the client has finished"),
            Err(error) => moved(Err(error)),
        };
        while pipe.filled() > 0 {
            moved(pipe.drain(&self.sink));
        }
        filled
    }
}

static BYTES: [u8; 1 << 20] = [7; 1 << 20];

/// Bytes that moved; none where the socket would block.
fn moved(result: io::Result<usize>) -> usize {
    match result {
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

/// Waits while `is_missing`, as long as `progress` changes now and then.
fn patiently(is_missing: impl Fn() -> bool, mut progress: impl FnMut() -> u64) {
    const PATIENCE: Duration = Duration::from_millis(10);
    let (mut since, mut last) = (Instant::now(), None);
    while is_missing() && since.elapsed() < PATIENCE {
        let seen = Some(progress());
        if seen == last {
            std::thread::yield_now();
        } else {
            (since, last) = (Instant::now(), seen);
        }
    }
}

/// Room for more than is ever on its way, so that the worker never waits for its sink.
const SOCKET_BUFFER: usize = 4 << 20;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let address = listener.local_addr().expect("it is bound");
    let near = TcpStream::connect(address).expect("it listens");
    let (far, _) = listener.accept().expect("it has connected");
    for end in [&near, &far] {
        end.set_nonblocking(true).expect("a socket");
        end.set_nodelay(true).expect("a socket");
        let options = SockRef::from(end);
        options
            .set_send_buffer_size(SOCKET_BUFFER)
            .expect("a socket");
        options
            .set_recv_buffer_size(SOCKET_BUFFER)
            .expect("a socket");
    }
    (near, far)
}
