use jiff::Timestamp;
use serde_json::{Value, from_value, json};

use super::*;

const CUT: &str = "2026-12-08T02:14:07.455Z";

fn layout() -> Layout {
    Layout {
        width: Some(80),
        now: "2026-12-08T02:22:10Z".parse::<Timestamp>().unwrap(),
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert_eq!(text, expected, "\n{text}");
}

fn listener(name: &str, bound: &str, sessions: u64) -> Value {
    json!({
        "name": name, "service": name, "pool": "edge", "bound": [bound], "open": true,
        "sessions": sessions, "sessions_total": sessions, "max_sessions": 50000,
        "nodes": [
            {"node": "edge1", "health": "down", "standing": "down", "since": CUT, "sessions": 0},
            {"node": "edge2", "health": "up", "standing": "takes", "since": CUT, "sessions": sessions},
        ],
    })
}

fn nodes() -> Value {
    let service = |address: &str, health: &str, standing: &str, sessions: u64| {
        json!({
            "listeners": ["federation"], "address": address, "health": health,
            "standing": standing, "since": CUT, "evidence": "probe unanswered",
            "evidence_at": CUT, "failures": 7, "held_until": null, "sessions": sessions,
        })
    };
    json!({"nodes": [
        {
            "name": "edge1", "pool": "edge", "state": "active", "weight": 1, "administered": null,
            "sessions": 0, "services": [service("198.51.100.11:5061", "down", "down", 0)],
        },
        {
            "name": "edge2", "pool": "edge", "state": "draining", "weight": 1,
            "administered": {
                "state": "draining", "by": "root (uid 0, login kmeier)", "since": CUT,
                "reason": "CHG1", "deadline": "2026-12-08T02:24:07Z",
            },
            "sessions": 6186,
            "services": [service("198.51.100.12:5061", "up", "draining", 6186)],
        },
    ]})
}

#[test]
fn status_begins_with_what_needs_an_administrator() {
    let status = json!({
        "version": "1.0.3", "revision": 23, "source": "/etc/pinfold/pinfold.toml", "started": CUT,
        "uptime_s": 3_542_400, "ready": true, "not_ready": [],
        "listeners": [
            listener("federation", "203.0.113.10:5061", 118),
            listener("access", "203.0.113.10:443", 5931),
        ],
        "pins": {"partners": 31, "addresses": 5944, "max": 65536},
        "partners": {"configured": 46, "awaited": 1}, "last_reload_failure": null,
        "sandbox": ["capabilities", "landlock"],
        "kernel_tls": [
            {"version": "1.2", "refusal": null},
            {"version": "1.3", "refusal": "this kernel cannot renew keys, Linux 6.14 can"},
        ],
        "attention": [
            "DOWN edge1 since 2026-12-08 02:14:07Z for every listener of pool edge: probe unanswered",
            "NOT BACK woodgrove on federation",
        ],
    });
    let text = status::render(
        &from_value(status).unwrap(),
        &from_value(nodes()).unwrap(),
        &layout(),
    );
    check(
        &text,
        "\
pinfold 1.0.3   up 41d   revision 23 of /etc/pinfold/pinfold.toml   ready
2 things need you
  DOWN edge1 since 2026-12-08 02:14:07Z for every listener of pool edge: probe
    unanswered
  NOT BACK woodgrove on federation

LISTENER    BIND               SESSIONS  EDGE1    EDGE2
federation  203.0.113.10:5061       118  down 8m  up
access      203.0.113.10:443      5 931  down 8m  up

NODE   POOL  STATE     SESSIONS  HEALTH
edge1  edge  active           0  down 8m
edge2  edge  draining     6 186  up 8m

PARTNERS 46, 1 not back   PINS 31 of partners, 5 944 of 65 536 addresses
SANDBOX capabilities, landlock
KERNEL TLS 1.2; not 1.3: this kernel cannot renew keys, Linux 6.14 can
",
    );
}

#[test]
fn nodes_say_who_changed_them_and_what_speaks_against_them() {
    let text = nodes::render(&from_value(nodes()).unwrap(), &layout());
    check(
        &text,
        "\
NODE   POOL, STATE    LISTENERS   ADDRESS             HEALTH    SESSIONS
edge1  edge active    federation  198.51.100.11:5061  down 8m          0
edge2  edge draining  federation  198.51.100.12:5061  draining     6 186

edge1 down on federation since 2026-12-08 02:14:07Z: probe unanswered, 7
  failures
edge2 (pool edge) draining since 2026-12-08 02:14:07Z by root (uid 0, login
  kmeier) \"CHG1\"; what is left is cut at 2026-12-08 02:24:07Z
",
    );
}

#[test]
fn sessions_are_counted_where_they_are_and_how_they_ended() {
    let sessions = json!({
        "listeners": [{
            "listener": "federation", "sessions": 118, "sessions_total": 1233,
            "max_sessions": 50000, "bytes_up": 1_822_011, "bytes_down": 173_004_400,
            "outcomes": [{"outcome": "node-down", "blame": "node", "sessions": 60}],
        }],
        "nodes": [{"pool": "edge", "node": "edge2", "listeners": ["federation", "xmpp"], "sessions": 118}],
    });
    let text = sessions::render(&from_value(sessions).unwrap(), &layout());
    check(
        &text,
        "\
LISTENER    NOW  AT MOST   EVER  TO NODES  TO CLIENTS
federation  118   50 000  1 233    1.8 MB      173 MB

NODE   POOL  LISTENERS        NOW
edge2  edge  federation xmpp  118

LISTENER    ENDED      WHOSE DOING  SESSIONS
federation  node-down  node               60
",
    );
}

#[test]
fn partners_and_pins_show_their_node_and_why() {
    let pin = json!({
        "pool": "edge", "affinity": "federation", "node": "edge2", "since": CUT, "by": "failover",
        "sessions": 4, "last_used": CUT, "revision": 1,
        "subject": {"kind": "partner", "name": "fabrikam"},
    });
    let partner = |name: &str, legacy: bool, pins: Value, awaited: bool| {
        json!({
            "name": name, "generation": "ocs-2007-r2", "federation": "allowed-server",
            "legacy": legacy, "addresses": [], "pins": pins, "sessions": 0, "awaited": awaited,
            "contact": "Tel. +49 69 5550 222",
        })
    };
    let partners = json!({"partners": [
        partner("fabrikam", true, json!([pin]), false),
        partner("woodgrove", false, json!([]), true),
    ]});
    let mut partners = partners;
    partners["partners"][0]["sessions"] = json!(4);
    partners["partners"][0]["names"] = json!([{
        "name": "sip.fabrikam.com", "addresses": ["192.0.2.3"], "ttl_s": 60, "resolved_at": CUT,
        "error": "no answer",
    }]);
    let text = partners::render(&from_value(partners).unwrap(), &layout());
    check(
        &text,
        "\
PARTNER    GENERATION   NODE   SINCE        SESSIONS  LAST   NOTE
fabrikam   ocs-2007-r2  edge2  8m failover         4  now    legacy, DNS fails
woodgrove  ocs-2007-r2  -      -                   0  never  NOT BACK, Tel. +49
                                                             69 5550 222
",
    );
    let pins = json!({"pins": [pin], "partners": 1, "addresses": 5943, "max": 65536});
    let text = pins::render(&from_value(pins).unwrap(), &layout());
    check(
        &text,
        "\
SUBJECT   KIND     POOL  AFFINITY    NODE   SINCE        SESSIONS  LAST  REV
fabrikam  partner  edge  federation  edge2  8m failover         4  now     1

1 pin of partners, 5 943 of 65 536 addresses
1 of them are shown; --limit 0 shows all
",
    );
    let mut pin = pin;
    pin["order"] = json!({"by": "root (uid 0)", "reason": "CHG 7", "at": CUT});
    pin["home"] = json!("edge1");
    let pins = json!({"pins": [pin], "partners": 1, "addresses": 0, "max": 65536});
    let wide = Layout {
        width: None,
        ..layout()
    };
    let text = pins::render(&from_value(pins).unwrap(), &wide);
    assert!(
        text.contains("root (uid 0): CHG 7, from edge1"),
        "who, why, and from where: {text}"
    );
}

#[test]
fn failovers_end_with_the_partners_of_the_last_one() {
    let gap = |partner: &str, node: Option<&str>, served: Option<f64>| {
        json!({
            "partner": partner, "listener": "federation", "cut_off_since": CUT,
            "ended_after_ms": 2000.0, "node": node, "connected_after_ms": served,
            "served_after_ms": served,
        })
    };
    let failovers = json!({"failovers": [{
        "number": 412, "pool": "edge", "node": "edge1", "listeners": ["federation"],
        "first_evidence": CUT, "cut": CUT, "decided_in_ms": 1800.0, "evidence": "probe unanswered",
        "sessions": 60, "pins_moved": 15,
        "partners": [gap("fabrikam", Some("edge2"), Some(2720.0)), gap("woodgrove", None, None)],
    }]});
    let text = failovers::render(&from_value(failovers).unwrap(), &layout());
    check(
        &text,
        "\
\x20NO  NODE   CUT AT                LISTENERS   DECIDED  SESSIONS  BACK    SLOWEST
412  edge1  2026-12-08 02:14:07Z  federation    1.8 s        60  1 of 2    2.7 s

last: no 412, edge1 on federation: probe unanswered
PARTNER    LISTENER    CUT OFF  SINCE                 NOW ON
fabrikam   federation    2.7 s  2026-12-08 02:14:07Z  edge2
woodgrove  federation        -  2026-12-08 02:14:07Z  not back
",
    );
    let none = json!({"failovers": []});
    let text = failovers::render(&from_value(none).unwrap(), &layout());
    assert_eq!(text, "no failover is on record\n");
}

#[test]
fn partners_show_what_tls_they_speak_and_who_would_be_cut_off() {
    let partner = |name: &str, generation: &str, tls: Value, looks_like: Value| {
        json!({
            "name": name, "generation": generation, "federation": "allowed-server", "legacy": true,
            "addresses": [], "pins": [], "sessions": 0, "awaited": false, "contact": null,
            "tls": tls, "tls_min": if name == "fabrikam" { json!("1.0") } else { Value::Null },
            "looks_like": looks_like,
        })
    };
    let old = json!({
        "offers": "1.0", "negotiated": [{"version": "1.0", "handshakes": 6120}],
        "old_last": CUT, "last_seen": CUT, "certificate": "sip.fabrikam.com",
    });
    let new = json!({
        "offers": "1.2",
        "negotiated": [{"version": "1.0", "handshakes": 3}, {"version": "1.2", "handshakes": 880}],
        "old_last": CUT, "last_seen": CUT, "certificate": null, "since": "2026-09-09T08:00:00Z",
    });
    let partners = json!({"partners": [
        partner("fabrikam", "ocs-2007", old, json!("ocs-era")),
        partner("adatum", "other", new, json!("unknown")),
        partner("tailspin", "other", Value::Null, Value::Null),
    ]});
    let layout = Layout {
        width: Some(120),
        ..layout()
    };
    let text = partners_tls::render(&from_value(partners).unwrap(), &layout);
    assert_eq!(
        text,
        "\
PARTNER   OFFERS  NEGOTIATED        LAST 1.0/1.1  TLS_MIN  CERTIFICATE       NOTE
fabrikam  1.0     1.0 ×6 120        8m            1.0      sip.fabrikam.com  ocs-2007, looks like ocs-era
adatum    1.2     1.0 ×3, 1.2 ×880  8m            -        -                 other
tailspin  -       -                 -             -        -                 other

Handshakes since 2026-09-09.
If tls_min = \"1.2\" were enforced for all, these would be cut off: fabrikam.
",
        "\n{text}"
    );
}

#[test]
fn nodes_tell_where_an_edge_sends_its_clients_if_that_is_wrong() {
    let note = |code: Option<u16>, fault: Option<&str>| {
        let mut nodes = nodes();
        nodes["nodes"][1]["services"][0]["turn"] = json!({
            "code": code, "alternate_server": "10.0.0.31:3478",
            "configured": "198.51.100.31:3478", "fault": fault,
        });
        nodes::render(&from_value(nodes).unwrap(), &layout()).replace("\n  ", " ")
    };
    let plain = note(Some(401), None);
    assert!(!plain.contains("10.0.0.31"), "{plain}");
    for (code, fault, expected) in [
        (
            Some(401),
            "elsewhere",
            "edge2 sends clients of federation to 10.0.0.31:3478, and its address is 198.51.100.31:3478:",
        ),
        (
            Some(486),
            "other-code",
            "edge2 refuses an Allocate on federation by 486, not by 401",
        ),
        (None, "open", "edge2 relays on federation for anybody"),
    ] {
        let text = note(code, Some(fault));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn nodes_tell_of_certificates_that_end_soon_or_differ() {
    let note = |not_after: &str, same: bool| {
        let mut nodes = nodes();
        let service = &mut nodes["nodes"][1]["services"][0];
        service["certificate"] = json!({
            "name": "sip.contoso.com", "names": ["sip.contoso.com"], "not_before": CUT,
            "not_after": not_after, "client": true, "server": true, "key": "", "same": same,
        });
        let text = nodes::render(&from_value(nodes).unwrap(), &layout());
        let text = text.replace("\n  ", " ");
        let line = text.lines().find(|line| line.contains("certificate"));
        line.map(ToOwned::to_owned)
    };
    let starts = "edge2 shows a certificate on federation that";
    let soon = note("2026-12-20T00:00:00Z", true).unwrap();
    assert_eq!(
        soon,
        format!("{starts} expires in 11 days: sip.contoso.com, 2026-12-20")
    );
    let over = note("2026-12-01T00:00:00Z", true).unwrap();
    assert_eq!(
        over,
        format!("{starts} has expired: sip.contoso.com, 2026-12-01")
    );
    let other = note("2027-12-01T00:00:00Z", false).unwrap();
    assert!(other.starts_with("edge2 shows another certificate on federation than others"));
    assert_eq!(note("2027-12-01T00:00:00Z", true), None);
}
