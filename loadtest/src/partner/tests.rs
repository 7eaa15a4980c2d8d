use std::net::Ipv4Addr;

use super::*;
use crate::SimulatedEdge;

const SOON: Duration = Duration::from_secs(5);
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn edge(name: &str) -> SimulatedEdge {
    SimulatedEdge::start(name, ANY).await.unwrap()
}

async fn another_node_at(edge: SimulatedEdge, name: &str) -> SimulatedEdge {
    edge.kill().await;
    let address = edge.address();
    drop(edge);
    SimulatedEdge::start(name, address).await.unwrap()
}

#[tokio::test]
async fn a_stubborn_partner_returns_to_its_one_address_and_times_the_gap() {
    let (edge1, edge2) = (edge("edge1").await, edge("edge2").await);
    let mut plan = Plan::new("fabrikam", edge1.address());
    plan.addresses.push(edge2.address());
    let partner = Partner::stubborn(plan);
    let stats = partner
        .wait_for(SOON, |stats| stats.replies >= 3)
        .await
        .unwrap();
    assert!(stats.connected && stats.gaps.is_empty() && stats.connections == 1);
    assert_eq!(stats.node.as_deref(), Some("edge1"));

    edge1.kill().await;
    let refused = |stats: &Stats| stats.errors.get(&ErrorKind::Refused) >= Some(&3);
    let stats = partner.wait_for(SOON, refused).await.unwrap();
    assert!(!stats.connected && stats.errors.get(&ErrorKind::Reset) == Some(&1));

    edge1.revive().await.unwrap();
    let stats = partner
        .wait_for(SOON, |stats| stats.gaps_total == 1)
        .await
        .unwrap();
    let gap = stats.gaps.first().unwrap();
    assert_eq!(
        (gap.from_node.as_str(), gap.to_node.as_str()),
        ("edge1", "edge1")
    );
    assert!(gap.duration >= Duration::from_millis(4) && gap.duration <= stats.longest_silence);
    assert_eq!((stats.connections, stats.node_changes), (2, 0));
    assert_eq!(edge2.counters().accepted, 0);
}

#[tokio::test]
async fn a_change_of_node_is_seen() {
    let edge1 = edge("edge1").await;
    let partner = Partner::stubborn(Plan::new("fabrikam", edge1.address()));
    partner
        .wait_for(SOON, |stats| stats.replies >= 1)
        .await
        .unwrap();
    let _edge2 = another_node_at(edge1, "edge2").await;
    let stats = partner
        .wait_for(SOON, |stats| stats.gaps_total == 1)
        .await
        .unwrap();
    assert_eq!(stats.gaps.first().unwrap().to_node, "edge2");
    assert_eq!(
        (stats.node.as_deref(), stats.node_changes),
        (Some("edge2"), 1)
    );
    assert_eq!(stats.replies_by_node.len(), 2);
}

#[tokio::test]
async fn a_stubborn_partner_waits_for_a_frozen_node_on_the_same_connection() {
    let edge1 = edge("edge1").await;
    let partner = Partner::stubborn(Plan::new("fabrikam", edge1.address()));
    partner
        .wait_for(SOON, |stats| stats.replies >= 1)
        .await
        .unwrap();
    edge1.freeze();
    let silence = Duration::from_millis(60);
    let mut watched = tokio::time::interval(Duration::from_millis(5));
    while partner.stats().silent_for < silence {
        watched.tick().await;
    }
    let before = partner.stats();
    assert!(before.connected && before.longest_silence >= silence);
    edge1.thaw();
    let more = |stats: &Stats| stats.replies > before.replies + 3;
    let stats = partner.wait_for(SOON, more).await.unwrap();
    assert_eq!((stats.connections, stats.gaps_total), (1, 0));
    assert!(stats.longest_silence >= silence);
}

#[tokio::test]
async fn connections_that_die_before_their_first_byte_are_part_of_one_gap() {
    let edge1 = edge("edge1").await;
    let partner = Partner::stubborn(Plan::new("fabrikam", edge1.address()));
    partner
        .wait_for(SOON, |stats| stats.replies >= 1)
        .await
        .unwrap();
    edge1.die_before_first_byte(3);
    edge1.kill().await;
    edge1.revive().await.unwrap();
    let stats = partner
        .wait_for(SOON, |stats| stats.gaps_total == 1)
        .await
        .unwrap();
    assert_eq!((stats.gaps.len(), stats.connections), (1, 5));
}

#[tokio::test]
async fn tls_partners_call_from_the_address_they_are_known_by() {
    let edge1 = edge("edge1").await;
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let mut plan = Plan::new("fabrikam", edge1.address());
        plan.speech = Speech::Tls(version);
        plan.source = Some(Ipv4Addr::new(127, 0, 0, 2).into());
        plan.connections = 2;
        let partner = Partner::stubborn(plan);
        let stats = partner
            .wait_for(SOON, |stats| stats.replies >= 6)
            .await
            .unwrap();
        assert_eq!(stats.open, 2);
        let stats = partner.stop().await;
        assert!(stats.errors.is_empty());
    }
}

