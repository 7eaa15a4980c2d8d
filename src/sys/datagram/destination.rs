//! What the kernel says beside a datagram: for whom it was, before it was diverted.
#![expect(
    unsafe_code,
    reason = "control messages are in no safe crate for recvmmsg(2)"
)]

use std::mem::MaybeUninit;
use std::net::SocketAddr;

use super::name::address_of;

/// Room for one control message with an address: `cmsg(3)`. What follows a header begins where this has it, because
/// the header's size is a multiple of its alignment.
#[repr(C)]
pub(super) struct Beside {
    header: MaybeUninit<libc::cmsghdr>,
    address: MaybeUninit<libc::sockaddr_storage>,
}

impl Beside {
    pub(super) const EMPTY: Self = Self {
        header: MaybeUninit::uninit(),
        address: MaybeUninit::uninit(),
    };

    /// Has `message` name this room.
    pub(super) fn join(&mut self, message: &mut libc::msghdr) {
        message.msg_control = std::ptr::from_mut(self).cast();
        message.msg_controllen = size_of::<Self>() as _;
    }

    /// The address that was written here.
    ///
    /// # Safety
    ///
    /// The kernel has received `message`, which names this room.
    pub(super) unsafe fn read(&self, message: &libc::msghdr) -> Option<SocketAddr> {
        let least = size_of::<libc::cmsghdr>() + size_of::<libc::sockaddr_in>();
        if message.msg_controllen < least {
            return None;
        }
        // SAFETY: the kernel has written at least a header, says the length.
        let header = unsafe { self.header.assume_init_ref() };
        let length = match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) => size_of::<libc::sockaddr_in>(),
            (libc::IPPROTO_IPV6, libc::IPV6_ORIGDSTADDR) => size_of::<libc::sockaddr_in6>(),
            _ => return None,
        };
        let is_whole = message.msg_flags & libc::MSG_CTRUNC == 0
            && header.cmsg_len >= size_of::<libc::cmsghdr>() + length;
        // SAFETY: a message of this kind is the address of a socket of that version, and this one is long enough for it.
        is_whole
            .then(|| unsafe { address_of(self.address.as_ptr()) })
            .flatten()
    }
}

const _: () = assert!(size_of::<libc::cmsghdr>().is_multiple_of(align_of::<libc::cmsghdr>()));
