//! TLS as the kernel does it: from a socket's handshake on, records are made and taken apart below `send(2)`, `recv(2)`
//! and `splice(2)` (Documentation/networking/tls.rst of Linux).
//!
//! Owns the words that the kernel has for it. Does not know where keys come from, nor what a record other than data
//! means. A socket that was given to the kernel never comes back.
#![expect(
    unsafe_code,
    reason = "sendmsg(2) and recvmsg(2) with the type of a record are in no safe crate"
)]

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use zeroize::{Zeroize, Zeroizing};

use super::option::set;

/// A version of TLS that the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    /// Both, the older one first.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// As people write it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// A cipher that the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    Chacha20Poly1305,
}

impl Cipher {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::Chacha20Poly1305];

    /// Bytes of a key.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::Chacha20Poly1305 => 32,
        }
    }
}

/// What one direction of a connection is encrypted with. Gone from memory once it is dropped.
pub struct Keys {
    /// The version.
    pub version: Version,
    /// The cipher.
    pub cipher: Cipher,
    /// The key, of which the cipher takes as much as it needs.
    pub key: [u8; KEY_MAX],
    /// What nonces are made of: of TLS 1.2 with AES, four bytes that stay and the first explicit nonce.
    pub iv: [u8; 12],
    /// The number of the next record.
    pub sequence: u64,
}

/// The longest key.
pub const KEY_MAX: usize = 32;

impl Keys {
    /// As `linux/tls.h` lays them out: version, cipher, explicit nonce, key, salt, number of the record.
    fn as_kernel_has_them(&self) -> Zeroizing<Vec<u8>> {
        let version: u16 = match self.version {
            Version::Tls12 => 0x0303,
            Version::Tls13 => 0x0304,
        };
        let (cipher, salt): (u16, usize) = match self.cipher {
            Cipher::Aes128Gcm => (51, 4),
            Cipher::Aes256Gcm => (52, 4),
            Cipher::Chacha20Poly1305 => (54, 0),
        };
        let (salt, nonce) = self.iv.split_at(salt);
        let key = self.key.get(..self.cipher.key_length()).unwrap_or_default();
        // As much as the longest takes, so that no copy is left behind by growing.
        let mut laid_out = Zeroizing::new(Vec::with_capacity(64));
        laid_out.extend_from_slice(&version.to_ne_bytes());
        laid_out.extend_from_slice(&cipher.to_ne_bytes());
        laid_out.extend_from_slice(nonce);
        laid_out.extend_from_slice(key);
        laid_out.extend_from_slice(salt);
        laid_out.extend_from_slice(&self.sequence.to_be_bytes());
        laid_out
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Keys");
        shown
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

/// One way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What is sent.
    Transmit,
    /// What is received.
    Receive,
}

/// Prepares `socket`, whose bytes still pass as they are.
///
/// # Errors
///
/// `tcp_ulp(7)`: `NotFound` where the kernel lacks the module `tls`, or may not load it; `NotConnected`.
pub fn attach(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_ULP, b"tls")
}

/// From here on `socket`, which is attached, has one direction encrypted with `keys`; where it was already, these
/// follow those.
///
/// # Errors
///
/// The kernel lacks the version or the cipher, or cannot renew keys (`EBUSY`, before Linux 6.14).
pub fn set_keys(socket: &impl AsFd, direction: Direction, keys: &Keys) -> io::Result<()> {
    let name = match direction {
        Direction::Transmit => libc::TLS_TX,
        Direction::Receive => libc::TLS_RX,
    };
    let laid_out = keys.as_kernel_has_them();
    set(socket, libc::SOL_TLS, name, laid_out.as_slice())
}

/// The type of a record: RFC 8446, section 5.1.
pub const ALERT: u8 = 21;
/// As [`ALERT`].
pub const HANDSHAKE: u8 = 22;
/// As [`ALERT`].
pub const DATA: u8 = 23;

/// Receives what is left of one record that is no data, or data of as many as fit: their type, and how many bytes. Without a
/// type no record came: no bytes then are the end of the connection, where a record of data may be empty.
///
/// # Errors
///
/// `recvmsg(2)`; `EBADMSG` for a record that was not encrypted with the right keys, `EKEYEXPIRED` for one after the peer
/// has renewed its own and before they were [set](set_keys).
pub fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<(Option<u8>, usize)> {
    let mut kind = RecordType::EMPTY;
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut message = kind.beside(&mut piece);
    // SAFETY: the descriptor is borrowed for the call; the header names a buffer and a control message of the lengths
    // that it says, which outlive the call.
    let count = unsafe {
        libc::recvmsg(
            socket.as_fd().as_raw_fd(),
            &raw mut message,
            libc::MSG_DONTWAIT,
        )
    };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    let is_told = message.msg_controllen >= RecordType::LENGTH
        && kind.header.cmsg_level == libc::SOL_TLS
        && kind.header.cmsg_type == libc::TLS_GET_RECORD_TYPE;
    Ok((is_told.then_some(kind.value), count))
}

