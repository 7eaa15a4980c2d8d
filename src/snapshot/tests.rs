use std::time::Duration;

use super::*;
use crate::clock::Moment;
use crate::config::parse;
use crate::partner::resolved::{Ground, Heard, Names, Question};

fn config(nodes: &[(&str, u16)], listeners: &[(&str, &str)]) -> Arc<Config> {
    let mut text = String::from("version = 1\n[[pool]]\nname = \"edge\"\n");
    for (name, port) in nodes {
        text += &format!("[[pool.node]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\n");
    }
    for (name, more) in listeners {
        text += &format!(
            "[[listener]]\nname = \"{name}\"\nbind = \"127.0.0.1:0\"\nservice = \"tcp\"\n\
             pool = \"edge\"\nnode_port = 1\n{more}\n"
        );
    }
    match parse("test.toml", &text) {
        Ok(loaded) => Arc::new(loaded.config),
        Err(mistakes) => panic!("{mistakes}"),
    }
}

fn numbers(snapshot: &Snapshot) -> Vec<u32> {
    snapshot.listeners[0]
        .nodes
        .iter()
        .map(|seat| seat.endpoint.number)
        .collect()
}

#[test]
fn endpoints_and_listeners_keep_their_identity_over_reloads() {
    let mut registry = Registry::new(2);
    let first = registry.build(&config(&[("a", 1), ("b", 2)], &[("x", "")]));
    first.listeners[0].nodes[1]
        .endpoint
        .set_standing(Standing::Takes);
    first.listeners[0].state.slot(0).active.add(7);
    let second = registry.build(&config(&[("b", 2), ("c", 3)], &[("x", "max_sessions = 5")]));
    assert_eq!(second.revision, 2);
    assert_eq!(
        numbers(&first)[1],
        numbers(&second)[0],
        "b is the same endpoint"
    );
    assert_eq!(
        second.listeners[0].nodes[0].endpoint.standing(),
        Standing::Takes
    );
    assert_eq!(
        second.listeners[0].nodes[1].endpoint.standing(),
        Standing::Unproven
    );
    assert_eq!(second.listeners[0].state.sessions(), 7);
}

#[test]
fn news_from_dns_is_another_edition_of_the_same_revision_and_outlives_reloads() {
    let partner = "[[partner]]\nname = \"fabrikam\"\nedge = [\"sip.fabrikam.com\"]\n";
    let mut registry = Registry::new(1);
    let first = registry.build(&config(&[("a", 1)], &[("x", partner)]));
    let mut names = Names::new(1);
    names.configure(&first.config.partners, Ground::default(), Moment::START);
    let address = [192, 0, 2, 1].into();
    let heard = Heard::Addresses {
        found: vec![address],
        unheard: None,
        ttl: Duration::from_secs(60),
    };
    let question = Question::Addresses("sip.fabrikam.com".into());
    let _ = names.hear(&question, heard, Moment::START);
    let named = registry.name(&first, Arc::new(names.settle().0));
    assert_eq!(named.revision, first.revision);
    assert_ne!(named.edition, first.edition);
    assert!(Arc::ptr_eq(&named.listeners[0], &first.listeners[0]));
    let known = |snapshot: &Snapshot| {
        let known = snapshot.partners.named(address);
        known.map(|known| known.name.to_string())
    };
    assert_eq!(known(&first), None);
    assert_eq!(known(&named).as_deref(), Some("fabrikam"));
    assert!(
        named.partners.find(address).is_none(),
        "not by configuration"
    );
    let more = format!("{partner}[[partner]]\nname = \"woodgrove\"\n");
    let second = registry.build(&config(&[("a", 1)], &[("x", &more)]));
    assert_eq!(second.revision, 2);
    assert!(second.edition > named.edition);
    assert_eq!(known(&second).as_deref(), Some("fabrikam"));
    let without = registry.build(&config(&[("a", 1)], &[("x", "")]));
    assert_eq!(known(&without), None);
}

#[test]
fn a_node_with_another_address_is_another_endpoint() {
    let mut registry = Registry::new(1);
    let first = registry.build(&config(&[("a", 1)], &[("x", "")]));
    let second = registry.build(&config(&[("a", 2)], &[("x", "")]));
    assert_ne!(numbers(&first), numbers(&second));
}

#[test]
fn listeners_that_ask_alike_share_one_group_and_others_do_not() {
    let calm = "[listener.probe]\ninterval = \"5s\"";
    let mut registry = Registry::new(1);
    let snapshot = registry.build(&config(&[("a", 1)], &[("x", ""), ("y", ""), ("z", calm)]));
    let listeners: Vec<Vec<&str>> = snapshot
        .groups
        .iter()
        .map(|group| group.listeners.iter().map(|name| &**name).collect())
        .collect();
    assert_eq!(listeners, [vec!["x", "y"], vec!["z"]]);
}

