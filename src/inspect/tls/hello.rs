//! The ClientHello: what a client offers.
//!
//! Framing must be exact; an extension whose content is broken counts as absent, because nobody is
//! judged here. Also reads the hello in SSL 2.0 format that stacks of the time of Windows Server 2003
//! may begin with (RFC 5246 appendix E.2).

use super::reader::Reader;
use super::version::Version;
use crate::tls::certificate::host_name;

/// What a client offers. GREASE values are left out everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The version field of old.
    pub legacy_version: Version,
    /// `supported_versions`, in order; empty where it is not there.
    pub supported_versions: Vec<Version>,
    /// Cipher suites, in order.
    pub cipher_suites: Vec<u16>,
    /// Types of extensions, in order.
    pub extensions: Vec<u16>,
    /// `supported_groups`, in order.
    pub groups: Vec<u16>,
    /// `signature_algorithms`, in order.
    pub signature_algorithms: Vec<u16>,
    /// The first protocol of ALPN.
    pub first_protocol: Option<Box<[u8]>>,
    /// The name in SNI, where it is one.
    pub server_name: Option<Box<str>>,
    /// Whether it came in the format of SSL 2.0.
    pub is_version_2: bool,
}

impl ClientHello {
    /// Reads the body of a ClientHello message, without its header of four bytes.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut body = Reader::new(body);
        let legacy_version = Version(body.u16()?);
        body.take(32)?;
        body.vector(1)?;
        let cipher_suites = body.vector(2)?;
        body.vector(1)?;
        let mut hello = Self {
            legacy_version,
            cipher_suites: known(cipher_suites),
            ..Self::empty(legacy_version)
        };
        if !body.is_empty() {
            let mut extensions = body.vector(2)?;
            while !extensions.is_empty() {
                let kind = extensions.u16()?;
                let content = extensions.vector(2)?;
                if !is_grease(kind) {
                    hello.extensions.push(kind);
                    hello.read(kind, content);
                }
            }
        }
        body.is_empty().then_some(hello)
    }

    /// Reads a hello in the format of SSL 2.0, without its length of two bytes.
    pub(super) fn parse_version_2(body: &[u8]) -> Option<Self> {
        let mut body = Reader::new(body);
        body.u8().filter(|kind| *kind == 1)?;
        let version = Version(body.u16()?);
        let (suites, session, challenge) = (body.u16()?, body.u16()?, body.u16()?);
        let suites = body.take(usize::from(suites))?;
        body.take(usize::from(session))?;
        body.take(usize::from(challenge))?;
        let of_tls = |suite: &[u8]| match suite {
            [0, high, low] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        };
        let mut hello = Self::empty(version);
        hello.cipher_suites = suites.chunks_exact(3).filter_map(of_tls).collect();
        hello.is_version_2 = true;
        body.is_empty().then_some(hello)
    }

    fn empty(legacy_version: Version) -> Self {
        Self {
            legacy_version,
            supported_versions: Vec::new(),
            cipher_suites: Vec::new(),
            extensions: Vec::new(),
            groups: Vec::new(),
            signature_algorithms: Vec::new(),
            first_protocol: None,
            server_name: None,
            is_version_2: false,
        }
    }

    fn read(&mut self, kind: u16, mut content: Reader<'_>) {
        match kind {
            SERVER_NAME => self.server_name = server_name(content),
            SUPPORTED_GROUPS => self.groups = content.vector(2).map(known).unwrap_or_default(),
            SIGNATURE_ALGORITHMS => {
                self.signature_algorithms = content.vector(2).map(known).unwrap_or_default();
            }
            ALPN => {
                let first = content.vector(2).and_then(|mut list| list.vector(1));
                self.first_protocol = first.map(|name| name.rest().into());
            }
            SUPPORTED_VERSIONS => {
                let list = content.vector(1).map(known).unwrap_or_default();
                self.supported_versions = list.into_iter().map(Version).collect();
            }
            _ => {}
        }
    }

    /// The newest version it offers. Without `supported_versions` that is at most TLS 1.2 (RFC 8446
    /// section 4.2.1).
    #[must_use]
    pub fn newest(&self) -> Version {
        let newest = self.supported_versions.iter().copied();
        let newest = newest.filter(|version| version.is_known()).max();
        newest.unwrap_or_else(|| self.legacy_version.min(Version::TLS_1_2))
    }

    /// Whether it names a server, legible or not.
    #[must_use]
    pub fn has_server_name(&self) -> bool {
        self.extensions.contains(&SERVER_NAME)
    }
}

/// Whether `bytes` are too few to tell, and may be a hello in the format of SSL 2.0.
pub(super) fn may_become_version_2(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x80..=0xff] | [0x80..=0xff, _] | [0x80..=0xff, _, 1]
    )
}

/// The length of a hello in the format of SSL 2.0 that begins `bytes`.
pub(super) fn version_2_length(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [high @ 0x80..=0xff, low, 1, 2 | 3, ..] => {
            let length = usize::from(high & 0x7f) << 8 | usize::from(*low);
            (length <= VERSION_2_MAX).then_some(length)
        }
        _ => None,
    }
}

fn server_name(mut content: Reader<'_>) -> Option<Box<str>> {
    let mut list = content.vector(2)?;
    // Zero is a host name; nothing else was ever defined.
    list.u8().filter(|kind| *kind == 0)?;
    let name = list.vector(2)?.rest();
    host_name(std::str::from_utf8(name).ok()?).map(String::into_boxed_str)
}

fn known(list: Reader<'_>) -> Vec<u16> {
    list.numbers().filter(|value| !is_grease(*value)).collect()
}

/// Values that mean nothing and keep servers tolerant (RFC 8701).
const fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

pub(super) const SERVER_NAME: u16 = 0;
pub(super) const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
pub(super) const ALPN: u16 = 16;
pub(super) const EXTENDED_MASTER_SECRET: u16 = 23;
pub(super) const SUPPORTED_VERSIONS: u16 = 43;

pub(super) const CLIENT_HELLO: u8 = 1;
/// With shares of every post-quantum group a hello has a few KiB.
pub(super) const HELLO_MAX: usize = 16 * 1024;
/// Every suite there ever was.
const VERSION_2_MAX: usize = 2048;

#[cfg(test)]
#[path = "hello/tests.rs"]
mod tests;
