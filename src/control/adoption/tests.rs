use std::time::Duration;

use super::*;
use crate::config::parse;
use crate::pool::pins::{NewPin, Order, PinnedBy};

fn config(partners: &str) -> Config {
    config_with("partner", "federation", partners)
}

fn config_with(pin: &str, affinity: &str, partners: &str) -> Config {
    let text = format!(
        "version = 1\n[[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\naddress = \"198.51.100.1\"\n\
         [[pool.node]]\nname = \"edge2\"\naddress = \"198.51.100.2\"\n[[listener]]\nname = \"federation\"\nbind = \"203.0.113.10:5061\"\nservice = \"federation\"\npool = \"edge\"\n\
         pin = \"{pin}\"\naffinity = \"{affinity}\"\n\
         [[listener]]\nname = \"access\"\nbind = \"203.0.113.10:443\"\nservice = \"access\"\npool = \"edge\"\n\
         {partners}"
    );
    parse("a", &text).unwrap().config
}

fn partner(name: &str, addresses: &str) -> String {
    format!(
        "[[partner]]\nname = \"{name}\"\ngeneration = \"ocs-2007\"\naddresses = [{addresses}]\n"
    )
}

fn key(affinity: &str, subject: Subject) -> PinKey {
    let scope = PinScope {
        pool: "edge".into(),
        affinity: affinity.into(),
    };
    PinKey::new(&Arc::new(scope), subject)
}

fn prefix(net: &str) -> Subject {
    Subject::Prefix(net.parse().unwrap())
}

fn pins(all: &[(&PinKey, &str)]) -> PinTable {
    let pins = PinTable::new(100);
    for (second, (key, node)) in (0..).zip(all) {
        let new = NewPin {
            node: Arc::from(*node),
            by: PinnedBy::Placed,
            revision: 1,
            ttl: Duration::from_secs(1200),
            looks_legacy: false,
        };
        let _ = pins.pin(key, new, Moment::from_micros(second));
    }
    pins
}

fn found(old: &Config, new: &Config, pins: &PinTable) -> Vec<Adopted> {
    let (before, after) = (
        PartnerTable::new(&old.partners),
        PartnerTable::new(&new.partners),
    );
    let ground = |config, partners| Ground { config, partners };
    let grounds = (ground(old, &before), ground(new, &after));
    let (recognition, _told) = Recognition::new(1, 1);
    adopted(grounds, &recognition, pins, Moment::from_micros(9))
}

/// Who takes which node along from whom: `fabrikam: edge2 of 192.0.2.3/32`.
fn told(adopted: &[Adopted]) -> Vec<String> {
    let tell = |each: &Adopted| {
        let Adopted {
            from, to, instead, ..
        } = each;
        let node = instead.as_ref().unwrap_or(&each.node);
        let kept = if instead.is_some() { "not of" } else { "of" };
        format!("{}: {node} {kept} {}", to.subject, from.subject)
    };
    adopted.iter().map(tell).collect()
}

fn named(name: &str) -> PinKey {
    key("federation", Subject::Partner(name.into()))
}

#[test]
fn a_partner_that_is_pinned_by_name_from_here_on_keeps_its_node() {
    let address = key("federation", prefix("192.0.2.3/32"));
    let pins = pins(&[(&address, "edge2")]);
    let legacy = |legacy: bool| {
        let fabrikam = "[[partner]]\nname = \"fabrikam\"\naddresses = [\"192.0.2.3\"]\n";
        format!("{fabrikam}generation = \"lync-2013\"\nlegacy = {legacy}\n")
    };
    let (modern, stubborn) = (config(&legacy(false)), config(&legacy(true)));
    let expected = ["fabrikam: edge2 of 192.0.2.3"];
    assert_eq!(told(&found(&modern, &stubborn, &pins)), expected);
    let by_source = config_with("source", "federation", &legacy(true));
    assert_eq!(told(&found(&by_source, &stubborn, &pins)), expected);
    let mut without = stubborn.clone();
    without.pools[0].nodes.retain(|node| node.name != "edge2");
    assert_eq!(told(&found(&modern, &without, &pins)), [""; 0]);
    assert_eq!(told(&found(&stubborn, &stubborn, &pins)), [""; 0]);
    assert_eq!(told(&found(&stubborn, &modern, &pins)), [""; 0]);
    // Its table says where it is to be.
    let preferred = |node: &str| config(&format!("{}node = \"{node}\"\n", legacy(true)));
    let goes = told(&found(&modern, &preferred("edge1"), &pins));
    assert_eq!(goes, ["fabrikam: edge1 not of 192.0.2.3"]);
    assert_eq!(told(&found(&modern, &preferred("edge2"), &pins)), expected);
}

