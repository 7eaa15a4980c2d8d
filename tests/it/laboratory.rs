//! A network for one test: clients, the appliance and three nodes, in network namespaces of its own.
//!
//! ```text
//!   client ── outside 198.51.100.0/24 ── appliance ── inside 203.0.113.0/24 ── edge1 edge2 edge3
//!                                            └─────── internal 192.0.2.0/24 ─── edge1 edge2 edge3, front
//! ```
//!
//! The nodes' default gateway is the appliance, and so is the way of the client to the nodes. Each network is a
//! bridge in a namespace that nobody else is in; interfaces have the name of their network.
//! The test runs again as a process that is root in namespaces of its own, so that the machine it runs on sees
//! nothing of it, and all of it is gone when that process ends.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Command, Output};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::world::{Directory, Pinfold};

/// Set where a test runs in namespaces of its own.
const INSIDE: &str = "PINFOLD_LABORATORY";

/// Networks: their name, and what the IPv4 and IPv6 addresses in them begin with.
const NETWORKS: [(&str, &str, &str); 3] = [
    ("outside", "198.51.100", "2001:db8:1:"),
    ("inside", "203.0.113", "2001:db8:2:"),
    ("internal", "192.0.2", "2001:db8:3:"),
];

/// Who is in which network, with the last number of each address there. The appliance has its VIPs outside
/// and inside; a node has its A/V address beside its own.
const PLACES: [(&str, &str, &[u8]); 11] = [
    ("client", "outside", &[200, 201]),
    ("appliance", "outside", &[1, 10, 30]),
    ("appliance", "inside", &[1]),
    ("appliance", "internal", &[1, 10]),
    ("edge1", "inside", &[11, 31]),
    ("edge2", "inside", &[12, 32]),
    ("edge3", "inside", &[13, 33]),
    ("edge1", "internal", &[11]),
    ("edge2", "internal", &[12]),
    ("edge3", "internal", &[13]),
    ("front", "internal", &[101]),
];

/// By which network somebody reaches all the others.
const GATEWAYS: [(&str, &str); 5] = [
    ("client", "outside"),
    ("edge1", "inside"),
    ("edge2", "inside"),
    ("edge3", "inside"),
    ("front", "internal"),
];

/// The network of one test.
#[derive(Debug)]
pub(crate) struct Laboratory(());

/// Runs `test` in a laboratory; `test` must be a closure in the body of the test itself. Where a tool or a
/// right is missing it says so, and fails where CI asks.
pub(crate) fn laboratory<F: FnOnce(&Laboratory)>(test: F) {
    if env::var_os(INSIDE).is_some() {
        return test(&Laboratory::build());
    }
    if let Some(missing) = missing() {
        assert!(env::var_os("CI").is_none(), "this test needs {missing}");
        let _ = writeln!(io::stderr(), "SKIPPED: no {missing}");
        return;
    }
    // it::host_rules::the_test::{{closure}}
    let name = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    let (_, name) = name.split_once("::").expect("a path");
    let mut command = apart();
    command.arg(env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(" 1 passed;"), "{name} is no test: {said}");
    // What it has measured, or could not do.
    let _ = io::stderr().write_all(&output.stderr);
}

/// What runs a command as root of namespaces of its own.
fn apart() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--");
    command
}

/// What this machine lacks, and how to get it.
fn missing() -> Option<String> {
    let runs = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let tools = [
        ("unshare", "util-linux", "--version"),
        ("ip", "iproute2", "-V"),
        ("nft", "nftables", "--version"),
    ];
    for (tool, package, version) in tools {
        if !runs(with_paths(Command::new(tool).arg(version))) {
            return Some(format!("`{tool}` here; apt-get install {package}"));
        }
    }
    let is_allowed = runs(apart().args(["mount", "-t", "tmpfs", "tmpfs", "/run"]));
    let right = "right to make namespaces; be root, or allow it (kernel.unprivileged_userns_clone, \
                 kernel.apparmor_restrict_unprivileged_userns)";
    (!is_allowed).then(|| right.into())
}

/// Administrators' programs are where an unprivileged user does not look.
fn with_paths(command: &mut Command) -> &mut Command {
    let path = env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"))
}

/// All that a command has written.
pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

