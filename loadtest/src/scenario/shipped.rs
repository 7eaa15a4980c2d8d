//! The scenarios that come with the program, so that it is enough by itself.

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*]
    };
}

/// Name and text of each, in the order in which they are best run.
pub fn shipped() -> impl Iterator<Item = (&'static str, &'static str)> {
    scenarios![
        "smoke",
        "bulk-one",
        "bulk-eight",
        "round-trips",
        "connections",
        "tls-handshakes",
        "tls-handshakes-rsa",
        "tls-resumed",
        "tls-resumed-1.2",
        "tls-round-trips",
        "tls-bulk",
        "tls-bulk-up",
        "audio-calls",
        "latency",
        "latency-beside-bulk",
        "idle-sessions",
        "accept-balance",
        "connection-flood",
        "partner-failover",
        "partner-freeze",
        "node-pause",
        "calls-killed",
        "calls-frozen",
        "failover-after-reloads",
        "freeze-after-reloads",
        "failover-among-thousands",
        "freeze-among-thousands",
        "edge-pool-12k-users",
    ]
    .into_iter()
}
