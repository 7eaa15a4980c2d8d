//! From which time a client's TLS stack is.
//!
//! A guess from the hello alone, for suggestions and for clients that nobody configured; it decides
//! nothing about configured partners.

use super::hello::{ClientHello, EXTENDED_MASTER_SECRET, SUPPORTED_GROUPS, SUPPORTED_VERSIONS};
use super::version::Version;

/// A guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Era {
    /// Windows Server 2003, OCS 2007 and before: TLS 1.0, no server name, no curves, RC4 or 3DES first.
    Ocs,
    /// Windows Server 2008 R2 to 2012 R2, Lync and Skype for Business of their time.
    Lync,
    /// TLS 1.3, or 1.2 as it is spoken since about 2016.
    Modern,
    /// No client of anything: it asks what we would accept.
    Scanner,
    /// None of these.
    #[default]
    Unknown,
}

impl Era {
    /// Its name in logs, metrics and answers.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ocs => "ocs-era",
            Self::Lync => "lync-era",
            Self::Modern => "modern",
            Self::Scanner => "scanner",
            Self::Unknown => "unknown",
        }
    }

    /// The one with this label; what is no label is unknown.
    #[must_use]
    pub fn from_label(label: &str) -> Self {
        let all = [Self::Ocs, Self::Lync, Self::Modern, Self::Scanner];
        let mut all = all.into_iter();
        all.find(|era| era.label() == label).unwrap_or_default()
    }
}

impl ClientHello {
    /// From which time its stack is.
    #[must_use]
    pub fn era(&self) -> Era {
        let newest = self.newest();
        let offers = |suites: &[u16]| {
            self.cipher_suites
                .iter()
                .any(|suite| suites.contains(suite))
        };
        let has = |extension: u16| self.extensions.contains(&extension);
        let real = self
            .cipher_suites
            .iter()
            .filter(|suite| !SIGNALS.contains(suite));
        if !(2..=SUITES_MAX).contains(&real.count()) || offers(&ANONYMOUS) {
            return Era::Scanner;
        }
        if has(SUPPORTED_VERSIONS) || newest >= Version::TLS_1_2 && has(EXTENDED_MASTER_SECRET) {
            return Era::Modern;
        }
        let starts_old = self
            .cipher_suites
            .first()
            .is_some_and(|suite| OLD.contains(suite));
        let is_bare = !self.has_server_name() && !has(SUPPORTED_GROUPS);
        if newest <= Version::TLS_1_0 && is_bare && (starts_old || self.is_version_2) {
            return Era::Ocs;
        }
        if newest <= Version::TLS_1_1 || offers(&OLD) {
            return if has(SUPPORTED_GROUPS) {
                Era::Lync
            } else {
                Era::Unknown
            };
        }
        Era::Unknown
    }
}

/// Not suites: secure renegotiation and fallback.
const SIGNALS: [u16; 2] = [0x00ff, 0x5600];
/// RC4 with MD5 and with SHA, DES, 3DES.
const OLD: [u16; 4] = [0x0004, 0x0005, 0x0009, 0x000a];
/// Suites without any authentication, which nothing that federates offers.
const ANONYMOUS: [u16; 13] = [
    0x0018, 0x001b, 0x0034, 0x003a, 0x006c, 0x006d, 0x0089, 0x00a6, 0x00a7, 0xc016, 0xc017, 0xc018,
    0xc019,
];
/// OpenSSL at its widest offers some 60.
const SUITES_MAX: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(newest: Version, suites: &[u16], extensions: &[u16]) -> ClientHello {
        let mut hello = ClientHello::parse(&[&[3, 1], &[0; 33][..], &[0, 0, 1, 0]].concat());
        let hello = hello.as_mut().unwrap();
        hello.legacy_version = newest;
        hello.cipher_suites = suites.to_vec();
        hello.extensions = extensions.to_vec();
        hello.clone()
    }

    #[test]
    fn stacks_of_each_time_are_told_apart() {
        // Windows Server 2003, as OCS 2007 runs on it.
        let windows_2003 = [4, 5, 10, 9, 0x64, 0x62, 3, 6, 0x13, 0x12, 0x63];
        assert_eq!(hello(Version::TLS_1_0, &windows_2003, &[]).era(), Era::Ocs);
        // Windows Server 2008 R2 with its defaults.
        let windows_2008 = [
            0x2f, 0x35, 5, 10, 0xc013, 0xc014, 0xc009, 0xc00a, 0x32, 0x38, 0x13, 4,
        ];
        let plain = hello(Version::TLS_1_0, &windows_2008, &[0xff01, 10, 11]);
        assert_eq!(plain.era(), Era::Lync);
        let later = hello(Version::TLS_1_2, &windows_2008, &[0, 10, 11, 13, 0xff01]);
        assert_eq!(later.era(), Era::Lync);
        let windows_2016 = hello(Version::TLS_1_2, &[0xc030, 0xc02f, 0x9d], &[0, 10, 13, 23]);
        assert_eq!(windows_2016.era(), Era::Modern);
        let any = hello(Version::TLS_1_2, &[0x1301, 0x1302, 0xc02f], &[0, 10, 43]);
        assert_eq!(any.era(), Era::Modern);
    }

    #[test]
    fn one_suite_at_a_time_or_all_there_are_is_a_scanner() {
        assert_eq!(hello(Version::TLS_1_0, &[5, 0xff], &[]).era(), Era::Scanner);
        let all: Vec<u16> = (1..120).collect();
        assert_eq!(hello(Version::TLS_1_2, &all, &[]).era(), Era::Scanner);
        let anonymous = hello(Version::TLS_1_2, &[0x2f, 0x34], &[0, 10]);
        assert_eq!(anonymous.era(), Era::Scanner);
    }
}
