//! Connections that the kernel goes on with in the library's place.
//!
//! Owns what of a connection the kernel must be told, and what follows when keys are renewed. Does not touch the
//! connection itself: see `relay::pump`. Invariant: no nonce is used twice with one key, by whomever.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::crypto::tls13::OkmBlock;
use rustls::{
    CipherSuite, ClientConfig, CommonState, Connection, ConnectionTrafficSecrets, Error, KeyLog,
    ProtocolVersion, ServerConfig, SupportedCipherSuite, Tls13CipherSuite,
};
use zeroize::Zeroizing;

use crate::sys::kernel_tls::{Cipher, Direction, KEY_MAX, Keys, Version, is_young_enough, probe};

/// What the kernel takes over.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    taken: Vec<(Version, Cipher)>,
    /// What the kernel says to each version that it takes nothing of.
    refusals: Vec<(Version, Arc<str>)>,
}

impl Offer {
    /// What this kernel takes over: asked once, of which [`probe`] tells how.
    #[must_use]
    pub fn of_this_kernel() -> &'static Self {
        static OFFER: OnceLock<Offer> = OnceLock::new();
        OFFER.get_or_init(|| match is_young_enough() {
            true => Self::asked(probe),
            false => {
                Self::asked(|_, _| Err(io::Error::other("Linux 6.1 is the oldest that was tried")))
            }
        })
    }

    fn asked(ask: impl Fn(Version, Cipher) -> io::Result<()>) -> Self {
        let mut offer = Self::default();
        for version in Version::ALL {
            let mut refusal = None;
            for cipher in Cipher::ALL {
                match ask(version, cipher) {
                    Ok(()) => offer.taken.push((version, cipher)),
                    Err(error) => refusal = refusal.or(Some(error)),
                }
            }
            if !offer.takes_any(version)
                && let Some(refusal) = refusal
            {
                offer.refusals.push((version, why(&refusal).into()));
            }
        }
        offer
    }

    /// Whether it takes anything of `version`.
    #[must_use]
    pub fn takes_any(&self, version: Version) -> bool {
        self.taken.iter().any(|(taken, _)| *taken == version)
    }

    /// Why it takes nothing of `version`, where it takes nothing.
    #[must_use]
    pub fn refusal(&self, version: Version) -> Option<&str> {
        let refusal = self.refusals.iter().find(|(of, _)| *of == version);
        refusal.map(|(_, why)| &**why)
    }

    /// Whether it takes `connection`, whose handshake is over.
    #[must_use]
    pub fn takes(&self, connection: &CommonState) -> bool {
        let suite = connection.negotiated_cipher_suite();
        suite.is_some_and(|suite| self.takes_suite(suite))
    }

    /// Whether it takes connections over `suite`.
    #[must_use]
    pub fn takes_suite(&self, suite: SupportedCipherSuite) -> bool {
        let version = known_version(suite.version().version);
        let both = version.zip(cipher_of(suite));
        both.is_some_and(|both| self.taken.contains(&both))
    }
}

/// What a refusal of the kernel means.
fn why(refusal: &io::Error) -> String {
    match refusal.raw_os_error() {
        Some(libc::ENOENT) => "its module is not loaded (modprobe tls, restart)".into(),
        Some(libc::EBUSY) => "this kernel cannot renew keys, Linux 6.14 can".into(),
        _ => refusal.to_string(),
    }
}

fn known_version(version: ProtocolVersion) -> Option<Version> {
    match u16::from(version) {
        0x0303 => Some(Version::Tls12),
        0x0304 => Some(Version::Tls13),
        _ => None,
    }
}

fn cipher_of(suite: SupportedCipherSuite) -> Option<Cipher> {
    let found = CIPHERS.iter().find(|(of, _)| *of == suite.suite());
    found.map(|(_, cipher)| *cipher)
}

/// Of the suites of the library.
const CIPHERS: [(CipherSuite, Cipher); 9] = [
    (CipherSuite::TLS13_AES_128_GCM_SHA256, Cipher::Aes128Gcm),
    (CipherSuite::TLS13_AES_256_GCM_SHA384, Cipher::Aes256Gcm),
    (
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        Cipher::Chacha20Poly1305,
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Cipher::Aes128Gcm,
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Cipher::Aes256Gcm,
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Cipher::Chacha20Poly1305,
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Cipher::Aes128Gcm,
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Cipher::Aes256Gcm,
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        Cipher::Chacha20Poly1305,
    ),
];

/// The secrets of one connection of TLS 1.3, from which its keys are renewed. The library tells them while it shakes
/// hands: RFC 8446, section 7.1.
#[derive(Default)]
pub struct TrafficSecrets {
    client: OnceLock<OkmBlock>,
    server: OnceLock<OkmBlock>,
}