/// Sends `bytes` as one record of type `kind`.
///
/// # Errors
///
/// `sendmsg(2)`.
pub fn send(socket: &impl AsFd, kind: u8, bytes: &[u8]) -> io::Result<usize> {
    let mut kind = RecordType {
        header: libc::cmsghdr {
            cmsg_len: RecordType::LENGTH as _,
            cmsg_level: libc::SOL_TLS,
            cmsg_type: libc::TLS_SET_RECORD_TYPE,
        },
        value: kind,
    };
    let mut piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let message = kind.beside(&mut piece);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: as for `receive`; of what the header names the kernel only reads.
    let count = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// The control message beside a record: `cmsg(3)`.
#[repr(C)]
struct RecordType {
    header: libc::cmsghdr,
    value: u8,
}

impl RecordType {
    const EMPTY: Self = Self {
        header: libc::cmsghdr {
            cmsg_len: 0,
            cmsg_level: 0,
            cmsg_type: 0,
        },
        value: 0,
    };
    /// Without what fills it up: `CMSG_LEN`.
    const LENGTH: usize = size_of::<libc::cmsghdr>() + size_of::<u8>();

    /// The header of a message of one `piece`, with this beside it.
    fn beside(&mut self, piece: &mut libc::iovec) -> libc::msghdr {
        // SAFETY: a header of nulls and zeros is a header that names nothing.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_iov = piece;
        message.msg_iovlen = 1;
        message.msg_control = std::ptr::from_mut(self).cast();
        message.msg_controllen = size_of::<Self>() as _;
        message
    }
}

/// Whether this kernel is as old as the oldest one that this was tried with, Linux 6.1, or younger. In others, before 5.16,
/// what is spliced may overtake what is read.
#[must_use]
pub fn is_young_enough() -> bool {
    is_tried(
        rustix::system::uname()
            .release()
            .to_str()
            .unwrap_or_default(),
    )
}

fn is_tried(release: &str) -> bool {
    let mut numbers = release.split(|each: char| !each.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    next().zip(next()).is_some_and(|version| version >= (6, 1))
}

/// Whether this kernel takes a connection of `version` with `cipher`, in both directions and with all that may come:
/// in TLS 1.3 the keys may be renewed at any time. Asks it, over a connection of its own on the loopback.
///
/// # Errors
///
/// What of it the kernel refuses.
pub fn probe(version: Version, cipher: Cipher) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    // A firewall may drop even this.
    let socket = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    attach(&socket)?;
    let times = match version {
        Version::Tls12 => 1,
        Version::Tls13 => 2,
    };
    for number in 0..times {
        let keys = Keys {
            version,
            cipher,
            key: [number; KEY_MAX],
            iv: [number; 12],
            sequence: 0,
        };
        set_keys(&socket, Direction::Transmit, &keys)?;
        set_keys(&socket, Direction::Receive, &keys)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn keys(version: Version, cipher: Cipher) -> Keys {
        let mut key = [0; KEY_MAX];
        for (place, byte) in key.iter_mut().zip(100..) {
            *place = byte;
        }
        Keys {
            version,
            cipher,
            key,
            iv: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
            sequence: 0x0102,
        }
    }

    #[test]
    fn kernels_that_are_older_than_any_that_was_tried_are_told() {
        for release in ["6.1.0-57-cloud-amd64", "6.12.1+deb13", "7.0-rc1", "10.0.0"] {
            assert!(is_tried(release), "{release}");
        }
        for release in ["6.0.19", "5.15.0-91-generic", "4.18.0", "", "linux", "6"] {
            assert!(!is_tried(release), "{release}");
        }
    }

    #[test]
    fn keys_lie_as_the_kernel_has_them() {
        let sequence = [0, 0, 0, 0, 0, 0, 1, 2];
        for (cipher, number, length) in [(Cipher::Aes128Gcm, 51, 16), (Cipher::Aes256Gcm, 52, 32)] {
            let key: Vec<u8> = (100..100 + length).collect();
            let expected = [
                &0x0303_u16.to_ne_bytes()[..],
                &u16::to_ne_bytes(number),
                &[5, 6, 7, 8, 9, 10, 11, 12],
                &key,
                &[1, 2, 3, 4],
                &sequence,
            ];
            let laid_out = keys(Version::Tls12, cipher).as_kernel_has_them();
            assert_eq!(*laid_out, expected.concat());
        }
        let key: Vec<u8> = (100..132).collect();
        let expected = [
            &0x0304_u16.to_ne_bytes()[..],
            &54_u16.to_ne_bytes(),
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
            &key,
            &sequence,
        ];
        let laid_out = keys(Version::Tls13, Cipher::Chacha20Poly1305).as_kernel_has_them();
        assert_eq!(*laid_out, expected.concat());
    }

    #[test]
    fn a_socket_that_is_not_attached_takes_no_keys_and_its_bytes_pass_as_they_are() {
        let (near, far) = pair();
        let keys = keys(Version::Tls12, Cipher::Aes128Gcm);
        for direction in [Direction::Transmit, Direction::Receive] {
            assert!(set_keys(&near, direction, &keys).is_err());
        }
        assert_eq!(send(&near, DATA, b"hello").unwrap(), 5);
        let mut buffer = [0; 9];
        far.peek(&mut buffer).unwrap();
        assert_eq!(receive(&far, &mut buffer).unwrap(), (None, 5));
        assert_eq!(&buffer[..5], b"hello");
        let nothing = receive(&far, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_end_of_a_connection_is_no_record_and_a_connection_that_is_gone_an_error() {
        let (near, far) = pair();
        drop(near);
        far.peek(&mut [0; 1]).unwrap();
        assert_eq!(receive(&far, &mut [0; 9]).unwrap(), (None, 0));
        let mut far = far;
        let gone = (0..1000).any(|_| far.write_all(b"x").is_err());
        assert!(gone);
        assert!(send(&far, DATA, b"x").is_err());
    }

    #[test]
    fn only_connections_that_stand_are_attached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(attach(&listener).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(attach(&file).is_err());
        // Where the kernel has the module: once, and not twice.
        let (near, _far) = pair();
        match attach(&near) {
            Ok(()) => assert!(attach(&near).is_err()),
            Err(refusal) => assert_eq!(refusal.raw_os_error(), Some(libc::ENOENT)),
        }
    }
}
