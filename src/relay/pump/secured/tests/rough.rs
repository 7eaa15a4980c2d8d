//! Peers that say more than data, and not always what they may.

use std::future::poll_fn;
use std::sync::Arc;

use rustls::crypto::cipher::{AeadKey, MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ContentType, Error, ProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::super::kernel::has_room;
use super::peers::sockets;
use super::*;
use crate::sys::kernel_tls::{ALERT, DATA, Direction, HANDSHAKE, Keys, receive, send, set_keys};
use crate::tls::control::{CLOSE_NOTIFY_ALERT, KEY_UPDATE_MESSAGE, NO_RENEGOTIATION_ALERT};
use crate::tls::kernel::Renewal;
use crate::tls::kernel::tests::NAME;

/// A client that sends whatever record it likes, by the kernel.
struct Rough {
    socket: TcpStream,
    /// The other end's socket.
    far: Arc<TcpStream>,
    renewal: Option<Renewal>,
}

const ASKS: [u8; 5] = [24, 0, 0, 1, 1];

/// A rough client, and the other end, which may send so many records with one key.
async fn rough(suite: SupportedCipherSuite, records_max: Option<u64>) -> (Kernel, Rough) {
    let configs = configs(suite);
    let (near, far) = sockets().await;
    let offer = Some(Offer::of_this_kernel());
    let (client_terms, server_terms) = (Terms::new(offer), Terms::new(offer));
    let accepting = TlsAcceptor::from(server_terms.of_server(configs.server)).accept(far);
    let name = ServerName::try_from(NAME).unwrap();
    let config = client_terms.of_client(configs.client);
    let connecting = TlsConnector::from(config).connect(name, near);
    let (client, server) = tokio::join!(connecting, accepting);
    let ((near, client), (far, server)) =
        (client.unwrap().into_inner(), server.unwrap().into_inner());
    for socket in [&near, &far] {
        kernel_tls::attach(socket).unwrap();
    }
    let handover = Handover::new(client.into(), &client_terms).unwrap();
    set_keys(&near, Direction::Transmit, &handover.transmit).unwrap();
    set_keys(&near, Direction::Receive, &handover.receive).unwrap();
    let far = Arc::new(far);
    let rough = Rough {
        socket: near,
        far: Arc::clone(&far),
        renewal: handover.renewal,
    };
    let mut handover = Handover::new(server.into(), &server_terms).unwrap();
    if let Some(records_max) = records_max {
        (handover.records_max, handover.records_left) = (records_max, records_max);
    }
    let kernel = Kernel::take_over(far, false, false, handover).unwrap();
    (kernel, rough)
}

impl Rough {
    fn say(&self, kind: u8, bytes: &[u8]) {
        assert_eq!(send(&self.socket, kind, bytes).unwrap(), bytes.len());
    }

    fn renew(&mut self, direction: Direction) {
        let keys = self.renewal.as_mut().unwrap().renew(direction).unwrap();
        set_keys(&self.socket, direction, &keys).unwrap();
    }

    /// What the other end says next, tickets left out.
    async fn hear(&self) -> (u8, Vec<u8>) {
        let mut buffer = [0; 4096];
        loop {
            self.socket.readable().await.unwrap();
            let receiving = || receive(&self.socket, &mut buffer);
            match self.socket.try_io(tokio::io::Interest::READABLE, receiving) {
                Ok((Some(HANDSHAKE), _)) if buffer[0] == 4 => {}
                Ok((kind, count)) => return (kind.unwrap_or(DATA), buffer[..count].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Kernel {
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 100];
        let count = poll_fn(|context| self.poll_read(context, &mut buffer)).await?;
        Ok(buffer[..count].to_vec())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let count = poll_fn(|context| self.poll_write(context, bytes)).await?;
        assert_eq!(count, bytes.len());
        Ok(())
    }
}

/// Makes records by hand, which the kernel would not: empty ones.
struct Sealer {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Sealer {
    fn new(suite: SupportedCipherSuite, keys: &Keys) -> Self {
        let key = || AeadKey::from(keys.key);
        let encrypter = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key(), keys.iv.into()),
            SupportedCipherSuite::Tls12(suite) => suite.aead_alg.encrypter(key(), &keys.iv, &[]),
        };
        Self {
            encrypter,
            sequence: keys.sequence,
        }
    }

    fn seal(&mut self, typ: ContentType, bytes: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(bytes),
        };
        let sealed = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        sealed.encode()
    }
}

/// Those whose keys are as long as the library's type for them that anybody can make.
const LONG_KEYS: [SupportedCipherSuite; 2] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];
/// That of TLS 1.2 has its explicit nonces apart.
const LONG_KEY_1_2: SupportedCipherSuite =
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;

/// A leg towards a client that the kernel goes on with, the client's end of the wire, and what makes its records.
async fn by_hand(suite: SupportedCipherSuite) -> (Secured, TcpStream, Sealer) {
    let configs = configs(suite);
    let client_terms = Terms::new(Some(Offer::of_this_kernel()));
    let told = Configs {
        client: client_terms.of_client(Arc::clone(&configs.client)),
        server: configs.server,
    };
    let (client, leg) = client_side(&told).await;
    let TlsStream::Client(client) = client else {
        unreachable!()
    };
    let (wire, client) = client.into_inner();
    let handover = Handover::new(client.into(), &client_terms).unwrap();
    (leg, wire, Sealer::new(suite, &handover.transmit))
}

#[tokio::test]
async fn records_without_a_byte_are_no_end_however_they_come() {
    let half = pattern(200_000);
    for suite in LONG_KEYS.into_iter().chain([LONG_KEY_1_2]) {
        let is_offered = is_offered(suite);
        if suite.tls13().is_some() && !is_offered {
            // Nobody is told the secrets that records are made with.
            continue;
        }
        // Read, spliced, and before a farewell.
        let (leg, mut wire, mut sealer) = by_hand(suite).await;
        let mut sent = Vec::new();
        for _ in 0..2 {
            for part in half.chunks(16 * 1024) {
                sent.extend(sealer.seal(ContentType::ApplicationData, part));
                sent.extend(sealer.seal(ContentType::ApplicationData, &[]));
            }
        }
        sent.extend(sealer.seal(ContentType::Alert, &CLOSE_NOTIFY_ALERT));
        let gear = Gear::new(1 << 20, 4);
        let (mut node, node_leg) = sockets().await;
        let peers = async {
            let receiving = async {
                let mut received = Vec::new();
                node.read_to_end(&mut received).await.unwrap();
                let count = received.len();
                assert!(received == half.repeat(2), "{suite:?}: {count} bytes");
                node.shutdown().await.unwrap();
            };
            let writing = async { wire.write_all(&sent).await.unwrap() };
            tokio::join!(writing, receiving);
        };
        let ended = until_ended(&gear, leg, node_leg);
        let ((end, is_kernels), ()) = timeout(PATIENCE, async { tokio::join!(ended, peers) })
            .await
            .expect("it ends");
        assert!(
            matches!(end, End::Closed(Side::Client)),
            "{suite:?}: {end:?}"
        );
        assert_eq!(is_kernels, is_offered);
    }
}

#[tokio::test]
async fn a_byte_a_record_is_read_without_keeping_others_from_their_turn() {
    over_each(false, async |suite| {
        let (mut kernel, rough) = rough(suite, None).await;
        for _ in 0..2000 {
            rough.say(DATA, b"x");
        }
        let (mut count, mut turns) = (0, 0);
        poll_fn(|context| {
            turns += 1;
            let mut buffer = [0; 100];
            while let Poll::Ready(read) = kernel.poll_read(context, &mut buffer) {
                count += read.unwrap();
                if count == 2000 {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
        assert_eq!(count, 2000);
        assert!(turns > 1);
    })
    .await;
}

/// Runs `test` over each suite of a version that this kernel takes.
async fn over_each(is_newer: bool, mut test: impl AsyncFnMut(SupportedCipherSuite)) {
    for suite in SUITES {
        if suite.tls13().is_some() == is_newer && is_offered(suite) {
            timeout(PATIENCE, test(suite)).await.expect("in time");
        }
    }
}

#[tokio::test]
async fn keys_that_the_peer_renews_are_followed_and_ours_are_renewed_where_it_asks() {
    over_each(true, async |suite| {
        let (mut kernel, mut rough) = rough(suite, None).await;
        for message in [KEY_UPDATE_MESSAGE, ASKS, ASKS] {
            rough.say(DATA, b"before");
            rough.say(HANDSHAKE, &message);
            rough.renew(Direction::Transmit);
            rough.say(DATA, b"after");
            assert_eq!(kernel.read().await.unwrap(), b"before");
            assert_eq!(kernel.read().await.unwrap(), b"after");
            kernel.write(b"answer").await.unwrap();
            if message == ASKS {
                let heard = rough.hear().await;
                assert_eq!(heard, (HANDSHAKE, KEY_UPDATE_MESSAGE.to_vec()));
                rough.renew(Direction::Receive);
            }
            assert_eq!(rough.hear().await, (DATA, b"answer".to_vec()));
        }
    })
    .await;
}

#[tokio::test]
async fn keys_are_renewed_before_they_are_worn_out() {
    over_each(true, async |suite| {
        let (mut kernel, mut rough) = rough(suite, Some(3)).await;
        for number in 1..=10 {
            kernel.write(b"x").await.unwrap();
            // The third record was the last one with these keys.
            if number > 3 && number % 3 == 1 {
                let heard = rough.hear().await;
                assert_eq!(heard, (HANDSHAKE, KEY_UPDATE_MESSAGE.to_vec()));
                rough.renew(Direction::Receive);
            }
            assert_eq!(rough.hear().await, (DATA, b"x".to_vec()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_whose_keys_are_worn_out_and_cannot_be_renewed_ends() {
    over_each(false, async |suite| {
        let (mut kernel, _rough) = rough(suite, Some(3)).await;
        for _ in 0..3 {
            kernel.write(b"x").await.unwrap();
        }
        assert!(kernel.write(b"x").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn who_would_shake_hands_anew_is_refused_once_and_data_go_on() {
    let hello = [1, 0, 0, 3, 9, 9, 9];
    over_each(false, async |suite| {
        let (mut kernel, rough) = rough(suite, None).await;
        rough.say(HANDSHAKE, &hello);
        rough.say(DATA, b"data");
        assert_eq!(kernel.read().await.unwrap(), b"data");
        kernel.write(b"answer").await.unwrap();
        let heard = rough.hear().await;
        assert_eq!(heard, (ALERT, NO_RENEGOTIATION_ALERT.to_vec()));
        assert_eq!(rough.hear().await, (DATA, b"answer".to_vec()));
        rough.say(HANDSHAKE, &hello);
        assert!(kernel.read().await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_farewell_ends_one_way_and_a_fatal_alert_the_connection() {
    for is_newer in [false, true] {
        over_each(is_newer, async |suite| {
            let (mut kernel, rough) = rough(suite, None).await;
            rough.say(DATA, b"data");
            rough.say(ALERT, &CLOSE_NOTIFY_ALERT);
            assert_eq!(kernel.read().await.unwrap(), b"data");
            assert_eq!(kernel.read().await.unwrap(), b"");
            assert_eq!(kernel.read().await.unwrap(), b"");
            kernel.write(b"answer").await.unwrap();
            poll_fn(|context| kernel.poll_finish(context))
                .await
                .unwrap();
            assert_eq!(rough.hear().await, (DATA, b"answer".to_vec()));
            assert_eq!(rough.hear().await, (ALERT, CLOSE_NOTIFY_ALERT.to_vec()));

            let (mut kernel, rough) = self::rough(suite, None).await;
            rough.say(ALERT, &[2, 20]);
            let error = kernel.read().await.unwrap_err();
            let expected = Error::AlertReceived(AlertDescription::BadRecordMac);
            assert_eq!(crate::tls::cause(&error), Some(&expected));
        })
        .await;
    }
}

#[tokio::test]
async fn a_farewell_is_told_at_once_and_waits_for_the_reader_before_the_close() {
    for is_newer in [false, true] {
        over_each(is_newer, async |suite| {
            let (mut kernel, rough) = rough(suite, None).await;
            let mut sent = 0;
            while has_room(&rough.far).is_ok() {
                kernel.write(&[7; 1000]).await.unwrap();
                sent += 1000;
            }
            assert!(!kernel.has_taken_leave());
            let waits = poll_fn(|context| Poll::Ready(kernel.poll_finish(context).is_pending()));
            assert!(waits.await && kernel.has_taken_leave());
            let reading = async {
                loop {
                    match rough.hear().await {
                        (DATA, bytes) => sent -= bytes.len(),
                        farewell => return farewell,
                    }
                }
            };
            let finishing = poll_fn(|context| kernel.poll_finish(context));
            let (finished, farewell) = tokio::join!(finishing, reading);
            finished.unwrap();
            assert_eq!(farewell, (ALERT, CLOSE_NOTIFY_ALERT.to_vec()));
            assert_eq!(sent, 0);
        })
        .await;
    }
}

#[tokio::test]
async fn who_says_nothing_but_asides_is_cut() {
    over_each(true, async |suite| {
        let (mut kernel, mut rough) = rough(suite, None).await;
        for _ in 0..100 {
            rough.say(HANDSHAKE, &KEY_UPDATE_MESSAGE);
            rough.renew(Direction::Transmit);
        }
        assert!(kernel.read().await.is_err());
    })
    .await;
}
