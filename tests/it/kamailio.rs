//! Debian's Kamailio: a real SIP server as a node.
//!
//! Owns its starting; where it stands, and what must come of it, is the tests'.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pinfold_loadtest::process::{Process, Signal, wait_until};

use rustix::process::{Pid, kill_process};

use crate::world::{Directory, SOON, lonely_address, program};

/// The program of the package.
#[derive(Clone, Debug)]
pub(crate) struct Kamailio(PathBuf);

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    // Its file, and the sockets by which its processes talk; removed after it has ended.
    _directory: Directory,
}

/// It cannot pick a port by itself, and so has an address of its own.
const PORT: u16 = 5060;
const TLS_PORT: u16 = 5061;

impl Kamailio {
    /// CI has it.
    pub(crate) fn find() -> Option<Self> {
        program("kamailio", "kamailio kamailio-tls-modules").map(Self)
    }

    /// A server that answers every request by `code`, once it accepts.
    pub(crate) fn serve(&self, code: u16) -> Server {
        let address = SocketAddr::from((lonely_address(), PORT));
        self.start(
            code,
            address,
            &format!("listen=tcp:{address}\n"),
            Duration::ZERO,
        )
    }

    /// The same, where each answer takes so long, and the next request waits.
    pub(crate) fn serve_slowly(&self, code: u16, takes: Duration) -> Server {
        let address = SocketAddr::from((lonely_address(), PORT));
        self.start(code, address, &format!("listen=tcp:{address}\n"), takes)
    }

    /// The same within TLS, by the certificate `name` of `certificates`, from clients whose certificate the authority
    /// "ca" there has signed.
    pub(crate) fn serve_in_tls(&self, code: u16, certificates: &Path, name: &str) -> Server {
        let address = SocketAddr::from((lonely_address(), TLS_PORT));
        let here = certificates.display();
        let tls = format!(
            "enable_tls=yes\nlisten=tls:{address}\nloadmodule \"tls.so\"\n\
             modparam(\"tls\", \"tls_method\", \"TLSv1.2+\")\n\
             modparam(\"tls\", \"certificate\", \"{here}/{name}.pem\")\n\
             modparam(\"tls\", \"private_key\", \"{here}/{name}.key\")\n\
             modparam(\"tls\", \"ca_list\", \"{here}/ca.pem\")\n\
             modparam(\"tls\", \"verify_certificate\", 1)\n\
             modparam(\"tls\", \"require_certificate\", 1)\n"
        );
        self.start(code, address, &tls, Duration::ZERO)
    }

    fn start(&self, code: u16, address: SocketAddr, listening: &str, takes: Duration) -> Server {
        let takes = takes.as_micros();
        let directory = Directory::create();
        let file = directory.path().join("kamailio.cfg");
        let text = format!(
            "#!KAMAILIO\ndebug=2\nlog_stderror=yes\nchildren=1\ntcp_children=1\nauto_aliases=no\n\
             {listening}loadmodule \"sl.so\"\nloadmodule \"pv.so\"\n\
             loadmodule \"xlog.so\"\nloadmodule \"cfgutils.so\"\n\
             request_route {{\n\
             usleep(\"{takes}\");\n\
             xlog(\"L_NOTICE\", \"asked $rm $ru\\n\");\nsl_send_reply(\"{code}\", \"As told\");\n}}\n"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(&self.0);
        command.args(["-DD", "-E", "-m", "32", "-M", "4"]);
        command.arg("-f").arg(&file);
        for option in ["-w", "-Y"] {
            command.arg(option).arg(directory.path());
        }
        let process = Process::spawn(&mut command).unwrap();
        let accepts = wait_until(SOON, || TcpStream::connect(address).ok());
        assert!(accepts.is_some(), "no answer: {}", process.output());
        Server {
            process,
            address,
            _directory: directory,
        }
    }
}

impl Server {
    /// Kills it, with all its processes at once: none of them ends in order.
    pub(crate) fn kill(&mut self) {
        let own = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        self.process.signal(Signal::KILL).unwrap();
        for child in children.split_whitespace() {
            let child = child.parse().ok().and_then(Pid::from_raw);
            // One that has ended with its parent has done so already.
            let _ = kill_process(child.unwrap(), Signal::KILL);
        }
        assert!(self.process.wait_exit(SOON).is_some(), "it goes on");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its own processes end with it, which a kill would not tell.
        let _ = self.process.signal(Signal::TERM);
        let _ = self.process.wait_exit(SOON);
    }
}
