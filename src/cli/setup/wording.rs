//! The words of the questions: what each asks, why, and an example.

use super::interview::{Question, choice};
use super::meaning::{NEW, NONE};

/// One that need not be answered.
pub(super) const fn optional<'q>(
    name: &'q str,
    why: &'static str,
    example: &'static str,
) -> Question<'q> {
    Question::new(name, why, example, NONE)
}

pub(super) const POOL: Question<'_> = Question::new(
    "pool name",
    "Your Edge pool. The name stands in tables, logs and metrics.",
    "edge",
    "edge",
);
pub(super) const SERVICES: Question<'_> = Question::new(
    "services",
    "Which services come through here beside federation: access (remote users), webconf, av, xmpp, internal (the inner \
     side), or none. Microsoft supports balancing on both sides or on none, so internal belongs to a pool that is balanced \
     outside.",
    "access webconf av internal",
    "access webconf av internal",
);
pub(super) const COUNT: Question<'_> = Question::new(
    "how many Edge Servers",
    "Each of them is asked for by name and address. With one alone there is nowhere to go when it dies.",
    "2",
    "2",
);
pub(super) const NODE_WHY: &str = "What you call it in commands: `pinfold drain edge1`.";
pub(super) const ACCESS_WHY: &str =
    "The server's own outer address, not the VIP: sessions are relayed to it.";
pub(super) const WEBCONF_WHY: &str = "Its Web Conferencing Edge often has an address of its own; else it is that of its Access Edge.";
pub(super) const AV_WHY: &str =
    "Its A/V Edge, to which clients' own addresses are shown; it often has an address of its own.";
pub(super) const INTERNAL_WHY: &str =
    "Its address on the inner network, which Front Ends connect to.";
pub(super) const FEDERATION_WHY: &str = "The address that partners connect to, at port 5061: what the SRV record of your SIP domain leads to. This machine need \
     not hold it yet. With IPv6 write both, separated by a space; another port stands behind a colon.";
pub(super) const VIP_WHY: &str = "Several services may share a VIP where their ports differ: XMPP has 5269, remote users have 443. Another port stands \
     behind a colon; the nodes must listen on the same.";
pub(super) const OTHER_VIP_WHY: &str = "Port 443, as the Access VIP, so it needs an address of its own, or another port behind a colon, on which the nodes \
     listen, too.";
pub(super) const AV_VIP_WHY: &str =
    "443 by TCP and 3478 by UDP, so it needs an address of its own.";
pub(super) const INTERNAL_VIP_WHY: &str =
    "Front Ends connect to it: 5061, 5062, and 443 and 3478 for A/V. It lies on the inner network.";
pub(super) const IS_GATEWAY: Question<'_> = choice(
    "is this machine the default gateway of the Edge Servers",
    "A/V Edges must see the clients' own addresses, so what they answer has to come back through here. As their gateway \
     this machine does that, and lets through only what the domain needs. If not, both are in one network: see \"One arm\" \
     in OPERATIONS.",
    "yes",
);
pub(super) const INTERFACES_WHY: &str =
    "By them the rules of this host tell outside from inside. `ip -brief link` lists them.";
pub(super) const ARE_PAUSED: Question<'_> = choice(
    "are they virtual machines with image backup",
    "A snapshot or a migration pauses a virtual machine for up to some seconds. Then silence on federation counts only after \
     3 s, and a backup cuts nobody; a refusal counts at once all the same.",
    "yes",
);
pub(super) const NEEDS_INSIDE: Question<'_> = choice(
    "is a node dead outside when its inner side is dead",
    "An Edge Server that has lost its inner network still answers outside, and its partners get errors. It is so where both \
     sides are on one machine, as Edge Servers are.",
    "yes",
);
pub(super) const IS_CLOSED: Question<'_> = Question::new(
    "is federation open or closed",
    "Closed lets only partners in that are listed with their addresses; open anybody, and the Edge Servers decide.",
    "closed",
    "open",
);
pub(super) const PARTNER: Question<'_> = Question {
    name: "partner name",
    why: "Those first that cannot fail over by themselves: OCS 2007, public IM, XMPP gateways. Others need no entry, unless \
          federation is closed. More can be added to the file at any time. An empty name ends the list.",
    example: "fabrikam",
    default: "",
    shown: "no more",
};
pub(super) const GENERATION_WHY: &str = "By it Pinfold knows whether the partner can fail over by itself: 1=lcs-2005, 2=lcs-2005-sp1, \
     3=ocs-2007, 4=ocs-2007-r2, 5=lync-2010, 6=lync-2013, 7=sfb-2015, 8=sfb-2019, 9=sfb-se, 10=online, 11=other.";
pub(super) const DOMAINS_WHY: &str =
    "What its users' addresses end in; by them its Edge Servers are found in DNS.";
pub(super) const EDGE_WHY: &str = "Looked up in DNS, and expected in its certificate.";
pub(super) const ADDRESSES_WHY: &str = "Addresses or prefixes. By them it is known even without DNS; with closed federation they let it in.";
pub(super) const CONTACT_WHY: &str =
    "Shown beside its failovers and alarms, for whoever is on duty at night.";
pub(super) const IS_PAIR: Question<'_> = choice(
    "is this one of a pair",
    "Two appliances share the VIPs by keepalived. Both need the same placement key, so that a partner lands on the same node \
     whichever of them it comes to.",
    "no",
);
pub(super) const KEY: Question<'_> = Question::new(
    "placement key",
    "The key of the other appliance, from its configuration; or new, to make one here and give it to the other.",
    "new",
    NEW,
);
pub(super) const VIEW: Question<'_> = Question::new(
    "where does monitoring read",
    "Further addresses for reading only: unix:PATH tells all, to a group; an address with a port tells readiness and figures \
     over the network, to Prometheus or a GSLB.",
    "unix:/run/pinfold-view/view.sock 192.0.2.5:9062",
    NONE,
);
pub(super) const VIEW_FROM: Question<'_> = Question::new(
    "who may read over the network",
    "Addresses or prefixes of your monitoring. With none only this machine may.",
    "192.0.2.9 198.51.100.0/24",
    NONE,
);
pub(super) const CONFIRM_WHY: &str = "Then it is checked, and you are told what comes next.";
