//! What `pinfold check --host-rules` prints, in force in a kernel: applied as the shipped unit applies it.

mod astray;
mod gateway;
mod interception;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use crate::laboratory::{Laboratory, laboratory, said};
use crate::world::{Directory, SOON};

/// Long enough for a packet that must not come.
const SHORT: Duration = Duration::from_millis(300);

const VIP: &str = "198.51.100.10";

/// The laboratory's nodes behind a gateway. Their A/V Edges are there, and no listener is.
fn two_arms(directory: &Directory) {
    let text = format!(
        "version = 1\n[server]\nworkers = 2\nadmin = \"unix:{}\"\n\
         [gateway]\noutside = \"outside\"\ninside = \"inside\"\n\
         [[gateway.snat]]\nfamily = \"access\"\nports = [\"tcp/5061\"]\nto = \"{VIP}\"\n\
         {}\
         [[listener]]\nname = \"federation\"\nbind = \"{VIP}:5061\"\npool = \"edge\"\n",
        directory.admin().display(),
        nodes()
    );
    directory.write_text(&text);
}

pub(crate) fn nodes() -> String {
    let node = |number: u8| {
        format!(
            "[[pool.node]]\nname = \"edge{number}\"\naddress = \"203.0.113.1{number}\"\n\
             addresses = {{ av = \"203.0.113.3{number}\", internal = \"192.0.2.1{number}\" }}\n"
        )
    };
    format!(
        "[[pool]]\nname = \"edge\"\n{}",
        [1, 2, 3].map(node).concat()
    )
}

/// The same nodes with A/V listeners whose clients they see, in a pool of each IP version.
fn audio(directory: &Directory) {
    let listener = |name: &str, vip: &str, service: &str, port: u16, pool: &str| {
        format!(
            "[[listener]]\nname = \"{name}\"\nbind = \"{vip}:{port}\"\nservice = \"{service}\"\n\
             pool = \"{pool}\"\n"
        )
    };
    let both = |name: &str, vip: &str, pool: &str| {
        let udp = listener(&format!("udp{name}"), vip, "av-udp", 3478, pool);
        udp + &listener(&format!("tcp{name}"), vip, "av-tcp", 443, pool)
    };
    let node = |number: u8| {
        format!(
            "[[pool.node]]\nname = \"edge{number}\"\naddress = \"2001:db8:2::1{number}\"\n\
             addresses = {{ av = \"2001:db8:2::3{number}\" }}\n"
        )
    };
    let v6 = format!(
        "[[pool]]\nname = \"edge6\"\n{}",
        [1, 2, 3].map(node).concat()
    );
    let listeners = both("4", "198.51.100.30", "edge") + &both("6", "[2001:db8:1::30]", "edge6");
    let text = format!(
        "version = 1\n[server]\nworkers = 2\n{}{v6}{listeners}",
        nodes()
    );
    directory.write_text(&text);
}

/// The command that the shipped unit gives under `key`, for the configuration of `directory`.
fn unit_command(key: &str, directory: &Directory) -> String {
    let unit =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd/pinfold-host-rules.service");
    let unit = fs::read_to_string(unit).unwrap();
    let start = format!("{key}=");
    let line = unit.lines().find_map(|line| line.strip_prefix(&start));
    let config = directory.config();
    let command = line.unwrap().replace("$$", "$");
    command.replace("/etc/pinfold/pinfold.toml", config.to_str().unwrap())
}

/// Does what the unit does.
fn unit(laboratory: &Laboratory, key: &str, directory: &Directory) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_pinfold")).parent().unwrap();
    let command = unit_command(key, directory);
    laboratory.sh(
        "appliance",
        &format!("PATH={}:$PATH; {command}", program.display()),
    )
}

pub(crate) fn apply(laboratory: &Laboratory, directory: &Directory) {
    let output = unit(laboratory, "ExecStart", directory);
    assert!(output.status.success(), "{}", said(&output));
}

pub(crate) fn remove(laboratory: &Laboratory, directory: &Directory) {
    let output = unit(laboratory, "ExecStop", directory);
    assert!(output.status.success(), "{}", said(&output));
}

/// All that the rules touch.
fn state(laboratory: &Laboratory) -> String {
    let command = "nft -s list ruleset; ip rule; ip -6 rule; ip route show table all; \
                   ip -6 route show table all; cat /proc/sys/net/ipv4/ip_forward; \
                   cat /proc/sys/net/ipv6/conf/all/forwarding; ls /run/pinfold-host-rules 2> /dev/null; true";
    laboratory.must("appliance", command)
}

#[test]
fn the_unit_applies_them_as_often_as_one_likes_and_takes_away_all_of_them() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        laboratory.must("appliance", "nft add table inet somebody_elses");
        let before = state(laboratory);
        for write in [two_arms, audio] {
            write(&directory);
            apply(laboratory, &directory);
            let applied = state(laboratory);
            assert!(applied.contains("table inet pinfold"), "{applied}");
            assert_ne!(applied, before);
            for key in ["ExecStart", "ExecReload"] {
                let output = unit(laboratory, key, &directory);
                assert!(output.status.success(), "{}", said(&output));
                assert_eq!(state(laboratory), applied, "{key}");
            }
        }
        for _ in 0..2 {
            remove(laboratory, &directory);
            assert_eq!(state(laboratory), before);
        }
    });
}

#[test]
fn what_was_switched_on_by_somebody_else_stays_on() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        two_arms(&directory);
        laboratory.must("appliance", "echo 1 > /proc/sys/net/ipv4/ip_forward");
        apply(laboratory, &directory);
        remove(laboratory, &directory);
        let switch = laboratory.must("appliance", "cat /proc/sys/net/ipv4/ip_forward");
        assert_eq!(switch.trim(), "1");
    });
}

#[test]
fn a_broken_configuration_makes_the_unit_fail_and_changes_nothing() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        two_arms(&directory);
        apply(laboratory, &directory);
        let applied = state(laboratory);
        directory.write_text("version = 1\nlistner = 3\n");
        for key in ["ExecStart", "ExecReload"] {
            let output = unit(laboratory, key, &directory);
            assert!(!output.status.success(), "{key}");
            assert!(said(&output).contains("unknown key"), "{}", said(&output));
            assert_eq!(state(laboratory), applied);
        }
        remove(laboratory, &directory);
        assert!(!state(laboratory).contains("table inet pinfold"));
    });
}

fn udp(laboratory: &Laboratory, name: &str, address: &str) -> UdpSocket {
    laboratory.within(name, || UdpSocket::bind(address).unwrap())
}

/// The next datagram within `limit`: where it comes from, and its text.
fn within(socket: &UdpSocket, limit: Duration) -> Option<(SocketAddr, String)> {
    socket.set_read_timeout(Some(limit)).unwrap();
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    Some((
        from,
        String::from_utf8_lossy(&buffer[..length]).into_owned(),
    ))
}

/// The next datagram, which must come.
fn next(socket: &UdpSocket) -> (SocketAddr, String) {
    within(socket, SOON).expect("a datagram")
}

/// Whether none comes.
fn is_silent(socket: &UdpSocket) -> bool {
    within(socket, SHORT).is_none()
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