#[test]
fn a_port_of_udp_has_nothing_to_do_with_that_of_tcp() {
    let listeners = [("a", "[listener.probe]\nkind = \"none\"")];
    let config = config(&[("n", 1)], &listeners);
    let mut both = (*config).clone();
    let mut media = both.listeners[0].clone();
    (media.name, media.service) = ("b".into(), model::Service::Udp);
    both.listeners.push(media);
    let snapshot = Registry::new(1).build(&Arc::new(both));
    assert_eq!(snapshot.groups.len(), 2);
}

#[test]
fn a_removed_node_stays_governed_while_it_has_sessions() {
    let mut registry = Registry::new(1);
    let first = registry.build(&config(&[("a", 1), ("b", 2)], &[("x", "")]));
    let endpoint = Arc::clone(&first.listeners[0].nodes[0].endpoint);
    endpoint.slot(0).sessions.add(1);
    let second = registry.build(&config(&[("b", 2)], &[("x", "")]));
    let kept = second.groups[0]
        .members
        .iter()
        .find(|member| member.endpoint.number == endpoint.number);
    assert_eq!(
        kept.map(|member| member.configured),
        Some(NodeState::Disabled)
    );
    assert_eq!(second.listeners[0].nodes.len(), 1, "it takes no sessions");
    endpoint.slot(0).sessions.subtract(1);
    drop(first);
    let third = registry.build(&config(&[("b", 2)], &[("x", "max_sessions = 9")]));
    assert_eq!(third.groups[0].members.len(), 1);
}

#[test]
fn a_removed_node_stays_governed_while_a_client_may_yet_dial_it() {
    let mut registry = Registry::new(1);
    let first = registry.build(&config(&[("a", 1), ("b", 2)], &[("x", "")]));
    let came_in_by = Arc::clone(&first.listeners[0]);
    drop(first);
    let is_governed = |snapshot: &Snapshot| snapshot.groups[0].members.len() == 2;
    let second = registry.build(&config(&[("b", 2)], &[("x", "")]));
    assert!(is_governed(&second));
    drop(second);
    let third = registry.build(&config(&[("b", 2)], &[("x", "max_sessions = 9")]));
    assert!(is_governed(&third), "the client has not arrived yet");
    drop((third, came_in_by));
    let fourth = registry.build(&config(&[("b", 2)], &[("x", "")]));
    assert!(!is_governed(&fourth));
}

#[test]
fn a_node_that_moved_is_governed_at_both_places_under_two_names() {
    let mut registry = Registry::new(1);
    let first = registry.build(&config(&[("a", 1), ("b", 2)], &[("x", "")]));
    let old = Arc::clone(&first.listeners[0].nodes[0].endpoint);
    old.slot(0).sessions.add(1);
    let second = registry.build(&config(&[("a", 3), ("b", 2)], &[("x", "")]));
    let members: Vec<_> = second.groups[0]
        .members
        .iter()
        .map(|member| (&*member.name, member.is_removed))
        .collect();
    let expected = [("a", false), ("b", false), ("a (was 127.0.0.1:1)", true)];
    assert_eq!(members, expected);
}

#[test]
fn a_group_that_is_gone_stays_whole_while_one_of_it_has_sessions() {
    let mut registry = Registry::new(1);
    let nodes = [("a", 1), ("b", 2)];
    let first = registry.build(&config(&nodes, &[("x", "")]));
    let old = Arc::clone(&first.listeners[0].nodes[0].endpoint);
    old.slot(0).sessions.add(1);
    let other_probe = "[listener.probe]\nkind = \"tls-hello\"";
    let second = registry.build(&config(&nodes, &[("x", other_probe)]));
    assert_eq!(second.groups.len(), 2);
    assert_eq!(second.groups[1].members.len(), 2);
    assert!(
        second.groups[1]
            .members
            .iter()
            .all(|member| member.is_removed)
    );
    old.slot(0).sessions.subtract(1);
    drop(first);
    let more = format!("max_sessions = 9\n{other_probe}");
    let third = registry.build(&config(&nodes, &[("x", &more)]));
    assert_eq!(third.groups.len(), 1);
}

#[test]
fn a_thousand_reloads_keep_nothing_that_is_not_used() {
    let mut registry = Registry::new(1);
    let mut last = None;
    for number in 0..1000u16 {
        let name = format!("n{number}");
        last = Some(registry.build(&config(&[(&name, number + 1)], &[("x", "")])));
    }
    assert!(
        registry.endpoints() <= 2,
        "{} endpoints",
        registry.endpoints()
    );
    drop(last);
}

mod admission {
    use super::*;
    use std::net::IpAddr;

