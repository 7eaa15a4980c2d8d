//! Who a client is.
//!
//! Pure. Here a partner is known by its configured addresses ([`table`]). Names found by DNS and
//! names read from certificates will stand beside it as sources of their own, consulted in the
//! order of trust that `table` documents.

pub mod table;
