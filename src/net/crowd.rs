//! Many sockets that are waited for by one descriptor: `epoll(7)` inside the runtime's own.
//!
//! A runtime keeps a few hundred bytes and a task for each socket that it waits for; here the kernel keeps a number.
//! Level-triggered: a socket with more to read is told of again, so that one read for each telling is enough, and
//! nobody who talks without a pause keeps others waiting. Where very much comes, whoever listens may rather look now and
//! then than be woken each time.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use super::alarm::Alarm;
use crate::sys::datagram::BATCH;
use crate::sys::watch::watch;

/// Sockets that are waited for together.
#[derive(Debug)]
pub struct Crowd {
    epoll: Rc<OwnedFd>,
}

/// Who waits for a crowd.
#[derive(Debug)]
pub struct Ear {
    epoll: Rc<OwnedFd>,
    /// While the runtime wakes it whenever somebody can be read.
    watched: Option<AsyncFd<Rc<OwnedFd>>>,
    /// Once it was needed.
    alarm: Option<Alarm>,
    /// There was no room for all of them the last time.
    has_more: bool,
}

/// Sockets that are told of at a time: one datagram of each is a batch.
const TOLD_MAX: usize = BATCH;

impl Crowd {
    /// Nobody yet.
    ///
    /// # Errors
    ///
    /// No descriptor.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll: Rc::new(epoll),
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

    /// Whoever waits for them; one at a time, since each would be told of all.
    ///
    /// # Errors
    ///
    /// `epoll_ctl(2)`; not on a runtime's thread.
    pub fn ear(&self) -> io::Result<Ear> {
        Ok(Ear {
            epoll: Rc::clone(&self.epoll),
            watched: Some(watch(Rc::clone(&self.epoll))?),
            alarm: None,
            has_more: false,
        })
    }
}

impl Ear {
    /// Waits until somebody can be read, and puts some of them into `names`, in the place of what it held. May name
    /// one who is gone. Where the kernel has no memory to wake it, it looks from time to time, and there may be none.
    ///
    /// # Errors
    ///
    /// The runtime is gone.
    pub async fn told(&mut self, names: &mut Vec<u64>) -> io::Result<()> {
        names.clear();
        self.has_more = false;
        if self.watched.is_none() {
            self.watched = watch(Rc::clone(&self.epoll)).ok();
        }
        let Some(watched) = &self.watched else {
            sleep(HARD_UP).await;
            look(&self.epoll, names)?;
            return Ok(());
        };
        loop {
            let mut guard = watched.readable().await?;
            if look(&self.epoll, names)? == 0 {
                // Whoever comes after this look is told of by the runtime.
                guard.clear_ready();
                continue;
            }
            return Ok(());
        }
    }

    /// Is woken by nobody, and looks once `pause` has passed, or once others had their turn where it is zero or some
    /// had to wait the last time: puts those who can be read into `names`, in the place of what it held. There may be
    /// none. Where there are no descriptors it waits as [`told`](Self::told) does.
    ///
    /// # Errors
    ///
    /// As [`told`](Self::told).
    pub async fn told_after(&mut self, pause: Duration, names: &mut Vec<u64>) -> io::Result<()> {
        let alarm = match self.alarm.take() {
            Some(alarm) => alarm,
            None => match Alarm::new() {
                Ok(alarm) => alarm,
                Err(_) => return self.told(names).await,
            },
        };
        let alarm = self.alarm.insert(alarm);
        names.clear();
        self.watched = None;
        match self.has_more || pause.is_zero() {
            true => tokio::task::yield_now().await,
            false => alarm.after(pause).await?,
        }
        self.has_more = look(&self.epoll, names)? == TOLD_MAX;
        Ok(())
    }
}

/// Adds those who can be read to `names`; how many there is room for.
fn look(epoll: &OwnedFd, names: &mut Vec<u64>) -> io::Result<usize> {
    let mut events = [const { MaybeUninit::<Event>::uninit() }; TOLD_MAX];
    let (told, _) = epoll::wait(epoll, &mut events, Some(&NO_TIME))?;
    names.extend(told.iter().map(|event| event.data.u64()));
    Ok(told.len())
}

/// Between two looks where nobody can wake us.
const HARD_UP: Duration = Duration::from_millis(1);

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

    async fn told(ear: &mut Ear) -> Vec<u64> {
        let limit = Duration::from_secs(10);
        let mut told = Vec::new();
        let waiting = tokio::time::timeout(limit, ear.told(&mut told)).await;
        waiting.expect("nobody was told of").unwrap();
        told.sort_unstable();
        told
    }

    #[tokio::test]
    async fn whoever_can_be_read_is_told_of_until_it_was_read() {
        let crowd = Crowd::new().unwrap();
        let mut ear = crowd.ear().unwrap();
        let ((first, first_heard), (second, second_heard)) = (pair(), pair());
        crowd.add(&first_heard, 1).unwrap();
        crowd.add(&second_heard, u64::MAX).unwrap();
        for _ in 0..2 {
            first.send(b"x").unwrap();
        }
        second.send(b"x").unwrap();
        assert_eq!(told(&mut ear).await, [1, u64::MAX]);
        let mut buffer = [0; 8];
        first_heard.recv(&mut buffer).unwrap();
        second_heard.recv(&mut buffer).unwrap();
        assert_eq!(told(&mut ear).await, [1], "one more waits there");
        first_heard.recv(&mut buffer).unwrap();
        second.send(b"x").unwrap();
        assert_eq!(told(&mut ear).await, [u64::MAX], "as the runtime slept");
    }

    #[tokio::test]
    async fn nobody_is_told_of_who_is_gone() {
        let crowd = Crowd::new().unwrap();
        let mut ear = crowd.ear().unwrap();
        let ((first, gone), (second, heard)) = (pair(), pair());
        crowd.add(&gone, 1).unwrap();
        crowd.add(&heard, 2).unwrap();
        first.send(b"x").unwrap();
        drop(gone);
        second.send(b"x").unwrap();
        assert_eq!(told(&mut ear).await, [2]);
    }

    #[tokio::test]
    async fn whoever_looks_now_and_then_misses_nobody() {
        let crowd = Crowd::new().unwrap();
        let mut ear = crowd.ear().unwrap();
        let pairs: Vec<_> = (0..TOLD_MAX as u64 + 3).map(|_| pair()).collect();
        for (name, (one, heard)) in (0..).zip(&pairs) {
            crowd.add(heard, name).unwrap();
            one.send(b"x").unwrap();
        }
        let (mut names, mut all) = (Vec::new(), Vec::new());
        while all.len() < pairs.len() {
            let pause = Duration::from_micros(100);
            let looks = ear.told_after(pause, &mut names);
            let limit = Duration::from_secs(10);
            tokio::time::timeout(limit, looks).await.unwrap().unwrap();
            for name in &names {
                let (_, heard) = &pairs[usize::try_from(*name).unwrap()];
                heard.recv(&mut [0; 8]).unwrap();
            }
            all.extend_from_slice(&names);
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(0..pairs.len() as u64));
        ear.told_after(Duration::ZERO, &mut names).await.unwrap();
        assert!(names.is_empty(), "all of it was read");
        let (one, _) = &pairs[5];
        one.send(b"x").unwrap();
        assert_eq!(
            told(&mut ear).await,
            [5],
            "woken again by what had come before"
        );
    }
}
