//! TLS that ends at Pinfold: versions, names, client certificates, resumption, and certificates that change.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use pinfold_loadtest::process::wait_until;

use crate::tls::{certify, openssl};
use crate::world::{Directory, SOON, World};

/// Lines of a listener that ends TLS by the certificate `name` of `directory`.
pub(crate) fn terminating(directory: &Path, name: &str) -> String {
    let directory = directory.display();
    format!(
        "mode = \"terminate\"\nprobe = {{ kind = \"tcp\" }}\n[listener.tls]\n\
         certificates = [{{ chain = \"{directory}/{name}.pem\", key = \"{directory}/{name}.key\" }}]\n"
    )
}

/// What one `openssl s_client` heard and what it told of the connection.
#[derive(Debug)]
struct Told {
    heard: String,
    told: String,
}

/// Says `lines` to `address` and reads the answers, until as many have come.
fn say(directory: &Path, address: SocketAddr, arguments: &str, lines: &[&str]) -> Told {
    let mut command = openssl(
        directory,
        &format!("s_client -connect {address} -brief {arguments}"),
    );
    let (heard, told) = (directory.join("heard"), directory.join("told"));
    let mut running = command
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&heard).unwrap())
        .stderr(fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    let mut input = running.stdin.take().unwrap();
    // One that is refused may be gone before it is spoken to.
    let _ = input.write_all((lines.join("\n") + "\n").as_bytes());
    let read = |path| fs::read_to_string(path).unwrap();
    let ended = wait_until(SOON, || {
        let has_all = read(&heard).lines().count() >= lines.len();
        let status = running.try_wait().unwrap();
        (has_all || status.is_some()).then_some(())
    });
    drop(input);
    let status = wait_until(SOON, || running.try_wait().unwrap());
    let _ = running.kill();
    let _ = running.wait();
    assert!(ended.is_some() && status.is_some(), "{}", read(&told));
    Told {
        heard: read(&heard),
        told: read(&told),
    }
}

/// A pool of one node that is spoken to in clear, behind a listener that ends TLS.
fn in_clear(directory: &Path, more: &str) -> World {
    let more = terminating(directory, "server") + more;
    World::start_with(1, |setup| {
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = more;
    })
}

#[test]
fn both_versions_of_tls_end_here_and_the_node_hears_plain_text() {
    let directory = Directory::create();
    certify(directory.path());
    let world = in_clear(directory.path(), "");
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let Told { heard, told } = say(directory.path(), world.address(), version, &["one", "two"]);
        assert_eq!(heard, "edge1 one\nedge1 two\n", "{told}");
        assert!(
            told.contains(&format!("Protocol version: {name}")),
            "{told}"
        );
    }
}
