//! Where the daemon's admin API is.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AdminAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// An IP address and port.
    Tcp(SocketAddr),
}

impl FromStr for AdminAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err("a path must follow `unix:`"),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "write unix:PATH or IP:PORT, such as 127.0.0.1:9061"),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_file_or_an_ip_and_port() {
        for text in [
            "unix:/run/pinfold/admin.sock",
            "unix:a",
            "127.0.0.1:9061",
            "[::1]:9061",
        ] {
            let address: AdminAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "unix:",
            "/run/pinfold/admin.sock",
            "127.0.0.1",
            "localhost:9061",
            "http://127.0.0.1:9061",
        ] {
            assert!(text.parse::<AdminAddress>().is_err(), "{text}");
        }
    }
}
