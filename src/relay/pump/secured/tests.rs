//! With TLS towards both sides, whose peers speak it by the library. Where this kernel takes nothing over they say so, and
//! show that the library alone serves; `packaging/test/kernel.py` runs them under kernels that do.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::super::session::Sessions;
use super::super::{End, FirstBytes, Gear, NodeLeg, Pump};
use super::*;
use crate::clock::Moment;
use crate::tls::Offer;

const PATIENCE: Duration = Duration::from_secs(120);
const FIN_TIMEOUT: Duration = Duration::from_secs(60);
const NAME: &str = "node.example";

const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Whether this kernel is to go on with connections over `suite`; says so where it does not.
fn is_offered(suite: SupportedCipherSuite) -> bool {
    let offer = Offer::of_this_kernel();
    let is_offered = offer.takes_suite(suite);
    if !is_offered {
        eprintln!("not by this kernel: {suite:?}: {offer:?}");
        let must = std::env::var("PINFOLD_KERNEL_TLS").unwrap_or_default();
        let is_needed = match suite.tls13() {
            Some(_) => must == "1.3",
            None => !must.is_empty(),
        };
        assert!(!is_needed, "this kernel was to take over {suite:?}");
    }
    is_offered
}

/// Both sides' configurations over one suite.
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn configs(suite: SupportedCipherSuite) -> Configs {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new([NAME.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = parameters.self_signed(&key).unwrap().into();
    let provider = Arc::new(rustls::crypto::CryptoProvider {
        cipher_suites: vec![suite],
        ..aws_lc_rs::default_provider()
    });
    let versions = [suite.version()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private)
        .unwrap();
    server.enable_secret_extraction = true;
    Configs {
        client: Arc::new(client),
        server: Arc::new(server),
    }
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (near, listener.accept().await.unwrap().0)
}

type Peer = TlsStream<TcpStream>;

/// A client that speaks TLS, and the leg towards it.
async fn client_side(configs: &Configs) -> (Peer, Secured) {
    let (near, far) = sockets().await;
    let terms = Terms::new(Some(Offer::of_this_kernel()));
    let accepting = TlsAcceptor::from(terms.of_server(&configs.server)).accept(Records::from(far));
    let name = ServerName::try_from(NAME).unwrap();
    let connecting = TlsConnector::from(Arc::clone(&configs.client)).connect(name, near);
    let (peer, leg) = tokio::join!(connecting, accepting);
    let leg = Box::new(leg.unwrap().into());
    (peer.unwrap().into(), Secured::new(leg, terms))
}

/// A node that speaks TLS, and the leg towards it.
async fn node_side(configs: &Configs) -> (Peer, Secured) {
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

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index.wrapping_mul(31) >> 3).to_le_bytes()[0])
        .collect()
}

fn nothing_first() -> FirstBytes {
    FirstBytes {
        bytes: Vec::new(),
        finished: false,
    }
}

/// A peer sends bytes in chunks, and receives what is expected up to an end in order. Who has less to send finishes once it
/// has everything, as one that asks does.
async fn peer<S: AsyncRead + AsyncWrite>(stream: S, send: &[u8], expect: &[u8], chunk: usize) {
    let (mut read, mut write) = split(stream);
    let (received_all, has_all) = oneshot::channel();
    let sending = async {
        for part in send.chunks(chunk) {
            write.write_all(part).await.unwrap();
            write.flush().await.unwrap();
        }
        if send.len() < expect.len() {
            has_all.await.unwrap();
        }
        write.shutdown().await.unwrap();
    };
    let receiving = async {
        let mut received = vec![0; expect.len()];
        read.read_exact(&mut received).await.unwrap();
        let _ = received_all.send(());
        read.read_to_end(&mut received).await.unwrap();
        let (came, expected) = (received.len(), expect.len());
        assert!(received == expect, "{came} of {expected} bytes");
    };
    tokio::join!(sending, receiving);
}

