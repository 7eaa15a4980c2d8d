//! Pinfold: a load balancer for pools of federation Edge Servers and their stubborn partners.

pub mod addr;
pub mod cli;
pub mod clock;
pub mod config;
pub mod confine;
pub mod control;
pub mod governor;
pub mod inspect;
pub mod net;
pub mod partner;
pub mod pool;
pub mod probe;
pub mod relay;
pub mod resolve;
pub mod snapshot;
pub mod store;
pub mod sys;
pub mod telemetry;
pub mod tls;
pub mod worker;
