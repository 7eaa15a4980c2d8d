//! What an ending means, in a sentence that an administrator understands, and what to do about it.

use crate::config::model::{self, TlsVersion};
use crate::inspect::tls::{Alert, Side, Version};
use crate::relay::history::Ended;
use crate::telemetry::outcome::Outcome;

/// A sentence, and a remedy where there is one.
pub(super) type Meaning = (String, Option<String>);

/// What the end of a session of `who` means.
pub(super) fn of(ended: &Ended, who: &str, listener: Option<&model::Listener>) -> Meaning {
    let node = ended.node.as_deref().unwrap_or("the node");
    match ended.outcome {
        Outcome::TlsAlertClient | Outcome::TlsAlertNode => alert(ended, who, node),
        Outcome::RefusedAccess => (format!("{} does not let {who} in", ended.listener), None),
        Outcome::RefusedTls => too_old(ended, who, listener),
        Outcome::RefusedMessage => told(
            format!(
                "what {who} sent is no SIP that can be framed, or is larger than is taken here"
            ),
            "max_body bounds messages; pinfold_sip_answers_total counts what it was told",
        ),
        Outcome::RefusedLimit | Outcome::RefusedPace | Outcome::RefusedProxy => {
            limited(ended.outcome)
        }
        Outcome::Shortage => told(
            "this machine had no descriptor, port or memory",
            "pinfold status; raise LimitNOFILE",
        ),
        Outcome::InternalError => told("a defect of Pinfold", "see its log, and report it"),
        Outcome::DialFailed => told(
            "no node answered when it was dialled",
            "pinfold nodes says what is the matter with them",
        ),
        Outcome::NoNode => told(
            "no node may take sessions",
            "pinfold nodes; pinfold resume NODE",
        ),
        Outcome::NodeClosed => told(
            format!("{node} closed without having accepted the connection"),
            "look at the event log of the node at that time (Schannel, LS Protocol Stack)",
        ),
        Outcome::NodeReset => told(
            format!("{node} reset the connection"),
            "pinfold failovers; if there was none, the event log of the node at that time",
        ),
        Outcome::NodeLost => (format!("{node} stopped answering"), None),
        Outcome::NodeDown => told(
            format!("{node} was found dead and its sessions were cut"),
            "pinfold failovers",
        ),
        Outcome::FirstBytesTimeout => told(
            format!("{who} connected and said nothing: a port check, or a firewall in between"),
            "ask them for a trace of the TLS handshake on their outside",
        ),
        Outcome::ClientReset => (format!("{who} broke off before it was served"), None),
        Outcome::ClientLost => told(
            format!("{who} stopped acknowledging: its machine, or the way to it, is gone"),
            "ask them; a firewall that forgets idle connections does the same",
        ),
        Outcome::ClientClosed
        | Outcome::Idle
        | Outcome::Redirected
        | Outcome::Drained
        | Outcome::Disabled
        | Outcome::Moved
        | Outcome::Removed
        | Outcome::Stopped => (ended.outcome.label().into(), None),
    }
}

fn told(meaning: impl Into<String>, remedy: impl Into<String>) -> Meaning {
    (meaning.into(), Some(remedy.into()))
}

fn too_old(ended: &Ended, who: &str, listener: Option<&model::Listener>) -> Meaning {
    let least = listener.and_then(|listener| listener.tls_min);
    let least = least.map_or("more", TlsVersion::name);
    told(
        format!(
            "{who} offers at most TLS {}; tls_min asks for {least}",
            offered(ended)
        ),
        "if it may: tls_min in its [[partner]] table, then pinfold reload",
    )
}

fn limited(outcome: Outcome) -> Meaning {
    if outcome == Outcome::RefusedPace {
        return told(
            "the pool recovered from a failover, and too many came back at once",
            "partners with configured addresses are never paced: add its addresses",
        );
    }
    if outcome == Outcome::RefusedProxy {
        return told(
            "a PROXY header was missing, malformed, or from somebody who may not send one",
            "see proxy_protocol and proxy_protocol_from of the listener",
        );
    }
    told(
        "a limit was reached: max_sessions, a limit per client, or descriptors",
        "pinfold sessions shows NOW and AT MOST; raise the limit that is reached",
    )
}

/// The newest version that the client offered.
fn offered(ended: &Ended) -> &'static str {
    let offered = ended.tls.as_ref().and_then(|tls| tls.offered);
    offered.map_or("?", Version::label)
}

/// What an alert of a handshake says about certificates and versions.
fn alert(ended: &Ended, who: &str, node: &str) -> Meaning {
    let Some((side, alert)) = ended.tls.as_ref().and_then(|tls| tls.alert) else {
        return ("an alert ended the handshake".into(), None);
    };
    match side {
        Side::Node => by_node(alert, who, node, offered(ended)),
        Side::Client => by_client(alert, who, node),
    }
}

fn by_node(alert: Alert, who: &str, node: &str, offered: &str) -> Meaning {
    match alert.name() {
        "unknown_ca" => told(
            format!("{node} does not trust the authority that signed the certificate of {who}"),
            format!(
                "import that root on {node}, and on every node; ms-diagnostics 1010 on the Edge"
            ),
        ),
        "protocol_version" | "insufficient_security" => told(
            format!("{who} offers at most TLS {offered}, and {node} speaks nothing so old"),
            format!(
                "compare Schannel's registry keys of {node} with the other nodes, or have {who} updated"
            ),
        ),
        "handshake_failure" | "certificate_required" | "no_certificate" => told(
            format!("{node} got no certificate from {who}, or shares no cipher with it"),
            format!(
                "{who} must send a client certificate; a root store that is too long hides its authority (KB 2464556)"
            ),
        ),
        "bad_certificate"
        | "unsupported_certificate"
        | "certificate_unknown"
        | "certificate_expired"
        | "certificate_revoked" => told(
            format!("{node} refuses the certificate of {who} ({})", alert.name()),
            format!("ask {who} for its dates, names and usages: client and server authentication"),
        ),
        name => (format!("{node} ended the handshake ({name})"), None),
    }
}

fn by_client(alert: Alert, who: &str, node: &str) -> Meaning {
    match alert.name() {
        "unknown_ca" => told(
            format!("{who} does not trust the authority that signed the certificate of {node}"),
            "they must import our root; ms-diagnostics 1010 on their side",
        ),
        "bad_certificate"
        | "unsupported_certificate"
        | "certificate_unknown"
        | "certificate_expired"
        | "certificate_revoked" => told(
            format!("{who} refuses the certificate of {node} ({})", alert.name()),
            "pinfold nodes shows whether it has expired or differs from the other nodes'",
        ),
        "protocol_version" | "insufficient_security" => told(
            format!("{who} does not speak the version that {node} chose"),
            "compare the TLS settings of the nodes",
        ),
        name => (
            format!("{who} ended the handshake with {node} ({name})"),
            None,
        ),
    }
}