#[test]
fn a_partner_with_another_name_is_the_same_partner_and_so_is_its_pin() {
    let pins = pins(&[(&named("fabrikam"), "edge2")]);
    let order = Arc::new(Order {
        by: "anna".into(),
        reason: Some("CHG 7".into()),
        at: 7,
    });
    let now = Moment::from_micros(5);
    let (from, to) = (Arc::from("edge2"), Arc::from("edge1"));
    let by_hand = (&to, PinnedBy::ByHand);
    let _ = pins.order_away(&named("fabrikam"), &from, by_hand, order, now);
    let before = pins.inspect(&named("fabrikam"), now).unwrap();
    let old = config(&partner("fabrikam", "\"192.0.2.3\", \"192.0.2.4\""));
    let renamed = partner("fabrikam-de", "\"192.0.2.3\", \"192.0.2.4\", \"192.0.2.5\"");
    let adopted = found(&old, &config(&renamed), &pins);
    assert_eq!(told(&adopted), ["fabrikam-de: edge1 of fabrikam"]);
    adopt(&adopted, &pins, Moment::from_micros(9));
    let after = pins.inspect(&named("fabrikam-de"), now).unwrap();
    assert_eq!(after, before, "also why, by whom and since when");

    // By its names alone, whatever their case; and who is carved out keeps the node, too.
    let by_name = |name: &str, edge: &str| {
        format!("[[partner]]\nname = \"{name}\"\ngeneration = \"ocs-2007\"\nedge = [{edge}]\n")
    };
    let old = config(&by_name(
        "fabrikam",
        "\"sip.fabrikam.com\", \"sip.contoso.com\"",
    ));
    let new = config(&by_name(
        "woodgrove",
        "\"SIP.fabrikam.com\", \"sip.contoso.com\"",
    ));
    let expected = ["woodgrove: edge1 of fabrikam"];
    assert_eq!(told(&found(&old, &new, &pins)), expected);
    let both = [
        by_name("fabrikam", "\"sip.fabrikam.com\""),
        by_name("contoso", "\"sip.contoso.com\""),
    ];
    let expected = ["contoso: edge1 of fabrikam"];
    assert_eq!(told(&found(&old, &config(&both.concat()), &pins)), expected);
    // Nobody inherits from a stranger.
    let other = config(&by_name("woodgrove", "\"sip.woodgrove.com\""));
    assert_eq!(told(&found(&old, &other, &pins)), [""; 0]);
}

#[test]
fn of_two_that_become_one_the_node_that_was_used_last_counts() {
    let pins = pins(&[
        (&named("fabrikam"), "edge1"),
        (&named("woodgrove"), "edge2"),
        (&key("federation", prefix("192.0.2.9/32")), "edge1"),
    ]);
    let (one, other) = ("\"192.0.2.3\"", "\"192.0.2.4\"");
    let old = config(&format!(
        "{}{}",
        partner("fabrikam", one),
        partner("woodgrove", other)
    ));
    let new = config(&partner("both", &format!("{one}, {other}")));
    assert_eq!(
        told(&found(&old, &new, &pins)),
        ["both: edge2 of woodgrove"]
    );
    // One that is in use before one that was.
    let lease = pins.lease(&named("fabrikam"), Moment::START);
    assert_eq!(told(&found(&old, &new, &pins)), ["both: edge1 of fabrikam"]);
    pins.release(lease.unwrap(), Moment::START);
    let three = config(&partner("both", &format!("{one}, {other}, \"192.0.2.9\"")));
    assert_eq!(
        told(&found(&old, &three, &pins)),
        ["both: edge1 of 192.0.2.9"]
    );
}

#[test]
fn a_listener_that_shares_pins_with_others_takes_them_along() {
    let pins = pins(&[(&named("fabrikam"), "edge2")]);
    let table = partner("fabrikam", "\"192.0.2.3\"");
    let old = config(&table);
    let new = config_with("partner", "shared", &table);
    let adopted = found(&old, &new, &pins);
    assert_eq!(told(&adopted), ["fabrikam: edge2 of fabrikam"]);
    adopt(&adopted, &pins, Moment::from_micros(9));
    let there = key("shared", Subject::Partner("fabrikam".into()));
    assert!(pins.look_up(&there, Moment::from_micros(9)).is_some());
}

