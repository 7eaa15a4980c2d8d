//! Nodes that see the clients' own addresses, and answer them by another way.

use std::time::Duration;

use pinfold_loadtest::process::wait_until;

use super::{apply, udp};
use crate::laboratory::laboratory;
use crate::world::Directory;

/// What is missed must be missed for some seconds before anybody says so.
const LONG: Duration = Duration::from_secs(40);

#[test]
fn a_node_that_answers_clients_by_another_way_is_told_of_with_the_remedy() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        let text = format!(
            "version = 1\n[server]\nworkers = 2\nadmin = \"unix:{}\"\n\
             [[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\naddress = \"203.0.113.31\"\n\
             [[listener]]\nname = \"audio\"\nbind = \"198.51.100.30:3478\"\nservice = \"udp\"\n\
             source = \"transparent\"\nnode_port = 3478\npool = \"edge\"\nprobe = {{ kind = \"none\" }}\n",
            directory.admin().display()
        );
        directory.write_text(&text);
        apply(laboratory, &directory);
        let pinfold = laboratory.pinfold(&directory);
        pinfold.wait_ready();
        let node = udp(laboratory, "edge1", "203.0.113.31:3478");
        let client = udp(laboratory, "client", "198.51.100.200:0");
        let attention = || {
            let status = pinfold.json("/v1/status");
            status["attention"].to_string()
        };
        // Its way to the client is another one, which leads nowhere here.
        laboratory.must("edge1", "ip route add blackhole 198.51.100.200/32");
        client
            .send_to(b"anybody there?", "198.51.100.30:3478")
            .unwrap();
        let mut buffer = [0; 100];
        let (_, from) = node.recv_from(&mut buffer).unwrap();
        assert_eq!(from, client.local_addr().unwrap(), "the client itself");
        // One datagram may deserve no answer.
        for _ in 0..2 {
            let other = udp(laboratory, "client", "198.51.100.201:0");
            other.send_to(b"nor here?", "198.51.100.30:3478").unwrap();
            node.recv_from(&mut buffer).unwrap();
        }
        assert!(node.send_to(b"here", from).is_err());
        let is_told = || {
            let attention = attention();
            let words = [
                "ANSWERS ASTRAY edge1",
                "audio",
                "default gateway of 203.0.113.31",
            ];
            words
                .iter()
                .all(|word| attention.contains(word))
                .then_some(())
        };
        assert!(wait_until(LONG, is_told).is_some(), "{}", attention());
        // It takes the right way from here on, and nobody complains any more.
        laboratory.must("edge1", "ip route del blackhole 198.51.100.200/32");
        client.send_to(b"and now?", "198.51.100.30:3478").unwrap();
        let (length, from) = node.recv_from(&mut buffer).unwrap();
        node.send_to(&buffer[..length], from).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], from.to_string()),
            (&b"and now?"[..], "198.51.100.30:3478".into())
        );
        let is_well = || (!attention().contains("ASTRAY")).then_some(());
        assert!(wait_until(LONG, is_well).is_some(), "{}", attention());
    });
}
