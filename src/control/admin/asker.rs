//! Who asks.
//!
//! Administrators share root by sudo; the login that the kernel remembers tells them apart.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::net::unix::UCred;

/// The far end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// On the unix socket: who, in words.
    Local(String),
    /// Over TCP: from where, and the port that was asked.
    Tcp(SocketAddr, u16),
}

impl Asker {
    /// Whoever holds these credentials.
    pub(super) fn local(credentials: &UCred) -> Self {
        let uid = credentials.uid();
        let passwd = accounts();
        let login = credentials
            .pid()
            .and_then(|pid| fs::read_to_string(format!("/proc/{pid}/loginuid")).ok())
            .and_then(|text| text.trim().parse().ok())
            .filter(|login| *login != UNSET);
        Self::Local(describe(uid, login, &passwd))
    }

    /// As it is kept and shown beside a change.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Local(words) => words.clone(),
            Self::Tcp(peer, _) => format!("token from {}", peer.ip().to_canonical()),
        }
    }
}

/// The local file of accounts, as it could last be read: once it is replaced, the sandbox hides it. To be called once
/// before that.
pub(super) fn accounts() -> String {
    static READ: Mutex<String> = Mutex::new(String::new());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(text) = fs::read_to_string("/etc/passwd") {
        *read = text;
    }
    read.clone()
}

/// `root (uid 0, login kmeier)`. Names are those of the local file: asking a directory could block.
fn describe(uid: u32, login: Option<u32>, passwd: &str) -> String {
    let name = |uid| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
        })
    };
    let login = login.filter(|login| *login != uid);
    let login = login.map(|login| name(login).map_or_else(|| format!("uid {login}"), Into::into));
    match (name(uid), login) {
        (Some(name), Some(login)) => format!("{name} (uid {uid}, login {login})"),
        (Some(name), None) => format!("{name} (uid {uid})"),
        (None, Some(login)) => format!("uid {uid} (login {login})"),
        (None, None) => format!("uid {uid}"),
    }
}

/// What the kernel says of a process that no login has started.
const UNSET: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asker_is_named_by_account_and_login() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nkmeier:x:1000:1000::/home/k:/bin/sh\nbad\n";
        let cases = [
            (0, None, "root (uid 0)"),
            (0, Some(1000), "root (uid 0, login kmeier)"),
            (1000, Some(1000), "kmeier (uid 1000)"),
            (0, Some(1234), "root (uid 0, login uid 1234)"),
            (77, None, "uid 77"),
            (77, Some(1000), "uid 77 (login kmeier)"),
        ];
        for (uid, login, expected) in cases {
            assert_eq!(describe(uid, login, passwd), expected);
        }
        assert_eq!(describe(0, None, ""), "uid 0");
    }

    #[test]
    fn a_token_is_told_by_its_address() {
        let peer = "127.0.0.1:40000".parse().unwrap();
        assert_eq!(Asker::Tcp(peer, 9061).words(), "token from 127.0.0.1");
    }
}