impl TrafficSecrets {
    fn of(&self, label: &str) -> Option<&OnceLock<OkmBlock>> {
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => Some(&self.client),
            "SERVER_TRAFFIC_SECRET_0" => Some(&self.server),
            _ => None,
        }
    }
}

impl KeyLog for TrafficSecrets {
    fn will_log(&self, label: &str) -> bool {
        self.of(label).is_some()
    }

    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if let Some(place) = self.of(label)
            && secret.len() <= OkmBlock::MAX_LEN
        {
            let _ = place.set(OkmBlock::new(secret));
        }
    }
}

impl fmt::Debug for TrafficSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TrafficSecrets(…)")
    }
}

/// On which terms the kernel may go on with one connection.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    offer: Option<&'static Offer>,
    secrets: Option<Arc<TrafficSecrets>>,
}

impl Terms {
    /// The terms of a connection whose hands are yet to be shaken; without an `offer` the library keeps it.
    #[must_use]
    pub fn new(offer: Option<&'static Offer>) -> Self {
        let renews = offer.is_some_and(|offer| offer.takes_any(Version::Tls13));
        Self {
            offer,
            secrets: renews.then(Arc::default),
        }
    }

    /// `config` for this connection alone, where its secrets are to be told.
    #[must_use]
    pub fn of_server(&self, mut config: Arc<ServerConfig>) -> Arc<ServerConfig> {
        if let Some(secrets) = &self.secrets {
            Arc::make_mut(&mut config).key_log = Arc::clone(secrets) as _;
        }
        config
    }

    /// As [`of_server`](Self::of_server).
    #[must_use]
    pub fn of_client(&self, mut config: Arc<ClientConfig>) -> Arc<ClientConfig> {
        if let Some(secrets) = &self.secrets {
            Arc::make_mut(&mut config).key_log = Arc::clone(secrets) as _;
        }
        config
    }

    /// Whether the kernel takes `connection`, whose handshake is over.
    #[must_use]
    pub fn allow(&self, connection: &CommonState) -> bool {
        self.offer.is_some_and(|offer| offer.takes(connection))
    }

    /// The library keeps the connection.
    pub const fn withdraw(&mut self) {
        self.offer = None;
    }
}

/// What the kernel needs to go on with a connection.
#[derive(Debug)]
pub struct Handover {
    /// The keys of what is sent.
    pub transmit: Keys,
    /// The keys of what is received.
    pub receive: Keys,
    /// How keys are renewed; TLS 1.2 has nothing of the kind.
    pub renewal: Option<Renewal>,
    /// Records that may be sent with one key: RFC 8446, section 5.5.
    pub records_max: u64,
    /// The same with the key in force, of which the library has used some.
    pub records_left: u64,
}

impl Handover {
    /// Takes `connection` apart, whose handshake is over and that has neither anything to send nor anything received
    /// that was not read, and whose secrets were told as `terms` have it.
    ///
    /// # Errors
    ///
    /// It is none that the kernel could go on with. What it was is lost.
    pub fn new(connection: Connection, terms: &Terms) -> Result<Self, Error> {
        let unfit = || Error::General("a connection that the kernel cannot go on with".into());
        let is_client = matches!(connection, Connection::Client(_));
        let version = connection.protocol_version().and_then(known_version);
        let suite = connection.negotiated_cipher_suite();
        let (version, suite) = version.zip(suite).ok_or_else(unfit)?;
        let extracted = connection.dangerous_extract_secrets()?;
        let (sent, secrets_sent) = extracted.tx;
        let (received, secrets_received) = extracted.rx;
        let mut transmit = keys_of(version, &secrets_sent, sent).ok_or_else(unfit)?;
        let receive = keys_of(version, &secrets_received, received).ok_or_else(unfit)?;
        let (records_max, renewal) = match suite {
            SupportedCipherSuite::Tls12(suite) => {
                begin_fresh_nonces(&mut transmit);
                (suite.common.confidentiality_limit, None)
            }
            SupportedCipherSuite::Tls13(suite) => {
                let secrets = terms.secrets.as_deref().ok_or_else(unfit)?;
                let mut renewal =
                    Renewal::begin(suite, transmit.cipher, secrets, is_client).ok_or_else(unfit)?;
                let is_level = renewal.catch_up(Direction::Transmit, &transmit)
                    && renewal.catch_up(Direction::Receive, &receive);
                (
                    suite.common.confidentiality_limit,
                    is_level.then_some(renewal),
                )
            }
        };
        Ok(Self {
            transmit,
            receive,
            renewal,
            records_max,
            records_left: records_max.saturating_sub(sent),
        })
    }
}

fn keys_of(version: Version, secrets: &ConnectionTrafficSecrets, sequence: u64) -> Option<Keys> {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (Cipher::Chacha20Poly1305, key, iv)
        }
        _ => return None,
    };
    let mut keys = Keys {
        version,
        cipher,
        key: [0; KEY_MAX],
        iv: [0; 12],
        sequence,
    };
    let used = keys.key.get_mut(..cipher.key_length())?;
    used.copy_from_slice(key.as_ref().get(..cipher.key_length())?);
    keys.iv.copy_from_slice(iv.as_ref().get(..12)?);
    Some(keys)
}

