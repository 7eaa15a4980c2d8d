//! With TLS towards both sides, whose peers speak it by the library. Where this kernel takes nothing over they say so, and
//! show that the library alone serves; `packaging/test/kernel.py` runs them under kernels that do.

use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::peers::{client_side, client_side_by, node_side, sockets};
use super::super::super::session::Sessions;
use super::super::{End, FirstBytes, Gear, NodeLeg, Pump, Side};
use super::*;
use crate::clock::Moment;
use crate::tls::Offer;
use crate::tls::kernel::tests::{Configs, SUITES, configs};

mod peers;
mod rough;

const PATIENCE: Duration = Duration::from_secs(120);
const FIN_TIMEOUT: Duration = Duration::from_secs(60);

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
    let (client, client_leg) = client_side(&configs).await;
    let (node, node_leg): (Box<dyn Stream>, _) = if is_node_secured {
        let (node, leg) = node_side(&configs).await;
        (Box::new(node), NodeLeg::Tls(leg))
    } else {
        let (node, leg) = sockets().await;
        (Box::new(node), NodeLeg::Plain(leg))
    };
    let all = async {
        tokio::join!(
            until_both_ended(gear, client_leg, node_leg),
            peer(client, up, down, chunk),
            peer(node, down, up, chunk)
        )
        .0
    };
    let (end, is_clients, is_nodes) = timeout(PATIENCE, all).await.expect("the exchange ends");
    assert!(matches!(end, End::Closed(_)), "{end:?}");
    assert_eq!(gear.memory().used(), 0);
    (is_clients, is_nodes)
}

