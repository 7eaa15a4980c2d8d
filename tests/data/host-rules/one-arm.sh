# What this machine's kernel must know so that nodes can see the clients' own addresses (source = "transparent"),
# and so that this machine can be the nodes' gateway ([gateway]). Printed by `pinfold check --host-rules` for one
# configuration: print and apply it anew when nodes, transparent listeners, workers or [gateway] change.
#
# For root, with nft (nftables) and ip (iproute2). May be run as often as you like: the tables are replaced at once
# or, if anything is wrong, not at all. `pinfold check --host-rules --remove` prints what takes it away.
set -eu

# ── Routing ──────────────────────────────────────────────────────────────────────────────────────
#
# What the tables below mark is delivered on this machine, whatever its address. Nothing else is
# concerned: the routing table holds this one route, and only the mark leads there.
deliver_here() {
    ip "$1" route replace local default dev lo table 20550
    [ -n "$(ip "$1" rule show fwmark 0x50460000 table 20550)" ] ||
        ip "$1" rule add fwmark 0x50460000 priority 20550 table 20550
}
deliver_here -4
deliver_here -6

# ── Tables ───────────────────────────────────────────────────────────────────────────────────────
nft -f - <<'RULES'
# Made if it is missing, so that it can be deleted; then made anew. The kernel does all of it at once.
table inet pinfold
delete table inet pinfold
table inet pinfold {
    # Addresses and ports at which nodes see the clients' own addresses, and answer to those. The first
    # is no node: by it `pinfold serve` finds out every few seconds whether these rules are in force.
    set answers4 {
        type ipv4_addr . inet_proto . inet_service
        elements = {
            127.0.0.1 . udp . 20549,  # self-test
        }
    }

    set answers6 {
        type ipv6_addr . inet_proto . inet_service
        elements = {
            ::1 . udp . 20549,  # self-test
            2001:db8::31 . udp . 3478,  # edge1
            2001:db8::32 . udp . 3479,  # edge2
        }
    }

    # Where clients' datagrams arrive.
    set vips4 {
        type ipv4_addr . inet_service
    }

    set vips6 {
        type ipv6_addr . inet_service
        elements = {
            2001:db8::30 . 3478,  # av-udp
        }
    }

    # The mark of each worker and the port at which it takes what nodes answer by UDP. Some versions of
    # nft list the rules that use it without the port: print these rules anew, do not save a listing.
    # [server] workers = "auto", and 3 cores on this machine.
    map interception_ports {
        type mark : inet_service
        elements = {
            0x50460100 : 20550,
            0x50460101 : 20551,
            0x50460102 : 20552,
        }
    }

    # As long as a flow may be silent; and what no node answers not for long, since that is what floods are
    # made of.
    ct timeout flows4 {
        protocol udp
        l3proto ip
        policy = { unreplied : 10, replied : 121 }
    }

    ct timeout flows6 {
        protocol udp
        l3proto ip6
        policy = { unreplied : 10, replied : 121 }
    }

    # Datagrams of clients need no memory of the kernel: or a flood of them, from invented addresses, would
    # fill it, and nobody's next connection would be let in.
    chain arriving {
        type filter hook prerouting priority raw; policy accept;
        ip daddr . udp dport @vips4 notrack
        ip6 daddr . udp dport @vips6 notrack
    }

    chain answering {
        type filter hook output priority raw; policy accept;
        ip saddr . udp sport @vips4 notrack
        ip6 saddr . udp sport @vips6 notrack
    }

    chain output {
        type route hook output priority mangle; policy accept;

        # What a worker sends in a client's name has its mark. The connection keeps it, so that the answer
        # is known by it.
        meta mark & 0xffffff00 == 0x50460100 ct mark set meta mark
        meta mark & 0xffffff00 == 0x50460100 meta nfproto ipv4 meta l4proto udp ct timeout set "flows4"
        meta mark & 0xffffff00 == 0x50460100 meta nfproto ipv6 meta l4proto udp ct timeout set "flows6"

        # A worker lets go of a client that its node has sent on. The datagram that says so goes no further.
        meta mark 0x50460001 ct mark set 0 drop

        # "Nobody is there", said by this machine itself: to the worker, not to the client.
        meta l4proto { 1, 58 } ct state related ct mark & 0xffffff00 == 0x50460100 meta mark set 0x50460000

        # Nodes that learn of a shorter way to the client would answer past this machine.
        icmp type redirect drop
        icmpv6 type nd-redirect drop
    }

    chain prerouting {
        type filter hook prerouting priority mangle; policy accept;

        # Whatever does not belong to a worker's connection passes as if these rules were not there.
        ct state untracked return
        ct mark & 0xffffff00 != 0x50460100 return
        # Nor what a worker itself sends to a node on this machine, as the self-test does.
        meta mark & 0xffffff00 == 0x50460100 return

        # "Nobody is there", said by a node or a router about what a worker sent: to the worker.
        meta l4proto { 1, 58 } ct state related meta mark set 0x50460000 accept

        # The client speaks with the node directly: from here on it gets the node's answers directly, too.
        ip daddr . meta l4proto . udp dport @answers4 ct mark set 0 return
        ip6 daddr . meta l4proto . udp dport @answers6 ct mark set 0 return

        # All else is a node's answer to a client, also of a node that the configuration has no more and whose
        # sessions come to their end. By TCP: to the socket that dialled the node with the client's address.
        meta l4proto tcp meta mark set 0x50460000 accept

        # By UDP: to the worker whose mark the flow has.
        meta nfproto ipv4 meta l4proto udp tproxy ip to 127.0.0.1:ct mark map @interception_ports meta mark set 0x50460000 accept
        meta nfproto ipv6 meta l4proto udp tproxy ip6 to [::1]:ct mark map @interception_ports meta mark set 0x50460000 accept
    }
}
RULES

# ── Room ─────────────────────────────────────────────────────────────────────────────────────────
#
# With these tables the kernel remembers every connection of this machine, and there is room for all that
# max_sessions of all listeners allow (50000). Raised where it is less; never lowered. A container cannot,
# and has its host's.
if [ -w /proc/sys/net/netfilter/nf_conntrack_max ] && [ "$(cat /proc/sys/net/netfilter/nf_conntrack_max)" -lt 115536 ]; then
    mkdir -p /run/pinfold-host-rules
    [ -e /run/pinfold-host-rules/conntrack-max ] || cat /proc/sys/net/netfilter/nf_conntrack_max > /run/pinfold-host-rules/conntrack-max
    echo 115536 > /proc/sys/net/netfilter/nf_conntrack_max
fi

# ── Forwarding ───────────────────────────────────────────────────────────────────────────────────
#
# Once a client speaks with its node directly, this machine is a router for both. Last, when the tables
# stand. What was off before is noted, so that the removal switches it off again.
forward() {
    [ "$(cat "$1")" = 0 ] || return 0
    mkdir -p /run/pinfold-host-rules
    : > /run/pinfold-host-rules/"$2"
    echo 1 > "$1"
}
# A machine that forwards IPv6 takes no routes from router advertisements: give it a default route.
forward /proc/sys/net/ipv6/conf/all/forwarding ipv6-forwarding

# ── Bridges ──────────────────────────────────────────────────────────────────────────────────────
if [ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2> /dev/null)" = 1 ]; then
    echo 'host rules: where nodes are reached over a bridge of this machine, what they answer by UDP is lost' \
        'while net.bridge.bridge-nf-call-iptables is 1: set it to 0' >&2
fi
