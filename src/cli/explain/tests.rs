use super::*;

/// A partner that a failover has moved, with trouble behind it.
fn moved() -> Explanation {
    let text = r#"{"subject":"fabrikam","is_address":false,
    "partner":{"name":"fabrikam","generation":"ocs-2007","federation":"allowed-server","legacy":true,
      "addresses":["192.0.2.0/28"],"pins":[],"sessions":4,"awaited":false,
      "contact":"NOC +49 30 5550 111","looks_like":"ocs-era",
      "looks_like_because":["its hello offers TLS 1.0 and old ciphers first, without a server name",
        "back 0.7 s after it was cut off (median of 3)"],
      "tls":{"offers":"1.0","negotiated":[],"old_last":null,"last_seen":null,"certificate":null}},
    "known_by":[{"source":"addresses","what":"192.0.2.0/28 configured"},
      {"source":"certificate","what":"sip.fabrikam.com seen from 192.0.2.3"}],
    "places":[{"listeners":["federation"],"bound":["203.0.113.10:5061"],"pool":"edge",
      "affinity":"federation","access":"granted","rule":"allow = \"partners\"","subject":"fabrikam",
      "pin":{"pool":"edge","affinity":"federation","node":"edge2","since":"2026-12-08T02:14:08Z",
        "by":"failover","sessions":4,"last_used":"2026-12-08T02:14:08Z","home":"edge1"},
      "node":"edge2","why":"pinned",
      "steps":["pinned to edge2","edge2 takes sessions","the pin holds: edge2"],
      "candidates":[{"node":"edge1","standing":"down","since":"2026-12-08T02:14:07Z",
          "evidence":"probe unanswered","weight":1,"warmth":100,"sessions":0,"legacy":0,"full":false},
        {"node":"edge2","standing":"takes","since":"2026-12-01T00:00:00Z",
          "evidence":"probe answered","weight":1,"warmth":100,"sessions":6186,"legacy":3,"full":false}],
      "sessions":[{"node":"edge2","sessions":4,"served":4,"last_byte":"2026-12-08T02:22:00Z"}],
      "back":{"node":"edge1","when":"in the window Sun 02:00-04:00 Europe/Berlin, once edge1 takes sessions",
        "at":"2026-12-13T01:00:00Z","command":"pinfold pin fabrikam edge1 --now"}}],
    "cut_off":{"failover":412,"node":"edge1","evidence":"probe unanswered",
      "first_evidence":"2026-12-08T02:14:05.655Z","cut":"2026-12-08T02:14:07.456Z",
      "gap":{"partner":"fabrikam","listener":"federation","cut_off_since":"2026-12-08T02:14:05.391Z",
        "ended_after_ms":2065.0,"node":"edge2","connected_after_ms":2619.0,"served_after_ms":2720.0}},
    "attempts":{"since":"2026-12-07T02:22:00Z","is_full":false,"good":69,"bad":2,"empty":0,
      "last_at":"2026-12-08T02:22:00Z","troubles":[{"times":2,"first":"2026-12-07T16:40:00Z",
        "last":"2026-12-07T16:41:00Z","listener":"federation","client":"192.0.2.3","node":"edge1",
        "outcome":"tls-alert-node","alert":"node: protocol_version",
        "meaning":"fabrikam offers at most TLS 1.0, and edge1 speaks nothing so old","remedy":null}]},
    "verdict":{"verdict":"neither","node":null,
      "evidence":"fabrikam is served by edge2; 14 other partners are normal there, too"},
    "next":["compare Schannel's registry keys of edge1 with the other nodes, or have fabrikam updated"]}"#;
    serde_json::from_str(text).unwrap()
}

fn at_80() -> Layout {
    Layout {
        width: Some(80),
        now: "2026-12-08T02:22:01Z".parse().unwrap(),
    }
}

#[test]
fn the_screen_answers_in_the_order_in_which_it_is_asked_and_fits_80_columns() {
    let text = render(&moved(), &at_80());
    let labels = [
        "fabrikam — ocs-2007",
        "CONTACT",
        "LOOKS LIKE  ocs-era: its hello",
        "ON  ",
        "NOW",
        "WHY edge2",
        "BACK?",
        "CUT OFF",
        "US OR THEM",
        "ATTEMPTS",
        "KNOWN BY",
        "OUTBOUND",
        "NEXT",
    ];
    let mut from = 0;
    for label in labels {
        let found = text[from..]
            .find(label)
            .unwrap_or_else(|| panic!("no {label} in\n{text}"));
        from += found;
    }
    let is_wide = |line: &&str| line.chars().count() > 80;
    assert_eq!(text.lines().find(is_wide), None, "{text}");
    assert!(text.contains("for 2.7 s, failover 412"), "{text}");
    assert!(
        text.contains("4 sessions on edge2, last byte 1s ago"),
        "{text}"
    );
    assert!(text.contains("moved by a failover, from edge1"), "{text}");
    assert!(
        text.contains("2 times, last 2026-12-07 16:41:00Z"),
        "{text}"
    );
}

#[test]
fn of_a_stranger_it_says_whether_it_is_let_in_and_where_it_would_be() {
    let mut explanation = moved();
    explanation.subject = "192.0.2.77".into();
    explanation.is_address = true;
    explanation.partner = None;
    explanation.cut_off = None;
    let place = &mut explanation.places[0];
    place.access = "not-allowed".into();
    place.pin = None;
    let text = render(&explanation, &at_80());
    assert!(
        text.starts_with("192.0.2.77 — no partner is known by this address\n"),
        "{text}"
    );
    assert!(
        text.contains("REFUSED     federation: allow = \"partners\"\n"),
        "{text}"
    );
    assert!(
        text.contains("WOULD BE ON federation: edge2 (no pin yet)\n"),
        "{text}"
    );
    assert!(!text.contains("US OR THEM"), "{text}");
}

#[test]
fn a_cloud_that_is_seen_from_thousands_of_addresses_fills_no_screen() {
    let mut explanation = moved();
    let certificate = explanation.known_by[1].clone();
    let many = std::iter::repeat_n(certificate, 2000);
    explanation.known_by.splice(1..2, many);
    let last = explanation.known_by[0].clone();
    explanation.known_by.push(last);
    let text = render(&explanation, &at_80());
    assert!(text.lines().count() < 60, "{text}");
    assert!(text.contains("from 1992 more; --json has all"), "{text}");
    assert_eq!(text.matches("192.0.2.0/28 configured").count(), 2, "{text}");
}
