//! The far ends of connections, which speak TLS by the library.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::super::Secured;
use crate::net::records::Records;
use crate::tls::kernel::tests::{Configs, NAME};
use crate::tls::{Offer, Terms};

pub(super) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (near, listener.accept().await.unwrap().0)
}

pub(super) type Peer = TlsStream<TcpStream>;

/// A client that speaks TLS, and the leg towards it.
pub(super) async fn client_side(configs: &Configs) -> (Peer, Secured) {
    let terms = Terms::new(Some(Offer::of_this_kernel()));
    let server = terms.of_server(Arc::clone(&configs.server));
    client_side_by(configs, server, terms).await
}

/// The same on terms that may be others than those of the handshake.
pub(super) async fn client_side_by(
    configs: &Configs,
    server: Arc<ServerConfig>,
    terms: Terms,
) -> (Peer, Secured) {
    let (near, far) = sockets().await;
    let accepting = TlsAcceptor::from(server).accept(Records::from(far));
    let name = ServerName::try_from(NAME).unwrap();
    let connecting = TlsConnector::from(Arc::clone(&configs.client)).connect(name, near);
    let (peer, leg) = tokio::join!(connecting, accepting);
    let leg = Box::new(leg.unwrap().into());
    (peer.unwrap().into(), Secured::new(leg, terms))
}

/// A node that speaks TLS, and the leg towards it.
pub(super) async fn node_side(configs: &Configs) -> (Peer, Secured) {
    let (near, far) = sockets().await;
    let terms = Terms::new(Some(Offer::of_this_kernel()));
    let accepting = TlsAcceptor::from(Arc::clone(&configs.server)).accept(far);
    let name = ServerName::try_from(NAME).unwrap();
    let config = terms.of_client(Arc::clone(&configs.client));
    let connecting = TlsConnector::from(config).connect(name, Records::from(near));
    let (leg, peer) = tokio::join!(connecting, accepting);
    let leg = Box::new(leg.unwrap().into());
    (peer.unwrap().into(), Secured::new(leg, terms))
}
