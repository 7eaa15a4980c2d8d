//! Many sockets that are waited for by one descriptor: `epoll(7)` inside the runtime's own.
//!
//! A runtime keeps a few hundred bytes and a task for each socket that it waits for; here the kernel keeps a number.
//! Level-triggered: a socket with more to read is told of again, so that one read for each telling is enough, and
//! nobody who talks without a pause keeps others waiting.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tokio::io::unix::AsyncFd;

use crate::sys::datagram::BATCH;
use crate::sys::watch::watch;

/// Sockets that are waited for together.
#[derive(Debug)]
pub struct Crowd {
    epoll: AsyncFd<OwnedFd>,
}

/// Sockets that are told of at a time: one datagram of each is a batch.
const TOLD_MAX: usize = BATCH;

impl Crowd {
    /// Nobody yet.
    ///
    /// # Errors
    ///
    /// No descriptor; not on a runtime's thread.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll: watch(epoll)?,
        })
    }

    /// From here on `name` is told when the socket can be read, until it is closed.
    ///
    /// # Errors
    ///
    /// `epoll_ctl(2)`: no memory, or too many watches of this user.
    pub fn add(&self, socket: &impl AsFd, name: u64) -> io::Result<()> {
        let data = EventData::new_u64(name);
        epoll::add(&self.epoll, socket, data, EventFlags::IN)?;
        Ok(())
    }

    /// Waits until somebody can be read, and puts some of them into `names`, in the place of what it held. May name
    /// one who is gone.
    ///
    /// # Errors
    ///
    /// The runtime is gone.
    pub async fn told(&self, names: &mut Vec<u64>) -> io::Result<()> {
        names.clear();
        loop {
            let mut guard = self.epoll.readable().await?;
            let mut events = [const { MaybeUninit::<Event>::uninit() }; TOLD_MAX];
            let (told, _) = epoll::wait(&self.epoll, &mut events, Some(&NO_TIME))?;
            if told.is_empty() {
                // Whoever comes after this look is told of by the runtime.
                guard.clear_ready();
                continue;
            }
            names.extend(told.iter().map(|event| event.data.u64()));
            return Ok(());
        }
    }
}

const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        one.connect(other.local_addr().unwrap()).unwrap();
        (one, other)
    }

    async fn told(crowd: &Crowd) -> Vec<u64> {
        let limit = Duration::from_secs(10);
        let mut told = Vec::new();
        let waiting = tokio::time::timeout(limit, crowd.told(&mut told)).await;
        waiting.expect("nobody was told of").unwrap();
        told.sort_unstable();
        told
    }

    #[tokio::test]
    async fn whoever_can_be_read_is_told_of_until_it_was_read() {
        let crowd = Crowd::new().unwrap();
        let ((first, first_heard), (second, second_heard)) = (pair(), pair());
        crowd.add(&first_heard, 1).unwrap();
        crowd.add(&second_heard, u64::MAX).unwrap();
        for _ in 0..2 {
            first.send(b"x").unwrap();
        }
        second.send(b"x").unwrap();
        assert_eq!(told(&crowd).await, [1, u64::MAX]);
        let mut buffer = [0; 8];
        first_heard.recv(&mut buffer).unwrap();
        second_heard.recv(&mut buffer).unwrap();
        assert_eq!(told(&crowd).await, [1], "one more waits there");
        first_heard.recv(&mut buffer).unwrap();
        second.send(b"x").unwrap();
        assert_eq!(told(&crowd).await, [u64::MAX], "as the runtime slept");
    }

    #[tokio::test]
    async fn nobody_is_told_of_who_is_gone() {
        let crowd = Crowd::new().unwrap();
        let ((first, gone), (second, heard)) = (pair(), pair());
        crowd.add(&gone, 1).unwrap();
        crowd.add(&heard, 2).unwrap();
        first.send(b"x").unwrap();
        drop(gone);
        second.send(b"x").unwrap();
        assert_eq!(told(&crowd).await, [2]);
    }
}
