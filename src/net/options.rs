//! Socket options as data.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::config::model;
use crate::sys;

/// Options of one leg of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegOptions {
    /// Interval of keepalive probes; `None`: none.
    pub keepalive: Option<Duration>,
    /// How long unacknowledged bytes are borne; `None`: the system's.
    pub user_timeout: Option<Duration>,
}

impl From<&model::Listener> for LegOptions {
    fn from(listener: &model::Listener) -> Self {
        Self {
            keepalive: listener.keepalive,
            user_timeout: listener.user_timeout,
        }
    }
}

impl LegOptions {
    /// Sets the options. A listening socket hands them on to what it accepts (`tcp(7)`), so that an
    /// accepted socket costs no system call for them.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` refuses.
    pub fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        set_at_once(socket)?;
        self.apply_lasting(socket)?;
        if self.user_timeout.is_none() {
            // It may have had one before a reload.
            SockRef::from(socket).set_tcp_user_timeout(None)?;
        }
        Ok(())
    }

    /// Sets what a connection needs once it has lasted: until then, whoever dialled it has a deadline of
    /// its own, and most short connections never get there.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` refuses.
    pub fn apply_lasting(&self, socket: &impl AsFd) -> io::Result<()> {
        let socket = SockRef::from(socket);
        match self.keepalive {
            Some(interval) => {
                let keepalive = TcpKeepalive::new()
                    .with_time(interval)
                    .with_interval(interval);
                // tcp(7), TCP_USER_TIMEOUT: where it is set it decides, not the number of probes.
                let keepalive = match self.user_timeout {
                    Some(_) => keepalive,
                    None => keepalive.with_retries(3),
                };
                socket.set_tcp_keepalive(&keepalive)?;
            }
            None => socket.set_keepalive(false)?,
        }
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        Ok(())
    }
}

/// Sets what a connection needs before its first byte: Nagle's delay would hold back every small SIP
/// message.
///
/// # Errors
///
/// What `setsockopt(2)` refuses.
pub fn set_at_once(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_nodelay(true)
}

/// Options of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Handed on to accepted sockets.
    pub leg: LegOptions,
    /// Wake the accept only once the client has sent a byte. Only where the client speaks first: a
    /// silent one would wait a second.
    pub defer_accept: bool,
    /// Bind an address that this machine does not hold (yet).
    pub freebind: bool,
}

impl ListenOptions {
    /// Sets what may change while the socket listens.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` refuses.
    pub fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        self.leg.apply(socket)?;
        let patience = if self.defer_accept {
            DEFER_PATIENCE
        } else {
            Duration::ZERO
        };
        sys::option::set_defer_accept(socket, patience)
    }
}

/// The kernel rounds to retransmissions of the SYN-ACK; one second means the first of them. A silent
/// client is then accepted and falls under `first_bytes_timeout`.
const DEFER_PATIENCE: Duration = Duration::from_secs(1);

/// Makes the close of `socket` a reset, so that the peer errors at once and nothing lingers here.
pub fn reset_on_close(socket: &impl AsFd) {
    // A socket that the kernel has already torn down refuses; it is gone either way.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reload_switches_off_is_off_on_a_socket_that_had_it() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let minute = Some(Duration::from_secs(60));
        for (keepalive, user_timeout) in [(minute, minute), (None, None)] {
            let options = LegOptions {
                keepalive,
                user_timeout,
            };
            options.apply(&socket).unwrap();
            let socket = SockRef::from(&socket);
            assert_eq!(socket.tcp_user_timeout().unwrap(), user_timeout);
            assert_eq!(socket.keepalive().unwrap(), keepalive.is_some());
        }
    }
}
