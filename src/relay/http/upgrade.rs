//! A request that becomes a tunnel, as WebSocket does.

use std::rc::Rc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::task::spawn_local;

use super::lines::Bond;
use super::visit::Visit;

/// Joins the two connections once both sides have changed over. The tunnel ends with its node.
pub(super) fn join(visit: &Visit, bond: Rc<Bond>, client: OnUpgrade, node: OnUpgrade) {
    let listener = Rc::clone(&visit.policy);
    visit.dig(spawn_local(async move {
        let (client, node) = match tokio::try_join!(client, node) {
            Ok(both) => both,
            Err(error) => {
                let listener = &*listener.listener.state.name;
                tracing::debug!(listener, %error, "http-upgrade-failed");
                return;
            }
        };
        let _ = bond.seat.guard(copy(client, node)).await;
    }));
}

async fn copy(client: Upgraded, node: Upgraded) {
    let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
    // Either side's failure ends both, which their peers see by themselves.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut node, CHUNK, CHUNK).await;
}

/// WebSocket messages are small, and a tunnel that idles holds two of these.
const CHUNK: usize = 4 * 1024;