/// Sends both ways at once through a pump with TLS on one or both sides; what became of the legs.
async fn exchange(
    suite: SupportedCipherSuite,
    gear: &Gear,
    is_node_secured: bool,
    (up, down): (&[u8], &[u8]),
    chunk: usize,
) -> (bool, bool) {
    let configs = configs(suite);
    let sessions = Rc::new(Sessions::new(Moment::START));
    let seat = sessions.admit(1);
    let (client, client_leg) = client_side(&configs).await;
    let exchange = async {
        if is_node_secured {
            let (node, node_leg) = node_side(&configs).await;
            let legs = (client_leg, NodeLeg::Tls(node_leg));
            let mut pump = Pump::new(gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
            let (end, ()) = tokio::join!(
                async {
                    let end = pump.until_ended().await;
                    // As a session's end: whatever the peers have not got by now, they must get all the same.
                    let (client, node, _) = pump.into_parts();
                    let NodeLeg::Tls(node) = node else {
                        unreachable!()
                    };
                    (end, client.is_kernels(), node.is_kernels())
                },
                async {
                    tokio::join!(peer(client, up, down, chunk), peer(node, down, up, chunk));
                }
            );
            end
        } else {
            let (node, node_leg) = sockets().await;
            let legs = (client_leg, NodeLeg::<Secured>::Plain(node_leg));
            let mut pump = Pump::new(gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
            let (end, ()) = tokio::join!(
                async {
                    let end = pump.until_ended().await;
                    let (client, ..) = pump.into_parts();
                    (end, client.is_kernels(), false)
                },
                async {
                    tokio::join!(peer(client, up, down, chunk), peer(node, down, up, chunk));
                }
            );
            end
        }
    };
    let (end, is_clients, is_nodes) = timeout(PATIENCE, exchange)
        .await
        .expect("the exchange ends");
    assert!(matches!(end, End::Closed(_)), "{end:?}");
    assert_eq!(gear.memory().used(), 0);
    (is_clients, is_nodes)
}

#[tokio::test]
async fn bulk_in_either_direction_is_given_to_the_kernel_and_every_byte_arrives() {
    let (bulk, word) = (pattern(4 << 20), pattern(9));
    for suite in SUITES {
        let is_offered = is_offered(suite);
        for is_node_secured in [false, true] {
            for (up, down) in [(&bulk, &word), (&word, &bulk), (&bulk, &bulk)] {
                let gear = Gear::new(1 << 20, 4);
                let both = (&up[..], &down[..]);
                let (clients, nodes) = exchange(suite, &gear, is_node_secured, both, 1 << 16).await;
                let what = format!(
                    "{suite:?}, {} up, {} down, the node's in TLS: {is_node_secured}",
                    up.len(),
                    down.len()
                );
                assert_eq!(clients, is_offered, "the client's: {what}");
                assert_eq!(nodes, is_offered && is_node_secured, "the node's: {what}");
                assert_eq!(gear.pipes.has_warm(), is_offered, "spliced: {what}");
            }
        }
    }
}

#[tokio::test]
async fn small_messages_stay_with_the_library() {
    let words = pattern(6000);
    for suite in SUITES {
        let gear = Gear::new(1 << 20, 4);
        let both = (&words[..], &words[..]);
        let taken = exchange(suite, &gear, true, both, 100).await;
        assert_eq!(taken, (false, false), "{suite:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn bytes_in_are_bytes_out_for_any_sizes_and_chopping(
        up in 0usize..600_000,
        down in 0usize..600_000,
        chunk in 1usize..200_000,
        memory in prop_oneof![Just(0usize), Just(1 << 20)],
        pipes in 0usize..3,
        suite in 0usize..6,
        is_node_secured: bool,
    ) {
        let chunk = chunk.max((up + down) / 500 + 1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (up, down) = (pattern(up), pattern(down));
        runtime.block_on(exchange(
            SUITES[suite],
            &Gear::new(memory, pipes),
            is_node_secured,
            (&up, &down),
            chunk,
        ));
    }
}
