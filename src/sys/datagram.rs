//! Many datagrams by one system call: `recvmmsg(2)` and `sendmmsg(2)`.
#![expect(
    unsafe_code,
    reason = "recvmmsg(2) is in no safe crate, and a batch keeps its headers"
)]

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};

use self::destination::Beside;
use self::name::{address_of, write_address};

mod destination;
mod name;
mod outbox;

pub use outbox::Outbox;

/// Datagrams by one system call. A batch of more saves nothing: the call itself is a hundredth by then.
pub const BATCH: usize = 32;

/// The largest datagram there is: `udp(7)`.
pub const DATAGRAM_MAX: usize = 65_507;

/// Room for datagrams, and where each came from or goes to. Pages that no datagram has reached are never touched.
#[derive(Debug)]
pub struct Batch {
    bytes: Box<[u8]>,
    datagrams: Vec<Datagram>,
}

/// One datagram of a batch.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    length: usize,
    address: SocketAddr,
    meant_for: SocketAddr,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            bytes: vec![0; BATCH * DATAGRAM_MAX].into_boxed_slice(),
            datagrams: Vec::with_capacity(BATCH),
        }
    }
}

impl Batch {
    /// Datagrams in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Whether there is room for no more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= BATCH
    }

    /// The datagrams, and where each came from or goes to.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let room = self.bytes.chunks_exact(DATAGRAM_MAX);
        room.zip(&self.datagrams).map(|(room, datagram)| {
            let bytes = room.get(..datagram.length).unwrap_or_default();
            (bytes, datagram.address)
        })
    }

    /// As [`iter`](Self::iter), with where each was meant to go when it was diverted.
    pub fn iter_diverted(&self) -> impl Iterator<Item = (&[u8], SocketAddr, SocketAddr)> {
        let meant_for = self.datagrams.iter().map(|datagram| datagram.meant_for);
        let all = self.iter().zip(meant_for);
        all.map(|((bytes, from), meant_for)| (bytes, from, meant_for))
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.datagrams.clear();
    }

    /// Has `receive` fill the next room with a datagram for `address`, unless the batch is full.
    ///
    /// # Errors
    ///
    /// Those of `receive`; then nothing is added.
    pub fn add(
        &mut self,
        address: SocketAddr,
        receive: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let begin = self.len() * DATAGRAM_MAX;
        let room = self.bytes.get_mut(begin..begin + DATAGRAM_MAX);
        let length = receive(room.unwrap_or_default())?.min(DATAGRAM_MAX);
        if !self.is_full() {
            self.datagrams.push(Datagram {
                length,
                address,
                meant_for: NOWHERE,
            });
        }
        Ok(length)
    }

    /// Receives what waits, up to a batch, in the place of what it held. Never waits.
    ///
    /// # Errors
    ///
    /// `recvmmsg(2)`; `WouldBlock` where nothing waits. An error of the socket's own comes instead of the datagrams.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<()> {
        self.receive_with(socket, None)
    }

    /// As [`receive`](Self::receive), at a socket to which datagrams for others are diverted and that is told for
    /// whom they were: `ip(7)`, `IP_RECVORIGDSTADDR`. What comes without that is dropped.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    pub fn receive_diverted(&mut self, socket: &impl AsFd) -> io::Result<()> {
        let mut beside = [const { Beside::EMPTY }; BATCH];
        self.receive_with(socket, Some(&mut beside))
    }

    fn receive_with(
        &mut self,
        socket: &impl AsFd,
        mut beside: Option<&mut [Beside; BATCH]>,
    ) -> io::Result<()> {
        self.clear();
        let mut names = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; BATCH];
        let mut rooms: [libc::iovec; BATCH] = empty_rooms();
        let mut headers = empty_headers();
        let chunks = self.bytes.chunks_exact_mut(DATAGRAM_MAX);
        let places = names.iter_mut().zip(&mut rooms).zip(&mut headers);
        for (((name, room), header), chunk) in places.zip(chunks) {
            describe(header, room, chunk, (name, NAME_LENGTH));
        }
        for (beside, header) in beside
            .iter_mut()
            .flat_map(|all| all.iter_mut())
            .zip(&mut headers)
        {
            beside.join(&mut header.msg_hdr);
        }
        // SAFETY: the descriptor is borrowed for the call. Every header names one room of `iov_len` writable bytes,
        // one name of `NAME_LENGTH` and perhaps one place for what is said beside it, no two of which overlap, and
        // all of them outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH_COUNT,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (place, (header, name)) in headers.iter().zip(&names).take(count).enumerate() {
            // SAFETY: the kernel has written the name of every datagram that it counts.
            let address = unsafe { address_of(name.as_ptr()) };
            let beside = beside.as_ref().and_then(|all| all.get(place));
            // SAFETY: the kernel has written what it says beside the datagram, and how much that is.
            let meant_for = beside.and_then(|beside| unsafe { beside.read(&header.msg_hdr) });
            self.datagrams.push(Datagram {
                length: header.msg_len as usize,
                address: address.unwrap_or(NOWHERE),
                meant_for: meant_for.unwrap_or(NOWHERE),
            });
        }
        Ok(())
    }

    /// Sends every datagram to where it goes, and forgets them; how many the kernel has taken. One that it will not
    /// take is lost, as datagrams are, and holds up no other.
    pub fn send(&mut self, socket: &impl AsFd) -> usize {
        let mut names = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; BATCH];
        let mut rooms = empty_rooms();
        let mut headers = empty_headers();
        let chunks = self.bytes.chunks_exact_mut(DATAGRAM_MAX);
        let places = names.iter_mut().zip(&mut rooms).zip(&mut headers);
        for (((name, room), header), (chunk, datagram)) in places.zip(chunks.zip(&self.datagrams)) {
            let bytes = chunk.get_mut(..datagram.length).unwrap_or_default();
            let length = write_address(datagram.address, name);
            describe(header, room, bytes, (name, length));
        }
        let waiting = headers.get_mut(..self.datagrams.len()).unwrap_or_default();
        // SAFETY: every header names one room of `iov_len` readable bytes and one name of `msg_namelen`, all of which
        // outlive the call.
        let taken = unsafe { send_all(socket, waiting, |_, _| ()) };
        self.clear();
        taken
    }
}

