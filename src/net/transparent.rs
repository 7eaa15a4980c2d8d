//! The numbers by which the host's rules and the relay find each other.
//!
//! With `source = "transparent"` a node sees the client's own address, and so answers the client: the
//! kernel must be told which of the nodes' packets are meant for this process. It is told by firewall
//! marks, by a routing table and by one port a worker. Whoever writes those rules and whoever opens the
//! sockets take the numbers from here. What they do with them is no matter of this file.
//!
//! 0x5046 is "PF", and 20550 in decimal.

/// Who looks at a mark for one of ours compares these bits.
pub const MARK_MASK: u32 = 0xffff_ff00;

/// Packets with this mark are delivered on this machine, whatever their address.
pub const DELIVERED_HERE: u32 = 0x5046_0000;

/// What has this mark lets go of the connection that it belongs to, and goes no further: the client speaks with the
/// node directly from here on.
pub const LET_GO: u32 = 0x5046_0001;

/// The mark of whatever worker 0 sends to a node in a client's name; those of the others follow.
pub const FIRST_WORKER_MARK: u32 = 0x5046_0100;

/// So many workers have a mark and a port.
pub const MOST_WORKERS: usize = 256;

/// Where worker 0 receives what nodes answer to clients by UDP; those of the others follow.
pub const FIRST_INTERCEPTION_PORT: u16 = 20_550;

/// A node at this port of the loopback addresses stands in the rules whatever the configuration: an
/// answer from there shows that the rules are in force.
pub const SELF_TEST_PORT: u16 = 20_549;

/// The routing table that delivers here what has the mark [`DELIVERED_HERE`].
pub const ROUTING_TABLE: u32 = 20_550;

/// The mark of whatever this worker sends to a node in a client's name (`SO_MARK`). Its low byte is the
/// worker's number.
#[must_use]
pub const fn mark(worker: u8) -> u32 {
    FIRST_WORKER_MARK | worker as u32
}

/// Where this worker receives what nodes answer to clients by UDP, on the loopback addresses.
#[must_use]
pub const fn interception_port(worker: u8) -> u16 {
    FIRST_INTERCEPTION_PORT + worker as u16
}

/// In whose name this worker asks there.
#[must_use]
pub const fn self_test_client_port(worker: u8) -> u16 {
    interception_port(u8::MAX) + 1 + worker as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_a_mark_within_the_mask_and_a_port_of_its_own() {
        for worker in 0..=u8::MAX {
            assert_eq!(mark(worker) & MARK_MASK, FIRST_WORKER_MARK);
            assert_eq!(mark(worker) & !MARK_MASK, u32::from(worker));
            assert_ne!(interception_port(worker), SELF_TEST_PORT);
        }
        for other in [DELIVERED_HERE, LET_GO] {
            assert_ne!(other & MARK_MASK, FIRST_WORKER_MARK);
        }
        assert_eq!(interception_port(u8::MAX), 20_805);
        assert_eq!(ROUTING_TABLE, DELIVERED_HERE >> 16);
    }
}
