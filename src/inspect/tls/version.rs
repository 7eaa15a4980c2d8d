//! Protocol versions as they stand on the wire.

use std::fmt;

use crate::config::model::TlsVersion;

/// A protocol version; of two the newer one is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16);

impl Version {
    /// SSL 3.0.
    pub const SSL_3: Self = Self(0x0300);
    /// TLS 1.0.
    pub const TLS_1_0: Self = Self(0x0301);
    /// TLS 1.1.
    pub const TLS_1_1: Self = Self(0x0302);
    /// TLS 1.2.
    pub const TLS_1_2: Self = Self(0x0303);
    /// TLS 1.3.
    pub const TLS_1_3: Self = Self(0x0304);

    /// Every label, in the order of [`Version::index`].
    pub const LABELS: [&'static str; 6] = ["ssl3", "1.0", "1.1", "1.2", "1.3", "other"];

    /// Its place among the labels; whatever is not known is the last.
    #[must_use]
    pub const fn index(self) -> usize {
        match self.0 {
            0x0300..=0x0304 => (self.0 - 0x0300) as usize,
            _ => Self::LABELS.len() - 1,
        }
    }

    /// Its name in logs, metrics and answers: one of a closed list.
    #[must_use]
    pub const fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// Whether it is a version that was ever published, and no draft or invention.
    #[must_use]
    pub fn is_known(self) -> bool {
        (Self::SSL_3..=Self::TLS_1_3).contains(&self)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#06x})", self.label(), self.0)
    }
}

impl From<TlsVersion> for Version {
    fn from(version: TlsVersion) -> Self {
        match version {
            TlsVersion::V1_0 => Self::TLS_1_0,
            TlsVersion::V1_1 => Self::TLS_1_1,
            TlsVersion::V1_2 => Self::TLS_1_2,
            TlsVersion::V1_3 => Self::TLS_1_3,
        }
    }
}
