use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn partner(number: usize, addresses: Vec<IpNet>) -> model::Partner {
    model::Partner {
        name: format!("partner{number}"),
        domains: Vec::new(),
        federation: model::Federation::AllowedServer,
        edge: Vec::new(),
        addresses,
        generation: model::Generation::Ocs2007,
        certificate_names: Vec::new(),
        legacy: true,
        pin: model::Pin::Partner,
        node: None,
        failback: model::Failback::Stay,
        alarm_after: Duration::from_secs(60),
        tls_min: None,
        contact: None,
    }
}

/// Few distinct networks, so that prefixes nest and clients meet them.
fn nets() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<[bool; 4]>(), 0..=32_u8).prop_map(|(bits, length)| {
        let octets = bits.map(|bit| if bit { 0xc0 } else { 0 });
        IpNet::new(IpAddr::from(octets), length).unwrap()
    });
    let v6 = (any::<[bool; 8]>(), 0..=128_u8).prop_map(|(bits, length)| {
        let groups = bits.map(|bit| if bit { 0x2001 } else { 0 });
        IpNet::new(IpAddr::from(groups), length).unwrap()
    });
    let mapped = (any::<[bool; 4]>(), 96..=128_u8).prop_map(|(bits, length)| {
        let octets = bits.map(|bit| if bit { 0xc0 } else { 0 });
        let ip = std::net::Ipv4Addr::from(octets).to_ipv6_mapped();
        IpNet::new(IpAddr::from(ip), length).unwrap()
    });
    prop_oneof![v4, v6, mapped]
}

/// Every prefix of every partner tried in turn; the longest wins, among equals the first.
fn oracle(partners: &[model::Partner], client: IpAddr) -> Option<&str> {
    let client = client.to_canonical();
    let mut best: Option<(u8, &str)> = None;
    for partner in partners {
        for net in &partner.addresses {
            let net = plain(*net);
            if net.contains(&client) && best.is_none_or(|(length, _)| net.prefix_len() > length) {
                best = Some((net.prefix_len(), &partner.name));
            }
        }
    }
    best.map(|(_, name)| name)
}

proptest! {
    #[test]
    fn it_finds_what_a_linear_scan_finds(
        nets in proptest::collection::vec(proptest::collection::vec(nets(), 0..4), 0..8),
        clients in proptest::collection::vec(nets(), 1..32),
    ) {
        let partners: Vec<_> = nets.into_iter().enumerate().map(|(number, nets)| partner(number, nets)).collect();
        let table = PartnerTable::new(&partners);
        for client in clients {
            let found = table.find(client.addr()).map(|known| &*known.name);
            prop_assert_eq!(found, oracle(&partners, client.addr()), "{}", client.addr());
        }
    }
}

#[test]
fn partners_are_known_by_name_and_mapped_addresses_are_plain() {
    let mut refused = partner(2, vec!["192.0.2.128/25".parse().unwrap()]);
    refused.federation = model::Federation::Blocked;
    refused.node = Some("edge2".to_owned());
    let wide = partner(1, vec!["::ffff:192.0.2.0/120".parse().unwrap()]);
    let table = PartnerTable::new(&[wide, refused]);
    let name = |ip: &str| {
        table
            .find(ip.parse().unwrap())
            .map(|known| known.name.to_string())
    };
    assert_eq!(name("192.0.2.1").as_deref(), Some("partner1"));
    assert_eq!(name("::ffff:192.0.2.200").as_deref(), Some("partner2"));
    assert_eq!(name("198.51.100.1"), None);
    let known = table.by_name("partner2").unwrap();
    assert!(known.blocked && known.node.as_deref() == Some("edge2"));
    assert_eq!(
        (table.len(), table.is_empty(), table.iter().count()),
        (2, false, 2)
    );
}

#[test]
fn a_certificate_belongs_to_the_partner_that_names_it() {
    let mut fabrikam = partner(1, Vec::new());
    fabrikam.edge = vec!["Edge.fabrikam.com".into()];
    fabrikam.domains = vec!["fabrikam.de".into()];
    fabrikam.certificate_names = vec!["cluster.example".into(), "shared.example".into()];
    let mut contoso = partner(2, Vec::new());
    contoso.edge = vec!["edge.contoso.com".into(), "shared.example".into()];
    let mut blocked = partner(3, Vec::new());
    blocked.federation = model::Federation::Blocked;
    blocked.edge = vec!["edge.blocked.example".into()];
    let table = PartnerTable::new(&[fabrikam, contoso, blocked]);
    let of = |names: &[&str]| {
        let names: Vec<Box<str>> = names.iter().map(|name| Box::from(*name)).collect();
        table
            .by_certificate(&names)
            .map(|known| known.name.to_string())
    };
    for name in [
        "edge.fabrikam.com",
        "sip.fabrikam.de",
        "fabrikam.de",
        "cluster.example",
    ] {
        assert_eq!(
            of(&["odd.example", name]).as_deref(),
            Some("partner1"),
            "{name}"
        );
    }
    assert_eq!(of(&["edge.contoso.com"]).as_deref(), Some("partner2"));
    // Claimed by two, or of two: nobody's.
    assert_eq!(of(&["shared.example"]), None);
    assert_eq!(of(&["edge.contoso.com", "fabrikam.de"]), None);
    assert_eq!(of(&["edge.blocked.example"]), None);
    assert_eq!(of(&["sip.sip.fabrikam.de", "fabrikam.com"]), None);
}

#[test]
fn a_domain_names_its_partner_unless_two_have_it_or_it_is_blocked() {
    let of = |number, domains: &[&str], federation| model::Partner {
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        federation,
        ..partner(number, Vec::new())
    };
    let table = PartnerTable::new(&[
        of(
            0,
            &["Fabrikam.com", "both.example"],
            model::Federation::Xmpp,
        ),
        of(1, &["both.example"], model::Federation::Xmpp),
        of(2, &["blocked.example"], model::Federation::Blocked),
    ]);
    let name = |domain| table.by_domain(domain).map(|known| &*known.name);
    assert_eq!(name("fabrikam.com"), Some("partner0"));
    for domain in ["both.example", "blocked.example", "sip.fabrikam.com", ""] {
        assert_eq!(name(domain), None, "{domain}");
    }
}
