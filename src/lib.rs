//! Pinfold: a load balancer for pools of federation Edge Servers and their stubborn partners.

pub mod clock;
pub mod config;
pub mod partner;
pub mod pool;
