use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const PREFIX: PinPrefix = PinPrefix { v4: 24, v6: 64 };

fn key(text: &str) -> PlacementKey {
    PlacementKey::from_text(text).unwrap()
}

fn client(number: u32) -> Subject {
    Subject::of_client(IpAddr::from((number << 8).to_be_bytes()), PREFIX)
}

/// Names are unique, weights at least 1.
fn nodes() -> impl Strategy<Value = Vec<(String, u32)>> {
    proptest::collection::btree_map("[a-z]{1,6}", 1..50_u32, 1..12)
        .prop_map(|nodes: BTreeMap<String, u32>| nodes.into_iter().collect())
}

fn winner<'a>(
    key: &PlacementKey,
    subject: &Subject,
    nodes: &'a [(String, u32)],
) -> Option<&'a str> {
    let offered = nodes.iter().map(|(name, weight)| (name.as_str(), *weight));
    let index = key.place(subject, offered)?;
    nodes.get(index).map(|(name, _)| name.as_str())
}

/// Every score computed and sorted, the encoding spelt out once more.
fn oracle<'a>(
    key: &PlacementKey,
    subject: &Subject,
    nodes: &'a [(String, u32)],
) -> Option<&'a str> {
    let prefix = match subject {
        Subject::Partner(name) => [&[1], name.as_bytes(), &[0xff]].concat(),
        Subject::Prefix(net) => {
            let IpAddr::V4(ip) = net.network() else {
                return None;
            };
            [&[4, net.prefix_len()], &ip.octets()[..]].concat()
        }
    };
    let mut scores: Vec<(f64, &str)> = Vec::new();
    for (name, weight) in nodes {
        let bytes = [&prefix, name.as_bytes()].concat();
        let hash = SipHasher13::new_with_keys(key.first, key.second).hash(&bytes);
        #[expect(clippy::cast_precision_loss, reason = "as in the original")]
        let unit = ((hash / 2048) as f64 + 0.5) / 9_007_199_254_740_992.0;
        scores.push((-f64::from(*weight) / unit.ln(), name));
    }
    scores.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scores.first().map(|(_, name)| *name)
}

proptest! {
    #[test]
    fn it_agrees_with_the_oracle_whatever_the_order(nodes in nodes(), number in 0..0x00ff_ffff_u32, name in "[a-z.]{1,20}") {
        let key = key("pair");
        let mut reversed = nodes.clone();
        reversed.reverse();
        for subject in [client(number), Subject::Partner(Arc::from(name))] {
            let expected = oracle(&key, &subject, &nodes);
            prop_assert_eq!(winner(&key, &subject, &nodes), expected);
            prop_assert_eq!(winner(&key, &subject, &reversed), expected);
        }
    }

    #[test]
    fn removing_a_node_moves_only_its_own_subjects_and_adding_steals_only_for_itself(nodes in nodes(), gone in any::<prop::sample::Index>()) {
        let key = key("pair");
        let gone = gone.get(&nodes).0.clone();
        let fewer: Vec<_> = nodes.iter().filter(|(name, _)| *name != gone).cloned().collect();
        for number in 0..64 {
            let with = winner(&key, &client(number), &nodes);
            let without = winner(&key, &client(number), &fewer);
            if with != Some(gone.as_str()) {
                prop_assert_eq!(with, without);
            }
        }
    }

    #[test]
    fn a_heavier_node_only_gains(nodes in nodes(), which in any::<prop::sample::Index>()) {
        let key = key("pair");
        let mut heavier = nodes.clone();
        let index = which.index(nodes.len());
        heavier[index].1 *= 2;
        let grown = heavier[index].0.clone();
        for number in 0..64 {
            let before = winner(&key, &client(number), &nodes);
            let after = winner(&key, &client(number), &heavier);
            prop_assert!(after == before || after == Some(grown.as_str()));
        }
    }
}

#[test]
fn shares_follow_weights() {
    let key = key("shares");
    let nodes = [
        ("edge1".to_owned(), 1),
        ("edge2".to_owned(), 2),
        ("edge3".to_owned(), 5),
    ];
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for number in 0..40_000 {
        *counts
            .entry(winner(&key, &client(number), &nodes).unwrap())
            .or_default() += 1;
    }
    for (name, weight) in &nodes {
        let expected = 5_000 * weight;
        let off = counts[name.as_str()].abs_diff(expected);
        assert!(off < expected / 20, "{name}: {counts:?}");
    }
}

#[test]
fn keys_matter_and_empty_text_is_none() {
    assert!(PlacementKey::from_text("").is_none());
    assert_eq!(key("a"), key("a"));
    assert_ne!(key("a"), key("b"));
    assert_eq!(format!("{:?}", key("secret")), "PlacementKey(…)");
    let nodes = [("edge1".to_owned(), 1), ("edge2".to_owned(), 1)];
    let moved = (0..200).filter(|number| {
        winner(&key("a"), &client(*number), &nodes) != winner(&key("b"), &client(*number), &nodes)
    });
    assert!((60..140).contains(&moved.count()));
}

/// Two appliances of different versions must agree too: a change here moves every partner.
#[test]
fn placement_is_the_same_in_every_version() {
    let nodes = ["edge1", "edge2", "edge3"].map(|name| (name.to_owned(), 1));
    let partners = ["fabrikam", "litware", "woodgrove", "proseware"];
    let placed = partners
        .map(|name| winner(&key("golden"), &Subject::Partner(Arc::from(name)), &nodes).unwrap());
    assert_eq!(placed, ["edge3", "edge2", "edge3", "edge3"]);
}

#[test]
fn a_client_is_its_prefix_and_mapped_addresses_are_plain() {
    let cases = [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ];
    for (ip, expected) in cases {
        let subject = Subject::of_client(ip.parse().unwrap(), PREFIX);
        assert_eq!(subject.to_string(), expected);
    }
    let host = Subject::of_client(IpAddr::from([192, 0, 2, 1]), PinPrefix { v4: 99, v6: 64 });
    assert_eq!(host.to_string(), "192.0.2.1");
}