/// Either kind of a node's end.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A session that runs until it ends: how, and whether the kernel had the client's connection by then, and the node's. The
/// connections close with it, and whatever the peers have not got by then they must get all the same.
async fn until_both_ended(
    gear: &Gear,
    client: Secured,
    node: NodeLeg<Secured>,
) -> (End, bool, bool) {
    let sessions = Rc::new(Sessions::new(Moment::START));
    let seat = sessions.admit(1);
    let legs = (client, node);
    let mut pump = Pump::new(gear, &seat, (), legs, nothing_first(), 0, &FIN_TIMEOUT);
    let end = pump.until_ended().await;
    let (client, node, _) = pump.into_parts();
    let is_nodes = matches!(node, NodeLeg::Tls(node) if node.is_kernels());
    (end, client.is_kernels(), is_nodes)
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

/// As [`until_both_ended`], with a node in clear.
async fn until_ended(gear: &Gear, client: Secured, node: TcpStream) -> (End, bool) {
    let (end, is_clients, _) = until_both_ended(gear, client, NodeLeg::Plain(node)).await;
    (end, is_clients)
}

#[tokio::test]
async fn who_reads_slowly_gets_everything_to_the_last_byte_before_the_close() {
    let bytes = pattern(600_000);
    for suite in SUITES {
        let gear = Gear::new(1 << 20, 4);
        let (mut client, client_leg) = client_side(&configs(suite)).await;
        let (mut node, node_leg) = sockets().await;
        // The least that the system has.
        for socket in [client_leg.socket(), &node_leg] {
            SockRef::from(socket).set_send_buffer_size(1).unwrap();
        }
        SockRef::from(client.get_ref().0)
            .set_recv_buffer_size(32 * 1024)
            .unwrap();
        let reading = async {
            let mut received = Vec::new();
            let mut room = [0; 5000];
            loop {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                match client.read(&mut room).await.unwrap() {
                    0 => break,
                    count => received.extend_from_slice(&room[..count]),
                }
            }
            assert!(received == bytes, "{} bytes", received.len());
            client.shutdown().await.unwrap();
        };
        let writing = async {
            node.write_all(&bytes).await.unwrap();
            node.shutdown().await.unwrap();
        };
        let all = async {
            let ended = until_ended(&gear, client_leg, node_leg);
            tokio::join!(ended, reading, writing).0
        };
        let (end, _) = timeout(PATIENCE, all).await.expect("it ends");
        assert!(matches!(end, End::Closed(Side::Node)), "{suite:?}: {end:?}");
        assert_eq!(gear.memory().used(), 0);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_into_something_else_ends_at_once_and_is_the_clients() {
    let bytes = pattern(1 << 20);
    for suite in SUITES {
        let is_offered = is_offered(suite);
        for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[23, 3, 3, 0, 40], &[0; 64]] {
            let gear = Gear::new(1 << 20, 4);
            let (mut client, client_leg) = client_side(&configs(suite)).await;
            let (mut node, node_leg) = sockets().await;
            let peers = async {
                let mut received = vec![0; bytes.len()];
                let (written, read) =
                    tokio::join!(client.write_all(&bytes), node.read_exact(&mut received));
                written.unwrap();
                read.unwrap();
                assert!(received == bytes);
                let (raw, _) = client.get_mut();
                raw.write_all(&[nonsense, &[7; 64]].concat()).await.unwrap();
            };
            let ended = until_ended(&gear, client_leg, node_leg);
            let ((end, is_kernels), ()) = timeout(PATIENCE, async { tokio::join!(ended, peers) })
                .await
                .expect("it ends");
            assert!(
                matches!(end, End::Failed(Side::Client, _)),
                "{suite:?}: {end:?}"
            );
            assert_eq!(is_kernels, is_offered);
        }
    }
}

#[tokio::test]
async fn a_client_that_resets_is_told_so() {
    let bytes = pattern(1 << 20);
    for suite in SUITES {
        let gear = Gear::new(1 << 20, 4);
        let (mut client, client_leg) = client_side(&configs(suite)).await;
        let (mut node, node_leg) = sockets().await;
        let peers = async {
            let mut received = vec![0; bytes.len()];
            let (read, written) =
                tokio::join!(client.read_exact(&mut received), node.write_all(&bytes));
            read.unwrap();
            written.unwrap();
            crate::net::options::reset_on_close(client.get_ref().0);
            drop(client);
        };
        let ended = until_ended(&gear, client_leg, node_leg);
        let ((end, _), ()) = timeout(PATIENCE, async { tokio::join!(ended, peers) })
            .await
            .expect("it ends");
        assert!(
            matches!(end, End::Failed(Side::Client, _)),
            "{suite:?}: {end:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_gone_on_with_after_all_ends_and_it_is_nobodys_fault() {
    let bytes = pattern(1 << 20);
    for suite in SUITES.into_iter().filter(|suite| suite.tls13().is_some()) {
        if !is_offered(suite) {
            continue;
        }
        let gear = Gear::new(1 << 20, 4);
        let configs = configs(suite);
        // Nobody was told the secrets.
        let (server, terms) = (
            Arc::clone(&configs.server),
            Terms::new(Some(Offer::of_this_kernel())),
        );
        let (mut client, client_leg) = client_side_by(&configs, server, terms).await;
        let (mut node, node_leg) = sockets().await;
        let peers = async {
            let writing = client.write_all(&bytes);
            let reading =
                async { while node.read(&mut [0; 900]).await.is_ok_and(|count| count > 0) {} };
            let _ = tokio::join!(writing, reading);
        };
        let ended = until_ended(&gear, client_leg, node_leg);
        let ((end, is_kernels), ()) = timeout(PATIENCE, async { tokio::join!(ended, peers) })
            .await
            .expect("it ends");
        let End::Failed(Side::Client, error) = end else {
            panic!("{suite:?}: {end:?}")
        };
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(!is_kernels);
    }
}

#[tokio::test]
async fn a_client_that_renews_its_keys_meanwhile_is_followed_by_whoever_has_the_connection() {
    let bytes = pattern(1 << 20);
    for suite in SUITES.into_iter().filter(|suite| suite.tls13().is_some()) {
        let is_offered = is_offered(suite);
        let gear = Gear::new(1 << 20, 4);
        let (mut client, client_leg) = client_side(&configs(suite)).await;
        let (mut node, node_leg) = sockets().await;
        let peers = async {
            // Before the kernel has it, when it has, and once it has said something with the next keys.
            for _ in 0..3 {
                let mut received = vec![0; bytes.len()];
                match &mut client {
                    TlsStream::Client(client) => client.get_mut().1.refresh_traffic_keys().unwrap(),
                    TlsStream::Server(_) => unreachable!(),
                }
                let (written, read) =
                    tokio::join!(client.write_all(&bytes), node.read_exact(&mut received));
                written.unwrap();
                read.unwrap();
                assert!(received == bytes);
                let (written, read) =
                    tokio::join!(node.write_all(&bytes), client.read_exact(&mut received));
                written.unwrap();
                read.unwrap();
                assert!(received == bytes);
            }
            client.shutdown().await.unwrap();
            node.shutdown().await.unwrap();
        };
        let ended = until_ended(&gear, client_leg, node_leg);
        let ((end, is_kernels), ()) = timeout(PATIENCE, async { tokio::join!(ended, peers) })
            .await
            .expect("it ends");
        assert!(matches!(end, End::Closed(_)), "{suite:?}: {end:?}");
        assert_eq!(is_kernels, is_offered, "{suite:?}");
    }
}