    fn limits(max: u32, per_client: u32) -> model::Listener {
        let more = format!("max_sessions = {max}\nmax_sessions_per_client = {per_client}");
        config(&[("a", 1)], &[("x", &more)]).listeners[0].clone()
    }

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_tenth_is_kept_for_partners_and_places_are_given_back() {
        let (admission, limits) = (Arc::new(Admission::default()), limits(10, 0));
        let capacity = Arc::new(Capacity::new(100));
        let enter =
            |is_partner| admission.enter(&limits, Some(capacity.enter()?), client(1), is_partner);
        let mut tickets: Vec<_> = (0..9).map(|_| enter(false).expect("room")).collect();
        assert!(enter(false).is_none());
        tickets.push(enter(true).expect("the partners' tenth"));
        assert!(enter(true).is_none());
        tickets.clear();
        assert!(enter(false).is_some());
    }

    #[test]
    fn one_client_cannot_take_more_than_its_share() {
        let (admission, limits) = (Arc::new(Admission::default()), limits(100, 2));
        let capacity = Arc::new(Capacity::new(100));
        let enter = |last| admission.enter(&limits, Some(capacity.enter()?), client(last), false);
        let tickets = (enter(1), enter(1));
        assert!(enter(1).is_none());
        assert!(enter(2).is_some());
        drop(tickets);
        assert!(enter(1).is_some());
    }

    #[test]
    fn one_client_comes_no_faster_than_its_rate_and_partners_come_at_once() {
        let more = "connect_rate_per_client = \"3/m\"";
        let limits = config(&[("a", 1)], &[("x", more)]).listeners[0].clone();
        let admission = Arc::new(Admission::default());
        let capacity = Arc::new(Capacity::new(100));
        let enter = |last, is_partner| {
            admission.enter(&limits, Some(capacity.enter()?), client(last), is_partner)
        };
        for _ in 0..3 {
            assert!(enter(1, false).is_some(), "a minute's worth at once");
        }
        assert!(enter(1, false).is_none(), "although the others have ended");
        assert!(enter(2, false).is_some());
        for _ in 0..10 {
            assert!(enter(3, true).is_some());
        }
    }

    #[test]
    fn the_descriptors_of_the_process_are_shared_by_all_listeners() {
        let limits = limits(100, 0);
        let capacity = Arc::new(Capacity::new(3));
        let listeners = [
            Arc::new(Admission::default()),
            Arc::new(Admission::default()),
        ];
        let enter = |index: usize| {
            listeners[index].enter(&limits, Some(capacity.enter()?), client(1), true)
        };
        let tickets: Vec<_> = [0, 1, 0].map(enter).into_iter().flatten().collect();
        assert_eq!(tickets.len(), 3);
        assert!(enter(1).is_none());
        drop(tickets);
        assert!(enter(1).is_some());
    }

    #[test]
    fn a_tenth_of_the_descriptors_is_kept_for_partners_too() {
        let (admission, limits) = (Arc::new(Admission::default()), limits(100, 0));
        let capacity = Arc::new(Capacity::new(10));
        let enter =
            |is_partner| admission.enter(&limits, Some(capacity.enter()?), client(1), is_partner);
        let mut tickets: Vec<_> = (0..9).map(|_| enter(false).expect("room")).collect();
        assert!(enter(false).is_none());
        tickets.push(enter(true).expect("the partners' tenth"));
        assert!(enter(true).is_none());
        tickets.clear();
        assert!(enter(false).is_some());
    }
}

#[test]
fn listeners_of_one_pool_and_affinity_are_one_scope_in_every_edition() {
    let listeners = [
        ("a", "affinity = \"one\""),
        ("b", "affinity = \"two\""),
        ("c", "affinity = \"one\"\nprobe.kind = \"none\""),
    ];
    let mut registry = Registry::new(1);
    let first = registry.build(&config(&[("n", 1)], &listeners));
    let named = registry.name(&first, Arc::default());
    for snapshot in [&first, &named] {
        let scopes = snapshot.scopes().iter().map(|scope| {
            let names = scope.listeners.iter().map(|each| &*each.state.name);
            (&*scope.pins.affinity, names.collect::<Vec<_>>())
        });
        let expected = [("one", vec!["a", "c"]), ("two", vec!["b"])];
        assert!(scopes.eq(expected));
        for listener in &snapshot.listeners {
            let scope = snapshot.scope(&listener.pin_scope).unwrap();
            assert!(
                scope
                    .listeners
                    .iter()
                    .any(|each| Arc::ptr_eq(each, listener))
            );
        }
        assert_eq!(snapshot.scopes_with("n", Some("edge")).count(), 2);
        assert_eq!(snapshot.scopes_with("n", Some("other")).count(), 0);
        assert_eq!(snapshot.scopes_with("other", None).count(), 0);
    }
}
