//! A request that becomes a tunnel, as WebSocket does.

use std::io;
use std::rc::Rc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;

use super::lines::Bond;

/// Two connections that change over, to be joined. The tunnel ends with its node.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) bond: Rc<Bond>,
    pub(super) client: OnUpgrade,
    pub(super) node: OnUpgrade,
}

impl Tunnel {
    /// Moves what both sides say until either has had enough.
    pub(super) async fn carry(self) -> io::Result<()> {
        let both = async {
            let upgraded = tokio::try_join!(self.client, self.node);
            let (client, node) = upgraded.map_err(io::Error::other)?;
            copy(client, node).await
        };
        // Of an interrupt the client is told by the end of its connection.
        self.bond.guard(both).await.unwrap_or(Ok(()))
    }
}

async fn copy(client: Upgraded, node: Upgraded) -> io::Result<()> {
    let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
    let copied = copy_bidirectional_with_sizes(&mut client, &mut node, CHUNK, CHUNK).await;
    copied.map(drop)
}

/// WebSocket messages are small, and a tunnel that idles holds two of these.
const CHUNK: usize = 4 * 1024;