impl Laboratory {
    fn build() -> Self {
        let laboratory = Self(());
        must(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]));
        fs::create_dir("/run/netns").unwrap();
        let ip = |words: &str| must(Command::new("ip").args(words.split(' ')));
        let names = PLACES.iter().map(|&(name, _, _)| name).chain(["switch"]);
        for name in names.collect::<BTreeSet<_>>() {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
            // Addresses outlive a link that is down, and are good at once.
            let switches = [("all/keep_addr_on_down", 1), ("default/accept_dad", 0)];
            for (switch, state) in switches {
                let file = format!("/proc/sys/net/ipv6/conf/{switch}");
                laboratory.must(name, &format!("echo {state} > {file}"));
            }
        }
        for (network, _, _) in NETWORKS {
            ip(&format!("-n switch link add name {network} type bridge"));
            ip(&format!("-n switch link set {network} up"));
        }
        for (name, network, numbers) in PLACES {
            laboratory.join(name, network, numbers);
        }
        laboratory
    }

    /// Joins `name` to a network, by an interface of that name.
    pub(crate) fn join(&self, name: &str, network: &str, numbers: &[u8]) {
        let ip = |words: &str| must(Command::new("ip").args(words.split(' ')));
        let port = format!("{name}-{}", &network[..3]);
        ip(&format!(
            "link add {network} netns {name} type veth peer name {port} netns switch"
        ));
        ip(&format!("-n switch link set {port} master {network} up"));
        let (v4, v6) = prefixes(network);
        for number in numbers {
            ip(&format!(
                "-n {name} addr add {v4}.{number}/24 dev {network}"
            ));
            ip(&format!(
                "-n {name} addr add {v6}:{number}/64 dev {network} nodad"
            ));
        }
        self.link(name, network, "up");
    }

    /// Runs `action` on a thread that is `name`'s: sockets that it opens and programs that it starts are, too.
    pub(crate) fn within<T: Send>(&self, name: &str, action: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{name}")).unwrap();
        let thread = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            action()
        };
        let outcome = thread::scope(|scope| scope.spawn(thread).join());
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a command of the shell as `name`.
    pub(crate) fn sh(&self, name: &str, command: &str) -> Output {
        self.within(name, || {
            with_paths(Command::new("sh").args(["-c", command]))
                .output()
                .unwrap()
        })
    }

    /// As [`sh`](Self::sh); what it prints, and it must succeed.
    pub(crate) fn must(&self, name: &str, command: &str) -> String {
        let output = self.sh(name, command);
        assert!(output.status.success(), "{command}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts Pinfold on the appliance.
    pub(crate) fn pinfold(&self, directory: &Directory) -> Pinfold {
        self.within("appliance", || Pinfold::start(directory))
    }

    /// Takes `name`'s link to a network "down", or "up" again.
    pub(crate) fn link(&self, name: &str, network: &str, state: &str) {
        self.must(name, &format!("ip link set {network} {state}"));
        let routes = GATEWAYS
            .iter()
            .filter(|&&gateway| gateway == (name, network));
        // The kernel forgets them with the link.
        for _ in routes.filter(|_| state == "up") {
            let (v4, v6) = prefixes(network);
            self.must(name, &format!("ip route replace default via {v4}.1"));
            self.must(name, &format!("ip -6 route replace default via {v6}:1"));
        }
    }

    /// Whatever is sent to `name` vanishes from here on, without a word.
    pub(crate) fn blackhole(&self, name: &str) {
        let chain = "{ type filter hook prerouting priority raw; policy drop; }";
        self.must(name, "nft add table inet blackhole");
        self.must(name, &format!("nft 'add chain inet blackhole in {chain}'"));
    }

    /// Ends [`blackhole`](Self::blackhole).
    pub(crate) fn light_up(&self, name: &str) {
        self.must(name, "nft delete table inet blackhole");
    }

    /// The largest packet of `name` in a network, in bytes.
    pub(crate) fn mtu(&self, name: &str, network: &str, bytes: u16) {
        self.must(name, &format!("ip link set {network} mtu {bytes}"));
    }
}

/// What the addresses of a network begin with.
fn prefixes(network: &str) -> (&'static str, &'static str) {
    let mut networks = NETWORKS.iter();
    let found = networks.find(|&&(name, _, _)| name == network);
    let &(_, v4, v6) = found.expect("a network");
    (v4, v6)
}

fn must(command: &mut Command) {
    let output = with_paths(command).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
}

mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use pinfold_loadtest::process::wait_until;

    use super::*;
    use crate::world::SOON;

    /// A socket of `name`.
    fn socket(laboratory: &Laboratory, name: &str, address: &str) -> UdpSocket {
        let socket = laboratory.within(name, || UdpSocket::bind(address).unwrap());
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        socket
    }

    #[test]
    fn links_nodes_and_packets_obey() {
        laboratory(|laboratory| {
            laboratory.must("appliance", "echo 1 > /proc/sys/net/ipv4/ip_forward");
            let node = socket(laboratory, "edge1", "203.0.113.31:3478");
            let client = socket(laboratory, "client", "198.51.100.200:0");
            let arrives = || {
                let _ = client.send_to(b"hello", "203.0.113.31:3478");
                node.recv(&mut [0; 16]).ok()
            };
            let does = || wait_until(SOON, arrives).is_some();
            assert!(does(), "the client reaches the node");
            laboratory.blackhole("edge1");
            assert_eq!(arrives(), None, "a black hole");
            laboratory.light_up("edge1");
            assert!(does(), "the node is back");
            laboratory.link("edge1", "inside", "down");
            assert_eq!(arrives(), None, "no link");
            laboratory.link("edge1", "inside", "up");
            assert!(does(), "the link is back");
            laboratory.mtu("client", "outside", 1300);
            let shown = laboratory.must("client", "ip link show outside");
            assert!(shown.contains("mtu 1300"), "{shown}");
        });
    }
}
