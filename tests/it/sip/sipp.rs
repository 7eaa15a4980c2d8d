//! A partner that is no part of this project: SIPp, whose statistics tell whether it felt that its node was killed. The
//! nodes are Kamailio's. Debian's SIPp has no TLS, so `openssl s_client` speaks that for it.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use pinfold_loadtest::process::{Process, wait_until};

use super::phone::Openssl;
use super::{counted, speaking_sip};
use crate::kamailio::Kamailio;
use crate::tls::certify;
use crate::world::{Directory, World, program};

const CALLS: u64 = 300;

/// What a request of SIPp is.
const SCENARIO: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="one request">
  <send>
    <![CDATA[
      OPTIONS sip:bob@contoso.com SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      From: <sip:alice@fabrikam.com>;tag=[pid]t[call_number]
      To: <sip:bob@contoso.com>
      Call-ID: [call_id]
      CSeq: 1 OPTIONS
      Max-Forwards: 70
      Content-Length: 0

    ]]>
  </send>
  <recv response="200"/>
</scenario>
"#;

/// Whoever connects here speaks TLS with `address`; how many have connected is counted.
fn within_tls(directory: &Path, address: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = listener.local_addr().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let (count, directory) = (Arc::clone(&connections), directory.to_owned());
    // It ends with the process.
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, SeqCst);
            let directory = directory.clone();
            thread::spawn(move || carry(&directory, address, &stream));
        }
    });
    (near, connections)
}

fn carry(directory: &Path, address: SocketAddr, stream: &TcpStream) {
    let (_client, mut input, mut output) = Openssl::connect(directory, address, "");
    let mut back = stream.try_clone().unwrap();
    thread::spawn(move || copy(&mut output, &mut back));
    copy(&mut &*stream, &mut input);
}

fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut block = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut block) {
        if to
            .write_all(&block[..count])
            .and_then(|()| to.flush())
            .is_err()
        {
            break;
        }
    }
}

/// SIPp at work: [`CALLS`] requests over one connection to `near`.
fn call(sipp: &Path, directory: &Path, near: SocketAddr, statistics: &Path) -> Process {
    fs::write(directory.join("scenario.xml"), SCENARIO).unwrap();
    let mut command = Command::new(sipp);
    command.current_dir(directory);
    command.args(["-sf", "scenario.xml", "-t", "t1", "-i", "127.0.0.1"]);
    command.args(["-r", "60", "-m", &CALLS.to_string(), "-l", "1000"]);
    command.args(["-recv_timeout", "10000", "-timeout", "60", "-nostdin"]);
    command.args(["-trace_stat", "-fd", "1", "-stf"]);
    command.arg(statistics).arg(near.to_string());
    command.stdout(Stdio::null());
    Process::spawn(&mut command).unwrap()
}

/// The last line of a file of statistics, by the names of the first.
fn statistics(file: &Path) -> HashMap<String, u64> {
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let names = lines.next().unwrap().split(';');
    let values = lines.next_back().expect("it has ended").split(';');
    let pairs = names.zip(values);
    pairs
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[test]
fn a_partners_connection_outlives_its_node_and_only_what_was_asked_of_that_fails() {
    let (Some(sipp), Some(kamailio)) = (program("sipp", "sip-tester"), Kamailio::find()) else {
        return;
    };
    let directory = Directory::create();
    certify(directory.path());
    // Slower than it is asked, so that requests are under way when it is killed.
    let mut nodes = [(); 2].map(|()| kamailio.serve_slowly(200, Duration::from_millis(20)));
    let world = World::start_with(0, |setup| {
        for (number, node) in (1..).zip(&nodes) {
            setup.node(&format!("edge{number}"), node.address);
        }
        setup.fabrikam_addresses = vec!["127.0.0.1/32".into()];
        setup.fabrikam = "node = \"edge1\"".into();
        setup.listeners[0].more = speaking_sip(directory.path(), "");
    });
    let (near, connections) = within_tls(directory.path(), world.address());
    let statistics_file = directory.path().join("statistics.csv");
    let mut partner = call(&sipp, directory.path(), near, &statistics_file);
    let asked = |node: usize| {
        nodes[node]
            .process
            .output()
            .matches("asked OPTIONS")
            .count()
    };
    let minute = Duration::from_secs(60);
    let is_under_way = wait_until(minute, || (asked(0) >= 60).then_some(()));
    assert!(is_under_way.is_some(), "{}", partner.output());
    nodes[0].kill();
    let ended = partner.wait_exit(minute);
    assert!(ended.is_some(), "{}", partner.output());
    let told = statistics(&statistics_file);
    let count = |name: &str| {
        told.get(name)
            .copied()
            .unwrap_or_else(|| panic!("{name}: {told:?}"))
    };
    let (good, failed) = (count("SuccessfulCall(C)"), count("FailedCall(C)"));
    assert_eq!(good + failed, CALLS, "{told:?}");
    assert_eq!(
        count("FailedUnexpectedMessage(C)"),
        failed,
        "only by an answer: {told:?}"
    );
    let answered = counted(
        &world,
        "pinfold_sip_answers_total",
        &["fabrikam", "\"503\""],
    );
    assert_eq!(
        failed, answered,
        "only those that were answered 503: {told:?}"
    );
    assert!(
        (1..CALLS / 2).contains(&failed),
        "some were under way: {told:?}"
    );
    for name in ["FailedTcpConnect(C)", "FailedTcpClosed(C)"] {
        assert_eq!(count(name), 0, "{told:?}");
    }
    assert_eq!(connections.load(SeqCst), 1, "one connection all the time");
    assert!(nodes[1].process.output().contains("asked OPTIONS"));
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("edge2"));
}