#[test]
fn a_pin_that_has_gone_to_another_affinity_does_not_wait_in_the_old_one() {
    let partner = partner("fabrikam", "\"192.0.2.3\"");
    let config = |affinity| config_with("partner", affinity, &partner);
    let of = |affinity| key(affinity, Subject::Partner("fabrikam".into()));
    let now = Moment::from_micros(9);
    let pins = pins(&[(&of("federation"), "edge1")]);
    let (old, new) = (config("federation"), config("other"));
    adopt(&found(&old, &new, &pins), &pins, now);
    assert_eq!(pins.look_up(&of("other"), now).as_deref(), Some("edge1"));
    assert_eq!(pins.look_up(&of("federation"), now), None);
    // It fails over there, and then the file is rolled back.
    let to = Arc::from("edge2");
    pins.move_to(&of("other"), &to, PinnedBy::DialFailed, now);
    adopt(&found(&new, &old, &pins), &pins, now);
    let pinned = pins.look_up(&of("federation"), now);
    assert_eq!(pinned.as_deref(), Some("edge2"));
}

#[test]
fn a_pin_goes_along_to_every_scope_that_its_own_becomes() {
    let config = |first: &str, second: &str| {
        let text = format!(
            "version = 1\n[[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\naddress = \"198.51.100.1\"\n\
             [[listener]]\nname = \"sip\"\nbind = \"203.0.113.10:5061\"\nservice = \"federation\"\npool = \"edge\"\n\
             affinity = \"{first}\"\n\
             [[listener]]\nname = \"other\"\nbind = \"203.0.113.10:5062\"\nservice = \"federation\"\npool = \"edge\"\n\
             affinity = \"{second}\"\n{}",
            partner("fabrikam", "\"192.0.2.3\"")
        );
        parse("a", &text).unwrap().config
    };
    let of = |affinity| key(affinity, Subject::Partner("fabrikam".into()));
    let now = Moment::from_micros(9);
    let pins = pins(&[(&of("x"), "edge1")]);
    adopt(
        &found(&config("x", "x"), &config("y", "z"), &pins),
        &pins,
        now,
    );
    for affinity in ["y", "z"] {
        assert_eq!(pins.look_up(&of(affinity), now).as_deref(), Some("edge1"));
    }
    assert_eq!(pins.look_up(&of("x"), now), None);
}

#[test]
fn a_partner_that_is_written_down_keeps_the_node_of_its_address() {
    let (early, late) = (prefix("192.0.2.3/32"), prefix("192.0.2.4/32"));
    let (six, other) = (prefix("2001:db8:0:7::/64"), prefix("198.18.0.1/32"));
    let federation = |subject: &Subject| key("federation", subject.clone());
    let old = config(&partner("litware", "\"192.0.2.0/28\""));
    let fabrikam = partner("fabrikam", "\"192.0.2.3\", \"192.0.2.4\"");
    let six_named = partner("woodgrove", "\"2001:db8:0:7::25\"");
    let wide = partner("litware", "\"192.0.2.0/28\"");
    let new = config(&format!("{wide}{fabrikam}{six_named}"));
    let (early, late, six) = (federation(&early), federation(&late), federation(&six));
    let access = key("access", prefix("192.0.2.3/32"));
    let pins = pins(&[
        (&early, "edge1"),
        (&late, "edge2"),
        (&six, "edge1"),
        (&access, "edge2"),
        (&federation(&other), "edge2"),
    ]);
    let adopted = found(&old, &new, &pins);
    let expected = [
        Adopted {
            from: late.clone(),
            to: named("fabrikam"),
            node: "edge2".into(),
            instead: None,
            is_left_for_good: false,
        },
        Adopted {
            from: six,
            to: named("woodgrove"),
            node: "edge1".into(),
            instead: None,
            is_left_for_good: false,
        },
    ];
    assert_eq!(
        adopted, expected,
        "the one that was used last; nobody is pinned by name on access"
    );

    // One that has a pin keeps it, and nothing is new the second time.
    pins.rekey(&late, &named("fabrikam"), Moment::from_micros(9));
    assert_eq!(found(&old, &new, &pins).len(), 1);
    assert_eq!(found(&new, &new, &pins), []);
}

#[test]
fn of_pins_that_were_used_last_together_the_first_by_key_goes_along() {
    let addresses = (1..9).map(|last| format!("\"192.0.2.{last}\""));
    let addresses: Vec<_> = addresses.collect();
    let new = config(&partner("fabrikam", &addresses.join(", ")));
    let pins = PinTable::new(100);
    for last in (1..9).rev() {
        let key = key("federation", prefix(&format!("192.0.2.{last}/32")));
        let pin = NewPin {
            node: if last == 1 { "edge2" } else { "edge1" }.into(),
            by: PinnedBy::Placed,
            revision: 1,
            ttl: Duration::from_secs(1200),
            looks_legacy: false,
        };
        let _ = pins.pin(&key, pin, Moment::START);
    }
    let expected = ["fabrikam: edge2 of 192.0.2.1"];
    assert_eq!(told(&found(&config(""), &new, &pins)), expected);
}
