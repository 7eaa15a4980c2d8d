//! Debian's Prosody: a real XMPP server as a node.
//!
//! Owns its starting; where it stands, and what must come of it, is the tests'.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use pinfold_loadtest::process::{Process, Signal, wait_until};

use crate::tls::certify;
use crate::world::{Directory, SOON, lonely_address, program};

/// The program of the package.
#[derive(Clone, Debug)]
pub(crate) struct Prosody(PathBuf);

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    // Its data and its key; removed after it has ended.
    _directory: Directory,
}

/// It cannot pick a port by itself, and so has an address of its own.
const PORT: u16 = 5269;

impl Prosody {
    /// CI has it.
    pub(crate) fn find() -> Option<Self> {
        program("prosody", "prosody").map(Self)
    }

    /// A server of contoso.com, once it accepts.
    pub(crate) fn serve(&self) -> Server {
        let directory = Directory::create();
        certify(directory.path());
        let address = SocketAddr::from((lonely_address(), PORT));
        let file = directory.path().join("prosody.cfg.lua");
        let (ip, folder) = (address.ip(), directory.path().display());
        let text = format!(
            "run_as_root = true\n\
             modules_enabled = {{ \"tls\", \"dialback\" }}\n\
             modules_disabled = {{ \"posix\", \"c2s\", \"offline\" }}\n\
             interfaces = {{ \"{ip}\" }}\n\
             s2s_ports = {{ {PORT} }}\n\
             s2s_direct_tls_ports = {{}}\nc2s_ports = {{}}\nc2s_direct_tls_ports = {{}}\n\
             http_ports = {{}}\nhttps_ports = {{}}\n\
             data_path = \"{folder}\"\n\
             log = {{ {{ levels = {{ min = \"debug\" }}, to = \"console\" }} }}\n\
             ssl = {{ key = \"{folder}/server.key\", certificate = \"{folder}/server.pem\" }}\n\
             VirtualHost \"contoso.com\"\n"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(&self.0);
        command.arg("--config").arg(&file).arg("-F");
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
    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.signal(Signal::KILL).unwrap();
    }
}
