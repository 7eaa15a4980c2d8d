//! Pipes for `splice(2)`: bytes cross from one socket to another without entering this process.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// A pipe and the number of bytes in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    filled: Cell<usize>,
    size: usize,
}

/// What one splice did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spliced {
    /// So many bytes moved.
    Moved(usize),
    /// The socket has nothing more, ever.
    Finished,
}

impl Pipe {
    /// A pipe that holds about `size` bytes, or what the system grants where it grants less.
    ///
    /// `pipe(7)`: beyond `pipe-user-pages-soft` an unprivileged user gets small pipes; the pipe then
    /// works all the same, and [`Pipe::size`] tells.
    ///
    /// # Errors
    ///
    /// No descriptors are left.
    pub fn new(size: usize) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let size = fcntl_setpipe_size(&write, size)
            .or_else(|_| rustix::pipe::fcntl_getpipe_size(&write))
            .unwrap_or(4096);
        Ok(Self {
            read,
            write,
            filled: Cell::new(0),
            size,
        })
    }

    /// The size the system granted, in bytes. Not a bound on what can be in flight.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes in the pipe.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled.get()
    }

    /// Moves bytes from `socket` into the pipe.
    ///
    /// The pipe must be empty: `splice(2)` answers `EAGAIN` both for an empty socket and for a full
    /// pipe, and only with an empty pipe is it known to be the socket.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: the socket has nothing now. Any other: the socket's error.
    pub fn fill(&self, socket: &impl AsFd) -> io::Result<Spliced> {
        debug_assert_eq!(
            self.filled(),
            0,
            "EAGAIN is only unambiguous on an empty pipe"
        );
        match retry(|| splice(socket, None, &self.write, None, self.size, FLAGS))? {
            0 => Ok(Spliced::Finished),
            moved => {
                self.filled.set(moved);
                Ok(Spliced::Moved(moved))
            }
        }
    }

    /// Moves bytes from the pipe into `socket` and returns how many.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: the socket takes nothing now. Any other: the socket's error.
    pub fn drain(&self, socket: &impl AsFd) -> io::Result<usize> {
        let moved = retry(|| splice(&self.read, None, socket, None, self.filled(), FLAGS))?;
        self.filled.set(self.filled().saturating_sub(moved));
        Ok(moved)
    }
}

/// `SPLICE_F_MOVE` is a hint that costs nothing; `SPLICE_F_MORE` is not set, because nothing is ever
/// left in the pipe that would follow.
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

fn retry(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    /// Loopback delivers at once, but not always before the next instruction.
    fn until_ready(mut attempt: impl FnMut() -> io::Result<Spliced>) -> io::Result<Spliced> {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        loop {
            match attempt() {
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock
                        && std::time::Instant::now() < deadline =>
                {
                    std::thread::yield_now();
                }
                result => return result,
            }
        }
    }

    #[test]
    fn bytes_cross_from_one_socket_to_the_other() {
        let (source, mut source_peer) = pair();
        let (sink, mut sink_peer) = pair();
        let pipe = Pipe::new(64 * 1024).unwrap();
        source_peer.write_all(b"hello").unwrap();
        assert_eq!(
            until_ready(|| pipe.fill(&source)).unwrap(),
            Spliced::Moved(5)
        );
        assert_eq!(pipe.drain(&sink).unwrap(), 5);
        assert_eq!(pipe.filled(), 0);
        let mut received = [0; 5];
        sink_peer.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"hello");
    }

    #[test]
    fn an_empty_socket_would_block() {
        let (source, _peer) = pair();
        let pipe = Pipe::new(4096).unwrap();
        assert_eq!(
            pipe.fill(&source).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }

    #[test]
    fn the_end_of_a_socket_is_told_apart_from_silence() {
        let (source, peer) = pair();
        peer.shutdown(Shutdown::Write).unwrap();
        let pipe = Pipe::new(4096).unwrap();
        assert_eq!(
            until_ready(|| pipe.fill(&source)).unwrap(),
            Spliced::Finished
        );
    }

    #[test]
    fn a_reset_socket_is_an_error() {
        let (source, peer) = pair();
        socket2::SockRef::from(&peer)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
        drop(peer);
        let pipe = Pipe::new(4096).unwrap();
        let error = until_ready(|| pipe.fill(&source)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_full_socket_leaves_the_rest_in_the_pipe() {
        let (source, mut source_peer) = pair();
        let (sink, _sink_peer) = pair();
        let pipe = Pipe::new(1 << 20).unwrap();
        let writer = std::thread::spawn(move || {
            let _ = source_peer.write_all(&vec![7; 64 << 20]);
        });
        let blocked = (0..100_000).any(|_| {
            if pipe.filled() == 0 && until_ready(|| pipe.fill(&source)).is_err() {
                return false;
            }
            matches!(pipe.drain(&sink), Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        assert!(blocked, "a socket that nobody reads must fill up");
        assert!(pipe.filled() > 0);
        drop(source);
        writer.join().unwrap();
    }

    #[test]
    fn a_descriptor_that_cannot_splice_is_an_error() {
        let pipe = Pipe::new(4096).unwrap();
        let directory = std::fs::File::open("/").unwrap();
        assert!(pipe.fill(&directory).is_err());
    }
}
