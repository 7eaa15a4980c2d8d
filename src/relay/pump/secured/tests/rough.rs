//! Peers that say more than data, and not always what they may.

use std::future::poll_fn;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, Error};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::peers::{NAME, configs, sockets};
use super::*;
use crate::sys::kernel_tls::{ALERT, DATA, Direction, HANDSHAKE, receive, send, set_keys};
use crate::tls::control::{CLOSE_NOTIFY_ALERT, KEY_UPDATE_MESSAGE, NO_RENEGOTIATION_ALERT};
use crate::tls::kernel::Renewal;

/// A client that sends whatever record it likes, by the kernel.
struct Rough {
    socket: TcpStream,
    renewal: Option<Renewal>,
}

const ASKS: [u8; 5] = [24, 0, 0, 1, 1];

/// A rough client, and the other end, which may send so many records with one key.
async fn rough(suite: SupportedCipherSuite, records_max: Option<u64>) -> (Kernel, Rough) {
    let configs = configs(suite);
    let (near, far) = sockets().await;
    let offer = Some(Offer::of_this_kernel());
    let (client_terms, server_terms) = (Terms::new(offer), Terms::new(offer));
    let accepting = TlsAcceptor::from(server_terms.of_server(&configs.server)).accept(far);
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
    let rough = Rough {
        socket: near,
        renewal: handover.renewal,
    };
    let mut handover = Handover::new(server.into(), &server_terms).unwrap();
    handover.records_max = records_max.unwrap_or(handover.records_max);
    let kernel = Kernel::take_over(Arc::new(far), false, false, handover).unwrap();
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
                Ok((HANDSHAKE, _)) if buffer[0] == 4 => {}
                Ok((kind, count)) => return (kind, buffer[..count].to_vec()),
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
