//! What a service manager would hear.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::{Directory, SOON};

/// A `NOTIFY_SOCKET`.
#[derive(Debug)]
pub(crate) struct Notified {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notified {
    pub(crate) fn listen(directory: &Directory) -> Self {
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { socket, path }
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The next message other than signs of life.
    pub(crate) fn next(&self) -> String {
        loop {
            let message = self.any();
            if message.trim() != "WATCHDOG=1" {
                return message;
            }
        }
    }

    /// How many signs of life come within `time`.
    pub(crate) fn signs_of_life(&self, time: Duration) -> usize {
        let end = std::time::Instant::now() + time;
        let mut count = 0;
        while std::time::Instant::now() < end {
            count += usize::from(self.any().trim() == "WATCHDOG=1");
        }
        count
    }

    fn any(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message in time");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }
}
