//! A real DNS server on loopback whose records a test changes.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

use pinfold_loadtest::process::{Process, wait_until};

use crate::world::{Directory, SOON, lonely_address};

/// dnsmasq; each change starts it anew at the same address, with other records.
pub(crate) struct Server {
    process: Option<Process>,
    directory: Directory,
    address: SocketAddr,
    hosts: Vec<(String, Vec<Ipv4Addr>)>,
    services: Vec<String>,
}

impl Server {
    /// Without any record.
    pub(crate) fn start() -> Self {
        let free = UdpSocket::bind((lonely_address(), 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        Self::start_at(address)
    }

    /// The same at an address of the caller's choice.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let mut server = Self {
            process: None,
            directory: Directory::create(),
            address,
            hosts: Vec::new(),
            services: Vec::new(),
        };
        server.revive();
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `name` has these addresses from here on.
    pub(crate) fn host(&mut self, name: &str, addresses: &[Ipv4Addr]) {
        self.hosts.retain(|(known, _)| known != name);
        self.hosts.push((name.into(), addresses.to_vec()));
        self.revive();
    }

    /// One more record of the federation service of `domain`.
    pub(crate) fn service(&mut self, domain: &str, target: &str, priority: u16, weight: u16) {
        let name = format!("_sipfederationtls._tcp.{domain}");
        self.services
            .push(format!("srv-host={name},{target},5061,{priority},{weight}"));
        self.revive();
    }

    pub(crate) fn clear_services(&mut self) {
        self.services.clear();
    }

    /// Nobody answers any more.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it, with the records that there are.
    pub(crate) fn revive(&mut self) {
        self.process = None;
        let mut text = self.services.join("\n");
        text.push_str("\nlocal=/test/\n");
        for (name, addresses) in &self.hosts {
            for address in addresses {
                let _ = writeln!(text, "host-record={name},{address}");
            }
        }
        let file = self.directory.path().join("dnsmasq.conf");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(program());
        command.arg(format!("--conf-file={}", file.display()));
        command.args([
            "--no-daemon",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
        ]);
        command.args(["--user=", "--group=", "--pid-file"]);
        command.args(["--no-negcache", "--local-ttl=1"]);
        command.arg(format!("--listen-address={}", self.address.ip()));
        command.arg(format!("--port={}", self.address.port()));
        self.process = Some(Process::spawn(&mut command).unwrap());
        let answers = wait_until(SOON, || self.answers().then_some(()));
        let output = || {
            self.process
                .as_ref()
                .map(Process::output)
                .unwrap_or_default()
        };
        assert!(answers.is_some(), "dnsmasq does not answer: {}", output());
    }

    /// Whether it answers a question about the root.
    fn answers(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let limit = std::time::Duration::from_millis(50);
        socket.set_read_timeout(Some(limit)).unwrap();
        let question = [
            0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 4, b't', b'e', b's', b't', 0, 0, 1, 0, 1,
        ];
        let _ = socket.send_to(&question, self.address);
        socket.recv(&mut [0; 512]).is_ok()
    }
}

/// Daemons are where an unprivileged user does not look.
fn program() -> PathBuf {
    let places = ["/usr/sbin/dnsmasq", "/usr/local/sbin/dnsmasq"].map(PathBuf::from);
    let found = places.into_iter().find(|place| place.exists());
    found.unwrap_or_else(|| "dnsmasq".into())
}
