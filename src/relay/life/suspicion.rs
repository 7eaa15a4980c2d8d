//! A client that is refused, and that a partner's name points at: the partner has moved, perhaps.

use std::fmt::Write;
use std::net::IpAddr;

use super::Life;

/// Says whom `ip`, which no partner has by configuration, is by DNS.
pub(super) fn tell(life: Life<'_>, ip: IpAddr) {
    let Some(named) = life.policy().partners.resolved().get(ip) else {
        return;
    };
    let Some(suppressed) = life.context().suspicions.allow() else {
        return;
    };
    let (partner, name) = (&*named.partner, &*named.name);
    let mut was = String::new();
    for (at, address) in named.before.iter().take(BEFORE_MAX).enumerate() {
        let _ = write!(was, "{}{address}", if at == 0 { " (was " } else { ", " });
    }
    if !was.is_empty() {
        was.push(')');
    }
    let listener = &*life.policy().listener.state.name;
    tracing::warn!(
        listener,
        partner,
        client = %ip,
        name,
        suppressed,
        "partner-refused: refused {ip}: DNS says {name} is {ip}{was}; add it to partner {partner}"
    );
}

const BEFORE_MAX: usize = 4;