/// Sends what `waiting` describes; how many the kernel has taken. One that it will not take is `refused`, and holds up
/// no other.
///
/// # Safety
///
/// Whatever the headers name can be read, as much of it as they say.
unsafe fn send_all(
    socket: &impl AsFd,
    mut waiting: &mut [libc::mmsghdr],
    mut refused: impl FnMut(usize, io::Error),
) -> usize {
    let (mut taken, mut passed) = (0, 0);
    while !waiting.is_empty() {
        let length = libc::c_uint::try_from(waiting.len()).unwrap_or(BATCH_COUNT);
        // SAFETY: the descriptor is borrowed for the call; the caller answers for the headers.
        let count = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                waiting.as_mut_ptr(),
                length,
                libc::MSG_DONTWAIT,
            )
        };
        // It fails for the first one only; that one is passed over.
        let sent = usize::try_from(count).unwrap_or(0);
        if sent == 0 {
            refused(passed, io::Error::last_os_error());
        }
        taken += sent;
        passed += sent.max(1);
        waiting = waiting.get_mut(sent.max(1)..).unwrap_or_default();
    }
    taken
}

#[expect(clippy::cast_possible_truncation, reason = "small constants")]
const NAME_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
#[expect(clippy::cast_possible_truncation, reason = "small constants")]
const BATCH_COUNT: libc::c_uint = BATCH as libc::c_uint;
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

fn empty_rooms() -> [libc::iovec; BATCH] {
    [const {
        libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }
    }; BATCH]
}

fn empty_headers() -> [libc::mmsghdr; BATCH] {
    // SAFETY: a header of nulls and zeros is a header that names nothing.
    unsafe { zeroed() }
}