#[tokio::test]
async fn refused_tls_is_an_error_and_is_tried_again() {
    let edge1 = edge("edge1").await;
    edge1.refuse_tls(true);
    let mut plan = Plan::new("fabrikam", edge1.address());
    plan.speech = Speech::Tls(TlsVersion::V1_3);
    let partner = Partner::stubborn(plan);
    let failed = |stats: &Stats| stats.errors.values().sum::<u64>() >= 2;
    partner.wait_for(SOON, failed).await.unwrap();
    edge1.refuse_tls(false);
    partner
        .wait_for(SOON, |stats| stats.replies >= 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_spreading_partner_goes_elsewhere_when_a_node_dies_or_falls_silent() {
    let (edge1, edge2) = (edge("edge1").await, edge("edge2").await);
    let mut plan = Plan::new("contoso", edge1.address());
    plan.addresses.push(edge2.address());
    plan.patience = Some(Duration::from_millis(100));
    let partner = Partner::spreading(plan);
    partner
        .wait_for(SOON, |stats| stats.replies >= 1)
        .await
        .unwrap();
    edge1.kill().await;
    let on = |node: &'static str| move |stats: &Stats| stats.node.as_deref() == Some(node);
    partner.wait_for(SOON, on("edge2")).await.unwrap();
    edge1.revive().await.unwrap();
    edge2.freeze();
    let stats = partner.wait_for(SOON, on("edge1")).await.unwrap();
    assert_eq!(stats.errors.get(&ErrorKind::TimedOut), Some(&1));
    assert_eq!(stats.gaps_total, 2);
}

#[tokio::test]
async fn an_answer_to_something_else_is_garbled() {
    let listener = tokio::net::TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    let partner = Partner::stubborn(Plan::new("fabrikam", address));
    let (mut stream, _) = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"edge1 fabrikam 2\n")
        .await
        .unwrap();
    let garbled = |stats: &Stats| stats.errors.contains_key(&ErrorKind::Garbled);
    let stats = partner.wait_for(SOON, garbled).await.unwrap();
    assert_eq!(stats.replies, 0);
}

#[test]
fn the_last_pause_of_a_ladder_is_repeated_and_none_is_no_pause() {
    let ladder = [1, 5, 30].map(Duration::from_secs);
    let pauses: Vec<_> = (0..5)
        .map(|failures| call::rung(&ladder, failures))
        .collect();
    assert_eq!(pauses, [1, 5, 30, 30, 30].map(Duration::from_secs));
    assert_eq!(call::rung(&[], 7), Duration::ZERO);
}

#[tokio::test]
async fn a_ladder_starts_anew_after_a_reply() {
    let edge1 = edge("edge1").await;
    edge1.die_before_first_byte(1);
    let mut plan = Plan::new("fabrikam", edge1.address());
    // One attempt after a failure, and then for all this test knows never again.
    plan.ladder = vec![Duration::ZERO, Duration::from_secs(3600)];
    let partner = Partner::stubborn(plan);
    let served = partner.wait_for(SOON, |stats| stats.replies > 0).await;
    assert_eq!(served.unwrap().errors.get(&ErrorKind::Reset), Some(&1));
    edge1.kill().await;
    let refused = |stats: &Stats| stats.errors.get(&ErrorKind::Refused) == Some(&2);
    partner.wait_for(SOON, refused).await.unwrap();
    edge1.revive().await.unwrap();
    let again = |stats: &Stats| stats.connected || !refused(stats);
    let quiet = Duration::from_millis(100);
    assert!(partner.wait_for(quiet, again).await.is_none());
}

#[tokio::test]
async fn a_partner_split_over_two_nodes_is_a_violation_once() {
    let (edge1, edge2) = (edge("edge1").await, edge("edge2").await);
    let mut plan = Plan::new("contoso", edge1.address());
    plan.addresses.push(edge2.address());
    plan.connections = 2;
    // Each of its connections goes to an address of its own, as if a balancer had split it.
    let partner = Partner::spreading(plan);
    let split = |stats: &Stats| stats.replies_by_node.len() == 2 && stats.replies > 20;
    partner.wait_for(SOON, split).await.unwrap();
    assert_eq!(partner.pin_violations(), 1);
    let more = |stats: &Stats| stats.replies > 60;
    partner.wait_for(SOON, more).await.unwrap();
    assert_eq!(partner.pin_violations(), 1);
}

#[tokio::test]
async fn a_partner_that_is_moved_as_a_whole_is_no_violation() {
    let mut edge1 = edge("edge1").await;
    let mut plan = Plan::new("fabrikam", edge1.address());
    plan.connections = 4;
    let partner = Partner::stubborn(plan);
    let all_served = |stats: &Stats| stats.open == 4 && stats.replies > 100;
    partner.wait_for(SOON, all_served).await.unwrap();
    for (round, name) in (1_u64..).zip(["edge2", "edge3", "edge1"]) {
        edge1 = another_node_at(edge1, name).await;
        let moved = |stats: &Stats| stats.gaps_total == 4 * round;
        partner.wait_for(SOON, moved).await.unwrap();
    }
    let before = partner.stats().replies;
    partner
        .wait_for(SOON, |stats| stats.replies > before + 20)
        .await
        .unwrap();
    assert_eq!(partner.pin_violations(), 0);
}

#[tokio::test]
async fn the_shape_of_tls_carries_the_same_lines_and_its_refusal_is_told() {
    let edge1 = edge("edge1").await;
    let mut plan = Plan::new("fabrikam", edge1.address());
    plan.speech = Speech::Shape;
    let partner = Partner::stubborn(plan);
    let stats = partner.wait_for(SOON, |stats| stats.replies >= 6).await;
    assert!(stats.unwrap().errors.is_empty());
    edge1.refuse_tls(true);
    edge1.kill().await;
    edge1.revive().await.unwrap();
    let reset = |stats: &Stats| stats.errors.get(&ErrorKind::Reset) > Some(&3);
    partner.wait_for(SOON, reset).await.unwrap();
    edge1.refuse_tls(false);
    partner
        .wait_for(SOON, |stats| stats.gaps_total == 1)
        .await
        .unwrap();
}
