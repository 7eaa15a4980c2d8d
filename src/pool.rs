//! The brain of a pool: who is healthy, who takes which session, who is remembered, who is cut.
//!
//! Everything below is pure: no socket, no clock, no log, no randomness of its own. Moments and
//! keys are arguments; what must happen is returned. The one thing shared between threads is the
//! pin table, which locks by shard and never calls out while it holds a lock.
//!
//! | module | question it answers |
//! |---|---|
//! | [`placement`] | which node belongs to a subject, whoever asks |
//! | [`select`] | which node a session dials now, and which after that |
//! | [`affinity`] | how good a node is to listeners that see it differently |
//! | [`evacuation`] | where partners go whose node is taken away |
//! | [`share`] | whether a node has its share of legacy partners |
//! | [`pins`] | which node a subject was given before |
//! | [`health`] | whether one endpoint lives |
//! | [`pace`] | how fast the survivors of a failover admit those who come back |
//! | [`schedule`] | when the next may come who shall keep a rate |
//! | [`traffic`] | what traffic says where no probe can see |
//! | [`flows`] | which UDP flow a datagram belongs to, and when that has ended |
//! | [`invariant`] | whether anything is so that must never be |
//! | [`group`] | what follows for all endpoints of a pool: standings, probes, cuts |

pub mod affinity;
pub mod evacuation;
pub mod flows;
pub mod group;
pub mod health;
pub mod invariant;
pub mod maintenance;
pub mod pace;
pub mod pins;
pub mod placement;
pub mod schedule;
pub mod select;
pub mod share;
pub mod traffic;