/// Has `header` name one piece of memory, and the place of an address.
fn describe(
    header: &mut libc::mmsghdr,
    room: &mut libc::iovec,
    bytes: &mut [u8],
    (name, length): (&mut MaybeUninit<libc::sockaddr_storage>, libc::socklen_t),
) {
    room.iov_base = bytes.as_mut_ptr().cast();
    room.iov_len = bytes.len();
    header.msg_hdr.msg_name = name.as_mut_ptr().cast();
    header.msg_hdr.msg_namelen = length;
    header.msg_hdr.msg_iov = &raw mut *room;
    header.msg_hdr.msg_iovlen = 1;
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pair(address: &str) -> (UdpSocket, UdpSocket) {
        let one = UdpSocket::bind(address).unwrap();
        let other = UdpSocket::bind(address).unwrap();
        for socket in [&one, &other] {
            let limit = std::time::Duration::from_secs(10);
            socket.set_read_timeout(Some(limit)).unwrap();
        }
        (one, other)
    }

    #[test]
    fn a_batch_is_received_and_sent_back_whole() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (client, server) = pair(address);
            let long = vec![7; DATAGRAM_MAX - 20];
            let sent: [&[u8]; 4] = [b"one", b"", &long, b"four"];
            for bytes in sent {
                client.send_to(bytes, server.local_addr().unwrap()).unwrap();
            }
            let mut batch = Batch::default();
            batch.receive(&server).unwrap();
            let received: Vec<_> = batch.iter().collect();
            let from = client.local_addr().unwrap();
            assert_eq!(received, sent.map(|bytes| (bytes, from)));
            assert_eq!(batch.send(&server), 4);
            assert!(batch.is_empty());
            let mut buffer = vec![0; DATAGRAM_MAX];
            for bytes in sent {
                let length = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], bytes);
            }
        }
    }

    #[test]
    fn more_than_a_batch_comes_in_two() {
        let (client, server) = pair("127.0.0.1:0");
        for _ in 0..BATCH + 3 {
            client.send_to(b"x", server.local_addr().unwrap()).unwrap();
        }
        let mut batch = Batch::default();
        batch.receive(&server).unwrap();
        assert!(batch.is_full());
        assert_eq!(batch.add(NOWHERE, |room| Ok(room.len())).unwrap(), 0);
        batch.receive(&server).unwrap();
        assert_eq!(batch.len(), 3);
        let nothing = batch.receive(&server).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_datagram_that_cannot_be_sent_holds_up_no_other() {
        let (client, server) = pair("127.0.0.1:0");
        let mut batch = Batch::default();
        let there = client.local_addr().unwrap();
        // The kernel refuses another family, and one that is too long.
        for address in ["[::1]:9".parse().unwrap(), there, there] {
            batch
                .add(address, |room| {
                    room[0] = 1;
                    Ok(1)
                })
                .unwrap();
        }
        assert_eq!(batch.send(&server), 2);
    }

    #[test]
    fn what_is_diverted_is_told_with_whom_it_was_for() {
        for (address, is_ipv6) in [("127.0.0.1:0", false), ("[::1]:0", true)] {
            let (client, server) = pair(address);
            let (from, to) = (client.local_addr().unwrap(), server.local_addr().unwrap());
            crate::sys::option::set_original_destination(&server, is_ipv6).unwrap();
            for bytes in [b"one", b"two"] {
                client.send_to(bytes, to).unwrap();
            }
            let mut batch = Batch::default();
            batch.receive_diverted(&server).unwrap();
            let received: Vec<_> = batch.iter_diverted().collect();
            assert_eq!(received, [(&b"one"[..], from, to), (b"two", from, to)]);
        }
    }

    #[test]
    fn the_end_of_a_socket_is_an_error_and_no_datagram() {
        let (client, server) = pair("127.0.0.1:0");
        client.connect(server.local_addr().unwrap()).unwrap();
        drop(server);
        client.send(b"x").unwrap();
        let mut batch = Batch::default();
        let refused = batch.receive(&client).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(batch.is_empty());
    }
}
