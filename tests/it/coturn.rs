//! Debian's coturn: a real TURN server as a node, and its real clients.
//!
//! Owns their starting and what they print; where they stand, and what must come of it, is the tests'.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use pinfold::inspect::stun::{self, Dialect};
use pinfold_loadtest::process::{Process, wait_until};

use crate::laboratory::said;
use crate::world::{Directory, SOON, programs};

/// What a server asks of its clients, and these have.
pub(crate) const CREDENTIALS: [&str; 3] = ["--lt-cred-mech", "--realm=contoso.com", "--user=a:b"];

/// The programs of the package.
#[derive(Clone, Debug)]
pub(crate) struct Coturn {
    turnserver: PathBuf,
    uclient: PathBuf,
    stunclient: PathBuf,
}

/// A client relays so many messages each way, for a second or two.
const MESSAGES: u32 = 50;

impl Coturn {
    /// CI has it.
    pub(crate) fn find() -> Option<Self> {
        let names = ["turnserver", "turnutils_uclient", "turnutils_stunclient"];
        let [turnserver, uclient, stunclient] = programs(names, "coturn")?;
        Some(Self {
            turnserver,
            uclient,
            stunclient,
        })
    }

    /// A server at this address with these options beside, once it answers.
    pub(crate) fn serve(&self, address: SocketAddr, options: &[&str]) -> Server {
        let directory = Directory::create();
        let mut command = Command::new(&self.turnserver);
        command.args(["-n", "--no-tls", "--no-dtls", "--no-cli"]);
        command.args(["--log-file=stdout", "--relay-threads=1"]);
        command.arg(format!("--listening-ip={}", address.ip()));
        command.arg(format!("--listening-port={}", address.port()));
        for (option, file) in [("pidfile", "turnserver.pid"), ("userdb", "turndb")] {
            let file = directory.path().join(file);
            command.arg(format!("--{option}={}", file.display()));
        }
        command.args(options);
        let process = Process::spawn(&mut command).unwrap();
        let answers = wait_until(SOON, || answers(address).then_some(()));
        assert!(answers.is_some(), "no answer: {}", process.output());
        Server {
            process: Some(process),
            address,
            _directory: directory,
        }
    }

    /// Starts a client at `from`: two allocations at `to`, which send each other messages of an audio
    /// packet's size over the server, 50 a second.
    pub(crate) fn call(&self, from: IpAddr, to: SocketAddr, over: Over, messages: u32) -> Call {
        let mut command = Command::new(&self.uclient);
        command.args(["-y", "-c", "-u", "a", "-w", "b", "-l", "155"]);
        command.args(["-n", &messages.to_string()]);
        command.args(["-p", &to.port().to_string()]);
        command.args(["-L", &from.to_string()]);
        if over == Over::Tcp {
            command.arg("-t");
        }
        command.arg(to.ip().to_string());
        Call {
            process: Process::spawn(&mut command).unwrap(),
            messages,
        }
    }

    /// Whole calls at once, over UDP to one port and over TCP to the other; they must lose nothing.
    pub(crate) fn complete(&self, from: &[IpAddr], udp: SocketAddr, tcp: SocketAddr) {
        let calls = from.iter().flat_map(|from| {
            let call = |to, over| self.call(*from, to, over, MESSAGES);
            [call(udp, Over::Udp), call(tcp, Over::Tcp)]
        });
        for call in calls.collect::<Vec<_>>() {
            call.end();
        }
    }

    /// From which address a server sees a client at `from`.
    pub(crate) fn reflexive(&self, from: IpAddr, to: SocketAddr) -> SocketAddr {
        let mut command = Command::new(&self.stunclient);
        command.args(["-p", &to.port().to_string()]);
        command.args(["-L", &from.to_string()]);
        let output: Output = command.arg(to.ip().to_string()).output().unwrap();
        let text = said(&output);
        let mut seen = text
            .lines()
            .filter_map(|line| line.split_once("UDP reflexive addr: "));
        let (_, seen) = seen.next().unwrap_or_else(|| panic!("no address: {text}"));
        seen.trim().parse().unwrap()
    }
}

/// By which protocol a client speaks with its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Udp,
    Tcp,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    process: Option<Process>,
    pub(crate) address: SocketAddr,
    // Its database; removed after it has ended.
    _directory: Directory,
}

impl Server {
    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }
}

fn answers(address: SocketAddr) -> bool {
    let socket = UdpSocket::bind((address.ip(), 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let (question, _) = stun::allocate(Dialect::Rfc, [7; 16]);
    let _ = socket.send_to(&question, address);
    socket.recv(&mut [0; 2048]).is_ok()
}

/// A client at work.
#[derive(Debug)]
pub(crate) struct Call {
    process: Process,
    messages: u32,
}

impl Call {
    /// Waits until it relays.
    pub(crate) fn wait_relaying(&self) {
        let relays = |line: &str| count(line, "tot_recv_msgs=").is_some_and(|count| count > 0);
        let line = self.process.wait_line(SOON, relays);
        assert!(line.is_some(), "it relays nothing: {}", self.text());
    }

    /// Waits for its end; it must have lost nothing.
    pub(crate) fn end(mut self) {
        // Twenty milliseconds a message; the rest is patience.
        let limit = SOON * 3 + Duration::from_millis(20) * self.messages;
        let is_last = |line: &str| line.contains("Total lost packets");
        let _ = self.process.wait_line(limit, is_last);
        let status = self.process.wait_exit(limit);
        let text = self.text();
        assert!(status.is_some_and(|status| status.success()), "{text}");
        let last = text.lines().rfind(|line| line.contains("tot_recv_msgs="));
        let last = last.unwrap_or_default();
        // Both of its ends have sent that many.
        for what in ["tot_send_msgs=", "tot_recv_msgs="] {
            assert_eq!(count(last, what), Some(2 * self.messages), "{text}");
        }
    }

    fn text(&self) -> String {
        self.process.output()
    }
}

/// The number behind `what`.
fn count(line: &str, what: &str) -> Option<u32> {
    let (_, rest) = line.split_once(what)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