/// Has the kernel begin with a nonce that the library has not used.
///
/// In TLS 1.2 with AES-GCM whoever sends chooses the explicit nonces (RFC 5288, section 3). The library takes a first
/// one combined with the number of the record by exclusive or, the kernel counts up from the one that it is given: from
/// the library's first one it would use all of the library's again.
fn begin_fresh_nonces(keys: &mut Keys) {
    let is_explicit = match keys.cipher {
        Cipher::Aes128Gcm | Cipher::Aes256Gcm => keys.version == Version::Tls12,
        Cipher::Chacha20Poly1305 => false,
    };
    if let (true, [_, _, _, _, explicit @ ..]) = (is_explicit, &mut keys.iv) {
        *explicit = fresh_nonce(u64::from_be_bytes(*explicit), keys.sequence).to_be_bytes();
    }
}

/// Where to count up from, when `first ^ 0`, `first ^ 1` … of so many records are used: they all lie in one block of a
/// power of two, which ends just before.
fn fresh_nonce(first: u64, records: u64) -> u64 {
    let block = records.checked_next_power_of_two().unwrap_or(1 << 63);
    (first | (block - 1)).wrapping_add(1)
}

/// The keys of a connection of TLS 1.3 that are yet to come: RFC 8446, section 7.2.
pub struct Renewal {
    suite: &'static Tls13CipherSuite,
    cipher: Cipher,
    transmit: OkmBlock,
    receive: OkmBlock,
}

impl Renewal {
    fn begin(
        suite: &'static Tls13CipherSuite,
        cipher: Cipher,
        secrets: &TrafficSecrets,
        is_client: bool,
    ) -> Option<Self> {
        let (client, server) = (secrets.client.get()?, secrets.server.get()?);
        let (transmit, receive) = match is_client {
            true => (client, server),
            false => (server, client),
        };
        Some(Self {
            suite,
            cipher,
            transmit: transmit.clone(),
            receive: receive.clone(),
        })
    }

    /// Renews the secret of one direction until it is that of `keys`; whether it ever was.
    fn catch_up(&mut self, direction: Direction, keys: &Keys) -> bool {
        for _ in 0..RENEWALS_BEFORE {
            if self
                .keys(direction)
                .is_some_and(|ours| ours.key == keys.key && ours.iv == keys.iv)
            {
                return true;
            }
            if self.advance(direction).is_none() {
                return false;
            }
        }
        false
    }

    /// The next keys of one direction, which begin with record 0. `None`: they cannot be made.
    pub fn renew(&mut self, direction: Direction) -> Option<Keys> {
        self.advance(direction)?;
        self.keys(direction)
    }

    fn secret(&mut self, direction: Direction) -> &mut OkmBlock {
        match direction {
            Direction::Transmit => &mut self.transmit,
            Direction::Receive => &mut self.receive,
        }
    }

    fn advance(&mut self, direction: Direction) -> Option<()> {
        let length = self.suite.common.hash_provider.output_len();
        let mut next = Zeroizing::new([0; OkmBlock::MAX_LEN]);
        let next = next.get_mut(..length)?;
        self.expand(direction, b"traffic upd", next)?;
        *self.secret(direction) = OkmBlock::new(next);
        Some(())
    }

    fn keys(&mut self, direction: Direction) -> Option<Keys> {
        let mut keys = Keys {
            version: Version::Tls13,
            cipher: self.cipher,
            key: [0; KEY_MAX],
            iv: [0; 12],
            sequence: 0,
        };
        let key = keys.key.get_mut(..self.cipher.key_length())?;
        self.expand(direction, b"key", key)?;
        self.expand(direction, b"iv", &mut keys.iv)?;
        Some(keys)
    }

    /// HKDF-Expand-Label without context: RFC 8446, section 7.1.
    fn expand(&mut self, direction: Direction, label: &[u8], output: &mut [u8]) -> Option<()> {
        let suite = self.suite;
        let expander = suite.hkdf_provider.expander_for_okm(self.secret(direction));
        let length = u16::try_from(output.len()).ok()?.to_be_bytes();
        let label_length = u8::try_from(PREFIX.len() + label.len()).ok()?;
        let info: [&[u8]; 5] = [&length, &[label_length], PREFIX, label, &[0]];
        expander.expand_slice(&info, output).ok()
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Renewal(…)")
    }
}

/// Of every label of TLS 1.3.
const PREFIX: &[u8] = b"tls13 ";
/// As often as a connection may have renewed its keys before the kernel takes it over; one that has done so more often ends
/// where they are renewed once more.
const RENEWALS_BEFORE: usize = 1024;

#[cfg(test)]
pub(crate) mod tests;
