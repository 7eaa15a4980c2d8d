//! Who a client is.
//!
//! Pure. A partner is known by its configured addresses ([`table`]), and by names that certificates have
//! shown from an address ([`learned`]), consulted in the order of trust that `table` documents. Whether it
//! fails by its own doing is told by [`verdict`]; how it comes and goes, by [`habit`]; where it is, by
//! [`presence`].

pub mod failback;
pub mod habit;
pub mod learned;
pub mod presence;
pub mod resolved;
pub mod table;
pub mod verdict;
