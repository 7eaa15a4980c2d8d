//! Addresses of `view`, and the files of sockets.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::diagnostics::Findings;
use crate::config::model::View;
use crate::config::value::{self, Item, Wanted};

/// What a path is not that [`socket_path`] refuses.
pub(super) const NO_SOCKET_PATH: &str = "has no path of 1 to 107 bytes";

/// Longest path that fits in a unix socket's address (unix(7), `sun_path`).
const LONGEST_SOCKET_PATH: usize = 107;

/// The file of a unix socket, where it can be one.
pub(super) fn socket_path(path: &str) -> Option<PathBuf> {
    let is_one = !path.is_empty() && !path.contains('\0') && path.len() <= LONGEST_SOCKET_PATH;
    is_one.then(|| PathBuf::from(path))
}

/// `"unix:PATH"`, or an address with a port.
pub(super) fn view(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<View> {
    let wanted = Wanted {
        what: "an address to read the admin API at",
        why: "",
        help: "write \"unix:/run/pinfold-view/view.sock\", or an IP address with a port: \
         \"192.0.2.5:9062\", \"[2001:db8::5]:9062\"",
    };
    item.parsed(findings, wanted, |text| match text.strip_prefix("unix:") {
        Some(path) => socket_path(path).map(View::Unix),
        None => {
            let address = text.parse::<SocketAddr>().ok().map(value::plain_socket);
            address.map(View::Tcp)
        }
    })
}
