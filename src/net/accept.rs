//! The accept loop: one for each listening socket, on one worker.
//!
//! Owns the pace after errors; hands every connection on at once, so that no client can hold up
//! another. What a connection is worth is decided by who is handed it.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};

use crate::addr::ClientAddr;

/// What the loop tells of itself.
pub trait Observer {
    /// A client is here.
    fn accepted(&self, stream: TcpStream, client: ClientAddr);
    /// The system is short of something; the loop waits `pause` before it tries again.
    fn short(&self, error: &io::Error, pause: Duration);
}

/// Accepts until dropped.
pub async fn accept(listener: &TcpListener, observer: &impl Observer) {
    let mut pause = SHORTEST_PAUSE;
    let mut failures = 0;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = SHORTEST_PAUSE;
                failures = 0;
                observer.accepted(stream, ClientAddr::new(peer));
            }
            Err(error) if is_shortage(&error) || failures >= FAILURES_MAX => {
                observer.short(&error, pause);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            // accept(2): errors of the connection that was waiting (reset, unreachable) concern it
            // alone; the next one may be taken at once.
            Err(_) => {
                failures += 1;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Takes what waits in the queue of a listener that is about to close, so that the kernel resets as
/// few of them as it can.
pub fn take_waiting(listener: TcpListener, observer: &impl Observer) {
    let Ok(listener) = listener.into_std() else {
        return;
    };
    // Bounded: a flood must not keep a retired listener open.
    for _ in 0..WAITING_MAX {
        let Ok((stream, peer)) = listener.accept() else {
            return;
        };
        if stream.set_nonblocking(true).is_err() {
            continue;
        }
        if let Ok(stream) = TcpStream::from_std(stream) {
            observer.accepted(stream, ClientAddr::new(peer));
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// Short enough that a single freed descriptor is used soon, long enough not to spin.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// A second is how long a client's SYN waits before it is sent again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So many failures in a row are not those of single connections any more.
const FAILURES_MAX: u32 = 16;
/// The largest queue the kernel keeps.
const WAITING_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[derive(Default)]
    struct Count(Cell<usize>);

    impl Observer for Count {
        fn accepted(&self, _: TcpStream, _: ClientAddr) {
            self.0.set(self.0.get() + 1);
        }
        fn short(&self, _: &io::Error, _: Duration) {}
    }

    #[tokio::test]
    async fn a_retired_listener_gives_up_what_waits_in_its_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..5)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        let count = Count::default();
        take_waiting(listener, &count);
        assert_eq!(count.0.get(), clients.len());
    }

    #[test]
    fn only_our_own_shortage_makes_the_loop_wait() {
        assert!(is_shortage(&Errno::MFILE.into()));
        assert!(!is_shortage(&Errno::CONNABORTED.into()));
    }
}
