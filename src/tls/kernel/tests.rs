use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, RootCertStore, ServerConnection};

use super::*;

/// Both ends of a connection whose hands are shaken, over `suite`.
struct Pair {
    client: Connection,
    server: Connection,
    client_terms: Terms,
    server_terms: Terms,
}

fn offer_of_all() -> &'static Offer {
    static OFFER: OnceLock<Offer> = OnceLock::new();
    OFFER.get_or_init(|| Offer::asked(|_, _| Ok(())))
}

pub(crate) const NAME: &str = "node.example";

/// Both sides' configurations over one suite.
pub(crate) struct Configs {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

pub(crate) fn configs(suite: SupportedCipherSuite) -> Configs {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new([NAME.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = parameters.self_signed(&key).unwrap().into();
    let provider = Arc::new(CryptoProvider {
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

fn pair(suite: SupportedCipherSuite) -> Pair {
    let Configs { client, server } = configs(suite);
    let [client_terms, server_terms] = [(); 2].map(|()| Terms::new(Some(offer_of_all())));
    let name = ServerName::try_from(NAME).unwrap();
    let client = client_terms.of_client(client);
    let server = server_terms.of_server(server);
    let mut pair = Pair {
        client: ClientConnection::new(client, name).unwrap().into(),
        server: ServerConnection::new(server).unwrap().into(),
        client_terms,
        server_terms,
    };
    pair.exchange();
    assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
    pair
}

/// Takes what `from` has to send to `to`; whether there was any.
fn carry(from: &mut Connection, to: &mut Connection) -> bool {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut rest = &wire[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets().unwrap();
        let mut drained = Vec::new();
        let end = to.reader().read_to_end(&mut drained);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    !wire.is_empty()
}

impl Pair {
    fn exchange(&mut self) {
        while carry(&mut self.client, &mut self.server) | carry(&mut self.server, &mut self.client)
        {
        }
    }

    fn say(&mut self, records: usize) {
        for _ in 0..records {
            for end in [&mut self.client, &mut self.server] {
                end.writer().write_all(b"hello").unwrap();
            }
            self.exchange();
        }
    }

    fn hand_over(mut self) -> (Handover, Handover) {
        for end in [&mut self.client, &mut self.server] {
            // Whatever else there is to be said.
            assert_eq!(end.writer().write(&[]).unwrap(), 0);
        }
        self.exchange();
        assert!(self.client_terms.allow(&self.client) && self.server_terms.allow(&self.server));
        let client = Handover::new(self.client, &self.client_terms).unwrap();
        let server = Handover::new(self.server, &self.server_terms).unwrap();
        (client, server)
    }
}

/// All that the kernel may take.
pub(crate) const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Whether what one end sends with `theirs` is what the other one receives with `ours`.
fn match_up(ours: &Keys, theirs: &Keys) {
    let is_explicit = ours.version == Version::Tls12 && ours.cipher != Cipher::Chacha20Poly1305;
    let told = if is_explicit { 4 } else { 12 };
    assert_eq!(ours.key, theirs.key);
    assert_eq!(ours.iv[..told], theirs.iv[..told]);
    assert_eq!(ours.sequence, theirs.sequence);
    assert_eq!((ours.version, ours.cipher), (theirs.version, theirs.cipher));
}

#[test]
fn every_suite_of_the_library_has_its_cipher() {
    for suite in aws_lc_rs::ALL_CIPHER_SUITES {
        assert!(cipher_of(*suite).is_some(), "{suite:?}");
    }
}

#[test]
fn both_ends_of_a_connection_go_on_with_the_same_keys_whatever_was_agreed() {
    for suite in SUITES {
        for records in [0, 3] {
            let mut pair = pair(suite);
            pair.say(records);
            let (client, server) = pair.hand_over();
            match_up(&client.transmit, &server.receive);
            match_up(&server.transmit, &client.receive);
            assert!(client.transmit.sequence >= records as u64);
            assert_eq!(client.renewal.is_some(), suite.tls13().is_some());
        }
    }
}

#[test]
fn keys_are_renewed_as_the_other_end_renews_them_and_also_after_renewals_by_the_library() {
    for suite in SUITES.into_iter().filter(|suite| suite.tls13().is_some()) {
        for before in [0, 1, 5] {
            let mut pair = pair(suite);
            for _ in 0..before {
                pair.client.refresh_traffic_keys().unwrap();
                pair.say(1);
            }
            let (client, server) = pair.hand_over();
            match_up(&client.transmit, &server.receive);
            match_up(&server.transmit, &client.receive);
            let (mut client, mut server) = (client.renewal.unwrap(), server.renewal.unwrap());
            let mut seen = HashSet::new();
            for _ in 0..3 {
                for (from, to) in [
                    (Direction::Transmit, Direction::Receive),
                    (Direction::Receive, Direction::Transmit),
                ] {
                    let ours = client.renew(from).unwrap();
                    match_up(&ours, &server.renew(to).unwrap());
                    assert!(seen.insert(ours.key), "a key that was used already");
                }
            }
        }
    }
}

#[test]
fn the_next_keys_are_those_that_the_library_would_use() {
    // One end renews by the library, the other one by the secrets.
    for suite in SUITES.into_iter().filter(|suite| suite.tls13().is_some()) {
        let mut pair = pair(suite);
        let secrets = Arc::clone(pair.server_terms.secrets.as_ref().unwrap());
        pair.client.refresh_traffic_keys().unwrap();
        pair.say(1);
        let by_library = Handover::new(pair.client, &pair.client_terms).unwrap();
        let cipher = by_library.transmit.cipher;
        let suite = suite.tls13().unwrap();
        let mut renewal = Renewal::begin(suite, cipher, &secrets, false).unwrap();
        let by_secrets = renewal.renew(Direction::Receive).unwrap();
        assert_eq!(by_library.transmit.key, by_secrets.key);
        assert_eq!(by_library.transmit.iv, by_secrets.iv);
    }
}

#[test]
fn a_connection_whose_secrets_were_not_told_is_not_gone_on_with() {
    let pair = pair(cipher_suite::TLS13_AES_128_GCM_SHA256);
    assert!(Handover::new(pair.client, &Terms::default()).is_err());
}

#[test]
fn nothing_is_taken_that_the_kernel_has_refused_and_it_is_said_why() {
    let old = Offer::asked(|version, cipher| match (version, cipher) {
        (Version::Tls12, Cipher::Aes128Gcm) => Ok(()),
        (Version::Tls12, _) => Err(ErrorKind::NotFound.into()),
        (Version::Tls13, _) => Err(io::Error::from_raw_os_error(libc::EBUSY)),
    });
    assert!(old.takes_any(Version::Tls12) && !old.takes_any(Version::Tls13));
    assert_eq!(old.refusal(Version::Tls12), None);
    let refusal = old.refusal(Version::Tls13).unwrap();
    assert!(refusal.contains("6.14"), "{refusal}");
    let taken = SUITES.map(|suite| old.takes(&pair(suite).client));
    assert_eq!(taken, [false, false, false, true, false, false]);

    let none = Offer::asked(|_, _| Err(io::Error::from_raw_os_error(libc::ENOENT)));
    let refusal = none.refusal(Version::Tls12).unwrap();
    assert!(refusal.contains("modprobe tls"), "{refusal}");
}

#[test]
fn the_kernel_of_this_machine_takes_what_it_says_or_says_why_not() {
    let offer = Offer::of_this_kernel();
    for version in Version::ALL {
        assert_ne!(offer.takes_any(version), offer.refusal(version).is_some());
    }
}

#[test]
fn keys_and_secrets_are_not_shown() {
    let pair = pair(cipher_suite::TLS13_AES_128_GCM_SHA256);
    let terms = format!("{:?}", pair.client_terms);
    assert!(terms.contains("TrafficSecrets(…)"), "{terms}");
    let (client, _) = pair.hand_over();
    let shown = format!("{client:?}");
    assert!(!shown.contains("key: ["), "{shown}");
}

proptest! {
    #[test]
    fn no_nonce_of_the_library_is_used_by_the_kernel(
        first: u64,
        records in 0u64..3000,
        more in 1u64..3000,
    ) {
        let used: HashSet<u64> = (0..records).map(|sequence| first ^ sequence).collect();
        let fresh = fresh_nonce(first, records);
        for number in 0..more {
            prop_assert!(!used.contains(&fresh.wrapping_add(number)));
        }
    }
}

#[test]
fn the_kernel_counts_up_from_a_nonce_that_no_record_had() {
    let mut pair = pair(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    pair.say(5);
    // Of the other end's sight the first explicit nonce is the library's, since both have it from one block of keys.
    let (client, server) = pair.hand_over();
    let explicit = |keys: &Keys| u64::from_be_bytes(keys.iv[4..].try_into().unwrap());
    let first = explicit(&server.receive);
    let sent = client.transmit.sequence;
    let begins = explicit(&client.transmit);
    assert!(sent >= 5);
    assert!((0..sent).all(|sequence| first ^ sequence != begins));
    assert_eq!(begins, fresh_nonce(first, sent));
}
