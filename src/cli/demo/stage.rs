//! Who plays in the demo.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pinfold_loadtest::partner::Plan;
use pinfold_loadtest::{Background, Partner, SimulatedEdge, background};

/// The nodes, and where Pinfold's state lives while the demo runs.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) nodes: Vec<SimulatedEdge>,
    folder: PathBuf,
}

/// Everybody who connects.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) stubborn: Partner,
    pub(super) spreading: Partner,
    pub(super) users: Background,
}

/// The partner that never fails over.
pub(super) const STUBBORN: &str = "fabrikam";
/// The partner that fails over by itself.
pub(super) const SPREADING: &str = "adatum";
/// Sessions of remote users.
pub(super) const USERS: usize = 40;

const STUBBORN_FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const SPREADING_FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

impl Stage {
    pub(super) async fn build() -> io::Result<Self> {
        let mut nodes = Vec::new();
        for name in ["edge1", "edge2", "edge3"] {
            nodes.push(SimulatedEdge::start(name, loopback()).await?);
        }
        let folder = std::env::temp_dir().join(format!("pinfold-demo-{}", std::process::id()));
        Ok(Self { nodes, folder })
    }

    /// Where `pinfold status` finds this Pinfold while the demo runs.
    pub(super) fn admin(&self) -> String {
        format!("unix:{}", self.folder.join("admin.sock").display())
    }

    /// The configuration: shipped defaults, but a short `return_after`, so that a node that was
    /// revived plays again before the curtain falls.
    pub(super) fn configuration(&self) -> String {
        let mut text = format!(
            "version = 1\n[server]\nworkers = 2\nadmin = {:?}\n[log]\nlevel = \"info\"\n\
             [[pool]]\nname = \"edge\"\nreturn_after = \"1s\"\n",
            self.admin()
        );
        for node in &self.nodes {
            let (name, address) = (node.name(), node.address());
            text += &format!("[[pool.node]]\nname = \"{name}\"\naddress = \"{address}\"\n");
        }
        text += &format!(
            "[[listener]]\nname = \"federation\"\nbind = \"127.0.0.1:0\"\nservice = \"federation\"\n\
             pool = \"edge\"\n\
             [[partner]]\nname = \"{STUBBORN}\"\ngeneration = \"ocs-2007\"\n\
             addresses = [\"{STUBBORN_FROM}/32\"]\n\
             [[partner]]\nname = \"{SPREADING}\"\ngeneration = \"lync-2013\"\n\
             addresses = [\"{SPREADING_FROM}/32\"]\n"
        );
        text
    }

    /// The curtain rises: everybody connects to `address`.
    pub(super) fn cast(address: SocketAddr) -> Cast {
        let partner = |name, source| Plan {
            source: Some(source),
            ..Plan::new(name, address)
        };
        let users = background::Plan {
            interval: Duration::from_millis(500),
            sources: (1..=20)
                .map(|last| Ipv4Addr::new(127, 0, 1, last).into())
                .collect(),
            ..background::Plan::new(address, USERS)
        };
        Cast {
            stubborn: Partner::stubborn(partner(STUBBORN, STUBBORN_FROM)),
            spreading: Partner::spreading(Plan {
                connections: 2,
                ..partner(SPREADING, SPREADING_FROM)
            }),
            users: Background::start(users),
        }
    }

    pub(super) fn node(&self, name: &str) -> Option<&SimulatedEdge> {
        self.nodes.iter().find(|node| node.name() == name)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Only what this process has made lies in it.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
